//! EDGE: what happened since the controller started, as far as it is remembered, and the news of
//! it for whoever waits. Read-only.

mod news;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::stream::{self, BoxStream, StreamExt};
use prost_types::Timestamp;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use crate::clock::{now, since_1970};
use crate::pb;
use crate::status::Knowledge;
use crate::xds::Snapshot;
use news::{News, Seen, change, news};

/// What happened lately. Cheap to clone; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Live {
    events: Arc<Mutex<Remembered>>,
    newest: watch::Sender<u64>,
}

/// What is remembered, the oldest first, and how much text that is.
#[derive(Debug, Default)]
struct Remembered {
    events: VecDeque<pb::Event>,
    bytes: usize,
}

impl Remembered {
    /// Takes an event in; the oldest are forgotten for it.
    fn push(&mut self, event: pb::Event) {
        self.bytes += size(&event);
        self.events.push_back(event);
        while self.events.len() > EVENTS_MAX || self.bytes > BYTES_MAX {
            let Some(oldest) = self.events.pop_front() else {
                return;
            };
            self.bytes -= size(&oldest);
        }
    }
}

fn size(event: &pb::Event) -> usize {
    let objects = event.objects.iter().map(String::len);
    event.text.len() + objects.sum::<usize>()
}

impl Live {
    /// Takes notes of what happens until stopped.
    pub async fn follow(self, knowledge: Knowledge, stop: CancellationToken) {
        let mut changes = knowledge.changes();
        let mut seen = Seen::default();
        let mut served = None;
        loop {
            served = self.compare(served, knowledge.snapshot()).await;
            let now = look(&knowledge);
            self.note(news(&seen, &now));
            seen = now;
            let wait = async {
                // Many things happen at once; each is told, but not each by itself.
                self.gather().await;
                changes.next().await
            };
            tokio::select! {
                more = wait => if !more { break },
                () = stop.cancelled() => return,
            }
        }
        stop.cancelled().await;
    }

    /// Waits until it is worth another look: soon where somebody waits for news.
    async fn gather(&self) {
        let end = now() + GATHER_UNSEEN;
        loop {
            tokio::time::sleep(GATHER).await;
            if self.newest.receiver_count() > 0 || now() >= end {
                return;
            }
        }
    }

    /// Notes what is other in a newer snapshot; returns which to compare the next one with. What
    /// changed in thousands of resources takes its time to be told.
    async fn compare(
        &self,
        before: Option<Arc<Snapshot>>,
        after: Option<Arc<Snapshot>>,
    ) -> Option<Arc<Snapshot>> {
        let Some(after) = after else { return before };
        if before.as_ref().is_some_and(|it| Arc::ptr_eq(it, &after)) {
            return before;
        }
        let newer = Arc::clone(&after);
        let told = spawn_blocking(move || change(before.as_deref(), &newer));
        self.note(told.await.ok().flatten());
        Some(after)
    }

    /// What is remembered of what happened after an event, and from then on what happens.
    pub fn events(&self, after: u64) -> BoxStream<'static, pb::Event> {
        let (live, newest) = (self.clone(), self.newest.subscribe());
        // Of another process, which counted further.
        let after = if after > *newest.borrow() { 0 } else { after };
        let state = (live, newest, after, VecDeque::new());
        let events = stream::unfold(
            state,
            |(live, mut newest, mut after, mut next)| async move {
                loop {
                    if let Some(event) = next.pop_front() {
                        return Some((event, (live, newest, after, next)));
                    }
                    newest.wait_for(|id| *id > after).await.ok()?;
                    next = live.since(after);
                    after = next.back().map_or(after, |event: &pb::Event| event.id);
                }
            },
        );
        events.boxed()
    }

    fn since(&self, after: u64) -> VecDeque<pb::Event> {
        let remembered = self.lock();
        let events = remembered.events.iter().filter(|event| event.id > after);
        events.cloned().collect()
    }

    fn note(&self, news: impl IntoIterator<Item = News>) {
        let at = since_1970();
        let mut newest = *self.newest.borrow();
        let mut remembered = self.lock();
        for News {
            kind,
            text,
            objects,
        } in news
        {
            newest += 1;
            remembered.push(pb::Event {
                id: newest,
                at: Some(Timestamp {
                    seconds: i64::try_from(at.as_secs()).unwrap_or(i64::MAX),
                    nanos: i32::try_from(at.subsec_nanos()).unwrap_or_default(),
                }),
                kind: kind.into(),
                text,
                objects,
            });
        }
        drop(remembered);
        self.newest.send_if_modified(|id| {
            let more = *id != newest;
            *id = newest;
            more
        });
    }

    fn lock(&self) -> MutexGuard<'_, Remembered> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn look(knowledge: &Knowledge) -> Seen {
    let view = knowledge.view();
    let (mut nodes, mut refused) = (BTreeMap::new(), BTreeMap::new());
    for client in knowledge.clients().list() {
        // One that has not said who it is has not said anything.
        if client.agent.is_empty() && client.node.is_empty() {
            continue;
        }
        for ((kind, name), one) in client.refused {
            let origins = one.origins.iter();
            let objects = origins.map(|origin| origin.object.to_string());
            let words = (one.message, objects.collect());
            refused.insert((client.node.clone(), kind, name), words);
        }
        nodes.insert(client.node, client.agent);
    }
    Seen {
        connected: view.connected,
        failure: view.failure,
        problems: view.problems,
        nodes,
        refused,
    }
}

/// What is remembered.
const EVENTS_MAX: usize = 500;
/// So many bytes of it at most: where much changes at once, there is much to tell.
const BYTES_MAX: usize = 4 << 20;
/// The least time between two looks.
const GATHER: Duration = Duration::from_millis(50);
/// The same while nobody waits: what is told of many changes at once takes less than of each.
const GATHER_UNSEEN: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_events_are_remembered_for_less_long() {
        let mut remembered = Remembered::default();
        for id in 1..=20 {
            remembered.push(pb::Event {
                id,
                text: "x".repeat(1 << 20),
                ..pb::Event::default()
            });
        }
        let ids: Vec<u64> = remembered.events.iter().map(|event| event.id).collect();
        assert_eq!(ids, [17, 18, 19, 20]);
        assert_eq!(remembered.bytes, BYTES_MAX);
    }
}
