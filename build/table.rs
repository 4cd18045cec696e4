//! Writes the table of Envoy's messages, by which the program checks what it encodes: names,
//! fields, what protoc-gen-validate says of them, and which are secret. Nothing else of the
//! descriptors is in it. How it is laid out stands in `layout.rs`.

use std::collections::BTreeMap;

use protox::prost_reflect::{
    self, DescriptorPool, ExtensionDescriptor, FieldDescriptor, MessageDescriptor, OneofDescriptor,
    Value,
};

use super::Result;
use super::layout::{
    BLOBS, ENUMERATIONS, Enumeration, FIELDS, Field, Kind, Length, MESSAGES, Message, NONE,
    NUMBERS, Number, ONEOFS, Oneof, RULES, Rules, SECTIONS, Shape,
};
use prost::Message as _;

/// Makes the table of an encoded `FileDescriptorSet`.
pub(crate) fn table(set: &[u8]) -> Result<Vec<u8>> {
    let pool = DescriptorPool::decode(set)?;
    let names = |names: BTreeMap<String, ()>| -> Result<BTreeMap<String, u16>> {
        let numbered = names.into_keys().enumerate();
        numbered
            .map(|(place, name)| Ok((name, id(place)?)))
            .collect()
    };
    let all = pool
        .all_messages()
        .map(|it| (it.full_name().to_owned(), ()));
    let messages = names(all.collect())?;
    let all = pool.all_enums().map(|it| (it.full_name().to_owned(), ()));
    let enumerations = names(all.collect())?;
    let mut writer = Writer {
        options: Options::of(&pool)?,
        messages,
        enumerations,
        sections: Default::default(),
        blobs: BTreeMap::new(),
        rules: BTreeMap::new(),
        secrets: 0,
    };
    writer.write(&pool)?;
    let mut table = Vec::new();
    for section in &writer.sections {
        let bytes = u32::try_from(section.len())?;
        Length { bytes }.write(&mut table);
    }
    table.extend(writer.sections.concat());
    Ok(table)
}

/// The options in which the rules stand.
struct Options {
    rules: ExtensionDescriptor,
    required: ExtensionDescriptor,
    disabled: ExtensionDescriptor,
    ignored: ExtensionDescriptor,
    sensitive: ExtensionDescriptor,
}

impl Options {
    fn of(pool: &DescriptorPool) -> Result<Self> {
        let option = |name: &str| {
            let found = pool.get_extension_by_name(name);
            found.ok_or_else(|| format!("no option {name}"))
        };
        Ok(Self {
            rules: option("validate.rules")?,
            required: option("validate.required")?,
            disabled: option("validate.disabled")?,
            ignored: option("validate.ignored")?,
            sensitive: option("udpa.annotations.sensitive")?,
        })
    }
}

struct Writer {
    options: Options,
    messages: BTreeMap<String, u16>,
    enumerations: BTreeMap<String, u16>,
    sections: [Vec<u8>; SECTIONS],
    /// Where each blob stands, and each record of rules: equal ones are written once.
    blobs: BTreeMap<Vec<u8>, u32>,
    rules: BTreeMap<u32, u16>,
    /// How many fields are secret.
    secrets: usize,
}

impl Writer {
    fn write(&mut self, pool: &DescriptorPool) -> Result<()> {
        let names: Vec<String> = self.messages.keys().cloned().collect();
        for name in names {
            let message = pool.get_message_by_name(&name).ok_or("no such message")?;
            self.message(&message)?;
        }
        self.message_record(0, false)?;
        if self.rules.is_empty() {
            return Err("no field has rules".into());
        }
        // Every key would count as harmless.
        if self.secrets == 0 {
            return Err("no field is secret".into());
        }
        let names: Vec<String> = self.enumerations.keys().cloned().collect();
        for name in names {
            self.enumeration_record()?;
            let found = pool.get_enum_by_name(&name).ok_or("no such enumeration")?;
            for value in found.values().map(|value| value.number()) {
                Number { value }.write(&mut self.sections[NUMBERS]);
            }
        }
        self.enumeration_record()
    }

    fn message(&mut self, message: &MessageDescriptor) -> Result<()> {
        let options = message.options();
        let off = [&self.options.disabled, &self.options.ignored];
        let disabled = off.map(|off| options.get_extension(off).as_bool() == Some(true));
        let name = self.blob(message.full_name().as_bytes())?;
        self.message_record(name, disabled.contains(&true))?;
        let first = self.sections[ONEOFS].len() / Oneof::SIZE;
        for oneof in message.oneofs() {
            self.oneof(&oneof)?;
        }
        for field in message.fields() {
            let place = field.containing_oneof().and_then(|oneof| {
                let place = message.oneofs().position(|other| other == oneof)?;
                (!oneof.is_synthetic()).then_some(first + place)
            });
            let oneof = place.map_or(Ok(NONE), id)?;
            self.field(&field, oneof)?;
        }
        Ok(())
    }

