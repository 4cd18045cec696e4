//! EDGE: reads of what the event stream does not carry: keys of `sec` objects and raw
//! configurations. What is wanted is not decided here.
//!
//! A few at a time, and not more in a time than the daemon can give beside its own work; of what
//! waits the newest is read. What is wanted for the first snapshot is read at once.

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::time::{Instant, sleep_until};
use tracing::{debug, warn};

use crate::backoff::Backoff;
use crate::budget::Budget;
use crate::clock::now;
use crate::gateway::Want;
use crate::inventory::certificate::{FULL_KEY, PAIR_KEYS, Pair, TRUST_KEYS};
use crate::inventory::{Event, Name, ObjectPath, Reading, Secret};
use crate::inventory::{alpn, challenge};
use crate::opensvc::{Daemon, Error};

/// Reads of what the event stream does not carry, a few at a time.
pub(crate) struct Reads {
    daemon: Arc<dyn Daemon>,
    running: FuturesUnordered<BoxFuture<'static, (Want, Result<Event, Error>)>>,
    under_way: BTreeSet<Want>,
    waiting: BTreeSet<Want>,
    /// The configuration that was begun last: the next are those behind it, so that changes which
    /// go on and on do not keep any of them for ever.
    last: Option<Want>,
    failed: BTreeMap<Want, Failed>,
    budget: Budget,
    /// Whether the budget counts.
    serving: bool,
    began: Instant,
    /// When something was read last.
    read_at: Instant,
}

/// A read that failed and is still wanted.
struct Failed {
    backoff: Backoff,
    retry_at: Instant,
    /// Whether the account may not read it: another try may say the same for ever.
    refused: bool,
    said: String,
}

impl Reads {
    pub(crate) fn new(daemon: Arc<dyn Daemon>) -> Self {
        Self {
            daemon,
            running: FuturesUnordered::new(),
            under_way: BTreeSet::new(),
            waiting: BTreeSet::new(),
            last: None,
            failed: BTreeMap::new(),
            budget: Budget::new(BURST, PAUSE),
            serving: false,
            began: now(),
            read_at: now(),
        }
    }

    /// Replaces what is wanted; starts what can be started. Once something is `serving`, the
    /// budget counts.
    pub(crate) fn want(&mut self, wants: BTreeSet<Want>, serving: bool) {
        self.failed.retain(|want, _| wants.contains(want));
        self.waiting = wants;
        self.waiting.retain(|want| !self.under_way.contains(want));
        self.serving = serving;
        self.start();
    }

    /// The account may do other things than before: what failed is tried again now.
    pub(crate) fn hurry(&mut self) {
        let due = now();
        for failed in self.failed.values_mut() {
            failed.backoff.reset();
            failed.retry_at = due;
        }
    }

    fn start(&mut self) {
        let due = now();
        while self.under_way.len() < READS_MAX
            && let Some(want) = self.next_in_turn(due)
            && (!self.serving || self.budget.take(due - self.began))
        {
            self.waiting.remove(&want);
            if is_config(&want) {
                self.last = Some(want.clone());
            }
            self.under_way.insert(want.clone());
            self.running.push(read(&self.daemon, want));
        }
    }

    /// What is begun next: keys first, which are few, then the configurations in turn.
    fn next_in_turn(&self, due: Instant) -> Option<Want> {
        let keys = self.waiting.iter().take_while(|want| !is_config(want));
        let behind = self.last.iter();
        let behind = behind.flat_map(|last| self.waiting.range((Excluded(last), Unbounded)));
        let mut all = keys.chain(behind).chain(&self.waiting);
        let is_due = |want: &&Want| {
            let failed = self.failed.get(*want);
            failed.is_none_or(|failed| failed.retry_at <= due)
        };
        all.find(is_due).cloned()
    }

    /// When something that waits can be started; `None` where that depends on something else.
    fn next_start(&self) -> Option<Instant> {
        if self.under_way.len() >= READS_MAX {
            return None;
        }
        let now = now();
        let waiting = self.waiting.iter().map(|want| {
            let failed = self.failed.get(want);
            failed.map_or(now, |failed| failed.retry_at)
        });
        let budget = match self.serving {
            true => self.began + self.budget.next(now - self.began),
            false => now,
        };
        Some(waiting.min()?.max(budget))
    }

    /// The next thing that was read, or may not be. Never resolves while there is nothing to do.
    pub(crate) async fn next(&mut self) -> Event {
        loop {
            let start = self.next_start();
            let ended = tokio::select! {
                ended = ended(&mut self.running) => Some(ended),
                () = at(start) => None,
            };
            let event = ended.and_then(|(want, result)| {
                self.under_way.remove(&want);
                match result {
                    Ok(event) => {
                        self.read_at = now();
                        self.failed.remove(&want);
                        Some(event)
                    }
                    Err(error) => self.fail(want, error),
                }
            });
            self.start();
            if let Some(event) = event {
                return event;
            }
        }
    }

    fn fail(&mut self, want: Want, error: Error) -> Option<Event> {
        let path = want.path().clone();
        let failed = self.failed.entry(want.clone()).or_insert_with(|| Failed {
            backoff: Backoff::new(RETRY_FIRST, RETRY_LONGEST, RETRY_SEED),
            retry_at: now(),
            refused: false,
            said: String::new(),
        });
        failed.refused = matches!(error, Error::Forbidden { .. });
        let delay = failed.backoff.next_delay();
        failed.retry_at = now()
            + match failed.refused {
                true => delay * REFUSED_FACTOR,
                false => delay,
            };
        let said = error.to_string();
        // What is refused is a problem, and is told as one.
        match failed.refused || failed.said == said {
            true => debug!(object = %path, error = said, "cannot read from the OpenSVC daemon"),
            false => warn!(
                object = %path,
                error = said,
                "cannot read from the OpenSVC daemon; will try again"
            ),
        }
        failed.said = said;
        self.waiting.insert(want);
        match error {
            Error::Forbidden { lack, .. } => Some(Event::Refused(path, lack)),
            _ => None,
        }
    }

