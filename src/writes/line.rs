//! EDGE: what was submitted and is not written yet, in order: which is next, and what takes the
//! place of what. Nothing here waits; time is an argument, since whichever beginning.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Waiting;
use super::queue::{Progress, Submission};
use crate::backoff::Backoff;
use crate::inventory::{Change, ObjectPath};

/// The line of what waits, and of what is under way.
#[derive(Debug, Default)]
pub(super) struct Line(Vec<Entry>);

#[derive(Debug)]
struct Entry {
    change: Change,
    waiters: Vec<Submission>,
    backoff: Backoff,
    due: Duration,
    failure: Option<String>,
    under_way: bool,
}

impl Entry {
    /// Whether somebody waits for it.
    fn is_wanted(&self) -> bool {
        self.waiters.iter().any(Submission::is_wanted)
    }
}

impl Line {
    /// Whether more may be taken in.
    pub(super) fn has_room(&self) -> bool {
        self.0.len() < WAITING_MAX
    }

    /// Takes one in. A value that waits for the same key is not written any more; who waits for
    /// it waits for the newer one.
    pub(super) fn add(&mut self, now: Duration, submission: Submission) {
        let change = submission.change.clone();
        let same = |entry: &Entry| entry.change.target() == change.target();
        let waits = |entry: &Entry| same(entry) && !entry.under_way;
        let mut entry = Entry {
            change: change.clone(),
            waiters: vec![submission],
            backoff: Backoff::new(super::RETRY_FIRST, super::RETRY_LONGEST, super::SEED),
            due: now,
            failure: None,
            under_way: false,
        };
        if let Some(at) = self.0.iter().position(waits) {
            if let Some(known) = self.0.get_mut(at).filter(|known| known.change == change) {
                known.waiters.append(&mut entry.waiters);
                return;
            }
            let mut old = self.0.remove(at);
            old.waiters.append(&mut entry.waiters);
            entry = Entry { change, ..old };
        }
        let object = entry.change.object();
        // What does not exist has no keys: they would stand in the way for ever.
        let first = |other: &Entry| !other.under_way && other.change.object() == object;
        let at = match &entry.change {
            Change::Create(_) => self.0.iter().position(first),
            _ => None,
        };
        self.0.insert(at.unwrap_or(self.0.len()), entry);
    }

    /// When the next one is due: the first of each object is.
    pub(super) fn next_due(&self) -> Option<Duration> {
        self.heads().map(|at| self.0.get(at).map(|one| one.due))?
    }

    /// The one that is due first, of those that come first on their object.
    fn heads(&self) -> Option<usize> {
        let mut objects: BTreeSet<&ObjectPath> = BTreeSet::new();
        let entries = self.0.iter().enumerate();
        let heads = entries.filter(|(_, one)| objects.insert(one.change.object()));
        let heads = heads.filter(|(_, one)| !one.under_way);
        heads.min_by_key(|(_, one)| one.due).map(|(at, _)| at)
    }

    /// What is to be written now. Nobody else may write meanwhile.
    pub(super) fn start(&mut self, now: Duration) -> Option<Change> {
        self.leave();
        let at = self.heads()?;
        let one = self.0.get_mut(at).filter(|one| one.due <= now)?;
        one.under_way = true;
        Some(one.change.clone())
    }

    /// Lets go of what nobody waits for.
    pub(super) fn leave(&mut self) {
        self.0.retain(|one| one.under_way || one.is_wanted());
    }

    /// What is under way ended. Returns whether it failed in another way than before.
    pub(super) fn finish(&mut self, now: Duration, result: Result<(), Failure>) -> bool {
        let Some(at) = self.0.iter().position(|one| one.under_way) else {
            return false;
        };
        let mut one = self.0.remove(at);
        one.under_way = false;
        let (progress, failure) = match result {
            Ok(()) => (Progress::Done, None),
            Err(Failure::Never(reason)) => (Progress::Impossible(reason.clone()), Some(reason)),
            Err(Failure::Yet(reason)) => (Progress::Waiting(Some(reason.clone())), Some(reason)),
        };
        for waiter in &one.waiters {
            waiter.progress.send_replace(progress.clone());
        }
        let news = failure.is_some() && failure != one.failure;
        if matches!(progress, Progress::Waiting(_)) {
            one.due = now.saturating_add(one.backoff.next_delay());
            one.failure = failure;
            self.put_back(at, one);
        }
        news
    }

