//! Scopes come before the listener that routes by them, and go long after it: what of one client
//! has to be waited for. What a scope is, is the business of `scope`.
//!
//! All listeners of an Envoy share one subscription to scopes. So the first of them asks for
//! scopes and waits for these and their routes; every other one would listen before its own are
//! there, and so is sent when they are. When the last of them has gone, Envoy forgets its scopes
//! and does not say so: on its stream it is subscribed to all of them for ever, and has what it
//! took. And a listener that was replaced serves its open connections until they end.

use std::sync::Arc;
use std::time::Duration;

use super::feed::Feed;
use super::held::Held;
use super::layout;
use super::session::Session;
use super::{Resource, ResourceType, Version};

impl Session {
    /// Whether the client has what the listener routes by, or asks for it when it has the listener,
    /// or waiting for it has no sense.
    pub(super) fn has_scopes(&self, now: Duration, feed: &Feed, listener: &Resource) -> bool {
        // What is missing in a first whole state would be removed.
        let first = self.whole && !feed.has_sent;
        if listener.scoped.is_empty() || self.only.is_some() || first {
            return true;
        }
        let since = feed.waiting_since.get(&listener.name);
        if since.is_some_and(|since| now >= *since + SCOPES_MAX) {
            return true;
        }
        let of = |kind| self.feeds.get(&kind);
        let (scopes, routes) = (of(ResourceType::Scope), of(ResourceType::Route));
        let Some(scopes) = scopes.filter(|feed| feed.opened_at.is_some()) else {
            let held = feed.held.values().filter_map(Held::copy);
            return self.opens(feed, listener) && held.into_iter().all(|it| it.scoped.is_empty());
        };
        if self
            .unfollowed_at(listener, since)
            .is_some_and(|at| now >= at)
        {
            return self.opens(feed, listener);
        }
        let taken = |feed: &Feed, name: &str| feed.serves(name) || feed.refused.contains_key(name);
        let mut names = listener.scoped.iter().flat_map(|it| layout::scopes(it));
        names.all(|name| {
            let routed = routes.is_some_and(|feed| taken(feed, &name));
            !scopes.subscription.matches(&name) || (taken(scopes, &name) && routed)
        })
    }

    /// Whether it is the one listener that makes the client ask for scopes: one at a time.
    fn opens(&self, feed: &Feed, listener: &Resource) -> bool {
        let mut flights = feed.in_flight.iter().flat_map(|flight| &flight.resources);
        let mut pending = feed.pending.iter();
        let next = pending.find(|name| {
            let resource = self.snapshot.get(ResourceType::Listener, name);
            let is_new = |one: &Arc<Resource>| !one.scoped.is_empty() && !feed.has(one);
            !feed.refused.contains_key(*name) && resource.is_some_and(is_new)
        });
        flights.all(|(one, _)| one.scoped.is_empty()) && next == Some(&listener.name)
    }

    /// When it is certain that no listener of the client uses the scopes that it took: Envoy asks
    /// for their routes at once. `None` where one does, or it has not taken them.
    fn unfollowed_at(&self, listener: &Resource, since: Option<&Duration>) -> Option<Duration> {
        let (scopes, routes) = (ResourceType::Scope, ResourceType::Route);
        let scopes = self.feeds.get(&scopes).filter(|feed| feed.is_settled())?;
        let name = layout::scopes(listener.scoped.first()?).next()?;
        let routes = self.feeds.get(&routes);
        let follows = routes.is_some_and(|feed| feed.subscription.matches(&name));
        let held = scopes
            .held
            .get(name.as_str())
            .filter(|held| held.serves())?;
        let taken = held.acked().and_then(|(_, at)| at);
        (!follows).then_some(taken.max(since.copied())? + FOLLOWING_MAX)
    }

    /// A listener that routes by scopes for the first time may be one that has to have all of them
    /// again.
    pub(super) fn sent_listeners(&mut self, resources: &[(Arc<Resource>, Version)]) {
        let Self {
            feeds, snapshot, ..
        } = self;
        let held = feeds.get(&ResourceType::Listener).map(|feed| &feed.held);
        let is_new = |resource: &Resource| {
            let known = held.and_then(|held| held.get(&resource.name)?.copy());
            !resource.scoped.is_empty() && known.is_none_or(|it| it.scoped != resource.scoped)
        };
        if !resources.iter().any(|(resource, _)| is_new(resource)) {
            return;
        }
        let Some(feed) = feeds.get_mut(&ResourceType::Scope) else {
            return;
        };
        if feed.opened_at.is_some() {
            let names = snapshot.all(ResourceType::Scope).map(|one| &one.name);
            let names = names.filter(|name| feed.subscription.matches(name));
            let names: Vec<Arc<str>> = names.cloned().collect();
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
        let listeners = self.feeds.get(&ResourceType::Listener).into_iter();
        let waiting = listeners.flat_map(|feed| &feed.waiting_since);
        let waiting = waiting.flat_map(|(name, since)| {
            let listener = self.snapshot.get(ResourceType::Listener, name);
            let listener = listener.filter(|one| !one.scoped.is_empty());
            let unfollowed = listener.and_then(|one| self.unfollowed_at(one, Some(since)));
            listener
                .map(|_| *since + SCOPES_MAX)
                .into_iter()
                .chain(unfollowed)
        });
        let parting = self.parting.values().min();
        let parting = parting.map(|since| *since + DRAINING_MAX);
        waiting.chain(parting)
    }
}

/// A listener does not wait longer for the scopes and routes of its own.
const SCOPES_MAX: Duration = Duration::from_secs(30);
/// So long after it took scopes an Envoy that uses them has asked for their routes.
const FOLLOWING_MAX: Duration = Duration::from_millis(300);
/// Envoy drains a listener for ten minutes where nothing else is said (`--drain-time-s`).
const DRAINING_MAX: Duration = Duration::from_secs(660);
