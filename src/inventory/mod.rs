//! PURE: what the OpenSVC cluster says, whatever the version of its agent.
//!
//! An [`Inventory`] is built from [`Event`]s alone and holds observations, never intentions.
//! No Envoy noun appears here, and nothing here reads a clock or a socket.

pub mod account;
pub mod alpn;
pub mod certificate;
pub mod challenge;
pub mod config;
pub mod drivers;
mod event;
pub mod fingerprint;
mod held;
pub mod ini;
pub mod keywords;
mod name;
pub mod node;
mod object;
pub mod overlay;
mod pack;
pub mod path;
mod problem;
mod scaling;
pub mod secret;
pub mod table;
mod touched;
mod values;
pub mod write;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Serialize, Serializer};

pub use account::Account;
use alpn::AlpnAnswers;
use certificate::{Pair, Trust};
use challenge::{Challenges, challenges};
pub use config::Config;
pub use event::{Event, Reading, Report};
pub use held::Held;
pub use name::Name;
pub use node::NodeStatus;
pub use object::{Instance, Object, Resource};
pub use path::{Kind, ObjectPath};
pub use problem::Problem;
use scaling::Scaling;
pub use secret::{Judged, Sensitive};
use secret::{insert_changed, judge};
pub use table::Table;
pub use touched::Touched;
pub use values::Values;
pub use write::{Asked, Change, Target, Write};

/// Everything the daemon has told, as of the last [`Event`].
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Inventory {
    /// The nodes of the OpenSVC cluster, by name.
    pub nodes: BTreeMap<String, NodeStatus>,
    /// The objects, by path; an object of which no instance is known has no entry.
    #[serde(serialize_with = "serialize_shared")]
    pub objects: BTreeMap<ObjectPath, Arc<Object>>,
    /// What was read of `sec` objects for the pair that they hold.
    pub secrets: BTreeMap<ObjectPath, Judged<Pair>>,
    /// What was read of `sec` objects for whom they trust.
    pub trusts: BTreeMap<ObjectPath, Judged<Trust>>,
    /// What was read of `cfg` objects that carry challenges.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub challenges: BTreeMap<ObjectPath, Judged<Challenges>>,
    /// What was read of `sec` objects that carry certificates to be shown to authorities.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub alpn_answers: BTreeMap<ObjectPath, Judged<AlpnAnswers>>,
    /// What was read of raw object configurations.
    pub configs: BTreeMap<ObjectPath, Reading<Config>>,
    /// The objects that the account may not read, and which right it lacks, as a sentence.
    pub refused: BTreeMap<ObjectPath, String>,
    /// What the daemon was asked to write.
    pub asked: Asked,
    /// The nodes' labels (keyword `labels` of the node), as they are reported.
    labels: BTreeMap<String, Labels>,
    /// The labels that nodes which are starting or lost had before.
    labels_held: BTreeMap<String, Labels>,
    /// Instances of nodes that are starting or lost: what they were when the node was last heard
    /// of as a whole.
    held: BTreeMap<(ObjectPath, String), Instance>,
    /// The nodes that are lost, and since when.
    lost: BTreeMap<String, Duration>,
    /// The services that are becoming scalers.
    scaling: Scaling,
}

/// A node's labels.
pub type Labels = BTreeMap<String, String>;

/// The keys of a `sec` object, by name.
pub type Secret = BTreeMap<String, Sensitive>;

/// Values by name that others may hold too, written as if they were held here alone.
fn serialize_shared<K: Serialize, V: Serialize, S: Serializer>(
    values: &BTreeMap<K, Arc<V>>,
    to: S,
) -> Result<S::Ok, S::Error> {
    to.collect_map(values.iter().map(|(name, value)| (name, value.as_ref())))
}

