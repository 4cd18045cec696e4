//! What a mirror tells of a change, and when it says that it cannot be trusted.

use serde_json::json;

use super::*;
use crate::inventory::{Object, ObjectPath};

fn status() -> Value {
    let service = json!({"avail": "up", "resources": {"ip#1": {
        "type": "ip", "status": "up", "info": {"ipaddr": "10.0.0.1"}}}});
    let services = json!({
        "status": {"test/svc/a": service, "test/svc/b": service},
        "config": {"test/svc/a": {"csum": "a1"}, "test/svc/b": {"csum": "b1"}}});
    json!({"listener": {"stats": {}}, "cluster": {"nodes": ["n1", "n2"]}, "monitor": {
        "nodes": {
            "n1": {"monitor": {"status": "idle"}, "services": services},
            "n2": {"monitor": {"status": "idle"}, "services": services}},
        "services": {"test/svc/a": {"avail": "up"}, "test/svc/b": {"avail": "up"}}}})
}

fn mirror() -> Mirror {
    let mut mirror = Mirror::default();
    assert!(matches!(mirror.reset(status())[..], [Event::Reset(_)]));
    mirror
}

fn settled() -> Mirror {
    let mut mirror = mirror();
    mirror.stale_left = 0;
    mirror
}

fn patch(mirror: &mut Mirror, id: u64, stanzas: Value) -> Result<Vec<Event>, Resync> {
    mirror.apply(json!({"kind": "patch", "id": id, "ts": 1.0, "data": stanzas}))
}

fn path(text: &str) -> ObjectPath {
    text.parse().unwrap()
}

const IP: [&str; 9] = [
    "monitor",
    "nodes",
    "n1",
    "services",
    "status",
    "test/svc/a",
    "resources",
    "ip#1",
    "status",
];

fn ip_status<'a>(object: &'a Object, node: &str) -> &'a str {
    let resources = &object.instances.get(node).unwrap().resources;
    &resources.get("ip#1").unwrap().status
}

#[test]
fn a_change_is_told_once_and_costs_only_its_object() {
    let mut mirror = mirror();
    let events = patch(&mut mirror, 7, json!([[IP, "down"], [IP, "warn"]])).unwrap();
    let [Event::Put(object)] = &events[..] else {
        panic!("{events:?}");
    };
    assert_eq!(object.path, path("test/svc/a"));
    assert_eq!(ip_status(object, "n1"), "warn");
    assert_eq!(ip_status(object, "n2"), "up");
    assert_eq!(patch(&mut mirror, 8, json!([[IP, "warn"]])).unwrap(), []);
    assert_eq!(mirror.projections, 2);
}

#[test]
fn what_does_not_matter_is_neither_kept_nor_projected() {
    let mut mirror = mirror();
    let events = patch(
        &mut mirror,
        1,
        json!([
            [["listener", "stats", "gone", "x"], 1],
            [["hb#1.rx", "x"]],
            [["monitor", "nodes", "n1", "stats"], {"load_15m": 1}],
            [["monitor", "transitions"], 1],
        ]),
    );
    assert_eq!(events.unwrap(), []);
    assert_eq!(mirror.projections, 0);
    let tree = mirror.tree();
    let keys: Vec<_> = tree.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["cluster", "monitor"]);
    let keys: Vec<_> = tree["monitor"].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["nodes", "services"]);
}

#[test]
fn an_object_is_removed_with_its_aggregate() {
    let mut mirror = mirror();
    let events = patch(
        &mut mirror,
        1,
        json!([[["monitor", "services", "test/svc/a"]]]),
    );
    assert_eq!(events.unwrap(), [Event::Remove(path("test/svc/a"))]);
}

#[test]
fn a_lost_node_takes_its_instances_with_it() {
    let mut mirror = mirror();
    let events = patch(&mut mirror, 1, json!([[["monitor", "nodes", "n2"]]])).unwrap();
    let [
        Event::Node(name, Some(NodeStatus::Lost)),
        Event::Put(a),
        Event::Put(b),
    ] = &events[..]
    else {
        panic!("{events:?}");
    };
    assert_eq!(
        (a.revision.as_ref(), b.revision.as_ref()),
        ("n1=a1", "n1=b1")
    );
    assert_eq!(name, "n2");
    let left = json!([[["cluster", "nodes"], ["n1"]]]);
    let events = patch(&mut mirror, 2, left).unwrap();
    assert_eq!(events, [Event::Node("n2".to_owned(), None)]);
}

