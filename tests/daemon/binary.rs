//! The binary over each way: what its options name is what it follows.

use std::process::Command;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::{Site, Way};
use crate::support::controller::{Controller, Options};

/// Starts it, and waits until it serves the site's one service.
async fn serves(options: Options) -> Controller {
    let mut controller = Controller::start(&options);
    controller.ready().await;
    let status = controller.status().await;
    assert_eq!(status["resources"]["cds"], 1, "{status}");
    controller
}

#[tokio::test]
async fn it_follows_a_daemon_over_tls_with_a_password_of_the_environment() {
    let site = Site::start(Way::Tls);
    let server = format!("https://localhost:1,https://127.0.0.1:{}", site.server.port);
    let ca = site.path("ca.pem").display().to_string();
    let words = ["--server", &server, "--ca", &ca, "--user", "igw"];
    let options = Options::new(&site.folder.0)
        .remote(&words)
        .env("OSVC_IGW_PASSWORD", "hunter2");
    let controller = serves(options).await;
    assert!(site.sim.requests("events") > 0);
    assert!(!controller.log().contains("hunter2"));
}

#[tokio::test]
async fn a_right_that_is_missing_is_logged_once_when_it_appears_and_once_when_it_clears() {
    let site = Site::start(Way::Tls);
    site.sim.set_user("igw", "guest:test", Some("hunter2"));
    let server = format!("https://127.0.0.1:{}", site.server.port);
    let ca = site.path("ca.pem").display().to_string();
    let words = ["--server", &server, "--ca", &ca, "--user", "igw"];
    let options = Options::new(&site.folder.0)
        .remote(&words)
        .env("OSVC_IGW_PASSWORD", "hunter2");
    let mut controller = Controller::start(&options);
    controller.ready().await;
    let lacks = async |lacking: bool| {
        let reached = async {
            loop {
                let daemon = controller.status().await["daemon"].clone();
                let connected = daemon["connected"] == true;
                if connected && lacking == daemon["lacks"].as_array().is_some_and(|a| !a.is_empty())
                {
                    return daemon;
                }
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(Duration::from_secs(20), reached).await
    };
    let daemon = lacks(true).await.expect("a right that is missing");
    assert_eq!(daemon["account"], "igw");
    let said = |text: &str| controller.log().matches(text).count();
    // Another connection with the same grants is no news.
    let streams = site.sim.requests("events");
    site.sim.cut();
    while site.sim.requests("events") == streams {
        sleep(Duration::from_millis(20)).await;
    }
    lacks(true).await.expect("a right that is missing still");
    site.sim
        .set_user("igw", "guest:test admin:test", Some("hunter2"));
    site.sim.cut();
    lacks(false).await.expect("no right that is missing");
    assert_eq!(said("a right is missing\""), 1, "{}", controller.log());
    assert_eq!(
        said("a right is missing no more"),
        1,
        "{}",
        controller.log()
    );
    let metrics = controller.page("/metrics").await.expect("a page");
    assert!(
        metrics.contains("osvc_igw_daemon_rights_missing 0"),
        "{metrics}"
    );
}

#[tokio::test]
async fn it_follows_a_daemon_over_tls_with_a_certificate() {
    let site = Site::start(Way::Tls);
    let server = format!("https://127.0.0.1:{}", site.server.port);
    let path = |name: &str| site.path(name).display().to_string();
    let (ca, chain, key) = (path("ca.pem"), path("cert.pem"), path("key.pem"));
    let words = [
        "--server",
        &server,
        "--ca",
        &ca,
        "--client-cert",
        &chain,
        "--client-key",
        &key,
    ];
    serves(Options::new(&site.folder.0).remote(&words)).await;
    assert!(site.sim.requests("events") > 0);
}

#[tokio::test]
async fn it_prefers_the_socket_of_http2() {
    let site = Site::start(Way::Socket);
    let controller = serves(Options::new(&site.folder.0)).await;
    let streams = site.sim.requests("events");
    assert!(streams > 0);
    site.sim.cut();
    while site.sim.requests("events") == streams {
        sleep(Duration::from_millis(20)).await;
    }
    let root = controller.log().matches("makes this process root").count();
    assert_eq!(root, 1, "{}", controller.log());
    assert_eq!(site.sim.requests("daemon_status"), 0);
}

#[test]
fn options_that_do_not_fit_together_are_one_line_and_exit_code_2() {
    let run = |words: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_osvc-igw"))
            .args(words)
            .output();
        let output = output.expect("osvc-igw starts");
        let text = String::from_utf8(output.stderr).expect("a text");
        (text, output.status.code())
    };
    let (text, code) = run(&["--server", "https://n1", "--ca", "ca.pem", "--user", "igw"]);
    let expected = "osvc-igw: --user needs --password-file or $OSVC_IGW_PASSWORD\n";
    assert_eq!((text.as_str(), code), (expected, Some(2)));
    let (text, code) = run(&["--password", "hunter2"]);
    let expected =
        "osvc-igw: a password is no argument: use --password-file or $OSVC_IGW_PASSWORD\n";
    assert_eq!((text.as_str(), code), (expected, Some(2)));
}
