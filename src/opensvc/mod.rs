//! EDGE: the OpenSVC daemon. Every way of talking to it is behind [`Daemon`], and nothing
//! outside this folder knows which agent answers.

pub mod json_delta;
pub mod mirror;
mod projection;
pub mod raw;

use futures::future::BoxFuture;
use futures::stream::BoxStream;

use crate::inventory::{Config, Event, ObjectPath, Sensitive};

/// A daemon that can be watched and read.
pub trait Daemon: Send + Sync {
    /// Starts watching: the first event is an [`Event::Reset`], later ones keep it true.
    ///
    /// The stream ends with an error, or ends, when the connection does; the caller starts anew.
    fn watch(&self) -> BoxStream<'static, Result<Event, Error>>;

    /// Reads one key of a `sec` object; `None` where the object or the key does not exist.
    fn read_key(
        &self,
        path: &ObjectPath,
        key: &str,
    ) -> BoxFuture<'static, Result<Option<Sensitive>, Error>>;

    /// Reads an object's raw configuration; `None` where the object does not exist.
    fn read_config(&self, path: &ObjectPath) -> BoxFuture<'static, Result<Option<Config>, Error>>;
}

/// Why talking to the daemon failed; each variant says what was being tried.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The daemon's socket did not take the connection.
    #[error("cannot connect to the OpenSVC daemon at {address}")]
    Connect {
        /// The socket's path.
        address: String,
        /// What the system said.
        source: std::io::Error,
    },
}
