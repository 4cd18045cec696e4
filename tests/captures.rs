//! The recorded traffic of a real agent 2.1: how tests read it.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking, as tests do"
)]

use std::path::PathBuf;

use serde_json::Value;

/// The messages of a recorded event stream.
pub(crate) fn stream(name: &str) -> Vec<Value> {
    let text = capture(&format!("events-{name}.jsonl"));
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    lines.collect()
}

/// A recorded status.
pub(crate) fn status(name: &str) -> Value {
    serde_json::from_str(&capture(&format!("status-{name}.json"))).unwrap()
}

/// The text of a recording.
pub(crate) fn capture(file: &str) -> String {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/captures/opensvc-2.1");
    std::fs::read_to_string(folder.join(file)).unwrap()
}
