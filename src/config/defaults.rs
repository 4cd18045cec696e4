//! The options about what holds for every service that does not say otherwise.

use std::time::Duration;

use clap::{Args, ValueEnum};

/// Options of `osvc-igw run` about what holds for every service that does not say otherwise.
#[derive(Args, Clone, Debug, PartialEq)]
pub struct DefaultOptions {
    /// How long the instances of a node that is lost stay endpoints, while health checks judge
    /// them
    #[arg(
        long,
        env = "OSVC_IGW_HOLD_DOWN",
        value_name = "DURATION",
        default_value = "60s",
        value_parser = humantime::parse_duration
    )]
    pub hold_down: Duration,

    /// Namespaces, separated by commas, whose sec objects services of other namespaces may use, by
    /// full path [default: none]
    #[arg(
        long,
        env = "OSVC_IGW_ALLOW_SECRETS_OF",
        value_name = "NAMESPACES",
        value_delimiter = ','
    )]
    pub allow_secrets_of: Vec<String>,

    /// Whether Envoy checks by itself that instances can be connected to
    #[arg(
        long,
        env = "OSVC_IGW_HEALTH_CHECKS",
        value_name = "KIND",
        default_value = "tcp",
        value_enum
    )]
    pub health_checks: HealthChecks,

    /// How many proxies in front of Envoy are trusted to tell the client's address in
    /// x-forwarded-for
    #[arg(
        long,
        env = "OSVC_IGW_XFF_TRUSTED_HOPS",
        value_name = "COUNT",
        default_value_t = 0,
        allow_negative_numbers = true,
        value_parser = clap::value_parser!(u8).range(0..=32)
    )]
    pub xff_trusted_hops: u8,

    /// With more virtual hosts on one listener than these, Envoy gets the routes in thousands of
    /// small pieces (scoped routes), so that a change is small; 0: never
    #[arg(
        long,
        env = "OSVC_IGW_SCOPED_ROUTES_ABOVE",
        value_name = "COUNT",
        default_value_t = 2_000,
        allow_negative_numbers = true
    )]
    pub scoped_routes_above: u32,

    /// How Envoy writes requests and connections to its standard output
    #[arg(
        long,
        env = "OSVC_IGW_ACCESS_LOG",
        value_name = "FORMAT",
        default_value = "json",
        value_enum
    )]
    pub access_log: AccessLog,
}

impl DefaultOptions {
    /// With how many virtual hosts at the most a listener has its routes in one piece.
    pub fn scoped_routes_above(&self) -> usize {
        match self.scoped_routes_above {
            0 => usize::MAX,
            count => usize::try_from(count).unwrap_or(usize::MAX),
        }
    }
}

/// How Envoy checks that instances work.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum HealthChecks {
    /// A connection can be made.
    Tcp,
    /// Not at all.
    None,
}

/// How Envoy writes what it served to its standard output.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum AccessLog {
    /// One JSON object a line.
    Json,
    /// Not at all.
    None,
}
