//! The real binary as a child process: started with options, asked, signalled, restarted.

use std::ffi::OsString;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use osvc_igw::demo::ports;
use serde_json::Value;
use tokio::time::{sleep, timeout};

/// A running `osvc-igw`. Dropping it kills the process; a failing test shows its log.
pub(crate) struct Controller {
    child: Child,
    options: Options,
}

/// Where it listens and what it follows.
#[derive(Clone)]
pub(crate) struct Options {
    pub(crate) daemon: PathBuf,
    pub(crate) xds: SocketAddr,
    pub(crate) xds_socket: PathBuf,
    pub(crate) admin: SocketAddr,
    log: PathBuf,
    extra: Vec<String>,
    environment: Vec<(String, String)>,
    /// What says where the daemon is, in the place of its socket.
    remote: Vec<String>,
}

impl Options {
    /// Free ports, and files in `folder`.
    pub(crate) fn new(folder: &Path) -> Self {
        let free = || SocketAddr::from(([127, 0, 0, 1], ports::free().expect("a free port")));
        Self {
            daemon: folder.join("lsnr.sock"),
            xds: free(),
            xds_socket: folder.join("xds").join("xds.sock"),
            admin: free(),
            log: folder.join("osvc-igw.log"),
            extra: Vec::new(),
            environment: Vec::new(),
            remote: Vec::new(),
        }
    }

    /// Follows another daemon than the one on the socket.
    pub(crate) fn remote(mut self, words: &[&str]) -> Self {
        self.remote = words.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// A variable of the environment.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    fn place(&self) -> Vec<OsString> {
        match self.remote.is_empty() {
            true => vec!["--sock".into(), self.daemon.clone().into()],
            false => self.remote.iter().map(OsString::from).collect(),
        }
    }

    /// More options.
    pub(crate) fn with(mut self, extra: &[&str]) -> Self {
        self.extra
            .extend(extra.iter().map(|word| (*word).to_owned()));
        self
    }
}

impl Controller {
    /// Starts it as the janitor's container did: options only, no command.
    pub(crate) fn start(options: &Options) -> Self {
        let mut log = File::options();
        let log = log
            .append(true)
            .create(true)
            .open(&options.log)
            .expect("a log file");
        let child = Command::new(env!("CARGO_BIN_EXE_osvc-igw"))
            .args(options.place())
            .envs(options.environment.clone())
            .arg("--port")
            .arg(options.xds.port().to_string())
            .arg("--janitor-socket")
            .arg(format!("unix://{}", options.xds_socket.display()))
            .arg("--admin-address")
            .arg(options.admin.to_string())
            .args(["--log-format", "json"])
            .args(&options.extra)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("osvc-igw starts");
        Self {
            child,
            options: options.clone(),
        }
    }

    /// Waits until it has published a snapshot.
    pub(crate) async fn ready(&mut self) {
        let ready = async {
            while self
                .page("/readyz")
                .await
                .is_none_or(|page| page.trim() != "ready")
            {
                let ended = self.child.try_wait().expect("a child of ours");
                assert!(ended.is_none(), "osvc-igw ended: {ended:?}");
                sleep(Duration::from_millis(20)).await;
            }
        };
        let ready = timeout(Duration::from_secs(20), ready).await;
        assert!(
            ready.is_ok(),
            "osvc-igw does not get ready:\n{}",
            self.log()
        );
    }

    /// The process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// A page of the admin interface; `None` while it does not answer.
    pub(crate) async fn page(&self, path: &str) -> Option<String> {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let client = reqwest::Client::builder().no_proxy().build().ok()?;
        let url = format!("http://{}{path}", self.options.admin);
        client.get(url).send().await.ok()?.text().await.ok()
    }

    /// The status page.
    pub(crate) async fn status(&self) -> Value {
        let page = self.page("/status").await.expect("a status page");
        serde_json::from_str(&page).expect("JSON")
    }

    /// Everything it has logged, over all starts.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.options.log).unwrap_or_default()
    }

    /// Sends a signal by name and waits for the end; returns how long it took, too.
    pub(crate) fn signal(&mut self, name: &str) -> (ExitStatus, Duration) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(sent.expect("a kill command").success());
        let since = Instant::now();
        let status = self.child.wait().expect("a child of ours");
        (status, since.elapsed())
    }

    /// Ends it as `name` does and starts it again with the same options.
    pub(crate) fn restart(&mut self, name: &str) {
        self.signal(name);
        let options = self.options.clone();
        *self = Self::start(&options);
    }
}

impl Drop for Controller {
    #[expect(
        clippy::print_stderr,
        reason = "the test harness shows it with the failure"
    )]
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            eprintln!("---- osvc-igw's log ----\n{log}---- end of osvc-igw's log ----");
        }
    }
}
