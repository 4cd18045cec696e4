//! What a client asked for, of one type (xDS protocol, "Subscribing to Resources").

use std::collections::BTreeSet;
use std::sync::Arc;

/// The names and the wildcard that a client is subscribed to.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Subscription {
    wildcard: bool,
    names: BTreeSet<Arc<str>>,
}

impl Subscription {
    /// Whether the client wants to hear of this name.
    pub fn matches(&self, name: &str) -> bool {
        self.wildcard || self.names.contains(name)
    }

    /// Whether the client asked for everything.
    pub fn is_wildcard(&self) -> bool {
        self.wildcard
    }

    /// The names that the client asked for one by one.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &Arc<str>> {
        self.names.iter()
    }

    /// Adds names as [`Subscription::subscribe`] does, thousands at once.
    pub(super) fn subscribe_all(&mut self, names: impl Iterator<Item = Arc<str>>) {
        let left = NAMES_MAX.saturating_sub(self.names.len());
        self.names.append(&mut names.take(left).collect());
    }

    /// Adds a name, or everything if it is [`WILDCARD`]. A first request without any name means
    /// the wildcard too, which the caller has to see.
    ///
    /// Names beyond [`NAMES_MAX`] are not taken; returns whether this one was.
    pub fn subscribe(&mut self, name: impl AsRef<str> + Into<Arc<str>>) -> bool {
        if name.as_ref() == WILDCARD {
            self.wildcard = true;
            return true;
        }
        if self.names.len() >= NAMES_MAX && !self.names.contains(name.as_ref()) {
            return false;
        }
        self.names.insert(name.into());
        true
    }

    /// Takes a name, or the wildcard, away; returns whether it was there.
    pub fn unsubscribe(&mut self, name: &str) -> bool {
        if name == WILDCARD {
            std::mem::take(&mut self.wildcard)
        } else {
            self.names.remove(name)
        }
    }
}

/// The name that stands for every resource of the type.
pub const WILDCARD: &str = "*";
/// The most names of one type that one client can ask for.
pub const NAMES_MAX: usize = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wildcard_outlives_an_explicit_name() {
        let mut subscription = Subscription::default();
        subscription.subscribe(WILDCARD);
        subscription.subscribe("a");
        subscription.unsubscribe("a");
        assert!(subscription.matches("a") && subscription.matches("b"));
        subscription.unsubscribe(WILDCARD);
        assert!(!subscription.matches("b"));
    }

    #[test]
    fn a_name_that_was_never_subscribed_can_be_unsubscribed() {
        let mut subscription = Subscription::default();
        assert!(!subscription.unsubscribe("a") && !subscription.unsubscribe(WILDCARD));
        assert_eq!(subscription, Subscription::default());
    }
}
