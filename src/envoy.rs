//! EDGE: an Envoy as a child of the controller, for a gateway that is one process to others: it is
//! started, started again when it ends, and drained before the end. What it serves comes over xDS,
//! as for any other Envoy. And the question whether a controller is well.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::backoff::Backoff;
use crate::bootstrap::{self, Bootstrap};
use crate::clock;
use crate::config::HealthOptions;

/// Which Envoy is started, and how it ends.
#[derive(Clone, Debug)]
pub struct Attended {
    /// The program.
    pub program: PathBuf,
    /// What it starts with.
    pub bootstrap: Bootstrap,
    /// How long its connections may take to end.
    pub drain: Duration,
}

/// What went wrong with it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be started at all.
    #[error("cannot start --envoy {}: {source}", program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The client for its admin pages cannot be made.
    #[error("cannot make an HTTP client: {0}")]
    Client(#[from] reqwest::Error),
    /// A controller does not answer as it should.
    #[error("{url}: {reason}")]
    Unwell {
        /// What was asked.
        url: String,
        /// What came back.
        reason: String,
    },
}

/// Keeps an Envoy running until `stop`, then drains it. Returns when it has ended.
///
/// # Errors
/// When it cannot be started. One that ends by itself is started again, later each time.
pub async fn attend(attended: Attended, stop: CancellationToken) -> Result<(), Error> {
    let http = client()?;
    let mut backoff = Backoff::new(RESTART_FIRST, RESTART_MAX, u64::from(std::process::id()));
    loop {
        let mut child = start(&attended)?;
        let started = clock::now();
        info!(program = %attended.program.display(), pid = child.id(), "Envoy started");
        tokio::select! {
            status = child.wait() => {
                if started.elapsed() > STEADY {
                    backoff.reset();
                }
                let delay = backoff.next_delay();
                let status = status.map_or_else(|error| error.to_string(), |it| it.to_string());
                warn!(%status, ?delay, "Envoy ended; it is started again");
                tokio::select! {
                    () = sleep(delay) => {}
                    () = stop.cancelled() => return Ok(()),
                }
            }
            () = stop.cancelled() => {
                drain(&attended, &http, &mut child).await;
                return Ok(());
            }
        }
    }
}

fn start(attended: &Attended) -> Result<Child, Error> {
    Command::new(&attended.program)
        .arg("--config-yaml")
        .arg(bootstrap::yaml(&attended.bootstrap))
        .args(["--disable-hot-restart", "--log-level", "warning"])
        .arg("--drain-time-s")
        .arg(attended.drain.as_secs().max(1).to_string())
        .stdin(Stdio::null())
        // A Ctrl-C of a terminal is for the controller alone, which then drains.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|source| Error::Start {
            program: attended.program.clone(),
            source,
        })
}

/// Tells clients to go elsewhere, waits until they have or it was long enough, and ends it.
async fn drain(attended: &Attended, http: &reqwest::Client, child: &mut Child) {
    let admin = attended.bootstrap.admin;
    let post = async |path: &str| {
        let request = http.post(format!("http://{admin}{path}"));
        request.send().await.map(|_| ())
    };
    // Load balancers in front ask for its health; HTTP clients are told with each answer.
    let told = async {
        post("/healthcheck/fail").await?;
        post("/drain_listeners?graceful&skip_exit").await
    };
    if let Err(error) = told.await {
        warn!(%error, "Envoy cannot be drained");
    } else {
        info!(longest = ?attended.drain, "draining Envoy");
        let empty = async {
            while connections(http, admin).await != Some(0) {
                sleep(DRAIN_LOOK).await;
            }
        };
        tokio::select! {
            () = sleep(attended.drain) => info!("Envoy has connections left"),
            () = empty => {}
            _ = child.wait() => return,
        }
    }
    let quit = post("/quitquitquit").await.is_ok();
    if !quit || timeout(QUIT_MAX, child.wait()).await.is_err() {
        let _ = child.kill().await;
    }
}

/// How many clients Envoy has, those of its admin pages apart.
async fn connections(http: &reqwest::Client, admin: SocketAddr) -> Option<u64> {
    let url = format!("http://{admin}/stats?filter=downstream_cx_active$");
    let page = http.get(url).send().await.ok()?.text().await.ok()?;
    let lines = page.lines().filter_map(|line| line.split_once(": "));
    let listeners = lines.filter(|(name, _)| {
        name.starts_with("listener.")
            && !name.starts_with("listener.admin.")
            && !name.contains(".worker_")
    });
    Some(
        listeners
            .filter_map(|(_, count)| count.parse::<u64>().ok())
            .sum(),
    )
}

/// `osvc-igw health`: whether a controller answers on its admin pages.
///
/// # Errors
/// When it does not, or is not ready and that was asked.
pub async fn health(options: HealthOptions) -> Result<(), Error> {
    let mut address = options.admin_address;
    // What listens everywhere is asked here.
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    let page = if options.ready { "readyz" } else { "healthz" };
    let url = format!("http://{address}/{page}");
    let unwell = |reason: String| Error::Unwell {
        url: url.clone(),
        reason,
    };
    let answer = client()?.get(&url).send().await;
    let answer = answer.map_err(|error| {
        let reason = match error.is_timeout() {
            true => "no answer in time",
            false => "nobody answers",
        };
        unwell(reason.to_owned())
    })?;
    let status = answer.status();
    if status.is_success() {
        return Ok(());
    }
    let text = answer.text().await.unwrap_or_default();
    let line = text.lines().next().unwrap_or_default().to_owned();
    Err(unwell(format!("{}: {line}", status.as_u16())))
}

fn client() -> Result<reqwest::Client, reqwest::Error> {
    let client = reqwest::Client::builder().no_proxy().timeout(ANSWER_MAX);
    client.build()
}

const ANSWER_MAX: Duration = Duration::from_secs(3);
const RESTART_FIRST: Duration = Duration::from_millis(500);
const RESTART_MAX: Duration = Duration::from_secs(30);
/// One that ran for so long works.
const STEADY: Duration = Duration::from_secs(60);
const DRAIN_LOOK: Duration = Duration::from_millis(100);
const QUIT_MAX: Duration = Duration::from_secs(2);
