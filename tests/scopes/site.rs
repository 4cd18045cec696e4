//! A gateway of virtual hosts that each answer who they are, and how Envoy finds one of them.

use std::sync::Arc;

use envoy_types::pb::envoy::config::route::v3::RouteConfiguration;
use osvc_igw::gateway::{
    ChainAction, ChainMatch, Downstream, FilterChain, Gateway, Listener, Origin, PathMatch,
    Protocol, RateLimit, Route, RouteAction, VirtualHost,
};

use crate::golden::Case;

fn origin() -> Origin {
    Origin {
        object: "test/svc/a".parse().unwrap(),
        section: "expose#0".into(),
    }
}

/// One listener of plain HTTP, and no virtual host.
pub(super) fn gateway(port: u16) -> Gateway {
    let mut gateway = Gateway::default();
    listen(&mut gateway, port);
    gateway
}

/// One listener more.
pub(super) fn listen(gateway: &mut Gateway, port: u16) {
    let chain = FilterChain {
        name: "http".to_owned(),
        origins: vec![origin()],
        matches: ChainMatch::Any,
        allow_from: Vec::new(),
        certificates: Vec::new(),
        validation: None,
        action: ChainAction::Http,
        data: None,
    };
    let listener = Listener {
        address: [127, 0, 0, 1].into(),
        port,
        protocol: Protocol::Tcp,
        original_dst: false,
        proxy_protocol: false,
        guards_hosts: false,
        chains: vec![chain],
        downstream: Downstream::default(),
    };
    gateway.listeners.insert(name(port), listener);
}

/// The name of a listener, and of its routes.
pub(super) fn name(port: u16) -> String {
    format!("127.0.0.1:{port}/tcp")
}

/// Gives the listener these virtual hosts in the place of those that it had.
pub(super) fn serve(
    gateway: &mut Gateway,
    port: u16,
    hosts: impl IntoIterator<Item = VirtualHost>,
) {
    let hosts = hosts.into_iter().map(Arc::new).collect();
    let routes = osvc_igw::gateway::RouteConfiguration {
        virtual_hosts: hosts,
    };
    gateway.routes.insert(name(port), routes);
}

/// A virtual host that answers `host N`.
pub(super) fn host(number: usize, domains: &[&str]) -> VirtualHost {
    let route = Route {
        action: RouteAction::Answer(format!("host {number}")),
        ..Route::default_to(String::new())
    };
    VirtualHost {
        name: format!("test/svc/a.expose#0.vhost#{number}"),
        origin: origin(),
        cluster: "test/svc/a.expose#0".to_owned(),
        domains: domains.iter().map(|&domain| domain.to_owned()).collect(),
        allow_from: Vec::new(),
        http3_port: None,
        routes: vec![route],
    }
}

/// The same, for so many requests.
pub(super) fn limited(mut host: VirtualHost) -> VirtualHost {
    for route in &mut host.routes {
        route.rate_limit = Some(RateLimit {
            requests: 100,
            per_s: 1,
        });
    }
    host
}

/// The same, with that expression in the place of a path.
pub(super) fn with_regex(mut host: VirtualHost, regex: &str) -> VirtualHost {
    for route in &mut host.routes {
        route.path = PathMatch::Regex(regex.to_owned());
    }
    host
}

/// Gives the listener the filters of a service.
pub(super) fn give_filters(gateway: &mut Gateway, listener: &str) {
    let case = Case::load("filter-config-data-http").run();
    let listeners = case.compiled.gateway.listeners;
    let mut chains = listeners.values().flat_map(|listener| &listener.chains);
    let data = chains.find_map(|chain| chain.data.clone());
    assert!(data.is_some());
    gateway.listeners.get_mut(listener).unwrap().chains[0].data = data;
}

/// The virtual host that Envoy finds (config.route.v3.VirtualHost.domains).
pub(super) fn search(routes: &RouteConfiguration, host: &str) -> Option<String> {
    let host = host.to_ascii_lowercase();
    let port = host.rfind(':').filter(|at| host.rfind(']') < Some(*at));
    let host = port.map_or(host.as_str(), |at| &host[..at]);
    let all = routes.virtual_hosts.iter();
    let all = all.flat_map(|one| one.domains.iter().map(move |domain| (domain.as_str(), one)));
    let ranked = all.filter_map(|(domain, one)| {
        let longer = host.len() >= domain.len();
        let rank = match (domain.strip_prefix('*'), domain.strip_suffix('*')) {
            _ if domain == host => (3, 0),
            (Some(""), _) => (0, 0),
            (Some(end), _) if longer && host.ends_with(end) => (2, domain.len()),
            (None, Some(start)) if longer && host.starts_with(start) => (1, domain.len()),
            _ => return None,
        };
        Some((rank, one.name.clone()))
    });
    ranked.max().map(|(_, name)| name)
}
