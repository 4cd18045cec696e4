//! A cluster that asks for a certificate whose names are in zones of a real name server.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::pending;
use http::Response;
use osvc_igw::cert::dns::Reach;
use osvc_igw::cert::operator::Operator;
use osvc_igw::cert::writer::Direct;
use osvc_igw::sim::Sim;
use serde_json::json;

use super::site::{Answer, FRONT, ISSUER, between, daemon, declare, door, record};
use crate::support::folder::Folder;
use crate::support::knot::{Knot, SECRET, WRITER};
use crate::support::pebble::Pebble;

/// The cluster, the authority and the name server.
pub(super) struct Zone {
    pub(super) knot: Arc<Knot>,
    pub(super) pebble: Pebble,
    pub(super) sim: Sim,
    pub(super) folder: Folder,
    /// Whether an operator is stuck.
    pub(super) stuck: Arc<AtomicBool>,
}

impl Zone {
    /// Asks for a certificate for these names by `dns-01`, which Pebble looks for at Knot.
    pub(super) fn start(names: &str, zones: &[(&str, &str)]) -> Self {
        Self::start_at(names, zones, &[])
    }

    /// The same, with more in Pebble's environment.
    pub(super) fn start_at(names: &str, zones: &[(&str, &str)], env: &[(&str, &str)]) -> Self {
        let folder = Folder::new("zone");
        let sim = Sim::start(&folder.0.join("lsnr.sock"), &["n1"]).expect("a daemon");
        Self::of((sim, folder), names, zones, env)
    }

    /// The same, in a cluster that is there.
    pub(super) fn of(
        (sim, folder): (Sim, Folder),
        names: &str,
        zones: &[(&str, &str)],
        env: &[(&str, &str)],
    ) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let knot = Arc::new(Knot::start(zones));
        let pebble = Pebble::start_at(&json!({}), Some(knot.address), env);
        declare(&sim, &pebble, names);
        let zone = Self {
            knot,
            pebble,
            sim,
            folder,
            stuck: Arc::default(),
        };
        zone.says("challenge", "dns-01");
        zone
    }

    /// Sets a key of the issuer.
    pub(super) fn says(&self, key: &str, value: &str) {
        self.sim.set_key(ISSUER, key, value).expect("a key");
    }

    /// Has records written by updates.
    pub(super) fn by_update(&self) {
        self.says("dns", "rfc2136");
        self.says("dns_server", &self.knot.address.to_string());
        self.says("dns_tsig_name", WRITER);
        self.says("dns_tsig_secret", SECRET);
    }

    /// Has records written by a program with this text.
    pub(super) fn by_program(&self, text: &str) {
        let programs = self.folder.0.join("programs");
        std::fs::create_dir_all(&programs).expect("a folder");
        let file = programs.join("write.sh");
        std::fs::write(&file, format!("#!/bin/sh\n{text}")).expect("a program");
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&file, mode).expect("a program");
        self.says("dns", "exec");
        self.says("exec", "write.sh");
    }

    /// What the operator may use.
    pub(super) fn reach(&self) -> Reach {
        Reach {
            resolver: self.knot.resolver(),
            programs: Some(self.folder.0.join("programs")),
            program_max: Duration::from_secs(20),
        }
    }

    /// An operator that has looked around.
    pub(super) async fn operator(&self) -> Operator {
        self.operator_over(self.reach(), "", "").await
    }

    /// One that reads this in the place of that in whatever the authority says.
    pub(super) async fn operator_over(
        &self,
        reach: Reach,
        that: &'static str,
        this: &'static str,
    ) -> Operator {
        let daemon = daemon(&self.folder.0.join("lsnr.sock"));
        let writer = Arc::new(Direct::new(Arc::clone(&daemon)));
        let stuck = Arc::clone(&self.stuck);
        let wires = between(move |web, asked| other(asked.of(web), that, this, &stuck));
        let mut door = door(&["127.0.0.1"], self.pebble.http_port, 1);
        door.shown_max = Duration::ZERO;
        let operator = Operator::over(daemon, writer, door, wires);
        let mut operator = operator.with_settle(Duration::ZERO).with_reach(reach);
        operator.look().await.expect("a survey");
        operator
    }

    /// Tries once; returns what came of it.
    pub(super) async fn try_once(&self, operator: &mut Operator) -> Result<(), String> {
        let path = FRONT.parse().expect("a path");
        let tried = operator.work(&path, true).await.expect("a daemon");
        tried.expect("a declaration").map(|_| ())
    }

    /// What the record says of the last failure.
    pub(super) fn error(&self) -> String {
        record(&self.sim)["error"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }
}

/// What is read in the place of something where nothing is read any more.
pub(super) const NOTHING_MORE: &str = "nothing more";

/// An authority that says something else than it does.
fn other(sent: Answer, that: &'static str, this: &'static str, stuck: &Arc<AtomicBool>) -> Answer {
    let stuck = Arc::clone(stuck);
    async move {
        let (parts, body) = sent.await?.into_parts();
        let text = String::from_utf8_lossy(&body);
        if this == NOTHING_MORE && text.contains(that) {
            stuck.store(true, Ordering::SeqCst);
            pending::<()>().await;
        }
        let text = match that.is_empty() {
            true => body.clone(),
            false => Bytes::from(text.replace(that, this)),
        };
        Ok(Response::from_parts(parts, text))
    }
    .boxed()
}
