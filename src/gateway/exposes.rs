//! Finding the exposes: which sections of which objects this gateway serves, and the instances
//! behind each. Knows nothing of listeners yet.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use super::compile::{Policy, Want};
use super::{Endpoint, Health, LbPolicy, Origin, Protocol};
use crate::inventory::keywords::{Keywords, Raw};
use crate::inventory::{Config, Instance, Inventory, Kind, Object, ObjectPath, Problem};

/// An expose that this gateway should serve.
#[derive(Debug)]
pub struct Exposed<'a> {
    /// The object it is served for: the scaler, where `definer` is a slave.
    pub owner: ObjectPath,
    /// The expose's section, such as `expose#0`.
    pub section: &'a str,
    /// Its keywords, as the definer has them.
    pub expose: Expose,
    /// The object whose instance defines it: of a scaler, the slave with the lowest number.
    pub definer: &'a ObjectPath,
    /// The definer's node.
    pub node: &'a str,
    /// The definer's instance, with the sections that the expose refers to.
    pub instance: &'a Instance,
    /// The definer's raw configuration, where it can be had.
    pub config: Option<&'a Config>,
    /// The addresses behind it.
    pub endpoints: Vec<Endpoint>,
    /// Whether an object of the owner states `listener_port = 0`, which asks for a port.
    pub asks: bool,
}

impl Exposed<'_> {
    /// The name of the cluster: `<object path>.expose#N`.
    pub fn cluster(&self) -> String {
        format!("{}.{}", self.owner, self.section)
    }

    /// What is made from it is made from this section.
    pub fn origin(&self) -> Origin {
        Origin {
            object: self.owner.clone(),
            section: self.section.to_owned(),
        }
    }

    /// The keywords of one of the definer's sections; `None` where there is no such section of
    /// that type.
    pub fn section_keywords<'s>(&'s self, kind: &str, section: &'s str) -> Option<Keywords<'s>> {
        let resource = self.instance.resources.get(section)?;
        let raw = self.config.map(|config| Raw {
            config,
            object: self.definer,
            node: self.node,
        });
        (resource.section() == kind)
            .then(|| Keywords::new(&self.owner, section, &resource.keywords, raw))
    }

    /// A problem of the expose's own `keyword`.
    pub fn problem(&self, keyword: &str, reason: String) -> Problem {
        Problem {
            object: self.owner.clone(),
            section: self.section.to_owned(),
            keyword: keyword.to_owned(),
            reason,
        }
    }
}

/// The keywords of an `expose` section (OpenSVC driver `expose.envoy`).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Expose {
    /// The port that the instances listen on.
    pub port: u16,
    /// What the instances speak; default TCP.
    pub protocol: Protocol,
    /// The address to listen at; default every IPv4 address.
    pub listener_addr: IpAddr,
    /// The port to listen at; default `port`. 0 until one is allocated.
    pub listener_port: u16,
    /// How hosts are picked.
    pub lb_policy: LbPolicy,
    /// The TLS server names to take; empty for all.
    pub sni: Vec<String>,
    /// The `vhost` sections; empty for plain TCP.
    pub vhosts: Vec<String>,
    /// The `certificate` sections to terminate TLS with.
    pub listener_certificates: Vec<String>,
    /// The `certificate` sections to present to the backends.
    pub cluster_certificates: Vec<String>,
}

impl Expose {
    fn read(keywords: &Keywords<'_>) -> Result<Self, Problem> {
        let port = match keywords.port("port")? {
            Some(0) => return Err(keywords.problem("port", "0 is no port to send traffic to")),
            Some(port) => port,
            None => return Err(keywords.problem("port", "is missing or is no number")),
        };
        let expose = Self {
            port,
            protocol: read_protocol(keywords)?,
            listener_addr: read_address(keywords)?,
            listener_port: keywords.port("listener_port")?.unwrap_or(port),
            lb_policy: read_lb_policy(keywords)?,
            sni: keywords.words("sni")?,
            vhosts: keywords.words("vhosts")?,
            listener_certificates: keywords.words("listener_certificates")?,
            cluster_certificates: keywords.words("cluster_certificates")?,
        };
        match expose.without_meaning_over_udp() {
            Some((keyword, reason)) if expose.protocol == Protocol::Udp => {
                Err(keywords.problem(keyword, reason))
            }
            _ => Ok(expose),
        }
    }

    /// What narrows or protects a TCP expose and would be lost over UDP: to serve it without
    /// would open more than was meant.
    fn without_meaning_over_udp(&self) -> Option<(&'static str, &'static str)> {
        let lists = [
            ("sni", &self.sni),
            ("vhosts", &self.vhosts),
            ("listener_certificates", &self.listener_certificates),
            ("cluster_certificates", &self.cluster_certificates),
        ];
        let reason = "has no meaning with protocol udp: the expose is not served";
        if let Some((keyword, _)) = lists.into_iter().find(|(_, words)| !words.is_empty()) {
            return Some((keyword, reason));
        }
        (self.lb_policy == LbPolicy::OriginalDst).then_some(("lb_policy", reason))
    }
}

