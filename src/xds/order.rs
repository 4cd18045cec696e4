//! Make before break: when a cluster can be named, and when it can be removed. What is said of
//! it, and under which version, is the session's business.

use std::sync::Arc;
use std::time::Duration;

use super::feed::Feed;
use super::session::Session;
use super::{Resource, ResourceType, Version};

impl Session {
    /// A cluster that is new or changed warms until it gets its endpoints (again), which Envoy
    /// does not ask for.
    pub(super) fn sent_clusters(
        &mut self,
        now: Duration,
        resources: &[(Arc<Resource>, Version)],
        removed: &[String],
    ) {
        let feed = self.feeds.get(&ResourceType::Cluster);
        for (resource, _) in resources {
            // While a changed cluster warms, the one before it goes on serving.
            if !feed.is_some_and(|feed| feed.holds(&resource.name)) {
                self.warming.insert(resource.name.clone(), now);
            }
        }
        for name in removed {
            self.warming.remove(name);
        }
        let Some(feed) = self.feeds.get_mut(&ResourceType::Endpoint) else {
            return;
        };
        if feed.opened_at.is_none() {
            return;
        }
        for (resource, _) in resources {
            feed.owed.insert(resource.name.clone());
            feed.pending.insert(resource.name.clone());
        }
    }

    /// A cluster can be used when Envoy has its endpoints, or has acknowledged it: it holds the
    /// acknowledgement back while any cluster warms.
    pub(super) fn warmed(&mut self, kind: ResourceType, name: &str) {
        let cluster = self.snapshot.get(ResourceType::Cluster, name);
        let by_endpoints = || cluster.is_none_or(|cluster| !cluster.warms_until_acked);
        if kind == ResourceType::Cluster || (kind == ResourceType::Endpoint && by_endpoints()) {
            self.warming.remove(name);
        }
    }

    /// Whether traffic can be sent to a cluster, or waiting for it has no sense.
    pub(super) fn is_ready(&self, now: Duration, cluster: &str) -> bool {
        let Some(feed) = self.feeds.get(&ResourceType::Cluster) else {
            return true;
        };
        if self.snapshot.get(ResourceType::Cluster, cluster).is_none()
            || !feed.subscription.matches(cluster)
            || feed.refused.contains_key(cluster)
        {
            return true;
        }
        match self.warming.get(cluster) {
            Some(since) => now >= *since + WARMING_MAX,
            None => feed.holds(cluster),
        }
    }

    /// Whether nothing that the client has or is about to get names the cluster.
    pub(super) fn is_removable(&self, now: Duration, cluster: &str) -> bool {
        let namers = [ResourceType::Listener, ResourceType::Route];
        let settled = namers.into_iter().all(|kind| match self.feeds.get(&kind) {
            Some(feed) if feed.opened_at.is_some() => {
                feed.is_settled() && !self.may_name(kind, feed, cluster)
            }
            _ => self.settling_ends().is_none_or(|end| now >= end),
        });
        settled && !self.is_named(cluster)
    }

    /// Whether a copy that the client holds may name the cluster. Routes whose listener is gone
    /// serve only what drains, which need not keep a removed service alive.
    fn may_name(&self, kind: ResourceType, feed: &Feed, cluster: &str) -> bool {
        let mut held = feed.held.iter();
        held.any(|(name, held)| {
            let drains = kind == ResourceType::Route && self.snapshot.get(kind, name).is_none();
            !drains && held.clusters.contains(cluster)
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
/// How long a client may take to ask for listeners and routes after it asked for clusters.
const SETTLING_MAX: Duration = Duration::from_secs(5);