    fn message_record(&mut self, name: u32, disabled: bool) -> Result<()> {
        let record = Message {
            name,
            fields: id(self.sections[FIELDS].len() / Field::SIZE)?,
            oneofs: id(self.sections[ONEOFS].len() / Oneof::SIZE)?,
            disabled: disabled.into(),
        };
        record.write(&mut self.sections[MESSAGES]);
        Ok(())
    }

    fn oneof(&mut self, oneof: &OneofDescriptor) -> Result<()> {
        let required = oneof
            .options()
            .get_extension(&self.options.required)
            .as_bool();
        let names: Vec<String> = oneof
            .fields()
            .map(|field| field.name().to_owned())
            .filter(|_| required == Some(true))
            .collect();
        let needed = self.blob(names.join(", ").as_bytes())?;
        Oneof { needed }.write(&mut self.sections[ONEOFS]);
        Ok(())
    }

    fn field(&mut self, field: &FieldDescriptor, oneof: u16) -> Result<()> {
        if field.is_group() {
            return Err(format!("{}: groups are not read", field.full_name()).into());
        }
        let shape = match () {
            () if field.is_map() => Shape::Map,
            () if field.is_list() => Shape::List,
            () if field.supports_presence() => Shape::Explicit,
            () => Shape::Implicit,
        };
        let (kind, of) = match field.kind() {
            prost_reflect::Kind::Message(of) => (Kind::Message, self.messages.get(of.full_name())),
            prost_reflect::Kind::Enum(of) => (Kind::Enum, self.enumerations.get(of.full_name())),
            scalar => (kind(&scalar)?, Some(&NONE)),
        };
        let sensitive = field.options();
        let sensitive = sensitive.get_extension(&self.options.sensitive);
        let sensitive = sensitive.as_bool() == Some(true);
        self.secrets += usize::from(sensitive);
        let record = Field {
            number: field.number(),
            of: *of.ok_or("a field of no known type")?,
            oneof,
            name: self.blob(field.name().as_bytes())?,
            rules: self.rules(field)?,
            kind: kind as u8,
            shape: shape as u8,
            sensitive: sensitive.into(),
        };
        record.write(&mut self.sections[FIELDS]);
        Ok(())
    }

    fn rules(&mut self, field: &FieldDescriptor) -> Result<u16> {
        // An unset option reads as its default, which is not the same as no rules.
        let options = field.options();
        if !options.has_extension(&self.options.rules) {
            return Ok(NONE);
        }
        let rules = options.get_extension(&self.options.rules);
        let Value::Message(rules) = rules.as_ref() else {
            return Err("rules are no message".into());
        };
        let rules = self.blob(&rules.encode_to_vec())?;
        let next = id(self.rules.len())?;
        Ok(*self.rules.entry(rules).or_insert_with(|| {
            Rules { rules }.write(&mut self.sections[RULES]);
            next
        }))
    }

    fn enumeration_record(&mut self) -> Result<()> {
        let numbers = id(self.sections[NUMBERS].len() / Number::SIZE)?;
        Enumeration { numbers }.write(&mut self.sections[ENUMERATIONS]);
        Ok(())
    }

    fn blob(&mut self, bytes: &[u8]) -> Result<u32> {
        if let Some(place) = self.blobs.get(bytes) {
            return Ok(*place);
        }
        let section = &mut self.sections[BLOBS];
        let place = u32::try_from(section.len())?;
        section.extend_from_slice(&u16::try_from(bytes.len())?.to_le_bytes());
        section.extend_from_slice(bytes);
        self.blobs.insert(bytes.to_owned(), place);
        Ok(place)
    }
}

fn kind(kind: &prost_reflect::Kind) -> Result<Kind> {
    use prost_reflect::Kind as Of;
    Ok(match kind {
        Of::Double => Kind::Double,
        Of::Float => Kind::Float,
        Of::Int32 => Kind::Int32,
        Of::Int64 => Kind::Int64,
        Of::Uint32 => Kind::Uint32,
        Of::Uint64 => Kind::Uint64,
        Of::Sint32 => Kind::Sint32,
        Of::Sint64 => Kind::Sint64,
        Of::Fixed32 => Kind::Fixed32,
        Of::Fixed64 => Kind::Fixed64,
        Of::Sfixed32 => Kind::Sfixed32,
        Of::Sfixed64 => Kind::Sfixed64,
        Of::Bool => Kind::Bool,
        Of::String => Kind::String,
        Of::Bytes => Kind::Bytes,
        Of::Enum(_) | Of::Message(_) => return Err("not a scalar".into()),
    })
}

/// A number of a record; [`NONE`] is none.
fn id(place: usize) -> Result<u16> {
    let id = u16::try_from(place).ok().filter(|id| *id != NONE);
    id.ok_or_else(|| "the table of rules has outgrown its numbers".into())
}
