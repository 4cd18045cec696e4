//! A listener of HTTP/3 as an Envoy `Listener` (config.listener.v3): the chains of TLS over QUIC.
//! It stands beside the listener of TCP, and coming or going it does not touch that.

use envoy_types::pb::envoy::config::core::v3::TransportSocket;
use envoy_types::pb::envoy::config::core::v3::transport_socket::ConfigType;
use envoy_types::pb::envoy::config::listener::v3::{
    FilterChain as PbFilterChain, FilterChainMatch, Listener as PbListener, QuicProtocolOptions,
    UdpListenerConfig,
};
use envoy_types::pb::envoy::extensions::transport_sockets::quic::v3::QuicDownstreamTransport;
use envoy_types::pb::google::protobuf::{Any, BoolValue};

use super::defaults::fill_listener;
use super::encode::any;
use super::{listener, udp};
use crate::gateway::{FilterChain, Listener};

/// Writes the message; `filters` are the filters of the chains, in their order.
pub(super) fn encode(name: &str, value: &Listener, filters: Vec<(&str, Any)>) -> PbListener {
    let chains = value.chains.iter().zip(filters);
    let mut message = PbListener {
        name: name.to_owned(),
        address: Some(udp::address(value)),
        udp_listener_config: Some(UdpListenerConfig {
            quic_options: Some(QuicProtocolOptions::default()),
            ..UdpListenerConfig::default()
        }),
        filter_chains: chains
            .map(|(chain, (filter, config))| filter_chain(chain, filter, config))
            .collect(),
        ..PbListener::default()
    };
    fill_listener(&mut message);
    message
}

fn filter_chain(chain: &FilterChain, filter: &str, config: Any) -> PbFilterChain {
    let over_tcp = listener::filter_chain(chain, filter, config);
    PbFilterChain {
        filter_chain_match: over_tcp
            .filter_chain_match
            .map(|over_tcp| FilterChainMatch {
                transport_protocol: "quic".to_owned(),
                ..over_tcp
            }),
        transport_socket: Some(transport_socket(chain)),
        ..over_tcp
    }
}

fn transport_socket(chain: &FilterChain) -> TransportSocket {
    let transport = QuicDownstreamTransport {
        downstream_tls_context: Some(listener::downstream_tls(chain, &["h3"])),
        // Whoever has recorded an early request could send it again.
        enable_early_data: Some(BoolValue { value: false }),
        ..QuicDownstreamTransport::default()
    };
    TransportSocket {
        name: "envoy.transport_sockets.quic".to_owned(),
        config_type: Some(ConfigType::TypedConfig(any(QUIC, &transport))),
    }
}

const QUIC: &str = "envoy.extensions.transport_sockets.quic.v3.QuicDownstreamTransport";
