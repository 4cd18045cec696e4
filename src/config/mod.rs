//! The command line: one table of options that makes the parser, `--help`, the environment
//! variables and the README's table. Nothing is read from the environment anywhere else.

mod acme;
mod check;
mod defaults;
mod diff;
mod envoy;
mod manual;
mod server;
mod shell;
mod status;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

pub use acme::{AcmeAction, AcmeOptions, DoorOptions};
pub use check::{CheckFile, CheckFormat, CheckOptions};
pub use defaults::{AccessLog, DefaultOptions, HealthChecks};
pub use diff::{ColorWhen, DiffFormat, DiffOptions, EnvoyUrl, Sides};
pub use envoy::{EnvoyOptions, HealthOptions, RunCommand};
pub use server::{DaemonOptions, Remote, RemoteLogin, ServerOptions, ServerUrl};
pub use shell::{CompletionOptions, ManOptions, ManPage, Shell, completion, man_page, man_pages};
pub use status::{Address, StatusFormat, StatusOptions};

/// What to do, with its options.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Serve.
    Run(Box<RunCommand>),
    /// Get certificates, or tell of them.
    Acme(AcmeAction, Box<AcmeOptions>),
    /// Print Envoy's bootstrap.
    Bootstrap(BootstrapOptions),
    /// Show what a running controller knows.
    Status(StatusOptions),
    /// Tell what would change.
    Diff(Box<DiffOptions>),
    /// Judge service configurations.
    Check(CheckOptions),
    /// Ask whether a running controller is well.
    Health(HealthOptions),
    /// Print a completion script.
    Completion(CompletionOptions),
    /// Print or write manual pages.
    Man(ManOptions),
    /// Show everything working on one machine.
    Demo(DemoOptions),
}

/// osvc-igw: the ingress gateway controller of OpenSVC clusters
///
/// Follows the OpenSVC daemon and serves what services expose to Envoy over delta xDS.
/// Without a command it runs the controller.
#[derive(Debug, Parser)]
#[command(
    name = "osvc-igw",
    version,
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true
)]
struct Cli {
    #[command(subcommand)]
    command: Option<CliCommand>,
    #[command(flatten)]
    run: RunCommand,
}

#[derive(Debug, Subcommand)]
enum CliCommand {
    /// Run the controller (the default)
    Run(Box<RunCommand>),
    /// Get certificates of ACME authorities for sec objects
    #[command(subcommand)]
    Acme(acme::AcmeCommand),
    /// Print the configuration to start Envoy with
    Bootstrap(BootstrapOptions),
    /// Show what a running controller knows: the daemon, each Envoy, problems, certificates
    Status(StatusOptions),
    /// Tell what would change at Envoy, and what that does to traffic; exits with 0 for no
    /// difference, 2 for one, and 1 where it cannot be told
    Diff(Box<DiffOptions>),
    /// Say what is wrong with service configurations, before the cluster has them
    Check(CheckOptions),
    /// Ask whether a running controller answers
    Health(HealthOptions),
    /// Print the script by which a shell completes osvc-igw
    Completion(CompletionOptions),
    /// Print a manual page, or write all of them
    Man(ManOptions),
    /// Run a simulated cluster, its backends, the controller and a real Envoy
    Demo(DemoOptions),
}

/// Options of `osvc-igw run` that say what is served, which `diff` has too.
#[derive(Args, Clone, Debug, PartialEq)]
pub struct RunOptions {
    /// The options that `bootstrap` has too.
    #[command(flatten)]
    pub gateway: GatewayOptions,

