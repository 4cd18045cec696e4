//! A real Envoy as a child process: found, started, asked, and ended with the test.
//!
//! No test is skipped for want of an Envoy: it fails, and says what to run.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use osvc_igw::bootstrap::{self, Bootstrap};
use serde_json::Value;
use tokio::time;

use super::folder::Folder;

/// A running Envoy. Dropping it kills the process; a failing test shows its log.
pub(crate) struct Envoy {
    child: Child,
    folder: Folder,
    admin: String,
    http: reqwest::Client,
}

impl Envoy {
    /// Starts an Envoy with the arguments that suit a test, and waits for its admin interface.
    ///
    /// A `bootstrap.admin` with port 0 takes a free port.
    pub(crate) async fn start(bootstrap: &Bootstrap) -> Self {
        Self::start_with(bootstrap, &["--drain-time-s", "3", "--log-level", "warn"]).await
    }

    /// Like `start`, with other arguments than its own.
    pub(crate) async fn start_with(bootstrap: &Bootstrap, arguments: &[&str]) -> Self {
        Self::start_yaml(&bootstrap::yaml(bootstrap), arguments).await
    }

    /// Like `start_with`, with the text of a bootstrap.
    pub(crate) async fn start_yaml(bootstrap: &str, arguments: &[&str]) -> Self {
        let folder = Folder::new("envoy");
        let config = folder.write("envoy.yaml", bootstrap);
        let log = File::create(folder.0.join("envoy.log")).expect("a log file");
        let child = Command::new(binary())
            .args(["--concurrency", "1", "--disable-hot-restart", "-c"])
            .arg(config)
            .arg("--admin-address-path")
            .arg(folder.0.join("admin"))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn()
            .expect("Envoy starts");
        // reqwest asks for a TLS provider even where it speaks plain HTTP; it may be set already.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(START_MAX)
            .build();
        let http = http.expect("an HTTP client");
        let mut envoy = Self {
            child,
            folder,
            admin: String::new(),
            http,
        };
        time::timeout(START_MAX, envoy.answers())
            .await
            .expect("Envoy's admin answers in time");
        envoy
    }

    async fn answers(&mut self) {
        loop {
            if let Some(status) = self.child.try_wait().expect("a child of ours") {
                panic!("Envoy ended at once: {status}");
            }
            self.admin = fs::read_to_string(self.folder.0.join("admin")).unwrap_or_default();
            let url = format!("http://{}/server_info", self.admin);
            if !self.admin.is_empty() && self.http.get(url).send().await.is_ok() {
                return;
            }
            time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The process id, to send it a signal.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// What Envoy has logged so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.0.join("envoy.log")).unwrap_or_default()
    }

    /// Where the admin interface is: `127.0.0.1:9901`.
    pub(crate) fn admin(&self) -> &str {
        &self.admin
    }

    /// GETs a page of the admin interface, for example `/clusters`.
    pub(crate) async fn text(&self, path: &str) -> String {
        let url = format!("http://{}{path}", self.admin);
        let answer = self
            .http
            .get(&url)
            .send()
            .await
            .expect("Envoy's admin answers");
        assert!(answer.status().is_success(), "{url}: {}", answer.status());
        answer.text().await.expect("a whole answer")
    }

    /// GETs a JSON page of the admin interface, for example `/config_dump`.
    pub(crate) async fn json(&self, path: &str) -> Value {
        serde_json::from_str(&self.text(path).await).expect("JSON")
    }

    /// A counter or gauge; `None` while Envoy has not made it yet.
    pub(crate) async fn stat(&self, name: &str) -> Option<u64> {
        let text = self.text("/stats").await;
        let mut lines = text.lines().filter_map(|line| line.split_once(": "));
        lines
            .find(|(found, _)| *found == name)
            .and_then(|(_, value)| value.parse().ok())
    }
}

impl Drop for Envoy {
    #[expect(
        clippy::print_stderr,
        reason = "the test harness shows it with the failure"
    )]
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!(
                "---- Envoy's log ----\n{}---- end of Envoy's log ----",
                self.log()
            );
        }
    }
}

/// Lets Envoy judge a bootstrap without serving it; the error is what Envoy printed.
pub(crate) fn validate(yaml: &str) -> Result<(), String> {
    let folder = Folder::new("envoy");
    let output = Command::new(binary())
        .args(["--mode", "validate", "-c"])
        .arg(folder.write("envoy.yaml", yaml))
        .stdin(Stdio::null())
        .output()
        .expect("Envoy starts");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() {
        Ok(())
    } else {
        Err(text)
    }
}

/// Where the real Envoy is: `$ENVOY`, else what tests/run.sh has set up, else on the path.
pub(crate) fn binary() -> PathBuf {
    if let Some(named) = env::var_os("ENVOY") {
        let named = PathBuf::from(named);
        assert!(
            named.is_file(),
            "$ENVOY is {}, which is no file",
            named.display()
        );
        return named;
    }
    let set_up = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/venv/bin/envoy");
    let path = env::var_os("PATH").unwrap_or_default();
    let on_path = env::split_paths(&path).map(|folder| folder.join("envoy"));
    [set_up]
        .into_iter()
        .chain(on_path)
        .find(|file| file.is_file())
        .expect(
            "this test needs a real Envoy: run tests/run.sh, which sets one up, \
         or name one in $ENVOY",
        )
}

/// Long enough for a machine that is busy with other tests.
const START_MAX: Duration = Duration::from_secs(30);
