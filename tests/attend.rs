//! A controller with an Envoy of its own: started, started again, and drained; and the question
//! whether a controller is well.

use std::net::SocketAddr;
use std::process::{Command, Output};
use std::time::Duration;

use osvc_igw::demo::ports;
use osvc_igw::demo::stage::Stage;
use osvc_igw::sim::backend::Backend;
use tokio::time::{sleep, timeout};

use crate::support::controller::{Controller, Options};
use crate::support::envoy;
use crate::support::folder::Folder;

fn igw(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_osvc-igw"));
    command.args(arguments).output().expect("osvc-igw starts")
}

/// A service, its instance, and a gateway that is one process to others.
struct Gateway {
    controller: Controller,
    options: Options,
    listener: SocketAddr,
    _stage: Stage,
    _backend: Backend,
    _folder: Folder,
}

impl Gateway {
    async fn start() -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let folder = Folder::new("attend");
        let free = || ports::free().expect("a free port");
        let (port, admin) = (free(), free().to_string());
        let envoy = envoy::binary().display().to_string();
        let extra = [
            "--envoy",
            &envoy,
            "--envoy-port",
            &admin,
            "--drain-time",
            "5s",
        ];
        let options = Options::new(&folder.0).with(&extra);
        let stage = Stage::start(&options.daemon).await.expect("a stage");
        let address = "127.78.9.1:0".parse().expect("an address");
        let backend = Backend::start(address, "back", None)
            .await
            .expect("a backend");
        let (ip, to) = (backend.address().ip(), backend.address().port());
        let config = format!(
            "[ip#0]\nipname = {ip}\nexpose = expose#0\n[expose#0]\ntype = envoy\nport = {to}\n\
             listener_port = {port}\nvhosts = vhost#0\n[vhost#0]\ndomains = *\n"
        );
        stage
            .sim
            .create("test/svc/web", &config)
            .expect("a service");
        Self {
            controller: Controller::start(&options),
            options,
            listener: ([127, 0, 0, 1], port).into(),
            _stage: stage,
            _backend: backend,
            _folder: folder,
        }
    }

    /// The status of the answer to a GET that waits for so long.
    async fn get(listener: SocketAddr, wait_ms: u32) -> Option<u16> {
        let client = reqwest::Client::builder().no_proxy().build().ok()?;
        let request = client.get(format!("http://{listener}/"));
        let request = request.header("x-wait-ms", wait_ms.to_string());
        let answer = request.timeout(Duration::from_secs(10)).send().await.ok()?;
        Some(answer.status().as_u16())
    }

    async fn answered(&self) {
        let answered = async {
            while Self::get(self.listener, 0).await != Some(200) {
                sleep(Duration::from_millis(50)).await;
            }
        };
        let answered = timeout(Duration::from_secs(20), answered).await;
        assert!(answered.is_ok(), "no answer:\n{}", self.controller.log());
    }

    /// The process ids of the Envoys that it has started.
    fn envoys(&self) -> Vec<String> {
        let log = self.controller.log();
        let lines = log
            .lines()
            .filter(|line| line.contains("\"Envoy started\""));
        let lines = lines.filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        lines.map(|line| line["pid"].to_string()).collect()
    }
}

fn runs(pid: &str) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    !status.is_empty() && !status.contains("State:\tZ")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_envoy_of_its_own_serves_comes_again_and_is_drained() {
    let mut gateway = Gateway::start().await;
    gateway.answered().await;
    let first = gateway.envoys()[0].clone();
    // What the controller does without is not taken from its Envoy.
    let status = std::fs::read_to_string(format!("/proc/{first}/status")).unwrap_or_default();
    assert!(status.contains("THP_enabled:\t1\n"), "{status}");
    let killed = Command::new("kill").args(["-s", "KILL", &first]).status();
    assert!(killed.expect("a kill command").success());
    let again = async {
        while gateway.envoys().len() < 2 {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(Duration::from_secs(20), again)
        .await
        .expect("another Envoy");
    gateway.answered().await;
    let second = gateway.envoys()[1].clone();

    // What is under way when the signal comes is answered, and then nothing runs any more.
    let listener = gateway.listener;
    let asked = tokio::spawn(async move { Gateway::get(listener, 2_000).await });
    sleep(Duration::from_millis(500)).await;
    let (status, took) = tokio::task::block_in_place(|| gateway.controller.signal("TERM"));
    assert!(status.success(), "{status}\n{}", gateway.controller.log());
    assert_eq!(asked.await.expect("an end"), Some(200));
    assert!(took < Duration::from_secs(8), "{took:?}");
    assert!(!runs(&second), "Envoy {second} still runs");
    assert_eq!(Gateway::get(listener, 0).await, None);
    assert!(!gateway.options.xds_socket.exists());
}

#[test]
fn an_envoy_that_cannot_be_started_is_one_line_that_names_the_option() {
    let folder = Folder::new("attend");
    let socket = format!("unix://{}/xds.sock", folder.0.display());
    let output = igw(&[
        "run",
        "--envoy",
        "/nope/envoy",
        "-p",
        "0",
        "--admin-address",
        "127.0.0.1:0",
        "--janitor-socket",
        &socket,
    ]);
    let text = String::from_utf8(output.stderr).expect("text");
    let last = text.lines().last().unwrap_or_default();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        last.starts_with("osvc-igw: cannot start --envoy /nope/envoy: "),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn health_tells_a_controller_that_answers_from_one_that_serves() {
    let folder = Folder::new("health");
    let options = Options::new(&folder.0);
    let admin = options.admin.to_string();
    let health = |more: &[&str]| {
        let arguments = [&["health", "--admin-address", &admin], more].concat();
        let output = igw(&arguments);
        let line = String::from_utf8(output.stderr).expect("text");
        (output.status.code(), line)
    };
    let url = |page: &str| format!("osvc-igw: http://{admin}/{page}: ");
    let nobody = format!("{}nobody answers\n", url("healthz"));
    assert_eq!(health(&[]), (Some(1), nobody));
    let mut controller = Controller::start(&options);
    let answers = async {
        while health(&[]).0 != Some(0) {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(Duration::from_secs(20), answers)
        .await
        .expect("an answer");
    let line = format!("{}503: no snapshot has been published yet\n", url("readyz"));
    assert_eq!(health(&["--ready"]), (Some(1), line));
    let _stage = Stage::start(&options.daemon).await.expect("a stage");
    controller.ready().await;
    assert_eq!(health(&["--ready"]), (Some(0), String::new()));
}
