//! The endpoints of a cluster as an Envoy `ClusterLoadAssignment` (config.endpoint.v3).

use std::collections::BTreeMap;

use envoy_types::pb::envoy::config::core::v3::{HealthStatus, Locality as PbLocality};
use envoy_types::pb::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
use envoy_types::pb::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint as PbEndpoint, LbEndpoint, LocalityLbEndpoints,
};
use envoy_types::pb::google::protobuf::UInt32Value;

use super::encode::socket_address;
use crate::gateway::{Endpoint, Health, Locality};

/// Writes the message. Without endpoints it says "none", which is how a service is emptied.
///
/// Each locality weighs as much as it has endpoints, so that all endpoints count alike even where
/// a service has Envoy weigh localities (`cluster_data`); without that, Envoy does not look.
pub fn encode(cluster: &str, endpoints: &[Endpoint]) -> ClusterLoadAssignment {
    let mut localities: BTreeMap<Option<&Locality>, Vec<LbEndpoint>> = BTreeMap::new();
    for endpoint in endpoints {
        let hosts = localities.entry(endpoint.locality.as_deref()).or_default();
        hosts.push(host(endpoint));
    }
    let weigh = localities.keys().any(Option::is_some);
    let localities = localities.into_iter().map(|(locality, hosts)| {
        let weight = u32::try_from(hosts.len()).unwrap_or(u32::MAX);
        LocalityLbEndpoints {
            locality: locality.map(|locality| PbLocality {
                region: locality.region.clone(),
                zone: locality.zone.clone(),
                sub_zone: locality.sub_zone.clone(),
            }),
            lb_endpoints: hosts,
            load_balancing_weight: weigh.then_some(UInt32Value { value: weight }),
            ..LocalityLbEndpoints::default()
        }
    });
    ClusterLoadAssignment {
        cluster_name: cluster.to_owned(),
        endpoints: localities.collect(),
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
