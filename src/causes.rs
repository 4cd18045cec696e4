//! PURE: why a snapshot is published, in words for one line of the log: the events that led to it,
//! and the objects whose resources are not the same.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::gateway::Origin;
use crate::inventory::{Event, ObjectPath};
use crate::xds::{Resource, Snapshot};

/// What happened since the last publication.
#[derive(Debug, Default)]
pub(crate) struct Causes {
    told: BTreeSet<String>,
    more: usize,
}

impl Causes {
    /// The event in words; `None` for one that changes nothing by itself.
    pub(crate) fn of(event: &Event) -> Option<String> {
        Some(match event {
            Event::Reset(_) => "the full status".to_owned(),
            Event::Node(name, Some(_)) => format!("node {name} changed"),
            Event::Node(name, None) => format!("node {name} left"),
            Event::Labels(name, _) => format!("labels of node {name}"),
            Event::Put(object) => format!("{} changed", object.path),
            Event::Remove(path) => format!("{path} is gone"),
            Event::Secret(path, _) | Event::Trust(path, _) => format!("keys of {path} were read"),
            Event::Challenges(path, _) => format!("challenges of {path} were read"),
            Event::Config(path, _) => format!("configuration of {path} was read"),
            Event::Refused(path, _) => format!("{path} may not be read"),
            Event::Account(_) | Event::Asked(_) | Event::Corrected(_) => return None,
        })
    }

    /// Something changed, and this is why.
    pub(crate) fn note(&mut self, cause: Option<String>) {
        let Some(cause) = cause.filter(|cause| !self.told.contains(cause)) else {
            return;
        };
        match self.told.len() < SHOWN_MAX {
            true => drop(self.told.insert(cause)),
            false => self.more += 1,
        }
    }

    /// All of it on one line; begins anew.
    pub(crate) fn take(&mut self) -> String {
        let told = std::mem::take(&mut self.told);
        listed(told, std::mem::take(&mut self.more))
    }
}

/// The objects whose resources are not the same in both.
pub(crate) fn objects(new: &Snapshot, old: &Snapshot) -> String {
    let mut objects: BTreeSet<&ObjectPath> = BTreeSet::new();
    for (kind, name) in new.changes(old) {
        let (new, old) = (new.get(kind, name), old.get(kind, name));
        // Of what many share, who joined or left it; else all of them.
        let shared: Vec<_> = of(new).symmetric_difference(&of(old)).copied().collect();
        let whole = || of(new.or(old)).into_iter().collect();
        let origins: Vec<_> = if shared.is_empty() { whole() } else { shared };
        objects.extend(origins.into_iter().map(|origin| &origin.object));
    }
    let more = objects.len().saturating_sub(SHOWN_MAX);
    let shown = objects.into_iter().take(SHOWN_MAX).map(ToString::to_string);
    listed(shown, more)
}

fn of(resource: Option<&Arc<Resource>>) -> BTreeSet<&Origin> {
    let origins = resource.into_iter().flat_map(|one| &one.origins);
    origins.collect()
}

fn listed(shown: impl IntoIterator<Item = String>, more: usize) -> String {
    let shown: Vec<String> = shown.into_iter().collect();
    match more {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// How many a line names.
const SHOWN_MAX: usize = 5;

/// How many resources came, changed and went.
pub(crate) fn count_changes(new: &Snapshot, old: &Snapshot) -> (usize, usize, usize) {
    let (mut added, mut changed, mut removed) = (0, 0, 0);
    for (kind, name) in new.changes(old) {
        match (new.get(kind, name), old.get(kind, name)) {
            (Some(_), None) => added += 1,
            (Some(_), Some(_)) => changed += 1,
            _ => removed += 1,
        }
    }
    (added, changed, removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_a_few_and_counts_the_rest() {
        let mut causes = Causes::default();
        for number in [1, 1, 2, 3, 4, 5, 6, 7] {
            causes.note(Some(format!("web{number} changed")));
        }
        causes.note(None);
        let line = causes.take();
        assert!(line.starts_with("web1 changed, web2 changed"), "{line}");
        assert!(line.ends_with("web5 changed and 2 more"), "{line}");
        assert_eq!(causes.take(), "");
    }
}
