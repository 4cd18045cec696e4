//! PURE: what the OpenSVC cluster says, whatever the version of its agent.
//!
//! An [`Inventory`] is built from [`Event`]s alone and holds observations, never intentions.
//! No Envoy noun appears here, and nothing here reads a clock or a socket.

pub mod certificate;
pub mod config;
pub mod keywords;
pub mod path;
pub mod secret;

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use certificate::{Pair, Trust};
pub use config::Config;
pub use path::{Kind, ObjectPath};
pub use secret::{Judged, Sensitive};

/// Everything the daemon has told, as of the last [`Event`].
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Inventory {
    /// The nodes of the OpenSVC cluster, by name.
    pub nodes: BTreeMap<String, NodeStatus>,
    /// The objects, by path; an object of which no instance is known has no entry.
    pub objects: BTreeMap<ObjectPath, Object>,
    /// What was read of `sec` objects for the pair that they hold.
    pub secrets: BTreeMap<ObjectPath, Judged<Pair>>,
    /// What was read of `sec` objects for whom they trust.
    pub trusts: BTreeMap<ObjectPath, Judged<Trust>>,
    /// What was read of raw object configurations.
    pub configs: BTreeMap<ObjectPath, Reading<Config>>,
    /// Instances of nodes that are starting: what they were when the node was last settled.
    held: BTreeMap<(ObjectPath, String), Instance>,
}

/// The keys of a `sec` object, by name.
pub type Secret = BTreeMap<String, Sensitive>;

/// A change of what is known. An event says what is, never what to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The daemon's complete report: replaces every node and object at once.
    Reset(Report),
    /// A node appeared or changed (`Some`), or left (`None`).
    Node(String, Option<NodeStatus>),
    /// An object appeared or changed.
    Put(Object),
    /// An object is gone from every node.
    Remove(ObjectPath),
    /// The keys of a `sec` object that a pair is in were read.
    Secret(ObjectPath, Reading<Secret>),
    /// The keys of a `sec` object that tell whom to trust were read.
    Trust(ObjectPath, Reading<Secret>),
    /// The raw configuration of an object was read.
    Config(ObjectPath, Reading<Config>),
}

/// A complete report of the daemon.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Report {
    /// Every node the daemon has data of.
    pub nodes: BTreeMap<String, NodeStatus>,
    /// Every object that has at least one instance.
    pub objects: BTreeMap<ObjectPath, Object>,
}

/// What came of reading something that the event stream does not carry.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Reading<T> {
    /// The [`Object::revision`] that the object had when the read began.
    pub revision: String,
    /// The content; `None` where the daemon says that there is no such object.
    pub content: Option<T>,
}

/// How far a node's report can be believed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeStatus {
    /// The node's daemon runs and has evaluated its instances.
    Settled,
    /// The node's daemon starts: instances may still be missing from its report.
    Starting,
    /// The node's daemon was stopped on purpose; its last report stands.
    Maintenance,
}

/// An object and its instances.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Object {
    /// The object's path.
    pub path: ObjectPath,
    /// Changes whenever the object's configuration changes on any node (the daemon's checksums).
    pub revision: String,
    /// Whether the daemon marks the object as a slave of a scaler.
    pub slave: bool,
    /// The instances, by node.
    pub instances: BTreeMap<String, Instance>,
}

/// An object on one node.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Instance {
    /// What the daemon is doing with the instance (`idle`, `stopping`, ...).
    pub monitor: String,
    /// The resources, by resource id such as `ip#1`.
    pub resources: BTreeMap<String, Resource>,
}

/// A section of an object's configuration, as evaluated on one node.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Resource {
    /// The section's type and driver, such as `ip`, `ip.cni`, `expose.envoy`.
    pub driver: String,
    /// The status word, such as `up`, `down`, `n/a`.
    pub status: String,
    /// The keywords that the agent reports, with whatever JSON types it gave them.
    pub keywords: BTreeMap<String, serde_json::Value>,
}

impl Resource {
    /// Whether the agent saw the resource work: `up`, also on a standby.
    pub fn is_up(&self) -> bool {
        matches!(self.status.as_str(), "up" | "stdby up")
    }

    /// The section type: the driver's name up to the dot.
    pub fn section(&self) -> &str {
        self.driver.split('.').next().unwrap_or_default()
    }
}

impl Inventory {
    /// Takes an event in; returns whether anything changed.
    ///
    /// Instances of a [`NodeStatus::Starting`] node are held as they were: a starting daemon
    /// reports them only bit by bit, and what it has not told yet is not gone. What is read of an
    /// object is kept as long as the object, and not a moment longer.
    pub fn apply(&mut self, event: Event) -> bool {
        match event {
            Event::Secret(path, _) | Event::Trust(path, _) | Event::Config(path, _)
                if !self.objects.contains_key(&path) =>
            {
                false
            }
            Event::Reset(report) => self.reset(report),
            Event::Node(name, status) => self.put_node(name, status),
            Event::Put(object) => self.put(object),
            Event::Remove(path) => self.remove(&path),
            Event::Secret(path, reading) => {
                judge(&mut self.secrets, path, &reading, Pair::of_secret)
            }
            Event::Trust(path, reading) => {
                judge(&mut self.trusts, path, &reading, Trust::of_secret)
            }
            Event::Config(path, reading) => insert_changed(&mut self.configs, path, reading),
        }
    }

