//! PURE: keywords as they were told, with whatever JSON types, in little room. What they mean is
//! for `keywords` to say.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::LazyLock;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::pack::Pack;

/// JSON values by name, in the order of the names. To change one makes all of them anew.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct Values(Pack);

impl Values {
    /// None.
    pub fn none() -> &'static Self {
        static NONE: LazyLock<Values> = LazyLock::new(Values::default);
        &NONE
    }

    /// The value of that name.
    pub fn get(&self, name: &str) -> Option<Value> {
        self.0.entries().get(name).map(unpacked)
    }

    /// The value of that name, where it is a text.
    pub fn text(&self, name: &str) -> Option<&str> {
        text(self.0.entries().get(name)?)
    }

    /// Whether there is a value of that name.
    pub fn contains_key(&self, name: &str) -> bool {
        self.0.entries().get(name).is_some()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.entries().next().is_none()
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Value)> {
        let entries = self.0.entries();
        entries.map(|(name, value)| (name, unpacked(value)))
    }

    /// Whether both have the same names, and the same values but for that of one name.
    pub fn differ_in_no_more_than(&self, other: &Self, one: &str) -> bool {
        let (mut ours, mut theirs) = (self.0.entries(), other.0.entries());
        loop {
            match (ours.next(), theirs.next()) {
                (None, None) => return true,
                (Some((name, ours)), Some((same, theirs))) => {
                    if name != same || (ours != theirs && name != one) {
                        return false;
                    }
                }
                _ => return false,
            }
        }
    }

    /// Puts a value in, in the place of one of the same name.
    pub fn insert(&mut self, name: &str, value: impl Into<Value>) {
        let packed = packed(&value.into());
        let entries = self.0.entries().chain([(name, packed.as_slice())]);
        self.0 = Pack::of(entries.collect());
    }

    /// Takes a value out; returns whether there was one.
    pub fn remove(&mut self, name: &str) -> bool {
        let is_there = self.contains_key(name);
        if is_there {
            let entries = self.0.entries().filter(|(known, _)| *known != name);
            self.0 = Pack::of(entries.collect());
        }
        is_there
    }
}

/// A text as it is, behind a mark that no other JSON begins with; everything else as its JSON text.
fn packed(value: &Value) -> Vec<u8> {
    match value {
        Value::String(text) => [&[TEXT], text.as_bytes()].concat(),
        other => other.to_string().into_bytes(),
    }
}

fn unpacked(packed: &[u8]) -> Value {
    if let Some(text) = text(packed) {
        return text.into();
    }
    match whole(packed) {
        Some(number) => number.into(),
        // It was written as one.
        None => serde_json::from_slice(packed).unwrap_or_default(),
    }
}

/// A number of digits alone, as nearly all are: a parser takes ten times as long.
fn whole(packed: &[u8]) -> Option<u64> {
    let is_one = packed.iter().all(u8::is_ascii_digit);
    is_one.then(|| std::str::from_utf8(packed).ok()?.parse().ok())?
}

fn text(packed: &[u8]) -> Option<&str> {
    std::str::from_utf8(packed.strip_prefix(&[TEXT])?).ok()
}

impl<N: AsRef<str>> FromIterator<(N, Value)> for Values {
    /// Of two values of one name the later one stays.
    fn from_iter<I: IntoIterator<Item = (N, Value)>>(values: I) -> Self {
        let values = values.into_iter();
        Self(Pack::of(
            values.map(|(name, value)| (name, packed(&value))).collect(),
        ))
    }
}

impl<N: AsRef<str>, const N_MANY: usize> From<[(N, Value); N_MANY]> for Values {
    fn from(values: [(N, Value); N_MANY]) -> Self {
        values.into_iter().collect()
    }
}

impl From<BTreeMap<String, Value>> for Values {
    fn from(values: BTreeMap<String, Value>) -> Self {
        values.into_iter().collect()
    }
}

impl fmt::Debug for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl Serialize for Values {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for Values {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        BTreeMap::deserialize(from).map(Self::from)
    }
}

/// The mark of a text.
const TEXT: u8 = b'"';

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_value_comes_back_as_it_was_told() {
        let told = [
            json!(null),
            json!(true),
            json!(-7),
            json!(18_446_744_073_709_551_615_u64),
            json!(0.1),
            json!(1e300),
            json!(""),
            json!("\"7\\ é\n\0"),
            json!(["a", 1, {"b": [null, "\"c"]}]),
            json!({"z": 1, "a": {}}),
        ];
        for value in told {
            let values = Values::from([("one", value.clone())]);
            assert_eq!(values.get("one").as_ref(), Some(&value));
            assert_eq!(values.text("one"), value.as_str());
            assert_eq!(json!(values), json!({"one": value}));
        }
    }

    #[test]
    fn values_are_put_in_and_taken_out() {
        let mut values = Values::from([("b", json!(1)), ("a", json!("x"))]);
        values.insert("c", 3);
        values.insert("a", "y");
        assert_eq!(json!(values), json!({"a": "y", "b": 1, "c": 3}));
        assert!(values.remove("b") && !values.remove("b"));
        assert_eq!(values, Values::from([("a", json!("y")), ("c", json!(3))]));
        assert!(values.contains_key("c") && !values.is_empty() && Values::none().is_empty());
    }

    #[test]
    fn values_differ_in_one_alone_where_all_others_are_the_same() {
        let values = |told: Value| -> Values {
            let told = told.as_object().unwrap().clone();
            told.into_iter().collect()
        };
        let before = values(json!({"expose": "e", "ipaddr": "1"}));
        for (now, expected) in [
            (json!({"expose": "e", "ipaddr": "1"}), true),
            (json!({"expose": "e", "ipaddr": 2}), true),
            (json!({"expose": "f", "ipaddr": "1"}), false),
            (json!({"expose": "e"}), false),
            (json!({"expose": "e", "ipaddr": "1", "z": 1}), false),
            (json!({"expose": "e", "netmask": "1"}), false),
        ] {
            let found = before.differ_in_no_more_than(&values(now.clone()), "ipaddr");
            assert_eq!(found, expected, "{now}");
        }
    }
}
