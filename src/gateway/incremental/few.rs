//! A set of mostly one value: there are several for each service, and a tree makes room for eleven.

/// Values, each once and in order. To add one in front of thousands moves them all.
#[derive(Debug)]
pub(super) enum Few<T> {
    /// It has no place of its own.
    One(T),
    /// None, or several.
    More(Vec<T>),
}

impl<T: Ord> Few<T> {
    pub(super) fn insert(&mut self, value: T) {
        if let Err(place) = self.as_slice().binary_search(&value) {
            let mut all = self.take();
            if all.is_empty() {
                *self = Self::One(value);
                return;
            }
            if all.len() < EXACT_MAX {
                all.reserve_exact(1);
            }
            all.insert(place, value);
            *self = Self::More(all);
        }
    }

    pub(super) fn remove(&mut self, value: &T) {
        if let Ok(place) = self.as_slice().binary_search(value) {
            let mut all = self.take();
            all.remove(place);
            *self = match all.len() {
                1 => all.pop().map_or_else(Self::default, Self::One),
                _ => Self::More(all),
            };
        }
    }
}

impl<T> Few<T> {
    pub(super) fn iter(&self) -> std::slice::Iter<'_, T> {
        self.as_slice().iter()
    }

    pub(super) fn len(&self) -> usize {
        self.as_slice().len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }

    fn take(&mut self) -> Vec<T> {
        match std::mem::take(self) {
            Self::One(one) => vec![one],
            Self::More(all) => all,
        }
    }

    pub(super) fn as_slice(&self) -> &[T] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::More(all) => all,
        }
    }
}

impl<T> Default for Few<T> {
    fn default() -> Self {
        Self::More(Vec::new())
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
        for value in [1, 3, 4] {
            few.remove(&value);
        }
        assert!(matches!(few, Few::One(5)));
        few.remove(&1);
        few.insert(5);
        assert_eq!(few.iter().collect::<Vec<_>>(), [&5]);
        few.remove(&5);
        assert!(few.is_empty());
    }
}
