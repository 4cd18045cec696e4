//! PURE: what Envoy would refuse in a message before it reads what it means: the rules of
//! protoc-gen-validate that stand in its API, which are in the built-in descriptors.
//!
//! Envoy answers such a message with a refusal of the whole response and does not say whose
//! fault it was, so it is found here. Cross-field checks of Envoy's own are not repeated here.

use std::collections::BTreeSet;
use std::fmt;

use envoy_types::pb::validate::field_rules::Type;
use envoy_types::pb::validate::{EnumRules, FieldRules, MapRules, RepeatedRules};
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, ReflectMessage, Value};

use super::api::{Rules, api, rules};
use super::json::{ANY, JsonError};
use super::rules::{broken, duration};
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
            section: origin.section.clone(),
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

/// Reads the rules, which takes a while and is done once: before the first check, if not by it.
pub fn prepare() {
    // An error comes again where somebody asks.
    drop(rules());
}

/// Checks an encoded message and everything packed in it. `type_url` may be a bare name.
///
/// # Errors
/// When there is no such message, or when these bytes are none.
pub fn check(type_url: &str, body: &[u8]) -> Result<Vec<Violation>, JsonError> {
    let descriptor = api()?.message(type_url)?;
    let name = descriptor.full_name().to_owned();
    let message = DynamicMessage::decode(descriptor, body).map_err(|source| JsonError::Decode {
        message: name,
        source,
    })?;
    let mut walk = Walk {
        rules: rules()?,
        path: Vec::new(),
        found: Vec::new(),
    };
    walk.message(&message);
    Ok(walk.found)
}

struct Walk {
    rules: &'static Rules,
    path: Vec<String>,
    found: Vec<Violation>,
}

