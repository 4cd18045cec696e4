//! EDGE: agent 2.x over its unix socket, `lsnr.sock`: NUL-framed JSON, one request a connection.
//!
//! What a status or a patch means is for the mirror; here are connections, frames and time limits.

use std::collections::VecDeque;
use std::future::pending;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::Notify;
use tokio::time::{Sleep, sleep, timeout};
use tracing::{debug, warn};

use super::answer;
use super::frames::Frames;
pub use super::limits::Limits;
use super::mirror::{Message, Mirror, Status};
use super::request::{self, Ask, DAEMON_STATUS, EVENTS, Request};
use super::{Daemon, Error, LONG, changes};
use crate::aside::{MANY, apart, aside_if};
use crate::inventory::Account;
use crate::inventory::{Config, Event, ObjectPath, Sensitive, Write};

/// A daemon behind a unix socket, which may be in one of several places, that only root may open.
#[derive(Clone, Debug)]
pub struct Raw {
    sockets: Arc<[PathBuf]>,
    limits: Limits,
}

impl Raw {
    /// The daemon whose `lsnr.sock` is at `socket`.
    pub fn new(socket: impl AsRef<Path>) -> Self {
        Self::with_limits(socket, Limits::default())
    }

    /// Like [`new`](Self::new), with other limits.
    pub fn with_limits(socket: impl AsRef<Path>, limits: Limits) -> Self {
        Self {
            sockets: [socket.as_ref().to_owned()].into(),
            limits,
        }
    }

    /// The daemon whose socket is at the first of these paths that exists. They are looked at
    /// for each connection: the daemon may have been down, or another, when this process began.
    pub fn first_of(sockets: impl Into<Arc<[PathBuf]>>) -> Self {
        Self {
            sockets: sockets.into(),
            limits: Limits::default(),
        }
    }

    /// The first socket that there is.
    fn socket(&self) -> PathBuf {
        let existing = self.sockets.iter().find(|path| path.exists());
        let socket = existing.or_else(|| self.sockets.first());
        socket.cloned().unwrap_or_default()
    }

    async fn connect(&self) -> Result<UnixStream, Error> {
        let socket = self.socket();
        let connecting = UnixStream::connect(&socket);
        let connected = within(self.limits.connect, connecting).await;
        connected.map_err(|source| Error::Connect {
            address: socket.display().to_string(),
            source,
        })
    }

    /// Opens a connection and writes its one request.
    async fn send(&self, request: &Request) -> Result<UnixStream, Error> {
        let mut stream = self.connect().await?;
        let frame = request.frame()?;
        let writing = stream.write_all(&frame);
        let written = within(self.limits.request, writing).await;
        match written {
            Ok(()) => Ok(stream),
            Err(source) => Err(Error::Send {
                action: request.action,
                source,
            }),
        }
    }

    /// Reads until there is one whole frame.
    async fn receive(
        &self,
        action: &'static str,
        stream: &mut UnixStream,
    ) -> Result<Frames, Error> {
        let mut frames = Frames::default();
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let read = stream.read(&mut chunk).await;
            let read = read.map_err(|source| Error::Receive { action, source })?;
            let bytes = chunk.get(..read).unwrap_or_default();
            if bytes.is_empty() {
                let source = io::ErrorKind::UnexpectedEof.into();
                return Err(Error::Receive { action, source });
            }
            frames.push(bytes);
            if bytes.contains(&0) {
                return Ok(frames);
            }
            check_size(&frames, action, self.limits.bytes_max)?;
        }
    }

    /// Asks, and reads the whole answer.
    async fn answer(&self, request: Request) -> Result<Frames, Error> {
        let action = request.action;
        let mut stream = self.send(&request).await?;
        let answer = self.receive(action, &mut stream);
        let Ok(answer) = timeout(self.limits.of(action), answer).await else {
            let source = io::ErrorKind::TimedOut.into();
            return Err(Error::Receive { action, source });
        };
        answer
    }

    async fn status(self) -> Result<Status, Error> {
        let action = DAEMON_STATUS;
        let mut answer = self.answer(Request::new(action, json!({}))).await?;
        // Events come while a large one is read, and the daemon drops who does not take them.
        let read = move || answer::status(action, answer.next_frame().unwrap_or_default());
        apart(read).await
    }

    /// The status behind a subscription. The daemon serves each connection on a thread of its own,
    /// so that what comes second may be served first, and what changes between the two would be
    /// lost. Each connection makes it tell something to those who have subscribed: where the
    /// stream has been `heard`, it is asked. One that says nothing even so is asked all the same.
    async fn first_status(self, heard: Arc<Notify>) -> Result<Status, Error> {
        for _ in 0..FLUSHES_MAX {
            if let Err(error) = self.clone().flush().await {
                forgive(error)?;
                break;
            }
            if timeout(FIRST_WORD_MAX, heard.notified()).await.is_ok() {
                break;
            }
        }
        self.status().await
    }

    async fn flush(self) -> Result<(), Error> {
        self.ask(Request::new("whoami", json!({}))).await?;
        Ok(())
    }
}

