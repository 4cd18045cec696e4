//! A renewal while clients come and go.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use osvc_igw::cert::operator::Operator;
use osvc_igw::demo::ports;
use osvc_igw::sim::Sim;
use osvc_igw::sim::backend::Backend;
use tokio::time::{sleep, timeout};

use super::issuance::site;
use super::site::{FRONT, Gateway, ISSUER, Running, daemon, declare, door, issued, record, until};
use crate::support::folder::Folder;
use crate::support::pebble::Pebble;
use crate::support::rig::Rig;
use crate::support::stand::LATE;

/// Requests for a name one after the other, each on a connection of its own; returns how many there
/// were and what went wrong.
pub(super) async fn requests(
    name: &'static str,
    port: u16,
    stop: Arc<AtomicBool>,
) -> (usize, Vec<String>) {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let client = reqwest::Client::builder()
        .resolve(name, address)
        .tls_danger_accept_invalid_certs(true)
        .pool_max_idle_per_host(0)
        .no_proxy()
        .timeout(Duration::from_secs(5))
        .build()
        .expect("a client");
    let (mut sent, mut failures) = (0, Vec::new());
    while !stop.load(Ordering::Relaxed) {
        sent += 1;
        let url = format!("https://{name}:{port}/");
        match client.get(url).send().await {
            Ok(answer) if answer.status().is_success() => {}
            Ok(answer) => failures.push(answer.status().to_string()),
            Err(error) => failures.push(format!("{error:?}")),
        }
    }
    (sent, failures)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_costs_no_client_a_handshake() {
    let pebble = Pebble::start();
    let http = pebble.http_port.to_string();
    let rig = Rig::bare(&["--acme-http-port", &http]).await;
    let backend = Backend::start("127.77.5.2:0".parse().expect("an address"), "back", None).await;
    let backend = backend.expect("a backend");
    let tls = ports::free().expect("a free port");
    site(&rig, "test/svc/one", "envoy", "127.0.0.1", tls, &backend);
    let sim = &rig.stage.sim;
    declare(sim, &pebble, "www.acme.org acme.org");
    let door = door(&["127.0.0.1"], pebble.http_port, tls);
    let operator = || Operator::new(daemon(&rig.options.daemon), door.clone());
    let running = Running::start(operator());
    until("the certificate", || issued(sim)).await;
    running.kill().await;
    let before = record(sim)["serial"].clone();
    let stop = Arc::new(AtomicBool::new(false));
    let load = tokio::spawn(requests("www.acme.org", tls, Arc::clone(&stop)));
    let mut operator = operator();
    operator.look().await.expect("a survey");
    let path = FRONT.parse().expect("a path");
    let renewed = operator.work(&path, true).await.expect("a daemon");
    assert!(matches!(renewed, Some(Ok(_))), "{renewed:?}");
    stop.store(true, Ordering::Relaxed);
    let (sent, failures) = load.await.expect("the load");
    assert!(
        sent > 10 && failures.is_empty(),
        "{sent} requests: {failures:?}"
    );
    let after = record(sim);
    assert_ne!(after["serial"], before);
    assert!(
        after["deployed"].as_i64().is_some_and(|at| at > 0),
        "{after}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_renewed_by_itself_when_half_of_a_short_life_is_over() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let pebble = Pebble::start_with(&serde_json::json!({"certificateValidityPeriod": 20}));
    let folder = Folder::new("renewal");
    let socket = folder.0.join("lsnr.sock");
    let sim = Sim::start(&socket, &["n1"]).expect("a daemon");
    declare(&sim, &pebble, "www.acme.org acme.org");
    let _gateway = Gateway::start(&sim, pebble.http_port).await;
    let mut door = door(&["127.0.0.1"], pebble.http_port, 1);
    door.shown_max = Duration::ZERO;
    let running = Running::start(Operator::new(daemon(&socket), door));
    until("the certificate", || issued(&sim)).await;
    let (first, key) = (
        record(&sim)["serial"].clone(),
        sim.key(FRONT, "private_key"),
    );
    until("the next certificate", || {
        issued(&sim) && record(&sim)["serial"] != first
    })
    .await;
    running.kill().await;
    assert_ne!(
        sim.key(FRONT, "private_key"),
        key,
        "a new certificate has a new key"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_alone_gets_its_certificates_itself() {
    let pebble = Pebble::start();
    let (http, tls) = (
        pebble.http_port.to_string(),
        ports::free().expect("a free port"),
    );
    let https = tls.to_string();
    let mut options = vec!["--acme", "--acme-gateways", "127.0.0.1"];
    options.extend(["--acme-http-port", &http, "--acme-https-port", &https]);
    let rig = Rig::bare(&options).await;
    let backend = Backend::start("127.77.5.3:0".parse().expect("an address"), "back", None).await;
    let backend = backend.expect("a backend");
    site(&rig, "test/svc/one", "envoy", "127.0.0.1", tls, &backend);
    let sim = &rig.stage.sim;
    sim.refuse_sets(true);
    declare(sim, &pebble, "www.acme.org acme.org");
    // What it writes waits in the gateway's one queue.
    let waits = async {
        while rig.controller.status().await["writes"][0]["write"]["change"] != "key" {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(LATE, waits).await.expect("a key that waits");
    sim.refuse_sets(false);
    until("the certificate", || issued(sim)).await;
    assert!(
        record(sim)["deployed"].as_i64().is_some_and(|at| at > 0),
        "{}",
        record(sim)
    );
    assert_eq!((pebble.orders(), pebble.certificates()), (1, 1));
    let counted = "osvc_igw_acme_outcomes_total{outcome=\"issued\"} 1";
    let counts = async {
        loop {
            let metrics = rig.controller.page("/metrics").await.expect("metrics");
            if metrics.lines().any(|line| line == counted) {
                return;
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(LATE, counts).await.expect("it is counted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_cannot_be_had_holds_up_no_other() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let blocked = serde_json::json!({"domainBlocklist": ["blocked.acme.org"]});
    let pebble = Pebble::start_with(&blocked);
    let folder = Folder::new("renewal");
    let socket = folder.0.join("lsnr.sock");
    let sim = Sim::start(&socket, &["n1"]).expect("a daemon");
    declare(&sim, &pebble, "www.acme.org");
    // It comes first in every order there is.
    let config = format!("[DEFAULT]\ncn = blocked.acme.org\nca = {ISSUER}\n");
    sim.create("test/sec/aaa", &config).expect("a sec object");
    let _gateway = Gateway::start(&sim, pebble.http_port).await;
    let mut door = door(&["127.0.0.1"], pebble.http_port, 1);
    door.shown_max = Duration::ZERO;
    let running = Running::start(Operator::new(daemon(&socket), door));
    until("the certificate", || issued(&sim)).await;
    running.kill().await;
    let noted = sim.key("test/sec/aaa", "acme_state").expect("a record");
    assert!(noted.contains("rejectedIdentifier"), "{noted}");
}
