//! Ports for the exposes that state `listener_port = 0`: which one each gets, and what has to be
//! written so that it keeps it. Writes nothing itself.
//!
//! # The rule
//!
//! An expose gets the lowest port of the range ([`Policy::port_range`]) that no expose of any
//! gateway states for an address that overlaps its own; TCP and UDP are counted apart, and ports
//! that this host needs ([`Policy::reserved_ports`]) are left out. The exposes that ask, those of
//! other gateways too, are worked through in the order of their paths. So every controller that
//! sees the same cluster with the same range comes to the same ports, and an expose of another
//! gateway is given a port here only to see which one it will take.
//!
//! The port is written to the service, and counts only when the service shows it, in its status
//! or in its configuration: until then the expose waits. What the service shows is what is
//! served, whoever wrote it, so nothing is kept here and a restart changes nothing:
//!
//! * **two controllers** write the same port, as a write waits until all have heard the same; if
//!   they have not, the last write wins, and both serve what they read back;
//! * **a restart before the write** computes the same port again; one **after it** finds it;
//! * **a lost write** is repeated, with backoff, for as long as the service says 0;
//! * a port that was asked for and not shown yet ([`Asked`](crate::inventory::Asked)) stays with
//!   its expose, whatever comes in between;
//! * **two services that were given one port** by controllers with different views are a conflict
//!   like any other: the first path keeps it, and the other has a problem that names both, as
//!   nothing tells an allocated port from one that was typed;
//! * objects that only absent nodes know of are not seen, and their ports not counted.
//!
//! # Scalers
//!
//! A slave's configuration is a copy that was made with it, so the port is written to the scaler,
//! for the slaves to come, and when the scaler shows it to each slave that still says 0. A crash
//! between two of these writes leaves less to do, and nothing to undo.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::compile::Want;
use super::exposes::listen::{read_address, read_http3, read_protocol};
use super::exposes::{EXPOSE_DRIVER, Exposed, owners};
use super::{Policy, Protocol};
use crate::inventory::keywords::{Keywords, Raw, shown};
use crate::inventory::{Inventory, Object, ObjectPath, Problem, Values, Write};

/// Gives the exposes that ask for a port the one that they were given, or leaves them out and
/// says in `writes` what they should be given.
pub(super) fn settle(
    inventory: &Inventory,
    policy: &Policy,
    exposes: &mut Vec<Exposed<'_>>,
    problems: &mut BTreeSet<Problem>,
    wants: &mut BTreeSet<Want>,
) -> BTreeSet<Write> {
    let mut writes = BTreeSet::new();
    if !exposes.iter().any(|exposed| exposed.asks) {
        return writes;
    }
    let sites = sites(inventory);
    let chosen = choose(&sites, inventory, policy);
    exposes.retain_mut(|exposed| {
        if !exposed.asks {
            return true;
        }
        let key = (exposed.owner.clone(), exposed.section.to_owned());
        let Some(site) = sites.get(&key) else {
            return false;
        };
        if let Scaler::Unread(want) = &site.scaler {
            wants.insert(want.clone());
        }
        if exposed.expose.listener_port == 0 {
            exposed.expose.listener_port = site.shown().unwrap_or_default();
        }
        let shown = exposed.expose.listener_port;
        let chosen = chosen.get(&key).copied();
        if is_writable(exposed.section) {
            let lacking = site.lacking(shown, chosen).into_iter();
            writes.extend(lacking.map(|(object, port)| Write {
                object: object.clone(),
                section: exposed.section.to_owned(),
                keyword: KEYWORD.to_owned(),
                value: port.to_string(),
            }));
        }
        if shown == 0
            && let Some(reason) = site.reason(exposed.section, chosen, policy)
        {
            problems.insert(exposed.problem(KEYWORD, reason));
        }
        shown != 0
    });
    writes
}

/// An expose section of a service, or of a scaler and its slaves.
#[derive(Debug)]
struct Site {
    protocol: Protocol,
    /// Whether it wants the UDP port of the same number too.
    http3: bool,
    address: IpAddr,
    /// The objects that run, slaves by their number, and the port that each shows or 0.
    objects: Vec<(ObjectPath, u16)>,
    scaler: Scaler,
}

/// What the scaler says of a section of its slaves.
#[derive(Debug)]
enum Scaler {
    /// There is none, or it has no such section.
    None,
    /// Its configuration has to be read first.
    Unread(Want),
    /// It shows this port, or 0.
    Shows(ObjectPath, u16),
}

impl Site {
    /// What its port must be free for.
    fn protocols(&self) -> impl Iterator<Item = Protocol> {
        let http3 = self.http3.then_some(Protocol::Udp);
        [self.protocol].into_iter().chain(http3)
    }

    /// The port that the section has; `None` where every object says 0.
    fn shown(&self) -> Option<u16> {
        self.all_shown().next()
    }

