//! Scopes come before the listener that routes by them, and go long after it: what of one client
//! has to be waited for. What a scope is, is the business of `scope`.
//!
//! All listeners of an Envoy share one subscription to scopes. So the first of them asks for
//! scopes and waits for these and their routes; every other one would listen before its own are
//! there. When the last of them has gone, Envoy forgets its scopes and does not say so: on its
//! stream it is subscribed to all of them for ever, and has what it took. And a listener that was
//! replaced serves its open connections until they end.

use std::sync::Arc;
use std::time::Duration;

use super::feed::Feed;
use super::layout;
use super::order::WARMING_MAX;
use super::session::Session;
use super::{Resource, ResourceType, Version};

impl Session {
    /// Whether the client has what the listener routes by, or asks for it when it has the listener,
    /// or waiting for it has no sense.
    pub(super) fn has_scopes(&self, now: Duration, feed: &Feed, listener: &Resource) -> bool {
        if listener.scoped.is_empty() || self.only.is_some() || !self.is_open(ResourceType::Scope) {
            return true;
        }
        let since = feed.waiting_since.get(&listener.name);
        let waited = |most: Duration| since.is_some_and(|since| now >= *since + most);
        if waited(WARMING_MAX) {
            return true;
        }
        let of = |kind| self.feeds.get(&kind);
        let (scopes, routes) = (of(ResourceType::Scope), of(ResourceType::Route));
        let taken = |feed: Option<&Feed>, name: &str| {
            feed.is_some_and(|feed| feed.serves(name) || feed.refused.contains_key(name))
        };
        let asked = |name: &str| scopes.is_some_and(|feed| feed.subscription.matches(name));
        let mut names = listener.scoped.iter().flat_map(|it| layout::scopes(it));
        let first = names.clone().next().unwrap_or_default();
        let follows = of(ResourceType::Route).is_some_and(|it| it.subscription.matches(&first));
        if taken(scopes, &first) && !follows && waited(FOLLOWING_MAX) {
            return true;
        }
        names.all(|name| !asked(&name) || (taken(scopes, &name) && taken(routes, &name)))
    }

    /// A listener that routes by scopes for the first time may be one that has to have them again.
    pub(super) fn sent_listeners(&mut self, resources: &[(Arc<Resource>, Version)]) {
        let Self {
            feeds, snapshot, ..
        } = self;
        let known = |name: &str, feeds: &std::collections::BTreeMap<ResourceType, Feed>| {
            let held = feeds.get(&ResourceType::Listener)?.held.get(name)?;
            Some(held.copy.as_ref()?.scoped.clone())
        };
        for (resource, _) in resources {
            if resource.scoped.is_empty()
                || known(&resource.name, feeds).is_some_and(|known| known == resource.scoped)
            {
                continue;
            }
            let Some(feed) = feeds.get_mut(&ResourceType::Scope) else {
                continue;
            };
            let names = resource.scoped.iter().flat_map(|it| layout::scopes(it));
            let names = names.filter(|name| {
                feed.opened_at.is_some()
                    && feed.subscription.matches(name)
                    && snapshot.get(ResourceType::Scope, name).is_some()
            });
            let names: Vec<String> = names.collect();
            feed.owed.extend(names.iter().cloned());
            feed.pending.extend(names);
        }
    }

    /// Notes since when scopes are to go, and lets those go whose connections have ended.
    pub(super) fn part(&mut self, now: Duration) {
        let Self {
            feeds,
            snapshot,
            parting,
            ..
        } = self;
        // The one before a refused listener runs on, with the scopes that it had.
        let listeners = feeds.get(&ResourceType::Listener);
        let replaced = listeners.is_none_or(|feed| feed.refused.is_empty());
        let Some(feed) = feeds.get_mut(&ResourceType::Scope) else {
            return;
        };
        if snapshot.is_partial() {
            return;
        }
        for name in &feed.pending {
            if snapshot.get(ResourceType::Scope, name).is_some() {
                parting.remove(name);
            } else if feed.holds(name) {
                parting.entry(name.clone()).or_insert(now);
            }
        }
        let is_over = |since: &Duration| now >= *since + DRAINING_MAX;
        if replaced && parting.values().any(is_over) {
            parting.retain(|name, since| !is_over(since) || feed.holds(name));
            let over = parting.iter().filter(|(_, since)| is_over(since));
            feed.pending.extend(over.map(|(name, _)| name.clone()));
        }
    }

    /// Whether a scope is used by no connection any more.
    pub(super) fn has_parted(&self, now: Duration, name: &str) -> bool {
        let since = self.parting.get(name);
        since.is_some_and(|since| now >= *since + DRAINING_MAX)
    }

    /// When waiting for scopes ends, or they can go.
    pub(super) fn scope_deadlines(&self) -> impl Iterator<Item = Duration> {
        let waits = self.is_open(ResourceType::Scope);
        let listeners = self.feeds.get(&ResourceType::Listener).filter(|_| waits);
        let waiting = listeners
            .into_iter()
            .flat_map(|feed| feed.waiting_since.values());
        let parting = self.parting.values().min();
        let parting = parting.map(|since| *since + DRAINING_MAX);
        waiting
            .flat_map(|since| [FOLLOWING_MAX, WARMING_MAX].map(|most| *since + most))
            .chain(parting)
    }
}

/// Envoy asks for the routes of a scope when it takes it. Where it does not, no listener is there
/// that would use them, and it asks when it has one.
const FOLLOWING_MAX: Duration = Duration::from_millis(300);
/// Envoy drains a listener for ten minutes where nothing else is said (`--drain-time-s`).
const DRAINING_MAX: Duration = Duration::from_secs(660);