#[test]
fn labels_are_told_when_they_change() {
    let mut mirror = mirror();
    let place = ["monitor", "nodes", "n2", "labels"];
    let labels = json!([[place, {"zone": "z1", "rack": 7}]]);
    let told = |labels: &[(&str, &str)]| {
        let labels = labels.iter();
        let labels = labels.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Ok(vec![Event::Labels("n2".to_owned(), labels.collect())])
    };
    assert_eq!(patch(&mut mirror, 1, labels), told(&[("zone", "z1")]));
    assert_eq!(patch(&mut mirror, 2, json!([[place, {}]])), told(&[]));
}

#[test]
fn a_node_starts_before_and_settles_after_its_instances_change() {
    let mut mirror = mirror();
    let node = ["monitor", "nodes", "n2"];
    let before = mirror.tree()["monitor"]["nodes"]["n2"].clone();
    let starting = |name: &str| Event::Node(name.to_owned(), Some(NodeStatus::Starting));
    let events = patch(&mut mirror, 1, json!([[node, {"gen": {}}]])).unwrap();
    assert_eq!(events.first(), Some(&starting("n2")));
    let events = patch(&mut mirror, 2, json!([[node, before]])).unwrap();
    let settled = Event::Node("n2".to_owned(), Some(NodeStatus::Settled));
    assert_eq!((events.len(), events.last()), (3, Some(&settled)));
}

#[test]
fn patch_ids_start_anywhere_and_must_go_on_by_one() {
    let mut mirror = mirror();
    assert_eq!(patch(&mut mirror, 41, json!([])), Ok(vec![]));
    assert_eq!(patch(&mut mirror, 42, json!([])), Ok(vec![]));
    let gap = |expected, found| Err(Resync::Gap { expected, found });
    assert_eq!(patch(&mut mirror, 44, json!([])), gap(43, 44));
    mirror.refresh(status());
    assert_eq!(patch(&mut mirror, 46, json!([])), gap(45, 46));
    mirror.refresh(status());
    assert_eq!(patch(&mut mirror, 47, json!([])), Ok(vec![]));
    assert_eq!(patch(&mut mirror, 47, json!([])), gap(48, 47));
    mirror.reset(status());
    assert_eq!(patch(&mut mirror, u64::MAX, json!([])), Ok(vec![]));
    assert_eq!(patch(&mut mirror, 0, json!([])), gap(u64::MAX, 0));
}

#[test]
fn stale_stanzas_are_forgiven_only_shortly_after_the_status() {
    let mut mirror = mirror();
    let stale = json!([[["monitor", "services", "test/svc/gone"]]]);
    for id in 1..=u64::from(STALE_PATCHES_MAX) {
        assert_eq!(patch(&mut mirror, id, stale.clone()), Ok(vec![]));
    }
    let error = patch(&mut mirror, 11, stale).unwrap_err();
    let shown = "patch 11 does not apply at monitor/services/test/svc/gone: \
                 there is nothing to delete";
    assert_eq!(error.to_string(), shown);
}

#[test]
fn a_malformed_message_is_never_forgiven() {
    for message in [
        json!(null),
        json!({}),
        json!({"kind": 1}),
        json!({"kind": "patch", "data": []}),
        json!({"kind": "patch", "id": -1, "data": []}),
        json!({"kind": "patch", "id": 1, "data": {}}),
        json!({"kind": "patch", "id": 1, "data": [["monitor"]]}),
        json!({"kind": "full", "data": []}),
    ] {
        let result = mirror().apply(message.clone());
        assert!(matches!(result, Err(Resync::Malformed(_))), "{message}");
    }
    let event = json!({"kind": "event", "data": {"id": "instance_stop"}});
    assert_eq!(mirror().apply(event), Ok(vec![]));
}

