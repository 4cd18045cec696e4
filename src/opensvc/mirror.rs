//! PURE: the agent 2.x status tree, kept true by patches.
//!
//! [`Mirror`] holds what the gateway needs of the tree, knows when it can no longer be trusted
//! ([`Resync`]), and says what changed object by object, at a cost that follows the change. What
//! the tree means is for `projection` to say. No socket and no clock is read here.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::json_delta::{Stanza, Unapplied};
use super::projection;
use crate::inventory::{Event, NodeStatus, Report};

/// A copy of the daemon's status, and the last that was told of it.
///
/// One mirror serves one event stream: patch ids go on as long as the stream does.
#[derive(Clone, Debug)]
pub struct Mirror {
    tree: Value,
    last_id: Option<u64>,
    /// How many of the next patches may be older than the status.
    stale_left: u32,
    /// What the events so far amount to; `None` until a report was complete enough to tell.
    told: Option<Report>,
    #[cfg(test)]
    projections: usize,
}

/// Why the mirror can no longer be trusted: the caller fetches the status anew.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Resync {
    /// Patches were lost.
    #[error("patch {found} came where {expected} was due")]
    Gap {
        /// The id after the last one.
        expected: u64,
        /// The id that came.
        found: u64,
    },
    /// A stanza does not fit the mirrored tree.
    #[error("patch {id} does not apply at {place}: {reason}")]
    Unapplied {
        /// The patch's id.
        id: u64,
        /// The path that was to change.
        place: String,
        /// What does not fit.
        reason: Unapplied,
    },
    /// The message has not the shape of any that the daemon sends.
    #[error("malformed message: {0}")]
    Malformed(&'static str),
}

impl Default for Mirror {
    fn default() -> Self {
        Self {
            tree: Value::Object(Map::new()),
            last_id: None,
            stale_left: STALE_PATCHES_MAX,
            told: None,
            #[cfg(test)]
            projections: 0,
        }
    }
}

impl Mirror {
    /// Starts from a full status; the first patch that follows sets the base of the ids.
    ///
    /// The event is an [`Event::Reset`]. There is none while the daemon knows no node's monitor
    /// status: it has just started, and the reset comes from [`apply`](Self::apply) later.
    pub fn reset(&mut self, status: Value) -> Vec<Event> {
        self.last_id = None;
        self.refresh(status)
    }

    /// Like [`reset`](Self::reset), but on the same event stream: the patch ids go on.
    pub fn refresh(&mut self, status: Value) -> Vec<Event> {
        let mut kept = Map::new();
        if let Value::Object(status) = status {
            kept.extend(status.into_iter().filter(|(key, _)| is_kept(key)));
        }
        self.tree = Value::Object(kept);
        self.stale_left = STALE_PATCHES_MAX;
        self.told = None;
        self.tell_all()
    }

    /// Takes a message of the event stream in, and says what changed.
    ///
    /// After an error the tree is not the daemon's any more, until the next
    /// [`refresh`](Self::refresh).
    pub fn apply(&mut self, message: Value) -> Result<Vec<Event>, Resync> {
        let Value::Object(mut message) = message else {
            return Err(Resync::Malformed("no object"));
        };
        match message.get("kind").and_then(Value::as_str) {
            Some("patch") => {
                let Some(id) = message.get("id").and_then(Value::as_u64) else {
                    return Err(Resync::Malformed("a patch without an id"));
                };
                let Some(Value::Array(stanzas)) = message.remove("data") else {
                    return Err(Resync::Malformed("a patch without stanzas"));
                };
                self.patch(id, stanzas)
            }
            Some("full") => match message.remove("data") {
                Some(status @ Value::Object(_)) => Ok(self.reset(status)),
                _ => Err(Resync::Malformed("a full without a status")),
            },
            Some(_) => Ok(Vec::new()),
            None => Err(Resync::Malformed("no kind")),
        }
    }

