//! The state-of-the-world variant of the protocol, over a [`Session`]: a request repeats all its
//! names, and a response of clusters or listeners is all that the client is to have.
//!
//! A response of the other types tells what changed and no more, as Envoy reads it so. What goes
//! when, and what a refusal leaves, is the session's business.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::answer::Blame;
use super::encode::absent_endpoints;
use super::session::{self, Refused, Session};
use super::subscription::{NAMES_MAX, WILDCARD};
use super::{Resource, ResourceType, Version};

/// A state-of-the-world request, without its transport.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Request {
    /// The nonce of the response that this answers; empty for none.
    pub nonce: String,
    /// The client's words if it refuses that response.
    pub error: Option<String>,
    /// All the names that it wants; none at first means every resource.
    pub names: Vec<String>,
}

/// A state-of-the-world response, without its transport.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Response {
    /// The resource type.
    pub kind: ResourceType,
    /// What the client's answer will repeat.
    pub nonce: String,
    /// Tells this response from others of the type. What a client tells of it on its next stream
    /// is not believed: after a refusal it would be wrong.
    pub version: Version,
    /// The resources.
    pub resources: Vec<Arc<Resource>>,
}

/// What a state-of-the-world stream was told, by type.
#[derive(Debug, Default)]
pub struct Whole {
    types: BTreeMap<ResourceType, Told>,
}

type Resources = BTreeMap<Arc<str>, Arc<Resource>>;

#[derive(Debug, Default)]
struct Told {
    opened: bool,
    names: BTreeSet<String>,
    /// What the client has, if it is told whole states; `None` before it has taken one.
    held: Option<Resources>,
    /// What it is to have when it takes the response with that nonce, and the names that are new
    /// or changed in it.
    sent: Option<(String, Resources, BTreeSet<Arc<str>>)>,
}

impl Whole {
    /// Takes a request to the session; returns the resources that it refuses, where known.
    pub fn handle_request(
        &mut self,
        session: &mut Session,
        now: Duration,
        kind: ResourceType,
        request: Request,
    ) -> Vec<Refused> {
        let told = self.types.entry(kind).or_default();
        let blame = told.answered(kind, &request);
        let (subscribe, unsubscribe) = told.renamed(request.names);
        let request = session::Request {
            kind,
            nonce: request.nonce,
            error: request.error,
            subscribe,
            unsubscribe,
            initial: BTreeMap::new(),
        };
        session.handle_blaming(now, request, &blame)
    }

    /// The whole state that a session's response leads to.
    pub fn respond(&mut self, response: session::Response) -> Response {
        let session::Response {
            kind,
            nonce,
            resources,
            removed,
        } = response;
        let resources = resources.into_iter().map(|(resource, _)| resource);
        if !kind.is_told_whole() {
            let gone = removed.iter().map(|name| Arc::new(absent_endpoints(name)));
            return Response::new(kind, nonce, resources.chain(gone).collect());
        }
        let told = self.types.entry(kind).or_default();
        let mut all = told.held.clone().unwrap_or_default();
        for name in &removed {
            all.remove(name.as_str());
        }
        let mut changed = BTreeSet::new();
        for resource in resources {
            changed.insert(resource.name.clone());
            all.insert(resource.name.clone(), resource);
        }
        let response = Response::new(kind, nonce, all.values().cloned().collect());
        told.sent = Some((response.nonce.clone(), all, changed));
        response
    }
}

impl Response {
    fn new(kind: ResourceType, nonce: String, resources: Vec<Arc<Resource>>) -> Self {
        let content = resources.iter().map(|one| (&one.name, one.version));
        let version = Version::of(&(&nonce, content.collect::<Vec<_>>()));
        Self {
            kind,
            nonce,
            version,
            resources,
        }
    }
}

impl Told {
    /// What becomes of the whole state that was sent, and what is to be blamed if it is refused.
    fn answered(&mut self, kind: ResourceType, request: &Request) -> Blame {
        let answers = |sent: &mut (String, Resources, BTreeSet<Arc<str>>)| sent.0 == request.nonce;
        let Some((_, mut all, changed)) = self.sent.take_if(answers) else {
            return Blame::Any;
        };
        let Some(message) = &request.error else {
            self.held = Some(all);
            return Blame::Any;
        };
        let names = all.keys().filter(|name| names_it(kind, message, name));
        let guilty: BTreeSet<Arc<str>> = names.cloned().collect();
        if guilty.is_empty() {
            // Alone beside what it has, each can be tried; without that, all would be removed.
            return match self.held.is_some() {
                true => Blame::Any,
                false => Blame::All,
            };
        }
        // From an earlier stream the client may have a good one of the name, which it keeps as long
        // as the name is in what it is sent.
        for name in self.held.is_some().then_some(&guilty).into_iter().flatten() {
            match self.held.as_ref().and_then(|held| held.get(name)) {
                Some(before) => drop(all.insert(name.clone(), Arc::clone(before))),
                None => drop(all.remove(name)),
            }
        }
        self.held = Some(all);
        // What did not change is refused again, which is known.
        let guilty = guilty.intersection(&changed);
        Blame::These(guilty.map(ToString::to_string).collect())
    }

    /// The names that come and go by a request's whole list.
    fn renamed(&mut self, names: Vec<String>) -> (Vec<String>, Vec<String>) {
        let first = !std::mem::replace(&mut self.opened, true);
        let mut names: BTreeSet<String> = names.into_iter().take(NAMES_MAX).collect();
        if names.is_empty() && (first || self.names.contains(WILDCARD)) {
            names.insert(WILDCARD.to_owned());
        }
        let come = names.difference(&self.names).cloned().collect();
        let gone: Vec<String> = self.names.difference(&names).cloned().collect();
        if let Some(held) = &mut self.held
            && !names.contains(WILDCARD)
        {
            held.retain(|name, _| names.contains(name.as_ref()));
        }
        self.names = names;
        (come, gone)
    }
}

/// Whether Envoy's refusal names the resource, as it does for clusters and listeners:
/// `Error adding/updating listener(s) NAME: why`, several apart by commas or line ends.
fn names_it(kind: ResourceType, message: &str, name: &str) -> bool {
    let start = match kind {
        ResourceType::Cluster => "Error adding/updating cluster(s) ",
        ResourceType::Listener => "Error adding/updating listener(s) ",
        _ => return false,
    };
    let Some(at) = message.find(start) else {
        return false;
    };
    let text = message.get(at + start.len()..).unwrap_or_default();
    text.match_indices(name).any(|(at, _)| {
        let before = text.get(..at).unwrap_or_default();
        let after = text.get(at + name.len()..).unwrap_or_default();
        let starts = before.is_empty() || before.ends_with(", ") || before.ends_with('\n');
        starts && after.starts_with(": ")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_what_it_is_about_and_no_part_of_it() {
        let message = "Error adding/updating listener(s) 0.0.0.0:443/tcp: no\n[::]:80/tcp: why\n";
        let named = |name| names_it(ResourceType::Listener, message, name);
        assert!(named("0.0.0.0:443/tcp") && named("[::]:80/tcp"));
        assert!(!named(":443/tcp") && !named("0.0.0.0:443") && !named("no"));
        assert!(!names_it(ResourceType::Route, message, "0.0.0.0:443/tcp"));
    }
}
