//! What is known of a client's copy of a resource, in little room: a client has thousands, and
//! there are hundreds of clients.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::{Resource, Version};

/// What is known of the client's copy of a resource.
#[derive(Debug)]
pub(super) enum Held {
    /// It acknowledged this as it is, at that time, and serves with it: so it mostly is.
    Taken(Arc<Resource>, Duration),
    /// It told this version of an earlier stream, and may have more than that.
    Earlier(Version),
    /// Anything else.
    Other(Box<Known>),
}

/// What is known of a copy of which more has to be told.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// The version; `None` after a refusal left it open what was applied.
    version: Option<Told>,
    /// What it acknowledged last, also where a refusal came behind, and when; `None` for the time
    /// of what the client told of an earlier stream.
    acked: Option<(Told, Option<Duration>)>,
    /// What was sent under the version that it acknowledged last; `None` where another session
    /// sent it.
    copy: Option<Arc<Resource>>,
    /// Whether it is certain that there is a copy, whichever it is.
    serves: bool,
    /// The clusters that it may send traffic to beside those of the copy, where a response was
    /// refused of which it may have been applied.
    beside: Box<[String]>,
    /// Whether these are all: another session may have sent what it has.
    is_known: bool,
}

impl Known {
    fn earlier(version: Told) -> Self {
        Self {
            version: Some(version.clone()),
            acked: Some((version, None)),
            serves: true,
            ..Self::default()
        }
    }
}

impl Default for Held {
    fn default() -> Self {
        Self::Other(Box::default())
    }
}

impl Held {
    /// What a client acknowledged under a version. It `serves` with it unless it may be taken away
    /// again.
    pub(super) fn taken(
        resource: &Arc<Resource>,
        version: Version,
        now: Duration,
        serves: bool,
    ) -> Self {
        let copy = Arc::clone(resource);
        if serves && version == resource.version {
            return Self::Taken(copy, now);
        }
        Self::Other(Box::new(Known {
            version: Some(Told::Ours(version)),
            acked: Some((Told::Ours(version), Some(now))),
            copy: Some(copy),
            serves,
            beside: Box::default(),
            is_known: true,
        }))
    }

    /// What a client says that it has from an earlier stream.
    pub(super) fn earlier(version: &str) -> Self {
        match Told::from(version) {
            Told::Ours(version) => Self::Earlier(version),
            version @ Told::Other(_) => Self::Other(Box::new(Known::earlier(version))),
        }
    }

    /// A client had nothing before it refused a response of which this may have been applied.
    pub(super) fn refused() -> Self {
        Self::Other(Box::new(Known {
            is_known: true,
            ..Known::default()
        }))
    }

    /// Whether a refusal left it open what was applied.
    pub(super) fn is_doubtful(&self) -> bool {
        match self {
            Self::Taken(..) | Self::Earlier(_) => false,
            Self::Other(known) => known.version.is_none(),
        }
    }

    /// What it acknowledged last, also where a refusal came behind, and when; `None` for the time
    /// of what the client told of an earlier stream.
    pub(super) fn acked(&self) -> Option<(Told, Option<Duration>)> {
        match self {
            Self::Taken(copy, at) => Some((Told::Ours(copy.version), Some(*at))),
            Self::Earlier(version) => Some((Told::Ours(*version), None)),
            Self::Other(known) => known.acked.clone(),
        }
    }

    /// What was sent under the version that it acknowledged last; `None` where another session
    /// sent it.
    pub(super) fn copy(&self) -> Option<&Arc<Resource>> {
        match self {
            Self::Taken(copy, _) => Some(copy),
            Self::Earlier(_) => None,
            Self::Other(known) => known.copy.as_ref(),
        }
    }

    /// Whether it is certain that there is a copy, whichever it is.
    pub(super) fn serves(&self) -> bool {
        match self {
            Self::Taken(..) | Self::Earlier(_) => true,
            Self::Other(known) => known.serves,
        }
    }

