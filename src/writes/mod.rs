//! EDGE: the queue of what the daemon is asked to write: one write at a time, each repeated with
//! backoff for as long as it is wanted. Whether it is still wanted is not decided here.
//!
//! A write is sent when it has been wanted for a while: by then every controller of the cluster
//! has heard what this one has, and wants the same.

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use serde::Serialize;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::backoff::Backoff;
use crate::inventory::Write;
use crate::opensvc::{Daemon, Error};

/// What is to be written, and what became of it so far.
pub(crate) struct Writes {
    daemon: Arc<dyn Daemon>,
    wanted: BTreeSet<Write>,
    running: Option<(Write, BoxFuture<'static, Result<(), Error>>)>,
    tries: BTreeMap<Write, Try>,
}

/// A write that the daemon does not show yet.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Waiting {
    /// What is to be written.
    pub write: Write,
    /// Whether the daemon took it.
    pub taken: bool,
    /// What the daemon said when it did not.
    pub failure: Option<String>,
}

/// What became of a write that is still wanted.
struct Try {
    backoff: Backoff,
    /// When it is sent, or sent again unless the daemon shows it before.
    due: Instant,
    /// Whether the daemon took it.
    taken: bool,
    /// What the daemon said when it did not.
    failure: Option<String>,
}

impl Writes {
    /// An empty queue.
    pub(crate) fn new(daemon: Arc<dyn Daemon>) -> Self {
        Self {
            daemon,
            wanted: BTreeSet::new(),
            running: None,
            tries: BTreeMap::new(),
        }
    }

    /// Replaces what is wanted. What is under way is not stopped.
    pub(crate) fn want(&mut self, writes: BTreeSet<Write>) {
        let now = now();
        self.tries.retain(|write, one| {
            let sent = one.taken || one.failure.is_some();
            writes.contains(write) || (sent && one.due > now)
        });
        for write in &writes {
            self.tries.entry(write.clone()).or_insert_with(|| Try {
                backoff: Backoff::new(RETRY_FIRST, RETRY_LONGEST, SEED),
                due: now + SETTLED,
                taken: false,
                failure: None,
            });
        }
        self.wanted = writes;
    }

    /// Sends the next write that is due, if none is under way; returns it.
    pub(crate) fn start(&mut self) -> Option<Write> {
        if self.running.is_some() {
            return None;
        }
        let now = now();
        let is_due = |write: &&Write| self.tries.get(write).is_none_or(|one| one.due <= now);
        let write = self.wanted.iter().find(is_due)?.clone();
        if self.tries.get(&write).is_some_and(|one| one.taken) {
            warn!(%write, "the OpenSVC daemon does not show what it took; writing it again");
        }
        self.running = Some((write.clone(), self.daemon.write(&write)));
        Some(write)
    }

    /// Waits for the write that is under way. Never resolves while there is none.
    pub(crate) async fn next(&mut self) {
        let Some((write, running)) = &mut self.running else {
            return pending().await;
        };
        let result = running.await;
        let write = write.clone();
        self.running = None;
        self.note(write, result);
    }

    /// What is wanted and not shown yet.
    pub(crate) fn waiting(&self) -> Vec<Waiting> {
        let waiting = self.wanted.iter().map(|write| {
            let one = self.tries.get(write);
            Waiting {
                write: write.clone(),
                taken: one.is_some_and(|one| one.taken),
                failure: one.and_then(|one| one.failure.clone()),
            }
        });
        waiting.collect()
    }

    /// When the next write is due; `None` where there is none or one is under way.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        if self.running.is_some() {
            return None;
        }
        let tries = self.wanted.iter().filter_map(|one| self.tries.get(one));
        tries.map(|one| one.due).min()
    }

    fn note(&mut self, write: Write, result: Result<(), Error>) {
        let failure = result.err().map(|error| {
            let source = std::error::Error::source(&error);
            let cause = source.map(|cause| format!(": {cause}"));
            format!("{error}{}", cause.unwrap_or_default())
        });
        let known = self.tries.get(&write);
        match &failure {
            None => info!(%write, "wrote to the OpenSVC daemon"),
            Some(failure) if known.is_some_and(|one| one.failure.as_ref() == Some(failure)) => {}
            Some(error) => {
                warn!(%write, error, "cannot write to the OpenSVC daemon; will try again");
            }
        }
        let Some(one) = self.tries.get_mut(&write) else {
            return;
        };
        let delay = one.backoff.next_delay();
        one.taken = failure.is_none();
        one.due = now() + if one.taken { delay.max(SHOWN) } else { delay };
        one.failure = failure;
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a part of the controller, where time passes"
)]
fn now() -> Instant {
    Instant::now()
}

/// How long a write has to be wanted first; the daemon tells of a change within about a second.
const SETTLED: Duration = Duration::from_secs(2);
/// How long the daemon gets to show what it took; 14 s were seen.
const SHOWN: Duration = Duration::from_secs(20);
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_LONGEST: Duration = Duration::from_secs(300);
const SEED: u64 = 2;
