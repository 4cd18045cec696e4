//! PURE: what should be exposed, in Envoy's nouns. The one intermediate representation between
//! what OpenSVC says and what Envoy is sent; plain ordered data, with no protobuf in it.
//!
//! Equal values give equal resource versions in any process, so everything here derives `Hash`
//! and keeps its collections ordered. Serialized only for people: golden files and pages.

mod allow;
mod alpn;
pub mod chains;
mod challenges;
pub mod claims;
pub mod compile;
pub mod defaults;
pub mod exposes;
pub mod health;
mod http3;
pub mod incremental;
mod ports;
pub mod regex;
pub mod routes;
mod sections;
mod settle;
pub mod tls;
pub mod user_json;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use serde::{Serialize, Serializer};

pub use crate::inventory::alpn::PROTOCOL as HANDSHAKE_PROTOCOL;
use crate::inventory::certificate::Trust;
use crate::inventory::{Name, ObjectPath, Sensitive};
use crate::named::Named;

pub use allow::{Prefix, ProxyVersion};
pub use compile::{Compiled, Want, compile};
pub use defaults::{Downstream, Policy, SCOPED_ROUTES_ABOVE};
pub use incremental::Incremental;
pub use routes::model::{
    Conditions, Cors, Encoding, Forward, HashKey, HashPolicy, HeaderEdits, Mirror, NamedMatch,
    PathMatch, RateLimit, Redirect, RedirectCode, RedirectPath, Retry, Route, RouteAction, Target,
    WeightedCluster,
};
pub use user_json::UserJson;

/// Everything that one gateway should expose.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq, Serialize)]
pub struct Gateway {
    /// The clusters, by name (`<object path>.expose#N`).
    pub clusters: Named<Cluster>,
    /// The endpoints of each cluster, by the cluster's name.
    pub endpoints: Named<Vec<Endpoint>>,
    /// The certificates that listeners and clusters name.
    pub secrets: Named<TlsSecret>,
    /// The listeners, by name (`<address>:<port>/<protocol>`).
    pub listeners: Named<Listener>,
    /// The route configurations ([`Listener::route_configuration`]).
    pub routes: Named<RouteConfiguration>,
}

/// The section of an OpenSVC object that an Envoy thing was made from.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Origin {
    /// The object that was exposed; a scaler for its slaves.
    pub object: ObjectPath,
    /// The section, such as `expose#0`; empty for the object as a whole.
    pub section: Name,
}

/// What a listener and the cluster behind it speak (`expose.protocol`).
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// Connections.
    #[default]
    Tcp,
    /// Datagrams.
    Udp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// An upstream: the instances of one expose.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize)]
pub struct Cluster {
    /// What it was made from.
    pub origin: Origin,
    /// What its hosts speak; a UDP host cannot be checked by connecting to it.
    pub protocol: Protocol,
    /// How a host is picked.
    pub lb_policy: LbPolicy,
    /// Whether requests are proxied to it, rather than connections.
    pub http: bool,
    /// What requests are sent in.
    pub backend_protocol: BackendProtocol,
    /// How much may be under way at once.
    pub limits: Limits,
    /// After how many errors in a row a host gets no traffic for a while
    /// (`expose.outlier_consecutive_errors`).
    pub outlier_consecutive_errors: Option<u32>,
    /// How long a connection to a host may take to be made (`expose.connect_timeout`).
    pub connect_timeout_ms: u32,
    /// How Envoy finds out by itself whether a host works; `None` where it does not.
    pub health_check: Option<Box<HealthCheck>>,
    /// TLS to the backends, where wanted.
    pub tls: Option<Box<UpstreamTls>>,
    /// Whether the hosts are told who the client is, and how.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_protocol: Option<ProxyVersion>,
    /// The service's own Envoy JSON for it (`expose.cluster_data`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<UserJson>,
}

/// What requests are sent to a cluster in (`expose.backend_protocol`).
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BackendProtocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2, which gRPC needs.
    Http2,
}

/// How much of a cluster may be under way at once; `None` where Envoy's own limit holds.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq, Serialize)]
pub struct Limits {
    /// Connections (`expose.max_connections`).
    pub connections: Option<u32>,
    /// Requests that wait for a connection (`expose.max_pending_requests`).
    pub pending_requests: Option<u32>,
    /// Requests (`expose.max_requests`).
    pub requests: Option<u32>,
}

