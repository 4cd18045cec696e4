//! Finding the exposes: which sections of which objects this gateway serves, and the instances
//! behind each. Knows nothing of listeners yet.

pub(super) mod listen;
mod moved;
mod owners;
mod place;
mod raw;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use self::listen::{read_address, read_http3, read_protocol};
pub(super) use self::moved::endpoints_of;
pub(super) use self::owners::{in_order, owner, owners};
use crate::gateway::compile::Want;
use crate::gateway::health::{WantedCheck, backend_protocol, connect_timeout, lb_policy, limits};
use crate::gateway::{
    BackendProtocol, Endpoint, LbPolicy, Limits, Origin, Policy, Prefix, Protocol, ProxyVersion,
    allow,
};
use crate::inventory::keywords::{Keywords, Raw, shown};
use crate::inventory::{Instance, Inventory, Object, ObjectPath, Problem, Sensitive};

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
    pub raw: Option<Raw<'a>>,
    /// The addresses behind it.
    pub endpoints: Vec<Endpoint>,
    /// Whether an object of the owner states `listener_port = 0`, which asks for a port.
    pub asks: bool,
}

impl Exposed<'_> {
    /// The name of the cluster.
    pub fn cluster(&self) -> String {
        cluster(&self.owner, self.section)
    }

    /// What is made from it is made from this section.
    pub fn origin(&self) -> Origin {
        Origin {
            object: self.owner.clone(),
            section: self.section.into(),
        }
    }

    /// The keywords of one of the definer's sections; `None` where there is no such section of
    /// that type.
    pub fn section_keywords<'s>(&'s self, kind: &str, section: &'s str) -> Option<Keywords<'s>> {
        let resource = self.instance.resources.get(section)?;
        resource
            .is_of(kind)
            .then(|| Keywords::new(&self.owner, section, &resource.keywords, self.raw))
    }

    /// The keywords of a section of a type that the agent has no driver for: it stands in the
    /// raw configuration alone. `None` where there is none.
    pub fn raw_section_keywords<'s>(
        &'s self,
        kind: &str,
        section: &'s str,
    ) -> Option<Keywords<'s>> {
        let raw = self.raw.filter(|raw| raw.config.has_section(section))?;
        let named = section.strip_prefix(kind)?.starts_with('#');
        named.then(|| Keywords::untold(&self.owner, section, raw))
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
    /// How long a connection to a host may take; default 250 ms.
    pub connect_timeout_ms: u32,
    /// How Envoy finds out whether a host works.
    pub health_check: WantedCheck,
    /// What requests are sent in; without `vhosts` it means nothing.
    pub backend_protocol: BackendProtocol,
    /// How much may be under way at once.
    pub limits: Limits,
    /// After how many errors in a row an instance gets no traffic for a while.
    pub outlier_consecutive_errors: Option<u32>,
    /// The TLS server names to take; empty for all.
    pub sni: Vec<String>,
    /// The `vhost` sections; empty for plain TCP.
    pub vhosts: Vec<String>,
    /// The `certificate` sections to terminate TLS with.
    pub listener_certificates: Vec<String>,
    /// The `certificate` sections to present to the backends.
    pub cluster_certificates: Vec<String>,
    /// The file, on Envoy's host, with the private key of a cluster certificate that has none.
    pub cluster_private_key_filename: Option<Sensitive>,
    /// The networks whose clients are served; empty for all. Not a keyword of the agent's.
    pub allow_from: Vec<Prefix>,
    /// Whether clients come through a proxy that tells their address. Not a keyword of the
    /// agent's.
    pub accept_proxy_protocol: bool,
    /// How the instances are told of the client's address. Not a keyword of the agent's.
    pub send_proxy_protocol: Option<ProxyVersion>,
    /// Whether clients may use HTTP/3. Not a keyword of the agent's.
    pub http3: bool,
}

impl Expose {
    /// Whether both are the same but for the port, which each instance has its own of, and for
    /// what only a raw configuration tells, which is read of the definer alone. One that still
    /// asks for a port to listen at will have that of the other.
    fn is_like(&self, other: &Self) -> bool {
        let asks = self.listener_port == 0 || other.listener_port == 0;
        *self
            == Self {
                port: self.port,
                listener_port: if asks {
                    self.listener_port
                } else {
                    other.listener_port
                },
                connect_timeout_ms: self.connect_timeout_ms,
                health_check: self.health_check.clone(),
                backend_protocol: self.backend_protocol,
                limits: self.limits,
                outlier_consecutive_errors: self.outlier_consecutive_errors,
                allow_from: self.allow_from.clone(),
                accept_proxy_protocol: self.accept_proxy_protocol,
                send_proxy_protocol: self.send_proxy_protocol,
                http3: self.http3,
                ..other.clone()
            }
    }

