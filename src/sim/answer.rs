//! The answers of the raw protocol, by the recorded transcripts: a request's bytes in, a JSON
//! answer or a subscription out. No socket here.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use tokio::sync::mpsc;

use super::Refused;
use super::state::State;

/// What a request gets.
pub(super) enum Answer {
    /// One JSON text, then the connection closes.
    Json(Value),
    /// The status.
    Status(String),
    /// The event stream.
    Events(mpsc::Receiver<Vec<u8>>),
}

/// Answers one request, its NUL removed.
pub(super) fn answer(state: &mut State, session: &str, request: &[u8]) -> Answer {
    let Ok(Value::Object(request_body)) = serde_json::from_slice(request) else {
        return Answer::Json(json!({"error": "invalid data format", "status": 1}));
    };
    let Some(action) = request_body.get("action").and_then(Value::as_str) else {
        return Answer::Json(json!({"error": "action not specified", "status": 1}));
    };
    *state.requests.entry(action.to_owned()).or_default() += 1;
    let method = request_body.get("method").and_then(Value::as_str);
    let progress = format!("{} /{action}", method.unwrap_or("None"));
    state.sessions.request(session, request.len(), &progress);
    let empty = Map::new();
    let options = request_body
        .get("options")
        .and_then(Value::as_object)
        .unwrap_or(&empty);
    let json = match (method, action) {
        (None | Some("GET"), "whoami") => json!({
            "name": "root", "namespace": null, "auth": "secret", "raw_grant": "root",
            "grant": {"root": null},
        }),
        (None | Some("GET"), "daemon_status") => return Answer::Status(state.status()),
        (None | Some("GET"), "events") => {
            if options.get("full") == Some(&Value::Bool(true)) {
                let error = "Object of type bytes is not JSON serializable";
                return Answer::Json(json!({"status": 500, "error": error, "traceback": error}));
            }
            return Answer::Events(state.journal.subscribe());
        }
        (None, "get_service_config") | (Some("GET"), "object_config") => config(state, options),
        (None, "get_key" | "get_secret_key") | (Some("GET"), "key") => read_key(state, options),
        (None, "set_key") | (Some("POST"), "key") => write_key(state, options),
        (Some("DELETE"), "key") => delete_key(state, options),
        (Some("GET"), "object_keys") => keys(state, options),
        (None, "service_action") | (Some("POST"), "object_action") => act(state, options),
        (None, "create") | (Some("POST"), "object_create") => create(state, options),
        (None | Some("POST"), "wake_monitor") => json!({"status": 0}),
        _ => {
            let method = method.unwrap_or("None");
            let error = format!("handler {method} {action} is not supported");
            json!({"status": 501, "error": error})
        }
    };
    Answer::Json(json)
}

fn config(state: &State, options: &Map<String, Value>) -> Value {
    let Some(path) = path(options) else {
        return missing("path");
    };
    let object = state.cluster.objects.get(path);
    if options.get("format").and_then(Value::as_str) != Some("json") {
        return match object {
            Some(object) => {
                json!({"status": 0, "data": object.ini.to_text(), "mtime": object.written})
            }
            None => {
                let error = format!("/etc/opensvc/namespaces/{path}.conf does not exist");
                json!({"error": error, "status": 3})
            }
        };
    }
    let Some(object) = object else {
        let mut error = unknown(path);
        error["status"] = "1".into();
        return error;
    };
    let mut config = object.ini.to_json();
    let metadata = json!({
        "name": object.path.name, "kind": object.path.kind, "namespace": object.path.namespace,
    });
    config.insert("metadata".to_owned(), metadata);
    Value::Object(config)
}

fn read_key(state: &State, options: &Map<String, Value>) -> Value {
    let Some(path) = path(options) else {
        return missing("path");
    };
    let Some(key) = text(options, "key") else {
        return missing("key");
    };
    let Some(object) = state.cluster.objects.get(path) else {
        return unknown(path);
    };
    if let Some(value) = object.keys.get(key) {
        return json!({"status": 0, "data": value});
    }
    // A value that was typed into the file in the clear is not decoded.
    if object.ini.value("data", key).is_some() {
        return json!({"status": 0, "data": null});
    }
    let kind = if object.path.kind == "cfg" {
        "configuration"
    } else {
        "secret"
    };
    let error = format!("{kind} {path} key {key} does not exist or has no value");
    json!({"status": 1, "error": error})
}

