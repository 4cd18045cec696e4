//! What to send to one client, and when: the delta xDS protocol as a value.
//!
//! The shell feeds it requests, snapshots and the time since the stream began, and sends what
//! [`Session::poll_response`] returns until that is nothing; then it waits for the next of these
//! three, at the latest until [`Session::poll_timeout`].
//!
//! Make before break: a listener or a route goes out when the clusters it names can be used, and
//! a cluster is removed when nothing that was sent names it. One response is in flight per type,
//! of clusters a few; what changes meanwhile is gathered behind them. Of a refused response each
//! resource is sent again alone, and the one that is refused alone is tried again with backoff.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::answer::Blame;
use super::encode::absent_route;
use super::feed::{Feed, InFlight};
use super::order::{LEAVING_MAX, WARMING_MAX, Warming};
use super::subscription::WILDCARD;
use super::suspects::Suspects;
use super::{Resource, ResourceType, Snapshot, Version, secret};
use crate::gateway::Origin;

/// The state of one client's stream.
#[derive(Debug)]
pub struct Session {
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) feeds: BTreeMap<ResourceType, Feed>,
    /// Clusters that were sent and cannot be used yet.
    pub(super) warming: BTreeMap<Arc<str>, Warming>,
    /// Scopes that are to go, since when.
    pub(super) parting: BTreeMap<Arc<str>, Duration>,
    /// What an earlier stream left, of the types that this one has not asked for yet.
    inherited: Suspects,
    pub(super) nonce: u64,
    pub(super) seed: u64,
    /// The one type that the stream carries; `None` where it carries all of them.
    pub(super) only: Option<ResourceType>,
    /// Whether the client is told the whole state of clusters and listeners each time.
    pub(super) whole: bool,
    /// The last snapshot of which it had everything, while it has lost nothing since.
    pub(super) had: Option<Arc<Snapshot>>,
}

/// A delta discovery request, without its transport.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Request {
    /// The resource type.
    pub kind: ResourceType,
    /// The nonce of the response that this answers; empty for none.
    pub nonce: String,
    /// The client's words if it refuses that response.
    pub error: Option<String>,
    /// Names to subscribe to.
    pub subscribe: Vec<String>,
    /// Names to unsubscribe from.
    pub unsubscribe: Vec<String>,
    /// On the first request of a type: what the client has from an earlier stream.
    pub initial: BTreeMap<String, String>,
}

/// A delta discovery response, without its transport.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Response {
    /// The resource type.
    pub kind: ResourceType,
    /// What the client's answer will repeat.
    pub nonce: String,
    /// Resources to add or replace, and the version each goes under.
    pub resources: Vec<(Arc<Resource>, Version)>,
    /// Names to remove.
    pub removed: Vec<String>,
}

/// A resource that the client refused when it was sent alone.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refused {
    /// Its type.
    pub kind: ResourceType,
    /// Its name.
    pub name: String,
    /// The OpenSVC sections that it was made from.
    pub origins: Vec<Origin>,
    /// The client's words.
    pub message: String,
}

/// What should be done about a name now.
enum Verdict {
    /// The client has what it should.
    Nothing,
    /// Not yet: something else has to happen first, or time to pass.
    Wait,
    /// Send it.
    Send(Arc<Resource>, Version),
    /// Say that it is gone.
    Remove,
}

impl Session {
    /// A new stream's session. `seed` spreads retries of several clients.
    pub fn new(snapshot: Arc<Snapshot>, seed: u64) -> Self {
        Self {
            snapshot,
            feeds: BTreeMap::new(),
            warming: BTreeMap::new(),
            parting: BTreeMap::new(),
            inherited: Suspects::default(),
            nonce: 0,
            seed,
            only: None,
            whole: false,
            had: None,
        }
    }

    /// The session of a stream that carries one type: nothing can wait for another type, and a
    /// cluster that goes stays a while, until the streams of routes and listeners have moved on.
    #[must_use]
    pub fn of_one_type(mut self, kind: ResourceType) -> Self {
        self.only = Some(kind);
        self
    }

    /// The session of a state-of-the-world stream: the first response of clusters and of listeners
    /// is complete, as what is not in it would be removed, and one at a time is in flight.
    #[must_use]
    pub fn of_whole_states(mut self) -> Self {
        self.whole = true;
        self
    }

