//! The client of the raw socket writes a keyword: to a daemon that does what a test tells it to,
//! and to the simulated one, which answers as the recorded one did.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking, as tests do"
)]

use osvc_igw::inventory::{ObjectPath, Sensitive, Write};
use osvc_igw::opensvc::Daemon;
use osvc_igw::opensvc::raw::Raw;
use osvc_igw::sim::Sim;
use serde_json::json;

use crate::fake::{Fake, Reply};
use crate::support::folder::Folder;

fn write(object: &str) -> Write {
    Write {
        object: object.parse().unwrap(),
        section: "expose#0".to_owned(),
        keyword: "listener_port".to_owned(),
        value: "1025".to_owned(),
    }
}

#[tokio::test]
async fn a_keyword_is_set_with_the_request_that_works() {
    let done = json!({"status": 0, "data": {"out": "", "err": "", "ret": 0}});
    let daemon = Fake::serving_all(&done);
    daemon.raw().write(&write("test/svc/a")).await.unwrap();
    let kw = json!({"kw": ["expose#0.listener_port=1025"]});
    let options = json!({"path": "test/svc/a", "action": "set", "options": kw});
    let request = json!({"action": "service_action", "options": options});
    assert_eq!(daemon.requests.lock().unwrap()[..], [request]);
}

#[tokio::test]
async fn an_object_of_other_nodes_is_asked_for_there() {
    let daemon = Fake::serving_all(&json!({"status": 404, "error": "test/svc/a not found"}));
    let error = daemon.raw().write(&write("test/svc/a")).await.unwrap_err();
    assert!(error.to_string().contains("not found"), "{error}");
    let requests = daemon.requests.lock().unwrap();
    assert_eq!(requests.len(), 2);
    assert_eq!(requests[1]["node"], "ANY");
    assert_eq!(requests[1]["options"], requests[0]["options"]);
}

#[tokio::test]
async fn the_simulated_daemon_answers_as_the_recorded_one() {
    let folder = Folder::new("writes");
    let socket = folder.0.join("lsnr.sock");
    let sim = Sim::start(&socket, &["n1"]).unwrap();
    let ini = "[expose#0]\ntype = envoy\nport = 80\nlistener_port = 0\n";
    sim.create("test/svc/a", ini).unwrap();
    let daemon = Raw::new(&socket);
    let port = || sim.keyword("test/svc/a", "expose#0.listener_port").unwrap();
    daemon.write(&write("test/svc/a")).await.unwrap();
    assert_eq!(port(), "1025");
    let error = daemon.write(&write("test/svc/none")).await.unwrap_err();
    assert!(
        error.to_string().contains("test/svc/none not found"),
        "{error}"
    );
    // The driver crashes where the port is none, and the command fails with status 0.
    let mut bad = write("test/svc/a");
    bad.value = "0x50".to_owned();
    let error = daemon.write(&bad).await.unwrap_err().to_string();
    assert!(error.contains("status 1: E "), "{error}");
    assert_eq!(port(), "1025");
    sim.lose_sets(1);
    let mut lost = write("test/svc/a");
    lost.value = "1026".to_owned();
    daemon.write(&lost).await.unwrap();
    assert_eq!(port(), "1025");
}

fn simulated() -> (Folder, Sim, Raw) {
    let folder = Folder::new("raw-keys");
    let socket = folder.0.join("lsnr.sock");
    let sim = Sim::start(&socket, &["n1"]).unwrap();
    (folder, sim, Raw::new(&socket))
}

fn path(text: &str) -> ObjectPath {
    text.parse().unwrap()
}

fn text(text: &str) -> Sensitive {
    Sensitive::new(text.to_owned())
}

#[tokio::test]
async fn a_key_is_set_then_read_back_then_the_daemon_is_made_to_tell_of_it() {
    let daemon = Fake::start(|action| match action {
        "set_key" => Reply::json(&json!({"status": 0, "info": "key k value set"})),
        "get_secret_key" => Reply::json(&json!({"status": 0, "data": "v\n\u{1}\u{e9}"})),
        _ => Reply::json(&json!({"status": 0})),
    });
    let value = text("v\n\u{1}\u{e9}");
    let raw = daemon.raw();
    raw.write_key(&path("test/sec/a"), "k", &value)
        .await
        .unwrap();
    let options = json!({"path": "test/sec/a", "key": "k", "data": value.expose()});
    let read = json!({"path": "test/sec/a", "key": "k"});
    let expected = [
        json!({"action": "set_key", "options": options}),
        json!({"action": "get_secret_key", "options": read}),
        json!({"action": "wake_monitor", "options": {"path": "test/sec/a"}}),
    ];
    assert_eq!(daemon.requests.lock().unwrap()[..], expected);
}

#[tokio::test]
async fn keys_of_secrets_and_of_configurations_are_written_to_objects_that_were_created() {
    let (_folder, sim, raw) = simulated();
    for name in ["test/sec/web1", "test/cfg/challenges"] {
        raw.create(&path(name)).await.unwrap();
        raw.write_key(&path(name), "k/1", &text("one"))
            .await
            .unwrap();
        raw.write_key(&path(name), "k/1", &text("")).await.unwrap();
        assert_eq!(sim.key(name, "k/1").as_deref(), Some(""));
    }
    assert_eq!(sim.requests("wake_monitor"), 6);
}

#[tokio::test]
async fn an_object_that_exists_is_not_created_again() {
    let (_folder, sim, raw) = simulated();
    sim.create("test/sec/web1", "").unwrap();
    sim.set_key("test/sec/web1", "k", "kept").unwrap();
    raw.create(&path("test/sec/web1")).await.unwrap();
    assert_eq!(sim.requests("create"), 0);
    assert_eq!(sim.key("test/sec/web1", "k").as_deref(), Some("kept"));
}

#[tokio::test]
async fn a_key_that_is_lost_or_refused_is_an_error_that_never_shows_it() {
    let (_folder, sim, raw) = simulated();
    sim.create("test/sec/web1", "").unwrap();
    let web1 = path("test/sec/web1");
    sim.lose_sets(1);
    let lost = raw
        .write_key(&web1, "k", &text("hunter2"))
        .await
        .unwrap_err();
    assert!(lost.to_string().contains("does not read back"), "{lost}");
    sim.refuse_sets(true);
    let refused = raw
        .write_key(&web1, "k", &text("hunter2"))
        .await
        .unwrap_err();
    let shown = format!("{lost} {lost:?} {refused} {refused:?}");
    assert!(!shown.contains("hunter"), "{shown}");
    sim.refuse_sets(false);
    raw.write_key(&web1, "k", &text("hunter2")).await.unwrap();
    assert_eq!(sim.key("test/sec/web1", "k").as_deref(), Some("hunter2"));
}

#[tokio::test]
async fn a_key_of_an_object_that_is_not_there_is_an_error() {
    let (_folder, _sim, raw) = simulated();
    let nowhere = path("test/sec/none");
    raw.write_key(&nowhere, "k", &text("v")).await.unwrap_err();
}
