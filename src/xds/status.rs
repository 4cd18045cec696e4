//! What one client has, should have and refuses, name by name, in the words of Envoy's client
//! status discovery (service.status.v3). Made when somebody asks; nothing is decided by it.

use std::collections::BTreeSet;
use std::time::Duration;

use super::feed::Feed;
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
    /// when; `None` for the time of what it told of an
    /// earlier stream.
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
    /// It is to be sent when its turn comes, or waits since then for something else.
    NotSent(Option<Duration>),
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

impl Session {
    /// Every resource that the client has, may have or asks for.
    pub fn status(&self) -> Vec<ResourceStatus> {
        let mut all = Vec::new();
        for (kind, feed) in &self.feeds {
            if feed.opened_at.is_none() {
                continue;
            }
            let wanted = self.snapshot.all(*kind).map(|resource| &resource.name);
            let wanted = wanted.filter(|name| feed.subscription.matches(name));
            let known = feed.held.keys().chain(feed.subscription.names());
            let names: BTreeSet<&String> = wanted.chain(known).collect();
            all.extend(
                names
                    .into_iter()
                    .map(|name| self.resource(*kind, feed, name)),
            );
        }
        all
    }

    fn resource(&self, kind: ResourceType, feed: &Feed, name: &str) -> ResourceStatus {
        let resource = self.snapshot.get(kind, name);
        let held = feed.held.get(name);
        let doubtful = held.is_some_and(|held| held.version.is_none());
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
            State::NotSent(feed.waiting_since.get(name).copied())
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
            acked: held.and_then(|held| held.acked.clone()),
            state,
            origins: resource.map_or_else(Vec::new, |resource| resource.origins.clone()),
        }
    }
}
