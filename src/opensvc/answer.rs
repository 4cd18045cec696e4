//! PURE: what the JSON answers of an agent 2.x mean, first of all whether they are errors.
//!
//! The transport's own status says little: the daemon answers errors as documents of the same
//! shape, with a status that is a number here and a text there.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::mirror::Status;
use super::{Error, rights};
use crate::inventory::{Config, ObjectPath, Sensitive};

/// Reads a JSON text. That it is UTF-8 is found out at once for all of it, which is quicker than
/// for one string after the other.
pub(super) fn json<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, serde_json::Error> {
    match std::str::from_utf8(bytes) {
        Ok(text) => serde_json::from_str(text),
        // It knows the words for where it is not.
        Err(_) => serde_json::from_slice(bytes),
    }
}

/// A status, or why there is none.
pub(super) fn status(action: &'static str, answer: &[u8]) -> Result<Status, Error> {
    let parse = |source| Error::Parse { action, source };
    let status: Status = json(answer).map_err(parse)?;
    if status.is_one() {
        return Ok(status);
    }
    // An error that is taken for a status would be an empty cluster.
    let answer: Value = serde_json::from_slice(answer).map_err(parse)?;
    if !answer.is_object() {
        let reason = "no JSON object";
        return Err(Error::Answer { action, reason });
    }
    refusal_of(action, &answer)?;
    Ok(status)
}

/// An error if the answer is an error document.
pub(super) fn refusal_of(action: &'static str, answer: &Value) -> Result<(), Error> {
    match answer.as_object().and_then(refusal) {
        Some(refusal) => Err(refusal.into_error(action)),
        None => Ok(()),
    }
}

/// What the daemon says of a key: `{"status": 0, "data": text}`, or why not.
///
/// No error repeats anything of the answer but its status.
pub(super) fn key(
    action: &'static str,
    path: &str,
    answer: Value,
) -> Result<Option<Sensitive>, Error> {
    let Value::Object(mut answer) = answer else {
        let reason = "no JSON object";
        return Err(Error::Answer { action, reason });
    };
    if let Some(refusal) = refusal(&answer) {
        if refusal.is_unknown_object(path) || refusal.is_missing_key() {
            return Ok(None);
        }
        if refusal.is_forbidden() {
            return Err(refusal.forbids(action, path));
        }
        let reason = "not shown, as a secret was asked for".to_owned();
        return Err(Refusal { reason, ..refusal }.into_error(action));
    }
    match answer.remove("data") {
        Some(Value::String(text)) => Ok(Some(Sensitive::new(text))),
        // So the daemon answers where the value was not written by it.
        Some(Value::Null) => Ok(None),
        _ => {
            let reason = "no text in data";
            Err(Error::Answer { action, reason })
        }
    }
}

/// What the daemon says of a configuration: the bare sections, or why not.
pub(super) fn config(
    action: &'static str,
    path: &str,
    answer: &Value,
) -> Result<Option<Config>, Error> {
    if let Some(refusal) = answer.as_object().and_then(refusal) {
        if refusal.is_unknown_object(path) {
            return Ok(None);
        }
        return Err(refusal.forbids(action, path));
    }
    match Config::from_json(answer) {
        Some(config) => Ok(Some(config)),
        None => {
            let reason = "no object of sections";
            Err(Error::Answer { action, reason })
        }
    }
}

/// Whether the node that was asked has no such object: another one may.
pub(super) fn is_unknown_here(path: &str, answer: &Value) -> bool {
    let refusal = answer.as_object().and_then(refusal);
    refusal.is_some_and(|refusal| refusal.is_unknown_object(path))
}

/// The answer of the node that the request was passed on to: `{"nodes": {name: answer}}`; what
/// is not of that form stays as it is.
pub(super) fn of_a_node(mut answer: Value) -> Value {
    let nodes = answer.get_mut("nodes").and_then(Value::as_object_mut);
    match nodes.and_then(|nodes| nodes.values_mut().next()) {
        Some(inner) => inner.take(),
        None => answer,
    }
}

/// Whether a daemon has no instance of the object: another node may.
pub(super) fn is_elsewhere(answer: &Value) -> bool {
    let refusal = answer.as_object().and_then(refusal);
    refusal.is_some_and(|refusal| refusal.status == "404")
}

/// An error unless the command that the daemon ran for a change ended well. One that failed is
/// answered with status 0, too: `{"status": 0, "data": {"out", "err", "ret"}}`.
pub(super) fn done(action: &'static str, path: &str, answer: &Value) -> Result<(), Error> {
    if let Some(refusal) = answer.as_object().and_then(refusal) {
        return Err(refusal.forbids(action, path));
    }
    let data = answer.get("data");
    match data
        .and_then(|data| data.get("ret"))
        .and_then(Value::as_i64)
    {
        Some(0) => Ok(()),
        Some(ret) => {
            let printed = data
                .and_then(|data| data.get("err"))
                .and_then(Value::as_str);
            let refusal = Refusal {
                status: ret.to_string(),
                reason: printed.unwrap_or_default().trim().to_owned(),
            };
            Err(refusal.into_error(action))
        }
        None => {
            let reason = "no return code in data";
            Err(Error::Answer { action, reason })
        }
    }
}

