//! EDGE: the loop of the certificate operator: finds out what is asked for, plans, takes the first
//! step that is due, and waits for a change or for the next one. Decides nothing by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::stream::{BoxStream, StreamExt};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::authority::window;
use super::auto::QUIET_S;
use super::dns::Reach;
use super::issue::{Desk, RECORD_KEY};
use super::plan::{Plan, Step, Subject, plan};
use super::probe::Door;
use super::record::Ledger;
use super::refusal::Refusal;
use super::schedule::retry_after;
use super::survey::{Known, Survey};
use super::wire::{Web, Wire};
use super::writer::{Direct, Queued, Writer};
use crate::backoff::Backoff;
use crate::clock::unix_seconds;
use crate::inventory::{Event, Inventory, Kind, ObjectPath, Problem, Report, Sensitive};
use crate::opensvc::{Daemon, Error};
use crate::writes::WriteQueue;

/// Makes the way to an authority whose server is believed by these roots, too.
pub type Wires = Arc<dyn Fn(Option<&str>) -> Result<Arc<dyn Wire>, String> + Send + Sync>;

/// Gets certificates and renews them.
pub struct Operator {
    daemon: Arc<dyn Daemon>,
    writer: Arc<dyn Writer>,
    door: Door,
    wires: Wires,
    inventory: Inventory,
    known: Known,
    /// What failed in this process: how often, and until when it waits. The daemon may not have
    /// taken the note.
    tries: BTreeMap<ObjectPath, (u32, i64)>,
    /// When an authority is asked again when it would like to renew what.
    windows: BTreeMap<ObjectPath, i64>,
    told: Vec<Problem>,
    settle: Duration,
    reach: Reach,
    outcomes: Option<Outcomes>,
}

/// Is told what came of each time that an authority was asked: whether there is a certificate.
pub type Outcomes = Arc<dyn Fn(bool) + Send + Sync>;

fn internet() -> Wires {
    Arc::new(|bundle| Ok(Arc::new(Web::new(bundle)?)))
}

type Events = BoxStream<'static, Result<Event, Error>>;

impl Operator {
    /// One that asks authorities over the internet and writes to the daemon itself.
    pub fn new(daemon: Arc<dyn Daemon>, door: Door) -> Self {
        let writer = Arc::new(Direct::new(Arc::clone(&daemon)));
        Self::over(daemon, writer, door, internet())
    }

    /// One that writes to the daemon through the controller's queue.
    pub fn queued(daemon: Arc<dyn Daemon>, queue: WriteQueue, door: Door) -> Self {
        Self::over(daemon, Arc::new(Queued(queue)), door, internet())
    }

    /// One with another writer, or other ways to the authorities.
    pub fn over(
        daemon: Arc<dyn Daemon>,
        writer: Arc<dyn Writer>,
        door: Door,
        wires: Wires,
    ) -> Self {
        Self {
            daemon,
            writer,
            door,
            wires,
            inventory: Inventory::default(),
            known: Known::new(QUIET_S),
            tries: BTreeMap::new(),
            windows: BTreeMap::new(),
            told: Vec::new(),
            settle: SETTLE,
            reach: Reach::default(),
            outcomes: None,
        }
    }

    /// Tells this what came of each time that an authority was asked.
    #[must_use]
    pub fn telling(self, outcomes: Outcomes) -> Self {
        Self {
            outcomes: Some(outcomes),
            ..self
        }
    }

    /// Gives other operators so long to say that they are about to make the same order.
    #[must_use]
    pub fn with_settle(self, settle: Duration) -> Self {
        Self { settle, ..self }
    }

    /// Waits so many seconds for names that services serve to stay as they are.
    #[must_use]
    pub fn with_quiet(mut self, seconds: i64) -> Self {
        self.known.quiet_s = seconds;
        self
    }

    /// Lets it use this to find out about the DNS and to write to it.
    #[must_use]
    pub fn with_reach(self, reach: Reach) -> Self {
        Self { reach, ..self }
    }

