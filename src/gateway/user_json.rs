//! Envoy JSON that a service brings along (`expose.cluster_data`, `expose.filter_config_data`),
//! bounded and in one form. What Envoy makes of it is not known here.
//!
//! One rule holds for data that cannot be taken, here and where it is read as Envoy's: it is left
//! out as a whole, and the expose is served without it. But where the data [protects
//! something](UserJson::protects), the expose is not served: it would be open.

use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::inventory::keywords::Keywords;
use crate::inventory::secret::REDACTED;

/// A JSON object in its canonical form: keys sorted, no white space.
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct UserJson(Arc<str>);

/// Data that cannot be taken.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refused {
    /// What is wrong with it.
    pub reason: String,
    /// Whether the expose may not be served without it.
    pub protects: bool,
}

impl UserJson {
    /// Reads a keyword: the status has it as a value, the raw configuration as a text.
    ///
    /// # Errors
    /// Why it cannot be taken.
    pub fn read(keywords: &Keywords<'_>, keyword: &str) -> Result<Option<Self>, Refused> {
        match &keywords.value(keyword) {
            None => Ok(None),
            Some(Value::String(text)) if text.trim().is_empty() => Ok(None),
            Some(Value::String(text)) => Self::parse(text).map(Some),
            Some(value) => Self::new(value).map(Some),
        }
    }

    fn parse(text: &str) -> Result<Self, Refused> {
        if text.len() > BYTES_MAX {
            let reason = format!("is longer than {BYTES_MAX} bytes");
            let protects = true; // Nobody has looked: it may.
            return Err(Refused { reason, protects });
        }
        let value: Value = serde_json::from_str(text).map_err(|error| Refused {
            reason: format!("is no JSON: {error}"),
            protects: names_protection(text),
        })?;
        Self::new(&value)
    }

    fn new(value: &Value) -> Result<Self, Refused> {
        let protects = || names_protection(&value.to_string());
        if !is_shallow(value, DEPTH_MAX) {
            return Err(Refused {
                reason: format!("is nested deeper than {DEPTH_MAX} levels"),
                protects: true,
            });
        }
        if !value.is_object() {
            return Err(Refused {
                reason: "is no JSON object".to_owned(),
                protects: protects(),
            });
        }
        let text = value.to_string();
        if text.len() > BYTES_MAX {
            return Err(Refused {
                reason: format!("is longer than {BYTES_MAX} bytes"),
                protects: true,
            });
        }
        Ok(Self(text.into()))
    }

    /// The value.
    pub fn value(&self) -> Value {
        serde_json::from_str(&self.0).unwrap_or_default()
    }

    /// Whether a word in it is about who may come in, who is trusted or what is kept secret.
    /// Rather once too often: what is not served is noticed, what is open is not.
    pub fn protects(&self) -> bool {
        names_protection(&self.0)
    }
}

impl fmt::Debug for UserJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut value = self.value();
        redact(&mut value);
        fmt::Display::fmt(&value, f)
    }
}

impl Serialize for UserJson {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut value = self.value();
        redact(&mut value);
        value.serialize(serializer)
    }
}

/// What follows for the expose: the second half of a problem's sentence.
pub fn consequence(protects: bool) -> &'static str {
    match protects {
        true => "the expose is not served, as this data protects it",
        false => "the expose is served without this data",
    }
}

fn is_shallow(value: &Value, depth: usize) -> bool {
    let Some(depth) = depth.checked_sub(1) else {
        return false;
    };
    match value {
        Value::Array(items) => items.iter().all(|item| is_shallow(item, depth)),
        Value::Object(members) => members.values().all(|member| is_shallow(member, depth)),
        _ => true,
    }
}

/// By text, so that it also holds for what is no JSON, and for a word that is not quite right.
fn names_protection(text: &str) -> bool {
    let plain: String = text.chars().filter(|c| *c != '_').collect();
    let plain = plain.to_ascii_lowercase();
    PROTECTING.iter().any(|word| plain.contains(word))
}

