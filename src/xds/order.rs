//! Make before break: when a cluster can be named, and when it can be removed. What is said of
//! it, and under which version, is the session's business.

use std::sync::Arc;
use std::time::Duration;

use super::feed::Feed;
use super::session::Session;
use super::{Resource, ResourceType, Version};

/// A cluster that was sent and cannot be used yet.
#[derive(Debug)]
pub(super) struct Warming {
    /// When it was sent.
    pub(super) since: Duration,
    /// In which response: endpoints of an earlier one do not count.
    nonce: u64,
    /// Whether it waits for more than its endpoints.
    until_acked: bool,
    /// When it had its endpoints, if it waits for more.
    endpoints_at: Option<Duration>,
}

impl Warming {
    /// When waiting for it ends, at the latest or as far as it is known.
    pub(super) fn deadlines(&self) -> impl Iterator<Item = Duration> {
        let held_back = self.endpoints_at.map(|at| at + HELD_BACK_MAX);
        held_back.into_iter().chain([self.since + WARMING_MAX])
    }
}

impl Session {
    /// A cluster that is new or changed warms until it gets its endpoints (again), which Envoy
    /// does not ask for.
    pub(super) fn sent_clusters(
        &mut self,
        now: Duration,
        resources: &[(Arc<Resource>, Version)],
        removed: &[Arc<str>],
    ) {
        let feed = self.feeds.entry(ResourceType::Cluster).or_default();
        for (resource, _) in resources {
            // While a changed cluster warms, the one before it goes on serving.
            if !feed.serves(&resource.name) {
                // The client may refuse this one and be left with the one before, which has its
                // endpoints and waits for more.
                let before = self.warming.get(&resource.name);
                let waited = before.is_some_and(|warming| warming.until_acked);
                let warming = Warming {
                    since: now,
                    nonce: self.nonce,
                    until_acked: resource.warms_until_acked || waited,
                    endpoints_at: None,
                };
                self.warming.insert(resource.name.clone(), warming);
            }
        }
        for name in removed {
            self.warming.remove(name);
            if let Some(held) = feed.held.get_mut(name) {
                held.set_serves(false);
            }
        }
        if self.only.is_some() {
            return;
        }
        // Also for a client that has not asked for endpoints yet: when it comes back it asks for
        // clusters first, and then with the versions of endpoints that it had before.
        let feed = self.feeds.entry(ResourceType::Endpoint).or_default();
        for (resource, _) in resources {
            feed.owed.insert(resource.name.clone());
            feed.pending.insert(resource.name.clone());
        }
    }

    /// The client answered for the cluster; what is under way behind that may take it away again.
    pub(super) fn warmed(&mut self, name: &str) {
        let feed = self.feeds.get(&ResourceType::Cluster);
        if !feed.is_some_and(|feed| feed.takes_away(name)) {
            self.warming.remove(name);
        }
    }

    /// Endpoints that a client acknowledged make a cluster ready that waits for nothing else. Its
    /// own acknowledgement comes later: Envoy holds it back while any cluster warms.
    pub(super) fn warmed_by_endpoints(&mut self, now: Duration, nonce: u64, name: &str) {
        let asked = self.feeds.get(&ResourceType::Endpoint);
        // Envoy acknowledges, and drops, endpoints of a cluster that it did not take.
        if !asked.is_some_and(|feed| feed.subscription.matches(name)) {
            return;
        }
        match self.warming.get_mut(name) {
            None => return,
            Some(warming) if warming.nonce > nonce => return,
            Some(warming) if warming.until_acked => {
                warming.endpoints_at.get_or_insert(now);
                return;
            }
            Some(_) => {}
        }
        self.warming.remove(name);
        let feed = self.feeds.entry(ResourceType::Cluster).or_default();
        let held = feed.held.entry(name.into()).or_default();
        held.set_serves(true);
    }

