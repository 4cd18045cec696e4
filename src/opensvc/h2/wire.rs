//! EDGE: one HTTP/2 connection, driven by whoever waits for something on it: no task of its own.

use std::io;
use std::pin::pin;

use ::h2::client::{self, SendRequest};
use ::h2::{PingPong, RecvStream};
use bytes::Bytes;
use http::{Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};

/// What a connection runs over.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// An open connection.
pub(super) struct Wire {
    sender: SendRequest<Bytes>,
    connection: client::Connection<Box<dyn Io>, Bytes>,
    ended: bool,
}

impl Wire {
    /// Opens a connection. The daemon must not push: it is told so.
    pub(super) async fn open(io: Box<dyn Io>) -> io::Result<Self> {
        let opening = client::Builder::new()
            .enable_push(false)
            .initial_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .handshake(io);
        let (sender, connection) = opening.await.map_err(into_io)?;
        Ok(Self {
            sender,
            connection,
            ended: false,
        })
    }

    /// The PINGs of this connection; they can be taken once.
    pub(super) fn pings(&mut self) -> Option<PingPong> {
        self.connection.ping_pong()
    }

    /// Sends a request and waits for the head of its answer.
    pub(super) async fn request(
        &mut self,
        request: Request<()>,
        body: Option<Bytes>,
    ) -> io::Result<Response<RecvStream>> {
        let sender = self.sender.clone();
        let exchange = async {
            let mut sender = sender.ready().await?;
            // An empty body is a body, too, and the daemon hangs up on it.
            let (response, mut stream) = sender.send_request(request, body.is_none())?;
            if let Some(body) = body {
                stream.send_data(body, true)?;
            }
            response.await
        };
        self.run_for(exchange).await.map_err(into_io)
    }

    /// The next bytes of an answer; `None` at its end.
    pub(super) async fn receive(&mut self, body: &mut RecvStream) -> io::Result<Option<Bytes>> {
        let Some(bytes) = self
            .run_for(body.data())
            .await
            .transpose()
            .map_err(into_io)?
        else {
            return Ok(None);
        };
        let released = body.flow_control().release_capacity(bytes.len());
        released.map_err(into_io)?;
        Ok(Some(bytes))
    }

    /// Does the connection's own work until `wanted` is there. Nothing is lost where this is
    /// dropped half-way, if nothing is in `wanted`.
    async fn run_for<T>(&mut self, wanted: impl Future<Output = T>) -> T {
        let mut wanted = pin!(wanted);
        loop {
            tokio::select! {
                biased;
                wanted = &mut wanted => return wanted,
                // Whatever ended it, `wanted` is told.
                _ = &mut self.connection, if !self.ended => self.ended = true,
            }
        }
    }
}

fn into_io(error: ::h2::Error) -> io::Error {
    match error.is_io() {
        true => error
            .into_io()
            .unwrap_or_else(|| io::ErrorKind::Other.into()),
        false => io::Error::other(error),
    }
}

/// How much of an answer may be on its way: a status has some hundred kilobytes.
const WINDOW_BYTES: u32 = 1 << 20;
