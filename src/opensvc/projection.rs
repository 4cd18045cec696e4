//! PURE: what the agent 2.x status tree means, as inventory values.
//!
//! Wrong types cost the resource or instance that they are in, never more. Nothing is kept here
//! from one call to the next.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use super::mirror::leaf;
use super::mirror::tree::{Branches, Tree};
use super::mirror::{Entry, Resources};
use crate::inventory::{Instance, Kind, Labels, Name, NodeStatus, Object, ObjectPath, Report};

/// What a node says of an object beside the resources that it has.
#[derive(Debug, PartialEq)]
pub(super) struct Standing {
    has_kind: bool,
    has_avail: bool,
    /// Whether it says nothing of resources.
    lacks_resources: bool,
    slave: bool,
    scaler: bool,
    failover: bool,
    doing: Name,
}

impl Standing {
    /// Reads it of all that the node says but the resources, where these are an object.
    pub(super) fn of(rest: &Value) -> Self {
        let text = |key: &str| rest.get(key).and_then(Value::as_str);
        let doing = rest.get("monitor").and_then(|doing| doing.get("status"));
        Self {
            has_kind: text("kind").is_some(),
            has_avail: text("avail").is_some(),
            lacks_resources: matches!(rest.get("resources"), None | Some(Value::Null)),
            slave: rest.get("scaler_slave") == Some(&Value::Bool(true)),
            scaler: rest.get("scale").is_some_and(Value::is_number),
            failover: text("topology") == Some("failover"),
            doing: doing.and_then(Value::as_str).unwrap_or_default().into(),
        }
    }
}

/// Whether the daemon is past its first moments, when its status knows nothing yet.
pub(super) fn is_complete(tree: &Tree) -> bool {
    let nodes = branches_at(tree, &["monitor", "nodes"]);
    nodes.is_some_and(|nodes| nodes.values().any(|node| monitor_status(node).is_some()))
}

/// Everything that the tree says.
pub(super) fn report(tree: &Tree) -> Report {
    let reporting = branches_at(tree, &["monitor", "nodes"]);
    let names = reporting.into_iter().flatten();
    let names = names.map(|(name, _)| name.to_string());
    let nodes = names.chain(members(tree)).filter_map(|name| {
        let status = status_of(tree, &name)?;
        Some((name, status))
    });
    let labels = reporting.into_iter().flatten();
    let labels = labels.map(|(name, node)| (name.to_string(), labels_of(node)));
    let objects = branches_at(tree, &["monitor", "services"]);
    let objects = objects.into_iter().flat_map(Branches::keys);
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
    path.is_spelled(key).then_some(path)
}

/// A node's entry.
pub(super) fn node<'a>(tree: &'a Tree, name: &str) -> Option<&'a Tree> {
    branches_at(tree, &["monitor", "nodes"])?.get(name)
}

/// The names of the nodes that are configured to be members of the OpenSVC cluster.
pub(super) fn members(tree: &Tree) -> impl Iterator<Item = String> {
    let cluster = tree.get("cluster").and_then(Tree::value);
    let members = cluster.and_then(|cluster| cluster.get("nodes"));
    let members = members.and_then(Value::as_array).into_iter().flatten();
    members.filter_map(Value::as_str).map(str::to_owned)
}

/// What is known of the node: a member without an entry was heard of once, or never was.
pub(super) fn status_of(tree: &Tree, name: &str) -> Option<NodeStatus> {
    match node(tree, name) {
        Some(node) => Some(node_status(node)),
        None => members(tree)
            .any(|member| member == name)
            .then_some(NodeStatus::Lost),
    }
}

/// The node's labels, those that are texts.
pub(super) fn labels_of(node: &Tree) -> Labels {
    let labels = node.get("labels").and_then(Tree::value);
    let labels = labels.and_then(Value::as_object);
    let labels = labels.into_iter().flatten();
    labels
        .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
        .collect()
}

/// A node whose entry does not tell its status yet is not complete either.
///
/// A daemon says `maintenance` or `upgrade` before it stops and leaves its services running;
/// `draining` and `shutting` when it stops all of them.
pub(super) fn node_status(node: &Tree) -> NodeStatus {
    match monitor_status(node) {
        None | Some("init" | "rejoin") => NodeStatus::Starting,
        Some("maintenance" | "upgrade") => NodeStatus::Maintenance,
        Some("draining" | "shutting") => NodeStatus::Draining,
        Some(_) => NodeStatus::Settled,
    }
}

