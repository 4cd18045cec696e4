//! One run: the session, the client, the wire between them, and what must hold at every step.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use osvc_igw::xds::session::{Request, Response, Session};
use osvc_igw::xds::{ResourceType, Snapshot};

use super::world::World;
use crate::model::{Content, Model};
use crate::random::Random;

/// A bug planted between the session and the wire, to see that the runs find it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Mutant {
    /// Every refusal is taken for an acknowledgement.
    RefusalsAcknowledge,
    /// A new stream is not told what the last one left in doubt.
    SuspectsForgotten,
    /// Nobody knows which clusters a listener or route names.
    ClustersUnnamed,
    /// A cluster that waits for a secret is taken for ready when it has its endpoints.
    SecretsIgnored,
}

pub(super) struct Run {
    seed: u64,
    mutant: Option<Mutant>,
    random: Random,
    now: Duration,
    world: World,
    snapshot: Arc<Snapshot>,
    session: Session,
    model: Model,
    connected: bool,
    /// When the stream began, and whether it carried a request for clusters.
    connected_at: Duration,
    asked_clusters: bool,
    down: VecDeque<(Duration, Response)>,
    up: VecDeque<(Duration, Request)>,
    slow: bool,
    /// The nonces in flight of each type.
    awaited: BTreeMap<ResourceType, BTreeSet<String>>,
    /// Clusters that the client was sent and cannot use yet, since when.
    sent_at: BTreeMap<String, Duration>,
    /// When a bad resource reached the client, since it changed or was asked for.
    bad_sent: BTreeMap<(ResourceType, String), Vec<Duration>>,
    ever_bad: BTreeSet<(ResourceType, String)>,
    /// What happened; kept only by the second run of a seed that failed in its first.
    log: Option<Vec<String>>,
    steps: usize,
}

impl Run {
    pub(super) fn new(seed: u64, mutant: Option<Mutant>) -> Self {
        let mut random = Random(seed);
        let world = World {
            bad_percent: [0, 5, 30][random.below(3)],
            ..World::default()
        };
        let snapshot = seen(&world, mutant);
        Self {
            seed,
            mutant,
            slow: random.below(4) == 0,
            random,
            now: Duration::ZERO,
            world,
            session: Session::new(Arc::clone(&snapshot), seed),
            snapshot,
            model: Model::default(),
            connected: false,
            connected_at: Duration::ZERO,
            asked_clusters: false,
            down: VecDeque::new(),
            up: VecDeque::new(),
            awaited: BTreeMap::new(),
            sent_at: BTreeMap::new(),
            bad_sent: BTreeMap::new(),
            ever_bad: BTreeSet::new(),
            log: None,
            steps: 0,
        }
    }

    /// Runs to the end and returns the number of steps.
    pub(super) fn run(mut self) -> usize {
        for _ in 0..self.random.below(5) {
            self.change();
        }
        self.connect();
        for _ in 0..5 + self.random.below(25) {
            match self.random.below(5) {
                0 => self.reconnect(),
                _ => self.change(),
            }
            let longest = [20, 20, 2_000, 20_000][self.random.below(4)];
            let until = self.now + Duration::from_millis(self.random.below(longest) as u64);
            self.advance(until);
        }
        self.advance(self.now + REST);
        self.check_rest();
        self.steps
    }

    fn change(&mut self) {
        let before = self.world.clone();
        self.world.change(&mut self.random, self.now);
        for (key, content) in &self.world.all {
            if content.is_bad(self.now) {
                self.ever_bad.insert(key.clone());
            }
            if before.all.get(key) != Some(content) {
                self.bad_sent.remove(key);
                let now = self.now;
                note(&mut self.log, || format!("{now:?} = {key:?} {content:?}"));
            }
        }
        for key in before
            .all
            .keys()
            .filter(|key| !self.world.all.contains_key(key))
        {
            let now = self.now;
            note(&mut self.log, || format!("{now:?} = {key:?} gone"));
        }
        self.snapshot = seen(&self.world, self.mutant);
        if self.connected {
            self.session.handle_snapshot(Arc::clone(&self.snapshot));
            self.poll();
        }
    }

