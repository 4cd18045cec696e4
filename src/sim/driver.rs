//! What the 2.1 resource drivers make of an object's keywords: types, labels and `info`, with
//! the drivers' own quirks. Pure; which resource is up is decided in `cluster`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::{Map, Value, json};

use super::ini::Ini;
use super::keywords::{CANDIDATES, IP, Table, Type::Switch, convert, switch, table};

/// Where a configuration is read: for which object, on which node.
pub(super) struct Scope<'a> {
    /// The configuration.
    pub(super) ini: &'a Ini,
    /// The object's name, without namespace and kind.
    pub(super) name: &'a str,
    /// The object's namespace.
    pub(super) namespace: &'a str,
    /// The node that evaluates.
    pub(super) node: &'a str,
    /// The nodes of the object, for `kw@nodes`.
    pub(super) nodes: &'a [String],
    /// What the resolver knows: host name to address.
    pub(super) hosts: &'a BTreeMap<String, String>,
}

/// One resource as its driver describes it, without its status.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Resource {
    /// `expose.envoy`, `ip`, `container.docker`.
    pub(super) driver: String,
    /// The human line.
    pub(super) label: String,
    /// The driver's keywords; none where nothing is set.
    pub(super) info: Option<Map<String, Value>>,
    /// `disable`, `standby`, `optional`, `monitor`, where they are true.
    pub(super) flags: Vec<&'static str>,
    /// What the driver logs when it looks at the resource.
    pub(super) log: Option<String>,
}

/// Why an instance cannot be evaluated.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Fault {
    /// The driver crashes: the instance's status stays what it was.
    Crash(String),
    /// The configuration cannot be loaded: the object vanishes from the daemon.
    Unloadable(String),
}

