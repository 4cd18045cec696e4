//! What is fuzzed, as plain functions: each takes any bytes, and fails by panicking. The program's
//! own tests run them over the recorded traffic, on a stable toolchain.

use osvc_igw::inventory::{Config, Event, Inventory};
use osvc_igw::opensvc::json_delta;
use osvc_igw::opensvc::mirror::Mirror;
use osvc_igw::xds::json;
use serde_json::Value;

/// Messages of an event stream, one a line: a mirror that goes on after an error is made whole by
/// a status, whatever came before.
pub(super) fn message(data: &[u8]) {
    let mut mirror = Mirror::default();
    let mut inventory = Inventory::default();
    for line in data.split(|byte| *byte == b'\n' || *byte == 0) {
        let Ok(message) = serde_json::from_slice::<Value>(line) else {
            continue;
        };
        let before = mirror.tree().clone();
        match mirror.apply(message) {
            Ok(events) => take(&mut inventory, events),
            Err(_) => {
                let events = mirror.refresh(before.clone());
                take(&mut inventory, events);
                assert_eq!(mirror.tree(), &before);
            }
        }
    }
}

/// A tree, and stanzas that are applied to it: `[tree, stanza, ...]`.
pub(super) fn json_delta(data: &[u8]) {
    let Ok(Value::Array(mut parts)) = serde_json::from_slice(data) else {
        return;
    };
    if parts.is_empty() {
        return;
    }
    let mut tree = parts.remove(0);
    let count = parts.len();
    let failed = json_delta::apply(&mut tree, parts);
    assert!(failed.len() <= count);
}

/// A full status: equal statuses make equal reports, and none is told twice.
pub(super) fn status(data: &[u8]) {
    let Ok(status) = serde_json::from_slice::<Value>(data) else {
        return;
    };
    let mut mirror = Mirror::default();
    let events = mirror.reset(status.clone());
    assert_eq!(Mirror::default().reset(status.clone()), events);
    if !events.is_empty() {
        assert_eq!(mirror.check(status), []);
        assert!(!mirror.is_suspicious());
    }
    take(&mut Inventory::default(), events);
}

/// A raw configuration.
pub(super) fn config(data: &[u8]) {
    if let Ok(value) = serde_json::from_slice::<Value>(data) {
        let read = Config::from_json(&value);
        assert_eq!(read, Config::from_json(&value));
    }
}

/// Envoy JSON as a service may write it: what is taken can be shown again, and shows the same.
pub(super) fn envoy_json(data: &[u8]) {
    let Ok(value) = serde_json::from_slice::<Value>(data) else {
        return;
    };
    let cluster = "envoy.config.cluster.v3.Cluster";
    let Ok(body) = json::from_json(cluster, &value) else {
        return;
    };
    let type_url = format!("type.googleapis.com/{cluster}");
    if let Ok(shown) = json::to_json(&type_url, &body) {
        drop(json::from_json(cluster, &shown));
    }
}

fn take(inventory: &mut Inventory, events: Vec<Event>) {
    for event in events {
        inventory.apply(event);
    }
}
