//! The raw socket, `lsnr.sock`: one request a connection, JSON and a NUL each way; an event
//! stream for as long as it is read. What is answered is decided in `answer`.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Notify, mpsc};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::answer::{Answer, answer};
use super::now;
use super::state::State;

/// What the handles and the server share.
pub(super) struct Shared {
    state: Mutex<State>,
    /// Something changed that the accept loop has to know.
    pub(super) wake: Notify,
}

impl Shared {
    /// Shares a state.
    pub(super) fn new(state: State) -> Self {
        Self {
            state: Mutex::new(state),
            wake: Notify::new(),
        }
    }

    /// The state, its clock set.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.cluster.now = now();
        state
    }
}

impl Shared {
    /// Says what is about to be written to an event stream; returns in pieces of how many bytes.
    pub(super) fn tapped(&self, bytes: &[u8]) -> usize {
        let (chunk, tap) = {
            let state = self.lock();
            (state.chunk, state.tap.clone())
        };
        if let Some(tap) = tap {
            tap(bytes);
        }
        chunk
    }
}

/// The server's tasks; they end with this value.
pub(super) struct Server(Mutex<Vec<JoinHandle<()>>>);

impl Server {
    /// Binds the socket, replacing a stale file, and serves.
    pub(super) fn start(shared: Arc<Shared>, socket: &Path) -> io::Result<Self> {
        let listener = bind(socket)?;
        let serving = serve(shared, socket.to_owned(), listener);
        Ok(Self(Mutex::new(vec![background(serving)])))
    }

    /// Serves something else, too.
    pub(super) fn add(&self, serving: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.push(background(serving));
    }

    /// Ends every connection and the server.
    pub(super) fn stop(&self) {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for task in tasks.drain(..) {
            task.abort();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the handle is kept, and aborted on drop"
)]
fn background(server: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    tokio::spawn(server)
}

/// Binds a socket, replacing a stale file.
pub(super) fn bind(socket: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(socket) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    UnixListener::bind(socket)
}

async fn serve(shared: Arc<Shared>, socket: PathBuf, listener: UnixListener) {
    let mut listener = Some(listener);
    let mut connections = JoinSet::new();
    let mut pace = PACE_IDLE;
    let mut steps = interval(pace);
    loop {
        let (restart, refuse) = {
            let state = shared.lock();
            (state.restart, state.refuse)
        };
        if let Some(down) = restart {
            // The socket file stays, as the real one does: connecting is refused.
            listener = None;
            connections.shutdown().await;
            sleep(down).await;
            let mut state = shared.lock();
            state.come_back();
            pace = state.pace;
            drop(state);
            steps = interval(pace);
            steps.set_missed_tick_behavior(MissedTickBehavior::Delay);
            steps.reset();
        }
        if refuse {
            listener = None;
        } else if listener.is_none() {
            listener = bind(&socket).ok();
        }
        let booting = shared.lock().cluster.boot.is_some();
        tokio::select! {
            stream = accept(listener.as_ref()) => {
                connections.spawn(converse(shared.clone(), stream));
            }
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            () = shared.wake.notified() => {}
            _ = steps.tick(), if booting => shared.lock().boot_step(),
        }
    }
}

async fn accept(listener: Option<&UnixListener>) -> UnixStream {
    let Some(listener) = listener else {
        return std::future::pending().await;
    };
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            // Out of descriptors, most likely: not to spin on it.
            Err(_) => sleep(PAUSE).await,
        }
    }
}

async fn converse(shared: Arc<Shared>, mut stream: UnixStream) {
    let session = {
        let mut state = shared.lock();
        let (id, now) = (state.cluster.uuid(), state.cluster.now);
        state.sessions.open(&id, now);
        // The first message of a daemon that starts is for those who are there already.
        if !state.blank() {
            state.note();
            state.journal.flush(now);
        }
        id
    };
    let request = timeout(REQUEST_MAX, read_request(&mut stream)).await;
    let sent = match request {
        Ok(Some(request)) if !request.is_empty() => {
            respond(&shared, &session, &request, &mut stream).await
        }
        _ => 0,
    };
    let mut state = shared.lock();
    state.sessions.close(&session, sent);
    let now = state.cluster.now;
    state.journal.leave(now);
    // Seen by subscribers with the next message, as the real one.
    if !state.blank() {
        state.note();
    }
}

async fn read_request(stream: &mut UnixStream) -> Option<Vec<u8>> {
    let (mut request, mut chunk) = (Vec::new(), [0; 4096]);
    loop {
        let count = stream.read(&mut chunk).await.ok()?;
        if count == 0 {
            return None;
        }
        request.extend_from_slice(&chunk[..count]);
        if let Some(end) = request.iter().position(|byte| *byte == 0) {
            request.truncate(end);
            return Some(request);
        }
    }
}

async fn respond(shared: &Shared, session: &str, request: &[u8], stream: &mut UnixStream) -> usize {
    let delay = shared.lock().delay;
    if !delay.is_zero() {
        sleep(delay).await;
    }
    let answered = answer(&mut shared.lock(), session, request);
    match answered {
        Answer::Json(json) => {
            let mut bytes = json.to_string().into_bytes();
            bytes.push(0);
            // A client that is gone does not want its answer.
            let _ = stream.write_all(&bytes).await;
            bytes.len()
        }
        Answer::Status(text) => {
            let mut bytes = text.into_bytes();
            bytes.push(0);
            if shared.lock().cuts_status() {
                bytes.truncate(bytes.len() / 2);
            }
            shared.tapped(&bytes);
            let _ = stream.write_all(&bytes).await;
            bytes.len()
        }
        Answer::Events(messages) => pump(shared, messages, stream).await,
    }
}

async fn pump(
    shared: &Shared,
    mut messages: mpsc::Receiver<Vec<u8>>,
    stream: &mut UnixStream,
) -> usize {
    let mut sent = 0;
    while let Some(message) = messages.recv().await {
        let most = shared.lock().message_max;
        let whole = message.len() <= most;
        let bytes = if whole {
            &message[..]
        } else {
            &message[..most]
        };
        let chunk = shared.tapped(bytes);
        for part in bytes.chunks(chunk) {
            if stream.write_all(part).await.is_err() {
                return sent;
            }
        }
        if !whole {
            break;
        }
        sent += bytes.len();
    }
    sent
}

/// The real one closes a connection that says nothing for so long.
const REQUEST_MAX: Duration = Duration::from_secs(5);

/// Between two tries to accept, when the first failed.
const PAUSE: Duration = Duration::from_millis(10);

/// An interval has to have a period, also when nobody asks it.
const PACE_IDLE: Duration = Duration::from_secs(1);
