//! What an Envoy says that it runs with: its `/config_dump?include_eds`
//! (admin.v3.ConfigDump). What its bootstrap gave it is left out, and what only warms.

use prost::Message;
use serde_json::Value;

use super::document::told;
use super::{Document, Entry};
use crate::xds::json::{parse, to_json};
use crate::xds::sources::Source;
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
    // Of a cluster that finds its hosts by itself Envoy tells the hosts that it found.
    let others: Vec<String> = document
        .all()
        .filter(|(kind, _, _)| *kind == ResourceType::Endpoint)
        .filter(|(_, name, _)| {
            let cluster = document.get(ResourceType::Cluster, name);
            cluster.is_some_and(|cluster| cluster.body.get("type") != Some(&"EDS".into()))
        })
        .map(|(_, name, _)| name.to_owned())
        .collect();
    for name in others {
        document.remove(ResourceType::Endpoint, &name);
    }
    Ok(document)
}

/// Takes what an Envoy does not tell as it is in what it was `sent`: the names of files, whose
/// content it tells, and whether a host that fails its checks drains as well.
pub fn complete(dumped: &mut Document, sent: &Document) {
    for (kind, name, entry) in sent.all() {
        let Some(body) = dumped.get_mut(kind, name) else {
            continue;
        };
        match kind {
            ResourceType::Secret => {
                for place in SOURCES {
                    let file = entry.body.pointer(place);
                    let file = file.filter(|file| file.get("filename").is_some());
                    if let (Some(file), Some(source)) = (file, body.pointer_mut(place)) {
                        source.clone_from(file);
                    }
                }
                // Of a key nothing is told but the name of its file.
                let key = entry.body.pointer(KEY);
                if let (Some(key), Some(pair)) = (key, body.pointer_mut(PAIR))
                    && let Some(pair) = pair.as_object_mut()
                {
                    pair.insert("private_key".to_owned(), key.clone());
                }
            }
            ResourceType::Endpoint => drain(body, &entry.body),
            _ => {}
        }
    }
}

fn drain(dumped: &mut Value, sent: &Value) {
    let hosts = |assignment: &Value| -> Vec<Value> {
        let localities = assignment.get("endpoints").and_then(Value::as_array);
        let localities = localities.into_iter().flatten();
        let hosts = localities.filter_map(|locality| locality.get("lb_endpoints")?.as_array());
        hosts.flatten().cloned().collect()
    };
    let draining = |host: &Value| host.get("health_status") == Some(&"DRAINING".into());
    let leaving = hosts(sent).into_iter().filter(draining);
    let leaving: Vec<Value> = leaving
        .filter_map(|host| host.pointer(ADDRESS).cloned())
        .collect();
    let localities = dumped.get_mut("endpoints").and_then(Value::as_array_mut);
    for locality in localities.into_iter().flatten() {
        let hosts = locality
            .get_mut("lb_endpoints")
            .and_then(Value::as_array_mut);
        for host in hosts.into_iter().flatten() {
            let fails = host.get("health_status") == Some(&"UNHEALTHY".into());
            let leaves = host.pointer(ADDRESS).is_some_and(|at| leaving.contains(at));
            if fails && leaves {
                host["health_status"] = "DRAINING".into();
            }
        }
    }
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

/// The same JSON as an equal resource of ours has: Envoy prints some numbers otherwise, one that
/// was started for the janitor fetches what is named in other ways, and one that the janitor fed
/// tells of messages of the v2 API. What is not known is left as it is.
fn canonical(kind: ResourceType, body: &Value) -> Value {
    let mut body = body.clone();
    if let Some(members) = body.as_object_mut() {
        members.remove("@type");
    }
    let read = |body: &Value| {
        let mut message = parse(message_of(kind), body).ok()?;
        Source::aggregated().ok()?.put(&mut message);
        to_json(kind.url(), &message.encode_to_vec()).ok()
    };
    if let Some(read) = read(&body) {
        return read;
    }
    let mut newer = body.clone();
    v2::translate(message_of(kind), &mut newer);
    read(&newer).unwrap_or(body)
}

fn message_of(kind: ResourceType) -> &'static str {
    kind.url().rsplit('/').next().unwrap_or_default()
}