    /// What is mirrored of the status: its `monitor` and `cluster`.
    pub fn tree(&self) -> &Value {
        &self.tree
    }

    fn patch(&mut self, id: u64, stanzas: Vec<Value>) -> Result<Vec<Event>, Resync> {
        let expected = self.last_id.map_or(Some(id), |last| last.checked_add(1));
        self.last_id = Some(id);
        if expected != Some(id) {
            let expected = expected.unwrap_or(u64::MAX);
            return Err(Resync::Gap {
                expected,
                found: id,
            });
        }
        let may_be_stale = self.stale_left > 0;
        self.stale_left = self.stale_left.saturating_sub(1);
        let mut touched = Touched::default();
        for stanza in stanzas {
            let mut stanza = Stanza::from_json(stanza)
                .map_err(|_| Resync::Malformed("a stanza that is no path and value"))?;
            if !stanza.name(0).is_some_and(|key| is_kept(&key)) {
                continue;
            }
            let scope = Scope::of(&stanza);
            touched.add(&scope, &self.tree);
            match stanza.apply(&mut self.tree) {
                Ok(()) => touched.add(&scope, &self.tree),
                Err(reason) if may_be_stale && reason.may_be_stale() => {}
                Err(reason) => {
                    let place = stanza.to_string().chars().take(SHOWN_CHARS).collect();
                    return Err(Resync::Unapplied { id, place, reason });
                }
            }
        }
        Ok(self.tell(touched))
    }

    fn tell(&mut self, touched: Touched) -> Vec<Event> {
        let lost = !touched.nodes.is_empty() && !projection::is_complete(&self.tree);
        if touched.everything || lost {
            self.told = None;
        }
        let Some(told) = &mut self.told else {
            return self.tell_all();
        };
        let mut nodes = Vec::new();
        let mut labels = Vec::new();
        for name in touched.nodes {
            let status = projection::status_of(&self.tree, &name);
            labels.extend(tell_labels(&self.tree, told, &name));
            if told.nodes.get(&name).copied() != status {
                match status {
                    Some(status) => told.nodes.insert(name.clone(), status),
                    None => told.nodes.remove(&name),
                };
                nodes.push((name, status));
            }
        }
        // A node is told to be starting or lost before its instances vanish, so that they are
        // held, and to be settled after they came, so that none is released that is there.
        let (unsure, others): (Vec<_>, Vec<_>) = nodes.into_iter().partition(|(_, status)| {
            matches!(status, Some(NodeStatus::Starting | NodeStatus::Lost))
        });
        let as_event = |(name, status)| Event::Node(name, status);
        let mut events: Vec<Event> = unsure.into_iter().map(as_event).collect();
        events.extend(labels);
        for key in &touched.objects {
            #[cfg(test)]
            (self.projections += 1);
            events.extend(tell_object(&self.tree, told, key));
        }
        events.extend(others.into_iter().map(as_event));
        events
    }

    fn tell_all(&mut self) -> Vec<Event> {
        if !projection::is_complete(&self.tree) {
            return Vec::new();
        }
        let report = projection::report(&self.tree);
        self.told = Some(report.clone());
        vec![Event::Reset(report)]
    }
}

/// What a patch may have changed of the projection.
#[derive(Default)]
struct Touched {
    everything: bool,
    nodes: BTreeSet<String>,
    objects: BTreeSet<String>,
}

impl Touched {
    /// Called before and after a stanza is applied: objects may be in its old or new value.
    fn add(&mut self, scope: &Scope, tree: &Value) {
        match scope {
            Scope::Nothing => {}
            Scope::Everything => self.everything = true,
            Scope::Members => self.nodes.extend(projection::members(tree)),
            Scope::Object(key) => {
                self.objects.insert(key.clone());
            }
            Scope::NodeStatus(name) => {
                self.nodes.insert(name.clone());
            }
            Scope::Node(name) => {
                self.nodes.insert(name.clone());
                let services = projection::node(tree, name).and_then(|node| node.get("services"));
                for part in ["status", "config"] {
                    let part = services.and_then(|services| services.get(part));
                    let keys = part.and_then(Value::as_object).map(Map::keys);
                    self.objects.extend(keys.into_iter().flatten().cloned());
                }
            }
        }
    }
}

