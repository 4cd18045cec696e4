//! PURE: the agent 2.x status tree, kept true by patches.
//!
//! [`Mirror`] holds what the gateway needs of the tree, knows when it can no longer be trusted
//! ([`Resync`]), and says what changed object by object, at a cost that follows the change. What
//! the tree means is for `projection` to say. No socket and no clock is read here.

mod check;
mod entry;
mod kept;
pub(super) mod leaf;
mod resource;
pub(super) mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use check::Differences;
pub(super) use entry::{Entry, Resources};
use kept::Way;
pub use kept::{Message, Status};

use super::json_delta::{Stanza, Unapplied};
use super::projection;
use crate::inventory::{Event, NodeStatus, Report};
use tree::Tree;

/// A copy of the daemon's status, and the last that was told of it.
///
/// One mirror serves one event stream: patch ids go on as long as the stream does.
#[derive(Clone, Debug)]
pub struct Mirror {
    status: Status,
    last_id: Option<u64>,
    /// How many of the next patches may be older than the status.
    stale_left: u32,
    /// What the events so far amount to; `None` until a report was complete enough to tell.
    told: Option<Report>,
    /// Where a second full status may confirm that the mirror is wrong.
    suspected: Differences,
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
            status: Status::default(),
            last_id: None,
            stale_left: STALE_PATCHES_MAX,
            told: None,
            suspected: Differences::default(),
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
    pub fn reset(&mut self, status: impl Into<Status>) -> Vec<Event> {
        self.last_id = None;
        self.refresh(status)
    }

    /// Like [`reset`](Self::reset), but on the same event stream: the patch ids go on.
    pub fn refresh(&mut self, status: impl Into<Status>) -> Vec<Event> {
        self.status = status.into();
        self.stale_left = STALE_PATCHES_MAX;
        self.told = None;
        self.suspected = Differences::default();
        self.tell_all()
    }

    /// Compares a full status that was read beside the event stream with what was told, and
    /// takes it if the mirror is wrong: then an [`Event::Corrected`] comes before the reset.
    ///
    /// A status may be ahead of the patches, and they of it. So a difference counts only if a
    /// second status says the same as the first, and no patch changed the place in between:
    /// while [`is_suspicious`](Self::is_suspicious), the caller checks again, as soon as all
    /// that the first status held must have come as patches.
    pub fn check(&mut self, status: impl Into<Status>) -> Vec<Event> {
        let status = status.into();
        let Some(told) = &self.told else {
            return self.refresh(status);
        };
        if !projection::is_complete(status.tree()) {
            // The daemon starts anew; its event stream ends by itself.
            return Vec::new();
        }
        let found = Differences::between(told, &projection::report(status.tree()));
        let confirmed = found.confirmed_by(&self.suspected);
        if confirmed.is_empty() {
            self.suspected = found;
            return Vec::new();
        }
        let mut events = self.refresh(status);
        events.insert(0, Event::Corrected(confirmed));
        events
    }

    /// Whether a difference was found that a second [`check`](Self::check) has to confirm.
    pub fn is_suspicious(&self) -> bool {
        !self.suspected.is_empty()
    }

    /// Takes a message of the event stream in, and says what changed.
    ///
    /// After an error the tree is not the daemon's any more, until the next
    /// [`refresh`](Self::refresh).
    pub fn apply(&mut self, message: impl Into<Message>) -> Result<Vec<Event>, Resync> {
        let message = message.into();
        if message.is_full() {
            return match message.into_status() {
                Some(status) => Ok(self.reset(status)),
                None => Err(Resync::Malformed("a full without a status")),
            };
        }
        if !message.is_object() {
            return Err(Resync::Malformed("no object"));
        }
        match message.kind() {
            Some("patch") => {
                let Some(id) = message.id() else {
                    return Err(Resync::Malformed("a patch without an id"));
                };
                let Some(stanzas) = message.into_stanzas() else {
                    return Err(Resync::Malformed("a patch without stanzas"));
                };
                self.patch(id, stanzas)
            }
            Some(_) => Ok(Vec::new()),
            None => Err(Resync::Malformed("no kind")),
        }
    }

    /// What is mirrored of the status: those branches of it that something is made of.
    pub fn tree(&self) -> Value {
        self.status.whole()
    }