    /// Whether traffic can be sent to a cluster, or waiting for it has no sense.
    pub(super) fn is_ready(&self, now: Duration, cluster: &str) -> bool {
        let opened = |kind| self.feeds.get(&kind)?.opened_at;
        let feed = match self.feeds.get(&ResourceType::Cluster) {
            Some(feed) if feed.opened_at.is_some() => feed,
            // Who asks for endpoints has clusters, and will say which when they are warm.
            _ if self.only.is_some() => return true,
            _ => return opened(ResourceType::Endpoint).is_none_or(|at| now >= at + WARMING_MAX),
        };
        if self.snapshot.get(ResourceType::Cluster, cluster).is_none()
            || !feed.subscription.matches(cluster)
            || feed.refused.contains_key(cluster)
        {
            return true;
        }
        match self.warming.get(cluster) {
            // While others warm too, its own acknowledgement may be held back for them.
            Some(warming) => {
                let held_back = warming.endpoints_at.filter(|_| self.warming.len() > 1);
                now >= warming.since + WARMING_MAX
                    || held_back.is_some_and(|at| now >= at + HELD_BACK_MAX)
            }
            None => feed.serves(cluster),
        }
    }

    /// Whether nothing that the client has or is about to get names the cluster.
    pub(super) fn is_removable(&self, now: Duration, cluster: &str) -> bool {
        if self.only.is_some() {
            let feed = self.feeds.get(&ResourceType::Cluster);
            let since = feed.and_then(|feed| feed.waiting_since.get(cluster));
            return since.is_some_and(|since| now >= *since + LEAVING_MAX);
        }
        let namers = [ResourceType::Listener, ResourceType::Route];
        let settled = namers.into_iter().all(|kind| match self.feeds.get(&kind) {
            Some(feed) if feed.opened_at.is_some() => {
                feed.is_settled() && !self.may_name(kind, feed, cluster)
            }
            _ => self.settling_ends().is_none_or(|end| now >= end),
        });
        // A listener that waits for a route or a secret leaves the traffic to the one before it.
        let waited_for = [
            ResourceType::Secret,
            ResourceType::Scope,
            ResourceType::Route,
        ];
        let supplied = waited_for.into_iter().all(|kind| {
            let feed = self.feeds.get(&kind);
            feed.is_none_or(Feed::is_supplied)
        });
        settled && supplied && !self.is_named(cluster)
    }

    /// Whether a copy that the client holds may name the cluster. Routes whose listener is gone
    /// serve only what drains, which need not keep a removed service alive.
    fn may_name(&self, kind: ResourceType, feed: &Feed, cluster: &str) -> bool {
        let listeners = self.feeds.get(&ResourceType::Listener);
        // The one before a refused listener runs on, with the routes that it had.
        let all_taken = listeners.is_none_or(|feed| feed.refused.is_empty());
        let mut held = feed.held.iter();
        held.any(|(name, held)| {
            let unused = kind == ResourceType::Route && self.snapshot.get(kind, name).is_none();
            let drains = unused && all_taken;
            let names = match (held.names(cluster), self.snapshot.get(kind, name)) {
                (Some(names), _) => names,
                // What it has from an earlier stream is known only where it is still the same.
                (None, Some(resource)) => !feed.has(resource),
                (None, None) => true,
            };
            !drains && names
        })
    }

    fn is_named(&self, cluster: &str) -> bool {
        let named = |kind| {
            let mut all = self.snapshot.all(kind);
            all.any(|resource: &Arc<Resource>| resource.clusters.iter().any(|c| c == cluster))
        };
        named(ResourceType::Listener) || named(ResourceType::Route)
    }

    /// Until when a reconnected client is given time to ask for listeners and routes before a
    /// cluster that they may name is removed.
    pub(super) fn settling_ends(&self) -> Option<Duration> {
        let clusters = self.feeds.get(&ResourceType::Cluster)?;
        Some(clusters.opened_at? + SETTLING_MAX)
    }
}

/// A cluster that is not warm by then is used anyway: Envoy itself gives up after 15 s.
pub(super) const WARMING_MAX: Duration = Duration::from_secs(5);
/// How long a cluster stays behind its routes, where another stream carries those.
pub(super) const LEAVING_MAX: Duration = Duration::from_secs(2);
/// So long a cluster that has its endpoints is given for more (its first checks, a secret) while
/// another one warms, for which Envoy would hold back its acknowledgement.
const HELD_BACK_MAX: Duration = Duration::from_millis(500);
/// How long a client may take to ask for listeners and routes after it asked for clusters.
const SETTLING_MAX: Duration = Duration::from_secs(5);
