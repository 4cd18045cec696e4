//! PURE: the same check by the descriptors themselves, slowly: what the table and the reader of
//! the wire are held to. The rules for single values are shared; all else is done another way.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use envoy_types::pb::validate::field_rules::Type;
use envoy_types::pb::validate::{EnumRules, FieldRules, MapRules, RepeatedRules};
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, ReflectMessage, Value};

use super::super::rules::{broken, duration};
use super::super::{DEPTH_MAX, VIOLATIONS_MAX, Violation, is_required};
use crate::xds::api::{api, extension, fields, has_options};
use crate::xds::json::ANY;
use crate::xds::wire;

/// The rules that stand in Envoy's API, by full name.
pub(super) struct Rules {
    pub(super) fields: BTreeMap<String, FieldRules>,
    /// The oneofs of which one field must be set.
    required: BTreeSet<String>,
    /// The messages whose rules are switched off.
    disabled: BTreeSet<String>,
}

pub(super) static RULES: LazyLock<Rules> = LazyLock::new(|| {
    let pool = &api().unwrap().pool;
    let option = extension(pool, "validate.rules").unwrap();
    let rules = |field: FieldDescriptor| {
        let options = has_options(&field).then(|| field.options())?;
        let value = options.has_extension(&option).then(|| {
            let value = options.get_extension(&option);
            value.as_message()?.transcode_to().ok()
        })??;
        Some((field.full_name().to_owned(), value))
    };
    let required = extension(pool, "validate.required").unwrap();
    let off = ["validate.disabled", "validate.ignored"].map(|name| extension(pool, name).unwrap());
    Rules {
        fields: fields(pool).filter_map(rules).collect(),
        required: pool
            .all_messages()
            .flat_map(|message| message.oneofs().collect::<Vec<_>>())
            .filter(|oneof| oneof.options().get_extension(&required).as_bool() == Some(true))
            .map(|oneof| oneof.full_name().to_owned())
            .collect(),
        disabled: pool
            .all_messages()
            .filter(|message| {
                let options = message.options();
                off.iter()
                    .any(|option| options.get_extension(option).as_bool() == Some(true))
            })
            .map(|message| message.full_name().to_owned())
            .collect(),
    }
});

/// What is wrong with the message; `None` if these bytes are none.
pub(super) fn check(name: &str, body: &[u8]) -> Option<Vec<Violation>> {
    let descriptor = api().unwrap().message(name).unwrap();
    let message = DynamicMessage::decode(descriptor, body).ok()?;
    let mut walk = Walk {
        path: Vec::new(),
        found: Vec::new(),
    };
    walk.message(&message);
    Some(walk.found)
}

struct Walk {
    path: Vec<String>,
    found: Vec<Violation>,
}

impl Walk {
    fn message(&mut self, message: &DynamicMessage) {
        let descriptor = message.descriptor();
        if descriptor.full_name() == ANY {
            return self.any(message);
        }
        if RULES.disabled.contains(descriptor.full_name()) {
            return;
        }
        for oneof in descriptor.oneofs() {
            let required = RULES.required.contains(oneof.full_name());
            if required && !oneof.fields().any(|field| message.has_field(&field)) {
                let names: Vec<_> = oneof
                    .fields()
                    .map(|field| field.name().to_owned())
                    .collect();
                self.say(format!("needs one of {}", names.join(", ")));
            }
        }
        for field in descriptor.fields() {
            self.path.push(format!(".{}", field.name()));
            self.field(message, &field);
            self.path.pop();
        }
    }

    fn any(&mut self, message: &DynamicMessage) {
        let url = message.get_field_by_name("type_url");
        let url = url.as_deref().and_then(Value::as_str).unwrap_or_default();
        let body = message.get_field_by_name("value");
        let body = body.as_deref().and_then(Value::as_bytes);
        if url.is_empty() || self.path.len() > DEPTH_MAX {
            return;
        }
        let packed = api()
            .and_then(|api| api.message(url))
            .ok()
            .and_then(|packed| DynamicMessage::decode(packed, body?.clone()).ok());
        match packed {
            Some(packed) => self.message(&packed),
            None => self.say(format!("holds no message {url:?}")),
        }
    }

    fn field(&mut self, message: &DynamicMessage, field: &FieldDescriptor) {
        let present = message.has_field(field);
        let Some(rules) = RULES.fields.get(field.full_name()) else {
            if present && matches!(field.kind(), Kind::Message(_)) {
                self.value(field, &message.get_field(field), None);
            }
            return;
        };
        let chosen = field.containing_oneof();
        if !present && chosen.is_some_and(|oneof| !oneof.is_synthetic()) {
            return;
        }
        if !present && is_required(rules) {
            self.say("is required".to_owned());
        } else if present || !field.supports_presence() {
            self.value(field, &message.get_field(field), Some(rules));
        }
    }