    /// Takes over what the last session of the same client could not be sure of. Call it before
    /// the client's first request.
    pub fn inherit(&mut self, suspects: Suspects) {
        // A client that tells no versions is sent everything again anyway.
        if !self.whole {
            self.inherited = suspects;
        }
    }

    /// What the next session of this client has to know if this stream ends now.
    pub fn suspects(&self) -> Suspects {
        let mut suspects = self.inherited.clone();
        for (kind, feed) in &self.feeds {
            if feed.opened_at.is_some() {
                suspects.types.insert(*kind, feed.doubts());
            }
        }
        suspects
    }

    /// Takes a request: subscriptions, and the answer to the response in flight. Returns the
    /// resources that it refuses, where that is known.
    pub fn handle_request(&mut self, now: Duration, request: Request) -> Vec<Refused> {
        self.handle_blaming(now, request, &Blame::Any)
    }

    /// Takes the names of a request.
    pub(super) fn subscribe(&mut self, now: Duration, mut request: Request) {
        let kind = request.kind;
        // Envoy asks for endpoints before clusters when its last stream broke while a cluster
        // warmed. It then waits for endpoints that its versions say it has.
        let warms = kind == ResourceType::Endpoint && !self.is_open(ResourceType::Cluster);
        let snapshot = &self.snapshot;
        let feed = self.feeds.entry(kind).or_default();
        let first = feed.opened_at.is_none();
        let doubts = self.inherited.types.remove(&kind).unwrap_or_default();
        if first {
            feed.epochs = doubts.epochs;
            feed.opened_at = Some(now);
            if request.subscribe.is_empty() && request.unsubscribe.is_empty() {
                request.subscribe.push(WILDCARD.to_owned());
            }
            let (versions, names) = (request.initial, &request.subscribe);
            feed.open(kind, snapshot, versions, names, !warms);
        } else {
            for name in &request.subscribe {
                // A name that is subscribed again later in a stream must be answered again.
                let known = feed.sent_ahead(name);
                feed.subscribe(&snapshot.shared_name(kind, name), known);
            }
            if request.subscribe.iter().any(|name| name == WILDCARD) {
                feed.ask_for_all(kind, snapshot);
            }
        }
        for name in &request.unsubscribe {
            feed.unsubscribe(name);
        }
        if first || !request.unsubscribe.is_empty() {
            self.had = None;
        }
        feed.distrust(doubts.names);
    }

    /// Takes a newer snapshot; it must follow the one before.
    pub fn handle_snapshot(&mut self, snapshot: Arc<Snapshot>) {
        for (kind, name) in snapshot.changes(&self.snapshot) {
            let Some(feed) = self.feeds.get_mut(&kind) else {
                continue;
            };
            if feed.subscription.matches(name) || feed.holds(name) {
                feed.pending.insert(name.into());
                feed.try_whole_again();
            }
        }
        if self.snapshot.is_partial() {
            // What goes was not told of by the snapshot before.
            for feed in self.feeds.values_mut() {
                feed.pending.extend(feed.held.keys().cloned());
            }
        }
        self.snapshot = snapshot;
    }

    /// The next response to send now, if any. Call it until it returns `None` after each
    /// `handle_…` and when the time of [`Session::poll_timeout`] has come.
    pub fn poll_response(&mut self, now: Duration) -> Option<Response> {
        self.part(now);
        ResourceType::ALL
            .into_iter()
            .find_map(|kind| self.respond(now, kind))
    }