impl Scope<'_> {
    /// The keyword's value on this node: the narrowest scope wins, references are resolved.
    pub(super) fn value(&self, section: &str, keyword: &str) -> Option<String> {
        let on_node = self.ini.value(section, &format!("{keyword}@{}", self.node));
        let member = self.nodes.iter().any(|node| node == self.node);
        let on_nodes = self
            .ini
            .value(section, &format!("{keyword}@nodes"))
            .filter(|_| member);
        let raw = on_node
            .or(on_nodes)
            .or_else(|| self.ini.value(section, keyword))?;
        Some(self.resolve(section, raw, DEPTH_MAX))
    }

    fn resolve(&self, section: &str, raw: &str, depth: u8) -> String {
        let (mut done, mut rest) = (String::new(), raw);
        while let Some(at) = rest.find('{') {
            let (before, open) = rest.split_at(at);
            done.push_str(before);
            let end = open.find('}').filter(|end| is_reference(&open[1..*end]));
            let known = end.filter(|_| depth > 0).and_then(|end| {
                Some((
                    end,
                    self.reference(section, &open[1..end].to_lowercase(), depth)?,
                ))
            });
            if let Some((end, value)) = known {
                done.push_str(&value);
                rest = &open[end + 1..];
            } else {
                done.push('{');
                rest = &open[1..];
            }
        }
        done.push_str(rest);
        done
    }

    fn reference(&self, section: &str, name: &str, depth: u8) -> Option<String> {
        let short = |text: &str| text.split('.').next().unwrap_or_default().to_owned();
        match name {
            "name" | "svcname" => return Some(self.name.to_owned()),
            "short_name" | "short_svcname" => return Some(short(self.name)),
            "scaler_name" | "scaler_svcname" => {
                let numbered = self.name.split_once('.');
                let slave = numbered.filter(|(number, _)| number.parse::<u32>().is_ok());
                return Some(slave.map_or(self.name, |(_, name)| name).to_owned());
            }
            "namespace" => return Some(self.namespace.to_owned()),
            "nodename" => return Some(self.node.to_owned()),
            "short_nodename" => return Some(short(self.node)),
            "rid" => return Some(section.to_owned()),
            "rindex" => return section.split('#').next_back().map(str::to_owned),
            _ => {}
        }
        let (place, keyword) = name.split_once('.').unwrap_or((section, name));
        let scoped = format!("{keyword}@{}", self.node);
        let value = |place| {
            self.ini
                .value(place, &scoped)
                .or_else(|| self.ini.value(place, keyword))
        };
        let raw = value(place).or_else(|| (!name.contains('.')).then(|| value("DEFAULT"))?)?;
        Some(self.resolve(place, raw, depth - 1))
    }

    /// Every resource that the drivers report.
    pub(super) fn resources(&self) -> Result<BTreeMap<String, Resource>, Fault> {
        let mut resources = BTreeMap::new();
        for (section, _) in self.ini.sections() {
            let group = section.split('#').next().unwrap_or_default();
            if !section.contains('#') || !GROUPS.contains(&group) {
                continue;
            }
            // A mandatory keyword is missing: the resource is left out, whoever refers to it.
            if group == "expose" && self.value(section, "port").is_none() {
                continue;
            }
            let resource = match table(group) {
                Some((driver, table)) => self.keywords(section, driver, table)?,
                None if group == "ip" => self.ip(section)?,
                None => self.opaque(section, group)?,
            };
            resources.insert(section.to_owned(), resource);
        }
        Ok(resources)
    }

    /// What `om create` and `om set` refuse, beyond what [`Self::resources`] stumbles over.
    pub(super) fn check(&self) -> Result<(), String> {
        for (section, _) in self
            .ini
            .sections()
            .filter(|(name, _)| name.starts_with("expose#"))
        {
            if self.value(section, "port").is_none() {
                return Err(format!("{section}.port is mandatory"));
            }
            for (keyword, candidates) in CANDIDATES {
                let value = self.value(section, keyword);
                if let Some(value) = value.filter(|value| !candidates.contains(&value.as_str())) {
                    return Err(format!("{section}.{keyword}: {value} is not a candidate"));
                }
            }
        }
        match self.resources() {
            Ok(_) => Ok(()),
            Err(Fault::Crash(reason) | Fault::Unloadable(reason)) => Err(reason),
        }
    }

    /// What each ip resource is configured to, unresolved: a name or an address.
    pub(super) fn addresses(&self) -> BTreeMap<String, String> {
        let names = self.ini.sections().map(|(name, _)| name);
        let ips = names.filter(|name| name.starts_with("ip#"));
        ips.filter_map(|rid| Some((rid.to_owned(), self.value(rid, "ipname")?)))
            .collect()
    }

    fn keywords(&self, rid: &str, driver: &str, table: Table) -> Result<Resource, Fault> {
        let mut info = Map::new();
        for (keyword, kind) in table {
            let value = self.value(rid, keyword);
            if *kind == Switch {
                let state = value.as_deref().map_or(Some(false), switch);
                let bad = || Fault::Unloadable(format!("{rid}.{keyword}: not a boolean"));
                info.insert((*keyword).to_owned(), state.ok_or_else(bad)?.into());
            } else if let Some(value) = value.and_then(|value| convert(*kind, &value)) {
                info.insert((*keyword).to_owned(), value);
            }
        }
        let label = match driver {
            "expose.envoy" => expose_label(&mut info, rid)?,
            "vhost.envoy" => {
                info.entry("domains").or_insert_with(|| json!([self.name]));
                format!("envoy vhost {}", join(info.get("domains")))
            }
            "route.envoy" => "envoy route".to_owned(),
            "hashpolicy.envoy" => "envoy hash policy".to_owned(),
            _ => "tls certificate".to_owned(),
        };
        let info = Some(info).filter(|info| !info.is_empty());
        // The drivers of these sections ignore `disable` and its like.
        Ok(Resource {
            driver: driver.to_owned(),
            label,
            info,
            flags: Vec::new(),
            log: None,
        })
    }

    fn ip(&self, rid: &str) -> Result<Resource, Fault> {
        let kind = self.value(rid, "type").filter(|kind| kind != "host");
        let driver = kind.map_or_else(|| "ip".to_owned(), |kind| format!("ip.{kind}"));
        let flags = self.flags(rid)?;
        if flags.contains(&"disable") {
            return Ok(Resource {
                label: "ip".to_owned(),
                driver,
                info: None,
                flags,
                log: None,
            });
        }
        let name = self.value(rid, "ipname").filter(|name| !name.is_empty());
        let address = name.as_ref().and_then(|name| match name.parse::<IpAddr>() {
            Ok(address) => Some(address.to_string()),
            Err(_) => self.hosts.get(name).cloned(),
        });
        let (log, alias) = match (&name, &address) {
            (None, _) => (
                Some("warn: ip address is not allocated yet".to_owned()),
                None,
            ),
            (Some(name), None) => (
                Some(format!(
                    "warn: could not resolve name {name}: [Errno -3] Temporary failure in name \
                     resolution"
                )),
                None,
            ),
            (Some(name), Some(address)) => (None, Some(name).filter(|name| *name != address)),
        };
        let mut info = Map::new();
        for (keyword, kind) in IP {
            if let Some(value) = self
                .value(rid, keyword)
                .and_then(|value| convert(*kind, &value))
            {
                info.insert((*keyword).to_owned(), value);
            }
        }
        let word = |keyword| {
            self.value(rid, keyword)
                .unwrap_or_else(|| "None".to_owned())
        };
        let shown = address
            .clone()
            .or_else(|| name.clone())
            .unwrap_or_else(|| "None".to_owned());
        let alias = alias.map_or_else(String::new, |alias| format!(" {alias}"));
        let label = format!("{shown}/{} {}{alias}", word("netmask"), word("ipdev"));
        info.insert(
            "ipaddr".to_owned(),
            address.map_or(Value::Null, Value::String),
        );
        Ok(Resource {
            driver,
            label,
            info: Some(info),
            flags,
            log,
        })
    }

    fn opaque(&self, rid: &str, group: &str) -> Result<Resource, Fault> {
        let kind = self.value(rid, "type");
        let driver = kind.map_or_else(|| group.to_owned(), |kind| format!("{group}.{kind}"));
        let label = driver.replace('.', " ");
        Ok(Resource {
            driver,
            label,
            info: None,
            flags: self.flags(rid)?,
            log: None,
        })
    }

    fn flags(&self, rid: &str) -> Result<Vec<&'static str>, Fault> {
        let mut flags = Vec::new();
        for flag in FLAGS {
            let Some(value) = self.value(rid, flag) else {
                continue;
            };
            let bad = || Fault::Unloadable(format!("{rid}.{flag}: not a boolean"));
            if switch(&value).ok_or_else(bad)? {
                flags.push(flag);
            }
        }
        Ok(flags)
    }
}

