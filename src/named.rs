//! PURE: a map from names to values that is cheap to copy, and quick to compare with what it was
//! copied from: what both share is not looked at. What a name stands for is the caller's business.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use imbl::OrdMap;
use imbl::ordmap::DiffItem;
use serde::{Serialize, Serializer};

/// Values by name, in the order of the names. A copy shares everything with its original, and
/// a change of one of them costs the logarithm of their size: it copies the places of the names
/// around it, and no name.
#[derive(Eq, Hash, PartialEq)]
pub struct Named<T>(OrdMap<Arc<str>, Arc<T>>);

impl<T> Named<T> {
    /// The value of that name.
    pub fn get(&self, name: &str) -> Option<&Arc<T>> {
        self.0.get(name)
    }

    /// Whether there is a value of that name.
    pub fn contains_key(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&str, &Arc<T>)> {
        self.0.iter().map(|(name, value)| (name.as_ref(), value))
    }

    /// All of them, by name, with the names as they are kept: to be shared, too.
    pub fn iter_shared(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<T>)> {
        self.0.iter()
    }

    /// The names.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(AsRef::as_ref)
    }

    /// The values, by name.
    pub fn values(&self) -> impl Iterator<Item = &Arc<T>> {
        self.0.values()
    }

    /// Puts a value in, in the place of one of the same name.
    pub fn insert(&mut self, name: impl Into<Arc<str>>, value: impl Into<Arc<T>>) {
        self.0.insert(name.into(), value.into());
    }

    /// Takes a value out.
    pub fn remove(&mut self, name: &str) -> Option<Arc<T>> {
        self.0.remove(name)
    }

    /// Keeps those that are wanted.
    pub fn retain(&mut self, mut wanted: impl FnMut(&str, &T) -> bool) {
        let unwanted = self.0.iter().filter(|(name, value)| !wanted(name, value));
        let unwanted: Vec<Arc<str>> = unwanted.map(|(name, _)| Arc::clone(name)).collect();
        for name in unwanted {
            self.0.remove(&name);
        }
    }
}

impl<T: Clone> Named<T> {
    /// The value of that name, to be changed in this copy.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut T> {
        self.0.get_mut(name).map(Arc::make_mut)
    }

    /// The same, with a new one where there is none.
    pub fn get_or_insert(&mut self, name: &str, new: impl FnOnce() -> T) -> &mut T {
        let entry = self.0.entry(name.into());
        Arc::make_mut(entry.or_insert_with(|| Arc::new(new())))
    }

    /// Changes each of them.
    pub fn change_all(&mut self, mut change: impl FnMut(&mut T)) {
        let names: Vec<Arc<str>> = self.0.keys().cloned().collect();
        for name in names {
            if let Some(value) = self.get_mut(&name) {
                change(value);
            }
        }
    }
}

impl<T: Eq> Named<T> {
    /// Every name whose value is not the same in both. What both share is not looked at.
    pub fn changes<'a>(&'a self, before: &'a Self) -> impl Iterator<Item = &'a str> {
        before.0.diff(&self.0).map(|item| match item {
            DiffItem::Add(name, _) | DiffItem::Remove(name, _) => name.as_ref(),
            DiffItem::Update { new: (name, _), .. } => name.as_ref(),
        })
    }
}

impl<T> Clone for Named<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Default for Named<T> {
    fn default() -> Self {
        Self(OrdMap::new())
    }
}

impl<T: fmt::Debug> fmt::Debug for Named<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<T: Serialize> Serialize for Named<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter().map(|(name, value)| (name, value.as_ref())))
    }
}

impl<T> FromIterator<(String, Arc<T>)> for Named<T> {
    fn from_iter<I: IntoIterator<Item = (String, Arc<T>)>>(values: I) -> Self {
        let values = values.into_iter();
        let values = values.map(|(name, value)| (Arc::<str>::from(name), value));
        Self(values.collect())
    }
}

impl<T, V: Into<Arc<T>>> Extend<(String, V)> for Named<T> {
    fn extend<I: IntoIterator<Item = (String, V)>>(&mut self, values: I) {
        for (name, value) in values {
            self.insert(name, value);
        }
    }
}

impl<T> From<BTreeMap<String, T>> for Named<T> {
    fn from(values: BTreeMap<String, T>) -> Self {
        let values = values.into_iter();
        values
            .map(|(name, value)| (name, Arc::new(value)))
            .collect()
    }
}

impl<T, const N: usize> From<[(String, T); N]> for Named<T> {
    fn from(values: [(String, T); N]) -> Self {
        BTreeMap::from(values).into()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn random(state: &mut u64) -> u64 {
        *state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        *state >> 33
    }

    #[test]
    fn changes_are_those_of_a_plain_map() {
        let mut state = 7;
        let (mut plain, mut named) = (BTreeMap::new(), Named::default());
        for round in 0..60 {
            let (known, before) = (plain.clone(), named.clone());
            for _ in 0..random(&mut state) % if round % 2 == 0 { 900 } else { 9 } {
                let name = (random(&mut state) % 3_000).to_string();
                match random(&mut state) % 3 {
                    0 => {
                        plain.remove(&name);
                        named.remove(&name);
                    }
                    value => {
                        plain.insert(name.clone(), value);
                        named.insert(name, value);
                    }
                }
            }
            let all = known.keys().chain(plain.keys());
            let changed = all.filter(|name| known.get(*name) != plain.get(*name));
            let changed: BTreeSet<&str> = changed.map(String::as_str).collect();
            let changed: Vec<&str> = changed.into_iter().collect();
            assert_eq!(named.changes(&before).collect::<Vec<_>>(), changed);
            assert_eq!(before.changes(&named).collect::<Vec<_>>(), changed);
            assert!(named == Named::from(plain.clone()));
        }
    }

    #[test]
    fn a_copy_does_not_follow_its_original() {
        let mut named = Named::from([("a".to_owned(), 1_u8)]);
        let copy = named.clone();
        named.change_all(|value| *value += 1);
        *named.get_or_insert("b", || 5) += 1;
        named.retain(|_, value| *value > 2);
        assert_eq!(named, Named::from([("b".to_owned(), 6)]));
        assert_eq!(copy, Named::from([("a".to_owned(), 1)]));
    }
}
