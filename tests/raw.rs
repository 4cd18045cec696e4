//! The client of the raw socket against a daemon that does what a test tells it: first what a real
//! one does, then every fault it can have.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking, as tests do"
)]

use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use osvc_igw::inventory::{Config, Event, Inventory, ObjectPath};
use osvc_igw::opensvc::mirror::Mirror;
use osvc_igw::opensvc::raw::Raw;
use osvc_igw::opensvc::{Daemon, Error};
use osvc_igw::sim::Sim;
use serde_json::{Value, json};

use crate::captures::{capture, status, stream};
use crate::fake::{Fake, Reply, limits};
use crate::support::folder::Folder;

#[tokio::test]
async fn a_watch_subscribes_then_asks_for_the_status_then_follows_patches() {
    let daemon = Fake::serving(cluster("up"));
    let mut events = daemon.watch();
    assert_eq!(ip_status(&events.next().await), "up");
    daemon.send(&patch(41, "down"));
    assert_eq!(ip_status(&events.next().await), "down");
    daemon.send(&json!({"kind": "event", "data": {"id": "instance_stop"}}));
    daemon.send(&patch(42, "warn"));
    assert_eq!(ip_status(&events.next().await), "warn");
    let mut requests = daemon.requests.lock().unwrap().clone();
    requests.dedup();
    let expected = [
        json!({"action": "events", "options": {}}),
        // It tells the stream something, which is then known to be there.
        json!({"action": "whoami", "options": {}}),
        json!({"action": "daemon_status", "options": {}}),
    ];
    assert_eq!(requests[..3], expected);
}

#[tokio::test]
async fn the_first_socket_that_exists_is_taken_for_each_connection() {
    let folder = Folder::new("sockets");
    let paths = ["osvcd.sock", "lsnr.sock"].map(|name| folder.0.join(name));
    let raw = Raw::first_of(paths.to_vec());
    let refused = raw.watch().next().await;
    assert!(
        matches!(refused, Some(Err(Error::Connect { .. }))),
        "{refused:?}"
    );
    let sim = Sim::start(&paths[1], &["n1"]).unwrap();
    sim.create("test/svc/web1", "").unwrap();
    let event = raw.watch().next().await;
    assert!(matches!(event, Some(Ok(Event::Reset(_)))), "{event:?}");
}

#[tokio::test]
async fn messages_wait_for_a_status_that_is_under_way() {
    let daemon = Fake::start(|request| match request {
        "daemon_status" => {
            std::thread::sleep(Duration::from_millis(100));
            Reply::json(&cluster("up"))
        }
        _ => Reply::json(&json!({})),
    });
    daemon.send(&patch(1, "down"));
    let mut events = daemon.watch();
    assert!(matches!(events.next().await, Some(Ok(Event::Reset(_)))));
    assert_eq!(ip_status(&events.next().await), "down");
}

#[tokio::test]
async fn messages_arrive_whole_from_single_bytes() {
    let daemon = Fake::serving(cluster("up"));
    let mut events = daemon.watch();
    events.next().await.unwrap().unwrap();
    let text = format!(
        "{}\0{}\0\0{}\0",
        patch(1, "down"),
        patch(2, "n/a"),
        patch(3, "warn")
    );
    for byte in text.bytes() {
        daemon.events.send(vec![byte]).unwrap();
    }
    for expected in ["down", "n/a", "warn"] {
        assert_eq!(ip_status(&events.next().await), expected);
    }
}

#[tokio::test]
async fn a_recorded_stream_arrives_as_it_was_recorded() {
    let mut messages = stream("single-lifecycle");
    let full = messages.remove(0)["data"].clone();
    let daemon = Fake::serving(full.clone());
    let mut mirror = Mirror::default();
    mirror.reset(full);
    let mut events = daemon.watch();
    let mut inventory = Inventory::default();
    inventory.apply(events.next().await.unwrap().unwrap());
    for message in messages {
        daemon.send(&message);
        for expected in mirror.apply(message).unwrap() {
            let event = events.next().await.unwrap().unwrap();
            assert_eq!(event, expected);
            inventory.apply(event);
        }
    }
    let mut expected = Inventory::default();
    for event in Mirror::default().reset(status("single-lifecycle-final")) {
        expected.apply(event);
    }
    assert_eq!(inventory.objects, expected.objects);
}

#[tokio::test]
async fn a_starting_daemon_is_not_an_empty_cluster() {
    let daemon = Fake::serving(json!({"monitor": {"nodes": {}, "services": {}}}));
    let mut events = daemon.watch();
    for message in stream("daemon-startup") {
        daemon.send(&message);
    }
    let Some(Ok(Event::Reset(report))) = events.next().await else {
        panic!();
    };
    assert_eq!(report.nodes.len(), 2);
}