    fn reconnect(&mut self) {
        let now = self.now;
        note(&mut self.log, || format!("{now:?} the stream breaks"));
        self.connected = false;
        self.model.disconnect();
        self.down.clear();
        self.up.clear();
        self.awaited.clear();
        self.bad_sent.clear();
        let suspects = self.session.suspects();
        let longest = if self.random.below(3) == 0 { 2_000 } else { 5 };
        let until = self.now + Duration::from_millis(self.random.below(longest) as u64);
        self.advance(until);
        if self.random.below(3) == 0 {
            self.change();
        }
        self.session = Session::new(Arc::clone(&self.snapshot), self.seed);
        // Another controller knows nothing, which is right where there is nothing to know.
        let told = !suspects.is_empty() || self.random.below(2) == 0;
        if told && self.mutant != Some(Mutant::SuspectsForgotten) {
            self.session.inherit(suspects);
        }
        self.connect();
    }

    fn connect(&mut self) {
        self.connected = true;
        self.connected_at = self.now;
        self.asked_clusters = false;
        self.sent_at.clear();
        let requests = self.model.connect();
        self.send(requests);
    }

    fn delay(&mut self) -> Duration {
        let longest = if self.slow { 500_000 } else { 3_000 };
        Duration::from_micros(self.random.below(longest) as u64)
    }

    fn send(&mut self, requests: Vec<Request>) {
        for request in requests {
            let at = self.now + self.delay();
            let at = self.up.back().map_or(at, |(last, _)| at.max(*last));
            self.up.push_back((at, request));
        }
    }

    /// Lets everything happen that happens until then.
    fn advance(&mut self, until: Duration) {
        loop {
            let session = self
                .session
                .poll_timeout(self.now)
                .filter(|_| self.connected);
            let down = self.down.front().map(|(at, _)| *at);
            let up = self.up.front().map(|(at, _)| *at);
            let events = [session, down, up, self.model.timeout()];
            let Some(next) = events.into_iter().flatten().min().filter(|at| *at <= until) else {
                break;
            };
            self.now = self.now.max(next);
            self.steps += 1;
            self.check(self.steps < STEPS_MAX, "the run ends");
            if up == Some(next) {
                self.deliver_up();
            } else if down == Some(next) {
                self.deliver_down();
            } else {
                let requests = self.model.tick(self.now);
                self.send(requests);
            }
            self.poll();
        }
        self.now = until;
        let requests = self.model.tick(self.now);
        self.send(requests);
        self.poll();
    }

    fn deliver_up(&mut self) {
        let Some((_, mut request)) = self.up.pop_front() else {
            return;
        };
        if self.mutant == Some(Mutant::RefusalsAcknowledge) {
            request.error = None;
        }
        let now = self.now;
        note(&mut self.log, || format!("{now:?} > {request:?}"));
        if let Some(nonces) = self.awaited.get_mut(&request.kind) {
            nonces.remove(&request.nonce);
        }
        for name in &request.subscribe {
            // Who asks again is answered again.
            self.bad_sent.remove(&(request.kind, name.clone()));
        }
        self.asked_clusters |= request.kind == ResourceType::Cluster;
        self.session.handle_request(self.now, request);
    }

    fn deliver_down(&mut self) {
        let Some((_, response)) = self.down.pop_front() else {
            return;
        };
        let mut requests = self.model.tick(self.now);
        self.check_retries(&response);
        requests.extend(self.model.receive(&mut self.random, response));
        let Self { sent_at, model, .. } = self;
        sent_at.retain(|name, _| model.has(ResourceType::Cluster, name).is_none());
        self.send(requests);
    }

    fn poll(&mut self) {
        if !self.connected {
            return;
        }
        while let Some(response) = self.session.poll_response(self.now) {
            let now = self.now;
            note(&mut self.log, || format!("{now:?} < {response:?}"));
            let awaited = self.awaited.entry(response.kind).or_default();
            awaited.insert(response.nonce.clone());
            let max = match response.kind {
                ResourceType::Cluster => 10,
                _ => 1,
            };
            let few = awaited.len() <= max;
            self.check(few, "a bounded number of responses is in flight per type");
            self.check_once(&response);
            self.check_removals(&response);
            self.check_named(&response);
            for (resource, _) in &response.resources {
                let kind = response.kind;
                if kind == ResourceType::Cluster && self.model.has(kind, &resource.name).is_none() {
                    self.sent_at
                        .entry(resource.name.to_string())
                        .or_insert(self.now);
                }
            }
            let at = self.now + self.delay();
            let at = self.down.back().map_or(at, |(last, _)| at.max(*last));
            self.down.push_back((at, response));
        }
        let timeout = self.session.poll_timeout(self.now);
        let later = timeout.is_none_or(|at| at > self.now);
        self.check(later, "no timer is in the past");
    }

