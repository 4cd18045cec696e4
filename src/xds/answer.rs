//! What a client's answer to a response means: what it has now, what it refuses, and what of that
//! is certain. When anything is sent again is the session's business.

use std::collections::BTreeSet;
use std::time::Duration;

use super::feed::InFlight;
use super::session::{Refused, Request, Session};
use super::subscription::WILDCARD;
use super::{ResourceType, Version};
use crate::gateway::Origin;

/// What a refusal tells of the resources of its response.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Blame {
    /// Nothing: any of them may be the reason, and any may have been applied. So it is in the
    /// delta protocol, whose versions come out wrong otherwise.
    #[default]
    Any,
    /// These are the reason; the others were applied.
    These(BTreeSet<String>),
    /// Nothing was applied. All of it is sent again, as less would remove the rest.
    All,
}

impl Session {
    /// Takes a request whose refusal, if it is one, tells more than a delta request can.
    pub fn handle_blaming(
        &mut self,
        now: Duration,
        request: Request,
        blame: &Blame,
    ) -> Vec<Refused> {
        let (kind, nonce) = (request.kind, request.nonce.clone());
        let error = request.error.clone();
        self.subscribe(now, request);
        // After its names: an acknowledgement may subscribe to what it acknowledges.
        self.answered(now, kind, &nonce, error, blame)
    }

    /// When a client has to have answered, and of which type.
    pub fn answer_due(&self) -> Option<(Duration, ResourceType)> {
        let oldest = self.feeds.iter().filter_map(|(kind, feed)| {
            let max = match kind {
                ResourceType::Cluster => CLUSTERS_ANSWER_MAX,
                _ => ANSWER_MAX,
            };
            Some((feed.in_flight.front()?.sent_at + max, *kind))
        });
        oldest.min()
    }

    fn answered(
        &mut self,
        now: Duration,
        kind: ResourceType,
        nonce: &str,
        error: Option<String>,
        blame: &Blame,
    ) -> Vec<Refused> {
        let Some(feed) = self.feeds.get_mut(&kind) else {
            return Vec::new();
        };
        let answers = |flight: &InFlight| flight.nonce.to_string() == nonce;
        let place = feed.in_flight.iter().position(answers);
        let Some(response) = place.and_then(|place| feed.in_flight.remove(place)) else {
            // A stale nonce answers nothing; subscriptions beside it still count.
            return Vec::new();
        };
        let Some(message) = error else {
            self.acknowledged(now, kind, &response);
            return Vec::new();
        };
        match blame {
            Blame::Any => self.refused(now, kind, &response, &message),
            Blame::These(names) => {
                let (guilty, taken) = split(response, names);
                self.acknowledged(now, kind, &taken);
                let alone = guilty.into_iter();
                alone
                    .flat_map(|one| self.refused(now, kind, &one, &message))
                    .collect()
            }
            Blame::All => {
                self.had = None;
                feed.refused_whole(now, response, self.seed);
                vec![Refused {
                    kind,
                    name: WILDCARD.to_owned(),
                    origins: Vec::new(),
                    message,
                }]
            }
        }
    }

    fn acknowledged(&mut self, now: Duration, kind: ResourceType, response: &InFlight) {
        self.feeds
            .entry(kind)
            .or_default()
            .acknowledged(now, response);
        for (resource, _) in &response.resources {
            match kind {
                ResourceType::Cluster => self.warmed(&resource.name),
                ResourceType::Endpoint => {
                    self.warmed_by_endpoints(now, response.nonce, &resource.name);
                }
                _ => {}
            }
        }
    }

    /// Returns what is refused, where that is known.
    fn refused(
        &mut self,
        now: Duration,
        kind: ResourceType,
        response: &InFlight,
        message: &str,
    ) -> Vec<Refused> {
        self.had = None;
        let feed = self.feeds.entry(kind).or_default();
        let known = feed.refused(now, response, self.seed, message);
        if kind == ResourceType::Cluster {
            for (resource, _) in &response.resources {
                self.warmed(&resource.name);
            }
        }
        match known {
            true => refusals(response, kind, message),
            false => Vec::new(),
        }
    }
}

/// The guilty, each as if it had been sent alone, and the rest.
fn split(response: InFlight, guilty: &BTreeSet<String>) -> (Vec<InFlight>, InFlight) {
    let mut taken = response;
    let is_guilty = |(resource, _): &(_, Version)| -> bool {
        let resource: &std::sync::Arc<super::Resource> = resource;
        guilty.contains(resource.name.as_ref())
    };
    let (bad, good) = std::mem::take(&mut taken.resources)
        .into_iter()
        .partition::<Vec<_>, _>(is_guilty);
    taken.resources = good;
    let alone = |resource| InFlight {
        nonce: taken.nonce,
        sent_at: taken.sent_at,
        resources: vec![resource],
        removed: Vec::new(),
        unasked: BTreeSet::new(),
    };
    (bad.into_iter().map(alone).collect(), taken)
}

fn refusals(response: &InFlight, kind: ResourceType, message: &str) -> Vec<Refused> {
    let refused = |name: &str, origins: Vec<Origin>| Refused {
        kind,
        name: name.to_owned(),
        origins,
        message: message.to_owned(),
    };
    let resources = response.resources.iter();
    let removed = response
        .removed
        .iter()
        .map(|name| refused(name, Vec::new()));
    resources
        .map(|(resource, _)| refused(&resource.name, resource.origins.to_vec()))
        .chain(removed)
        .collect()
}

/// Envoy answers in milliseconds; with ten thousand new clusters it is busy for some seconds.
const ANSWER_MAX: Duration = Duration::from_secs(60);
/// Envoy answers for clusters when none of them warms any more, which may take 15 s for a secret
/// that never comes, and as long as somebody's own health checks do.
const CLUSTERS_ANSWER_MAX: Duration = Duration::from_secs(300);
