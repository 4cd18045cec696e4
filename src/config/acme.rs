//! The options that are about certificates of ACME authorities (RFC 8555).

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{DaemonOptions, LogOptions};
use crate::inventory::ObjectPath;

/// Where authorities and clients come.
#[derive(Args, Clone, Debug, PartialEq)]
pub struct DoorOptions {
    /// The port where certificate authorities ask whether a name is served here (HTTP-01)
    #[arg(
        long,
        env = "OSVC_IGW_ACME_HTTP_PORT",
        value_name = "PORT",
        default_value_t = 80,
        value_parser = clap::value_parser!(u16).range(1..)
    )]
    pub acme_http_port: u16,

    /// The port where clients see the certificates, for the operator to look whether they do, and
    /// where authorities ask for one that answers them (TLS-ALPN-01)
    #[arg(
        long,
        env = "OSVC_IGW_ACME_HTTPS_PORT",
        value_name = "PORT",
        default_value_t = 443,
        value_parser = clap::value_parser!(u16).range(1..)
    )]
    pub acme_https_port: u16,

    /// The addresses of the gateways, each of which has to answer before an authority is told to
    /// ask [default: where the name of the certificate leads]
    #[arg(
        long,
        env = "OSVC_IGW_ACME_GATEWAYS",
        value_name = "ADDRESSES",
        value_delimiter = ','
    )]
    pub acme_gateways: Vec<IpAddr>,

    /// The name servers that are asked what the DNS says [default: those of /etc/resolv.conf]
    #[arg(
        long,
        env = "OSVC_IGW_ACME_RESOLVER",
        value_name = "ADDRESS:PORT",
        value_delimiter = ','
    )]
    pub acme_resolver: Vec<SocketAddr>,

    /// The folder of the programs that issuers may name to write DNS records [default: none, and
    /// no program is run]
    #[arg(long, env = "OSVC_IGW_ACME_EXEC_DIR", value_name = "PATH")]
    pub acme_exec_dir: Option<PathBuf>,
}

/// Options of `osvc-igw acme`.
#[derive(Args, Clone, Debug, PartialEq)]
pub struct AcmeOptions {
    /// Which daemon is followed.
    #[command(flatten)]
    pub daemon: DaemonOptions,

    /// Where authorities and clients come.
    #[command(flatten)]
    pub door: DoorOptions,

    /// How log lines are written.
    #[command(flatten)]
    pub log: LogOptions,
}

/// What `osvc-igw acme` does.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum AcmeAction {
    /// Gets certificates and renews them until stopped.
    Run,
    /// Tells what it would do.
    Plan,
    /// Tells what there is.
    Status,
    /// Gets the certificate of this object; forced, also if it is not due.
    Issue(ObjectPath, bool),
    /// Tells which rights are missing for these namespaces; for those that are seen where none is
    /// named.
    CheckAccess(Vec<String>),
}

#[derive(Debug, Subcommand)]
pub(super) enum AcmeCommand {
    /// Get certificates and renew them: one process for a cluster, as a failover service
    Run(Box<AcmeOptions>),
    /// Print what would be done now, without asking any authority
    Plan(Box<AcmeOptions>),
    /// Print which certificates there are and what they wait for
    Status(Box<AcmeOptions>),
    /// Get one certificate now
    Issue {
        /// The sec object, such as test/sec/front
        path: ObjectPath,
        /// Also if it is not due, or waits after a failure
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        options: Box<AcmeOptions>,
    },
    /// Print which rights the account lacks
    CheckAccess {
        /// The namespaces [default: those of the sec objects that it sees]
        namespaces: Vec<String>,
        #[command(flatten)]
        options: Box<AcmeOptions>,
    },
}

impl AcmeCommand {
    pub(super) fn parts(self) -> (AcmeAction, AcmeOptions) {
        match self {
            Self::Run(options) => (AcmeAction::Run, *options),
            Self::Plan(options) => (AcmeAction::Plan, *options),
            Self::Status(options) => (AcmeAction::Status, *options),
            Self::Issue {
                path,
                force,
                options,
            } => (AcmeAction::Issue(path, force), *options),
            Self::CheckAccess {
                namespaces,
                options,
            } => (AcmeAction::CheckAccess(namespaces), *options),
        }
    }
}
