//! EDGE: what is served, what the clients have of it, and the difference, as documents. Read-only
//! and without secrets; the same for every way they are asked for.

use std::collections::BTreeMap;

use prost_reflect::DynamicMessage;
use serde_json::{Map, Value, json};

use crate::ads::{Client, Shown};
use crate::aside::apart;
use crate::pb;
use crate::status::{Knowledge, descriptor};
use crate::xds::acked::{Copied, Lag};
use crate::xds::diff::{Diff, Document, Entry};
use crate::xds::{ENCODER, ResourceType, Snapshot};

/// From what each client has acknowledged to what is served; of all clients, or of one node.
///
/// # Errors
/// When the descriptors that were built in are damaged.
pub async fn of_clients(knowledge: &Knowledge, node: &str) -> Result<pb::ClientDiffs, String> {
    let snapshot = knowledge.snapshot().unwrap_or_default();
    let lags = lags(knowledge, node).await;
    apart(move || {
        let served = Document::of(&snapshot);
        let clients = lags.into_iter().map(|(client, lags)| {
            let has = lags.as_ref().map(|lags| lagging(&client, &served, lags));
            let diff = has.map(|has| Diff::of(&has, &of_type(&client, &served)));
            Ok(pb::ClientDiff {
                node: client.node,
                agent: client.agent,
                blocked: lags.is_none(),
                diff: diff.map(|diff| to_message(&diff)).transpose()?,
            })
        });
        let clients = clients.collect::<Result<_, String>>()?;
        Ok(pb::ClientDiffs { clients })
    })
    .await
}

/// What is served, and of each client what it has otherwise: the page `/snapshot`, which
/// [`Told::read`] reads.
pub async fn snapshot(knowledge: &Knowledge) -> Value {
    let snapshot: std::sync::Arc<Snapshot> = knowledge.snapshot().unwrap_or_default();
    let clients = lags(knowledge, "").await.into_iter();
    let clients = clients.map(|(client, lags)| {
        json!({
            "node": client.node,
            "agent": client.agent,
            "only": client.only.map(ResourceType::word),
            "blocked": lags.is_none(),
            "otherwise": lags.unwrap_or_default().iter().map(of_lag).collect::<Vec<_>>(),
        })
    });
    let clients: Vec<Value> = clients.collect();
    let resources = apart(move || Document::of(&snapshot).to_json()).await;
    json!({
        "gateway": knowledge.gateway(),
        "version": env!("CARGO_PKG_VERSION"),
        "encoder": ENCODER,
        "ready": knowledge.snapshot().is_some(),
        "stale": knowledge.is_stale(),
        "resources": resources,
        "clients": clients,
    })
}

/// What another process told of what it serves.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Told {
    /// The name of its gateway.
    pub gateway: String,
    /// Whether it has published anything.
    pub ready: bool,
    /// What it serves.
    pub served: Document,
    /// What each client has acknowledged of all types; `None` of one that could not be asked.
    pub clients: Vec<(String, Option<Document>)>,
    /// What some client has, and nobody knows the content of.
    pub unknown: Vec<String>,
}

