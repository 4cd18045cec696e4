//! Names of OpenSVC things: object paths, kinds and resource ids.
//! Nothing here knows what an object contains.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The kind of an OpenSVC object, the middle part of its path.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A service.
    Svc,
    /// A volume.
    Vol,
    /// A configuration map.
    Cfg,
    /// A secret.
    Sec,
    /// A user or service account.
    Usr,
    /// A cluster-wide configuration (`cluster`).
    Ccfg,
    /// A node configuration.
    Nscfg,
}

impl Kind {
    const ALL: [Self; 7] = [
        Self::Svc,
        Self::Vol,
        Self::Cfg,
        Self::Sec,
        Self::Usr,
        Self::Ccfg,
        Self::Nscfg,
    ];

    /// The word that stands in a path.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Svc => "svc",
            Self::Vol => "vol",
            Self::Cfg => "cfg",
            Self::Sec => "sec",
            Self::Usr => "usr",
            Self::Ccfg => "ccfg",
            Self::Nscfg => "nscfg",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

/// The path of an OpenSVC object: `namespace/kind/name`.
///
/// Displays as the daemon spells it: a service of the root namespace is its bare name, another
/// object of the root namespace is `kind/name`, and the cluster configuration is `cluster`.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct ObjectPath {
    namespace: Arc<str>,
    kind: Kind,
    name: Arc<str>,
}

impl ObjectPath {
    /// Builds a path from its three parts; `namespace` is `root` for the root namespace.
    pub fn new(namespace: &str, kind: Kind, name: &str) -> Self {
        Self {
            namespace: namespace.into(),
            kind,
            name: name.into(),
        }
    }

    /// The namespace; `root` where the path names none.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Whether it is in the root namespace, whose services are called by their names alone.
    pub fn is_in_root(&self) -> bool {
        &*self.namespace == ROOT
    }

    /// The kind.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The last part of the path.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The object called `name`, of another kind, in this object's namespace.
    pub fn sibling(&self, kind: Kind, name: &str) -> Self {
        Self::new(&self.namespace, kind, name)
    }

    /// Resolves `word`, a bare name or a full path, as seen from this object.
    ///
    /// The daemon lists a scaler's slaves by bare name even inside a namespace.
    pub fn resolve(&self, kind: Kind, word: &str) -> Option<Self> {
        if word.contains('/') {
            return word.parse().ok();
        }
        is_name(word).then(|| self.sibling(kind, word))
    }

    /// The scaler that owns this slave, and the slave's number: `2.web1` belongs to `web1`.
    ///
    /// `None` where the name has no leading number.
    pub fn scaler(&self) -> Option<(u32, Self)> {
        let (number, name) = self.name.split_once('.')?;
        let number = number.parse().ok()?;
        is_name(name).then(|| (number, self.sibling(self.kind, name)))
    }
}

impl FromStr for ObjectPath {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        let error = || PathError(text.chars().take(SHOWN_CHARS).collect());
        let parts: Vec<&str> = text.split('/').collect();
        let (namespace, kind, name) = match parts[..] {
            ["cluster"] => (ROOT, Kind::Ccfg, "cluster"),
            [name] => (ROOT, Kind::Svc, name),
            [kind, name] => (ROOT, Kind::parse(kind).ok_or_else(error)?, name),
            [namespace, kind, name] => (namespace, Kind::parse(kind).ok_or_else(error)?, name),
            _ => return Err(error()),
        };
        if !is_name(namespace) || !is_name(name) {
            return Err(error());
        }
        Ok(Self::new(namespace, kind, name))
    }
}

impl TryFrom<String> for ObjectPath {
    type Error = PathError;

    fn try_from(text: String) -> Result<Self, PathError> {
        text.parse()
    }
}

impl From<ObjectPath> for String {
    fn from(path: ObjectPath) -> Self {
        path.to_string()
    }
}

impl fmt::Display for ObjectPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&*self.namespace, self.kind) {
            (ROOT, Kind::Svc | Kind::Ccfg) => f.write_str(&self.name),
            (ROOT, kind) => write!(f, "{}/{}", kind.as_str(), self.name),
            (namespace, kind) => write!(f, "{namespace}/{}/{}", kind.as_str(), self.name),
        }
    }
}

/// A text that is no object path.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0:?} is not an OpenSVC object path")]
pub struct PathError(String);

/// Names hold what a file name can hold; the daemon itself is stricter.
fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= NAME_BYTES_MAX
        && text
            .chars()
            .all(|c| !c.is_control() && !c.is_whitespace() && c != '/')
}

const ROOT: &str = "root";
/// The longest file name of the usual file systems.
const NAME_BYTES_MAX: usize = 255;
/// How much of a bad path an error repeats.
const SHOWN_CHARS: usize = 80;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_display_as_the_daemon_spells_them() {
        for text in [
            "web1",
            "test/svc/web1",
            "sec/cert",
            "system/sec/ca",
            "cluster",
        ] {
            assert_eq!(text.parse::<ObjectPath>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn malformed_paths_are_refused() {
        for text in [
            "",
            "a/b/c",
            "a/svc/b/c",
            "a/svc/",
            "/svc/a",
            "a b",
            "x/svc/\n",
        ] {
            assert!(text.parse::<ObjectPath>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_slave_belongs_to_the_scaler_after_its_number() {
        let slave: ObjectPath = "test/svc/2.web1".parse().unwrap();
        let (number, scaler) = slave.scaler().unwrap();
        assert_eq!((number, scaler.to_string().as_str()), (2, "test/svc/web1"));
        assert!(
            "test/svc/web1.a"
                .parse::<ObjectPath>()
                .unwrap()
                .scaler()
                .is_none()
        );
    }
}