/// What the daemon is doing with a node or an instance.
fn monitor_status(node: &Tree) -> Option<&str> {
    node.get("monitor")?.get("status")?.value()?.as_str()
}

/// The object as all nodes report it; `None` where none has a usable instance.
pub(super) fn object(tree: &Tree, key: &str, path: ObjectPath) -> Option<Object> {
    let aggregate = branches_at(tree, &["monitor", "services"])?.get(key)?;
    if aggregate.is_null() {
        return None;
    }
    let mut slave = is_slave(aggregate);
    let mut instances = Vec::new();
    let mut revision = String::new();
    for (name, node) in branches_at(tree, &["monitor", "nodes"])? {
        let Some(services) = node.get("services") else {
            continue;
        };
        if let Some(csum) = config_csum(services, key) {
            let space = if revision.is_empty() { "" } else { " " };
            revision.extend([space, name, "=", &csum]);
        }
        let entry = services.get("status").and_then(|it| it.get(key)?.entry());
        if let Some((marked, instance)) = entry.and_then(|it| instance(path.kind(), it)) {
            slave |= marked;
            instances.push((Name::from(name), instance));
        }
    }
    (!instances.is_empty()).then_some(Object {
        path,
        revision: revision.into(),
        slave,
        instances: instances.into_iter().collect(),
    })
}

/// The object as it was known, with its instances on some nodes as these report them now. What
/// they have in common with the others is the same in the tree, too, from then on.
pub(super) fn instances(
    tree: &mut Tree,
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
        let told = entry_mut(tree, name, key).and_then(|entry| {
            entry.share(known.instances.values().map(|known| &known.resources));
            instance(object.path.kind(), entry)
        });
        let Some((marked, instance)) = told else {
            object.instances.remove(name);
            continue;
        };
        object.slave |= marked;
        match object.instances.get_mut(name) {
            Some(known) => *known = instance,
            None => drop(object.instances.insert(name.as_str(), instance)),
        }
    }
    (!object.instances.is_empty()).then_some(object)
}

fn entry_mut<'a>(tree: &'a mut Tree, node: &str, key: &str) -> Option<&'a mut Entry> {
    let mut way = ["monitor", "nodes", node, "services", "status", key].into_iter();
    let end = way.try_fold(tree, |part, name| part.branches_mut()?.get_mut(name));
    end?.entry_mut()
}

fn config_csum(services: &Tree, key: &str) -> Option<String> {
    let config = leaf::unpacked(services.get("config")?.get(key)?.text()?);
    Some(config.get("csum")?.as_str()?.to_owned())
}

fn is_slave(aggregate: &Tree) -> bool {
    let marked = aggregate.get("scaler_slave").and_then(Tree::value);
    marked == Some(&Value::Bool(true))
}

/// An instance that is neither being created nor a remainder of a deleted one, and whether it
/// marks the object as a slave.
///
/// Such have neither `kind` nor `avail`; objects that do not run never have `avail`.
fn instance(kind: Kind, entry: &Entry) -> Option<(bool, Instance)> {
    let told = entry.standing();
    let is_whole = match kind {
        Kind::Sec | Kind::Cfg | Kind::Usr => told.has_kind,
        Kind::Svc | Kind::Vol | Kind::Ccfg | Kind::Nscfg => told.has_avail,
    };
    if !is_whole {
        return None;
    }
    let resources = match entry.resources() {
        Some(resources) => Arc::clone(resources),
        None if told.lacks_resources => Resources::default(),
        None => return None,
    };
    let instance = Instance {
        monitor: told.doing.clone(),
        scaler: told.scaler,
        failover: told.failover,
        resources,
    };
    Some((told.slave, instance))
}

fn branches_at<'a>(tree: &'a Tree, keys: &[&str]) -> Option<&'a Branches> {
    let part = keys.iter().try_fold(tree, |part, key| part.get(key))?;
    part.branches()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::inventory::Values;
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
            let tree = Status::from(tree(json!({}), value));
            let services = node(tree.tree(), "n1")?.get("services")?;
            let entry = services.get("status")?.get("test/svc/a")?.entry()?;
            instance(Kind::Sec, entry).map(|(_, instance)| instance)
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
        let keywords = Values::from([("netmask", json!(32))]);
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
            let status = Status::from(json!({"monitor": {"nodes": {"n1": entry}}}));
            assert_eq!(status_of(status.tree(), "n1"), Some(expected), "{entry}");
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
