//! From the [`Gateway`] to a [`Snapshot`]: which value becomes which resource. How each is
//! written is in the file of its noun.

use std::sync::Arc;

use envoy_types::pb::envoy::config::core::v3::config_source::ConfigSourceSpecifier;
use envoy_types::pb::envoy::config::core::v3::{
    Address, AggregatedConfigSource, ApiVersion, ConfigSource, SocketAddress,
    address::Address as AddressKind, socket_address::PortSpecifier,
};
use envoy_types::pb::google::protobuf::{Any, Duration};
use prost::Message;

use super::{
    Resource, ResourceType, Snapshot, Version, cluster, endpoint, listener, route, secret,
};
use crate::gateway::{Gateway, RouteConfiguration};

/// Encodes everything; what is unchanged since `previous` is shared with it.
pub fn encode(gateway: &Gateway, previous: &Snapshot) -> Snapshot {
    let mut encoder = Encoder {
        previous,
        snapshot: Snapshot::default(),
    };
    for (name, value) in &gateway.clusters {
        let version = Version::of(value);
        encoder.put(ResourceType::Cluster, name, version, |resource| {
            resource.body = cluster::encode(name, value).encode_to_vec();
            resource.warms_until_acked = cluster::warms_until_acked(value);
            resource.origins = vec![value.origin.clone()];
        });
    }
    for (name, value) in &gateway.endpoints {
        let version = Version::of(value);
        encoder.put(ResourceType::Endpoint, name, version, |resource| {
            resource.body = endpoint::encode(name, value).encode_to_vec();
            let cluster = gateway.clusters.get(name);
            resource.origins = cluster
                .map(|cluster| cluster.origin.clone())
                .into_iter()
                .collect();
        });
    }
    for (name, value) in &gateway.secrets {
        let version = Version::of(value);
        encoder.put(ResourceType::Secret, name, version, |resource| {
            resource.body = secret::encode(name, value).encode_to_vec();
            resource.origins = vec![value.origin.clone()];
        });
    }
    for (name, value) in &gateway.listeners {
        let version = Version::of(value);
        encoder.put(ResourceType::Listener, name, version, |resource| {
            resource.body = listener::encode(name, value).encode_to_vec();
            resource.clusters = listener::clusters(value);
            let chains = value.chains.iter();
            resource.origins = chains.flat_map(|chain| chain.origins.clone()).collect();
        });
    }
    for (name, value) in &gateway.routes {
        let version = Version::of(value);
        encoder.put(ResourceType::Route, name, version, |resource| {
            resource.body = route::encode(name, value).encode_to_vec();
            resource.clusters = route::clusters(value);
            let hosts = value.virtual_hosts.iter();
            resource.origins = hosts.map(|host| host.origin.clone()).collect();
        });
    }
    encoder.snapshot
}

/// The answer to a client that asks for a route configuration which does not exist: one without
/// virtual hosts. Envoy would keep a listener warming for ever if it were told "removed".
pub fn absent_route(name: &str) -> Resource {
    let value = RouteConfiguration::default();
    let mut resource = Resource::new(name, Version::of(&value));
    resource.body = route::encode(name, &value).encode_to_vec();
    resource
}

struct Encoder<'a> {
    previous: &'a Snapshot,
    snapshot: Snapshot,
}

impl Encoder<'_> {
    fn put(
        &mut self,
        kind: ResourceType,
        name: &str,
        version: Version,
        fill: impl FnOnce(&mut Resource),
    ) {
        let known = self.previous.get(kind, name);
        let resource = match known.filter(|known| known.version == version) {
            Some(known) => Arc::clone(known),
            None => {
                let mut resource = Resource::new(name, version);
                fill(&mut resource);
                Arc::new(resource)
            }
        };
        self.snapshot.insert(kind, resource);
    }
}

/// Packs a message with its type URL.
pub(super) fn any(type_name: &str, message: &impl Message) -> Any {
    Any {
        type_url: format!("type.googleapis.com/{type_name}"),
        value: message.encode_to_vec(),
    }
}

/// "Ask me, on this stream": every config source that is written points at ADS.
pub(super) fn ads() -> ConfigSource {
    ConfigSource {
        resource_api_version: ApiVersion::V3.into(),
        config_source_specifier: Some(ConfigSourceSpecifier::Ads(AggregatedConfigSource {})),
        ..ConfigSource::default()
    }
}

/// A socket address.
pub(super) fn socket_address(address: std::net::IpAddr, port: u16) -> Address {
    Address {
        address: Some(AddressKind::SocketAddress(SocketAddress {
            address: address.to_string(),
            port_specifier: Some(PortSpecifier::PortValue(port.into())),
            ..SocketAddress::default()
        })),
    }
}

/// A duration of whole milliseconds.
pub(super) fn milliseconds(milliseconds: u32) -> Duration {
    Duration {
        seconds: i64::from(milliseconds / 1_000),
        nanos: (milliseconds % 1_000) as i32 * 1_000_000,
    }
}
