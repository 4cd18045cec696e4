//! `cargo bench --bench pipeline -- --help`: the way of an event from the daemon's socket to the
//! wire, measured on the real binary. What is measured, and how, is in `pipeline/`.

#![allow(clippy::disallowed_methods, reason = "a benchmark is an edge")]
#![allow(clippy::print_stderr, reason = "it has a terminal")]
#![allow(missing_docs, reason = "nobody builds on a benchmark")]

#[path = "pipeline/mod.rs"]
mod pipeline;

use std::process::ExitCode;

use clap::Parser;

/// Fails where something is wrong, and never for its time.
fn main() -> ExitCode {
    let failures = pipeline::run(&pipeline::Options::parse());
    for failure in &failures {
        eprintln!("WRONG: {failure}");
    }
    match failures.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
