//! A real Envoy as a child process.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::{Error, write};
use crate::bootstrap::{self, Bootstrap};

/// A running Envoy; killed when dropped.
pub struct Envoy {
    child: Child,
    log: PathBuf,
}

impl Envoy {
    /// Starts `binary` with the bootstrap, which is written to `folder` with Envoy's log.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(binary: &Path, bootstrap: &Bootstrap, folder: &Path) -> Result<Self, Error> {
        let config = folder.join("envoy.yaml");
        write(&config, &bootstrap::yaml(bootstrap))?;
        let log = folder.join("envoy.log");
        let out = std::fs::File::create(&log).map_err(Error::io("write Envoy's log"))?;
        let child = Command::new(binary)
            .arg("--config-path")
            .arg(&config)
            .args(["--disable-hot-restart", "--concurrency", "2"])
            .args(["--log-level", "warning", "--drain-time-s", "5"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(out)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| {
                let binary = binary.display();
                let hint = "examples/demo.sh sets one up; --envoy names another";
                Error::Envoy(format!("{binary} cannot be started: {error} ({hint})"))
            })?;
        Ok(Self { child, log })
    }

    /// Waits for its end, which should not come by itself; returns the reason.
    pub async fn ended(&mut self) -> String {
        let status = match self.child.wait().await {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        };
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let last = lines[lines.len().saturating_sub(LOG_LINES)..].join("\n");
        format!("ended ({status}); its log ends with:\n{last}")
    }

    /// Ends it.
    pub async fn stop(mut self) {
        let _ = self.child.start_kill();
        let _ = timeout(STOP_MAX, self.child.wait()).await;
    }
}

const LOG_LINES: usize = 20;
const STOP_MAX: Duration = Duration::from_secs(2);
