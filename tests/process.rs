//! The binary as a process: its command line, its sockets, its signals.

use std::process::{Command, Output};
use std::time::Duration;

use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use osvc_igw::bootstrap::{Bootstrap, XdsAddress};
use osvc_igw::demo::lines::Line;
use osvc_igw::demo::stage::{STEPS, Stage};
use tokio::time::{sleep, timeout};
use tonic::Code;

use crate::support::controller::{Controller, Options};
use crate::support::envoy::{self, Envoy};
use crate::support::folder::Folder;
use crate::support::rig::Rig;

fn igw(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_osvc-igw"));
    command.args(arguments).output().expect("osvc-igw starts")
}

#[test]
fn a_bad_option_is_one_line_and_exit_code_2() {
    let arguments: &[&[&str]] = &[
        &["--port", "0x10"],
        &["run", "--bind", "localhost"],
        &["--port-range", "65535-1025"],
        &["--max-workers", "0"],
        &["--janitor-socket", "relative/xds.sock"],
        &["--admin-address", "9902"],
        &["--log-format", "yaml"],
        &["--envoy-port", "-1"],
    ];
    for arguments in arguments {
        let output = igw(arguments);
        let text = String::from_utf8(output.stderr).unwrap();
        let option = arguments
            .iter()
            .find(|word| word.starts_with("--"))
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.contains(option), "{option}: {text}");
    }
}

#[test]
fn an_environment_variable_is_an_option_too() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_osvc-igw"));
    let output = command
        .arg("bootstrap")
        .env("OSVC_IGW_PORT", "12345")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("12345"), "{text}");
    let output = Command::new(env!("CARGO_BIN_EXE_osvc-igw"))
        .env("OSVC_IGW_PORT", "x")
        .output();
    assert_eq!(output.unwrap().status.code(), Some(2));
}

