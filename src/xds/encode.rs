//! From the [`Gateway`] to the resources of a [`Snapshot`]: which value becomes which. How each is
//! written is in the file of its noun, and which of them are written anew in `encoding`.

use std::collections::BTreeMap;
use std::hash::Hash;
use std::sync::Arc;

use envoy_types::pb::envoy::config::core::v3::config_source::ConfigSourceSpecifier;
use envoy_types::pb::envoy::config::core::v3::{
    Address, AggregatedConfigSource, ApiVersion, ConfigSource, SocketAddress,
    address::Address as AddressKind, socket_address::PortSpecifier,
};
use envoy_types::pb::google::protobuf::{Any, Duration};
use prost::Message;

use super::checked::{self, Checked};
use super::data::{Form, Verdicts};
use super::layout::Layouts;
use super::preflight::Violation;
use super::{
    Resource, ResourceType, Snapshot, Version, cluster, endpoint, listener, preflight, route,
    scope, secret,
};
use crate::gateway::{Cluster, Gateway, Listener, RouteConfiguration, VirtualHost};
use crate::inventory::Problem;

/// Encodes one resource after the other.
pub(super) struct Writer<'a> {
    /// What was settled.
    pub(super) gateway: &'a Gateway,
    /// How its virtual hosts are laid out.
    pub(super) layouts: &'a Layouts,
    /// The JSON of the services in it.
    pub(super) verdicts: &'a Verdicts,
    /// What was encoded before.
    pub(super) previous: &'a Snapshot,
    /// What need not be looked at.
    pub(super) checked: &'a mut Checked,
}

/// What came of a value of the gateway.
#[derive(Default)]
pub(super) struct Written {
    /// The resource; `None` where there is no such value, or nothing is left of it.
    pub(super) resource: Option<Arc<Resource>>,
    /// What was left out.
    pub(super) problems: Vec<Problem>,
}

impl Writer<'_> {
    /// Encodes the value of that name.
    pub(super) fn write(&mut self, kind: ResourceType, name: &str) -> Written {
        let (gateway, verdicts, previous) = (self.gateway, self.verdicts, self.previous);
        let layouts = self.layouts;
        let checked = &mut *self.checked;
        let put = Put {
            kind,
            name,
            previous,
        };
        let written = match kind {
            ResourceType::Cluster => gateway.clusters.get(name).map(|value| {
                put.put(value, |resource| {
                    cluster(resource, value, verdicts, checked)
                })
            }),
            ResourceType::Endpoint => gateway.endpoints.get(name).map(|value| {
                put.put(value, |resource| {
                    resource.body = endpoint::encode(name, value);
                    let cluster = gateway.clusters.get(name);
                    let origin = cluster.map(|cluster| cluster.origin.clone());
                    resource.origins = origin.into_iter().collect();
                    true
                })
            }),
            ResourceType::Secret => gateway.secrets.get(name).map(|value| {
                put.put(value, |resource| {
                    resource.body = secret::encode(name, value).encode_to_vec();
                    resource.origins = [value.origin.clone()].into();
                    true
                })
            }),
            ResourceType::Scope => layouts.scope(name).map(|(routes, bucket)| {
                put.put(&(routes, bucket), |resource| {
                    resource.body = scope::encode(routes, bucket).encode_to_vec();
                    true
                })
            }),
            ResourceType::Listener => gateway.listeners.get(name).map(|value| {
                let scoped = layouts.of_listener(value);
                let version = match scoped.is_empty() {
                    true => Version::of(value),
                    false => Version::of(&(value, &scoped)),
                };
                put.put_as(version, |resource| {
                    resource.scoped = scoped.into();
                    let known = previous.get(kind, name).map(AsRef::as_ref);
                    listen(resource, Listener::clone(value), verdicts, known)
                })
            }),
            ResourceType::Route => layouts.routes(gateway, name).map(|value| {
                put.put_as(Version::of(value.as_ref()), |resource| {
                    let known = previous.get(kind, name).map(AsRef::as_ref);
                    let hidden = layouts.scope(name).map(|_| scope::HEADER);
                    route_hosts(resource, value.into_owned(), hidden, known, checked);
                    true
                })
            }),
        };
        written.unwrap_or_default()
    }
}

/// Where a resource is put.
struct Put<'a> {
    kind: ResourceType,
    name: &'a str,
    previous: &'a Snapshot,
}

impl Put<'_> {
    /// What was encoded of the same value before, or what `fill` makes of it unless it says that
    /// nothing is left.
    fn put(&self, value: &impl Hash, fill: impl FnOnce(&mut Resource) -> bool) -> Written {
        self.put_as(Version::of(value), fill)
    }

    /// The same, of a value of that version.
    fn put_as(&self, version: Version, fill: impl FnOnce(&mut Resource) -> bool) -> Written {
        let (kind, name) = (self.kind, self.name);
        let known = self.previous.get(kind, name);
        let resource = match known.filter(|known| known.version == version) {
            Some(known) => Arc::clone(known),
            None => {
                let mut resource = Resource::new(name, version);
                if !fill(&mut resource) {
                    return Written {
                        resource: None,
                        problems: resource.problems,
                    };
                }
                Arc::new(resource)
            }
        };
        Written {
            problems: resource.problems.clone(),
            resource: Some(resource),
        }
    }
}