    /// Envoy refuses a response that names something twice.
    fn check_once(&self, response: &Response) {
        let added = response.resources.iter();
        let added = added.map(|(resource, _)| resource.name.as_ref());
        let removed = response.removed.iter().map(String::as_str);
        let all: Vec<&str> = added.chain(removed).collect();
        let names: BTreeSet<&str> = all.iter().copied().collect();
        self.check(names.len() == all.len(), "no name is in a response twice");
    }

    fn check_removals(&mut self, response: &Response) {
        if response.kind != ResourceType::Cluster {
            return;
        }
        let mut used = self.model.uses();
        for (_, response) in &self.down {
            used.extend(named(response));
        }
        for name in &response.removed {
            self.sent_at.remove(name);
            let text = format!("cluster {name} is removed when nothing names it");
            self.check(!used.contains(name), &text);
        }
    }

    fn check_named(&self, response: &Response) {
        for (resource, _) in &response.resources {
            for cluster in &Content::decode(&resource.body).clusters {
                let kind = ResourceType::Cluster;
                let has = self.model.has(kind, cluster).is_some();
                let mut going = self.down.iter().filter(|(_, one)| one.kind == kind);
                let has = has && !going.any(|(_, one)| one.removed.contains(cluster));
                let late = |since: Duration| self.now >= since + WARMING_MAX;
                let late = match self.sent_at.get(cluster) {
                    Some(since) => late(*since),
                    None => !self.asked_clusters && late(self.connected_at),
                };
                let wanted = self.world.get(kind, cluster);
                let refused = self.session.refuses(kind, cluster)
                    || wanted.is_none_or(|content| content.is_bad(self.now));
                let excused = has || late || refused || self.may_be_held_back(cluster);
                if !excused {
                    let text = format!("{} is held until {cluster} is ready", resource.name);
                    self.check(false, &text);
                }
            }
        }
    }

    /// Whether the client may keep its answer for this cluster to itself, as others warm too:
    /// which ones do is not known here, as answers are on their way.
    fn may_be_held_back(&self, cluster: &str) -> bool {
        let content = self.world.get(ResourceType::Cluster, cluster);
        let needs_more = content.is_some_and(|content| content.secret.is_some());
        let since = self.sent_at.get(cluster);
        let awaited = self.awaited.get(&ResourceType::Cluster);
        // With several unanswered it may be left with an earlier one, which needed more.
        let several = awaited.is_some_and(|nonces| nonces.len() > 1);
        (needs_more || several)
            && awaited.is_some_and(|nonces| !nonces.is_empty())
            && since.is_some_and(|since| self.now >= *since + HELD_BACK_MAX)
    }

    fn check_retries(&mut self, response: &Response) {
        for (resource, _) in &response.resources {
            let key = (response.kind, resource.name.to_string());
            let content = self.world.all.get(&key);
            let wildcard = [ResourceType::Cluster, ResourceType::Listener].contains(&key.0);
            if !wildcard && !self.model.wanted(key.0).contains(&key.1) {
                continue;
            }
            if content.is_none_or(|content| !content.is_bad(self.now)) {
                continue;
            }
            let now = self.now;
            let times = self.bad_sent.entry(key).or_default();
            times.retain(|at| now < *at + Duration::from_secs(60));
            times.push(now);
            let count = times.len();
            let text = format!("{resource:?} is tried {count} times in a minute");
            self.check(count <= RETRIES_MAX, &text);
        }
    }

