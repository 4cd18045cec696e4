//! What events touch, for whoever wants to look at that alone.

use std::collections::BTreeSet;

use super::{Event, ObjectPath};

/// What changed in an inventory.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Touched {
    /// It may be anything.
    All,
    /// What is known of these objects, or was read of them.
    Objects {
        /// They were told anew.
        put: BTreeSet<ObjectPath>,
        /// They are gone, or something was read of them.
        others: BTreeSet<ObjectPath>,
    },
}

impl Default for Touched {
    fn default() -> Self {
        Self::Objects {
            put: BTreeSet::new(),
            others: BTreeSet::new(),
        }
    }
}

impl Touched {
    /// Whether it is more than so many objects.
    pub fn is_more_than(&self, count: usize) -> bool {
        match self {
            Self::All => true,
            Self::Objects { put, others } => put.len() + others.len() > count,
        }
    }

    /// What an event may change.
    pub fn by(event: &Event) -> Self {
        let path = match event {
            // Where a node is and how it is counts for every instance on it.
            Event::Reset(_) | Event::Node(..) | Event::Labels(..) => return Self::All,
            Event::Put(object) => {
                return Self::Objects {
                    put: BTreeSet::from([object.path.clone()]),
                    others: BTreeSet::new(),
                };
            }
            Event::Remove(path)
            | Event::Secret(path, _)
            | Event::Trust(path, _)
            | Event::Challenges(path, _)
            | Event::Config(path, _)
            | Event::Refused(path, _) => path,
            Event::Account(_) | Event::Asked(_) | Event::Corrected(_) => return Self::default(),
        };
        Self::Objects {
            put: BTreeSet::new(),
            others: BTreeSet::from([path.clone()]),
        }
    }

    /// Both.
    pub fn join(&mut self, more: Self) {
        match (self, more) {
            (
                Self::Objects { put, others },
                Self::Objects {
                    put: more_put,
                    others: more_others,
                },
            ) => {
                put.extend(more_put);
                others.extend(more_others);
            }
            (Self::All, _) => {}
            (all, Self::All) => *all = Self::All,
        }
    }

    /// Whether it may be an object that this holds for.
    pub fn may_be(&self, holds: impl FnMut(&ObjectPath) -> bool) -> bool {
        match self {
            Self::All => true,
            Self::Objects { put, others } => put.iter().chain(others).any(holds),
        }
    }
}
