//! EDGE: what the operator writes to OpenSVC: keys, and objects that are made. One change at a
//! time: of several at once the daemon keeps some.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::Mutex;
use tokio::time::timeout;
use tracing::{debug, warn};

use crate::inventory::{ObjectPath, Sensitive};
use crate::opensvc::{Daemon, Error};
use crate::writes::{Ticket, WriteQueue};

/// What the operator changes of OpenSVC. A change has been read back when it is over.
pub trait Writer: Send + Sync {
    /// Sets one key of an object that exists.
    fn write_key<'a>(
        &'a self,
        path: &'a ObjectPath,
        key: &'a str,
        value: &'a Sensitive,
    ) -> BoxFuture<'a, Result<(), Error>>;

    /// Makes an object; one that exists is left as it is.
    fn create<'a>(&'a self, path: &'a ObjectPath) -> BoxFuture<'a, Result<(), Error>>;
}

/// The daemon itself, which is asked again for a while when it does not do what it is asked.
pub struct Direct {
    daemon: Arc<dyn Daemon>,
    turn: Mutex<()>,
}

impl Direct {
    /// Writes through this daemon; nothing else in the process may.
    pub fn new(daemon: Arc<dyn Daemon>) -> Self {
        Self {
            daemon,
            turn: Mutex::new(()),
        }
    }

    async fn persist(
        &self,
        path: &ObjectPath,
        what: &str,
        attempt: impl Fn() -> BoxFuture<'static, Result<(), Error>>,
    ) -> Result<(), Error> {
        let _turn = self.turn.lock().await;
        let mut delays = RETRIES.into_iter();
        loop {
            let error = match attempt().await {
                Ok(()) => {
                    debug!(object = %path, what, "wrote");
                    return Ok(());
                }
                Err(error) => error,
            };
            let Some(delay) = delays.next() else {
                return Err(error);
            };
            warn!(object = %path, what, %error, "cannot write to OpenSVC; will try again");
            tokio::time::sleep(delay).await;
        }
    }
}

impl Writer for Direct {
    fn write_key<'a>(
        &'a self,
        path: &'a ObjectPath,
        key: &'a str,
        value: &'a Sensitive,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(self.persist(path, key, move || self.daemon.write_key(path, key, value)))
    }

    fn create<'a>(&'a self, path: &'a ObjectPath) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(self.persist(path, "the object", move || self.daemon.create(path)))
    }
}

/// The controller's queue: all that the process writes goes through the one.
pub struct Queued(pub WriteQueue);

/// Waits for what is in the queue, which tries again by itself. What is not done in time is taken
/// back unless it is under way.
async fn written(path: &ObjectPath, mut ticket: Ticket) -> Result<(), Error> {
    let reason = match timeout(QUEUED_MAX, ticket.done()).await {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(unwritten)) => unwritten.to_string(),
        Err(_) => ticket.failure().unwrap_or_else(|| AWAY.to_owned()),
    };
    let object = path.to_string();
    Err(Error::Unwritten { object, reason })
}

impl Writer for Queued {
    fn write_key<'a>(
        &'a self,
        path: &'a ObjectPath,
        key: &'a str,
        value: &'a Sensitive,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let ticket = self.0.set_key(path, key, value.clone()).await;
            written(path, ticket).await
        })
    }

    fn create<'a>(&'a self, path: &'a ObjectPath) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move { written(path, self.0.create(path).await).await })
    }
}

/// How long a write may wait in the queue before it is said to fail.
const QUEUED_MAX: Duration = Duration::from_secs(20);
const AWAY: &str = "it waits for the OpenSVC daemon";
/// A daemon that restarts is back within seconds.
const RETRIES: [Duration; 5] = [
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
];
