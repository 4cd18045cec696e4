//! The client's side of the stream: subscriptions, versions and answers, by type.

use std::collections::{BTreeMap, BTreeSet};

use osvc_igw::xds::ResourceType;
use osvc_igw::xds::session::{Request, Response};

/// What the stream's end at the client knows.
#[derive(Debug, Default)]
pub(super) struct Mux {
    connected: bool,
    types: BTreeMap<ResourceType, Type>,
}

#[derive(Debug, Default)]
struct Type {
    /// Whether this stream carried a request of the type.
    opened: bool,
    /// The names that the server was told of.
    subscribed: BTreeSet<String>,
    /// What is told on the next stream. Nothing of a refused response is in here, whatever of it
    /// was applied.
    versions: BTreeMap<String, String>,
    /// Answers that are not sent yet.
    answers: Vec<(String, Option<String>)>,
}

impl Mux {
    pub(super) fn disconnect(&mut self) {
        self.connected = false;
        for one in self.types.values_mut() {
            one.opened = false;
            one.answers.clear();
        }
    }

    pub(super) fn connect(&mut self) {
        self.connected = true;
    }

    /// Records the versions of a response that was taken, and its answer.
    pub(super) fn processed(&mut self, response: &Response, error: Option<String>) {
        let one = self.types.entry(response.kind).or_default();
        if error.is_none() {
            for (resource, version) in &response.resources {
                let version = version.to_string();
                one.versions.insert(resource.name.to_string(), version);
            }
            for name in &response.removed {
                one.versions.remove(name);
            }
        }
        one.answers.push((response.nonce.clone(), error));
    }

    /// What is to be sent now. While a cluster warms, nothing is said about clusters.
    pub(super) fn flush(
        &mut self,
        warms: bool,
        wanted: [(ResourceType, BTreeSet<String>); 6],
    ) -> Vec<Request> {
        let mut plain = Vec::new();
        let mut answers = Vec::new();
        for (kind, names) in wanted {
            let one = self.types.entry(kind).or_default();
            let wildcard = [ResourceType::Cluster, ResourceType::Listener].contains(&kind);
            if !self.connected {
                if !wildcard {
                    one.versions.retain(|name, _| names.contains(name));
                    one.subscribed = names;
                }
                continue;
            }
            if kind == ResourceType::Cluster && warms {
                continue;
            }
            let mut request = request(kind);
            if wildcard {
                if !one.opened {
                    request.initial.clone_from(&one.versions);
                }
            } else {
                let before = if one.opened {
                    one.subscribed.clone()
                } else {
                    BTreeSet::new()
                };
                request.subscribe = names.difference(&before).cloned().collect();
                request.unsubscribe = before.difference(&names).cloned().collect();
                one.versions.retain(|name, _| names.contains(name));
                one.subscribed = names;
                if !one.opened {
                    request.initial.clone_from(&one.versions);
                }
            }
            let changes = !request.subscribe.is_empty() || !request.unsubscribe.is_empty();
            if changes || (wildcard && !one.opened) {
                one.opened = true;
                plain.push(request);
            }
            for (nonce, error) in one.answers.drain(..) {
                answers.push(Request {
                    nonce,
                    error,
                    ..self::request(kind)
                });
            }
        }
        plain.extend(answers);
        plain
    }
}

fn request(kind: ResourceType) -> Request {
    Request {
        kind,
        nonce: String::new(),
        error: None,
        subscribe: Vec::new(),
        unsubscribe: Vec::new(),
        initial: BTreeMap::new(),
    }
}
