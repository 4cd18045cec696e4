//! What is known of an instance beside its address: whether it may get new traffic, and where
//! it is.

use std::collections::BTreeMap;

use super::{Finder, Place};
use crate::gateway::{Health, Locality};
use crate::inventory::keywords::{Keywords, Raw};

impl<'a> Finder<'a, '_> {
    /// Whether new traffic may go to the instance.
    pub(super) fn health(&self, at: Place<'a>) -> Health {
        let node = self.inventory.nodes.get(at.node);
        let node_leaves = node.is_some_and(|status| status.is_leaving());
        match node_leaves || LEAVING.contains(&at.instance.monitor.as_str()) {
            true => Health::Draining,
            false => Health::Healthy,
        }
    }

    /// Where the instance is: the expose's `locality` on that node, else what the node's labels
    /// say.
    pub(super) fn locality(&mut self, at: Place<'a>, section: &str) -> Locality {
        let values = at.instance.resources.get(section);
        let none = BTreeMap::new();
        let values = values.map_or(&none, |resource| &resource.keywords);
        let keywords = Keywords::new(self.owner, section, values, self.raw_as_known(at, section));
        let zone = match keywords.text("locality") {
            Ok(zone) => zone.filter(|zone| !zone.is_empty()),
            Err(problem) => {
                let name = self.name(at);
                let hence = format_args!("the labels of its node place the instance {name}");
                self.problems.insert(problem.hence(hence));
                None
            }
        };
        let labels = self.inventory.labels(at.node);
        let label = |name: &str| {
            let value = labels.and_then(|labels| labels.get(name));
            value.cloned().unwrap_or_default()
        };
        Locality {
            region: label("region"),
            zone: zone.unwrap_or_else(|| label("zone")),
            sub_zone: label("sub_zone"),
        }
    }

    /// The instance's raw configuration. A slave's own may not be read: it is a copy of the
    /// definer's, which stands in for it.
    fn raw_as_known(&self, at: Place<'a>, section: &str) -> Option<Raw<'a>> {
        let own = self.inventory.configs.get(at.path);
        let own = own.and_then(|reading| reading.content.as_ref());
        let own = own.map(|config| Raw {
            config,
            object: at.path,
            node: at.node,
        });
        own.or_else(|| {
            let definers = self.found.get(section)?.raw?;
            let node = at.node;
            Some(Raw { node, ..definers })
        })
    }
}

/// What the daemon says of an instance that is about to go (`monitor.status`).
const LEAVING: [&str; 8] = [
    "deleting",
    "purging",
    "restarting",
    "shutdown",
    "shutting",
    "stopping",
    "tocing",
    "unprovisioning",
];