    /// Ports to allocate from for `listener_port=0`
    #[arg(
        short = 'r',
        long,
        env = "OSVC_IGW_PORT_RANGE",
        value_name = "MIN-MAX",
        default_value = "1025-65535"
    )]
    pub port_range: PortRange,

    /// Which daemon is followed.
    #[command(flatten, next_help_heading = "The OpenSVC daemon")]
    pub daemon: DaemonOptions,

    /// The most xDS streams at once
    #[arg(
        short = 'w',
        long,
        env = "OSVC_IGW_MAX_WORKERS",
        value_name = "COUNT",
        default_value_t = 256,
        allow_negative_numbers = true,
        value_parser = clap::value_parser!(u32).range(1..=100_000)
    )]
    pub max_workers: u32,

    /// The threads that serve xDS: the first takes all events in and passes them on to the first
    /// few Envoys, those beside it share what more there are
    #[arg(
        long,
        env = "OSVC_IGW_WORKER_THREADS",
        value_name = "COUNT",
        default_value_t = 2,
        allow_negative_numbers = true,
        value_parser = clap::value_parser!(u16).range(1..=256)
    )]
    pub worker_threads: u16,

    /// Where the admin pages are served
    #[arg(
        long,
        env = "OSVC_IGW_ADMIN_ADDRESS",
        value_name = "ADDRESS:PORT",
        default_value = "127.0.0.1:9902"
    )]
    pub admin_address: SocketAddr,

    /// A folder that keeps what was served last, without secrets: a controller that starts while
    /// the OpenSVC daemon is away serves it
    #[arg(long, env = "OSVC_IGW_STATE_DIR", value_name = "FOLDER")]
    pub state_dir: Option<PathBuf>,

    /// What holds for every service that does not say otherwise.
    #[command(flatten, next_help_heading = "What holds for every service")]
    pub defaults: DefaultOptions,

    /// Also be the certificate operator of the cluster: for a single gateway, which has the
    /// rights to write certificates
    #[arg(long, env = "OSVC_IGW_ACME")]
    pub acme: bool,

    /// Where authorities and clients come.
    #[command(flatten, next_help_heading = "Certificates")]
    pub door: DoorOptions,

    /// How log lines are written.
    #[command(flatten, next_help_heading = "Logging")]
    pub log: LogOptions,
}

/// Options about logging.
#[derive(Args, Clone, Copy, Debug, PartialEq)]
pub struct LogOptions {
    /// How log lines are written
    #[arg(
        long,
        env = "OSVC_IGW_LOG_FORMAT",
        value_name = "FORMAT",
        default_value = "text",
        value_enum
    )]
    pub log_format: LogFormat,
}

/// Options that say which gateway this is and where its parts meet.
#[derive(Args, Clone, Debug, PartialEq)]
pub struct GatewayOptions {
    /// This gateway's name: an expose with another `gateway` is not served
    #[arg(
        short = 'n',
        long,
        env = "OSVC_IGW_NAME",
        value_name = "NAME",
        default_value = "envoy"
    )]
    pub name: String,

    /// The port that xDS is served on
    #[arg(
        short = 'p',
        long,
        env = "OSVC_IGW_PORT",
        value_name = "PORT",
        default_value_t = 50051
    )]
    pub port: u16,

    /// The address that xDS is served on
    #[arg(
        long,
        env = "OSVC_IGW_BIND",
        value_name = "ADDRESS",
        default_value = "127.0.0.1"
    )]
    pub bind: IpAddr,

    /// The port of Envoy's admin pages
    #[arg(
        short = 'P',
        long,
        env = "OSVC_IGW_ENVOY_PORT",
        value_name = "PORT",
        default_value_t = 9901,
        allow_negative_numbers = true
    )]
    pub envoy_port: u16,

    /// The unix socket that xDS is served on as well; `none` for none
    #[arg(
        long,
        env = "OSVC_IGW_JANITOR_SOCKET",
        value_name = "unix://PATH",
        default_value = "unix:///var/run/xds/xds.sock"
    )]
    pub janitor_socket: XdsSocket,
}

/// Options of `osvc-igw bootstrap`.
#[derive(Args, Clone, Debug, PartialEq)]
pub struct BootstrapOptions {
    /// The options that `run` has too.
    #[command(flatten)]
    pub gateway: GatewayOptions,

    /// The node id that Envoy gives itself [default: the gateway's name]
    #[arg(long, env = "OSVC_IGW_NODE_ID", value_name = "ID")]
    pub node_id: Option<String>,