impl Inventory {
    /// Takes an event in; returns whether anything changed.
    ///
    /// Instances of a [`NodeStatus::Starting`] node are held as they were: a starting daemon
    /// reports them only bit by bit, and what it has not told yet is not gone. Those of a lost
    /// node are held until [`Inventory::expire`] says that it was long enough, or until a
    /// failover object is up on another node. What is read of an
    /// object is kept as long as the object, and not a moment longer.
    pub fn apply(&mut self, event: Event) -> bool {
        if let Some(path) = event.read_of()
            && !self.objects.contains_key(path)
        {
            return false;
        }
        let readable = event.read_of().map(|path| self.refused.remove(path));
        let changed = match event {
            Event::Reset(report) => self.reset(report),
            Event::Node(name, status) => self.put_node(name, status),
            Event::Labels(name, labels) => self.put_labels(name, labels),
            Event::Put(object) => self.put(object),
            Event::Remove(path) => self.remove(&path),
            Event::Secret(path, reading) => {
                judge(&mut self.secrets, path, &reading, Pair::of_secret)
            }
            Event::Trust(path, reading) => {
                judge(&mut self.trusts, path, &reading, Trust::of_secret)
            }
            Event::Challenges(path, reading) if alpn::is_carrier(&path) => {
                judge(&mut self.alpn_answers, path, &reading, alpn::answers)
            }
            Event::Challenges(path, reading) => {
                judge(&mut self.challenges, path, &reading, challenges)
            }
            Event::Config(path, reading) => insert_changed(&mut self.configs, path, reading),
            Event::Refused(path, lack) => {
                self.objects.contains_key(&path) && insert_changed(&mut self.refused, path, lack)
            }
            Event::Asked(write) => {
                self.asked.note(write);
                // Nothing is other than it was before the daemon shows it.
                false
            }
            Event::Corrected(_) | Event::Account(_) => false,
        };
        changed || readable.flatten().is_some()
    }

    /// Lets go of what has been held for `hold_down` of nodes that are lost; returns whether
    /// anything changed. Call it after events and when the time of [`Inventory::next_expiry`]
    /// has come: a node counts as lost from the first call on that finds it so.
    pub fn expire(&mut self, now: Duration, hold_down: Duration) -> bool {
        let nodes = &self.nodes;
        let is_lost = |name: &String| nodes.get(name).is_some_and(|status| status.is_lost());
        self.lost.retain(|name, _| is_lost(name));
        for name in nodes.keys().filter(|name| is_lost(name)) {
            self.lost.entry(name.clone()).or_insert(now);
        }
        let over = self.lost.iter();
        let over = over.filter(|(_, since)| now >= since.saturating_add(hold_down));
        let over: Vec<String> = over.map(|(name, _)| name.clone()).collect();
        let mut changed = false;
        for name in over {
            changed |= self.release(&name);
        }
        for path in self.scaling.expire(now) {
            changed |= self.strip(&path);
        }
        changed
    }

    /// When [`Inventory::expire`] has something to do without anything else happening.
    pub fn next_expiry(&self, hold_down: Duration) -> Option<Duration> {
        let holds = |name: &String| self.held.keys().any(|(_, node)| node == name);
        let lost = self.lost.iter().filter(|(name, _)| holds(name));
        let lost = lost.map(|(_, since)| since.saturating_add(hold_down));
        lost.chain(self.scaling.next_expiry()).min()
    }

    /// The labels of a node; of one that is starting or lost, those it had.
    pub fn labels(&self, node: &str) -> Option<&Labels> {
        self.labels_held.get(node).or_else(|| self.labels.get(node))
    }

