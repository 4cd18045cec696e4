//! PURE: the way of traffic through a gateway as a document, of what should be exposed and what is
//! held. Whatever is a secret, or may hold one, stays behind: keys, what services say in Envoy's
//! own words, and the values of headers.

use std::collections::BTreeMap;

use prost_types::Timestamp;

use crate::gateway::{
    ChainAction, ChainMatch, Cluster, Conditions, Endpoint, FilterChain, Forward, Gateway, Health,
    HealthCheck, LbPolicy, Listener, Locality, Origin, PathMatch, Prefix, Redirect, RedirectPath,
    Route, RouteAction, SecretContent, Target, VirtualHost,
};
use crate::inventory::Held;
use crate::pb;
use crate::pb::graph;
use crate::xds::Version;

/// The document. What is `held` are the instances of nodes that are starting or lost.
pub fn graph(gateway: &Gateway, held: &[Held]) -> pb::Graph {
    let nodes: BTreeMap<&str, &str> = held
        .iter()
        .flat_map(|held| {
            let node = held.node.as_str();
            held.addresses.iter().map(move |at| (at.as_str(), node))
        })
        .collect();
    let hosts = gateway.routes.iter().map(|(name, routes)| graph::Hosts {
        name: name.to_owned(),
        virtual_hosts: routes
            .virtual_hosts
            .iter()
            .map(|host| of_virtual_host(host))
            .collect(),
    });
    let clusters = gateway.clusters.iter().map(|(name, cluster)| {
        let endpoints = gateway
            .endpoints
            .get(name)
            .map_or(&[][..], |all| all.as_slice());
        of_cluster(name, cluster, endpoints, &nodes)
    });
    let certificates = gateway.secrets.iter().filter_map(|(name, secret)| {
        let SecretContent::Certificate { not_after, .. } = &secret.content else {
            return None;
        };
        Some(graph::Certificate {
            name: name.to_owned(),
            origin: Some(of_origin(&secret.origin)),
            not_after: not_after.map(|seconds| Timestamp { seconds, nanos: 0 }),
        })
    });
    pb::Graph {
        version: Version::of(&(gateway, &nodes)).to_string(),
        listeners: gateway
            .listeners
            .iter()
            .map(|(name, one)| of_listener(name, one))
            .collect(),
        hosts: hosts.collect(),
        clusters: clusters.collect(),
        certificates: certificates.collect(),
    }
}

fn of_origin(origin: &Origin) -> pb::Origin {
    pb::Origin {
        object: origin.object.to_string(),
        section: origin.section.to_string(),
    }
}

fn of_listener(name: &str, listener: &Listener) -> graph::Listener {
    let chains = listener.chains.iter();
    graph::Listener {
        name: name.to_owned(),
        address: listener.address.to_string(),
        port: listener.port.into(),
        protocol: listener.protocol.to_string(),
        proxy_protocol: listener.proxy_protocol,
        chains: chains.map(|chain| of_chain(listener, chain)).collect(),
    }
}

fn of_chain(listener: &Listener, chain: &FilterChain) -> graph::Chain {
    let (matches, server_names) = match &chain.matches {
        ChainMatch::ServerNames(names) => ("names", names.clone()),
        ChainMatch::AnyTls => ("tls", Vec::new()),
        ChainMatch::Plain => ("plain", Vec::new()),
        ChainMatch::Any => ("any", Vec::new()),
    };
    let (cluster, hosts) = match &chain.action {
        ChainAction::Tcp { cluster } | ChainAction::Udp { cluster, .. } => {
            (cluster.clone(), String::new())
        }
        ChainAction::Http => (String::new(), listener.route_configuration(chain)),
        ChainAction::Handshake => (String::new(), String::new()),
    };
    let validation = chain.validation.as_ref();
    graph::Chain {
        name: chain.name.clone(),
        origins: chain.origins.iter().map(of_origin).collect(),
        matches: matches.to_owned(),
        server_names,
        allow_from: networks(&chain.allow_from),
        certificates: chain.certificates.clone(),
        validation: validation.map(|it| it.secret.clone()).unwrap_or_default(),
        cluster,
        hosts,
    }
}

fn networks(prefixes: &[Prefix]) -> Vec<String> {
    let prefixes = prefixes.iter();
    let prefixes = prefixes.map(|Prefix { address, length }| format!("{address}/{length}"));
    prefixes.collect()
}

fn of_virtual_host(host: &VirtualHost) -> graph::VirtualHost {
    graph::VirtualHost {
        name: host.name.clone(),
        origin: Some(of_origin(&host.origin)),
        cluster: host.cluster.clone(),
        domains: host.domains.clone(),
        allow_from: networks(&host.allow_from),
        http3_port: host.http3_port.map(u32::from).unwrap_or_default(),
        routes: host.routes.iter().map(of_route).collect(),
    }
}

fn of_route(route: &Route) -> graph::Route {
    let (matched, path) = match &route.path {
        PathMatch::Path(path) => ("path", path),
        PathMatch::Prefix(prefix) => ("prefix", prefix),
        PathMatch::Regex(regex) => ("regex", regex),
    };
    let mut notes = Vec::new();
    let mut targets = Vec::new();
    match &route.action {
        RouteAction::Forward(forward) => {
            targets = of_target(&forward.to, &mut notes);
            of_forward(forward, &mut notes, &mut targets);
        }
        RouteAction::Redirect(redirect) => notes.push(of_redirect(redirect)),
        RouteAction::Answer(_) => notes.push("Envoy answers by itself".to_owned()),
    }
    if let Some(limit) = &route.rate_limit {
        notes.push(format!("{} requests in {} s", limit.requests, limit.per_s));
    }
    if route.cors.is_some() {
        notes.push("CORS".to_owned());
    }
    if !route.case_sensitive {
        notes.push("letter case does not count".to_owned());
    }
    graph::Route {
        section: route.section.clone(),
        r#match: matched.to_owned(),
        path: path.clone(),
        conditions: of_conditions(route.conditions.as_deref().unwrap_or(Conditions::NONE)),
        notes,
        targets,
    }
}

