//! A real Envoy, services that change under open connections, and what is asked over them.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking, as tests do"
)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use osvc_igw::demo::ports;
use osvc_igw::gateway::Policy;
use osvc_igw::xds::Snapshot;
use osvc_igw::xds::diff::{Diff, Level};
use rustls::pki_types::ServerName;
use serde_json::{Map, Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

use crate::golden::Case;
use crate::support::stand::{LATE, Stand};

/// What is exposed before or after.
#[derive(Clone, Default)]
pub(super) struct Site {
    pub(super) services: Map<String, Value>,
    pub(super) configs: Map<String, Value>,
    pub(super) secrets: Map<String, Value>,
    pub(super) stopping: Vec<String>,
}

impl Site {
    /// A service with its instances at these addresses; `expose` beside the port.
    pub(super) fn with(mut self, name: &str, instances: &[SocketAddr], expose: Value) -> Self {
        let mut resources = Map::new();
        let mut info = json!({"listener_addr": "127.0.0.1"});
        info["port"] = json!(instances.first().map_or(1, SocketAddr::port));
        if let (Value::Object(info), Value::Object(more)) = (&mut info, expose) {
            info.extend(more);
        }
        for (number, at) in instances.iter().enumerate() {
            resources.insert(
                format!("ip#{number}"),
                json!({"type": "ip", "status": "up",
                       "info": {"ipaddr": at.ip().to_string(), "expose": ["expose#0"]}}),
            );
        }
        let section =
            |driver: &str, info: Value| json!({"type": driver, "status": "n/a", "info": info});
        resources.insert("expose#0".to_owned(), section("expose.envoy", info));
        let host = json!({"domains": ["*"], "routes": ["route#0", "route#1"]});
        resources.insert("vhost#0".to_owned(), section("vhost.envoy", host));
        let route = json!({"match_prefix": "/"});
        resources.insert("route#1".to_owned(), section("route.envoy", route.clone()));
        resources.insert("route#0".to_owned(), section("route.envoy", route));
        let front = json!({"certificate_secret": "front"});
        resources.insert(
            "certificate#0".to_owned(),
            section("certificate.tls", front),
        );
        self.services
            .insert(format!("test/svc/{name}"), Value::Object(resources));
        self
    }

    /// Puts something at a place of a service's resources.
    pub(super) fn put(mut self, name: &str, pointer: &str, value: Value) -> Self {
        let service = &mut self.services[&format!("test/svc/{name}")];
        *service.pointer_mut(pointer).unwrap() = value;
        self
    }

    pub(super) fn without(mut self, name: &str) -> Self {
        self.services.remove(&format!("test/svc/{name}")).unwrap();
        self
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let mut statuses: Map<String, Value> = Map::new();
        for (path, resources) in &self.services {
            let stopping = self.stopping.iter().any(|name| path.ends_with(name));
            let monitor = if stopping { "stopping" } else { "idle" };
            statuses.insert(
                path.clone(),
                json!({"kind": "svc", "avail": "up", "resources": resources,
                       "monitor": {"status": monitor}}),
            );
        }
        for path in self.secrets.keys() {
            statuses.insert(
                path.clone(),
                json!({"kind": "sec", "monitor": {"status": "idle"}}),
            );
        }
        let aggregates = statuses
            .keys()
            .map(|path| (path.clone(), json!({"avail": "up"})));
        let aggregates: Map<String, Value> = aggregates.collect();
        let node = json!({"monitor": {"status": "idle"},
                          "services": {"status": statuses, "config": {}}});
        let policy = Policy {
            health_checks: false,
            ..Policy::default()
        };
        let case = Case {
            status: json!({"cluster": {"nodes": ["n1"]},
                           "monitor": {"nodes": {"n1": node}, "services": aggregates}}),
            reads: json!({"configs": self.configs, "secrets": self.secrets}),
            policy,
        };
        let outcome = case.run();
        assert!(
            outcome.compiled.problems.is_empty(),
            "{:?}",
            outcome.compiled.problems
        );
        outcome.snapshot
    }
}

/// A server that says its number and sends back what it gets.
pub(super) async fn echo(number: u8) -> SocketAddr {
    echo_at(([127, 0, 0, 1], 0).into(), number).await
}

/// The same at an address of one's own.
pub(super) async fn echo_at(address: SocketAddr, number: u8) -> SocketAddr {
    let listener = TcpListener::bind(address).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.into_split();
                let mut bytes = [0; 4096];
                while let Ok(length @ 1..) = read.read(&mut bytes).await {
                    let mut answer = vec![number];
                    answer.extend(&bytes[..length]);
                    if write.write_all(&answer).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

/// Sends a text over an open connection and returns what comes back; none when it is cut.
pub(super) async fn ask<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    text: &[u8],
) -> Option<Vec<u8>> {
    stream.write_all(text).await.ok()?;
    let mut bytes = vec![0; 4096];
    let read = timeout(LATE, stream.read(&mut bytes)).await.ok()?;
    bytes.truncate(read.ok().filter(|length| *length > 0)?);
    Some(bytes)
}

/// Asks for `/` and returns the head of the answer.
pub(super) async fn get(stream: &mut TcpStream) -> Option<String> {
    get_of(stream, "x").await
}

/// The same of a host.
pub(super) async fn get_of(stream: &mut TcpStream, host: &str) -> Option<String> {
    let request = format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n");
    let answer = ask(stream, request.as_bytes()).await?;
    Some(String::from_utf8_lossy(&answer).to_lowercase())
}

/// A server of HTTP that keeps connections open.
pub(super) async fn web() -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut bytes = [0; 4096];
                while let Ok(1..) = stream.read(&mut bytes).await {
                    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
                    if stream.write_all(answer).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

/// The first bytes of a TLS client that asks for a name.
pub(super) fn hello(name: &'static str) -> Vec<u8> {
    let config = rustls::ClientConfig::builder()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let name = ServerName::try_from(name).unwrap();
    let mut client = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    bytes
}

/// An Envoy and a service that goes with every change.
pub(super) struct Scene {
    pub(super) stand: Stand,
    pub(super) echo: SocketAddr,
    pub(super) control: u16,
}

impl Scene {
    pub(super) async fn start() -> Self {
        Self {
            stand: Stand::start().await,
            echo: echo(9).await,
            control: ports::free().unwrap(),
        }
    }

    pub(super) async fn publish(&self, snapshot: &Snapshot) {
        self.stand.publish(snapshot.clone());
        let same = async {
            loop {
                let clients = self.stand.clients.list();
                if clients
                    .iter()
                    .any(|it| it.synced.as_deref() == Some(snapshot))
                {
                    return;
                }
                sleep(Duration::from_millis(20)).await;
            }
        };
        let in_time = timeout(LATE, same).await;
        assert!(in_time.is_ok(), "not taken: {:?}", self.stand.refused());
    }

    /// Shows the first state, and opens the control connection.
    pub(super) async fn before(&self, site: &Site) -> (Snapshot, TcpStream) {
        let control = json!({"listener_port": self.control});
        let before = site
            .clone()
            .with("control", &[self.echo], control)
            .snapshot();
        self.publish(&before).await;
        let mut control = connect(self.control).await;
        assert_eq!(
            ask(&mut control, b"x").await.as_deref(),
            Some(&b"\x09x"[..])
        );
        (before, control)
    }

    /// Shows the second state, and returns what was said of it when all is over that drains.
    pub(super) async fn after(&self, before: (Snapshot, TcpStream), site: &Site) -> Diff {
        let (before, mut control) = before;
        let after = site.snapshot();
        let told = Diff::between(&before, &after);
        self.publish(&after).await;
        let mut rest = Vec::new();
        let cut = timeout(LATE, control.read_to_end(&mut rest)).await;
        assert!(cut.is_ok(), "the control connection is not cut");
        let refused = TcpStream::connect(("127.0.0.1", self.control)).await;
        assert!(refused.is_err(), "what is removed is still listened on");
        let own = |diff: Diff| {
            let changes = diff.changes.into_iter();
            let control = "test/svc/control";
            let own = changes.filter(|change| {
                change
                    .object()
                    .is_none_or(|object| object.to_string() != control)
            });
            Diff {
                changes: own.collect(),
                ..Diff::default()
            }
        };
        own(told)
    }
}

pub(super) async fn connect(port: u16) -> TcpStream {
    let connected = async {
        loop {
            if let Ok(stream) = TcpStream::connect(("127.0.0.1", port)).await {
                return stream;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(LATE, connected).await.unwrap()
}

pub(super) fn levels(diff: &Diff) -> Vec<Level> {
    let mut levels: Vec<Level> = diff.changes.iter().map(|it| it.impact.level).collect();
    levels.sort();
    levels.dedup();
    levels
}
