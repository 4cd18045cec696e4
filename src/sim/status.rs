//! Draws the cluster as the daemon reports it: one instance's report, the aggregates, and the
//! whole status tree in the shape that was recorded. It decides what is up; it changes nothing.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::boot::Boot;
use super::cluster::{Cluster, Instance, Node, Object, Stage};
use super::driver::{Fault, Resource, Scope};
use super::ini::{Ini, digest};
use super::journal::Part;
use super::scaler;

/// A configuration as one node of the object reads it.
pub(super) fn scope<'a>(
    cluster: &'a Cluster,
    object: &'a Object,
    ini: &'a Ini,
    node: &'a str,
    nodes: &'a [String],
) -> Scope<'a> {
    let namespace = object.path.namespace.as_deref().unwrap_or("root");
    Scope {
        ini,
        name: &object.path.name,
        namespace,
        node,
        nodes,
        hosts: &cluster.hosts,
    }
}

/// What the daemon reports of one instance.
pub(super) fn report(
    cluster: &Cluster,
    object: &Object,
    node: &str,
    instance: &Instance,
) -> Result<Value, Fault> {
    let kind = object.path.kind.as_str();
    if kind != "svc" {
        let csum = digest(kind);
        let monitor = json!({"status": "idle", "placement": ""});
        return Ok(json!({
            "updated": cluster.now, "kind": kind, "csum": csum, "monitor": monitor,
        }));
    }
    let nodes = cluster.scope(&object.ini);
    let described = match object.scale() {
        Some(_) => BTreeMap::new(),
        None => scope(cluster, object, &object.ini, node, &nodes).resources()?,
    };
    let resources: Map<String, Value> = described
        .iter()
        .map(|(rid, resource)| {
            (
                rid.clone(),
                resource_report(object, instance, rid, resource),
            )
        })
        .collect();
    let groups = groups(&resources);
    let counted = ["ip", "app", "container", "fs", "disk", "volume", "share"];
    let avail = merge(
        counted
            .iter()
            .filter_map(|group| groups.get(*group).and_then(Value::as_str)),
    );
    let mut report = json!({
        "updated": cluster.now, "kind": kind, "app": "default", "env": "TST",
        "placement": "nodes order", "topology": object.topology(), "frozen": 0, "subsets": {},
        "status_group": groups, "overall": avail, "avail": avail, "optional": "n/a",
        "csum": digest(&Value::Object(resources.clone()).to_string()),
    });
    if resources.keys().any(|rid| rid.starts_with("ip#")) {
        report["provisioned"] = true.into();
    }
    report["resources"] = Value::Object(resources);
    if object.topology() == "flex" {
        for (keyword, value) in [
            ("flex_target", 1),
            ("flex_min", 1),
            ("flex_max", nodes.len()),
        ] {
            report[keyword] = value.into();
        }
    }
    let orchestrate = object.ini.value("DEFAULT", "orchestrate").unwrap_or("no");
    if orchestrate != "no" {
        report["orchestrate"] = orchestrate.into();
    }
    if object.is_slave() {
        report["scaler_slave"] = true.into();
    }
    if let Some(scale) = object.scale() {
        report["scale"] = scale.into();
        report["scaler_slaves"] = scaler::slave_names(cluster, object).into();
    }
    let leader = avail == "up" && nodes.first().is_some_and(|first| first == node);
    let placement = if leader { "leader" } else { "" };
    report["monitor"] = json!({"status": instance.monitor, "placement": placement});
    if let Some(since) = instance.monitor_since {
        report["monitor"]["status_updated"] = since.into();
    }
    Ok(report)
}

fn resource_report(object: &Object, instance: &Instance, rid: &str, resource: &Resource) -> Value {
    let given = instance.given.get(rid).map(String::as_str);
    let status = given.unwrap_or_else(|| derive(instance, rid, resource));
    let mut report = json!({
        "status": status, "type": resource.driver, "label": resource.label,
    });
    if resource.driver.split('.').next() == Some("ip") {
        report["provisioned"] = json!({"state": true, "mtime": object.created});
    }
    for flag in &resource.flags {
        report[*flag] = true.into();
    }
    if let Some(log) = &resource.log {
        report["log"] = json!([log]);
    }
    if let Some(info) = &resource.info {
        report["info"] = Value::Object(info.clone());
    }
    if let Some(address) = instance.addresses.get(rid) {
        report["info"]["ipaddr"] = address.as_str().into();
        report["label"] = format!("{} {address}", resource.driver).into();
    }
    report
}

