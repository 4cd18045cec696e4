//! The floor: a bare tonic server that sends the same messages to the same client, and knows
//! nothing of what is in them. What a measurement has above it is ours.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_server as ads;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use futures::stream::{Stream, StreamExt};
use osvc_igw::ads::bind_tcp;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

type Responses = Pin<Box<dyn Stream<Item = Result<DeltaDiscoveryResponse, Status>> + Send>>;

/// A running server, on threads of its own; it ends with this value.
pub(super) struct Floor {
    pub(super) address: SocketAddr,
    shared: Arc<Shared>,
    runtime: Option<Runtime>,
}

#[derive(Default)]
struct Shared {
    /// What a client that has nothing is sent.
    all: Vec<DeltaDiscoveryResponse>,
    streams: Mutex<Vec<UnboundedSender<Result<DeltaDiscoveryResponse, Status>>>>,
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
        let runtime = runtime.worker_threads(2).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let service = ads::AggregatedDiscoveryServiceServer::new(Service(Arc::clone(&shared)));
        let service = service.max_decoding_message_size(1 << 30);
        let entered = runtime.enter();
        let incoming = bind_tcp(([127, 0, 0, 1], 0).into()).expect("a port to serve on");
        let address = incoming.local_addr().expect("an address");
        drop(entered);
        runtime.spawn(async move {
            let server = Server::builder().add_service(service);
            let _ = server.serve_with_incoming(incoming).await;
        });
        Self {
            address,
            shared,
            runtime: Some(runtime),
        }
    }

    /// Sends a message to every client.
    pub(super) fn push(&self, response: &DeltaDiscoveryResponse) {
        let streams = self.shared.streams.lock();
        for stream in &*streams.unwrap_or_else(PoisonError::into_inner) {
            let _ = stream.send(Ok(response.clone()));
        }
    }

    /// Waits until there are so many clients.
    pub(super) async fn has(&self, clients: usize) {
        let count = || {
            let streams = self.shared.streams.lock();
            streams.unwrap_or_else(PoisonError::into_inner).len()
        };
        while count() < clients {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
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
                let streams = shared.streams.lock();
                let mut streams = streams.unwrap_or_else(PoisonError::into_inner);
                streams.push(tell.clone());
            }
        });
        Ok(Response::new(
            UnboundedReceiverStream::new(outgoing).boxed(),
        ))
    }
}