#[test]
fn a_daemon_that_knows_nothing_yet_tells_nothing() {
    let mut mirror = Mirror::default();
    assert_eq!(
        mirror.reset(json!({"monitor": {"nodes": {}, "services": {}}})),
        []
    );
    let n2 = json!([
        [["monitor", "nodes", "n2"], {}],
        [["monitor", "services", "a"], {}]
    ]);
    assert_eq!(patch(&mut mirror, 1, n2), Ok(vec![]));
    let n1 = json!([[["monitor", "nodes", "n1"], {"monitor": {"status": "init"}}]]);
    let events = patch(&mut mirror, 2, n1).unwrap();
    let starting = |name: &str| (name.to_owned(), NodeStatus::Starting);
    let nodes = [starting("n1"), starting("n2")].into();
    let objects = [].into();
    let labels = [].into();
    let report = Report {
        nodes,
        labels,
        objects,
    };
    assert_eq!(events, [Event::Reset(report)]);
}

#[test]
fn a_daemon_that_forgets_everything_tells_nothing_until_it_knows_again() {
    let mut mirror = settled();
    let nodes = mirror.tree()["monitor"]["nodes"].clone();
    let forget = json!([[["monitor", "nodes", "n1"]], [["monitor", "nodes", "n2"]]]);
    assert_eq!(patch(&mut mirror, 1, forget), Ok(vec![]));
    let events = patch(&mut mirror, 2, json!([[["monitor", "nodes"], nodes]])).unwrap();
    assert_eq!(events, Mirror::default().reset(status()));
}

fn status_with(ip_status: &str) -> Value {
    let mut tree = status();
    let nodes = &mut tree["monitor"]["nodes"];
    let instance = &mut nodes["n1"]["services"]["status"]["test/svc/a"];
    instance["resources"]["ip#1"]["status"] = ip_status.into();
    tree
}

#[test]
fn a_status_like_the_mirror_is_no_event() {
    let mut mirror = mirror();
    assert_eq!(mirror.check(status()), []);
    assert!(!mirror.is_suspicious());
}

#[test]
fn a_difference_that_two_statuses_confirm_is_told_and_corrected() {
    let mut mirror = settled();
    assert_eq!(mirror.check(status_with("down")), []);
    assert!(mirror.is_suspicious());
    let events = mirror.check(status_with("down"));
    let [Event::Corrected(places), Event::Reset(report)] = &events[..] else {
        panic!("{events:?}");
    };
    assert_eq!(places.iter().collect::<Vec<_>>(), ["test/svc/a"]);
    let object = &report.objects[&path("test/svc/a")];
    assert_eq!(ip_status(object, "n1"), "down");
    assert!(!mirror.is_suspicious());
    assert_eq!(mirror.check(status_with("down")), []);
}

#[test]
fn a_status_that_is_ahead_of_the_patches_is_no_difference() {
    let mut mirror = settled();
    assert_eq!(mirror.check(status_with("down")), []);
    assert_eq!(
        patch(&mut mirror, 1, json!([[IP, "down"]])).unwrap().len(),
        1
    );
    assert_eq!(mirror.check(status_with("down")), []);
    assert!(!mirror.is_suspicious());
}

#[test]
fn what_moves_between_two_statuses_has_to_be_confirmed_anew() {
    let mut mirror = settled();
    assert_eq!(mirror.check(status_with("down")), []);
    assert_eq!(mirror.check(status_with("warn")), []);
    assert!(mirror.is_suspicious());
    assert_eq!(
        patch(&mut mirror, 1, json!([[IP, "n/a"]])).unwrap().len(),
        1
    );
    assert_eq!(mirror.check(status_with("warn")), []);
    assert!(mirror.is_suspicious());
    assert_eq!(mirror.check(status_with("warn")).len(), 2);
}

#[test]
fn a_starting_daemon_is_no_difference() {
    let mut mirror = mirror();
    let empty = json!({"monitor": {"nodes": {}, "services": {}}});
    assert_eq!(mirror.check(empty), []);
    assert!(!mirror.is_suspicious());
}