    fn value(&mut self, field: &FieldDescriptor, value: &Value, rules: Option<&FieldRules>) {
        let of_value = rules.and_then(|rules| rules.r#type.as_ref());
        match value {
            Value::List(items) => self.list(field, items, of_value),
            Value::Map(_) => self.map(field, value, of_value),
            Value::Message(message) => self.nested(field, message, rules),
            Value::EnumNumber(number) => {
                if let Some(Type::Enum(rules)) = of_value {
                    self.enumeration(field.kind(), *number, rules);
                }
            }
            scalar => {
                let reason = of_value.and_then(|rules| broken(rules, &own(scalar)));
                reason.into_iter().for_each(|reason| self.say(reason));
            }
        }
    }

    fn nested(
        &mut self,
        field: &FieldDescriptor,
        message: &DynamicMessage,
        rules: Option<&FieldRules>,
    ) {
        let skip = rules.and_then(|rules| rules.message.as_ref());
        if skip.is_some_and(|rules| rules.skip()) {
            return;
        }
        let descriptor = message.descriptor();
        match descriptor.full_name() {
            "google.protobuf.Duration" => {
                let rules = match rules.and_then(|rules| rules.r#type.as_ref()) {
                    Some(Type::Duration(rules)) => Some(rules),
                    _ => None,
                };
                let part = |name| message.get_field_by_name(name).unwrap().into_owned();
                let (seconds, nanos) = (part("seconds"), part("nanos"));
                let (seconds, nanos) = (seconds.as_i64().unwrap(), nanos.as_i32().unwrap());
                let reason = duration(seconds, nanos, rules);
                reason.into_iter().for_each(|reason| self.say(reason));
            }
            name if name.starts_with("google.protobuf.") && name.ends_with("Value") => {
                if let (Some(rules), Some(value)) = (rules, message.get_field_by_number(1)) {
                    self.value(field, &value, Some(rules));
                }
            }
            _ => self.message(message),
        }
    }

    fn list(&mut self, field: &FieldDescriptor, items: &[Value], rules: Option<&Type>) {
        let rules: Option<&RepeatedRules> = match rules {
            Some(Type::Repeated(rules)) => Some(rules),
            _ => None,
        };
        if let Some(rules) = rules.filter(|rules| !(items.is_empty() && rules.ignore_empty())) {
            self.count("items", items.len(), rules.min_items, rules.max_items);
            let mut seen = BTreeSet::new();
            if rules.unique() && !items.iter().all(|item| seen.insert(item.to_string())) {
                self.say("has an item twice".to_owned());
            }
        }
        let of_items = rules.and_then(|rules| rules.items.as_deref());
        for (at, item) in items.iter().enumerate() {
            self.path.push(format!("[{at}]"));
            self.value(field, item, of_items);
            self.path.pop();
        }
    }

    fn map(&mut self, field: &FieldDescriptor, value: &Value, rules: Option<&Type>) {
        let rules: Option<&MapRules> = match rules {
            Some(Type::Map(rules)) => Some(rules),
            _ => None,
        };
        let Kind::Message(entry) = field.kind() else {
            return;
        };
        let mut pairs: Vec<(&MapKey, &Value)> = value.as_map().into_iter().flatten().collect();
        pairs.sort_by_key(|(key, _)| (*key).clone());
        if let Some(rules) = rules.filter(|rules| !(pairs.is_empty() && rules.ignore_empty())) {
            self.count("entries", pairs.len(), rules.min_pairs, rules.max_pairs);
        }
        for (key, value) in pairs {
            let key = Value::from(key.clone());
            self.path.push(format!("[{key}]"));
            let of_keys = rules.and_then(|rules| rules.keys.as_deref());
            self.value(&entry.map_entry_key_field(), &key, of_keys);
            let of_values = rules.and_then(|rules| rules.values.as_deref());
            self.value(&entry.map_entry_value_field(), value, of_values);
            self.path.pop();
        }
    }

    fn count(&mut self, what: &str, count: usize, min: Option<u64>, max: Option<u64>) {
        let count = count as u64;
        if let Some(min) = min.filter(|min| count < *min) {
            self.say(format!("needs at least {min} {what}"));
        }
        if let Some(max) = max.filter(|max| count > *max) {
            self.say(format!("takes at most {max} {what}"));
        }
    }

    fn enumeration(&mut self, kind: Kind, number: i32, rules: &EnumRules) {
        let defined = matches!(&kind, Kind::Enum(values) if values.get_value(number).is_some());
        let listed = rules.r#in.is_empty() || rules.r#in.contains(&number);
        let wanted = rules.r#const.is_none_or(|wanted| wanted == number);
        let allowed = listed && wanted && !rules.not_in.contains(&number);
        if (rules.defined_only() && !defined) || !allowed {
            self.say(format!("may not be {number}"));
        }
    }

    fn say(&mut self, reason: String) {
        if self.found.len() < VIOLATIONS_MAX {
            let path = self.path.concat();
            let path = path.strip_prefix('.').unwrap_or(&path).to_owned();
            self.found.push(Violation { path, reason });
        }
    }
}

/// A scalar, as the rules for values take it.
fn own(value: &Value) -> wire::Value<'_> {
    match value {
        Value::Bool(value) => wire::Value::Bool(*value),
        Value::I32(value) => wire::Value::I32(*value),
        Value::I64(value) => wire::Value::I64(*value),
        Value::U32(value) => wire::Value::U32(*value),
        Value::U64(value) => wire::Value::U64(*value),
        Value::F32(value) => wire::Value::F32(*value),
        Value::F64(value) => wire::Value::F64(*value),
        Value::String(value) => wire::Value::String(value),
        Value::Bytes(value) => wire::Value::Bytes(value),
        other => panic!("{other} is no scalar"),
    }
}
