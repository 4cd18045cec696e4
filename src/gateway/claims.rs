//! Who gets what on a shared listener. The first claimant keeps a thing, and as exposes are
//! worked through in the order of their paths, the outcome does not depend on event order.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::Origin;

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
                    Ok(())
                } else {
                    Err(holder.origin.clone())
                }
            }
        }
    }
}
