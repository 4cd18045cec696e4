//! What the parts come to together: by name, and with what several of them bring in it once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::compile::Compiled;
use super::super::{Gateway, Listener, Named, Protocol, RouteConfiguration, Want, settle};
use super::counted::Counted;
use super::few::Few;
use super::parts::{Id, remove};
use super::piece::{Piece, Sets, Values};
use super::{Incremental, Part, merge};
use crate::inventory::{Inventory, Problem};

/// The parts that have something of what several can have.
#[derive(Debug, Default)]
pub(super) struct Shares {
    secrets: Share,
    listeners: Share,
    routes: Share,
}

type Share = BTreeMap<String, Few<Id>>;

/// How often what is a set was brought.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) problems: Counted<Problem>,
    wants: Counted<Want>,
    namespaces: Counted<String>,
    pub(super) expiries: Counted<(i64, Problem)>,
}

impl Counts {
    fn add(&mut self, all: &mut Compiled, more: &Sets) {
        self.problems.add(&mut all.problems, &more.problems);
        self.wants.add(&mut all.wants, &more.wants);
        self.namespaces.add(&mut all.namespaces, &more.namespaces);
        self.expiries.add(&mut all.expiries, &more.expiries);
    }

    fn remove(&mut self, all: &mut Compiled, less: &Sets) {
        self.problems.remove(&mut all.problems, &less.problems);
        self.wants.remove(&mut all.wants, &less.wants);
        self.namespaces
            .remove(&mut all.namespaces, &less.namespaces);
        self.expiries.remove(&mut all.expiries, &less.expiries);
    }
}

impl Incremental {
    /// Puts together what the `fresh` parts come to, in the place of the `stale` ones.
    pub(super) fn settle(&mut self, fresh: &BTreeSet<Id>, stale: &[(Id, Box<Part>)]) {
        let mut dirty = Dirty::default();
        let parts = &self.parts;
        let fresh = fresh
            .iter()
            .filter_map(|id| Some((*id, parts.get(id)?.as_ref())));
        let fresh: Vec<(Id, &Part)> = fresh.collect();
        for (_, part) in &fresh {
            self.counts.add(&mut self.compiled, &part.piece.sets);
        }
        for (_, part) in stale {
            self.counts.remove(&mut self.compiled, &part.piece.sets);
        }
        for (id, part) in stale {
            dirty.note(&part.piece);
            self.shares.remove(*id, &part.piece);
        }
        for (id, part) in &fresh {
            dirty.note(&part.piece);
            self.shares.add(*id, &part.piece);
        }
        if let ([(_, stale)], [(_, fresh)]) = (stale, fresh.as_slice()) {
            dirty.narrow(&stale.piece, &fresh.piece);
        }
        // Clusters are one part's alone: what a fresh part has, and what is left of the stale ones.
        let Gateway {
            clusters,
            endpoints,
            routes,
            ..
        } = &mut self.gateway;
        for (_, part) in &fresh {
            let piece = &part.piece;
            replace(clusters, &piece.clusters, &mut dirty.clusters);
            replace(endpoints, &piece.endpoints, &mut dirty.endpoints);
        }
        for name in &dirty.clusters {
            clusters.remove(name);
        }
        for name in &dirty.endpoints {
            endpoints.remove(name);
        }
        let shared = &self.shares.routes;
        dirty
            .routes
            .retain(|name| !put_in_place(routes, shared, name, &fresh, stale));
        self.merge(dirty);
    }

    /// Puts together what several parts can have.
    fn merge(&mut self, dirty: Dirty) {
        let Self {
            shares,
            gateway,
            parts,
            ..
        } = self;
        let having = |share: &Share, name: &str| -> Vec<&Piece> {
            let ids = share.get(name).into_iter().flatten();
            let parts = ids.filter_map(|id| parts.get(id));
            parts.map(|part| &part.piece).collect()
        };
        for name in &dirty.secrets {
            // The newest: the others have the same, or are about to go.
            let newest = having(&shares.secrets, name).into_iter().next_back();
            let secret = newest.and_then(|piece| piece.secrets.get(name));
            set(&mut gateway.secrets, name, secret.cloned());
        }
        for name in &dirty.routes {
            let parts = having(&shares.routes, name).into_iter();
            let routes = merge::routes(parts.filter_map(|piece| piece.routes.get(name)));
            set(&mut gateway.routes, name, routes);
        }
        let merged = |name: &str| {
            let parts = having(&shares.listeners, name).into_iter();
            merge::listener(parts.filter_map(|piece| piece.listeners.get(name)))
        };
        let mut siblings = BTreeSet::new();
        for name in dirty.listeners {
            let known = gateway.listeners.get(&name).cloned();
            let listener = merged(&name);
            let either = listener.as_ref().or(known.as_deref());
            // What is HTTP/3 guards what the listener beside it does.
            siblings.extend(either.map(|it| Listener::name(Protocol::Udp, it.address, it.port)));
            set(&mut gateway.listeners, &name, listener.map(Arc::new));
        }
        for name in siblings {
            let Some(mut listener) = merged(&name) else {
                continue;
            };
            let tcp = Listener::name(Protocol::Tcp, listener.address, listener.port);
            let guards = gateway
                .listeners
                .get(&tcp)
                .is_some_and(|it| it.guards_hosts);
            listener.guards_hosts |= listener.is_quic() && guards;
            set(&mut gateway.listeners, &name, Some(Arc::new(listener)));
        }
    }

