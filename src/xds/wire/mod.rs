//! PURE: encoded messages, read as protobuf says: what is sent last counts, parts of a message
//! are put together, what is unknown is passed over. Nothing is copied.
//!
//! Which values are good is not known here. What a message has is in `table`, so no descriptors
//! are loaded for any of it.
//!
//! <https://protobuf.dev/programming-guides/encoding/>

mod layout;
mod table;

use std::collections::BTreeMap;
use std::{fmt, str};

use prost::DecodeError;
use prost::encoding::{WireType, decode_key, decode_varint};

use self::table::Kind;
pub(super) use self::table::{Field, MessageType, Shape};
use super::json::ANY;

/// These bytes are not the message that they should be.
#[derive(Debug)]
pub(super) struct Damaged;

impl From<DecodeError> for Damaged {
    fn from(_: DecodeError) -> Self {
        Self
    }
}

type Result<T> = std::result::Result<T, Damaged>;

/// A message and what it holds.
pub(super) struct Message<'a> {
    pub(super) of: MessageType,
    /// In order of the fields.
    members: Vec<Member<'a>>,
}

struct Member<'a> {
    field: Field,
    value: Value<'a>,
}

/// What a field holds.
pub(super) enum Value<'a> {
    Bool(bool),
    I32(i32),
    I64(i64),
    U32(u32),
    U64(u64),
    F32(f32),
    F64(f64),
    String(&'a str),
    Bytes(&'a [u8]),
    Enum(i32),
    Message(Message<'a>),
    List(Vec<Self>),
    Map(BTreeMap<Key<'a>, Self>),
}

/// The key of an entry of a map.
#[derive(Clone, Copy, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Key<'a> {
    Bool(bool),
    I32(i32),
    I64(i64),
    U32(u32),
    U64(u64),
    String(&'a str),
}

/// What tells one value from others of its field.
#[derive(Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Identity<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl fmt::Display for Key<'_> {
    /// As protobuf's text format has it, which puts texts in quotes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(key) => key.fmt(f),
            Self::I32(key) => key.fmt(f),
            Self::I64(key) => key.fmt(f),
            Self::U32(key) => key.fmt(f),
            Self::U64(key) => key.fmt(f),
            Self::String(key) => prost_reflect::Value::String((*key).to_owned()).fmt(f),
        }
    }
}

impl<'a> From<Key<'a>> for Value<'a> {
    fn from(key: Key<'a>) -> Self {
        match key {
            Key::Bool(key) => Self::Bool(key),
            Key::I32(key) => Self::I32(key),
            Key::I64(key) => Self::I64(key),
            Key::U32(key) => Self::U32(key),
            Key::U64(key) => Self::U64(key),
            Key::String(key) => Self::String(key),
        }
    }
}

impl<'a> Message<'a> {
    fn new(of: MessageType) -> Self {
        Self {
            of,
            members: Vec::new(),
        }
    }

    /// Reads the bytes, and all messages in them that are not packed.
    ///
    /// # Errors
    /// When they are no message of the type, or messages are too deep in each other.
    pub(super) fn read(of: MessageType, mut bytes: &'a [u8]) -> Result<Self> {
        let mut message = Self::new(of);
        message.merge(&mut bytes, DEPTH_MAX)?;
        Ok(message)
    }

