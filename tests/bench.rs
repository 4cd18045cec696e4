//! The end-to-end benchmark, small: what it checks on its way must hold, however long it takes.

#[path = "../benches/pipeline/mod.rs"]
mod pipeline;

use pipeline::Options;

#[test]
fn the_benchmark_finds_nothing_wrong() {
    let failures = pipeline::run(&Options::quick());
    assert!(failures.is_empty(), "{failures:#?}");
}
