//! What is known of an instance: its address, whether it may get new traffic, and where it is.

use std::net::IpAddr;

use super::{Finder, Place};
use crate::gateway::{Endpoint, Health, Locality};
use crate::inventory::keywords::{Keywords, Raw, shown};
use crate::inventory::{Inventory, Problem, Values};

impl<'a> Finder<'a, '_> {
    /// Takes the address of an ip that is up for one of the expose's.
    pub(super) fn endpoint(
        &mut self,
        at: Place<'a>,
        section: &'a str,
        ip: &Keywords<'_>,
        port: u16,
    ) {
        let address = match address(ip) {
            Ok(address) => address,
            Err(problem) => {
                let name = self.name(at);
                let problem = problem.hence(format_args!("the instance {name} gets no traffic"));
                self.problems.insert(problem);
                return;
            }
        };
        let endpoint = Endpoint {
            address,
            port,
            health: health(self.inventory, at),
            locality: self.locality(at, section),
        };
        take_best(self.endpoints.entry(section).or_default(), endpoint);
    }

    /// Where the instance is: the expose's `locality` on that node, else what the node's labels
    /// say.
    fn locality(&mut self, at: Place<'a>, section: &str) -> Option<Box<Locality>> {
        let values = at.instance.resources.get(section);
        let values = match values {
            Some(resource) => &resource.keywords,
            None => Values::none(),
        };
        let definer = self.found.get(section).and_then(|definer| definer.raw);
        let raw = definer.map(|raw| raw_on(at.node, raw));
        let zone = zone(&Keywords::new(self.owner, section, values, raw));
        let zone = zone.unwrap_or_else(|problem| {
            let name = self.name(at);
            let hence = format_args!("the labels of its node place the instance {name}");
            self.problems.insert(problem.hence(hence));
            None
        });
        locality(self.inventory, at.node, zone)
    }
}

/// The address of an ip that is up.
pub(super) fn address(ip: &Keywords<'_>) -> Result<IpAddr, Problem> {
    let Some(text) = ip.told_text("ipaddr")? else {
        return Err(ip.problem("ipaddr", "is unknown although the ip is up"));
    };
    let address = text.parse::<IpAddr>();
    address.map_err(|_| ip.problem("ipaddr", format!("{} is no IP address", shown(&text))))
}

/// Whether new traffic may go to the instance.
pub(super) fn health(inventory: &Inventory, at: Place<'_>) -> Health {
    let node = inventory.nodes.get(at.node);
    let node_leaves = node.is_some_and(|status| status.is_leaving());
    match node_leaves || LEAVING.contains(&at.instance.monitor.as_ref()) {
        true => Health::Draining,
        false => Health::Healthy,
    }
}

/// The raw configuration that tells where the instance on a node is. It is the definer's, as for
/// everything else; a slave's own is a copy of it.
pub(super) fn raw_on<'a>(node: &'a str, definer: Raw<'a>) -> Raw<'a> {
    Raw { node, ..definer }
}

/// Whether the configuration says of any node where the instances of an expose are.
pub(super) fn is_zoned(raw: Raw<'_>, section: &str) -> bool {
    raw.config.says(section, LOCALITY)
}

/// The expose's `locality`.
pub(super) fn zone(expose: &Keywords<'_>) -> Result<Option<String>, Problem> {
    let zone = expose.text(LOCALITY)?;
    Ok(zone.filter(|zone| !zone.is_empty()))
}

/// Where an instance is whose expose says that it is in `zone`.
pub(super) fn locality(
    inventory: &Inventory,
    node: &str,
    zone: Option<String>,
) -> Option<Box<Locality>> {
    let labels = inventory.labels(node);
    let label = |name: &str| {
        let value = labels.and_then(|labels| labels.get(name));
        value.cloned().unwrap_or_default()
    };
    let locality = Locality {
        region: label("region"),
        zone: zone.unwrap_or_else(|| label("zone")),
        sub_zone: label("sub_zone"),
    };
    (locality != Locality::default()).then(|| Box::new(locality))
}

/// Takes an endpoint among the others, which are in order. The two halves of a healed split brain
/// report the same address twice: the better one counts.
pub(super) fn take_best(endpoints: &mut Vec<Endpoint>, endpoint: Endpoint) {
    let key = |it: &Endpoint| (it.address, it.port);
    match endpoints.binary_search_by_key(&key(&endpoint), key) {
        Ok(place) if endpoint.health < endpoints[place].health => endpoints[place] = endpoint,
        Ok(_) => {}
        Err(place) => endpoints.insert(place, endpoint),
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

/// The keyword of an expose that tells where its instances are.
pub(super) const LOCALITY: &str = "locality";