fn derive(instance: &Instance, rid: &str, resource: &Resource) -> &'static str {
    let group = rid.split('#').next().unwrap_or_default();
    let described = ["expose", "vhost", "route", "hashpolicy", "certificate"];
    if described.contains(&group) || resource.flags.contains(&"disable") {
        return "n/a";
    }
    if let Some(log) = &resource.log {
        return if log.contains("allocated") {
            "down"
        } else {
            "warn"
        };
    }
    let up = instance.started && !instance.unstarted.contains(rid);
    match (resource.flags.contains(&"standby"), up) {
        (false, true) => "up",
        (false, false) => "down",
        (true, true) => "stdby up",
        (true, false) => "stdby down",
    }
}

fn groups(resources: &Map<String, Value>) -> Map<String, Value> {
    let of = |group: &str| {
        let prefix = format!("{group}#");
        let members = resources.iter().filter(|(rid, _)| rid.starts_with(&prefix));
        merge(members.filter_map(|(_, resource)| resource["status"].as_str()))
    };
    GROUPS
        .iter()
        .map(|group| ((*group).to_owned(), of(group).into()))
        .collect()
}

/// One status for many: `n/a` counts for nothing, a mix is a `warn`.
fn merge<'a>(statuses: impl Iterator<Item = &'a str>) -> &'static str {
    let (mut up, mut down, mut standby_up, mut standby_down, mut other) = (0, 0, 0, 0, 0);
    for status in statuses {
        match status {
            "n/a" => {}
            "up" => up += 1,
            "down" => down += 1,
            "stdby up" => standby_up += 1,
            "stdby down" => standby_down += 1,
            _ => other += 1,
        }
    }
    match (up, down, standby_up, standby_down, other) {
        (0, 0, 0, 0, 0) => "n/a",
        (1.., 0, _, 0, 0) => "up",
        (0, 0, 1.., 0, 0) => "stdby up",
        (0, 1.., _, _, 0) => "down",
        (0, 0, 0, 1.., 0) => "stdby down",
        _ => "warn",
    }
}

/// What `monitor.services` says of an object.
fn aggregate(cluster: &Cluster, object: &Object) -> Value {
    if object.path.kind != "svc" {
        return json!({});
    }
    if object.stage < Stage::Evaluated {
        return json!({
            "avail": "unknown", "frozen": "n/a", "overall": "unknown", "placement": "optimal",
            "provisioned": false,
        });
    }
    let avail = match object.scale() {
        Some(_) => {
            let slaves = scaler::slaves(cluster, object);
            merge(slaves.iter().map(|slave| across(cluster, slave)))
        }
        None => across(cluster, object),
    };
    let provisioned = object
        .instances
        .values()
        .filter_map(|instance| instance.report.as_ref())
        .find_map(|report| report.provisioned);
    let mut aggregate = json!({
        "avail": avail, "frozen": "thawed", "overall": avail, "placement": "optimal",
        "provisioned": provisioned.map_or_else(|| "n/a".into(), Value::from),
    });
    if let Some(scale) = object.scale() {
        aggregate["scale"] = scale.into();
    }
    if object.is_slave() {
        aggregate["scaler_slave"] = true.into();
    }
    aggregate
}

/// The availability of an object over its nodes: one that is up is enough.
fn across(cluster: &Cluster, object: &Object) -> &'static str {
    let present = |node: &str| cluster.nodes.get(node).is_some_and(|node| node.present);
    let seen = object.instances.iter().filter(|(node, _)| present(node));
    let reports = seen.filter_map(|(_, instance)| instance.report.as_ref());
    let avails: Vec<&str> = reports
        .filter_map(|report| report.avail.as_deref())
        .collect();
    let up = avails.iter().filter(|avail| **avail == "up").count();
    if object.topology() != "flex" && up > 1 {
        return "warn";
    }
    if up > 0 {
        "up"
    } else {
        merge(avails.into_iter())
    }
}

