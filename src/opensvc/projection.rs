//! PURE: what the agent 2.x status tree means, as inventory values.
//!
//! Wrong types cost the resource or instance that they are in, never more. Nothing is kept here
//! from one call to the next.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Map, Value};

use super::mirror::leaf::{self, Entry, Loose, Named, Part, Told};
use crate::inventory::{
    Instance, Kind, Labels, NodeStatus, Object, ObjectPath, Report, Resource, Table,
};

/// Whether the daemon is past its first moments, when its status knows nothing yet.
pub(super) fn is_complete(tree: &Value) -> bool {
    let nodes = object_at(tree, &["monitor", "nodes"]);
    nodes.is_some_and(|nodes| nodes.values().any(|node| monitor_status(node).is_some()))
}

/// Everything that the tree says.
pub(super) fn report(tree: &Value) -> Report {
    let reporting = object_at(tree, &["monitor", "nodes"]);
    let names = reporting.into_iter().flat_map(Map::keys).cloned();
    let nodes = names.chain(members(tree)).filter_map(|name| {
        let status = status_of(tree, &name)?;
        Some((name, status))
    });
    let labels = reporting.into_iter().flatten();
    let labels = labels.map(|(name, node)| (name.clone(), labels_of(node)));
    let objects = object_at(tree, &["monitor", "services"]);
    let objects = objects.into_iter().flat_map(Map::keys);
    Report {
        nodes: nodes.collect(),
        labels: labels.filter(|(_, labels)| !labels.is_empty()).collect(),
        objects: objects
            .filter_map(|key| {
                let path = object_path(key)?;
                Some((path.clone(), Arc::new(object(tree, key, path)?)))
            })
            .collect(),
    }
}

/// A path in the daemon's own spelling; any other would name one object twice.
pub(super) fn object_path(key: &str) -> Option<ObjectPath> {
    let path: ObjectPath = key.parse().ok()?;
    (path.to_string() == key).then_some(path)
}

/// A node's entry.
pub(super) fn node<'a>(tree: &'a Value, name: &str) -> Option<&'a Value> {
    object_at(tree, &["monitor", "nodes"])?.get(name)
}

/// The names of the nodes that are configured to be members of the OpenSVC cluster.
pub(super) fn members(tree: &Value) -> impl Iterator<Item = String> {
    let members = tree.get("cluster").and_then(|cluster| cluster.get("nodes"));
    let members = members.and_then(Value::as_array).into_iter().flatten();
    members.filter_map(Value::as_str).map(str::to_owned)
}

/// What is known of the node: a member without an entry was heard of once, or never was.
pub(super) fn status_of(tree: &Value, name: &str) -> Option<NodeStatus> {
    match node(tree, name) {
        Some(node) => Some(node_status(node)),
        None => members(tree)
            .any(|member| member == name)
            .then_some(NodeStatus::Lost),
    }
}

/// The node's labels, those that are texts.
pub(super) fn labels_of(node: &Value) -> Labels {
    let labels = node.get("labels").and_then(Value::as_object);
    let labels = labels.into_iter().flatten();
    labels
        .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
        .collect()
}

/// A node whose entry does not tell its status yet is not complete either.
///
/// A daemon says `maintenance` or `upgrade` before it stops and leaves its services running;
/// `draining` and `shutting` when it stops all of them.
pub(super) fn node_status(node: &Value) -> NodeStatus {
    match monitor_status(node) {
        None | Some("init" | "rejoin") => NodeStatus::Starting,
        Some("maintenance" | "upgrade") => NodeStatus::Maintenance,
        Some("draining" | "shutting") => NodeStatus::Draining,
        Some(_) => NodeStatus::Settled,
    }
}

/// What the daemon is doing with a node or an instance.
fn monitor_status(entry: &Value) -> Option<&str> {
    entry.get("monitor")?.get("status")?.as_str()
}

/// The object as all nodes report it; `None` where none has a usable instance.
pub(super) fn object(tree: &Value, key: &str, path: ObjectPath) -> Option<Object> {
    let aggregate = object_at(tree, &["monitor", "services"])?.get(key)?;
    if aggregate.is_null() {
        return None;
    }
    let mut slave = is_slave(aggregate);
    let mut instances = BTreeMap::new();
    let mut csums = BTreeMap::new();
    for (name, node) in object_at(tree, &["monitor", "nodes"])? {
        let Some(services) = node.get("services") else {
            continue;
        };
        if let Some(csum) = config_csum(services, key) {
            csums.insert(name, csum);
        }
        if let Some((marked, mut instance)) = instance_at(services, key, path.kind()) {
            slave |= marked;
            share(&mut instance, instances.values());
            instances.insert(name.clone(), instance);
        }
    }
    let revision = csums
        .into_iter()
        .map(|(name, csum)| format!("{name}={csum}"));
    let revision = revision.collect::<Vec<_>>().join(" ");
    (!instances.is_empty()).then_some(Object {
        path,
        revision,
        slave,
        instances,
    })
}

