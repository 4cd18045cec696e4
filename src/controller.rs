//! EDGE: the one loop that owns the [`Inventory`]. It follows the daemon, compiles what changed
//! and publishes the snapshot; it decides nothing about what is exposed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::stream::{BoxStream, StreamExt};
use tokio::sync::watch;
use tokio::task::yield_now;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::aside::{MANY, aside_if};
use crate::backoff::Backoff;
use crate::causes::{self, Causes};
use crate::clock::{now, unix_seconds};
use crate::desired::Desired;
use crate::gateway::Policy;
use crate::intake::ahead;
use crate::inventory::{Event, Inventory, Kind, NodeStatus, Problem, Touched};
use crate::journey::Gauge;
use crate::lacks::Lacks;
use crate::opensvc::{Daemon, Error};
use crate::reads::{FIRST_WAIT_MAX, Reads};
use crate::view;
pub use crate::view::{Validity, View};
use crate::writes::Writes;
pub use crate::writes::{Ticket, Unwritten, Waiting, WriteQueue};
use crate::xds::Snapshot;
use crate::xds::changes::Changes;

/// Follows the daemon and publishes snapshots until stopped.
pub struct Controller {
    daemon: Arc<dyn Daemon>,
    policy: Policy,
    snapshots: watch::Sender<Option<Arc<Snapshot>>>,
    views: watch::Sender<View>,
    stop: CancellationToken,
    inventory: Inventory,
    desired: Desired,
    snapshot: Arc<Snapshot>,
    /// Whether the inventory changed since it was compiled last, and where.
    changed: bool,
    touched: Touched,
    /// Whether a certificate may be another than the one that is shown.
    renewed: bool,
    view: View,
    /// Whether it was said that the daemon is away.
    away: bool,
    reads: Reads,
    writes: Writes,
    lacks: Lacks,
    /// Whether the daemon is asked to write what should be written.
    may_write: bool,
    /// What changed since the last publication.
    causes: Causes,
    /// How long compiling took last.
    compiled_in: Duration,
    /// Since when what was read waits for more reads.
    gathering_since: Option<Instant>,
    /// Since when a snapshot that removes something waits.
    held_back_since: Option<Instant>,
    /// When the first full status came, until the first publication.
    synced_at: Option<Instant>,
    started_at: Instant,
    gauge: Gauge,
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
            writes: Writes::new(Arc::clone(&daemon)),
            daemon,
            desired: Desired::new(policy.clone()),
            policy,
            snapshots,
            views,
            stop,
            inventory: Inventory::default(),
            snapshot: Arc::default(),
            changed: false,
            touched: Touched::All,
            renewed: false,
            view: View {
                started: unix_seconds().unsigned_abs(),
                ..View::default()
            },
            away: false,
            lacks: Lacks::default(),
            may_write: true,
            causes: Causes::default(),
            compiled_in: Duration::ZERO,
            gathering_since: None,
            held_back_since: None,
            synced_at: None,
            started_at: now(),
            gauge: Gauge::default(),
        }
    }

    /// The same, but that the daemon is not asked to write anything.
    #[must_use]
    pub fn without_writes(mut self) -> Self {
        self.may_write = false;
        self
    }

    /// Measures the way of events with this.
    #[must_use]
    pub fn measured(self, gauge: Gauge) -> Self {
        Self { gauge, ..self }
    }

    /// The way for other tasks to have keys written and objects created: one writer for all.
    pub fn queue(&self) -> WriteQueue {
        self.writes.queue()
    }

    /// Runs until stopped. While the daemon is away, what was published last stays published.
    pub async fn run(mut self) {
        let mut backoff = Backoff::new(RECONNECT_FIRST, RECONNECT_LONGEST, RECONNECT_SEED);
        loop {
            let events = ahead(self.daemon.watch());
            let syncs = self.view.syncs;
            if self.follow(events).await {
                return;
            }
            if self.view.syncs > syncs {
                backoff.reset();
            }
            self.view.connected = false;
            self.show();
            if self.pause(backoff.next_delay()).await {
                return;
            }
        }
    }

    /// Waits, and takes in what is submitted meanwhile; returns whether the controller was
    /// stopped.
    async fn pause(&mut self, delay: Duration) -> bool {
        let end = now() + delay;
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return true,
                () = tokio::time::sleep_until(end) => return false,
                () = self.writes.next() => self.show(),
            }
        }
    }

    /// Follows one connection to its end; returns whether the controller was stopped.
    ///
    /// Five arms: an event | a read that ended | a write that ended or is submitted | the next
    /// deadline | stop.
    async fn follow(&mut self, mut events: Events) -> bool {
        loop {
            let deadline = self.deadline();
            tokio::select! {
                () = self.stop.cancelled() => return true,
                event = events.next() => {
                    if !self.take_ready(event, &mut events) {
                        let published = self.publish();
                        self.tell(published).await;
                        return false;
                    }
                }
                event = self.reads.next() => {
                    self.take(event);
                    if self.gathers() {
                        continue;
                    }
                }
                () = self.writes.next() => {}
                () = tokio::time::sleep_until(deadline) => {}
            }
            let published = self.publish();
            self.tell(published).await;
            self.write();
        }
    }

    /// Takes an event and all that are ready behind it, so that a burst is compiled once.
    /// Returns whether the stream goes on.
    fn take_ready(&mut self, first: Option<Result<Event, Error>>, events: &mut Events) -> bool {
        let mut next = Some(first);
        let mut taken = 0;
        while let Some(event) = next {
            match event {
                Some(Ok(event)) => self.take(event),
                Some(Err(error)) => {
                    self.log_lost(&error);
                    return false;
                }
                None => {
                    self.log_lost(&Error::Closed);
                    return false;
                }
            }
            taken += 1;
            next = match taken < BURST_MAX {
                true => events.next().now_or_never(),
                false => None,
            };
        }
        true
    }

    fn take(&mut self, event: Event) {
        if let Event::Corrected(places) = &event {
            self.view.corrections += u64::try_from(places.len()).unwrap_or(u64::MAX);
            let shown: Vec<&str> = places.iter().map(String::as_str).take(SHOWN_MAX).collect();
            let count = places.len();
            warn!(
                count,
                ?shown,
                "what was followed had gone wrong; taking the full status"
            );
        }
        if let Event::Reset(report) = &event {
            self.view.syncs += 1;
            let (nodes, objects) = (report.nodes.len(), report.objects.len());
            match self.view.connected {
                true => debug!(nodes, objects, "took the full status again"),
                false => info!(nodes, objects, "took the full status of the OpenSVC daemon"),
            }
            self.view.connected = true;
            self.view.place = self.daemon.place();
            self.view.failure = None;
            self.away = false;
            self.synced_at.get_or_insert_with(now);
        }
        if let Event::Account(account) = &event
            && self.lacks.take(account)
        {
            self.reads.hurry();
            self.writes.hurry();
        }
        self.gauge.heard(&event);
        let told = event.told();
        let touched = Touched::by(&event);
        let is_long = touched == Touched::All && self.inventory.objects.len() > MANY;
        let inventory = &mut self.inventory;
        if aside_if(is_long, || inventory.apply(event)) {
            self.changed = true;
            self.touched.join(touched);
            if let Some((what, how)) = told {
                self.causes.note(format!("{what} {how}"));
            }
        }
    }

    /// Whether more reads are worth waiting for before the next compilation. One change is read
    /// and compiled at once; of the thousands at the start each would be compiled alone.
    fn gathers(&mut self) -> bool {
        let since = *self.gathering_since.get_or_insert_with(now);
        !self.reads.is_done() && now() < since + self.gather_max()
    }

    fn gather_max(&self) -> Duration {
        match self.view.ready {
            // No more than half of the time goes into compiling one read after the other.
            true => GATHER_MAX.max(self.compiled_in),
            false => FIRST_WAIT_MAX,
        }
    }

    /// Says once that the daemon is away; that it is back is said when its status comes.
    fn log_lost(&mut self, error: &Error) {
        let cause = std::error::Error::source(error).map(ToString::to_string);
        let because = cause.as_ref().map(|cause| format!(": {cause}"));
        self.view.failure = Some(format!("{error}{}", because.unwrap_or_default()));
        if std::mem::replace(&mut self.away, true) {
            debug!(%error, cause, "the OpenSVC daemon is still away");
        } else {
            warn!(%error, cause, "lost the OpenSVC daemon; serving what was known");
        }
    }

    /// Compiles what changed, and publishes what that comes to. Returns what is to be told of it;
    /// `None` while more is read first.
    fn publish(&mut self) -> Option<Published> {
        self.gathering_since = None;
        let elapsed = now() - self.started_at;
        if self.inventory.expire(elapsed, self.policy.hold_down) {
            self.causes.note("the hold-down is over".to_owned());
            self.changed = true;
            self.touched = Touched::All;
        }
        if self.inventory.expire_challenges(unix_seconds()) {
            self.causes.note("a challenge is over".to_owned());
            self.changed = true;
        }
        let synced_at = self.synced_at?;
        let due = self.held_back_since.is_some();
        if !std::mem::take(&mut self.changed) && self.view.ready && !due {
            return Some(None);
        }
        let began = now();
        let touched = std::mem::take(&mut self.touched);
        self.renewed |= touched.may_be(|path| path.kind() == Kind::Sec);
        let is_long = self.inventory.objects.len() > MANY && touched.is_more_than(MANY);
        let (desired, inventory) = (&mut self.desired, &self.inventory);
        let compiled = aside_if(is_long, || desired.compile(inventory, &touched));
        let parts = self.gauge.compiled(began);
        self.reads.want(compiled.wants.clone(), self.view.ready);
        self.lacks.need(&compiled.namespaces);
        self.writes.want(compiled.writes.clone());
        if !self.view.ready && !self.is_complete(synced_at) {
            self.show();
            return None;
        }
        let desired = &mut self.desired;
        let snapshot = aside_if(is_long, || desired.encode());
        self.gauge.encoded(parts);
        self.compiled_in = now() - began;
        let changes = Changes::between(&self.snapshot, &snapshot);
        let [added, changed, removed] = changes.counts();
        if removed > 0 && self.holds_back() {
            self.show();
            return None;
        }
        self.held_back_since = None;
        self.snapshot = snapshot;
        let cause = self.causes.take();
        if self.view.ready && added + changed + removed == 0 {
            return Some(None);
        }
        self.gauge.publish(&self.snapshot);
        let snapshot = Arc::clone(&self.snapshot);
        self.snapshots.send_replace(Some(snapshot));
        Some(Some((changes, cause)))
    }

    /// Tells what was published. Envoy comes first; who looks can wait.
    async fn tell(&mut self, published: Option<Published>) {
        let Some(published) = published else {
            return;
        };
        if let Some((changes, cause)) = published {
            yield_now().await;
            let ([added, changed, removed], objects) =
                (changes.counts(), causes::objects(&changes));
            info!(
                added,
                changed, removed, objects, cause, "published snapshot"
            );
            self.view.ready = true;
            self.view.resources = self.snapshot.counts();
            self.view.gateway = Arc::new(self.desired.compiled().gateway.clone());
        }
        self.settle_journey();
        self.show_problems();
        self.show();
    }

    /// Nothing came of what was heard, and nothing more of it is read.
    fn settle_journey(&mut self) {
        if self.reads.is_idle() {
            self.gauge.settle();
        }
    }

    /// Sends the next write. What is known must be whole before anything is concluded from it.
    fn write(&mut self) {
        if !self.view.ready || !self.view.connected || !self.may_write {
            return;
        }
        if let Some(write) = self.writes.start() {
            self.changed |= self.inventory.apply(Event::Asked(write));
        }
    }

    /// Whether a first snapshot would say all there is to say. One that lacks what has only not
    /// been read yet would take from Envoy what an earlier controller gave it.
    fn is_complete(&self, synced_at: Instant) -> bool {
        let starting = |status: &NodeStatus| *status == NodeStatus::Starting;
        let settled = !self.inventory.nodes.values().any(starting) && self.reads.is_idle();
        settled || now() >= self.reads.first_end(synced_at)
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
        let first = first.map(|at| self.reads.first_end(at));
        let held_back = self.held_back_since.map(|at| at + HOLD_BACK_MAX);
        let gathered = self.gathering_since.map(|at| at + self.gather_max());
        let idle = now() + IDLE_WAKE_MAX;
        let lost = self.inventory.next_expiry(self.policy.hold_down);
        // A hold-down of ages is no time that can be waited for.
        let lost = lost.and_then(|at| self.started_at.checked_add(at));
        let may_write = self.view.ready && self.view.connected && self.may_write;
        let write = self.writes.next_due().filter(|_| may_write);
        let last = self.desired.next_expiry(unix_seconds());
        let wait = last.map(|last| last.saturating_sub(unix_seconds()).max(0));
        // Behind the last second in which it is good.
        let wait = wait.map(|wait| Duration::from_secs(wait.unsigned_abs() + 1));
        let expiry = wait.and_then(|wait| now().checked_add(wait));
        let answered = self.inventory.next_challenge_end();
        let answered = answered.map(|end| end.saturating_sub(unix_seconds()).max(0));
        let answered = answered.map(|wait| Duration::from_secs(wait.unsigned_abs()));
        let answered = answered.and_then(|wait| now().checked_add(wait));
        [
            first,
            held_back,
            gathered,
            lost,
            write,
            expiry,
            answered,
            Some(idle),
        ]
        .into_iter()
        .flatten()
        .min()
        .unwrap_or(idle)
    }

    /// Shows what is wrong by now.
    fn show_problems(&mut self) {
        if let Some(problems) = self.desired.problems(unix_seconds()) {
            self.log_problems(&problems);
            self.view.problems = Arc::new(problems);
        }
    }

    fn log_problems(&self, problems: &BTreeSet<Problem>) {
        for it in problems.difference(&self.view.problems) {
            let (object, section, keyword) = (&it.object, &it.section, &it.keyword);
            warn!(%object, section, keyword, reason = it.reason, "problem");
        }
        for it in self.view.problems.difference(problems) {
            let (object, section, keyword) = (&it.object, &it.section, &it.keyword);
            info!(%object, section, keyword, reason = it.reason, "problem cleared");
        }
    }

    fn show(&mut self) {
        if std::mem::take(&mut self.renewed) {
            self.view.certificates = Arc::new(view::certificates(&self.inventory));
        }
        self.view.held = self.inventory.held(self.policy.hold_down);
        self.view.writes = self.writes.waiting();
        self.view.account = self.lacks.account().map(str::to_owned);
        self.view.lacks.clone_from(self.lacks.missing());
        self.views.send_if_modified(|view| {
            // Another gateway is another view, without a look at what is other in it.
            let same = Arc::ptr_eq(&view.gateway, &self.view.gateway);
            let changed = !same || *view != self.view;
            if changed {
                view.clone_from(&self.view);
            }
            changed
        });
    }
}

/// What is other in the snapshot that the clients were sent, and why; `None` where none was.
type Published = Option<(Changes, String)>;

/// Events that are taken in before the next compilation, at most.
const BURST_MAX: usize = 10_000;
/// How long what was read waits for more reads, once something is served and compiling is quick.
const GATHER_MAX: Duration = Duration::from_millis(20);
/// How long a removal waits for reads at most.
const HOLD_BACK_MAX: Duration = Duration::from_secs(5);
/// The daemon's listener is back within two seconds of a restart.
const RECONNECT_FIRST: Duration = Duration::from_millis(200);
const RECONNECT_LONGEST: Duration = Duration::from_secs(10);
const RECONNECT_SEED: u64 = 1;
/// How many places a log line names.
const SHOWN_MAX: usize = 20;
/// The loop wakes at least this often.
const IDLE_WAKE_MAX: Duration = Duration::from_secs(3_600);
