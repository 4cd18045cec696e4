//! What is served beside xDS at the same addresses: our own service, health, and reflection.

use std::time::Duration;

use envoy_types::pb::envoy::service::status::v3::ClientStatusRequest;
use envoy_types::pb::envoy::service::status::v3::client_status_discovery_service_client as csds;
use osvc_igw::pb::gateway_client::GatewayClient;
use osvc_igw::pb::{
    EventKind, GetGraphRequest, GetStatusRequest, ResourceState, WatchEventsRequest,
};
use osvc_igw::sim::Sim;
use osvc_igw::status::{json_of, to_json};
use tokio::time::{sleep, timeout};
use tonic::transport::{Channel, Endpoint};
use tonic_health::ServingStatus;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use crate::support::controller::{Controller, Options};
use crate::support::folder::Folder;
use crate::support::rig::Rig;
use crate::support::stand::LATE;

/// Both ways to the same services.
fn channels(options: &Options) -> [Channel; 2] {
    let tcp = format!("http://{}", options.xds);
    let unix = format!("unix://{}", options.xds_socket.display());
    [tcp, unix].map(|address| {
        let endpoint = Endpoint::from_shared(address).expect("an address");
        endpoint.connect_lazy()
    })
}

async fn health(channel: &Channel, service: &str) -> Option<ServingStatus> {
    let service = service.to_owned();
    let request = HealthCheckRequest { service };
    let answer = HealthClient::new(channel.clone()).check(request).await;
    Some(match answer.ok()?.into_inner().status() as i32 {
        1 => ServingStatus::Serving,
        2 => ServingStatus::NotServing,
        _ => ServingStatus::Unknown,
    })
}

async fn until_health(channel: &Channel, service: &str, wanted: ServingStatus) {
    let reached = async {
        while health(channel, service).await != Some(wanted) {
            sleep(Duration::from_millis(20)).await;
        }
    };
    let late = timeout(LATE, reached).await.is_err();
    assert!(!late, "{service:?} is not {wanted}");
}

const SERVICES: [&str; 3] = [
    "",
    "osvc_igw.v1.Gateway",
    "envoy.service.discovery.v3.AggregatedDiscoveryService",
];

