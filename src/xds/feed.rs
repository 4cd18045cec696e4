//! What one client asked for, has, may have and refused, of one resource type. What depends on
//! other types (order, readiness) is the session's business.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::held::Held;
use super::subscription::{Subscription, WILDCARD};
use super::suspects::Doubts;
use super::{Resource, Version};
use crate::backoff::Backoff;

/// The state of one type for one client.
#[derive(Debug, Default)]
pub(super) struct Feed {
    /// What the client asked for.
    pub(super) subscription: Subscription,
    /// When the client first asked for this type; `None` before.
    pub(super) opened_at: Option<Duration>,
    /// What the client has or may have.
    pub(super) held: BTreeMap<Arc<str>, Held>,
    /// Names that may need a response. A name that waits for something stays here.
    pub(super) pending: BTreeSet<Arc<str>>,
    /// Names that need an answer whatever the client holds.
    pub(super) owed: BTreeSet<Arc<str>>,
    /// Names that were in a refused response: each is sent alone, so that the next refusal can
    /// only mean it.
    pub(super) suspects: BTreeSet<Arc<str>>,
    /// How often a name became a suspect.
    pub(super) epochs: BTreeMap<Arc<str>, u32>,
    /// Names that were refused when sent alone.
    pub(super) refused: BTreeMap<Arc<str>, Refusal>,
    /// The responses that the client has not answered yet, oldest first.
    pub(super) in_flight: VecDeque<InFlight>,
    /// The refusal of a response as a whole.
    pub(super) whole_refused: Option<WholeRefusal>,
    /// Whether anything was sent on this stream.
    pub(super) has_sent: bool,
    /// Names that wait for something else, since when.
    pub(super) waiting_since: BTreeMap<Arc<str>, Duration>,
    /// The first answer to a wildcard must be sent, even if there is nothing to say.
    pub(super) owes_wildcard: bool,
}

/// A resource that the client said no to.
#[derive(Debug)]
pub(super) struct Refusal {
    /// The content that was refused; `None` for a removal.
    pub(super) content: Option<Version>,
    /// When it is tried again.
    pub(super) retry_at: Duration,
    /// The version that it was sent under; `None` for a removal.
    pub(super) version: Option<Version>,
    /// The client's words, and when it said them.
    pub(super) message: String,
    pub(super) at: Duration,
    backoff: Backoff,
}

/// A response of which nothing was applied, and nobody knows why.
#[derive(Debug)]
pub(super) struct WholeRefusal {
    retry_at: Duration,
    backoff: Backoff,
}

/// A response without an answer.
#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) nonce: u64,
    pub(super) sent_at: Duration,
    pub(super) resources: Vec<(Arc<Resource>, Version)>,
    pub(super) removed: Vec<Arc<str>>,
    /// The names in it that the client had not asked for when it was sent.
    pub(super) unasked: BTreeSet<Arc<str>>,
}

impl InFlight {
    /// What the client has of the name when it has taken this, where this tells of it: `Some(None)`
    /// is nothing.
    pub(super) fn tells(&self, name: &str) -> Option<Option<Version>> {
        if self.removed.iter().any(|removed| removed.as_ref() == name) {
            return Some(None);
        }
        let mut resources = self.resources.iter();
        let told = resources.find(|(resource, _)| resource.name.as_ref() == name);
        told.map(|(_, version)| Some(*version))
    }
}

impl Feed {
    /// The version under which a resource goes to this client.
    pub(super) fn version(&self, resource: &Resource) -> Version {
        let epoch = self.epochs.get(&resource.name).copied().unwrap_or_default();
        resource.version.in_epoch(epoch)
    }

    /// Whether the client acknowledged exactly this, or will if it takes what is under way.
    pub(super) fn has(&self, resource: &Resource) -> bool {
        let version = self.version(resource);
        if let Some(told) = self.told_last(&resource.name) {
            return told == Some(version);
        }
        let held = self.held.get(&resource.name);
        held.is_some_and(|held| held.is(version))
    }

    /// Whether the client has a copy, or may have, when it has taken what is under way.
    pub(super) fn holds(&self, name: &str) -> bool {
        let told = self.told_last(name);
        told.map_or_else(|| self.held.contains_key(name), |told| told.is_some())
    }

    /// What the newest response under way tells of the name.
    fn told_last(&self, name: &str) -> Option<Option<Version>> {
        let mut newest_first = self.in_flight.iter().rev();
        newest_first.find_map(|flight| flight.tells(name))
    }