/// `expose.protocol`: an Envoy listener has one of them.
pub(super) fn read_protocol(keywords: &Keywords<'_>) -> Result<Protocol, Problem> {
    let text = keywords.text("protocol")?.unwrap_or_default();
    match text.to_ascii_lowercase().as_str() {
        "" | "tcp" => Ok(Protocol::Tcp),
        "udp" => Ok(Protocol::Udp),
        _ => {
            let reason = format!("{text:?} is not served, only tcp and udp are");
            Err(keywords.problem("protocol", reason))
        }
    }
}

/// `expose.listener_addr`, brackets around an IPv6 address or not. An IPv4 address in the form
/// of an IPv6 one is the IPv4 address.
pub(super) fn read_address(keywords: &Keywords<'_>) -> Result<IpAddr, Problem> {
    let Some(text) = keywords
        .text("listener_addr")?
        .filter(|text| !text.is_empty())
    else {
        return Ok(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    };
    let inner = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .filter(|text| text.contains(':'));
    inner
        .unwrap_or(&text)
        .parse::<IpAddr>()
        .map(|address| address.to_canonical())
        .map_err(|_| keywords.problem("listener_addr", format!("{text:?} is no IP address")))
}

fn read_lb_policy(keywords: &Keywords<'_>) -> Result<LbPolicy, Problem> {
    let Some(text) = keywords.text("lb_policy")? else {
        return Ok(LbPolicy::default());
    };
    match text.to_ascii_lowercase().replace([' ', '-'], "_").as_str() {
        "round_robin" => Ok(LbPolicy::RoundRobin),
        "least_request" => Ok(LbPolicy::LeastRequest),
        "ring_hash" => Ok(LbPolicy::RingHash),
        "random" => Ok(LbPolicy::Random),
        "original_dst_lb" => Ok(LbPolicy::OriginalDst),
        "maglev" => Ok(LbPolicy::Maglev),
        _ => Err(keywords.problem("lb_policy", format!("{text:?} is no known policy"))),
    }
}

/// Finds every expose of this gateway, ordered by owner and section.
///
/// An object's raw configuration holds what the agent's drivers drop, be it the address list that
/// protects an expose. So an object that has exposes is left out until it was read once.
pub fn collect<'a>(
    inventory: &'a Inventory,
    policy: &Policy,
    problems: &mut BTreeSet<Problem>,
    wants: &mut BTreeSet<Want>,
) -> Vec<Exposed<'a>> {
    let mut exposes = Vec::new();
    for (owner, objects) in owners(inventory) {
        let finder = Finder {
            inventory,
            owner: &owner,
            policy,
            problems,
            wants,
            found: BTreeMap::new(),
            waiting: BTreeSet::new(),
            asking: BTreeSet::new(),
            endpoints: BTreeMap::new(),
        };
        exposes.extend(finder.find(&objects));
    }
    exposes
}

/// The services by whom they are served for: a service by itself, slaves by their scaler, which
/// stands among them; in the order of the slaves' numbers.
pub(super) fn owners(inventory: &Inventory) -> BTreeMap<ObjectPath, Vec<(u32, &Object)>> {
    let mut owners: BTreeMap<ObjectPath, Vec<(u32, &Object)>> = BTreeMap::new();
    for (path, object) in &inventory.objects {
        if path.kind() != Kind::Svc {
            continue;
        }
        let (number, owner) = match path.scaler() {
            Some(slave_of) if object.slave => slave_of,
            _ => (0, path.clone()),
        };
        owners.entry(owner).or_default().push((number, object));
    }
    for objects in owners.values_mut() {
        objects.sort_by_key(|(number, object)| (*number, &object.path));
    }
    owners
}

/// Works through the instances of one owner.
struct Finder<'a, 'p> {
    inventory: &'a Inventory,
    owner: &'p ObjectPath,
    policy: &'p Policy,
    problems: &'p mut BTreeSet<Problem>,
    wants: &'p mut BTreeSet<Want>,
    found: BTreeMap<&'a str, Exposed<'a>>,
    /// Exposes whose definer's configuration has not been read.
    waiting: BTreeSet<&'a str>,
    /// Exposes that state port 0 on some instance.
    asking: BTreeSet<&'a str>,
    /// Best health by address, for each expose: the two halves of a healed split brain report
    /// the same address twice.
    endpoints: BTreeMap<&'a str, BTreeMap<(IpAddr, u16), Health>>,
}

