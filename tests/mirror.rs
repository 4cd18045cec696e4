//! Recorded streams and statuses of a real agent, replayed into the mirror; and the same, mutated.
//! The tree is checked against a second, independent replay.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking, as tests do"
)]

use std::collections::BTreeMap;

use osvc_igw::inventory::{Event, Inventory, NodeStatus, Object, Report};
use osvc_igw::opensvc::mirror::{Mirror, Resync};
use serde_json::{Value, json};

use crate::captures::{status, stream};
use crate::random::Random;

#[test]
fn the_lifecycle_stream_ends_as_the_daemons_own_status() {
    let messages = stream("single-lifecycle");
    let expected = kept(&status("single-lifecycle-final"));
    let mut follower = Follower::new();
    let mut equal = Vec::new();
    for (line, message) in (1..).zip(messages) {
        follower.apply(message).unwrap();
        if follower.mirror.tree() == expected {
            equal.push(line);
        }
    }
    // The last logged command, a delete, was sent before line 119.
    assert_eq!(equal, (121..=186).collect::<Vec<_>>());
}

#[test]
fn streams_with_a_full_replay_without_a_flaw() {
    for name in [
        "daemon-restart-before",
        "node-join",
        "peer-daemon-stop",
        "peer-maintenance-expire",
        "scaler-namespaced-broken",
        "scaler-root",
        "single-lifecycle",
    ] {
        let messages = stream(name);
        let full = messages.first().unwrap()["data"].clone();
        replay(name, full, &messages);
    }
}

#[test]
fn streams_without_a_full_replay_on_a_status_of_their_time() {
    let empty = json!({"monitor": {"nodes": {}, "services": {}}});
    for (name, start) in [
        ("badconfig", status("bad2-missing-port")),
        ("daemon-startup", empty),
        ("idle-delete", with_new2(status("l4-down"))),
        ("idle-delete-flush", with_new2(status("l4-down"))),
        ("idle-raw-n3", status("single-lifecycle-final")),
        ("l4", status("l4-down")),
        ("secretkeys", status("web1-documented")),
    ] {
        replay(name, start, &stream(name));
    }
}

#[test]
fn a_filtered_stream_that_deletes_what_it_never_showed_costs_one_resync() {
    let mut follower = Follower::new();
    let mut resyncs = Vec::new();
    for message in stream("tls-acme-guest-all") {
        if let Err(reason) = follower.apply(message) {
            resyncs.push(reason);
            let tree = follower.mirror.tree();
            follower.refresh(tree);
        }
    }
    let [Resync::Unapplied { id: 200, place, .. }] = &resyncs[..] else {
        panic!("{resyncs:?}");
    };
    assert!(place.ends_with("newns/sec/foo"), "{place}");
}

#[test]
fn a_stream_replays_only_on_the_status_that_it_follows() {
    let messages = stream("idle-delete");
    let mut mirror = Mirror::default();
    mirror.reset(status("daemon-startup-6"));
    let stale = messages.iter().map(|message| mirror.apply(message.clone()));
    assert!(stale.map(Result::unwrap).all(|events| events.is_empty()));
}

#[test]
fn the_lifecycle_is_told_as_its_log_says() {
    let mut follower = Follower::new();
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for message in stream("single-lifecycle") {
        for event in follower.apply(message).unwrap() {
            let (what, path) = match event {
                Event::Put(object) => ("put", object.path.to_string()),
                Event::Remove(path) => ("remove", path.to_string()),
                Event::Reset(_) => ("reset", String::new()),
                other => panic!("{other:?}"),
            };
            *seen.entry(format!("{what} {path}")).or_default() += 1;
        }
    }
    let removed: Vec<_> = seen.keys().filter(|key| key.starts_with("rem")).collect();
    assert_eq!(removed, ["remove test/sec/foo-cert", "remove test/svc/l4"]);
    assert_eq!(seen["reset "], 1);
    // Of about 1,300 stanzas these few mattered.
    assert!(seen.values().sum::<usize>() < 120, "{seen:?}");
    assert!(seen["put test/sec/foo-cert"] >= 4, "{seen:?}");
}