fn expose_label(info: &mut Map<String, Value>, rid: &str) -> Result<String, Fault> {
    info.entry("protocol").or_insert_with(|| "tcp".into());
    info.entry("lb_policy")
        .or_insert_with(|| "round robin".into());
    // The driver formats its label with %d: without a number it raises, and nothing is reported.
    let Some(listener_port) = info.get("listener_port") else {
        let error = "%d format: a real number is required, not NoneType";
        return Err(Fault::Crash(format!("{rid}: {error}")));
    };
    let port = info
        .get("port")
        .map_or_else(|| "None".to_owned(), Value::to_string);
    let text = |keyword: &str| info.get(keyword).and_then(Value::as_str);
    let (protocol, address) = (text("protocol"), text("listener_addr"));
    let (protocol, address) = (protocol.unwrap_or("tcp"), address.unwrap_or("0.0.0.0"));
    Ok(format!(
        "envoy expose {port}/{protocol} via {address}:{listener_port}"
    ))
}

fn is_reference(inside: &str) -> bool {
    let legal = |letter: char| letter.is_alphanumeric() || "_#.[]:/".contains(letter);
    !inside.is_empty() && inside.chars().all(legal)
}

fn join(words: Option<&Value>) -> String {
    let words = words.and_then(Value::as_array).into_iter().flatten();
    words
        .filter_map(Value::as_str)
        .collect::<Vec<_>>()
        .join(", ")
}

/// References nest; a circle must end.
const DEPTH_MAX: u8 = 8;

const FLAGS: [&str; 4] = ["disable", "standby", "optional", "monitor"];