impl Ask for Raw {
    async fn ask(&self, request: Request) -> Result<Value, Error> {
        let action = request.action;
        let mut answer = self.answer(request).await?;
        let answer = answer.next_frame().unwrap_or_default();
        answer::json(answer).map_err(|source| Error::Parse { action, source })
    }
}

impl Daemon for Raw {
    fn place(&self) -> String {
        self.socket().display().to_string()
    }

    fn watch(&self) -> BoxStream<'static, Result<Event, Error>> {
        let state = State::Closed(self.clone());
        stream::unfold(state, |state| async move {
            let mut watch = match state {
                State::Closed(raw) => match Watch::open(raw).await {
                    Ok(watch) => Box::new(watch),
                    Err(error) => return Some((Err(error), State::Ended)),
                },
                State::Open(watch) => watch,
                State::Ended => return None,
            };
            match watch.next().await {
                Ok(event) => Some((Ok(event), State::Open(watch))),
                Err(error) => Some((Err(error), State::Ended)),
            }
        })
        .boxed()
    }

    fn read_key(
        &self,
        path: &ObjectPath,
        key: &str,
    ) -> BoxFuture<'static, Result<Option<Sensitive>, Error>> {
        Box::pin(request::read_key(
            self.clone(),
            path.to_string(),
            key.to_owned(),
        ))
    }

    fn read_config(&self, path: &ObjectPath) -> BoxFuture<'static, Result<Option<Config>, Error>> {
        Box::pin(request::read_config(self.clone(), path.to_string()))
    }

    fn write(&self, write: &Write) -> BoxFuture<'static, Result<(), Error>> {
        Box::pin(request::write(self.clone(), write.clone()))
    }

    fn write_key(
        &self,
        path: &ObjectPath,
        key: &str,
        value: &Sensitive,
    ) -> BoxFuture<'static, Result<(), Error>> {
        let (path, key, value) = (path.clone(), key.to_owned(), value.clone());
        Box::pin(changes::set_key(self.clone(), path, key, value))
    }

    fn account(&self) -> BoxFuture<'static, Result<Account, Error>> {
        Box::pin(request::account(self.clone()))
    }

    fn create(&self, path: &ObjectPath) -> BoxFuture<'static, Result<(), Error>> {
        Box::pin(changes::create(self.clone(), path.clone()))
    }
}

/// How far a stream of events is.
enum State {
    Closed(Raw),
    Open(Box<Watch>),
    Ended,
}

/// A subscription and everything that keeps it alive: one state, no tasks.
struct Watch {
    raw: Raw,
    stream: UnixStream,
    chunk: Vec<u8>,
    frames: Frames,
    /// How the stream broke, if it did.
    broken: Option<Error>,
    /// Told of each message.
    heard: Arc<Notify>,
    mirror: Mirror,
    ready: VecDeque<Event>,
    /// A status under way; messages wait for it.
    status: Option<BoxFuture<'static, Result<Status, Error>>>,
    /// A status under way that the mirror is only compared with.
    checking: Option<BoxFuture<'static, Result<Status, Error>>>,
    flushing: Option<BoxFuture<'static, Result<(), Error>>>,
    flush: Pin<Box<Sleep>>,
    silence: Pin<Box<Sleep>>,
    refresh: Pin<Box<Sleep>>,
}