/// Names alone: a value may be what somebody is let in by.
fn of_conditions(conditions: &Conditions) -> Vec<String> {
    let methods = &conditions.methods;
    let methods = (!methods.is_empty()).then(|| methods.join(" or "));
    let headers = conditions.headers.iter();
    let headers = headers.map(|header| format!("header {}", header.name));
    let query = conditions.query.iter();
    let query = query.map(|parameter| format!("parameter {}", parameter.name));
    methods.into_iter().chain(headers).chain(query).collect()
}

fn of_target(target: &Target, notes: &mut Vec<String>) -> Vec<graph::Target> {
    let part = |cluster: &String, percent| graph::Target {
        cluster: cluster.clone(),
        percent,
        mirror: false,
    };
    match target {
        Target::Cluster(cluster) => vec![part(cluster, 100)],
        Target::ClusterHeader { header, .. } => {
            notes.push(format!("to the cluster that the header {header} names"));
            Vec::new()
        }
        Target::Weighted(parts) => {
            let sum: u64 = parts.iter().map(|part| u64::from(part.weight)).sum();
            let share = |weight: u32| (u64::from(weight) * 100 + sum / 2).checked_div(sum);
            let share = |weight| u32::try_from(share(weight).unwrap_or_default());
            let parts = parts.iter();
            parts
                .map(|one| part(&one.cluster, share(one.weight).unwrap_or_default()))
                .collect()
        }
    }
}

fn of_forward(forward: &Forward, notes: &mut Vec<String>, targets: &mut Vec<graph::Target>) {
    if forward.websocket == Some(true) {
        notes.push("websocket".to_owned());
    }
    if let Some(prefix) = &forward.prefix_rewrite {
        notes.push(format!("prefix becomes {prefix}"));
    }
    if let Some(host) = &forward.host_rewrite {
        notes.push(format!("host becomes {host}"));
    }
    match forward.timeout_ms {
        Some(0) => notes.push("no timeout".to_owned()),
        Some(ms) => notes.push(format!("timeout {} s", f64::from(ms) / 1_000.0)),
        None => {}
    }
    if let Some(mirror) = &forward.mirror {
        targets.push(graph::Target {
            cluster: mirror.cluster.clone(),
            percent: mirror.percent,
            mirror: true,
        });
    }
}

fn of_redirect(redirect: &Redirect) -> String {
    let scheme = if redirect.https { "https://" } else { "" };
    let host = redirect.host.as_deref().unwrap_or_default();
    let path = match &redirect.path {
        Some(RedirectPath::Whole(path)) => path.as_str(),
        Some(RedirectPath::Prefix(prefix)) => prefix.as_str(),
        None => "",
    };
    format!("redirect to {scheme}{host}{path}")
}

fn of_cluster(
    name: &str,
    cluster: &Cluster,
    endpoints: &[Endpoint],
    held: &BTreeMap<&str, &str>,
) -> graph::Cluster {
    let health_check = match cluster.health_check.as_deref() {
        None => String::new(),
        Some(HealthCheck::Tcp) => "tcp".to_owned(),
        Some(HealthCheck::Http { path, .. }) => path.clone(),
    };
    graph::Cluster {
        name: name.to_owned(),
        origin: Some(of_origin(&cluster.origin)),
        protocol: cluster.protocol.to_string(),
        policy: of_policy(cluster.lb_policy).to_owned(),
        tls: cluster.tls.is_some(),
        health_check,
        endpoints: endpoints.iter().map(|one| of_endpoint(one, held)).collect(),
    }
}

fn of_policy(policy: LbPolicy) -> &'static str {
    match policy {
        LbPolicy::RoundRobin => "ROUND_ROBIN",
        LbPolicy::LeastRequest => "LEAST_REQUEST",
        LbPolicy::RingHash => "RING_HASH",
        LbPolicy::Random => "RANDOM",
        LbPolicy::OriginalDst => "ORIGINAL_DST",
        LbPolicy::Maglev => "MAGLEV",
    }
}

/// An address is at one node: an endpoint of the address of one that is held is held with it.
fn of_endpoint(endpoint: &Endpoint, held: &BTreeMap<&str, &str>) -> graph::Endpoint {
    let address = endpoint.address.to_string();
    let node = held.get(address.as_str());
    let health = match (endpoint.health, node) {
        (Health::Draining, _) => graph::Health::Draining,
        (Health::Healthy, Some(_)) => graph::Health::Held,
        (Health::Healthy, None) => graph::Health::Up,
    };
    let parts = endpoint.locality.iter().flat_map(|locality| {
        let Locality {
            region,
            zone,
            sub_zone,
        } = locality.as_ref();
        [region, zone, sub_zone].map(String::as_str)
    });
    let parts: Vec<&str> = parts.filter(|part| !part.is_empty()).collect();
    graph::Endpoint {
        node: node.map(|node| (*node).to_owned()).unwrap_or_default(),
        address,
        port: endpoint.port.into(),
        health: health.into(),
        locality: parts.join("/"),
    }
}
