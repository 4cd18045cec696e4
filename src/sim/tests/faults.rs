//! What goes wrong on purpose, as the subscriber sees it.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};

use super::super::Sim;
use super::{WEB, Watch, ask, socket};

#[tokio::test]
async fn a_restarted_daemon_counts_from_one_and_knows_little_at_first() {
    let socket = socket();
    let sim = Sim::start(&socket, &["n1", "n2"]).unwrap();
    sim.create("test/svc/a", WEB).unwrap();
    sim.create("test/svc/b", WEB).unwrap();
    let mut before = Watch::start(&socket, &sim).await;
    sim.set_boot_pace(Duration::from_millis(50));
    sim.restart(Duration::from_millis(100));
    while before.bytes().await.is_some() {}
    while UnixStream::connect(&socket).await.is_ok() {
        sleep(Duration::from_millis(1)).await;
    }
    assert!(socket.exists());
    while UnixStream::connect(&socket).await.is_err() {
        sleep(Duration::from_millis(1)).await;
    }
    let mut watch = Watch::start(&socket, &sim).await;
    watch.tree = json!({});
    let stanzas = watch.patch().await;
    assert_eq!(watch.last_id, 1);
    assert!(stanzas.contains(&json!([["monitor"], {"nodes": {}, "services": {}}])));
    let (mut partial, node) = (false, "/monitor/nodes/n1");
    while watch.tree.pointer(&format!("{node}/monitor/status")) != Some(&json!("idle")) {
        watch.patch().await;
        let known = watch.tree.pointer(&format!("{node}/services/status"));
        let known = known
            .and_then(Value::as_object)
            .map_or(0, serde_json::Map::len);
        partial |= known == 1
            && watch.tree["monitor"]["services"]
                .get("test/svc/b")
                .is_some();
    }
    assert!(partial, "there was no moment with a part of the objects");
    assert!(!sim.is_starting());
    let status = ask(&socket, r#"{"action":"daemon_status"}"#).await;
    watch.catch_up(&status).await;
    watch.check(&status, "started");
}

#[tokio::test]
async fn a_stuck_tail_comes_with_the_next_connection() {
    let socket = socket();
    let sim = Sim::start(&socket, &["n1"]).unwrap();
    sim.create("test/svc/a", WEB).unwrap();
    let mut watch = Watch::start(&socket, &sim).await;
    sim.set_stuck_tail(true);
    sim.set("test/svc/a", &["expose#0.port=81"]).unwrap();
    sim.set("test/svc/a", &["expose#0.port=82"]).unwrap();
    let port = "/monitor/nodes/n1/services/status/test~1svc~1a/resources/expose#0/info/port";
    watch.change().await;
    assert_eq!(watch.tree.pointer(port), Some(&json!(81)));
    assert!(watch.is_silent().await);
    ask(&socket, r#"{"action":"whoami"}"#).await;
    watch.change().await;
    assert_eq!(watch.tree.pointer(port), Some(&json!(82)));
}

#[tokio::test]
async fn faults_of_the_stream_reach_the_subscriber() {
    let socket = socket();
    let sim = Sim::start(&socket, &["n1"]).unwrap();
    sim.create("test/svc/a", WEB).unwrap();
    let mut watch = Watch::start(&socket, &sim).await;
    let id = |bytes: &[u8]| {
        serde_json::from_slice::<Value>(bytes).unwrap()["id"]
            .as_u64()
            .unwrap()
    };
    sim.run("test/svc/a").unwrap();
    let first = id(&watch.bytes().await.unwrap());
    sim.skip_id();
    sim.run("test/svc/a").unwrap();
    sim.run("test/svc/a").unwrap();
    assert_eq!(id(&watch.bytes().await.unwrap()), first + 2);
    sim.send(b"garb");
    sim.send(b"age\0");
    assert_eq!(watch.bytes().await.unwrap(), b"garbage");
    sim.lose_subscribers();
    sim.run("test/svc/a").unwrap();
    assert!(watch.is_silent().await);
    sim.cut();
    assert_eq!(watch.bytes().await, None);
    let mut watch = Watch::start(&socket, &sim).await;
    sim.set_message_max(10);
    sim.run("test/svc/a").unwrap();
    let mut torn = Vec::new();
    watch.stream.read_to_end(&mut torn).await.unwrap();
    assert_eq!(torn.len(), 10);
}

#[tokio::test]
async fn refusing_ends_no_stream_and_dropping_the_handle_ends_all() {
    let socket = socket();
    let sim = Sim::start(&socket, &["n1"]).unwrap();
    let mut watch = Watch::start(&socket, &sim).await;
    sim.refuse(true);
    while UnixStream::connect(&socket).await.is_ok() {
        sleep(Duration::from_millis(1)).await;
    }
    sim.create("test/svc/a", WEB).unwrap();
    watch.change().await;
    sim.refuse(false);
    while UnixStream::connect(&socket).await.is_err() {
        sleep(Duration::from_millis(1)).await;
    }
    sim.delay_answers(Duration::from_millis(50));
    let late = timeout(
        Duration::from_millis(20),
        ask(&socket, r#"{"action":"whoami"}"#),
    )
    .await;
    assert!(late.is_err());
    drop(sim);
    while watch.bytes().await.is_some() {}
}

#[tokio::test]
async fn bad_configurations_are_refused_by_om_and_cost_the_object_when_edited() {
    let socket = socket();
    let sim = Sim::start(&socket, &["n1"]).unwrap();
    sim.create("test/svc/a", WEB).unwrap();
    let before = sim.status();
    for bad in [
        "expose#0.protocol=sctp",
        "expose#0.listener_port=http",
        "route#0.redirect_https_redirect=maybe",
    ] {
        assert!(sim.set("test/svc/a", &[bad]).is_err(), "{bad}");
    }
    assert!(
        sim.create("test/svc/b", "[expose#0]\nlistener_port = 1\n")
            .is_err()
    );
    assert_eq!(sim.status(), before);
    let report = |sim: &Sim| sim.status()["monitor"]["nodes"]["n1"]["services"].clone();
    // Edited by hand, a crash leaves the report as it was; the configuration's csum tells.
    sim.edit("test/svc/a", &WEB.replace("listener_port = 8080\n", ""))
        .unwrap();
    let (stale, old) = (report(&sim), &before["monitor"]["nodes"]["n1"]["services"]);
    assert_eq!(stale["status"], old["status"]);
    assert_ne!(stale["config"], old["config"]);
    sim.edit("test/svc/a", "[expose#0\ngarbage").unwrap();
    assert_eq!(report(&sim)["config"].get("test/svc/a"), None);
    assert_eq!(sim.status()["monitor"]["services"].get("test/svc/a"), None);
}
