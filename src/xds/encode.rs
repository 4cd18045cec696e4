//! From the [`Gateway`] to a [`Snapshot`]: which value becomes which resource. How each is
//! written is in the file of its noun.

use std::collections::BTreeMap;
use std::sync::Arc;

use envoy_types::pb::envoy::config::core::v3::config_source::ConfigSourceSpecifier;
use envoy_types::pb::envoy::config::core::v3::{
    Address, AggregatedConfigSource, ApiVersion, ConfigSource, SocketAddress,
    address::Address as AddressKind, socket_address::PortSpecifier,
};
use envoy_types::pb::google::protobuf::{Any, Duration};
use prost::Message;

use super::data::{Form, Settled, Verdicts, settle};
use super::preflight::Violation;
use super::{
    Resource, ResourceType, Snapshot, Version, cluster, endpoint, listener, preflight, route,
    secret,
};
use crate::gateway::{Gateway, Listener, RouteConfiguration};
use crate::inventory::Problem;

/// Encodes everything; what is unchanged since `previous` is shared with it.
///
/// What Envoy would refuse is left out, and each such thing is a problem.
pub fn encode(gateway: &Gateway, previous: &Snapshot) -> (Snapshot, Vec<Problem>) {
    let Settled {
        gateway,
        verdicts,
        problems,
    } = settle(gateway, &previous.verdicts);
    let mut encoder = Encoder {
        previous,
        snapshot: Snapshot::default(),
        problems,
    };
    for (name, value) in &gateway.clusters {
        let version = Version::of(value);
        encoder.put(ResourceType::Cluster, name, version, |resource| {
            let given = verdicts.given(Form::Cluster, value.data.as_ref());
            resource.body = cluster::encode(name, value, given).encode_to_vec();
            resource.warms_until_acked = value.tls.is_some();
            resource.origins = vec![value.origin.clone()];
            let found = violations(ResourceType::Cluster, resource);
            let first = found.first().map(|found| found.problem(&value.origin));
            resource.problems.extend(first);
            resource.problems.is_empty()
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
            true
        });
    }
    for (name, value) in &gateway.secrets {
        let version = Version::of(value);
        encoder.put(ResourceType::Secret, name, version, |resource| {
            resource.body = secret::encode(name, value).encode_to_vec();
            resource.origins = vec![value.origin.clone()];
            true
        });
    }
    for (name, value) in &gateway.listeners {
        let version = Version::of(value);
        encoder.put(ResourceType::Listener, name, version, |resource| {
            listen(resource, value.clone(), &verdicts)
        });
    }
    for (name, value) in &gateway.routes {
        let version = Version::of(value);
        encoder.put(ResourceType::Route, name, version, |resource| {
            route_hosts(resource, value.clone());
            true
        });
    }
    let Encoder {
        mut snapshot,
        problems,
        ..
    } = encoder;
    snapshot.verdicts = verdicts;
    (snapshot, problems)
}

/// Encodes a listener without the chains that Envoy would refuse: one of them would cost all who
/// share it. Returns whether a chain is left.
fn listen(resource: &mut Resource, mut value: Listener, verdicts: &Verdicts) -> bool {
    loop {
        let filters = value.chains.iter().map(|chain| {
            let json = chain.data.as_ref().map(|data| &data.json);
            let http = verdicts.given(Form::Http, json);
            listener::filter(&resource.name, chain, http, verdicts.given(Form::Tcp, json))
        });
        let filters = filters.collect();
        resource.body = listener::encode(&resource.name, &value, filters).encode_to_vec();
        let found = violations(ResourceType::Listener, resource);
        let places = found.iter().rev();
        let bad: BTreeMap<usize, &Violation> = places
            .filter_map(|violation| Some((violation.place("filter_chains")?, violation)))
            .collect();
        if bad.is_empty() {
            break;
        }
        let mut place = 0..;
        value.chains.retain(|chain| {
            let found = place.next().and_then(|place: usize| bad.get(&place));
            let problems = chain.origins.iter().zip(found.into_iter().cycle());
            let problems = problems.map(|(origin, found)| found.problem(origin));
            resource.problems.extend(problems);
            found.is_none()
        });
    }
    resource.clusters = listener::clusters(&value);
    let chains = value.chains.iter();
    resource.origins = chains.flat_map(|chain| chain.origins.clone()).collect();
    !value.chains.is_empty()
}

