//! A gateway of many good things, compiled from a status and served to a real Envoy by the real
//! service, in this process. What a test breaks it puts into a snapshot of its own.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use osvc_igw::ads::{Ads, Clients, bind_tcp};
use osvc_igw::bootstrap::{Bootstrap, XdsAddress, yaml};
use osvc_igw::demo::ports;
use osvc_igw::gateway::{Origin, Policy};
use osvc_igw::sim::backend::Backend;
use osvc_igw::xds::{Resource, ResourceType, Snapshot, Version};
use serde_json::{Map, Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::envoy::Envoy;
use super::relay::Relay;
use crate::golden::Case;

/// Everything running.
pub(crate) struct Stand {
    pub(crate) snapshots: watch::Sender<Option<Arc<Snapshot>>>,
    pub(crate) clients: Clients,
    pub(crate) envoy: Envoy,
    pub(crate) backend: Backend,
    pub(crate) relay: Relay,
    /// Where the service itself listens.
    pub(crate) address: SocketAddr,
    stop: CancellationToken,
}

impl Stand {
    /// With the bootstrap that `osvc-igw bootstrap` prints.
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// With that bootstrap, each text in it replaced by the one behind it.
    pub(crate) async fn start_with(changes: &[(&str, &str)]) -> Self {
        let (snapshots, latest) = watch::channel(None);
        let stop = CancellationToken::new();
        let ads = Ads::new(latest, 8, stop.clone());
        let clients = ads.clients();
        let incoming = bind_tcp(([127, 0, 0, 1], 0).into()).expect("a port to serve on");
        let address = incoming.local_addr().expect("an address");
        tokio::spawn(ads.serve_tcp(incoming));
        let relay = Relay::start(address).await;
        let mut text = yaml(&Bootstrap {
            node_id: "stand".to_owned(),
            node_cluster: "envoy".to_owned(),
            xds: XdsAddress::Tcp {
                host: "127.0.0.1".to_owned(),
                port: relay.address().port(),
            },
            admin: ([127, 0, 0, 1], 0).into(),
        });
        for (before, after) in changes {
            assert!(text.contains(before), "the bootstrap has no {before}");
            text = text.replace(before, after);
        }
        let backend = backend("backend").await;
        let envoy = Envoy::start_yaml(&text, &["--drain-time-s", "3"]).await;
        Self {
            snapshots,
            clients,
            envoy,
            backend,
            relay,
            address,
            stop,
        }
    }

    pub(crate) fn publish(&self, snapshot: Snapshot) {
        self.snapshots.send_replace(Some(Arc::new(snapshot)));
    }

    /// What Envoy refuses now: `cds web`.
    pub(crate) fn refused(&self) -> BTreeSet<String> {
        let clients = self.clients.list();
        let refused = clients.iter().flat_map(|client| client.refused.keys());
        refused
            .map(|(kind, name)| format!("{kind} {name}"))
            .collect()
    }

    /// Waits until Envoy refuses exactly this.
    pub(crate) async fn refuses(&self, expect: &[&str]) {
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

/// An instance of a service.
pub(crate) async fn backend(name: &str) -> Backend {
    let backend = Backend::start(([127, 0, 0, 1], 0).into(), name, None).await;
    backend.expect("a backend")
}

/// Services to be, as the daemon tells of them.
#[derive(Default)]
pub(crate) struct Services {
    statuses: Map<String, Value>,
    aggregates: Map<String, Value>,
}

impl Services {
    /// One more service with one instance; `more` goes into its expose, `sections` beside it.
    pub(crate) fn add(&mut self, name: &str, instance: SocketAddr, more: Value, sections: Value) {
        let mut expose = json!({
            "port": instance.port(), "listener_addr": "127.0.0.1",
        });
        merge(&mut expose, more);
        let mut resources = json!({
            "ip#1": {
                "type": "ip", "status": "up",
                "info": {"ipaddr": instance.ip().to_string(), "expose": ["expose#0"]},
            },
            "expose#0": {"type": "expose.envoy", "status": "n/a", "info": expose},
        });
        merge(&mut resources, sections);
        let path = format!("test/svc/{name}");
        let status = json!({"kind": "svc", "avail": "up", "resources": resources});
        self.statuses.insert(path.clone(), status);
        self.aggregates.insert(path, json!({"avail": "up"}));
    }

    /// What is served for them; none of them may have a problem.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let node = json!({
            "monitor": {"status": "idle"},
            "services": {"status": self.statuses, "config": {}},
        });
        let status = json!({
            "cluster": {"nodes": ["n1"]},
            "monitor": {"nodes": {"n1": node}, "services": self.aggregates},
        });
        let policy = Policy {
            gateway_name: "envoy".to_owned(),
            ..Policy::default()
        };
        let case = Case {
            status,
            reads: json!({}),
            policy,
        };
        let outcome = case.run();
        let problems = &outcome.compiled.problems;
        assert!(problems.is_empty(), "{problems:?}");
        outcome.snapshot
    }
}