/// An error unless the daemon says that it set a key. The daemon may repeat what it was given:
/// nothing of its words is kept.
pub(super) fn key_set(action: &'static str, path: &str, answer: &Value) -> Result<(), Error> {
    let Some(answer) = answer.as_object() else {
        let reason = "no JSON object";
        return Err(Error::Answer { action, reason });
    };
    if let Some(refusal) = refusal(answer) {
        if refusal.is_forbidden() {
            return Err(refusal.forbids(action, path));
        }
        let reason = "not shown, as a secret was written".to_owned();
        return Err(Refusal { reason, ..refusal }.into_error(action));
    }
    match answer.get("status").and_then(Value::as_i64) {
        Some(0) if answer.get("info").is_none_or(|info| info != NO_NODE) => Ok(()),
        _ => {
            let reason = "nothing says that the key was set";
            Err(Error::Answer { action, reason })
        }
    }
}

/// What looks like success where no node has the object.
const NO_NODE: &str = "empty node selection";

/// What an error document says.
struct Refusal {
    status: String,
    reason: String,
}

/// Whether an answer is an error document: its status is a number or text other than zero, or it
/// has an error text. A section of a configuration may have either name, but is an object.
fn refusal(answer: &Map<String, Value>) -> Option<Refusal> {
    let status = match answer.get("status") {
        Some(Value::String(status)) if is_code(status) => status.clone(),
        Some(Value::String(_)) => "unknown".to_owned(),
        Some(Value::Number(status)) => status.to_string(),
        _ => String::new(),
    };
    let reason = answer.get("error").filter(|error| !error.is_object());
    if reason.is_none() && matches!(status.as_str(), "" | "0") {
        return None;
    }
    let reason = match reason {
        Some(Value::String(reason)) => reason.clone(),
        // So the daemon forbids to make an object: one text for each.
        Some(Value::Array(reasons)) if status == "403" => {
            let reasons: Vec<&str> = reasons.iter().filter_map(Value::as_str).collect();
            reasons.join("; ")
        }
        _ => "no reason given".to_owned(),
    };
    Some(Refusal { status, reason })
}