fn write_key(state: &mut State, options: &Map<String, Value>) -> Value {
    let Some(path) = path(options) else {
        return missing("path");
    };
    let Some(key) = text(options, "key") else {
        return missing("key");
    };
    let Some(data) = options.get("data").filter(|data| !data.is_null()) else {
        return missing("data");
    };
    if key.is_empty() {
        return json!({"status": 1, "error": "secret key name can not be empty"});
    }
    let data = data
        .as_str()
        .map_or_else(|| data.to_string(), str::to_owned);
    match state.key_by_request(path, key, &data) {
        Ok(()) => json!({"status": 0, "info": format!("key {key} value set")}),
        Err(_) => unknown(path),
    }
}

/// Creates empty objects, as recorded: `{"data": {path: {}}}`.
fn create(state: &mut State, options: &Map<String, Value>) -> Value {
    let Some(objects) = options.get("data").and_then(Value::as_object) else {
        return missing("data");
    };
    let (mut out, mut err, mut ret) = (String::new(), String::new(), 0);
    for path in objects.keys() {
        match state.create(path, "") {
            Ok(()) => out.push_str(&format!("create {path}\n")),
            Err(Refused(reason)) => {
                err.push_str(&format!("E {reason}\n"));
                ret = 1;
            }
        }
    }
    let node = state.cluster.order.first().cloned().unwrap_or_default();
    let data = json!({"out": out, "err": err, "ret": ret});
    json!({"nodes": {node: {"status": ret, "data": data}}, "status": ret})
}

/// Runs an `om` command: of all there are, `set` with keywords. One that fails is answered as
/// well as one that does not, but for `ret`.
fn act(state: &mut State, options: &Map<String, Value>) -> Value {
    let Some(path) = path(options) else {
        return missing("path");
    };
    if !state.cluster.objects.contains_key(path) {
        return json!({"status": 404, "error": format!("{path} not found")});
    }
    if options.contains_key("cmd") {
        let error = "sequence item 0: expected str instance, list found";
        return json!({"status": 500, "error": error, "traceback": error});
    }
    let Some(action) = text(options, "action") else {
        return json!({"status": 400, "error": "action not set"});
    };
    let keywords = options.get("options").and_then(|options| options.get("kw"));
    let keywords = keywords.and_then(Value::as_array).into_iter().flatten();
    let keywords: Vec<&str> = keywords.filter_map(Value::as_str).collect();
    let result = match action {
        "set" => state.set_by_request(path, &keywords),
        _ => Err(Refused::new(format!("{action} is not simulated"))),
    };
    let (err, ret) = match result {
        Ok(()) => (String::new(), 0),
        Err(Refused(reason)) => (format!("E {reason}\n"), 1),
    };
    json!({"status": 0, "data": {"out": "", "err": err, "ret": ret}})
}

fn delete_key(state: &mut State, options: &Map<String, Value>) -> Value {
    let Some(path) = path(options) else {
        return missing("path");
    };
    let Some(key) = text(options, "key") else {
        return missing("key");
    };
    match state.key(path, key, None) {
        Ok(()) => json!({"status": 0, "info": format!("key {key} value unset")}),
        Err(_) => unknown(path),
    }
}

fn keys(state: &State, options: &Map<String, Value>) -> Value {
    let Some(path) = path(options) else {
        return missing("path");
    };
    let Some(object) = state.cluster.objects.get(path) else {
        return unknown(path);
    };
    let keys: BTreeMap<&str, ()> = object
        .ini
        .sections()
        .filter(|(name, _)| *name == "data")
        .flat_map(|(_, body)| body.keys())
        .map(|key| (key.as_str(), ()))
        .collect();
    json!({"status": 0, "data": keys.keys().collect::<Vec<_>>()})
}

fn path(options: &Map<String, Value>) -> Option<&str> {
    ["path", "svcpath", "svcname"]
        .iter()
        .find_map(|name| text(options, name))
}

fn text<'a>(options: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    options.get(name)?.as_str()
}

fn missing(option: &str) -> Value {
    json!({"status": 400, "error": format!("required option {option} is not set")})
}

fn unknown(path: &str) -> Value {
    let traceback = format!("Traceback (most recent call last):\nKeyError: '{path}'\n");
    json!({"status": 1, "error": format!("'{path}'"), "traceback": traceback})
}
