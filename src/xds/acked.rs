//! Where what a client has acknowledged is not what is served to it, with the content that it
//! has: a difference between the two can be told, not only that there is one.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::held::Told;
use super::session::Session;
use super::{Resource, ResourceType};

/// A resource that a client has acknowledged otherwise than it is served.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Lag {
    /// Its type.
    pub kind: ResourceType,
    /// Its name.
    pub name: String,
    /// What the client has of it.
    pub copy: Copied,
}

/// What a client has of a resource, as far as it said so.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Copied {
    /// Nothing.
    Nothing,
    /// This.
    Content(Arc<Resource>),
    /// What it was sent by an earlier process or stream, under this version.
    Unknown(String),
}

impl Session {
    /// Every such resource. A stream of one type tells of what is asked for on it alone.
    pub fn lags(&self) -> Vec<Lag> {
        let mut lags = Vec::new();
        let kinds = ResourceType::ALL.into_iter();
        for kind in kinds.filter(|kind| self.only.is_none_or(|only| only == *kind)) {
            let feed = self.feeds.get(&kind);
            let held = feed.into_iter().flat_map(|feed| feed.held.keys());
            let served = self.snapshot.all(kind).map(|resource| &resource.name);
            // Of one type a client may have a stream for each name.
            let asked = |name: &&Arc<str>| {
                self.only.is_none() || feed.is_some_and(|it| it.subscription.matches(name))
            };
            let served = served.filter(asked);
            let names: BTreeSet<&Arc<str>> = served.chain(held).collect();
            lags.extend(names.into_iter().filter_map(|name| self.lag(kind, name)));
        }
        lags
    }

    fn lag(&self, kind: ResourceType, name: &str) -> Option<Lag> {
        let feed = self.feeds.get(&kind);
        let served = self.snapshot.get(kind, name);
        let held = feed.and_then(|feed| feed.held.get(name));
        let acked = held.and_then(|held| Some((held, held.acked()?.0)));
        let copy = match (acked, served) {
            (None, None) => return None,
            (None, Some(_)) => Copied::Nothing,
            (Some((held, version)), served) => {
                let wanted = served.zip(feed).map(|(one, feed)| feed.version(one));
                if wanted.is_some_and(|wanted| version == Told::Ours(wanted)) {
                    return None;
                }
                match held.copy() {
                    // The answer to who asks for what there is nothing of.
                    Some(copy) if served.is_none() && copy.origins.is_empty() => return None,
                    Some(copy) => Copied::Content(Arc::clone(copy)),
                    None => Copied::Unknown(version.to_string()),
                }
            }
        };
        Some(Lag {
            kind,
            name: name.to_owned(),
            copy,
        })
    }
}
