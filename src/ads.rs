//! EDGE: serves the aggregated discovery service to Envoys, over TCP and over a unix socket.
//! Each stream is a [`Session`] driven by requests, snapshots and time; nothing is decided here.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use envoy_types::pb::envoy::service::discovery::v3 as pb;
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use envoy_types::pb::google::protobuf::Any;
use futures::Stream;
use futures::stream::{self, StreamExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};
use tracing::{debug, info, warn};

use crate::xds::session::{self, Refused, Session};
use crate::xds::suspects::{NodeSuspects, Suspects};
use crate::xds::{ResourceType, Snapshot};

/// The latest snapshot; `None` until the first one.
pub type Snapshots = watch::Receiver<Option<Arc<Snapshot>>>;

/// The service. Cheap to clone; clones share the streams' limit and the list of clients.
#[derive(Clone, Debug)]
pub struct Ads {
    snapshots: Snapshots,
    places: Arc<Semaphore>,
    places_max: usize,
    clients: Clients,
    stop: CancellationToken,
}

/// The clients that are connected now, by stream.
#[derive(Clone, Debug, Default)]
pub struct Clients {
    streams: Arc<Mutex<BTreeMap<u64, Client>>>,
    suspects: Arc<Mutex<NodeSuspects>>,
    next: Arc<AtomicU64>,
}

/// What one stream's client is and has.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Client {
    /// The node id that it gave; empty before its first request.
    pub node: String,
    /// What it is: `envoy/1.40.0` or the like.
    pub agent: String,
    /// Resources sent to it so far, added or removed, by type.
    pub sent: BTreeMap<ResourceType, u64>,
    /// The resources that it refuses, by type and name.
    pub refused: BTreeMap<(ResourceType, String), Refused>,
}

impl Clients {
    /// A copy of what is known now.
    pub fn list(&self) -> Vec<Client> {
        let streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        streams.values().cloned().collect()
    }

    fn join(&self) -> Membership {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        streams.insert(id, Client::default());
        Membership {
            clients: self.clone(),
            id,
        }
    }
}

/// A stream's entry in the list of clients; leaves it when dropped.
#[derive(Debug)]
struct Membership {
    clients: Clients,
    id: u64,
}

impl Membership {
    fn update(&self, change: impl FnOnce(&mut Client)) {
        let streams = &self.clients.streams;
        let mut streams = streams.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = streams.get_mut(&self.id) {
            change(client);
        }
    }
}

impl Membership {
    /// Keeps what the node's next stream must know.
    fn leave(&self, suspects: Suspects) {
        let mut node = String::new();
        self.update(|client| node.clone_from(&client.node));
        let all = &self.clients.suspects;
        let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
        all.leave(node, suspects);
    }

    /// Takes what the node's last stream left.
    fn take(&self, node: &str) -> Suspects {
        let all = &self.clients.suspects;
        all.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take(node)
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        let streams = &self.clients.streams;
        streams
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.id);
    }
}

impl Ads {
    /// A service of at most `streams_max` streams, all of which end when `stop` is cancelled.
    pub fn new(snapshots: Snapshots, streams_max: usize, stop: CancellationToken) -> Self {
        Self {
            snapshots,
            places: Arc::new(Semaphore::new(streams_max)),
            places_max: streams_max,
            clients: Clients::default(),
            stop,
        }
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
        let stop = self.stop.clone();
        let incoming = incoming
            .with_nodelay(Some(true))
            .with_keepalive(Some(TCP_KEEPALIVE));
        server()
            .add_service(service(self))
            .serve_with_incoming_shutdown(incoming, stop.cancelled_owned())
            .await
    }

    /// Serves on a unix socket until stopped.
    ///
    /// # Errors
    /// As [`Ads::serve_tcp`].
    pub async fn serve_unix(self, listener: UnixListener) -> Result<(), tonic::transport::Error> {
        let stop = self.stop.clone();
        server()
            .add_service(service(self))
            .serve_with_incoming_shutdown(UnixListenerStream::new(listener), stop.cancelled_owned())
            .await
    }
}

