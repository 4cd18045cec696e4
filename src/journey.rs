//! EDGE: since when there is something to tell, for each snapshot that is under way to the clients:
//! what is measured on the way of an event, beside the snapshots that carry it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::time::Instant;

use crate::clock::{now, since_1970};
use crate::inventory::Event;
use crate::metrics::Metrics;
use crate::traces::{Part, Trace, Traces};
use crate::xds::Snapshot;

/// The journeys that began lately. Cheap to clone; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Journeys {
    latest: Arc<Mutex<Latest>>,
}

/// The oldest first. A weak handle keeps the address of a snapshot from being used again.
type Latest = VecDeque<(Weak<Snapshot>, Journey)>;

/// The way of the first event that a snapshot tells of.
#[derive(Clone, Debug)]
pub struct Journey {
    /// When the event was heard.
    pub heard: Instant,
    /// The trace of it, where somebody wants traces.
    pub trace: Trace,
}

impl Journeys {
    /// A snapshot is about to be published.
    pub fn begin(&self, snapshot: &Arc<Snapshot>, journey: Journey) {
        let mut latest = self.lock();
        latest.push_back((Arc::downgrade(snapshot), journey));
        let over = latest.len().saturating_sub(LATEST_MAX);
        latest.drain(..over);
    }

    /// The way of what a snapshot tells of; `None` where no event led to it, or long ago.
    pub fn of(&self, snapshot: &Arc<Snapshot>) -> Option<Journey> {
        let wanted = Arc::downgrade(snapshot);
        let latest = self.lock();
        let mut latest = latest.iter().rev();
        let found = latest.find(|(known, _)| known.ptr_eq(&wanted));
        found.map(|(_, journey)| journey.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Latest> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the controller measures with.
#[derive(Clone, Debug, Default)]
pub struct Gauge {
    metrics: Metrics,
    journeys: Journeys,
    traces: Traces,
    /// The way of the first event that nothing was made of yet.
    heard: Option<Journey>,
}

/// When something began, on both clocks, and when its first part was over.
#[derive(Clone, Copy, Debug)]
pub struct Parts {
    began: Instant,
    times: [Duration; 2],
}

impl Gauge {
    /// Counts in these, and notes the ways of events for who follows them further.
    pub fn new(metrics: Metrics, journeys: Journeys, traces: Traces) -> Self {
        Self {
            metrics,
            journeys,
            traces,
            heard: None,
        }
    }

    /// An event came.
    pub fn heard(&mut self, event: &Event) {
        let at = since_1970();
        let second = i64::try_from(at.as_secs()).unwrap_or(i64::MAX);
        self.metrics.heard(second);
        let traces = &self.traces;
        self.heard.get_or_insert_with(|| Journey {
            heard: now(),
            trace: traces.begin(at, || {
                let (what, how) = event.told().unwrap_or_default();
                [("opensvc.event", how.to_owned()), ("opensvc.object", what)]
            }),
        });
    }

    /// What is known was compiled, since then.
    pub fn compiled(&self, began: Instant) -> Parts {
        let ended = since_1970();
        let taken = now().saturating_duration_since(began);
        let times = [ended.saturating_sub(taken), ended];
        self.note("compile", times);
        Parts { began, times }
    }

    /// And encoded.
    pub fn encoded(&self, parts: Parts) {
        let taken = now().saturating_duration_since(parts.began);
        self.metrics.compiled(taken);
        let [began, compiled] = parts.times;
        self.note("encode", [compiled, began.saturating_add(taken)]);
    }

    /// Nothing is to be told of what was heard.
    pub fn settle(&mut self) {
        self.heard = None;
    }

    /// What was made of it is about to be published.
    pub fn publish(&mut self, snapshot: &Arc<Snapshot>) {
        if let Some(journey) = self.heard.take() {
            journey.trace.published(since_1970());
            self.journeys.begin(snapshot, journey);
        }
    }

    fn note(&self, name: &'static str, times: [Duration; 2]) {
        let part = Part {
            name,
            times,
            refused: None,
        };
        if let Some(journey) = &self.heard {
            journey.trace.note(part, || []);
        }
    }
}

/// A stream takes the newest snapshot at once, so that older ones are soon of no use.
const LATEST_MAX: usize = 16;