    fn reset(&mut self, report: Report) -> bool {
        let before = std::mem::take(&mut self.nodes);
        let nodes = report.nodes.into_iter();
        let nodes = nodes.filter_map(|(name, status)| {
            let status = status.after(before.get(&name).copied())?;
            Some((name, status))
        });
        self.nodes = nodes.collect();
        let labels = std::mem::replace(&mut self.labels, report.labels);
        for (name, labels) in &labels {
            if self.is_unsure(name) {
                let held = self.labels_held.entry(name.clone());
                held.or_insert_with(|| labels.clone());
            }
        }
        let unsure = |node: &String| {
            self.nodes
                .get(node)
                .is_some_and(|status| status.is_unsure())
        };
        self.labels_held.retain(|name, _| unsure(name));
        let relabelled = labels != self.labels;
        self.reset_objects(report.objects) || before != self.nodes || relabelled
    }

    fn reset_objects(&mut self, reported: BTreeMap<ObjectPath, Arc<Object>>) -> bool {
        let objects = std::mem::take(&mut self.objects);
        for (path, object) in &objects {
            for (node, instance) in &object.instances {
                if self.is_unsure(node) {
                    let key = (path.clone(), node.to_owned());
                    self.held.entry(key).or_insert_with(|| instance.clone());
                }
            }
        }
        let unsure = |node: &String| {
            self.nodes
                .get(node)
                .is_some_and(|status| status.is_unsure())
        };
        let told = |path: &ObjectPath, node: &String| {
            let object = reported.get(path);
            object.is_some_and(|object| object.instances.contains_key(node))
        };
        self.held
            .retain(|(path, node), _| unsure(node) && !told(path, node));
        self.objects = reported;
        for object in self.objects.values_mut() {
            self.scaling.overlay(objects.get(&object.path), object);
        }
        let scaling = &mut self.scaling;
        let relieved = self.objects.values();
        let relieved: Vec<_> = relieved
            .filter_map(|slave| scaling.relieved(slave))
            .collect();
        for path in relieved {
            self.strip(&path);
        }
        let paths: Vec<ObjectPath> = self.held.keys().map(|(path, _)| path.clone()).collect();
        for path in paths {
            let previous = objects.get(&path);
            self.overlay_held(&path, previous);
        }
        let known = &self.objects;
        self.secrets.retain(|path, _| known.contains_key(path));
        self.trusts.retain(|path, _| known.contains_key(path));
        self.challenges.retain(|path, _| known.contains_key(path));
        self.alpn_answers.retain(|path, _| known.contains_key(path));
        self.configs.retain(|path, _| known.contains_key(path));
        self.refused.retain(|path, _| known.contains_key(path));
        self.asked.retain(|path| known.contains_key(path));
        objects != self.objects
    }

    fn put_node(&mut self, name: String, status: Option<NodeStatus>) -> bool {
        let before = self.nodes.get(&name).copied();
        let status = status.and_then(|status| status.after(before));
        if before == status {
            return false;
        }
        if status.is_none_or(|status| !status.is_unsure()) {
            self.release(&name);
            self.labels_held.remove(&name);
        }
        match status {
            Some(status) => self.nodes.insert(name, status),
            None => self.nodes.remove(&name),
        };
        true
    }

    fn put_labels(&mut self, name: String, labels: Labels) -> bool {
        let unsure = self.is_unsure(&name);
        let before = match labels.is_empty() {
            true => self.labels.remove(&name),
            false => self.labels.insert(name.clone(), labels),
        };
        if let Some(before) = before.filter(|_| unsure) {
            self.labels_held.entry(name).or_insert(before);
        }
        true
    }

    /// A node's report is complete again, or was waited for long enough: what it did not mention
    /// meanwhile is gone. Returns whether there was any of that.
    fn release(&mut self, name: &str) -> bool {
        let (held, kept) = std::mem::take(&mut self.held)
            .into_iter()
            .partition::<BTreeMap<_, _>, _>(|((_, node), _)| node == name);
        self.held = kept;
        let released = !held.is_empty();
        for ((path, node), _) in held {
            self.drop_instance(&path, &node);
        }
        released
    }

    fn drop_instance(&mut self, path: &ObjectPath, node: &str) {
        let Some(object) = self.objects.get_mut(path) else {
            return;
        };
        Arc::make_mut(object).instances.remove(node);
        if object.instances.is_empty() {
            self.forget(path);
        }
    }

