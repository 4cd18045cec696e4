//! Certificates of a real ACME server, shown by real Envoys: the operator as a whole.

mod issuance;
mod site;
