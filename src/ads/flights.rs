//! What is measured of one stream: how long it takes until it is told of an event, and until it
//! has answered. Nothing is decided by it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::clients::Membership;
use crate::clock::{now, since_1970};
use crate::journey::Journey;
use crate::traces::Part;
use crate::xds::session::Response;
use crate::xds::{ResourceType, Snapshot};

/// What is under way on one stream.
#[derive(Debug, Default)]
pub(super) struct Flights {
    /// The way of the event that the newest snapshot tells of, and when the stream took it.
    journey: Option<(Journey, Duration)>,
    /// Whether a response told of it.
    told: bool,
    /// What is not answered, by nonce.
    sent: BTreeMap<String, Flight>,
}

#[derive(Debug)]
struct Flight {
    kind: ResourceType,
    at: Instant,
    time: Duration,
    journey: Option<Journey>,
}

impl Flights {
    /// The stream takes a snapshot.
    pub(super) fn take(&mut self, membership: &Membership, snapshot: &Arc<Snapshot>) {
        let journey = membership.journeys().of(snapshot);
        self.told = false;
        self.journey = journey.map(|journey| (journey, since_1970()));
    }

    /// A response is handed over.
    pub(super) fn depart(&mut self, membership: &Membership, response: &Response) {
        let (at, time) = (now(), since_1970());
        if let Some((journey, taken)) = &self.journey {
            if !std::mem::replace(&mut self.told, true) {
                let since = at.saturating_duration_since(journey.heard);
                membership.metrics().pushed(since);
            }
            let part = Part {
                name: "push",
                times: [*taken, time],
                refused: None,
            };
            let resources = response.resources.len() + response.removed.len();
            journey.trace.note(part, || {
                [
                    ("xds.node", membership.node()),
                    ("xds.type", response.kind.word().to_owned()),
                    ("xds.resources", resources.to_string()),
                ]
            });
        }
        if self.sent.len() < SENT_MAX {
            let journey = self.journey.as_ref();
            let flight = Flight {
                kind: response.kind,
                at,
                time,
                journey: journey.map(|(journey, _)| journey.clone()),
            };
            self.sent.insert(response.nonce.clone(), flight);
        }
    }

    /// The client answered; with an error where it refuses.
    pub(super) fn arrive(&mut self, membership: &Membership, nonce: &str, error: Option<&str>) {
        let Some(flight) = self.sent.remove(nonce) else {
            return;
        };
        if error.is_none() {
            let after = now().saturating_duration_since(flight.at);
            membership.metrics().acknowledged(flight.kind.word(), after);
        }
        if let Some(journey) = flight.journey {
            let part = Part {
                name: "ack",
                times: [flight.time, since_1970()],
                refused: error.map(str::to_owned),
            };
            journey.trace.note(part, || {
                [
                    ("xds.node", membership.node()),
                    ("xds.type", flight.kind.word().to_owned()),
                ]
            });
        }
    }
}

/// More than a client may leave unanswered.
const SENT_MAX: usize = 64;
