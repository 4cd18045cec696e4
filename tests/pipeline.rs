//! Properties of the pure pipeline that no single case shows: the order of events does not
//! matter, damage stays where it is, and a change costs the resource that it changes.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking, as tests do"
)]

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use osvc_igw::gateway::{Want, compile};
use osvc_igw::inventory::{Event, Inventory, Kind, Name, NodeStatus, Object, ObjectPath, Reading};
use osvc_igw::sim::certificate::Authority;
use osvc_igw::xds::{ResourceType, Snapshot, encode};
use serde_json::{Value, json};

use crate::golden::{Case, Outcome, names, rendered};
use crate::random::Random;
use crate::references::flaws;

#[test]
fn the_order_of_events_does_not_matter() {
    let mut orders = 0;
    for name in names() {
        let case = Case::load(&name);
        let expected = case.run();
        let Inventory { nodes, objects, .. } = &expected.inventory;
        // What a starting node has not told yet is held as it was: there, history matters.
        if nodes.values().any(|status| *status == NodeStatus::Starting) || objects.len() < 2 {
            continue;
        }
        // The cases with a bad service are many and alike.
        let count = if name.starts_with("bad-") { 5 } else { 200 };
        for seed in 0..count {
            let mut inventory = Inventory::default();
            for event in shuffled(&case, &expected.inventory, &mut Random(seed)) {
                inventory.apply(event);
            }
            let found = case.settle(inventory);
            assert_eq!(found.compiled, expected.compiled, "{name}, seed {seed}");
            let changes: Vec<_> = found.snapshot.changes(&expected.snapshot).collect();
            assert!(changes.is_empty(), "{name}, seed {seed}: {changes:?}");
            orders += 1;
        }
    }
    assert!(orders > 2_000, "{orders}");
}

/// What protects an expose may stand where only a read tells it.
#[test]
fn a_section_that_is_newer_than_what_was_read_is_waited_for() {
    let status = |revision: &str, exposes: &[&str]| {
        let mut resources = json!({
            "ip#1": {
                "type": "ip", "status": "up",
                "info": {"ipaddr": "10.0.0.1", "expose": exposes},
            },
        });
        for (number, section) in exposes.iter().enumerate() {
            let info = json!({"port": 80, "listener_port": 8000 + number});
            resources[*section] = json!({"type": "expose.envoy", "status": "n/a", "info": info});
        }
        let web1 = json!({"kind": "svc", "avail": "up", "resources": resources});
        let services = json!({
            "status": {"test/svc/web1": web1},
            "config": {"test/svc/web1": {"csum": revision}},
        });
        json!({
            "cluster": {"nodes": ["n1"]},
            "monitor": {
                "nodes": {"n1": {"monitor": {"status": "idle"}, "services": services}},
                "services": {"test/svc/web1": {"avail": "up"}},
            },
        })
    };
    let case = |revision: &str, exposes: &[&str], config: Value| Case {
        status: status(revision, exposes),
        reads: json!({"configs": {"test/svc/web1": config}}),
        ..Case::load("l4-up")
    };
    let first = case("1", &["expose#0"], json!({"expose#0": {}}));
    let mut inventory = first.run().inventory;
    let both = ["expose#0", "expose#1"];
    let config = json!({"expose#0": {}, "expose#1": {"allow_from": "10.0.0.0/8"}});
    let second = case("2", &both, config);
    let objects = second.run().inventory.objects;
    for object in objects.into_values() {
        inventory.apply(Event::Put(object));
    }
    let waiting = compile(&inventory, &second.policy);
    assert_eq!(
        waiting.gateway.clusters.len(),
        1,
        "{:?}",
        waiting.gateway.clusters
    );
    assert!(
        waiting.problems.is_empty() && !waiting.wants.is_empty(),
        "{waiting:?}"
    );
    assert_eq!(second.settle(inventory).compiled, second.run().compiled);
}

