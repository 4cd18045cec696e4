//! A thousand changes that make and break, under load: no request may notice.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking, as tests do"
)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use osvc_igw::demo::ports;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::random::Random;
use crate::support::stand::{Services, Stand, backend, instance};

/// What serves one domain now: which service, with which instance.
#[derive(Clone)]
struct Site {
    generation: usize,
    instance: SocketAddr,
    /// Whether its routes go to an expose of another service, too.
    timeout: u32,
}

fn publish(stand: &Stand, port: u16, sites: &[Site], guests: &[bool]) {
    let mut all = Services::default();
    for (number, site) in sites.iter().enumerate() {
        let name = format!("site{number}-{}", site.generation);
        let vhost = json!({
            "vhost#0": {
                "type": "vhost.envoy", "status": "n/a",
                "info": {"domains": [format!("site{number}.test")], "routes": ["route#0"]},
            },
            "route#0": {
                "type": "route.envoy", "status": "n/a",
                "info": {"match_prefix": "/", "route_timeout": site.timeout},
            },
        });
        let listen = json!({"listener_port": port, "vhosts": ["vhost#0"]});
        all.add(&name, site.instance, listen, vhost);
    }
    for (number, _) in guests.iter().enumerate().filter(|(_, here)| **here) {
        let vhost = json!({
            "vhost#0": {
                "type": "vhost.envoy", "status": "n/a",
                "info": {"domains": [format!("guest{number}.test")]},
            },
        });
        let listen = json!({"listener_port": port, "vhosts": ["vhost#0"]});
        all.add(&format!("guest{number}"), sites[0].instance, listen, vhost);
    }
    stand.publish(all.snapshot());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_changes_cost_no_request() {
    let stand = Stand::start().await;
    let other = backend("other").await;
    let instances = [stand.backend.address(), other.address()];
    let port = ports::free().unwrap();
    let mut sites: Vec<Site> = (0..SITES)
        .map(|number| Site {
            generation: 0,
            instance: instances[number % 2],
            timeout: 5,
        })
        .collect();
    let mut guests = [false; 6];
    publish(&stand, port, &sites, &guests);
    for number in 0..SITES {
        while instance(port, &format!("site{number}.test"))
            .await
            .is_none()
        {
            sleep(Duration::from_millis(20)).await;
        }
    }
    let stop = Arc::new(AtomicBool::new(false));
    let sent = Arc::new(AtomicU64::new(0));
    let load = tokio::spawn(load(port, Arc::clone(&stop), Arc::clone(&sent)));
    let mut random = Random(3);
    for _ in 0..CHANGES {
        let site = &mut sites[random.below(SITES)];
        match random.below(4) {
            // Another service takes the domain: its cluster comes, the route moves, the old goes.
            0 => site.generation += 1,
            1 => site.instance = instances[random.below(2)],
            2 => site.timeout = 5 + random.below(3) as u32,
            _ => {
                let guest = &mut guests[random.below(6)];
                *guest = !*guest;
            }
        }
        publish(&stand, port, &sites, &guests);
        sleep(Duration::from_millis(random.below(50) as u64)).await;
    }
    stop.store(true, Ordering::Relaxed);
    let failures = load.await.unwrap();
    let sent = sent.load(Ordering::Relaxed);
    println!("{sent} requests, {} failed", failures.len());
    assert!(failures.is_empty(), "of {sent}: {failures:?}");
}

/// 300 requests a second to the sites in turn; returns those that failed.
async fn load(port: u16, stop: Arc<AtomicBool>, sent: Arc<AtomicU64>) -> Vec<u64> {
    let mut tick = interval(Duration::from_secs(1) / 300);
    tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut running = JoinSet::new();
    let mut failures = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        tick.tick().await;
        let number = sent.fetch_add(1, Ordering::Relaxed);
        running.spawn(async move {
            let host = format!("site{}.test", number as usize % SITES);
            let answer = instance(port, &host).await;
            answer.is_none().then_some(number)
        });
        while let Some(ended) = running.try_join_next() {
            failures.extend(ended.unwrap());
        }
    }
    while let Some(ended) = running.join_next().await {
        failures.extend(ended.unwrap());
    }
    failures
}

const SITES: usize = 6;
const CHANGES: usize = 1_000;
