//! EDGE: the demo. The documented walk-through on one machine: a simulated OpenSVC cluster with
//! real backends, the controller, and a real Envoy as a child process.

pub mod client;
mod cluster;
pub mod envoy;
pub mod lines;
pub mod ports;
pub mod stage;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::bootstrap::{Bootstrap, XdsAddress};
use crate::config::DemoOptions;
use crate::gateway::Policy;
use crate::opensvc::raw::Raw;
use crate::run::{self, Settings};
use envoy::Envoy;
use lines::Line;
use stage::Stage;

/// Why the demo failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something of the system's could not be had.
    #[error("cannot {what}: {source}")]
    Io {
        /// What was being tried.
        what: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The simulated daemon did not do as it was told.
    #[error("the simulated cluster refuses {what}")]
    Refused {
        /// What was being tried.
        what: String,
    },
    /// The controller failed.
    #[error(transparent)]
    Run(#[from] run::Error),
    /// Envoy did not start, or ended.
    #[error("Envoy {0}")]
    Envoy(String),
    /// An answer was not as it should be.
    #[error("check failed: {0}")]
    Check(String),
}

impl Error {
    /// Wraps what the system said.
    pub fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}

/// Runs the demo until stopped, or with `--check` until everything was tried once.
///
/// # Errors
/// When a part fails, or an answer is not as it should be.
pub async fn demo(options: DemoOptions, stop: CancellationToken) -> Result<(), Error> {
    if let Some(folder) = &options.cluster {
        return cluster::cluster(folder, options.seconds, stop).await;
    }
    let folder = Folder::new()?;
    let socket = folder.path.join("lsnr.sock");
    let mut stage = Stage::start(&socket).await?;
    let controller_stop = CancellationToken::new();
    let xds_port = ports::free()?;
    let settings = Settings {
        policy: Policy::default(),
        xds_address: ([127, 0, 0, 1], xds_port).into(),
        xds_socket: Some(folder.path.join("xds.sock")),
        streams_max: 16,
        threads: Vec::new(),
        admin_address: ([127, 0, 0, 1], ports::free()?).into(),
        acme: None,
        state_dir: None,
    };
    let admin = settings.admin_address;
    let controller = run::run(
        settings,
        Arc::new(Raw::new(&socket)),
        controller_stop.clone(),
    );
    let bootstrap = Bootstrap {
        node_id: "demo".to_owned(),
        node_cluster: "envoy".to_owned(),
        xds: XdsAddress::Tcp {
            host: "127.0.0.1".to_owned(),
            port: xds_port,
        },
        admin: ([127, 0, 0, 1], ports::free()?).into(),
    };
    let mut envoy = Envoy::start(&options.envoy, &bootstrap, &folder.path)?;
    let show = async {
        let lines = Line::all(&stage, &folder.path)?;
        say(&format!(
            "OpenSVC daemon  {} (simulated)\nController      http://{admin}/\n\
             Envoy           http://{}/config_dump\n\n",
            socket.display(),
            bootstrap.admin
        ));
        walk_through(&mut stage, &lines).await?;
        if options.check {
            return check(&mut stage, &lines).await;
        }
        keep_scaling(&mut stage, &lines, &options).await
    };
    let result = tokio::select! {
        result = show => result,
        result = controller => result.map_err(Error::from),
        reason = envoy.ended() => Err(Error::Envoy(reason)),
        () = stop.cancelled() => Ok(()),
    };
    controller_stop.cancel();
    envoy.stop().await;
    result
}

/// The commands of the documentation, one after the other, and an answer through each expose.
async fn walk_through(stage: &mut Stage, lines: &[Line]) -> Result<(), Error> {
    for step in stage::STEPS {
        say(&format!("{}\n", step.shown(&stage.ports)));
        stage.take(step)?;
    }
    say("om test/svc/web1 scale --to 4\n\n");
    stage.scale(4).await?;
    let answered = async {
        for line in lines {
            line.answered().await;
        }
    };
    let late = |_| Error::Check("the gateway does not answer within 30 s".to_owned());
    timeout(READY_MAX, answered).await.map_err(late)?;
    for line in lines {
        say(&format!("$ {}\n{}", line.shown(), line.run().await?.body));
    }
    say("\n");
    Ok(())
}

async fn keep_scaling(
    stage: &mut Stage,
    lines: &[Line],
    options: &DemoOptions,
) -> Result<(), Error> {
    say("Try them. The service keeps scaling between 2 and 4 instances; Ctrl-C ends.\n");
    let ended = sleep(Duration::from_secs(options.seconds));
    tokio::pin!(ended);
    for to in [2, 4].into_iter().cycle() {
        let round = async {
            sleep(SCALE_EVERY).await;
            stage.scale(to).await?;
            // What answers is told below, also where it is not what should.
            let _ = lines::expect_instances(&lines[0], usize::try_from(to).unwrap_or(0)).await;
            let seen = lines::instances(&lines[0], 40).await?;
            let seen: Vec<String> = seen.into_iter().collect();
            say(&format!(
                "scale --to {to}: {} answer ({})\n",
                seen.len(),
                seen.join(", ")
            ));
            Ok::<(), Error>(())
        };
        tokio::select! {
            result = round => result?,
            () = &mut ended, if options.seconds > 0 => break,
        }
    }
    Ok(())
}

/// What `--check` tries: every line, four instances after the scale to 4, and a replaced
/// certificate in a handshake.
async fn check(stage: &mut Stage, lines: &[Line]) -> Result<(), Error> {
    for line in lines {
        let answer = line.run().await?;
        line.judge(&answer)?;
        say(&format!("ok: {}\n", line.shown()));
    }
    for line in lines {
        lines::expect_instances(line, 4).await?;
    }
    say("ok: four instances answer\n");
    stage.scale(2).await?;
    lines::expect_instances(&lines[0], 2).await?;
    say("ok: two instances answer after scale --to 2\n");
    let (before, after) = stage.replace_front_certificate()?;
    for line in lines.iter().filter(|line| line.is_tls()) {
        lines::expect_certificate(line, &before, &after).await?;
    }
    say("ok: a replaced certificate is in the handshake\n");
    Ok(())
}

/// A folder for the demo's sockets and files, removed with it.
struct Folder {
    path: PathBuf,
}

impl Folder {
    fn new() -> Result<Self, Error> {
        let name = format!("osvc-igw-demo-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).map_err(Error::io(format!("make {}", path.display())))?;
        Ok(Self { path })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// Writes a file.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), Error> {
    std::fs::write(path, text).map_err(Error::io(format!("write {}", path.display())))
}

/// Prints; a closed pipe ends nothing.
fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// How long Envoy may take to serve the first answers.
const READY_MAX: Duration = Duration::from_secs(30);
const SCALE_EVERY: Duration = Duration::from_secs(5);
