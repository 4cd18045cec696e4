//! What a real Envoy refuses is found, named and held apart; everything else is served.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking, as tests do"
)]

use std::time::{Duration, Instant};

use envoy_types::pb::envoy::config::cluster::v3::Cluster as PbCluster;
use envoy_types::pb::envoy::config::core::v3::address::Address as AddressKind;
use envoy_types::pb::envoy::config::listener::v3::Listener as PbListener;
use envoy_types::pb::envoy::config::route::v3::route_match::PathSpecifier;
use envoy_types::pb::envoy::config::route::v3::{RouteConfiguration, RouteMatch};
use envoy_types::pb::envoy::r#type::matcher::v3::RegexMatcher;
use envoy_types::pb::google::protobuf::Duration as PbDuration;
use osvc_igw::demo::ports;
use osvc_igw::sim::certificate::Authority;
use osvc_igw::xds::json::from_json;
use osvc_igw::xds::{ResourceType, Snapshot};
use prost::Message;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::support::folder::Folder;
use crate::support::stand::{Stand, all_answer, raw, services};
use crate::traffic::tls_client::get;

/// A cluster that Envoy refuses at the root of its message, where it names nothing and applies
/// nothing of the response.
pub(crate) fn bad_cluster(to: &mut Snapshot) {
    let cluster = PbCluster {
        name: "bad".to_owned(),
        connect_timeout: Some(PbDuration {
            seconds: -1,
            nanos: 0,
        }),
        ..PbCluster::default()
    };
    raw(ResourceType::Cluster, "bad", cluster.encode_to_vec(), to);
}

/// A listener at an address of somebody else's.
fn bad_listener(port: u16, to: &mut Snapshot) {
    let good = format!("127.0.0.1:{port}/tcp");
    let good = to.get(ResourceType::Listener, &good).unwrap();
    let mut listener = PbListener::decode(good.body.as_slice()).unwrap();
    listener.name = "bad".to_owned();
    if let Some(AddressKind::SocketAddress(address)) = listener
        .address
        .as_mut()
        .and_then(|address| address.address.as_mut())
    {
        address.address = "192.0.2.1".to_owned();
    }
    raw(ResourceType::Listener, "bad", listener.encode_to_vec(), to);
}

/// The routes of a listener, with an expression that is none.
fn bad_routes(port: u16, to: &mut Snapshot) -> String {
    let name = format!("127.0.0.1:{port}/tcp");
    spoil_routes(&name, to);
    name
}

/// Puts an expression that is none into routes.
pub(crate) fn spoil_routes(name: &str, to: &mut Snapshot) {
    let good = to.get(ResourceType::Route, name).unwrap();
    let mut routes = RouteConfiguration::decode(good.body.as_slice()).unwrap();
    for route in routes
        .virtual_hosts
        .iter_mut()
        .flat_map(|host| &mut host.routes)
    {
        let regex = RegexMatcher {
            regex: "missing ): ((".to_owned(),
            ..Default::default()
        };
        route.r#match = Some(RouteMatch {
            path_specifier: Some(PathSpecifier::SafeRegex(regex)),
            ..RouteMatch::default()
        });
    }
    raw(ResourceType::Route, name, routes.encode_to_vec(), to);
}

/// A secret that is no certificate, and the listener that waits for it.
fn bad_secret(to: &mut Snapshot) {
    let no = json!({"inline_string": "no"});
    secret(&no, &no, ports::free().unwrap(), to);
}

/// A secret from these sources, and the listener that waits for it.
fn secret(chain: &Value, key: &Value, port: u16, to: &mut Snapshot) {
    let secret = json!({
        "name": "bad", "tls_certificate": {"certificate_chain": chain, "private_key": key},
    });
    let body = from_json(ResourceType::Secret.url(), &secret).unwrap();
    raw(ResourceType::Secret, "bad", body, to);
    let config = json!({"name": "bad", "sds_config": {"ads": {}, "resource_api_version": "V3"}});
    let tls = json!({
        "@type": format!("type.googleapis.com/{TLS}.DownstreamTlsContext"),
        "common_tls_context": {"tls_certificate_sds_secret_configs": [config]},
    });
    let proxy = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": "waits",
        "cluster": "test/svc/good0.expose#0",
    });
    let listener = json!({
        "name": "waits",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [{
            "transport_socket": {"name": "tls", "typed_config": tls},
            "filters": [{"name": "tcp", "typed_config": proxy}],
        }],
    });
    let body = from_json(ResourceType::Listener.url(), &listener).unwrap();
    raw(ResourceType::Listener, "waits", body, to);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_thing_of_each_kind_is_named_and_fifty_services_are_served() {
    let stand = Stand::start().await;
    let (good, ports) = services(50, stand.backend.address());
    let mut snapshot = good.clone();
    bad_cluster(&mut snapshot);
    bad_listener(ports[0], &mut snapshot);
    let routes = bad_routes(ports[9], &mut snapshot);
    bad_secret(&mut snapshot);
    stand.publish(snapshot);
    let since = Instant::now();
    let mut served = ports.clone();
    served.remove(9);
    all_answer(&served).await;
    println!("49 good ones answer after {:.0?}", since.elapsed());
    stand
        .refuses(&["cds bad", "lds bad", &format!("rds {routes}"), "sds bad"])
        .await;
    println!("the bad are named after {:.0?}", since.elapsed());
    for refused in stand.clients.list()[0].refused.values() {
        assert_eq!(refused.origins[0].object.to_string(), "test/svc/bad");
    }
    stand.publish(good);
    let since = Instant::now();
    all_answer(&ports).await;
    println!("all answer {:.0?} after the cure", since.elapsed());
    stand.refuses(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_change_leaves_the_last_good_version_serving() {
    let stand = Stand::start().await;
    let (good, ports) = services(10, stand.backend.address());
    stand.publish(good.clone());
    all_answer(&ports).await;
    let mut snapshot = good.clone();
    let routes = bad_routes(ports[9], &mut snapshot);
    stand.publish(snapshot);
    stand.refuses(&[&format!("rds {routes}")]).await;
    all_answer(&ports).await;
    stand.publish(good);
    stand.refuses(&[]).await;
    all_answer(&ports).await;
}

/// Envoy acknowledges a secret that it has refused when it comes again in the same words.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_secret_stays_refused_until_its_files_are_there() {
    let stand = Stand::start().await;
    let folder = Folder::new("later");
    let (mut snapshot, _) = services(1, stand.backend.address());
    let port = ports::free().unwrap();
    let file = |name: &str| json!({"filename": folder.0.join(name)});
    secret(&file("chain"), &file("key"), port, &mut snapshot);
    stand.publish(snapshot);
    stand.refuses(&["sds bad"]).await;
    // The first retries are after one and after three seconds.
    sleep(Duration::from_secs(5)).await;
    stand.refuses(&["sds bad"]).await;
    let authority = Authority::new("Example CA").unwrap();
    let later = authority.issue("later", &["later.acme.org"]).unwrap();
    folder.write("chain", &later.chain_pem);
    folder.write("key", &later.key_pem);
    stand.refuses(&[]).await;
    let answer = get("https://later.acme.org", port, &authority, None, None).await;
    assert_eq!(answer.map(|answer| answer.status), Ok(200));
}

const TLS: &str = "envoy.extensions.transport_sockets.tls.v3";
