//! PURE: what changed in what is served, until somebody wants it in words. Words take time, and
//! the descriptors of all that Envoy knows; mostly nobody looks.

use std::collections::BTreeSet;

use super::news::{self, News, OBJECTS_MAX, bounded};
use crate::pb::EventKind;
use crate::xds::Snapshot;
use crate::xds::changes::Changes;

/// The resources that are not the same in two snapshots.
#[derive(Clone, Debug)]
pub(super) struct Untold(Changes);

impl Untold {
    /// What is other in a newer snapshot; `None` where nothing is.
    pub(super) fn between(before: &Snapshot, after: &Snapshot) -> Option<Self> {
        let changes = Changes::between(before, after).news();
        (!changes.is_empty()).then_some(Self(changes))
    }

    /// How many they are.
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// What is other in each; `None` where that is nothing that may be told.
    pub(super) fn news(&self) -> Option<News> {
        news::change(&self.0)
    }

    /// Their names alone.
    pub(super) fn names(&self) -> News {
        let mut lines = Vec::new();
        let mut objects = BTreeSet::new();
        for change in self.0.iter() {
            let word = change.action().word();
            if let Some(resource) = change.resource() {
                lines.push(format!("{word} {} {}", change.kind, resource.name));
                objects.extend(resource.origins.iter().map(|origin| &origin.object));
            }
        }
        let [added, changed, removed] = self.0.counts();
        lines.push(format!(
            "{added} added, {changed} changed, {removed} removed"
        ));
        let objects = objects.into_iter().take(OBJECTS_MAX);
        News {
            kind: EventKind::Change,
            text: bounded(&lines.join("\n")),
            objects: objects.map(ToString::to_string).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

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
    fn what_is_not_told_in_full_is_told_by_name() {
        let before = snapshot(&[("a", 1), ("b", 1), ("c", 1)]);
        let after = snapshot(&[("a", 1), ("b", 2), ("d", 1)]);
        let untold = Untold::between(&before, &after).unwrap();
        assert_eq!(untold.count(), 3);
        assert!(Untold::between(&after, &after).is_none());
        let news = untold.names();
        let text = "changed eds b\nremoved eds c\nadded eds d\n1 added, 1 changed, 1 removed";
        assert_eq!(news.text, text);
        assert_eq!(news.objects, ["test/svc/b", "test/svc/c", "test/svc/d"]);
    }
}