    fn reset(&mut self, report: Report) -> bool {
        let nodes = std::mem::replace(&mut self.nodes, report.nodes);
        let objects = std::mem::take(&mut self.objects);
        for (path, object) in &objects {
            for (node, instance) in &object.instances {
                if self.is_starting(node) {
                    let key = (path.clone(), node.clone());
                    self.held.entry(key).or_insert_with(|| instance.clone());
                }
            }
        }
        let starting = |node: &String| self.nodes.get(node) == Some(&NodeStatus::Starting);
        let told = |path: &ObjectPath, node: &String| {
            let object = report.objects.get(path);
            object.is_some_and(|object| object.instances.contains_key(node))
        };
        self.held
            .retain(|(path, node), _| starting(node) && !told(path, node));
        self.objects = report.objects;
        let paths: Vec<ObjectPath> = self.held.keys().map(|(path, _)| path.clone()).collect();
        for path in paths {
            let previous = objects.get(&path);
            self.overlay_held(&path, previous);
        }
        let known = &self.objects;
        self.secrets.retain(|path, _| known.contains_key(path));
        self.trusts.retain(|path, _| known.contains_key(path));
        self.configs.retain(|path, _| known.contains_key(path));
        nodes != self.nodes || objects != self.objects
    }

    fn put_node(&mut self, name: String, status: Option<NodeStatus>) -> bool {
        let before = self.nodes.get(&name).copied();
        if before == status {
            return false;
        }
        if status != Some(NodeStatus::Starting) {
            self.release(&name);
        }
        match status {
            Some(status) => self.nodes.insert(name, status),
            None => self.nodes.remove(&name),
        };
        true
    }

    /// A node's report is complete again: what it did not mention meanwhile is gone.
    fn release(&mut self, name: &str) {
        let (held, kept) = std::mem::take(&mut self.held)
            .into_iter()
            .partition::<BTreeMap<_, _>, _>(|((_, node), _)| node == name);
        self.held = kept;
        for ((path, node), _) in held {
            let Some(object) = self.objects.get_mut(&path) else {
                continue;
            };
            object.instances.remove(&node);
            if object.instances.is_empty() {
                self.forget(&path);
            }
        }
    }

    fn put(&mut self, object: Object) -> bool {
        let path = object.path.clone();
        // An instance that its starting node reports again needs no holding any more.
        for node in object.instances.keys() {
            self.held.remove(&(path.clone(), node.clone()));
        }
        let before = self.objects.insert(path.clone(), object);
        if let Some(before) = &before {
            self.hold(before);
        }
        self.overlay_held(&path, before.as_ref());
        before.as_ref() != self.objects.get(&path)
    }

    fn remove(&mut self, path: &ObjectPath) -> bool {
        let Some(before) = self.objects.remove(path) else {
            return false;
        };
        self.hold(&before);
        self.overlay_held(path, Some(&before));
        match self.objects.get(path) {
            Some(held) => held != &before,
            None => {
                self.forget(path);
                true
            }
        }
    }

    /// Holds those instances of `before` that a starting node no longer reports. Called when the
    /// object that replaces it, if any, is in place.
    fn hold(&mut self, before: &Object) {
        let now = self.objects.get(&before.path);
        for (node, instance) in &before.instances {
            let told = now.is_some_and(|object| object.instances.contains_key(node));
            if self.is_starting(node) && !told {
                let key = (before.path.clone(), node.clone());
                self.held.entry(key).or_insert_with(|| instance.clone());
            }
        }
    }

    fn overlay_held(&mut self, path: &ObjectPath, previous: Option<&Object>) {
        let range = (path.clone(), String::new())..;
        for ((held_path, node), instance) in self.held.range(range) {
            if held_path != path {
                break;
            }
            let object = self.objects.entry(path.clone()).or_insert_with(|| Object {
                path: path.clone(),
                revision: previous.map(|o| o.revision.clone()).unwrap_or_default(),
                slave: previous.is_some_and(|o| o.slave),
                instances: BTreeMap::new(),
            });
            let instances = &mut object.instances;
            instances
                .entry(node.clone())
                .or_insert_with(|| instance.clone());
        }
    }

    fn forget(&mut self, path: &ObjectPath) {
        self.objects.remove(path);
        self.secrets.remove(path);
        self.trusts.remove(path);
        self.configs.remove(path);
    }

    fn is_starting(&self, node: &str) -> bool {
        self.nodes.get(node) == Some(&NodeStatus::Starting)
    }
}