    /// What was sent for the field, be it what would be there anyway.
    pub(super) fn sent(&self, field: Field) -> Option<&Value<'a>> {
        let place = self.place(field).ok()?;
        self.members.get(place).map(|member| &member.value)
    }

    /// What was sent for the field of that number.
    pub(super) fn numbered(&self, number: u32) -> Option<&Value<'a>> {
        self.sent(self.of.field(number)?)
    }

    /// What the field holds, if it is set.
    pub(super) fn set(&self, field: Field) -> Option<&Value<'a>> {
        let value = self.sent(field)?;
        (field.shape == Shape::Explicit || !value.is_default()).then_some(value)
    }

    /// Whether one of the fields of a oneof is set.
    pub(super) fn has_one(&self, oneof: u16) -> bool {
        let mut members = self.members.iter();
        members.any(|member| member.field.oneof() == Some(oneof))
    }

    /// The fields that are set, and what they hold.
    pub(super) fn members(&self) -> impl Iterator<Item = (Field, &Value<'a>)> {
        let members = self.members.iter();
        members.filter_map(|member| Some((member.field, self.set(member.field)?)))
    }

    /// The type URL and the bytes of what is packed in it, if it is there for that.
    pub(super) fn packed(&self) -> Option<(&'a str, &'a [u8])> {
        if self.of.name() != ANY {
            return None;
        }
        let url = match self.numbered(1) {
            Some(Value::String(url)) => *url,
            _ => "",
        };
        let body = match self.numbered(2) {
            Some(Value::Bytes(body)) => *body,
            _ => &[],
        };
        Some((url, body))
    }

    /// Where the field stands, or would.
    fn place(&self, field: Field) -> std::result::Result<usize, usize> {
        let place = |member: &Member<'_>| member.field.place().cmp(&field.place());
        self.members.binary_search_by(place)
    }

    fn merge(&mut self, bytes: &mut &'a [u8], depth: u32) -> Result<()> {
        while !bytes.is_empty() {
            let (number, wire) = decode_key(bytes)?;
            match self.of.field(number) {
                Some(field) => self.member(field).merge(field, wire, bytes, depth)?,
                None => skip(number, wire, bytes, depth)?,
            }
        }
        Ok(())
    }

    fn member(&mut self, field: Field) -> &mut Value<'a> {
        if field.oneof().is_some() {
            let (oneof, place) = (field.oneof(), field.place());
            self.members
                .retain(|member| member.field.oneof() != oneof || member.field.place() == place);
        }
        let at = self.place(field).unwrap_or_else(|at| {
            let value = Value::default(field);
            self.members.insert(at, Member { field, value });
            at
        });
        &mut self.members[at].value
    }
}

impl<'a> Value<'a> {
    /// What a field holds of which nothing was sent.
    pub(super) fn default(field: Field) -> Self {
        match field.shape {
            Shape::List => Self::List(Vec::new()),
            Shape::Map => Self::Map(BTreeMap::new()),
            Shape::Implicit | Shape::Explicit => Self::of_one(field),
        }
    }

    /// An item that is empty.
    fn of_one(field: Field) -> Self {
        match (field.kind, field.message()) {
            (Kind::Double, _) => Self::F64(0.0),
            (Kind::Float, _) => Self::F32(0.0),
            (Kind::Int32 | Kind::Sint32 | Kind::Sfixed32, _) => Self::I32(0),
            (Kind::Int64 | Kind::Sint64 | Kind::Sfixed64, _) => Self::I64(0),
            (Kind::Uint32 | Kind::Fixed32, _) => Self::U32(0),
            (Kind::Uint64 | Kind::Fixed64, _) => Self::U64(0),
            (Kind::Bool, _) => Self::Bool(false),
            (Kind::String, _) => Self::String(""),
            (Kind::Enum, _) => Self::Enum(0),
            (Kind::Message, Some(of)) => Self::Message(Message::new(of)),
            (Kind::Bytes | Kind::Message, _) => Self::Bytes(&[]),
        }
    }

