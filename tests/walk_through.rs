//! The documented walk-through: simulated daemon, real binary, real Envoy, real requests.

use std::time::Duration;

use osvc_igw::demo::lines::{expect_certificate, expect_instances};
use osvc_igw::demo::stage::{STEPS, Step};
use tokio::time::sleep;

use crate::support::load::Load;
use crate::support::rig::Rig;

#[tokio::test(flavor = "multi_thread")]
async fn every_line_is_answered_by_all_four_instances() {
    let rig = Rig::start().await;
    for line in &rig.lines {
        expect_instances(line, 4).await.unwrap();
    }
}

/// The third command as the page has it: it names the expose of the second again.
const AS_DOCUMENTED: Step = Step {
    title: "a virtual host and routes beside a server name",
    keywords: &[
        "ip#1.expose+=expose#1",
        "expose#1.type=envoy",
        "expose#1.listener_addr=0.0.0.0",
        "expose#1.listener_port=GATEWAY_TLS",
        "expose#1.port=BACKEND_TLS",
        "expose#1.vhosts=vhost#0",
        "expose#1.listener_certificates=certificate#front",
        "expose#1.cluster_certificates=certificate#back",
        "vhost#0.domains=alt-svcweb.acme.org",
        "vhost#0.routes=route#0 route#1",
        "route#0.match_prefix=/realtime/generic",
        "route#0.route_use_websocket=true",
        "route#1.match_prefix=/",
    ],
};

#[tokio::test(flavor = "multi_thread")]
async fn the_page_taken_by_its_word_answers_every_line() {
    let rig = Rig::bare(&[]).await;
    let steps = STEPS.split_last().unwrap().1;
    for step in steps.iter().chain([&AS_DOCUMENTED]) {
        rig.stage.take(step).unwrap();
    }
    rig.answered().await;
    let status = rig.controller.status().await;
    assert_eq!(status["problems"], serde_json::json!([]));
    assert_eq!(status["resources"]["cds"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_certificate_is_shown_and_no_listener_is_touched() {
    let rig = Rig::start().await;
    let touched = [
        "listener_modified",
        "listener_in_place_updated",
        "listener_added",
    ];
    let mut before = Vec::new();
    for stat in touched {
        before.push(rig.envoy.stat(&format!("listener_manager.{stat}")).await);
    }
    let (old, new) = rig.stage.replace_front_certificate().unwrap();
    for line in rig.lines.iter().filter(|line| line.is_tls()) {
        expect_certificate(line, &old, &new).await.unwrap();
    }
    let mut after = Vec::new();
    for stat in touched {
        after.push(rig.envoy.stat(&format!("listener_manager.{stat}")).await);
    }
    assert_eq!(after, before, "{touched:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_is_served_over_http2() {
    let mut rig = Rig::start().await;
    let socket = rig.options.daemon.with_file_name("h2.sock");
    rig.stage.sim.serve_h2(&socket).unwrap();
    rig.controller.restart("TERM");
    rig.controller.ready().await;
    for to in [1, 4] {
        rig.stage.scale(to).await.unwrap();
        for line in &rig.lines {
            expect_instances(line, to as usize).await.unwrap();
        }
    }
    let (old, new) = rig.stage.replace_front_certificate().unwrap();
    for line in rig.lines.iter().filter(|line| line.is_tls()) {
        expect_certificate(line, &old, &new).await.unwrap();
    }
    assert!(rig.stage.sim.requests("key") > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_becomes_a_scaler_keeps_its_listeners() {
    let mut rig = Rig::bare(&[]).await;
    for step in STEPS {
        rig.stage.take(step).unwrap();
    }
    rig.answered().await;
    let load = Load::start(&rig.lines, 100);
    // A real daemon takes its time to say what is in the slaves' configurations.
    rig.stage.sim.delay_answers(Duration::from_millis(100));
    rig.stage.scale(4).await.unwrap();
    expect_instances(&rig.lines[0], 4).await.unwrap();
    let (_, failures) = load.stop().await;
    assert_eq!(failures, Vec::<String>::new());
    let removed = rig.envoy.stat("listener_manager.listener_removed").await;
    assert_eq!(removed, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_fails_while_the_service_scales_and_everything_restarts() {
    let mut rig = Rig::start().await;
    let load = Load::start(&rig.lines, 200);
    for to in [1, 4] {
        rig.stage.scale(to).await.unwrap();
        for line in &rig.lines {
            expect_instances(line, to as usize).await.unwrap();
        }
    }
    rig.stage.sim.restart(Duration::from_secs(1));
    sleep(Duration::from_secs(4)).await;
    for signal in ["TERM", "KILL"] {
        rig.controller.restart(signal);
        rig.controller.ready().await;
        sleep(Duration::from_secs(2)).await;
    }
    rig.stage.scale(2).await.unwrap();
    expect_instances(&rig.lines[0], 2).await.unwrap();
    let (sent, failures) = load.stop().await;
    assert!(
        failures.is_empty(),
        "{} of {sent}, first {:?}",
        failures.len(),
        failures[0]
    );
    assert!(sent > 1_500, "only {sent} requests were sent");
}
