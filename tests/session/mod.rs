//! Scripted conversations with one `Session`. Each test is a sentence and a short script; the row
//! of the protocol or the behaviour of Envoy 1.40 that it comes from stands above it.

mod nack;
mod order;
mod partial;
mod script;
mod status;
mod subscribe;
mod whole;

use script::{Talk, check};
