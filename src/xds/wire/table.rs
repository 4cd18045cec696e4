//! PURE: Envoy's messages and their rules, as the build wrote them down: which fields a message
//! has, what protoc-gen-validate says of them, and which are secret.
//!
//! The table is read where it stands in the program, so it costs nothing until it is asked. Only
//! rules are decoded, each when it is first met. How it is laid out stands in `layout.rs`.

use std::str;
use std::sync::{LazyLock, OnceLock};

use envoy_types::pb::validate::FieldRules;
use prost::Message;

use super::layout::{self, Length, NONE, Number, SECTIONS};
pub(in crate::xds) use super::layout::{Kind, Shape};

static BYTES: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/envoy-table"));

struct Table {
    sections: [&'static [u8]; SECTIONS],
    /// What is decoded so far.
    rules: Box<[OnceLock<Box<FieldRules>>]>,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let mut rest = BYTES.get(SECTIONS * Length::SIZE..).unwrap_or_default();
    let sections = std::array::from_fn(|place| {
        let length = Length::read(BYTES, place).map_or(0, |length| length.bytes as usize);
        let (section, after) = rest.split_at_checked(length).unwrap_or_default();
        rest = after;
        section
    });
    let rules = sections[layout::RULES].len() / layout::Rules::SIZE;
    Table {
        sections,
        rules: (0..rules).map(|_| OnceLock::new()).collect(),
    }
});

impl Table {
    fn blob(&self, place: u32) -> &'static [u8] {
        let rest = self.sections[layout::BLOBS].get(place as usize..);
        let blob = rest.and_then(|rest| {
            let (length, rest) = rest.split_first_chunk()?;
            rest.get(..u16::from_le_bytes(*length).into())
        });
        blob.unwrap_or_default()
    }

    fn text(&self, place: u32) -> &'static str {
        str::from_utf8(self.blob(place)).unwrap_or_default()
    }

    fn rules(&self, place: u16) -> Option<&FieldRules> {
        let decoded = self.rules.get(usize::from(place))?;
        Some(decoded.get_or_init(|| {
            let section = self.sections[layout::RULES];
            let record = layout::Rules::read(section, place.into());
            let bytes = record.map_or(&[][..], |record| self.blob(record.rules));
            Box::new(FieldRules::decode(bytes).unwrap_or_default())
        }))
    }
}

/// A message that Envoy has.
#[derive(Clone, Copy)]
pub(in crate::xds) struct MessageType {
    this: layout::Message,
    next: layout::Message,
}

impl MessageType {
    fn at(place: usize) -> Option<Self> {
        let section = TABLE.sections[layout::MESSAGES];
        Some(Self {
            this: layout::Message::read(section, place)?,
            next: layout::Message::read(section, place + 1)?,
        })
    }

    /// The message with that full name or type URL.
    pub(in crate::xds) fn named(type_url: &str) -> Option<Self> {
        let name = type_url.rsplit('/').next().unwrap_or(type_url);
        let records = TABLE.sections[layout::MESSAGES].len() / layout::Message::SIZE;
        let (mut low, mut high) = (0, records.saturating_sub(1));
        while low < high {
            let middle = low.midpoint(high);
            let found = Self::at(middle)?;
            match found.name().cmp(name) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Equal => return Some(found),
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }

    /// Its full name.
    pub(in crate::xds) fn name(self) -> &'static str {
        TABLE.text(self.this.name)
    }

    /// Whether its rules are switched off.
    pub(in crate::xds) fn is_disabled(self) -> bool {
        self.this.disabled != 0
    }

    /// Its fields, by number.
    pub(in crate::xds) fn fields(self) -> impl Iterator<Item = Field> {
        (self.this.fields..self.next.fields).filter_map(Field::at)
    }

    /// The field of that number.
    pub(in crate::xds) fn field(self, number: u32) -> Option<Field> {
        let (mut low, mut high) = (self.this.fields, self.next.fields);
        while low < high {
            let middle = low.midpoint(high);
            let found = Field::at(middle)?;
            match found.record.number.cmp(&number) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Equal => return Some(found),
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }

    /// The oneofs of which a field must be set, each with the names of its fields.
    pub(in crate::xds) fn needed(self) -> impl Iterator<Item = (u16, &'static str)> {
        let needed = |place: u16| {
            let record = layout::Oneof::read(TABLE.sections[layout::ONEOFS], place.into())?;
            let names = TABLE.text(record.needed);
            (!names.is_empty()).then_some((place, names))
        };
        (self.this.oneofs..self.next.oneofs).filter_map(needed)
    }
}

/// A field of a message.
#[derive(Clone, Copy)]
pub(in crate::xds) struct Field {
    place: u16,
    record: layout::Field,
    /// What one value of it is.
    pub(in crate::xds) kind: Kind,
    /// How many values it has.
    pub(in crate::xds) shape: Shape,
}

impl Field {
    fn at(place: u16) -> Option<Self> {
        let record = layout::Field::read(TABLE.sections[layout::FIELDS], place.into())?;
        Some(Self {
            place,
            record,
            kind: *Kind::ALL.get(usize::from(record.kind))?,
            shape: *Shape::ALL.get(usize::from(record.shape))?,
        })
    }

    /// Whether it is a secret.
    pub(in crate::xds) fn is_sensitive(self) -> bool {
        self.record.sensitive != 0
    }

    /// A number that no other field of any message has.
    pub(super) fn place(self) -> u16 {
        self.place
    }

    /// Its name.
    pub(in crate::xds) fn name(self) -> &'static str {
        TABLE.text(self.record.name)
    }

    /// The oneof that it is in.
    pub(in crate::xds) fn oneof(self) -> Option<u16> {
        Some(self.record.oneof).filter(|oneof| *oneof != NONE)
    }

    /// The message that it holds, or that the entries of a map are.
    pub(in crate::xds) fn message(self) -> Option<MessageType> {
        match self.kind {
            Kind::Message => MessageType::at(self.record.of.into()),
            _ => None,
        }
    }

    /// The keys and the values of a map.
    pub(in crate::xds) fn entry(self) -> Option<(Self, Self)> {
        let entry = self.message()?;
        Some((entry.field(1)?, entry.field(2)?))
    }

    /// Its rules.
    pub(in crate::xds) fn rules(self) -> Option<&'static FieldRules> {
        TABLE.rules(self.record.rules)
    }

    /// Whether the enumeration that it holds has that number.
    pub(in crate::xds) fn has_number(self, number: i32) -> bool {
        let place = |more: usize| {
            let section = TABLE.sections[layout::ENUMERATIONS];
            let record = layout::Enumeration::read(section, usize::from(self.record.of) + more);
            record.map_or(0, |record| record.numbers)
        };
        let section = TABLE.sections[layout::NUMBERS];
        let has = |place: u16| {
            Number::read(section, place.into()).is_some_and(|found| found.value == number)
        };
        self.kind == Kind::Enum && (place(0)..place(1)).any(has)
    }
}