fn server() -> Server {
    Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
}

fn service(ads: Ads) -> AggregatedDiscoveryServiceServer<Ads> {
    AggregatedDiscoveryServiceServer::new(ads)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
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

type Responses = Pin<Box<dyn Stream<Item = Result<pb::DeltaDiscoveryResponse, Status>> + Send>>;
type SotwResponses = Pin<Box<dyn Stream<Item = Result<pb::DiscoveryResponse, Status>> + Send>>;

#[tonic::async_trait]
impl AggregatedDiscoveryService for Ads {
    type StreamAggregatedResourcesStream = SotwResponses;
    type DeltaAggregatedResourcesStream = Responses;

    async fn stream_aggregated_resources(
        &self,
        _: Request<Streaming<pb::DiscoveryRequest>>,
    ) -> Result<Response<SotwResponses>, Status> {
        let hint = "only the delta variant is served: use api_type DELTA_GRPC";
        Err(Status::unimplemented(hint))
    }

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<pb::DeltaDiscoveryRequest>>,
    ) -> Result<Response<Responses>, Status> {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            let max = self.places_max;
            warn!(
                max,
                "refused an xDS stream: all places are taken (--max-workers)"
            );
            let reason = format!("all {max} xDS streams are taken (--max-workers)");
            return Err(Status::resource_exhausted(reason));
        };
        let start = Start {
            requests: request.into_inner(),
            snapshots: self.snapshots.clone(),
            membership: self.clients.join(),
            place,
        };
        let stop = self.stop.clone().cancelled_owned();
        let responses = stream::once(start.ready())
            .filter_map(|pump| async { pump })
            .flat_map(|pump| stream::unfold(pump, Pump::next))
            .take_until(stop);
        Ok(Response::new(responses.boxed()))
    }
}

/// A stream that waits for the first snapshot.
struct Start {
    requests: Streaming<pb::DeltaDiscoveryRequest>,
    snapshots: Snapshots,
    membership: Membership,
    place: OwnedSemaphorePermit,
}

impl Start {
    async fn ready(mut self) -> Option<Pump> {
        let snapshot = self
            .snapshots
            .wait_for(Option::is_some)
            .await
            .ok()?
            .clone()?;
        self.snapshots.mark_unchanged();
        let started = now();
        let seed = self.membership.id;
        Some(Pump {
            session: Session::new(snapshot, seed),
            requests: self.requests,
            snapshots: self.snapshots,
            membership: self.membership,
            started,
            _place: self.place,
        })
    }
}

/// One stream: the session, and what drives it.
struct Pump {
    session: Session,
    requests: Streaming<pb::DeltaDiscoveryRequest>,
    snapshots: Snapshots,
    membership: Membership,
    started: Instant,
    _place: OwnedSemaphorePermit,
}

impl Drop for Pump {
    fn drop(&mut self) {
        self.membership.leave(self.session.suspects());
    }
}

impl Pump {
    /// The next response, when there is one; `None` when the client or the controller has gone.
    async fn next(mut self) -> Option<(Result<pb::DeltaDiscoveryResponse, Status>, Self)> {
        loop {
            let elapsed = now() - self.started;
            if let Some(response) = self.session.poll_response(elapsed) {
                self.note_sent(&response);
                return Some((Ok(to_pb(response)), self));
            }
            let idle = elapsed + IDLE_WAKE_MAX;
            let wake = self.session.poll_timeout(elapsed).unwrap_or(idle);
            tokio::select! {
                request = self.requests.message() => match request {
                    Ok(Some(request)) => self.request(request),
                    Ok(None) => return None,
                    Err(status) => {
                        debug!(%status, "xDS stream broke");
                        return None;
                    }
                },
                changed = self.snapshots.changed() => {
                    changed.ok()?;
                    let snapshot = self.snapshots.borrow_and_update().clone();
                    if let Some(snapshot) = snapshot {
                        self.session.handle_snapshot(snapshot);
                    }
                }
                () = tokio::time::sleep_until(self.started + wake) => {}
            }
        }
    }

