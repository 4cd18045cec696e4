//! PURE: how a stanza is read, whatever stands in its place: the names of its path go into one
//! text, and no tree is made of it. Thousands a minute are read to find out that nothing is kept
//! of them.

use serde::de::{IgnoredAny, SeqAccess};
use serde_json::Value;

use super::{Place, Stanza, Unapplied};
use crate::opensvc::reading::{Read, Reader};

/// Reads a stanza, or finds that there is none.
pub(in crate::opensvc) struct StanzaReader;

impl<'de> Reader<'de> for StanzaReader {
    type Made = Result<Stanza, Unapplied>;

    fn list<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Self::Made, A::Error> {
        let mut stanza = Stanza {
            names: String::with_capacity(NAMES_BYTES),
            steps: Vec::with_capacity(STEPS),
            value: None,
        };
        let path = parts.next_element_seed(Read(PathReader(&mut stanza)))?;
        stanza.value = parts.next_element()?;
        let mut is_longer = false;
        while parts.next_element::<IgnoredAny>()?.is_some() {
            is_longer = true;
        }
        Ok(match path {
            Some(true) if !is_longer => Ok(stanza),
            _ => Err(Unapplied::Malformed),
        })
    }

    fn other(self, _: Value) -> Self::Made {
        Err(Unapplied::Malformed)
    }
}

/// Reads a path; whether there is one.
struct PathReader<'s>(&'s mut Stanza);

impl<'de> Reader<'de> for PathReader<'_> {
    type Made = bool;

    fn list<A: SeqAccess<'de>>(self, mut steps: A) -> Result<bool, A::Error> {
        while steps.next_element_seed(Read(StepReader(self.0)))?.is_some() {}
        Ok(self.0.depth() > 0)
    }

    fn other(self, _: Value) -> bool {
        false
    }
}

/// Reads an element of a path.
struct StepReader<'s>(&'s mut Stanza);

impl Reader<'_> for StepReader<'_> {
    type Made = ();

    fn text(self, name: &str) {
        let start = self.0.names.len();
        self.0.names.push_str(name);
        self.0.steps.push(Place::Name(start..self.0.names.len()));
    }

    fn other(self, value: Value) {
        self.0.steps.push(match value {
            Value::Number(index) => Place::Index(index),
            _ => Place::Other,
        });
    }
}

/// The room for the names of a path: most are shorter.
const NAMES_BYTES: usize = 96;
/// The room for its elements: no path that the daemon sends is longer.
const STEPS: usize = 10;

#[cfg(test)]
mod tests {
    use serde::de::DeserializeSeed;

    use super::*;

    fn read(text: &str) -> Option<(String, Option<Value>)> {
        let mut reader = serde_json::Deserializer::from_str(text);
        let stanza = Read(StanzaReader).deserialize(&mut reader).unwrap();
        let same = Stanza::from_json(serde_json::from_str(text).unwrap());
        assert_eq!(stanza, same, "{text}");
        let stanza = stanza.ok()?;
        Some((stanza.to_string(), stanza.value().cloned()))
    }

    #[test]
    fn a_path_and_what_is_set_there_are_read_of_a_text_and_of_a_value() {
        for (text, path, value) in [
            (r#"[["a", "b\n", 3, -1, ""]]"#, r"a/b\n/3/-1/", None),
            (r#"[["a"], {"b": [1]}]"#, "a", Some(r#"{"b":[1]}"#)),
            (r#"[["a"], null]"#, "a", Some("null")),
            (
                r#"[[[1], {"a": 1}, null, true, 1.5], 0]"#,
                "?/?/?/?/1.5",
                Some("0"),
            ),
        ] {
            let value = value.map(|text| serde_json::from_str(text).unwrap());
            assert_eq!(read(text), Some((path.to_owned(), value)));
        }
    }

    #[test]
    fn what_is_no_path_and_value_is_none() {
        for text in [
            "null",
            "true",
            "1",
            "-1",
            "1.5",
            r#""a""#,
            r#"{"a": [["b"]]}"#,
            "[]",
            "[[]]",
            "[[], 1]",
            "[1]",
            "[null]",
            "[true]",
            "[-1]",
            "[1.5]",
            r#"["a", 1]"#,
            r#"[{"a": 1}]"#,
            r#"[["a"], 1, 2]"#,
            r#"[["a"], 1, 2, 3]"#,
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
