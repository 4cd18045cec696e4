//! TLS-ALPN-01 on the port of the live traffic: whoever asks for anything else notices nothing.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use osvc_igw::cert::operator::Operator;
use osvc_igw::demo::ports;
use osvc_igw::sim::Sim;
use osvc_igw::sim::backend::Backend;
use osvc_igw::sim::certificate::Authority;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::issuance::{Second, site};
use super::renewal::requests;
use super::site::{FRONT, ISSUER, Running, daemon, declare, door, issued, record, until};
use crate::support::controller::{Controller, Options};
use crate::support::folder::Folder;
use crate::support::pebble::Pebble;
use crate::support::rig::Rig;
use crate::support::stand::LATE;

/// The object that what is shown to authorities is in.
const CARRIER: &str = "test/sec/osvc-igw-acme";
/// A name of a chain that has it, one of a chain that has a wildcard, and one that nobody asks a
/// certificate for and that has the same wildcard.
const SERVED: [&str; 3] = ["www.acme.org", "a.wild.acme.org", "c.wild.acme.org"];

/// A service of the rig's gateway over TLS.
fn serve(rig: &Rig, name: &str, domains: &str, port: u16, backend: &Backend) {
    let (ip, backend_port) = (backend.address().ip(), backend.address().port());
    let config = format!(
        "[ip#1]\nipname = {ip}\nipdev = lo\nexpose = expose#0\n[expose#0]\ntype = envoy\n\
         gateway = envoy\nport = {backend_port}\nlistener_addr = 127.0.0.1\n\
         listener_port = {port}\nvhosts = vhost#0\nlistener_certificates = certificate#0\n\
         [vhost#0]\ndomains = {domains}\n[certificate#0]\ncertificate_secret = front\n"
    );
    rig.stage.sim.create(name, &config).expect("a service");
}

/// Puts a certificate there that somebody else made; returns who.
fn hold(sim: &Sim, names: &[&str]) -> Authority {
    let authority = Authority::new("before").expect("an authority");
    let before = authority.issue("before", names).expect("a certificate");
    let (chain, key) = (&before.chain_pem, &before.key_pem);
    sim.set_key(FRONT, "certificate_chain", chain)
        .expect("a key");
    sim.set_key(FRONT, "private_key", key).expect("a key");
    authority
}

/// A connection that is kept.
struct Kept(TlsStream<TcpStream>);

impl Kept {
    async fn open(name: &str, port: u16, authority: &Authority) -> Result<Self, std::io::Error> {
        let mut roots = RootCertStore::empty();
        let ca = CertificateDer::from_pem_slice(authority.pem().as_bytes());
        roots.add(ca.expect("a certificate")).expect("a root");
        let mut config = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let stream = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port))).await?;
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        let connector = TlsConnector::from(Arc::new(config));
        Ok(Self(connector.connect(name, stream).await?))
    }

    /// One request, and whether it was answered.
    async fn ask(&mut self, name: &str) -> bool {
        let request = format!("GET / HTTP/1.1\r\nhost: {name}\r\n\r\n");
        let mut answer = [0; 4_096];
        let exchange = async {
            self.0.write_all(request.as_bytes()).await?;
            self.0.read(&mut answer).await
        };
        match timeout(Duration::from_secs(5), exchange).await {
            Ok(Ok(read)) => answer[..read].starts_with(b"HTTP/1.1 200"),
            _ => false,
        }
    }
}