    fn all_shown(&self) -> impl Iterator<Item = u16> {
        let scaler = match self.scaler {
            Scaler::Shows(_, port) => Some(port),
            _ => None,
        };
        let ports = self.objects.iter().map(|(_, port)| *port).chain(scaler);
        ports.filter(|port| *port != 0)
    }

    /// Who has to be told which port. The scaler comes first, and alone.
    fn lacking(&self, shown: u16, chosen: Option<u16>) -> Vec<(&ObjectPath, u16)> {
        let shown = Some(shown).filter(|port| *port != 0);
        let Some(port) = shown.or(chosen) else {
            return Vec::new();
        };
        let port = match &self.scaler {
            Scaler::Unread(_) => return Vec::new(),
            Scaler::Shows(scaler, 0) => return vec![(scaler, port)],
            Scaler::Shows(_, port) => *port,
            Scaler::None => port,
        };
        let lacking = self.objects.iter().filter(|(_, port)| *port == 0);
        lacking.map(|(object, _)| (object, port)).collect()
    }

    /// Why the expose is not served; `None` where something is only being read.
    fn reason(&self, section: &str, chosen: Option<u16>, policy: &Policy) -> Option<String> {
        if matches!(self.scaler, Scaler::Unread(_)) {
            return None;
        }
        if !is_writable(section) {
            return Some(format!(
                "0 asks for a port, and none can be written to a section called {}; \
                 the expose is not served",
                shown(section)
            ));
        }
        Some(match chosen {
            Some(port) => {
                format!("0 asks for a port; {port} is chosen, and served once the daemon shows it")
            }
            None => {
                let (min, max) = (policy.port_range.start(), policy.port_range.end());
                let (address, protocol) = (self.address, self.protocol);
                format!(
                    "0 asks for a port, and {min}-{max} has none left for {address} {protocol}; \
                     the expose is not served"
                )
            }
        })
    }
}

/// Every expose section that can be read, whichever gateway it is for.
fn sites(inventory: &Inventory) -> BTreeMap<(ObjectPath, String), Site> {
    let mut sites = BTreeMap::new();
    for (owner, objects) in owners(inventory) {
        let (scaler, running): (Vec<_>, Vec<_>) = objects
            .iter()
            .map(|(_, object)| *object)
            .partition(|object| objects.len() > 1 && object.path == owner);
        for object in running {
            for section in sections(inventory, object) {
                let Some(shown) = shows(inventory, &owner, object, &section) else {
                    continue;
                };
                let Shown { at, port } = shown;
                let (protocol, http3, address) = at;
                let site = sites.entry((owner.clone(), section)).or_insert(Site {
                    protocol,
                    http3,
                    address,
                    objects: Vec::new(),
                    scaler: Scaler::None,
                });
                site.objects.push((object.path.clone(), port));
            }
        }
        let Some(scaler) = scaler.first() else {
            continue;
        };
        let first = (owner.clone(), String::new());
        let own = sites.range_mut(first..);
        for ((_, section), site) in own.take_while(|((path, _), _)| *path == owner) {
            site.scaler = says(inventory, scaler, section);
        }
    }
    sites
}

/// The expose sections of an object, as its status or its configuration has them.
fn sections(inventory: &Inventory, object: &Object) -> BTreeSet<String> {
    let resources = object.instances.values().flat_map(|it| it.resources.iter());
    let told = resources.filter(|(_, resource)| resource.driver == EXPOSE_DRIVER);
    let mut sections: BTreeSet<String> = told.map(|(rid, _)| rid.to_owned()).collect();
    let reading = inventory.configs.get(&object.path);
    let config = reading.and_then(|reading| reading.content.as_ref());
    let typed = config.into_iter().flat_map(|config| config.sections());
    sections.extend(
        typed
            .filter(|name| name.starts_with("expose#"))
            .map(str::to_owned),
    );
    sections
}

/// What an object states of a section.
#[derive(Clone, Copy)]
struct Shown {
    /// Protocol, whether HTTP/3 too, and address.
    at: (Protocol, bool, IpAddr),
    /// 0 only where neither the status nor the configuration shows another on any node.
    port: u16,
}

fn shows(
    inventory: &Inventory,
    owner: &ObjectPath,
    object: &Object,
    section: &str,
) -> Option<Shown> {
    let reading = inventory.configs.get(&object.path);
    let mut found = None;
    for (node, instance) in &object.instances {
        let config = reading.and_then(|reading| reading.content.as_ref());
        let raw = config.map(|config| Raw {
            config,
            object: &object.path,
            node,
        });
        let resource = instance.resources.get(section);
        let told = match resource {
            Some(resource) => &resource.keywords,
            None => Values::none(),
        };
        let keywords = Keywords::new(owner, section, told, raw);
        let (Ok(protocol), Ok(address), Ok(Some(mut port))) = (
            read_protocol(&keywords),
            read_address(&keywords),
            stated(&keywords),
        ) else {
            continue;
        };
        // The configuration is read as soon as it changes, the status told when it is evaluated.
        if port == 0 && reading.is_some_and(|reading| reading.revision == object.revision) {
            let typed = Keywords::new(owner, section, Values::none(), raw);
            port = stated(&typed).ok().flatten().unwrap_or_default();
        }
        let at = (protocol, read_http3(&keywords).unwrap_or_default(), address);
        let shown = Shown { at, port };
        if port != 0 {
            return Some(shown);
        }
        found.get_or_insert(shown);
    }
    found
}

