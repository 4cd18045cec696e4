//! Between a real Envoy and the binary: passes every message of delta ADS on as it is, and tells
//! what passed and when. It changes nothing.

use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Instant;

use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_client as client;
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_server as server;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use futures::stream::{Stream, StreamExt};
use osvc_igw::ads::bind_tcp;
use prost::Message;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::AbortHandle;
use tonic::transport::{Endpoint, Server};
use tonic::{Request, Response, Status, Streaming};

type Responses = Pin<Box<dyn Stream<Item = Result<DeltaDiscoveryResponse, Status>> + Send>>;

/// A message that passed.
#[derive(Debug)]
pub(super) enum Passed {
    /// The binary's response: its nonce, and what it weighs.
    Response { nonce: String, bytes: usize },
    /// Envoy's answer to the response of that nonce, and its words if it refused it.
    Answer {
        nonce: String,
        error: Option<String>,
        at: Instant,
    },
}

/// A running relay; it ends with this value.
pub(super) struct Relay {
    pub(super) address: SocketAddr,
    pub(super) passed: UnboundedReceiver<Passed>,
    task: AbortHandle,
}

struct Service {
    binary: SocketAddr,
    tell: UnboundedSender<Passed>,
}

impl Relay {
    pub(super) fn start(binary: SocketAddr) -> Self {
        let (tell, passed) = unbounded_channel();
        let service = server::AggregatedDiscoveryServiceServer::new(Service { binary, tell });
        let service = service.max_decoding_message_size(1 << 30);
        let incoming = bind_tcp(([127, 0, 0, 1], 0).into()).expect("a port to serve on");
        let address = incoming.local_addr().expect("an address");
        let task = tokio::spawn(async move {
            let server = Server::builder().add_service(service);
            let _ = server.serve_with_incoming(incoming).await;
        });
        Self {
            address,
            passed,
            task: task.abort_handle(),
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[tonic::async_trait]
impl server::AggregatedDiscoveryService for Service {
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
        let endpoint = Endpoint::from_shared(format!("http://{}", self.binary));
        let endpoint = endpoint.map_err(|error| Status::internal(error.to_string()))?;
        let channel = endpoint.tcp_nodelay(true).connect().await;
        let channel = channel.map_err(|error| Status::unavailable(error.to_string()))?;
        let client = client::AggregatedDiscoveryServiceClient::new(channel);
        let mut client = client.max_decoding_message_size(1 << 30);
        let told = self.tell.clone();
        let requests = request.into_inner().filter_map(move |request| {
            let request = request.ok();
            if let Some(request) = &request {
                let _ = told.send(answer(request));
            }
            std::future::ready(request)
        });
        let responses = client.delta_aggregated_resources(requests).await?;
        let told = self.tell.clone();
        let responses = responses.into_inner().inspect(move |response| {
            if let Ok(response) = response {
                let _ = told.send(Passed::Response {
                    nonce: response.nonce.clone(),
                    bytes: response.encoded_len(),
                });
            }
        });
        Ok(Response::new(responses.boxed()))
    }
}

fn answer(request: &DeltaDiscoveryRequest) -> Passed {
    let error = request.error_detail.as_ref();
    Passed::Answer {
        nonce: request.response_nonce.clone(),
        error: error.map(|error| error.message.clone()),
        at: Instant::now(),
    }
}
