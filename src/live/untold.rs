//! PURE: what changed in what is served, until somebody wants it in words. Words take time, and
//! the descriptors of all that Envoy knows; mostly nobody looks.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::news::{News, OBJECTS_MAX, bounded, change};
use crate::pb::EventKind;
use crate::xds::Snapshot;

/// The resources that are not the same in two snapshots.
#[derive(Clone, Debug, Default)]
pub(super) struct Untold {
    before: Snapshot,
    after: Snapshot,
    count: usize,
}

impl Untold {
    /// What is other in a newer snapshot; `None` where nothing is.
    pub(super) fn between(before: &Snapshot, after: &Snapshot) -> Option<Self> {
        let mut untold = Self::default();
        for (kind, name) in after.changes(before).filter(|(kind, _)| kind.is_news()) {
            if let Some(resource) = before.get(kind, name) {
                untold.before.insert(kind, Arc::clone(resource));
            }
            if let Some(resource) = after.get(kind, name) {
                untold.after.insert(kind, Arc::clone(resource));
            }
            untold.count += 1;
        }
        (untold.count > 0).then_some(untold)
    }

    /// How many they are.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// What is other in each; `None` where that is nothing that may be told.
    pub(super) fn news(&self) -> Option<News> {
        change(Some(&self.before), &self.after)
    }

    /// Their names alone.
    pub(super) fn names(&self) -> News {
        let (mut lines, mut counts) = (Vec::new(), [0_usize; 3]);
        let mut objects = BTreeSet::new();
        for (kind, name) in self.after.changes(&self.before) {
            let sides = (self.before.get(kind, name), self.after.get(kind, name));
            let (place, word) = match sides {
                (None, _) => (0, "added"),
                (Some(_), Some(_)) => (1, "changed"),
                (Some(_), None) => (2, "removed"),
            };
            counts[place] += 1;
            lines.push(format!("{word} {kind} {name}"));
            let origins = sides.1.or(sides.0).into_iter().flat_map(|it| &it.origins);
            objects.extend(origins.map(|origin| &origin.object));
        }
        let [added, changed, removed] = counts;
        lines.push(format!(
            "{added} added, {changed} changed, {removed} removed"
        ));
        News {
            kind: EventKind::Change,
            text: bounded(&lines.join("\n")),
            objects: objects
                .into_iter()
                .take(OBJECTS_MAX)
                .map(ToString::to_string)
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::Origin;
    use crate::xds::{Resource, ResourceType, Version};

    fn snapshot(names: &[(&str, u8)]) -> Snapshot {
        let mut snapshot = Snapshot::default();
        for (name, content) in names {
            let origin = Origin {
                object: format!("test/svc/{name}").parse().unwrap(),
                section: "expose#0".into(),
            };
            let resource = Resource {
                origins: [origin].into(),
                ..Resource::new(name, Version::of(content))
            };
            snapshot.insert(ResourceType::Endpoint, Arc::new(resource));
        }
        snapshot
    }

    #[test]
    fn only_what_changed_is_kept() {
        let before = snapshot(&[("a", 1), ("b", 1), ("c", 1)]);
        let after = snapshot(&[("a", 1), ("b", 2), ("d", 1)]);
        let untold = Untold::between(&before, &after).unwrap();
        assert_eq!(untold.count(), 3);
        assert_eq!(untold.after, snapshot(&[("b", 2), ("d", 1)]));
        assert!(Untold::between(&after, &after).is_none());
    }

    #[test]
    fn what_is_not_told_in_full_is_told_by_name() {
        let before = snapshot(&[("a", 1), ("b", 1), ("c", 1)]);
        let after = snapshot(&[("a", 1), ("b", 2), ("d", 1)]);
        let news = Untold::between(&before, &after).unwrap().names();
        let text = "changed eds b\nremoved eds c\nadded eds d\n1 added, 1 changed, 1 removed";
        assert_eq!(news.text, text);
        assert_eq!(news.objects, ["test/svc/b", "test/svc/c", "test/svc/d"]);
    }
}