/// Why something that an operator wrote is not exposed, or not as written.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Problem {
    /// The object whose configuration is meant.
    pub object: ObjectPath,
    /// The section, such as `expose#0`; empty for the object as a whole.
    pub section: String,
    /// The keyword; empty for the section as a whole.
    pub keyword: String,
    /// What is wrong and what follows from it. Never holds a secret.
    pub reason: String,
}

impl Problem {
    /// The same problem, and what follows from it.
    #[must_use]
    pub fn hence(mut self, consequence: impl fmt::Display) -> Self {
        self.reason = format!("{}; {consequence}", self.reason);
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.object)?;
        if !self.section.is_empty() {
            write!(f, " {}", self.section.escape_debug())?;
        }
        if !self.keyword.is_empty() {
            write!(f, ".{}", self.keyword.escape_debug())?;
        }
        write!(f, ": {}", self.reason)
    }
}

fn judge<T: Clone + PartialEq>(
    map: &mut BTreeMap<ObjectPath, Judged<T>>,
    path: ObjectPath,
    reading: &Reading<Secret>,
    judge: impl FnOnce(&Secret) -> Result<T, String>,
) -> bool {
    let mut judged = map.get(&path).cloned().unwrap_or_default();
    judged.take(reading, judge);
    insert_changed(map, path, judged)
}

fn insert_changed<K: Ord, V: PartialEq>(map: &mut BTreeMap<K, V>, key: K, value: V) -> bool {
    if map.get(&key) == Some(&value) {
        return false;
    }
    map.insert(key, value);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(name: &str, nodes: &[&str]) -> Object {
        let instances = nodes.iter();
        Object {
            path: ObjectPath::new("test", Kind::Svc, name),
            revision: "1".to_owned(),
            slave: false,
            instances: instances
                .map(|node| ((*node).to_owned(), Instance::default()))
                .collect(),
        }
    }

    fn report(nodes: &[(&str, NodeStatus)], objects: &[Object]) -> Report {
        let nodes = nodes.iter();
        let objects = objects.iter();
        Report {
            nodes: nodes
                .map(|(name, status)| ((*name).to_owned(), *status))
                .collect(),
            objects: objects
                .map(|object| (object.path.clone(), object.clone()))
                .collect(),
        }
    }

    fn node(name: &str, status: NodeStatus) -> Event {
        Event::Node(name.to_owned(), Some(status))
    }

    fn settled() -> Inventory {
        let mut inventory = Inventory::default();
        let nodes = [("n1", NodeStatus::Settled), ("n2", NodeStatus::Settled)];
        let objects = [object("a", &["n1", "n2"]), object("b", &["n2"])];
        assert!(inventory.apply(Event::Reset(report(&nodes, &objects))));
        inventory
    }

    #[test]
    fn what_a_starting_node_goes_on_reporting_stays_when_it_settles() {
        let mut inventory = settled();
        inventory.apply(node("n2", NodeStatus::Starting));
        inventory.apply(node("n2", NodeStatus::Settled));
        assert_eq!(inventory, settled());
        let nodes = [("n1", NodeStatus::Settled), ("n2", NodeStatus::Starting)];
        let objects = [object("a", &["n1", "n2"]), object("b", &["n2"])];
        inventory.apply(Event::Reset(report(&nodes, &objects)));
        inventory.apply(node("n2", NodeStatus::Settled));
        assert_eq!(inventory, settled());
    }

    #[test]
    fn what_a_starting_node_stops_reporting_is_held_until_it_settles() {
        let mut inventory = settled();
        inventory.apply(node("n2", NodeStatus::Starting));
        assert!(!inventory.apply(Event::Put(object("a", &["n1"]))));
        let b = object("b", &[]).path;
        assert!(!inventory.apply(Event::Remove(b)));
        assert_eq!(inventory.objects, settled().objects);
        inventory.apply(Event::Put(object("a", &["n1", "n2"])));
        inventory.apply(node("n2", NodeStatus::Settled));
        let expected = BTreeMap::from([object("a", &["n1", "n2"])].map(|o| (o.path.clone(), o)));
        assert_eq!(inventory.objects, expected);
    }

    #[test]
    fn what_was_read_of_an_object_goes_with_it() {
        let mut inventory = settled();
        let path = object("a", &[]).path;
        let reading = || Reading {
            revision: "1".to_owned(),
            content: Some(Secret::new()),
        };
        assert!(inventory.apply(Event::Secret(path.clone(), reading())));
        inventory.apply(Event::Remove(path.clone()));
        assert!(inventory.secrets.is_empty());
        assert!(!inventory.apply(Event::Secret(path, reading())));
        assert!(inventory.secrets.is_empty());
    }

    #[test]
    fn a_starting_node_that_leaves_takes_what_was_held_with_it() {
        let mut inventory = settled();
        inventory.apply(node("n2", NodeStatus::Starting));
        inventory.apply(Event::Remove(object("b", &[]).path));
        inventory.apply(Event::Node("n2".to_owned(), None));
        assert!(!inventory.objects.contains_key(&object("b", &[]).path));
    }
}
