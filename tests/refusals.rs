//! What a real Envoy refuses is found, named and held apart; everything else is served.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking, as tests do"
)]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::config::cluster::v3::Cluster as PbCluster;
use envoy_types::pb::envoy::config::core::v3::address::Address as AddressKind;
use envoy_types::pb::envoy::config::listener::v3::Listener as PbListener;
use envoy_types::pb::envoy::config::route::v3::route_match::PathSpecifier;
use envoy_types::pb::envoy::config::route::v3::{RouteConfiguration, RouteMatch};
use envoy_types::pb::envoy::r#type::matcher::v3::RegexMatcher;
use envoy_types::pb::google::protobuf::Duration as PbDuration;
use osvc_igw::ads::{Ads, Clients, bind_tcp};
use osvc_igw::bootstrap::{Bootstrap, XdsAddress};
use osvc_igw::demo::ports;
use osvc_igw::gateway::{Origin, Policy};
use osvc_igw::sim::backend::Backend;
use osvc_igw::xds::{Resource, ResourceType, Snapshot, Version};
use prost::Message;
use serde_json::{Map, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::golden::Case;
use crate::support::envoy::Envoy;

/// A gateway of many good things, served to a real Envoy by the real service.
struct Stand {
    snapshots: watch::Sender<Option<Arc<Snapshot>>>,
    clients: Clients,
    _envoy: Envoy,
    backend: Backend,
    stop: CancellationToken,
}

impl Stand {
    async fn start() -> Self {
        let (snapshots, latest) = watch::channel(None);
        let stop = CancellationToken::new();
        let ads = Ads::new(latest, 8, stop.clone());
        let clients = ads.clients();
        let incoming = bind_tcp(([127, 0, 0, 1], 0).into()).unwrap();
        let port = incoming.local_addr().unwrap().port();
        tokio::spawn(ads.serve_tcp(incoming));
        let bootstrap = Bootstrap {
            node_id: "stand".to_owned(),
            node_cluster: "envoy".to_owned(),
            xds: XdsAddress::Tcp {
                host: "127.0.0.1".to_owned(),
                port,
            },
            admin: ([127, 0, 0, 1], 0).into(),
        };
        let backend = Backend::start(([127, 0, 0, 1], 0).into(), "backend", None)
            .await
            .unwrap();
        let envoy = Envoy::start(&bootstrap).await;
        Self {
            snapshots,
            clients,
            _envoy: envoy,
            backend,
            stop,
        }
    }

    fn publish(&self, snapshot: Snapshot) {
        self.snapshots.send_replace(Some(Arc::new(snapshot)));
    }

    fn refused(&self) -> BTreeSet<String> {
        let clients = self.clients.list();
        let refused = clients.iter().flat_map(|client| client.refused.keys());
        refused
            .map(|(kind, name)| format!("{kind} {name}"))
            .collect()
    }

    async fn refuses(&self, expect: &[&str]) {
        let expect: BTreeSet<String> = expect.iter().map(|name| (*name).to_owned()).collect();
        let same = async {
            while self.refused() != expect {
                sleep(POLL).await;
            }
        };
        let late = timeout(LATE, same).await.is_err();
        assert!(!late, "refused: {:?}, not {expect:?}", self.refused());
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// `count` services with a listener each; every tenth is HTTP. Returns the ports, too.
fn services(count: usize, backend: SocketAddr) -> (Snapshot, Vec<u16>) {
    let ports: Vec<u16> = (0..count).map(|_| ports::free().unwrap()).collect();
    let mut statuses = Map::new();
    let mut aggregates = Map::new();
    for (number, port) in ports.iter().enumerate() {
        let mut expose = json!({
            "port": backend.port(), "listener_port": port, "listener_addr": "127.0.0.1",
        });
        let mut resources = json!({
            "ip#1": {
                "type": "ip", "status": "up",
                "info": {"ipaddr": backend.ip().to_string(), "expose": ["expose#0"]},
            },
        });
        if number % 10 == 9 {
            expose["vhosts"] = json!(["vhost#0"]);
            resources["vhost#0"] =
                json!({"type": "vhost.envoy", "status": "n/a", "info": {"domains": ["*"]}});
        }
        resources["expose#0"] = json!({"type": "expose.envoy", "status": "n/a", "info": expose});
        let path = format!("test/svc/good{number}");
        let status = json!({"kind": "svc", "avail": "up", "resources": resources});
        statuses.insert(path.clone(), status);
        aggregates.insert(path, json!({"avail": "up"}));
    }
    let node = json!({
        "monitor": {"status": "idle"}, "services": {"status": statuses, "config": {}},
    });
    let status = json!({
        "cluster": {"nodes": ["n1"]},
        "monitor": {"nodes": {"n1": node}, "services": aggregates},
    });
    let policy = Policy {
        gateway_name: "envoy".to_owned(),
    };
    let case = Case {
        status,
        reads: json!({}),
        policy,
    };
    let outcome = case.run();
    assert_eq!(
        outcome.compiled.problems.len(),
        0,
        "{:?}",
        outcome.compiled.problems
    );
    (outcome.snapshot, ports)
}

fn raw(kind: ResourceType, name: &str, body: Vec<u8>, to: &mut Snapshot) {
    let mut resource = Resource::new(name, Version::of(&body));
    resource.body = body;
    resource.origins = vec![Origin {
        object: "test/svc/bad".parse().unwrap(),
        section: "expose#0".to_owned(),
    }];
    to.insert(kind, Arc::new(resource));
}

/// A cluster that Envoy refuses at the root of its message, where it names nothing and applies
/// nothing of the response.
fn bad_cluster(to: &mut Snapshot) {
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
    let good = to.get(ResourceType::Route, &name).unwrap();
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
    raw(ResourceType::Route, &name, routes.encode_to_vec(), to);
    name
}

/// Whether the service behind a listener answers.
async fn answers(port: u16) -> bool {
    let exchange = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream
            .write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            .await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        Ok::<String, std::io::Error>(text)
    };
    let answer = timeout(Duration::from_secs(2), exchange).await;
    matches!(answer, Ok(Ok(text)) if text.contains("x-instance: backend"))
}

async fn all_answer(ports: &[u16]) {
    for port in ports {
        let answered = async {
            while !answers(*port).await {
                sleep(POLL).await;
            }
        };
        assert!(
            timeout(LATE, answered).await.is_ok(),
            "port {port} does not answer"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_thing_of_each_kind_is_named_and_fifty_services_are_served() {
    let stand = Stand::start().await;
    let (good, ports) = services(50, stand.backend.address());
    let mut snapshot = good.clone();
    bad_cluster(&mut snapshot);
    bad_listener(ports[0], &mut snapshot);
    let routes = bad_routes(ports[9], &mut snapshot);
    stand.publish(snapshot);
    let served: Vec<u16> = ports
        .iter()
        .copied()
        .filter(|port| *port != ports[9])
        .collect();
    all_answer(&served).await;
    stand
        .refuses(&["cds bad", "lds bad", &format!("rds {routes}")])
        .await;
    stand.publish(good);
    stand.refuses(&[]).await;
    all_answer(&ports).await;
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

const POLL: Duration = Duration::from_millis(50);
const LATE: Duration = Duration::from_secs(20);