    fn request(&mut self, request: pb::DeltaDiscoveryRequest) {
        if let Some(node) = &request.node {
            let agent = &node.user_agent_name;
            let mut known = false;
            self.membership.update(|client| {
                known = !client.node.is_empty();
                client.node.clone_from(&node.id);
                client.agent.clone_from(agent);
            });
            if !known {
                info!(node = node.id, agent, "Envoy connected");
                self.session.inherit(self.membership.take(&node.id));
            }
        }
        let Some(kind) = ResourceType::from_url(&request.type_url) else {
            warn!(
                type_url = request.type_url,
                "a client asks for a type that is not served"
            );
            return;
        };
        let elapsed = now() - self.started;
        let acknowledges = request.error_detail.is_none();
        let refused = self.session.handle_request(elapsed, from_pb(kind, request));
        self.membership.update(|client| {
            for refused in refused {
                log_refused(&client.node, &refused);
                client.refused.insert((kind, refused.name.clone()), refused);
            }
            if acknowledges {
                let session = &self.session;
                client
                    .refused
                    .retain(|(kind, name), _| session.refuses(*kind, name));
            }
        });
    }

    fn note_sent(&self, response: &session::Response) {
        let count = response.resources.len() + response.removed.len();
        self.membership.update(|client| {
            *client.sent.entry(response.kind).or_default() += count as u64;
        });
        debug!(kind = %response.kind, nonce = response.nonce, resources = ?response.resources,
            removed = ?response.removed, "sent");
    }
}

/// One line, with the section that the resource was made from.
fn log_refused(node: &str, refused: &Refused) {
    let origin = refused.origins.first();
    let object = origin
        .map(|origin| origin.object.to_string())
        .unwrap_or_default();
    let section = origin
        .map(|origin| origin.section.as_str())
        .unwrap_or_default();
    let (kind, name, message) = (refused.kind, &refused.name, &refused.message);
    warn!(node, %kind, name, object, section, message, "Envoy refused a resource");
}

fn from_pb(kind: ResourceType, request: pb::DeltaDiscoveryRequest) -> session::Request {
    session::Request {
        kind,
        nonce: request.response_nonce,
        error: request
            .error_detail
            .map(|status| said(kind, status.message)),
        subscribe: request.resource_names_subscribe,
        unsubscribe: request.resource_names_unsubscribe,
        initial: request.initial_resource_versions.into_iter().collect(),
    }
}

/// Envoy's words, except where they may repeat a secret: at the root of a message it prints the
/// message that it refuses.
fn said(kind: ResourceType, message: String) -> String {
    let repeats = ["-----BEGIN", "inline_string", "inline_bytes"];
    if kind == ResourceType::Secret && repeats.iter().any(|part| message.contains(part)) {
        return "[Envoy's words repeat the secret and are left out]".to_owned();
    }
    message.chars().take(MESSAGE_CHARS_MAX).collect()
}

fn to_pb(response: session::Response) -> pb::DeltaDiscoveryResponse {
    let type_url = response.kind.url().to_owned();
    let resources = response
        .resources
        .into_iter()
        .map(|(resource, version)| pb::Resource {
            name: resource.name.clone(),
            version: version.to_string(),
            resource: Some(Any {
                type_url: type_url.clone(),
                value: resource.body.clone(),
            }),
            ..pb::Resource::default()
        });
    pb::DeltaDiscoveryResponse {
        resources: resources.collect(),
        type_url: type_url.clone(),
        removed_resources: response.removed,
        nonce: response.nonce,
        ..pb::DeltaDiscoveryResponse::default()
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is the edge that tells sessions the time"
)]
fn now() -> Instant {
    Instant::now()
}

/// The largest message, in or out.
const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// A half-open connection is found within the sum of these.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
const TCP_KEEPALIVE: Duration = Duration::from_secs(30);
/// How long a stream without deadlines sleeps at most.
const IDLE_WAKE_MAX: Duration = Duration::from_secs(3_600);
/// How much of a refusal is kept.
const MESSAGE_CHARS_MAX: usize = 4_096;