    /// Takes the sections of a scaler away that it had as a service.
    fn strip(&mut self, path: &ObjectPath) -> bool {
        let Some(object) = self.objects.get_mut(path) else {
            return false;
        };
        let mut any = false;
        for instance in Arc::make_mut(object).instances.values_mut() {
            any |= !std::mem::take(&mut instance.resources).is_empty();
        }
        any
    }

    fn put(&mut self, mut object: Arc<Object>) -> bool {
        let path = object.path.clone();
        self.scaling.overlay(self.objects.get(&path), &mut object);
        let relieved = self.scaling.relieved(&object);
        let relieved = relieved.is_some_and(|path| self.strip(&path));
        // An instance that its starting node reports again needs no holding any more.
        for node in object.instances.keys() {
            self.held.remove(&(path.clone(), node.to_owned()));
        }
        let before = self.objects.insert(path.clone(), object);
        if let Some(before) = &before {
            self.hold(before);
        }
        self.overlay_held(&path, before.as_ref());
        relieved || before.as_ref() != self.objects.get(&path)
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

    /// Holds those instances of `before` that a starting or lost node no longer reports. Called
    /// when the object that replaces it, if any, is in place.
    fn hold(&mut self, before: &Object) {
        let now = self.objects.get(&before.path);
        for (node, instance) in &before.instances {
            let told = now.is_some_and(|object| object.instances.contains_key(node));
            if self.is_unsure(node) && !told {
                let key = (before.path.clone(), node.to_owned());
                self.held.entry(key).or_insert_with(|| instance.clone());
            }
        }
    }

    fn overlay_held(&mut self, path: &ObjectPath, previous: Option<&Arc<Object>>) {
        let range = (path.clone(), String::new())..;
        for ((held_path, node), instance) in self.held.range(range) {
            if held_path != path {
                break;
            }
            let object = self.objects.entry(path.clone()).or_insert_with(|| {
                Arc::new(Object {
                    path: path.clone(),
                    revision: previous.map(|o| o.revision.clone()).unwrap_or_default(),
                    slave: previous.is_some_and(|o| o.slave),
                    instances: Table::default(),
                })
            });
            let instances = &mut Arc::make_mut(object).instances;
            if !instances.contains_key(node) {
                instances.insert(node.clone(), instance.clone());
            }
        }
        self.supersede(path);
    }

    /// An object that runs on one node at a time, and is up on one that is heard of, has left
    /// the lost ones.
    fn supersede(&mut self, path: &ObjectPath) {
        let is_lost = |node: &str| {
            let status = self.nodes.get(node);
            status.is_some_and(|status| status.is_lost())
        };
        let Some(object) = self.objects.get(path) else {
            return;
        };
        let instances = object.instances.iter();
        let (lost, heard): (Vec<_>, Vec<_>) = instances.partition(|(node, _)| is_lost(node));
        if lost.is_empty() || !heard.iter().any(|(_, it)| it.failover && it.is_up()) {
            return;
        }
        let lost: Vec<String> = lost.into_iter().map(|(node, _)| node.to_owned()).collect();
        for node in lost {
            self.held.remove(&(path.clone(), node.clone()));
            self.drop_instance(path, &node);
        }
    }

    fn forget(&mut self, path: &ObjectPath) {
        self.scaling.forget(path);
        self.objects.remove(path);
        self.secrets.remove(path);
        self.trusts.remove(path);
        self.challenges.remove(path);
        self.alpn_answers.remove(path);
        self.configs.remove(path);
        self.refused.remove(path);
        self.asked.retain(|object| object != path);
    }

    fn is_unsure(&self, node: &str) -> bool {
        let status = self.nodes.get(node);
        status.is_some_and(|status| status.is_unsure())
    }
}

#[cfg(test)]
mod tests;
