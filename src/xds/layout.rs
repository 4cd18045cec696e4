//! How the virtual hosts of a listener are laid out: in one route configuration, or, where they are
//! very many, in one for each scope, as Envoy takes a route configuration as a whole. Requests are
//! answered the same in both; where they would not be, there is one. What a scope is, and whose
//! requests are in it, is the business of `scope`.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{ResourceType, scope};
use crate::gateway::{
    ChainAction, Gateway, Listener, RouteConfiguration, SCOPED_ROUTES_ABOVE, VirtualHost,
};

/// What has to be encoded, by type and name.
pub(super) type Names = Vec<(ResourceType, String)>;

/// The layouts of all route configurations of a gateway.
#[derive(Debug)]
pub(super) struct Layouts {
    hosts_max: usize,
    /// Those that are laid out in scopes.
    scoped: BTreeMap<String, Buckets>,
    /// Those of chains with JSON of a service: it may have filters which give a request another
    /// host after its scope was found.
    kept_whole: BTreeSet<String>,
}

impl Default for Layouts {
    fn default() -> Self {
        Self::above(SCOPED_ROUTES_ABOVE)
    }
}

impl Layouts {
    /// None yet. Scopes are for those with more virtual hosts than that, and again for none with
    /// fewer than half of them: each change of the layout replaces a listener.
    pub(super) fn above(hosts_max: usize) -> Self {
        Self {
            hosts_max,
            scoped: BTreeMap::new(),
            kept_whole: BTreeSet::new(),
        }
    }

    /// Lays out everything anew. `was_scoped` tells which are laid out in scopes so far.
    pub(super) fn settle(&mut self, gateway: &Gateway, was_scoped: impl Fn(&str) -> bool) {
        let listeners = gateway.listeners.values();
        let chains = listeners.flat_map(|listener| {
            let chains = listener.chains.iter();
            let given = chains.filter(|chain| chain.data.is_some() && serves_http(&chain.action));
            given.map(|chain| listener.route_configuration(chain))
        });
        self.kept_whole = chains.collect();
        self.scoped.clear();
        for (name, routes) in gateway.routes.iter() {
            if let Some(buckets) = self.buckets(name, routes, was_scoped(name)) {
                self.scoped.insert(name.to_owned(), buckets);
            }
        }
    }

    /// Follows one route configuration from what it was; tells what has to be encoded for it.
    pub(super) fn follow(&mut self, before: &Gateway, gateway: &Gateway, name: &str) -> Names {
        let empty = RouteConfiguration::default();
        let routes = gateway.routes.get(name).map_or(&empty, AsRef::as_ref);
        let Some(mut buckets) = self.scoped.remove(name) else {
            let Some(buckets) = self.buckets(name, routes, false) else {
                return vec![(ResourceType::Route, name.to_owned())];
            };
            self.scoped.insert(name.to_owned(), buckets);
            return laid_out_anew(gateway, name);
        };
        let known = before.routes.get(name).map_or(&empty, AsRef::as_ref);
        let changed = buckets.follow(&known.virtual_hosts, &routes.virtual_hosts);
        if !self.is_wanted(routes, true) || !buckets.answer_as_one() {
            return laid_out_anew(gateway, name);
        }
        self.scoped.insert(name.to_owned(), buckets);
        let changed = changed.into_iter().map(|bucket| scope::name(name, bucket));
        changed.map(|name| (ResourceType::Route, name)).collect()
    }

    /// Every resource that the gateway comes to.
    pub(super) fn names(&self, gateway: &Gateway) -> Names {
        let mut all = Names::new();
        for kind in ResourceType::ALL {
            let names: Box<dyn Iterator<Item = &str>> = match kind {
                ResourceType::Cluster => Box::new(gateway.clusters.keys()),
                ResourceType::Endpoint => Box::new(gateway.endpoints.keys()),
                ResourceType::Secret => Box::new(gateway.secrets.keys()),
                ResourceType::Scope => Box::new(std::iter::empty()),
                ResourceType::Listener => Box::new(gateway.listeners.keys()),
                ResourceType::Route => {
                    let names = gateway.routes.keys();
                    Box::new(names.filter(|name| !self.scoped.contains_key(*name)))
                }
            };
            all.extend(names.map(|name| (kind, name.to_owned())));
            if matches!(kind, ResourceType::Scope | ResourceType::Route) {
                let scopes = self.scoped.keys().flat_map(|name| scopes(name));
                all.extend(scopes.map(|name| (kind, name)));
            }
        }
        all
    }

    /// The route configurations of a listener that are laid out in scopes.
    pub(super) fn of_listener(&self, listener: &Listener) -> Vec<String> {
        if self.scoped.is_empty() {
            return Vec::new();
        }
        let names: BTreeSet<String> = named(listener).collect();
        let scoped = names.into_iter();
        scoped
            .filter(|name| self.scoped.contains_key(name))
            .collect()
    }

