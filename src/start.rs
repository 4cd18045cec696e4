//! EDGE: from a parsed command to running parts: logging, the runtime, signals, and which
//! daemon is meant.

use std::collections::BTreeSet;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustix::thread::disable_transparent_huge_pages;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::acme;
use crate::ask;
use crate::bootstrap::{Bootstrap, XdsAddress};
use crate::check;
use crate::compare;
use crate::config::{
    self, AccessLog, AcmeAction, AcmeOptions, BootstrapOptions, CheckOptions, DaemonOptions,
    DemoOptions, DiffOptions, HealthChecks, HealthOptions, LogFormat, ManOptions, RemoteLogin,
    RunCommand, RunOptions, SOCKETS, StatusOptions,
};
use crate::dry_run::{self, Printed};
use crate::envoy::{self, Attended};
use crate::gateway::{Downstream, Policy};
use crate::opensvc::Daemon;
use crate::opensvc::h2::H2;
use crate::opensvc::local::Local;
use crate::opensvc::tls::{Access, Login, Password, Server};
use crate::run::{self, Settings};
use crate::xds::diff::Style;

/// Why a command failed, in one line.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The runtime or a signal handler could not be set up.
    #[error("cannot start: {0}")]
    Start(#[from] io::Error),
    /// The controller failed.
    #[error(transparent)]
    Run(#[from] run::Error),
    /// Two states could not be compared.
    #[error(transparent)]
    Compare(#[from] compare::Error),
    /// A running controller could not be asked.
    #[error(transparent)]
    Ask(#[from] ask::Error),
    /// A command of `osvc-igw acme` failed.
    #[error(transparent)]
    Acme(#[from] acme::Error),
    /// The demo failed.
    #[error(transparent)]
    Demo(#[from] crate::demo::Error),
    /// An Envoy of its own failed, or a controller is not well.
    #[error(transparent)]
    Envoy(#[from] envoy::Error),
    /// Configurations could not be checked.
    #[error(transparent)]
    Check(#[from] check::act::Error),
    /// There is no page for a command that there is not.
    #[error("there is no command {0:?}")]
    NoCommand(String),
    /// The bootstrap could not be written.
    #[error("cannot write to --output {}: {source}", file.display())]
    Output {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Pages could not be written.
    #[error("cannot write to --folder {}: {source}", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What runs did not end in time when it was told to.
    #[error("did not stop within {0} s")]
    Slow(u64),
    /// What failed is in the log, which is read by a program.
    #[error("the log says why")]
    Logged,
}

/// `osvc-igw run`: serves until SIGTERM or SIGINT.
///
/// # Errors
/// When it cannot start, or a part of it ends by itself.
pub fn run(command: RunCommand) -> Result<(), Error> {
    let format = command.run.log.log_format;
    log_with(format, LevelFilter::INFO);
    match (serve(&command), format) {
        (Err(error), LogFormat::Json) => {
            error!(%error, "ended");
            Err(Error::Logged)
        }
        (result, _) => result,
    }
}

fn serve(command: &RunCommand) -> Result<(), Error> {
    let options = &command.run;
    // A child would inherit it, and Envoy is not for this process to judge.
    if command.envoy.envoy.is_none() {
        without_huge_pages();
    }
    let (first, beside) = threads(options.worker_threads)?;
    let settings = || Settings {
        threads: beside.iter().map(|it| it.handle().clone()).collect(),
        ..settings(options)
    };
    first.block_on(async {
        let stop = CancellationToken::new();
        info!(gateway = options.gateway.name, "starting");
        let daemon = daemon(&options.daemon);
        if command.dry_run {
            let printed = match options.log.log_format {
                LogFormat::Text => Printed::Text(style(io::stdout().is_terminal())),
                LogFormat::Json => Printed::Json,
            };
            let policy = settings().policy;
            let task = dry_run::run(policy, daemon, printed, io::stdout(), stop.clone());
            return until_signal(task, stop, STOP_MAX).await;
        }
        let Some(attended) = attended(command) else {
            let task = run::run(settings(), daemon, stop.clone());
            return until_signal(task, stop, STOP_MAX).await;
        };
        let longest = STOP_MAX.saturating_add(attended.drain);
        let task = with_envoy(settings(), daemon, attended, stop.clone());
        until_signal(task, stop, longest).await
    })
}

/// `osvc-igw diff`: prints what differs; returns whether anything does.
///
/// # Errors
/// When one of the states cannot be had, or nobody reads what is printed.
pub fn diff(options: &DiffOptions) -> Result<bool, Error> {
    let DiffOptions { run, sides } = options;
    log_with(run.log.log_format, LevelFilter::ERROR);
    let policy = settings(run).policy;
    let admin = run.admin_address.to_string();
    let compared = runtime()?.block_on(compare::compare(
        sides,
        &admin,
        || daemon(&run.daemon),
        &policy,
        style(sides.paints(io::stdout().is_terminal())),
    ))?;
    let mut errors = io::stderr().lock();
    for note in compared.notes {
        writeln!(errors, "osvc-igw: {note}")?;
    }
    io::stdout().lock().write_all(compared.text.as_bytes())?;
    Ok(compared.differs)
}

fn style(paints: bool) -> Style {
    match paints {
        true => Style::Colour,
        false => Style::Plain,
    }
}

/// The controller beside an Envoy of its own: whichever ends first ends the other, and the
/// controller answers until Envoy is drained.
async fn with_envoy(
    settings: Settings,
    daemon: Arc<dyn Daemon>,
    attended: Attended,
    stop: CancellationToken,
) -> Result<(), Error> {
    let serving = CancellationToken::new();
    let attend = async {
        let result = envoy::attend(attended, stop.clone()).await;
        serving.cancel();
        result
    };
    let serve = async {
        let result = run::run(settings, daemon, serving.clone()).await;
        stop.cancel();
        result
    };
    let (attended, served) = tokio::join!(attend, serve);
    served?;
    Ok(attended?)
}

/// The Envoy to start, where one is named.
fn attended(command: &RunCommand) -> Option<Attended> {
    let program = command.envoy.envoy.clone()?;
    let bootstrap = bootstrap_of(&BootstrapOptions {
        gateway: command.run.gateway.clone(),
        node_id: None,
        over_socket: false,
        output: None,
    });
    Some(Attended {
        program,
        bootstrap,
        drain: command.envoy.drain_time,
    })
}

/// `osvc-igw health`.
///
/// # Errors
/// When the controller is not well.
pub fn health(options: HealthOptions) -> Result<(), Error> {
    Ok(runtime()?.block_on(envoy::health(options))?)
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
        let ways = (acme::door(&options.door), acme::reach(&options.door));
        let acted = acme::act(action, ways, daemon, stop.clone());
        let task = async {
            text = acted.await?;
            Ok::<(), acme::Error>(())
        };
        until_signal(task, stop, STOP_MAX).await
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
        until_signal(task, stop, STOP_MAX).await
    })
}

/// `osvc-igw bootstrap`: Envoy's configuration, in YAML, where it is to be printed.
///
/// # Errors
/// When it cannot be written to the file that is named.
pub fn bootstrap(options: &BootstrapOptions) -> Result<String, Error> {
    let yaml = crate::bootstrap::yaml(&bootstrap_of(options));
    let Some(file) = &options.output else {
        return Ok(yaml);
    };
    std::fs::write(file, yaml).map_err(|source| Error::Output {
        file: file.clone(),
        source,
    })?;
    Ok(String::new())
}

fn bootstrap_of(options: &BootstrapOptions) -> Bootstrap {
    let gateway = &options.gateway;
    let xds = match gateway.janitor_socket.path() {
        Some(path) if options.over_socket => XdsAddress::Unix(path.display().to_string()),
        _ => XdsAddress::Tcp {
            host: gateway.bind.to_string(),
            port: gateway.port,
        },
    };
    Bootstrap {
        node_id: options
            .node_id
            .clone()
            .unwrap_or_else(|| gateway.name.clone()),
        node_cluster: gateway.name.clone(),
        xds,
        admin: ([127, 0, 0, 1], gateway.envoy_port).into(),
    }
}

/// `osvc-igw check`: returns what there is to print, and whether problems were found.
///
/// # Errors
/// When nothing can be said of the configurations.
pub fn check(options: CheckOptions) -> Result<(String, bool), Error> {
    Ok(runtime()?.block_on(check::act::act(options))?)
}

/// `osvc-igw man`: the page to print, where one is to be printed.
///
/// # Errors
/// Where there is no such command, or a page cannot be written.
pub fn man(options: &ManOptions) -> Result<String, Error> {
    let Some(folder) = &options.folder else {
        let words = options.command.join(" ");
        let page = config::man_page(&options.command);
        return Ok(page.ok_or(Error::NoCommand(words))?.text);
    };
    let written = std::fs::create_dir_all(folder).and_then(|()| {
        let mut pages = config::man_pages().into_iter();
        pages.try_for_each(|page| std::fs::write(folder.join(page.file), page.text))
    });
    written.map_err(|source| Error::Folder {
        folder: folder.clone(),
        source,
    })?;
    Ok(String::new())
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
            scoped_routes_above: options.defaults.scoped_routes_above(),
            secrets_of: secrets_of(options),
            port_range: options.port_range.min..=options.port_range.max,
            challenge_port: options.door.acme_http_port,
            challenge_tls_port: options.door.acme_https_port,
            reserved_ports: reserved_ports(options),
        },
        xds_address: (options.gateway.bind, options.gateway.port).into(),
        xds_socket: options.gateway.janitor_socket.path().cloned(),
        streams_max: options.max_workers as usize,
        threads: Vec::new(),
        admin_address: options.admin_address,
        state_dir: options.state_dir.clone(),
        acme: options
            .acme
            .then(|| (acme::door(&options.door), acme::reach(&options.door))),
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

/// As many threads as asked for: the first, and those beside it. Each is a runtime of its own:
/// those that share one wake each other at each event, to look for work that there is not.
fn threads(count: u16) -> io::Result<(Runtime, Vec<Runtime>)> {
    let one = || {
        let mut one = Builder::new_multi_thread();
        one.worker_threads(1).enable_all().build()
    };
    Ok((one()?, (1..count).map(|_| one()).collect::<Result<_, _>>()?))
}

/// Where the kernel backs all memory with huge pages, each part of the heap that was ever used
/// would take two megabytes.
fn without_huge_pages() {
    if let Err(error) = disable_transparent_huge_pages(true) {
        warn!(%error, "the kernel may back the heap with huge pages");
    }
}

/// Runs `task`; a signal cancels `stop`, and the task then has a bounded time to end.
async fn until_signal<E>(
    task: impl Future<Output = Result<(), E>>,
    stop: CancellationToken,
    longest: Duration,
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
        () = tokio::time::sleep(longest) => Err(Error::Slow(longest.as_secs())),
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
        .with_writer(io::stderr);
    let ansi = io::stderr().is_terminal();
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