/// The groups that become resources; `env`, `subset` and the like do not.
const GROUPS: [&str; 13] = [
    "ip",
    "expose",
    "vhost",
    "route",
    "hashpolicy",
    "certificate",
    "app",
    "container",
    "fs",
    "disk",
    "volume",
    "share",
    "task",
];

#[cfg(test)]
mod tests {
    use super::*;

    /// The recorded resources of an object against what the drivers here make of its file.
    #[track_caller]
    fn check(name: &str, config: &str, recorded: &str) {
        let ini = Ini::parse(config).unwrap();
        let (nodes, hosts) = (vec!["vm".to_owned()], BTreeMap::new());
        let scope = Scope {
            ini: &ini,
            name,
            namespace: "test",
            node: "vm",
            nodes: &nodes,
            hosts: &hosts,
        };
        let mut resources = scope.resources().unwrap();
        let recorded: BTreeMap<String, Value> = serde_json::from_str(recorded).unwrap();
        // What is in the file and not in the record is left out of the record on purpose.
        resources.retain(|rid, _| recorded.contains_key(rid));
        assert_eq!(
            resources.keys().collect::<Vec<_>>(),
            recorded.keys().collect::<Vec<_>>(),
            "{name}"
        );
        for (rid, resource) in resources {
            let mut drawn = json!({"type": resource.driver, "label": resource.label});
            for flag in resource.flags {
                drawn[flag] = true.into();
            }
            if let Some(info) = resource.info {
                drawn["info"] = Value::Object(info);
            }
            let mut expected = recorded[&rid].clone();
            expected.as_object_mut().unwrap().remove("status");
            assert_eq!(drawn, expected, "{name} {rid}");
        }
    }

    #[test]
    fn recorded_objects_are_described_as_the_real_drivers_did() {
        check(
            "web1",
            include_str!("recorded/web1.conf"),
            include_str!("recorded/web1.json"),
        );
        check(
            "app1",
            include_str!("recorded/app1.conf"),
            include_str!("recorded/app1.json"),
        );
        check(
            "bad1",
            include_str!("recorded/bad1.conf"),
            include_str!("recorded/bad1.json"),
        );
        check(
            "ipstates",
            include_str!("recorded/ipstates.conf"),
            include_str!("recorded/ipstates.json"),
        );
    }

    #[test]
    fn the_narrowest_scope_wins_and_references_nest() {
        let text = "[env]\nfirst = {env.second}-{name}\nsecond = {namespace}\nloop = {env.loop}\n\
                    [expose#0]\nport@n1 = 1\nport@nodes = 2\nport = 3\nsni = {env.first} {rid}\n";
        let ini = Ini::parse(text).unwrap();
        let (members, hosts) = (["n1".to_owned(), "n2".to_owned()], BTreeMap::new());
        for (node, port) in [("n1", "1"), ("n2", "2"), ("n3", "3")] {
            let scope = Scope {
                ini: &ini,
                name: "web",
                namespace: "test",
                node,
                nodes: &members,
                hosts: &hosts,
            };
            assert_eq!(scope.value("expose#0", "port").as_deref(), Some(port));
            let sni = scope.value("expose#0", "sni");
            assert_eq!(sni.as_deref(), Some("test-web expose#0"));
            assert_eq!(scope.value("env", "loop").as_deref(), Some("{env.loop}"));
        }
    }

    #[test]
    fn a_listener_port_that_is_no_number_crashes_and_a_bad_boolean_cannot_be_loaded() {
        let (nodes, hosts) = (vec!["vm".to_owned()], BTreeMap::new());
        let fault = |text: &str| {
            let ini = Ini::parse(text).unwrap();
            let (name, namespace, node) = ("web", "test", "vm");
            let scope = Scope {
                ini: &ini,
                name,
                namespace,
                node,
                nodes: &nodes,
                hosts: &hosts,
            };
            scope.resources().unwrap_err()
        };
        let crash = fault("[expose#0]\nport = 80\nlistener_port = 0x50\n");
        assert!(matches!(crash, Fault::Crash(_)), "{crash:?}");
        let unloadable = fault("[route#0]\nredirect_https_redirect = maybe\n");
        assert!(matches!(unloadable, Fault::Unloadable(_)), "{unloadable:?}");
    }
}