    /// What failed goes back to its place: behind the creation of its object, and not at all
    /// where a newer value waits.
    fn put_back(&mut self, at: usize, mut one: Entry) {
        let target = one.change.target();
        let newer = |other: &&mut Entry| other.change.target() == target;
        if let Some(newer) = self.0.iter_mut().find(newer) {
            newer.waiters.append(&mut one.waiters);
            return;
        }
        let creation = Change::Create(one.change.object().clone());
        let created = self.0.iter().position(|other| other.change == creation);
        let at = created.map_or(at, |created| at.max(created + 1));
        self.0.insert(at, one);
    }

    /// What failed is tried again now.
    pub(super) fn hurry(&mut self, now: Duration) {
        for one in self.0.iter_mut().filter(|one| one.failure.is_some()) {
            one.backoff.reset();
            one.due = now;
        }
    }

    /// What is not written yet, without values.
    pub(super) fn waiting(&self) -> impl Iterator<Item = Waiting> {
        let wanted = |one: &&Entry| one.under_way || one.is_wanted();
        self.0.iter().filter(wanted).map(|one| Waiting {
            write: one.change.target(),
            taken: false,
            failure: one.failure.clone(),
        })
    }
}

/// Why a write failed, without the value.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Failure {
    /// It may work another time.
    Yet(String),
    /// It never will.
    Never(String),
}

