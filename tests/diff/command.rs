//! `osvc-igw diff` and `osvc-igw run --dry-run` as commands: what they compare, what they print,
//! and how they end.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking, as tests do"
)]

use std::net::TcpListener;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use osvc_igw::demo::ports;
use osvc_igw::demo::stage::{SERVICE, STEPS};
use osvc_igw::pb::GetDiffRequest;
use osvc_igw::pb::gateway_client::GatewayClient;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::time::{sleep, timeout};

use crate::support::folder::Folder;
use crate::support::rig::Rig;
use crate::support::stand::LATE;

fn igw(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_osvc-igw"));
    command.arg("diff").args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn capture(name: &str) -> String {
    let root = env!("CARGO_MANIFEST_DIR");
    format!("{root}/tests/captures/opensvc-2.1/{name}.json")
}

/// The options that say which daemon and which controller.
fn of(rig: &Rig) -> Vec<String> {
    let daemon = rig.options.daemon.display().to_string();
    let admin = rig.options.admin.to_string();
    vec![
        "--sock".to_owned(),
        daemon,
        "--admin-address".to_owned(),
        admin,
    ]
}

fn diff(rig: &Rig, more: &[&str]) -> Output {
    let options = of(rig);
    let options: Vec<&str> = options
        .iter()
        .map(String::as_str)
        .chain(more.iter().copied())
        .collect();
    igw(&options)
}

async fn until(rig: &Rig, more: &[&str], code: i32) -> Output {
    let mut last = None;
    let same = async {
        loop {
            let output = diff(rig, more);
            if output.status.code() == Some(code) {
                return output;
            }
            last = Some(output);
            sleep(Duration::from_millis(50)).await;
        }
    };
    let output = timeout(LATE, same).await;
    output.unwrap_or_else(|_| panic!("not {code}: {last:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_differs_where_every_envoy_has_what_it_should() {
    let rig = Rig::start().await;
    let output = until(&rig, &[], 0).await;
    assert_eq!(text(&output.stdout), "Envoy rig:\nNo difference.\n");
    assert_eq!(text(&output.stderr), "");
    let url = format!("http://{}", rig.envoy.admin());
    let output = until(&rig, &["--envoy", &url], 0).await;
    assert_eq!(text(&output.stdout), "No difference.\n");
    // What it was told of has no secret in it.
    let page = rig.controller.page("/snapshot").await.unwrap();
    let told: Value = serde_json::from_str(&page).unwrap();
    assert_eq!(told["clients"][0]["otherwise"], serde_json::json!([]));
    assert!(
        page.contains("tls_certificate/test/sec/web1-front-cert"),
        "{page}"
    );
    for word in ["PRIVATE KEY", "BEGIN CERTIFICATE"] {
        assert!(!page.contains(word), "{word}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_envoy_refuses_is_a_difference_to_what_it_has() {
    let rig = Rig::start().await;
    until(&rig, &[], 0).await;
    let taken = TcpListener::bind(("0.0.0.0", 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    // The slaves have configurations of their own; a service alone is enough here.
    let config = format!(
        "[ip#0]\nipname = 127.0.0.1\nexpose = expose#0\n\
         [expose#0]\ntype = envoy\nport = 1\nlistener_port = {port}\n"
    );
    rig.stage.sim.create("test/svc/taken", &config).unwrap();
    let listener = format!("+ listener 0.0.0.0:{port}/tcp");
    let told = async {
        loop {
            let output = diff(&rig, &["--only", "test/svc/taken"]);
            let shown = text(&output.stdout);
            if shown.contains(&listener) && !shown.contains("+ cluster") {
                return output;
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    let output = timeout(LATE, told).await.expect("the refused listener");
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stdout).starts_with("Envoy rig:\ntest/svc/taken\n"));
    let other = diff(&rig, &["--only", SERVICE]);
    assert_eq!(other.status.code(), Some(0), "{other:?}");
    // The admin page and the service tell the same.
    let page: Value = serde_json::from_str(&rig.controller.page("/diff").await.unwrap()).unwrap();
    let changes = &page["clients"][0]["diff"]["changes"];
    assert_eq!(
        changes[0]["name"],
        format!("0.0.0.0:{port}/tcp"),
        "{page:#}"
    );
    let uri = format!("http://{}", rig.options.xds);
    let endpoint = tonic::transport::Endpoint::from_shared(uri).unwrap();
    let mut client = GatewayClient::new(endpoint.connect().await.unwrap());
    let told = client
        .get_diff(GetDiffRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        told.clients[0].diff.as_ref().unwrap().changes[0].action,
        "added"
    );
    drop(taken);
}

#[test]
fn saved_states_are_compared_without_a_daemon() {
    let (up, down) = (capture("status-web1-documented"), capture("status-l4-down"));
    let same = igw(&["--from", &up, "--to", &up]);
    assert_eq!(
        (same.status.code(), text(&same.stdout)),
        (Some(0), "No difference.\n")
    );
    let other = igw(&["--from", &up, "--to", &down]);
    assert_eq!(other.status.code(), Some(2), "{other:?}");
    let shown = text(&other.stdout);
    assert!(
        shown.contains("- filter chain") || shown.contains("- listener"),
        "{shown}"
    );
    assert!(
        shown.contains("test/svc/web1") && shown.contains("test/svc/l4"),
        "{shown}"
    );
    for (format, begin) in [("json", "{\n  \"changes\""), ("markdown", "### What Envoy")] {
        let output = igw(&["--from", &up, "--to", &down, "--format", format]);
        assert!(text(&output.stdout).starts_with(begin), "{output:?}");
        assert_eq!(output.status.code(), Some(2));
    }
}

#[test]
fn a_file_over_a_saved_state_needs_no_daemon_either() {
    let state = capture("status-web1-documented");
    let folder = Folder::new("with");
    let recorded = include_str!("../../src/sim/recorded/web1.conf");
    let same = folder.write("web1.conf", recorded);
    let output = igw(&["--to", &state, "--with", same.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(text(&output.stderr).lines().count(), 1, "{output:?}");
    let moved = recorded.replace("listener_port = 8082", "listener_port = 8083");
    let moved = folder.write("web1.conf", &moved);
    let output = igw(&["--to", &state, "--with", moved.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let shown = text(&output.stdout);
    assert!(shown.contains("+ listener 0.0.0.0:8083/tcp"), "{shown}");
    assert!(shown.contains("- listener 0.0.0.0:8082/tcp"), "{shown}");
    let bad = recorded.replace("sni = svcweb.acme.org", "sni = *.*");
    let bad = folder.write("web1.conf", &bad);
    let output = igw(&["--to", &state, "--with", bad.to_str().unwrap()]);
    assert!(
        text(&output.stderr).contains("problem: test/svc/web1 expose#1.sni"),
        "{output:?}"
    );
}

#[test]
fn colours_are_for_terminals_and_for_who_wants_them() {
    let (up, down) = (capture("status-web1-documented"), capture("status-l4-down"));
    let colour = |more: &[&str], no_color: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_osvc-igw"));
        let command = command
            .args(["diff", "--from", &up, "--to", &down])
            .args(more);
        let output = command.env("NO_COLOR", no_color).output().unwrap();
        text(&output.stdout).contains('\u{1b}')
    };
    assert!(!colour(&[], ""));
    assert!(colour(&["--color", "always"], ""));
    assert!(colour(&["--color", "always"], "1"));
    assert!(!colour(&["--color", "never"], ""));
}

#[test]
fn what_cannot_be_told_is_one_line_and_exit_code_1() {
    let folder = Folder::new("wrong");
    let state = capture("status-web1-documented");
    let file = |name: &str, text: &str| folder.write(name, text).display().to_string();
    let no_json = file("a.json", "{");
    let no_status = file("b.json", "{\"monitor\": 1}");
    let broken = file("web1.conf", "[expose#0\nport = 80\n");
    let no_name = file("web1.txt", "[expose#0]\n");
    let unreadable = file("x.conf", "[a]\nnothing\n");
    let nowhere = folder.0.join("none.sock").display().to_string();
    for (arguments, expected) in [
        (&["--from", "/none.json", "--to", &state][..], "--from"),
        (&["--from", &no_json, "--to", &state], "it is no JSON"),
        (&["--from", &no_status, "--to", &state], "no `monitor`"),
        (
            &["--to", &state, "--with", &broken],
            "line 1: stands before the first [section]",
        ),
        (
            &["--to", &state, "--with", &unreadable],
            "line 2: is neither [section] nor",
        ),
        (&["--to", &state, "--with", &no_name], "followed by .conf"),
        (&["--to", &state, "--with", "/none.conf"], "No such file"),
        (&["--to", &state, "--envoy", "127.0.0.1:1"], "--envoy"),
        (
            &["--to", &state, "--envoy", "http://127.0.0.1:1"],
            "Connection refused",
        ),
        (
            &["--from", &state, "--envoy", "http://127.0.0.1:1"],
            "cannot be used with",
        ),
        (&["--namespace", "x", "--to", &state], "--with"),
        (&["--only", "a/b/c/d", "--to", &state], "--only"),
        (&["--sock", &nowhere], "none.sock"),
        (&["--format", "yaml"], "--format"),
        (&["--nonsense"], "--nonsense"),
    ] {
        let output = igw(arguments);
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {told}");
        assert_eq!(told.lines().count(), 1, "{arguments:?}: {told}");
        assert!(
            told.starts_with("osvc-igw: ") && told.contains(expected),
            "{arguments:?}: {told}"
        );
        assert_eq!(text(&output.stdout), "");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_prints_each_change_as_it_happens_and_touches_nothing() {
    let rig = Rig::bare(&[]).await;
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_osvc-igw"));
    // The same ports as the controller that runs: none of them is opened.
    let command = command
        .args(["run", "--dry-run"])
        .args(of(&rig))
        .args(["--port", &rig.options.xds.port().to_string()])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut until = async |part: &str| {
        let mut seen = Vec::new();
        let found = async {
            while let Some(line) = lines.next_line().await.unwrap() {
                seen.push(line);
                if seen.last().is_some_and(|line| line.contains(part)) {
                    return;
                }
            }
        };
        let found = timeout(LATE, found).await;
        assert!(found.is_ok(), "no {part:?} in {seen:#?}");
        seen
    };
    until("Would serve 0 cds, 0 eds, 0 sds, 0 lds, 0 rds.").await;
    rig.stage.take(&STEPS[0]).unwrap();
    let plain = rig.stage.ports.plain;
    let seen = until(&format!("+ listener 0.0.0.0:{plain}/tcp")).await;
    assert!(seen.iter().any(|line| line == SERVICE), "{seen:#?}");
    let port = ports::free().unwrap();
    let set = format!("expose#0.listener_port={port}");
    rig.stage.sim.set(SERVICE, &[&set]).unwrap();
    let seen = until("2 changes: 1 added, 0 changed, 1 removed").await;
    for line in [
        format!("+ listener 0.0.0.0:{port}/tcp"),
        format!("- listener 0.0.0.0:{plain}/tcp"),
    ] {
        assert!(seen.iter().any(|it| it.contains(&line)), "{seen:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_asks_for_no_port_to_be_written() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let folder = Folder::new("dry");
    let socket = folder.0.join("lsnr.sock");
    let sim = osvc_igw::sim::Sim::start(&socket, &["n1"]).unwrap();
    let config = "[ip#0]\nipname = 127.0.0.1\nexpose = expose#0\n\
                  [expose#0]\ntype = envoy\nport = 80\nlistener_port = 0\n";
    sim.create("test/svc/asks", config).unwrap();
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_osvc-igw"));
    let command = command
        .args(["run", "--dry-run", "--log-format", "json", "--sock"])
        .arg(&socket)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    // And no controller is there to be compared with.
    let socket = socket.display().to_string();
    let output = igw(&["--sock", &socket, "--admin-address", "127.0.0.1:1"]);
    assert_eq!(output.status.code(), Some(1));
    let line = text(&output.stderr);
    assert!(
        line.contains("http://127.0.0.1:1 (option --admin-address)"),
        "{line}"
    );
    let first = timeout(LATE, lines.next_line())
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    let told: Value = serde_json::from_str(&first).unwrap();
    assert!(told["changes"].is_array(), "{told}");
    sim.set("test/svc/asks", &["expose#0.listener_port=8099"])
        .unwrap();
    let line = timeout(LATE, lines.next_line())
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert!(line.contains("0.0.0.0:8099/tcp"), "{line}");
    assert_eq!(
        sim.keyword("test/svc/asks", "expose#0.listener_port")
            .as_deref(),
        Some("8099")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn each_publication_is_one_line_with_its_cause() {
    let rig = Rig::bare(&[]).await;
    rig.stage.take(&STEPS[0]).unwrap();
    let told = async {
        loop {
            let log = rig.controller.log();
            let lines = log
                .lines()
                .filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let mut lines = lines.filter(|line| line["message"] == "published snapshot");
            if let Some(line) = lines.find(|line| line["objects"] == SERVICE) {
                return line;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    let line = timeout(LATE, told).await.expect("a line of the change");
    assert_eq!(
        (&line["level"], &line["added"]),
        (&"INFO".into(), &3.into()),
        "{line}"
    );
    let cause = line["cause"].as_str().unwrap();
    assert!(cause.contains(SERVICE), "{cause}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_publishes_nothing_is_no_line() {
    let rig = Rig::bare(&[]).await;
    rig.synced().await;
    let lines = |rig: &Rig| {
        let log = rig.controller.log();
        let lines = log.lines().filter(|line| line.contains("\"INFO\""));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let before = lines(&rig).len();
    // A cluster that works: services without exposes come and go, others change their state.
    for name in ["test/svc/quiet1", "test/svc/quiet2"] {
        rig.stage
            .sim
            .create(name, "[ip#0]\nipname = 127.0.0.1\n")
            .unwrap();
    }
    rig.stage.sim.remove("test/svc/quiet1").unwrap();
    rig.stage.take(&STEPS[0]).unwrap();
    let told = async {
        while lines(&rig).len() == before {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(LATE, told).await.expect("a line of the change");
    let after = lines(&rig);
    let new = &after[before..];
    assert!(
        new.iter().all(|line| line.contains("published snapshot")),
        "{new:#?}"
    );
    assert!(new.iter().all(|line| line.contains(SERVICE)), "{new:#?}");
}
