//! Which instances get traffic: those that work, until they leave; and what is done about those
//! of which nothing is heard.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking, as tests do"
)]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use osvc_igw::demo::ports;
use osvc_igw::sim::backend::Backend;
use reqwest::Client;
use serde_json::Value;
use tokio::time::{sleep, timeout};

use crate::support::rig::Rig;

/// A flex service with an instance on each node, its backends, and where it is exposed.
struct Service {
    client: Client,
    url: String,
    backends: Vec<Option<Backend>>,
    backend_port: u16,
}

impl Service {
    /// `net` keeps tests that run beside each other apart.
    async fn start(rig: &Rig, net: u8, nodes: usize, running: usize) -> Self {
        let (port, backend_port) = (free(), free());
        for node in 2..=nodes {
            rig.stage.sim.add_node(&format!("node{node}"));
        }
        let addresses = (1..=nodes).map(|node| {
            let address = address(net, node, 0).ip();
            format!("ipname@node{node} = {address}\n")
        });
        let configuration = format!(
            "[DEFAULT]\nnodes = *\ntopology = flex\n\n\
             [ip#1]\nipdev = lo\nnetmask = 8\nexpose = expose#0\n{}\n\
             [expose#0]\ntype = envoy\nport = {backend_port}\nlistener_addr = 127.0.0.1\n\
             listener_port = {port}\nvhosts = vhost#0\n\n[vhost#0]\ndomains = *\n",
            addresses.collect::<String>(),
        );
        let mut service = Self {
            client: Client::builder()
                .no_proxy()
                .pool_max_idle_per_host(0)
                .build()
                .unwrap(),
            url: format!("http://127.0.0.1:{port}/"),
            backends: Vec::new(),
            backend_port,
        };
        for node in 1..=nodes {
            let backend = match node <= running {
                true => Some(service.backend(net, node).await),
                false => None,
            };
            service.backends.push(backend);
        }
        rig.stage.sim.create(SERVICE, &configuration).unwrap();
        service
    }

    async fn backend(&self, net: u8, node: usize) -> Backend {
        let at = address(net, node, self.backend_port);
        let name = format!("node{node}");
        Backend::start(at, &name, None).await.unwrap()
    }

    /// Which instance answers; `None` where none does.
    async fn ask(&self) -> Option<String> {
        let answer = self.client.get(&self.url).send().await.ok()?;
        let instance = answer.headers().get("x-instance")?;
        Some(instance.to_str().ok()?.to_owned())
    }

    /// Waits until `count` requests in a row are answered by exactly these instances.
    async fn answered_by(&self, nodes: &[&str]) {
        let expected: BTreeSet<String> = nodes.iter().map(|node| (*node).to_owned()).collect();
        let mut last = BTreeSet::new();
        let settled = async {
            loop {
                last.clear();
                for _ in 0..REQUESTS {
                    let instance = self.ask().await;
                    last.insert(instance.unwrap_or_else(|| "none".to_owned()));
                }
                if last == expected {
                    return;
                }
                sleep(PAUSE).await;
            }
        };
        let settled = timeout(SETTLE_MAX, settled).await;
        assert!(settled.is_ok(), "answered by {last:?}, not {expected:?}");
    }
}

/// What Envoy says of the cluster's hosts: address, and its health by endpoint discovery and by
/// Envoy's own checks.
async fn hosts(rig: &Rig) -> Vec<(String, String, bool)> {
    let clusters = rig.envoy.json("/clusters?format=json").await;
    let clusters = clusters["cluster_statuses"].as_array().cloned();
    let clusters = clusters.unwrap_or_default().into_iter();
    let mut cluster = clusters.filter(|cluster| cluster["name"] == CLUSTER);
    let hosts = cluster.next().unwrap_or_default();
    let hosts = hosts["host_statuses"].as_array().cloned();
    let host = |host: Value| {
        let address = &host["address"]["socket_address"]["address"];
        let health = &host["health_status"];
        let told = health["eds_health_status"].as_str().unwrap_or("HEALTHY");
        let failed = health["failed_active_health_check"] == true;
        (
            address.as_str().unwrap().to_owned(),
            told.to_owned(),
            failed,
        )
    };
    hosts.unwrap_or_default().into_iter().map(host).collect()
}

