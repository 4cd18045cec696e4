//! A cluster of the gateway as an Envoy `Cluster` (config.cluster.v3).

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

use prost::Message;

use super::data::Given;
use super::defaults::fill_cluster;
use super::encode::{ads, any};
use super::guard;
use super::listener::{sds, tls_parameters};
use crate::gateway::{BackendProtocol, Cluster, LbPolicy, UpstreamTls};

/// Fills the message up. What the service has given wins, but for the name and the discovery.
pub fn encode(name: &str, cluster: &Cluster, given: Given<PbCluster>) -> PbCluster {
    let mut message = given.message.clone();
    if !given.has("lb_policy") {
        message.lb_policy = lb_policy(cluster.lb_policy).into();
    }
    let discovery = match message.lb_policy() {
        // Envoy takes the addresses of such a cluster from the connections themselves.
        PbLbPolicy::ClusterProvided => DiscoveryType::OriginalDst,
        _ => DiscoveryType::Eds,
    };
    name.clone_into(&mut message.name);
    message.cluster_discovery_type = Some(ClusterDiscoveryType::Type(discovery.into()));
    message.eds_cluster_config = (discovery == DiscoveryType::Eds).then(|| EdsClusterConfig {
        eds_config: Some(ads()),
        service_name: String::new(),
    });
    if message.transport_socket.is_none() && message.transport_socket_matches.is_empty() {
        let tls = cluster.tls.as_deref().map(transport_socket);
        message.transport_socket = match cluster.proxy_protocol {
            Some(version) => Some(guard::telling(version, tls)),
            None => tls,
        };
    }
    if cluster.http {
        let options = &mut message.typed_extension_protocol_options;
        let given = options.remove(HTTP_PROTOCOL_OPTIONS);
        let given = given.and_then(|given| HttpProtocolOptions::decode(&*given.value).ok());
        let filled = any(
            HTTP_PROTOCOL_OPTIONS,
            &http_options(cluster, given.unwrap_or_default()),
        );
        options.insert(HTTP_PROTOCOL_OPTIONS.to_owned(), filled);
    }
    fill_cluster(&mut message, &given, cluster);
    message
}

/// Whether the cluster is used only when Envoy has acknowledged it: until its secret is there, or
/// its hosts were checked for the first time, it warms although it has its endpoints.
pub fn warms_until_acked(cluster: &Cluster, message: &PbCluster) -> bool {
    cluster.tls.is_some() || !message.health_checks.is_empty()
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

/// The protocol that the expose wants to the backends; over TLS the host of each request is the
/// server name, which their certificates are then held to.
fn http_options(cluster: &Cluster, given: HttpProtocolOptions) -> HttpProtocolOptions {
    let mut options = given;
    if cluster.tls.is_some() && options.upstream_http_protocol_options.is_none() {
        options.upstream_http_protocol_options = Some(UpstreamHttpProtocolOptions {
            auto_sni: true,
            ..UpstreamHttpProtocolOptions::default()
        });
    }
    let protocol = match cluster.backend_protocol {
        BackendProtocol::Http1 => {
            ProtocolConfig::HttpProtocolOptions(Http1ProtocolOptions::default())
        }
        BackendProtocol::Http2 => {
            ProtocolConfig::Http2ProtocolOptions(Http2ProtocolOptions::default())
        }
    };
    let explicit = ExplicitHttpConfig {
        protocol_config: Some(protocol),
    };
    options
        .upstream_protocol_options
        .get_or_insert(UpstreamProtocolOptions::ExplicitHttpConfig(explicit));
    options
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
