//! EDGE: the one loop that owns the [`Inventory`]. It follows the daemon, compiles what changed
//! and publishes the snapshot; it decides nothing about what is exposed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{BoxStream, FuturesUnordered, StreamExt};
use futures::{FutureExt, future};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::backoff::Backoff;
use crate::gateway::tls::SECRET_KEYS;
use crate::gateway::{Policy, Want, compile};
use crate::inventory::{Event, Inventory, NodeStatus, Problem, Reading, Secret};
use crate::opensvc::{Daemon, Error};
use crate::xds::{ResourceType, Snapshot, encode};

/// What the controller knows, for whoever shows it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct View {
    /// Whether a snapshot has been published.
    pub ready: bool,
    /// Whether the daemon is being followed now.
    pub connected: bool,
    /// How often the daemon's full status was taken.
    pub syncs: u64,
    /// What cannot be exposed as written.
    pub problems: BTreeSet<Problem>,
    /// How many resources are served, by type.
    pub resources: BTreeMap<ResourceType, usize>,
}

/// Follows the daemon and publishes snapshots until stopped.
pub struct Controller {
    daemon: Arc<dyn Daemon>,
    policy: Policy,
    snapshots: watch::Sender<Option<Arc<Snapshot>>>,
    views: watch::Sender<View>,
    stop: CancellationToken,
    inventory: Inventory,
    snapshot: Arc<Snapshot>,
    /// Whether the inventory changed since it was compiled last.
    changed: bool,
    view: View,
    /// Whether it was said that the daemon is away.
    away: bool,
    reads: Reads,
    /// Since when a snapshot that removes something waits.
    held_back_since: Option<Instant>,
    /// When the first full status came, until the first publication.
    synced_at: Option<Instant>,
}

type Events = BoxStream<'static, Result<Event, Error>>;

impl Controller {
    /// A controller that has not seen anything yet.
    pub fn new(
        daemon: Arc<dyn Daemon>,
        policy: Policy,
        snapshots: watch::Sender<Option<Arc<Snapshot>>>,
        views: watch::Sender<View>,
        stop: CancellationToken,
    ) -> Self {
        Self {
            reads: Reads::new(Arc::clone(&daemon)),
            daemon,
            policy,
            snapshots,
            views,
            stop,
            inventory: Inventory::default(),
            snapshot: Arc::default(),
            changed: false,
            view: View::default(),
            away: false,
            held_back_since: None,
            synced_at: None,
        }
    }