/// The object as it was known, with its instances on some nodes as these report them now.
pub(super) fn instances(
    tree: &Value,
    key: &str,
    known: &Object,
    nodes: &BTreeSet<String>,
) -> Option<Object> {
    // Who is a slave is told by each instance, and kept of all of them together.
    if known.slave {
        return object(tree, key, known.path.clone());
    }
    let mut object = known.clone();
    for name in nodes {
        object.instances.remove(name);
        let services = node(tree, name).and_then(|node| node.get("services"));
        let kind = object.path.kind();
        let told = services.and_then(|services| instance_at(services, key, kind));
        if let Some((marked, mut instance)) = told {
            object.slave |= marked;
            share(&mut instance, known.instances.values());
            object.instances.insert(name.clone(), instance);
        }
    }
    (!object.instances.is_empty()).then_some(object)
}

/// The instance of an object that a node reports, and whether that marks it as a slave.
fn instance_at(services: &Value, key: &str, kind: Kind) -> Option<(bool, Instance)> {
    let entry = leaf::entry(services.get("status")?.get(key)?)?;
    let marked = entry.scaler_slave == Loose::True;
    Some((marked, instance(kind, entry)?))
}

fn config_csum(services: &Value, key: &str) -> Option<String> {
    leaf::checksum(services.get("config")?.get(key)?)
}

fn is_slave(entry: &Value) -> bool {
    entry.get("scaler_slave") == Some(&Value::Bool(true))
}

/// An instance that is neither being created nor a remainder of a deleted one.
///
/// Such have neither `kind` nor `avail`; objects that do not run never have `avail`.
fn instance(kind: Kind, entry: Entry) -> Option<Instance> {
    let whole = match kind {
        Kind::Sec | Kind::Cfg | Kind::Usr => entry.kind,
        Kind::Svc | Kind::Vol | Kind::Ccfg | Kind::Nscfg => entry.avail,
    };
    if !whole.is_text() {
        return None;
    }
    let resources = match entry.resources {
        Part::Null => Table::default(),
        Part::Some(Named(entries)) => {
            let resources = entries.into_iter();
            let resources =
                resources.filter_map(|(rid, entry)| Some((rid, Arc::new(resource(entry)?))));
            resources.collect()
        }
        Part::Other => return None,
    };
    let doing = match entry.monitor {
        Part::Some(doing) => doing.status.text(),
        Part::Null | Part::Other => None,
    };
    Some(Instance {
        monitor: doing.unwrap_or_default(),
        scaler: entry.scale == Loose::Number,
        failover: entry.topology.is("failover"),
        resources,
    })
}

/// Takes the resources from another node's instance that are the same there.
fn share<'a>(instance: &mut Instance, others: impl Iterator<Item = &'a Instance>) {
    let others: Vec<&Instance> = others.collect();
    for (rid, resource) in instance.resources.iter_mut() {
        let mut same = others.iter().filter_map(|other| other.resources.get(rid));
        if let Some(same) = same.find(|other| *other == resource) {
            *resource = Arc::clone(same);
        }
    }
}

fn resource(entry: Part<Told>) -> Option<Resource> {
    let Part::Some(entry) = entry else {
        return None;
    };
    let keywords = match entry.info {
        Part::Null => Table::default(),
        // The stream cannot tell null from absent, so neither does the projection.
        Part::Some(Named(info)) => info
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .collect(),
        Part::Other => return None,
    };
    let status = match entry.status {
        Loose::Null => String::new(),
        status => status.text()?,
    };
    Some(Resource {
        driver: entry.r#type.text()?,
        status,
        keywords,
    })
}

