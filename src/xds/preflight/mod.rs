//! PURE: what Envoy would refuse in a message before it reads what it means: the rules of
//! protoc-gen-validate that stand in its API, of which the build has made a table.
//!
//! Envoy answers such a message with a refusal of the whole response and does not say whose
//! fault it was, so it is found here. Cross-field checks of Envoy's own are not repeated here.
//! All that is sent is checked, all the time: no descriptors are loaded for it.

mod rules;

use std::collections::BTreeSet;
use std::fmt::{self, Write};

use envoy_types::pb::validate::field_rules::Type;
use envoy_types::pb::validate::{EnumRules, FieldRules, MapRules, RepeatedRules};

use self::rules::{broken, duration};
use super::json::JsonError;
use super::wire::{Field, Key, Message, MessageType, Shape, Value};
use crate::gateway::Origin;
use crate::inventory::Problem;

/// One broken rule.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Violation {
    /// Where in the message, for example `health_checks[1].timeout`.
    pub path: String,
    /// Which rule.
    pub reason: String,
}

impl Violation {
    /// The place of the item of `list` in which it is, and itself as seen from that item.
    pub(super) fn within(&self, list: &str) -> Option<(usize, Self)> {
        let rest = self.path.strip_prefix(list)?.strip_prefix('[')?;
        let (place, rest) = rest.split_once(']')?;
        let inner = Self {
            path: rest.strip_prefix('.').unwrap_or(rest).to_owned(),
            reason: self.reason.clone(),
        };
        Some((place.parse().ok()?, inner))
    }

    /// The problem of the one it was made for, who is not served so.
    pub(super) fn problem(&self, origin: &Origin) -> Problem {
        Problem {
            object: origin.object.clone(),
            section: origin.section.to_string(),
            keyword: String::new(),
            reason: format!("is not served, as Envoy would refuse it: {self}"),
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.as_str() {
            "" => f.write_str(&self.reason),
            path => write!(f, "{path} {}", self.reason),
        }
    }
}

/// Checks an encoded message and everything packed in it. `type_url` may be a bare name.
///
/// # Errors
/// When there is no such message, or when these bytes are none.
pub fn check(type_url: &str, body: &[u8]) -> Result<Vec<Violation>, JsonError> {
    let of = MessageType::named(type_url);
    let of = of.ok_or_else(|| JsonError::UnknownType(type_url.to_owned()))?;
    let message = Message::read(of, body).map_err(|_| JsonError::Damaged(of.name().to_owned()))?;
    let mut walk = Walk {
        path: Vec::new(),
        found: Vec::new(),
    };
    walk.message(&message);
    Ok(walk.found)
}

struct Walk<'a> {
    path: Vec<Step<'a>>,
    found: Vec<Violation>,
}

/// A step of the way to a value; it is written out where something is wrong.
#[derive(Clone, Copy)]
enum Step<'a> {
    Field(Field),
    Item(usize),
    Entry(Key<'a>),
}

impl<'a> Walk<'a> {
    fn message(&mut self, message: &Message<'a>) {
        if let Some((url, body)) = message.packed() {
            return self.packed(url, body);
        }
        if message.of.is_disabled() {
            return;
        }
        for (oneof, names) in message.of.needed() {
            if !message.has_one(oneof) {
                self.say(format!("needs one of {names}"));
            }
        }
        for field in message.of.fields() {
            self.path.push(Step::Field(field));
            self.field(message, field);
            self.path.pop();
        }
    }

    /// What is packed is checked as Envoy checks it when it unpacks.
    fn packed(&mut self, url: &str, body: &'a [u8]) {
        if url.is_empty() || self.path.len() > DEPTH_MAX {
            return;
        }
        match MessageType::named(url).and_then(|of| Message::read(of, body).ok()) {
            Some(message) => self.message(&message),
            None => self.say(format!("holds no message {url:?}")),
        }
    }

    fn field(&mut self, message: &Message<'a>, field: Field) {
        let set = message.set(field);
        let Some(rules) = field.rules() else {
            // There can be rules below a field that has none.
            if let Some(value) = set.filter(|_| field.message().is_some()) {
                self.value(field, value, None);
            }
            return;
        };
        // Of a oneof, only the field that is set has to keep its rules.
        if set.is_none() && field.oneof().is_some() {
            return;
        }
        match set {
            None if is_required(rules) => self.say("is required".to_owned()),
            None if field.shape == Shape::Explicit => {}
            None => self.value(field, &Value::default(field), Some(rules)),
            Some(value) => self.value(field, value, Some(rules)),
        }
    }