fn stated(keywords: &Keywords<'_>) -> Result<Option<u16>, Problem> {
    match keywords.port(KEYWORD)? {
        Some(port) => Ok(Some(port)),
        None => keywords.port("port"),
    }
}

/// A scaler's status has no sections: what it says is in its configuration.
fn says(inventory: &Inventory, scaler: &Object, section: &str) -> Scaler {
    let (path, revision) = (&scaler.path, &scaler.revision);
    let unread = || Scaler::Unread(Want::Config(path.clone(), revision.clone()));
    let Some(reading) = inventory.configs.get(path) else {
        return unread();
    };
    let config = reading.content.as_ref();
    if !config.is_some_and(|config| config.sections().any(|name| name == section)) {
        return match reading.revision == *revision {
            true => Scaler::None,
            false => unread(),
        };
    }
    match shows(inventory, path, scaler, section) {
        None => Scaler::None,
        Some(Shown { port: 0, .. }) if reading.revision != *revision => unread(),
        Some(Shown { port, .. }) => Scaler::Shows(path.clone(), port),
    }
}

/// The port for each site that shows none, in the order of their paths.
fn choose(
    sites: &BTreeMap<(ObjectPath, String), Site>,
    inventory: &Inventory,
    policy: &Policy,
) -> BTreeMap<(ObjectPath, String), u16> {
    let mut taken = Taken::default();
    for site in sites.values() {
        for port in site.all_shown() {
            taken.take_for(site, port);
        }
    }
    let is_free = |taken: &Taken, site: &Site, port: u16| {
        let mut protocols = site.protocols();
        !policy.reserved_ports.contains(&port)
            && protocols.all(|protocol| taken.is_free(protocol, site.address, port))
    };
    let mut chosen = BTreeMap::new();
    let asking = || sites.iter().filter(|(_, site)| site.shown().is_none());
    for (key, site) in asking() {
        let asked = asked(inventory, &key.1, site);
        let asked = asked.filter(|port| policy.port_range.contains(port));
        if let Some(port) = asked.filter(|port| is_free(&taken, site, *port)) {
            taken.take_for(site, port);
            chosen.insert(key.clone(), port);
        }
    }
    // What was not free for an address is not free for it any more.
    let (first, last) = (*policy.port_range.start(), *policy.port_range.end());
    let mut lowest: BTreeMap<(Protocol, bool, IpAddr), u16> = BTreeMap::new();
    for (key, site) in asking() {
        if chosen.contains_key(key) {
            continue;
        }
        let address = (site.protocol, site.http3, site.address);
        let from = lowest.get(&address).copied();
        let mut ports = from.unwrap_or(first)..=last;
        let port = ports.find(|port| is_free(&taken, site, *port));
        lowest.insert(address, port.unwrap_or(last));
        if let Some(port) = port {
            taken.take_for(site, port);
            chosen.insert(key.clone(), port);
        }
    }
    chosen
}

/// The port that was last asked for.
fn asked(inventory: &Inventory, section: &str, site: &Site) -> Option<u16> {
    let place = format!("{section}.{KEYWORD}");
    let scaler = match &site.scaler {
        Scaler::Shows(path, _) => Some(path),
        _ => None,
    };
    let mut objects = scaler
        .into_iter()
        .chain(site.objects.iter().map(|(object, _)| object));
    objects.find_map(|object| inventory.asked.value(object, &place)?.parse().ok())
}

/// The ports that are spoken for.
#[derive(Debug, Default)]
struct Taken {
    by_address: BTreeSet<(Protocol, IpAddr, u16)>,
    /// Under the unspecified address of each family: what any of its addresses has.
    by_any: BTreeSet<(Protocol, IpAddr, u16)>,
}

impl Taken {
    fn take_for(&mut self, site: &Site, port: u16) {
        for protocol in site.protocols() {
            self.take(protocol, site.address, port);
        }
    }

    fn take(&mut self, protocol: Protocol, address: IpAddr, port: u16) {
        self.by_address.insert((protocol, address, port));
        self.by_any.insert((protocol, every(address), port));
    }

    fn is_free(&self, protocol: Protocol, address: IpAddr, port: u16) -> bool {
        let every = every(address);
        if address == every {
            return !self.by_any.contains(&(protocol, every, port));
        }
        let by_one = |address| self.by_address.contains(&(protocol, address, port));
        !by_one(address) && !by_one(every)
    }
}

/// The unspecified address of the family.
fn every(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// Whether the daemon takes `section.keyword=value` for what it is.
fn is_writable(section: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'#' | b'_' | b'-');
    section.bytes().all(plain)
}

const KEYWORD: &str = "listener_port";
