//! EDGE: the OpenSVC daemon. Every way of talking to it is behind [`Daemon`], and nothing
//! outside this folder knows which agent answers.
//!
//! [`raw`] and [`h2`] are the ways to an agent 2.1; they share [`mirror`] and what is asked. An
//! agent 3 has its place beside them; so far it is found out by `probe`, and named.

mod answer;
mod changes;
pub mod frames;
pub mod h2;
pub mod json_delta;
mod limits;
pub mod local;
pub mod mirror;
mod probe;
mod projection;
pub mod raw;
mod reading;
mod request;
pub mod rights;
pub mod sse;
pub mod tls;

use std::path::PathBuf;

use futures::future::BoxFuture;
use futures::stream::BoxStream;

use crate::inventory::{Account, Config, Event, ObjectPath, Sensitive, Write};

/// A daemon that can be watched, read and written to.
pub trait Daemon: Send + Sync {
    /// Starts watching: the first event is an [`Event::Reset`], later ones keep it true.
    ///
    /// The stream ends with an error, or ends, when the connection does; the caller starts anew.
    fn watch(&self) -> BoxStream<'static, Result<Event, Error>>;

    /// Reads one key of a `sec` or `cfg` object; `None` where the object or the key does not exist.
    fn read_key(
        &self,
        path: &ObjectPath,
        key: &str,
    ) -> BoxFuture<'static, Result<Option<Sensitive>, Error>>;

    /// Reads an object's raw configuration; `None` where the object does not exist.
    fn read_config(&self, path: &ObjectPath) -> BoxFuture<'static, Result<Option<Config>, Error>>;

    /// Changes one keyword of an object's configuration. The daemon has to be asked for one
    /// change at a time: of several at once it confirms all and keeps some.
    ///
    /// That it was done is shown by the object alone, later.
    fn write(&self, write: &Write) -> BoxFuture<'static, Result<(), Error>>;

    /// Sets one key of a `sec` or `cfg` object that exists, and returns when it reads back as
    /// written and the daemon was made to tell of it. As with [`write`](Self::write), one change
    /// at a time.
    fn write_key(
        &self,
        path: &ObjectPath,
        key: &str,
        value: &Sensitive,
    ) -> BoxFuture<'static, Result<(), Error>>;

    /// Asks who this process is for the daemon, and what it may.
    fn account(&self) -> BoxFuture<'static, Result<Account, Error>>;

    /// Creates an object without keywords; one that exists is left as it is.
    fn create(&self, path: &ObjectPath) -> BoxFuture<'static, Result<(), Error>>;

    /// Where it is, for people: a socket's path, or a host and a port. Empty where nobody knows.
    fn place(&self) -> String {
        String::new()
    }
}

/// Why talking to the daemon failed; each variant says what was being tried.
///
/// No variant holds any part of a secret's value.
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
    /// TLS with the daemon did not come about.
    #[error("cannot speak TLS with the OpenSVC daemon at {address}: {reason}")]
    Tls {
        /// The daemon's host and port.
        address: String,
        /// What is wrong, and what helps.
        reason: String,
    },
    /// A file that says who this process is, or whom to believe, cannot be used.
    #[error("cannot use {path} ({option}): {reason}")]
    Credentials {
        /// The option that names it.
        option: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong, without a word of what is in it.
        reason: String,
    },
    /// The daemon does not know this user, or not with these credentials.
    #[error(
        "the OpenSVC daemon at {address} does not take these credentials: {}; a password or a \
         token has to be right",
        rights::UNKNOWN
    )]
    Unauthorized {
        /// The daemon's host and port.
        address: String,
    },
    /// The daemon closed the connection where an answer was due, and was shown a token.
    #[error("the OpenSVC daemon at {address} hangs up on {action}, as on a token that is expired")]
    HungUp {
        /// The daemon's host and port.
        address: String,
        /// The daemon's name of the request.
        action: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// Who answers is no agent 2.x.
    #[error("at {address} is an OpenSVC agent v3, or none at all: only agents 2.1 are followed")]
    OtherAgent {
        /// The daemon's socket, or its host and port.
        address: String,
    },
    /// A request is longer than the daemon reads.
    #[error("cannot send {action} of {bytes} bytes: the daemon reads {bytes_max}")]
    Unsendable {
        /// The daemon's name of the request.
        action: &'static str,
        /// How long it is.
        bytes: usize,
        /// How much the daemon reads.
        bytes_max: usize,
    },
    /// What was to be written is not, by now.
    #[error("{object} is not written: {reason}")]
    Unwritten {
        /// The object.
        object: String,
        /// What the daemon said last, without what was to be written.
        reason: String,
    },
    /// A request could not be written.
    #[error("cannot send {action} to the OpenSVC daemon")]
    Send {
        /// The daemon's name of the request.
        action: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// An answer, or a message of the event stream, could not be read to its end.
    #[error("cannot receive what the OpenSVC daemon answers to {action}")]
    Receive {
        /// The daemon's name of the request.
        action: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// An answer or message is no JSON.
    #[error("cannot parse what the OpenSVC daemon answers to {action}")]
    Parse {
        /// The daemon's name of the request.
        action: &'static str,
        /// What the parser said: a position, never the text.
        source: serde_json::Error,
    },
    /// An answer or message is longer than any that makes sense.
    #[error("the OpenSVC daemon answers more than {bytes_max} bytes to {action}")]
    Oversized {
        /// The daemon's name of the request.
        action: &'static str,
        /// The limit.
        bytes_max: usize,
    },
    /// The answer is JSON, but not of the shape that the request has.
    #[error("the OpenSVC daemon answers {action} with something else: {reason}")]
    Answer {
        /// The daemon's name of the request.
        action: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The daemon answered that it does not do what was asked.
    #[error("the OpenSVC daemon refuses {action} with status {status}: {reason}")]
    Refused {
        /// The daemon's name of the request.
        action: &'static str,
        /// The daemon's own status word or number.
        status: String,
        /// The daemon's own error text, shortened; left out where a secret was asked for.
        reason: String,
    },
    /// The daemon does not let this account do what was asked.
    #[error("the OpenSVC daemon refuses {action}: {lack}")]
    Forbidden {
        /// The daemon's name of the request.
        action: &'static str,
        /// The right that is missing, and the command that gives it.
        lack: String,
    },
    /// The daemon ended the event stream.
    #[error("the OpenSVC daemon closed the event stream")]
    Closed,
    /// The event stream is open, but nothing comes although something must.
    #[error("the OpenSVC daemon sent no event for {seconds} s: the subscription is lost")]
    Silent {
        /// How long nothing came.
        seconds: u64,
    },
}

/// What is longer than this is read while other tasks go on, in bytes: less takes some tenths of a
/// second.
const LONG: usize = 16 << 20;
