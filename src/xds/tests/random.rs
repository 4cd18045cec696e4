//! PURE: random messages of all of Envoy's types, with values at the borders of their rules.

use envoy_types::pb::google::protobuf::Duration;
use envoy_types::pb::validate::FieldRules;
use envoy_types::pb::validate::field_rules::Type;
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint};
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, Value};

use crate::xds::api::api;
use crate::xds::json::ANY;
use crate::xds::wire::MessageType;

/// The types of message that are checked: not those that describe messages, whose options are
/// extensions.
pub(in crate::xds) fn messages() -> Vec<MessageDescriptor> {
    let all = api().unwrap().pool.all_messages();
    all.filter(|message| {
        let descriptors = message.parent_file().name() == "google/protobuf/descriptor.proto";
        !descriptors && !message.is_map_entry()
    })
    .collect()
}

/// Chance, the same in every run.
pub(in crate::xds) struct Random(u64);

impl Random {
    pub(in crate::xds) fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    /// splitmix64, <https://prng.di.unimi.it/splitmix64.c>
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    fn one_in(&mut self, many: usize) -> bool {
        self.below(many) == 0
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }

    /// A message as it may come: in one part or in two, with more that is unknown or not packed.
    pub(in crate::xds) fn encoded(&mut self, of: &MessageDescriptor) -> Vec<u8> {
        let mut body = self.message(of, LEVELS).encode_to_vec();
        if self.one_in(4) {
            body.extend(self.message(of, LEVELS - 1).encode_to_vec());
        }
        if self.one_in(8) {
            encode_key(500_000, WireType::Varint, &mut body);
            encode_varint(self.next(), &mut body);
        }
        for field in of.fields().filter(FieldDescriptor::is_list) {
            if matches!(field.kind(), Kind::Uint32 | Kind::Enum(_)) && self.one_in(2) {
                encode_key(field.number(), WireType::Varint, &mut body);
                encode_varint(self.next() >> self.below(64), &mut body);
            }
        }
        body
    }

    /// Changes a byte, or cuts off what is behind it.
    pub(in crate::xds) fn damage(&mut self, body: &mut Vec<u8>) {
        let place = self.below(body.len());
        match body.get_mut(place) {
            Some(byte) if self.one_in(2) => *byte ^= 1 << self.below(8),
            Some(_) => body.truncate(place),
            None => body.push(self.next() as u8),
        }
    }

    fn message(&mut self, of: &MessageDescriptor, levels: usize) -> DynamicMessage {
        let mut message = DynamicMessage::new(of.clone());
        if of.full_name() == ANY {
            self.any(&mut message, levels);
            return message;
        }
        // Few fields or many; all of them in a good message.
        let rules = MessageType::named(of.full_name());
        let rare = self.pick(&[1, 2, 4, 16]);
        for field in of.fields() {
            let deep = matches!(field.kind(), Kind::Message(_));
            if self.one_in(rare) && !(deep && (levels == 0 || self.one_in(2))) {
                let rules = rules.and_then(|it| it.field(field.number())?.rules());
                let value = self.value(&field, rules, levels);
                message.set_field(&field, value);
            }
        }
        message
    }

    fn any(&mut self, message: &mut DynamicMessage, levels: usize) {
        let name = self.pick(&PACKED);
        let packed = api().unwrap().message(name);
        let body = packed.map(|of| self.message(&of, levels.saturating_sub(1)));
        let mut body = body
            .map(|packed| packed.encode_to_vec())
            .unwrap_or_default();
        if self.one_in(8) {
            self.damage(&mut body);
        }
        let url = self.pick(&["type.googleapis.com/", ""]);
        message.set_field_by_name("type_url", Value::String(format!("{url}{name}")));
        message.set_field_by_name("value", Value::Bytes(body.into()));
    }

