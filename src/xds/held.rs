//! What is known of a client's copy of a resource, in little room: a client has thousands, and
//! there are hundreds of clients.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::{Resource, Version};

/// What is known of the client's copy of a resource.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// The version; `None` after a refusal left it open what was applied.
    pub(super) version: Option<Told>,
    /// What it acknowledged last, also where a refusal came behind, and when; `None` for the time
    /// of what the client told of an earlier stream.
    pub(super) acked: Option<(Told, Option<Duration>)>,
    /// What was sent under the version that it acknowledged last; `None` where another session
    /// sent it.
    pub(super) copy: Option<Arc<Resource>>,
    /// Whether it is certain that there is a copy, whichever it is.
    pub(super) serves: bool,
    /// The clusters that it may send traffic to beside those of the copy, where a response was
    /// refused of which it may have been applied.
    pub(super) beside: Box<[String]>,
    /// Whether these are all: another session may have sent what it has.
    pub(super) is_known: bool,
}

impl Held {
    /// What a client says that it has from an earlier stream.
    pub(super) fn earlier(version: &str) -> Self {
        let version = Told::from(version);
        Self {
            version: Some(version.clone()),
            acked: Some((version, None)),
            serves: true,
            ..Self::default()
        }
    }

    /// Whether it may send traffic to a cluster; `None` where that is not known.
    pub(super) fn names(&self, cluster: &str) -> Option<bool> {
        let copy = self.copy.iter().flat_map(|copy| &copy.clusters);
        let mut all = copy.chain(&self.beside);
        self.is_known.then(|| all.any(|known| known == cluster))
    }

    /// It may have been applied what sends traffic to these.
    pub(super) fn may_name(&mut self, clusters: &[String]) {
        if self.is_known && !clusters.is_empty() {
            let all: BTreeSet<&String> = self.beside.iter().chain(clusters).collect();
            self.beside = all.into_iter().cloned().collect();
        }
    }

    /// Whether it is this version, as far as is known.
    pub(super) fn is(&self, version: Version) -> bool {
        self.version == Some(Told::Ours(version))
    }
}

/// A version as a client tells it, which may be anything.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Told {
    /// One that we may have given it.
    Ours(Version),
    /// Another text. It is rare, and so in a place of its own.
    Other(Box<Other>),
}

/// A version that is none of ours.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Other(String);

impl From<&str> for Told {
    fn from(text: &str) -> Self {
        Version::read(text)
            .map_or_else(|| Self::Other(Box::new(Other(text.to_owned()))), Self::Ours)
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ours(version) => fmt::Display::fmt(version, f),
            Self::Other(other) => f.write_str(&other.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_tells_is_what_it_told() {
        let ours = Version::of(&"x").to_string();
        assert_eq!(Told::from(ours.as_str()), Told::Ours(Version::of(&"x")));
        for text in [
            ours.as_str(),
            "0000000000000",
            "fvvvvvvvvvvvv",
            "gvvvvvvvvvvvv",
            "FVVVVVVVVVVVV",
            "fvvvvvvvvvvv",
            "fvvvvvvvvvvvvv",
            "1",
            "",
            "+000000000000",
            "ffffffffffffw",
            "é00000000000",
        ] {
            assert_eq!(Told::from(text).to_string(), text);
        }
    }
}
