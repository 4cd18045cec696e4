//! Features shown by traffic through a real Envoy, one file for each area.

mod certificates;
mod tls_client;
