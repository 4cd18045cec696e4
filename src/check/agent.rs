//! What the agent 2.1 would tell of a service that has a file: its instances as its drivers
//! evaluate them, and what they refuse, drop or misread. Addresses that only a node can know are
//! made up. Nothing is known of gateways here.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use super::known::FLAGS;
use super::{Finding, Level, Source, finding, section_problem};
use crate::inventory::drivers::{self, Driven, Flaw, Section, Type};
use crate::inventory::ini::Ini;
use crate::inventory::keywords::shown;
use crate::inventory::{
    Config, Instance, Kind, Object, ObjectPath, Problem, Resource, Table, Values,
};

/// The services that were taken, and what they name.
#[derive(Debug, Default)]
pub struct Agent {
    objects: BTreeMap<ObjectPath, Object>,
    configs: BTreeMap<ObjectPath, Config>,
    /// Where each `sec` object is named: object and section, and the keyword.
    secrets: BTreeSet<Named>,
    /// The gateway that each expose names.
    gateways: BTreeMap<(ObjectPath, String), BTreeSet<String>>,
    /// The sections that the agent leaves out of the status.
    left_out: BTreeSet<(ObjectPath, String)>,
    addresses: u32,
}

/// A `sec` object, the section that names it, and the keyword.
pub(super) type Named = (ObjectPath, (ObjectPath, String), &'static str);

impl Agent {
    /// Takes a service in.
    pub(super) fn take(&mut self, source: &Source, ini: &Ini, findings: &mut BTreeSet<Finding>) {
        let config = ini.config();
        let nodes = nodes(&config, ini, &source.object);
        let mut instances = BTreeMap::new();
        for node in &nodes {
            let mut reader = Reader {
                source,
                ini,
                config: &config,
                node,
                findings,
                left_out: &mut self.left_out,
                addresses: &mut self.addresses,
            };
            instances.insert(node.clone(), reader.instance());
            self.name(source, &config, node);
        }
        self.objects.insert(
            source.object.clone(),
            Object {
                path: source.object.clone(),
                revision: REVISION.into(),
                slave: false,
                instances: instances.into(),
            },
        );
        self.configs.insert(source.object.clone(), config);
    }

    /// Notes the secrets and gateways that a service names, and that the secrets exist.
    fn name(&mut self, source: &Source, config: &Config, node: &str) {
        let object = &source.object;
        for section in config.sections() {
            let place = || (object.clone(), section.to_owned());
            let value = |keyword| config.keyword(object, node, section, keyword);
            if section.starts_with("expose#")
                && let Some(name) = value("gateway")
            {
                self.gateways.entry(place()).or_default().insert(name);
            }
            if !section.starts_with("certificate#") {
                continue;
            }
            let own = ["certificate_secret", "secret"];
            let own = own.into_iter().find(|keyword| value(keyword).is_some());
            for keyword in own.into_iter().chain(["validation_secret"]) {
                let path = value(keyword).and_then(|word| object.resolve(Kind::Sec, &word));
                let Some(path) = path.filter(|path| path.kind() == Kind::Sec) else {
                    continue;
                };
                let known = self.objects.entry(path.clone()).or_insert_with(|| Object {
                    path: path.clone(),
                    revision: REVISION.into(),
                    slave: false,
                    instances: Table::default(),
                });
                known.instances.insert(node.to_owned(), Instance::default());
                self.secrets.insert((path, place(), keyword));
            }
        }
    }

    /// Everything as the daemon would report it.
    pub(super) fn objects(&self) -> &BTreeMap<ObjectPath, Object> {
        &self.objects
    }

    /// The raw configuration of an object.
    pub(super) fn config(&self, path: &ObjectPath) -> Option<&Config> {
        self.configs.get(path)
    }

    /// The gateways that exposes name.
    pub(super) fn gateways(&self) -> BTreeSet<String> {
        let names = self.gateways.values().flatten();
        names.filter(|name| !name.is_empty()).cloned().collect()
    }

    /// Whether a problem only says that an expose is for another gateway than `name`.
    pub(super) fn is_of_other(&self, problem: &Problem, name: &str) -> bool {
        let place = (problem.object.clone(), problem.section.clone());
        let named = self.gateways.get(&place);
        problem.keyword == "gateway"
            && named.is_some_and(|names| names.iter().any(|it| it != name && !it.is_empty()))
    }

    /// Whether a problem only says that a section is not in the status, which was told already.
    pub(super) fn is_of_left_out(&self, problem: &Problem) -> bool {
        let begins = |section: &str| format!("names {}, ", shown(section));
        let mut left_out = self.left_out.iter();
        problem.keyword == "expose"
            && left_out.any(|(object, section)| {
                *object == problem.object && problem.reason.starts_with(&begins(section))
            })
    }

    /// The `sec` objects that are named, and where.
    pub(super) fn unseen(&self) -> impl Iterator<Item = &Named> {
        self.secrets.iter()
    }
}

/// The nodes of a service; where it names none that can be told, those that scopes name, or one.
fn nodes(config: &Config, ini: &Ini, object: &ObjectPath) -> BTreeSet<String> {
    let typed = config.keyword(object, "", "DEFAULT", "nodes");
    let typed = typed.unwrap_or_default();
    let is_name = |word: &str| {
        let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        !word.is_empty() && word.chars().all(fits)
    };
    let named = typed.split_whitespace().filter(|word| is_name(word));
    let mut nodes: BTreeSet<String> = named.map(str::to_lowercase).collect();
    if nodes.is_empty() {
        let keywords = ini.sections().values().flat_map(|it| it.keywords.keys());
        let scopes = keywords.filter_map(|keyword| keyword.split_once('@'));
        let scopes = scopes.map(|(_, scope)| scope);
        let scopes = scopes.filter(|scope| is_name(scope) && !SCOPES.contains(scope));
        nodes.extend(scopes.map(str::to_owned));
    }
    if nodes.is_empty() {
        nodes.insert("node1".to_owned());
    }
    nodes
}

/// Reads one instance.
struct Reader<'a> {
    source: &'a Source,
    ini: &'a Ini,
    config: &'a Config,
    node: &'a str,
    findings: &'a mut BTreeSet<Finding>,
    left_out: &'a mut BTreeSet<(ObjectPath, String)>,
    addresses: &'a mut u32,
}

