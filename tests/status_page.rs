//! What the status page's document says of the daemon: the real binary and a simulated daemon.

use std::time::Duration;

use osvc_igw::sim::Sim;
use serde_json::Value;
use tokio::time::{sleep, timeout};

use crate::support::controller::{Controller, Options};
use crate::support::folder::Folder;

/// The fields end in this order.
struct Setup {
    controller: Controller,
    sim: Sim,
    _folder: Folder,
}

impl Setup {
    async fn start(extra: &[&str]) -> Self {
        let folder = Folder::new("status");
        let options = Options::new(&folder.0).with(extra);
        let sim = Sim::start(&options.daemon, &["n1", "n2"]).expect("a daemon");
        let mut controller = Controller::start(&options);
        controller.ready().await;
        Self {
            controller,
            sim,
            _folder: folder,
        }
    }

    async fn until(&self, what: &str, reached: impl Fn(&Value) -> bool) -> Value {
        let reaching = async {
            loop {
                let status = self.controller.status().await;
                if reached(&status) {
                    return status;
                }
                sleep(Duration::from_millis(50)).await;
            }
        };
        match timeout(Duration::from_secs(30), reaching).await {
            Ok(status) => status,
            Err(_) => panic!("not in time: {what}: {}", self.controller.status().await),
        }
    }
}

fn service(port: u16) -> String {
    format!(
        "[DEFAULT]\nnodes = n1 n2\ntopology = flex\n[ip#1]\nipname = 10.99.0.10\nipdev = lo\n\
         netmask = 32\nexpose = expose#0\n[expose#0]\ntype = envoy\nport = 80\n\
         listener_port = {port}\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_is_held_is_listed_with_why_and_until_when() {
    let setup = Setup::start(&["--hold-down", "3s"]).await;
    setup
        .sim
        .create("test/svc/web1", &service(8010))
        .expect("a service");
    let served = |status: &Value| status["resources"]["lds"] == 1;
    let status = setup.until("a listener", served).await;
    assert_eq!(status["held"], serde_json::json!([]));
    setup.sim.drop_node("n2");
    let held = |status: &Value| {
        status["held"]
            .as_array()
            .is_some_and(|held| held.len() == 1)
    };
    let status = setup.until("a held instance", held).await;
    let held = &status["held"][0];
    assert_eq!(held["object"], "test/svc/web1");
    assert_eq!(held["node"], "n2");
    assert_eq!(held["reason"], "nothing is heard of the node");
    assert_eq!(held["addresses"][0], "10.99.0.10");
    assert!(
        held["until"].as_str().is_some_and(|at| at.ends_with('Z')),
        "{held}"
    );
    let let_go = |status: &Value| status["held"] == serde_json::json!([]);
    setup.until("the end of the hold-down", let_go).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_waits_is_listed_with_what_the_daemon_said() {
    let setup = Setup::start(&[]).await;
    setup.sim.refuse_sets(true);
    setup
        .sim
        .create("test/svc/web1", &service(0))
        .expect("a service");
    let refused = |status: &Value| status["writes"][0]["failure"].is_string();
    let status = setup.until("a refused write", refused).await;
    let write = &status["writes"][0];
    assert_eq!(write["write"]["object"], "test/svc/web1");
    assert_eq!(write["write"]["keyword"], "listener_port");
    assert_eq!(write["taken"], false);
    let failure = write["failure"].as_str().expect("a text");
    assert!(failure.contains("the configuration is locked"), "{failure}");
    setup.sim.refuse_sets(false);
    let none = |status: &Value| status["writes"] == serde_json::json!([]);
    setup.until("no write that waits", none).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_arrives_torn_costs_a_new_full_status() {
    let setup = Setup::start(&[]).await;
    let syncs = setup.controller.status().await["daemon"]["syncs"].as_u64();
    setup.sim.set_message_max(60);
    setup
        .sim
        .create("test/svc/web1", &service(8010))
        .expect("a service");
    let right = |status: &Value| {
        status["resources"]["lds"] == 1 && status["daemon"]["syncs"].as_u64() > syncs
    };
    let status = setup
        .until("the new service after a torn message", right)
        .await;
    assert_eq!(status["daemon"]["corrections"], 0);
    setup.sim.set_message_max(208 << 10);
    setup.sim.remove("test/svc/web1").expect("a service");
    let gone = |status: &Value| status["resources"]["lds"] == 0;
    setup.until("no listener", gone).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn that_the_socket_makes_it_root_is_said_once() {
    let setup = Setup::start(&[]).await;
    let asked = |times| setup.sim.requests("whoami") >= times;
    setup.until("an answer", |_| asked(2)).await;
    setup.sim.cut();
    setup.until("more on the next stream", |_| asked(4)).await;
    let said = setup
        .controller
        .log()
        .matches("makes this process root")
        .count();
    assert_eq!(said, 1, "{}", setup.controller.log());
}
