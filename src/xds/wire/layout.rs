//! PURE: how the table of Envoy's messages and their rules is laid out. The build writes it
//! (`build/table.rs`), the program reads it (`table.rs`): this file is compiled into both.
//!
//! First the length of each section, then the sections; numbers are little-endian. What belongs
//! to a record stands in its section from where the record says to where the next one does.

#![allow(dead_code, reason = "one side writes what the other reads")]

macro_rules! record {
    ($(#[$about:meta])* $name:ident { $($(#[$of:meta])* $field:ident: $kind:ty,)* }) => {
        $(#[$about])*
        #[derive(Clone, Copy)]
        pub(crate) struct $name {
            $($(#[$of])* pub(crate) $field: $kind,)*
        }

        impl $name {
            pub(crate) const SIZE: usize = 0 $(+ size_of::<$kind>())*;

            pub(crate) fn write(&self, section: &mut Vec<u8>) {
                $(section.extend_from_slice(&self.$field.to_le_bytes());)*
            }

            /// The record at that place of its section.
            pub(crate) fn read(section: &[u8], place: usize) -> Option<Self> {
                let rest = section.get(place.checked_mul(Self::SIZE)?..)?;
                $(
                    let (head, rest) = rest.split_first_chunk()?;
                    let $field = <$kind>::from_le_bytes(*head);
                )*
                let _ = rest;
                Some(Self { $($field,)* })
            }
        }
    };
}

record! {
    /// The length of a section in bytes.
    Length { bytes: u32, }
}

record! {
    /// A message; they are in order of their full names. One more closes the section.
    Message {
        /// A blob: the full name.
        name: u32,
        /// Its first field.
        fields: u16,
        /// Its first oneof.
        oneofs: u16,
        /// Whether its rules are switched off.
        disabled: u8,
    }
}

record! {
    /// A field; those of a message are in order of their numbers.
    Field {
        number: u32,
        /// A blob: the name.
        name: u32,
        /// The message or the enumeration that it is of, or [`NONE`].
        of: u16,
        /// The oneof that it is in, or [`NONE`].
        oneof: u16,
        /// Its rules, or [`NONE`].
        rules: u16,
        /// The number of a [`Kind`].
        kind: u8,
        /// The number of a [`Shape`].
        shape: u8,
        /// Whether it is a secret.
        sensitive: u8,
    }
}

record! {
    /// A oneof.
    Oneof {
        /// A blob: the names of its fields if one must be set, else nothing.
        needed: u32,
    }
}

record! {
    /// An enumeration. One more closes the section.
    Enumeration {
        /// Its first number.
        numbers: u16,
    }
}

record! {
    /// A number that an enumeration has.
    Number { value: i32, }
}

record! {
    /// Rules that one field or many have.
    Rules {
        /// A blob: an encoded `validate.FieldRules`.
        rules: u32,
    }
}

/// The places of the sections. The blobs are bytes, each behind its length (u16); the others are
/// records.
pub(crate) const BLOBS: usize = 0;
pub(crate) const MESSAGES: usize = 1;
pub(crate) const FIELDS: usize = 2;
pub(crate) const ONEOFS: usize = 3;
pub(crate) const ENUMERATIONS: usize = 4;
pub(crate) const NUMBERS: usize = 5;
pub(crate) const RULES: usize = 6;
pub(crate) const SECTIONS: usize = 7;

/// No record.
pub(crate) const NONE: u16 = u16::MAX;

/// What one value of a field is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub(crate) enum Kind {
    Double,
    Float,
    Int32,
    Int64,
    Uint32,
    Uint64,
    Sint32,
    Sint64,
    Fixed32,
    Fixed64,
    Sfixed32,
    Sfixed64,
    Bool,
    String,
    Bytes,
    Enum,
    Message,
}

impl Kind {
    pub(crate) const ALL: [Self; 17] = [
        Self::Double,
        Self::Float,
        Self::Int32,
        Self::Int64,
        Self::Uint32,
        Self::Uint64,
        Self::Sint32,
        Self::Sint64,
        Self::Fixed32,
        Self::Fixed64,
        Self::Sfixed32,
        Self::Sfixed64,
        Self::Bool,
        Self::String,
        Self::Bytes,
        Self::Enum,
        Self::Message,
    ];
}

/// How many values a field has, and when it has one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub(crate) enum Shape {
    /// One, which is the default value where none is sent.
    Implicit,
    /// One or none.
    Explicit,
    /// A list.
    List,
    /// A map; it is of the message of its entries.
    Map,
}

impl Shape {
    pub(crate) const ALL: [Self; 4] = [Self::Implicit, Self::Explicit, Self::List, Self::Map];
}
