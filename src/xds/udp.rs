//! A UDP listener of the gateway as an Envoy `Listener` (config.listener.v3): no filter chains,
//! one listener filter that relays datagrams. Clusters are written like those of TCP.

use envoy_types::pb::envoy::config::core::v3::Address;
use envoy_types::pb::envoy::config::core::v3::address::Address as AddressKind;
use envoy_types::pb::envoy::config::core::v3::socket_address::Protocol as PbProtocol;
use envoy_types::pb::envoy::config::listener::v3::{
    Listener as PbListener, ListenerFilter, UdpListenerConfig,
};
use envoy_types::pb::envoy::extensions::filters::udp::udp_proxy::v3::udp_proxy_config::{
    HashPolicy, RouteSpecifier, hash_policy::PolicySpecifier,
};
use envoy_types::pb::envoy::extensions::filters::udp::udp_proxy::v3::{Route, UdpProxyConfig};
use envoy_types::pb::xds::core::v3::TypedExtensionConfig;
use envoy_types::pb::xds::r#type::matcher::v3::Matcher;
use envoy_types::pb::xds::r#type::matcher::v3::matcher::{OnMatch, on_match};

use super::encode::{any, socket_address};
use super::listener::listener_filter;
use crate::gateway::{ChainAction, FilterChain, Listener};

/// Writes the message.
pub(super) fn encode(name: &str, listener: &Listener) -> PbListener {
    PbListener {
        name: name.to_owned(),
        address: Some(address(listener)),
        udp_listener_config: Some(UdpListenerConfig::default()),
        listener_filters: listener.chains.iter().filter_map(udp_proxy).collect(),
        ..PbListener::default()
    }
}

/// Where datagrams are listened for.
pub(super) fn address(listener: &Listener) -> Address {
    let mut address = socket_address(listener.address, listener.port);
    if let Some(AddressKind::SocketAddress(address)) = &mut address.address {
        address.protocol = PbProtocol::Udp.into();
    }
    address
}

fn udp_proxy(chain: &FilterChain) -> Option<ListenerFilter> {
    let ChainAction::Udp {
        cluster,
        hash_source_ip,
    } = &chain.action
    else {
        return None;
    };
    let route = Route {
        cluster: cluster.clone(),
    };
    let action = TypedExtensionConfig {
        name: "route".to_owned(),
        typed_config: Some(any(ROUTE, &route)),
    };
    let matcher = Matcher {
        on_no_match: Some(Box::new(OnMatch {
            on_match: Some(on_match::OnMatch::Action(action)),
            ..OnMatch::default()
        })),
        ..Matcher::default()
    };
    let by_client = HashPolicy {
        policy_specifier: Some(PolicySpecifier::SourceIp(true)),
    };
    let proxy = UdpProxyConfig {
        stat_prefix: format!("ingress_{cluster}"),
        route_specifier: Some(RouteSpecifier::Matcher(matcher)),
        hash_policies: hash_source_ip.then_some(by_client).into_iter().collect(),
        ..UdpProxyConfig::default()
    };
    let config = any(UDP_PROXY, &proxy);
    Some(listener_filter(
        "envoy.filters.udp_listener.udp_proxy",
        config,
    ))
}

const ROUTE: &str = "envoy.extensions.filters.udp.udp_proxy.v3.Route";
const UDP_PROXY: &str = "envoy.extensions.filters.udp.udp_proxy.v3.UdpProxyConfig";
