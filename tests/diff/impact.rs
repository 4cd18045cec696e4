//! What the difference says that a change does is what a real Envoy does: a connection that is
//! open before the change goes on, or ends when Envoy's drain time does. That the time is over is
//! seen by another connection, of a service that is removed with every change.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking, as tests do"
)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use osvc_igw::demo::ports;
use osvc_igw::gateway::Policy;
use osvc_igw::sim::certificate::Authority;
use osvc_igw::xds::Snapshot;
use osvc_igw::xds::diff::{Diff, Level};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::{Map, Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::{sleep, timeout};

use crate::golden::Case;
use crate::support::stand::{LATE, Stand};

/// What is exposed before or after.
#[derive(Clone, Default)]
struct Site {
    services: Map<String, Value>,
    configs: Map<String, Value>,
    secrets: Map<String, Value>,
    stopping: Vec<String>,
}

impl Site {
    /// A service with its instances at these addresses; `expose` beside the port.
    fn with(mut self, name: &str, instances: &[SocketAddr], expose: Value) -> Self {
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
    fn put(mut self, name: &str, pointer: &str, value: Value) -> Self {
        let service = &mut self.services[&format!("test/svc/{name}")];
        *service.pointer_mut(pointer).unwrap() = value;
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.services.remove(&format!("test/svc/{name}")).unwrap();
        self
    }

    fn snapshot(&self) -> Snapshot {
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
async fn echo(number: u8) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
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
async fn ask<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, text: &[u8]) -> Option<Vec<u8>> {
    stream.write_all(text).await.ok()?;
    let mut bytes = vec![0; 4096];
    let read = timeout(LATE, stream.read(&mut bytes)).await.ok()?;
    bytes.truncate(read.ok().filter(|length| *length > 0)?);
    Some(bytes)
}

/// Asks for `/` and returns the head of the answer.
async fn get(stream: &mut TcpStream) -> Option<String> {
    let answer = ask(stream, b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await?;
    Some(String::from_utf8_lossy(&answer).to_lowercase())
}

/// A server of HTTP that keeps connections open.
async fn web() -> SocketAddr {
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
fn hello(name: &'static str) -> Vec<u8> {
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
struct Scene {
    stand: Stand,
    echo: SocketAddr,
    control: u16,
}

impl Scene {
    async fn start() -> Self {
        Self {
            stand: Stand::start().await,
            echo: echo(9).await,
            control: ports::free().unwrap(),
        }
    }

    async fn publish(&self, snapshot: &Snapshot) {
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
    async fn before(&self, site: &Site) -> (Snapshot, TcpStream) {
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
    async fn after(&self, before: (Snapshot, TcpStream), site: &Site) -> Diff {
        let (before, mut control) = before;
        let after = site.snapshot();
        let told = Diff::between(&before, &after);
        self.publish(&after).await;
        let mut rest = Vec::new();
        let cut = timeout(LATE, control.read_to_end(&mut rest)).await;
        assert!(cut.is_ok(), "the control connection is not cut");
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

async fn connect(port: u16) -> TcpStream {
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

fn levels(diff: &Diff) -> Vec<Level> {
    let mut levels: Vec<Level> = diff.changes.iter().map(|it| it.impact.level).collect();
    levels.sort();
    levels.dedup();
    levels
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_behind_a_listener_cuts_no_connection() {
    let scene = Scene::start().await;
    let (port, one, two) = (ports::free().unwrap(), echo(1).await, echo(2).await);
    let l4 = json!({"listener_port": port});
    let site = Site::default().with("web", &[one], l4.clone());
    let slow = json!({"listener_port": port, "cluster_data": {"connect_timeout": "7s"}});
    let other = SocketAddr::new("127.0.0.2".parse().unwrap(), one.port());
    let mut stopping = site.clone();
    stopping.stopping.push("web".to_owned());
    let more = json!({"listener_port": ports::free().unwrap()});
    for (what, site, next, level) in [
        (
            "a cluster changes",
            &site,
            site.clone().with("web", &[one], slow),
            Level::Rewarms,
        ),
        (
            "an endpoint comes",
            &site,
            site.clone().with("web", &[one, other], l4.clone()),
            Level::NewTraffic,
        ),
        (
            "an endpoint goes",
            &site.clone().with("web", &[one, other], l4.clone()),
            site.clone()
                .put("web", "/ip#0/info/ipaddr", json!("127.0.0.2")),
            Level::EndpointDrains,
        ),
        (
            "the last endpoint drains",
            &site,
            stopping,
            Level::EndpointDrains,
        ),
        (
            "the last endpoint goes",
            &site,
            site.clone().put("web", "/ip#0/status", json!("down")),
            Level::EndpointDrains,
        ),
        (
            "a service comes",
            &site,
            site.clone().with("more", &[two], more),
            Level::Nothing,
        ),
    ] {
        let before = scene.before(site).await;
        // Of two endpoints, the one that stays or goes: nobody listens at the other.
        let mut open = connect(port).await;
        let mut answer = ask(&mut open, b"a").await;
        while answer.is_none() {
            open = connect(port).await;
            answer = ask(&mut open, b"a").await;
        }
        let diff = scene.after(before, &next).await;
        assert_eq!(diff.worst(), level, "{what}: {diff}");
        assert_eq!(
            ask(&mut open, b"b").await.as_deref(),
            Some(&b"\x01b"[..]),
            "{what}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_route_is_for_new_requests_of_an_open_connection() {
    let scene = Scene::start().await;
    let (port, web) = (ports::free().unwrap(), web().await);
    let http = json!({"listener_port": port, "vhosts": ["vhost#0"]});
    let site = Site::default().with("web", &[web], http);
    let before = scene.before(&site).await;
    let mut open = connect(port).await;
    assert!(get(&mut open).await.unwrap().starts_with("http/1.1 200"));
    let redirect = json!({"match_prefix": "/", "redirect_path_redirect": "/x"});
    let next = site.put("web", "/route#0/info", redirect);
    let diff = scene.after(before, &next).await;
    assert_eq!(levels(&diff), [Level::NewTraffic], "{diff}");
    assert!(get(&mut open).await.unwrap().starts_with("http/1.1 301"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_that_changes_takes_its_own_connections_and_no_others() {
    let scene = Scene::start().await;
    let port = ports::free().unwrap();
    let sni = |names: Value| json!({"listener_port": port, "sni": names});
    let (one, two) = (echo(1).await, echo(2).await);
    let site = Site::default()
        .with("one", &[one], sni(json!(["one.test"])))
        .with("two", &[two], sni(json!(["two.test"])));
    let before = scene.before(&site).await;
    let (mut stays, mut goes) = (connect(port).await, connect(port).await);
    assert_eq!(ask(&mut stays, &hello("one.test")).await.unwrap()[0], 1);
    assert_eq!(ask(&mut goes, &hello("two.test")).await.unwrap()[0], 2);
    let three = echo(3).await;
    let next = site
        .put(
            "two",
            "/expose#0/info/sni",
            json!(["two.test", "zwei.test"]),
        )
        .with("three", &[three], sni(json!(["three.test"])));
    let diff = scene.after(before, &next).await;
    let of = |object: &str| {
        let mut found = diff.changes.iter().filter(|change| change.part.is_some());
        let found = found.find(|it| it.object().is_some_and(|it| it.to_string() == object));
        found.unwrap().impact.level
    };
    assert_eq!(of("test/svc/two"), Level::ConnectionsCut, "{diff}");
    assert_eq!(of("test/svc/three"), Level::NewTraffic, "{diff}");
    assert_eq!(ask(&mut goes, b"b").await, None);
    assert_eq!(ask(&mut stays, b"b").await.as_deref(), Some(&b"\x01b"[..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn http_clients_of_a_chain_that_changes_are_asked_to_connect_again() {
    let scene = Scene::start().await;
    let (port, web) = (ports::free().unwrap(), web().await);
    let http = |more: Value| json!({"listener_port": port, "vhosts": ["vhost#0"], "filter_config_data": more});
    let site = Site::default().with("web", &[web], http(json!({"max_request_headers_kb": 50})));
    let before = scene.before(&site).await;
    let mut open = connect(port).await;
    assert!(!get(&mut open).await.unwrap().contains("connection: close"));
    let next = site.with("web", &[web], http(json!({"max_request_headers_kb": 40})));
    let after = next.snapshot();
    let diff = Diff::between(&before.0, &after);
    scene.publish(&after).await;
    assert!(levels(&diff).contains(&Level::ChainDrains), "{diff}");
    // Before the time is over, the next answers ask to: how soon is drawn by lot.
    let mut answers = Vec::new();
    while !answers
        .last()
        .is_some_and(|it: &String| it.contains("connection: close"))
    {
        answers.push(get(&mut open).await.expect("an answer that asks to close"));
        sleep(Duration::from_millis(20)).await;
    }
    let fresh = get(&mut connect(port).await).await.unwrap();
    assert!(fresh.starts_with("http/1.1 200"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_is_replaced_refuses_nobody_and_cuts_what_is_open() {
    let scene = Scene::start().await;
    let (port, one) = (ports::free().unwrap(), echo(1).await);
    let l4 = |more: Value| json!({"listener_port": port, "filter_config_data": more});
    let mut site = Site::default().with("web", &[one], l4(json!({})));
    let before = scene.before(&site).await;
    let mut open = connect(port).await;
    assert!(ask(&mut open, b"a").await.is_some());
    let proxied = json!({"expose#0": {"accept_proxy_protocol": "true"}});
    site.configs.insert("test/svc/web".to_owned(), proxied);
    let diff = scene.after(before, &site).await;
    assert_eq!(levels(&diff), [Level::ConnectionsCut], "{diff}");
    assert!(
        diff.to_string().contains("the listener is replaced"),
        "{diff}"
    );
    assert_eq!(ask(&mut open, b"b").await, None);
    let mut fresh = connect(port).await;
    let line = b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\na";
    assert_eq!(ask(&mut fresh, line).await.as_deref(), Some(&b"\x01a"[..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_certificate_is_for_new_handshakes() {
    let scene = Scene::start().await;
    let (port, one) = (ports::free().unwrap(), echo(1).await);
    let authority = Authority::new("ca").unwrap();
    let issue = || {
        let identity = authority.issue("front.test", &["front.test"]).unwrap();
        let keys = json!({"certificate_chain": identity.chain_pem,
                          "private_key": identity.key_pem});
        (identity, keys)
    };
    let tls = json!({"listener_port": port, "sni": ["front.test"],
                     "listener_certificates": ["certificate#0"]});
    let mut site = Site::default().with("web", &[one], tls);
    let (old, keys) = issue();
    site.secrets.insert("test/sec/front".to_owned(), keys);
    let before = scene.before(&site).await;
    let (mut open, shown) = handshake(port, &authority).await;
    assert_eq!(shown, leaf(&old.chain_pem));
    assert!(ask(&mut open, b"a").await.is_some());
    let (new, keys) = issue();
    site.secrets.insert("test/sec/front".to_owned(), keys);
    let diff = scene.after(before, &site).await;
    assert_eq!(levels(&diff), [Level::NewTraffic], "{diff}");
    assert_eq!(ask(&mut open, b"b").await.as_deref(), Some(&b"\x01b"[..]));
    let (_, shown) = handshake(port, &authority).await;
    assert_eq!(shown, leaf(&new.chain_pem));
}

fn leaf(chain: &str) -> Vec<u8> {
    CertificateDer::from_pem_slice(chain.as_bytes())
        .unwrap()
        .to_vec()
}

type Tls = tokio_rustls::client::TlsStream<TcpStream>;

async fn handshake(port: u16, authority: &Authority) -> (Tls, Vec<u8>) {
    let mut roots = rustls::RootCertStore::empty();
    let ca = CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap();
    roots.add(ca).unwrap();
    let config = rustls::ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let name = ServerName::try_from("front.test").unwrap();
    let stream = connector.connect(name, connect(port).await).await.unwrap();
    let shown = stream.get_ref().1.peer_certificates().unwrap()[0].to_vec();
    (stream, shown)
}

#[tokio::test(flavor = "multi_thread")]
async fn datagrams_begin_anew_where_a_listener_is_replaced() {
    let scene = Scene::start().await;
    let port = ports::free().unwrap();
    let server = UdpSocket::bind(("127.0.0.1", 0)).await.unwrap();
    let at = server.local_addr().unwrap();
    // It answers with the port that the datagram came from: another one is another session.
    tokio::spawn(async move {
        let mut bytes = [0; 64];
        while let Ok((_, from)) = server.recv_from(&mut bytes).await {
            let _ = server.send_to(&from.port().to_be_bytes(), from).await;
        }
    });
    let udp = |policy: &str| json!({"listener_port": port, "protocol": "udp", "lb_policy": policy});
    let site = Site::default().with("web", &[at], udp("round robin"));
    let before = scene.before(&site).await;
    let client = UdpSocket::bind(("127.0.0.1", 0)).await.unwrap();
    client.connect(("127.0.0.1", port)).await.unwrap();
    let session = datagram(&client).await;
    assert_eq!(datagram(&client).await, session);
    let diff = scene
        .after(before, &site.clone().with("web", &[at], udp("maglev")))
        .await;
    let listener = |level: &Level| *level == Level::ListenerReplaced;
    assert!(levels(&diff).iter().any(listener), "{diff}");
    assert_ne!(datagram(&client).await, session);
    assert_eq!(site.without("web").services.len(), 0);
}

/// What comes back, in the end: a datagram may be lost.
async fn datagram(client: &UdpSocket) -> [u8; 2] {
    let mut answer = [0; 2];
    let answered = async {
        loop {
            client.send(b"x").await.unwrap();
            let read = client.recv(&mut answer);
            if timeout(Duration::from_millis(300), read).await.is_ok() {
                return;
            }
        }
    };
    timeout(LATE, answered).await.unwrap();
    answer
}
