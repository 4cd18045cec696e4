//! The resources that are not the same in two snapshots, found in one walk over both. What is other
//! in them is for `diff` to say.

use std::sync::Arc;

use serde::Serialize;

use super::{Resource, ResourceType, Snapshot};

/// What is not the same in two snapshots.
#[derive(Clone, Debug, Default)]
pub struct Changes(Vec<Change>);

/// A resource that came, went or changed.
#[derive(Clone, Debug)]
pub struct Change {
    /// Its type.
    pub kind: ResourceType,
    /// What it was; `None` where it came.
    pub before: Option<Arc<Resource>>,
    /// What it is; `None` where it went.
    pub after: Option<Arc<Resource>>,
}

/// What happened to something.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It was not there before.
    Added,
    /// It is there in both, and is not the same.
    Changed,
    /// It is there no more.
    Removed,
}

impl Changes {
    /// From the one to the other.
    pub fn between(before: &Snapshot, after: &Snapshot) -> Self {
        let changes = after.changes(before).map(|(kind, name)| Change {
            kind,
            before: before.get(kind, name).cloned(),
            after: after.get(kind, name).cloned(),
        });
        Self(changes.collect())
    }

    /// Those that people are told of.
    #[must_use]
    pub fn news(mut self) -> Self {
        self.0.retain(|change| change.kind.is_news());
        self
    }

    /// All of them, in the order of their types and names.
    pub fn iter(&self) -> impl Iterator<Item = &Change> {
        self.0.iter()
    }

    /// How many they are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many resources came, changed and went.
    pub fn counts(&self) -> [usize; 3] {
        Action::counts(self.iter().map(Change::action))
    }
}

impl Change {
    /// What happened to it.
    pub fn action(&self) -> Action {
        match (&self.before, &self.after) {
            (None, _) => Action::Added,
            (Some(_), Some(_)) => Action::Changed,
            (Some(_), None) => Action::Removed,
        }
    }

    /// The resource as it is, or else was.
    pub fn resource(&self) -> Option<&Resource> {
        self.after.as_deref().or(self.before.as_deref())
    }
}

impl Action {
    /// In a word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Changed => "changed",
            Self::Removed => "removed",
        }
    }

    /// How many things came, changed and went.
    pub fn counts(actions: impl Iterator<Item = Self>) -> [usize; 3] {
        let mut counts = [0; 3];
        for action in actions {
            let [added, changed, removed] = &mut counts;
            *match action {
                Self::Added => added,
                Self::Changed => changed,
                Self::Removed => removed,
            } += 1;
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xds::Version;

    #[test]
    fn what_came_changed_and_went_is_told_with_what_it_was_and_is() {
        let snapshot = |resources: &[(ResourceType, &str, u8)]| {
            let mut snapshot = Snapshot::default();
            for (kind, name, content) in resources {
                snapshot.insert(*kind, Arc::new(Resource::new(name, Version::of(content))));
            }
            snapshot
        };
        let (eds, scope) = (ResourceType::Endpoint, ResourceType::Scope);
        let before = snapshot(&[(eds, "a", 1), (eds, "b", 1), (eds, "c", 1)]);
        let after = snapshot(&[(eds, "a", 1), (eds, "b", 2), (eds, "d", 1), (scope, "s", 1)]);
        let all = Changes::between(&before, &after);
        assert_eq!((all.len(), all.counts()), (4, [2, 1, 1]));
        let news = all.news();
        let told = news.iter().map(|change| {
            let sides = [&change.before, &change.after].map(Option::is_some);
            let name = change.resource().map(|it| it.name.as_ref());
            (name, sides, change.action())
        });
        let expected = [
            (Some("b"), [true, true], Action::Changed),
            (Some("c"), [true, false], Action::Removed),
            (Some("d"), [false, true], Action::Added),
        ];
        assert_eq!(told.collect::<Vec<_>>(), expected);
        assert!(Changes::between(&after, &after).is_empty());
    }
}