impl<'a> Finder<'a, '_> {
    fn find(mut self, objects: &[(u32, &'a Object)]) -> Vec<Exposed<'a>> {
        for (_, object) in objects {
            for (node, instance) in &object.instances {
                self.instance(&object.path, node, instance);
            }
        }
        let mut endpoints = self.endpoints;
        let exposes = self.found.into_iter().map(|(section, mut exposed)| {
            let addresses = endpoints.remove(section).unwrap_or_default();
            exposed.asks = self.asking.contains(section);
            exposed.endpoints = addresses
                .into_iter()
                .map(|((address, port), health)| Endpoint {
                    address,
                    port,
                    health,
                })
                .collect();
            exposed
        });
        exposes.collect()
    }

    fn instance(&mut self, path: &'a ObjectPath, node: &'a str, instance: &'a Instance) {
        for (ip, resource) in &instance.resources {
            if resource.section() != "ip" {
                continue;
            }
            let keywords = Keywords::new(self.owner, ip, &resource.keywords, None);
            let words = match keywords.words("expose") {
                Ok(words) => words,
                Err(problem) => {
                    self.problems.insert(problem);
                    continue;
                }
            };
            for word in words {
                let Some((section, backing)) = instance.resources.get_key_value(word.as_str())
                else {
                    // `443/tcp:8443` is a port mapping of the ip itself, no business of ours.
                    if word.starts_with("expose#") {
                        let reason = format!("names {word}, which does not exist");
                        self.problems.insert(keywords.problem("expose", reason));
                    }
                    continue;
                };
                if backing.driver != EXPOSE_DRIVER {
                    continue;
                }
                let Some(port) = self.define(path, node, instance, section) else {
                    continue;
                };
                if resource.is_up() {
                    self.endpoint(section, &keywords, port, instance);
                }
            }
        }
    }

    /// Reads an expose on one instance and returns the instance's port. The first instance that
    /// has it defines it.
    fn define(
        &mut self,
        path: &'a ObjectPath,
        node: &'a str,
        instance: &'a Instance,
        section: &'a str,
    ) -> Option<u16> {
        let resource = instance.resources.get(section)?;
        if self.waiting.contains(section) || !self.is_read(path, section) {
            return None;
        }
        let config = self.inventory.configs.get(path);
        let config = config.and_then(|reading| reading.content.as_ref());
        let raw = config.map(|config| Raw {
            config,
            object: path,
            node,
        });
        let keywords = Keywords::new(self.owner, section, &resource.keywords, raw);
        let read = self
            .belongs_here(&keywords)
            .and_then(|()| Expose::read(&keywords));
        let expose = match read {
            Ok(expose) => expose,
            Err(problem) => {
                self.problems.insert(problem);
                return None;
            }
        };
        let port = expose.port;
        if expose.listener_port == 0 {
            self.asking.insert(section);
        }
        self.found.entry(section).or_insert_with(|| Exposed {
            owner: self.owner.clone(),
            section,
            expose,
            definer: path,
            node,
            instance,
            config,
            endpoints: Vec::new(),
            asks: false,
        });
        Some(port)
    }

    /// Whether the configuration of a definer was read; notes what has to be. An object that
    /// defines nothing needs no reading.
    fn is_read(&mut self, path: &ObjectPath, section: &'a str) -> bool {
        if self.found.contains_key(section) {
            return true;
        }
        let object = self.inventory.objects.get(path);
        let revision = object
            .map(|object| object.revision.as_str())
            .unwrap_or_default();
        let reading = self.inventory.configs.get(path);
        if reading.is_none_or(|reading| reading.revision != revision) {
            self.wants
                .insert(Want::Config(path.clone(), revision.to_owned()));
        }
        match reading {
            None => drop(self.waiting.insert(section)),
            Some(reading) if reading.content.is_none() => {
                let reason = "its configuration cannot be read: keywords that the agent leaves \
                              out of the status have no effect";
                self.problems.insert(Problem {
                    object: self.owner.clone(),
                    section: String::new(),
                    keyword: String::new(),
                    reason: reason.to_owned(),
                });
            }
            Some(_) => {}
        }
        reading.is_some()
    }

    fn belongs_here(&self, keywords: &Keywords<'_>) -> Result<(), Problem> {
        match keywords.text("gateway")? {
            Some(name) if name != self.policy.gateway_name => {
                let own = &self.policy.gateway_name;
                let reason = format!("belongs to gateway {name:?}; this one is {own:?}");
                Err(keywords.problem("gateway", reason))
            }
            _ => Ok(()),
        }
    }

    fn endpoint(&mut self, section: &'a str, ip: &Keywords<'_>, port: u16, instance: &Instance) {
        let address = match ip.text("ipaddr") {
            Ok(Some(text)) => match text.parse::<IpAddr>() {
                Ok(address) => address,
                Err(_) => {
                    let reason = format!("{text:?} is no IP address");
                    self.problems.insert(ip.problem("ipaddr", reason));
                    return;
                }
            },
            Ok(None) => {
                let reason = "is up but has no address: no traffic goes there";
                self.problems.insert(ip.problem("ipaddr", reason));
                return;
            }
            Err(problem) => {
                self.problems.insert(problem);
                return;
            }
        };
        let health = match LEAVING.contains(&instance.monitor.as_str()) {
            true => Health::Draining,
            false => Health::Healthy,
        };
        let addresses = self.endpoints.entry(section).or_default();
        let best = addresses.entry((address, port)).or_insert(health);
        *best = health.min(*best);
    }
}

/// The driver whose sections are exposes.
pub(super) const EXPOSE_DRIVER: &str = "expose.envoy";
/// What the daemon says of an instance that is about to go (`monitor.status`).
const LEAVING: [&str; 6] = [
    "deleting",
    "purging",
    "shutdown",
    "stopping",
    "tocing",
    "unprovisioning",
];