#[test]
fn bad_configurations_project_with_the_rest_intact() {
    for (name, rids) in [
        ("bad1-accepted-by-create", 15),
        ("bad2-missing-port", 3),
        ("bad2-missing-listener-port", 2),
        ("bad2-bad-candidate", 2),
        ("bad2-bad-boolean", 0),
        ("bad2-corrupt", 0),
    ] {
        let report = report(&status(name)).unwrap();
        assert_eq!(report.nodes["vm"], NodeStatus::Settled, "{name}");
        let instances = report.objects.values().flat_map(|o| o.instances.values());
        assert_eq!(
            instances.map(|i| i.resources.len()).sum::<usize>(),
            rids,
            "{name}"
        );
    }
    let report = report(&status("bad1-accepted-by-create")).unwrap();
    let bad1 = &report.objects[&"test/svc/bad1".parse().unwrap()]
        .instances
        .get("vm")
        .unwrap();
    assert_eq!(
        bad1.resources
            .get("expose#neg")
            .unwrap()
            .keywords
            .get("port")
            .unwrap(),
        -1
    );
    assert!(
        !bad1
            .resources
            .get("expose#badport")
            .unwrap()
            .keywords
            .contains_key("port")
    );
    assert_eq!(
        bad1.resources
            .get("expose#listjson")
            .unwrap()
            .keywords
            .get("cluster_data")
            .unwrap(),
        json!([1, 2, "x"])
    );
}

#[test]
fn every_state_of_an_ip_projects() {
    let report = report(&status("ip-states")).unwrap();
    let object = &report.objects[&"test/svc/ipstates".parse().unwrap()];
    let resources = &object.instances.get("n1").unwrap().resources;
    let up = resources.iter().filter(|(_, resource)| resource.is_up());
    let up: Vec<_> = up.map(|(rid, _)| rid).collect();
    assert_eq!(up, ["ip#monitored", "ip#optional", "ip#stdby", "ip#v6"]);
    assert_eq!(resources.get("ip#cni").unwrap().driver, "ip.cni");
    assert!(
        !resources
            .get("ip#unres")
            .unwrap()
            .keywords
            .contains_key("ipaddr")
    );
    assert!(resources.get("ip#disabled").unwrap().keywords.is_empty());
}

#[test]
fn incomplete_startups_project_their_nodes_as_starting() {
    for (name, n2, objects) in [
        ("daemon-startup-3", NodeStatus::Starting, 0),
        ("daemon-startup-4", NodeStatus::Settled, 11),
        ("daemon-startup-6", NodeStatus::Settled, 12),
    ] {
        let report = report(&status(name)).unwrap();
        assert_eq!(report.nodes["n1"], NodeStatus::Starting, "{name}");
        assert_eq!(report.nodes["n2"], n2, "{name}");
        assert_eq!(report.objects.len(), objects, "{name}");
    }
}

#[test]
fn a_stopped_peer_is_in_maintenance_and_keeps_its_instances() {
    let report = report(&status("2nodes-n2-maintenance")).unwrap();
    assert_eq!(report.nodes["n2"], NodeStatus::Maintenance);
    let flex: &Object = &report.objects[&"test/svc/flex2".parse().unwrap()];
    assert_eq!(flex.instances.keys().collect::<Vec<_>>(), ["n1", "n2"]);
}

#[test]
fn slaves_of_a_scaler_are_marked() {
    let report = report(&status("scaler-4-slaves")).unwrap();
    let slaves = report.objects.values().filter(|object| object.slave);
    let slaves: Vec<_> = slaves.map(|object| object.path.to_string()).collect();
    assert_eq!(slaves, ["0.scal1", "1.scal1", "2.scal1", "3.scal1"]);
    assert!(report.objects.contains_key(&"scal1".parse().unwrap()));
}

#[test]
fn a_starting_daemon_tells_a_reset_once_it_knows_a_node() {
    let mut follower = Follower::new();
    follower.refresh(json!({"monitor": {"nodes": {}, "services": {}}}));
    let mut told = Vec::new();
    for message in stream("daemon-startup") {
        let events = follower.apply(message.clone()).unwrap();
        if !events.is_empty() {
            told.push((message["id"].as_u64().unwrap(), events));
        }
    }
    let (3, [Event::Reset(report)]) = (told[0].0, &told[0].1[..]) else {
        panic!("{:?}", told[0]);
    };
    assert_eq!(report.nodes["n1"], NodeStatus::Starting);
    assert_eq!(report.nodes["n2"], NodeStatus::Starting);
    let resets = told.iter().flat_map(|(_, events)| events);
    let resets = resets.filter(|event| matches!(event, Event::Reset(_)));
    assert_eq!(resets.count(), 1);
    assert_eq!(follower.report.nodes["n1"], NodeStatus::Settled);
    assert!(follower.report.objects.len() > 10);
}

