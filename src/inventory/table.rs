//! A map of a few values by name, in little room: there are dozens for each service. What the
//! names stand for is the business of whoever fills it.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Serialize, Serializer};

use super::Name;

/// Values by name, in the order of the names. To look one up is quick; to add one is not.
#[derive(Clone, Eq, PartialEq)]
pub struct Table<V>(Box<[(Name, V)]>);

type Pair<'a, V> = fn(&'a (Name, V)) -> (&'a str, &'a V);

impl<V> Table<V> {
    /// The value of that name.
    pub fn get(&self, name: &str) -> Option<&V> {
        self.get_key_value(name).map(|(_, value)| value)
    }

    /// The value of that name, and the name as it is kept.
    pub fn get_key_value(&self, name: &str) -> Option<(&str, &V)> {
        let (name, value) = self.0.get(self.find(name).ok()?)?;
        Some((name, value))
    }

    /// The value of that name, to be changed.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut V> {
        let place = self.find(name).ok()?;
        self.0.get_mut(place).map(|(_, value)| value)
    }

    /// Whether there is a value of that name.
    pub fn contains_key(&self, name: &str) -> bool {
        self.find(name).is_ok()
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
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&str, &V)> {
        self.into_iter()
    }

    /// The names.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.iter().map(|(name, _)| name)
    }

    /// The values, by name.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.0.iter().map(|(_, value)| value)
    }

    /// The values, by name, to be changed.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.0.iter_mut().map(|(_, value)| value)
    }

    /// All of them, by name, the values to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&str, &mut V)> {
        let values = self.0.iter_mut();
        values.map(|(name, value)| {
            let name: &str = name;
            (name, value)
        })
    }

    /// Puts a value in, and returns the one of the same name that was there.
    pub fn insert(&mut self, name: impl Into<Name>, value: V) -> Option<V> {
        let name = name.into();
        match self.find(&name) {
            Ok(place) => {
                let (_, known) = self.0.get_mut(place)?;
                Some(std::mem::replace(known, value))
            }
            Err(place) => {
                self.change(|all| all.insert(place, (name, value)));
                None
            }
        }
    }

    /// Takes a value out.
    pub fn remove(&mut self, name: &str) -> Option<V> {
        let place = self.find(name).ok()?;
        let mut removed = None;
        self.change(|all| removed = Some(all.remove(place).1));
        removed
    }

    /// Keeps those that are wanted.
    pub fn retain(&mut self, mut wanted: impl FnMut(&str, &mut V) -> bool) {
        self.change(|all| all.retain_mut(|(name, value)| wanted(name, value)));
    }

    fn change(&mut self, change: impl FnOnce(&mut Vec<(Name, V)>)) {
        let mut all = Vec::from(std::mem::take(&mut self.0));
        change(&mut all);
        self.0 = all.into();
    }

    fn find(&self, name: &str) -> Result<usize, usize> {
        self.0
            .binary_search_by(|(known, _)| known.as_ref().cmp(name))
    }
}

impl<V> Default for Table<V> {
    fn default() -> Self {
        Self(Box::default())
    }
}

impl<V: fmt::Debug> fmt::Debug for Table<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<V> From<BTreeMap<String, V>> for Table<V> {
    fn from(values: BTreeMap<String, V>) -> Self {
        values.into_iter().collect()
    }
}

impl<V, const N: usize> From<[(String, V); N]> for Table<V> {
    fn from(values: [(String, V); N]) -> Self {
        values.into_iter().collect()
    }
}

/// Of two values of one name the later one stays.
impl<N: Into<Name>, V> FromIterator<(N, V)> for Table<V> {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(values: I) -> Self {
        let values = values.into_iter();
        let mut all: Vec<(Name, V)> = values.map(|(name, value)| (name.into(), value)).collect();
        if !all.is_sorted_by(|(one, _), (other, _)| one < other) {
            all.reverse();
            all.sort_by(|(one, _), (other, _)| one.cmp(other));
            all.dedup_by(|(later, _), (first, _)| later == first);
        }
        Self(all.into())
    }
}

impl<'a, V> IntoIterator for &'a Table<V> {
    type Item = (&'a str, &'a V);
    type IntoIter = std::iter::Map<std::slice::Iter<'a, (Name, V)>, Pair<'a, V>>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter().map(|(name, value)| (name.as_ref(), value))
    }
}

impl<V: Serialize> Serialize for Table<V> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(self.iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(values: &[(&str, u8)]) -> Table<u8> {
        let values = values.iter();
        values
            .map(|(name, value)| ((*name).to_owned(), *value))
            .collect()
    }

    #[test]
    fn the_later_of_two_values_of_one_name_stays() {
        let table = table(&[("b", 1), ("a", 2), ("b", 3), ("a", 4)]);
        assert_eq!(table.iter().collect::<Vec<_>>(), [("a", &4), ("b", &3)]);
    }

    #[test]
    fn values_are_put_in_and_taken_out_in_their_order() {
        let mut all = table(&[]);
        for name in ["port", "ipaddr", "own", "port"] {
            all.insert(name.to_owned(), 1);
        }
        assert_eq!(all.keys().collect::<Vec<_>>(), ["ipaddr", "own", "port"]);
        assert_eq!((all.remove("own"), all.remove("own")), (Some(1), None));
        assert_eq!(all, table(&[("ipaddr", 1), ("port", 1)]));
        assert_eq!(all.get("port"), Some(&1));
    }
}