    /// What items that are the same have in common. The rule that there may be no such items is
    /// only for scalars and enumerations.
    pub(super) fn identity(&self) -> Option<Identity<'a>> {
        // There are many NaN, which all read the same.
        let float = |value: f64| if value.is_nan() { f64::NAN } else { value };
        Some(match self {
            Self::Bool(value) => Identity::Number(u64::from(*value)),
            Self::I32(value) | Self::Enum(value) => Identity::Number(*value as u64),
            Self::I64(value) => Identity::Number(*value as u64),
            Self::U32(value) => Identity::Number(u64::from(*value)),
            Self::U64(value) => Identity::Number(*value),
            Self::F32(value) => Identity::Number(float((*value).into()).to_bits()),
            Self::F64(value) => Identity::Number(float(*value).to_bits()),
            Self::String(value) => Identity::Bytes(value.as_bytes()),
            Self::Bytes(value) => Identity::Bytes(value),
            Self::Message(_) | Self::List(_) | Self::Map(_) => return None,
        })
    }

    fn is_default(&self) -> bool {
        match self {
            Self::Bool(value) => !value,
            Self::I32(value) | Self::Enum(value) => *value == 0,
            Self::I64(value) => *value == 0,
            Self::U32(value) => *value == 0,
            Self::U64(value) => *value == 0,
            Self::F32(value) => *value == 0.0,
            Self::F64(value) => *value == 0.0,
            Self::String(value) => value.is_empty(),
            Self::Bytes(value) => value.is_empty(),
            Self::Message(_) => false,
            Self::List(items) => items.is_empty(),
            Self::Map(entries) => entries.is_empty(),
        }
    }

    /// Takes in what was sent for the field once more.
    fn merge(
        &mut self,
        field: Field,
        wire: WireType,
        bytes: &mut &'a [u8],
        depth: u32,
    ) -> Result<()> {
        match self {
            Self::List(items) => {
                if wire == WireType::LengthDelimited && wire != wire_of(field.kind) {
                    let mut packed = delimited(bytes)?;
                    while !packed.is_empty() {
                        items.push(scalar(field.kind, &mut packed)?);
                    }
                } else {
                    let mut item = Self::of_one(field);
                    item.merge_one(field.kind, wire, bytes, depth)?;
                    items.push(item);
                }
                Ok(())
            }
            Self::Map(entries) => {
                let (key, value) = entry(field, delimited(bytes)?, depth)?;
                entries.insert(key, value);
                Ok(())
            }
            one => one.merge_one(field.kind, wire, bytes, depth),
        }
    }

    fn merge_one(
        &mut self,
        kind: Kind,
        wire: WireType,
        bytes: &mut &'a [u8],
        depth: u32,
    ) -> Result<()> {
        if wire != wire_of(kind) {
            return Err(Damaged);
        }
        match self {
            Self::Message(message) => {
                let depth = depth.checked_sub(1).ok_or(Damaged)?;
                message.merge(&mut delimited(bytes)?, depth)
            }
            one => {
                *one = scalar(kind, bytes)?;
                Ok(())
            }
        }
    }
}

/// An entry of a map. Where the key or the value is missing, it is the default.
fn entry<'a>(field: Field, mut bytes: &'a [u8], depth: u32) -> Result<(Key<'a>, Value<'a>)> {
    let (of_key, of_value) = field.entry().ok_or(Damaged)?;
    let (mut key, mut value) = (Value::default(of_key), Value::default(of_value));
    while !bytes.is_empty() {
        match decode_key(&mut bytes)? {
            (1, wire) => key.merge(of_key, wire, &mut bytes, depth)?,
            (2, wire) => value.merge(of_value, wire, &mut bytes, depth)?,
            (number, wire) => skip(number, wire, &mut bytes, depth)?,
        }
    }
    let key = match key {
        Value::Bool(key) => Key::Bool(key),
        Value::I32(key) => Key::I32(key),
        Value::I64(key) => Key::I64(key),
        Value::U32(key) => Key::U32(key),
        Value::U64(key) => Key::U64(key),
        Value::String(key) => Key::String(key),
        _ => return Err(Damaged),
    };
    Ok((key, value))
}