    /// Whether a response under way takes the name away, whatever comes behind.
    pub(super) fn takes_away(&self, name: &str) -> bool {
        let mut flights = self.in_flight.iter();
        flights.any(|flight| flight.tells(name) == Some(None))
    }

    /// When another response may be sent; `None` while there are too many under way.
    ///
    /// Envoy answers at once, except for clusters: it holds the answer back while any of them
    /// warms, and applies what comes meanwhile. So another change goes out behind an unanswered
    /// one, and every next one waits twice as long.
    pub(super) fn opens_at(&self, flights_max: usize) -> Option<Duration> {
        let count = self.in_flight.len();
        if count >= flights_max {
            return None;
        }
        let Some(last) = self.in_flight.back() else {
            let whole = self.whole_refused.as_ref();
            return Some(whole.map_or(Duration::ZERO, |refusal| refusal.retry_at));
        };
        Some(last.sent_at + PACE_FIRST * (1 << (count - 1).min(16)))
    }

    /// Whether the client certainly has a copy, and serves with it.
    pub(super) fn serves(&self, name: &str) -> bool {
        self.held.get(name).is_some_and(Held::serves)
    }

    /// Whether nothing is under way or waits, refusals apart.
    pub(super) fn is_settled(&self) -> bool {
        self.in_flight.is_empty()
            && self
                .pending
                .iter()
                .all(|name| self.refused.contains_key(name))
    }

    /// Whether the client has a copy of all that it asked for by name, and nothing is under way.
    pub(super) fn is_supplied(&self) -> bool {
        self.is_settled() && self.subscription.names().all(|name| self.serves(name))
    }

    /// Whether the response in flight answers a subscription that arrives now: the client cannot
    /// have asked before it got what made it ask, and this was sent right behind that.
    pub(super) fn sent_ahead(&mut self, name: &str) -> bool {
        let mut flights = self.in_flight.iter_mut();
        flights.any(|flight| flight.unasked.remove(name))
    }

    /// What the next session of this client must know.
    pub(super) fn doubts(&self) -> Doubts {
        let flight = self.in_flight.iter();
        let unanswered = flight.flat_map(|flight| {
            let resources = flight.resources.iter();
            let names = resources.map(|(resource, _)| &resource.name);
            names.chain(&flight.removed)
        });
        let unanswered = unanswered.map(|name| (name.clone(), false));
        // What was doubtful already, and waits for its turn.
        let doubtful = self.held.iter().filter(|(_, held)| held.is_doubtful());
        let doubtful = doubtful.map(|(name, _)| (name.clone(), false));
        let refused = self.suspects.iter().map(|name| (name.clone(), true));
        Doubts {
            names: unanswered.chain(doubtful).chain(refused).collect(),
            epochs: self.epochs.clone(),
        }
    }

    /// Takes what the last session of this client knew, of what the client asks for again.
    pub(super) fn distrust(&mut self, names: BTreeMap<Arc<str>, bool>) {
        for (name, refused) in names {
            if !self.subscription.matches(&name) {
                continue;
            }
            if refused {
                self.suspects.insert(name.clone());
            }
            self.pending.insert(name.clone());
            self.held.insert(name, Held::default());
        }
    }

    /// Adds a name to the subscription; it is answered unless `known` says the client has it.
    pub(super) fn subscribe(&mut self, name: &Arc<str>, known: bool) {
        if !self.subscription.subscribe(Arc::clone(name)) || name.as_ref() == WILDCARD {
            return;
        }
        self.pending.insert(Arc::clone(name));
        if !known {
            self.owed.insert(Arc::clone(name));
        }
    }

    /// Takes a name, or the wildcard, out of the subscription and forgets what the client had of
    /// what it does not ask for any more. One that was never subscribed is ignored.
    pub(super) fn unsubscribe(&mut self, name: &str) {
        if !self.subscription.unsubscribe(name) {
            return;
        }
        if name == WILDCARD {
            self.owes_wildcard = false;
            let Self { subscription, .. } = self;
            self.owed.retain(|name| subscription.matches(name));
            self.held.retain(|name, _| subscription.matches(name));
            self.refused.retain(|name, _| subscription.matches(name));
            self.suspects.retain(|name| subscription.matches(name));
        } else if self.subscription.matches(name) {
            // Under a wildcard the client must be told what becomes of the name.
            self.owed.insert(name.into());
            self.pending.insert(name.into());
        } else {
            self.owed.remove(name);
            self.pending.remove(name);
            self.waiting_since.remove(name);
            self.held.remove(name);
            self.cleared(name);
        }
    }

