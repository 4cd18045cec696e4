//! What is encoded, following a gateway as it changes: a change costs what it changes, and comes
//! to the same as to encode everything again.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::checked::Checked;
use super::data::{Settled, settle};
use super::encode::Writer;
use super::layout::Layouts;
use super::{ResourceType, Snapshot, scope};
use crate::gateway::Gateway;
use crate::inventory::Problem;

/// Encodes everything; what is unchanged since `previous` is shared with it.
///
/// What Envoy would refuse is left out, and each such thing is a problem.
pub fn encode(gateway: &Gateway, previous: &Snapshot) -> (Snapshot, Vec<Problem>) {
    let mut encoding = Encoding {
        gateway: gateway.clone(),
        snapshot: Arc::new(previous.clone()),
        ..Encoding::default()
    };
    encoding.all();
    let problems = encoding.problems().cloned().collect();
    (Arc::unwrap_or_clone(encoding.snapshot), problems)
}

/// The gateway that was encoded last, and what it came to.
#[derive(Debug, Default)]
pub struct Encoding {
    gateway: Gateway,
    snapshot: Arc<Snapshot>,
    /// What the services' own JSON lacks; while it does, everything is encoded again.
    settled: Vec<Problem>,
    lacks: bool,
    checked: Checked,
    layouts: Layouts,
    /// What was left out of each resource, where something was.
    refused: BTreeMap<(ResourceType, String), Vec<Problem>>,
}

impl Encoding {
    /// Nothing yet. A route configuration of more virtual hosts than this is laid out in scopes
    /// ([`crate::gateway::Policy::scoped_routes_above`]).
    pub fn with_scopes_above(hosts_max: usize) -> Self {
        Self {
            layouts: Layouts::above(hosts_max),
            ..Self::default()
        }
    }

    /// Encodes what is other in the gateway than in the one before. Returns whether the problems
    /// may be others.
    pub fn follow(&mut self, gateway: &Gateway) -> bool {
        let changes = changes(&self.gateway, gateway);
        if changes.is_empty() {
            return false;
        }
        let before = std::mem::replace(&mut self.gateway, gateway.clone());
        let given = |(kind, name): &(ResourceType, String)| {
            is_given(&before, *kind, name) || is_given(gateway, *kind, name)
        };
        if self.lacks || changes.iter().any(given) {
            self.all();
            return true;
        }
        let mut work = Vec::new();
        for (kind, name) in changes {
            match kind {
                ResourceType::Route => work.extend(self.layouts.follow(&before, gateway, &name)),
                _ => work.push((kind, name)),
            }
        }
        let previous = Arc::clone(&self.snapshot);
        let mut snapshot = Snapshot::clone(&previous);
        let mut names = Vec::with_capacity(work.len());
        let mut writer = Writer {
            gateway,
            layouts: &self.layouts,
            verdicts: &previous.verdicts,
            previous: &previous,
            checked: &mut self.checked,
        };
        let mut told = false;
        for (kind, name) in work {
            let written = writer.write(kind, &name);
            match written.resource {
                Some(resource) => snapshot.insert(kind, resource),
                None => snapshot.remove(kind, &name),
            }
            told |= !written.problems.is_empty();
            let place = (kind, name);
            let known = match written.problems.is_empty() {
                true => self.refused.remove(&place),
                false => self.refused.insert(place.clone(), written.problems),
            };
            told |= known.is_some();
            names.push(place);
        }
        self.snapshot = Arc::new(snapshot.after(&previous, names));
        told
    }

    fn all(&mut self) {
        let previous = std::mem::take(&mut self.snapshot);
        let Settled {
            gateway,
            verdicts,
            problems,
            lacks,
        } = settle(&self.gateway, &previous.verdicts);
        self.layouts.settle(&gateway, |name| {
            let first = scope::name(name, 0);
            previous.get(ResourceType::Scope, &first).is_some()
        });
        let mut snapshot = Snapshot::default();
        let mut writer = Writer {
            gateway: &gateway,
            layouts: &self.layouts,
            verdicts: &verdicts,
            previous: &previous,
            checked: &mut self.checked,
        };
        self.refused.clear();
        for (kind, name) in self.layouts.names(&gateway) {
            let written = writer.write(kind, &name);
            if let Some(resource) = written.resource {
                snapshot.insert(kind, resource);
            }
            if !written.problems.is_empty() {
                self.refused.insert((kind, name), written.problems);
            }
        }
        snapshot.verdicts = verdicts.clone();
        self.snapshot = Arc::new(snapshot);
        (self.settled, self.lacks) = (problems, lacks);
    }

    /// What the gateway came to.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// The same, to be shared. What is other in it than in the one before it is known where that
    /// is little.
    pub fn share(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshot)
    }

    /// What Envoy would refuse, and is left out.
    pub fn problems(&self) -> impl Iterator<Item = &Problem> {
        self.settled.iter().chain(self.refused.values().flatten())
    }
}

/// What is other in a gateway than in the one before.
fn changes(before: &Gateway, gateway: &Gateway) -> Vec<(ResourceType, String)> {
    let of = |kind, names: &mut dyn Iterator<Item = &str>| -> Vec<(ResourceType, String)> {
        names.map(|name| (kind, name.to_owned())).collect()
    };
    let (b, g) = (before, gateway);
    let mut all = of(ResourceType::Cluster, &mut g.clusters.changes(&b.clusters));
    all.extend(of(
        ResourceType::Endpoint,
        &mut g.endpoints.changes(&b.endpoints),
    ));
    all.extend(of(ResourceType::Secret, &mut g.secrets.changes(&b.secrets)));
    all.extend(of(
        ResourceType::Listener,
        &mut g.listeners.changes(&b.listeners),
    ));
    all.extend(of(ResourceType::Route, &mut g.routes.changes(&b.routes)));
    all
}

/// Whether a service's own JSON is in it.
fn is_given(gateway: &Gateway, kind: ResourceType, name: &str) -> bool {
    match kind {
        ResourceType::Cluster => {
            let cluster = gateway.clusters.get(name);
            cluster.is_some_and(|cluster| cluster.data.is_some())
        }
        ResourceType::Listener => {
            let listener = gateway.listeners.get(name);
            listener.is_some_and(|it| it.chains.iter().any(|chain| chain.data.is_some()))
        }
        _ => false,
    }
}
