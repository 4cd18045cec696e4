//! Real requests through the real binary and a real Envoy, for what services write.

mod defaults;
mod health;