fn merge(into: &mut Value, more: Value) {
    if let (Value::Object(into), Value::Object(more)) = (into, more) {
        into.extend(more);
    }
}

/// `count` services with a listener each; every tenth is HTTP. Returns the ports, too.
pub(crate) fn services(count: usize, backend: SocketAddr) -> (Snapshot, Vec<u16>) {
    let ports: Vec<u16> = (0..count)
        .map(|_| ports::free().expect("a free port"))
        .collect();
    let mut all = Services::default();
    for (number, port) in ports.iter().enumerate() {
        let http = number % 10 == 9;
        let more = match http {
            true => json!({"listener_port": port, "vhosts": ["vhost#0"]}),
            false => json!({"listener_port": port}),
        };
        let vhost = json!({
            "vhost#0": {"type": "vhost.envoy", "status": "n/a", "info": {"domains": ["*"]}},
        });
        let sections = if http { vhost } else { json!({}) };
        all.add(&format!("good{number}"), backend, more, sections);
    }
    (all.snapshot(), ports)
}

/// Puts a resource of these bytes into a snapshot, as if a service had asked for it.
pub(crate) fn raw(kind: ResourceType, name: &str, body: Vec<u8>, to: &mut Snapshot) {
    let mut resource = Resource::new(name, Version::of(&body));
    if let Some(before) = to.get(kind, name) {
        resource.clusters.clone_from(&before.clusters);
    }
    resource.body = body;
    resource.origins = [Origin {
        object: "test/svc/bad".parse().expect("a path"),
        section: "expose#0".into(),
    }]
    .into();
    to.insert(kind, Arc::new(resource));
}

/// Which instance answers behind a listener; `None` for no answer.
pub(crate) async fn instance(port: u16, host: &str) -> Option<String> {
    let exchange = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        let request = format!("GET / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        Ok::<String, std::io::Error>(text)
    };
    let answer = timeout(Duration::from_secs(5), exchange).await.ok()?.ok()?;
    if !answer.starts_with("HTTP/1.1 200") {
        return None;
    }
    let mut lines = answer.lines();
    let line = lines.find_map(|line| line.strip_prefix("x-instance: "))?;
    Some(line.to_owned())
}

/// Waits until all of the services behind these listeners answer.
pub(crate) async fn all_answer(ports: &[u16]) {
    for port in ports {
        let answered = async {
            while instance(*port, "x").await.as_deref() != Some("backend") {
                sleep(POLL).await;
            }
        };
        let late = timeout(LATE, answered).await.is_err();
        assert!(!late, "port {port} does not answer");
    }
}

const POLL: Duration = Duration::from_millis(20);
/// Long enough for a machine that is busy with other tests.
pub(crate) const LATE: Duration = Duration::from_secs(20);