    /// When [`Session::poll_response`] may return something without anything else happening.
    pub fn poll_timeout(&self, now: Duration) -> Option<Duration> {
        let retries = self.feeds.values().flat_map(|feed| {
            let pending = feed.pending.iter();
            pending.filter_map(|name| Some(feed.refused.get(name)?.retry_at))
        });
        let warming = self.warming.values().flat_map(Warming::deadlines);
        let waits = self.feeds.values().any(|feed| !feed.pending.is_empty());
        let opens = self.feeds.iter().filter_map(|(kind, feed)| {
            let waits = !feed.pending.is_empty();
            waits.then(|| feed.opens_at(self.flights_max(*kind)))?
        });
        let settling = self.settling_ends().filter(|_| waits);
        let leaving = self.feeds.values().filter(|_| self.only.is_some());
        let leaving = leaving.flat_map(|feed| feed.waiting_since.values());
        let leaving = leaving.map(|since| *since + LEAVING_MAX);
        let endpoints = self.feeds.get(&ResourceType::Endpoint);
        let endpoints = endpoints.and_then(|feed| feed.opened_at).filter(|_| waits);
        let later = retries
            .chain(warming)
            .chain(endpoints.map(|at| at + WARMING_MAX))
            .chain(settling)
            .chain(opens)
            .chain(leaving)
            .chain(self.scope_deadlines())
            .filter(|at| *at > now);
        later.min()
    }

    fn flights_max(&self, kind: ResourceType) -> usize {
        if self.whole { 1 } else { kind.flights_max() }
    }

    /// Whether the client refuses what it should have of this name; of [`WILDCARD`] all together.
    pub fn refuses(&self, kind: ResourceType, name: &str) -> bool {
        self.feeds.get(&kind).is_some_and(|feed| match name {
            WILDCARD => feed.whole_refused.is_some(),
            _ => feed.refused.contains_key(name),
        })
    }

    /// The snapshot that the client is to have.
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    fn respond(&mut self, now: Duration, kind: ResourceType) -> Option<Response> {
        let feed = self.feeds.get(&kind)?;
        if feed.pending.is_empty() && !feed.owes_wildcard {
            return None;
        }
        if self.whole && kind.is_told_whole() && self.snapshot.is_partial() {
            // What is missing in a state would be removed.
            return None;
        }
        let opens_at = feed.opens_at(self.flights_max(kind))?;
        if now < opens_at || feed.opened_at.is_none() {
            return None;
        }
        let mut batch = Batch::default();
        let mut alone = Batch::default();
        let mut satisfied = Vec::new();
        let mut waiting = Vec::new();
        for name in &feed.pending {
            let batch = match feed.suspects.contains(name) {
                true if alone.is_empty() => &mut alone,
                true => continue,
                false if batch.len() < kind.response_max() => &mut batch,
                false => continue,
            };
            match self.judge(now, kind, feed, name) {
                Verdict::Nothing => satisfied.push(name.clone()),
                Verdict::Wait => {
                    batch.waits |= kind == ResourceType::Listener;
                    waiting.push(name.clone());
                }
                Verdict::Send(resource, version) => batch.resources.push((resource, version)),
                Verdict::Remove => batch.removed.push(name.clone()),
            }
        }
        let first = self.whole && kind.is_told_whole() && !feed.has_sent;
        if first && !waiting.is_empty() {
            return None;
        }
        if batch.waits {
            // A listener that waits may take over the address of one that goes: both at once.
            batch.removed.clear();
        }
        let waits = batch.waits;
        let batch = if batch.is_empty() { alone } else { batch };
        let feed = self.feeds.get_mut(&kind)?;
        for name in waiting {
            feed.waiting_since.entry(name).or_insert(now);
        }
        // Of a client that comes back with everything it is everything.
        if satisfied.len() == feed.pending.len() {
            feed.pending.clear();
        }
        for name in satisfied {
            feed.waiting_since.remove(&name);
            feed.pending.remove(&name);
            feed.owed.remove(&name);
            feed.cleared(&name);
        }
        if batch.is_empty() && (waits || !feed.owes_wildcard) {
            return None;
        }
        Some(self.send(now, kind, batch))
    }

    fn send(&mut self, now: Duration, kind: ResourceType, batch: Batch) -> Response {
        self.nonce += 1;
        let Batch {
            resources, removed, ..
        } = batch;
        let feed = self.feeds.entry(kind).or_default();
        let names = resources.iter().map(|(resource, _)| &resource.name);
        for name in names.chain(&removed) {
            feed.pending.remove(name);
            feed.owed.remove(name);
            feed.waiting_since.remove(name);
        }
        feed.owes_wildcard = false;
        feed.has_sent = true;
        let names = resources.iter().map(|(resource, _)| &resource.name);
        let unasked = names.filter(|name| !feed.subscription.matches(name));
        feed.in_flight.push_back(InFlight {
            nonce: self.nonce,
            sent_at: now,
            unasked: unasked.cloned().collect(),
            resources: resources.clone(),
            removed: removed.clone(),
        });
        match kind {
            ResourceType::Cluster => self.sent_clusters(now, &resources, &removed),
            ResourceType::Listener => self.sent_listeners(&resources),
            _ => {}
        }
        let nonce = self.nonce.to_string();
        let resources = match kind {
            ResourceType::Secret => self.reworded(resources),
            _ => resources,
        };
        Response {
            kind,
            nonce,
            resources,
            removed: removed.iter().map(ToString::to_string).collect(),
        }
    }