    fn value(&mut self, field: Field, value: &Value<'a>, rules: Option<&FieldRules>) {
        match value {
            Value::List(items) => self.list(field, items, rules),
            Value::Map(_) => self.map(field, value, rules),
            Value::Message(message) => self.nested(field, message, rules),
            Value::Enum(number) => {
                if let Some(Type::Enum(rules)) = rules.and_then(|rules| rules.r#type.as_ref()) {
                    self.enumeration(field, *number, rules);
                }
            }
            scalar => {
                if let Some(reason) = rules
                    .and_then(|rules| rules.r#type.as_ref())
                    .and_then(|rules| broken(rules, scalar))
                {
                    self.say(reason);
                }
            }
        }
    }

    fn nested(&mut self, field: Field, message: &Message<'a>, rules: Option<&FieldRules>) {
        let skip = rules.and_then(|rules| rules.message.as_ref());
        if skip.is_some_and(|rules| rules.skip()) {
            return;
        }
        match message.of.name() {
            "google.protobuf.Duration" => {
                let rules = match rules.and_then(|rules| rules.r#type.as_ref()) {
                    Some(Type::Duration(rules)) => Some(rules),
                    _ => None,
                };
                let seconds = match message.numbered(1) {
                    Some(Value::I64(seconds)) => *seconds,
                    _ => 0,
                };
                let nanos = match message.numbered(2) {
                    Some(Value::I32(nanos)) => *nanos,
                    _ => 0,
                };
                if let Some(reason) = duration(seconds, nanos, rules) {
                    self.say(reason);
                }
            }
            name if name.starts_with("google.protobuf.") && name.ends_with("Value") => {
                // A wrapper: its rules are those of what it holds.
                if let (Some(rules), Some(inner)) = (rules, message.of.field(1)) {
                    let default = Value::default(inner);
                    let value = message.sent(inner).unwrap_or(&default);
                    self.value(field, value, Some(rules));
                }
            }
            _ => self.message(message),
        }
    }

    fn list(&mut self, field: Field, items: &[Value<'a>], rules: Option<&FieldRules>) {
        let rules: Option<&RepeatedRules> = match rules.and_then(|rules| rules.r#type.as_ref()) {
            Some(Type::Repeated(rules)) => Some(rules),
            _ => None,
        };
        if let Some(rules) = rules.filter(|rules| !(items.is_empty() && rules.ignore_empty())) {
            self.count("items", items.len(), rules.min_items, rules.max_items);
            let mut seen = BTreeSet::new();
            let mut identities = items.iter().filter_map(Value::identity);
            if rules.unique() && !identities.all(|identity| seen.insert(identity)) {
                self.say("has an item twice".to_owned());
            }
        }
        let of_items = rules.and_then(|rules| rules.items.as_deref());
        for (at, item) in items.iter().enumerate() {
            self.path.push(Step::Item(at));
            self.value(field, item, of_items);
            self.path.pop();
        }
    }

    fn map(&mut self, field: Field, value: &Value<'a>, rules: Option<&FieldRules>) {
        let rules: Option<&MapRules> = match rules.and_then(|rules| rules.r#type.as_ref()) {
            Some(Type::Map(rules)) => Some(rules),
            _ => None,
        };
        let (Value::Map(entries), Some((of_key, of_value))) = (value, field.entry()) else {
            return;
        };
        if let Some(rules) = rules.filter(|rules| !(entries.is_empty() && rules.ignore_empty())) {
            self.count("entries", entries.len(), rules.min_pairs, rules.max_pairs);
        }
        for (key, value) in entries {
            self.path.push(Step::Entry(*key));
            let rules_of_keys = rules.and_then(|rules| rules.keys.as_deref());
            self.value(of_key, &Value::from(*key), rules_of_keys);
            let rules_of_values = rules.and_then(|rules| rules.values.as_deref());
            self.value(of_value, value, rules_of_values);
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

    fn enumeration(&mut self, field: Field, number: i32, rules: &EnumRules) {
        let listed = rules.r#in.is_empty() || rules.r#in.contains(&number);
        let wanted = rules.r#const.is_none_or(|wanted| wanted == number);
        let allowed = listed && wanted && !rules.not_in.contains(&number);
        if (rules.defined_only() && !field.has_number(number)) || !allowed {
            self.say(format!("may not be {number}"));
        }
    }

    fn say(&mut self, reason: String) {
        if self.found.len() < VIOLATIONS_MAX {
            let mut path = String::new();
            for step in &self.path {
                // Writing to a text does not fail.
                let _ = match step {
                    Step::Field(field) if path.is_empty() => write!(path, "{}", field.name()),
                    Step::Field(field) => write!(path, ".{}", field.name()),
                    Step::Item(at) => write!(path, "[{at}]"),
                    Step::Entry(key) => write!(path, "[{key}]"),
                };
            }
            self.found.push(Violation { path, reason });
        }
    }
}

fn is_required(rules: &FieldRules) -> bool {
    let packed = match &rules.r#type {
        Some(Type::Any(rules)) => rules.required(),
        Some(Type::Duration(rules)) => rules.required(),
        Some(Type::Timestamp(rules)) => rules.required(),
        _ => false,
    };
    packed || rules.message.as_ref().is_some_and(|rules| rules.required())
}

/// Messages in messages, packed ones too.
const DEPTH_MAX: usize = 200;
/// Enough to name all that is wrong in anything but an attack.
const VIOLATIONS_MAX: usize = 10_000;

#[cfg(test)]
mod tests;