impl Told {
    /// Reads what [`snapshot`] wrote.
    ///
    /// # Errors
    /// What it is instead.
    pub fn read(value: &Value) -> Result<Self, String> {
        let text = |value: &Value, name: &str| {
            let text = value.get(name).and_then(Value::as_str);
            text.unwrap_or_default().to_owned()
        };
        let document = |value: &Value, name: &str| {
            let list = value.get(name).unwrap_or(&Value::Null);
            Document::from_json(list).map_err(|error| error.to_string())
        };
        let mut told = Self {
            gateway: text(value, "gateway"),
            ready: value.get("ready") == Some(&Value::Bool(true)),
            served: document(value, "resources")?,
            ..Self::default()
        };
        let clients = value.get("clients").and_then(Value::as_array);
        // An Envoy without an aggregated stream has one for each type or name.
        let mut parts: BTreeMap<String, Option<Document>> = BTreeMap::new();
        for client in clients.into_iter().flatten() {
            let node = text(client, "node");
            let is_part = client.get("only").is_some_and(Value::is_string);
            let known = parts.get(&node).filter(|_| is_part).cloned();
            let known = known.unwrap_or_else(|| Some(told.served.clone()));
            let blocked = client.get("blocked") == Some(&Value::Bool(true));
            let has = match known.filter(|_| !blocked) {
                Some(known) => Some(told.without_lags(known, client)?),
                None => None,
            };
            match is_part {
                true => drop(parts.insert(node, has)),
                false => told.clients.push((node, has)),
            }
        }
        told.clients.extend(parts);
        // Versions of another build say nothing about this one's.
        if text(value, "encoder") != ENCODER {
            told.served.forget_versions();
            let clients = told.clients.iter_mut();
            clients.for_each(|(_, has)| has.iter_mut().for_each(Document::forget_versions));
        }
        Ok(told)
    }

    fn without_lags(&mut self, mut has: Document, client: &Value) -> Result<Document, String> {
        let lags = client.get("otherwise").and_then(Value::as_array);
        for lag in lags.into_iter().flatten() {
            let content = Value::Array(vec![lag.clone()]);
            let content = Document::from_json(&content).map_err(|error| error.to_string())?;
            for (kind, name, entry) in content.all() {
                match lag.get("has").and_then(Value::as_str) {
                    Some("content") => has.insert(kind, name, entry.clone()),
                    Some("nothing") => has.remove(kind, name),
                    _ => {
                        self.unknown.push(format!("{kind} {name}"));
                        has.remove(kind, name);
                    }
                }
            }
        }
        Ok(has)
    }
}

async fn lags(knowledge: &Knowledge, node: &str) -> Vec<(Client, Option<Vec<Lag>>)> {
    let meant = |client: &Client| node.is_empty() || client.node == node;
    let statuses = knowledge.clients().statuses(Shown::Lags, meant).await;
    let statuses = statuses.into_iter();
    statuses
        .map(|(client, status)| (client, status.map(|status| status.lags)))
        .collect()
}

fn of_lag(lag: &Lag) -> Value {
    let mut members = Map::new();
    let has = match &lag.copy {
        Copied::Nothing => "nothing",
        Copied::Unknown(_) => "unknown",
        Copied::Content(copy) => {
            let mut document = Document::default();
            document.insert(lag.kind, &lag.name, Entry::of(lag.kind, copy));
            if let Some(Value::Object(entry)) = document.to_json().get(0) {
                members = entry.clone();
            }
            "content"
        }
    };
    members.insert("type".to_owned(), lag.kind.word().into());
    members.insert("name".to_owned(), lag.name.as_str().into());
    members.insert("has".to_owned(), has.into());
    Value::Object(members)
}

/// What a client has, where that is what is served but for this.
fn lagging(client: &Client, served: &Document, lags: &[Lag]) -> Document {
    let mut has = of_type(client, served);
    for Lag { kind, name, copy } in lags {
        match copy {
            Copied::Content(copy) => has.insert(*kind, name, Entry::of(*kind, copy)),
            Copied::Nothing | Copied::Unknown(_) => has.remove(*kind, name),
        }
    }
    has
}

/// The part of what is served that a stream carries.
fn of_type(client: &Client, served: &Document) -> Document {
    let mut part = Document::default();
    for (kind, name, entry) in served.all() {
        if client.only.is_none_or(|only| only == kind) {
            part.insert(kind, name, entry.clone());
        }
    }
    part
}

/// A difference as a message.
///
/// # Errors
/// When the descriptors that were built in are damaged.
pub fn to_message(diff: &Diff) -> Result<pb::Diff, String> {
    let read = DynamicMessage::deserialize(descriptor("osvc_igw.v1.Diff")?, diff.to_json());
    let read = read.map_err(|error| error.to_string())?;
    read.transcode_to().map_err(|error| error.to_string())
}
