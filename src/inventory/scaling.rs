//! PURE: services that are becoming scalers. The daemon takes the sections out of the service a
//! moment before its slaves have them; until one of them works, what the service was stands.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::{Object, ObjectPath};

/// The services that have become scalers and what they were before.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub(super) struct Scaling(BTreeMap<ObjectPath, Before>);

#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
struct Before {
    object: Object,
    /// When [`Scaling::expire`] first saw it.
    since: Option<Duration>,
}

impl Scaling {
    /// Notes that `now` takes the place of `before`, if that is a service becoming a scaler, and
    /// fills the sections in that it has lost.
    pub(super) fn overlay(&mut self, before: Option<&Arc<Object>>, now: &mut Arc<Object>) {
        if !is_scaler(now) {
            self.0.remove(&now.path);
            return;
        }
        if let Some(before) = before.filter(|before| !is_scaler(before) && has_sections(before)) {
            let object = Object::clone(before);
            let since = None;
            self.0.insert(now.path.clone(), Before { object, since });
        }
        let Some(Before { object, .. }) = self.0.get(&now.path) else {
            return;
        };
        for (node, instance) in Arc::make_mut(now).instances.iter_mut() {
            let before = object.instances.get(node);
            if let Some(before) = before.filter(|_| instance.resources.is_empty()) {
                instance.resources.clone_from(&before.resources);
            }
        }
    }

    /// The scaler that `slave` relieves, if that slave works and the scaler is waiting for one.
    pub(super) fn relieved(&mut self, slave: &Object) -> Option<ObjectPath> {
        let (_, scaler) = slave.path.scaler().filter(|_| slave.slave)?;
        let works = slave.instances.values().any(super::Instance::is_up);
        (works && self.0.remove(&scaler).is_some()).then_some(scaler)
    }

    /// The scalers that no slave has relieved in time. A scaler counts from the first call on
    /// that finds it.
    pub(super) fn expire(&mut self, now: Duration) -> BTreeSet<ObjectPath> {
        let mut over = BTreeSet::new();
        self.0.retain(|path, before| {
            let since = *before.since.get_or_insert(now);
            let stays = now < since + SLAVE_MAX;
            if !stays {
                over.insert(path.clone());
            }
            stays
        });
        over
    }

    /// When [`Scaling::expire`] has something to do.
    pub(super) fn next_expiry(&self) -> Option<Duration> {
        let since = self.0.values().filter_map(|before| before.since);
        since.map(|since| since + SLAVE_MAX).min()
    }

    /// Forgets an object that is gone.
    pub(super) fn forget(&mut self, path: &ObjectPath) {
        self.0.remove(path);
    }
}

fn is_scaler(object: &Object) -> bool {
    object.instances.values().any(|instance| instance.scaler)
}

fn has_sections(object: &Object) -> bool {
    let mut instances = object.instances.values();
    instances.any(|instance| !instance.resources.is_empty())
}

/// How long slaves may take to come up before the service counts as gone.
const SLAVE_MAX: Duration = Duration::from_secs(60);
