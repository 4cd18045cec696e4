//! Envoy's protocol as values.

pub mod json;
