//! The one type that holds a secret's text, and what is remembered of a `sec` object. A text
//! compares and hashes, and never prints: `Debug` and `Serialize` both write `[redacted]`.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{Hash, Hasher};

use serde::{Serialize, Serializer};
use zeroize::Zeroizing;

use super::{Name, ObjectPath, Reading, Secret};

/// The value of a key of a `sec` object. Wiped from memory when dropped.
#[derive(Clone, Eq, PartialEq)]
pub struct Sensitive(Zeroizing<String>);

impl Sensitive {
    /// Takes the text over.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text itself: only for the body of an SDS resource and for parsing a certificate.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl Hash for Sensitive {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.as_str().hash(state);
    }
}

impl fmt::Debug for Sensitive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl Serialize for Sensitive {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(REDACTED)
    }
}

/// Something that is usable or not: the last that was, and what is wrong with the newest.
///
/// A `sec` object is written one key at a time, so that a reader sees halves of two pairs. What
/// is worse than the one before does not take its place.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Judged<T> {
    /// The [`super::Object::revision`] that the object had when it was read last.
    pub revision: Name,
    /// The newest that was usable.
    pub good: Option<T>,
    /// Why the newest is not, as the end of a sentence; `None` where `good` is the newest.
    pub flaw: Option<String>,
}

impl<T> Default for Judged<T> {
    fn default() -> Self {
        Self {
            revision: Name::default(),
            good: None,
            flaw: None,
        }
    }
}

impl<T> Judged<T> {
    /// Takes a reading in, as `judge` judges its keys.
    pub fn take(
        &mut self,
        reading: &Reading<Secret>,
        judge: impl FnOnce(&Secret) -> Result<T, String>,
    ) {
        self.revision.clone_from(&reading.revision);
        let absent = || Err("does not exist".to_owned());
        match reading.content.as_ref().map_or_else(absent, judge) {
            Ok(good) => {
                self.good = Some(good);
                self.flaw = None;
            }
            Err(flaw) => self.flaw = Some(flaw),
        }
    }
}

/// Takes a reading of an object in; returns whether anything changed.
pub(super) fn judge<T: Clone + PartialEq>(
    map: &mut BTreeMap<ObjectPath, Judged<T>>,
    path: ObjectPath,
    reading: &Reading<Secret>,
    judge: impl FnOnce(&Secret) -> Result<T, String>,
) -> bool {
    let mut judged = map.get(&path).cloned().unwrap_or_default();
    judged.take(reading, judge);
    insert_changed(map, path, judged)
}

/// Returns whether it is another value than before.
pub(super) fn insert_changed<K: Ord, V: PartialEq>(
    map: &mut BTreeMap<K, V>,
    key: K,
    value: V,
) -> bool {
    if map.get(&key) == Some(&value) {
        return false;
    }
    map.insert(key, value);
    true
}

/// What every rendering shows in place of a secret.
pub const REDACTED: &str = "[redacted]";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::certificate::Pair;
    use crate::sim::certificate::Authority;

    #[test]
    fn a_secret_never_prints() {
        let secret = Sensitive::new("hunter2".to_owned());
        let shown = format!("{secret:?} {}", serde_json::to_string(&secret).unwrap());
        assert_eq!(shown, "[redacted] \"[redacted]\"");
    }

    #[test]
    fn what_is_worse_than_before_does_not_take_its_place() {
        let authority = Authority::new("ca").unwrap();
        let [old, new] = [1, 2].map(|_| authority.issue("web", &["web"]).unwrap());
        let [old, new] = [&old, &new].map(|pair| (pair.chain_pem.as_str(), pair.key_pem.as_str()));
        let mut state = Judged::default();
        let mut take = |revision: &str, keys: Option<[(&str, &str); 2]>| {
            let text = |text: &str| Sensitive::new(text.to_owned());
            let content = keys.map(|keys| keys.map(|(key, value)| (key.to_owned(), text(value))));
            let revision = revision.into();
            let content = content.map(Secret::from);
            state.take(&Reading { revision, content }, Pair::of_secret);
            state.clone()
        };
        let keys = |chain, key| Some([("certificate_chain", chain), ("private_key", key)]);
        let first = take("1", keys(old.0, old.1));
        assert!(first.good.is_some() && first.flaw.is_none());
        let mixed = take("2", keys(old.0, new.1));
        let gone = take("3", None);
        for worse in [mixed, gone] {
            assert_eq!(worse.good, first.good);
            assert!(worse.flaw.is_some() && worse.revision > first.revision);
        }
        let second = take("4", keys(new.0, new.1));
        assert!(second.good != first.good && second.flaw.is_none());
    }
}