    fn value(
        &mut self,
        field: &FieldDescriptor,
        rules: Option<&FieldRules>,
        levels: usize,
    ) -> Value {
        let of_value = rules.and_then(|rules| rules.r#type.as_ref());
        if field.is_list() {
            let (rules, counts) = match of_value {
                Some(Type::Repeated(rules)) => {
                    (rules.items.as_deref(), [rules.min_items, rules.max_items])
                }
                _ => (None, [None, None]),
            };
            let mut items: Vec<Value> = Vec::new();
            for _ in 0..self.count(counts) {
                let again = items.last().cloned().filter(|_| self.one_in(4));
                items.push(again.unwrap_or_else(|| self.one(&field.kind(), rules, levels)));
            }
            return Value::List(items);
        }
        if field.is_map() {
            let Kind::Message(entry) = field.kind() else {
                panic!("a map without entries");
            };
            let (keys, values, counts) = match of_value {
                Some(Type::Map(rules)) => (
                    rules.keys.as_deref(),
                    rules.values.as_deref(),
                    [rules.min_pairs, rules.max_pairs],
                ),
                _ => (None, None, [None, None]),
            };
            let mut entries = Vec::new();
            for _ in 0..self.count(counts) {
                let key = self.one(&entry.map_entry_key_field().kind(), keys, levels);
                let value = entry.map_entry_value_field().kind();
                entries.push((map_key(key), self.one(&value, values, levels)));
            }
            return Value::Map(entries.into_iter().collect());
        }
        self.one(&field.kind(), rules, levels)
    }

    fn count(&mut self, borders: [Option<u64>; 2]) -> usize {
        let borders = borders.into_iter().flatten();
        let near = borders.flat_map(|border| [border.saturating_sub(1), border, border + 1]);
        let counts: Vec<u64> = [0, 1, 2].into_iter().chain(near).collect();
        self.pick(&counts).min(ITEMS_MAX) as usize
    }

    fn one(&mut self, kind: &Kind, rules: Option<&FieldRules>, levels: usize) -> Value {
        let number = self.number(rules.and_then(|rules| rules.r#type.as_ref()));
        match kind {
            Kind::Double => Value::F64(number as f64 + self.pick(&PARTS)),
            Kind::Float => Value::F32((number as f64 + self.pick(&PARTS)) as f32),
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(number as i32),
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(number as i64),
            Kind::Uint32 | Kind::Fixed32 => Value::U32(number as u32),
            Kind::Uint64 | Kind::Fixed64 => Value::U64(number as u64),
            Kind::Bool => Value::Bool(number % 2 == 0),
            Kind::Enum(of) => {
                let defined: Vec<i32> = of.values().map(|value| value.number()).collect();
                let other = self.pick(&[number as i32, 0, 99]);
                Value::EnumNumber(if self.one_in(3) {
                    other
                } else {
                    self.pick(&defined)
                })
            }
            Kind::String => Value::String(self.text(rules)),
            Kind::Bytes => Value::Bytes(self.text(rules).into_bytes().into()),
            Kind::Message(of) => Value::Message(self.held(of, rules, levels)),
        }
    }

    /// A message in a field; of those that stand for one value, the value.
    fn held(
        &mut self,
        of: &MessageDescriptor,
        rules: Option<&FieldRules>,
        levels: usize,
    ) -> DynamicMessage {
        let levels = levels.saturating_sub(1);
        let mut message = DynamicMessage::new(of.clone());
        let name = of.full_name();
        if name == "google.protobuf.Duration" {
            let (seconds, nanos) = self.duration(rules.and_then(|rules| rules.r#type.as_ref()));
            message.set_field_by_name("seconds", Value::I64(seconds));
            message.set_field_by_name("nanos", Value::I32(nanos));
            return message;
        }
        match of.get_field(1) {
            Some(inner) if name.starts_with("google.protobuf.") && name.ends_with("Value") => {
                let value = self.value(&inner, rules, levels);
                message.set_field(&inner, value);
                message
            }
            _ => self.message(of, levels),
        }
    }

    fn duration(&mut self, rules: Option<&Type>) -> (i64, i32) {
        let borders = match rules {
            Some(Type::Duration(rules)) => [&rules.lt, &rules.lte, &rules.gt, &rules.gte],
            _ => [&None; 4],
        };
        let borders = borders.into_iter().flatten();
        let near = |border: &Duration| {
            [-1, 0, 1].map(|more| (border.seconds, border.nanos.saturating_add(more)))
        };
        let mut durations: Vec<_> = borders.flat_map(near).collect();
        durations.extend([
            (0, 0),
            (1, 0),
            (-1, 0),
            (0, -1),
            (1, -1),
            (i64::MAX, i32::MAX),
        ]);
        self.pick(&durations)
    }

    fn number(&mut self, rules: Option<&Type>) -> i128 {
        let borders = rules.map(borders).unwrap_or_default();
        let near = borders
            .into_iter()
            .flat_map(|border| [border - 1, border, border + 1]);
        let mut numbers: Vec<i128> = near.collect();
        let small = i128::from(self.next() % 200);
        numbers.extend([0, 1, -1, small, i128::from(i32::MIN), i128::from(u64::MAX)]);
        self.pick(&numbers)
    }

    fn text(&mut self, rules: Option<&FieldRules>) -> String {
        let mut texts: Vec<String> = TEXTS.map(str::to_owned).to_vec();
        let mut lengths = Vec::new();
        match rules.and_then(|rules| rules.r#type.as_ref()) {
            Some(Type::String(rules)) => {
                let parts = [
                    &rules.prefix,
                    &rules.suffix,
                    &rules.contains,
                    &rules.r#const,
                ];
                texts.extend(parts.into_iter().flatten().cloned());
                texts.extend(rules.r#in.iter().chain(&rules.not_in).cloned());
                let borders = [
                    rules.min_len,
                    rules.max_len,
                    rules.min_bytes,
                    rules.max_bytes,
                ];
                lengths.extend(borders.into_iter().flatten());
            }
            Some(Type::Bytes(rules)) => {
                let borders = [rules.len, rules.min_len, rules.max_len];
                lengths.extend(borders.into_iter().flatten());
            }
            _ => {}
        }
        for length in lengths.into_iter().filter(|length| *length <= LENGTH_MAX) {
            let length = length as usize;
            let letter = self.pick(&["a", "é"]);
            texts
                .extend([length.saturating_sub(1), length, length + 1].map(|it| letter.repeat(it)));
        }
        self.pick(&texts)
    }
}

/// Where the rules for a number change their mind.
fn borders(rules: &Type) -> Vec<i128> {
    macro_rules! borders {
        ($rules:expr) => {{
            let rules = $rules;
            let borders = [rules.lt, rules.lte, rules.gt, rules.gte, rules.r#const];
            let listed = rules.r#in.iter().chain(&rules.not_in).copied();
            let all = borders.into_iter().flatten().chain(listed);
            all.map(|border| border as i128).collect()
        }};
    }
    match rules {
        Type::Float(rules) => borders!(rules),
        Type::Double(rules) => borders!(rules),
        Type::Int32(rules) => borders!(rules),
        Type::Int64(rules) => borders!(rules),
        Type::Uint32(rules) => borders!(rules),
        Type::Uint64(rules) => borders!(rules),
        Type::Enum(rules) => {
            let all = rules.r#in.iter().chain(&rules.not_in);
            all.map(|border| i128::from(*border)).collect()
        }
        _ => Vec::new(),
    }
}

fn map_key(key: Value) -> MapKey {
    match key {
        Value::Bool(key) => MapKey::Bool(key),
        Value::I32(key) => MapKey::I32(key),
        Value::I64(key) => MapKey::I64(key),
        Value::U32(key) => MapKey::U32(key),
        Value::U64(key) => MapKey::U64(key),
        Value::String(key) => MapKey::String(key),
        other => panic!("{other} is no key"),
    }
}

/// Messages in messages.
const LEVELS: usize = 4;
const ITEMS_MAX: u64 = 40;
const LENGTH_MAX: u64 = 2_000;

const PACKED: [&str; 9] = [
    "envoy.config.cluster.v3.Cluster",
    "envoy.config.core.v3.HealthCheck",
    "envoy.config.route.v3.RouteConfiguration",
    "envoy.extensions.access_loggers.file.v3.FileAccessLog",
    "envoy.extensions.filters.http.router.v3.Router",
    "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
    "google.protobuf.Any",
    "google.protobuf.Duration",
    "no.such.Message",
];

/// What is added to a whole number.
const PARTS: [f64; 5] = [0.0, 0.5, -0.5, f64::NAN, f64::INFINITY];

/// What the rules for headers, paths and keys tell apart.
const TEXTS: [&str; 16] = [
    "",
    "a",
    ":a",
    "a b",
    "a\nb",
    "a\0b",
    "é",
    "\"\\\t\u{7f}",
    "/",
    "/a",
    "a/",
    "a?b",
    "a.mmdb",
    "A_z",
    "a;b",
    "x-a",
];
