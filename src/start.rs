//! EDGE: from a parsed command to running parts: logging, the runtime, signals, and which
//! daemon is meant.

use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::acme;
use crate::ask;
use crate::bootstrap::{Bootstrap, XdsAddress};
use crate::config::{
    AccessLog, AcmeAction, AcmeOptions, BootstrapOptions, DaemonOptions, DemoOptions, HealthChecks,
    LogFormat, RemoteLogin, RunOptions, SOCKETS, StatusOptions,
};
use crate::gateway::{Downstream, Policy};
use crate::opensvc::Daemon;
use crate::opensvc::h2::H2;
use crate::opensvc::local::Local;
use crate::opensvc::tls::{Access, Login, Password, Server};
use crate::run::{self, Settings};

/// Why a command failed, in one line.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The runtime or a signal handler could not be set up.
    #[error("cannot start: {0}")]
    Start(#[from] std::io::Error),
    /// The controller failed.
    #[error(transparent)]
    Run(#[from] run::Error),
    /// A running controller could not be asked.
    #[error(transparent)]
    Ask(#[from] ask::Error),
    /// A command of `osvc-igw acme` failed.
    #[error(transparent)]
    Acme(#[from] acme::Error),
    /// The demo failed.
    #[error(transparent)]
    Demo(#[from] crate::demo::Error),
    /// What runs did not end in time when it was told to.
    #[error("did not stop within {} s", STOP_MAX.as_secs())]
    Slow,
    /// What failed is in the log, which is read by a program.
    #[error("the log says why")]
    Logged,
}

/// `osvc-igw run`: serves until SIGTERM or SIGINT.
///
/// # Errors
/// When it cannot start, or a part of it ends by itself.
pub fn run(options: RunOptions) -> Result<(), Error> {
    let format = options.log.log_format;
    log_with(format, LevelFilter::INFO);
    match (serve(&options), format) {
        (Err(error), LogFormat::Json) => {
            error!(%error, "ended");
            Err(Error::Logged)
        }
        (result, _) => result,
    }
}

fn serve(options: &RunOptions) -> Result<(), Error> {
    runtime()?.block_on(async {
        let stop = CancellationToken::new();
        info!(gateway = options.gateway.name, "starting");
        let daemon = daemon(&options.daemon);
        let task = run::run(settings(options), daemon, stop.clone());
        until_signal(task, stop).await
    })
}

/// `osvc-igw status`.
///
/// # Errors
/// When no controller answers.
pub fn status(options: StatusOptions) -> Result<(), Error> {
    Ok(runtime()?.block_on(ask::status(options))?)
}

/// `osvc-igw acme`: returns what there is to print.
///
/// # Errors
/// When it could not be done.
pub fn acme(action: AcmeAction, options: &AcmeOptions) -> Result<String, Error> {
    let level = match action {
        AcmeAction::Run => LevelFilter::INFO,
        _ => LevelFilter::WARN,
    };
    log_with(options.log.log_format, level);
    let mut text = String::new();
    runtime()?.block_on(async {
        let stop = CancellationToken::new();
        let daemon = daemon(&options.daemon);
        let acted = acme::act(action, acme::door(&options.door), daemon, stop.clone());
        let task = async {
            text = acted.await?;
            Ok::<(), acme::Error>(())
        };
        until_signal(task, stop).await
    })?;
    Ok(text)
}

/// `osvc-igw demo`.
///
/// # Errors
/// When a part of it fails, or with `--check` when an answer is not as it should be.
pub fn demo(options: DemoOptions) -> Result<(), Error> {
    log_with(LogFormat::Text, LevelFilter::WARN);
    runtime()?.block_on(async {
        let stop = CancellationToken::new();
        let task = crate::demo::demo(options, stop.clone());
        until_signal(task, stop).await
    })
}

/// `osvc-igw bootstrap`: Envoy's configuration, in YAML.
pub fn bootstrap(options: &BootstrapOptions) -> String {
    let gateway = &options.gateway;
    let xds = match gateway.janitor_socket.path() {
        Some(path) if options.over_socket => XdsAddress::Unix(path.display().to_string()),
        _ => XdsAddress::Tcp {
            host: gateway.bind.to_string(),
            port: gateway.port,
        },
    };
    crate::bootstrap::yaml(&Bootstrap {
        node_id: options
            .node_id
            .clone()
            .unwrap_or_else(|| gateway.name.clone()),
        node_cluster: gateway.name.clone(),
        xds,
        admin: ([127, 0, 0, 1], gateway.envoy_port).into(),
    })
}

fn settings(options: &RunOptions) -> Settings {
    Settings {
        policy: Policy {
            gateway_name: options.gateway.name.clone(),
            downstream: Downstream {
                xff_trusted_hops: options.defaults.xff_trusted_hops,
                access_log: options.defaults.access_log == AccessLog::Json,
            },
            health_checks: options.defaults.health_checks == HealthChecks::Tcp,
            hold_down: options.defaults.hold_down,
            secrets_of: secrets_of(options),
            port_range: options.port_range.min..=options.port_range.max,
            challenge_port: options.door.acme_http_port,
            reserved_ports: reserved_ports(options),
        },
        xds_address: (options.gateway.bind, options.gateway.port).into(),
        xds_socket: options.gateway.janitor_socket.path().cloned(),
        streams_max: options.max_workers as usize,
        admin_address: options.admin_address,
        state_dir: options.state_dir.clone(),
        acme: options.acme.then(|| acme::door(&options.door)),
    }
}

fn secrets_of(options: &RunOptions) -> BTreeSet<String> {
    let names = options.defaults.allow_secrets_of.iter();
    let names = names.map(|name| name.trim().to_owned());
    names.filter(|name| !name.is_empty()).collect()
}

/// What the controller, Envoy's admin pages and the agent listen on.
fn reserved_ports(options: &RunOptions) -> BTreeSet<u16> {
    let own = [
        options.gateway.port,
        options.gateway.envoy_port,
        options.admin_address.port(),
    ];
    own.into_iter().chain(AGENT_PORTS).collect()
}

/// The daemon that is meant.
fn daemon(options: &DaemonOptions) -> Arc<dyn Daemon> {
    let Some(remote) = &options.remote else {
        let sockets = daemon_sockets(options);
        info!(?sockets, "following");
        return Arc::new(Local::first_of(sockets));
    };
    let servers = remote.servers.iter().map(|server| Server {
        host: server.host.clone(),
        port: server.port,
    });
    let servers: Vec<Server> = servers.collect();
    info!(?servers, "following");
    let login = match remote.login.clone() {
        RemoteLogin::Certificate(chain, key) => Login::Certificate { chain, key },
        RemoteLogin::Token(file) => Login::Token(file),
        RemoteLogin::PasswordFile(user, file) => Login::Password {
            user,
            password: Password::File(file),
        },
        RemoteLogin::Password(user, password) => Login::Password {
            user,
            password: Password::Given(password),
        },
    };
    let ca = remote.ca.clone();
    Arc::new(H2::at_servers(servers, Access { ca, login }))
}

/// The one that is named, else those where it is by tradition.
fn daemon_sockets(options: &DaemonOptions) -> Vec<PathBuf> {
    match options.socket.as_ref().or(options.agent_socket.as_ref()) {
        Some(path) => vec![path.clone()],
        None => SOCKETS.map(PathBuf::from).to_vec(),
    }
}

fn runtime() -> Result<Runtime, Error> {
    Ok(Builder::new_multi_thread().enable_all().build()?)
}

/// Runs `task`; a signal cancels `stop`, and the task then has a bounded time to end.
async fn until_signal<E>(
    task: impl Future<Output = Result<(), E>>,
    stop: CancellationToken,
) -> Result<(), Error>
where
    Error: From<E>,
{
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let wait = async |terminate: &mut Signal, interrupt: &mut Signal| {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    };
    tokio::pin!(task);
    let name = tokio::select! {
        result = &mut task => return Ok(result?),
        name = wait(&mut terminate, &mut interrupt) => name,
    };
    info!(signal = name, "stopping");
    stop.cancel();
    tokio::select! {
        result = task => Ok(result?),
        () = tokio::time::sleep(STOP_MAX) => Err(Error::Slow),
    }
}

/// The level can be set with `RUST_LOG`. Where lines are to be JSON, every line is.
fn log_with(format: LogFormat, level: LevelFilter) {
    let directives = std::env::var_os(EnvFilter::DEFAULT_ENV).unwrap_or_default();
    let directives = directives.to_string_lossy();
    let filter = || EnvFilter::builder().with_default_directive(level.into());
    let (filter, bad) = match filter().parse(&directives) {
        Ok(filter) => (filter, None),
        Err(error) => (filter().parse_lossy(""), Some(error)),
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let ansi = std::io::stderr().is_terminal();
    match format {
        LogFormat::Text => builder.with_target(false).with_ansi(ansi).init(),
        LogFormat::Json => {
            builder.json().flatten_event(true).init();
            std::panic::set_hook(Box::new(|panic| error!(%panic, "this program is broken")));
        }
    }
    if let Some(error) = bad {
        warn!(%error, %directives, "RUST_LOG cannot be read and has no effect");
    }
}

/// The agent's listener and its TLS listener, by default.
const AGENT_PORTS: [u16; 2] = [1_214, 1_215];
/// How long everything may take to end after a signal.
const STOP_MAX: Duration = Duration::from_secs(4);