/// The inventory as single events in a random order, with noise that later events undo.
fn shuffled(case: &Case, inventory: &Inventory, random: &mut Random) -> Vec<Event> {
    let mut queues: Vec<VecDeque<Event>> = Vec::new();
    for (name, status) in &inventory.nodes {
        let noise = [
            Some(NodeStatus::Starting),
            None,
            Some(NodeStatus::Maintenance),
        ];
        let noise = noise.map(|status| Event::Node(name.clone(), status));
        queues.push(noisy(
            noise,
            Event::Node(name.clone(), Some(*status)),
            random,
        ));
    }
    for (path, object) in &inventory.objects {
        let noise = [
            Event::Put(object.clone()),
            Event::Remove(path.clone()),
            Event::Put(Arc::new(altered(object, random))),
        ];
        queues.push(noisy(noise, Event::Put(object.clone()), random));
        let wants: &[fn(ObjectPath, Name) -> Want] = match path.kind() {
            Kind::Sec => &[Want::Secret, Want::Trust],
            _ => &[Want::Config],
        };
        for want in wants {
            let Some(event) = case.answer(&want(path.clone(), object.revision.clone())) else {
                continue;
            };
            let noise = [event.clone(), outdated(&event), event.clone()];
            queues.push(noisy(noise, event, random));
        }
    }
    let mut events = Vec::new();
    while !queues.is_empty() {
        let chosen = random.below(queues.len());
        match queues[chosen].pop_front() {
            Some(event) => events.push(event),
            None => drop(queues.swap_remove(chosen)),
        }
    }
    events
}

/// Some of the noise, in any order, and the truth at the end.
fn noisy(noise: [Event; 3], truth: Event, random: &mut Random) -> VecDeque<Event> {
    let count = random.below(4);
    let chosen = (0..count).map(|_| noise[random.below(3)].clone());
    chosen.chain([truth]).collect()
}

fn altered(object: &Object, random: &mut Random) -> Object {
    let mut object = object.clone();
    object.revision = format!("{}x", object.revision).into();
    for instance in object.instances.values_mut() {
        instance.resources_mut().retain(|_, _| random.below(3) != 0);
        for resource in instance.resources_mut().values_mut() {
            Arc::make_mut(resource).status = "down".into();
        }
    }
    object
}

fn outdated(event: &Event) -> Event {
    let revision = Name::from("outdated");
    match event.clone() {
        Event::Secret(path, _) => Event::Secret(path, absent(revision)),
        Event::Trust(path, _) => Event::Trust(path, absent(revision)),
        Event::Config(path, _) => Event::Config(path, absent(revision)),
        other => other,
    }
}

fn absent<T>(revision: Name) -> Reading<T> {
    Reading {
        revision,
        content: None,
    }
}

#[test]
fn damage_costs_only_what_is_damaged() {
    costs_only_what_is_damaged((0..DAMAGES).step_by(2));
}

/// The other half of the seeds, for the other core.
#[test]
fn damage_of_odd_seeds_costs_only_what_is_damaged() {
    costs_only_what_is_damaged((1..DAMAGES).step_by(2));
}

fn costs_only_what_is_damaged(seeds: impl Iterator<Item = usize>) {
    let names = names();
    let donor = Case::load("bad-secret-absent");
    let expected = resources_of_good(&donor.run());
    assert_eq!(expected.len(), 8, "{expected:?}");
    let (mut tried, mut changed) = (0, 0);
    let mut sound = BTreeMap::new();
    for seed in seeds {
        tried += 1;
        let name = &names[seed % names.len()];
        let mut case = Case::load(name);
        // What the operator decides, and where nodes are, is not the damage.
        let nodes = case.status["monitor"]["nodes"].as_object_mut().unwrap();
        for node in nodes.values_mut().filter_map(Value::as_object_mut) {
            node.remove("labels");
        }
        case.policy.downstream = donor.policy.downstream;
        case.policy.health_checks = donor.policy.health_checks;
        beside_good(&mut case, &donor);
        let before = sound
            .entry(name)
            .or_insert_with(|| case.run().compiled.gateway);
        let mut random = Random(seed as u64);
        for _ in 0..=random.below(6) {
            damage(&mut case, &mut random);
        }
        let outcome = case.run();
        changed += usize::from(outcome.compiled.gateway != *before);
        assert_eq!(resources_of_good(&outcome), expected, "{name}, seed {seed}");
        for problem in outcome.compiled.problems {
            let line = problem.to_string();
            let fits = line.len() < 1_000 && !line.chars().any(char::is_control);
            assert!(fits, "{name}, seed {seed}: {} bytes: {line:?}", line.len());
        }
        if seed % 4 == 0 {
            let flaws = flaws(&rendered(&outcome.snapshot));
            assert!(
                flaws.is_empty(),
                "{name}, seed {seed}:\n{}",
                flaws.join("\n")
            );
        }
    }
    assert!(
        changed > tried / 10,
        "{changed} of {tried} damages did something"
    );
}