    fn check_rest(&self) {
        let bad = |kind, name: &str| {
            let content = self.world.get(kind, name);
            content.is_none_or(|content| content.is_bad(self.now))
        };
        for ((kind, name), content) in &self.world.all {
            let (kind, named) = (*kind, name.as_str());
            let wildcard = [ResourceType::Cluster, ResourceType::Listener].contains(&kind);
            let asked = wildcard || self.model.wanted(kind).contains(named);
            // A listener starts when what it waits for is good.
            let waits = kind == ResourceType::Listener
                && (content
                    .route
                    .iter()
                    .any(|name| bad(ResourceType::Route, name))
                    || content
                        .secret
                        .iter()
                        .any(|name| bad(ResourceType::Secret, name)));
            if asked && !waits && !content.is_bad(self.now) {
                let has = self.model.has(kind, named);
                let text = format!("{kind} {name}: has {has:?}, should have {content:?}");
                self.check(has == Some(content), &text);
            }
        }
        let any_bad = |wanted| {
            let mut all = self.world.all.keys().filter(|(kind, _)| *kind == wanted);
            all.any(|(kind, name)| bad(*kind, name))
        };
        // What runs on because its successor is refused may name anything.
        let namers = [
            ResourceType::Listener,
            ResourceType::Route,
            ResourceType::Secret,
        ];
        let excuse = namers.into_iter().any(any_bad);
        for name in self.model.names(ResourceType::Cluster) {
            let gone = self.world.get(ResourceType::Cluster, &name).is_none();
            self.check(!gone || excuse, &format!("cluster {name} is removed"));
        }
        for name in self.model.names(ResourceType::Listener) {
            let gone = self.world.get(ResourceType::Listener, &name).is_none();
            self.check(!gone, &format!("listener {name} is removed"));
        }
        for name in self.model.waiting() {
            let content = self.world.get(ResourceType::Listener, &name);
            let excused = content.is_some_and(|content| {
                content.is_bad(self.now)
                    || content
                        .route
                        .iter()
                        .any(|name| bad(ResourceType::Route, name))
                    || content
                        .secret
                        .iter()
                        .any(|name| bad(ResourceType::Secret, name))
            });
            self.check(excused, &format!("{name} waits at rest"));
        }
        let mut slow_excuse = self.ever_bad.iter().map(|(kind, _)| *kind);
        let slow_excuse = self.slow && slow_excuse.any(|kind| WARMERS.contains(&kind));
        for name in &self.model.gave_up {
            let endpoints = (ResourceType::Endpoint, name.clone());
            let secrets = self
                .ever_bad
                .iter()
                .any(|(kind, _)| *kind == ResourceType::Secret);
            let excused = secrets || slow_excuse || self.ever_bad.contains(&endpoints);
            self.check(excused, &format!("cluster {name} was helped to warm"));
        }
    }

    #[track_caller]
    fn check(&self, holds: bool, sentence: &str) {
        if holds {
            return;
        }
        let log = match &self.log {
            Some(log) => log.join("\n"),
            None => {
                let mut again = Self::new(self.seed, self.mutant);
                again.log = Some(Vec::new());
                again.run();
                "and not when it was run again".to_owned()
            }
        };
        panic!("SEED={} at {:?}: {sentence}\n{log}", self.seed, self.now);
    }
}

/// The clusters that it names, by what is on the wire.
fn named(response: &Response) -> impl Iterator<Item = String> {
    let bodies = response
        .resources
        .iter()
        .map(|(resource, _)| &resource.body);
    bodies.flat_map(|body| Content::decode(body).clusters)
}

/// What the session is told of the world.
fn seen(world: &World, mutant: Option<Mutant>) -> Arc<Snapshot> {
    world.snapshot(|resource| match mutant {
        Some(Mutant::ClustersUnnamed) => resource.clusters = Box::default(),
        Some(Mutant::SecretsIgnored) => resource.warms_until_acked = false,
        _ => {}
    })
}

fn note(log: &mut Option<Vec<String>>, line: impl FnOnce() -> String) {
    if let Some(log) = log {
        log.push(line());
    }
}

/// What a cluster waits for.
const WARMERS: [ResourceType; 2] = [ResourceType::Endpoint, ResourceType::Secret];
/// So long nothing changes before the end.
const REST: Duration = Duration::from_secs(500);
const STEPS_MAX: usize = 100_000;
/// The longest that a route may be held for a cluster that warms.
const WARMING_MAX: Duration = Duration::from_secs(5);
/// The longest that it is held for a cluster whose answer may be held back for another.
const HELD_BACK_MAX: Duration = Duration::from_millis(500);
/// In a response of many, alone, and after 1, 2, 4, 8, 16 and 32 s that may be half as long.
const RETRIES_MAX: usize = 9;