fn is_code(text: &str) -> bool {
    (1..=CODE_BYTES_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// What the daemon says where it was asked to find a node that has the object.
const UNKNOWN_ANYWHERE: &str = "unknown service";

impl Refusal {
    /// The daemon's word for it is what Python says of a missing key of a dict.
    fn is_unknown_object(&self, path: &str) -> bool {
        let reason = self.reason.trim_matches(['\'', '"']);
        self.status == "1" && (reason == path || reason == UNKNOWN_ANYWHERE)
    }

    /// Whether the daemon says which right is missing. It has not looked at anything yet.
    fn is_forbidden(&self) -> bool {
        self.status == "403" && self.reason.starts_with("Forbidden: handler '")
    }

    /// The error, which names the right where one is missing for what was asked of `path`.
    fn forbids(self, action: &'static str, path: &str) -> Error {
        if !self.is_forbidden() {
            return self.into_error(action);
        }
        let namespace = path.parse::<ObjectPath>();
        let namespace = namespace.as_ref().map_or("root", ObjectPath::namespace);
        let lack = rights::lack(action, namespace, &self.reason);
        Error::Forbidden { action, lack }
    }

    fn is_missing_key(&self) -> bool {
        self.status == "1" && self.reason.ends_with("does not exist or has no value")
    }

    fn into_error(self, action: &'static str) -> Error {
        Error::Refused {
            action,
            status: self.status,
            reason: self.reason.chars().take(SHOWN_CHARS).collect(),
        }
    }
}

/// The longest text that is taken for a status code, and so shown.
const CODE_BYTES_MAX: usize = 4;
/// How much of the daemon's error texts is repeated.
const SHOWN_CHARS: usize = 400;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn key_of(answer: Value) -> Result<Option<Sensitive>, Error> {
        key("get_secret_key", "test/sec/a", answer)
    }

    #[test]
    fn a_key_is_its_text() {
        let read = key_of(json!({"status": 0, "data": ""})).unwrap();
        assert_eq!(read, Some(Sensitive::new(String::new())));
    }

    #[test]
    fn a_key_that_is_not_there_is_none() {
        let missing = "secret test/sec/a key nope does not exist or has no value";
        for answer in [
            json!({"status": 0, "data": null}),
            json!({"status": 1, "error": missing}),
            json!({"status": "1", "error": missing}),
            json!({"status": 1, "error": "'test/sec/a'", "traceback": "Traceback"}),
        ] {
            assert_eq!(key_of(answer.clone()).unwrap(), None, "{answer}");
        }
    }

    #[test]
    fn other_failures_of_a_key_are_errors_that_repeat_nothing() {
        for answer in [
            json!({"status": 400, "error": "hunter2"}),
            json!({"status": 1, "error": "'test/sec/other'"}),
            json!({"status": 1, "data": "hunter2"}),
            json!({"status": "hunter2"}),
            json!({"status": 403, "error": ["hunter2"]}),
            json!({"error": "hunter2", "data": "hunter2"}),
            json!({"status": 0, "data": ["hunter2"]}),
            json!({"status": 0, "hunter2": "hunter2"}),
            json!(["hunter2"]),
            json!("hunter2"),
        ] {
            let error = key_of(answer.clone()).unwrap_err();
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains("hunter2"), "{shown}");
        }
    }

    #[test]
    fn a_right_that_is_missing_is_told() {
        let error = "Forbidden: handler 'key' requested by user 'acme' with grants 'guest:test' \
                     requires role 'admin'";
        let told = key_of(json!({"status": 403, "error": error})).unwrap_err();
        let told = told.to_string();
        assert!(told.contains("acme has no grant admin:test:"), "{told}");
        let errors = ["a: needs the squatter role", "b: as well"];
        let told = refusal_of("create", &json!({"status": 403, "error": errors})).unwrap_err();
        assert!(
            told.to_string()
                .ends_with("a: needs the squatter role; b: as well"),
            "{told}"
        );
    }

    #[test]
    fn a_configuration_may_have_a_section_called_status() {
        let answer = json!({"status": {"a": "b"}, "error": {}, "DEFAULT": {}});
        let read = config("get_service_config", "a", &answer).unwrap();
        assert_eq!(read, Config::from_json(&answer));
    }

    #[test]
    fn a_configuration_of_no_object_is_none_and_other_failures_are_errors() {
        let config_of = |answer| config("get_service_config", "test/svc/a", &answer);
        let unknown = json!({"status": "1", "error": "'test/svc/a'", "traceback": "..."});
        assert_eq!(config_of(unknown).unwrap(), None);
        for answer in [
            json!({"status": "1", "error": "certificate#front.secret not found"}),
            json!({"status": 0, "data": "[DEFAULT]", "mtime": 1.0}),
            json!({"status": 501, "error": "handler None x is not supported"}),
            json!([]),
            json!({"DEFAULT": "text"}),
        ] {
            assert!(config_of(answer.clone()).is_err(), "{answer}");
        }
    }

    #[test]
    fn a_change_is_done_only_if_the_command_ended_well() {
        let done_of = |answer: &Value| done("service_action", "test/svc/a", answer);
        done_of(&json!({"status": 0, "data": {"out": "", "err": "", "ret": 0}})).unwrap();
        for (answer, part) in [
            (
                json!({"status": 0, "data": {"out": "", "err": "E bad\n", "ret": 1}}),
                "status 1: E bad",
            ),
            (json!({"status": 404, "error": "a not found"}), "not found"),
            (json!({"status": 0, "data": {"pid": 7}}), "no return code"),
            (json!({"status": 0}), "no return code"),
            (json!([]), "no return code"),
        ] {
            let error = done_of(&answer).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn a_change_elsewhere_is_what_the_one_node_says() {
        let done_of =
            |answer: &Value| done("service_action", "test/svc/a", &of_a_node(answer.clone()));
        let node = |answer: Value| json!({"nodes": {"n2": answer}, "status": 0});
        done_of(&node(json!({"status": 0, "data": {"ret": 0}}))).unwrap();
        for answer in [
            node(json!({"status": 0, "data": {"ret": 1}})),
            node(json!({"status": 404, "error": "a not found"})),
            json!({"error": "unknown service", "status": 1}),
            json!({"info": "empty node selection", "status": 0}),
            json!({"nodes": {}, "status": 0}),
        ] {
            assert!(done_of(&answer).is_err(), "{answer}");
        }
    }

    #[test]
    fn an_error_is_never_taken_for_a_status() {
        for answer in [
            json!({"status": 1, "error": "boom"}),
            json!({"status": "1"}),
            json!({"error": "action not specified"}),
            json!({"error": null, "status": 500}),
            json!([]),
            json!(null),
        ] {
            assert!(
                status("daemon_status", answer.to_string().as_bytes()).is_err(),
                "{answer}"
            );
        }
        assert!(status("daemon_status", br#"{"monitor": {}}"#).is_ok());
    }
}