    fn read(keywords: &Keywords<'_>) -> Result<Self, Problem> {
        let port = match keywords.port("port")? {
            Some(0) => return Err(keywords.problem("port", "0 is no port to send traffic to")),
            Some(port) => port,
            None => return Err(keywords.problem("port", "is missing, or is no number")),
        };
        let expose = Self {
            port,
            protocol: read_protocol(keywords)?,
            listener_addr: read_address(keywords)?,
            listener_port: keywords.port("listener_port")?.unwrap_or(port),
            lb_policy: lb_policy(keywords)?,
            connect_timeout_ms: connect_timeout(keywords)?,
            health_check: WantedCheck::read(keywords)?,
            backend_protocol: backend_protocol(keywords)?,
            limits: limits(keywords)?,
            outlier_consecutive_errors: keywords.count("outlier_consecutive_errors")?,
            sni: keywords.words("sni")?,
            vhosts: keywords.words("vhosts")?,
            listener_certificates: keywords.words("listener_certificates")?,
            cluster_certificates: keywords.words("cluster_certificates")?,
            cluster_private_key_filename: keywords.sensitive("cluster_private_key_filename")?,
            allow_from: allow::read(keywords)?,
            accept_proxy_protocol: keywords
                .boolean("accept_proxy_protocol")?
                .unwrap_or_default(),
            send_proxy_protocol: allow::read_proxy_version(keywords)?,
            http3: read_http3(keywords)?,
        };
        match expose.contradiction() {
            Some((keyword, reason)) => Err(keywords.problem(keyword, reason)),
            None => Ok(expose),
        }
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
        exposes.extend(of_owner(
            inventory, policy, &owner, &objects, problems, wants,
        ));
    }
    exposes
}

/// Finds the exposes of one owner, whose objects are in the order of their numbers.
pub fn of_owner<'a>(
    inventory: &'a Inventory,
    policy: &Policy,
    owner: &ObjectPath,
    objects: &[(u32, &'a Object)],
    problems: &mut BTreeSet<Problem>,
    wants: &mut BTreeSet<Want>,
) -> Vec<Exposed<'a>> {
    let finder = Finder {
        inventory,
        owner,
        policy,
        problems,
        wants,
        found: BTreeMap::new(),
        waiting: BTreeSet::new(),
        asking: BTreeSet::new(),
        endpoints: BTreeMap::new(),
        refused: Vec::new(),
    };
    finder.find(objects)
}

/// The name of the cluster of an expose: `<object path>.expose#N`.
pub fn cluster(owner: &ObjectPath, section: &str) -> String {
    format!("{owner}.{section}")
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
    endpoints: BTreeMap<&'a str, Vec<Endpoint>>,
    refused: Vec<Refused<'a>>,
}

/// An expose that one instance has, and that cannot be served there as it is.
struct Refused<'a> {
    at: Place<'a>,
    section: &'a str,
    problem: Problem,
    /// What follows where no other instance has it right.
    consequence: &'static str,
}

/// An instance of the owner or of one of its slaves.
#[derive(Clone, Copy)]
struct Place<'a> {
    path: &'a ObjectPath,
    node: &'a str,
    instance: &'a Instance,
}

