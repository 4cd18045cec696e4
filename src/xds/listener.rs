//! A listener of the gateway as an Envoy `Listener` (config.listener.v3).

use envoy_types::pb::envoy::config::core::v3::transport_socket::ConfigType;
use envoy_types::pb::envoy::config::core::v3::{
    Http3ProtocolOptions, HttpProtocolOptions, TransportSocket,
};
use envoy_types::pb::envoy::config::listener::v3::{
    Filter, FilterChain as PbFilterChain, FilterChainMatch, Listener as PbListener,
    ListenerFilter, filter, listener_filter,
};
use envoy_types::pb::envoy::config::route::v3::RouteConfiguration;
use envoy_types::pb::envoy::extensions::filters::http::router::v3::Router;
use envoy_types::pb::envoy::extensions::filters::listener::original_dst::v3::OriginalDst;
use envoy_types::pb::envoy::extensions::filters::listener::tls_inspector::v3::TlsInspector;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::{
    CodecType, RouteSpecifier,
};
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, HttpFilter, Rds, http_filter,
};
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3::TcpProxy;
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3::tcp_proxy::ClusterSpecifier;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::tls_parameters::TlsProtocol;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::{
    CommonTlsContext, DownstreamTlsContext, SdsSecretConfig, TlsParameters,
    common_tls_context::ValidationContextType,
};
use envoy_types::pb::google::protobuf::{Any, BoolValue};

use super::data::Given;
use super::defaults::{fill_listener, fill_manager, fill_tcp_proxy};
use super::encode::{ads, any, milliseconds, socket_address};
use super::{guard, quic, route_policy, scope, udp};
use crate::gateway::{
    ChainAction, ChainMatch, Downstream, FilterChain, HANDSHAKE_PROTOCOL, Listener, Protocol,
};

/// Writes the message; `filters` are the filters of the chains, in their order.
pub fn encode(name: &str, listener: &Listener, filters: Vec<(&str, Any)>) -> PbListener {
    match listener.protocol {
        Protocol::Tcp => tcp_listener(name, listener, filters),
        Protocol::Udp if listener.is_quic() => quic::encode(name, listener, filters),
        Protocol::Udp => udp::encode(name, listener),
    }
}

fn tcp_listener(name: &str, listener: &Listener, filters: Vec<(&str, Any)>) -> PbListener {
    let mut listener_filters = Vec::new();
    // What comes first on the wire is read first.
    if listener.proxy_protocol {
        listener_filters.push(guard::proxy_protocol());
    }
    if listener.original_dst {
        let config = any(ORIGINAL_DST, &OriginalDst {});
        listener_filters.push(listener_filter(
            "envoy.filters.listener.original_dst",
            config,
        ));
    }
    if listener.inspects() {
        let config = any(TLS_INSPECTOR, &TlsInspector::default());
        listener_filters.push(listener_filter(
            "envoy.filters.listener.tls_inspector",
            config,
        ));
    }
    let chains = listener.chains.iter().zip(filters);
    let mut message = PbListener {
        name: name.to_owned(),
        address: Some(socket_address(listener.address, listener.port)),
        listener_filters,
        filter_chains: chains
            .map(|(chain, (filter, config))| PbFilterChain {
                transport_socket: (!chain.certificates.is_empty()).then(|| transport_socket(chain)),
                ..filter_chain(chain, filter, config)
            })
            .collect(),
        ..PbListener::default()
    };
    fill_listener(&mut message);
    message
}

/// The name of the one filter of a chain, and its configuration. Of the two messages that a
/// service can give, the one that is not for this kind of chain is left alone. `scoped` are the
/// route configurations that are laid out in scopes.
pub fn filter(
    name: &str,
    listener: &Listener,
    chain: &FilterChain,
    (http, tcp): (Given<HttpConnectionManager>, Given<TcpProxy>),
    scoped: &[String],
) -> (&'static str, Any) {
    match &chain.action {
        ChainAction::Http => (
            "envoy.filters.network.http_connection_manager",
            any(
                HTTP_MANAGER,
                &http_connection_manager(name, listener, chain, &http, scoped),
            ),
        ),
        ChainAction::Handshake => (
            "envoy.filters.network.http_connection_manager",
            any(HTTP_MANAGER, &handshake_manager(listener.downstream)),
        ),
        // No UDP chain stands on a TCP listener; the cluster is what both say.
        ChainAction::Tcp { cluster } | ChainAction::Udp { cluster, .. } => (
            "envoy.filters.network.tcp_proxy",
            any(TCP_PROXY, &tcp_proxy(cluster, &tcp, listener.downstream)),
        ),
    }
}

