//! A set of mostly one value: there are several for each service, and a tree makes room for eleven.

/// Values, each once and in order. To add one in front of thousands moves them all.
#[derive(Debug)]
pub(super) struct Few<T>(Vec<T>);

impl<T: Ord> Few<T> {
    pub(super) fn insert(&mut self, value: T) {
        if let Err(place) = self.0.binary_search(&value) {
            if self.0.len() < EXACT_MAX {
                self.0.reserve_exact(1);
            }
            self.0.insert(place, value);
        }
    }

    pub(super) fn remove(&mut self, value: &T) {
        if let Ok(place) = self.0.binary_search(value) {
            self.0.remove(place);
        }
    }
}

impl<T> Few<T> {
    pub(super) fn iter(&self) -> std::slice::Iter<'_, T> {
        self.0.iter()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<T> Default for Few<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'a, T> IntoIterator for &'a Few<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// So many have no more room than they need.
const EXACT_MAX: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_is_there_once_and_in_order() {
        let mut few = Few::default();
        for value in [3, 1, 2, 3, 5, 4, 1] {
            few.insert(value);
        }
        few.remove(&2);
        few.remove(&7);
        assert_eq!(few.iter().collect::<Vec<_>>(), [&1, &3, &4, &5]);
        assert!(few.len() == 4 && !few.is_empty());
    }
}
