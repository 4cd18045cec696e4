//! The clients that are connected now, by stream: what each is, has and refuses. What to send
//! them is not decided here.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, interval, timeout};
use tracing::warn;

use super::connection::Link;
use crate::clock::{now, since_1970};
use crate::journey::Journeys;
use crate::metrics::Metrics;
use crate::xds::acked::Lag;
use crate::xds::session::Refused;
use crate::xds::status::ResourceStatus;
use crate::xds::suspects::{NodeSuspects, Suspects};
use crate::xds::{ResourceType, Snapshot};

/// The clients that are connected now, by stream.
#[derive(Clone, Debug, Default)]
pub struct Clients {
    streams: Arc<Mutex<BTreeMap<u64, Stream>>>,
    suspects: Arc<Mutex<NodeSuspects>>,
    next: Arc<AtomicU64>,
    metrics: Metrics,
    journeys: Journeys,
    changed: watch::Sender<()>,
}

/// What one stream's client is and has.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Client {
    /// The node id that it gave; empty before its first request.
    pub node: String,
    /// What it is: `envoy/1.40.0` or the like.
    pub agent: String,
    /// When its stream began, since 1970.
    pub began: Duration,
    /// The one type that the stream carries; `None` for an aggregated stream.
    pub only: Option<ResourceType>,
    /// Resources sent to it so far, added or removed, by type.
    pub sent: BTreeMap<ResourceType, u64>,
    /// The resources that it refuses, by type and name.
    pub refused: BTreeMap<(ResourceType, String), Refused>,
    /// The last snapshot that it has acknowledged as a whole.
    pub synced: Option<Arc<Snapshot>>,
}

/// The resources of one stream, when it was asked for them.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Status {
    /// How many are not as they should be.
    pub unsynced: usize,
    /// Those that were asked for.
    pub resources: Vec<ResourceStatus>,
    /// What the client has acknowledged otherwise than it is served, where that was asked for.
    pub lags: Vec<Lag>,
}

/// Which resources to tell of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Shown {
    /// Every one.
    All,
    /// So many at most of those that are not as they should be.
    Unsynced(usize),
    /// None, but what the client has acknowledged otherwise than it is served.
    Lags,
}

/// Asks a stream for its state.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) shown: Shown,
    pub(super) answer: oneshot::Sender<Status>,
}

#[derive(Debug)]
struct Stream {
    client: Client,
    link: Arc<Link>,
    questions: mpsc::Sender<Question>,
    /// Since when a response waits to be read.
    unread_since: Option<Instant>,
}

impl Clients {
    /// A copy of what is known now.
    pub fn list(&self) -> Vec<Client> {
        let streams = self.lock();
        streams
            .values()
            .map(|stream| stream.client.clone())
            .collect()
    }

    /// Every stream that is `meant`, and its state; `None` for one that is busy sending to a client
    /// that does not read.
    pub async fn statuses(
        &self,
        shown: Shown,
        meant: impl Fn(&Client) -> bool,
    ) -> Vec<(Client, Option<Status>)> {
        let streams: Vec<_> = {
            let streams = self.lock();
            let streams = streams.values().filter(|stream| meant(&stream.client));
            streams
                .map(|stream| (stream.client.clone(), stream.questions.clone()))
                .collect()
        };
        let asked = streams.into_iter().map(|(client, questions)| async move {
            let (answer, answered) = oneshot::channel();
            let question = Question { shown, answer };
            let answered = async {
                questions.send(question).await.ok()?;
                answered.await.ok()
            };
            let status = timeout(ANSWER_MAX, answered).await.ok().flatten();
            (client, status)
        });
        join_all(asked).await
    }

    /// Tells that one came, went, was sent something or answered.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// What is counted of them.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The ways of the events that they are told of.
    pub fn journeys(&self) -> &Journeys {
        &self.journeys
    }

    pub(super) fn join(&self, link: Arc<Link>, only: Option<ResourceType>) -> Membership {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (questions, asked) = mpsc::channel(QUESTIONS_MAX);
        let stream = Stream {
            client: Client {
                only,
                began: since_1970(),
                ..Client::default()
            },
            link,
            questions,
            unread_since: None,
        };
        self.lock().insert(id, stream);
        self.changed.send_replace(());
        Membership {
            clients: self.clone(),
            id,
            identity: String::new(),
            questions: asked,
        }
    }

    /// Cuts the connection of clients that do not read what they are sent. Never ends.
    pub(super) async fn watch_readers(self) {
        let mut tick = interval(UNREAD_MAX / 6);
        loop {
            tick.tick().await;
            let now = now();
            for stream in self.lock().values_mut() {
                let late = |since: &mut Instant| now >= *since + UNREAD_MAX;
                if stream.unread_since.take_if(late).is_some() {
                    let (node, peer) = (&stream.client.node, stream.link.peer());
                    let reason = "it has not read a response for 30 s";
                    warn!(node, peer, reason, "dropped an xDS client");
                    self.metrics.dropped();
                    stream.link.cut();
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Stream>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stream's entry in the list of clients; leaves it when dropped.
#[derive(Debug)]
pub(super) struct Membership {
    clients: Clients,
    pub(super) id: u64,
    /// What tells this stream of the node from its others, and finds it again when it returns.
    identity: String,
    questions: mpsc::Receiver<Question>,
}

impl Membership {
    /// The next who asks for the stream's state; waits for ever if there is nobody.
    pub(super) async fn question(&mut self) -> Question {
        match self.questions.recv().await {
            Some(question) => question,
            None => std::future::pending().await,
        }
    }

    pub(super) fn update(&self, change: impl FnOnce(&mut Client)) {
        if let Some(stream) = self.clients.lock().get_mut(&self.id) {
            change(&mut stream.client);
        }
        self.clients.changed.send_replace(());
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.clients.metrics
    }

    pub(super) fn journeys(&self) -> &Journeys {
        &self.clients.journeys
    }

    /// What the client calls itself.
    pub(super) fn node(&self) -> String {
        let streams = self.clients.lock();
        let stream = streams.get(&self.id);
        stream
            .map(|stream| stream.client.node.clone())
            .unwrap_or_default()
    }

    /// A response is handed over, or the one before it was read.
    pub(super) fn unread(&self, since: Option<Instant>) {
        if let Some(stream) = self.clients.lock().get_mut(&self.id) {
            stream.unread_since = since;
        }
    }

    /// Ends the connection of the stream when there was time to say why.
    pub(super) fn cut_soon(&self) {
        if let Some(stream) = self.clients.lock().get(&self.id) {
            stream.link.cut_soon();
        }
    }

    /// Keeps what the client's next stream must know.
    pub(super) fn leave(&self, suspects: Suspects) {
        let all = &self.clients.suspects;
        let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
        all.leave(self.identity.clone(), suspects);
    }

    /// Takes what the client's last stream left.
    pub(super) fn take(&mut self, identity: String) -> Suspects {
        self.identity = identity;
        let all = &self.clients.suspects;
        let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
        all.take(&self.identity)
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.clients.lock().remove(&self.id);
        self.clients.changed.send_replace(());
    }
}

/// A client that reads takes milliseconds.
const UNREAD_MAX: Duration = Duration::from_secs(30);
/// A stream that is not blocked answers at once.
const ANSWER_MAX: Duration = Duration::from_millis(500);
const QUESTIONS_MAX: usize = 4;