/// What a [`Watch`] woke up for.
enum Wake {
    Read(io::Result<usize>),
    Status(Result<Status, Error>),
    Checked(Result<Status, Error>),
    Flushed(Result<(), Error>),
    Flush,
    Silence,
    Refresh,
}

impl Watch {
    /// Subscribes first and asks for the status second, so that no change falls between the two.
    async fn open(raw: Raw) -> Result<Self, Error> {
        let stream = raw.send(&Request::new(EVENTS, json!({}))).await?;
        let limits = &raw.limits;
        let heard = Arc::new(Notify::new());
        let status = raw.clone().first_status(Arc::clone(&heard));
        Ok(Self {
            chunk: vec![0; CHUNK_BYTES],
            frames: Frames::default(),
            broken: None,
            heard,
            mirror: Mirror::default(),
            ready: VecDeque::new(),
            status: Some(Box::pin(status)),
            checking: None,
            flushing: None,
            flush: Box::pin(sleep(limits.flush)),
            silence: Box::pin(sleep(limits.silence)),
            refresh: Box::pin(sleep(limits.refresh)),
            raw,
            stream,
        })
    }

    async fn next(&mut self) -> Result<Event, Error> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(event);
            }
            // A status is as good where the stream broke meanwhile: of one that breaks each time
            // as soon as it begins there would never be one.
            if self.status.is_none() {
                if self.take_message()? {
                    continue;
                }
                if let Some(error) = self.broken.take() {
                    return Err(error);
                }
            }
            match self.wake().await {
                Wake::Read(read) => self.broken = self.take_bytes(read).err(),
                Wake::Status(status) => {
                    self.status = None;
                    let status = status?;
                    let is_long = status.is_of_more_than(MANY);
                    let events = aside_if(is_long, || self.mirror.refresh(status));
                    self.ready.extend(events);
                    self.refresh = Box::pin(sleep(self.raw.limits.refresh));
                    self.silence = Box::pin(sleep(self.raw.limits.silence));
                }
                Wake::Checked(status) => self.take_check(status)?,
                Wake::Flushed(flushed) => {
                    self.flushing = None;
                    self.flush = Box::pin(sleep(self.raw.limits.flush));
                    self.take_flush(flushed)?;
                }
                Wake::Flush => self.flushing = Some(Box::pin(self.raw.clone().flush())),
                Wake::Silence => self.heard_nothing()?,
                Wake::Refresh => self.checking = Some(Box::pin(self.raw.clone().status())),
            }
        }
    }

    /// Waits for whatever comes first. Nothing is lost where it is dropped half-way.
    async fn wake(&mut self) -> Wake {
        let is_whole = self.broken.is_none();
        let flush_due = self.flushing.is_none() && is_whole;
        let refresh_due = !self.waits_for_status();
        // It says nothing while it has not come to what makes it say something.
        let silence_counts = refresh_due && flush_due;
        tokio::select! {
            // Silence comes last: where the caller was slow, what waits to be read breaks it.
            biased;
            status = answered(&mut self.status) => Wake::Status(status),
            status = answered(&mut self.checking) => Wake::Checked(status),
            flushed = answered(&mut self.flushing) => Wake::Flushed(flushed),
            () = &mut self.flush, if flush_due => Wake::Flush,
            () = &mut self.refresh, if refresh_due => Wake::Refresh,
            read = self.stream.read(&mut self.chunk), if is_whole => Wake::Read(read),
            () = &mut self.silence, if silence_counts => Wake::Silence,
        }
    }

    /// A daemon that makes a status of thousands of objects may say nothing else meanwhile; the
    /// status has a limit of its own.
    fn waits_for_status(&self) -> bool {
        self.status.is_some() || self.checking.is_some()
    }

    /// One that answers nothing either is not slow.
    fn take_flush(&mut self, flushed: Result<(), Error>) -> Result<(), Error> {
        let Err(error) = flushed else {
            return Ok(());
        };
        forgive(error)?;
        match self.silence.is_elapsed() && !self.waits_for_status() {
            true => Err(self.raw.limits.silent()),
            false => Ok(()),
        }
    }

    fn heard_nothing(&mut self) -> Result<(), Error> {
        let silence = self.raw.limits.heard_nothing(&self.silence)?;
        self.silence = Box::pin(silence);
        Ok(())
    }

    fn take_bytes(&mut self, read: io::Result<usize>) -> Result<(), Error> {
        let action = EVENTS;
        let read = read.map_err(|source| Error::Receive { action, source })?;
        let bytes = self.chunk.get(..read).unwrap_or_default();
        if bytes.is_empty() {
            if self.frames.waiting() > 0 {
                let source = io::ErrorKind::UnexpectedEof.into();
                return Err(Error::Receive { action, source });
            }
            return Err(Error::Closed);
        }
        if bytes.contains(&0) {
            self.heard.notify_one();
            self.silence = Box::pin(sleep(self.raw.limits.silence));
        }
        self.frames.push(bytes);
        check_size(&self.frames, action, self.raw.limits.bytes_max)
    }

    /// Takes the next whole message in; whether there was one.
    fn take_message(&mut self) -> Result<bool, Error> {
        let action = EVENTS;
        let Some(frame) = self.frames.next_frame() else {
            return Ok(false);
        };
        let parse = |source| Error::Parse { action, source };
        let message = aside_if(frame.len() > LONG, || answer::json(frame));
        let message: Message = message.map_err(parse)?;
        if !message.has_kind() {
            let answer = serde_json::from_slice(frame).map_err(parse)?;
            answer::refusal_of(action, &answer)?;
        }
        match self.mirror.apply(message) {
            Ok(events) => self.ready.extend(events),
            Err(reason) => {
                warn!(%reason, "the mirror of the daemon's status is out of step");
                self.resync();
            }
        }
        Ok(true)
    }

    fn take_check(&mut self, status: Result<Status, Error>) -> Result<(), Error> {
        self.checking = None;
        let status = status?;
        let is_long = status.is_of_more_than(MANY);
        let events = aside_if(is_long, || self.mirror.check(status));
        self.ready.extend(events);
        let limits = &self.raw.limits;
        let wait = match self.mirror.is_suspicious() {
            // What the status held when it was read must have come after so many flushes.
            true => limits.flush * FLUSHES_SURE,
            false => limits.refresh,
        };
        self.refresh = Box::pin(sleep(wait));
        Ok(())
    }

    fn resync(&mut self) {
        self.checking = None;
        self.status = Some(Box::pin(self.raw.clone().status()));
    }
}