impl Walk {
    fn message(&mut self, message: &DynamicMessage) {
        let descriptor = message.descriptor();
        if descriptor.full_name() == ANY {
            return self.any(message);
        }
        if self.rules.disabled.contains(descriptor.full_name()) {
            return;
        }
        for oneof in descriptor.oneofs() {
            let required = self.rules.required.contains(oneof.full_name());
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

    /// What is packed is checked as Envoy checks it when it unpacks.
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
        let Some(rules) = self.rules.fields.get(field.full_name()) else {
            if present && is_deep(field) {
                self.value(field, &message.get_field(field), None);
            }
            return;
        };
        // Of a oneof, only the field that is set has to keep its rules.
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
        match value {
            Value::List(items) => self.list(field, items, rules),
            Value::Map(_) => self.map(field, value, rules),
            Value::Message(message) => self.nested(field, message, rules),
            Value::EnumNumber(number) => {
                if let Some(Type::Enum(rules)) = rules.and_then(|rules| rules.r#type.as_ref()) {
                    self.enumeration(field.kind(), *number, rules);
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
                if let Some(reason) = duration(message, rules) {
                    self.say(reason);
                }
            }
            name if name.starts_with("google.protobuf.") && name.ends_with("Value") => {
                // A wrapper: its rules are those of what it holds.
                if let (Some(rules), Some(value)) = (rules, message.get_field_by_number(1)) {
                    self.value(field, &value, Some(rules));
                }
            }
            _ => self.message(message),
        }
    }

    fn list(&mut self, field: &FieldDescriptor, items: &[Value], rules: Option<&FieldRules>) {
        let rules: Option<&RepeatedRules> = match rules.and_then(|rules| rules.r#type.as_ref()) {
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

    fn map(&mut self, field: &FieldDescriptor, value: &Value, rules: Option<&FieldRules>) {
        let rules: Option<&MapRules> = match rules.and_then(|rules| rules.r#type.as_ref()) {
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

/// Whether there can be rules below a field that has none.
fn is_deep(field: &FieldDescriptor) -> bool {
    matches!(field.kind(), Kind::Message(_))
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
mod tests {
    use serde_json::{Value as Json, json};

    use super::super::json::from_json;
    use super::*;

    const CLUSTER: &str = "envoy.config.cluster.v3.Cluster";
    const HTTP: &str =
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
    const ROUTES: &str = "envoy.config.route.v3.RouteConfiguration";

    #[track_caller]
    fn check_json(name: &str, value: Json, expect: &[&str]) {
        let body = from_json(name, &value).unwrap();
        let found = check(name, &body).unwrap().into_iter();
        let found: Vec<_> = found.map(|v| format!("{} {}", v.path, v.reason)).collect();
        assert_eq!(found, expect);
    }

    fn cluster(more: Json) -> Json {
        let mut cluster = json!({"name": "a", "connect_timeout": "1s"});
        let more = more.as_object().unwrap().clone();
        cluster.as_object_mut().unwrap().extend(more);
        cluster
    }

    #[test]
    fn a_good_message_passes() {
        let streams = json!({"max_concurrent_streams": 100});
        let options = json!({"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": streams}}});
        let good = cluster(json!({"typed_extension_protocol_options": options}));
        check_json(CLUSTER, good, &[]);
    }

    #[test]
    fn numbers_out_of_range_are_found_in_packed_messages_too() {
        let streams = json!({"max_concurrent_streams": 0});
        let options = json!({"x": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": streams}}});
        let bad = cluster(json!({"typed_extension_protocol_options": options}));
        let place = "typed_extension_protocol_options[\"x\"].explicit_http_config.\
                     http2_protocol_options.max_concurrent_streams may not be below 1";
        check_json(CLUSTER, bad, &[place]);
    }

    #[test]
    fn durations_that_envoy_cannot_take_are_found() {
        let bad = cluster(json!({"connect_timeout": "-1s", "cleanup_interval": "0s",
            "common_lb_config": {"update_merge_window": "-2s"}}));
        check_json(
            CLUSTER,
            bad,
            &[
                "connect_timeout may not be negative",
                "cleanup_interval must be above 0ns",
                "common_lb_config.update_merge_window may not be negative",
            ],
        );
    }

    #[test]
    fn what_is_required_and_not_there_is_found() {
        let check = json!({"interval": "1s", "unhealthy_threshold": 1, "healthy_threshold": 1});
        let bad = cluster(json!({"name": "", "health_checks": [check]}));
        check_json(
            CLUSTER,
            bad,
            &[
                "name is required",
                "health_checks[0] needs one of http_health_check, tcp_health_check, \
                 grpc_health_check, custom_health_check",
                "health_checks[0].timeout is required",
            ],
        );
    }

    #[test]
    fn lists_that_are_too_short_are_found() {
        let routes = json!({"virtual_hosts": [{"name": "a"}]});
        let place = "virtual_hosts[0].domains needs at least 1 items";
        check_json(ROUTES, routes, &[place]);
    }

    #[test]
    fn texts_that_no_header_can_have_are_found() {
        let remove = json!(["x-good", "x\nbad"]);
        let routes = json!({"request_headers_to_remove": remove});
        let place = "request_headers_to_remove[1] has characters that no header can have";
        check_json(ROUTES, routes, &[place]);
    }

    #[test]
    fn a_number_that_no_enum_has_is_found() {
        let bad = json!({"stat_prefix": "a", "codec_type": 9, "rds": {
            "route_config_name": "a", "config_source": {"ads": {}}}});
        check_json(HTTP, bad, &["codec_type may not be 9"]);
    }

    #[test]
    fn a_route_without_an_action_is_found() {
        let route = json!({"match": {"prefix": "/"}});
        let host = json!({"name": "a", "domains": ["*"], "routes": [route]});
        let missing = "virtual_hosts[0].routes[0] needs one of route, redirect, direct_response, \
                       filter_action, non_forwarding_action";
        check_json(ROUTES, json!({"virtual_hosts": [host]}), &[missing]);
    }
}