fn object_at<'a>(tree: &'a Value, keys: &[&str]) -> Option<&'a Map<String, Value>> {
    let value = keys.iter().try_fold(tree, |value, key| value.get(key))?;
    value.as_object()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::opensvc::mirror::Status;

    fn tree(aggregate: Value, instance: Value) -> Value {
        json!({"monitor": {
            "nodes": {"n1": {
                "monitor": {"status": "idle"},
                "services": {"status": {"test/svc/a": instance}, "config": {}}}},
            "services": {"test/svc/a": aggregate}}})
    }

    fn project(aggregate: Value, instance: Value) -> Option<Object> {
        let path = object_path("test/svc/a").unwrap();
        let status = Status::from(tree(aggregate, instance));
        object(status.tree(), "test/svc/a", path)
    }

    #[test]
    fn an_object_exists_only_as_an_aggregate() {
        let whole = json!({"avail": "up"});
        assert!(project(json!({}), whole.clone()).is_some());
        assert!(project(Value::Null, whole).is_none());
    }

    #[test]
    fn an_instance_without_avail_is_not_used() {
        for instance in [
            json!({"resources": {}}),
            json!({"kind": "svc", "resources": {}}),
            json!({"avail": null}),
            json!({"avail": 1}),
            json!({"avail": "up", "resources": []}),
            json!("up"),
        ] {
            assert_eq!(project(json!({}), instance.clone()), None, "{instance}");
        }
    }

    #[test]
    fn a_secret_has_no_avail_and_its_remainder_has_no_kind() {
        let read = |value: Value| {
            let entry = leaf::entry(&Value::String(value.to_string())).unwrap();
            instance(Kind::Sec, entry)
        };
        let recorded = json!({"kind": "sec", "csum": "0", "monitor": {"status": "idle"}});
        assert_eq!(read(recorded).unwrap().monitor, "idle");
        assert_eq!(read(json!({"resources": {}})), None);
    }

    #[test]
    fn a_bad_resource_costs_only_itself() {
        let object = project(
            json!({}),
            json!({"avail": "up", "resources": {
                "ip#0": {"type": "ip", "status": 7},
                "ip#1": {"type": ["ip"], "status": "up"},
                "ip#2": {"type": "ip", "status": "up", "info": "text"},
                "ip#3": null,
                "ip#4": {"type": "ip"},
                "ip#5": {"type": "ip", "status": "up", "info": {"ipaddr": null, "netmask": 32}},
            }}),
        );
        let resources = object.unwrap().instances.remove("n1").unwrap().resources;
        assert_eq!(resources.keys().collect::<Vec<_>>(), ["ip#4", "ip#5"]);
        let keywords = Table::from([("netmask".to_owned(), json!(32))]);
        assert_eq!(resources.get("ip#5").unwrap().keywords, keywords);
        assert_eq!(resources.get("ip#4").unwrap().status, "");
    }

    #[test]
    fn a_slave_is_marked_by_its_instance_or_its_aggregate() {
        let marked = json!({"avail": "up", "scaler_slave": true});
        let unmarked = json!({"avail": "up", "scaler_slave": "true"});
        assert!(project(json!({}), marked).unwrap().slave);
        assert!(!project(json!({}), unmarked.clone()).unwrap().slave);
        assert!(
            project(json!({"scaler_slave": true}), unmarked)
                .unwrap()
                .slave
        );
    }

    #[test]
    fn the_revision_joins_the_checksums_in_node_order() {
        let mut tree = tree(json!({}), json!({"avail": "up"}));
        let nodes = tree["monitor"]["nodes"].as_object_mut().unwrap();
        nodes["n1"]["services"]["config"] = json!({"test/svc/a": {"csum": "b"}});
        for (name, csum) in [("n0", json!("a")), ("n2", json!(3)), ("n10", json!("c"))] {
            let entry = json!({"services": {"config": {"test/svc/a": {"csum": csum}}}});
            nodes.insert(name.to_owned(), entry);
        }
        let path = object_path("test/svc/a").unwrap();
        let status = Status::from(tree);
        let object = object(status.tree(), "test/svc/a", path).unwrap();
        assert_eq!(object.revision, "n0=a n1=b n10=c");
    }

    #[test]
    fn a_node_is_starting_until_it_tells_its_status() {
        for (entry, expected) in [
            (json!({}), NodeStatus::Starting),
            (json!(null), NodeStatus::Starting),
            (json!({"gen": {"n2": 0}}), NodeStatus::Starting),
            (json!({"monitor": {"status": 1}}), NodeStatus::Starting),
            (json!({"monitor": {"status": "init"}}), NodeStatus::Starting),
            (
                json!({"monitor": {"status": "rejoin"}}),
                NodeStatus::Starting,
            ),
            (
                json!({"monitor": {"status": "maintenance"}}),
                NodeStatus::Maintenance,
            ),
            (json!({"monitor": {"status": "idle"}}), NodeStatus::Settled),
            (
                json!({"monitor": {"status": "upgrade"}}),
                NodeStatus::Maintenance,
            ),
            (
                json!({"monitor": {"status": "draining"}}),
                NodeStatus::Draining,
            ),
            (
                json!({"monitor": {"status": "shutting"}}),
                NodeStatus::Draining,
            ),
        ] {
            assert_eq!(node_status(&entry), expected, "{entry}");
        }
    }

    #[test]
    fn other_spellings_of_a_path_are_no_objects() {
        for key in [
            "root/svc/web1",
            "svc/web1",
            "test/svc/test/svc/0.a",
            "a b",
            "",
        ] {
            assert_eq!(object_path(key), None, "{key}");
        }
    }
}
