//! A server of delta ADS and nothing else: what the bare server and the relay have in common. What
//! either answers is its own.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;

use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_server as ads;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use futures::stream::Stream;
use osvc_igw::ads::bind_tcp;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

/// A stream of responses.
pub(super) type Responses<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// What is answered on a stream.
pub(super) trait Delta: Send + Sync + 'static {
    /// The responses to these requests.
    fn answer(
        &self,
        requests: Streaming<DeltaDiscoveryRequest>,
    ) -> impl Future<Output = Result<Responses<DeltaDiscoveryResponse>, Status>> + Send;
}

/// Takes a free port of this host; returns where that is, and what serves there for ever.
pub(super) fn bind(delta: impl Delta) -> io::Result<(SocketAddr, impl Future<Output = ()> + Send)> {
    let service = ads::AggregatedDiscoveryServiceServer::new(Only(delta));
    let service = service.max_decoding_message_size(1 << 30);
    let incoming = bind_tcp(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    let address = incoming.local_addr()?;
    let serving = async move {
        let server = Server::builder().add_service(service);
        let _ = server.serve_with_incoming(incoming).await;
    };
    Ok((address, serving))
}

struct Only<D>(D);

#[tonic::async_trait]
impl<D: Delta> ads::AggregatedDiscoveryService for Only<D> {
    type StreamAggregatedResourcesStream = Responses<DiscoveryResponse>;
    type DeltaAggregatedResourcesStream = Responses<DeltaDiscoveryResponse>;

    async fn stream_aggregated_resources(
        &self,
        _: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        Err(Status::unimplemented("delta only"))
    }

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        self.0.answer(request.into_inner()).await.map(Response::new)
    }
}
