//! What some owners come to, in as little room as it takes: there are as many pieces as services,
//! and most of what could be in one is not.

use std::net::IpAddr;
use std::sync::Arc;

use super::super::claims::Claim;
use super::super::compile::{Compiled, Draft, Want};
use super::super::{Cluster, Endpoint, Listener, Named, Protocol, RouteConfiguration, TlsSecret};
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
    pub(super) claims: Box<[((String, Claim), bool)]>,
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

/// Values by name, a few of them.
#[derive(Debug)]
pub(super) struct Values<T>(Box<[(String, Arc<T>)]>);

impl<T> Values<T> {
    pub(super) fn get(&self, name: &str) -> Option<&Arc<T>> {
        let found = self.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| value)
    }

    /// Puts another value in the place of the one of that name.
    pub(super) fn set(&mut self, name: &str, value: &Arc<T>) {
        let mut known = self.0.iter_mut().filter(|(known, _)| known == name);
        if let Some((_, known)) = known.next() {
            *known = Arc::clone(value);
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&String, &Arc<T>)> {
        self.0.iter().map(|(name, value)| (name, value))
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &String> {
        self.0.iter().map(|(name, _)| name)
    }
}

impl<T> From<&Named<T>> for Values<T> {
    fn from(values: &Named<T>) -> Self {
        let values = values.iter();
        let values = values.map(|(name, value)| (name.clone(), Arc::clone(value)));
        Self(values.collect())
    }
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
            compiled,
            claims,
            uses,
        } = draft;
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
                .map(|(key, shared)| (key.clone(), shared))
                .collect(),
            addresses: addresses.collect(),
            proxied: proxied
                .map(|(listener, proxied)| (listener.clone(), proxied))
                .collect(),
            sets: compiled.into(),
        }
    }
}
