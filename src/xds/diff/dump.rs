//! What an Envoy says that it runs with: its `/config_dump?include_eds`
//! (admin.v3.ConfigDump). What its bootstrap gave it is left out, and what only warms.

use serde_json::{Map, Value};

use super::document::told;
use super::{Document, Entry};
use crate::xds::json::{from_json, to_json};
use crate::xds::{ResourceType, v2};

/// Why JSON is no dump.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("it is no config dump of an Envoy: {0}")]
pub struct NoDump(pub &'static str);

/// The resources that Envoy got over xDS and serves with.
///
/// # Errors
/// When it is something else.
pub fn document(dump: &Value) -> Result<Document, NoDump> {
    let configs = dump.get("configs").and_then(Value::as_array);
    let configs = configs.ok_or(NoDump("no list of configs"))?;
    let mut document = Document::default();
    for config in configs {
        for (list, way, kind) in PLACES {
            let items = config.get(*list).and_then(Value::as_array);
            for item in items.into_iter().flatten() {
                let found = way.iter().try_fold(item, |value, name| value.get(name));
                if let Some(body) = found {
                    take(*kind, body, &mut document);
                }
            }
        }
    }
    Ok(document)
}

fn take(kind: ResourceType, body: &Value, document: &mut Document) {
    let body = canonical(kind, body);
    let name = match kind {
        ResourceType::Endpoint => body.get("cluster_name"),
        _ => body.get("name"),
    };
    let Some(name) = name.and_then(Value::as_str).map(str::to_owned) else {
        return;
    };
    // Envoy's versions are those of its server, which may be another one.
    let entry = Entry {
        version: None,
        origins: Vec::new(),
        body: match kind {
            ResourceType::Secret => told(&body),
            _ => body,
        },
    };
    document.insert(kind, &name, entry);
}

/// The same JSON as an equal resource of ours has: Envoy prints some numbers otherwise, and an
/// Envoy of igw_envoy tells of messages of the v2 API. What is not known is left as it is.
fn canonical(kind: ResourceType, body: &Value) -> Value {
    let mut body = body.clone();
    if let Some(members) = body.as_object_mut() {
        members.remove("@type");
    }
    let read = |body: &Value| {
        let bytes = from_json(kind.url(), body).ok()?;
        to_json(kind.url(), &bytes).ok()
    };
    if let Some(read) = read(&body) {
        return read;
    }
    let mut newer = body.clone();
    let name = kind.url().rsplit('/').next().unwrap_or_default();
    v2::translate(name, &mut newer);
    read(&newer).unwrap_or_else(|| plain(body))
}

fn plain(body: Value) -> Value {
    match body {
        Value::Object(members) => Value::Object(members.into_iter().collect::<Map<_, _>>()),
        other => other,
    }
}

/// Where in the parts of a dump which resources stand.
const PLACES: &[(&str, &[&str], ResourceType)] = &[
    (
        "dynamic_active_clusters",
        &["cluster"],
        ResourceType::Cluster,
    ),
    (
        "dynamic_endpoint_configs",
        &["endpoint_config"],
        ResourceType::Endpoint,
    ),
    ("dynamic_active_secrets", &["secret"], ResourceType::Secret),
    (
        "dynamic_listeners",
        &["active_state", "listener"],
        ResourceType::Listener,
    ),
    (
        "dynamic_route_configs",
        &["route_config"],
        ResourceType::Route,
    ),
];