/// What `test/svc/good` is served with. It has its listeners for itself.
fn resources_of_good(outcome: &Outcome) -> BTreeMap<(ResourceType, String), String> {
    let mut found = BTreeMap::new();
    for kind in ResourceType::ALL {
        for resource in outcome.snapshot.all(kind) {
            let good = |path: &ObjectPath| GOOD.contains(&path.to_string().as_str());
            if resource.origins.iter().any(|origin| good(&origin.object)) {
                let key = (kind, resource.name.to_string());
                found.insert(key, resource.version.to_string());
            }
        }
    }
    found
}

/// Puts the good service of `donor` on the first node of the case.
fn beside_good(case: &mut Case, donor: &Case) {
    for path in GOOD {
        let node = &donor.status["monitor"]["nodes"]["n1"]["services"];
        let nodes = case.status["monitor"]["nodes"].as_object_mut().unwrap();
        let services = &mut nodes.values_mut().next().unwrap()["services"];
        for part in ["status", "config"] {
            services[part][path] = node[part][path].clone();
        }
        case.status["monitor"]["services"][path] = json!({"avail": "up"});
    }
    case.reads["secrets"]["test/sec/good"] = donor.reads["secrets"]["test/sec/good"].clone();
}

/// Damages one thing of any object but the good one, or of what is read of it.
fn damage(case: &mut Case, random: &mut Random) {
    let mut targets = Vec::new();
    let monitor = case.status["monitor"].as_object_mut().unwrap();
    for (key, value) in monitor {
        match key.as_str() {
            "services" => targets.extend(others(value)),
            "nodes" => {
                for node in value.as_object_mut().unwrap().values_mut() {
                    let services = node.get_mut("services").and_then(Value::as_object_mut);
                    let parts = services.into_iter().flat_map(|parts| parts.values_mut());
                    targets.extend(parts.flat_map(others));
                }
            }
            _ => {}
        }
    }
    let reads = case.reads.as_object_mut().unwrap().values_mut();
    targets.extend(reads.flat_map(others));
    if targets.is_empty() {
        return;
    }
    let chosen = random.below(targets.len());
    let target = &mut targets[chosen];
    match random.below(2) {
        0 => random.mutate(target),
        _ => *leaf(target, random) = hostile(random),
    }
}

fn others(objects: &mut Value) -> Vec<&mut Value> {
    let objects = objects.as_object_mut().into_iter().flatten();
    let others = objects.filter(|(path, _)| !GOOD.contains(&path.as_str()));
    others.map(|(_, value)| value).collect()
}

/// A value somewhere inside, that holds no other.
fn leaf<'a>(value: &'a mut Value, random: &mut Random) -> &'a mut Value {
    let children = match value {
        Value::Object(members) => members.len(),
        Value::Array(values) => values.len(),
        _ => 0,
    };
    if children == 0 {
        return value;
    }
    let chosen = random.below(children);
    match value {
        Value::Object(members) => leaf(members.values_mut().nth(chosen).unwrap(), random),
        Value::Array(values) => leaf(&mut values[chosen], random),
        value => value,
    }
}

/// A value that means something to the pipeline, or is much too large for it.
fn hostile(random: &mut Random) -> Value {
    let domains = || (0..3_000).map(|number| format!("d{number}.acme.org"));
    match random.below(12) {
        0 => json!("w".repeat(100_000)),
        1 => json!("(".repeat(500)),
        2 => json!("((a{9}){9}){9}".repeat(500)),
        3 => json!(vec!["expose#0"; 3_000]),
        4 => json!(domains().collect::<Vec<_>>()),
        5 => json!([8080, 443, 80, 65_535, 65_536][random.below(5)]),
        6 => json!([
            WORDS[random.below(WORDS.len())],
            WORDS[random.below(WORDS.len())]
        ]),
        _ => json!(WORDS[random.below(WORDS.len())]),
    }
}

