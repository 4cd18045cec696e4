//! PURE: a name or word that many things have: one that is common is there once. What it stands
//! for is the business of whoever has it.

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, LazyLock};

use serde::{Serialize, Serializer};

use super::drivers;

/// A name. A copy of it shares it.
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Name(Arc<str>);

impl Default for Name {
    fn default() -> Self {
        "".into()
    }
}

impl From<&str> for Name {
    fn from(name: &str) -> Self {
        let found = COMMON.binary_search_by_key(&by_length(name), |common| by_length(common));
        let common = found.ok().and_then(|place| COMMON.get(place));
        Self(common.map_or_else(|| name.into(), Arc::clone))
    }
}

impl From<String> for Name {
    fn from(name: String) -> Self {
        name.as_str().into()
    }
}

/// The name is shared as it is.
impl From<&Arc<str>> for Name {
    fn from(name: &Arc<str>) -> Self {
        Self(Arc::clone(name))
    }
}

impl Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        self
    }
}

impl PartialEq<str> for Name {
    fn eq(&self, other: &str) -> bool {
        **self == *other
    }
}

impl PartialEq<&str> for Name {
    fn eq(&self, other: &&str) -> bool {
        *self == **other
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self)
    }
}

/// The names that are common. Most others are found to be none of them by their length.
static COMMON: LazyLock<Vec<Arc<str>>> = LazyLock::new(|| {
    let sections = drivers::SECTIONS.iter();
    let keywords = sections.flat_map(|section| section.keywords);
    let keywords = keywords.map(|(keyword, _)| *keyword);
    let mut all: Vec<&str> = keywords.chain(COMMON_BESIDE).collect();
    all.sort_by_key(|name| by_length(name));
    all.dedup();
    all.into_iter().map(Arc::from).collect()
});

fn by_length(name: &str) -> (usize, &str) {
    (name.len(), name)
}

/// Names and words that nearly every service has, beside the keywords of drivers.
const COMMON_BESIDE: [&str; 55] = [
    "",
    "DEFAULT",
    "certificate#0",
    "env",
    "expose",
    "expose#0",
    "expose#1",
    "id",
    "ip#0",
    "ip#1",
    "ipaddr",
    "ipdev",
    "ipname",
    "netmask",
    "nodes",
    "orchestrate",
    "route#0",
    "route#1",
    "route#2",
    "route#3",
    "topology",
    "type",
    "vhost#0",
    "vhost#1",
    "alias",
    "certificate.tls",
    "container.docker",
    "container.podman",
    "down",
    "expose.envoy",
    "hashpolicy.envoy",
    "idle",
    "ip.cni",
    "ip.netns",
    "n/a",
    "route.envoy",
    "stdby down",
    "stdby up",
    "undef",
    "up",
    "vhost.envoy",
    "ip",
    "disk",
    "fs",
    "volume",
    "task",
    "warn",
    "stopping",
    "starting",
    "ip.host",
    "ip.docker",
    "fs.flag",
    "container",
    "hashpolicy#0",
    "certificate",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_common_is_there_once_and_others_are_what_they_were() {
        for (name, once) in [("", true), ("ip#1", true), ("port", true), ("ip#1x", false)] {
            let (one, other) = (Name::from(name), Name::from(name.to_owned()));
            assert_eq!((&one, one.as_ref()), (&other, name));
            assert_eq!(Arc::ptr_eq(&one.0, &other.0), once, "{name}");
        }
    }
}
