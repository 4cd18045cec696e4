//! The endpoints of a cluster as an Envoy `ClusterLoadAssignment` (config.endpoint.v3).
//!
//! It is what is sent most, so it is written as it lies on the wire and no message is made first:
//! <https://protobuf.dev/programming-guides/encoding/>.

use std::collections::BTreeMap;
use std::net::IpAddr;

use envoy_types::pb::envoy::config::core::v3::{HealthStatus, Locality as PbLocality};
use envoy_types::pb::google::protobuf::UInt32Value;
use prost::encoding::{WireType, encode_key, encode_varint, int32, message, uint32};

use crate::gateway::{Endpoint, Health, Locality};

/// Writes the message. Without endpoints it says "none", which is how a service is emptied.
///
/// Each locality weighs as much as it has endpoints, so that all endpoints count alike even where
/// a service has Envoy weigh localities (`cluster_data`); without that, Envoy does not look.
pub fn encode(cluster: &str, endpoints: &[Endpoint]) -> Vec<u8> {
    let mut localities: BTreeMap<Option<&Locality>, Vec<&Endpoint>> = BTreeMap::new();
    for endpoint in endpoints {
        let hosts = localities.entry(endpoint.locality.as_deref()).or_default();
        hosts.push(endpoint);
    }
    let weigh = localities.keys().any(Option::is_some);
    let mut body = Vec::with_capacity(cluster.len() + HOST_BYTES * (endpoints.len() + 1));
    part(CLUSTER_NAME, &mut body, |body| {
        body.extend_from_slice(cluster.as_bytes());
    });
    for (locality, hosts) in localities {
        part(ENDPOINTS, &mut body, |body| {
            group(locality, &hosts, weigh, body);
        });
    }
    body
}

/// A `LocalityLbEndpoints`.
fn group(locality: Option<&Locality>, hosts: &[&Endpoint], weigh: bool, body: &mut Vec<u8>) {
    if let Some(locality) = locality {
        let locality = PbLocality {
            region: locality.region.clone(),
            zone: locality.zone.clone(),
            sub_zone: locality.sub_zone.clone(),
        };
        message::encode(LOCALITY, &locality, body);
    }
    for endpoint in hosts {
        part(LB_ENDPOINTS, body, |body| host(endpoint, body));
    }
    if weigh {
        let value = u32::try_from(hosts.len()).unwrap_or(u32::MAX);
        message::encode(LOAD_BALANCING_WEIGHT, &UInt32Value { value }, body);
    }
}

/// An `LbEndpoint`.
fn host(endpoint: &Endpoint, body: &mut Vec<u8>) {
    part(ENDPOINT, body, |body| {
        part(ADDRESS, body, |body| {
            part(SOCKET_ADDRESS, body, |body| {
                part(SOCKET_ADDRESS_ADDRESS, body, |body| {
                    ip(endpoint.address, body);
                });
                uint32::encode(PORT_VALUE, &endpoint.port.into(), body);
            });
        });
    });
    match endpoint.health {
        // Nothing said is "unknown", which is sent to.
        Health::Healthy => {}
        Health::Draining => int32::encode(HEALTH_STATUS, &HealthStatus::Draining.into(), body),
    }
}

/// An address as a text.
fn ip(address: IpAddr, body: &mut Vec<u8>) {
    let IpAddr::V4(address) = address else {
        body.extend_from_slice(address.to_string().as_bytes());
        return;
    };
    for (place, octet) in address.octets().into_iter().enumerate() {
        if place > 0 {
            body.push(b'.');
        }
        let digits = [octet / 100, octet / 10 % 10, octet % 10].map(|digit| b'0' + digit);
        let zeros = usize::from(octet < 100) + usize::from(octet < 10);
        body.extend(digits.into_iter().skip(zeros));
    }
}

/// A text or a message within another: its length stands before it, and is known behind it.
fn part(field: u32, body: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) {
    encode_key(field, WireType::LengthDelimited, body);
    let start = body.len();
    body.push(0);
    fill(body);
    let length = body.len() - start - 1;
    match (u8::try_from(length), body.get_mut(start)) {
        (Ok(short @ 0..=SHORT_MAX), Some(place)) => *place = short,
        _ => {
            let mut long = Vec::new();
            encode_varint(length as u64, &mut long);
            body.splice(start..=start, long);
        }
    }
}

