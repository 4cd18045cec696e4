//! What some owners come to, in as little room as it takes: there are as many pieces as services,
//! and most of what could be in one is not.

use std::net::IpAddr;
use std::sync::Arc;

use super::super::compile::{Compiled, Draft, Want};
use super::super::{
    Cluster, Endpoint, Gateway, Listener, Named, Protocol, RouteConfiguration, TlsSecret,
};
use super::parts::Claimed;
use crate::inventory::{ObjectPath, Problem};

/// A [`Draft`] that is kept.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) clusters: Values<Cluster>,
    pub(super) endpoints: Values<Vec<Endpoint>>,
    pub(super) secrets: Values<TlsSecret>,
    pub(super) listeners: Values<Listener>,
    pub(super) routes: Values<RouteConfiguration>,
    pub(super) sets: Sets,
    /// The `sec` objects that are named.
    pub(super) uses: Box<[ObjectPath]>,
    /// What is claimed, and whether all who claimed it may share it.
    pub(super) claims: Box<[(Claimed, bool)]>,
    /// The addresses that were asked for, whether they were had or not.
    pub(super) addresses: Box<[((Protocol, u16), IpAddr)]>,
    /// The listeners, and whether their connections should begin with the PROXY protocol.
    pub(super) proxied: Box<[(String, bool)]>,
}

/// What several can bring, and is there once.
#[derive(Debug, Default)]
pub(super) struct Sets {
    pub(super) problems: Box<[Problem]>,
    pub(super) wants: Box<[Want]>,
    pub(super) namespaces: Box<[String]>,
    pub(super) expiries: Box<[(i64, Problem)]>,
}

/// Values by name, a few of them, in the order of the names. They share both with what all pieces
/// come to.
#[derive(Debug)]
pub(super) struct Values<T>(Box<[(Arc<str>, Arc<T>)]>);

impl<T> Values<T> {
    pub(super) fn get(&self, name: &str) -> Option<&Arc<T>> {
        self.0.get(self.find(name)?).map(|(_, value)| value)
    }

    pub(super) fn get_mut(&mut self, name: &str) -> Option<&mut Arc<T>> {
        let place = self.find(name)?;
        self.0.get_mut(place).map(|(_, value)| value)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<T>)> {
        self.0.iter().map(|(name, value)| (name, value))
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_ref())
    }

    fn find(&self, name: &str) -> Option<usize> {
        let found = self
            .0
            .binary_search_by(|(known, _)| known.as_ref().cmp(name));
        found.ok()
    }
}

impl<T> From<&Named<T>> for Values<T> {
    fn from(values: &Named<T>) -> Self {
        let values = values.iter_shared();
        Self(
            values
                .map(|(name, value)| (Arc::clone(name), Arc::clone(value)))
                .collect(),
        )
    }
}

/// Gives back the room that lists were given while they grew: for one it was made for four.
fn shrink(gateway: &mut Gateway) {
    gateway.listeners.change_all(|listener| {
        listener.chains.shrink_to_fit();
    });
    gateway.routes.change_all(|configuration| {
        configuration.virtual_hosts.shrink_to_fit();
        for host in configuration.virtual_hosts.iter_mut().map(Arc::make_mut) {
            host.domains.shrink_to_fit();
            host.routes.shrink_to_fit();
        }
    });
    gateway.endpoints.change_all(Vec::shrink_to_fit);
}

impl From<Compiled> for Sets {
    fn from(compiled: Compiled) -> Self {
        Self {
            problems: compiled.problems.into_iter().collect(),
            wants: compiled.wants.into_iter().collect(),
            namespaces: compiled.namespaces.into_iter().collect(),
            expiries: compiled.expiries.into_iter().collect(),
        }
    }
}

impl From<Draft> for Piece {
    fn from(draft: Draft) -> Self {
        let Draft {
            mut compiled,
            claims,
            uses,
        } = draft;
        shrink(&mut compiled.gateway);
        let gateway = &compiled.gateway;
        let addresses = claims.addresses().flat_map(|(key, addresses)| {
            let addresses = addresses.iter();
            addresses.map(|address| (*key, *address))
        });
        let proxied = claims.wanted_proxied();
        Self {
            clusters: (&gateway.clusters).into(),
            endpoints: (&gateway.endpoints).into(),
            secrets: (&gateway.secrets).into(),
            listeners: (&gateway.listeners).into(),
            routes: (&gateway.routes).into(),
            uses: uses.into_iter().collect(),
            claims: claims
                .wanted()
                .map(|(key, shared)| (key.into(), shared))
                .collect(),
            addresses: addresses.collect(),
            proxied: proxied
                .map(|(listener, proxied)| (listener.clone(), proxied))
                .collect(),
            sets: compiled.into(),
        }
    }
}
