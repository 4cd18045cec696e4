//! What parts of the exposes have of the listeners, and which of them are in each other's way.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::super::chains::HTTP_CHAIN;
use super::super::claims::{Claim, overlap};
use super::super::{Listener, Protocol};
use super::few::Few;
use super::piece::{Piece, Values};

/// The number of a part.
pub(super) type Id = u64;

/// What is claimed of a listener, as one text: there are several for each service, and whoever
/// claims it and who looks for it have it once.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Claimed(Arc<str>);

impl From<&(String, Claim)> for Claimed {
    fn from((listener, claim): &(String, Claim)) -> Self {
        let (kind, name) = match claim {
            Claim::Domain(domain) => ("domain", domain.as_str()),
            Claim::ServerName(name) => ("server name", name.as_str()),
            Claim::AnyTls => ("any TLS", ""),
            Claim::Plain => ("plain", ""),
        };
        // No name of a listener has a space in it.
        Self([listener, " ", kind, " ", name].concat().into())
    }
}

/// Who has what. Parts that are not in each other's way come to the same whether they are
/// compiled alone or together.
#[derive(Debug, Default)]
pub(super) struct Holders {
    claims: BTreeMap<Claimed, Sides>,
    /// The addresses that are wanted for listeners.
    addresses: BTreeMap<(Protocol, u16), BTreeMap<IpAddr, Few<Id>>>,
    /// Whose connections should begin plainly, and whose with the PROXY protocol.
    proxied: BTreeMap<String, [Few<Id>; 2]>,
    /// Who shares the chain of plain HTTP; those that bring data for it want it alone.
    http: BTreeMap<String, Sides>,
}

/// Those who want a thing alone, and those who would share it.
#[derive(Debug, Default)]
enum Sides {
    #[default]
    Nobody,
    /// As it mostly is.
    Alone(Id),
    Both(Box<Both>),
}

#[derive(Debug, Default)]
struct Both {
    alone: Few<Id>,
    sharing: Few<Id>,
}

impl Sides {
    fn change(&mut self, shared: bool, change: impl FnOnce(&mut Few<Id>)) {
        let mut both = match std::mem::take(self) {
            Self::Nobody => Box::default(),
            Self::Alone(id) => Box::new(Both {
                alone: Few::One(id),
                ..Both::default()
            }),
            Self::Both(both) => both,
        };
        match shared {
            true => change(&mut both.sharing),
            false => change(&mut both.alone),
        }
        *self = match (&both.alone, both.sharing.is_empty()) {
            (Few::One(id), true) => Self::Alone(*id),
            (alone, true) if alone.is_empty() => Self::Nobody,
            _ => Self::Both(both),
        };
    }

    /// Who is in the way of one who comes.
    fn against(&self, shared: bool) -> impl Iterator<Item = Id> {
        let (alone, sharing) = match self {
            Self::Nobody => (&[][..], None),
            Self::Alone(id) => (std::slice::from_ref(id), None),
            Self::Both(both) => (both.alone.as_slice(), Some(&both.sharing)),
        };
        // Thousands may share a thing: they are not gone through for one more who does.
        let sharing = sharing.filter(|_| !shared).into_iter().flatten();
        alone.iter().chain(sharing).copied()
    }

    fn is_empty(&self) -> bool {
        matches!(self, Self::Nobody)
    }
}

/// The plain HTTP chains among listeners, and whether each can be shared.
fn http(listeners: &Values<Listener>) -> impl Iterator<Item = (&str, bool)> {
    listeners.iter().filter_map(|(name, listener)| {
        let mut chains = listener.chains.iter();
        let chain = chains.find(|chain| chain.name == HTTP_CHAIN)?;
        Some((name.as_ref(), chain.data.is_none()))
    })
}

impl Holders {
    /// The parts that are in the way of one that comes to this.
    pub(super) fn in_the_way(&self, piece: &Piece) -> BTreeSet<Id> {
        let mut found = BTreeSet::new();
        for (key, shared) in &piece.claims {
            let sides = self.claims.get(key);
            found.extend(sides.into_iter().flat_map(|sides| sides.against(*shared)));
        }
        for (key, address) in &piece.addresses {
            let others = self.addresses.get(key).into_iter().flatten();
            let others = others.filter(|(other, _)| overlap(**other, *address));
            found.extend(others.flat_map(|(_, ids)| ids));
        }
        for (listener, proxied) in &piece.proxied {
            let sides = self.proxied.get(listener).into_iter();
            found.extend(sides.flat_map(|sides| &sides[usize::from(!proxied)]));
        }
        for (listener, shared) in http(&piece.listeners) {
            let sides = self.http.get(listener);
            found.extend(sides.into_iter().flat_map(|sides| sides.against(shared)));
        }
        found
    }

    /// Takes a part in.
    pub(super) fn add(&mut self, id: Id, piece: &Piece) {
        for (key, shared) in &piece.claims {
            let sides = self.claims.entry(key.clone()).or_default();
            sides.change(*shared, |ids| ids.insert(id));
        }
        for (key, address) in &piece.addresses {
            let bound = self.addresses.entry(*key).or_default();
            bound.entry(*address).or_default().insert(id);
        }
        for (listener, proxied) in &piece.proxied {
            let sides = self.proxied.entry(listener.clone()).or_default();
            sides[usize::from(*proxied)].insert(id);
        }
        for (listener, shared) in http(&piece.listeners) {
            let sides = self.http.entry(listener.to_owned()).or_default();
            sides.change(shared, |ids| ids.insert(id));
        }
    }

    /// Takes a part out.
    pub(super) fn remove(&mut self, id: Id, piece: &Piece) {
        for (key, shared) in &piece.claims {
            remove(&mut self.claims, key, |sides| {
                sides.change(*shared, |ids| ids.remove(&id));
                sides.is_empty()
            });
        }
        for (key, address) in &piece.addresses {
            remove(&mut self.addresses, key, |bound| {
                remove(bound, address, |ids| {
                    ids.remove(&id);
                    ids.is_empty()
                });
                bound.is_empty()
            });
        }
        for (listener, proxied) in &piece.proxied {
            remove(&mut self.proxied, listener, |sides| {
                sides[usize::from(*proxied)].remove(&id);
                sides.iter().all(Few::is_empty)
            });
        }
        for (listener, shared) in http(&piece.listeners) {
            remove(&mut self.http, listener, |sides| {
                sides.change(shared, |ids| ids.remove(&id));
                sides.is_empty()
            });
        }
    }
}

/// Takes something out of a value, and the value where nothing is left.
pub(super) fn remove<K: Ord + Borrow<Q>, Q: Ord + ?Sized, V>(
    map: &mut BTreeMap<K, V>,
    key: &Q,
    take: impl FnOnce(&mut V) -> bool,
) {
    if map.get_mut(key).is_some_and(take) {
        map.remove(key);
    }
}