/// How Envoy finds out whether a host works (`expose.health_check`, `health_check_path`).
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthCheck {
    /// A connection can be made, TLS included where the cluster has it.
    Tcp,
    /// A GET is answered 200.
    Http {
        /// The path that is asked for.
        path: String,
        /// The host that is asked for: the first server name or domain, else the object's name.
        host: String,
    },
}

/// How Envoy picks a host of a cluster (`expose.lb_policy`).
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LbPolicy {
    /// Each host in turn.
    #[default]
    RoundRobin,
    /// The host with the fewest active requests.
    LeastRequest,
    /// A consistent hash on a ring.
    RingHash,
    /// A random host.
    Random,
    /// The address that the client meant to reach.
    OriginalDst,
    /// A consistent hash on a Maglev table.
    Maglev,
}

/// TLS to the backends.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize)]
pub struct UpstreamTls {
    /// The secret with the client certificate, where one is presented.
    pub certificate: Option<String>,
    /// The secret that the backends' certificates are judged by; none: they are not judged.
    pub validation: Option<String>,
    /// Whether a backend's certificate must be for the server name that is sent.
    pub verify_server_name: bool,
    /// The server name to send; for HTTP clusters the host of each request wins.
    pub sni: Option<String>,
}

/// One address of a cluster.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Endpoint {
    /// The instance's address.
    pub address: IpAddr,
    /// The port that the instance listens on.
    pub port: u16,
    /// Whether new traffic may go there.
    pub health: Health,
    /// Where it is, as far as anything is known of that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locality: Option<Box<Locality>>,
}

/// Where an endpoint is (`expose.locality`, else the labels of its node); a part is empty where it
/// is unknown.
#[derive(Clone, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Locality {
    /// The node's label `region`.
    pub region: String,
    /// `expose.locality`, else the node's label `zone`.
    pub zone: String,
    /// The node's label `sub_zone`.
    pub sub_zone: String,
}

/// Whether new traffic may go to an endpoint. The better one sorts first.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// New traffic is welcome.
    Healthy,
    /// The instance is being stopped: what runs may end, nothing new is sent.
    Draining,
}

/// What goes to Envoy by secret discovery, so that it changes without touching a listener.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize)]
pub struct TlsSecret {
    /// The `sec` object, or the section that holds it itself.
    pub origin: Origin,
    /// What it is.
    pub content: SecretContent,
}

/// The kinds of secrets.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SecretContent {
    /// A certificate to present.
    Certificate {
        /// The chain, leaf first.
        certificate_chain: Source,
        /// The private key of the leaf.
        private_key: Source,
        /// When the leaf expires, in seconds since 1970, where it is known.
        not_after: Option<i64>,
    },
    /// What a peer's certificate is judged by.
    Validation(Trust),
}

/// Where Envoy finds a text in PEM.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// In a file of Envoy's host.
    Filename(String),
    /// Here.
    Inline(Sensitive),
}

/// A public address.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize)]
pub struct Listener {
    /// The address to bind; unspecified for every address.
    pub address: IpAddr,
    /// The port to bind.
    pub port: u16,
    /// What it speaks. A UDP listener has one chain, which takes every datagram, or it is one of
    /// QUIC, and has the HTTP chains that are served over HTTP/3 too.
    pub protocol: Protocol,
    /// Whether the address that a redirected client meant is looked up, for the clusters whose
    /// policy is [`LbPolicy::OriginalDst`].
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub original_dst: bool,
    /// Whether each connection begins with the PROXY protocol, which tells the client's address.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub proxy_protocol: bool,
    /// Whether some of its virtual hosts are not for everybody.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub guards_hosts: bool,
    /// The chains, in the order of their first claimants; no two match the same connection.
    pub chains: Vec<FilterChain>,
    /// What holds for every client of the gateway.
    pub downstream: Downstream,
}

/// What a listener does with the connections of one match.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize)]
pub struct FilterChain {
    /// Unique within the listener; the cluster's name, or `http` for the shared plain chain.
    pub name: String,
    /// What it was made from.
    pub origins: Vec<Origin>,
    /// The connections that it takes.
    pub matches: ChainMatch,
    /// The networks whose connections it takes; empty for all. For chains of one expose.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow_from: Vec<Prefix>,
    /// The certificates to terminate TLS with; none: bytes are passed on as they come.
    pub certificates: Vec<String>,
    /// What clients' certificates are judged by; none: clients are not asked for one.
    pub validation: Option<Box<ClientValidation>>,
    /// What is done with the bytes.
    pub action: ChainAction,
    /// The services' own Envoy JSON for how it is done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Box<ChainData>>,
}