    /// Runs until stopped. While the daemon is away, what was published last stays published.
    pub async fn run(mut self) {
        let mut backoff = Backoff::new(RECONNECT_FIRST, RECONNECT_LONGEST, RECONNECT_SEED);
        loop {
            let events = self.daemon.watch();
            let syncs = self.view.syncs;
            if self.follow(events).await {
                return;
            }
            if self.view.syncs > syncs {
                backoff.reset();
            }
            self.view.connected = false;
            self.show();
            let delay = backoff.next_delay();
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(delay) => {}
            }
        }
    }

    /// Follows one connection to its end; returns whether the controller was stopped.
    ///
    /// Four arms: an event | a read that ended | the next deadline | stop.
    async fn follow(&mut self, mut events: Events) -> bool {
        loop {
            let deadline = self.deadline();
            tokio::select! {
                () = self.stop.cancelled() => return true,
                event = events.next() => {
                    if !self.take_ready(event, &mut events) {
                        self.publish();
                        return false;
                    }
                }
                event = self.reads.next() => self.take(event),
                () = tokio::time::sleep_until(deadline) => {}
            }
            self.publish();
        }
    }

    /// Takes an event and all that are ready behind it, so that a burst is compiled once.
    /// Returns whether the stream goes on.
    fn take_ready(&mut self, first: Option<Result<Event, Error>>, events: &mut Events) -> bool {
        let mut next = Some(first);
        for _ in 0..BURST_MAX {
            match next {
                Some(Some(Ok(event))) => self.take(event),
                Some(Some(Err(error))) => {
                    self.log_lost(&error);
                    return false;
                }
                Some(None) => {
                    self.log_lost(&Error::Closed);
                    return false;
                }
                None => break,
            }
            next = events.next().now_or_never();
        }
        true
    }

    fn take(&mut self, event: Event) {
        if let Event::Reset(report) = &event {
            self.view.syncs += 1;
            let (nodes, objects) = (report.nodes.len(), report.objects.len());
            info!(nodes, objects, "took the full status of the OpenSVC daemon");
            self.view.connected = true;
            self.away = false;
            self.synced_at.get_or_insert_with(now);
        }
        self.changed |= self.inventory.apply(event);
    }

    /// Says once that the daemon is away; that it is back is said when its status comes.
    fn log_lost(&mut self, error: &Error) {
        let cause = std::error::Error::source(error).map(ToString::to_string);
        if std::mem::replace(&mut self.away, true) {
            debug!(%error, cause, "the OpenSVC daemon is still away");
        } else {
            warn!(%error, cause, "lost the OpenSVC daemon; serving what was known");
        }
    }

    fn publish(&mut self) {
        let Some(synced_at) = self.synced_at else {
            return;
        };
        let due = self.reads.is_due() || self.held_back_since.is_some();
        if !std::mem::take(&mut self.changed) && self.view.ready && !due {
            self.show();
            return;
        }
        let compiled = compile(&self.inventory, &self.policy);
        self.reads.want(compiled.wants);
        if !self.view.ready && !self.is_complete(synced_at) {
            self.show();
            return;
        }
        let (snapshot, refused) = encode(&compiled.gateway, &self.snapshot);
        let (added, changed, removed) = count_changes(&snapshot, &self.snapshot);
        if removed > 0 && self.holds_back() {
            self.show();
            return;
        }
        self.held_back_since = None;
        let mut problems = compiled.problems;
        problems.extend(refused);
        self.log_problems(&problems);
        self.view.problems = problems;
        let first = !self.view.ready;
        self.snapshot = Arc::new(snapshot);
        if first || added + changed + removed > 0 {
            info!(added, changed, removed, "published snapshot");
            self.view.ready = true;
            self.view.resources = count_resources(&self.snapshot);
            self.snapshots
                .send_replace(Some(Arc::clone(&self.snapshot)));
        }
        self.show();
    }

    /// Whether a first snapshot would say all there is to say. One that lacks what has only not
    /// been read yet would take from Envoy what an earlier controller gave it.
    fn is_complete(&self, synced_at: Instant) -> bool {
        let starting = |status: &NodeStatus| *status == NodeStatus::Starting;
        let settled = !self.inventory.nodes.values().any(starting) && self.reads.is_idle();
        settled || now() >= synced_at + FIRST_WAIT_MAX
    }

    /// Whether a snapshot that removes something waits for the reads that are under way.
    ///
    /// A service that becomes a scaler loses its sections a moment before its slaves can be
    /// read: its listener would be closed and opened again.
    fn holds_back(&mut self) -> bool {
        let since = *self.held_back_since.get_or_insert_with(now);
        !self.reads.is_idle() && now() < since + HOLD_BACK_MAX
    }

    fn deadline(&self) -> Instant {
        let first = self.synced_at.filter(|_| !self.view.ready);
        let first = first.map(|at| at + FIRST_WAIT_MAX);
        let held_back = self.held_back_since.map(|at| at + HOLD_BACK_MAX);
        let idle = now() + IDLE_WAKE_MAX;
        [first, held_back, self.reads.next_retry(), Some(idle)]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(idle)
    }

    fn log_problems(&self, problems: &BTreeSet<Problem>) {
        for Problem {
            object,
            section,
            keyword,
            reason,
        } in problems.difference(&self.view.problems)
        {
            warn!(%object, section, keyword, reason, "problem");
        }
        for Problem {
            object,
            section,
            keyword,
            reason,
        } in self.view.problems.difference(problems)
        {
            info!(%object, section, keyword, reason, "problem cleared");
        }
    }

    fn show(&self) {
        self.views.send_if_modified(|view| {
            let changed = *view != self.view;
            if changed {
                view.clone_from(&self.view);
            }
            changed
        });
    }
}

/// Reads of what the event stream does not carry, a few at a time.
struct Reads {
    daemon: Arc<dyn Daemon>,
    running: FuturesUnordered<BoxFuture<'static, (Want, Result<Event, Error>)>>,
    under_way: BTreeSet<Want>,
    waiting: BTreeSet<Want>,
    failed: BTreeMap<Want, (Backoff, Instant)>,
}

impl Reads {
    fn new(daemon: Arc<dyn Daemon>) -> Self {
        Self {
            daemon,
            running: FuturesUnordered::new(),
            under_way: BTreeSet::new(),
            waiting: BTreeSet::new(),
            failed: BTreeMap::new(),
        }
    }

    /// Replaces what is wanted; starts what can be started.
    fn want(&mut self, wants: BTreeSet<Want>) {
        self.failed.retain(|want, _| wants.contains(want));
        self.waiting = wants;
        self.start();
    }