/// Whoever writes a key into a configuration need not find it on every page.
fn redact(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(redact),
        Value::Object(members) => {
            for (name, member) in members {
                let name = name.to_ascii_lowercase().replace('_', "");
                match member {
                    Value::String(text) if SECRET.iter().any(|word| name.contains(word)) => {
                        REDACTED.clone_into(text);
                    }
                    member => redact(member),
                }
            }
        }
        _ => {}
    }
}

/// More than anybody writes, and little enough for a gateway of thousands.
const BYTES_MAX: usize = 256 * 1024;
const DEPTH_MAX: usize = 64;

/// Words in lower case without underscores, as Envoy's fields have them: `http_filters`,
/// `tls_context`, `transport_socket`, `ext_authz`, `xff_num_trusted_hops`, `forward_client_cert…`.
const PROTECTING: &[&str] = &[
    "allow",
    "auth",
    "cert",
    "deny",
    "filters",
    "httpfilter",
    "jwt",
    "rbac",
    "remoteaddress",
    "sanvalidation",
    "secret",
    "tls",
    "transportsocket",
    "trust",
    "xff",
];

/// Fields whose texts can be secrets.
const SECRET: &[&str] = &[
    "inlinebytes",
    "inlinestring",
    "password",
    "privatekey",
    "secret",
];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::inventory::ObjectPath;

    #[track_caller]
    fn check(value: Value, expect: Result<Option<&str>, (&str, bool)>) {
        let object: ObjectPath = "test/svc/web1".parse().unwrap();
        let values = crate::inventory::Values::from([("kw", value)]);
        let keywords = Keywords::new(&object, "expose#0", &values, None);
        let read = UserJson::read(&keywords, "kw");
        let read = read.map(|json| json.map(|json| json.0.to_string()));
        let read = read.map_err(|refused| (refused.reason, refused.protects));
        let expect = expect.map(|json| json.map(str::to_owned));
        assert_eq!(
            read,
            expect.map_err(|(reason, protects)| (reason.to_owned(), protects))
        );
    }

    #[test]
    fn it_has_one_form_whatever_it_came_as() {
        check(json!({"b": 1, "a": {}}), Ok(Some(r#"{"a":{},"b":1}"#)));
        check(
            json!(" { \"b\" : 1, \"a\":{} } "),
            Ok(Some(r#"{"a":{},"b":1}"#)),
        );
    }

    #[test]
    fn nothing_is_nothing() {
        check(Value::Null, Ok(None));
        check(json!(" "), Ok(None));
    }

    #[test]
    fn bad_json_is_told_with_its_place() {
        let reason = "is no JSON: EOF while parsing an object at line 1 column 6";
        check(json!("{\"a\":1"), Err((reason, false)));
        let reason = "is no JSON: trailing comma at line 2 column 1";
        check(json!("{\"http_filters\": [],\n}"), Err((reason, true)));
    }

    #[test]
    fn what_is_no_object_is_refused() {
        check(
            json!(["connect_timeout"]),
            Err(("is no JSON object", false)),
        );
        check(json!(7), Err(("is no JSON object", false)));
        check(json!(["tls"]), Err(("is no JSON object", true)));
    }

    #[test]
    fn what_is_huge_or_deep_is_refused() {
        let deep = (0..100).fold(json!(1), |value, _| json!({ "a": value }));
        check(deep, Err(("is nested deeper than 64 levels", true)));
        let huge = json!({"a": "x".repeat(BYTES_MAX)});
        check(huge, Err(("is longer than 262144 bytes", true)));
    }

    #[test]
    fn a_deeper_text_than_the_parser_takes_is_no_json() {
        let text = format!("{}{}", "[".repeat(1_000), "]".repeat(1_000));
        let reason = "is no JSON: recursion limit exceeded at line 1 column 128";
        check(json!(text), Err((reason, false)));
    }

    #[test]
    fn a_key_in_it_is_never_shown() {
        let json = json!({"tls_certificates": [{"private_key": {"inline_string": "KEY"}}]});
        let json = UserJson::new(&json).unwrap();
        let shown = format!("{json:?} {}", serde_json::to_string(&json).unwrap());
        assert!(!shown.contains("KEY"), "{shown}");
        assert!(json.protects());
    }
}
