//! What one bad service costs: itself, and one line in the log.

use std::time::Duration;

use serde_json::Value;
use tokio::time::{sleep, timeout};

use crate::support::load::Load;
use crate::support::rig::Rig;

/// A bad service, and the one line that must be said of it.
struct Bad {
    object: &'static str,
    keywords: &'static [&'static str],
    section: &'static str,
    keyword: &'static str,
    reason: &'static str,
}

const BAD: &[Bad] = &[
    Bad {
        object: "test/svc/z-port",
        keywords: &["expose#0.port=http", "expose#0.listener_port=GATEWAY_PLAIN"],
        section: "expose#0",
        keyword: "port",
        reason: "\"http\"",
    },
    Bad {
        object: "test/svc/z-vhost",
        keywords: &[
            "expose#0.port=80",
            "expose#0.listener_port=GATEWAY_TLS",
            "expose#0.vhosts=vhost#9",
        ],
        section: "expose#0",
        keyword: "vhosts",
        reason: "vhost#9",
    },
    Bad {
        object: "test/svc/z-secret",
        keywords: &[
            "expose#0.port=80",
            "expose#0.listener_port=GATEWAY_TLS",
            "expose#0.sni=z.acme.org",
            "expose#0.listener_certificates=certificate#front",
            "certificate#front.certificate_secret=nope",
        ],
        section: "certificate#front",
        keyword: "certificate_secret",
        reason: "test/sec/nope does not exist",
    },
    Bad {
        object: "test/svc/z-gateway",
        keywords: &[
            "expose#0.port=80",
            "expose#0.listener_port=GATEWAY_PLAIN",
            "expose#0.gateway=igw9",
        ],
        section: "expose#0",
        keyword: "gateway",
        reason: "igw9",
    },
    Bad {
        object: "test/svc/z-domain",
        keywords: &[
            "expose#0.port=80",
            "expose#0.listener_port=GATEWAY_TLS",
            "expose#0.vhosts=vhost#0",
            "vhost#0.domains=alt-svcweb.acme.org",
        ],
        section: "vhost#0",
        keyword: "domains",
        reason: "test/svc/web1 expose#2 vhost#0",
    },
];

#[tokio::test(flavor = "multi_thread")]
async fn each_bad_service_costs_itself_and_one_log_line() {
    let rig = Rig::start().await;
    let load = Load::start(&rig.lines, 50);
    for bad in BAD {
        let ports = rig.stage.ports;
        let keywords = bad.keywords.iter().map(|keyword| {
            keyword
                .replace("GATEWAY_PLAIN", &ports.plain.to_string())
                .replace("GATEWAY_TLS", &ports.tls.to_string())
        });
        let keywords: Vec<String> = keywords.collect();
        let mut keywords: Vec<&str> = keywords.iter().map(String::as_str).collect();
        keywords.extend(["expose#0.type=envoy", "ip#1.expose=expose#0"]);
        rig.stage
            .sim
            .create(bad.object, "[ip#1]\nipname = 127.77.9.9\nipdev = lo\n")
            .unwrap();
        rig.stage.sim.set(bad.object, &keywords).unwrap();
    }
    let told = async {
        while problems(&rig).await.len() < BAD.len() {
            sleep(Duration::from_millis(50)).await;
        }
    };
    assert!(
        timeout(Duration::from_secs(10), told).await.is_ok(),
        "{:#?}",
        problems(&rig).await
    );
    // Other changes come and go; nothing is said twice.
    rig.stage
        .sim
        .set_resource_status("test/svc/0.web1", "node1", "ip#1", "down")
        .unwrap();
    sleep(Duration::from_millis(500)).await;
    let lines = problem_lines(&rig.controller.log());
    for bad in BAD {
        let of_it: Vec<&Value> = lines
            .iter()
            .filter(|line| line["object"] == bad.object)
            .collect();
        let [line] = of_it[..] else {
            panic!("{} has {} lines: {of_it:#?}", bad.object, of_it.len());
        };
        assert_eq!(
            (&line["section"], &line["keyword"]),
            (&bad.section.into(), &bad.keyword.into())
        );
        let reason = line["reason"].as_str().unwrap();
        assert!(reason.contains(bad.reason), "{reason}");
    }
    assert_eq!(lines.len(), BAD.len(), "{lines:#?}");
    let (_, failures) = load.stop().await;
    assert_eq!(failures, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mended_service_is_served_and_its_problem_is_cleared() {
    let rig = Rig::start().await;
    rig.stage
        .sim
        .set(
            "test/svc/0.web1",
            &["vhost#0.domains=alt-svcweb.acme.org {env.x"],
        )
        .unwrap();
    let seen = async |count: usize| {
        let told = async {
            while problems(&rig).await.len() != count {
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(Duration::from_secs(10), told).await.is_ok()
    };
    assert!(seen(1).await, "{:#?}", problems(&rig).await);
    rig.stage
        .sim
        .set("test/svc/0.web1", &["vhost#0.domains=alt-svcweb.acme.org"])
        .unwrap();
    assert!(seen(0).await, "{:#?}", problems(&rig).await);
    rig.answered().await;
    assert!(rig.controller.log().contains("problem cleared"));
}

async fn problems(rig: &Rig) -> Vec<Value> {
    let status = rig.controller.status().await;
    status["problems"].as_array().cloned().unwrap_or_default()
}

fn problem_lines(log: &str) -> Vec<Value> {
    let lines = log
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["message"] == "problem").collect()
}
