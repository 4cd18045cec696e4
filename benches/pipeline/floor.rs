//! The floor: a bare tonic server that sends the same messages to the same client when it is
//! told to over a unix socket, and knows nothing of what is in them; and a bare client of the
//! daemon that asks for the same and looks at nothing. What is above it is ours.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_server as ads;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use futures::stream::{Stream, StreamExt};
use osvc_igw::ads::bind_tcp;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

use super::cluster::lock;
use super::process::Spent;

type Responses = Pin<Box<dyn Stream<Item = Result<DeltaDiscoveryResponse, Status>> + Send>>;

/// A running server, on threads of its own; it ends with this value.
pub(super) struct Floor {
    pub(super) address: SocketAddr,
    shared: Arc<Shared>,
    runtime: Option<Runtime>,
    /// A byte in it makes the server send.
    bell: std::os::unix::net::UnixStream,
}

#[derive(Default)]
struct Shared {
    /// What a client that has nothing is sent.
    all: Vec<DeltaDiscoveryResponse>,
    streams: Mutex<Vec<UnboundedSender<Result<DeltaDiscoveryResponse, Status>>>>,
    /// What is sent at the next bell.
    next: Mutex<DeltaDiscoveryResponse>,
}

impl Shared {
    fn send(&self) {
        let response = lock(&self.next).clone();
        for stream in &*lock(&self.streams) {
            let _ = stream.send(Ok(response.clone()));
        }
    }
}

struct Service(Arc<Shared>);

impl Floor {
    /// Serves these to clients that have nothing.
    pub(super) fn start(all: Vec<DeltaDiscoveryResponse>) -> Self {
        let shared = Arc::new(Shared {
            all,
            ..Shared::default()
        });
        let mut runtime = Builder::new_multi_thread();
        let runtime = runtime.worker_threads(2).thread_name(THREADS);
        let runtime = runtime.enable_all().build().expect("a runtime");
        let service = ads::AggregatedDiscoveryServiceServer::new(Service(Arc::clone(&shared)));
        let service = service.max_decoding_message_size(1 << 30);
        let entered = runtime.enter();
        let incoming = bind_tcp(([127, 0, 0, 1], 0).into()).expect("a port to serve on");
        let address = incoming.local_addr().expect("an address");
        let (bell, rung) = std::os::unix::net::UnixStream::pair().expect("a pair of sockets");
        rung.set_nonblocking(true).expect("a socket");
        let mut rung = UnixStream::from_std(rung).expect("a socket");
        drop(entered);
        let ringing = Arc::clone(&shared);
        runtime.spawn(async move {
            while rung.read_u8().await.is_ok() {
                ringing.send();
            }
        });
        runtime.spawn(async move {
            let server = Server::builder().add_service(service);
            let _ = server.serve_with_incoming(incoming).await;
        });
        Self {
            address,
            shared,
            runtime: Some(runtime),
            bell,
        }
    }

    /// Sends a message to every client.
    pub(super) fn push(&self, response: &DeltaDiscoveryResponse) {
        lock(&self.shared.next).clone_from(response);
        (&self.bell).write_all(&[1]).expect("a server that listens");
    }

    /// The time that its threads have spent on a processor.
    pub(super) fn cpu(&self) -> Spent {
        Spent::by("/proc/self/task", Some(THREADS))
    }

    /// Waits until there are so many clients.
    pub(super) async fn has(&self, clients: usize) {
        let count = || lock(&self.shared.streams).len();
        while count() < clients {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[tonic::async_trait]
impl ads::AggregatedDiscoveryService for Service {
    type StreamAggregatedResourcesStream =
        Pin<Box<dyn Stream<Item = Result<DiscoveryResponse, Status>> + Send>>;
    type DeltaAggregatedResourcesStream = Responses;

    async fn stream_aggregated_resources(
        &self,
        _: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        Err(Status::unimplemented("delta only"))
    }

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Responses>, Status> {
        let mut requests = request.into_inner();
        let (tell, outgoing) = unbounded_channel();
        let shared = Arc::clone(&self.0);
        tokio::spawn(async move {
            let mut first = true;
            while let Some(Ok(request)) = requests.next().await {
                if !std::mem::take(&mut first) {
                    continue;
                }
                if request.initial_resource_versions.is_empty() {
                    for response in &shared.all {
                        let _ = tell.send(Ok(response.clone()));
                    }
                }
                lock(&shared.streams).push(tell.clone());
            }
        });
        Ok(Response::new(
            UnboundedReceiverStream::new(outgoing).boxed(),
        ))
    }
}

/// Asks the daemon for its status and for each of these configurations, as many at once as the
/// controller does. Returns how long it took from the beginning of the status on.
pub(super) async fn ask(socket: &Path, paths: Vec<String>) -> Duration {
    let status = json!({"action": "daemon_status", "options": {}});
    let began = asked(socket, status).await;
    let asked = paths.into_iter().map(|path| {
        let options = json!({"path": path, "format": "json"});
        asked(
            socket,
            json!({"action": "object_config", "method": "GET", "options": options}),
        )
    });
    let mut asked = futures::stream::iter(asked).buffer_unordered(READS);
    while asked.next().await.is_some() {}
    began.elapsed()
}

/// Asks one thing; returns when the answer began.
async fn asked(socket: &Path, request: serde_json::Value) -> Instant {
    let mut stream = UnixStream::connect(socket).await.expect("a daemon");
    let request = format!("{request}\0");
    stream
        .write_all(request.as_bytes())
        .await
        .expect("a daemon that listens");
    let mut answer = vec![stream.read_u8().await.expect("an answer")];
    let began = Instant::now();
    stream.read_to_end(&mut answer).await.expect("an answer");
    assert!(answer.len() > 1, "an empty answer");
    began
}

/// What the threads of the server are called.
const THREADS: &str = "floor";
/// As the controller reads them.
const READS: usize = 4;
