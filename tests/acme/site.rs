//! A cluster that asks for a certificate, its gateways, and the operator that gets it.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking, as tests do"
)]

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use osvc_igw::cert::operator::Operator;
use osvc_igw::cert::probe::Door;
use osvc_igw::opensvc::Daemon;
use osvc_igw::opensvc::local::Local;
use osvc_igw::sim::Sim;
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::support::pebble::Pebble;

/// The object that the certificate goes into.
pub(super) const FRONT: &str = "test/sec/front";
/// The object of the authority.
pub(super) const ISSUER: &str = "test/sec/ca";
/// The object that the challenges are in.
pub(super) const CARRIER: &str = "test/cfg/osvc-igw-acme";

/// The daemon behind a socket.
pub(super) fn daemon(socket: &Path) -> Arc<dyn Daemon> {
    Arc::new(Local::first_of(vec![socket.to_owned()]))
}

/// Declares an authority and a certificate of it, as the commands of the README do.
pub(super) fn declare(sim: &Sim, pebble: &Pebble, names: &str) {
    sim.create(ISSUER, "").unwrap();
    sim.set_key(ISSUER, "directory", &pebble.directory())
        .unwrap();
    sim.set_key(ISSUER, "ca_bundle", pebble.ca_pem()).unwrap();
    let first = names.split(' ').next().unwrap();
    let config = format!("[DEFAULT]\ncn = {first}\nalt_names = {names}\nca = {ISSUER}\n");
    sim.create(FRONT, &config).unwrap();
}

/// Where the gateways are.
pub(super) fn door(gateways: &[&str], http_port: u16, https_port: u16) -> Door {
    Door {
        gateways: gateways
            .iter()
            .map(|text| text.parse::<IpAddr>().unwrap())
            .collect(),
        http_port,
        https_port,
        acked: None,
    }
}

/// Runs until it is stopped or dropped.
pub(super) struct Running {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    pub(super) fn start(operator: Operator) -> Self {
        let stop = CancellationToken::new();
        let task = tokio::spawn(operator.run(stop.clone()));
        Self { stop, task }
    }

    /// Ends it wherever it is, as `kill -9` does.
    pub(super) async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
        drop(self.stop);
    }
}

/// What the record of the certificate says.
pub(super) fn record(sim: &Sim) -> Value {
    let text = sim.key(FRONT, "acme_state").unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

/// Waits until it holds.
pub(super) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let held = timeout(Duration::from_secs(60), async {
        while !holds() {
            sleep(Duration::from_millis(50)).await;
        }
    });
    assert!(held.await.is_ok(), "not in time: {what}");
}

/// Whether the certificate was issued, written and noted.
pub(super) fn issued(sim: &Sim) -> bool {
    let serial = record(sim)["serial"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    !serial.is_empty() && sim.key(FRONT, "acme_pending").as_deref() == Some("")
}