/// Envoy JSON for the one filter of a chain (`expose.filter_config_data`): a connection manager
/// or a TCP proxy.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize)]
pub struct ChainData {
    /// The JSON.
    pub json: UserJson,
    /// The exposes that brought it; on a shared chain several may bring the same.
    pub origins: Vec<Origin>,
}

impl Listener {
    /// The name of the listener of an address, an IPv6 address in brackets.
    pub fn name(protocol: Protocol, address: IpAddr, port: u16) -> String {
        format!("{}/{protocol}", SocketAddr::new(address, port))
    }

    /// Whether Envoy looks whether connections begin with TLS, and what is asked for there.
    pub fn inspects(&self) -> bool {
        let mut chains = self.chains.iter();
        chains.any(|chain| chain.matches != ChainMatch::Any || !chain.certificates.is_empty())
    }

    /// Whether its datagrams are QUIC, and so its requests HTTP/3.
    pub fn is_quic(&self) -> bool {
        let mut chains = self.chains.iter();
        self.protocol == Protocol::Udp && chains.any(|chain| chain.action == ChainAction::Http)
    }

    /// The name of the route configuration of one of its chains. The plain chain has that of the
    /// listener's name, and those of TLS share another: what is served over TLS must not be
    /// reached without. A chain that judges its clients has one of its own: what it protects must
    /// not be reached over a connection to another name. HTTP/3 has what TCP has.
    pub fn route_configuration(&self, chain: &FilterChain) -> String {
        let listener = Self::name(Protocol::Tcp, self.address, self.port);
        match (&chain.validation, chain.certificates.is_empty()) {
            (Some(_), _) => format!("{listener}/{}", chain.name),
            (None, false) => format!("{listener}/tls"),
            (None, true) => listener,
        }
    }
}

/// How the certificates of clients are judged.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize)]
pub struct ClientValidation {
    /// The secret that they are judged by.
    pub secret: String,
    /// Whether a client without a certificate is sent away.
    pub required: bool,
}

/// The connections that a filter chain takes.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ChainMatch {
    /// TLS connections whose server name is one of these; a leading `*.` stands for any label.
    ServerNames(Vec<String>),
    /// TLS connections that no server name matches.
    AnyTls,
    /// Connections that are not TLS.
    Plain,
    /// Everything that nothing else takes.
    Any,
}

/// What is done with the bytes of a connection.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ChainAction {
    /// They go to a cluster as they are.
    Tcp {
        /// The cluster.
        cluster: String,
    },
    /// They are datagrams, and go to a cluster as they are.
    Udp {
        /// The cluster.
        cluster: String,
        /// Whether the client's address is what a hashing policy of the cluster hashes.
        hash_source_ip: bool,
    },
    /// They are HTTP requests, routed by the listener's route configuration.
    Http,
    /// Nothing: who connects wants to see the certificate alone, and says so by the protocol that
    /// it asks for (RFC 8737). Without that the connection is another chain's.
    Handshake,
}

/// The virtual hosts of a listener.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq, Serialize)]
pub struct RouteConfiguration {
    /// The virtual hosts, in the order of their first claimants. They are shared with what they
    /// were put together from: of thousands, few are others after a change.
    #[serde(serialize_with = "shared")]
    pub virtual_hosts: Vec<Arc<VirtualHost>>,
}

fn shared<S: Serializer>(hosts: &[Arc<VirtualHost>], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(hosts.iter().map(AsRef::as_ref))
}

/// The routes of some domains.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize)]
pub struct VirtualHost {
    /// `<object path>.<expose>.<vhost>`.
    pub name: String,
    /// What it was made from.
    pub origin: Origin,
    /// The cluster of the expose that names it.
    pub cluster: String,
    /// Lower-case host patterns without ports; no two virtual hosts of a listener share one.
    pub domains: Vec<String>,
    /// The networks whose requests are answered; empty for all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow_from: Vec<Prefix>,
    /// The UDP port where it is served over HTTP/3 too, which clients are told of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http3_port: Option<u16>,
    /// The routes; the first that matches is taken.
    pub routes: Vec<Route>,
}