#[test]
fn equal_gateways_have_equal_versions() {
    for name in names() {
        let (one, two) = (Case::load(&name).run(), Case::load(&name).run());
        assert_eq!(one.compiled, two.compiled, "{name}");
        assert_eq!(one.snapshot.changes(&two.snapshot).count(), 0, "{name}");
        // What is shared with an older snapshot is what would have been made anew.
        let (again, refused) = encode(&one.compiled.gateway, &one.snapshot);
        assert_eq!(again, one.snapshot, "{name}");
        let (after_nothing, first) = encode(&one.compiled.gateway, &Snapshot::default());
        assert_eq!(first, refused, "{name}");
        assert_eq!(rendered(&after_nothing), rendered(&again), "{name}");
    }
}

#[test]
fn a_scaler_that_loses_its_first_slave_is_served_while_the_next_is_read() {
    let case = Case::load("web1-scaled-to-4");
    let Outcome {
        mut inventory,
        compiled,
        ..
    } = case.run();
    inventory.apply(Event::Remove("test/svc/0.web1".parse().unwrap()));
    let after = compile(&inventory, &case.policy);
    let next: ObjectPath = "test/svc/1.web1".parse().unwrap();
    let is_next = |want: &Want| matches!(want, Want::Config(path, _) if *path == next);
    assert!(after.wants.iter().any(is_next), "{:?}", after.wants);
    assert_eq!(after.gateway.listeners, compiled.gateway.listeners);
    assert_eq!(after.gateway.clusters, compiled.gateway.clusters);
    assert_eq!(after.problems, compiled.problems);
}

#[track_caller]
fn check(name: &str, change: impl Fn(&mut Case), expected: &[(ResourceType, &str)]) {
    let mut case = Case::load(name);
    let before = case.run().snapshot;
    change(&mut case);
    let after = case.run().snapshot;
    assert_eq!(after.changes(&before).collect::<Vec<_>>(), expected);
}

#[test]
fn a_changed_address_changes_one_set_of_endpoints() {
    let change = |case: &mut Case| {
        resource(case, "n1", "test/svc/a", "ip#1")["info"]["ipaddr"] = json!("10.0.0.77");
    };
    let expected = [(ResourceType::Endpoint, "test/svc/a.expose#0")];
    check("vhosts-of-two-services", change, &expected);
}

#[test]
fn an_instance_that_stops_changes_one_set_of_endpoints() {
    let change = |case: &mut Case| {
        resource(case, "n2", "test/svc/flex", "ip#1")["status"] = json!("down");
    };
    let expected = [(ResourceType::Endpoint, "test/svc/flex.expose#0")];
    check("flex-on-three-nodes", change, &expected);
}

#[test]
fn a_changed_pair_changes_one_secret() {
    let change = |case: &mut Case| {
        let pair = Authority::new("ca")
            .unwrap()
            .issue("web1", &["svcweb.acme.org"])
            .unwrap();
        case.reads["secrets"]["test/sec/web1-front-cert"] = json!({
            "certificate_chain": pair.chain_pem,
            "private_key": pair.key_pem,
        });
    };
    let expected = [(
        ResourceType::Secret,
        "tls_certificate/test/sec/web1-front-cert",
    )];
    check("web1-documented", change, &expected);
}

#[test]
fn a_changed_route_changes_one_route_configuration() {
    let change = |case: &mut Case| {
        resource(case, "vm", "test/svc/web1", "route#0")["info"]["match_prefix"] = json!("/new");
    };
    let expected = [(ResourceType::Route, "0.0.0.0:443/tcp/tls")];
    check("web1-documented", change, &expected);
}

fn resource<'a>(case: &'a mut Case, node: &str, path: &str, rid: &str) -> &'a mut Value {
    let status = &mut case.status["monitor"]["nodes"][node]["services"]["status"];
    &mut status[path]["resources"][rid]
}

/// Words that mean something somewhere, in the right place or in a wrong one.
#[rustfmt::skip]
const WORDS: &[&str] = &[
    "", " ", "expose#0", "expose#1", "vhost#0", "route#0", "certificate#0", "ip#1", "*", "*.",
    "*.*", ".acme.org", "ACME.org:1", "[::1]:80", "10.0.0.1", "::", "0.0.0.0", "{name}", "{rid}{",
    "front", "test/sec/front", "sec/front", "a\nb", "\u{202e}", "b\u{fc}cher", "up", "stopping",
    "expose.envoy", "vhost.envoy", "route.envoy", "certificate.tls", "ip.cni", "true", "tcp",
];
/// The good service and its secret.
const GOOD: [&str; 2] = ["test/svc/good", "test/sec/good"];
const DAMAGES: usize = 10_000;
