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

/// A connection that can be cut.
pub(super) struct Connection<T> {
    io: T,
    link: Arc<Link>,
    // One for each half: each wakes the task that polled it last.
    cut_read: Pin<Box<WaitForCancellationFutureOwned>>,
    cut_write: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Connection<TcpStream> {
    pub(super) fn tcp(io: TcpStream) -> Self {
        let peer = io.peer_addr().map(|address| address.to_string());
        Self::new(io, peer.unwrap_or_default())
    }
}

impl Connection<UnixStream> {
    pub(super) fn unix(io: UnixStream) -> Self {
        Self::new(io, "unix socket".to_owned())
    }
}

impl<T> Connection<T> {
    fn new(io: T, peer: String) -> Self {
        let link = Arc::new(Link::new(peer));
        let cut = || Box::pin(link.cut.clone().cancelled_owned());
        Self {
            io,
            cut_read: cut(),
            cut_write: cut(),
            link,
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
