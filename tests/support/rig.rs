//! The whole thing: the walk-through's cluster, the real binary, a real Envoy.

use std::time::Duration;

use osvc_igw::bootstrap::{Bootstrap, XdsAddress};
use osvc_igw::demo::lines::Line;
use osvc_igw::demo::stage::{SERVICE, STEPS, Stage};
use tokio::time::timeout;

use super::controller::{Controller, Options};
use super::envoy::Envoy;
use super::folder::Folder;

/// Everything running. The fields end in this order.
pub(crate) struct Rig {
    pub(crate) lines: Vec<Line>,
    pub(crate) envoy: Envoy,
    pub(crate) controller: Controller,
    pub(crate) stage: Stage,
    pub(crate) options: Options,
    _folder: Folder,
}

impl Rig {
    /// Starts everything, with the walk-through's commands carried out and scaled to 4, and
    /// waits until every line of it is answered.
    pub(crate) async fn start() -> Self {
        let rig = Self::start_with(&[]).await;
        rig.answered().await;
        rig
    }

    /// Like `start`, with more options for the controller, and without waiting for answers.
    pub(crate) async fn start_with(extra: &[&str]) -> Self {
        let mut rig = Self::bare(extra).await;
        for step in STEPS {
            rig.stage.take(step).expect("a step of the walk-through");
        }
        // A machine that is busy with other tests may take longer than the default to connect.
        let exposes = ["expose#0", "expose#1", "expose#2"];
        let patient = exposes.map(|expose| format!("{expose}.connect_timeout=5s"));
        let patient: Vec<&str> = patient.iter().map(String::as_str).collect();
        rig.stage.sim.set(SERVICE, &patient).expect("more time");
        rig.stage.scale(4).await.expect("four instances");
        rig
    }

    /// The daemon, the controller and Envoy, and no service that exposes anything: for tests
    /// that bring services of their own (`stage.sim.create`, `sim::backend::Backend`).
    pub(crate) async fn bare(extra: &[&str]) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let folder = Folder::new("rig");
        let options = Options::new(&folder.0).with(extra);
        let stage = Stage::start(&options.daemon).await.expect("a stage");
        let mut controller = Controller::start(&options);
        controller.ready().await;
        let bootstrap = Bootstrap {
            node_id: "rig".to_owned(),
            node_cluster: "envoy".to_owned(),
            xds: XdsAddress::Tcp {
                host: "127.0.0.1".to_owned(),
                port: options.xds.port(),
            },
            admin: ([127, 0, 0, 1], 0).into(),
        };
        let envoy = Envoy::start(&bootstrap).await;
        let lines = Line::all(&stage, &folder.0).expect("lines");
        Self {
            lines,
            envoy,
            controller,
            stage,
            options,
            _folder: folder,
        }
    }

    /// Waits until Envoy has everything that is served.
    pub(crate) async fn synced(&self) {
        let synced = async {
            loop {
                let status = self.controller.status().await;
                if status["clients"][0]["synced"] == true {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let synced = timeout(Duration::from_secs(20), synced).await;
        assert!(synced.is_ok(), "Envoy does not get everything");
    }

    /// Waits until every line of the walk-through is answered.
    pub(crate) async fn answered(&self) {
        for line in &self.lines {
            let answered = timeout(Duration::from_secs(20), line.answered()).await;
            assert!(answered.is_ok(), "no answer: {}", line.shown());
        }
    }
}
