//! `osvc-igw status`: what an administrator sees of a running controller.

use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::time::{sleep, timeout};

use crate::support::rig::Rig;
use crate::support::stand::LATE;

fn ask(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_osvc-igw"));
    let command = command.arg("status").args(arguments);
    command.output().expect("osvc-igw starts")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_walk_through_is_one_screen_over_tcp_and_over_the_socket() {
    let rig = Rig::start().await;
    let tcp = rig.options.xds.to_string();
    let unix = format!("unix://{}", rig.options.xds_socket.display());
    for address in [tcp, unix] {
        let synced = async {
            loop {
                let output = ask(&["--address", &address]);
                assert!(output.status.success(), "{output:?}");
                let screen = text(&output.stdout).to_owned();
                if screen.contains(": has everything") {
                    return screen;
                }
                sleep(Duration::from_millis(50)).await;
            }
        };
        let screen = timeout(LATE, synced).await.expect("Envoy has everything");
        assert!(
            screen.starts_with("gateway  envoy: ready (osvc-igw "),
            "{screen}"
        );
        assert!(screen.contains("\ndaemon   followed"), "{screen}");
        assert!(screen.contains("\n  rig (envoy/1.40"), "{screen}");
        assert!(screen.contains("\ncertificates (2)\n"), "{screen}");
        assert!(screen.contains("\nlisteners ("), "{screen}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn as_json_it_is_the_document_of_the_admin_page() {
    let rig = Rig::start().await;
    let address = rig.options.xds.to_string();
    let same = async {
        loop {
            let page = rig.controller.status().await;
            let output = ask(&["--address", &address, "--format", "json"]);
            let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
            if told == page {
                return;
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(LATE, same).await.expect("the same document");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_watches_sees_a_problem_come() {
    let rig = Rig::start().await;
    let mut watching = tokio::process::Command::new(env!("CARGO_BIN_EXE_osvc-igw"));
    let watching = watching
        .args(["status", "--watch", "--format", "json", "--address"])
        .arg(rig.options.xds.to_string())
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    let mut child = watching.spawn().expect("osvc-igw starts");
    let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
    let mut next = async || {
        let line = timeout(LATE, lines.next_line())
            .await
            .expect("told in time");
        let line = line.expect("text").expect("another document");
        serde_json::from_str::<Value>(&line).expect("JSON")
    };
    assert_eq!(next().await["problems"], serde_json::json!([]));
    let service = "[DEFAULT]\nnodes = node1\n[ip#1]\nipname = 10.99.0.10\nipdev = lo\n\
                   netmask = 32\nexpose = expose#0\n[expose#0]\ntype = envoy\nport = 80\n\
                   listener_port = 8010\nvhosts = vhost#9\n";
    rig.stage
        .sim
        .create("test/svc/bad", service)
        .expect("a service");
    while next().await["problems"] == serde_json::json!([]) {}
}

#[test]
fn where_nobody_answers_one_line_says_so() {
    let output = ask(&["--address", "127.0.0.1:1"]);
    assert_eq!(output.status.code(), Some(1));
    let line = text(&output.stderr);
    assert_eq!(line.lines().count(), 1, "{line}");
    assert!(
        line.contains("no controller answers at 127.0.0.1:1"),
        "{line}"
    );
    let output = ask(&["--address", "nonsense"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output.stderr).contains("expected HOST:PORT"),
        "{output:?}"
    );
}
