//! Who may use what, in Envoy's words: networks (config.core.v3.CidrRange), the RBAC filter of
//! HTTP (extensions.filters.http.rbac.v3), and the PROXY protocol on both sides.
//!
//! A chain that is one expose's own matches its networks: a connection from elsewhere is closed
//! before anything is sent, also where the server speaks first. Virtual hosts share connections,
//! so there each request is judged.

use std::collections::HashMap;

use envoy_types::pb::envoy::config::core::v3::proxy_protocol_config::Version;
use envoy_types::pb::envoy::config::core::v3::transport_socket::ConfigType;
use envoy_types::pb::envoy::config::core::v3::{CidrRange, ProxyProtocolConfig, TransportSocket};
use envoy_types::pb::envoy::config::listener::v3::ListenerFilter;
use envoy_types::pb::envoy::config::rbac::v3::{
    Permission, Policy, Principal, Rbac as Rules, permission, principal,
};
use envoy_types::pb::envoy::extensions::filters::http::rbac::v3::{Rbac, RbacPerRoute};
use envoy_types::pb::envoy::extensions::filters::listener::proxy_protocol::v3::ProxyProtocol;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpFilter, http_filter,
};
use envoy_types::pb::envoy::extensions::transport_sockets::proxy_protocol::v3::ProxyProtocolUpstreamTransport;
use envoy_types::pb::envoy::extensions::transport_sockets::raw_buffer::v3::RawBuffer;
use envoy_types::pb::google::protobuf::{Any, UInt32Value};

use super::encode::any;
use super::listener::listener_filter;
use crate::gateway::{Prefix, ProxyVersion};

/// The networks of a chain's clients.
pub(super) fn ranges(prefixes: &[Prefix]) -> Vec<CidrRange> {
    prefixes.iter().map(range).collect()
}

fn range(prefix: &Prefix) -> CidrRange {
    CidrRange {
        address_prefix: prefix.address.to_string(),
        prefix_len: Some(UInt32Value {
            value: prefix.length.into(),
        }),
    }
}

/// The filter that judges requests: by itself it lets everything pass.
pub(super) fn http_filter() -> HttpFilter {
    let config = any(RBAC, &Rbac::default());
    HttpFilter {
        name: FILTER.to_owned(),
        config_type: Some(http_filter::ConfigType::TypedConfig(config)),
        ..HttpFilter::default()
    }
}

/// What a virtual host tells that filter; nothing where everybody may.
pub(super) fn per_host(prefixes: &[Prefix]) -> HashMap<String, Any> {
    if prefixes.is_empty() {
        return HashMap::new();
    }
    let client = |prefix| Principal {
        identifier: Some(principal::Identifier::RemoteIp(range(prefix))),
    };
    let policy = Policy {
        permissions: vec![Permission {
            rule: Some(permission::Rule::Any(true)),
        }],
        principals: prefixes.iter().map(client).collect(),
        ..Policy::default()
    };
    // The default action of the rules is to allow what a policy says.
    let rules = Rules {
        policies: HashMap::from([("allow_from".to_owned(), policy)]),
        ..Rules::default()
    };
    let config = RbacPerRoute {
        rbac: Some(Rbac {
            rules: Some(rules),
            ..Rbac::default()
        }),
    };
    HashMap::from([(FILTER.to_owned(), any(RBAC_PER_ROUTE, &config))])
}

/// What a route tells that filter where everybody may, whatever its virtual host says.
pub(super) fn everybody() -> HashMap<String, Any> {
    let config = any(RBAC_PER_ROUTE, &RbacPerRoute::default());
    HashMap::from([(FILTER.to_owned(), config)])
}

/// The listener filter that takes the client's address from the PROXY protocol, either version.
pub(super) fn proxy_protocol() -> ListenerFilter {
    let config = any(PROXY_PROTOCOL, &ProxyProtocol::default());
    listener_filter("envoy.filters.listener.proxy_protocol", config)
}

/// A transport socket that begins with the client's address.
pub(super) fn telling(version: ProxyVersion, inner: Option<TransportSocket>) -> TransportSocket {
    let plain = || TransportSocket {
        name: "envoy.transport_sockets.raw_buffer".to_owned(),
        config_type: Some(ConfigType::TypedConfig(any(RAW_BUFFER, &RawBuffer {}))),
    };
    let version = match version {
        ProxyVersion::V1 => Version::V1,
        ProxyVersion::V2 => Version::V2,
    };
    let transport = ProxyProtocolUpstreamTransport {
        config: Some(ProxyProtocolConfig {
            version: version.into(),
            ..ProxyProtocolConfig::default()
        }),
        transport_socket: Some(inner.unwrap_or_else(plain)),
        ..ProxyProtocolUpstreamTransport::default()
    };
    TransportSocket {
        name: "envoy.transport_sockets.upstream_proxy_protocol".to_owned(),
        config_type: Some(ConfigType::TypedConfig(any(UPSTREAM_PROXY, &transport))),
    }
}

const FILTER: &str = "envoy.filters.http.rbac";
const PROXY_PROTOCOL: &str = "envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol";
const RAW_BUFFER: &str = "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer";
const RBAC: &str = "envoy.extensions.filters.http.rbac.v3.RBAC";
const RBAC_PER_ROUTE: &str = "envoy.extensions.filters.http.rbac.v3.RBACPerRoute";
const UPSTREAM_PROXY: &str =
    "envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport";
