//! The options about an Envoy that the controller starts itself, and about asking whether a
//! controller is well.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgMatches, Args};

use super::{RunOptions, Usage, checked};

/// Options of `osvc-igw run`.
#[derive(Args, Clone, Debug, PartialEq)]
pub struct RunCommand {
    /// What is served, and where.
    #[command(flatten)]
    pub run: RunOptions,

    /// An Envoy of its own.
    #[command(flatten, next_help_heading = "An Envoy of its own")]
    pub envoy: EnvoyOptions,

    /// Print what would be pushed, as it happens; serve nothing and write nothing
    #[arg(long, env = "OSVC_IGW_DRY_RUN", help_heading = "Trying")]
    pub dry_run: bool,
}

impl RunCommand {
    /// Checks what options say together.
    pub(super) fn checked(self, matches: &ArgMatches) -> Result<Self, Usage> {
        let run = checked(self.run, matches)?;
        Ok(Self { run, ..self })
    }
}

/// Options of `osvc-igw run` about an Envoy of its own.
#[derive(Args, Clone, Debug, PartialEq)]
pub struct EnvoyOptions {
    /// Start this Envoy too, with the bootstrap that `osvc-igw bootstrap` prints; start it again
    /// when it ends, and drain it on SIGTERM [default: Envoy is started by somebody else]
    #[arg(long, env = "OSVC_IGW_ENVOY", value_name = "PATH")]
    pub envoy: Option<PathBuf>,

    /// How long the connections of that Envoy may take to end on SIGTERM
    #[arg(
        long,
        env = "OSVC_IGW_DRAIN_TIME",
        value_name = "DURATION",
        default_value = "8s",
        value_parser = humantime::parse_duration
    )]
    pub drain_time: Duration,
}

/// Options of `osvc-igw health`.
#[derive(Args, Clone, Debug, PartialEq)]
pub struct HealthOptions {
    /// Where the admin pages are served
    #[arg(
        long,
        env = "OSVC_IGW_ADMIN_ADDRESS",
        value_name = "ADDRESS:PORT",
        default_value = "127.0.0.1:9902"
    )]
    pub admin_address: SocketAddr,

    /// Whether something is served, rather than whether the process answers
    #[arg(long)]
    pub ready: bool,
}