#[tokio::test]
async fn a_gap_is_closed_by_a_new_status_on_the_same_stream() {
    let daemon = Fake::serving(cluster("up"));
    let mut events = daemon.watch();
    events.next().await.unwrap().unwrap();
    daemon.send(&patch(1, "down"));
    assert_eq!(ip_status(&events.next().await), "down");
    daemon.serve(cluster("stdby up"));
    daemon.send(&patch(3, "lost"));
    daemon.send(&patch(4, "warn"));
    let event = events.next().await;
    assert!(matches!(event, Some(Ok(Event::Reset(_)))));
    assert_eq!(ip_status(&event), "stdby up");
    assert_eq!(ip_status(&events.next().await), "warn");
    assert_eq!(daemon.count("events"), 1);
}

#[tokio::test]
async fn a_patch_that_does_not_apply_is_healed_by_a_new_status() {
    let daemon = Fake::serving(cluster("up"));
    let mut events = daemon.watch();
    events.next().await.unwrap().unwrap();
    for id in 1..=10 {
        daemon.send(&json!({"kind": "patch", "id": id, "data": []}));
    }
    daemon.send(&json!({"kind": "patch", "id": 11, "data": [[["monitor", "services", "x"]]]}));
    let event = events.next().await;
    assert!(matches!(event, Some(Ok(Event::Reset(_)))));
    daemon.send(&patch(12, "down"));
    assert_eq!(ip_status(&events.next().await), "down");
}

#[tokio::test]
async fn a_change_that_never_came_as_a_patch_is_found_by_a_full_status_and_named() {
    let daemon = Fake::serving(cluster("up"));
    let mut limits = limits();
    limits.refresh = Duration::from_millis(100);
    let mut events = Raw::with_limits(&daemon.socket, limits).watch();
    assert_eq!(ip_status(&events.next().await), "up");
    daemon.serve(cluster("down"));
    let corrected = events.next().await;
    let Some(Ok(Event::Corrected(places))) = corrected else {
        panic!("{corrected:?}");
    };
    assert_eq!(places.len(), 1, "{places:?}");
    let event = events.next().await;
    assert!(matches!(event, Some(Ok(Event::Reset(_)))));
    assert_eq!(ip_status(&event), "down");
}

#[tokio::test]
async fn a_stream_that_ends_at_any_byte_is_one_error_and_the_end() {
    let text = format!("{}\0", json!({"kind": "patch", "id": 1, "data": []}));
    for cut in 0..=text.len() {
        let mut daemon = Fake::serving(cluster("up"));
        let mut events = daemon.watch();
        events.next().await.unwrap().unwrap();
        daemon.events.send(text.as_bytes()[..cut].to_vec()).unwrap();
        daemon.hang_up();
        let error = end(&mut events).await;
        if cut == 0 || cut == text.len() {
            assert!(matches!(error, Error::Closed), "{cut} {error:?}");
        } else {
            assert!(matches!(error, Error::Receive { .. }), "{cut} {error:?}");
        }
    }
}

