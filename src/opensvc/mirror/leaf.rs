//! PURE: a small value that a mirror keeps as its JSON text, which takes less room than a tree.

use serde_json::Value;

/// What a text says; null where it says nothing that can be read.
pub(in crate::opensvc) fn unpacked(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_default()
}

/// Whether a value lies deeper than what can be read back of a text.
pub(super) fn is_deep(value: &Value) -> bool {
    is_deeper(value, DEPTH_MAX)
}

fn is_deeper(value: &Value, left: usize) -> bool {
    let Some(left) = left.checked_sub(1) else {
        return true;
    };
    match value {
        Value::Object(map) => map.values().any(|value| is_deeper(value, left)),
        Value::Array(list) => list.iter().any(|value| is_deeper(value, left)),
        _ => false,
    }
}

/// Less deep than what a JSON text is read back of.
const DEPTH_MAX: usize = 100;
