//! What the daemon is asked to change, and what it was asked already. Who wants it and when it is
//! sent are decided elsewhere.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::{ObjectPath, Sensitive};

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

/// Something that the daemon is asked to change. Prints without the value of a key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Change {
    /// A keyword.
    Keyword(Write),
    /// A key of a `sec` or `cfg` object.
    Key {
        /// The object.
        object: ObjectPath,
        /// The key's name.
        key: String,
        /// What it should hold.
        value: Sensitive,
    },
    /// An object that should exist.
    Create(ObjectPath),
}

/// What a [`Change`] changes: without the value of a key.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum Target {
    /// A keyword, and its value, which is no secret.
    Keyword(Write),
    /// A key of a `sec` or `cfg` object.
    Key {
        /// The object.
        object: ObjectPath,
        /// The key's name.
        key: String,
    },
    /// An object that should exist.
    Create {
        /// Its path.
        object: ObjectPath,
    },
}

impl Change {
    /// The object that is changed.
    pub fn object(&self) -> &ObjectPath {
        match self {
            Self::Keyword(write) => &write.object,
            Self::Key { object, .. } | Self::Create(object) => object,
        }
    }

    /// What is changed.
    pub fn target(&self) -> Target {
        match self.clone() {
            Self::Keyword(write) => Target::Keyword(write),
            Self::Key { object, key, .. } => Target::Key { object, key },
            Self::Create(object) => Target::Create { object },
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keyword(write) => write.fmt(f),
            Self::Key { object, key } => write!(f, "{object} key {}", key.escape_debug()),
            Self::Create { object } => write!(f, "{object}"),
        }
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
