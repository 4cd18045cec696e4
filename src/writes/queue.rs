//! EDGE: how other tasks of the process have keys written and objects created: what they submit
//! waits here in order, and is given to the one writer. Nothing here talks to the daemon.

use tokio::sync::{mpsc, watch};

use crate::inventory::{Change, ObjectPath, Sensitive};

/// The way to the one writer of this process. Cheap to clone.
///
/// What is submitted is written one at a time, and on one object in the order in which it was
/// submitted; a creation comes before the keys. It is tried again with backoff for as long as
/// somebody holds its [`Ticket`]. A newer value of a key takes the place of one that waits.
#[derive(Clone, Debug)]
pub struct WriteQueue(mpsc::Sender<Submission>);

/// A change and who waits for it.
#[derive(Debug)]
pub(super) struct Submission {
    pub(super) change: Change,
    pub(super) progress: watch::Sender<Progress>,
}

/// How far something that was submitted is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Progress {
    /// It waits; what the daemon said last.
    Waiting(Option<String>),
    /// The daemon has it.
    Done,
    /// The daemon cannot have it, however often it is tried.
    Impossible(String),
}

/// Waits for something that was submitted. Where it is dropped, and nobody else waits for the
/// same, what is not under way yet is not written any more.
#[derive(Debug)]
#[must_use = "what nobody waits for is not written"]
pub struct Ticket(watch::Receiver<Progress>);

/// Why something that was submitted is not written.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unwritten {
    /// The daemon cannot have it, however often it is tried: what is wrong, without the value.
    #[error("{0}")]
    Impossible(String),
    /// The controller ended.
    #[error("the controller ended before it was written")]
    Ended,
}

impl WriteQueue {
    /// The handle, and the end that is read.
    pub(super) fn new() -> (Self, mpsc::Receiver<Submission>) {
        let (sender, receiver) = mpsc::channel(INBOX_MAX);
        (Self(sender), receiver)
    }

    /// Sets one key of a `sec` or `cfg` object. Done is what reads back as it was written.
    pub async fn set_key(&self, object: &ObjectPath, key: &str, value: Sensitive) -> Ticket {
        let (object, key) = (object.clone(), key.to_owned());
        self.submit(Change::Key { object, key, value }).await
    }

    /// Creates an object without keywords; one that exists is left as it is.
    pub async fn create(&self, object: &ObjectPath) -> Ticket {
        self.submit(Change::Create(object.clone())).await
    }

    async fn submit(&self, change: Change) -> Ticket {
        let (progress, ticket) = watch::channel(Progress::Waiting(None));
        // Where the controller has ended the ticket says so.
        let _ = self.0.send(Submission { change, progress }).await;
        Ticket(ticket)
    }
}

impl Ticket {
    /// Waits until it is written. It can be waited for again after it was given up.
    ///
    /// # Errors
    /// When it never will be.
    pub async fn done(&mut self) -> Result<(), Unwritten> {
        let over = |progress: &Progress| !matches!(progress, Progress::Waiting(_));
        let progress = match self.0.wait_for(over).await {
            Ok(progress) => progress.clone(),
            Err(_) => return Err(Unwritten::Ended),
        };
        match progress {
            Progress::Impossible(reason) => Err(Unwritten::Impossible(reason)),
            _ => Ok(()),
        }
    }

    /// What the daemon said when it did not take it last, without the value.
    pub fn failure(&self) -> Option<String> {
        match &*self.0.borrow() {
            Progress::Waiting(failure) => failure.clone(),
            _ => None,
        }
    }
}

impl Submission {
    /// Whether somebody waits for it.
    pub(super) fn is_wanted(&self) -> bool {
        !self.progress.is_closed()
    }
}

/// What may be submitted and not be taken in yet: whoever submits more waits.
const INBOX_MAX: usize = 16;
