//! The addresses behind exposes of which everything else is known. It is as [`super::of_owner`]
//! finds them; what an expose says beside its port and its place is not read.

use super::place::{LOCALITY, address, health, is_zoned, locality, raw_on, take_best, zone};
use super::{EXPOSE_DRIVER, Place};
use crate::gateway::Endpoint;
use crate::inventory::keywords::{Keywords, Raw};
use crate::inventory::{Inventory, Object, ObjectPath};

/// An expose, as it was first found.
struct Found<'a> {
    section: &'a str,
    /// The definer's raw configuration.
    raw: Option<Raw<'a>>,
    /// Whether that says on any node where its instances are.
    is_zoned: bool,
    endpoints: Vec<Endpoint>,
}

/// The endpoints of each expose of an owner, by its section; `None` where there is something to
/// tell of them.
///
/// For an owner whose exposes were found with nothing to tell, and of which nothing is other since
/// but its addresses, and how its instances are.
pub(in crate::gateway) fn endpoints_of<'a>(
    inventory: &'a Inventory,
    owner: &ObjectPath,
    objects: &[(u32, &'a Object)],
) -> Option<Vec<(&'a str, Vec<Endpoint>)>> {
    let mut found = Vec::new();
    for (_, object) in objects {
        let path = &object.path;
        let reading = inventory.configs.get(path);
        let config = reading.and_then(|reading| reading.content.as_ref());
        for (node, instance) in &object.instances {
            let raw = config.map(|config| Raw {
                config,
                object: path,
                node,
            });
            let at = Place {
                path,
                node,
                instance,
            };
            take(inventory, owner, at, raw, &mut found)?;
        }
    }
    let endpoints = found.into_iter().map(|mut one| {
        one.endpoints.shrink_to_fit();
        (one.section, one.endpoints)
    });
    Some(endpoints.collect())
}

/// Takes what an instance has of each expose that one of its ips names.
fn take<'a>(
    inventory: &'a Inventory,
    owner: &ObjectPath,
    at: Place<'a>,
    raw: Option<Raw<'a>>,
    found: &mut Vec<Found<'a>>,
) -> Option<()> {
    let resources = &at.instance.resources;
    for (ip, resource) in resources.iter() {
        if !resource.is_of("ip") {
            continue;
        }
        let ip = Keywords::new(owner, ip, &resource.keywords, None);
        for word in ip.words("expose").ok()? {
            let named = resources.get_key_value(&word);
            let expose = named.filter(|(_, expose)| expose.driver == EXPOSE_DRIVER);
            let Some((section, expose)) = expose else {
                continue;
            };
            let known = found.iter().position(|one| one.section == section);
            let known = known.unwrap_or_else(|| {
                found.push(Found {
                    section,
                    raw,
                    is_zoned: raw.is_some_and(|raw| is_zoned(raw, section)),
                    endpoints: Vec::new(),
                });
                found.len() - 1
            });
            if !resource.is_up() {
                continue;
            }
            let one = found.get_mut(known)?;
            let keywords = &expose.keywords;
            let expose = |raw| Keywords::new(owner, section, keywords, raw);
            let port = expose(raw).port("port").ok()??;
            let definer = one.raw.map(|definer| raw_on(at.node, definer));
            let zone = match one.is_zoned || keywords.contains_key(LOCALITY) {
                true => zone(&expose(definer)).ok()?,
                false => None,
            };
            let endpoint = Endpoint {
                address: address(&ip).ok()?,
                port,
                health: health(inventory, at),
                locality: locality(inventory, at.node, zone),
            };
            take_best(&mut one.endpoints, endpoint);
        }
    }
    Some(())
}
