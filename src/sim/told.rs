//! What the daemon says, as text: the report of an instance as it is kept, and a status without a
//! copy of it first. A cluster of thousands of objects would take gigabytes as trees, and seconds
//! to be drawn as one. What is said is decided in `status`.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::Value;

/// What the daemon reports of one instance.
#[derive(Clone, Debug)]
pub(super) struct Report {
    text: Box<str>,
    /// Its `avail`.
    pub(super) avail: Option<Box<str>>,
    /// Its `provisioned`.
    pub(super) provisioned: Option<bool>,
}

impl Report {
    /// Keeps a report.
    pub(super) fn new(value: &Value) -> Self {
        let avail = value.get("avail").and_then(Value::as_str);
        Self {
            text: value.to_string().into(),
            avail: avail.map(Into::into),
            provisioned: value.get("provisioned").and_then(Value::as_bool),
        }
    }

    /// The report as a tree.
    pub(super) fn value(&self) -> Value {
        // It was one.
        serde_json::from_str(&self.text).unwrap_or_default()
    }
}

/// A status tree as `daemon_status` answers it: without the instances of which nothing is known.
pub(super) fn status(tree: &Value) -> String {
    let told = Told {
        value: tree,
        below: &["monitor", "nodes", EACH, "services", "status"],
    };
    // A tree that was drawn always has a JSON form.
    serde_json::to_string(&told).unwrap_or_default()
}

/// A value, and the way from it to where instances are left out.
struct Told<'a> {
    value: &'a Value,
    below: &'a [&'a str],
}

impl Serialize for Told<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Value::Object(members) = self.value else {
            return self.value.serialize(serializer);
        };
        let mut map = serializer.serialize_map(None)?;
        for (key, value) in members {
            match self.below.split_first() {
                None if value.get("kind").is_none() => {}
                Some((next, below)) if [EACH, key].contains(next) => {
                    map.serialize_entry(key, &Told { value, below })?;
                }
                _ => map.serialize_entry(key, value)?,
            }
        }
        map.end()
    }
}

/// Stands for every name.
const EACH: &str = "*";
