//! EDGE: what is served beside Envoy's discovery services at the same address: our own service,
//! the standard health service, and reflection over all of them. Read-only.

use std::pin::Pin;
use std::time::Duration;

use futures::Stream;
use futures::stream::{self, StreamExt};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::{Request, Response, Status};
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::ads::Snapshots;
use crate::clock::now;
use crate::differences;
use crate::live::Live;
use crate::pb::gateway_server::{self, GatewayServer};
use crate::pb::{self, GetDiffRequest, GetGraphRequest, GetStatusRequest, WatchEventsRequest};
use crate::reflection;
use crate::status::Knowledge;

/// The services, and who keeps their health.
pub fn services(
    knowledge: Knowledge,
    live: Live,
    stop: CancellationToken,
) -> (Routes, HealthReporter) {
    let (reporter, health) = tonic_health::server::health_reporter();
    let gateway = GatewayServer::new(Gateway {
        knowledge,
        live,
        stop,
    });
    let routes = Routes::new(health).add_service(gateway);
    (reflection::add(routes, &SERVICES), reporter)
}

/// Tells the health of all services: serving from the first full status of the daemon on. What an
/// earlier process saved is served before, and not called healthy.
pub async fn keep_health(
    reporter: HealthReporter,
    mut snapshots: Snapshots,
    stop: CancellationToken,
) {
    tell(&reporter, ServingStatus::NotServing).await;
    let heard = snapshots.wait_for(|latest| {
        let latest = latest.as_ref();
        latest.is_some_and(|snapshot| !snapshot.is_partial())
    });
    let heard = tokio::select! {
        heard = heard => heard.is_ok(),
        () = stop.cancelled() => false,
    };
    if heard {
        tell(&reporter, ServingStatus::Serving).await;
    }
    stop.cancelled().await;
    tell(&reporter, ServingStatus::NotServing).await;
}

async fn tell(reporter: &HealthReporter, status: ServingStatus) {
    let own = gateway_server::SERVICE_NAME;
    for service in SERVICES.into_iter().chain([own, ""]) {
        reporter.set_service_status(service, status).await;
    }
}

struct Gateway {
    knowledge: Knowledge,
    live: Live,
    stop: CancellationToken,
}

type Statuses = Pin<Box<dyn Stream<Item = Result<pb::Status, Status>> + Send>>;
type Events = Pin<Box<dyn Stream<Item = Result<pb::Event, Status>> + Send>>;

#[tonic::async_trait]
impl gateway_server::Gateway for Gateway {
    type WatchEventsStream = Events;
    type WatchStatusStream = Statuses;

    async fn get_status(
        &self,
        request: Request<GetStatusRequest>,
    ) -> Result<Response<pb::Status>, Status> {
        let status = self.knowledge.status(request.get_ref());
        Ok(Response::new(status.await))
    }

    async fn get_diff(
        &self,
        request: Request<GetDiffRequest>,
    ) -> Result<Response<pb::ClientDiffs>, Status> {
        let diffs = differences::of_clients(&self.knowledge, &request.get_ref().node).await;
        Ok(Response::new(diffs.map_err(Status::internal)?))
    }

    async fn watch_status(
        &self,
        request: Request<GetStatusRequest>,
    ) -> Result<Response<Statuses>, Status> {
        let watch = Watch {
            knowledge: self.knowledge.clone(),
            request: request.into_inner(),
            told: None,
            due: now(),
        };
        let statuses = stream::unfold(watch, |watch| async {
            let (status, watch) = watch.next().await;
            Some((Ok(status), watch))
        });
        let stop = self.stop.clone().cancelled_owned();
        Ok(Response::new(statuses.take_until(stop).boxed()))
    }

    async fn get_graph(&self, _: Request<GetGraphRequest>) -> Result<Response<pb::Graph>, Status> {
        Ok(Response::new(pb::Graph::clone(&self.knowledge.graph())))
    }

    async fn watch_events(
        &self,
        request: Request<WatchEventsRequest>,
    ) -> Result<Response<Events>, Status> {
        let events = self.live.events(request.get_ref().after).map(Ok);
        let stop = self.stop.clone().cancelled_owned();
        Ok(Response::new(events.take_until(stop).boxed()))
    }
}

/// Who is told of changes.
struct Watch {
    knowledge: Knowledge,
    request: GetStatusRequest,
    told: Option<pb::Status>,
    due: Instant,
}

impl Watch {
    async fn next(mut self) -> (pb::Status, Self) {
        loop {
            sleep_until(self.due).await;
            let status = self.knowledge.status(&self.request).await;
            self.due = now() + PAUSE;
            if self.told.as_ref() != Some(&status) {
                self.told = Some(status.clone());
                return (status, self);
            }
        }
    }
}

/// The services of Envoy's API that are served.
static SERVICES: [&str; 7] = [
    "envoy.service.discovery.v3.AggregatedDiscoveryService",
    "envoy.service.cluster.v3.ClusterDiscoveryService",
    "envoy.service.endpoint.v3.EndpointDiscoveryService",
    "envoy.service.listener.v3.ListenerDiscoveryService",
    "envoy.service.route.v3.RouteDiscoveryService",
    "envoy.service.secret.v3.SecretDiscoveryService",
    "envoy.service.status.v3.ClientStatusDiscoveryService",
];
/// The least time between two messages to who watches.
const PAUSE: Duration = Duration::from_secs(1);
