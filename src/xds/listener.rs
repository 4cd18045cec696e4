//! A listener of the gateway as an Envoy `Listener` (config.listener.v3).

use envoy_types::pb::envoy::config::core::v3::transport_socket::ConfigType;
use envoy_types::pb::envoy::config::core::v3::TransportSocket;
use envoy_types::pb::envoy::config::listener::v3::{
    Filter, FilterChain as PbFilterChain, FilterChainMatch, Listener as PbListener,
    ListenerFilter, filter, listener_filter,
};
use envoy_types::pb::envoy::extensions::filters::http::router::v3::Router;
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
use envoy_types::pb::google::protobuf::BoolValue;

use super::defaults::{fill_listener, fill_manager, fill_tcp_proxy};
use super::encode::{ads, any, socket_address};
use super::route_policy;
use crate::gateway::{ChainAction, ChainMatch, Downstream, FilterChain, Listener};

/// Writes the message.
pub fn encode(name: &str, listener: &Listener) -> PbListener {
    let inspects = listener
        .chains
        .iter()
        .any(|chain| chain.matches != ChainMatch::Any || !chain.certificates.is_empty());
    let mut message = PbListener {
        name: name.to_owned(),
        address: Some(socket_address(listener.address, listener.port)),
        listener_filters: if inspects {
            vec![tls_inspector()]
        } else {
            Vec::new()
        },
        filter_chains: listener
            .chains
            .iter()
            .map(|chain| filter_chain(name, chain, listener.downstream))
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
        ChainAction::Tcp { cluster } => Some(cluster.clone()),
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

fn filter_chain(listener: &str, chain: &FilterChain, downstream: Downstream) -> PbFilterChain {
    let (name, config) = match &chain.action {
        ChainAction::Http => {
            let manager = http_connection_manager(listener, chain, downstream);
            (
                "envoy.filters.network.http_connection_manager",
                any(HTTP_MANAGER, &manager),
            )
        }
        ChainAction::Tcp { cluster } => (
            "envoy.filters.network.tcp_proxy",
            any(TCP_PROXY, &tcp_proxy(cluster, downstream)),
        ),
    };
    PbFilterChain {
        name: chain.name.clone(),
        filter_chain_match: chain_match(&chain.matches),
        transport_socket: (!chain.certificates.is_empty()).then(|| transport_socket(chain)),
        filters: vec![Filter {
            name: name.to_owned(),
            config_type: Some(filter::ConfigType::TypedConfig(config)),
        }],
        ..PbFilterChain::default()
    }
}

fn chain_match(matches: &ChainMatch) -> Option<FilterChainMatch> {
    let (server_names, transport) = match matches {
        ChainMatch::Any => return None,
        ChainMatch::ServerNames(names) => (names.clone(), "tls"),
        ChainMatch::AnyTls => (Vec::new(), "tls"),
        ChainMatch::Plain => (Vec::new(), "raw_buffer"),
    };
    Some(FilterChainMatch {
        server_names,
        transport_protocol: transport.to_owned(),
        ..FilterChainMatch::default()
    })
}

fn transport_socket(chain: &FilterChain) -> TransportSocket {
    let alpn: &[&str] = match chain.action {
        ChainAction::Http => &["h2", "http/1.1"],
        ChainAction::Tcp { .. } => &[],
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
    listener: &str,
    chain: &FilterChain,
    downstream: Downstream,
) -> HttpConnectionManager {
    let router = any(ROUTER, &Router::default());
    let mut filters = route_policy::filters();
    filters.push(HttpFilter {
        name: "envoy.filters.http.router".to_owned(),
        config_type: Some(http_filter::ConfigType::TypedConfig(router)),
        ..HttpFilter::default()
    });
    let mut manager = HttpConnectionManager {
        stat_prefix: format!("ingress_{listener}"),
        route_specifier: Some(RouteSpecifier::Rds(Rds {
            config_source: Some(ads()),
            route_config_name: chain.route_configuration(listener),
        })),
        http_filters: filters,
        ..HttpConnectionManager::default()
    };
    fill_manager(&mut manager, downstream);
    manager
}

fn tls_inspector() -> ListenerFilter {
    let config = any(TLS_INSPECTOR, &TlsInspector::default());
    ListenerFilter {
        name: "envoy.filters.listener.tls_inspector".to_owned(),
        config_type: Some(listener_filter::ConfigType::TypedConfig(config)),
        ..ListenerFilter::default()
    }
}

const DOWNSTREAM_TLS: &str = "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext";
const HTTP_MANAGER: &str =
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
const ROUTER: &str = "envoy.extensions.filters.http.router.v3.Router";
const TCP_PROXY: &str = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy";
const TLS_INSPECTOR: &str = "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector";