/// Encodes a cluster; returns whether Envoy would take it.
fn cluster(
    resource: &mut Resource,
    value: &Cluster,
    verdicts: &Verdicts,
    checked: &mut Checked,
) -> bool {
    let given = || verdicts.given(Form::Cluster, value.data.as_ref());
    let message = cluster::encode(&resource.name, value, given());
    resource.warms_until_acked = cluster::warms_until_acked(value, &message);
    resource.body = message.encode_to_vec();
    resource.origins = [value.origin.clone()].into();
    let shape = checked::of_cluster(value, given());
    if checked.has(shape) {
        return true;
    }
    let found = violations(ResourceType::Cluster, &resource.body);
    if let Some(first) = found.first() {
        resource.problems.push(first.problem(&value.origin));
        return false;
    }
    checked.add(shape);
    true
}

/// Encodes a listener without the chains that Envoy would refuse: one of them would cost all who
/// share it. Returns whether a chain is left. What `known` has was checked already.
fn listen(
    resource: &mut Resource,
    mut value: Listener,
    verdicts: &Verdicts,
    known: Option<&Resource>,
) -> bool {
    let scoped = resource.scoped.clone();
    let encode = |name: &str, value: &Listener| {
        let filters = value.chains.iter().map(|chain| {
            let json = chain.data.as_ref().map(|data| &data.json);
            let http = verdicts.given(Form::Http, json);
            let tcp = verdicts.given(Form::Tcp, json);
            listener::filter(name, value, chain, (http, tcp), &scoped)
        });
        listener::encode(name, value, filters.collect()).encode_to_vec()
    };
    let mut chains = with_known(std::mem::take(&mut value.chains), known);
    loop {
        value.chains = unknown(&chains);
        resource.body = encode(&resource.name, &value);
        let found = violations(ResourceType::Listener, &resource.body);
        let found = found.iter().rev();
        let bad: BTreeMap<usize, Violation> = found
            .filter_map(|violation| violation.within("filter_chains"))
            .collect();
        if bad.is_empty() {
            break;
        }
        let mut place = 0..;
        chains.retain(|(is_known, chain)| {
            let place = if *is_known { None } else { place.next() };
            let found = place.and_then(|place| bad.get(&place));
            for (origin, found) in chain.origins.iter().zip(found.into_iter().cycle()) {
                resource.problems.push(found.problem(origin));
            }
            found.is_none()
        });
    }
    value.chains = chains.into_iter().map(|(_, chain)| chain).collect();
    resource.body = encode(&resource.name, &value);
    resource.checked = versions(&value.chains);
    resource.clusters = listener::clusters(&value).into();
    let chains = value.chains.iter();
    resource.origins = chains.flat_map(|chain| chain.origins.clone()).collect();
    !value.chains.is_empty()
}

/// Encodes a route configuration without the routes and virtual hosts that Envoy would refuse.
/// A `hidden` header of requests is not passed on. What `known` has was checked already.
fn route_hosts(
    resource: &mut Resource,
    mut value: RouteConfiguration,
    hidden: Option<&str>,
    known: Option<&Resource>,
    checked: &mut Checked,
) {
    let mut hosts = with_known(std::mem::take(&mut value.virtual_hosts), known);
    sift(&mut hosts, &resource.name, checked);
    loop {
        value.virtual_hosts = unknown(&hosts);
        if value.virtual_hosts.is_empty() {
            break;
        }
        resource.body = route::encode(&resource.name, &value, None);
        let mut bad: BTreeMap<(usize, Option<usize>), Violation> = BTreeMap::new();
        for violation in violations(ResourceType::Route, &resource.body) {
            let Some((host, violation)) = violation.within("virtual_hosts") else {
                continue;
            };
            let (route, violation) = match violation.within("routes") {
                Some((route, violation)) => (Some(route), violation),
                None => (None, violation),
            };
            bad.entry((host, route)).or_insert(violation);
        }
        if bad.is_empty() {
            break;
        }
        let mut place = 0..;
        hosts.retain_mut(|(is_known, host)| {
            if *is_known {
                return true;
            }
            let at = place.next().unwrap_or_default();
            if let Some(found) = bad.get(&(at, None)) {
                resource.problems.push(found.problem(&host.origin));
                return false;
            }
            leave_out_routes(
                Arc::make_mut(host),
                |place| bad.get(&(at, Some(place))),
                resource,
            );
            true
        });
    }
    value.virtual_hosts = hosts.into_iter().map(|(_, host)| host).collect();
    resource.body = route::encode(&resource.name, &value, hidden);
    resource.checked = versions(&value.virtual_hosts);
    resource.clusters = route::clusters(&value).into();
    let hosts = value.virtual_hosts.iter();
    resource.origins = hosts.map(|host| host.origin.clone()).collect();
}