    /// Runs until stopped. Stopped in the middle, whoever runs next goes on.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut backoff = Backoff::new(RECONNECT_FIRST, RECONNECT_LONGEST, RECONNECT_SEED);
        loop {
            let followed = tokio::select! {
                () = stop.cancelled() => return,
                followed = self.follow() => followed,
            };
            if followed {
                backoff.reset();
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(backoff.next_delay()) => {}
            }
        }
    }

    /// Follows one connection to its end; returns whether anything came of it.
    async fn follow(&mut self) -> bool {
        let mut events = self.daemon.watch();
        let mut any = false;
        let mut wait = Duration::MAX;
        loop {
            let first = tokio::select! {
                event = events.next() => Some(event),
                () = tokio::time::sleep(wait.min(WAIT_MAX)) => None,
            };
            if first.is_some_and(|first| !self.take(first, &mut events)) {
                return any;
            }
            any = true;
            match self.turn().await {
                Ok(next) => wait = next,
                Err(error) => {
                    warn!(%error, "cannot read from the OpenSVC daemon; will try again");
                    return any;
                }
            }
        }
    }

    fn take(&mut self, first: Option<Result<Event, Error>>, events: &mut Events) -> bool {
        let mut next = Some(first);
        while let Some(event) = next {
            match event {
                Some(Ok(event)) => {
                    self.inventory.apply(event);
                }
                Some(Err(error)) => {
                    debug!(%error, "lost the OpenSVC daemon");
                    return false;
                }
                None => return false,
            }
            next = events.next().now_or_never();
        }
        true
    }

    /// Waits for the daemon's first full status.
    async fn report(&self) -> Result<Report, Error> {
        let mut events = self.daemon.watch();
        loop {
            let event = events.next().await.unwrap_or(Err(Error::Closed))?;
            if let Event::Reset(report) = event {
                return Ok(report);
            }
        }
    }

    /// Finds out what there is, for somebody who does not wait for what may still change.
    ///
    /// # Errors
    /// When the daemon cannot be asked.
    pub async fn look(&mut self) -> Result<Survey, Error> {
        let report = self.report().await?;
        self.inventory.apply(Event::Reset(report));
        self.known.quiet_s = 0;
        self.survey().await
    }

    /// The objects of a kind that this account sees.
    ///
    /// # Errors
    /// When the daemon cannot be asked.
    pub async fn seen(&self, kind: Kind) -> Result<BTreeSet<ObjectPath>, Error> {
        let paths = self.report().await?.objects.into_keys();
        Ok(paths.filter(|path| path.kind() == kind).collect())
    }

    async fn survey(&mut self) -> Result<Survey, Error> {
        let found = self.known.survey(self.daemon.as_ref(), &self.inventory);
        let mut survey = found.await?;
        for subject in survey.subjects.values_mut() {
            subject.take_turn(unix_seconds());
        }
        Ok(survey)
    }

    /// Takes the first step that is due; returns after how long to come back.
    async fn turn(&mut self) -> Result<Duration, Error> {
        let survey = self.survey().await?;
        let now = unix_seconds();
        let mut problems = survey.problems.clone();
        let mut first: Option<(i64, &Subject)> = None;
        for subject in survey.subjects.values() {
            match self.plan(now, subject) {
                Err(problem) => problems.push(problem),
                Ok(Plan {
                    step: Step::Refuse,
                    why,
                    ..
                }) => debug!(object = %subject.declaration.path, why),
                Ok(plan) if first.is_none_or(|(at, _)| plan.at < at) => {
                    first = Some((plan.at, subject));
                }
                Ok(_) => {}
            }
        }
        self.tell(problems);
        if let Some((_, subject)) = first.filter(|(at, _)| *at <= now) {
            self.work(&subject.declaration.path.clone(), false).await?;
            return Ok(Duration::ZERO);
        }
        let asked = self.ask_windows(now, &survey).await;
        let next = first.map_or(i64::MAX, |(at, _)| at).min(asked);
        let seconds = next.saturating_sub(unix_seconds()).max(0);
        Ok(Duration::from_secs(seconds.unsigned_abs()))
    }

    /// The plan, and what this process alone knows of it.
    ///
    /// # Errors
    /// The problem that stands in the way.
    pub fn plan(&self, now: i64, subject: &Subject) -> Result<Plan, Problem> {
        self.reach.check(subject)?;
        let kept = subject.issuer.ledger.as_ref().map(Sensitive::expose);
        let ledger = Ledger::parse(kept.unwrap_or_default());
        let mut plan = plan(now, subject, &ledger)?;
        if let Some((_, until)) = self.tries.get(&subject.declaration.path) {
            plan.at = plan.at.max(*until);
        }
        Ok(plan)
    }

    /// Takes the next step of a certificate, if it is still due when everything was read again:
    /// another operator may have been faster. Forced, also if it is not; returns what came of it.
    ///
    /// # Errors
    /// When the daemon cannot be asked.
    pub async fn work(
        &mut self,
        path: &ObjectPath,
        force: bool,
    ) -> Result<Option<Result<i64, String>>, Error> {
        self.known.forget(path);
        let survey = self.survey().await?;
        let now = unix_seconds();
        let Some(subject) = survey.subjects.get(path) else {
            return Ok(None);
        };
        let step = match self.plan(now, subject) {
            Ok(plan) if plan.at <= now => plan.step,
            Ok(Plan {
                step: Step::Resume, ..
            }) if force => Step::Resume,
            Ok(_) if force => Step::Order { replaces: None },
            Err(problem) if force => return Ok(Some(Err(problem.to_string()))),
            _ => return Ok(None),
        };
        let done = match (self.wires)(subject.issuer.ca_bundle.as_deref()) {
            Ok(wire) => {
                let desk = Desk {
                    daemon: Arc::clone(&self.daemon),
                    writer: Arc::clone(&self.writer),
                    wire,
                    door: self.door.clone(),
                    reach: self.reach.clone(),
                    settle: self.settle,
                    clock: unix_seconds,
                };
                let done = desk.work(subject, &step).await;
                let told_s =
                    |refusal: &Refusal| refusal.retry_after_s.filter(|_| subject.is_alone());
                done.map_err(|refusal| (told_s(&refusal), refusal.reason))
            }
            Err(reason) => Err((None, format!("ca_bundle of the issuer {reason}"))),
        };
        if let Some(outcomes) = &self.outcomes {
            outcomes(done.is_ok());
        }
        self.known.forget(path);
        self.windows.remove(path);
        Ok(Some(match done {
            Ok(leaf) => {
                self.tries.remove(path);
                Ok(leaf.not_after)
            }
            Err((told_s, reason)) => {
                let (failures, until) = self.tries.entry(path.clone()).or_default();
                *failures = failures.saturating_add(1);
                *until = unix_seconds() + retry_after(*failures, told_s);
                let safe = subject.leaf.as_ref().map(|leaf| leaf.not_after);
                warn!(object = %path, reason, safe_until = safe, "no certificate yet");
                Err(reason)
            }
        }))
    }

    /// Asks the authorities when they would like to renew what they made; returns when to ask
    /// again.
    async fn ask_windows(&mut self, now: i64, survey: &Survey) -> i64 {
        for (path, subject) in &survey.subjects {
            let ours = subject.leaf.as_ref();
            let ours = ours.filter(|leaf| leaf.serial == subject.record.serial);
            let identifier = ours.and_then(|leaf| leaf.identifier.as_deref());
            let asked = self.windows.get(path).copied().unwrap_or_default();
            let (Some(identifier), true) = (identifier, asked <= now) else {
                continue;
            };
            let holds = self.ask_window(path, subject, identifier).await;
            self.windows.insert(path.clone(), now.saturating_add(holds));
        }
        self.windows
            .retain(|path, _| survey.subjects.contains_key(path));
        self.windows.values().copied().min().unwrap_or(i64::MAX)
    }

    async fn ask_window(&self, path: &ObjectPath, subject: &Subject, identifier: &str) -> i64 {
        let signer = subject.signer().unwrap_or(&subject.issuer);
        let Ok(wire) = (self.wires)(signer.ca_bundle.as_deref()) else {
            return ASK_AGAIN_S;
        };
        let asked = window(wire, &signer.directory, identifier).await;
        let (window, holds_s) = match asked {
            Ok(Some((window, holds_s))) => (Some(window), holds_s),
            Ok(None) => (None, ASK_AGAIN_S.unsigned_abs()),
            Err(refusal) => {
                debug!(object = %path, reason = refusal.reason, "no renewal window");
                return retry_after(2, refusal.retry_after_s);
            }
        };
        if window != subject.record.window {
            let mut record = subject.record.clone();
            record.window = window;
            let text = Sensitive::new(record.text());
            if let Err(error) = self.writer.write_key(path, RECORD_KEY, &text).await {
                debug!(object = %path, %error, "a renewal window was not noted");
            }
        }
        i64::try_from(holds_s).unwrap_or(ASK_AGAIN_S)
    }

    fn tell(&mut self, problems: Vec<Problem>) {
        for problem in problems
            .iter()
            .filter(|problem| !self.told.contains(problem))
        {
            warn!(%problem, "not every name has a certificate as it is declared");
        }
        for problem in self
            .told
            .iter()
            .filter(|problem| !problems.contains(problem))
        {
            info!(%problem, "problem cleared");
        }
        self.told = problems;
    }
}

/// Longer than the way from what was read of an object to what is written to it.
const SETTLE: Duration = Duration::from_secs(2);
const RECONNECT_FIRST: Duration = Duration::from_millis(200);
const RECONNECT_LONGEST: Duration = Duration::from_secs(10);
const RECONNECT_SEED: u64 = 3;
/// The loop looks around at least this often.
const WAIT_MAX: Duration = Duration::from_secs(3_600);
/// How often an authority is asked when it would like to renew (RFC 9773, section 4.3.2).
const ASK_AGAIN_S: i64 = 6 * 3_600;