    /// The client took the response.
    pub(super) fn acknowledged(&mut self, now: Duration, response: &InFlight) {
        self.whole_refused = None;
        for (resource, version) in &response.resources {
            // A client drops what it got of a name that it does not ask for any more.
            if self.subscription.matches(&resource.name) {
                let serves = !self.takes_away(&resource.name);
                let held = Held::taken(resource, *version, now, serves);
                self.held.insert(resource.name.clone(), held);
            }
            self.cleared(&resource.name);
        }
        for name in &response.removed {
            self.held.remove(name);
            self.cleared(name);
        }
    }

    /// The client has what it should of this name.
    pub(super) fn cleared(&mut self, name: &str) {
        self.suspects.remove(name);
        self.refused.remove(name);
    }

    /// The client refused the response. Returns whether it is known which resource it meant.
    ///
    /// A response of one is the culprit, and is tried again after a while. Of several, any may
    /// have been applied and none counts as held: each will be sent alone.
    pub(super) fn refused(
        &mut self,
        now: Duration,
        response: &InFlight,
        seed: u64,
        message: &str,
    ) -> bool {
        let alone = response.resources.len() + response.removed.len() == 1;
        let resources = response.resources.iter();
        let named = resources.map(|sent| (&sent.0.name, Some(sent)));
        for (name, sent) in named.chain(response.removed.iter().map(|name| (name, None))) {
            let held = self.held.get_mut(name);
            let clusters = sent.map_or(&[][..], |(resource, _)| &resource.clusters);
            if let Some(held) = held {
                held.doubt();
                held.may_name(clusters);
            } else if !alone && self.subscription.matches(name) {
                let mut held = Held::refused();
                held.may_name(clusters);
                self.held.insert(name.clone(), held);
            }
            let epoch = self.epochs.entry(name.clone()).or_default();
            *epoch = epoch.saturating_add(1);
            self.suspects.insert(name.clone());
            self.pending.insert(name.clone());
            if !alone && !self.serves(name) && self.subscription.matches(name) {
                // It may be an answer that the client waits for.
                self.owed.insert(name.clone());
            }
            if alone {
                let sent = sent.map(|(resource, version)| (resource.version, *version));
                self.retry_later(now, name, sent, seed, message);
            }
        }
        alone
    }

    /// The client refused the response as a whole: it goes again as a whole.
    pub(super) fn refused_whole(&mut self, now: Duration, response: InFlight, seed: u64) {
        let refusal = self.whole_refused.get_or_insert_with(|| WholeRefusal {
            retry_at: now,
            backoff: Backoff::new(RETRY_FIRST, RETRY_LONGEST, seed),
        });
        refusal.retry_at = now + refusal.backoff.next_delay();
        let names = response.resources.iter();
        let names = names.map(|(resource, _)| resource.name.clone());
        self.pending.extend(names.chain(response.removed));
        self.has_sent = false;
    }

    /// Something changed: what was refused as a whole may be taken now.
    pub(super) fn try_whole_again(&mut self) {
        if let Some(refusal) = &mut self.whole_refused {
            refusal.retry_at = Duration::ZERO;
        }
    }

    fn retry_later(
        &mut self,
        now: Duration,
        name: &str,
        sent: Option<(Version, Version)>,
        seed: u64,
        message: &str,
    ) {
        let (content, version) = sent.unzip();
        let refusal = self.refused.entry(name.into()).or_insert_with(|| Refusal {
            content,
            retry_at: now,
            version,
            message: String::new(),
            at: now,
            backoff: Backoff::new(RETRY_FIRST, RETRY_LONGEST, seed),
        });
        message.clone_into(&mut refusal.message);
        refusal.at = now;
        refusal.version = version;
        if refusal.content != content {
            refusal.content = content;
            refusal.backoff.reset();
        }
        refusal.retry_at = now + refusal.backoff.next_delay();
    }

    /// Whether this content was refused and its time has not come.
    pub(super) fn must_wait(&self, now: Duration, name: &str, content: Option<Version>) -> bool {
        let refusal = self.refused.get(name);
        refusal.is_some_and(|refusal| refusal.content == content && now < refusal.retry_at)
    }
}

/// How long the second response under way waits for the answer to the first.
const PACE_FIRST: Duration = Duration::from_millis(50);
/// The first retry of a refused resource.
const RETRY_FIRST: Duration = Duration::from_secs(1);
/// The longest time between two retries.
const RETRY_LONGEST: Duration = Duration::from_secs(64);