/// A request that only flushes may fail, unless nobody listens on the socket any more.
fn forgive(error: Error) -> Result<(), Error> {
    match error {
        Error::Connect { source, address }
            if matches!(
                source.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
            ) =>
        {
            Err(Error::Connect { source, address })
        }
        error => {
            debug!(%error, "the daemon did not answer a flush");
            Ok(())
        }
    }
}

fn check_size(frames: &Frames, action: &'static str, bytes_max: usize) -> Result<(), Error> {
    if frames.waiting() > bytes_max {
        return Err(Error::Oversized { action, bytes_max });
    }
    Ok(())
}

async fn answered<T>(under_way: &mut Option<BoxFuture<'static, T>>) -> T {
    match under_way {
        Some(future) => future.await,
        None => pending().await,
    }
}

async fn within<T>(limit: Duration, future: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let late = |_| Err(io::ErrorKind::TimedOut.into());
    timeout(limit, future).await.unwrap_or_else(late)
}

/// After so many flushes a change has come as a patch, or never will.
const FLUSHES_SURE: u32 = 3;
/// How often a daemon is asked for anything at all, to hear it on a new stream.
const FLUSHES_MAX: u32 = 5;
/// How long a word on a new stream is waited for, each time.
const FIRST_WORD_MAX: Duration = Duration::from_millis(50);
/// How much is read at once; the daemon's own socket buffer holds about 208 KiB.
const CHUNK_BYTES: usize = 64 << 10;
