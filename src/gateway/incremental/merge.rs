//! One listener, or one set of routes, out of what several parts have of it: in the order in which
//! compiling all of them together would have come to it.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::super::chains::HTTP_CHAIN;
use super::super::settle;
use super::super::{FilterChain, Listener, ObjectPath, Origin, RouteConfiguration, VirtualHost};

/// The listener of these parts; `None` of none.
pub(super) fn listener<'p>(parts: impl IntoIterator<Item = &'p Arc<Listener>>) -> Option<Listener> {
    let parts: Vec<&Arc<Listener>> = parts.into_iter().collect();
    let (first, more) = parts.split_first()?;
    let mut listener = Listener::clone(first);
    if !more.is_empty() {
        for part in more {
            listener.original_dst |= part.original_dst;
            listener.guards_hosts |= part.guards_hosts;
        }
        listener.chains = chains(&parts);
    }
    settle::matches(&mut listener);
    Some(listener)
}

fn chains(parts: &[&Arc<Listener>]) -> Vec<FilterChain> {
    let all = parts.iter().flat_map(|part| &part.chains);
    let (http, others): (Vec<_>, Vec<_>) = all.partition(|chain| chain.name == HTTP_CHAIN);
    let mut chains: Vec<FilterChain> = others.into_iter().cloned().collect();
    if let Some(chain) = http.first() {
        let origins = http.iter().flat_map(|chain| &chain.origins);
        let mut origins: Vec<Origin> = origins.cloned().collect();
        origins.sort();
        chains.push(FilterChain {
            origins,
            ..FilterChain::clone(chain)
        });
    }
    // The chains of one expose stay in their order.
    chains.sort_by(|one, other| one.origins.first().cmp(&other.origins.first()));
    chains
}

/// The routes of these parts; `None` of none.
pub(super) fn routes<'p>(
    parts: impl IntoIterator<Item = &'p Arc<RouteConfiguration>>,
) -> Option<Arc<RouteConfiguration>> {
    let parts: Vec<&Arc<RouteConfiguration>> = parts.into_iter().collect();
    let (first, more) = parts.split_first()?;
    if more.is_empty() {
        return Some(Arc::clone(first));
    }
    let hosts = parts.iter().flat_map(|part| &part.virtual_hosts);
    let mut hosts: Vec<&Arc<VirtualHost>> = hosts.collect();
    hosts.sort_by_key(|host| expose(host));
    Some(Arc::new(RouteConfiguration {
        virtual_hosts: hosts.into_iter().cloned().collect(),
    }))
}

/// What [`routes`] comes to when of several parts some have others than before: their virtual hosts
/// are put in the place of those that are gone. `None` where there is more to it.
pub(super) fn changed(
    known: &RouteConfiguration,
    gone: &[&Arc<RouteConfiguration>],
    come: &[&Arc<RouteConfiguration>],
) -> Option<RouteConfiguration> {
    let gone = gone.iter().flat_map(|part| &part.virtual_hosts);
    let gone: BTreeSet<*const VirtualHost> = gone.map(Arc::as_ptr).collect();
    let come = come.iter().flat_map(|part| &part.virtual_hosts);
    let come: Vec<&Arc<VirtualHost>> = come.collect();
    if gone.len() + come.len() > FEW.max(known.virtual_hosts.len() / 4) {
        return None;
    }
    let stays = known.virtual_hosts.iter();
    let stays = stays.filter(|host| !gone.contains(&Arc::as_ptr(host)));
    let mut hosts: Vec<Arc<VirtualHost>> = Vec::with_capacity(known.virtual_hosts.len());
    hosts.extend(stays.cloned());
    if hosts.len() + gone.len() != known.virtual_hosts.len() {
        return None;
    }
    for host in come {
        let place = hosts.partition_point(|it| expose(it) <= expose(host));
        hosts.insert(place, Arc::clone(host));
    }
    Some(RouteConfiguration {
        virtual_hosts: hosts,
    })
}

/// The expose that a virtual host was made for: its cluster is called by it.
fn expose(host: &VirtualHost) -> (&ObjectPath, &str) {
    (&host.origin.object, &host.cluster)
}

/// Where more than these, and more than a quarter, are others, they are put in order anew.
const FEW: usize = 64;
