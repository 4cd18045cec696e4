//! PURE: what a node says of an object, as the JSON text that a mirror keeps of it: written from
//! what the daemon sends, and read as far as something is made of it.
//!
//! Wrong types cost the value that they stand for, or the part that it is in, never more.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::kept::Place;
use super::reading::Key;

/// What a node says of an object, but its resources where these are an object.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::opensvc) struct Rest {
    pub(in crate::opensvc) kind: Loose,
    pub(in crate::opensvc) avail: Loose,
    pub(in crate::opensvc) topology: Loose,
    pub(in crate::opensvc) scale: Loose,
    pub(in crate::opensvc) scaler_slave: Loose,
    pub(in crate::opensvc) monitor: Part<Doing>,
    pub(in crate::opensvc) resources: Loose,
}

/// What the daemon is doing with it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::opensvc) struct Doing {
    pub(in crate::opensvc) status: Loose,
}

/// A configuration of an object.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Config {
    csum: Loose,
}

/// Reads the checksum of a configuration.
pub(in crate::opensvc) fn checksum(text: &str) -> Option<String> {
    let config: Config = serde_json::from_str(text).ok()?;
    config.csum.text()
}

/// What a text says; null where it says nothing that can be read.
pub(super) fn unpacked(text: &str) -> Value {
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

/// A value of which the simple types count.
#[derive(Debug, Default, Eq, PartialEq)]
pub(in crate::opensvc) enum Loose {
    #[default]
    Null,
    Text(String),
    True,
    Number,
    Other,
}

impl Loose {
    /// The text, where it is one.
    pub(in crate::opensvc) fn text(self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Whether it is this text.
    pub(in crate::opensvc) fn is(&self, expected: &str) -> bool {
        matches!(self, Self::Text(text) if text == expected)
    }

    /// Whether it is a text.
    pub(in crate::opensvc) fn is_text(&self) -> bool {
        matches!(self, Self::Text(_))
    }
}

/// An object of a known kind.
#[derive(Debug, Default)]
pub(in crate::opensvc) enum Part<T> {
    /// It is not there.
    #[default]
    Null,
    Some(T),
    /// It is no object.
    Other,
}

/// Reads whatever comes as what is made of it.
struct Reader<T>(PhantomData<T>);

/// What is made of values by their types.
trait Made<'de>: Sized {
    const NULL: Self;
    const OTHER: Self;

    fn text(_: &str) -> Self {
        Self::OTHER
    }

    fn number() -> Self {
        Self::OTHER
    }

    fn boolean(_: bool) -> Self {
        Self::OTHER
    }

    fn map<A: MapAccess<'de>>(mut entries: A) -> Result<Self, A::Error> {
        while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Self::OTHER)
    }
}

impl Made<'_> for Loose {
    const NULL: Self = Self::Null;
    const OTHER: Self = Self::Other;

    fn text(text: &str) -> Self {
        Self::Text(text.to_owned())
    }

    fn number() -> Self {
        Self::Number
    }

    fn boolean(value: bool) -> Self {
        if value { Self::True } else { Self::Other }
    }
}

impl<'de, T: Deserialize<'de>> Made<'de> for Part<T> {
    const NULL: Self = Self::Null;
    const OTHER: Self = Self::Other;

    fn map<A: MapAccess<'de>>(entries: A) -> Result<Self, A::Error> {
        T::deserialize(MapAccessDeserializer::new(entries)).map(Self::Some)
    }
}

impl<'de, T: Made<'de>> Visitor<'de> for Reader<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<T, A::Error> {
        T::map(entries)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<T, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(T::OTHER)
    }

    fn visit_str<E>(self, text: &str) -> Result<T, E> {
        Ok(T::text(text))
    }

    fn visit_bool<E>(self, value: bool) -> Result<T, E> {
        Ok(T::boolean(value))
    }

    fn visit_u64<E>(self, _: u64) -> Result<T, E> {
        Ok(T::number())
    }

    fn visit_i64<E>(self, _: i64) -> Result<T, E> {
        Ok(T::number())
    }

    fn visit_f64<E>(self, _: f64) -> Result<T, E> {
        Ok(T::number())
    }

    fn visit_unit<E>(self) -> Result<T, E> {
        Ok(T::NULL)
    }
}

impl<'de> Deserialize<'de> for Loose {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Reader(PhantomData))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Part<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Reader(PhantomData))
    }
}

/// Writes what is kept of the value at a place, as a JSON text.
pub(super) struct Writer<'t>(pub(super) Place, pub(super) &'t mut String);

impl Writer<'_> {
    fn put(self, value: impl Into<Value>) {
        self.1.push_str(&value.into().to_string());
    }
}

impl<'de> DeserializeSeed<'de> for Writer<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Writer<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let Self(place, text) = self;
        let mut before = '{';
        while let Some(key) = entries.next_key::<Key<'de>>()? {
            let Some(place) = place.child(&key.0) else {
                entries.next_value::<IgnoredAny>()?;
                continue;
            };
            text.push(before);
            before = ',';
            write_text(text, &key.0);
            text.push(':');
            entries.next_value_seed(Writer(place, text))?;
        }
        text.push_str(if before == '{' { "{}" } else { "}" });
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let Self(_, text) = self;
        text.push('[');
        let start = text.len();
        loop {
            let end = text.len();
            if end > start {
                text.push(',');
            }
            if items
                .next_element_seed(Writer(Place::Whole, text))?
                .is_none()
            {
                text.truncate(end);
                break;
            }
        }
        text.push(']');
        Ok(())
    }

    fn visit_str<E>(self, value: &str) -> Result<(), E> {
        write_text(self.1, value);
        Ok(())
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.put(value);
        Ok(())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        self.put(value);
        Ok(())
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.put(value);
        Ok(())
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        self.put(value);
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.put(Value::Null);
        Ok(())
    }
}

/// Writes the name of the next value of an object.
pub(super) fn write_key(to: &mut String, name: &str) {
    to.push(if to.is_empty() { '{' } else { ',' });
    write_text(to, name);
    to.push(':');
}

/// Writes the end of an object.
pub(super) fn write_end(to: &mut String) {
    to.push_str(if to.is_empty() { "{}" } else { "}" });
}

fn write_text(to: &mut String, text: &str) {
    let is_plain = |byte: u8| byte >= b' ' && byte != b'"' && byte != b'\\';
    if text.bytes().all(is_plain) {
        to.push('"');
        to.push_str(text);
        to.push('"');
    } else {
        to.push_str(&Value::from(text).to_string());
    }
}

/// Less deep than what a JSON text is read back of.
const DEPTH_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn written(place: Place, value: &Value) -> Value {
        let mut text = String::new();
        let source = value.to_string();
        let mut from = serde_json::Deserializer::from_str(&source);
        Writer(place, &mut text).deserialize(&mut from).unwrap();
        let read: Value = serde_json::from_str(&text).unwrap();
        let mut again = String::new();
        Writer(place, &mut again)
            .deserialize(value.clone())
            .unwrap();
        assert_eq!(read, serde_json::from_str::<Value>(&again).unwrap());
        read
    }

    #[test]
    fn any_value_is_written_as_it_is() {
        for value in [
            json!({"a\"b\\c\n": ["é\u{1}", {}, [], null, true, -1, 1.5, u64::MAX, 1e300]}),
            json!("text"),
            json!(null),
            json!([[[]], {"": ""}]),
        ] {
            assert_eq!(written(Place::Whole, &value), value);
        }
    }
}
