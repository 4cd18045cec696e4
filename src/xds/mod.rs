//! PURE: Envoy's protocol as values. What is served is a [`Snapshot`] of encoded resources; what
//! one client of it has, wants and refuses is a [`session::Session`].
//!
//! No socket and no clock here: the edge is `ads`.

mod access_log;
pub mod acked;
pub mod answer;
mod api;
pub mod changes;
mod checked;
pub mod cluster;
mod compression;
pub mod data;
mod defaults;
pub mod diff;
pub mod encode;
pub mod encoding;
pub mod endpoint;
mod feed;
mod guard;
mod held;
pub mod json;
pub mod layout;
pub mod listener;
mod opening;
mod order;
mod parting;
pub mod preflight;
mod quic;
pub mod route;
mod route_policy;
pub mod saved;
pub mod scope;
pub mod secret;
mod sensitive;
pub mod session;
pub mod sources;
pub mod standalone;
pub mod status;
mod step;
pub mod subscription;
pub mod suspects;
mod synced;
mod take;
mod udp;
mod v2;
pub mod whole;
mod wire;

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use crate::gateway::Origin;
use crate::inventory::Problem;
use crate::named::Named;

pub use encoding::{Encoding, encode};

/// The kinds of resource, in the order in which they are pushed: what is named comes before
/// what names it.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum ResourceType {
    /// CDS.
    Cluster,
    /// EDS.
    Endpoint,
    /// SDS.
    Secret,
    /// SRDS: the parts of a route configuration that is too large to be one resource. They come
    /// before the listener that routes by them; a client that has none yet asks for them then.
    Scope,
    /// LDS.
    Listener,
    /// RDS.
    Route,
}

impl ResourceType {
    /// Every type, in push order.
    pub const ALL: [Self; 6] = [
        Self::Cluster,
        Self::Endpoint,
        Self::Secret,
        Self::Scope,
        Self::Listener,
        Self::Route,
    ];

    /// The type URL of the xDS transport protocol.
    pub fn url(self) -> &'static str {
        match self {
            Self::Cluster => "type.googleapis.com/envoy.config.cluster.v3.Cluster",
            Self::Endpoint => "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
            Self::Secret => "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
            Self::Scope => "type.googleapis.com/envoy.config.route.v3.ScopedRouteConfiguration",
            Self::Listener => "type.googleapis.com/envoy.config.listener.v3.Listener",
            Self::Route => "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
        }
    }

    /// The type with that URL; `None` for one that is not served.
    pub fn from_url(url: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.url() == url)
    }

    /// Whether people are told what is other in it. What a scope is, its name says, and what its
    /// routes are is told of these.
    pub fn is_news(self) -> bool {
        self != Self::Scope
    }

    /// Whether a state-of-the-world response has all of them: what is missing is removed.
    pub(super) fn is_told_whole(self) -> bool {
        matches!(self, Self::Cluster | Self::Scope | Self::Listener)
    }

    /// The most responses of the type that one client may leave unanswered.
    pub(super) fn flights_max(self) -> usize {
        match self {
            Self::Cluster => CLUSTER_FLIGHTS_MAX,
            _ => 1,
        }
    }

    /// The most resources of the type in one response: a refusal of more costs too many responses
    /// of one. Envoy listens when it has taken the first response of scopes: it has to have all.
    pub(super) fn response_max(self) -> usize {
        match self {
            Self::Scope => usize::MAX,
            _ => RESOURCES_MAX,
        }
    }

    /// The short word for it: `cds`, `eds`, `sds`, `srds`, `lds`, `rds`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Cluster => "cds",
            Self::Endpoint => "eds",
            Self::Secret => "sds",
            Self::Scope => "srds",
            Self::Listener => "lds",
            Self::Route => "rds",
        }
    }
}

impl fmt::Display for ResourceType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// What a resource contains, as a number: equal content has an equal version in any process of
/// the same build, and an encoder that writes something else writes other versions.
///
/// Displays as 13 characters: Envoy repeats all versions when it reconnects.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Version(u64);

impl Version {
    /// The version of a value of the gateway.
    pub fn of(value: &impl Hash) -> Self {
        let mut hasher = DefaultHasher::new();
        ENCODER.hash(&mut hasher);
        value.hash(&mut hasher);
        Self(hasher.finish())
    }

