//! Features shown by traffic through a real Envoy, one file for each area.

mod certificates;
mod data;
mod tls_client;