/// Encodes a route configuration without the routes and virtual hosts that Envoy would refuse.
fn route_hosts(resource: &mut Resource, mut value: RouteConfiguration) {
    loop {
        resource.body = route::encode(&resource.name, &value).encode_to_vec();
        let found = violations(ResourceType::Route, resource);
        let mut bad: BTreeMap<(usize, Option<usize>), &Violation> = BTreeMap::new();
        for violation in &found {
            if let Some(host) = violation.place("virtual_hosts") {
                let route = violation.place(&format!("virtual_hosts[{host}].routes"));
                bad.entry((host, route)).or_insert(violation);
            }
        }
        if bad.is_empty() {
            break;
        }
        let mut place = 0..;
        value.virtual_hosts.retain_mut(|host| {
            let at = place.next().unwrap_or_default();
            let mut say = |found: &Violation, section: &str| {
                let mut origin = host.origin.clone();
                if !section.is_empty() {
                    section.clone_into(&mut origin.section);
                }
                resource.problems.push(found.problem(&origin));
            };
            if let Some(found) = bad.get(&(at, None)) {
                say(found, "");
                return false;
            }
            let mut place = 0..;
            host.routes.retain(|route| {
                let found = bad.get(&(at, place.next()));
                found.iter().for_each(|found| say(found, &route.section));
                found.is_none()
            });
            true
        });
    }
    resource.clusters = route::clusters(&value);
    let hosts = value.virtual_hosts.iter();
    resource.origins = hosts.map(|host| host.origin.clone()).collect();
}

fn violations(kind: ResourceType, resource: &Resource) -> Vec<Violation> {
    preflight::check(kind.url(), &resource.body).unwrap_or_default()
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
    problems: Vec<Problem>,
}

impl Encoder<'_> {
    /// Puts a resource in unless `fill` says that there is none.
    fn put(
        &mut self,
        kind: ResourceType,
        name: &str,
        version: Version,
        fill: impl FnOnce(&mut Resource) -> bool,
    ) {
        let known = self.previous.get(kind, name);
        let resource = match known.filter(|known| known.version == version) {
            Some(known) => Arc::clone(known),
            None => {
                let mut resource = Resource::new(name, version);
                if !fill(&mut resource) {
                    self.problems.append(&mut resource.problems);
                    return;
                }
                Arc::new(resource)
            }
        };
        self.problems.extend(resource.problems.iter().cloned());
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::{Origin, PathMatch, Route, VirtualHost};

    fn host(name: &str, domains: &[&str], regexes: &[&str]) -> VirtualHost {
        let routes = regexes.iter().enumerate().map(|(at, regex)| Route {
            section: format!("route#{at}"),
            path: PathMatch::Regex((*regex).to_owned()),
            case_sensitive: true,
            cluster: "x".to_owned(),
        });
        VirtualHost {
            name: name.to_owned(),
            origin: Origin {
                object: name.parse().unwrap(),
                section: "vhost#0".to_owned(),
            },
            domains: domains.iter().map(|&domain| domain.to_owned()).collect(),
            routes: routes.collect(),
        }
    }

    fn routes(hosts: Vec<VirtualHost>) -> Gateway {
        let value = RouteConfiguration {
            virtual_hosts: hosts,
        };
        Gateway {
            routes: BTreeMap::from([("l".to_owned(), value)]),
            ..Gateway::default()
        }
    }

    #[test]
    fn what_envoy_would_refuse_costs_itself_and_its_problem_stays_told() {
        let bad = routes(vec![
            host("a", &["a"], &["/a"]),
            host("b", &[], &[]),
            host("c", &["c"], &["", "/c", ""]),
        ]);
        let (first, problems) = encode(&bad, &Snapshot::default());
        let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
        let refused = "is not served, as Envoy would refuse it: virtual_hosts";
        let regex = "match.safe_regex.regex is required";
        assert_eq!(
            told,
            [
                format!("b vhost#0: {refused}[1].domains needs at least 1 items"),
                format!("c route#0: {refused}[2].routes[0].{regex}"),
                format!("c route#2: {refused}[2].routes[2].{regex}"),
            ]
        );
        let mut left = host("c", &["c"], &["", "/c"]);
        left.routes.remove(0);
        let good = routes(vec![host("a", &["a"], &["/a"]), left]);
        let (good, none) = encode(&good, &Snapshot::default());
        let body = |snapshot: &Snapshot| {
            let resource = snapshot.get(ResourceType::Route, "l").unwrap();
            super::super::json::to_json(ResourceType::Route.url(), &resource.body).unwrap()
        };
        assert_eq!(body(&first), body(&good));
        assert!(none.is_empty());
        let (second, again) = encode(&bad, &first);
        assert_eq!(again, problems);
        let shared =
            |snapshot: &Snapshot| Arc::clone(snapshot.get(ResourceType::Route, "l").unwrap());
        assert!(Arc::ptr_eq(&shared(&first), &shared(&second)));
    }
}