/// The whole status tree, but for the listener's part.
pub(super) fn tree(cluster: &Cluster) -> Map<String, Value> {
    let boot = cluster.boot;
    let thread = |id: u64| json!({"ident": 139_777_000_000_000 + id, "state": "running"});
    let mut tree = Map::new();
    tree.insert("daemon".to_owned(), thread(1));
    if boot.is_none_or(|boot| boot >= Boot::Named) {
        let cluster = json!({"name": "demo", "id": CLUSTER_ID, "nodes": cluster.order});
        tree.insert("cluster".to_owned(), cluster);
    }
    let mut nodes = Map::new();
    if boot.is_none_or(|boot| boot >= Boot::Configured) {
        let mut scheduler = thread(2);
        scheduler["created"] = cluster.born.into();
        scheduler["configured"] = cluster.born.into();
        scheduler["running"] = 0.into();
        scheduler["delayed"] = json!([]);
        tree.insert("scheduler".to_owned(), scheduler);
        for (name, node) in cluster.nodes.iter().filter(|(_, node)| node.present) {
            nodes.insert(name.clone(), node_tree(cluster, name, node));
        }
    }
    let listed = cluster
        .objects
        .iter()
        .filter(|(_, object)| object.stage >= Stage::Listed);
    let services: Map<String, Value> = listed
        .map(|(path, object)| (path.clone(), aggregate(cluster, object)))
        .collect();
    let mut monitor = json!({"nodes": nodes, "services": services});
    if boot.is_none_or(|boot| boot >= Boot::Evaluating) {
        for (key, value) in [("state", "running"), ("frozen", "thawed")] {
            monitor[key] = value.into();
        }
        monitor["created"] = cluster.born.into();
        monitor["configured"] = cluster.born.into();
        monitor["compat"] = true.into();
        monitor["transitions"] = 0.into();
        monitor["tid"] = 4726.into();
        monitor["ident"] = 139_777_000_000_004_u64.into();
    }
    tree.insert("monitor".to_owned(), monitor);
    tree
}

/// The nodes that there are: where these are the same, [`parts`] says what may have changed.
pub(super) type Members = Vec<(String, bool, bool)>;

/// What is drawn of the nodes, but for their objects: the generation, and what each says of itself.
pub(super) type Nodes = (u64, Vec<(String, f64)>);

/// Where this is the same, [`parts`] has nothing but objects that were touched.
pub(super) fn nodes(cluster: &Cluster) -> Nodes {
    let nodes = cluster.nodes.values();
    let nodes = nodes.map(|node| (node.status.clone(), node.since));
    (cluster.generation, nodes.collect())
}

/// None while the daemon starts.
pub(super) fn members(cluster: &Cluster) -> Option<Members> {
    let node = |name: &String| {
        let node = cluster.nodes.get(name);
        let (present, joining) = node.map_or((false, false), |node| (node.present, node.joining));
        (name.clone(), present, joining)
    };
    let members = cluster.order.iter().map(node).collect();
    cluster.boot.is_none().then_some(members)
}

/// What the tree says of the nodes, and of these objects, in its order.
pub(super) fn parts(cluster: &Cluster, touched: &BTreeSet<String>) -> Vec<Part> {
    let mut touched = touched.clone();
    // What a scaler is follows from its slaves.
    let scalers = touched.iter().filter_map(|path| scaler::of_slave(path));
    let scalers: Vec<String> = scalers.collect();
    touched.extend(scalers);
    let mut parts = Vec::new();
    for (name, node) in cluster.nodes.iter().filter(|(_, node)| node.present) {
        let at = ["monitor", "nodes", name];
        let services = "services";
        let own = node_alone(cluster, name, node).into_iter();
        let (own, behind): (Vec<_>, Vec<_>) = own.partition(|(key, _)| key.as_str() < services);
        let part = |(key, value): (String, Value)| {
            Part::new(&[&at[..], &[key.as_str()]].concat(), Some(value))
        };
        parts.extend(own.into_iter().map(part));
        if !node.joining {
            for path in &touched {
                let held = cluster.objects.get(path);
                let held = held.filter(|object| object.instances.contains_key(name));
                let entry = held.map(|object| config_entry(cluster, object));
                parts.push(Part::new(
                    &[&at[..], &[services, "config", path]].concat(),
                    entry,
                ));
            }
            for path in &touched {
                let known = instance_report(cluster, name, path);
                parts.push(Part::new(
                    &[&at[..], &[services, "status", path]].concat(),
                    known,
                ));
            }
        }
        parts.extend(behind.into_iter().map(part));
    }
    for path in &touched {
        let listed = cluster.objects.get(path);
        let listed = listed.filter(|object| object.stage >= Stage::Listed);
        let value = listed.map(|object| aggregate(cluster, object));
        parts.push(Part::new(&["monitor", "services", path], value));
    }
    parts
}