    /// Until when the first snapshot waits for what is read, since the status came: as long as
    /// there is progress, so that a large cluster is not served by halves, but not for ever.
    pub(crate) fn first_end(&self, since: Instant) -> Instant {
        let progress = self.read_at.max(since) + FIRST_WAIT_MAX;
        progress.min(since + FIRST_WAIT_LONGEST)
    }

    /// Whether nothing is under way and nothing waits for its turn alone. What failed may still
    /// wait for its retry.
    pub(crate) fn is_done(&self) -> bool {
        let mut fresh = self.waiting.iter();
        self.under_way.is_empty() && fresh.all(|want| self.failed.contains_key(want))
    }

    /// Whether everything that is wanted and may be read was read.
    pub(crate) fn is_idle(&self) -> bool {
        let refused = |want| self.failed.get(want).is_some_and(|failed| failed.refused);
        let mut open = self.under_way.iter().chain(&self.waiting);
        open.all(refused)
    }
}

fn is_config(want: &Want) -> bool {
    matches!(want, Want::Config(..))
}

async fn ended<T>(running: &mut FuturesUnordered<BoxFuture<'static, T>>) -> T {
    match running.next().await {
        Some(ended) => ended,
        None => pending().await,
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
}

fn read(daemon: &Arc<dyn Daemon>, want: Want) -> BoxFuture<'static, (Want, Result<Event, Error>)> {
    let daemon = Arc::clone(daemon);
    let task = async move {
        debug!(?want, "reading");
        let result = match &want {
            Want::Secret(path, revision) => {
                let keys = read_pair(daemon.as_ref(), path).await;
                keys.map(|keys| Event::Secret(path.clone(), reading(revision, keys)))
            }
            Want::Trust(path, revision) => {
                let keys = read_keys(daemon.as_ref(), path, &TRUST_KEYS).await;
                keys.map(|keys| Event::Trust(path.clone(), reading(revision, keys)))
            }
            Want::Challenges(path, revision) => {
                let key = match alpn::is_carrier(path) {
                    true => alpn::KEY,
                    false => challenge::KEY,
                };
                let keys = read_keys(daemon.as_ref(), path, &[key]).await;
                keys.map(|keys| Event::Challenges(path.clone(), reading(revision, keys)))
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

fn reading(revision: &Name, keys: Secret) -> Reading<Secret> {
    Reading {
        revision: revision.clone(),
        content: Some(keys),
    }
}

async fn read_pair(daemon: &dyn Daemon, path: &ObjectPath) -> Result<Secret, Error> {
    let pair = read_keys(daemon, path, &PAIR_KEYS).await?;
    if Pair::of_secret(&pair).is_ok() {
        return Ok(pair);
    }
    let whole = read_keys(daemon, path, &[FULL_KEY]).await?;
    Ok(pair.into_iter().chain(whole).collect())
}

async fn read_keys(daemon: &dyn Daemon, path: &ObjectPath, keys: &[&str]) -> Result<Secret, Error> {
    let mut secret = Secret::new();
    for &key in keys {
        if let Some(value) = daemon.read_key(path, key).await? {
            secret.insert(key.to_owned(), value);
        }
    }
    Ok(secret)
}

/// How long the first snapshot waits while nothing is read, and altogether.
pub(crate) const FIRST_WAIT_MAX: Duration = Duration::from_secs(30);
const FIRST_WAIT_LONGEST: Duration = Duration::from_secs(600);
const RETRY_FIRST: Duration = Duration::from_millis(500);
const RETRY_LONGEST: Duration = Duration::from_secs(30);
/// What may not be read is tried so much later: it is tried at once when the rights change.
const REFUSED_FACTOR: u32 = 10;
/// Every queue that fails tries again at the same times.
const RETRY_SEED: u64 = 1;
/// Reads of the daemon at once.
const READS_MAX: usize = 4;
/// How many objects are read at once at most after a quiet while, and how long after each the
/// next one may be read: 50 in a second.
const BURST: u32 = 1_000;
const PAUSE: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::opensvc::raw::Raw;
    use crate::sim::Sim;

    #[tokio::test]
    async fn the_first_snapshot_waits_longer_with_each_read_but_not_for_ever() {
        let name = format!("osvc-igw-reads-{}.sock", std::process::id());
        let socket = std::env::temp_dir().join(name);
        let daemon = Sim::start(&socket, &["n1"]).unwrap();
        daemon.create("test/svc/a", "").unwrap();
        let mut reads = Reads::new(Arc::new(Raw::new(&socket)));
        let since = now();
        assert_eq!(reads.first_end(since), since + FIRST_WAIT_MAX);
        let want = Want::Config("test/svc/a".parse().unwrap(), "1".into());
        reads.want(BTreeSet::from([want]), false);
        assert!(matches!(reads.next().await, Event::Config(..)));
        assert!(reads.first_end(since) > since + FIRST_WAIT_MAX);
        reads.read_at = since + FIRST_WAIT_LONGEST;
        assert_eq!(reads.first_end(since), since + FIRST_WAIT_LONGEST);
        std::fs::remove_file(&socket).unwrap();
    }
}
