//! A client of delta ADS that does no more than it must: it asks for what an Envoy asks for, says
//! yes to all at once, and tells what came when. It keeps only what it has of each name.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes};
use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse,
};
use envoy_types::pb::google::rpc;
use osvc_igw::xds::ResourceType;
use prost::Message;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::task::AbortHandle;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Endpoint;
use tonic::{Request, Status};

/// What a client has, by type and name.
pub(super) type Held = BTreeMap<(ResourceType, String), String>;

/// A response, as it came.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) response: DeltaDiscoveryResponse,
    /// Of the message, without gRPC's five bytes before it.
    pub(super) bytes: usize,
    /// When it was there, before it was decoded.
    pub(super) at: Instant,
}

/// Takes into account what came.
pub(super) fn take(held: &mut Held, seen: &Seen) {
    let kind = seen.kind();
    let response = &seen.received.response;
    for resource in &response.resources {
        held.insert((kind, resource.name.clone()), resource.version.clone());
    }
    for name in &response.removed_resources {
        held.remove(&(kind, name.clone()));
        if kind == ResourceType::Cluster {
            // Who has no such cluster any more asks for its endpoints no more, and is not told.
            held.remove(&(ResourceType::Endpoint, name.clone()));
        }
    }
}

/// A response to the client of that number.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) client: usize,
    pub(super) received: Received,
}

impl Seen {
    pub(super) fn kind(&self) -> ResourceType {
        let url = &self.received.response.type_url;
        ResourceType::from_url(url).expect("a type that was asked for")
    }

    /// Resources that came and that went.
    pub(super) fn count(&self) -> usize {
        let response = &self.received.response;
        response.resources.len() + response.removed_resources.len()
    }

    /// Whether the address stands in the endpoints of the cluster.
    pub(super) fn tells(&self, cluster: &str, address: &str) -> bool {
        self.kind() == ResourceType::Endpoint
            && self.received.response.resources.iter().any(|resource| {
                let body = resource.resource.iter();
                let mut bodies = body.map(|any| &any.value[..]);
                resource.name == cluster && bodies.any(|body| holds(body, address.as_bytes()))
            })
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { client, received } = self;
        let response = &received.response;
        let names = response.resources.iter().map(|resource| &resource.name);
        let names: Vec<&String> = names.take(3).collect();
        let (kind, nonce, gone) = (self.kind(), &response.nonce, &response.removed_resources);
        write!(f, "client {client}: {kind} {nonce} {names:?} -{gone:?}")
    }
}

fn holds(body: &[u8], text: &[u8]) -> bool {
    body.windows(text.len()).any(|part| part == text)
}

/// Running clients; they end with this value.
pub(super) struct Stubs {
    pub(super) seen: UnboundedReceiver<Seen>,
    tell: UnboundedSender<Seen>,
    tasks: Vec<AbortHandle>,
    refusals: Arc<AtomicUsize>,
}

/// How a client is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Manner {
    /// It takes everything.
    Yes,
    /// It refuses some resources when it sees them first.
    Picky,
}

impl Stubs {
    pub(super) fn new() -> Self {
        let (tell, seen) = mpsc::unbounded_channel();
        Self {
            seen,
            tell,
            tasks: Vec::new(),
            refusals: Arc::default(),
        }
    }

    /// Starts one that has nothing.
    pub(super) async fn add(&mut self, server: SocketAddr) {
        let first = First::of(&Held::new());
        self.add_with(server, &first, Manner::Yes).await;
    }

    /// Starts one that has what `first` says.
    pub(super) async fn add_with(&mut self, server: SocketAddr, first: &First, manner: Manner) {
        let channel = Endpoint::from_shared(format!("http://{server}"));
        let channel = channel.expect("an address").tcp_nodelay(true);
        let channel = channel.initial_stream_window_size(WINDOW);
        let channel = channel.initial_connection_window_size(WINDOW);
        let channel = channel.connect().await.expect("a server that listens");
        let client = Client {
            number: self.tasks.len(),
            tell: self.tell.clone(),
            known: first.clusters.clone(),
            manner,
            refused: BTreeSet::new(),
            refusals: Arc::clone(&self.refusals),
        };
        // A name of its own: what a stream of the same name left unanswered would be sent again.
        let requests = first.requests(NODES.fetch_add(1, Ordering::Relaxed));
        let task = tokio::spawn(client.run(tonic::client::Grpc::new(channel), requests));
        self.tasks.push(task.abort_handle());
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.tasks.len()
    }

    /// How many responses were refused.
    pub(super) fn refusals(&self) -> usize {
        self.refusals.load(Ordering::Relaxed)
    }

    /// What comes next, unless it takes longer than `patience`.
    pub(super) async fn next(&mut self, patience: Duration) -> Option<Seen> {
        let next = tokio::time::timeout(patience, self.seen.recv());
        next.await.ok().flatten()
    }
}

