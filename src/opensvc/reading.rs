//! PURE: how a value is read whose type nobody vouches for: as an object where it is one, and as
//! whatever it is otherwise. What is made of it is the business of who reads.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// What an object, a list, a text, and what anything else is read as.
pub(super) trait Reader<'de>: Sized {
    type Made;

    fn object<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Made, A::Error> {
        let mut object = Map::new();
        while let Some((name, value)) = entries.next_entry()? {
            object.insert(name, value);
        }
        Ok(self.other(Value::Object(object)))
    }

    fn list<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Made, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(self.other(Value::Array(list)))
    }

    fn text(self, text: &str) -> Self::Made {
        self.other(text.into())
    }

    fn other(self, value: Value) -> Self::Made;
}

/// Reads a value as a reader has it.
pub(super) struct Read<R>(pub(super) R);

impl<'de, R: Reader<'de>> DeserializeSeed<'de> for Read<R> {
    type Value = R::Made;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<R::Made, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de, R: Reader<'de>> Visitor<'de> for Read<R> {
    type Value = R::Made;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<R::Made, A::Error> {
        self.0.object(entries)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<R::Made, A::Error> {
        self.0.list(items)
    }

    fn visit_str<E>(self, text: &str) -> Result<R::Made, E> {
        Ok(self.0.text(text))
    }

    fn visit_bool<E>(self, value: bool) -> Result<R::Made, E> {
        Ok(self.0.other(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<R::Made, E> {
        Ok(self.0.other(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<R::Made, E> {
        Ok(self.0.other(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<R::Made, E> {
        Ok(self.0.other(value.into()))
    }

    fn visit_unit<E>(self) -> Result<R::Made, E> {
        Ok(self.0.other(Value::Null))
    }
}

/// A name, copied only where it is written with escapes.
pub(super) struct Key<'de>(pub(super) Cow<'de, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_str(KeyReader)
    }
}

struct KeyReader;

impl<'de> Visitor<'de> for KeyReader {
    type Value = Key<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Key<'de>, E> {
        Ok(Key(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Key<'de>, E> {
        Ok(Key(Cow::Owned(text.to_owned())))
    }
}
