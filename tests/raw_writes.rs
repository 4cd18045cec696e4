//! The client of the raw socket writes a keyword: to a daemon that does what a test tells it to,
//! and to the simulated one, which answers as the recorded one did.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking, as tests do"
)]

use osvc_igw::inventory::Write;
use osvc_igw::opensvc::Daemon;
use osvc_igw::opensvc::raw::Raw;
use osvc_igw::sim::Sim;
use serde_json::json;

use crate::fake::Fake;
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
