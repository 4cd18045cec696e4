//! What parts of the exposes have of the listeners, and which of them are in each other's way.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::super::chains::HTTP_CHAIN;
use super::super::claims::{Claim, overlap};
use super::super::{Listener, Protocol};
use super::few::Few;
use super::piece::{Piece, Values};

/// The number of a part.
pub(super) type Id = u64;

/// Who has what. Parts that are not in each other's way come to the same whether they are
/// compiled alone or together.
#[derive(Debug, Default)]
pub(super) struct Holders {
    claims: BTreeMap<(String, Claim), Sides>,
    /// The addresses that are wanted for listeners.
    addresses: BTreeMap<(Protocol, u16), BTreeMap<IpAddr, Few<Id>>>,
    /// Whose connections should begin plainly, and whose with the PROXY protocol.
    proxied: BTreeMap<String, [Few<Id>; 2]>,
    /// Who shares the chain of plain HTTP; those that bring data for it want it alone.
    http: BTreeMap<String, Sides>,
}

/// Those who want a thing alone, and those who would share it.
#[derive(Debug, Default)]
struct Sides {
    alone: Few<Id>,
    sharing: Few<Id>,
}

impl Sides {
    fn side(&mut self, shared: bool) -> &mut Few<Id> {
        match shared {
            true => &mut self.sharing,
            false => &mut self.alone,
        }
    }

    /// Who is in the way of one who comes.
    fn against(&self, shared: bool) -> impl Iterator<Item = Id> {
        // Thousands may share a thing: they are not gone through for one more who does.
        let sharing = (!shared).then_some(&self.sharing);
        self.alone
            .iter()
            .chain(sharing.into_iter().flatten())
            .copied()
    }

    fn is_empty(&self) -> bool {
        self.alone.is_empty() && self.sharing.is_empty()
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
            sides.side(*shared).insert(id);
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
            sides.side(shared).insert(id);
        }
    }

    /// Takes a part out.
    pub(super) fn remove(&mut self, id: Id, piece: &Piece) {
        for (key, shared) in &piece.claims {
            remove(&mut self.claims, key, |sides| {
                sides.side(*shared).remove(&id);
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
                sides.side(shared).remove(&id);
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