impl Drop for Stubs {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// What a client asks for at first, encoded once for any number of clients.
pub(super) struct First {
    requests: Vec<Bytes>,
    /// The clusters whose endpoints are asked for.
    clusters: BTreeSet<String>,
}

impl First {
    /// Everything, with what the client has.
    pub(super) fn of(held: &Held) -> Self {
        let clusters = held
            .keys()
            .filter(|(kind, _)| *kind == ResourceType::Cluster);
        let clusters: BTreeSet<String> = clusters.map(|(_, name)| name.clone()).collect();
        let mut requests = Vec::new();
        for kind in ResourceType::ALL {
            let all = held.iter().filter(|((one, _), _)| *one == kind);
            let initial: HashMap<_, _> = all
                .map(|((_, name), version)| (name.clone(), version.clone()))
                .collect();
            let subscribe = match kind {
                ResourceType::Endpoint if clusters.is_empty() => continue,
                // An Envoy asks for scopes when it has a listener that uses them.
                ResourceType::Scope => continue,
                ResourceType::Endpoint => clusters.iter().cloned().collect(),
                _ => vec!["*".to_owned()],
            };
            let request = DeltaDiscoveryRequest {
                type_url: kind.url().to_owned(),
                resource_names_subscribe: subscribe,
                initial_resource_versions: initial,
                ..DeltaDiscoveryRequest::default()
            };
            requests.push(request.encode_to_vec().into());
        }
        Self { requests, clusters }
    }

    /// The first request says who the client is: fields of one message may stand in two parts.
    fn requests(&self, number: usize) -> Vec<Vec<Bytes>> {
        let node = Some(Node {
            id: format!("stub{number}"),
            ..Node::default()
        });
        let who = DeltaDiscoveryRequest {
            node,
            ..DeltaDiscoveryRequest::default()
        };
        let mut who = Some(Bytes::from(who.encode_to_vec()));
        let all = self.requests.iter();
        all.map(|bytes| who.take().into_iter().chain([bytes.clone()]).collect())
            .collect()
    }
}

struct Client {
    number: usize,
    tell: UnboundedSender<Seen>,
    known: BTreeSet<String>,
    manner: Manner,
    refused: BTreeSet<String>,
    refusals: Arc<AtomicUsize>,
}

impl Client {
    async fn run(
        mut self,
        mut grpc: tonic::client::Grpc<tonic::transport::Channel>,
        first: Vec<Vec<Bytes>>,
    ) {
        let (requests, outgoing) = mpsc::unbounded_channel();
        for request in first {
            let _ = requests.send(request);
        }
        if grpc.ready().await.is_err() {
            return;
        }
        grpc = grpc.max_decoding_message_size(1 << 30);
        let outgoing = Request::new(UnboundedReceiverStream::new(outgoing));
        let path = http::uri::PathAndQuery::from_static(METHOD);
        let Ok(answer) = grpc.streaming(outgoing, path, Wire).await else {
            return;
        };
        let mut responses = answer.into_inner();
        while let Ok(Some(received)) = responses.message().await {
            for request in self.answer(&received.response) {
                let bytes = Bytes::from(request.encode_to_vec());
                let _ = requests.send(vec![bytes]);
            }
            let client = self.number;
            if self.tell.send(Seen { client, received }).is_err() {
                return;
            }
        }
    }

    /// Yes, and what there is to ask for now; or no.
    fn answer(&mut self, response: &DeltaDiscoveryResponse) -> Vec<DeltaDiscoveryRequest> {
        let mut answer = DeltaDiscoveryRequest {
            type_url: response.type_url.clone(),
            response_nonce: response.nonce.clone(),
            ..DeltaDiscoveryRequest::default()
        };
        if self.refuses(response) {
            self.refusals.fetch_add(1, Ordering::Relaxed);
            answer.error_detail = Some(rpc::Status {
                code: 13,
                message: "refused by the benchmark".to_owned(),
                ..rpc::Status::default()
            });
            return vec![answer];
        }
        if response.type_url != ResourceType::Cluster.url() {
            return vec![answer];
        }
        let mut names = Vec::new();
        for resource in &response.resources {
            if self.known.insert(resource.name.clone()) {
                names.push(resource.name.clone());
            }
        }
        let gone = response.removed_resources.iter();
        let gone: Vec<String> = gone
            .filter(|name| self.known.remove(*name))
            .cloned()
            .collect();
        if names.is_empty() && gone.is_empty() {
            return vec![answer];
        }
        let endpoints = DeltaDiscoveryRequest {
            type_url: ResourceType::Endpoint.url().to_owned(),
            resource_names_subscribe: names,
            resource_names_unsubscribe: gone,
            ..DeltaDiscoveryRequest::default()
        };
        vec![answer, endpoints]
    }

    /// A picky client refuses one version in sixteen, once.
    fn refuses(&mut self, response: &DeltaDiscoveryResponse) -> bool {
        if self.manner == Manner::Yes {
            return false;
        }
        let bad = response.resources.iter().find(|resource| {
            let last = resource.version.bytes().last().unwrap_or_default();
            last.is_multiple_of(16) && !self.refused.contains(&resource.name)
        });
        bad.is_some_and(|resource| self.refused.insert(resource.name.clone()))
    }
}

/// Requests as bytes in parts, responses with what they weigh.
struct Wire;

impl Codec for Wire {
    type Encode = Vec<Bytes>;
    type Decode = Received;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Wire {
    type Item = Vec<Bytes>;
    type Error = Status;

    fn encode(&mut self, parts: Vec<Bytes>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        for part in parts {
            buffer.put(part);
        }
        Ok(())
    }
}

impl Decoder for Wire {
    type Item = Received;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Received>, Status> {
        let at = Instant::now();
        let bytes = bytes::Buf::remaining(buffer);
        let response = DeltaDiscoveryResponse::decode(buffer);
        let response = response.map_err(|error| Status::internal(error.to_string()))?;
        Ok(Some(Received {
            response,
            bytes,
            at,
        }))
    }
}

/// Clients so far.
static NODES: AtomicUsize = AtomicUsize::new(0);
const METHOD: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/\
                      DeltaAggregatedResources";
/// Envoy's own window is as large.
const WINDOW: u32 = 256 << 20;
