//! A cluster of the gateway as an Envoy `Cluster` (config.cluster.v3).

use std::collections::HashMap;

use envoy_types::pb::envoy::config::cluster::v3::Cluster as PbCluster;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, DiscoveryType, EdsClusterConfig, LbPolicy as PbLbPolicy,
};
use envoy_types::pb::envoy::config::core::v3::transport_socket::ConfigType;
use envoy_types::pb::envoy::config::core::v3::{
    Http1ProtocolOptions, Http2ProtocolOptions, TransportSocket, UpstreamHttpProtocolOptions,
};
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::{
    CommonTlsContext, UpstreamTlsContext, common_tls_context::ValidationContextType,
};
use envoy_types::pb::envoy::extensions::upstreams::http::v3::HttpProtocolOptions;
use envoy_types::pb::envoy::extensions::upstreams::http::v3::http_protocol_options::{
    ExplicitHttpConfig, UpstreamProtocolOptions, explicit_http_config::ProtocolConfig,
};

use super::defaults::fill_cluster;
use super::encode::{ads, any, milliseconds};
use super::guard;
use super::listener::{sds, tls_parameters};
use crate::gateway::{BackendProtocol, Cluster, LbPolicy, UpstreamTls};

/// Writes the message.
pub fn encode(name: &str, cluster: &Cluster) -> PbCluster {
    let mut options = HashMap::new();
    if cluster.http {
        let value = any(HTTP_PROTOCOL_OPTIONS, &http_options(cluster));
        options.insert(HTTP_PROTOCOL_OPTIONS.to_owned(), value);
    }
    let discovery = match cluster.lb_policy {
        // Envoy takes the addresses of such a cluster from the connections themselves.
        LbPolicy::OriginalDst => DiscoveryType::OriginalDst,
        _ => DiscoveryType::Eds,
    };
    let tls = cluster.tls.as_ref().map(transport_socket);
    let mut message = PbCluster {
        name: name.to_owned(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(discovery.into())),
        eds_cluster_config: (discovery == DiscoveryType::Eds).then(|| EdsClusterConfig {
            eds_config: Some(ads()),
            service_name: String::new(),
        }),
        connect_timeout: Some(milliseconds(cluster.connect_timeout_ms)),
        lb_policy: lb_policy(cluster.lb_policy).into(),
        transport_socket: match cluster.proxy_protocol {
            Some(version) => Some(guard::telling(version, tls)),
            None => tls,
        },
        typed_extension_protocol_options: options,
        ..PbCluster::default()
    };
    fill_cluster(&mut message, cluster);
    message
}

/// Whether the cluster is used only when Envoy has acknowledged it: until its secret is there, or
/// its hosts were checked for the first time, it warms although it has its endpoints.
pub fn warms_until_acked(cluster: &Cluster) -> bool {
    cluster.tls.is_some() || cluster.health_check.is_some()
}

fn lb_policy(policy: LbPolicy) -> PbLbPolicy {
    match policy {
        LbPolicy::RoundRobin => PbLbPolicy::RoundRobin,
        LbPolicy::LeastRequest => PbLbPolicy::LeastRequest,
        LbPolicy::RingHash => PbLbPolicy::RingHash,
        LbPolicy::Random => PbLbPolicy::Random,
        LbPolicy::OriginalDst => PbLbPolicy::ClusterProvided,
        LbPolicy::Maglev => PbLbPolicy::Maglev,
    }
}

/// Over TLS the host of each request is the server name.
fn http_options(cluster: &Cluster) -> HttpProtocolOptions {
    let tls = cluster.tls.is_some();
    let protocol = match cluster.backend_protocol {
        BackendProtocol::Http1 => {
            ProtocolConfig::HttpProtocolOptions(Http1ProtocolOptions::default())
        }
        BackendProtocol::Http2 => {
            ProtocolConfig::Http2ProtocolOptions(Http2ProtocolOptions::default())
        }
    };
    HttpProtocolOptions {
        upstream_http_protocol_options: tls.then(|| UpstreamHttpProtocolOptions {
            auto_sni: true,
            ..UpstreamHttpProtocolOptions::default()
        }),
        upstream_protocol_options: Some(UpstreamProtocolOptions::ExplicitHttpConfig(
            ExplicitHttpConfig {
                protocol_config: Some(protocol),
            },
        )),
        ..HttpProtocolOptions::default()
    }
}

fn transport_socket(tls: &UpstreamTls) -> TransportSocket {
    let context = UpstreamTlsContext {
        sni: tls.sni.clone().unwrap_or_default(),
        auto_sni_san_validation: tls.verify_server_name,
        common_tls_context: Some(CommonTlsContext {
            tls_params: Some(tls_parameters()),
            tls_certificate_sds_secret_configs: tls
                .certificate
                .iter()
                .map(|name| sds(name))
                .collect(),
            validation_context_type: tls
                .validation
                .as_ref()
                .map(|name| ValidationContextType::ValidationContextSdsSecretConfig(sds(name))),
            ..CommonTlsContext::default()
        }),
        ..UpstreamTlsContext::default()
    };
    TransportSocket {
        name: "envoy.transport_sockets.tls".to_owned(),
        config_type: Some(ConfigType::TypedConfig(any(UPSTREAM_TLS, &context))),
    }
}

const HTTP_PROTOCOL_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
const UPSTREAM_TLS: &str = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext";