impl Reader<'_> {
    fn instance(&mut self) -> Instance {
        let mut resources = BTreeMap::new();
        let config = self.config;
        for section in config.sections() {
            let Some((group, _)) = section.split_once('#') else {
                continue;
            };
            let resource = match drivers::section(group) {
                _ if group == "ip" => Some(self.ip(section)),
                Some(known) if !known.driver.is_empty() => self.resource(section, known),
                _ => None,
            };
            resources.extend(resource.map(|resource| (section.to_owned(), Arc::new(resource))));
        }
        Instance {
            monitor: "idle".into(),
            resources: Arc::new(resources.into()),
            ..Instance::default()
        }
    }

    /// What the driver makes of a section; none where it is left out.
    fn resource(&mut self, section: &str, known: &Section) -> Option<Resource> {
        if let Some(kind) = self
            .value(section, "type")
            .filter(|kind| *kind != known.driver)
        {
            let reason = format!(
                "is {}: the agent knows {} alone, and refuses the section",
                shown(&kind),
                known.driver
            );
            self.find(section, "type", reason);
        }
        let object = &self.source.object;
        let driven = known.read(object, |keyword| self.value(section, keyword));
        let Some(Driven { resource, flaws }) = driven else {
            let reason = "is missing: the agent refuses the section, and leaves it out of the \
                          status where it is in a file";
            self.find(section, "port", reason.to_owned());
            let place = (self.source.object.clone(), section.to_owned());
            self.left_out.insert(place);
            return None;
        };
        for (keyword, flaw) in flaws {
            self.flawed(section, keyword, flaw);
        }
        if known.group == "expose" && !resource.keywords.contains_key("listener_port") {
            let is = match self.value(section, "listener_port") {
                None => "is missing".to_owned(),
                Some(typed) => format!("is {}, which is no number", shown(&typed)),
            };
            let reason = format!(
                "{is}: the agent 2.1 fails on it, refuses the change and cannot evaluate the \
                 service any more; 0 asks for a port"
            );
            self.find(section, "listener_port", reason);
        }
        Some(resource)
    }

    fn flawed(&mut self, section: &str, keyword: &str, flaw: Flaw) {
        let typed = self.value(section, keyword).unwrap_or_default();
        let is = shown(&typed);
        let reason = match flaw {
            Flaw::Duration => format!("{is} is no duration, which the agent takes for 0"),
            Flaw::Boolean => {
                format!("{is} is no boolean: the agent cannot load the object, and drops it")
            }
        };
        self.find(section, keyword, reason);
    }

    fn ip(&mut self, section: &str) -> Resource {
        let kind = self.value(section, "type").filter(|kind| kind != "host");
        let driver = kind.map_or_else(|| "ip".to_owned(), |kind| format!("ip.{kind}"));
        let mut disabled = false;
        for flag in FLAGS {
            let typed = self.value(section, flag);
            let (value, flaw) = Type::Switch.convert(typed.as_deref());
            disabled |= *flag == "disable" && value == Some(true.into());
            if let Some(flaw) = flaw {
                self.flawed(section, flag, flaw);
            }
        }
        if disabled {
            return Resource {
                driver: driver.into(),
                status: "n/a".into(),
                keywords: Values::default(),
            };
        }
        let name = self.value(section, "ipname").unwrap_or_default();
        let known = name.trim().parse().ok();
        let address = known.unwrap_or_else(|| self.made_up());
        let exposes = self.value(section, "expose").unwrap_or_default();
        let exposes: Vec<&str> = exposes.split_whitespace().collect();
        Resource {
            driver: driver.into(),
            status: "up".into(),
            keywords: Values::from([
                ("ipaddr", address.to_string().into()),
                ("expose", exposes.into()),
            ]),
        }
    }

    /// An address that no other instance has, of the block for benchmarks (RFC 2544).
    fn made_up(&mut self) -> IpAddr {
        *self.addresses = (*self.addresses + 1) % (1 << 17);
        IpAddr::V4(Ipv4Addr::from_bits(FIRST_MADE_UP + *self.addresses))
    }

    fn value(&self, section: &str, keyword: &str) -> Option<String> {
        let object = &self.source.object;
        self.config.keyword(object, self.node, section, keyword)
    }

    fn find(&mut self, section: &str, keyword: &str, reason: String) {
        let line = self.ini.line(section, keyword).unwrap_or(1);
        let problem = section_problem(&self.source.object, section, keyword, reason);
        let file = &self.source.file;
        let found = finding(file, line, "agent", Level::Problem, problem);
        self.findings.insert(found);
    }
}

/// The one revision of everything.
const REVISION: &str = "file";
/// 198.18.0.0.
const FIRST_MADE_UP: u32 = 0xc612_0000;
/// Scopes that are no node.
const SCOPES: &[&str] = &[
    "nodes",
    "drpnodes",
    "drpnode",
    "encapnodes",
    "flex_primary",
    "drp_flex_primary",
];
