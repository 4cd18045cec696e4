//! Real requests through a real Envoy, one file for each area of what services write.

mod certificates;
mod data;
mod defaults;
mod examples;
mod health;
mod http3;
mod l4;
mod passthrough;
mod policies;
mod routes;
mod site;
pub(crate) mod tls_client;