    /// Secrets in the words that differ from what the client refused last. Envoy takes a secret
    /// that says the same in the same words for the one that it knows: it acknowledges it, and
    /// does not try it again.
    fn reworded(&self, secrets: Vec<(Arc<Resource>, Version)>) -> Vec<(Arc<Resource>, Version)> {
        let feed = self.feeds.get(&ResourceType::Secret);
        let reword = |(resource, version): (Arc<Resource>, Version)| {
            let epoch = feed.and_then(|feed| feed.epochs.get(&resource.name));
            let resource = match epoch.is_some_and(|epoch| epoch % 2 == 1) {
                true => Arc::new(secret::reworded(&resource)),
                false => resource,
            };
            (resource, version)
        };
        secrets.into_iter().map(reword).collect()
    }

    fn judge(&self, now: Duration, kind: ResourceType, feed: &Feed, name: &str) -> Verdict {
        let owed = feed.owed.contains(name);
        if !owed && !feed.subscription.matches(name) {
            return Verdict::Nothing;
        }
        let Some(resource) = self.snapshot.get(kind, name) else {
            return self.judge_absent(now, kind, feed, name);
        };
        if !owed && feed.has(resource) {
            return Verdict::Nothing;
        }
        if feed.must_wait(now, name, Some(resource.version)) {
            return Verdict::Wait;
        }
        if !resource
            .clusters
            .iter()
            .all(|cluster| self.is_ready(now, cluster))
        {
            return Verdict::Wait;
        }
        if kind == ResourceType::Listener && !self.has_scopes(now, feed, resource) {
            return Verdict::Wait;
        }
        Verdict::Send(Arc::clone(resource), feed.version(resource))
    }

    /// What to say of a name that there is no resource for. "Removed" works for clusters and
    /// listeners only; for other types Envoy ignores it once the resource is in use.
    fn judge_absent(&self, now: Duration, kind: ResourceType, feed: &Feed, name: &str) -> Verdict {
        let owed = feed.owed.contains(name);
        if self.snapshot.is_partial() {
            return Verdict::Wait;
        }
        match kind {
            ResourceType::Cluster | ResourceType::Listener => {
                if !owed && !feed.holds(name) {
                    Verdict::Nothing
                } else if feed.must_wait(now, name, None)
                    || (kind == ResourceType::Cluster
                        && feed.holds(name)
                        && !self.is_removable(now, name))
                {
                    Verdict::Wait
                } else {
                    Verdict::Remove
                }
            }
            ResourceType::Scope if feed.must_wait(now, name, None) => Verdict::Wait,
            ResourceType::Scope if owed || self.has_parted(now, name) => Verdict::Remove,
            // An empty answer ends the wait of a cluster that has lost its endpoints.
            ResourceType::Endpoint if owed && feed.subscription.matches(name) => Verdict::Remove,
            // A copy from an earlier stream may be in use until its listener has changed.
            ResourceType::Route if owed && !feed.serves(name) => {
                let resource = Arc::new(absent_route(name));
                let version = feed.version(&resource);
                Verdict::Send(resource, version)
            }
            // A secret that may still come is waited for: an answer would end handshakes.
            _ => Verdict::Nothing,
        }
    }

    pub(super) fn is_open(&self, kind: ResourceType) -> bool {
        self.feeds
            .get(&kind)
            .is_some_and(|feed| feed.opened_at.is_some())
    }
}

#[derive(Default)]
struct Batch {
    resources: Vec<(Arc<Resource>, Version)>,
    removed: Vec<Arc<str>>,
    waits: bool,
}

impl Batch {
    fn len(&self) -> usize {
        self.resources.len() + self.removed.len()
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
