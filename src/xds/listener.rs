//! A listener of the gateway as an Envoy `Listener` (config.listener.v3).

use envoy_types::pb::envoy::config::core::v3::transport_socket::ConfigType;
use envoy_types::pb::envoy::config::core::v3::TransportSocket;
use envoy_types::pb::envoy::config::listener::v3::{
    Filter, FilterChain as PbFilterChain, FilterChainMatch, Listener as PbListener,
    ListenerFilter, filter, listener_filter,
};
use envoy_types::pb::envoy::extensions::filters::http::router::v3::Router;
use envoy_types::pb::envoy::extensions::filters::listener::original_dst::v3::OriginalDst;
use envoy_types::pb::envoy::extensions::filters::listener::tls_inspector::v3::TlsInspector;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::RouteSpecifier;
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

use super::defaults::{fill_listener, fill_manager, fill_tcp_proxy};
use super::encode::{ads, any, socket_address};
use super::{guard, route_policy, udp};
use crate::gateway::{
    ChainAction, ChainMatch, Downstream, FilterChain, Listener, Prefix, Protocol,
};

/// Writes the message.
pub fn encode(name: &str, listener: &Listener) -> PbListener {
    match listener.protocol {
        Protocol::Tcp => tcp_listener(name, listener),
        Protocol::Udp => udp::encode(name, listener),
    }
}

fn tcp_listener(name: &str, listener: &Listener) -> PbListener {
    let mut filters = Vec::new();
    // What comes first on the wire is read first.
    if listener.proxy_protocol {
        filters.push(guard::proxy_protocol());
    }
    if listener.original_dst {
        let config = any(ORIGINAL_DST, &OriginalDst {});
        filters.push(listener_filter(
            "envoy.filters.listener.original_dst",
            config,
        ));
    }
    let inspects = listener
        .chains
        .iter()
        .any(|chain| chain.matches != ChainMatch::Any || !chain.certificates.is_empty());
    if inspects {
        let config = any(TLS_INSPECTOR, &TlsInspector::default());
        filters.push(listener_filter(
            "envoy.filters.listener.tls_inspector",
            config,
        ));
    }
    let mut message = PbListener {
        name: name.to_owned(),
        address: Some(socket_address(listener.address, listener.port)),
        listener_filters: filters,
        filter_chains: listener
            .chains
            .iter()
            .map(|chain| filter_chain(name, listener, chain))
            .collect(),
        ..PbListener::default()
    };
    fill_listener(&mut message);
    message
}

/// The clusters that the listener sends connections to, its routes apart.
pub fn clusters(listener: &Listener) -> Vec<String> {
    let chains = listener.chains.iter();
    let clusters = chains.filter_map(|chain| match &chain.action {
        ChainAction::Tcp { cluster } | ChainAction::Udp { cluster, .. } => Some(cluster.clone()),
        ChainAction::Http => None,
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

fn filter_chain(name: &str, listener: &Listener, chain: &FilterChain) -> PbFilterChain {
    let (filter, config) = match &chain.action {
        ChainAction::Http => {
            let manager = http_connection_manager(name, listener, chain);
            (
                "envoy.filters.network.http_connection_manager",
                any(HTTP_MANAGER, &manager),
            )
        }
        // No UDP chain stands on a TCP listener; the cluster is what both say.
        ChainAction::Tcp { cluster } | ChainAction::Udp { cluster, .. } => (
            "envoy.filters.network.tcp_proxy",
            any(TCP_PROXY, &tcp_proxy(cluster, listener.downstream)),
        ),
    };
    PbFilterChain {
        name: chain.name.clone(),
        filter_chain_match: chain_match(&chain.matches, &chain.allow_from),
        transport_socket: (!chain.certificates.is_empty()).then(|| transport_socket(chain)),
        filters: vec![Filter {
            name: filter.to_owned(),
            config_type: Some(filter::ConfigType::TypedConfig(config)),
        }],
        ..PbFilterChain::default()
    }
}

fn chain_match(matches: &ChainMatch, allow_from: &[Prefix]) -> Option<FilterChainMatch> {
    let (server_names, transport) = match matches {
        ChainMatch::Any if allow_from.is_empty() => return None,
        ChainMatch::Any => (Vec::new(), ""),
        ChainMatch::ServerNames(names) => (names.clone(), "tls"),
        ChainMatch::AnyTls => (Vec::new(), "tls"),
        ChainMatch::Plain => (Vec::new(), "raw_buffer"),
    };
    Some(FilterChainMatch {
        server_names,
        transport_protocol: transport.to_owned(),
        source_prefix_ranges: guard::ranges(allow_from),
        ..FilterChainMatch::default()
    })
}

fn transport_socket(chain: &FilterChain) -> TransportSocket {
    let alpn: &[&str] = match chain.action {
        ChainAction::Http => &["h2", "http/1.1"],
        ChainAction::Tcp { .. } | ChainAction::Udp { .. } => &[],
    };
    let validation = chain.validation.as_ref();
    let context = DownstreamTlsContext {
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
    };
    TransportSocket {
        name: "envoy.transport_sockets.tls".to_owned(),
        config_type: Some(ConfigType::TypedConfig(any(DOWNSTREAM_TLS, &context))),
    }
}

fn tcp_proxy(cluster: &str, downstream: Downstream) -> TcpProxy {
    let mut proxy = TcpProxy {
        stat_prefix: format!("ingress_{cluster}"),
        cluster_specifier: Some(ClusterSpecifier::Cluster(cluster.to_owned())),
        ..TcpProxy::default()
    };
    fill_tcp_proxy(&mut proxy, downstream);
    proxy
}

fn http_connection_manager(
    name: &str,
    listener: &Listener,
    chain: &FilterChain,
) -> HttpConnectionManager {
    let router = any(ROUTER, &Router::default());
    // Who may not come in is not counted, and gets no other answer.
    let guard = listener.guards_hosts.then(guard::http_filter);
    let mut filters: Vec<HttpFilter> = guard.into_iter().chain(route_policy::filters()).collect();
    filters.push(HttpFilter {
        name: "envoy.filters.http.router".to_owned(),
        config_type: Some(http_filter::ConfigType::TypedConfig(router)),
        ..HttpFilter::default()
    });
    let mut manager = HttpConnectionManager {
        stat_prefix: format!("ingress_{name}"),
        route_specifier: Some(RouteSpecifier::Rds(Rds {
            config_source: Some(ads()),
            route_config_name: chain.route_configuration(name),
        })),
        http_filters: filters,
        ..HttpConnectionManager::default()
    };
    fill_manager(&mut manager, listener.downstream);
    manager
}

const DOWNSTREAM_TLS: &str = "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext";
const HTTP_MANAGER: &str =
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
const ORIGINAL_DST: &str = "envoy.extensions.filters.listener.original_dst.v3.OriginalDst";
const ROUTER: &str = "envoy.extensions.filters.http.router.v3.Router";
const TCP_PROXY: &str = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy";
const TLS_INSPECTOR: &str = "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector";