    fn patch(
        &mut self,
        id: u64,
        stanzas: Vec<Result<Stanza, Unapplied>>,
    ) -> Result<Vec<Event>, Resync> {
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
            let mut stanza =
                stanza.map_err(|_| Resync::Malformed("a stanza that is no path and value"))?;
            let way = Way::of(&stanza);
            let scope = match way.is_kept {
                true => Scope::of(&stanza),
                false => Scope::Nothing,
            };
            // Objects may be in its old or in its new value.
            if scope.is_wide() {
                touched.add(scope.clone(), self.status.tree());
            }
            match self.status.apply(&mut stanza, &way) {
                Ok(()) => touched.add(scope, self.status.tree()),
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
        let lost = !touched.nodes.is_empty() && !projection::is_complete(self.status.tree());
        if touched.everything || lost {
            self.told = None;
        }
        let Some(told) = &mut self.told else {
            return self.tell_all();
        };
        let mut nodes = Vec::new();
        let mut labels = Vec::new();
        for name in touched.nodes {
            let status = projection::status_of(self.status.tree(), &name);
            labels.extend(tell_labels(self.status.tree(), told, &name));
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
        for (key, part) in &touched.objects {
            #[cfg(test)]
            (self.projections += 1);
            events.extend(tell_object(self.status.tree_mut(), told, key, part));
        }
        events.extend(others.into_iter().map(as_event));
        events
    }

    fn tell_all(&mut self) -> Vec<Event> {
        if !projection::is_complete(self.status.tree()) {
            return Vec::new();
        }
        let report = projection::report(self.status.tree());
        self.told = Some(report.clone());
        vec![Event::Reset(report)]
    }
}

/// What a patch may have changed of the projection.
#[derive(Default)]
struct Touched {
    everything: bool,
    nodes: BTreeSet<String>,
    objects: BTreeMap<String, Part>,
}

/// What may have changed of an object.
enum Part {
    Whole,
    /// Its instances on these nodes.
    Instances(BTreeSet<String>),
}

impl Touched {
    fn add(&mut self, scope: Scope, tree: &Tree) {
        match scope {
            Scope::Nothing => {}
            Scope::Everything => self.everything = true,
            Scope::Members => self.nodes.extend(projection::members(tree)),
            Scope::Object(key) => {
                self.objects.insert(key, Part::Whole);
            }
            Scope::Instance(node, key) => {
                let none = || Part::Instances(BTreeSet::new());
                if let Part::Instances(nodes) = self.objects.entry(key).or_insert_with(none) {
                    nodes.insert(node);
                }
            }
            Scope::NodeStatus(name) => {
                self.nodes.insert(name);
            }
            Scope::Node(name) => {
                let services = projection::node(tree, &name).and_then(|node| node.get("services"));
                for part in ["status", "config"] {
                    let part = services.and_then(|services| services.get(part));
                    let keys = part.and_then(Tree::branches).into_iter().flatten();
                    let keys = keys.map(|(key, _)| (key.to_string(), Part::Whole));
                    self.objects.extend(keys);
                }
                self.nodes.insert(name);
            }
        }
    }
}

/// The part of the projection that a path lies in.
#[derive(Clone)]
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
    /// What a node says of the state of an object.
    Instance(String, String),
}

impl Scope {
    /// Whether what is in it is for the tree to say.
    fn is_wide(&self) -> bool {
        matches!(self, Self::Members | Self::Node(_))
    }

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
                (Some("services"), Some(key)) => match name(4).as_deref() {
                    Some("status") => Self::Instance(node.into_owned(), key.into_owned()),
                    _ => Self::Object(key.into_owned()),
                },
                (None | Some("services"), _) => Self::Node(node.into_owned()),
                (Some("monitor" | "labels"), _) => Self::NodeStatus(node.into_owned()),
                _ => Self::Nothing,
            },
            _ => Self::Nothing,
        }
    }
}

fn tell_labels(tree: &Tree, told: &mut Report, name: &str) -> Option<Event> {
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

fn tell_object(tree: &mut Tree, told: &mut Report, key: &str, part: &Part) -> Option<Event> {
    let path = projection::object_path(key)?;
    let known = told.objects.get_mut(&path);
    let object = match (part, &known) {
        (Part::Instances(nodes), Some(known)) => projection::instances(tree, key, known, nodes),
        _ => projection::object(tree, key, path.clone()),
    };
    let Some(object) = object else {
        told.objects.remove(&path)?;
        return Some(Event::Remove(path));
    };
    if known.as_ref().is_some_and(|known| ***known == object) {
        return None;
    }
    let object = Arc::new(object);
    match known {
        Some(known) => *known = Arc::clone(&object),
        None => drop(told.objects.insert(path, Arc::clone(&object))),
    }
    Some(Event::Put(object))
}

/// Patches after a full status that may repeat what it holds already: the daemon queues them for
/// a few seconds, and sends at most about three a second.
const STALE_PATCHES_MAX: u32 = 10;
/// How much of a path an error repeats.
const SHOWN_CHARS: usize = 200;

#[cfg(test)]
mod tests;
