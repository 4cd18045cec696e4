//! EDGE: how long a daemon is waited for, and how much is taken of it.

use std::time::Duration;

use tokio::time::{Sleep, sleep};

use super::Error;
use super::request::{CREATE, DAEMON_STATUS, SERVICE_ACTION};

/// How long and how large things may be before something is taken to be wrong.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Time to connect.
    pub connect: Duration,
    /// Time to write a request.
    pub request: Duration,
    /// Time to read a whole answer.
    pub answer: Duration,
    /// Time to read the whole status, which of ten thousand services is some 70 MB.
    pub status: Duration,
    /// Time to read the answer to a change: the daemon runs a command for it.
    pub change: Duration,
    /// The pause between two requests that make the daemon send what it holds back.
    pub flush: Duration,
    /// The longest pause between two messages of the event stream.
    pub silence: Duration,
    /// The time after which the status is fetched and compared, for what patches cannot express.
    pub refresh: Duration,
    /// The longest answer or message, and the most that may wait for a status.
    pub bytes_max: usize,
}

impl Limits {
    /// Time to read the answer to a request.
    pub(super) fn of(&self, action: &str) -> Duration {
        match action {
            SERVICE_ACTION | CREATE => self.change,
            DAEMON_STATUS => self.status,
            _ => self.answer,
        }
    }

    /// The wait for the next message is over: another one, where the caller came back to it late.
    /// It did not ask then either, and the daemon keeps what it has until it is asked.
    ///
    /// # Errors
    /// [`Error::Silent`] where it was waited all the time.
    pub(super) fn heard_nothing(&self, wait: &Sleep) -> Result<Sleep, Error> {
        let late = wait.deadline().elapsed();
        if late > self.silence / 10 {
            return Ok(sleep(self.silence));
        }
        Err(self.silent())
    }

    /// That nothing was heard for too long.
    pub(super) fn silent(&self) -> Error {
        let seconds = self.silence.as_secs();
        Error::Silent { seconds }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // The daemon itself gives a client 5 s for its request.
            connect: Duration::from_secs(5),
            request: Duration::from_secs(5),
            answer: Duration::from_secs(5),
            status: Duration::from_secs(60),
            change: Duration::from_secs(60),
            // Every new connection flushes the daemon's last changes, and is itself a change of
            // its statistics: with one a second a patch comes about every second.
            flush: Duration::from_secs(1),
            silence: Duration::from_secs(5),
            refresh: Duration::from_secs(300),
            bytes_max: 1 << 30,
        }
    }
}
