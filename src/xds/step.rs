//! What is other in a snapshot than in the one before it: found once, for all who go from the one
//! to the other.

use std::sync::{Arc, Weak};

use super::{ResourceType, Snapshot};

/// The way to a snapshot from the one before it.
#[derive(Clone, Debug)]
pub(super) struct Step {
    /// A weak handle keeps the address of a snapshot from being used again.
    before: Weak<Snapshot>,
    changed: Box<[(ResourceType, String)]>,
}

impl Snapshot {
    /// The same, as what became of `before` when these were written anew, or left out.
    #[must_use]
    pub(super) fn after(
        mut self,
        before: &Arc<Self>,
        mut written: Vec<(ResourceType, String)>,
    ) -> Self {
        self.step = None;
        // Of many the note would take more room than to look for them takes time.
        if written.len() <= FEW {
            written.sort();
            written.dedup();
            let version = |of: &Self, kind, name: &str| Some(of.get(kind, name)?.version);
            written
                .retain(|(kind, name)| version(&self, *kind, name) != version(before, *kind, name));
            self.step = Some(Step {
                before: Arc::downgrade(before),
                changed: written.into(),
            });
        }
        self
    }

    /// What is other in this one than in `before`, where it is known to come next after that.
    pub(super) fn known_changes(&self, before: &Self) -> Option<&[(ResourceType, String)]> {
        let step = self.step.as_ref()?;
        std::ptr::eq(step.before.as_ptr(), before).then_some(&step.changed)
    }
}

/// Of more than these no note is kept.
const FEW: usize = 64;

#[cfg(test)]
mod tests {
    use super::super::{Resource, Version};
    use super::*;

    const KIND: ResourceType = ResourceType::Cluster;

    /// What becomes of a snapshot when these are written; those without content go.
    fn after(before: &Arc<Snapshot>, written: &[(&str, Option<u8>)]) -> Arc<Snapshot> {
        let mut snapshot = Snapshot::clone(before);
        for (name, content) in written {
            match content {
                Some(content) => {
                    let resource = Resource::new(name, Version::of(content));
                    snapshot.insert(KIND, Arc::new(resource));
                }
                None => snapshot.remove(KIND, name),
            }
        }
        let names = written.iter().map(|(name, _)| (KIND, (*name).to_owned()));
        Arc::new(snapshot.after(before, names.collect()))
    }

    fn names(new: &Snapshot, old: &Snapshot) -> Vec<String> {
        let changes = new.changes(old);
        changes.map(|(_, name)| name.to_owned()).collect()
    }

    #[test]
    fn what_changed_is_known_to_who_has_the_snapshot_before() {
        let first = after(
            &Arc::default(),
            &[("a", Some(1)), ("b", Some(1)), ("c", Some(1))],
        );
        let written = [
            ("d", Some(1)),
            ("b", Some(2)),
            ("a", Some(1)),
            ("c", None),
            ("e", None),
        ];
        let second = after(&first, &written);
        assert!(second.known_changes(&first).is_some());
        assert_eq!(names(&second, &first), ["b", "c", "d"]);
        // A copy has the same and another address: it is looked at.
        let copy = Snapshot::clone(&first);
        assert!(second.known_changes(&copy).is_none());
        assert_eq!(names(&second, &copy), ["b", "c", "d"]);
    }

    #[test]
    fn who_has_another_one_finds_what_changed_since() {
        let first = after(&Arc::default(), &[("a", Some(1))]);
        let second = after(&first, &[("a", Some(2))]);
        let third = after(&second, &[("b", Some(1))]);
        assert_eq!(names(&third, &second), ["b"]);
        assert_eq!(names(&third, &first), ["a", "b"]);
    }

    #[test]
    fn who_is_changed_comes_after_nobody() {
        let first = after(&Arc::default(), &[("a", Some(1))]);
        let second = after(&first, &[("a", Some(2))]);
        let mut changed = Snapshot::clone(&second);
        changed.remove(KIND, "a");
        changed.insert(KIND, Arc::new(Resource::new("b", Version::of(&1))));
        assert_eq!(names(&changed, &first), ["a", "b"]);
    }

    #[test]
    fn two_that_hold_the_same_are_equal_whatever_they_came_after() {
        let first = after(&Arc::default(), &[("a", Some(1))]);
        let second = after(&first, &[("a", Some(1))]);
        assert_eq!(first, second);
    }

    #[test]
    fn of_many_no_note_is_kept() {
        let many: Vec<String> = (0..=FEW).map(|number| number.to_string()).collect();
        let many: Vec<(&str, Option<u8>)> = many.iter().map(|it| (it.as_str(), Some(1))).collect();
        let empty = Arc::default();
        let all = after(&empty, &many);
        assert!(all.known_changes(&empty).is_none());
        assert_eq!(names(&all, &empty).len(), FEW + 1);
    }
}
