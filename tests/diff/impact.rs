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
use osvc_igw::sim::certificate::Authority;
use osvc_igw::xds::diff::{Diff, Level};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{sleep, timeout};

use super::scene::{Scene, Site, ask, connect, echo, echo_at, get, get_of, hello, levels, web};
use crate::support::stand::LATE;

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_behind_a_listener_cuts_no_connection() {
    let scene = Scene::start().await;
    let (port, one, two) = (ports::free().unwrap(), echo(1).await, echo(2).await);
    let l4 = json!({"listener_port": port});
    let site = Site::default().with("web", &[one], l4.clone());
    let slow = json!({"listener_port": port, "cluster_data": {"connect_timeout": "7s"}});
    let other = SocketAddr::new("127.0.0.2".parse().unwrap(), one.port());
    echo_at(other, 2).await;
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
        // Of two endpoints, a connection to the one that goes.
        let mut open = connect(port).await;
        while ask(&mut open, b"a").await.as_deref() != Some(&b"\x01a"[..]) {
            open = connect(port).await;
        }
        let diff = scene.after(before, &next).await;
        assert_eq!(diff.worst(), level, "{what}: {diff}");
        assert_eq!(
            ask(&mut open, b"b").await.as_deref(),
            Some(&b"\x01b"[..]),
            "{what}"
        );
        // Who comes now gets what was said of new connections.
        let is_left = !diff.to_string().contains("no endpoint is left");
        let fresh = ask(&mut connect(port).await, b"c").await;
        assert_eq!(fresh.is_some(), is_left, "{what}: {diff}");
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
async fn domains_that_go_are_unknown_to_new_requests_and_no_connection_is_cut() {
    let scene = Scene::start().await;
    let (port, web) = (ports::free().unwrap(), web().await);
    let http = json!({"listener_port": port, "vhosts": ["vhost#0"]});
    let of = |site: Site, name: &str| {
        let site = site.with(name, &[web], http.clone());
        site.put(
            name,
            "/vhost#0/info/domains",
            json!([format!("{name}.test")]),
        )
    };
    let site = of(of(Site::default(), "stays"), "goes");
    let before = scene.before(&site).await;
    let (mut stays, mut goes) = (connect(port).await, connect(port).await);
    let answer = |text: Option<String>| text.unwrap()["http/1.1 ".len()..][..3].to_owned();
    assert_eq!(answer(get_of(&mut stays, "stays.test").await), "200");
    assert_eq!(answer(get_of(&mut goes, "goes.test").await), "200");
    let diff = scene.after(before, &site.without("goes")).await;
    let mut parts = diff
        .changes
        .iter()
        .filter_map(|it| Some((it, it.part.as_ref()?)));
    let (gone, _) = parts
        .find(|(_, part)| part.noun == "virtual_host")
        .expect("a virtual host that went");
    assert_eq!(gone.impact.level, Level::NewTraffic, "{diff}");
    assert_eq!(answer(get_of(&mut stays, "stays.test").await), "200");
    assert_eq!(answer(get_of(&mut goes, "goes.test").await), "404");
    assert_eq!(answer(get_of(&mut goes, "stays.test").await), "200");
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
    let http = |port: u16, kb: u32| {
        let more = json!({"max_request_headers_kb": kb});
        json!({"listener_port": port, "vhosts": ["vhost#0"], "filter_config_data": more})
    };
    let (port, web) = (ports::free().unwrap(), web().await);
    let site = Site::default().with("web", &[web], http(port, 50));
    let next = site.clone().with("web", &[web], http(port, 40));
    asked_to_connect_again(port, &site, &next, Level::ChainDrains, "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn http_clients_of_a_listener_that_is_replaced_are_asked_to_connect_again() {
    let (port, web) = (ports::free().unwrap(), web().await);
    let http = json!({"listener_port": port, "vhosts": ["vhost#0"]});
    let site = Site::default().with("web", &[web], http);
    let mut next = site.clone();
    let proxied = json!({"expose#0": {"accept_proxy_protocol": "true"}});
    next.configs.insert("test/svc/web".to_owned(), proxied);
    let line = "PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n";
    asked_to_connect_again(port, &site, &next, Level::ListenerReplaced, line).await;
}

/// Changes from the one to the other under an open connection; a new one begins with `line`.
async fn asked_to_connect_again(port: u16, site: &Site, next: &Site, level: Level, line: &str) {
    let scene = Scene::start().await;
    let before = scene.before(site).await;
    let mut open = connect(port).await;
    assert!(!get(&mut open).await.unwrap().contains("connection: close"));
    let after = next.snapshot();
    let diff = Diff::between(&before.0, &after);
    scene.publish(&after).await;
    assert!(levels(&diff).contains(&level), "{diff}");
    // Before the time is over, the next answers ask to: how soon is drawn by lot.
    let mut answers = Vec::new();
    while !answers
        .last()
        .is_some_and(|it: &String| it.contains("connection: close"))
    {
        answers.push(get(&mut open).await.expect("an answer that asks to close"));
        sleep(Duration::from_millis(20)).await;
    }
    let mut fresh = connect(port).await;
    fresh.write_all(line.as_bytes()).await.unwrap();
    assert!(get(&mut fresh).await.unwrap().starts_with("http/1.1 200"));
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