#[test]
fn the_printed_bootstrap_is_accepted_by_envoy() {
    for arguments in [
        &["bootstrap"][..],
        &["bootstrap", "--over-socket", "-n", "igw1"],
    ] {
        let output = igw(arguments);
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(envoy::validate(&text), Ok(()), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kernel_is_asked_for_small_pages_alone() {
    let rig = Rig::start_with(&[]).await;
    rig.answered().await;
    let status = format!("/proc/{}/status", rig.controller.id());
    let status = std::fs::read_to_string(status).unwrap();
    assert!(status.contains("THP_enabled:\t0\n"), "{status}");
}

#[test]
fn a_socket_that_cannot_be_made_is_one_line_that_names_the_option() {
    let folder = Folder::new("socket");
    let file = folder.0.join("file");
    std::fs::write(&file, "").unwrap();
    let socket = format!("unix://{}/xds.sock", file.display());
    let output = igw(&[
        "--janitor-socket",
        &socket,
        "-p",
        "0",
        "--admin-address",
        "127.0.0.1:0",
    ]);
    let text = String::from_utf8(output.stderr).unwrap();
    let line = text.lines().last().unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        line.contains("--janitor-socket") && line.contains("xds.sock"),
        "{text}"
    );
}

#[test]
fn where_lines_are_to_be_json_every_line_is_also_why_it_did_not_start() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut command = Command::new(env!("CARGO_BIN_EXE_osvc-igw"));
    command.args(["run", "--log-format", "json", "--port", "0"]);
    command.args(["--janitor-socket", "none", "--admin-address", &address]);
    let output = command.env("RUST_LOG", "a=b=c").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    let lines: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}")))
        .collect();
    let why = lines.last().and_then(|line| line["error"].as_str());
    assert!(
        why.is_some_and(|why| why.contains("--admin-address")),
        "{text}"
    );
    let ignored = |line: &serde_json::Value| line["directives"] == "a=b=c";
    assert!(lines.iter().any(ignored), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn signals_end_it_within_five_seconds_and_envoy_keeps_serving() {
    for signal in ["TERM", "INT"] {
        let mut rig = Rig::start().await;
        let (status, took) = rig.controller.signal(signal);
        assert!(status.success(), "{signal}: {status}");
        assert!(took < Duration::from_secs(5), "{signal} took {took:?}");
        assert!(
            !rig.options.xds_socket.exists(),
            "the socket is left behind"
        );
        rig.answered().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_socket_is_replaced_and_a_served_one_is_not() {
    let mut rig = Rig::start_with(&[]).await;
    rig.controller.signal("KILL");
    assert!(
        rig.options.xds_socket.exists(),
        "a killed process leaves its socket"
    );
    rig.controller = Controller::start(&rig.options);
    rig.controller.ready().await;
    let socket = format!("unix://{}", rig.options.xds_socket.display());
    let output = igw(&[
        "--janitor-socket",
        &socket,
        "-p",
        "0",
        "--admin-address",
        "127.0.0.1:0",
    ]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains("another process serves this socket"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_envoy_is_served_over_the_unix_socket_too() {
    let rig = Rig::start().await;
    let over_socket = Envoy::start(&Bootstrap {
        node_id: "over-socket".to_owned(),
        node_cluster: "envoy".to_owned(),
        xds: XdsAddress::Unix(rig.options.xds_socket.display().to_string()),
        admin: ([127, 0, 0, 1], 0).into(),
    })
    .await;
    let served = async {
        while over_socket.stat("cluster_manager.active_clusters").await < Some(4) {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(Duration::from_secs(10), served)
        .await
        .expect("three clusters beside its own");
    let clients = rig.controller.status().await["clients"].clone();
    assert_eq!(clients.as_array().map(Vec::len), Some(2), "{clients:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_too_many_is_refused_with_resource_exhausted() {
    let rig = Rig::start_with(&["-w", "1"]).await;
    rig.answered().await;
    let address = format!("http://{}", rig.options.xds);
    let mut client = AggregatedDiscoveryServiceClient::connect(address)
        .await
        .unwrap();
    let requests = tokio_stream::iter([DeltaDiscoveryRequest::default()]);
    let refused = client
        .delta_aggregated_resources(requests)
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    assert!(refused.message().contains("--max-workers"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metrics_page_tells_what_envoy_took() {
    let rig = Rig::start().await;
    let page = rig.controller.page("/metrics").await.unwrap();
    let number = |name: &str| {
        let lines = page.lines();
        let mut values = lines.filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        values.next().unwrap_or_default().to_owned()
    };
    assert_eq!(number("osvc_igw_xds_streams"), "1", "{page}");
    assert_eq!(number("osvc_igw_ready"), "1", "{page}");
    assert_eq!(number("osvc_igw_daemon_connected"), "1", "{page}");
    let acks: u64 = number("osvc_igw_xds_acks_total{type=\"cds\"}")
        .parse()
        .unwrap();
    let sent: u64 = number("osvc_igw_xds_responses_total{type=\"cds\"}")
        .parse()
        .unwrap();
    assert!(0 < acks && acks <= sent, "{page}");
    let mut nacks = page.lines().filter(|line| line.contains("_nacks_total{"));
    assert!(nacks.all(|line| line.ends_with(" 0")), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_published_before_the_first_full_status() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let folder = Folder::new("early");
    let options = Options::new(&folder.0);
    let mut controller = Controller::start(&options);
    let envoy = Envoy::start(&Bootstrap {
        node_id: "early".to_owned(),
        node_cluster: "envoy".to_owned(),
        xds: XdsAddress::Tcp {
            host: "127.0.0.1".to_owned(),
            port: options.xds.port(),
        },
        admin: ([127, 0, 0, 1], 0).into(),
    })
    .await;
    sleep(Duration::from_secs(1)).await;
    assert_ne!(controller.page("/readyz").await.as_deref(), Some("ready\n"));
    assert_eq!(controller.page("/healthz").await.as_deref(), Some("ok\n"));
    assert_eq!(
        envoy
            .stat("cluster_manager.cds.update_success")
            .await
            .unwrap_or(0),
        0
    );
    let stage = Stage::start(&options.daemon).await.unwrap();
    for step in STEPS {
        stage.take(step).unwrap();
    }
    controller.ready().await;
    for line in Line::all(&stage, &folder.0).unwrap() {
        timeout(Duration::from_secs(10), line.answered())
            .await
            .expect("an answer");
    }
}

#[test]
fn the_demo_checks_itself() {
    let output = igw(&[
        "demo",
        "--check",
        "--envoy",
        &envoy::binary().display().to_string(),
    ]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(
        text.lines().filter(|line| line.starts_with("ok: ")).count(),
        7,
        "{text}"
    );
}