/// The largest length that is one byte.
const SHORT_MAX: u8 = 0x7f;
/// The room for an endpoint: the most of an IPv4 address is 28.
const HOST_BYTES: usize = 32;

// The numbers of the fields: config/endpoint/v3/{endpoint,endpoint_components}.proto and
// config/core/v3/address.proto.
const CLUSTER_NAME: u32 = 1;
const ENDPOINTS: u32 = 2;
const LOCALITY: u32 = 1;
const LB_ENDPOINTS: u32 = 2;
const LOAD_BALANCING_WEIGHT: u32 = 3;
const ENDPOINT: u32 = 1;
const HEALTH_STATUS: u32 = 2;
const ADDRESS: u32 = 1;
const SOCKET_ADDRESS: u32 = 1;
const SOCKET_ADDRESS_ADDRESS: u32 = 2;
const PORT_VALUE: u32 = 3;

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
    use envoy_types::pb::envoy::config::endpoint::v3::{
        ClusterLoadAssignment, Endpoint as PbEndpoint, LbEndpoint, LocalityLbEndpoints,
    };
    use prost::Message;

    use super::super::encode::socket_address;
    use super::*;

    /// The same as a message.
    fn assignment(cluster: &str, endpoints: &[Endpoint]) -> ClusterLoadAssignment {
        let mut groups: Vec<(Option<Locality>, Vec<LbEndpoint>)> = Vec::new();
        for endpoint in endpoints {
            let health = match endpoint.health {
                Health::Healthy => HealthStatus::Unknown,
                Health::Draining => HealthStatus::Draining,
            };
            let host = LbEndpoint {
                health_status: health.into(),
                host_identifier: Some(HostIdentifier::Endpoint(PbEndpoint {
                    address: Some(socket_address(endpoint.address, endpoint.port)),
                    ..PbEndpoint::default()
                })),
                ..LbEndpoint::default()
            };
            let locality = endpoint.locality.as_deref().cloned();
            match groups.iter_mut().find(|(known, _)| *known == locality) {
                Some((_, hosts)) => hosts.push(host),
                None => groups.push((locality, vec![host])),
            }
        }
        groups.sort_by(|one, other| one.0.cmp(&other.0));
        let weigh = groups.iter().any(|(locality, _)| locality.is_some());
        let groups = groups.into_iter().map(|(locality, hosts)| {
            let value = u32::try_from(hosts.len()).unwrap();
            LocalityLbEndpoints {
                locality: locality.map(|it| PbLocality {
                    region: it.region,
                    zone: it.zone,
                    sub_zone: it.sub_zone,
                }),
                lb_endpoints: hosts,
                load_balancing_weight: weigh.then_some(UInt32Value { value }),
                ..LocalityLbEndpoints::default()
            }
        });
        ClusterLoadAssignment {
            cluster_name: cluster.to_owned(),
            endpoints: groups.collect(),
            ..ClusterLoadAssignment::default()
        }
    }

    fn endpoint(address: &str, port: u16, health: Health, zone: Option<&str>) -> Endpoint {
        Endpoint {
            address: address.parse().unwrap(),
            port,
            health,
            locality: zone.map(|zone| {
                Box::new(Locality {
                    zone: zone.to_owned(),
                    ..Locality::default()
                })
            }),
        }
    }

    #[test]
    fn what_is_written_is_what_the_message_is_on_the_wire() {
        let addresses = ["1.2.3.4", "10.0.99.100", "255.255.0.199", "fd00::1", "::"];
        let mut endpoints = Vec::new();
        for count in 0..40_u16 {
            let name = "n".repeat(usize::from(count) * 11 + 1);
            let message = assignment(&name, &endpoints);
            assert_eq!(encode(&name, &endpoints), message.encode_to_vec());
            let address = addresses[usize::from(count) % addresses.len()];
            let health = match count % 3 {
                0 => Health::Draining,
                _ => Health::Healthy,
            };
            let zone = [None, None, Some("b"), Some("a"), Some("")];
            let zone = zone[usize::from(count / 5) % zone.len()];
            endpoints.push(endpoint(address, count * 1_600, health, zone));
        }
    }
}
