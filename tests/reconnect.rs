//! Streams that break at the wrong moment, and a controller that is another one when Envoy comes
//! back, with a real Envoy.

use std::time::{Duration, Instant};

use osvc_igw::demo::ports;
use osvc_igw::sim::backend::Backend;
use osvc_igw::sim::certificate::Authority;
use osvc_igw::xds::{ResourceType, Snapshot};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::random::Random;
use crate::support::load::Load;
use crate::support::rig::Rig;
use crate::support::stand::{LATE, Services, Stand, all_answer, backend, instance, services};

fn vhost(domain: &str) -> Value {
    json!({"vhost#0": {"type": "vhost.envoy", "status": "n/a", "info": {"domains": [domain]}}})
}

fn listen(port: u16) -> Value {
    json!({"listener_port": port, "vhosts": ["vhost#0"], "health_check": "none"})
}

/// Waits until this instance answers.
async fn answers(port: u16, host: &str, name: &str) {
    let mut last = None;
    let answered = async {
        while last.as_deref() != Some(name) {
            sleep(Duration::from_millis(5)).await;
            last = instance(port, host).await;
        }
    };
    let late = timeout(LATE, answered).await.is_err();
    assert!(!late, "{host} is answered by {last:?} and not by {name}");
}

// After a refusal Envoy records no version for anything in the response, though it runs some of
// it: equal versions would hide what it runs.
#[tokio::test(flavor = "multi_thread")]
async fn no_stale_route_is_left_by_a_refusal_a_roll_back_and_a_cut() {
    let stand = Stand::start().await;
    let other = backend("other").await;
    let sites: Vec<(u16, String)> = (0..4)
        .map(|number| (ports::free().unwrap(), format!("s{number}")))
        .collect();
    let snapshot = |instance| {
        let mut all = Services::default();
        for (port, name) in &sites {
            all.add(name, instance, listen(*port), vhost("*"));
        }
        all.snapshot()
    };
    let good = snapshot(stand.backend.address());
    let mut changed = Services::default();
    for (port, name) in &sites {
        // Another service with the same listener: its route goes to another cluster.
        let name = format!("t{name}");
        changed.add(&name, other.address(), listen(*port), vhost("*"));
    }
    let mut changed = changed.snapshot();
    let spoilt = format!("127.0.0.1:{}/tcp", sites[3].0);
    crate::refusals::spoil_routes(&spoilt, &mut changed);

    let mut random = Random(7);
    for _ in 0..15 {
        stand.publish(good.clone());
        for (port, _) in &sites {
            answers(*port, "x", "backend").await;
        }
        stand.publish(changed.clone());
        sleep(Duration::from_millis(random.below(60) as u64)).await;
        stand.publish(good.clone());
        stand.relay.cut();
        sleep(Duration::from_millis(random.below(200) as u64)).await;
        for (port, _) in &sites {
            answers(*port, "x", "backend").await;
        }
    }
    sleep(Duration::from_secs(1)).await;
    for (port, _) in &sites {
        assert_eq!(instance(*port, "x").await.as_deref(), Some("backend"));
    }
}

// Envoy does not ask for clusters on a new stream before those that warm are warm, and waits for
// endpoints that its versions say it has: 15 s if nobody helps.
#[tokio::test(flavor = "multi_thread")]
async fn clusters_that_warm_while_the_stream_breaks_are_helped() {
    let stand = Stand::start().await;
    let mut random = Random(11);
    let mut slowest = Duration::ZERO;
    for round in 0..15 {
        let port = ports::free().unwrap();
        let mut all = Services::default();
        for number in 0..30 {
            let domain = format!("d{number}");
            let name = format!("r{round}s{number}");
            all.add(&name, stand.backend.address(), listen(port), vhost(&domain));
        }
        stand.publish(all.snapshot());
        sleep(Duration::from_millis(random.below(40) as u64)).await;
        stand.relay.cut();
        let cured = Instant::now();
        for number in 0..30 {
            answers(port, &format!("d{number}"), "backend").await;
        }
        slowest = slowest.max(cured.elapsed());
    }
    println!("all answered {slowest:.0?} after the cut, at the slowest");
    let bound = Duration::from_secs(10);
    assert!(
        slowest < bound,
        "{slowest:?}: a cluster waited for Envoy to give up"
    );
}

