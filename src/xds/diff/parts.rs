//! A resource as Envoy looks at its changes: what concerns all of it, and the parts that change
//! each for itself: the chains of a listener, the virtual hosts of routes, the endpoints.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::xds::ResourceType;

/// A resource and its parts.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Parts {
    /// What is left without the parts.
    pub(super) head: Value,
    /// The parts by name.
    pub(super) parts: BTreeMap<String, Value>,
}

/// What a part of such a resource is called; `None` where it has none.
pub(super) fn noun(kind: ResourceType) -> Option<&'static str> {
    match kind {
        ResourceType::Listener => Some("filter_chain"),
        ResourceType::Route => Some("virtual_host"),
        ResourceType::Endpoint => Some("endpoint"),
        ResourceType::Cluster | ResourceType::Secret | ResourceType::Scope => None,
    }
}

/// Takes a resource apart.
pub(super) fn parts(kind: ResourceType, body: &Value) -> Parts {
    let mut head = body.clone();
    let mut parts = BTreeMap::new();
    let mut take = |field: &str| match head.as_object_mut()?.remove(field)? {
        Value::Array(list) => Some(list),
        _ => None,
    };
    match kind {
        ResourceType::Listener => {
            let chains = take("filter_chains").unwrap_or_default();
            named(chains, &mut parts);
            let default = head.as_object_mut();
            if let Some(chain) = default.and_then(|it| it.remove("default_filter_chain")) {
                parts.insert("default_filter_chain".to_owned(), chain);
            }
        }
        ResourceType::Route => named(take("virtual_hosts").unwrap_or_default(), &mut parts),
        ResourceType::Endpoint => {
            let localities = take("endpoints").unwrap_or_default();
            localities
                .iter()
                .for_each(|locality| endpoints(locality, &mut parts));
            // Envoy tells of a policy also where it was given none.
            if let Some(members) = head.as_object_mut() {
                members.remove("policy");
            }
        }
        ResourceType::Cluster | ResourceType::Secret | ResourceType::Scope => {}
    }
    Parts { head, parts }
}

fn named(list: Vec<Value>, parts: &mut BTreeMap<String, Value>) {
    for (at, value) in list.into_iter().enumerate() {
        let name = value.get("name").and_then(Value::as_str);
        let name = name.filter(|name| !parts.contains_key(*name));
        let name = name.map_or_else(|| at.to_string(), str::to_owned);
        parts.insert(name, value);
    }
}

/// The endpoints of a locality by address. What Envoy adds by itself when it tells of them
/// (weights of 1, how it finds their health) is left out: it is no difference.
fn endpoints(locality: &Value, parts: &mut BTreeMap<String, Value>) {
    let hosts = locality.get("lb_endpoints").and_then(Value::as_array);
    for host in hosts.into_iter().flatten() {
        let Some(endpoint) = host.get("endpoint") else {
            continue;
        };
        let address = endpoint.get("address").unwrap_or(&Value::Null);
        let mut shown = Map::new();
        if host.get("health_status").and_then(Value::as_str) == Some("DRAINING") {
            shown.insert("health_status".to_owned(), "DRAINING".into());
        }
        if let Some(place) = locality.get("locality")
            && place.as_object().is_some_and(|place| !place.is_empty())
        {
            shown.insert("locality".to_owned(), place.clone());
        }
        if let Some(priority) = locality.get("priority") {
            shown.insert("priority".to_owned(), priority.clone());
        }
        let weight = host.get("load_balancing_weight");
        if let Some(weight) = weight.filter(|weight| weight.as_u64() != Some(1)) {
            shown.insert("load_balancing_weight".to_owned(), weight.clone());
        }
        parts.insert(place_of(address), Value::Object(shown));
    }
}

/// `10.0.0.1:80`, or the JSON of an address that is none of a socket.
fn place_of(address: &Value) -> String {
    let socket = address.get("socket_address");
    let place = socket.and_then(|socket| {
        let host = socket.get("address")?.as_str()?;
        let port = socket.get("port_value").and_then(Value::as_u64)?;
        Some(match host.contains(':') {
            true => format!("[{host}]:{port}"),
            false => format!("{host}:{port}"),
        })
    });
    place.unwrap_or_else(|| address.to_string())
}