    /// What a scope of that name is one of, and which; `None` where it is none.
    pub(super) fn scope<'n>(&self, name: &'n str) -> Option<(&'n str, u16)> {
        let (routes, bucket) = scope::parsed(name)?;
        self.scoped.contains_key(routes).then_some((routes, bucket))
    }

    /// What the resource of that name is made of.
    pub(super) fn routes<'g>(
        &self,
        gateway: &'g Gateway,
        name: &str,
    ) -> Option<Cow<'g, RouteConfiguration>> {
        if let Some((routes, bucket)) = self.scope(name) {
            return Some(Cow::Owned(self.scoped.get(routes)?.routes(bucket)));
        }
        if self.scoped.contains_key(name) {
            return None;
        }
        Some(Cow::Borrowed(gateway.routes.get(name)?))
    }

    fn is_wanted(&self, routes: &RouteConfiguration, is_scoped: bool) -> bool {
        let count = routes.virtual_hosts.len();
        count > self.hosts_max || (is_scoped && count >= self.hosts_max.div_ceil(2) && count > 0)
    }

    /// The buckets of a route configuration that is to be laid out in scopes.
    fn buckets(&self, name: &str, routes: &RouteConfiguration, is_scoped: bool) -> Option<Buckets> {
        if !self.is_wanted(routes, is_scoped) || self.kept_whole.contains(name) {
            return None;
        }
        let hosts = &routes.virtual_hosts;
        // Before anything is spread: it may be tried at every change.
        let patterns = hosts.iter().filter(|host| has_pattern(host));
        if patterns.take(PATTERNS_MAX + 1).count() > PATTERNS_MAX {
            return None;
        }
        let mut buckets = Buckets::default();
        for host in hosts {
            buckets.put(host);
        }
        buckets.answer_as_one().then_some(buckets)
    }
}

/// Everything of a route configuration that is laid out otherwise than before, and the listeners
/// that name it.
fn laid_out_anew(gateway: &Gateway, name: &str) -> Names {
    let listeners = gateway.listeners.iter();
    let listeners = listeners.filter(|(_, it)| named(it).any(|routes| routes == name));
    let listeners = listeners.map(|(name, _)| (ResourceType::Listener, name.to_owned()));
    let parts = scopes(name).flat_map(|name| {
        [ResourceType::Scope, ResourceType::Route].map(|kind| (kind, name.clone()))
    });
    let whole = (ResourceType::Route, name.to_owned());
    listeners.chain(parts).chain([whole]).collect()
}

/// The names of the scopes of a route configuration.
pub(super) fn scopes(routes: &str) -> impl Iterator<Item = String> + Clone {
    (0..scope::BUCKETS).map(move |bucket| scope::name(routes, bucket))
}

/// The route configurations that a listener names.
fn named(listener: &Listener) -> impl Iterator<Item = String> {
    let chains = listener.chains.iter();
    let chains = chains.filter(|chain| serves_http(&chain.action));
    chains.map(|chain| listener.route_configuration(chain))
}

fn serves_http(action: &ChainAction) -> bool {
    matches!(action, ChainAction::Http)
}

/// The virtual hosts of a route configuration by the bucket of each of their domains.
#[derive(Debug)]
struct Buckets {
    /// By bucket, those with a domain in it.
    hosts: Vec<Vec<Arc<VirtualHost>>>,
    /// Those with a pattern, which a host of any bucket may match.
    everywhere: Vec<Arc<VirtualHost>>,
    /// How many count their requests, and would have a count for each of several buckets.
    counting: usize,
}

impl Default for Buckets {
    fn default() -> Self {
        Self {
            hosts: vec![Vec::new(); scope::BUCKETS.into()],
            everywhere: Vec::new(),
            counting: 0,
        }
    }
}

impl Buckets {
    /// Whether requests are answered as by one route configuration, at a bearable price.
    fn answer_as_one(&self) -> bool {
        self.counting == 0 && self.everywhere.len() <= PATTERNS_MAX
    }

    /// Follows the virtual hosts from what they were; tells which buckets are others. What is
    /// shared with what was is not looked at.
    fn follow(&mut self, known: &[Arc<VirtualHost>], hosts: &[Arc<VirtualHost>]) -> BTreeSet<u16> {
        let places = |hosts: &[Arc<VirtualHost>]| -> BTreeSet<usize> {
            hosts.iter().map(place_of).collect()
        };
        let (known, hosts) = different(known, hosts);
        let (before, after) = (places(known), places(hosts));
        let mut changed = BTreeSet::new();
        for host in known.iter().filter(|it| !after.contains(&place_of(it))) {
            changed.append(&mut self.take(host));
        }
        for host in hosts.iter().filter(|it| !before.contains(&place_of(it))) {
            changed.append(&mut self.put(host));
        }
        changed
    }

