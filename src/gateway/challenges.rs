//! Answers to the HTTP-01 challenges of certificate authorities: the first route of every virtual
//! host that serves the name on the port where authorities ask, and a virtual host of its own
//! where there is none. Decided after every expose has been compiled.
//!
//! Whoever may answer for a name gets certificates for it: a namespace answers for the names that
//! it serves, and for those that nobody serves.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use super::chains::HTTP_CHAIN;
use super::compile::{Compiled, Want};
use super::routes::model::{PathMatch, RouteAction};
use super::{
    ChainAction, ChainMatch, FilterChain, Gateway, Listener, Origin, Policy, Protocol, Route,
    RouteConfiguration, VirtualHost,
};
use crate::inventory::challenge::{Challenge, KEY, is_carrier};
use crate::inventory::{Inventory, Judged, ObjectPath, Problem};

/// Puts every challenge that is known where it is asked for, and asks for those that are not.
pub(super) fn settle(
    inventory: &Inventory,
    policy: &Policy,
    carriers: &BTreeSet<&ObjectPath>,
    compiled: &mut Compiled,
) {
    let known = &inventory.challenges;
    let carriers = carriers.iter().copied().filter(|path| is_carrier(path));
    let carried = carried(inventory, known, carriers, KEY, compiled).into_iter();
    let all = carried.flat_map(|(carrier, all)| all.iter().map(move |one| (carrier, one)));
    let mut all: Vec<(&ObjectPath, &Challenge)> = all.collect();
    all.retain(|(carrier, challenge)| {
        let Some(Origin { object, section }) = stranger(policy, carrier, &challenge.name, compiled)
        else {
            return true;
        };
        let reason = format!(
            "is for {}, which {object} {section} of another namespace serves",
            challenge.name
        );
        let problem = problem(carrier, KEY, reason).hence("it is not answered");
        compiled.problems.insert(problem);
        false
    });
    let Some((first, _)) = all.first() else {
        return;
    };
    for listener in listeners(policy, first, compiled) {
        for (carrier, challenge) in &all {
            let routes = &mut compiled.gateway.routes;
            let routes = routes.get_or_insert(&listener, RouteConfiguration::default);
            answer(routes, carrier, challenge);
        }
    }
}

/// What the carriers hold, each in an object of its own; asks for what is not known yet.
pub(super) fn carried<'a, 'c, T>(
    inventory: &'a Inventory,
    known: &'a BTreeMap<ObjectPath, Judged<T>>,
    carriers: impl Iterator<Item = &'c ObjectPath>,
    key: &str,
    compiled: &mut Compiled,
) -> Vec<(&'a ObjectPath, &'a T)> {
    let mut all = Vec::new();
    for object in carriers.filter_map(|path| inventory.objects.get(path)) {
        let judged = known.get(&object.path);
        if judged.is_none_or(|judged| judged.revision != object.revision) {
            let want = Want::Challenges(object.path.clone(), object.revision.clone());
            compiled.wants.insert(want);
        }
        if let Some(flaw) = judged.and_then(|judged| judged.flaw.as_ref()) {
            let problem = problem(&object.path, key, flaw.clone());
            let problem = problem.hence("the challenges that were known last are answered");
            compiled.problems.insert(problem);
        }
        let good = judged.and_then(|judged| judged.good.as_ref());
        all.extend(good.map(|good| (&object.path, good)));
    }
    all
}

/// The names of the listeners where authorities ask; one of our own where there is none.
fn listeners(policy: &Policy, carrier: &ObjectPath, compiled: &mut Compiled) -> Vec<String> {
    let Compiled {
        gateway, problems, ..
    } = compiled;
    let port = policy.challenge_port;
    let mut names = Vec::new();
    let asked = gateway.listeners.iter();
    let asked = asked.filter(|(_, one)| one.port == port && one.protocol == Protocol::Tcp);
    let mut any = false;
    for (name, listener) in asked {
        any = true;
        if listener.chains.iter().any(|chain| chain.name == HTTP_CHAIN) {
            names.push(name.to_owned());
            continue;
        }
        let reason = format!("cannot be answered on {name}, which does not speak plain HTTP");
        problems.insert(problem(carrier, KEY, reason));
    }
    if !any {
        let (name, listener) = own_listener(policy, port, vec![http_chain(carrier)]);
        gateway.listeners.insert(name.clone(), listener);
        names.push(name);
    }
    names
}

fn http_chain(carrier: &ObjectPath) -> FilterChain {
    FilterChain {
        name: HTTP_CHAIN.to_owned(),
        origins: vec![origin(carrier)],
        matches: ChainMatch::Any,
        allow_from: Vec::new(),
        certificates: Vec::new(),
        validation: None,
        action: ChainAction::Http,
        data: None,
    }
}