    /// The version that is written so; `None` for what is none.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let digits: &[u8; VERSION_CHARS] = text.as_bytes().try_into().ok()?;
        let mut number = 0_u64;
        for digit in digits {
            let value = match digit {
                b'0'..=b'9' => digit - b'0',
                b'a'..=b'v' => digit - b'a' + 10,
                _ => return None,
            };
            number = number.checked_mul(32)? | u64::from(value);
        }
        Some(Self(number))
    }

    fn digits(self) -> [u8; VERSION_CHARS] {
        let mut rest = self.0;
        let mut text = [b'0'; VERSION_CHARS];
        for place in text.iter_mut().rev() {
            *place = DIGITS[(rest % 32) as usize];
            rest /= 32;
        }
        text
    }

    /// The version to send in the place of this one to a client that may have something else
    /// under it: differs for every `epoch`. Epoch 0 is the version itself.
    pub fn in_epoch(self, epoch: u32) -> Self {
        match epoch {
            0 => self,
            _ => Self::of(&(self, epoch)),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The digits are ASCII.
        f.write_str(std::str::from_utf8(&self.digits()).unwrap_or_default())
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One encoded resource. Its body is made once and shared by all clients. There are several for
/// each service, so its lists have no room to grow.
#[derive(Clone, Eq, PartialEq)]
pub struct Resource {
    /// Its name, which who holds it shares.
    pub name: Arc<str>,
    /// What it contains, as a number.
    pub version: Version,
    /// The encoded message. A secret's body is the secret: it goes on the wire and nowhere else.
    pub body: Vec<u8>,
    /// The clusters that it sends traffic to.
    pub clusters: Box<[String]>,
    /// For a cluster: whether it still warms when it has its endpoints, so that only Envoy's ACK
    /// tells that it can be used (it waits for a secret, or for the first checks of its hosts).
    pub warms_until_acked: bool,
    /// For a listener: the route configurations that it has in scopes.
    pub scoped: Box<[String]>,
    /// The OpenSVC sections that it was made from.
    pub origins: Box<[Origin]>,
    /// The chains or virtual hosts in it, each of which Envoy's rules allow, in order.
    pub checked: Box<[Version]>,
    /// What was left out of it, as Envoy would have refused it.
    pub problems: Vec<Problem>,
}

impl Resource {
    /// A resource with an empty body.
    pub fn new(name: &str, version: Version) -> Self {
        Self {
            name: name.into(),
            version,
            body: Vec::new(),
            clusters: Box::default(),
            warms_until_acked: false,
            scoped: Box::default(),
            origins: Box::default(),
            checked: Box::default(),
            problems: Vec::new(),
        }
    }
}

impl fmt::Debug for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.version)
    }
}

/// A consistent set of all resources.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    resources: BTreeMap<ResourceType, Named<Resource>>,
    /// What became of the services' own JSON: it is not read again while it is the same.
    verdicts: data::Verdicts,
    /// Whether there may be more than is in here.
    partial: bool,
    /// What is other in it than in the one before it, where that is known.
    step: Option<step::Step>,
}

/// What one came after is no part of it.
impl PartialEq for Snapshot {
    fn eq(&self, other: &Self) -> bool {
        let Self {
            resources,
            verdicts,
            partial,
            step: _,
        } = self;
        (resources, verdicts, *partial) == (&other.resources, &other.verdicts, other.partial)
    }
}

impl Eq for Snapshot {}

impl Snapshot {
    /// Whether there may be more than is in here, as in what was saved without its secrets. By
    /// such a snapshot things come and change; nothing goes.
    pub fn is_partial(&self) -> bool {
        self.partial
    }

    /// The resource of that type and name.
    pub fn get(&self, kind: ResourceType, name: &str) -> Option<&Arc<Resource>> {
        self.resources.get(&kind)?.get(name)
    }

    /// All resources of a type, by name.
    pub fn all(&self, kind: ResourceType) -> impl Iterator<Item = &Arc<Resource>> {
        self.resources
            .get(&kind)
            .into_iter()
            .flat_map(Named::values)
    }

