//! What the daemon tells and what was read of it, as changes of the inventory. What they mean for
//! it is said where they are applied.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Serialize;

use super::{Account, Config, Labels, Name, NodeStatus, Object, ObjectPath, Secret, Write};

/// A change of what is known. An event says what is, never what to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The daemon's complete report: replaces every node and object at once.
    Reset(Report),
    /// A node appeared or changed (`Some`), or left (`None`).
    Node(String, Option<NodeStatus>),
    /// A node's labels changed.
    Labels(String, Labels),
    /// An object appeared or changed.
    Put(Arc<Object>),
    /// An object is gone from every node.
    Remove(ObjectPath),
    /// The keys of a `sec` object that a pair is in were read.
    Secret(ObjectPath, Reading<Secret>),
    /// The keys of a `sec` object that tell whom to trust were read.
    Trust(ObjectPath, Reading<Secret>),
    /// The key of a `cfg` or `sec` object that its challenges are in was read.
    Challenges(ObjectPath, Reading<Secret>),
    /// The raw configuration of an object was read.
    Config(ObjectPath, Reading<Config>),
    /// An object may not be read: which right the account lacks, as a sentence.
    Refused(ObjectPath, String),
    /// Who the daemon takes this process for. It was so when the connection began.
    Account(Account),
    /// The daemon is being asked to write this.
    Asked(Write),
    /// What was told of these was wrong, as the daemon's full status shows; a reset follows.
    Corrected(BTreeSet<String>),
}

impl Event {
    /// What it is about and what became of that, in words; `None` for one that changes nothing
    /// by itself.
    pub fn told(&self) -> Option<(String, &'static str)> {
        Some(match self {
            Self::Reset(_) => ("the full status".to_owned(), "came"),
            Self::Node(name, Some(_)) => (format!("node {name}"), "changed"),
            Self::Node(name, None) => (format!("node {name}"), "left"),
            Self::Labels(name, _) => (format!("labels of node {name}"), "changed"),
            Self::Put(object) => (object.path.to_string(), "changed"),
            Self::Remove(path) => (path.to_string(), "is gone"),
            Self::Secret(path, _) | Self::Trust(path, _) => {
                (format!("keys of {path}"), "were read")
            }
            Self::Challenges(path, _) => (format!("challenges of {path}"), "were read"),
            Self::Config(path, _) => (format!("configuration of {path}"), "was read"),
            Self::Refused(path, _) => (path.to_string(), "may not be read"),
            Self::Account(_) | Self::Asked(_) | Self::Corrected(_) => return None,
        })
    }

    /// The object that was read, where something was.
    pub(super) fn read_of(&self) -> Option<&ObjectPath> {
        match self {
            Self::Secret(path, _)
            | Self::Trust(path, _)
            | Self::Challenges(path, _)
            | Self::Config(path, _) => Some(path),
            _ => None,
        }
    }
}

/// A complete report of the daemon.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Report {
    /// Every node the daemon has data of, and every member that it has none of.
    pub nodes: BTreeMap<String, NodeStatus>,
    /// The labels of the nodes that have some.
    pub labels: BTreeMap<String, Labels>,
    /// Every object that has at least one instance.
    pub objects: BTreeMap<ObjectPath, Arc<Object>>,
}

/// What came of reading something that the event stream does not carry.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Reading<T> {
    /// The [`Object::revision`] that the object had when the read began.
    pub revision: Name,
    /// The content; `None` where the daemon says that there is no such object.
    pub content: Option<T>,
}
