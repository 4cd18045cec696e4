//! What one client has, should have and refuses, name by name, in the words of Envoy's client
//! status discovery (service.status.v3). Made when somebody asks; nothing is decided by it.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::feed::Feed;
use super::held::Held;
use super::session::Session;
use super::{ResourceType, Version};
use crate::gateway::Origin;

/// The state of one resource at one client. Times count from the beginning of its stream.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ResourceStatus {
    /// Its type.
    pub kind: ResourceType,
    /// Its name.
    pub name: String,
    /// The version that the client should have; `None` where it should have none.
    pub wanted: Option<Version>,
    /// The version that it acknowledged last, which serves on where a newer one is refused, and
    /// when; `None` for the time of what it told of an earlier stream.
    pub acked: Option<(String, Option<Duration>)>,
    /// How it stands.
    pub state: State,
    /// What it was made from.
    pub origins: Vec<Origin>,
}

/// How a resource stands at a client.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum State {
    /// It has what it should.
    Synced,
    /// It was sent, and it is not known whether the client took it.
    Stale,
    /// It is to be sent.
    NotSent {
        /// Since when it waits; `None` where it was not its turn yet.
        since: Option<Duration>,
        /// For what.
        waits: Waits,
    },
    /// The client asks for a name that there is nothing for.
    DoesNotExist,
    /// The client refuses it.
    Error {
        /// The version that was sent; `None` for a removal.
        version: Option<Version>,
        /// The client's words.
        message: String,
        /// When it said them.
        at: Duration,
    },
}

/// Why something that should be sent has not been yet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Waits {
    /// Responses of its type have not been answered, or it is about to be sent.
    Turn,
    /// It names this cluster, which cannot take traffic yet.
    Cluster(String),
    /// It is a cluster that goes, which routes or listeners may still send traffic to.
    Named,
    /// It goes, and what is served was saved by an earlier process: by that nothing is removed.
    Partial,
}

impl fmt::Display for Waits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Turn => f.write_str("its turn: what was sent before is not answered"),
            Self::Cluster(name) => write!(f, "the cluster {name} cannot take traffic yet"),
            Self::Named => f.write_str("routes or listeners may still send traffic to it"),
            Self::Partial => f.write_str("nothing is removed before the daemon is heard"),
        }
    }
}

impl Session {
    /// Shows every resource that the client has, may have or asks for, one after the other: there
    /// may be many, and few that anybody wants to see.
    pub fn each_resource(&self, now: Duration, mut show: impl FnMut(ResourceStatus)) {
        for (kind, feed) in &self.feeds {
            if feed.opened_at.is_none() {
                continue;
            }
            let wanted = self.snapshot.all(*kind).map(|resource| &resource.name);
            let wanted = wanted.filter(|name| feed.subscription.matches(name));
            let known = feed.held.keys().chain(feed.subscription.names());
            let names: BTreeSet<&Arc<str>> = wanted.chain(known).collect();
            for name in names {
                show(self.resource(now, *kind, feed, name));
            }
        }
    }

    fn resource(
        &self,
        now: Duration,
        kind: ResourceType,
        feed: &Feed,
        name: &str,
    ) -> ResourceStatus {
        let resource = self.snapshot.get(kind, name);
        let held = feed.held.get(name);
        let doubtful = held.is_some_and(Held::is_doubtful);
        let flies = feed
            .in_flight
            .iter()
            .any(|flight| flight.tells(name).is_some());
        let state = if let Some(refusal) = feed.refused.get(name) {
            State::Error {
                version: refusal.version,
                message: refusal.message.clone(),
                at: refusal.at,
            }
        } else if flies {
            State::Stale
        } else if feed.pending.contains(name) {
            State::NotSent {
                since: feed.waiting_since.get(name).copied(),
                waits: self.waits(now, kind, name),
            }
        } else if doubtful {
            State::Stale
        } else if resource.is_none() && held.is_none() {
            State::DoesNotExist
        } else {
            State::Synced
        };
        ResourceStatus {
            kind,
            name: name.to_owned(),
            wanted: resource.map(|resource| feed.version(resource)),
            acked: held
                .and_then(Held::acked)
                .map(|(version, at)| (version.to_string(), at)),
            state,
            origins: resource.map_or_else(Vec::new, |resource| resource.origins.to_vec()),
        }
    }

    fn waits(&self, now: Duration, kind: ResourceType, name: &str) -> Waits {
        let Some(resource) = self.snapshot.get(kind, name) else {
            return match kind {
                _ if self.snapshot.is_partial() => Waits::Partial,
                ResourceType::Cluster if !self.is_removable(now, name) => Waits::Named,
                _ => Waits::Turn,
            };
        };
        let mut clusters = resource.clusters.iter();
        let missing = clusters.find(|cluster| !self.is_ready(now, cluster));
        missing.map_or(Waits::Turn, |cluster| Waits::Cluster(cluster.clone()))
    }
}