// Envoy has its endpoints already, and its versions say so; what it waits for is a secret.
#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_waits_while_the_stream_breaks_serves_when_it_is_cured() {
    let stand = Stand::start().await;
    let authority = Authority::new("authority").unwrap();
    let identity = authority.issue("web", &["web"]).unwrap();
    let tls = Backend::start(([127, 0, 0, 1], 0).into(), "tls", Some(identity.clone()));
    let tls = tls.await.unwrap();
    let port = ports::free().unwrap();
    let mut sections = vhost("*");
    sections["certificate#back"] = json!({
        "type": "certificate.tls", "status": "n/a",
        "info": {
            "certificate_chain_inline_string": identity.chain_pem,
            "private_key_inline_string": identity.key_pem,
        },
    });
    let mut listen = listen(port);
    listen["cluster_certificates"] = json!(["certificate#back"]);
    let mut all = Services::default();
    all.add("web", tls.address(), listen, sections);
    let whole = all.snapshot();
    let mut without = Snapshot::default();
    for kind in ResourceType::ALL {
        for resource in whole.all(kind).filter(|_| kind != ResourceType::Secret) {
            without.insert(kind, resource.clone());
        }
    }
    stand.publish(without);
    let asked = async {
        while stand.envoy.stat("cluster_manager.warming_clusters").await != Some(1) {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(LATE, asked).await.expect("a cluster that warms");
    stand.relay.cut();
    sleep(Duration::from_secs(1)).await;
    assert_eq!(
        stand.envoy.stat("cluster_manager.warming_clusters").await,
        Some(1)
    );
    stand.publish(whole);
    let cured = Instant::now();
    answers(port, "x", "tls").await;
    println!("answered {:.0?} after the cure", cured.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_only_half_open_is_replaced() {
    let stand = Stand::start().await;
    let (good, listeners) = services(3, stand.backend.address());
    stand.publish(good.clone());
    all_answer(&listeners).await;
    stand.relay.freeze();
    let since = Instant::now();
    let port = ports::free().unwrap();
    let mut more = Services::default();
    more.add("more", stand.backend.address(), listen(port), vhost("*"));
    stand.publish(more.snapshot());
    let found = async {
        while instance(port, "x").await.is_none() {
            sleep(Duration::from_millis(100)).await;
        }
        // The side of the controller has its own clock.
        while stand.clients.list().len() > 1 {
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(Duration::from_secs(30), found)
        .await
        .expect("both sides find it within 30 s");
    println!("found after {:.1?}", since.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_controller_sends_nothing_again_and_costs_no_request() {
    let mut rig = Rig::start().await;
    let load = Load::start(&rig.lines, 100);
    for signal in ["TERM", "KILL", "KILL"] {
        rig.controller.restart(signal);
        rig.controller.ready().await;
        let status = timeout(LATE, async {
            loop {
                let status = rig.controller.status().await;
                let clients = status["clients"].as_array().cloned().unwrap_or_default();
                let known = clients.iter().any(|client| client["node"] == "rig");
                if known {
                    return status;
                }
                sleep(Duration::from_millis(20)).await;
            }
        });
        status.await.expect("Envoy comes back");
        // Long enough for what would be sent again.
        sleep(Duration::from_secs(2)).await;
        let status = rig.controller.status().await;
        let sent = &status["clients"][0]["sent"];
        let counts = sent.as_object().unwrap().values();
        let resent: u64 = counts.filter_map(Value::as_u64).sum();
        assert_eq!(resent, 0, "{signal}: {sent}");
        assert_eq!(status["clients"][0]["synced"], true, "{signal}: {status}");
    }
    let (sent, failures) = load.stop().await;
    assert!(failures.is_empty(), "of {sent}: {:?}", failures.first());
}
