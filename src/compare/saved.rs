//! EDGE: a state from a saved daemon status. What a controller reads beside the status is not in
//! it: certificates stand for themselves, by the object and the checksum that the status tells.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::{Error, put};
use crate::gateway::Want;
use crate::inventory::certificate::{Pair, Trust};
use crate::inventory::overlay::untold;
use crate::inventory::{
    Config, Event, Inventory, Judged, Kind, Object, ObjectPath, Reading, Sensitive,
};
use crate::opensvc::mirror::Mirror;

/// Reads a status: the document of the daemon, or what wraps it under `data` or `status`.
pub(super) fn load(path: &Path, option: &'static str) -> Result<Inventory, Error> {
    let failed = |reason: String| Error::File {
        path: path.to_owned(),
        option,
        reason,
    };
    let bytes = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
    let value: Value = serde_json::from_slice(&bytes)
        .map_err(|error| failed(format!("it is no JSON: {error}")))?;
    let is_status = |value: &&Value| value.get("monitor").is_some_and(Value::is_object);
    let wrapped = ["data", "status"].map(|name| value.get(name));
    let places = std::iter::once(Some(&value)).chain(wrapped);
    let status = places.flatten().find(is_status);
    let status = status.ok_or_else(|| {
        failed("it is no status of an OpenSVC daemon: it has no `monitor`".to_owned())
    })?;
    let mut inventory = Inventory::default();
    let events = Mirror::default().reset(status.clone());
    if events.is_empty() {
        return Err(failed("no node in it tells its state".to_owned()));
    }
    for event in events {
        put(&mut inventory, event);
    }
    Ok(inventory)
}

/// Gives what is wanted as far as it can be known; returns whether anything was new.
pub(super) fn answer(
    inventory: &mut Inventory,
    wants: &BTreeSet<Want>,
    known: &[(ObjectPath, Config)],
) -> bool {
    let mut any = false;
    for want in wants {
        any |= match want {
            Want::Config(path, revision) => {
                let content = Some(config(inventory, path, known));
                let revision = revision.clone();
                inventory.apply(Event::Config(path.clone(), Reading { revision, content }))
            }
            Want::Secret(path, revision) => {
                let pair = Pair {
                    certificate_chain: unread(path, revision),
                    private_key: unread(path, revision),
                    not_after: i64::MAX,
                };
                stand_in(&mut inventory.secrets, path, revision, pair)
            }
            Want::Trust(path, revision) => {
                let trust = Trust {
                    trusted_ca: Some(unread(path, revision).expose().to_owned()),
                    certificate_hashes: Vec::new(),
                };
                stand_in(&mut inventory.trusts, path, revision, trust)
            }
            Want::Challenges(path, revision) => {
                let (revision, content) = (revision.clone(), None);
                let reading = Reading { revision, content };
                inventory.apply(Event::Challenges(path.clone(), reading))
            }
        };
    }
    any
}

fn unread(path: &ObjectPath, revision: &str) -> Sensitive {
    Sensitive::new(format!("not read: {path} at {revision}"))
}

fn stand_in<T: PartialEq>(
    map: &mut BTreeMap<ObjectPath, Judged<T>>,
    path: &ObjectPath,
    revision: &str,
    good: T,
) -> bool {
    let judged = Judged {
        revision: revision.into(),
        good: Some(good),
        flaw: None,
    };
    let is_new = map.get(path) != Some(&judged);
    map.insert(path.clone(), judged);
    is_new
}

/// What a status does not tell of a configuration: that of a file that is known; else one that
/// names a certificate for each section whose keywords the agent does not tell, after the section.
fn config(inventory: &mut Inventory, path: &ObjectPath, known: &[(ObjectPath, Config)]) -> Config {
    let scaler = path.scaler().map(|(_, scaler)| scaler);
    let mut files = known.iter();
    if let Some((_, file)) = files.find(|(of, _)| of == path || Some(of) == scaler.as_ref()) {
        return untold(file);
    }
    let mut sections = BTreeMap::new();
    let Some(object) = inventory.objects.get(path).cloned() else {
        return Config::new(sections);
    };
    let instances = object.instances.values();
    for (rid, resource) in instances.flat_map(|instance| instance.resources.iter()) {
        if !resource.is_of("certificate") || !resource.keywords.is_empty() {
            continue;
        }
        let secret = format!("unread-{}", rid.replace('#', "-"));
        if let Some(secret) = path.resolve(Kind::Sec, &secret)
            && !inventory.objects.contains_key(&secret)
        {
            inventory
                .objects
                .insert(secret.clone(), Arc::new(unseen(secret, &object)));
        }
        let keyword = BTreeMap::from([(SECRET.to_owned(), secret)]);
        sections.insert(rid.to_owned(), keyword);
    }
    Config::new(sections)
}

/// An object that something is called after, as the status would tell of it.
fn unseen(path: ObjectPath, like: &Object) -> Object {
    let instances = like.instances.keys();
    let instances = instances.map(|node| (node.to_owned(), Default::default()));
    Object {
        path,
        revision: "unread".into(),
        slave: false,
        instances: instances.collect(),
    }
}

/// The keyword of a `certificate` section that no driver of an agent 2.1 tells.
const SECRET: &str = "secret";