#[tokio::test(flavor = "multi_thread")]
async fn health_is_good_from_the_first_full_status_on() {
    let folder = Folder::new("health");
    let options = Options::new(&folder.0);
    let _controller = Controller::start(&options);
    let channels = channels(&options);
    for channel in &channels {
        for service in SERVICES {
            until_health(channel, service, ServingStatus::NotServing).await;
        }
    }
    let _sim = Sim::start(&options.daemon, &["n1"]).expect("a daemon");
    for channel in &channels {
        for service in SERVICES {
            until_health(channel, service, ServingStatus::Serving).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_is_the_same_document_over_every_way() {
    let rig = Rig::start().await;
    let synced = async {
        loop {
            let status = rig.controller.status().await;
            if status["clients"][0]["synced"] == true {
                return status;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    let over_http = timeout(LATE, synced).await.expect("Envoy has all of it");
    assert_eq!(over_http["gateway"], "envoy");
    assert_eq!(over_http["clients"][0]["resources"], serde_json::json!([]));
    for channel in channels(&rig.options) {
        let answer = GatewayClient::new(channel)
            .get_status(GetStatusRequest::default())
            .await;
        let status = answer.expect("an answer").into_inner();
        assert_eq!(to_json(&status).expect("JSON"), over_http);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_graph_is_the_same_document_over_every_way() {
    let rig = Rig::start().await;
    for channel in channels(&rig.options) {
        let answer = GatewayClient::new(channel)
            .get_graph(GetGraphRequest {})
            .await;
        let graph = answer.expect("an answer").into_inner();
        let json = json_of("osvc_igw.v1.Graph", &graph).expect("JSON");
        let page = rig.controller.page("/graph").await.expect("a page");
        let page: serde_json::Value = serde_json::from_str(&page).expect("JSON");
        assert_eq!(json, page);
        assert_eq!(graph.listeners.len(), 2);
        assert_eq!(graph.clusters.len(), 3);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_watches_events_is_told_what_happened_and_what_happens() {
    let folder = Folder::new("events");
    let options = Options::new(&folder.0);
    let sim = Sim::start(&options.daemon, &["n1"]).expect("a daemon");
    let mut controller = Controller::start(&options);
    controller.ready().await;
    let [tcp, unix] = channels(&options);
    let watch = async |channel, after| {
        let request = WatchEventsRequest { after };
        let events = GatewayClient::new(channel).watch_events(request).await;
        events.expect("events").into_inner()
    };
    let mut events = watch(tcp, 0).await;
    let mut until = async |kind| loop {
        let event = timeout(LATE, events.message())
            .await
            .expect("an event in time");
        let event = event.expect("a stream").expect("an event");
        if event.kind() == kind {
            return event;
        }
    };
    let followed = until(EventKind::Followed).await;
    assert_eq!(followed.text, "the OpenSVC daemon is followed");
    let service = |port, more: &str| {
        format!(
            "[DEFAULT]\nnodes = n1\n[ip#1]\nipname = 10.99.0.10\nipdev = lo\nnetmask = 32\n\
             expose = expose#0\n[expose#0]\ntype = envoy\nport = 80\nlistener_port = {port}\n{more}"
        )
    };
    let bad = service(8010, "vhosts = vhost#9\n");
    sim.create("test/svc/web1", &bad).expect("a service");
    let problem = until(EventKind::Problem).await;
    assert_eq!(problem.objects, ["test/svc/web1"]);
    assert!(problem.text.contains("vhost#9"), "{}", problem.text);
    sim.create("test/svc/web2", &service(8011, ""))
        .expect("a service");
    let change = until(EventKind::Change).await;
    assert!(
        change.text.contains("+ listener 0.0.0.0:8011/tcp"),
        "{}",
        change.text
    );
    let mut again = watch(unix, problem.id).await;
    let next = timeout(LATE, again.message())
        .await
        .expect("an event in time");
    let next = next.expect("a stream").expect("an event");
    assert_eq!(next.id, problem.id + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_resource_of_one_client_is_listed_when_asked_for() {
    let rig = Rig::start().await;
    let [channel, unix] = channels(&rig.options);
    let request = GetStatusRequest {
        node: "rig".to_owned(),
        synced_resources: true,
    };
    let told = async {
        loop {
            let answer = GatewayClient::new(channel.clone())
                .get_status(request.clone())
                .await;
            let status = answer.expect("an answer").into_inner();
            let clients = &status.clients;
            let synced = |client: &osvc_igw::pb::Client| client.synced && client.unsynced == 0;
            if clients.first().is_some_and(synced) {
                return status;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    let status = timeout(LATE, told).await.expect("Envoy has all of it");
    let [client] = status.clients.as_slice() else {
        panic!("one client, not {:?}", status.clients);
    };
    for (kind, count) in &status.resources {
        let of_kind = client.resources.iter().filter(|one| one.r#type == *kind);
        assert_eq!(of_kind.count(), *count as usize, "{kind}");
    }
    for resource in &client.resources {
        assert_eq!(resource.state(), ResourceState::Synced, "{resource:?}");
        assert_eq!(resource.wanted, resource.acked, "{resource:?}");
        assert!(
            resource.acked_at.is_some() && !resource.origins.is_empty(),
            "{resource:?}"
        );
    }
    let mut csds = csds::ClientStatusDiscoveryServiceClient::new(unix.clone());
    let answer = csds
        .fetch_client_status(ClientStatusRequest::default())
        .await;
    let config = answer
        .expect("an answer over the unix socket")
        .into_inner()
        .config;
    assert_eq!(config[0].generic_xds_configs.len(), client.resources.len());
    let other = GetStatusRequest {
        node: "other".to_owned(),
        ..GetStatusRequest::default()
    };
    let answer = GatewayClient::new(unix).get_status(other).await;
    assert!(answer.expect("an answer").into_inner().clients.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_watches_is_told_of_a_change_and_not_of_silence() {
    let folder = Folder::new("watch");
    let options = Options::new(&folder.0);
    let sim = Sim::start(&options.daemon, &["n1"]).expect("a daemon");
    let mut controller = Controller::start(&options);
    controller.ready().await;
    let [channel, _] = channels(&options);
    let answer = GatewayClient::new(channel)
        .watch_status(GetStatusRequest::default())
        .await;
    let mut statuses = answer.expect("a stream").into_inner();
    let first = statuses
        .message()
        .await
        .expect("a message")
        .expect("the state now");
    assert!(first.ready && first.problems.is_empty(), "{first:?}");
    let service = "[DEFAULT]\nnodes = n1\n[ip#1]\nipname = 10.99.0.10\nipdev = lo\n\
                   netmask = 32\nexpose = expose#0\n[expose#0]\ntype = envoy\nport = 80\n\
                   listener_port = 8010\nvhosts = vhost#9\n";
    sim.create("test/svc/web", service).expect("a service");
    let told = async {
        let mut before = first;
        loop {
            let status = statuses
                .message()
                .await
                .expect("a message")
                .expect("the next");
            assert_ne!(status, before, "told of nothing");
            if let Some(problem) = status.problems.first() {
                return problem.clone();
            }
            before = status;
        }
    };
    let problem = timeout(LATE, told).await.expect("told in time");
    assert_eq!(
        (problem.object.as_str(), problem.keyword.as_str()),
        ("test/svc/web", "vhosts")
    );
}

async fn reflected(channel: &Channel, message_request: MessageRequest) -> MessageResponse {
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(message_request),
    };
    let answer = ServerReflectionClient::new(channel.clone())
        .server_reflection_info(tokio_stream::iter([request]))
        .await;
    let mut answers = answer.expect("a stream").into_inner();
    let answer = answers
        .message()
        .await
        .expect("a message")
        .expect("an answer");
    answer.message_response.expect("an answer")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_service_is_described_by_reflection() {
    let folder = Folder::new("reflection");
    let options = Options::new(&folder.0);
    let _controller = Controller::start(&options);
    for channel in channels(&options) {
        until_health(&channel, "", ServingStatus::NotServing).await;
        let all = reflected(&channel, MessageRequest::ListServices(String::new())).await;
        let MessageResponse::ListServicesResponse(all) = all else {
            panic!("not a list: {all:?}");
        };
        let mut names: Vec<String> = all.service.into_iter().map(|one| one.name).collect();
        names.sort();
        assert_eq!(
            names,
            [
                "envoy.service.cluster.v3.ClusterDiscoveryService",
                "envoy.service.discovery.v3.AggregatedDiscoveryService",
                "envoy.service.endpoint.v3.EndpointDiscoveryService",
                "envoy.service.listener.v3.ListenerDiscoveryService",
                "envoy.service.route.v3.RouteDiscoveryService",
                "envoy.service.secret.v3.SecretDiscoveryService",
                "envoy.service.status.v3.ClientStatusDiscoveryService",
                "grpc.health.v1.Health",
                "grpc.reflection.v1.ServerReflection",
                "osvc_igw.v1.Gateway",
            ]
        );
        for name in names {
            let request = MessageRequest::FileContainingSymbol(name.clone());
            let described = reflected(&channel, request).await;
            let is_file = matches!(described, MessageResponse::FileDescriptorResponse(_));
            assert!(is_file, "{name}: {described:?}");
        }
    }
}
