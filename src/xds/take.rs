//! PURE: one service's JSON as one of Envoy's messages.
//!
//! The order is: translate, read strictly, point every config source at ADS, fill up as the
//! encoders do, check the rules. What is forced is not looked at.

use std::collections::BTreeSet;

use envoy_types::pb::google::protobuf::Any;
use prost::Message;
use serde_json::Value;

use super::api::successor;
use super::data::Form;
use super::json::{JsonError, parse};
use super::sources::Source;
use super::{preflight, v2};
use crate::gateway::UserJson;

/// JSON that was taken.
#[derive(Clone, Eq, PartialEq)]
pub(super) struct Taken {
    /// The message that it is.
    pub(super) body: Vec<u8>,
    /// The fields that it sets, those in fields included (`field.inner`).
    pub(super) fields: BTreeSet<String>,
}

/// Reads the JSON; `fill` makes of it what would be sent.
///
/// # Errors
/// What is wrong with it, and where.
pub(super) fn take(
    form: Form,
    json: &UserJson,
    fill: impl FnOnce(&Taken) -> Any,
) -> Result<Taken, String> {
    let mut value = json.value();
    check_type(form, &value)?;
    if let Value::Object(members) = &mut value {
        members.remove("@type");
        members.retain(|name, _| !form.forced().contains(&snake(name).as_str()));
    }
    v2::translate(form.type_name(), &mut value);
    let members = value.as_object().into_iter().flatten();
    let fields = members.flat_map(|(name, member)| set_fields(name, member));
    let fields = fields.collect();
    let mut message = parse(form.type_name(), &value).map_err(|error| refusal(&error))?;
    // Envoy asks this program for everything: a second server would be a second truth.
    let ads = Source::aggregated().map_err(|error| refusal(&error))?;
    ads.put(&mut message);
    let taken = Taken {
        body: message.encode_to_vec(),
        fields,
    };
    if !form.reads(&taken.body) {
        return Err("is nested too deep for protobuf".to_owned());
    }
    let filled = fill(&taken);
    let violations = preflight::check(&filled.type_url, &filled.value);
    let violations = violations.map_err(|error| refusal(&error))?;
    match violations.first() {
        None => Ok(taken),
        Some(first) => Err(first.to_string()),
    }
}

/// igw_envoy itself wrote the type of v2 into what it merged.
fn check_type(form: Form, value: &Value) -> Result<(), String> {
    let Some(url) = value.get("@type") else {
        return Ok(());
    };
    let name = url.as_str().and_then(|url| url.rsplit('/').next());
    let name = name.map(|name| successor(name).unwrap_or(name));
    if name == Some(form.type_name()) {
        return Ok(());
    }
    Err(format!("@type is not {}", form.type_name()))
}

/// The field, if it is set, and those that are set in it: `field.inner`.
fn set_fields(name: &str, member: &Value) -> Vec<String> {
    if member.is_null() {
        return Vec::new();
    }
    let name = snake(name);
    let mut fields = vec![name.clone()];
    let inner = member.as_object().into_iter().flatten();
    let inner = inner.filter(|(_, member)| !member.is_null());
    fields.extend(inner.map(|(inner, _)| format!("{name}.{}", snake(inner))));
    fields
}

/// A field's name in camel case, as proto-JSON may have it, in the spelling of the documentation.
fn snake(name: &str) -> String {
    let mut snake = String::with_capacity(name.len());
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    snake
}

/// What is wrong and where, without the text that is wrong: it may be a key in the wrong place.
fn refusal(error: &JsonError) -> String {
    let JsonError::Parse { path, reason, .. } = error else {
        return error.to_string();
    };
    let text = reason.find("string \"").zip(reason.rfind("\", "));
    let reason = match text {
        Some((start, end)) => {
            let before = reason.get(..start).unwrap_or_default();
            let after = reason.get(end + 1..).unwrap_or_default();
            format!("{before}a text{after}")
        }
        None => reason.clone(),
    };
    let place = match path.as_str() {
        "." => String::new(),
        path => format!("{path}: "),
    };
    format!("{place}{reason}")
        .chars()
        .take(SHOWN_CHARS)
        .collect()
}

const SHOWN_CHARS: usize = 300;