fn node_tree(cluster: &Cluster, name: &str, node: &Node) -> Value {
    let local = name == cluster.local();
    if !local && cluster.boot.is_some_and(|boot| boot < Boot::Evaluating) {
        return json!({});
    }
    let mut tree = node_alone(cluster, name, node);
    if node.joining {
        return Value::Object(tree);
    }
    let mut reports = Map::new();
    let mut configs = Map::new();
    for (path, object) in &cluster.objects {
        if object.instances.contains_key(name) {
            configs.insert(path.clone(), config_entry(cluster, object));
        }
    }
    for path in cluster.objects.keys().chain(&cluster.zombies) {
        if let Some(report) = instance_report(cluster, name, path) {
            reports.insert(path.clone(), report);
        }
    }
    let services = json!({"status": reports, "config": configs});
    tree.insert("services".to_owned(), services);
    Value::Object(tree)
}

/// What the node reports of an object; nothing but a shell of one that is just gone.
fn instance_report(cluster: &Cluster, node: &str, path: &str) -> Option<Value> {
    let Some(object) = cluster.objects.get(path) else {
        let shell = || json!({"resources": {}});
        return cluster.zombies.contains(path).then(shell);
    };
    let local = node == cluster.local();
    // A peer's instances are known from its heartbeat, whatever the local daemon has seen.
    let known = object.stage == Stage::Evaluated || (cluster.boot.is_some() && !local);
    let instance = object.instances.get(node).filter(|_| known)?;
    Some(instance.report.as_ref()?.value())
}

/// What there is to say of a node, but for its objects.
fn node_alone(cluster: &Cluster, name: &str, node: &Node) -> Map<String, Value> {
    let generation = if cluster.order.len() > 1 {
        cluster.generation
    } else {
        2
    };
    let generation = json!({name: generation});
    let tree = match node.joining {
        true => json!({"gen": generation}),
        false => settled(node, generation),
    };
    match tree {
        Value::Object(tree) => tree,
        _ => Map::new(),
    }
}

fn settled(node: &Node, generation: Value) -> Value {
    json!({
        "compat": 10, "api": 7, "agent": "dev",
        "monitor": {"status": node.status, "status_updated": node.since},
        "labels": {}, "targets": [],
        "gen": generation,
        "config": {"csum": digest("")},
        "stats": {
            "load_15m": 0.4, "mem_total": 24105, "mem_avail": 98, "swap_total": 0,
            "swap_avail": 0, "score": 71,
        },
        "frozen": 0, "env": "TST", "locks": {}, "speaker": false, "min_avail_mem": 2,
        "min_avail_swap": 0, "updated": node.since,
    })
}

fn config_entry(cluster: &Cluster, object: &Object) -> Value {
    let scope = cluster.scope(&object.ini);
    let csum = digest(&object.ini.to_text());
    json!({"updated": object.written, "csum": csum, "scope": scope})
}

const CLUSTER_ID: &str = "0046662e-e713-11f1-8fad-02fc00000001";

const GROUPS: [&str; 16] = [
    "DEFAULT",
    "app",
    "certificate",
    "container",
    "disk",
    "expose",
    "fs",
    "hashpolicy",
    "ip",
    "route",
    "share",
    "subset",
    "sync",
    "task",
    "vhost",
    "volume",
];
