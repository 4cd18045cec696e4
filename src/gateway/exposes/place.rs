//! What is known of an instance: its address, whether it may get new traffic, and where it is.

use std::net::IpAddr;

use super::{Finder, Place};
use crate::gateway::{Health, Locality};
use crate::inventory::Table;
use crate::inventory::keywords::{Keywords, Raw, shown};

impl<'a> Finder<'a, '_> {
    /// Takes the address of an ip that is up for one of the expose's.
    pub(super) fn endpoint(
        &mut self,
        at: Place<'a>,
        section: &'a str,
        ip: &Keywords<'_>,
        port: u16,
    ) {
        let address = match ip.text("ipaddr") {
            Ok(Some(text)) => text
                .parse::<IpAddr>()
                .map_err(|_| ip.problem("ipaddr", format!("{} is no IP address", shown(&text)))),
            Ok(None) => Err(ip.problem("ipaddr", "is unknown although the ip is up")),
            Err(problem) => Err(problem),
        };
        let address = match address {
            Ok(address) => address,
            Err(problem) => {
                let name = self.name(at);
                let problem = problem.hence(format_args!("the instance {name} gets no traffic"));
                self.problems.insert(problem);
                return;
            }
        };
        let found = (self.health(at), self.locality(at, section));
        let addresses = self.endpoints.entry(section).or_default();
        let best = addresses.entry((address, port));
        let best = best.or_insert_with(|| found.clone());
        if found.0 < best.0 {
            *best = found;
        }
    }

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
        let values = match values {
            Some(resource) => &resource.keywords,
            None => Table::none(),
        };
        // Of a raw configuration the definer's is read, as for everything else; a slave's own is
        // a copy of it.
        let definer = self.found.get(section).and_then(|definer| definer.raw);
        let raw = definer.map(|raw| Raw {
            node: at.node,
            ..raw
        });
        let keywords = Keywords::new(self.owner, section, values, raw);
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