/// Asks on one connection until it is stopped; returns how often, and whether each was answered.
async fn keep_asking(mut kept: Kept, name: &str, stop: Arc<AtomicBool>) -> (usize, bool) {
    let mut asked = 0;
    while !stop.load(Ordering::Relaxed) {
        asked += 1;
        if !kept.ask(name).await {
            return (asked, false);
        }
        sleep(Duration::from_millis(20)).await;
    }
    (asked, true)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_issued_beside_live_traffic_and_no_request_fails() {
    let pebble = Pebble::start();
    let tls = pebble.tls_port;
    let rig = Rig::bare(&["--acme-https-port", &tls.to_string()]).await;
    let backend = Backend::start("127.77.5.4:0".parse().expect("an address"), "back", None).await;
    let backend = backend.expect("a backend");
    let sim = &rig.stage.sim;
    declare(sim, &pebble, "www.acme.org a.wild.acme.org b.wild.acme.org");
    sim.set_key(ISSUER, "challenge", "tls-alpn-01")
        .expect("a key");
    let authority = hold(sim, &["www.acme.org", "*.wild.acme.org"]);
    serve(&rig, "test/svc/one", "www.acme.org", tls, &backend);
    serve(&rig, "test/svc/wild", "*.wild.acme.org", tls, &backend);
    let stop = Arc::new(AtomicBool::new(false));
    let mut kept = Vec::new();
    for name in SERVED {
        let opened = timeout(LATE, async {
            loop {
                match Kept::open(name, tls, &authority).await {
                    Ok(kept) => return kept,
                    Err(_) => sleep(Duration::from_millis(50)).await,
                }
            }
        });
        let opened = opened.await.expect("a connection");
        kept.push(tokio::spawn(keep_asking(opened, name, Arc::clone(&stop))));
    }
    let load = SERVED.map(|name| tokio::spawn(requests(name, tls, Arc::clone(&stop))));
    let mut door = door(&["127.0.0.1"], 1, tls);
    door.answered_max = LATE;
    let operator = Running::start(Operator::new(daemon(&rig.options.daemon), door));
    until("the certificate", || issued(sim)).await;
    operator.kill().await;
    stop.store(true, Ordering::Relaxed);
    for (name, load) in SERVED.iter().zip(load) {
        let (sent, failures) = load.await.expect("the load");
        assert!(
            sent > 10 && failures.is_empty(),
            "{name}: {sent} requests: {failures:?}"
        );
    }
    for (name, kept) in SERVED.iter().zip(kept) {
        let (asked, answered) = kept.await.expect("a connection");
        assert!(asked > 10 && answered, "{name}: cut off at request {asked}");
    }
    let deployed = record(sim)["deployed"].as_i64();
    assert!(deployed.is_some_and(|at| at > 0), "{}", record(sim));
    assert_eq!((pebble.orders(), pebble.certificates()), (1, 1));
    assert_eq!(sim.key(CARRIER, "tls-alpn-01").as_deref(), Some("[]"));
    assert_eq!(sim.key("test/cfg/osvc-igw-acme", "http-01"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_gateway_shows_it_before_the_authority_is_told_and_none_does_afterwards() {
    let pebble = Pebble::start();
    let tls = pebble.tls_port;
    let options = ["--acme-https-port", &tls.to_string()];
    let rig = Rig::bare(&options).await;
    let _second = Second::start(&rig, &options).await;
    let backend = Backend::start("127.77.5.5:0".parse().expect("an address"), "back", None).await;
    let backend = backend.expect("a backend");
    let sim = &rig.stage.sim;
    declare(sim, &pebble, "www.acme.org acme.org");
    sim.set_key(ISSUER, "challenge", "tls-alpn-01")
        .expect("a key");
    hold(sim, &["www.acme.org"]);
    site(&rig, "test/svc/one", "envoy", "127.0.0.1", tls, &backend);
    site(&rig, "test/svc/two", "second", "127.0.0.2", tls, &backend);
    let mut door = door(&["127.0.0.1", "127.0.0.2"], 1, tls);
    door.answered_max = LATE;
    let operator = Running::start(Operator::new(daemon(&rig.options.daemon), door));
    until("the certificate", || issued(sim)).await;
    operator.kill().await;
    let deployed = record(sim)["deployed"].as_i64();
    assert!(deployed.is_some_and(|at| at > 0), "{}", record(sim));
    assert_eq!((pebble.orders(), pebble.certificates()), (1, 1));
    let gone = timeout(LATE, async {
        while rig.envoy.text("/config_dump").await.contains("acme-tls/1") {
            sleep(Duration::from_millis(50)).await;
        }
    });
    assert!(gone.await.is_ok(), "a chain for challenges stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_and_an_address_that_nobody_serves_are_answered_on_a_listener_of_their_own() {
    let pebble = Pebble::start();
    let tls = pebble.tls_port;
    let rig = Rig::bare(&["--acme-https-port", &tls.to_string()]).await;
    let sim = &rig.stage.sim;
    declare(sim, &pebble, "www.acme.org 127.0.0.1");
    sim.set_key(ISSUER, "challenge", "tls-alpn-01")
        .expect("a key");
    let mut door = door(&["127.0.0.1"], 1, tls);
    door.shown_max = Duration::ZERO;
    let operator = Running::start(Operator::new(daemon(&rig.options.daemon), door));
    until("the certificate", || issued(sim)).await;
    operator.kill().await;
    assert_eq!((pebble.orders(), pebble.certificates()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_failure_of_http_01_the_next_challenge_has_its_turn_with_the_same_order() {
    let pebble = Pebble::start();
    let (http, tls) = (ports::free().expect("a free port"), pebble.tls_port);
    let rig = Rig::bare(&["--acme-https-port", &tls.to_string()]).await;
    let sim = &rig.stage.sim;
    declare(sim, &pebble, "www.acme.org");
    sim.set_key(ISSUER, "challenge", "http-01 tls-alpn-01")
        .expect("a key");
    // Nobody is there.
    let mut door = door(&["127.0.0.1"], http, tls);
    (door.answered_max, door.shown_max) = (Duration::ZERO, Duration::ZERO);
    let mut operator = Operator::new(daemon(&rig.options.daemon), door.clone());
    operator.look().await.expect("a survey");
    let path = FRONT.parse().expect("a path");
    let failed = operator.work(&path, true).await.expect("a daemon");
    let Some(Err(reason)) = failed else {
        panic!("{failed:?}");
    };
    assert!(reason.contains("is not answered"), "{reason}");
    door.answered_max = LATE;
    let mut operator = Operator::new(daemon(&rig.options.daemon), door);
    operator.look().await.expect("a survey");
    let done = operator.work(&path, true).await.expect("a daemon");
    assert!(matches!(done, Some(Ok(_))), "{done:?}");
    assert_eq!((pebble.orders(), pebble.certificates()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_of_what_is_shown_is_in_no_log_and_on_no_page() {
    let pebble = Pebble::start();
    let tls = pebble.tls_port.to_string();
    let rig = Rig::bare(&["--acme-https-port", &tls]).await;
    let folder = Folder::new("alpn");
    let mut talkative = Options::new(&folder.0).env("RUST_LOG", "trace");
    talkative.daemon.clone_from(&rig.options.daemon);
    let mut talkative = Controller::start(&talkative.with(&["--name", "talkative"]));
    talkative.ready().await;
    let sim = &rig.stage.sim;
    declare(sim, &pebble, "www.acme.org");
    sim.set_key(ISSUER, "challenge", "tls-alpn-01")
        .expect("a key");
    let mut door = door(&["127.0.0.1"], 1, pebble.tls_port);
    door.shown_max = Duration::ZERO;
    let operator = Running::start(Operator::new(daemon(&rig.options.daemon), door));
    let mut seen = String::new();
    until("a key", || {
        seen = sim.key(CARRIER, "tls-alpn-01").unwrap_or_default();
        seen.contains("private_key")
    })
    .await;
    until("the certificate", || issued(sim)).await;
    operator.kill().await;
    let shown: serde_json::Value = serde_json::from_str(&seen).expect("JSON");
    let key = shown[0]["private_key"].as_str().expect("a key");
    // As long as a line in PEM is.
    let line = &key[..64];
    let log = talkative.log();
    assert!(
        log.contains("osvc-igw-acme"),
        "a log that tells nothing shows nothing"
    );
    assert!(!log.contains(line), "the log shows a private key");
    let status = talkative.status().await.to_string();
    assert!(!status.contains(line), "the status shows a private key");
}
