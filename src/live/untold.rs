//! PURE: what changed in what is served, until somebody wants it in words. Words take time, and
//! the descriptors of all that Envoy knows; mostly nobody looks.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::news::{self, News, OBJECTS_MAX, bounded};
use crate::pb::EventKind;
use crate::xds::{Resource, ResourceType, Snapshot};

/// The resources that are not the same in two snapshots.
#[derive(Clone, Debug)]
pub(super) struct Untold(Vec<Change>);

/// A resource that came, changed or went.
#[derive(Clone, Debug)]
struct Change {
    kind: ResourceType,
    before: Option<Arc<Resource>>,
    after: Option<Arc<Resource>>,
}

impl Untold {
    /// What is other in a newer snapshot; `None` where nothing is.
    pub(super) fn between(before: &Snapshot, after: &Snapshot) -> Option<Self> {
        let changes = after.changes(before).filter(|(kind, _)| kind.is_news());
        let changes = changes.map(|(kind, name)| Change {
            kind,
            before: before.get(kind, name).cloned(),
            after: after.get(kind, name).cloned(),
        });
        let changes: Vec<Change> = changes.collect();
        (!changes.is_empty()).then_some(Self(changes))
    }

    /// How many they are.
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// What is other in each; `None` where that is nothing that may be told.
    pub(super) fn news(&self) -> Option<News> {
        let (mut before, mut after) = (Snapshot::default(), Snapshot::default());
        for change in &self.0 {
            for (snapshot, resource) in [(&mut before, &change.before), (&mut after, &change.after)]
            {
                if let Some(resource) = resource {
                    snapshot.insert(change.kind, Arc::clone(resource));
                }
            }
        }
        news::change(Some(&before), &after)
    }

    /// Their names alone.
    pub(super) fn names(&self) -> News {
        let (mut lines, mut counts) = (Vec::new(), [0_usize; 3]);
        let mut objects = BTreeSet::new();
        for change in &self.0 {
            let (place, word) = match (&change.before, &change.after) {
                (None, _) => (0, "added"),
                (Some(_), Some(_)) => (1, "changed"),
                (Some(_), None) => (2, "removed"),
            };
            counts[place] += 1;
            if let Some(resource) = change.after.as_ref().or(change.before.as_ref()) {
                lines.push(format!("{word} {} {}", change.kind, resource.name));
                objects.extend(resource.origins.iter().map(|origin| &origin.object));
            }
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
    use crate::xds::Version;

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
        let names = untold.0.iter().map(|change| {
            let [before, after] = [&change.before, &change.after];
            [before, after].map(|it| it.as_ref().map(|it| it.name.to_string()))
        });
        let [b, c, d] = ["b", "c", "d"].map(|name| Some(name.to_owned()));
        let expected = [[b.clone(), b], [c, None], [None, d]];
        assert_eq!(names.collect::<Vec<_>>(), expected);
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