/// What may be the name of a file in a secret.
const SOURCES: [&str; 2] = [
    "/tls_certificate/certificate_chain",
    "/validation_context/trusted_ca",
];
const PAIR: &str = "/tls_certificate";
const KEY: &str = "/tls_certificate/private_key";
const ADDRESS: &str = "/endpoint/address";
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn only(list: &str, item: Value) -> Document {
        document(&json!({"configs": [{"@type": "x", list: [item]}, {"@type": "y"}]})).unwrap()
    }

    #[test]
    fn a_cluster_of_the_janitor_is_read_in_today_s_words() {
        let cluster = json!({
            "@type": "type.googleapis.com/envoy.api.v2.Cluster",
            "name": "web", "type": "EDS", "connect_timeout": "0.250s",
            "drain_connections_on_host_removal": true,
            "eds_cluster_config": {"eds_config": {"api_config_source": {
                "api_type": "GRPC",
                "grpc_services": [{"envoy_grpc": {"cluster_name": "xds_cluster"}}],
            }}},
        });
        let read = only("dynamic_active_clusters", json!({"cluster": cluster}));
        let body = &read.get(ResourceType::Cluster, "web").unwrap().body;
        assert_eq!(body["ignore_health_on_host_removal"], true, "{body}");
        assert_eq!(
            body["eds_cluster_config"]["eds_config"],
            json!({"ads": {}, "resource_api_version": "V3"})
        );
    }

    #[test]
    fn what_is_not_known_is_left_as_it_is_and_what_has_no_name_is_passed_over() {
        let odd = json!({"name": "odd", "no_such_field": 1});
        let read = only("dynamic_active_clusters", json!({"cluster": odd}));
        let body = &read.get(ResourceType::Cluster, "odd").unwrap().body;
        assert_eq!(*body, json!({"name": "odd", "no_such_field": 1}));
        let read = only("dynamic_active_clusters", json!({"cluster": {"name": 1}}));
        assert_eq!(read, Document::default());
    }

    #[test]
    fn a_listener_that_is_not_active_is_none() {
        let warming = json!({"name": "l", "warming_state": {"listener": {"name": "l"}}});
        assert_eq!(only("dynamic_listeners", warming), Document::default());
        let active = json!({"name": "l", "active_state": {"listener": {"name": "l"}}});
        let read = only("dynamic_listeners", active);
        assert!(read.get(ResourceType::Listener, "l").is_some());
    }

    #[test]
    fn a_secret_is_told_by_its_certificate_alone() {
        let secret = json!({"name": "s", "tls_certificate": {
            "certificate_chain": {"inline_bytes": "eA=="},
            "private_key": {"inline_bytes": "W3JlZGFjdGVkXQ=="}}});
        let read = only("dynamic_active_secrets", json!({"secret": secret}));
        assert_eq!(
            read.get(ResourceType::Secret, "s").unwrap().body,
            json!({"name": "s", "tls_certificate": {"certificate_chain": []}})
        );
    }

    #[test]
    fn what_an_envoy_cannot_tell_is_as_it_was_sent() {
        let host = |health: &str| {
            let address = json!({"socket_address": {"address": "10.0.0.1", "port_value": 80}});
            let host = json!({"health_status": health, "endpoint": {"address": address}});
            json!({"cluster_name": "c", "endpoints": [{"lb_endpoints": [host]}]})
        };
        let entry = |body: Value| Entry {
            version: None,
            origins: Vec::new(),
            body,
        };
        let mut sent = Document::default();
        sent.insert(ResourceType::Endpoint, "c", entry(host("DRAINING")));
        let pair =
            json!({"certificate_chain": {"filename": "/c"}, "private_key": {"filename": "/k"}});
        let secret = json!({"name": "s", "tls_certificate": pair});
        sent.insert(ResourceType::Secret, "s", entry(secret));
        let mut dumped = Document::default();
        dumped.insert(ResourceType::Endpoint, "c", entry(host("UNHEALTHY")));
        let content = json!({"certificate_chain": [{"sha256": "0"}]});
        let secret = json!({"name": "s", "tls_certificate": content});
        dumped.insert(ResourceType::Secret, "s", entry(secret));
        complete(&mut dumped, &sent);
        assert_eq!(dumped, sent);
    }

    #[test]
    fn a_cluster_that_finds_its_hosts_has_no_endpoints_of_ours() {
        let configs = json!({"configs": [
            {"dynamic_active_clusters": [{"cluster": {"name": "c", "type": "ORIGINAL_DST"}}]},
            {"dynamic_endpoint_configs": [{"endpoint_config": {"cluster_name": "c"}}]},
        ]});
        let read = document(&configs).unwrap();
        assert!(read.get(ResourceType::Endpoint, "c").is_none());
    }

    #[test]
    fn anything_else_is_no_dump() {
        assert!(document(&json!([])).is_err());
        assert!(document(&json!({"configs": 1})).is_err());
    }
}
