//! The discovery services of Envoy's API: the aggregated one and one for each type, each in both
//! variants of the protocol, all of which are one kind of stream; and beside them what tells of it.

use std::pin::Pin;
use std::sync::Arc;

use envoy_types::pb::envoy::service::cluster::v3::cluster_discovery_service_server as cds;
use envoy_types::pb::envoy::service::discovery::v3 as pb;
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_server as ads;
use envoy_types::pb::envoy::service::endpoint::v3::endpoint_discovery_service_server as eds;
use envoy_types::pb::envoy::service::listener::v3::listener_discovery_service_server as lds;
use envoy_types::pb::envoy::service::route::v3::route_discovery_service_server as rds;
use envoy_types::pb::envoy::service::route::v3::scoped_routes_discovery_service_server as srds;
use envoy_types::pb::envoy::service::secret::v3::secret_discovery_service_server as sds;
use envoy_types::pb::envoy::service::status::v3::client_status_discovery_service_server as csds;
use futures::Stream;
use futures::stream::{self, StreamExt};
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};
use tracing::warn;

use super::Ads;
use super::connection::Link;
use super::messages::{Asked, Reply};
use super::pump::{Pump, Start, Style};
use crate::xds::ResourceType;

/// All of them, and what is served beside them.
pub(super) fn all(ads: &Ads) -> Routes {
    macro_rules! served {
        ($server:path) => {
            <$server>::new(ads.clone())
                .max_decoding_message_size(MESSAGE_BYTES_MAX)
                .max_encoding_message_size(MESSAGE_BYTES_MAX)
        };
    }
    ads.beside
        .clone()
        .add_service(served!(ads::AggregatedDiscoveryServiceServer<Ads>))
        .add_service(served!(cds::ClusterDiscoveryServiceServer<Ads>))
        .add_service(served!(eds::EndpointDiscoveryServiceServer<Ads>))
        .add_service(served!(lds::ListenerDiscoveryServiceServer<Ads>))
        .add_service(served!(rds::RouteDiscoveryServiceServer<Ads>))
        .add_service(served!(srds::ScopedRoutesDiscoveryServiceServer<Ads>))
        .add_service(served!(sds::SecretDiscoveryServiceServer<Ads>))
        .add_service(served!(csds::ClientStatusDiscoveryServiceServer<Ads>))
}

type Replies<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl Ads {
    /// A stream of that style; ends when the client or the controller goes.
    fn stream<In, Out>(
        &self,
        style: Style,
        request: Request<Streaming<In>>,
    ) -> Result<Response<Replies<Out>>, Status>
    where
        In: Into<Asked> + Send + 'static,
        Out: From<Reply> + Send + 'static,
    {
        let link = request.extensions().get::<Arc<Link>>();
        let link = Arc::clone(link.ok_or_else(|| Status::internal("no connection"))?);
        // Who fetches each name over a stream of its own is one client all the same.
        let place = match style.only {
            Some(_) => link.share_place(&self.places),
            None => Arc::clone(&self.places)
                .try_acquire_owned()
                .ok()
                .map(Arc::new),
        };
        let Some(place) = place else {
            let max = self.places_max;
            warn!(
                max,
                "refused an xDS stream: all places are taken (--max-workers)"
            );
            let reason = format!("all {max} xDS streams are taken (--max-workers)");
            return Err(Status::resource_exhausted(reason));
        };
        let requests = request.into_inner();
        let start = Start {
            style,
            requests: requests.map(|request| request.map(In::into)).boxed(),
            snapshots: self.snapshots.clone(),
            membership: self.clients.join(link, style.only),
            place,
        };
        let stop = self.stop.clone().cancelled_owned();
        let replies = stream::once(start.ready())
            .filter_map(|pump| async { pump })
            .flat_map(|pump| stream::unfold(pump, Pump::next))
            .map(|reply| reply.map(Out::from))
            .take_until(stop);
        Ok(Response::new(replies.boxed()))
    }
}

#[tonic::async_trait]
impl ads::AggregatedDiscoveryService for Ads {
    type StreamAggregatedResourcesStream = Replies<pb::DiscoveryResponse>;
    type DeltaAggregatedResourcesStream = Replies<pb::DeltaDiscoveryResponse>;

    async fn stream_aggregated_resources(
        &self,
        request: Request<Streaming<pb::DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        let style = Style {
            only: None,
            delta: false,
        };
        self.stream(style, request)
    }

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<pb::DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        let style = Style {
            only: None,
            delta: true,
        };
        self.stream(style, request)
    }
}

/// The service of one type: its streams of both variants. What it fetches once, without a stream,
/// is not served: nobody could be told of a change.
macro_rules! service {
    (
        $service:path,
        $kind:expr,
        $stream:ident $Stream:ident,
        $delta:ident $Delta:ident,
        $fetch:ident
    ) => {
        #[tonic::async_trait]
        impl $service for Ads {
            type $Stream = Replies<pb::DiscoveryResponse>;
            type $Delta = Replies<pb::DeltaDiscoveryResponse>;

            async fn $stream(
                &self,
                request: Request<Streaming<pb::DiscoveryRequest>>,
            ) -> Result<Response<Self::$Stream>, Status> {
                let style = Style {
                    only: Some($kind),
                    delta: false,
                };
                self.stream(style, request)
            }

            async fn $delta(
                &self,
                request: Request<Streaming<pb::DeltaDiscoveryRequest>>,
            ) -> Result<Response<Self::$Delta>, Status> {
                let style = Style {
                    only: Some($kind),
                    delta: true,
                };
                self.stream(style, request)
            }

            async fn $fetch(
                &self,
                _: Request<pb::DiscoveryRequest>,
            ) -> Result<Response<pb::DiscoveryResponse>, Status> {
                Err(Status::unimplemented(
                    "only streams are served: use api_type DELTA_GRPC or GRPC",
                ))
            }
        }
    };
}

service!(
    cds::ClusterDiscoveryService,
    ResourceType::Cluster,
    stream_clusters StreamClustersStream,
    delta_clusters DeltaClustersStream,
    fetch_clusters
);
service!(
    eds::EndpointDiscoveryService,
    ResourceType::Endpoint,
    stream_endpoints StreamEndpointsStream,
    delta_endpoints DeltaEndpointsStream,
    fetch_endpoints
);
service!(
    lds::ListenerDiscoveryService,
    ResourceType::Listener,
    stream_listeners StreamListenersStream,
    delta_listeners DeltaListenersStream,
    fetch_listeners
);
service!(
    rds::RouteDiscoveryService,
    ResourceType::Route,
    stream_routes StreamRoutesStream,
    delta_routes DeltaRoutesStream,
    fetch_routes
);
service!(
    srds::ScopedRoutesDiscoveryService,
    ResourceType::Scope,
    stream_scoped_routes StreamScopedRoutesStream,
    delta_scoped_routes DeltaScopedRoutesStream,
    fetch_scoped_routes
);
service!(
    sds::SecretDiscoveryService,
    ResourceType::Secret,
    stream_secrets StreamSecretsStream,
    delta_secrets DeltaSecretsStream,
    fetch_secrets
);

/// The largest message, in or out.
const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;
