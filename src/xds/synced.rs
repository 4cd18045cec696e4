//! Whether a client has everything that it should: found out anew for what changed since it had.

use std::sync::Arc;

use super::feed::Feed;
use super::session::Session;
use super::{ResourceType, Snapshot};

impl Session {
    /// The snapshot, when the client has acknowledged every resource of it and nothing else is
    /// under way. What it refuses it never acknowledges.
    pub fn synced(&mut self) -> Option<&Arc<Snapshot>> {
        if !self.is_synced() {
            return None;
        }
        self.had = Some(Arc::clone(&self.snapshot));
        self.had.as_ref()
    }

    fn is_synced(&self) -> bool {
        // Mostly something is under way, which is found out without looking at every resource.
        let rests = |feed: &Feed| feed.in_flight.is_empty() && feed.pending.is_empty();
        if !self.feeds.values().all(rests) {
            return false;
        }
        if let Some(had) = &self.had {
            let mut changes = self.snapshot.changes(had);
            return changes.all(|(kind, name)| self.has(kind, name));
        }
        let kinds = ResourceType::ALL.into_iter();
        if self.only.is_none() {
            // Who never asks for a type never has all. That is to cost nothing at each change.
            let held = |kind| self.feeds.get(&kind).map_or(0, |feed| feed.held.len());
            let mut counted = kinds.map(|kind| held(kind) >= self.snapshot.count(kind));
            let mut feeds = self.feeds.iter();
            return counted.all(|enough| enough)
                && feeds.all(|(kind, feed)| feed.has_all(*kind, &self.snapshot));
        }
        let mut all = kinds.flat_map(|kind| self.snapshot.all(kind).map(move |one| (kind, one)));
        all.all(|(kind, resource)| self.has(kind, &resource.name))
    }

    /// Whether the client has what it should of this name.
    fn has(&self, kind: ResourceType, name: &str) -> bool {
        if self.only.is_some_and(|only| only != kind) {
            return true;
        }
        let feed = self.feeds.get(&kind);
        // A stream of one type carries what it is asked for, and others the rest.
        let asked = feed.is_some_and(|feed| feed.subscription.matches(name));
        if !asked && self.only.is_some() {
            return true;
        }
        let resource = self.snapshot.get(kind, name);
        resource.is_none_or(|resource| feed.is_some_and(|feed| feed.has(resource)))
    }
}
