//! EDGE: reads of what the event stream does not carry: keys of `sec` objects and raw
//! configurations. What is wanted is not decided here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{self, BoxFuture};
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::time::Instant;
use tracing::{debug, warn};

use crate::backoff::Backoff;
use crate::gateway::Want;
use crate::inventory::certificate::{FULL_KEY, PAIR_KEYS, Pair, TRUST_KEYS};
use crate::inventory::challenge;
use crate::inventory::{Event, ObjectPath, Reading, Secret};
use crate::opensvc::{Daemon, Error};

/// Reads of what the event stream does not carry, a few at a time.
pub(crate) struct Reads {
    daemon: Arc<dyn Daemon>,
    running: FuturesUnordered<BoxFuture<'static, (Want, Result<Event, Error>)>>,
    under_way: BTreeSet<Want>,
    waiting: BTreeSet<Want>,
    failed: BTreeMap<Want, (Backoff, Instant)>,
}

impl Reads {
    pub(crate) fn new(daemon: Arc<dyn Daemon>) -> Self {
        Self {
            daemon,
            running: FuturesUnordered::new(),
            under_way: BTreeSet::new(),
            waiting: BTreeSet::new(),
            failed: BTreeMap::new(),
        }
    }

    /// Replaces what is wanted; starts what can be started.
    pub(crate) fn want(&mut self, wants: BTreeSet<Want>) {
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
    pub(crate) async fn next(&mut self) -> Event {
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
        let (Want::Secret(path, _)
        | Want::Trust(path, _)
        | Want::Challenges(path, _)
        | Want::Config(path, _)) = &want;
        warn!(object = %path, %error, "cannot read from the OpenSVC daemon; will try again");
        let (backoff, retry_at) = self
            .failed
            .entry(want.clone())
            .or_insert_with(|| (Backoff::new(RETRY_FIRST, RETRY_LONGEST, RETRY_SEED), now()));
        *retry_at = now() + backoff.next_delay();
        self.waiting.insert(want);
    }

    /// Whether nothing is under way; what failed may still wait for its retry.
    pub(crate) fn is_done(&self) -> bool {
        self.under_way.is_empty()
    }

    /// Whether everything that is wanted was read.
    pub(crate) fn is_idle(&self) -> bool {
        self.under_way.is_empty() && self.waiting.is_empty()
    }

    /// Whether the time of a retry has come.
    pub(crate) fn is_due(&self) -> bool {
        self.next_retry().is_some_and(|at| at <= now())
    }

    pub(crate) fn next_retry(&self) -> Option<Instant> {
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
                let keys = read_pair(daemon.as_ref(), path).await;
                keys.map(|keys| Event::Secret(path.clone(), reading(revision, keys)))
            }
            Want::Trust(path, revision) => {
                let keys = read_keys(daemon.as_ref(), path, &TRUST_KEYS).await;
                keys.map(|keys| Event::Trust(path.clone(), reading(revision, keys)))
            }
            Want::Challenges(path, revision) => {
                let keys = read_keys(daemon.as_ref(), path, &[challenge::KEY]).await;
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

fn reading(revision: &str, keys: Secret) -> Reading<Secret> {
    Reading {
        revision: revision.to_owned(),
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

#[expect(
    clippy::disallowed_methods,
    reason = "when to try again is a matter of time"
)]
fn now() -> Instant {
    Instant::now()
}

const RETRY_FIRST: Duration = Duration::from_millis(500);
const RETRY_LONGEST: Duration = Duration::from_secs(30);
/// Every queue that fails tries again at the same times.
const RETRY_SEED: u64 = 1;
/// Reads of the daemon at once.
const READS_MAX: usize = 4;