    fn start(&mut self) {
        let due = now();
        let waiting = std::mem::take(&mut self.waiting);
        for want in waiting {
            let delayed = self.failed.get(&want).is_some_and(|(_, at)| *at > due);
            if self.under_way.contains(&want) {
                continue;
            }
            if delayed || self.under_way.len() >= READS_MAX {
                self.waiting.insert(want);
                continue;
            }
            self.under_way.insert(want.clone());
            self.running.push(read(&self.daemon, want));
        }
    }

    /// The next thing that was read. Never resolves while nothing is under way.
    async fn next(&mut self) -> Event {
        loop {
            let Some((want, result)) = self.running.next().await else {
                return future::pending().await;
            };
            self.under_way.remove(&want);
            match result {
                Ok(event) => {
                    self.failed.remove(&want);
                    self.start();
                    return event;
                }
                Err(error) => self.fail(want, &error),
            }
            self.start();
        }
    }

    fn fail(&mut self, want: Want, error: &Error) {
        let (Want::Secret(path, _) | Want::Config(path, _)) = &want;
        warn!(object = %path, %error, "cannot read from the OpenSVC daemon; will try again");
        let (backoff, retry_at) = self.failed.entry(want.clone()).or_insert_with(|| {
            (
                Backoff::new(RETRY_FIRST, RETRY_LONGEST, RECONNECT_SEED),
                now(),
            )
        });
        *retry_at = now() + backoff.next_delay();
        self.waiting.insert(want);
    }

    fn is_idle(&self) -> bool {
        self.under_way.is_empty() && self.waiting.is_empty()
    }

    /// Whether the time of a retry has come.
    fn is_due(&self) -> bool {
        self.next_retry().is_some_and(|at| at <= now())
    }

    fn next_retry(&self) -> Option<Instant> {
        let waiting = self.waiting.iter();
        let retries = waiting.filter_map(|want| self.failed.get(want));
        retries.map(|(_, at)| *at).min()
    }
}

fn read(daemon: &Arc<dyn Daemon>, want: Want) -> BoxFuture<'static, (Want, Result<Event, Error>)> {
    let daemon = Arc::clone(daemon);
    let task = async move {
        debug!(?want, "reading");
        let result = match &want {
            Want::Secret(path, revision) => {
                let secret = read_secret(daemon.as_ref(), path).await;
                secret.map(|secret| {
                    let (revision, content) = (revision.clone(), Some(secret));
                    Event::Secret(path.clone(), Reading { revision, content })
                })
            }
            Want::Config(path, revision) => daemon.read_config(path).await.map(|content| {
                let revision = revision.clone();
                Event::Config(path.clone(), Reading { revision, content })
            }),
        };
        (want, result)
    };
    task.boxed()
}

async fn read_secret(
    daemon: &dyn Daemon,
    path: &crate::inventory::ObjectPath,
) -> Result<Secret, Error> {
    let mut secret = Secret::new();
    for key in SECRET_KEYS {
        if let Some(value) = daemon.read_key(path, key).await? {
            secret.insert(key.to_owned(), value);
        }
    }
    Ok(secret)
}

fn count_changes(new: &Snapshot, old: &Snapshot) -> (usize, usize, usize) {
    let (mut added, mut changed, mut removed) = (0, 0, 0);
    for (kind, name) in new.changes(old) {
        match (new.get(kind, name), old.get(kind, name)) {
            (Some(_), None) => added += 1,
            (Some(_), Some(_)) => changed += 1,
            _ => removed += 1,
        }
    }
    (added, changed, removed)
}

fn count_resources(snapshot: &Snapshot) -> BTreeMap<ResourceType, usize> {
    let kinds = ResourceType::ALL.into_iter();
    kinds.map(|kind| (kind, snapshot.count(kind))).collect()
}

#[expect(
    clippy::disallowed_methods,
    reason = "the controller is where time passes"
)]
fn now() -> Instant {
    Instant::now()
}

/// Events that are taken in before the next compilation, at most.
const BURST_MAX: usize = 10_000;
/// How long the first snapshot waits for reads and for starting nodes.
const FIRST_WAIT_MAX: Duration = Duration::from_secs(30);
/// How long a removal waits for reads at most.
const HOLD_BACK_MAX: Duration = Duration::from_secs(1);
/// The daemon's listener is back within two seconds of a restart.
const RECONNECT_FIRST: Duration = Duration::from_millis(200);
const RECONNECT_LONGEST: Duration = Duration::from_secs(10);
const RECONNECT_SEED: u64 = 1;
const RETRY_FIRST: Duration = Duration::from_millis(500);
const RETRY_LONGEST: Duration = Duration::from_secs(30);
/// Reads of the daemon at once.
const READS_MAX: usize = 4;
/// The loop wakes at least this often.
const IDLE_WAKE_MAX: Duration = Duration::from_secs(3_600);