/// The clusters that the listener sends connections to, its routes apart.
pub fn clusters(listener: &Listener) -> Vec<String> {
    let chains = listener.chains.iter();
    let clusters = chains.filter_map(|chain| match &chain.action {
        ChainAction::Tcp { cluster } | ChainAction::Udp { cluster, .. } => Some(cluster.clone()),
        ChainAction::Http | ChainAction::Handshake => None,
    });
    clusters.collect()
}

/// Where a secret is to be had: on the stream that everything comes on.
pub(super) fn sds(name: &str) -> SdsSecretConfig {
    SdsSecretConfig {
        name: name.to_owned(),
        sds_config: Some(ads()),
    }
}

/// TLS 1.2 and later, to clients and to backends.
pub(super) fn tls_parameters() -> TlsParameters {
    TlsParameters {
        tls_minimum_protocol_version: TlsProtocol::TlSv12.into(),
        ..TlsParameters::default()
    }
}

/// A listener filter with its configuration.
pub(super) fn listener_filter(name: &str, config: Any) -> ListenerFilter {
    ListenerFilter {
        name: name.to_owned(),
        config_type: Some(listener_filter::ConfigType::TypedConfig(config)),
        ..ListenerFilter::default()
    }
}

/// A chain without its transport socket.
pub(super) fn filter_chain(chain: &FilterChain, filter: &str, config: Any) -> PbFilterChain {
    PbFilterChain {
        name: chain.name.clone(),
        filter_chain_match: chain_match(chain),
        filters: vec![Filter {
            name: filter.to_owned(),
            config_type: Some(filter::ConfigType::TypedConfig(config)),
        }],
        ..PbFilterChain::default()
    }
}

fn chain_match(chain: &FilterChain) -> Option<FilterChainMatch> {
    let asks_for: &[&str] = match chain.action {
        ChainAction::Handshake => &[HANDSHAKE_PROTOCOL],
        _ => &[],
    };
    let allow_from = &chain.allow_from;
    let (server_names, transport) = match &chain.matches {
        ChainMatch::Any if allow_from.is_empty() && asks_for.is_empty() => return None,
        ChainMatch::Any => (Vec::new(), ""),
        ChainMatch::ServerNames(names) => (names.clone(), "tls"),
        ChainMatch::AnyTls => (Vec::new(), "tls"),
        ChainMatch::Plain => (Vec::new(), "raw_buffer"),
    };
    Some(FilterChainMatch {
        server_names,
        transport_protocol: transport.to_owned(),
        application_protocols: asks_for.iter().map(|&one| one.to_owned()).collect(),
        source_prefix_ranges: guard::ranges(allow_from),
        ..FilterChainMatch::default()
    })
}

fn transport_socket(chain: &FilterChain) -> TransportSocket {
    let alpn: &[&str] = match chain.action {
        ChainAction::Http => &["h2", "http/1.1"],
        ChainAction::Handshake => &[HANDSHAKE_PROTOCOL],
        ChainAction::Tcp { .. } | ChainAction::Udp { .. } => &[],
    };
    TransportSocket {
        name: "envoy.transport_sockets.tls".to_owned(),
        config_type: Some(ConfigType::TypedConfig(any(
            DOWNSTREAM_TLS,
            &downstream_tls(chain, alpn),
        ))),
    }
}

/// What is shown to the clients of a chain, and what is asked of them.
pub(super) fn downstream_tls(chain: &FilterChain, alpn: &[&str]) -> DownstreamTlsContext {
    let validation = chain.validation.as_ref();
    DownstreamTlsContext {
        common_tls_context: Some(CommonTlsContext {
            tls_params: Some(tls_parameters()),
            tls_certificate_sds_secret_configs: chain
                .certificates
                .iter()
                .map(|name| sds(name))
                .collect(),
            validation_context_type: validation.map(|validation| {
                ValidationContextType::ValidationContextSdsSecretConfig(sds(&validation.secret))
            }),
            alpn_protocols: alpn.iter().map(|&protocol| protocol.to_owned()).collect(),
            ..CommonTlsContext::default()
        }),
        require_client_certificate: validation.map(|validation| BoolValue {
            value: validation.required,
        }),
        ..DownstreamTlsContext::default()
    }
}

