//! EDGE: the queue of all that the daemon is asked to write: one write at a time, each repeated
//! with backoff for as long as it is wanted. Whether it is still wanted is not decided here.
//! Nothing else in the process writes, so that no object ever has two writers.
//!
//! A keyword is written when it has been wanted for a while: by then every controller of the
//! cluster has heard what this one has, and wants the same.

mod line;
mod queue;

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::backoff::Backoff;
use crate::clock::now;
use crate::inventory::{Change, Target, Write};
use crate::opensvc::{Daemon, Error};
use line::{Failure, Line};
use queue::Submission;
pub use queue::{Ticket, Unwritten, WriteQueue};

/// What is to be written, and what became of it so far.
pub(crate) struct Writes {
    daemon: Arc<dyn Daemon>,
    wanted: BTreeSet<Write>,
    tries: BTreeMap<Write, Try>,
    /// What other tasks submitted.
    line: Line,
    queue: WriteQueue,
    inbox: mpsc::Receiver<Submission>,
    running: Option<(Change, BoxFuture<'static, Result<(), Error>>)>,
    began: Instant,
}

/// A write that the daemon does not show yet.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Waiting {
    /// What is to be written.
    pub write: Target,
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
        let (queue, inbox) = WriteQueue::new();
        Self {
            daemon,
            wanted: BTreeSet::new(),
            tries: BTreeMap::new(),
            line: Line::default(),
            queue,
            inbox,
            running: None,
            began: now(),
        }
    }

    /// The way for others to have something written.
    pub(crate) fn queue(&self) -> WriteQueue {
        self.queue.clone()
    }

    /// Replaces the keywords that are wanted. What is under way is not stopped.
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

    /// The account may do other things than before: what failed is tried again now.
    pub(crate) fn hurry(&mut self) {
        let now = now();
        for one in self.tries.values_mut().filter(|one| one.failure.is_some()) {
            one.backoff.reset();
            one.due = now;
        }
        self.line.hurry(now - self.began);
    }

    /// Sends the next write that is due, if none is under way; returns it if it is a keyword.
    pub(crate) fn start(&mut self) -> Option<Write> {
        if self.running.is_some() {
            return None;
        }
        let now = now();
        let keyword = self.next_keyword().filter(|(due, _)| *due <= now);
        let submitted = self.line.next_due().map(|due| self.began + due);
        // Neither kind holds up the other: what was due first comes first.
        let change = match (keyword, submitted) {
            (Some((due, write)), other) if other.is_none_or(|other| due <= other) => {
                Change::Keyword(write.clone())
            }
            _ => self.line.start(now - self.began)?,
        };
        let running = match &change {
            Change::Keyword(write) => self.daemon.write(write),
            Change::Key { object, key, value } => self.daemon.write_key(object, key, value),
            Change::Create(object) => self.daemon.create(object),
        };
        self.running = Some((change.clone(), running));
        let Change::Keyword(write) = change else {
            return None;
        };
        if self.tries.get(&write).is_some_and(|one| one.taken) {
            warn!(%write, "the OpenSVC daemon does not show what it took; writing it again");
        }
        Some(write)
    }

    /// The keyword that is due first, and when.
    fn next_keyword(&self) -> Option<(Instant, &Write)> {
        let wanted = self.wanted.iter();
        let due = wanted.filter_map(|write| Some((self.tries.get(write)?.due, write)));
        due.min()
    }

    /// Waits for the write that is under way, or for what is submitted. Never resolves while there
    /// is neither.
    pub(crate) async fn next(&mut self) {
        let running = async {
            match &mut self.running {
                Some((_, running)) => running.await,
                None => pending().await,
            }
        };
        let room = self.line.has_room();
        let result = tokio::select! {
            result = running => result,
            Some(submission) = self.inbox.recv(), if room => {
                self.line.add(now() - self.began, submission);
                return;
            }
        };
        if let Some((change, _)) = self.running.take() {
            self.note(change, result);
        }
    }

    /// What is wanted and not shown yet.
    pub(crate) fn waiting(&self) -> Vec<Waiting> {
        let waiting = self.wanted.iter().map(|write| {
            let one = self.tries.get(write);
            Waiting {
                write: Target::Keyword(write.clone()),
                taken: one.is_some_and(|one| one.taken),
                failure: one.and_then(|one| one.failure.clone()),
            }
        });
        waiting.chain(self.line.waiting()).collect()
    }

    /// When the next write is due; `None` where there is none or one is under way.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        if self.running.is_some() {
            return None;
        }
        let submitted = self.line.next_due().map(|due| self.began + due);
        let keyword = self.next_keyword().map(|(due, _)| due);
        keyword.into_iter().chain(submitted).min()
    }

    fn note(&mut self, change: Change, result: Result<(), Error>) {
        let never = matches!(result, Err(Error::Unsendable { .. }));
        let failure = result.err().map(|error| {
            let source = std::error::Error::source(&error);
            let cause = source.map(|cause| format!(": {cause}"));
            format!("{error}{}", cause.unwrap_or_default())
        });
        let write = change.target();
        let news = match change {
            Change::Keyword(keyword) => self.note_keyword(&keyword, failure.clone()),
            _ => {
                let failed = |reason| match never {
                    true => Failure::Never(reason),
                    false => Failure::Yet(reason),
                };
                let result = failure.clone().map_or(Ok(()), |reason| Err(failed(reason)));
                self.line.finish(now() - self.began, result)
            }
        };
        match failure {
            None => info!(%write, "wrote to the OpenSVC daemon"),
            Some(error) if news && never => {
                warn!(%write, error, "cannot write to the OpenSVC daemon");
            }
            Some(error) if news => {
                warn!(%write, error, "cannot write to the OpenSVC daemon; will try again");
            }
            Some(_) => {}
        }
    }

    /// Returns whether it failed in another way than before.
    fn note_keyword(&mut self, write: &Write, failure: Option<String>) -> bool {
        let Some(one) = self.tries.get_mut(write) else {
            return failure.is_some();
        };
        let news = failure.is_some() && one.failure != failure;
        let delay = one.backoff.next_delay();
        one.taken = failure.is_none();
        one.due = now() + if one.taken { delay.max(SHOWN) } else { delay };
        one.failure = failure;
        news
    }
}

/// How long a write has to be wanted first; the daemon tells of a change within about a second.
const SETTLED: Duration = Duration::from_secs(2);
/// How long the daemon gets to show what it took; 14 s were seen.
const SHOWN: Duration = Duration::from_secs(20);
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_LONGEST: Duration = Duration::from_secs(300);
const SEED: u64 = 2;