    /// Names, which come in order and once, each shared with the resource that has it, if there is
    /// one.
    fn shared<'n>(
        &self,
        kind: ResourceType,
        names: impl ExactSizeIterator<Item = &'n str>,
    ) -> impl Iterator<Item = Arc<str>> {
        let few = names.len() < self.count(kind) / FEW;
        let mut all = self.all(kind).peekable();
        names.map(move |name| {
            if few {
                return self.shared_name(kind, name);
            }
            while all.next_if(|one| one.name.as_ref() < name).is_some() {}
            let known = all.next_if(|one| one.name.as_ref() == name);
            known.map_or_else(|| name.into(), |one| Arc::clone(&one.name))
        })
    }

    /// A name, shared with the resource that has it, if there is one.
    fn shared_name(&self, kind: ResourceType, name: &str) -> Arc<str> {
        let known = self.get(kind, name);
        known.map_or_else(|| name.into(), |one| Arc::clone(&one.name))
    }

    /// How many resources there are of a type.
    pub fn count(&self, kind: ResourceType) -> usize {
        self.resources.get(&kind).map_or(0, Named::len)
    }

    /// How many resources of each type there are.
    pub fn counts(&self) -> BTreeMap<ResourceType, usize> {
        self.kinds().map(|kind| (kind, self.count(kind))).collect()
    }

    /// The types that are told of: few have scopes.
    pub fn kinds(&self) -> impl Iterator<Item = ResourceType> {
        let kinds = ResourceType::ALL.into_iter();
        kinds.filter(|kind| *kind != ResourceType::Scope || self.count(*kind) > 0)
    }

    /// Takes a resource in, in the place of one of the same name.
    pub fn insert(&mut self, kind: ResourceType, resource: Arc<Resource>) {
        self.step = None;
        let all = self.resources.entry(kind).or_default();
        all.insert(Arc::clone(&resource.name), resource);
    }

    /// Takes a resource out.
    fn remove(&mut self, kind: ResourceType, name: &str) {
        self.step = None;
        let Some(all) = self.resources.get_mut(&kind) else {
            return;
        };
        all.remove(name);
        if all.is_empty() {
            self.resources.remove(&kind);
        }
    }

    /// Every type and name whose resource is not the same in both. What one shares with the other
    /// is not looked at, nor anything where this one is known to come next after the other.
    pub fn changes<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = (ResourceType, &'a str)> {
        let known = self.known_changes(other);
        let found = known.is_none().then(|| self.find_changes(other));
        let known = known.unwrap_or_default().iter();
        let known = known.map(|(kind, name)| (*kind, name.as_str()));
        known.chain(found.into_iter().flatten())
    }

    fn find_changes<'a>(
        &'a self,
        other: &'a Self,
    ) -> impl Iterator<Item = (ResourceType, &'a str)> {
        ResourceType::ALL.into_iter().flat_map(move |kind| {
            let (ours, theirs) = (self.resources.get(&kind), other.resources.get(&kind));
            let both = ours.zip(theirs).into_iter();
            let changed = both.flat_map(|(ours, theirs)| ours.changes(theirs));
            let version = |all: Option<&Named<Resource>>, name: &str| {
                all.and_then(|all| Some(all.get(name)?.version))
            };
            let changed = changed.filter(move |name| version(ours, name) != version(theirs, name));
            let alone = ours.xor(theirs).into_iter().flat_map(Named::keys);
            let names = changed.chain(alone);
            names.map(move |name| (kind, name))
        })
    }
}

/// Where this many times as much is there as is asked for, each name is looked up.
const FEW: usize = 8;
const RESOURCES_MAX: usize = 1_000;
/// With each waiting twice as long as the one before it, they last for longer than the 15 s that
/// Envoy lets a cluster warm.
const CLUSTER_FLIGHTS_MAX: usize = 10;
/// Tells one build's encoder from another's; part of every version.
pub const ENCODER: &str = env!("OSVC_IGW_ENCODER");
/// 64 bits at 5 a character.
const VERSION_CHARS: usize = 13;
const DIGITS: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";

#[cfg(test)]
mod tests {
    pub(super) mod random;

    use super::*;

    #[test]
    fn a_version_has_thirteen_characters() {
        assert_eq!(Version(0).to_string(), "0000000000000");
        assert_eq!(Version(u64::MAX).to_string(), "fvvvvvvvvvvvv");
        assert_eq!(Version::read("fvvvvvvvvvvvv"), Some(Version(u64::MAX)));
    }

    #[test]
    fn every_epoch_has_a_version_of_its_own() {
        let version = Version::of(&"x");
        let epochs = [0, 1, 2].map(|epoch| version.in_epoch(epoch));
        assert_eq!(epochs[0], version);
        assert!(epochs[1] != version && epochs[2] != version && epochs[1] != epochs[2]);
    }

    #[test]
    fn types_are_pushed_before_what_names_them() {
        let words = ResourceType::ALL.map(ResourceType::word);
        assert_eq!(words, ["cds", "eds", "sds", "srds", "lds", "rds"]);
        assert!(ResourceType::ALL.is_sorted());
    }
}
