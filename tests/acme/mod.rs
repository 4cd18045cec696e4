//! Certificates of a real ACME server, shown by real Envoys: the operator as a whole.

mod access;
mod alpn;
mod authorities;
mod auto;
mod command;
mod crash;
mod dns;
mod dns_faults;
pub(crate) mod documented;
mod faults;
mod issuance;
mod renewal;
mod site;
mod zone;
