//! A reference model of Envoy's delta client, written from what Envoy 1.40 was seen to do and not
//! from the code that it tests: it warms, forgets, applies half of what it refuses, and tells
//! versions that are wrong.

mod mux;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use osvc_igw::xds::ResourceType;
use osvc_igw::xds::session::{Request, Response};

use crate::random::Random;
use mux::Mux;

/// What a resource of these tests says, written as its body.
#[derive(Clone, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Content {
    pub(crate) clusters: Vec<String>,
    pub(crate) route: Option<String>,
    pub(crate) secret: Option<String>,
    pub(crate) port: Option<u16>,
    pub(crate) bad: Bad,
    pub(crate) number: u32,
}

/// Whether a client takes a resource.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Bad {
    /// It does.
    #[default]
    No,
    /// It does not, but what else is in the response may be applied.
    Yes,
    /// It does not, nor anything else in the response.
    Root,
    /// It does not before that second.
    Until(u64),
}

impl Content {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let Self {
            clusters,
            route,
            secret,
            port,
            bad,
            number,
        } = self;
        let bad = match bad {
            Bad::No => "no".to_owned(),
            Bad::Yes => "yes".to_owned(),
            Bad::Root => "root".to_owned(),
            Bad::Until(at) => at.to_string(),
        };
        let or = |text: &Option<String>| text.clone().unwrap_or_default();
        let port = port.map(|port| port.to_string()).unwrap_or_default();
        let clusters = clusters.join(",");
        let text = format!(
            "{clusters}|{}|{}|{port}|{bad}|{number}",
            or(route),
            or(secret)
        );
        text.into_bytes()
    }

    pub(crate) fn decode(body: &[u8]) -> Self {
        let text = String::from_utf8_lossy(body);
        let parts: Vec<&str> = text.split('|').collect();
        let [clusters, route, secret, port, bad, number] = parts.as_slice() else {
            // The empty configuration that answers for an absent route.
            return Self::default();
        };
        let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        Self {
            clusters: clusters.split(',').filter_map(some).collect(),
            route: some(route),
            secret: some(secret),
            port: port.parse().ok(),
            bad: match *bad {
                "no" => Bad::No,
                "yes" => Bad::Yes,
                "root" => Bad::Root,
                at => Bad::Until(at.parse().unwrap_or_default()),
            },
            number: number.parse().unwrap_or_default(),
        }
    }

    pub(crate) fn is_bad(&self, now: Duration) -> bool {
        match self.bad {
            Bad::No => false,
            Bad::Yes | Bad::Root => true,
            Bad::Until(at) => now < Duration::from_secs(at),
        }
    }
}

/// A resource that is not in use yet.
#[derive(Clone, Debug)]
struct Warming {
    content: Content,
    since: Duration,
    has_endpoints: bool,
}

/// The client.
#[derive(Debug, Default)]
pub(crate) struct Model {
    now: Duration,
    mux: Mux,
    clusters: BTreeMap<String, Content>,
    warming: BTreeMap<String, Warming>,
    listeners: BTreeMap<String, Content>,
    /// Listeners that wait for a route or a secret; the one before serves.
    starting: BTreeMap<String, Content>,
    endpoints: BTreeMap<String, Content>,
    secrets: BTreeMap<String, Content>,
    routes: BTreeMap<String, Content>,
    /// Listeners that are gone and drain, until when: their routes stay subscribed.
    draining: Vec<(Content, Duration)>,
    /// Clusters that nobody helped: they were used after 15 s.
    pub(crate) gave_up: BTreeSet<String>,
}

impl Model {
    /// The stream breaks.
    pub(crate) fn disconnect(&mut self) {
        self.mux.disconnect();
    }

    /// A new stream: returns what it begins with.
    pub(crate) fn connect(&mut self) -> Vec<Request> {
        self.mux.connect();
        self.flush()
    }

    /// Time passes. Returns what is sent.
    pub(crate) fn tick(&mut self, now: Duration) -> Vec<Request> {
        self.now = now;
        self.draining.retain(|(_, until)| now < *until);
        let late = self.warming.iter();
        let late = late.filter(|(_, warming)| now >= warming.since + FETCH_TIMEOUT);
        let late: Vec<String> = late.map(|(name, _)| name.clone()).collect();
        for name in late {
            if let Some(warming) = self.warming.remove(&name) {
                self.clusters.insert(name.clone(), warming.content);
                self.gave_up.insert(name);
            }
        }
        self.flush()
    }

