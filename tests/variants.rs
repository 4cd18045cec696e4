//! Envoys that were started otherwise than `osvc-igw bootstrap` says: whole states over the
//! aggregated stream, and a stream for each name as the janitor's Envoys had them.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking, as tests do"
)]

use std::time::{Duration, Instant};

use osvc_igw::demo::ports;
use osvc_igw::xds::{ResourceType, Snapshot};
use serde_json::json;
use tokio::time::{sleep, timeout};

use crate::support::stand::{LATE, Services, Stand, all_answer, backend, instance, raw, services};

/// The bootstrap with its aggregated stream in another variant.
const AGGREGATED_WHOLE: &[(&str, &str)] = &[("api_type: DELTA_GRPC", "api_type: GRPC")];

/// The janitor's way: no aggregated stream, and a stream for each name.
pub(crate) fn separate(api_type: &str) -> Vec<(String, String)> {
    let source = format!(
        "api_config_source:
      api_type: {api_type}
      transport_api_version: V3
      grpc_services: [{{envoy_grpc: {{cluster_name: xds_cluster}}}}]"
    );
    let aggregated = "  ads_config:
    api_type: DELTA_GRPC
    transport_api_version: V3
    set_node_on_first_message_only: true
    grpc_services:
    - envoy_grpc:
        cluster_name: xds_cluster
        retry_policy:
          retry_back_off: {base_interval: 0.05s, max_interval: 1s}
";
    vec![
        (aggregated.to_owned(), String::new()),
        ("    ads: {}".to_owned(), format!("    {source}")),
    ]
}

async fn stand(changes: &[(String, String)]) -> Stand {
    let changes: Vec<(&str, &str)> = changes
        .iter()
        .map(|(before, after)| (before.as_str(), after.as_str()))
        .collect();
    Stand::start_with(&changes).await
}

/// Services come, move, go wrong and are mended: the same for every variant.
async fn serves_all_the_same(stand: Stand) {
    let (good, listeners) = services(20, stand.backend.address());
    stand.publish(good.clone());
    all_answer(&listeners).await;

    let port = ports::free().unwrap();
    let other = backend("other").await;
    let mut more = Services::default();
    more.add(
        "more",
        other.address(),
        json!({"listener_port": port}),
        json!({}),
    );
    let with_more = joined(&good, &more.snapshot());
    stand.publish(with_more.clone());
    answers(port, "other").await;
    let mut moved = Services::default();
    let here = stand.backend.address();
    moved.add("more", here, json!({"listener_port": port}), json!({}));
    stand.publish(joined(&good, &moved.snapshot()));
    answers(port, "backend").await;

    // What is refused is named, and costs nobody else anything.
    let mut bad = with_more.clone();
    raw(ResourceType::Listener, "bad", foreign_listener(), &mut bad);
    stand.publish(bad);
    stand.refuses(&["lds bad"]).await;
    answers(port, "other").await;
    all_answer(&listeners).await;

    // A stream that breaks comes back to what changed meanwhile.
    stand.relay.cut();
    stand.publish(good);
    let gone = async {
        while instance(port, "x").await.is_some() {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(LATE, gone).await.expect("the listener goes");
    stand.refuses(&[]).await;
    all_answer(&listeners).await;
}

fn joined(one: &Snapshot, other: &Snapshot) -> Snapshot {
    let mut all = one.clone();
    for kind in ResourceType::ALL {
        for resource in other.all(kind) {
            all.insert(kind, resource.clone());
        }
    }
    all
}

/// At an address that this host does not have.
fn foreign_listener() -> Vec<u8> {
    let proxy = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": "bad",
        "cluster": "test/svc/good0.expose#0",
    });
    let listener = json!({
        "name": "bad",
        "address": {"socket_address": {"address": "192.0.2.1", "port_value": 80}},
        "filter_chains": [{"filters": [{"name": "tcp", "typed_config": proxy}]}],
    });
    osvc_igw::xds::json::from_json(ResourceType::Listener.url(), &listener).unwrap()
}

async fn answers(port: u16, name: &str) {
    let answered = async {
        while instance(port, "x").await.as_deref() != Some(name) {
            sleep(Duration::from_millis(20)).await;
        }
    };
    let late = timeout(LATE, answered).await.is_err();
    assert!(!late, "{name} does not answer at port {port}");
}

#[tokio::test(flavor = "multi_thread")]
async fn delta_over_the_aggregated_stream() {
    serves_all_the_same(Stand::start().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whole_states_over_the_aggregated_stream() {
    serves_all_the_same(Stand::start_with(AGGREGATED_WHOLE).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whole_states_over_a_stream_for_each_name() {
    serves_all_the_same(stand(&separate("GRPC")).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn delta_over_a_stream_for_each_name() {
    serves_all_the_same(stand(&separate("DELTA_GRPC")).await).await;
}

// With 256 threads and a stream for each name, the janitor's Envoy was never ready.
#[tokio::test(flavor = "multi_thread")]
async fn three_hundred_clusters_are_ready_over_a_stream_for_each_name() {
    let stand = stand(&separate("GRPC")).await;
    let mut all = Services::default();
    let listeners: Vec<u16> = (0..20).map(|_| ports::free().unwrap()).collect();
    for number in 0..300 {
        // Twenty route configurations of fifteen virtual hosts.
        let port = listeners[number % 20];
        let name = format!("good{number}");
        let http = json!({"listener_port": port, "vhosts": ["vhost#0"]});
        let vhost = json!({
            "vhost#0": {
                "type": "vhost.envoy", "status": "n/a", "info": {"domains": [format!("{name}.x")]},
            },
        });
        all.add(&name, stand.backend.address(), http, vhost);
    }
    let snapshot = all.snapshot();
    let counts = ResourceType::ALL.map(|kind| (kind, snapshot.all(kind).count()));
    println!("{counts:?}");
    let since = Instant::now();
    stand.publish(snapshot);
    let ready = async {
        while stand
            .envoy
            .stat("listener_manager.listener_create_success")
            .await
            < Some(20)
            || stand.envoy.stat("server.state").await != Some(0)
        {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(LATE, ready).await.expect("it is ready");
    println!("ready after {} ms", since.elapsed().as_millis());
    for number in 0..300 {
        let host = format!("good{number}.x");
        let answered = async {
            while instance(listeners[number % 20], &host).await.as_deref() != Some("backend") {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(LATE, answered).await.expect("each service answers");
    }
    println!("all answer after {} ms", since.elapsed().as_millis());
}
