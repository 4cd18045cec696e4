//! EDGE: serves Envoy's discovery services, over TCP and over a unix socket. Each stream is a
//! [`Session`](crate::xds::session::Session) driven by requests, snapshots and time; nothing is
//! decided here.

mod clients;
mod connection;
mod csds;
mod flights;
mod messages;
mod pump;
mod services;
mod threads;

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::Stream;
use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use crate::xds::Snapshot;

pub use clients::{Client, Clients, Shown, Status};
use connection::Socket;
use threads::Threads;

/// The latest snapshot; `None` until the first one.
pub type Snapshots = watch::Receiver<Option<Arc<Snapshot>>>;

/// The service. Cheap to clone; clones share the streams' limit and the list of clients.
#[derive(Clone, Debug)]
pub struct Ads {
    snapshots: Snapshots,
    places: Arc<Semaphore>,
    places_max: usize,
    clients: Clients,
    beside: Routes,
    threads: Threads,
    stop: CancellationToken,
}

impl Ads {
    /// A service of at most `streams_max` streams, all of which end when `stop` is cancelled. A
    /// client that has a stream for each name counts once.
    pub fn new(snapshots: Snapshots, streams_max: usize, stop: CancellationToken) -> Self {
        Self {
            snapshots,
            places: Arc::new(Semaphore::new(streams_max)),
            places_max: streams_max,
            clients: Clients::default(),
            beside: Routes::default(),
            threads: Threads::default(),
            stop,
        }
    }

    /// Serves these at the same addresses.
    #[must_use]
    pub fn beside(mut self, routes: Routes) -> Self {
        self.beside = routes;
        self
    }

    /// Serves connections on these threads, too: each is of a runtime of its own.
    #[must_use]
    pub fn on(mut self, threads: Vec<Handle>) -> Self {
        self.threads = Threads::and(threads);
        self
    }

    /// The list of connected clients.
    pub fn clients(&self) -> Clients {
        self.clients.clone()
    }

    /// Serves on a TCP listener until stopped.
    ///
    /// # Errors
    /// When the transport fails as a whole; one client's failure ends its stream only.
    pub async fn serve_tcp(self, incoming: TcpIncoming) -> Result<(), tonic::transport::Error> {
        let incoming = incoming.with_nodelay(Some(true));
        self.serve(incoming.with_keepalive(Some(TCP_KEEPALIVE)))
            .await
    }

    /// Serves on a unix socket until stopped.
    ///
    /// # Errors
    /// As [`Ads::serve_tcp`].
    pub async fn serve_unix(self, listener: UnixListener) -> Result<(), tonic::transport::Error> {
        self.serve(UnixListenerStream::new(listener)).await
    }

    async fn serve<T: Socket>(
        self,
        sockets: impl Stream<Item = io::Result<T>> + Unpin,
    ) -> Result<(), tonic::transport::Error> {
        let mut serving = JoinSet::new();
        let (dealer, threads) = self.threads.open();
        for (thread, connections) in threads {
            let server = server().add_routes(services::all(&self));
            let stop = self.stop.clone().cancelled_owned();
            serving.spawn_on(
                server.serve_with_incoming_shutdown(connections, stop),
                &thread,
            );
        }
        let served = async {
            // One that panicked is the end of all: what it is dealt would be lost.
            while let Some(Ok(ended)) = serving.join_next().await {
                ended?;
            }
            Ok(())
        };
        tokio::select! {
            served = served => served,
            () = dealer.deal(sockets) => Ok(()),
            () = self.clients.watch_readers() => Ok(()),
        }
    }
}

fn server() -> Server {
    Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .max_concurrent_streams(STREAMS_MAX)
}

/// Listens on `address`.
///
/// # Errors
/// What the system says.
pub fn bind_tcp(address: SocketAddr) -> io::Result<TcpIncoming> {
    TcpIncoming::bind(address)
}

/// Listens on a unix socket. A socket that nobody serves any more is replaced, and a folder that
/// is missing is made.
///
/// # Errors
/// `AddrInUse` where somebody serves it; else what the system says.
pub async fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    if let Some(folder) = path.parent() {
        tokio::fs::create_dir_all(folder).await?;
    }
    match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
        bound => return bound,
    }
    if UnixStream::connect(path).await.is_ok() {
        let reason = "another process serves this socket";
        return Err(io::Error::new(io::ErrorKind::AddrInUse, reason));
    }
    tokio::fs::remove_file(path).await?;
    UnixListener::bind(path)
}

/// A half-open connection is found within the sum of these.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
const TCP_KEEPALIVE: Duration = Duration::from_secs(30);
/// The most streams of one connection: an Envoy may have one for each cluster and route.
const STREAMS_MAX: u32 = 65_536;
