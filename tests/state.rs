//! What was served last, on disk, for a controller that starts while the daemon is away.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use osvc_igw::bootstrap::{Bootstrap, XdsAddress};
use osvc_igw::demo::lines::Line;
use serde_json::Value;
use tokio::time::{sleep, timeout};

use crate::support::envoy::Envoy;
use crate::support::folder::Folder;
use crate::support::rig::Rig;

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waits = async {
        while !holds().await {
            sleep(Duration::from_millis(50)).await;
        }
    };
    assert!(timeout(LATE, waits).await.is_ok(), "not in time: {what}");
}

fn is_stale(status: &Value) -> bool {
    status["stale"] == true
}

async fn sent(rig: &Rig) -> Option<u64> {
    let status = rig.controller.status().await;
    let clients = status["clients"].as_array()?;
    let client = clients.iter().find(|client| client["node"] == "rig")?;
    let counts = client["sent"].as_object()?.values();
    Some(counts.filter_map(Value::as_u64).sum())
}

async fn answered(line: &Line) {
    let answered = timeout(LATE, line.answered()).await;
    assert!(answered.is_ok(), "no answer: {}", line.shown());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_served_last_is_served_while_the_daemon_is_away() {
    let folder = Folder::new("state");
    let state = folder.0.join("state");
    let mut rig = Rig::start_with(&["--state-dir", state.to_str().expect("a name")]).await;
    rig.answered().await;
    let file = state.join("envoy.snapshot");
    until("it is saved", async || {
        fs::metadata(&file).is_ok_and(|file| file.len() > 1_000)
    })
    .await;
    // The last change is saved a second after the one before.
    sleep(Duration::from_secs(3)).await;
    only_its_owner_reads(&state, &file);

    rig.stage.sim.restart(AWAY);
    rig.controller.restart("KILL");
    until("it serves what it has", async || {
        rig.controller.page("/status").await.is_some() && is_stale(&rig.controller.status().await)
    })
    .await;
    // A stale snapshot is not what it means to be ready.
    assert_ne!(
        rig.controller.page("/readyz").await.as_deref(),
        Some("ready\n")
    );
    until("Envoy is back", async || sent(&rig).await.is_some()).await;
    rig.answered().await;
    assert_eq!(sent(&rig).await, Some(0), "Envoy has all of it");

    // An Envoy that starts now gets what needs no secret.
    rig.envoy = fresh_envoy(&rig).await;
    let plain = rig.lines.iter().find(|line| !line.is_tls());
    answered(plain.expect("a line without TLS")).await;

    until("the daemon is back", async || {
        !is_stale(&rig.controller.status().await)
    })
    .await;
    rig.answered().await;
}

fn only_its_owner_reads(folder: &Path, file: &Path) {
    let mode = |path: &Path| fs::metadata(path).map(|found| found.permissions().mode() & 0o777);
    assert_eq!(mode(folder).ok(), Some(0o700));
    assert_eq!(mode(file).ok(), Some(0o600));
    let bytes = fs::read(file).expect("a file");
    let text = String::from_utf8_lossy(&bytes);
    assert!(!text.contains("PRIVATE KEY") && !text.contains("BEGIN CERTIFICATE"));
}

async fn fresh_envoy(rig: &Rig) -> Envoy {
    // The one before holds the ports of the listeners.
    let pid = rig.envoy.id().to_string();
    let mut kill = std::process::Command::new("kill");
    let ended = kill.args(["-s", "KILL", &pid]).status();
    assert!(ended.is_ok_and(|status| status.success()));
    Envoy::start(&Bootstrap {
        node_id: "fresh".to_owned(),
        node_cluster: "envoy".to_owned(),
        xds: XdsAddress::Tcp {
            host: "127.0.0.1".to_owned(),
            port: rig.options.xds.port(),
        },
        admin: ([127, 0, 0, 1], 0).into(),
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_nobody_wrote_is_one_warning_and_nothing_else() {
    let folder = Folder::new("state");
    let state = folder.0.join("state");
    let mut rig = Rig::bare(&["--state-dir", state.to_str().expect("a name")]).await;
    let file = state.join("envoy.snapshot");
    until("it is saved", async || file.exists()).await;
    fs::write(&file, "torn").expect("a file");
    rig.stage.sim.restart(Duration::from_secs(5));
    rig.controller.restart("KILL");
    rig.controller.ready().await;
    let log = rig.controller.log();
    let warned = log.matches("cannot serve what was served last").count();
    assert_eq!(warned, 1, "{log}");
}

const AWAY: Duration = Duration::from_secs(12);
const LATE: Duration = Duration::from_secs(30);
