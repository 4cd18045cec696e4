//! What events touch, for whoever wants to look at that alone.

use std::collections::BTreeSet;

use super::{Event, ObjectPath};

/// What changed in an inventory.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Touched {
    /// It may be anything.
    All,
    /// What is known of these objects, or was read of them.
    Objects(BTreeSet<ObjectPath>),
}

impl Default for Touched {
    fn default() -> Self {
        Self::Objects(BTreeSet::new())
    }
}

impl Touched {
    /// Notes what an event may have changed.
    pub fn note(&mut self, event: &Event) {
        let path = match event {
            // Where a node is and how it is counts for every instance on it.
            Event::Reset(_) | Event::Node(..) | Event::Labels(..) => {
                *self = Self::All;
                return;
            }
            Event::Put(object) => &object.path,
            Event::Remove(path)
            | Event::Secret(path, _)
            | Event::Trust(path, _)
            | Event::Challenges(path, _)
            | Event::Config(path, _)
            | Event::Refused(path, _) => path,
            Event::Account(_) | Event::Asked(_) | Event::Corrected(_) => return,
        };
        if let Self::Objects(paths) = self {
            paths.insert(path.clone());
        }
    }

    /// Whether nothing was.
    pub fn is_nothing(&self) -> bool {
        matches!(self, Self::Objects(paths) if paths.is_empty())
    }
}
