//! PURE: how a stanza is read, whatever stands in its place: the names of its path go into one
//! text, and no tree is made of it. Thousands a minute are read to find out that nothing is kept
//! of them.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Number, Value};

use super::{Stanza, Unapplied};

/// A stanza, or why it is none.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::opensvc) struct Read(pub(in crate::opensvc) Result<Stanza, Unapplied>);

/// An element of a path as it is given.
pub(super) enum Given<'a> {
    Name(Cow<'a, str>),
    Index(Number),
    Other,
}

/// A path, or nothing where there is none.
struct Path(Option<Stanza>);

/// Visits what is a list, and passes over whatever else it is.
macro_rules! all_but_a_list {
    ($none:expr) => {
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a JSON value")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
            while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            Ok($none)
        }

        fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
            Ok($none)
        }

        fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
            Ok($none)
        }

        fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
            Ok($none)
        }

        fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
            Ok($none)
        }

        fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
            Ok($none)
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok($none)
        }
    };
}

impl<'de> Deserialize<'de> for Read {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(StanzaVisitor)
    }
}

struct StanzaVisitor;

impl<'de> Visitor<'de> for StanzaVisitor {
    type Value = Read;

    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Read, A::Error> {
        let path = parts.next_element::<Path>()?.and_then(|path| path.0);
        let value: Option<Value> = parts.next_element()?;
        let mut is_longer = false;
        while parts.next_element::<IgnoredAny>()?.is_some() {
            is_longer = true;
        }
        Ok(Read(match path {
            Some(path) if !is_longer => Ok(Stanza { value, ..path }),
            _ => Err(Unapplied::Malformed),
        }))
    }

    all_but_a_list!(Read(Err(Unapplied::Malformed)));
}

impl<'de> Deserialize<'de> for Path {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(PathVisitor)
    }
}

struct PathVisitor;

impl<'de> Visitor<'de> for PathVisitor {
    type Value = Path;

    fn visit_seq<A: SeqAccess<'de>>(self, mut steps: A) -> Result<Path, A::Error> {
        let mut path = Stanza::default();
        while let Some(step) = steps.next_element()? {
            path.push(step);
        }
        Ok(Path((path.depth() > 0).then_some(path)))
    }

    all_but_a_list!(Path(None));
}

impl<'de> Deserialize<'de> for Given<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(GivenVisitor)
    }
}

struct GivenVisitor;

impl<'de> Visitor<'de> for GivenVisitor {
    type Value = Given<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Given<'de>, E> {
        Ok(Given::Name(name.into()))
    }

    fn visit_str<E>(self, name: &str) -> Result<Given<'de>, E> {
        Ok(Given::Name(name.to_owned().into()))
    }

    fn visit_u64<E>(self, index: u64) -> Result<Given<'de>, E> {
        Ok(Given::Index(index.into()))
    }

    fn visit_i64<E>(self, index: i64) -> Result<Given<'de>, E> {
        Ok(Given::Index(index.into()))
    }

    fn visit_f64<E>(self, index: f64) -> Result<Given<'de>, E> {
        Ok(Number::from_f64(index).map_or(Given::Other, Given::Index))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Given<'de>, E> {
        Ok(Given::Other)
    }

    fn visit_unit<E>(self) -> Result<Given<'de>, E> {
        Ok(Given::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Given<'de>, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Given::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Given<'de>, A::Error> {
        while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Given::Other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<(String, Option<Value>)> {
        let Read(stanza) = serde_json::from_str(text).unwrap();
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
