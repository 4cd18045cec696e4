//! A client's first request of a type. One that comes back tells versions of thousands of names,
//! and asks for as many: what it has of them is found by going once through both in their order.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::iter;
use std::sync::Arc;

use super::feed::Feed;
use super::held::Held;
use super::subscription::WILDCARD;
use super::{FEW, Resource, ResourceType, Snapshot};

/// What there is of a name, and what the client has of it; one of them may be missing.
type Pair<'a> = (Option<&'a Arc<Resource>>, Option<(&'a Arc<str>, &'a Held)>);

impl Feed {
    /// Takes what a client says that it has from an earlier stream, and the names that it asks
    /// for. It is told of what it lacks; where it is not `believed`, of all that it names.
    pub(super) fn open(
        &mut self,
        kind: ResourceType,
        snapshot: &Snapshot,
        versions: BTreeMap<String, String>,
        names: &[String],
        believed: bool,
    ) {
        let told = snapshot.shared(kind, versions.keys().map(String::as_str));
        let held = versions.values().map(|version| Held::earlier(version));
        self.held.append(&mut told.zip(held).collect());
        if names.iter().any(|name| name == WILDCARD) {
            self.subscription.subscribe(WILDCARD);
        }
        let names = names.iter().map(String::as_str);
        let mut names: Vec<&str> = names.filter(|name| *name != WILDCARD).collect();
        names.sort_unstable();
        names.dedup();
        let names = snapshot.shared(kind, names.into_iter());
        self.subscription.subscribe_all(names);
        let lacking = match believed {
            true => self.lacking(kind, snapshot),
            false => self.subscription.names().cloned().collect(),
        };
        self.pending.extend(lacking.iter().cloned());
        self.owed.extend(lacking);
        if self.subscription.is_wildcard() {
            self.ask_for_all(kind, snapshot);
        }
    }

    /// Takes the wildcard: the client is told of all that it does not have as it is.
    pub(super) fn ask_for_all(&mut self, kind: ResourceType, snapshot: &Snapshot) {
        let all = self.beside(kind, snapshot);
        let other = all.filter(|pair| !self.is_had(*pair)).filter_map(name);
        let other: Vec<Arc<str>> = other.cloned().collect();
        self.pending.extend(other);
        // A client that has something does not wait for a first answer.
        self.owes_wildcard = self.held.is_empty();
    }

    /// Whether the client has all that there is of the type. Nothing may be under way.
    pub(super) fn has_all(&self, kind: ResourceType, snapshot: &Snapshot) -> bool {
        let mut all = self.beside(kind, snapshot);
        all.all(|pair| pair.0.is_none() || self.is_had(pair))
    }

    /// The names asked for of which the client does not have what there is.
    fn lacking(&self, kind: ResourceType, snapshot: &Snapshot) -> Vec<Arc<str>> {
        let names = self.subscription.names();
        if names.len() < snapshot.count(kind) / FEW {
            let has = |name: &&Arc<str>| {
                let resource = snapshot.get(kind, name);
                resource.is_some_and(|resource| self.has(resource))
            };
            return names.filter(|name| !has(name)).cloned().collect();
        }
        let had = self
            .beside(kind, snapshot)
            .filter(|pair| self.is_had(*pair));
        let had: BTreeSet<&Arc<str>> = had.filter_map(name).collect();
        let names: BTreeSet<&Arc<str>> = names.collect();
        names.difference(&had).copied().cloned().collect()
    }

    /// Whether the client has what there is.
    fn is_had(&self, (resource, held): Pair<'_>) -> bool {
        let both = resource.zip(held);
        both.is_some_and(|(resource, (_, held))| held.is(self.version(resource)))
    }

    /// All that there is beside all that the client has, in the order of the names.
    fn beside<'a>(
        &'a self,
        kind: ResourceType,
        snapshot: &'a Snapshot,
    ) -> impl Iterator<Item = Pair<'a>> {
        let mut all = snapshot.all(kind).peekable();
        let mut held = self.held.iter().peekable();
        iter::from_fn(move || {
            let order = match (all.peek(), held.peek()) {
                (None, None) => return None,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(resource), Some((name, _))) => resource.name.cmp(name),
            };
            Some(match order {
                Ordering::Less => (all.next(), None),
                Ordering::Equal => (all.next(), held.next()),
                Ordering::Greater => (None, held.next()),
            })
        })
    }
}

fn name<'a>((resource, held): Pair<'a>) -> Option<&'a Arc<str>> {
    let known = held.map(|(name, _)| name);
    known.or_else(|| Some(&resource?.name))
}