/// Mutated statuses and messages never panic, and what is told stays what the tree says.
#[test]
fn mutated_traffic_never_panics_and_never_tells_a_lie() {
    let statuses = [
        "l4-down",
        "bad2-missing-port",
        "daemon-startup-3",
        "web1-documented",
    ];
    let statuses: Vec<Value> = statuses
        .into_iter()
        .map(|name| kept(&status(name)))
        .collect();
    let mut messages = stream("l4");
    messages.extend(stream("daemon-startup"));
    messages.retain(|message| message["kind"] == "patch");
    for message in &mut messages {
        let stanzas = message["data"].as_array_mut().unwrap();
        stanzas.retain(|stanza| stanza[0][0] == "monitor");
    }
    let (mut applied, mut refused) = (0, 0);
    for seed in 1..=400 {
        let mut random = Random(seed);
        let mut start = statuses[random.below(statuses.len())].clone();
        for _ in 0..random.below(4) {
            random.mutate(&mut start);
        }
        let mut follower = Follower::new();
        follower.refresh(start);
        for id in 1..=10 {
            let mut message = messages[random.below(messages.len())].clone();
            message["id"] = json!(id);
            for _ in 0..random.below(3) {
                random.mutate(&mut message);
            }
            match follower.apply(message) {
                Ok(_) => applied += 1,
                Err(_) => {
                    refused += 1;
                    let tree = follower.mirror.tree();
                    follower.refresh(tree);
                }
            }
        }
    }
    assert!(applied > 1000 && refused > 200, "{applied} {refused}");
}

/// A mirror, and two that only believe its events.
struct Follower {
    mirror: Mirror,
    report: Report,
    inventory: Inventory,
}

impl Follower {
    fn new() -> Self {
        Self {
            mirror: Mirror::default(),
            report: Report::default(),
            inventory: Inventory::default(),
        }
    }

    #[track_caller]
    fn refresh(&mut self, status: Value) {
        let events = self.mirror.refresh(status);
        self.take(&events);
    }

    #[track_caller]
    fn apply(&mut self, message: Value) -> Result<Vec<Event>, Resync> {
        let events = self.mirror.apply(message)?;
        self.take(&events);
        Ok(events)
    }

    /// Takes events in and compares with a mirror that starts from the current tree.
    #[track_caller]
    fn take(&mut self, events: &[Event]) {
        for event in events {
            self.inventory.apply(event.clone());
            match event.clone() {
                Event::Reset(report) => self.report = report,
                Event::Node(name, Some(status)) => {
                    assert_ne!(self.report.nodes.insert(name, status), Some(status));
                }
                Event::Labels(name, labels) => {
                    assert_ne!(self.report.labels.get(&name), Some(&labels));
                    self.report.labels.remove(&name);
                    if !labels.is_empty() {
                        self.report.labels.insert(name, labels);
                    }
                }
                Event::Node(name, None) => assert!(self.report.nodes.remove(&name).is_some()),
                Event::Put(object) => {
                    let before = self
                        .report
                        .objects
                        .insert(object.path.clone(), object.clone());
                    assert_ne!(before, Some(object));
                }
                Event::Remove(path) => assert!(self.report.objects.remove(&path).is_some()),
                event => panic!("{event:?}"),
            }
        }
        let Some(fresh) = report(&self.mirror.tree()) else {
            assert_eq!(events, []);
            return;
        };
        assert_eq!(self.report, fresh);
        if !fresh
            .nodes
            .values()
            .any(|status| *status == NodeStatus::Starting || status.is_lost())
        {
            let mut inventory = Inventory::default();
            inventory.apply(Event::Reset(fresh));
            assert_eq!(self.inventory, inventory);
        }
    }
}