    /// It is certain that there is a copy, or not any more.
    pub(super) fn set_serves(&mut self, serves: bool) {
        if self.serves() != serves {
            self.change(|known| known.serves = serves);
        }
    }

    /// A refusal left it open what was applied.
    pub(super) fn doubt(&mut self) {
        self.change(|known| known.version = None);
    }

    /// Whether it may send traffic to a cluster; `None` where that is not known.
    pub(super) fn names(&self, cluster: &str) -> Option<bool> {
        let copy = self.copy().into_iter().flat_map(|copy| &copy.clusters);
        let (beside, is_known) = match self {
            Self::Taken(..) => (&[][..], true),
            Self::Earlier(_) => return None,
            Self::Other(known) => (known.beside.as_ref(), known.is_known),
        };
        let mut all = copy.chain(beside);
        is_known.then(|| all.any(|known| known == cluster))
    }

    /// It may have been applied what sends traffic to these.
    pub(super) fn may_name(&mut self, clusters: &[String]) {
        if clusters.is_empty() {
            return;
        }
        self.change(|known| {
            if known.is_known {
                let all: BTreeSet<&String> = known.beside.iter().chain(clusters).collect();
                known.beside = all.into_iter().cloned().collect();
            }
        });
    }

    /// Whether it is this version, as far as is known.
    pub(super) fn is(&self, version: Version) -> bool {
        match self {
            Self::Taken(copy, _) => copy.version == version,
            Self::Earlier(told) => *told == version,
            Self::Other(known) => known.version == Some(Told::Ours(version)),
        }
    }

    fn change(&mut self, change: impl FnOnce(&mut Known)) {
        let mut known = match std::mem::take(self) {
            Self::Taken(copy, at) => Box::new(Known {
                version: Some(Told::Ours(copy.version)),
                acked: Some((Told::Ours(copy.version), Some(at))),
                copy: Some(copy),
                serves: true,
                beside: Box::default(),
                is_known: true,
            }),
            Self::Earlier(version) => Box::new(Known::earlier(Told::Ours(version))),
            Self::Other(known) => known,
        };
        change(&mut known);
        *self = Self::Other(known);
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

    #[test]
    fn what_was_taken_as_it_was_sent_is_known_as_any_other_copy() {
        let mut resource = Resource::new("r", Version::of(&1));
        resource.clusters = ["c".to_owned()].into();
        let resource = Arc::new(resource);
        let (now, sent) = (Duration::from_secs(7), resource.version);
        for (version, serves) in [(sent, true), (sent.in_epoch(1), true), (sent, false)] {
            let mut held = Held::taken(&resource, version, now, serves);
            let told = Some((Told::Ours(version), Some(now)));
            assert_eq!((held.acked(), held.serves()), (told.clone(), serves));
            assert!(held.is(version) && !held.is_doubtful());
            assert_eq!(
                ["c", "d"].map(|it| held.names(it)),
                [Some(true), Some(false)]
            );
            held.doubt();
            held.may_name(&["d".to_owned()]);
            assert_eq!((held.acked(), held.serves()), (told, serves));
            assert!(!held.is(version) && held.is_doubtful() && held.copy().is_some());
            assert_eq!(
                ["c", "d"].map(|it| held.names(it)),
                [Some(true), Some(true)]
            );
        }
    }

    #[test]
    fn of_a_copy_of_an_earlier_stream_its_version_is_known_alone() {
        let version = Version::of(&1);
        for text in [version.to_string(), "other".to_owned()] {
            let mut held = Held::earlier(&text);
            assert!(held.serves() && !held.is_doubtful());
            assert_eq!(held.is(version), text == version.to_string());
            held.may_name(&["c".to_owned()]);
            held.set_serves(false);
            assert!(!held.serves() && held.names("c").is_none() && held.copy().is_none());
            assert_eq!(held.acked(), Some((Told::from(text.as_str()), None)));
        }
    }
}