    /// Let Envoy reach the controller over the unix socket instead of TCP
    #[arg(long, env = "OSVC_IGW_OVER_SOCKET")]
    pub over_socket: bool,

    /// Write it to this file instead of printing it
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// Options of `osvc-igw demo`.
#[derive(Args, Clone, Debug, PartialEq)]
pub struct DemoOptions {
    /// Run the printed lines, say what each answered, and exit with 0 or 1
    #[arg(long)]
    pub check: bool,

    /// Run the simulated cluster alone, and put into this folder what a gateway of your own needs
    #[arg(long, value_name = "FOLDER", conflicts_with = "check")]
    pub cluster: Option<PathBuf>,

    /// The Envoy to start
    #[arg(long, env = "ENVOY", value_name = "PATH", default_value = "envoy")]
    pub envoy: PathBuf,

    /// End by itself after this many seconds; 0 runs until it is stopped
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub seconds: u64,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines: one JSON object a line.
    Json,
}

/// An inclusive range of ports.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PortRange {
    /// The lowest port.
    pub min: u16,
    /// The highest port.
    pub max: u16,
}

impl FromStr for PortRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let range = text.split_once('-').and_then(|(min, max)| {
            let (min, max) = (min.trim().parse().ok()?, max.trim().parse().ok()?);
            Some(Self { min, max })
        });
        range
            .filter(|range| 0 < range.min && range.min <= range.max)
            .ok_or_else(|| "expected MIN-MAX, two ports from 1 to 65535".to_owned())
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.min, self.max)
    }
}

/// Where xDS is served besides TCP.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum XdsSocket {
    /// On this unix socket.
    Path(PathBuf),
    /// Nowhere.
    None,
}

impl XdsSocket {
    /// The socket's path.
    pub fn path(&self) -> Option<&PathBuf> {
        match self {
            Self::Path(path) => Some(path),
            Self::None => None,
        }
    }
}

impl FromStr for XdsSocket {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let path = text
            .strip_prefix("unix://")
            .or_else(|| text.strip_prefix("unix:"));
        match path.unwrap_or(text) {
            "none" | "" => Ok(Self::None),
            path if path.starts_with('/') => Ok(Self::Path(path.into())),
            _ => Err("expected unix:///absolute/path, or none".to_owned()),
        }
    }
}

/// A command line that cannot be carried out, or help that was asked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Usage {
    /// What to print.
    pub text: String,
    /// 0 for help and version, to standard output; 2 for an error, to standard error, or 1 where
    /// the command has another use for 2.
    pub exit_code: u8,
}

/// Reads a command line, the program's name first, and the environment.
///
/// # Errors
/// A [`Usage`]: help, or one line that names the option.
pub fn parse<I, T>(arguments: I) -> Result<Command, Usage>
where
    I: IntoIterator<Item = T>,
    T: Into<std::ffi::OsString> + Clone,
{
    let arguments: Vec<std::ffi::OsString> = arguments.into_iter().map(Into::into).collect();
    let finds = |word: &std::ffi::OsString| FINDERS.iter().any(|finder| word == finder);
    let finds = arguments.get(1).is_some_and(finds);
    read(arguments).map_err(|usage| match usage.exit_code {
        2 if finds => Usage {
            exit_code: 1,
            ..usage
        },
        _ => usage,
    })
}

/// The commands that end with 2 where they found something. A wrong command line of theirs ends
/// with 1.
const FINDERS: &[&str] = &["check", "diff"];