impl<'a> Finder<'a, '_> {
    fn find(mut self, objects: &[(u32, &'a Object)]) -> Vec<Exposed<'a>> {
        let places = objects.iter().flat_map(|(_, object)| {
            let path = &object.path;
            let instances = object.instances.iter();
            instances.map(move |(node, instance)| Place {
                path,
                node,
                instance,
            })
        });
        for at in places {
            self.instance(at);
        }
        for refused in std::mem::take(&mut self.refused) {
            let problem = match self.found.contains_key(refused.section) {
                true => refused.problem.hence(format_args!(
                    "the instance {} gets no traffic",
                    self.name(refused.at)
                )),
                false => refused.problem.hence(refused.consequence),
            };
            self.problems.insert(problem);
        }
        let mut endpoints = self.endpoints;
        let exposes = self.found.into_iter().map(|(section, mut exposed)| {
            exposed.asks = self.asking.contains(section);
            exposed.endpoints = endpoints.remove(section).unwrap_or_default();
            exposed
        });
        exposes.collect()
    }

    /// Which instance, for people.
    fn name(&self, at: Place<'_>) -> String {
        match at.path == self.owner {
            true => format!("on {}", at.node),
            false => format!("of {} on {}", at.path, at.node),
        }
    }

    fn instance(&mut self, at: Place<'a>) {
        let mut named = BTreeSet::new();
        for (ip, resource) in at.instance.resources.iter() {
            if !resource.is_of("ip") {
                continue;
            }
            let keywords = Keywords::new(self.owner, ip, &resource.keywords, None);
            let words = match keywords.words("expose") {
                Ok(words) => words,
                Err(problem) => {
                    let problem = problem.hence("it serves no expose");
                    self.problems.insert(problem);
                    continue;
                }
            };
            for word in words {
                let Some(section) = self.section(at.instance, &keywords, &word) else {
                    continue;
                };
                named.insert(section);
                let Some(port) = self.define(at, section) else {
                    continue;
                };
                if resource.is_up() {
                    self.endpoint(at, section, &keywords, port);
                }
            }
        }
        self.unnamed(at, &named);
    }

    /// The expose section that an ip names with `word`, if it is one of ours.
    fn section(
        &mut self,
        instance: &'a Instance,
        ip: &Keywords<'_>,
        word: &str,
    ) -> Option<&'a str> {
        let problem = match instance.resources.get_key_value(word) {
            Some((section, backing)) if backing.driver == EXPOSE_DRIVER => return Some(section),
            Some((_, backing)) if backing.is_of("expose") => return None,
            // `443/tcp:8443` is a port mapping of the ip itself, no business of ours.
            None if word.contains('/') => return None,
            Some(_) => ip.problem(
                "expose",
                format!("names {}, which is no expose", shown(word)),
            ),
            // The agent drops a section from its status when a mandatory keyword is missing.
            None => ip.problem(
                "expose",
                format!("names {}, which is absent or incomplete", shown(word)),
            ),
        };
        self.problems
            .insert(problem.hence("nothing is served for it"));
        None
    }

    /// Tells of the exposes that no ip names.
    fn unnamed(&mut self, at: Place<'a>, named: &BTreeSet<&str>) {
        for (section, resource) in at.instance.resources.iter() {
            if resource.driver != EXPOSE_DRIVER || named.contains(section) {
                continue;
            }
            let keywords = Keywords::new(self.owner, section, &resource.keywords, None);
            if self.belongs_here(&keywords).is_ok() {
                self.refused.push(Refused {
                    at,
                    section,
                    problem: keywords.problem("", "is named by no ip in its keyword expose"),
                    consequence: "the expose is not served",
                });
            }
        }
    }

    /// Reads an expose on one instance and returns the instance's port. The first instance that
    /// has it defines it.
    fn define(&mut self, at: Place<'a>, section: &'a str) -> Option<u16> {
        let resource = at.instance.resources.get(section)?;
        if self.waiting.contains(section) {
            return None;
        }
        let Some(raw) = self.raw(at, section) else {
            self.waiting.insert(section);
            return None;
        };
        // Mostly all instances have the same, which is read once.
        let first = self.found.get(section);
        if let Some(first) = first.filter(|first| first.is_said_again(resource, raw)) {
            return Some(first.expose.port);
        }
        let keywords = Keywords::new(self.owner, section, &resource.keywords, raw);
        let read = match self.belongs_here(&keywords) {
            Ok(()) => {
                Expose::read(&keywords).map_err(|problem| (problem, "the expose is not served"))
            }
            Err(problem) => Err((problem, "the expose is not served here")),
        };
        let expose = match read {
            Ok(expose) => expose,
            Err((problem, consequence)) => {
                self.refused.push(Refused {
                    at,
                    section,
                    problem,
                    consequence,
                });
                return None;
            }
        };
        let port = expose.port;
        if expose.listener_port == 0 {
            self.asking.insert(section);
        }
        match self.found.get(section) {
            Some(first) if !first.expose.is_like(&expose) => {
                let first = Place {
                    path: first.definer,
                    node: first.node,
                    instance: first.instance,
                };
                let reason = format!("is not the same in the instance {}", self.name(at));
                let problem = keywords.problem("", reason);
                let problem = problem.hence(format_args!("the one {} counts", self.name(first)));
                self.problems.insert(problem);
            }
            Some(_) => {}
            None => {
                let exposed = Exposed {
                    owner: self.owner.clone(),
                    section,
                    expose,
                    definer: at.path,
                    node: at.node,
                    instance: at.instance,
                    raw,
                    endpoints: Vec::new(),
                    asks: false,
                };
                self.found.insert(section, exposed);
            }
        }
        Some(port)
    }

    fn belongs_here(&self, keywords: &Keywords<'_>) -> Result<(), Problem> {
        match keywords.text("gateway")? {
            Some(name) if name != self.policy.gateway_name => {
                let own = &self.policy.gateway_name;
                let name = shown(&name);
                let reason = format!("is {name}, and this gateway is {own:?}");
                Err(keywords.problem("gateway", reason))
            }
            _ => Ok(()),
        }
    }
}

/// The driver whose sections are exposes.
pub(super) const EXPOSE_DRIVER: &str = "expose.envoy";
