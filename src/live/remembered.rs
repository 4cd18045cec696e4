//! PURE: what is remembered of what happened: so many events, and so much of them.

use std::collections::VecDeque;

use super::news::News;
use super::untold::Untold;
use crate::pb;

/// What is remembered, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Remembered {
    events: VecDeque<Entry>,
    /// The bytes of all texts.
    bytes: usize,
    /// The resources of all that is not in words.
    untold: usize,
}

/// What happened, with its number and its time.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) event: pb::Event,
    /// What is to be put into words when somebody wants them.
    pub(super) untold: Option<Untold>,
}

impl Entry {
    /// Puts it into words.
    pub(super) fn tell(&mut self, news: News) {
        self.untold = None;
        self.event.text = news.text;
        self.event.objects = news.objects;
    }

    fn size(&self) -> (usize, usize) {
        let objects = self.event.objects.iter().map(String::len);
        let bytes = self.event.text.len() + objects.sum::<usize>();
        (bytes, self.untold.as_ref().map_or(0, Untold::count))
    }
}

impl Remembered {
    /// Takes an event in; the oldest are forgotten for it, or told by name alone.
    pub(super) fn push(&mut self, entry: Entry) {
        self.count(&entry);
        self.events.push_back(entry);
        while self.events.len() > EVENTS_MAX || self.bytes > BYTES_MAX {
            let Some(oldest) = self.events.pop_front() else {
                break;
            };
            self.discount(&oldest);
        }
        while self.untold > UNTOLD_MAX {
            let mut entries = self.events.iter_mut();
            let Some(oldest) = entries.find(|entry| entry.untold.is_some()) else {
                break;
            };
            let names = oldest.untold.as_ref().map(Untold::names);
            let id = oldest.event.id;
            self.tell(id, names);
        }
    }

    /// What happened after an event.
    pub(super) fn since(&self, after: u64) -> VecDeque<Entry> {
        let events = self.events.iter();
        let events = events.filter(|entry| entry.event.id > after);
        events.cloned().collect()
    }

    /// Puts an event into words; where there are none, it is forgotten.
    pub(super) fn tell(&mut self, id: u64, news: Option<News>) {
        let Some(place) = self.events.iter().position(|entry| entry.event.id == id) else {
            return;
        };
        let Some(mut entry) = self.events.remove(place) else {
            return;
        };
        self.discount(&entry);
        if let Some(news) = news {
            entry.tell(news);
            self.count(&entry);
            self.events.insert(place, entry);
        }
    }

    fn count(&mut self, entry: &Entry) {
        let (bytes, untold) = entry.size();
        self.bytes += bytes;
        self.untold += untold;
    }

    fn discount(&mut self, entry: &Entry) {
        let (bytes, untold) = entry.size();
        self.bytes -= bytes;
        self.untold -= untold;
    }
}

/// So many events.
const EVENTS_MAX: usize = 500;
/// So many bytes of their words: where much changes at once, there is much to tell.
const BYTES_MAX: usize = 4 << 20;
/// So many resources that changed and are not in words; of those before, only the names.
const UNTOLD_MAX: usize = 1_000;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::xds::{Resource, ResourceType, Snapshot, Version};

    fn entry(id: u64, text: &str, untold: Option<Untold>) -> Entry {
        let event = pb::Event {
            id,
            text: text.to_owned(),
            ..pb::Event::default()
        };
        Entry { event, untold }
    }

    fn of(count: usize) -> Option<Untold> {
        let mut after = Snapshot::default();
        for number in 0..count {
            let resource = Resource::new(&number.to_string(), Version::of(&number));
            after.insert(ResourceType::Endpoint, Arc::new(resource));
        }
        Untold::between(&Snapshot::default(), &after)
    }

    #[test]
    fn long_events_are_remembered_for_less_long() {
        let mut remembered = Remembered::default();
        for id in 1..=20 {
            remembered.push(entry(id, &"x".repeat(1 << 20), None));
        }
        let all = remembered.since(0);
        let ids: Vec<u64> = all.iter().map(|entry| entry.event.id).collect();
        assert_eq!(ids, [17, 18, 19, 20]);
        assert_eq!(remembered.bytes, BYTES_MAX);
    }

    #[test]
    fn of_many_changes_that_nobody_saw_the_oldest_are_told_by_name() {
        let mut remembered = Remembered::default();
        for id in 1..=3 {
            remembered.push(entry(id, "", of(UNTOLD_MAX / 2)));
        }
        let all = remembered.since(0);
        let told: Vec<bool> = all.iter().map(|entry| entry.untold.is_none()).collect();
        assert_eq!(told, [true, false, false]);
        assert!(
            all[0]
                .event
                .text
                .ends_with("500 added, 0 changed, 0 removed")
        );
        assert_eq!(remembered.untold, UNTOLD_MAX);
    }

    #[test]
    fn what_comes_to_nothing_is_forgotten() {
        let mut remembered = Remembered::default();
        remembered.push(entry(1, "", of(1)));
        remembered.tell(1, None);
        assert!(remembered.since(0).is_empty() && remembered.untold == 0);
    }
}