    /// When time matters next.
    pub(crate) fn timeout(&self) -> Option<Duration> {
        let warming = self.warming.values();
        let warming = warming.map(|warming| warming.since + FETCH_TIMEOUT);
        let draining = self.draining.iter().map(|(_, until)| *until);
        warming.chain(draining).min()
    }

    /// A response arrives. Returns what is sent.
    pub(crate) fn receive(&mut self, random: &mut Random, response: Response) -> Vec<Request> {
        let kind = response.kind;
        let contents: Vec<(String, Content)> = response
            .resources
            .iter()
            .map(|(resource, _)| (resource.name.to_string(), Content::decode(&resource.body)))
            .collect();
        let root = contents.iter().any(|(_, content)| content.bad == Bad::Root);
        let error = if root {
            Some("root".to_owned())
        } else {
            match kind {
                ResourceType::Cluster => self.take_clusters(contents, &response.removed),
                ResourceType::Listener => self.take_listeners(random, contents, &response.removed),
                _ => self.take_watched(random, kind, contents, &response.removed),
            }
        };
        self.mux.processed(&response, error);
        self.settle();
        self.flush()
    }

    fn take_clusters(
        &mut self,
        contents: Vec<(String, Content)>,
        removed: &[String],
    ) -> Option<String> {
        let mut error = None;
        for name in removed {
            self.clusters.remove(name);
            self.warming.remove(name);
        }
        for (name, content) in contents {
            if content.is_bad(self.now) {
                error = Some(format!("Error adding/updating cluster(s) {name}"));
                continue;
            }
            let newest = self.warming.get(&name).map(|warming| &warming.content);
            if newest.or_else(|| self.clusters.get(&name)) == Some(&content) {
                continue;
            }
            let warming = Warming {
                content,
                since: self.now,
                has_endpoints: false,
            };
            self.warming.insert(name, warming);
        }
        error
    }

    fn take_listeners(
        &mut self,
        random: &mut Random,
        contents: Vec<(String, Content)>,
        removed: &[String],
    ) -> Option<String> {
        let mut error = None;
        for name in removed {
            self.starting.remove(name);
            if let Some(content) = self.listeners.remove(name) {
                self.drain(random, content);
            }
        }
        for (name, content) in contents {
            let mut others = self.listeners.iter().chain(&self.starting);
            let taken = others.any(|(other, at)| *other != name && at.port == content.port);
            if content.is_bad(self.now) || taken {
                error = Some(format!("Error adding/updating listener(s) {name}"));
                continue;
            }
            let newest = self.starting.get(&name);
            if newest.or_else(|| self.listeners.get(&name)) != Some(&content) {
                self.starting.insert(name, content);
            }
        }
        error
    }

    /// Walks the watches in any order and stops at the first error. What nobody watches is
    /// dropped, and removals do not reach what is in use.
    fn take_watched(
        &mut self,
        random: &mut Random,
        kind: ResourceType,
        mut contents: Vec<(String, Content)>,
        removed: &[String],
    ) -> Option<String> {
        for last in (1..contents.len()).rev() {
            contents.swap(last, random.below(last + 1));
        }
        for (name, content) in contents {
            if !self.wanted(kind).contains(&name) {
                continue;
            }
            if content.is_bad(self.now) {
                return Some("malformed".to_owned());
            }
            match kind {
                ResourceType::Endpoint => {
                    if let Some(warming) = self.warming.get_mut(&name) {
                        warming.has_endpoints = true;
                    }
                    self.endpoints.insert(name, content);
                }
                ResourceType::Secret => drop(self.secrets.insert(name, content)),
                _ => drop(self.routes.insert(name, content)),
            }
        }
        for name in removed {
            assert!(
                kind == ResourceType::Endpoint,
                "{kind} {name}: removal has no effect"
            );
            if let Some(warming) = self.warming.get_mut(name) {
                warming.has_endpoints = true;
            }
        }
        None
    }

    fn drain(&mut self, random: &mut Random, content: Content) {
        let until = self.now + Duration::from_millis(random.below(20_000) as u64);
        self.draining.push((content, until));
    }

