//! PURE: an object as the nodes report it: its instances, and their resources.

use std::sync::Arc;

use serde::{Serialize, Serializer};

use super::{Name, ObjectPath, Table, Values};

/// An object and its instances.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Object {
    /// The object's path.
    pub path: ObjectPath,
    /// Changes whenever the object's configuration changes on any node (the daemon's checksums).
    pub revision: Name,
    /// Whether the daemon marks the object as a slave of a scaler.
    pub slave: bool,
    /// The instances, by node.
    pub instances: Table<Instance>,
}

fn serialize_resources<S: Serializer>(
    resources: &Arc<Table<Arc<Resource>>>,
    to: S,
) -> Result<S::Ok, S::Error> {
    to.collect_map(resources.iter().map(|(rid, one)| (rid, one.as_ref())))
}

/// An object on one node.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Instance {
    /// What the daemon is doing with the instance (`idle`, `stopping`, ...).
    pub monitor: Name,
    /// Whether the object runs on one node at a time (`topology = failover`).
    pub failover: bool,
    /// Whether the object is a scaler, whose slaves do its work.
    pub scaler: bool,
    /// The resources, by resource id such as `ip#1`. Those that are the same on several nodes
    /// are held once, and by the daemon's mirror too.
    #[serde(serialize_with = "serialize_resources")]
    pub resources: Arc<Table<Arc<Resource>>>,
}

/// A section of an object's configuration, as evaluated on one node.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Resource {
    /// The section's type and driver, such as `ip`, `ip.cni`, `expose.envoy`.
    pub driver: Name,
    /// The status word, such as `up`, `down`, `n/a`.
    pub status: Name,
    /// The keywords that the agent reports, with whatever JSON types it gave them.
    pub keywords: Values,
}

impl Instance {
    /// The resources, to be changed here alone.
    pub fn resources_mut(&mut self) -> &mut Table<Arc<Resource>> {
        Arc::make_mut(&mut self.resources)
    }

    /// Whether an address of the instance works.
    pub fn is_up(&self) -> bool {
        let mut resources = self.resources.values();
        resources.any(|resource| resource.is_of("ip") && resource.is_up())
    }
}

impl Resource {
    /// Whether the agent saw the resource work: `up`, also on a standby.
    pub fn is_up(&self) -> bool {
        matches!(self.status.as_ref(), "up" | "stdby up")
    }

    /// Whether that is its section type: the driver's name up to the dot.
    pub fn is_of(&self, section: &str) -> bool {
        let rest = self.driver.strip_prefix(section);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    }
}
