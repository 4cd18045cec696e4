//! One client's connection: a name for the log, a way to cut it, and its place among the clients.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::Connected;

use super::threads::Place;

/// What the streams of one connection share.
#[derive(Debug)]
pub(super) struct Link {
    peer: String,
    cut: CancellationToken,
    place: Mutex<Weak<OwnedSemaphorePermit>>,
}

impl Link {
    fn new(peer: String) -> Self {
        Self {
            peer,
            cut: CancellationToken::new(),
            place: Mutex::new(Weak::new()),
        }
    }

    /// Who it is.
    pub(super) fn peer(&self) -> &str {
        &self.peer
    }

    /// Ends the connection, whatever the client does.
    pub(super) fn cut(&self) {
        self.cut.cancel();
    }

    /// Ends the connection in a moment: who reads can read why, and for who does not nothing is
    /// kept.
    #[expect(
        clippy::disallowed_methods,
        reason = "it lasts for a second and owns nothing that could be lost"
    )]
    pub(super) fn cut_soon(&self) {
        let cut = self.cut.clone();
        tokio::spawn(async move {
            sleep(LAST_WORDS).await;
            cut.cancel();
        });
    }

    /// One place for all of the connection's streams that ask for it here; `None` when there is
    /// none left.
    pub(super) fn share_place(&self, places: &Arc<Semaphore>) -> Option<Arc<OwnedSemaphorePermit>> {
        let mut shared = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = shared.upgrade() {
            return Some(place);
        }
        let place = Arc::new(Arc::clone(places).try_acquire_owned().ok()?);
        *shared = Arc::downgrade(&place);
        Some(place)
    }
}

/// A socket that one thread can leave to another.
pub(super) trait Socket: AsyncRead + AsyncWrite + Send + Sized + Unpin + 'static {
    /// What it is between the two.
    type Left: Send + 'static;

    /// Ends what this thread has to do with it.
    fn leave(self) -> io::Result<Self::Left>;

    /// Has this thread told of what comes.
    fn arrive(left: Self::Left) -> io::Result<Self>;

    /// Who is at the other end, in words.
    fn peer(&self) -> String;
}

impl Socket for TcpStream {
    type Left = std::net::TcpStream;

    fn leave(self) -> io::Result<Self::Left> {
        self.into_std()
    }

    fn arrive(left: Self::Left) -> io::Result<Self> {
        Self::from_std(left)
    }

    fn peer(&self) -> String {
        let peer = self.peer_addr().map(|address| address.to_string());
        peer.unwrap_or_default()
    }
}

impl Socket for UnixStream {
    type Left = std::os::unix::net::UnixStream;

    fn leave(self) -> io::Result<Self::Left> {
        self.into_std()
    }

    fn arrive(left: Self::Left) -> io::Result<Self> {
        Self::from_std(left)
    }

    fn peer(&self) -> String {
        "unix socket".to_owned()
    }
}

/// A connection that can be cut.
pub(super) struct Connection<T> {
    io: T,
    link: Arc<Link>,
    // One for each half: each wakes the task that polled it last.
    cut_read: Pin<Box<WaitForCancellationFutureOwned>>,
    cut_write: Pin<Box<WaitForCancellationFutureOwned>>,
    _place: Place,
}

impl<T: Socket> Connection<T> {
    pub(super) fn new(io: T, place: Place) -> Self {
        let link = Arc::new(Link::new(io.peer()));
        let cut = || Box::pin(link.cut.clone().cancelled_owned());
        Self {
            io,
            cut_read: cut(),
            cut_write: cut(),
            link,
            _place: place,
        }
    }
}

impl<T> fmt::Debug for Connection<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Connection").field(&self.link.peer).finish()
    }
}

impl<T> Connected for Connection<T> {
    type ConnectInfo = Arc<Link>;

    fn connect_info(&self) -> Arc<Link> {
        Arc::clone(&self.link)
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Connection<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.cut_read.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Connection<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.cut_write.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.cut_write.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.cut_write.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Pin::new(&mut self.io).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

/// How long a client that is dropped may take to read why.
const LAST_WORDS: Duration = Duration::from_secs(1);