/// Replays a stream and a plain second replay side by side; neither may refuse anything.
#[track_caller]
fn replay(name: &str, start: Value, messages: &[Value]) {
    let mut plain = start.clone();
    let mut follower = Follower::new();
    follower.refresh(start);
    for message in messages {
        let result = follower.apply(message.clone());
        assert!(result.is_ok(), "{name} {result:?}");
        if message["kind"] == "patch" {
            for stanza in message["data"].as_array().unwrap() {
                if matches!(stanza[0][0].as_str(), Some("monitor" | "cluster")) {
                    let stanza = stanza.as_array().unwrap();
                    plainly(
                        &mut plain,
                        stanza[0].as_array().unwrap(),
                        stanza.get(1),
                        name,
                    );
                }
            }
        }
        assert_eq!(
            follower.mirror.tree(),
            kept(&plain),
            "{name} {}",
            message["id"]
        );
    }
    assert_eq!(Some(&follower.report), report(&plain).as_ref(), "{name}");
}

/// One stanza, applied by recursion through indexing; panics where it does not fit.
#[track_caller]
fn plainly(tree: &mut Value, path: &[Value], value: Option<&Value>, name: &str) {
    let (step, rest) = path.split_first().unwrap();
    match (tree, rest.is_empty(), value) {
        (Value::Object(map), false, _) => {
            let child = map.get_mut(step.as_str().unwrap());
            plainly(
                child.unwrap_or_else(|| panic!("{name} {path:?}")),
                rest,
                value,
                name,
            );
        }
        (Value::Object(map), true, Some(value)) => {
            map.insert(step.as_str().unwrap().to_owned(), value.clone());
        }
        (Value::Object(map), true, None) => {
            assert!(
                map.remove(step.as_str().unwrap()).is_some(),
                "{name} {path:?}"
            );
        }
        (Value::Array(list), last, value) => {
            let index = step.as_u64().unwrap() as usize;
            match value {
                _ if !last => plainly(&mut list[index], rest, value, name),
                Some(value) if index == list.len() => list.push(value.clone()),
                Some(value) => list[index] = value.clone(),
                None => drop(list.remove(index)),
            }
        }
        (tree, _, _) => panic!("{name} {path:?} leads through {tree}"),
    }
}

/// What a mirror that starts from this status tells.
fn report(status: &Value) -> Option<Report> {
    let mut events = Mirror::default().reset(status.clone());
    assert!(events.len() <= 1);
    match events.pop()? {
        Event::Reset(report) => Some(report),
        event => panic!("{event:?}"),
    }
}

/// What a mirror keeps of a status, written as the places that it does not.
fn kept(status: &Value) -> Value {
    let mut kept = status.clone();
    keep(&mut kept, &["monitor", "cluster"]);
    keep(&mut kept["monitor"], &["nodes", "services"]);
    each(&mut kept["monitor"]["services"], |aggregate| {
        keep(aggregate, &["scaler_slave"]);
    });
    each(&mut kept["monitor"]["nodes"], |node| {
        keep(node, &["services", "monitor", "labels"]);
        if let Some(doing) = node.get_mut("monitor") {
            keep(doing, &["status"]);
        }
        let Some(services) = node.get_mut("services") else {
            return;
        };
        keep(services, &["status", "config"]);
        if let Some(configs) = services.get_mut("config") {
            each(configs, |config| keep(config, &["csum"]));
        }
        let Some(instances) = services.get_mut("status") else {
            return;
        };
        each(instances, |instance| {
            let names = ["avail", "kind", "scale", "scaler_slave", "topology"];
            keep(instance, &[&names[..], &["monitor", "resources"]].concat());
            if let Some(doing) = instance.get_mut("monitor") {
                keep(doing, &["status"]);
            }
            if let Some(resources) = instance.get_mut("resources") {
                each(resources, |one| keep(one, &["info", "status", "type"]));
            }
        });
    });
    kept
}

fn keep(value: &mut Value, names: &[&str]) {
    if let Some(map) = value.as_object_mut() {
        map.retain(|name, _| names.contains(&name.as_str()));
    }
}

fn each(value: &mut Value, change: impl FnMut(&mut Value)) {
    let map = value.as_object_mut().into_iter();
    map.flat_map(|map| map.values_mut()).for_each(change);
}

/// The status before `om test/sec/new2 delete`, of which no snapshot was taken.
fn with_new2(mut status: Value) -> Value {
    let monitor = &mut status["monitor"];
    monitor["services"]["test/sec/new2"] = json!({});
    let services = &mut monitor["nodes"]["vm"]["services"];
    services["config"]["test/sec/new2"] = json!({"csum": "0"});
    services["status"]["test/sec/new2"] = json!({"kind": "sec", "monitor": {"status": "idle"}});
    status
}