/// Waits until Envoy says so of the cluster's hosts.
async fn hosts_are(rig: &Rig, what: &str, judge: impl Fn(&[(String, String, bool)]) -> bool) {
    let mut last = Vec::new();
    let settled = async {
        loop {
            last = hosts(rig).await;
            if judge(&last) {
                return;
            }
            sleep(PAUSE).await;
        }
    };
    let settled = timeout(SETTLE_MAX, settled).await;
    assert!(settled.is_ok(), "{what}: {last:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_is_dead_gets_no_traffic_until_it_works() {
    let rig = Rig::bare(&[]).await;
    let mut service = Service::start(&rig, 1, 2, 1).await;
    service.answered_by(&["node1"]).await;
    hosts_are(&rig, "one has failed its check", |hosts| {
        hosts.iter().filter(|(_, _, failed)| *failed).count() == 1 && hosts.len() == 2
    })
    .await;
    service.backends[1] = Some(service.backend(1, 2).await);
    service.answered_by(&["node1", "node2"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_drains_gets_nothing_new_until_nothing_else_is_left() {
    let rig = Rig::bare(&[]).await;
    let service = Service::start(&rig, 2, 4, 4).await;
    let all = ["node1", "node2", "node3", "node4"];
    service.answered_by(&all).await;
    let stopping = |node: &str| {
        let sim = &rig.stage.sim;
        sim.set_instance_monitor(SERVICE, Some(node), "stopping")
            .unwrap();
    };
    all[..3].iter().for_each(|node| stopping(node));
    service.answered_by(&["node4"]).await;
    stopping("node4");
    hosts_are(&rig, "all drain", |hosts| {
        hosts
            .iter()
            .filter(|(_, told, _)| told == "DRAINING")
            .count()
            == 4
    })
    .await;
    for _ in 0..REQUESTS {
        assert!(service.ask().await.is_some(), "any is better than none");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_emptied_drains_and_one_in_maintenance_does_not() {
    let rig = Rig::bare(&[]).await;
    let service = Service::start(&rig, 3, 2, 2).await;
    service.answered_by(&["node1", "node2"]).await;
    rig.stage.sim.set_node_status("node2", "draining");
    service.answered_by(&["node1"]).await;
    rig.stage.sim.set_node_status("node2", "maintenance");
    service.answered_by(&["node1", "node2"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_node_is_held_for_the_hold_down_and_then_let_go() {
    let rig = Rig::bare(&["--hold-down", "8s"]).await;
    let service = Service::start(&rig, 4, 3, 3).await;
    service.answered_by(&["node1", "node2", "node3"]).await;
    let lost = address(4, 2, 0).ip().to_string();
    let holds = |hosts: &[(String, String, bool)]| hosts.iter().any(|(it, _, _)| *it == lost);
    rig.stage.sim.drop_node("node2");
    // What is told after the loss is seen before the hold-down ends.
    let sim = &rig.stage.sim;
    sim.set_instance_monitor(SERVICE, Some("node3"), "stopping")
        .unwrap();
    hosts_are(&rig, "the loss was told, and the node is held", |hosts| {
        holds(hosts) && hosts.iter().any(|(_, told, _)| told == "DRAINING")
    })
    .await;
    service.answered_by(&["node1", "node2"]).await;
    hosts_are(&rig, "the node is let go", |hosts| !holds(hosts)).await;
    service.answered_by(&["node1"]).await;
    rig.stage.sim.add_node("node2");
    service.answered_by(&["node1", "node2"]).await;
}

fn address(net: u8, node: usize, port: u16) -> SocketAddr {
    ([127, 78, net, u8::try_from(node).unwrap()], port).into()
}

fn free() -> u16 {
    ports::free().expect("a free port")
}

const SERVICE: &str = "test/svc/flex";
const CLUSTER: &str = "test/svc/flex.expose#0";
/// Enough for each of four instances to be asked, whatever the policy.
const REQUESTS: usize = 24;
const PAUSE: Duration = Duration::from_millis(50);
const SETTLE_MAX: Duration = Duration::from_secs(30);