/// A value that is no message.
fn scalar<'a>(kind: Kind, bytes: &mut &'a [u8]) -> Result<Value<'a>> {
    Ok(match kind {
        Kind::Double => Value::F64(f64::from_le_bytes(fixed(bytes)?)),
        Kind::Float => Value::F32(f32::from_le_bytes(fixed(bytes)?)),
        Kind::Int32 => Value::I32(decode_varint(bytes)? as i32),
        Kind::Int64 => Value::I64(decode_varint(bytes)? as i64),
        Kind::Uint32 => Value::U32(decode_varint(bytes)? as u32),
        Kind::Uint64 => Value::U64(decode_varint(bytes)?),
        Kind::Sint32 => Value::I32(zigzag(decode_varint(bytes)? & 0xffff_ffff) as i32),
        Kind::Sint64 => Value::I64(zigzag(decode_varint(bytes)?)),
        Kind::Fixed32 => Value::U32(u32::from_le_bytes(fixed(bytes)?)),
        Kind::Fixed64 => Value::U64(u64::from_le_bytes(fixed(bytes)?)),
        Kind::Sfixed32 => Value::I32(i32::from_le_bytes(fixed(bytes)?)),
        Kind::Sfixed64 => Value::I64(i64::from_le_bytes(fixed(bytes)?)),
        Kind::Bool => Value::Bool(decode_varint(bytes)? != 0),
        Kind::String => Value::String(str::from_utf8(delimited(bytes)?).map_err(|_| Damaged)?),
        Kind::Bytes => Value::Bytes(delimited(bytes)?),
        Kind::Enum => Value::Enum(decode_varint(bytes)? as i32),
        Kind::Message => return Err(Damaged),
    })
}

/// How a value of the kind is sent that is not in a packed list.
fn wire_of(kind: Kind) -> WireType {
    match kind {
        Kind::Double | Kind::Fixed64 | Kind::Sfixed64 => WireType::SixtyFourBit,
        Kind::Float | Kind::Fixed32 | Kind::Sfixed32 => WireType::ThirtyTwoBit,
        Kind::String | Kind::Bytes | Kind::Message => WireType::LengthDelimited,
        Kind::Int32 | Kind::Int64 | Kind::Uint32 | Kind::Uint64 => WireType::Varint,
        Kind::Sint32 | Kind::Sint64 | Kind::Bool | Kind::Enum => WireType::Varint,
    }
}

fn zigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

fn fixed<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk().ok_or(Damaged)?;
    *bytes = rest;
    Ok(*head)
}

fn delimited<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8]> {
    let length = usize::try_from(decode_varint(bytes)?).map_err(|_| Damaged)?;
    let (head, rest) = bytes.split_at_checked(length).ok_or(Damaged)?;
    *bytes = rest;
    Ok(head)
}

/// Passes over a field that is not known.
fn skip(number: u32, wire: WireType, bytes: &mut &[u8], depth: u32) -> Result<()> {
    match wire {
        WireType::Varint => decode_varint(bytes).map(drop)?,
        WireType::SixtyFourBit => fixed::<8>(bytes).map(drop)?,
        WireType::ThirtyTwoBit => fixed::<4>(bytes).map(drop)?,
        WireType::LengthDelimited => delimited(bytes).map(drop)?,
        WireType::StartGroup => {
            let depth = depth.checked_sub(1).ok_or(Damaged)?;
            loop {
                match decode_key(bytes)? {
                    (end, WireType::EndGroup) if end == number => break,
                    (inner, wire) => skip(inner, wire, bytes, depth)?,
                }
            }
        }
        WireType::EndGroup => return Err(Damaged),
    }
    Ok(())
}

/// Messages in messages: as many as prost reads.
const DEPTH_MAX: u32 = 100;

#[cfg(test)]
mod tests {
    use prost::encoding::{sint32, sint64};

    use super::*;

    #[test]
    fn negative_numbers_are_read_as_prost_writes_them() {
        for number in [0, 1, -1, 2, i64::from(i32::MIN), i64::from(i32::MAX)] {
            let (mut short, mut long) = (Vec::new(), Vec::new());
            sint32::encode(1, &(number as i32), &mut short);
            sint64::encode(1, &number, &mut long);
            // Behind the key, which is one byte.
            let short = scalar(Kind::Sint32, &mut &short[1..]).unwrap();
            let long = scalar(Kind::Sint64, &mut &long[1..]).unwrap();
            assert!(matches!(short, Value::I32(read) if i64::from(read) == number));
            assert!(matches!(long, Value::I64(read) if read == number));
        }
    }

    #[test]
    fn numbers_that_are_none_are_the_same() {
        let nan = |bits| Value::F64(f64::from_bits(bits)).identity();
        assert!(nan(0x7ff8_0000_0000_0000) == nan(0x7ff8_0000_0000_0001));
        assert!(Value::F64(0.0).identity() != Value::F64(-0.0).identity());
    }
}