    /// Answers the challenges that are known.
    pub(super) fn answer(&mut self, inventory: &Inventory) {
        let mut answers = Compiled {
            gateway: self.gateway.clone(),
            ..Compiled::default()
        };
        if !self.carriers.is_empty() {
            let carriers = self.carriers.iter().collect();
            settle::answers(inventory, &self.policy, &carriers, &mut answers);
        }
        self.compiled.gateway = std::mem::take(&mut answers.gateway);
        let answers = answers.into();
        self.counts.add(&mut self.compiled, &answers);
        let before = std::mem::replace(&mut self.answers, answers);
        self.counts.remove(&mut self.compiled, &before);
    }
}

/// Puts the virtual hosts of the fresh parts in the place of those of the stale ones, if that
/// needs no look at every other part.
fn put_in_place(
    routes: &mut Named<RouteConfiguration>,
    shared: &Share,
    name: &str,
    fresh: &[(Id, &Part)],
    stale: &[(Id, Box<Part>)],
) -> bool {
    let gone = stale.iter().filter_map(|(_, it)| it.piece.routes.get(name));
    let gone: Vec<_> = gone.collect();
    let come = fresh.iter().filter_map(|(_, it)| it.piece.routes.get(name));
    let come: Vec<_> = come.collect();
    let after = shared.get(name).map_or(0, Few::len);
    let before = (after + gone.len()).saturating_sub(come.len());
    // What one part has alone is not in any order of ours.
    let several = before > 1 && after > 1;
    let known = routes.get(name).filter(|_| several);
    let Some(changed) = known.and_then(|known| merge::changed(known, &gone, &come)) else {
        return false;
    };
    routes.insert(name, changed);
    true
}

impl Shares {
    fn add(&mut self, id: Id, piece: &Piece) {
        add(&mut self.secrets, id, piece.secrets.keys());
        add(&mut self.listeners, id, piece.listeners.keys());
        add(&mut self.routes, id, piece.routes.keys());
    }

    fn remove(&mut self, id: Id, piece: &Piece) {
        take(&mut self.secrets, id, piece.secrets.keys());
        take(&mut self.listeners, id, piece.listeners.keys());
        take(&mut self.routes, id, piece.routes.keys());
    }
}

fn add<'n>(share: &mut Share, id: Id, names: impl Iterator<Item = &'n str>) {
    for name in names {
        share.entry(name.to_owned()).or_default().insert(id);
    }
}

fn take<'n>(share: &mut Share, id: Id, names: impl Iterator<Item = &'n str>) {
    for name in names {
        remove(share, name, |ids| {
            ids.remove(&id);
            ids.is_empty()
        });
    }
}

/// The names whose values may be others.
#[derive(Debug, Default)]
struct Dirty {
    clusters: BTreeSet<String>,
    endpoints: BTreeSet<String>,
    secrets: BTreeSet<String>,
    listeners: BTreeSet<String>,
    routes: BTreeSet<String>,
}

impl Dirty {
    fn note(&mut self, piece: &Piece) {
        self.clusters
            .extend(piece.clusters.keys().map(str::to_owned));
        self.endpoints
            .extend(piece.endpoints.keys().map(str::to_owned));
        self.secrets.extend(piece.secrets.keys().map(str::to_owned));
        self.listeners
            .extend(piece.listeners.keys().map(str::to_owned));
        self.routes.extend(piece.routes.keys().map(str::to_owned));
    }

    /// One part stands in the place of one: what is the same in both was merged before. Mostly
    /// an address changes, and thousands share the listener.
    fn narrow(&mut self, stale: &Piece, fresh: &Piece) {
        let same = |name: &String| stale.listeners.get(name) == fresh.listeners.get(name);
        self.listeners.retain(|name| !same(name));
        let same = |name: &String| stale.routes.get(name) == fresh.routes.get(name);
        self.routes.retain(|name| !same(name));
        let same = |name: &String| stale.secrets.get(name) == fresh.secrets.get(name);
        self.secrets.retain(|name| !same(name));
    }
}

/// Puts values in their places; their names are not left over.
fn replace<T: Eq>(all: &mut Named<T>, fresh: &Values<T>, left: &mut BTreeSet<String>) {
    for (name, value) in fresh.iter() {
        left.remove(name.as_ref());
        if all.get(name) != Some(value) {
            all.insert(Arc::clone(name), Arc::clone(value));
        }
    }
}

/// Puts a value in its place, if it is another one.
fn set<T: Eq>(all: &mut Named<T>, name: &str, value: Option<Arc<T>>) {
    match value {
        Some(value) if all.get(name) != Some(&value) => all.insert(name, value),
        Some(_) => {}
        None => drop(all.remove(name)),
    }
}
