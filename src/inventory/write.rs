//! What the daemon is asked to change, and what it was asked already. Who wants it and when it is
//! sent are decided elsewhere.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::ObjectPath;

/// One keyword of one object's configuration, and the value that it should have.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Write {
    /// The object whose configuration is changed.
    pub object: ObjectPath,
    /// The section, such as `expose#0`.
    pub section: String,
    /// The keyword.
    pub keyword: String,
    /// The value.
    pub value: String,
}

impl Write {
    /// What is changed in the object: `section.keyword`.
    pub fn place(&self) -> String {
        format!("{}.{}", self.section, self.keyword)
    }
}

impl fmt::Display for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            object,
            section,
            keyword,
            value,
        } = self;
        write!(f, "{object} {section}.{keyword}={value}")
    }
}

/// The values that were sent to the daemon last. It may show them later, or never.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Asked(BTreeMap<ObjectPath, BTreeMap<String, String>>);

impl Asked {
    /// The value last sent for `place` (`section.keyword`) of an object.
    pub fn value(&self, object: &ObjectPath, place: &str) -> Option<&str> {
        Some(self.0.get(object)?.get(place)?.as_str())
    }

    /// Notes a write that is being sent.
    pub(super) fn note(&mut self, write: Write) {
        let place = write.place();
        let places = self.0.entry(write.object).or_default();
        places.insert(place, write.value);
    }

    /// Forgets what belongs to objects that are gone.
    pub(super) fn retain(&mut self, exists: impl Fn(&ObjectPath) -> bool) {
        self.0.retain(|path, _| exists(path));
    }
}
