//! Between a real Envoy and the binary: passes every message of delta ADS on as it is, and tells
//! what passed and when. It changes nothing.

use std::net::SocketAddr;
use std::time::Instant;

use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_client as client;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse,
};
use futures::stream::StreamExt;
use prost::Message;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::AbortHandle;
use tonic::transport::Endpoint;
use tonic::{Status, Streaming};

use super::delta::{self, Delta, Responses};

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
        let bound = delta::bind(Service { binary, tell });
        let (address, serving) = bound.expect("a port to serve on");
        Self {
            address,
            passed,
            task: tokio::spawn(serving).abort_handle(),
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Delta for Service {
    async fn answer(
        &self,
        requests: Streaming<DeltaDiscoveryRequest>,
    ) -> Result<Responses<DeltaDiscoveryResponse>, Status> {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.binary));
        let endpoint = endpoint.map_err(|error| Status::internal(error.to_string()))?;
        let channel = endpoint.tcp_nodelay(true).connect().await;
        let channel = channel.map_err(|error| Status::unavailable(error.to_string()))?;
        let client = client::AggregatedDiscoveryServiceClient::new(channel);
        let mut client = client.max_decoding_message_size(1 << 30);
        let told = self.tell.clone();
        let requests = requests.filter_map(move |request| {
            let request = request.ok();
            if let Some(request) = &request {
                let _ = told.send(passed(request));
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
        Ok(responses.boxed())
    }
}

fn passed(request: &DeltaDiscoveryRequest) -> Passed {
    let error = request.error_detail.as_ref();
    Passed::Answer {
        nonce: request.response_nonce.clone(),
        error: error.map(|error| error.message.clone()),
        at: Instant::now(),
    }
}
