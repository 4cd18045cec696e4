//! The fuzz targets over the recorded traffic, whole and cut: what `cargo fuzz` starts from.

#[path = "../fuzz/targets.rs"]
mod targets;

use std::fs;
use std::path::PathBuf;

/// Every recording whose name begins with one of these.
fn recorded(beginnings: &[&str]) -> Vec<Vec<u8>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/captures/opensvc-2.1");
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let entry = entry.expect("an entry");
        let name = entry.file_name().to_string_lossy().into_owned();
        if beginnings
            .iter()
            .any(|beginning| name.starts_with(beginning))
        {
            files.push(fs::read(entry.path()).expect("a file"));
        }
    }
    assert!(!files.is_empty(), "nothing is recorded of {beginnings:?}");
    files
}

/// Runs the target over each recording, and over what is left of it where it is cut.
fn run(beginnings: &[&str], target: impl Fn(&[u8])) {
    for whole in recorded(beginnings) {
        target(&whole);
        for part in 1..8 {
            target(&whole[..whole.len() * part / 8]);
            target(&whole[whole.len() * part / 8..]);
        }
    }
}

/// Every recording of events in the form that the targets of streams take: the sizes of three
/// reads, and then what `lines` makes of the messages.
fn run_over_streams(target: impl Fn(&[u8]), lines: impl Fn(&[u8]) -> Vec<u8>) {
    for recording in recorded(&["events-"]) {
        let messages = recording.split(|byte| *byte == b'\n');
        let mut data = vec![3, 1, 7, 128];
        data.extend(messages.flat_map(&lines));
        target(&data);
        for part in 1..8 {
            target(&data[..data.len() * part / 8]);
            target(&data[data.len() * part / 8..]);
        }
    }
}

#[test]
fn recorded_frames_are_a_corpus() {
    run_over_streams(targets::frames, |message| [message, b"\0"].concat());
}

#[test]
fn recorded_server_sent_events_are_a_corpus() {
    run(&["h2-"], targets::sse);
    run_over_streams(targets::sse, |message| {
        [b"id: 1\r\ndata: ", message, b"\n\n"].concat()
    });
}

#[test]
fn recorded_messages_are_a_corpus() {
    run(&["events-"], targets::message);
}

#[test]
fn recorded_statuses_are_a_corpus() {
    run(&["status-"], targets::status);
    run(&["status-"], targets::gateway);
}

#[test]
fn recorded_configurations_are_a_corpus() {
    run(&["config-"], targets::config);
}

#[test]
fn patches_and_envoy_json_of_all_shapes_are_a_corpus() {
    for text in [
        r#"[{"a": [1, 2]}, [["a", 2], 3], [["a", 0]], [["b"]], [["a"], {}], 1, [], [[]]]"#,
        r#"{"name": "a", "connect_timeout": "9s", "lb_policy": "RANDOM"}"#,
        r#"{"connect_timeout": "9e99s", "metadata": {"filter_metadata": {"a": {"b": [null]}}}}"#,
    ] {
        targets::json_delta(text.as_bytes());
        targets::envoy_json(text.as_bytes());
    }
}
