//! Who gets what on a shared listener, and who gets the address. The first claimant keeps a
//! thing, and as exposes are worked through in the order of their paths, the outcome does not
//! depend on event order.
//!
//! The order is that of the paths because nothing else is the same for every daemon and every
//! time: `DEFAULT.id` is a random UUID, what the daemon tells as `updated` is when a file was
//! last written, and no agent of version 2.1 says when an object was made.
//!
//! # Addresses
//!
//! Exposes with the same address, port and protocol share a listener. An unspecified address
//! (`0.0.0.0`, `::`) and a specific one of the same family, port and protocol conflict: which of
//! two sockets the kernel prefers is no way to share a port between owners. The families do not
//! meet: `::` takes IPv6 alone, so `0.0.0.0` and `::` stand beside each other.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::{Origin, Protocol};

/// What only one claimant of a listener can have.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Claim {
    /// The requests for a domain.
    Domain(String),
    /// The TLS connections that ask for a server name.
    ServerName(String),
    /// The TLS connections that no server name claim takes.
    AnyTls,
    /// The connections that are not TLS. Plain HTTP exposes share it as one claimant.
    Plain,
}

/// The claims of all listeners.
#[derive(Debug, Default)]
pub struct Claims {
    held: BTreeMap<(String, Claim), Claimant>,
    /// The addresses that listeners have, and for whom each was bound first.
    bound: BTreeMap<(Protocol, u16), BTreeMap<IpAddr, Origin>>,
    /// Whether the connections of a listener begin with the PROXY protocol, and who says so.
    proxied: BTreeMap<String, (bool, Origin)>,
    /// What somebody claimed in vain.
    lost: BTreeSet<(String, Claim)>,
    /// The addresses that were asked for, also in vain: who is told in whose way it was.
    addresses: BTreeMap<(Protocol, u16), BTreeSet<IpAddr>>,
    /// How connections should have begun, also in vain.
    wanted_proxied: BTreeSet<(String, bool)>,
}

/// Whether one connection could come to both addresses, which are not the same.
pub fn overlap(one: IpAddr, other: IpAddr) -> bool {
    one != other
        && one.is_ipv4() == other.is_ipv4()
        && (one.is_unspecified() || other.is_unspecified())
}

#[derive(Debug, Eq, PartialEq)]
struct Claimant {
    origin: Origin,
    shared: bool,
}

impl Claims {
    /// Claims something on `listener` for `origin` alone.
    ///
    /// # Errors
    /// The one who has it already.
    pub fn claim(&mut self, listener: &str, claim: Claim, origin: &Origin) -> Result<(), Origin> {
        self.take(listener, claim, origin, false)
    }

    /// Claims something that all who claim it this way may have together.
    ///
    /// # Errors
    /// The one who has it alone.
    pub fn share(&mut self, listener: &str, claim: Claim, origin: &Origin) -> Result<(), Origin> {
        self.take(listener, claim, origin, true)
    }

    /// Gives back what was claimed alone, for who comes later.
    pub fn release(&mut self, listener: &str, claim: Claim) {
        self.held.remove(&(listener.to_owned(), claim));
    }

    /// Notes that somebody wanted more of a thing than those who share it leave.
    pub(super) fn lose(&mut self, listener: &str, claim: Claim) {
        self.lost.insert((listener.to_owned(), claim));
    }

    /// The address that stands in the way of a listener, and who has it.
    pub fn in_the_way(
        &mut self,
        protocol: Protocol,
        address: IpAddr,
        port: u16,
    ) -> Option<(IpAddr, &Origin)> {
        let wanted = self.addresses.entry((protocol, port)).or_default();
        wanted.insert(address);
        let bound = self.bound.get(&(protocol, port))?;
        let mut others = bound.iter().filter(|(other, _)| overlap(**other, address));
        others.next().map(|(other, origin)| (*other, origin))
    }

    /// Who wants the connections of the listener to begin otherwise.
    pub fn disagrees(&mut self, listener: &str, proxied: bool) -> Option<&Origin> {
        let wanted = (listener.to_owned(), proxied);
        self.wanted_proxied.insert(wanted);
        let (other, origin) = self.proxied.get(listener)?;
        (*other != proxied).then_some(origin)
    }

    /// Notes how the connections of a listener begin, if nobody has said it before.
    pub fn agree(&mut self, listener: &str, proxied: bool, origin: &Origin) {
        let entry = self.proxied.entry(listener.to_owned());
        entry.or_insert_with(|| (proxied, origin.clone()));
    }

    /// Notes that `origin` has something on the listener with this address.
    pub fn bind(&mut self, protocol: Protocol, address: IpAddr, port: u16, origin: &Origin) {
        let bound = self.bound.entry((protocol, port)).or_default();
        bound.entry(address).or_insert_with(|| origin.clone());
    }

    /// What is claimed, and whether all who claimed it may share it.
    pub(super) fn wanted(&self) -> impl Iterator<Item = (&(String, Claim), bool)> {
        let held = self.held.iter();
        held.map(|(key, holder)| (key, holder.shared && !self.lost.contains(key)))
    }

    /// The addresses that were asked for, whether they were had or not.
    pub(super) fn addresses(&self) -> impl Iterator<Item = (&(Protocol, u16), &BTreeSet<IpAddr>)> {
        self.addresses.iter()
    }

    /// The listeners, and whether their connections should begin with the PROXY protocol.
    pub(super) fn wanted_proxied(&self) -> impl Iterator<Item = (&String, bool)> {
        let wanted = self.wanted_proxied.iter();
        wanted.map(|(listener, proxied)| (listener, *proxied))
    }

    fn take(
        &mut self,
        listener: &str,
        claim: Claim,
        origin: &Origin,
        shared: bool,
    ) -> Result<(), Origin> {
        match self.held.entry((listener.to_owned(), claim)) {
            Entry::Vacant(entry) => {
                let origin = origin.clone();
                entry.insert(Claimant { origin, shared });
                Ok(())
            }
            Entry::Occupied(entry) => {
                let holder = entry.get();
                let free = (shared && holder.shared) || holder.origin == *origin;
                if free {
                    return Ok(());
                }
                let holder = holder.origin.clone();
                self.lost.insert(entry.key().clone());
                Err(holder)
            }
        }
    }
}