    /// Takes a virtual host in; tells which buckets it is in.
    fn put(&mut self, host: &Arc<VirtualHost>) -> BTreeSet<u16> {
        let buckets = buckets_of(host);
        self.counting += usize::from(counts_apart(host, &buckets));
        self.change(host, &buckets, |hosts| hosts.push(Arc::clone(host)));
        buckets
    }

    /// Takes a virtual host out; tells which buckets it was in.
    fn take(&mut self, host: &Arc<VirtualHost>) -> BTreeSet<u16> {
        let buckets = buckets_of(host);
        let counting = usize::from(counts_apart(host, &buckets));
        self.counting = self.counting.saturating_sub(counting);
        self.change(host, &buckets, |hosts| {
            if let Some(at) = hosts.iter().position(|it| it == host) {
                hosts.remove(at);
            }
        });
        buckets
    }

    /// Changes every list that a virtual host is in.
    fn change(
        &mut self,
        host: &VirtualHost,
        buckets: &BTreeSet<u16>,
        change: impl Fn(&mut Vec<Arc<VirtualHost>>),
    ) {
        if has_pattern(host) {
            return change(&mut self.everywhere);
        }
        for bucket in buckets {
            if let Some(hosts) = self.hosts.get_mut(usize::from(*bucket)) {
                change(hosts);
            }
        }
    }

    /// The routes of a bucket, in an order that does not depend on what was there before.
    fn routes(&self, bucket: u16) -> RouteConfiguration {
        let own = self.hosts.get(usize::from(bucket)).into_iter().flatten();
        let all = own.chain(&self.everywhere);
        let mut hosts: Vec<Arc<VirtualHost>> = all.map(|host| part(host, bucket)).collect();
        let key = |host: &VirtualHost| (host.name.clone(), host.domains.clone());
        hosts.sort_by_cached_key(|host| key(host));
        RouteConfiguration {
            virtual_hosts: hosts,
        }
    }
}

/// Whether requests are counted that would be counted apart in several buckets.
fn counts_apart(host: &VirtualHost, buckets: &BTreeSet<u16>) -> bool {
    buckets.len() > 1 && host.routes.iter().any(|route| route.rate_limit.is_some())
}

/// The buckets that a virtual host is in.
fn buckets_of(host: &VirtualHost) -> BTreeSet<u16> {
    if has_pattern(host) {
        return (0..scope::BUCKETS).collect();
    }
    if host.domains.is_empty() {
        // Envoy would refuse it, which has to be told.
        return BTreeSet::from([0]);
    }
    let domains = host.domains.iter();
    domains.map(|domain| scope::bucket(domain)).collect()
}

/// A virtual host in a bucket: with its patterns, and the other domains of that bucket alone. It is
/// made anew each time, as thousands have domains in several.
fn part(host: &Arc<VirtualHost>, bucket: u16) -> Arc<VirtualHost> {
    let is_here = |domain: &&String| is_pattern(domain) || scope::bucket(domain) == bucket;
    let here: Vec<&String> = host.domains.iter().filter(is_here).collect();
    if here.len() == host.domains.len() {
        return Arc::clone(host);
    }
    Arc::new(VirtualHost {
        domains: here.into_iter().cloned().collect(),
        ..VirtualHost::clone(host)
    })
}

fn has_pattern(host: &VirtualHost) -> bool {
    host.domains.iter().any(|domain| is_pattern(domain))
}

fn is_pattern(domain: &str) -> bool {
    domain.contains('*')
}

/// What is left of two lists without what they share at both ends.
fn different<'h>(
    known: &'h [Arc<VirtualHost>],
    hosts: &'h [Arc<VirtualHost>],
) -> (&'h [Arc<VirtualHost>], &'h [Arc<VirtualHost>]) {
    let same = |(one, other): &(&Arc<VirtualHost>, &Arc<VirtualHost>)| Arc::ptr_eq(one, other);
    let start = known.iter().zip(hosts).take_while(same).count();
    let cut = |all: &'h [Arc<VirtualHost>], at| all.get(at..).unwrap_or_default();
    let (known, hosts) = (cut(known, start), cut(hosts, start));
    let end = known.iter().rev().zip(hosts.iter().rev());
    let end = end.take_while(same).count();
    let cut = |all: &'h [Arc<VirtualHost>]| all.get(..all.len() - end).unwrap_or_default();
    (cut(known), cut(hosts))
}

/// Where it is: while both lists are held, no other one is there.
fn place_of(host: &Arc<VirtualHost>) -> usize {
    Arc::as_ptr(host) as usize
}

/// A virtual host with a pattern is in every bucket: each costs as much as thousands of others.
const PATTERNS_MAX: usize = 8;