/// Looks at one host of each shape, and if nothing is wrong with any, they are all known.
fn sift(hosts: &mut [(bool, Arc<VirtualHost>)], name: &str, checked: &mut Checked) {
    let shapes = hosts.iter().map(|(is_known, host)| {
        let shape = (!is_known).then(|| checked::of_host(host));
        shape.filter(|shape| !checked.has(*shape))
    });
    let shapes: Vec<Option<Version>> = shapes.collect();
    let of_a_kind = shapes.iter().zip(hosts.iter());
    let of_a_kind = of_a_kind.filter_map(|(shape, (_, host))| Some(((*shape)?, host)));
    let of_a_kind: BTreeMap<Version, &Arc<VirtualHost>> = of_a_kind.collect();
    let virtual_hosts = of_a_kind.values().map(|host| Arc::clone(host));
    let value = RouteConfiguration {
        virtual_hosts: virtual_hosts.collect(),
    };
    let is_good = value.virtual_hosts.is_empty() || {
        let body = route::encode(name, &value, None);
        violations(ResourceType::Route, &body).is_empty()
    };
    if !is_good {
        return;
    }
    for shape in of_a_kind.into_keys() {
        checked.add(shape);
    }
    for (is_known, _) in hosts {
        *is_known = true;
    }
}

fn leave_out_routes<'v>(
    host: &mut VirtualHost,
    bad: impl Fn(usize) -> Option<&'v Violation>,
    resource: &mut Resource,
) {
    let mut place = 0..;
    host.routes.retain(|route| {
        let found = place.next().and_then(&bad);
        if let Some(found) = found {
            let mut origin = host.origin.clone();
            if !route.section.is_empty() {
                origin.section = route.section.clone().into();
            }
            resource.problems.push(found.problem(&origin));
        }
        found.is_none()
    });
}

/// The versions of items, in order.
fn versions(items: &[impl Hash]) -> Box<[Version]> {
    let mut versions: Box<[Version]> = items.iter().map(Version::of).collect();
    versions.sort_unstable();
    versions
}

/// The items of a resource, each with whether it is in an older copy and so was checked.
fn with_known<T: Hash>(items: Vec<T>, known: Option<&Resource>) -> Vec<(bool, T)> {
    let items = items.into_iter().map(|item| {
        let version = Version::of(&item);
        let is_known = known.is_some_and(|known| known.checked.binary_search(&version).is_ok());
        (is_known, item)
    });
    items.collect()
}

fn unknown<T: Clone>(items: &[(bool, T)]) -> Vec<T> {
    let unknown = items.iter().filter(|(is_known, _)| !is_known);
    unknown.map(|(_, item)| item.clone()).collect()
}

fn violations(kind: ResourceType, body: &[u8]) -> Vec<Violation> {
    preflight::check(kind.url(), body).unwrap_or_default()
}

/// The answer to a client that asks for a route configuration which does not exist: one without
/// virtual hosts. Envoy would keep a listener warming for ever if it were told "removed".
pub fn absent_route(name: &str) -> Resource {
    let value = RouteConfiguration::default();
    let mut resource = Resource::new(name, Version::of(&value));
    resource.body = route::encode(name, &value, None);
    resource
}

/// The endpoints of a cluster that has none, for a client that cannot be told that they are gone.
pub(super) fn absent_endpoints(name: &str) -> Resource {
    let mut resource = Resource::new(name, Version::of(&()));
    resource.body = endpoint::encode(name, &[]);
    resource
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
    use super::super::encode;
    use super::*;
    use crate::gateway::{Origin, PathMatch, Route};
    use crate::named::Named;

    fn host(name: &str, domains: &[&str], regexes: &[&str]) -> VirtualHost {
        let routes = regexes.iter().enumerate().map(|(at, regex)| Route {
            section: format!("route#{at}"),
            path: PathMatch::Regex((*regex).to_owned()),
            ..Route::default_to("x".to_owned())
        });
        VirtualHost {
            name: name.to_owned(),
            origin: Origin {
                object: name.parse().unwrap(),
                section: "vhost#0".into(),
            },
            cluster: "x".to_owned(),
            allow_from: Vec::new(),
            http3_port: None,
            domains: domains.iter().map(|&domain| domain.to_owned()).collect(),
            routes: routes.collect(),
        }
    }

    fn routes(hosts: Vec<VirtualHost>) -> Gateway {
        let value = RouteConfiguration {
            virtual_hosts: hosts.into_iter().map(Arc::new).collect(),
        };
        Gateway {
            routes: Named::from([("l".to_owned(), value)]),
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
        let refused = "is not served, as Envoy would refuse it:";
        let regex = "match.safe_regex.regex is required";
        assert_eq!(
            told,
            [
                format!("b vhost#0: {refused} domains needs at least 1 items"),
                format!("c route#0: {refused} {regex}"),
                format!("c route#2: {refused} {regex}"),
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
        // Beside a host that was checked before, a bad one is found all the same.
        let known = routes(vec![host("a", &["a"], &["/a"])]);
        let (known, _) = encode(&known, &Snapshot::default());
        let (third, again) = encode(&bad, &known);
        assert_eq!((body(&third), again), (body(&first), problems));
    }
}
