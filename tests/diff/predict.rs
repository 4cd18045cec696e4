//! What `osvc-igw diff --with` says of a file is what the controller pushes when it is applied:
//! tried on every command of the documented walk-through, before it is carried out.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking, as tests do"
)]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use osvc_igw::demo::stage::{STEPS, Stage, Step};
use osvc_igw::xds::diff::{Diff, Document};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::support::folder::Folder;
use crate::support::rig::Rig;
use crate::support::stand::LATE;

/// The service's file as a reviewer has it in a branch.
#[derive(Default)]
struct Branch(BTreeMap<String, BTreeMap<String, String>>);

impl Branch {
    fn new() -> Self {
        let mut branch = Self::default();
        for kw in [
            "DEFAULT.topology=flex",
            "DEFAULT.orchestrate=ha",
            "ip#1.ipname=127.77.0.1",
            "ip#1.ipdev=lo",
            "ip#1.netmask=8",
        ] {
            branch.set(kw);
        }
        branch
    }

    /// What `om set --kw` does.
    fn set(&mut self, kw: &str) {
        let (place, value) = kw.split_once('=').unwrap();
        let adds = place.ends_with('+');
        let (section, keyword) = place.trim_end_matches('+').split_once('.').unwrap();
        let section = self.0.entry(section.to_owned()).or_default();
        let before = section.entry(keyword.to_owned()).or_default();
        match adds && !before.is_empty() {
            true => before.push_str(&format!(" {value}")),
            false => value.clone_into(before),
        }
    }

    fn take(&mut self, step: &Step, stage: &Stage) {
        let shown = step.shown(&stage.ports).replace(" \\\n", "\n");
        for line in shown
            .lines()
            .filter_map(|line| line.trim().strip_prefix("--kw "))
        {
            self.set(line);
        }
    }

    fn write(&self, folder: &Folder) -> PathBuf {
        let mut text = "# as reviewed\n".to_owned();
        for (section, keywords) in &self.0 {
            text.push_str(&format!("[{section}]\n"));
            for (keyword, value) in keywords {
                text.push_str(&format!("{keyword} = {value}\n"));
            }
        }
        std::fs::create_dir_all(folder.0.join("test/svc")).unwrap();
        folder.write("test/svc/web1.conf", &text)
    }
}

fn diff(rig: &Rig, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_osvc-igw"));
    let command = command.args(["diff", "--format", "json", "--sock"]);
    let command = command.arg(&rig.options.daemon).args(more);
    command.output().unwrap()
}

fn changes(output: &Output) -> Value {
    let told: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {output:?}"));
    told["changes"].clone()
}

async fn served(rig: &Rig) -> Document {
    let page = rig.controller.page("/snapshot").await.unwrap();
    let page: Value = serde_json::from_str(&page).unwrap();
    Document::from_json(&page["resources"]).unwrap()
}

/// Waits until the controller has pushed exactly this.
async fn pushes(rig: &Rig, before: &Document, predicted: &Value) {
    let mut pushed = Value::Null;
    let same = async {
        loop {
            pushed = Diff::of(before, &served(rig).await).to_json()["changes"].clone();
            if pushed == *predicted {
                return;
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    let in_time = timeout(LATE, same).await.is_ok();
    assert!(in_time, "predicted:\n{predicted:#}\npushed:\n{pushed:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_step_of_the_walk_through_does_what_its_file_was_said_to_do() {
    let rig = Rig::bare(&[]).await;
    let folder = Folder::new("branch");
    let mut branch = Branch::new();
    let url = format!("http://{}", rig.envoy.admin());
    for step in STEPS {
        let before = served(&rig).await;
        branch.take(step, &rig.stage);
        let file = branch.write(&folder);
        let file = file.to_str().unwrap();
        let output = diff(&rig, &["--with", file]);
        let predicted = changes(&output);
        let exposes = step.keywords.iter().any(|kw| kw.starts_with("ip#1.expose"));
        let expected = if exposes { 2 } else { 0 };
        assert_eq!(
            output.status.code(),
            Some(expected),
            "{}: {output:?}",
            step.title
        );
        // What an Envoy runs with says the same as what should be served.
        let of_envoy = diff(&rig, &["--with", file, "--envoy", &url]);
        assert_eq!(changes(&of_envoy), predicted, "{}", step.title);
        rig.stage.take(step).unwrap();
        pushes(&rig, &before, &predicted).await;
        rig.synced().await;
    }
    rig.answered().await;
    // Behind the last step nothing is left to do.
    let file = branch.write(&folder);
    let output = diff(&rig, &["--with", file.to_str().unwrap()]);
    assert_eq!(
        (output.status.code(), changes(&output)),
        (Some(0), json!([]))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_for_a_scaler_is_told_for_all_of_its_slaves() {
    let rig = Rig::start().await;
    let folder = Folder::new("branch");
    let mut branch = Branch::new();
    for step in STEPS {
        branch.take(step, &rig.stage);
    }
    branch.set("expose#0.connect_timeout=7s");
    for expose in ["expose#1", "expose#2"] {
        branch.set(&format!("{expose}.connect_timeout=5s"));
    }
    let file = branch.write(&folder);
    let output = diff(&rig, &["--with", file.to_str().unwrap()]);
    let told = changes(&output);
    assert_eq!(told[0]["fields"][0]["path"], "connect_timeout", "{told:#}");
    assert_eq!(told.as_array().unwrap().len(), 1, "{told:#}");
}