/// Fills the message up. What the service has given wins, but for the name and the cluster.
fn tcp_proxy(cluster: &str, given: &Given<TcpProxy>, downstream: Downstream) -> TcpProxy {
    let mut message = given.message.clone();
    message.stat_prefix = format!("ingress_{cluster}");
    message.cluster_specifier = Some(ClusterSpecifier::Cluster(cluster.to_owned()));
    fill_tcp_proxy(&mut message, given, downstream);
    message
}

/// Fills the message up. What the service has given wins, but for the name and the routes.
fn http_connection_manager(
    name: &str,
    listener: &Listener,
    chain: &FilterChain,
    given: &Given<HttpConnectionManager>,
    scoped: &[String],
) -> HttpConnectionManager {
    let mut message = given.message.clone();
    message.stat_prefix = format!("ingress_{name}");
    let routes = listener.route_configuration(chain);
    if scoped.contains(&routes) {
        scope::route_by(&mut message, &routes);
    } else {
        message.route_specifier = Some(RouteSpecifier::Rds(Rds {
            config_source: Some(ads()),
            route_config_name: routes,
        }));
    }
    // Routes count on the filters of their policies; Envoy wants the router to be last, once.
    let filters = &mut message.http_filters;
    let router = match filters.iter().position(is_router) {
        Some(place) => filters.remove(place),
        None => router(),
    };
    // Who may not come in is not counted, and gets no other answer.
    if listener.guards_hosts {
        filters.insert(0, guard::http_filter());
    }
    for policy in route_policy::filters() {
        if !filters.iter().any(|filter| filter.name == policy.name) {
            filters.push(policy);
        }
    }
    filters.push(router);
    fill_manager(&mut message, given, listener.downstream);
    // Over QUIC it is the only one, and over TCP none.
    if listener.is_quic() {
        message.codec_type = CodecType::Http3.into();
        message.http3_protocol_options = Some(Http3ProtocolOptions::default());
    }
    message
}

/// For who wants the handshake alone. Some filter has to be there that waits for it: those that
/// answer at once close the connection before. Whatever is asked for is not found.
fn handshake_manager(downstream: Downstream) -> HttpConnectionManager {
    let mut message = HttpConnectionManager {
        stat_prefix: HANDSHAKE_STATS.to_owned(),
        route_specifier: Some(RouteSpecifier::RouteConfig(RouteConfiguration {
            name: HANDSHAKE_STATS.to_owned(),
            ..RouteConfiguration::default()
        })),
        http_filters: vec![router()],
        common_http_protocol_options: Some(HttpProtocolOptions {
            idle_timeout: Some(milliseconds(HANDSHAKE_IDLE_MS)),
            ..HttpProtocolOptions::default()
        }),
        ..HttpConnectionManager::default()
    };
    fill_manager(&mut message, &Given::default(), downstream);
    message
}

fn is_router(filter: &HttpFilter) -> bool {
    match &filter.config_type {
        Some(http_filter::ConfigType::TypedConfig(config)) => config.type_url.ends_with(ROUTER),
        _ => filter.name == ROUTER_NAME,
    }
}

fn router() -> HttpFilter {
    let config = any(ROUTER, &Router::default());
    HttpFilter {
        name: ROUTER_NAME.to_owned(),
        config_type: Some(http_filter::ConfigType::TypedConfig(config)),
        ..HttpFilter::default()
    }
}

const HANDSHAKE_STATS: &str = "acme_tls_alpn_01";
/// Nothing is waited for once the certificate was seen.
const HANDSHAKE_IDLE_MS: u32 = 10_000;
const DOWNSTREAM_TLS: &str = "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext";
pub(super) const HTTP_MANAGER: &str =
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
const ROUTER_NAME: &str = "envoy.filters.http.router";
const ROUTER: &str = "envoy.extensions.filters.http.router.v3.Router";
pub(super) const TCP_PROXY: &str = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy";
const ORIGINAL_DST: &str = "envoy.extensions.filters.listener.original_dst.v3.OriginalDst";
const TLS_INSPECTOR: &str = "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector";
