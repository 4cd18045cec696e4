//! Sets whose items several parts bring: each is in the set as long as one of them does.

use std::collections::{BTreeMap, BTreeSet};

/// How often an item is brought, of those that are brought more than once.
#[derive(Debug)]
pub(super) struct Counted<T> {
    more: BTreeMap<T, u32>,
    /// Whether the set changed since this was set to `false`.
    pub(super) changed: bool,
}

impl<T> Default for Counted<T> {
    fn default() -> Self {
        Self {
            more: BTreeMap::new(),
            changed: false,
        }
    }
}

impl<T: Clone + Ord> Counted<T> {
    /// A part brings these.
    pub(super) fn add<'i>(&mut self, set: &mut BTreeSet<T>, items: impl IntoIterator<Item = &'i T>)
    where
        T: 'i,
    {
        for item in items {
            if set.contains(item) {
                *self.more.entry(item.clone()).or_insert(1) += 1;
            } else {
                set.insert(item.clone());
                self.changed = true;
            }
        }
    }

    /// A part brings these no more.
    pub(super) fn remove<'i>(
        &mut self,
        set: &mut BTreeSet<T>,
        items: impl IntoIterator<Item = &'i T>,
    ) where
        T: 'i,
    {
        for item in items {
            let Some(count) = self.more.get_mut(item) else {
                self.changed |= set.remove(item);
                continue;
            };
            *count -= 1;
            if *count == 1 {
                self.more.remove(item);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_stays_as_long_as_somebody_brings_it() {
        let (mut set, mut counted) = (BTreeSet::new(), Counted::default());
        counted.add(&mut set, &["a", "b"]);
        counted.add(&mut set, &["a"]);
        counted.add(&mut set, &["a"]);
        counted.changed = false;
        counted.remove(&mut set, &["a"]);
        counted.remove(&mut set, &["a"]);
        assert!(set.contains("a") && !counted.changed);
        counted.remove(&mut set, &["a", "c"]);
        assert!(set == BTreeSet::from(["b"]) && counted.changed);
    }
}
