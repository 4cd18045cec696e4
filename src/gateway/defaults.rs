//! What the operator of the gateway decides for all services, as opposed to what each service
//! writes. Which option sets what is told by `config`; how it is written, by the encoders.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use serde::Serialize;

/// What the operator of the gateway decides.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Policy {
    /// The gateway's name; an expose with another `gateway` is not served here.
    pub gateway_name: String,
    /// What holds for every client.
    pub downstream: Downstream,
    /// Whether Envoy checks by itself that hosts work, where an expose says nothing of it.
    pub health_checks: bool,
    /// How long the instances of a node that is lost are still endpoints.
    pub hold_down: Duration,
    /// With more virtual hosts than these the routes of a listener are laid out in scopes.
    pub scoped_routes_above: usize,
    /// The namespaces whose `sec` objects services of any namespace may use, by full path.
    pub secrets_of: BTreeSet<String>,
    /// The ports for exposes that state `listener_port = 0`.
    pub port_range: RangeInclusive<u16>,
    /// The port where certificate authorities ask for their challenges.
    pub challenge_port: u16,
    /// The port where they ask for certificates that answer them.
    pub challenge_tls_port: u16,
    /// The ports of that range that something else on the gateway's host needs.
    pub reserved_ports: BTreeSet<u16>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            gateway_name: "envoy".to_owned(),
            downstream: Downstream::default(),
            health_checks: true,
            hold_down: Duration::from_secs(60),
            scoped_routes_above: SCOPED_ROUTES_ABOVE,
            secrets_of: BTreeSet::new(),
            port_range: 1_025..=u16::MAX,
            challenge_port: 80,
            challenge_tls_port: 443,
            reserved_ports: BTreeSet::new(),
        }
    }
}

/// So many virtual hosts are half a megabyte of routes, and take Envoy a tenth of a second.
pub const SCOPED_ROUTES_ABOVE: usize = 2_000;

/// What holds for every client of the gateway.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize)]
pub struct Downstream {
    /// How many proxies in front of this gateway are trusted to tell who the client is
    /// (`x-forwarded-for`).
    pub xff_trusted_hops: u8,
    /// Whether each request and connection is one line on Envoy's standard output.
    pub access_log: bool,
}

impl Default for Downstream {
    fn default() -> Self {
        Self {
            xff_trusted_hops: 0,
            access_log: true,
        }
    }
}
