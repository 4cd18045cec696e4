//! EDGE: what happened since the controller started, as far as it is remembered, and the news of
//! it for whoever waits. Read-only.

mod news;
mod remembered;
mod untold;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::stream::{self, BoxStream, StreamExt};
use prost_types::Timestamp;
use tokio::sync::{Notify, watch};
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::clock::since_1970;
use crate::pb::{self, EventKind};
use crate::status::Knowledge;
use crate::xds::Snapshot;
use news::{News, Seen, first, news};
use remembered::{Entry, Remembered};
use untold::Untold;

/// What happened lately. Cheap to clone; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Live {
    events: Arc<Mutex<Remembered>>,
    newest: watch::Sender<u64>,
    waited_for: Arc<Notify>,
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
        sleep(GATHER).await;
        if self.newest.receiver_count() == 0 {
            tokio::select! {
                () = self.waited_for.notified() => {}
                () = sleep(GATHER_UNSEEN) => {}
            }
        }
    }

    /// Notes what is other in a newer snapshot; returns which to compare the next one with. Where
    /// nobody waits for it, it is not put into words yet.
    async fn compare(
        &self,
        before: Option<Arc<Snapshot>>,
        after: Option<Arc<Snapshot>>,
    ) -> Option<Arc<Snapshot>> {
        let Some(after) = after else { return before };
        if before.as_ref().is_some_and(|it| Arc::ptr_eq(it, &after)) {
            return before;
        }
        let Some(before) = before else {
            self.note([first(&after)]);
            return Some(after);
        };
        let Some(untold) = Untold::between(&before, &after) else {
            return Some(after);
        };
        if self.newest.receiver_count() > 0 {
            // What changed in thousands of resources takes its time to be told.
            let told = spawn_blocking(move || untold.news());
            self.note(told.await.ok().flatten());
        } else {
            let event = event(EventKind::Change, String::new(), Vec::new());
            self.remember([(event, Some(untold))]);
        }
        Some(after)
    }

    /// What is remembered of what happened after an event, and from then on what happens.
    pub fn events(&self, after: u64) -> BoxStream<'static, pb::Event> {
        let (live, newest) = (self.clone(), self.newest.subscribe());
        self.waited_for.notify_one();
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
                    let until = *newest.wait_for(|id| *id > after).await.ok()?;
                    next = live.since(after).await;
                    after = next.back().map_or(until, |event| event.id.max(until));
                }
            },
        );
        events.boxed()
    }

    /// What is remembered of what happened after an event, all of it in words.
    async fn since(&self, after: u64) -> VecDeque<pb::Event> {
        let live = self.clone();
        let told = spawn_blocking(move || {
            let mut entries = live.lock().since(after);
            for entry in &mut entries {
                let Some(untold) = entry.untold.take() else {
                    continue;
                };
                let news = untold.news();
                live.lock().tell(entry.event.id, news.clone());
                if let Some(news) = news {
                    entry.tell(news);
                }
            }
            let events = entries.into_iter().map(|entry| entry.event);
            events.filter(|event| !event.text.is_empty()).collect()
        });
        told.await.unwrap_or_default()
    }

    fn note(&self, news: impl IntoIterator<Item = News>) {
        let news = news.into_iter();
        self.remember(news.map(|one| (event(one.kind, one.text, one.objects), None)));
    }

    fn remember(&self, events: impl IntoIterator<Item = (pb::Event, Option<Untold>)>) {
        let mut newest = *self.newest.borrow();
        let mut remembered = self.lock();
        for (event, untold) in events {
            newest += 1;
            let event = pb::Event {
                id: newest,
                ..event
            };
            remembered.push(Entry { event, untold });
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

/// What happened now; its number comes later.
fn event(kind: EventKind, text: String, objects: Vec<String>) -> pb::Event {
    let at = since_1970();
    pb::Event {
        id: 0,
        at: Some(Timestamp {
            seconds: i64::try_from(at.as_secs()).unwrap_or(i64::MAX),
            nanos: i32::try_from(at.subsec_nanos()).unwrap_or_default(),
        }),
        kind: kind.into(),
        text,
        objects,
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

/// The least time between two looks.
const GATHER: Duration = Duration::from_millis(50);
/// How much longer it is while nobody waits: what is told of many changes at once takes less than
/// of each.
const GATHER_UNSEEN: Duration = Duration::from_secs(1);