/// A listener of our own for every IPv4 address, and its name.
pub(super) fn own_listener(
    policy: &Policy,
    port: u16,
    chains: Vec<FilterChain>,
) -> (String, Listener) {
    let address = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let listener = Listener {
        address,
        port,
        protocol: Protocol::Tcp,
        original_dst: false,
        proxy_protocol: false,
        guards_hosts: false,
        chains,
        downstream: policy.downstream,
    };
    (Listener::name(Protocol::Tcp, address, port), listener)
}

/// Who serves the name by itself, be it a virtual host or a server name, where that is another
/// namespace which does not lend it.
pub(super) fn stranger(
    policy: &Policy,
    carrier: &ObjectPath,
    name: &str,
    compiled: &Compiled,
) -> Option<Origin> {
    let namespace = carrier.namespace();
    if policy.secrets_of.contains(namespace) {
        return None;
    }
    let Gateway {
        routes, listeners, ..
    } = &compiled.gateway;
    let hosts = routes.values().flat_map(|routes| &routes.virtual_hosts);
    let hosts = hosts.filter(|host| host.domains.iter().any(|domain| domain == name));
    let chains = listeners.values().flat_map(|listener| &listener.chains);
    let chains = chains.filter(|chain| match &chain.matches {
        ChainMatch::ServerNames(names) => names.iter().any(|one| one == name),
        _ => false,
    });
    let hosts = hosts.map(|host| &host.origin);
    let mut serving = hosts.chain(chains.flat_map(|chain| &chain.origins));
    let found = serving.find(|origin| origin.object.namespace() != namespace);
    found.cloned()
}

fn answer(routes: &mut RouteConfiguration, carrier: &ObjectPath, challenge: &Challenge) {
    let route = route(challenge);
    let hosts = &mut routes.virtual_hosts;
    let best = hosts.iter().enumerate();
    let best = best.filter_map(|(place, host)| Some((rank(host, &challenge.name)?, place)));
    let best = best.max().map(|(_, place)| place);
    let own = |host: &VirtualHost| {
        host.domains.contains(&challenge.name)
            || host.origin.object.namespace() == carrier.namespace()
    };
    if let Some(host) = best
        .and_then(|place| hosts.get_mut(place))
        .filter(|host| own(host))
    {
        Arc::make_mut(host).routes.insert(0, route);
        return;
    }
    // What a wildcard of another namespace does with the name, it still does.
    let wildcard = best.and_then(|place| hosts.get(place));
    let wildcard = wildcard.map(|host| VirtualHost::clone(host));
    let mut host = wildcard.unwrap_or_else(|| VirtualHost {
        name: String::new(),
        origin: origin(carrier),
        cluster: String::new(),
        domains: Vec::new(),
        allow_from: Vec::new(),
        http3_port: None,
        routes: Vec::new(),
    });
    host.name = format!("{carrier}.{}", challenge.name);
    host.origin = origin(carrier);
    host.domains = vec![challenge.name.clone()];
    host.routes.insert(0, route);
    hosts.push(Arc::new(host));
}

/// How well a virtual host fits a name, as Envoy ranks it: the name itself, then the longest
/// `*` in front, then the longest one behind, then the one for any
/// (config.route.v3.VirtualHost.domains). `None` where it does not.
fn rank(host: &VirtualHost, name: &str) -> Option<(u8, usize)> {
    let ranks = host.domains.iter().filter_map(|domain| {
        if domain == name {
            return Some((3, 0));
        }
        if domain == "*" {
            return Some((0, 0));
        }
        let longer = name.len() >= domain.len();
        match (domain.strip_prefix('*'), domain.strip_suffix('*')) {
            (Some(end), _) if longer && name.ends_with(end) => Some((2, domain.len())),
            (_, Some(start)) if longer && name.starts_with(start) => Some((1, domain.len())),
            _ => None,
        }
    });
    ranks.max()
}

fn route(challenge: &Challenge) -> Route {
    Route {
        section: "acme-http-01".to_owned(),
        path: PathMatch::Path(challenge.path()),
        action: RouteAction::Answer(challenge.key_authorization.clone()),
        ..Route::default_to(String::new())
    }
}

pub(super) fn origin(carrier: &ObjectPath) -> Origin {
    Origin {
        object: carrier.clone(),
        section: "".into(),
    }
}

pub(super) fn problem(carrier: &ObjectPath, key: &str, reason: String) -> Problem {
    Problem {
        object: carrier.clone(),
        section: String::new(),
        keyword: key.to_owned(),
        reason,
    }
}