    /// Takes into use what has all that it waits for.
    fn settle(&mut self) {
        let Self {
            warming,
            secrets,
            clusters,
            starting,
            listeners,
            routes,
            ..
        } = self;
        let secret = |content: &Content| {
            let secret = content.secret.as_ref();
            secret.is_none_or(|secret| secrets.contains_key(secret))
        };
        warming.retain(|name, warming| {
            let warm = warming.has_endpoints && secret(&warming.content);
            if warm {
                clusters.insert(name.clone(), warming.content.clone());
            }
            !warm
        });
        starting.retain(|name, content| {
            let route = content.route.as_ref();
            let starts = route.is_none_or(|route| routes.contains_key(route)) && secret(content);
            if starts {
                listeners.insert(name.clone(), content.clone());
            }
            !starts
        });
    }

    /// The names that are subscribed because something uses them.
    pub(crate) fn wanted(&self, kind: ResourceType) -> BTreeSet<String> {
        let clusters = self.clusters.iter();
        let warming = self
            .warming
            .iter()
            .map(|(name, warming)| (name, &warming.content));
        let clusters = clusters.chain(warming);
        let listeners = self.listeners.values().chain(self.starting.values());
        let listeners = listeners.chain(self.draining.iter().map(|(content, _)| content));
        match kind {
            ResourceType::Endpoint => clusters.map(|(name, _)| name.clone()).collect(),
            ResourceType::Secret => clusters
                .map(|(_, content)| content)
                .chain(listeners)
                .filter_map(|content| content.secret.clone())
                .collect(),
            ResourceType::Route => listeners
                .filter_map(|content| content.route.clone())
                .collect(),
            _ => BTreeSet::new(),
        }
    }

    /// Forgets what nothing uses any more and returns what the stream may carry now.
    fn flush(&mut self) -> Vec<Request> {
        self.settle();
        let wanted = ResourceType::ALL.map(|kind| (kind, self.wanted(kind)));
        let keeps = |kind, name: &String| {
            let mut all = wanted.iter();
            all.any(|(one, names)| *one == kind && names.contains(name))
        };
        self.endpoints
            .retain(|name, _| keeps(ResourceType::Endpoint, name));
        self.secrets
            .retain(|name, _| keeps(ResourceType::Secret, name));
        self.routes
            .retain(|name, _| keeps(ResourceType::Route, name));
        let warms = !self.warming.is_empty();
        self.mux.flush(warms, wanted)
    }

    /// The content that the client has of a name.
    pub(crate) fn has(&self, kind: ResourceType, name: &str) -> Option<&Content> {
        match kind {
            ResourceType::Cluster => self.clusters.get(name),
            ResourceType::Endpoint => self.endpoints.get(name),
            ResourceType::Secret => self.secrets.get(name),
            // Scopes are in tests/scopes and tests/session.
            ResourceType::Scope => None,
            ResourceType::Listener => self.listeners.get(name),
            ResourceType::Route => self.routes.get(name),
        }
    }

    /// The names of clusters or listeners that it has.
    pub(crate) fn names(&self, kind: ResourceType) -> Vec<String> {
        match kind {
            ResourceType::Cluster => self.clusters.keys().cloned().collect(),
            ResourceType::Listener => self.listeners.keys().cloned().collect(),
            _ => self.wanted(kind).into_iter().collect(),
        }
    }

    /// The names that still wait to be used.
    pub(crate) fn waiting(&self) -> Vec<String> {
        self.warming
            .keys()
            .chain(self.starting.keys())
            .cloned()
            .collect()
    }

    /// The clusters that its listeners, and the routes of those, send traffic to.
    pub(crate) fn uses(&self) -> BTreeSet<String> {
        let listeners = self.listeners.values().chain(self.starting.values());
        let routes = listeners.clone().filter_map(|content| {
            let route = content.route.as_ref()?;
            self.routes.get(route)
        });
        let all = listeners
            .chain(routes)
            .flat_map(|content| content.clusters.clone());
        all.collect()
    }
}

/// Envoy's `initial_fetch_timeout`: so long a cluster waits for its endpoints.
const FETCH_TIMEOUT: Duration = Duration::from_secs(15);