fn read(arguments: Vec<std::ffi::OsString>) -> Result<Command, Usage> {
    let matches = command().try_get_matches_from(arguments);
    let matches = matches.map_err(|error| usage(&error))?;
    let cli = Cli::from_arg_matches(&matches).map_err(|error| usage(&error))?;
    let inner = matches.subcommand().map_or(&matches, |(_, inner)| inner);
    Ok(match cli.command {
        None => Command::Run(Box::new(cli.run.checked(inner)?)),
        Some(CliCommand::Run(options)) => Command::Run(Box::new(options.checked(inner)?)),
        Some(CliCommand::Acme(command)) => {
            let (action, options) = command.parts();
            let inner = inner.subcommand().map_or(inner, |(_, inner)| inner);
            let daemon = settled(options.daemon, inner)?;
            Command::Acme(action, Box::new(AcmeOptions { daemon, ..options }))
        }
        Some(CliCommand::Bootstrap(options)) => Command::Bootstrap(options),
        Some(CliCommand::Status(options)) => Command::Status(options),
        Some(CliCommand::Diff(options)) => {
            let run = checked(options.run, inner)?;
            Command::Diff(Box::new(DiffOptions { run, ..*options }))
        }
        Some(CliCommand::Check(options)) => Command::Check(options.settled().map_err(wrong)?),
        Some(CliCommand::Health(options)) => Command::Health(options),
        Some(CliCommand::Completion(options)) => Command::Completion(options),
        Some(CliCommand::Man(options)) => Command::Man(options),
        Some(CliCommand::Demo(options)) => Command::Demo(options),
    })
}

/// The command line, with all that is said of it.
fn command() -> clap::Command {
    manual::with_pages(Cli::command())
}

/// Checks what options say together.
fn checked(options: RunOptions, matches: &ArgMatches) -> Result<RunOptions, Usage> {
    let daemon = settled(options.daemon, matches)?;
    Ok(RunOptions { daemon, ..options })
}

fn settled(options: DaemonOptions, matches: &ArgMatches) -> Result<DaemonOptions, Usage> {
    let typed = matches.value_source("password") == Some(ValueSource::CommandLine);
    options.settled(typed).map_err(wrong)
}

fn wrong(line: String) -> Usage {
    Usage {
        text: format!("osvc-igw: {line}\n"),
        exit_code: 2,
    }
}

fn usage(error: &clap::Error) -> Usage {
    let text = error.render().to_string();
    if !error.use_stderr() {
        return Usage { text, exit_code: 0 };
    }
    // clap explains over several lines; what is wrong stands before the first empty one.
    let lines = text.lines().take_while(|line| !line.trim().is_empty());
    let line = lines.map(str::trim).collect::<Vec<_>>().join(" ");
    let line = line.strip_prefix("error: ").unwrap_or(&line);
    wrong(format!("{line}{}", shell::tip(error)))
}

/// The options of `osvc-igw run` as a Markdown table.
pub fn options_table() -> String {
    let mut table = "| option | environment | default | meaning |\n|---|---|---|---|\n".to_owned();
    let command = command();
    let arguments = command.get_arguments().filter(|argument| {
        let name = argument.get_id().as_str();
        !argument.is_hide_set() && !matches!(name, "help" | "version")
    });
    for argument in arguments {
        let short = argument.get_short().map(|short| format!("`-{short}`, "));
        let long = argument.get_long().unwrap_or_default();
        let aliases = argument.get_visible_aliases().unwrap_or_default();
        let aliases: String = aliases
            .iter()
            .map(|alias| format!(", `--{alias}`"))
            .collect();
        let defaults = argument.get_default_values().iter();
        let default: String = defaults
            .map(|value| format!("`{}`", value.to_string_lossy()))
            .collect();
        let env = argument
            .get_env()
            .map(|env| env.to_string_lossy())
            .unwrap_or_default();
        let help = argument
            .get_help()
            .map(ToString::to_string)
            .unwrap_or_default();
        let short = short.unwrap_or_default();
        table += &format!("| {short}`--{long}`{aliases} | `{env}` | {default} | {help} |\n");
    }
    table
}

/// Where the daemon's unix socket is looked for when no option names it.
pub const SOCKETS: [&str; 3] = [
    "/var/lib/opensvc/lsnr/osvcd.sock",
    "/var/run/lsnr/lsnr.sock",
    "/var/lib/opensvc/lsnr/lsnr.sock",
];

#[cfg(test)]
mod tests;
