//! The endpoints of a cluster as an Envoy `ClusterLoadAssignment` (config.endpoint.v3).

use envoy_types::pb::envoy::config::core::v3::HealthStatus;
use envoy_types::pb::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
use envoy_types::pb::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint as PbEndpoint, LbEndpoint, LocalityLbEndpoints,
};

use super::encode::socket_address;
use crate::gateway::{Endpoint, Health};

/// Writes the message. Without endpoints it says "none", which is how a service is emptied.
pub fn encode(cluster: &str, endpoints: &[Endpoint]) -> ClusterLoadAssignment {
    let hosts: Vec<LbEndpoint> = endpoints.iter().map(host).collect();
    let locality = LocalityLbEndpoints {
        lb_endpoints: hosts,
        ..LocalityLbEndpoints::default()
    };
    ClusterLoadAssignment {
        cluster_name: cluster.to_owned(),
        endpoints: if endpoints.is_empty() {
            Vec::new()
        } else {
            vec![locality]
        },
        ..ClusterLoadAssignment::default()
    }
}

fn host(endpoint: &Endpoint) -> LbEndpoint {
    let health = match endpoint.health {
        Health::Healthy => HealthStatus::Unknown,
        Health::Draining => HealthStatus::Draining,
    };
    LbEndpoint {
        health_status: health.into(),
        host_identifier: Some(HostIdentifier::Endpoint(PbEndpoint {
            address: Some(socket_address(endpoint.address, endpoint.port)),
            ..PbEndpoint::default()
        })),
        ..LbEndpoint::default()
    }
}