#[tokio::test]
async fn garbage_on_the_stream_is_one_error_and_the_end() {
    let error = json!({"status": 500, "error": "boom", "traceback": "..."}).to_string();
    let deep = "[".repeat(100_000);
    for garbage in [
        &b"{\"kind\": \0"[..],
        b"{\"kind\":\"\xff\"}\0",
        b"GET / HTTP/1.1\0",
        deep.as_bytes(),
        error.as_bytes(),
    ] {
        let daemon = Fake::serving(cluster("up"));
        let mut events = daemon.watch();
        events.next().await.unwrap().unwrap();
        daemon.events.send(garbage.to_vec()).unwrap();
        daemon.events.send(vec![0]).unwrap();
        let error = end(&mut events).await;
        assert!(
            matches!(error, Error::Parse { .. } | Error::Refused { .. }),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn a_message_without_end_is_given_up() {
    let daemon = Fake::serving(cluster("up"));
    let mut limits = limits();
    limits.bytes_max = 100_000;
    let mut events = Raw::with_limits(&daemon.socket, limits).watch();
    events.next().await.unwrap().unwrap();
    for _ in 0..20 {
        daemon.events.send(vec![b' '; 10_000]).unwrap();
    }
    let error = end(&mut events).await;
    assert!(
        matches!(
            error,
            Error::Oversized {
                bytes_max: 100_000,
                ..
            }
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn an_answer_without_end_is_given_up() {
    let daemon = Fake::start(|_| Reply::Bytes(vec![b' '; 200_000]));
    let mut limits = limits();
    limits.bytes_max = 100_000;
    let mut events = Raw::with_limits(&daemon.socket, limits).watch();
    let error = end(&mut events).await;
    assert!(matches!(error, Error::Oversized { .. }), "{error:?}");
}

#[tokio::test]
async fn a_lost_subscription_is_noticed_although_the_daemon_answers() {
    let daemon = Fake::serving(cluster("up"));
    let mut limits = limits();
    limits.silence = Duration::from_secs(1);
    let mut events = Raw::with_limits(&daemon.socket, limits).watch();
    events.next().await.unwrap().unwrap();
    let error = end(&mut events).await;
    assert!(matches!(error, Error::Silent { seconds: 1 }), "{error:?}");
    assert!(daemon.count("whoami") > 3, "{}", daemon.count("whoami"));
}

#[tokio::test]
async fn messages_keep_a_stream_alive_although_flushes_fail() {
    let daemon = Fake::start(|request| match request {
        "daemon_status" => Reply::json(&cluster("up")),
        _ => Reply::Bytes(Vec::new()),
    });
    let mut limits = limits();
    limits.silence = Duration::from_secs(1);
    let mut events = Raw::with_limits(&daemon.socket, limits).watch();
    events.next().await.unwrap().unwrap();
    for id in 1..=12 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        daemon.send(&patch(id, &format!("state {id}")));
        assert_eq!(ip_status(&events.next().await), format!("state {id}"));
    }
}

#[tokio::test]
async fn a_socket_that_is_gone_ends_a_stream_that_is_open() {
    let daemon = Fake::serving(cluster("up"));
    let mut events = daemon.watch();
    events.next().await.unwrap().unwrap();
    std::fs::remove_file(&daemon.socket).unwrap();
    let error = end(&mut events).await;
    assert!(matches!(error, Error::Connect { .. }), "{error:?}");
}

#[tokio::test]
async fn a_slow_caller_is_not_taken_for_a_silent_daemon() {
    let daemon = Fake::serving(cluster("up"));
    let mut limits = limits();
    limits.silence = Duration::from_millis(200);
    let mut events = Raw::with_limits(&daemon.socket, limits).watch();
    events.next().await.unwrap().unwrap();
    daemon.send(&patch(1, "down"));
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(ip_status(&events.next().await), "down");
    // Nor is one that keeps what it has until it is asked, as nobody did.
    tokio::time::sleep(Duration::from_millis(400)).await;
    let send = async { daemon.send(&patch(2, "warn")) };
    let (next, ()) = tokio::join!(events.next(), send);
    assert_eq!(ip_status(&next), "warn");
}

#[tokio::test]
async fn a_daemon_that_is_not_there_is_one_error_and_the_end() {
    let mut events = Raw::new("/nonexistent/lsnr.sock").watch();
    let error = end(&mut events).await;
    let shown = "cannot connect to the OpenSVC daemon at /nonexistent/lsnr.sock";
    assert_eq!(error.to_string(), shown);
}

#[tokio::test]
async fn a_status_that_failed_is_never_an_empty_cluster() {
    for answer in [
        r#"{"status": 1, "error": "'x'", "traceback": "Traceback"}"#,
        r#"{"status": "1", "error": "boom"}"#,
        r#"{"error": "action not specified", "status": 1}"#,
        r#"{"status": 403, "error": ["Forbidden"]}"#,
        "[]",
        "null",
        "",
        r#"{"monitor": {"nodes": {"#,
    ] {
        let daemon = Fake::start(move |request| match request {
            "daemon_status" => Reply::Bytes(format!("{answer}\0").into_bytes()),
            _ => Reply::json(&json!({})),
        });
        let error = end(&mut daemon.watch()).await;
        let expected = matches!(
            error,
            Error::Refused { .. } | Error::Answer { .. } | Error::Parse { .. }
        );
        assert!(expected, "{answer} {error:?}");
    }
}

#[tokio::test]
async fn a_status_that_is_cut_or_does_not_come_is_an_error() {
    let whole = cluster("up").to_string();
    for cut in [0, 1, whole.len() / 2, whole.len()] {
        let bytes = whole.as_bytes()[..cut].to_vec();
        let daemon = Fake::start(move |_| Reply::Bytes(bytes.clone()));
        let error = end(&mut daemon.watch()).await;
        assert!(matches!(error, Error::Receive { .. }), "{cut} {error:?}");
    }
    let daemon = Fake::start(|_| Reply::Stall);
    let mut limits = limits();
    limits.status = Duration::from_millis(100);
    let mut events = Raw::with_limits(&daemon.socket, limits).watch();
    let error = end(&mut events).await;
    assert!(matches!(error, Error::Receive { .. }), "{error:?}");
    let source = std::error::Error::source(&error).unwrap();
    assert_eq!(source.to_string(), "timed out");
}

#[tokio::test]
async fn keys_are_read_as_the_daemon_answers_them() {
    let missing = "secret test/sec/a key k does not exist or has no value";
    for (answer, expected) in [
        (
            json!({"status": 0, "data": "line\nline\n"}),
            Some("line\nline\n"),
        ),
        (json!({"status": 0, "data": null}), None),
        (json!({"status": 1, "error": missing}), None),
        (
            json!({"status": 1, "error": "'test/sec/a'", "traceback": "..."}),
            None,
        ),
    ] {
        let daemon = Fake::serving_all(&answer);
        let read = daemon
            .raw()
            .read_key(&path("test/sec/a"), "k")
            .await
            .unwrap();
        assert_eq!(read.as_ref().map(|secret| secret.expose()), expected);
        let options = json!({"path": "test/sec/a", "key": "k"});
        let request = json!({"action": "get_secret_key", "options": options});
        assert_eq!(daemon.requests.lock().unwrap()[0], request);
    }
}

#[tokio::test]
async fn an_answer_with_a_secret_is_never_repeated_by_an_error() {
    let whole = format!("{}\0", json!({"status": 0, "data": "hunter2 \u{e9}"}));
    for cut in 0..whole.len() {
        for end in ["", "\0", "x\0", "\u{1}\"}\0"] {
            let mut bytes = whole.as_bytes()[..cut].to_vec();
            bytes.extend(end.as_bytes());
            let daemon = Fake::start(move |_| Reply::Bytes(bytes.clone()));
            if let Err(error) = daemon.raw().read_key(&path("test/sec/a"), "k").await {
                let shown = format!("{error} {error:?}");
                assert!(!shown.contains("hunter"), "{shown}");
            }
        }
    }
}

#[tokio::test]
async fn configurations_are_read_as_the_daemon_answers_them() {
    let recorded: Value =
        serde_json::from_str(&capture("config-app1-evaluate-false.json")).unwrap();
    let daemon = Fake::serving_all(&recorded);
    let read = daemon
        .raw()
        .read_config(&path("test/svc/app1"))
        .await
        .unwrap();
    assert!(read.is_some());
    assert_eq!(read, Config::from_json(&recorded));
    let options = json!({"path": "test/svc/app1", "format": "json", "evaluate": false});
    let request = json!({"action": "get_service_config", "options": options});
    assert_eq!(daemon.requests.lock().unwrap()[..], [request]);

    let unknown = json!({"status": "1", "error": "'test/svc/nope'", "traceback": "..."});
    let daemon = Fake::serving_all(&unknown);
    let read = daemon
        .raw()
        .read_config(&path("test/svc/nope"))
        .await
        .unwrap();
    assert_eq!(read, None);

    let recorded = serde_json::from_str(&capture("config-web1-evaluate-true.json")).unwrap();
    let daemon = Fake::serving_all(&recorded);
    let error = daemon
        .raw()
        .read_config(&path("test/svc/web1"))
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the OpenSVC daemon refuses get_service_config with status 1: \
         certificate#front.secret not found in the keywords dictionary"
    );
}

/// Reads the error that comes next, and that nothing comes after it.
async fn end(events: &mut BoxStream<'static, Result<Event, Error>>) -> Error {
    let error = match events.next().await {
        Some(Err(error)) => error,
        other => panic!("{other:?}"),
    };
    assert!(events.next().await.is_none());
    error
}

fn path(text: &str) -> ObjectPath {
    text.parse().unwrap()
}

/// A status with one service, the status of whose ip is given.
fn cluster(ip: &str) -> Value {
    json!({"listener": {}, "monitor": {
        "nodes": {"n1": {"monitor": {"status": "idle"}, "services": {
            "config": {"web": {"csum": "1"}},
            "status": {"web": {"avail": "up", "resources": {
                "ip#1": {"type": "ip", "status": ip}}}}}}},
        "services": {"web": {"avail": "up"}}}})
}

fn patch(id: u64, ip: &str) -> Value {
    let place = json!([
        "monitor",
        "nodes",
        "n1",
        "services",
        "status",
        "web",
        "resources",
        "ip#1",
        "status"
    ]);
    json!({"kind": "patch", "id": id, "ts": 1.5, "data": [[["listener", "x"], 1], [place, ip]]})
}

#[track_caller]
fn ip_status(event: &Option<Result<Event, Error>>) -> String {
    let web = match event {
        Some(Ok(Event::Reset(report))) => &report.objects[&path("web")],
        Some(Ok(Event::Put(object))) => object,
        other => panic!("{other:?}"),
    };
    let resources = &web.instances.get("n1").unwrap().resources;
    resources.get("ip#1").unwrap().status.to_string()
}
