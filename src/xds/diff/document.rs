//! What one side has, as JSON that may be shown: a snapshot without its secrets. It can be written
//! and read again, so that who asks a running controller need not have its memory.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::gateway::Origin;
use crate::inventory::fingerprint::{Fingerprint, fingerprints};
use crate::xds::json::to_json;
use crate::xds::{Resource, ResourceType, Snapshot};

/// Every resource of one side, by type and name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Document {
    resources: BTreeMap<(ResourceType, String), Entry>,
}

/// One resource of a side.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Its version, where that says anything: of equal versions the content is equal.
    pub version: Option<String>,
    /// What it was made from; empty where that is not known.
    pub origins: Vec<Origin>,
    /// Envoy's JSON. Of a secret it is what may be told of it.
    pub body: Value,
}

/// Why JSON is no document.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("it is no list of resources as a controller tells them: {0}")]
pub struct NoDocument(pub &'static str);

impl Document {
    /// All of a snapshot.
    pub fn of(snapshot: &Snapshot) -> Self {
        let mut document = Self::default();
        for kind in ResourceType::ALL {
            for resource in snapshot.all(kind) {
                document.insert(kind, &resource.name, Entry::of(kind, resource));
            }
        }
        document
    }

    /// Puts a resource in, in the place of one of the same name.
    pub fn insert(&mut self, kind: ResourceType, name: &str, entry: Entry) {
        self.resources.insert((kind, name.to_owned()), entry);
    }

    /// Takes a resource away.
    pub fn remove(&mut self, kind: ResourceType, name: &str) {
        self.resources.remove(&(kind, name.to_owned()));
    }

    /// The resource of that type and name.
    pub fn get(&self, kind: ResourceType, name: &str) -> Option<&Entry> {
        self.resources.get(&(kind, name.to_owned()))
    }

    /// Says that the versions tell nothing: another build wrote them.
    pub fn forget_versions(&mut self) {
        let entries = self.resources.values_mut();
        entries.for_each(|entry| entry.version = None);
    }

    pub(super) fn get_mut(&mut self, kind: ResourceType, name: &str) -> Option<&mut Value> {
        let entry = self.resources.get_mut(&(kind, name.to_owned()))?;
        Some(&mut entry.body)
    }

    /// All of them, in push order and by name.
    pub fn all(&self) -> impl Iterator<Item = (ResourceType, &str, &Entry)> {
        let all = self.resources.iter();
        all.map(|((kind, name), entry)| (*kind, name.as_str(), entry))
    }

    /// The document as JSON: a list of resources.
    pub fn to_json(&self) -> Value {
        let resources = self.all().map(|(kind, name, entry)| {
            let origins = entry.origins.iter();
            let origins = origins.map(
                |origin| json!({"object": origin.object.to_string(), "section": origin.section}),
            );
            json!({
                "type": kind.word(),
                "name": name,
                "version": entry.version,
                "origins": origins.collect::<Vec<_>>(),
                "body": entry.body,
            })
        });
        Value::Array(resources.collect())
    }

    /// Reads what [`Document::to_json`] wrote.
    ///
    /// # Errors
    /// When it is something else.
    pub fn from_json(value: &Value) -> Result<Self, NoDocument> {
        let mut document = Self::default();
        let list = value.as_array().ok_or(NoDocument("no list"))?;
        for resource in list {
            let text = |name: &str| resource.get(name).and_then(Value::as_str);
            let mut kinds = ResourceType::ALL.into_iter();
            let kind = kinds.find(|kind| text("type") == Some(kind.word()));
            let kind = kind.ok_or(NoDocument("a resource has no known type"))?;
            let name = text("name").ok_or(NoDocument("a resource has no name"))?;
            let origins = resource.get("origins").and_then(Value::as_array);
            let origins = origins.into_iter().flatten().filter_map(|origin| {
                Some(Origin {
                    object: origin.get("object")?.as_str()?.parse().ok()?,
                    section: origin.get("section")?.as_str()?.to_owned().into(),
                })
            });
            let entry = Entry {
                version: text("version").map(str::to_owned),
                origins: origins.collect(),
                body: resource.get("body").cloned().unwrap_or_default(),
            };
            document.insert(kind, name, entry);
        }
        Ok(document)
    }
}

impl Entry {
    /// What may be shown of a resource.
    pub fn of(kind: ResourceType, resource: &Resource) -> Self {
        let body = to_json(kind.url(), &resource.body);
        // An own resource always has a JSON form; what has none is compared by its version.
        let body = body.unwrap_or_else(|error| json!({"unreadable": error.to_string()}));
        Self {
            version: Some(resource.version.to_string()),
            origins: resource.origins.to_vec(),
            body: match kind {
                ResourceType::Secret => told(&body),
                _ => body,
            },
        }
    }
}

/// What may be told of a secret, from its redacted JSON (extensions.transport_sockets.tls.v3):
/// fingerprints and last days in the place of certificates, and no keys.
pub(super) fn told(secret: &Value) -> Value {
    let mut shown = Map::new();
    if let Some(name) = secret.get("name") {
        shown.insert("name".to_owned(), name.clone());
    }
    if let Some(pair) = secret.get("tls_certificate") {
        let chain = source(pair.get("certificate_chain"));
        let key = source(pair.get("private_key"));
        let key = key.filter(|key| key.get("filename").is_some());
        let both = json!({"certificate_chain": chain, "private_key": key});
        shown.insert("tls_certificate".to_owned(), without_nulls(both));
    }
    if let Some(trust) = secret.get("validation_context") {
        let mut trust = trust.clone();
        if let Some(members) = trust.as_object_mut()
            && let Some(ca) = members.remove("trusted_ca")
        {
            let ca = source(Some(&ca)).unwrap_or_default();
            members.insert("trusted_ca".to_owned(), ca);
        }
        shown.insert("validation_context".to_owned(), trust);
    }
    Value::Object(shown)
}

/// A data source: the name of a file, or what certificates are in it.
fn source(source: Option<&Value>) -> Option<Value> {
    let source = source?;
    if let Some(name) = source.get("filename") {
        return Some(json!({"filename": name}));
    }
    let text = source.get("inline_string").and_then(Value::as_str);
    let bytes = source.get("inline_bytes").and_then(Value::as_str);
    let bytes = bytes.and_then(|text| STANDARD.decode(text).ok());
    let pem = text.map(|text| text.as_bytes().to_vec()).or(bytes)?;
    let prints = fingerprints(&pem).into_iter().map(shown);
    Some(Value::Array(prints.collect()))
}

fn shown(print: Fingerprint) -> Value {
    let Fingerprint { sha256, not_after } = print;
    without_nulls(json!({"sha256": sha256, "not_after": not_after}))
}

fn without_nulls(mut value: Value) -> Value {
    if let Some(members) = value.as_object_mut() {
        members.retain(|_, value| !value.is_null());
    }
    value
}