/// How much may wait.
const WAITING_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use tokio::sync::watch;

    use super::*;
    use crate::inventory::Sensitive;

    type Ticket = watch::Receiver<Progress>;

    const NOW: Duration = Duration::from_secs(1);
    const LATER: Duration = Duration::from_secs(1_000);

    fn key(object: &str, key: &str, value: &str) -> Change {
        Change::Key {
            object: object.parse().unwrap(),
            key: key.to_owned(),
            value: Sensitive::new(value.to_owned()),
        }
    }

    fn create(object: &str) -> Change {
        Change::Create(object.parse().unwrap())
    }

    fn add(line: &mut Line, change: Change) -> Ticket {
        let (progress, ticket) = watch::channel(Progress::Waiting(None));
        line.add(NOW, Submission { change, progress });
        ticket
    }

    fn failed() -> Result<(), Failure> {
        Err(Failure::Yet("locked".to_owned()))
    }

    /// Everything that is written if each write works.
    fn written(line: &mut Line) -> Vec<Change> {
        let mut all = Vec::new();
        while let Some(change) = line.start(LATER) {
            all.push(change);
            line.finish(LATER, Ok(()));
        }
        all
    }

    #[test]
    fn keys_of_one_object_are_written_in_order_and_each_once() {
        let mut line = Line::default();
        let changes = ["a", "b", "c"].map(|name| key("test/sec/x", name, "1"));
        let tickets = changes.clone().map(|change| add(&mut line, change));
        assert_eq!(written(&mut line), changes);
        assert!(
            tickets
                .iter()
                .all(|ticket| *ticket.borrow() == Progress::Done)
        );
    }

    #[test]
    fn a_newer_value_takes_the_place_of_one_that_waits_and_both_are_told() {
        let mut line = Line::default();
        let old = add(&mut line, key("test/sec/x", "a", "1"));
        let other = add(&mut line, key("test/sec/x", "b", "1"));
        let new = add(&mut line, key("test/sec/x", "a", "2"));
        let expected = [key("test/sec/x", "b", "1"), key("test/sec/x", "a", "2")];
        assert_eq!(written(&mut line), expected);
        for ticket in [old, other, new] {
            assert_eq!(*ticket.borrow(), Progress::Done);
        }
    }

    #[test]
    fn the_same_value_twice_is_one_write_in_the_first_place() {
        let mut line = Line::default();
        let changes = [key("test/sec/x", "a", "1"), key("test/sec/x", "b", "1")];
        let _tickets = changes.clone().map(|change| add(&mut line, change));
        let _again = add(&mut line, changes[0].clone());
        assert_eq!(written(&mut line), changes);
    }

    #[test]
    fn a_newer_value_waits_for_the_one_that_is_under_way() {
        let mut line = Line::default();
        let old = add(&mut line, key("test/sec/x", "a", "1"));
        assert_eq!(line.start(NOW), Some(key("test/sec/x", "a", "1")));
        let new = add(&mut line, key("test/sec/x", "a", "2"));
        assert_eq!(line.start(LATER), None, "two writers on one object");
        line.finish(NOW, failed());
        assert_eq!(written(&mut line), [key("test/sec/x", "a", "2")]);
        assert_eq!(
            (&*old.borrow(), &*new.borrow()),
            (&Progress::Done, &Progress::Done)
        );
    }

    #[test]
    fn what_fails_is_tried_again_later_and_holds_up_its_own_object_alone() {
        let mut line = Line::default();
        let first = add(&mut line, key("test/sec/x", "a", "1"));
        let _second = add(&mut line, key("test/sec/x", "b", "1"));
        line.start(NOW).unwrap();
        assert!(line.finish(NOW, failed()), "news");
        assert_eq!(
            *first.borrow(),
            Progress::Waiting(Some("locked".to_owned()))
        );
        let _other = add(&mut line, key("test/sec/y", "a", "1"));
        assert_eq!(line.start(NOW), Some(key("test/sec/y", "a", "1")));
        line.finish(NOW, Ok(()));
        assert_eq!(line.start(NOW), None);
        let again = line.next_due().unwrap();
        assert!(again > NOW && again <= NOW + super::super::RETRY_FIRST);
        line.start(again).unwrap();
        assert!(!line.finish(again, failed()), "no news");
        line.hurry(again);
        let expected = [key("test/sec/x", "a", "1"), key("test/sec/x", "b", "1")];
        assert_eq!(written(&mut line), expected);
    }

    #[test]
    fn an_object_is_created_before_its_keys_are_written() {
        let mut line = Line::default();
        let _key = add(&mut line, key("test/sec/x", "a", "1"));
        let _create = add(&mut line, create("test/sec/x"));
        let _again = add(&mut line, create("test/sec/x"));
        let expected = [create("test/sec/x"), key("test/sec/x", "a", "1")];
        assert_eq!(written(&mut line), expected);
    }

    #[test]
    fn an_object_is_created_before_a_key_that_failed_for_want_of_it_is_tried_again() {
        let mut line = Line::default();
        let _key = add(&mut line, key("test/sec/x", "a", "1"));
        line.start(NOW).unwrap();
        let _create = add(&mut line, create("test/sec/x"));
        line.finish(NOW, failed());
        let expected = [create("test/sec/x"), key("test/sec/x", "a", "1")];
        assert_eq!(written(&mut line), expected);
    }

    #[test]
    fn what_nobody_waits_for_is_not_written() {
        let mut line = Line::default();
        drop(add(&mut line, key("test/sec/x", "a", "1")));
        let kept = add(&mut line, key("test/sec/x", "b", "1"));
        assert_eq!(written(&mut line), [key("test/sec/x", "b", "1")]);
        drop(kept);
        assert_eq!(line.waiting().count(), 0);
    }

    #[test]
    fn what_can_never_be_written_is_told_and_leaves() {
        let mut line = Line::default();
        let ticket = add(&mut line, key("test/sec/x", "a", "1"));
        line.start(NOW).unwrap();
        line.finish(NOW, Err(Failure::Never("too long".to_owned())));
        assert_eq!(
            *ticket.borrow(),
            Progress::Impossible("too long".to_owned())
        );
        assert_eq!(line.waiting().count(), 0);
    }

    #[test]
    fn what_waits_is_shown_without_its_value() {
        let mut line = Line::default();
        let _ticket = add(&mut line, key("test/sec/x", "a", "hunter2"));
        let waiting: Vec<_> = line.waiting().collect();
        let shown = serde_json::to_string(&waiting).unwrap();
        assert_eq!(
            shown,
            "[{\"write\":{\"change\":\"key\",\"object\":\"test/sec/x\",\"key\":\"a\"},\
             \"taken\":false,\"failure\":null}]"
        );
        assert!(!format!("{waiting:?} {line:?}").contains("hunter2"));
    }
}
