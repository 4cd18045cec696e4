//! Features shown by traffic through a real Envoy, one file for each area.

mod certificates;
mod defaults;
mod health;
mod tls_client;