/// The part of the projection that a path lies in.
enum Scope {
    Nothing,
    Everything,
    /// Which nodes are members of the OpenSVC cluster.
    Members,
    /// A node and its instances.
    Node(String),
    /// A node, but not its instances.
    NodeStatus(String),
    /// An object, by its key in the tree.
    Object(String),
}

impl Scope {
    fn of(stanza: &Stanza) -> Self {
        let name = |depth| stanza.name(depth);
        if name(0).as_deref() == Some("cluster") {
            return match name(1).as_deref() {
                None | Some("nodes") => Self::Members,
                Some(_) => Self::Nothing,
            };
        }
        if name(0).as_deref() != Some("monitor") {
            return Self::Nothing;
        }
        match (name(1).as_deref(), name(2)) {
            (None | Some("nodes" | "services"), None) => Self::Everything,
            (Some("services"), Some(key)) => Self::Object(key.into_owned()),
            (Some("nodes"), Some(node)) => match (name(3).as_deref(), name(5)) {
                (Some("services"), Some(key)) => Self::Object(key.into_owned()),
                (None | Some("services"), _) => Self::Node(node.into_owned()),
                (Some("monitor" | "labels"), _) => Self::NodeStatus(node.into_owned()),
                _ => Self::Nothing,
            },
            _ => Self::Nothing,
        }
    }
}

/// The top-level keys that matter; the others are most of the traffic.
fn is_kept(key: &str) -> bool {
    matches!(key, "monitor" | "cluster")
}

fn tell_labels(tree: &Value, told: &mut Report, name: &str) -> Option<Event> {
    let labels = projection::node(tree, name).map(projection::labels_of);
    let labels = labels.unwrap_or_default();
    let before = match labels.is_empty() {
        true => told.labels.remove(name).unwrap_or_default(),
        false => {
            let before = told.labels.insert(name.to_owned(), labels.clone());
            before.unwrap_or_default()
        }
    };
    (before != labels).then(|| Event::Labels(name.to_owned(), labels))
}

fn tell_object(tree: &Value, told: &mut Report, key: &str) -> Option<Event> {
    let path = projection::object_path(key)?;
    match projection::object(tree, key, path.clone()) {
        Some(object) if told.objects.get(&path) == Some(&object) => None,
        Some(object) => {
            told.objects.insert(path, object.clone());
            Some(Event::Put(object))
        }
        None => {
            told.objects.remove(&path)?;
            Some(Event::Remove(path))
        }
    }
}

/// Patches after a full status that may repeat what it holds already: the daemon queues them for
/// a few seconds, and sends at most about three a second.
const STALE_PATCHES_MAX: u32 = 10;
/// How much of a path an error repeats.
const SHOWN_CHARS: usize = 200;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::inventory::ObjectPath;

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

    #[test]
    fn a_change_is_told_once_and_costs_only_its_object() {
        let mut mirror = mirror();
        let events = patch(&mut mirror, 7, json!([[IP, "down"], [IP, "warn"]])).unwrap();
        let [Event::Put(object)] = &events[..] else {
            panic!("{events:?}");
        };
        assert_eq!(object.path, path("test/svc/a"));
        assert_eq!(object.instances["n1"].resources["ip#1"].status, "warn");
        assert_eq!(object.instances["n2"].resources["ip#1"].status, "up");
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
        let keys: Vec<_> = mirror.tree().as_object().unwrap().keys().collect();
        assert_eq!(keys, ["cluster", "monitor"]);
        assert_eq!(mirror.tree()["monitor"]["transitions"], 1);
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
            (a.revision.as_str(), b.revision.as_str()),
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
}
