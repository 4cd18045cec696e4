//! What the daemon would tell if a service had another configuration file: its instances and their
//! addresses stay, its sections are those of the file.
//!
//! What the status would have is what the agent's drivers make of them ([`drivers`]).

use std::net::IpAddr;
use std::sync::Arc;

use super::drivers::{self, Type};
use super::{
    Config, Event, Instance, Inventory, Kind, NodeStatus, Object, ObjectPath, Reading, Resource,
    Table,
};

/// The events that give `path` this configuration. A scaler's slaves get it too, as they would
/// when they are made anew. A service that is not there yet is taken to be up on the nodes that
/// the file names, where its addresses are written as such.
pub fn overlay(inventory: &Inventory, path: &ObjectPath, config: &Config) -> Vec<Event> {
    let objects = inventory.objects.values();
    let meant = objects.filter(|object| {
        let scaler = object.slave.then(|| object.path.scaler()).flatten();
        object.path == *path || scaler.is_some_and(|(_, scaler)| scaler == *path)
    });
    let mut objects: Vec<Object> = meant.map(|object| Object::clone(object)).collect();
    if objects.is_empty() {
        objects.push(created(inventory, path, config));
    }
    let mut events = Vec::new();
    for mut object in objects {
        let path = object.path.clone();
        for (node, instance) in object.instances.iter_mut() {
            if !instance.scaler {
                settle(&path, node, instance, config);
            }
        }
        let revision = object.revision.clone();
        let content = Some(config.clone());
        events.push(Event::Put(Arc::new(object)));
        events.push(Event::Config(path, Reading { revision, content }));
    }
    events
}

/// A service that nobody has heard of, as it would be when it is started.
fn created(inventory: &Inventory, path: &ObjectPath, config: &Config) -> Object {
    let mut object = Object {
        path: path.clone(),
        revision: "not created yet".into(),
        slave: false,
        instances: Table::default(),
    };
    let settled = inventory.nodes.iter();
    let settled = settled.filter(|(_, status)| **status == NodeStatus::Settled);
    for node in settled.map(|(node, _)| node) {
        let text = |keyword| config.keyword(path, node, "DEFAULT", keyword);
        let nodes = text("nodes").unwrap_or_else(|| "*".to_owned());
        let mut words = nodes.split_whitespace();
        if !words.any(|word| word == "*" || word == node || word == "{clusternodes}") {
            continue;
        }
        let failover = text("topology").is_none_or(|topology| topology == "failover");
        let instance = Instance {
            monitor: "idle".into(),
            failover,
            ..Instance::default()
        };
        object.instances.insert(node.clone(), instance);
        if failover {
            break;
        }
    }
    object
}

/// Gives an instance the sections of the configuration.
fn settle(path: &ObjectPath, node: &str, instance: &mut Instance, config: &Config) {
    let before = std::mem::take(&mut instance.resources);
    let known = !before.is_empty();
    let runs = before.values().any(|it| it.is_of("ip") && it.is_up()) || !known;
    for section in config.sections() {
        let Some((group, _)) = section.split_once('#') else {
            continue;
        };
        let text = |keyword: &str| config.keyword(path, node, section, keyword);
        let resource = match drivers::section(group) {
            _ if group == "ip" => Some(ip(before.get(section).map(AsRef::as_ref), runs, text)),
            Some(known) if !known.driver.is_empty() => {
                known.read(path, text).map(|driven| driven.resource)
            }
            _ => None,
        };
        if let Some(resource) = resource {
            let resource = Arc::new(resource);
            instance
                .resources_mut()
                .insert(section.to_owned(), resource);
        }
    }
}

/// An address stays what it is; a new one is what is written, if that is one.
fn ip(before: Option<&Resource>, runs: bool, text: impl Fn(&str) -> Option<String>) -> Resource {
    let mut resource = before.cloned().unwrap_or_else(|| {
        let written = text("ipname").and_then(|name| name.parse::<IpAddr>().ok());
        let kind = text("type").filter(|kind| kind != "host");
        let status = if runs && written.is_some() {
            "up"
        } else {
            "down"
        };
        let address = written.map(|address| ("ipaddr", address.to_string().into()));
        Resource {
            driver: kind.map_or_else(|| "ip".into(), |kind| format!("ip.{kind}").into()),
            status: status.into(),
            keywords: address.into_iter().collect(),
        }
    });
    let (disabled, _) = Type::Switch.convert(text("disable").as_deref());
    if disabled == Some(true.into()) {
        resource.status = "n/a".into();
    }
    let exposes = text("expose").unwrap_or_default();
    let exposes: Vec<&str> = exposes.split_whitespace().collect();
    resource.keywords.remove("expose");
    if !exposes.is_empty() {
        resource.keywords.insert("expose", exposes);
    }
    resource
}

/// The part of a configuration that an agent 2.1 does not tell in its status.
pub fn untold(config: &Config) -> Config {
    config.without(|section, keyword| {
        let group = section.split('#').next().unwrap_or_default();
        match drivers::section(group) {
            _ if group == "ip" => TOLD_OF_IP.contains(&keyword),
            Some(known) => !known.driver.is_empty() && known.tells(keyword),
            None => false,
        }
    })
}

/// The path that a file is about: what its folders say (`test/svc/web1.conf`), else the one
/// service of that name that there is, else one of the `namespace`.
///
/// # Errors
/// What the file's name is not.
pub fn path_of(
    file: &std::path::Path,
    namespace: Option<&str>,
    inventory: &Inventory,
) -> Result<ObjectPath, String> {
    let word = |text: Option<&std::ffi::OsStr>| text.and_then(|it| it.to_str()).map(str::to_owned);
    let name = word(file.file_stem()).filter(|_| word(file.extension()).as_deref() == Some("conf"));
    let name = name.ok_or("its name is not that of a service followed by .conf")?;
    let mut folders = file
        .ancestors()
        .skip(1)
        .map(|folder| word(folder.file_name()));
    let (kind, above) = (folders.next().flatten(), folders.next().flatten());
    let of = |namespace: &str| ObjectPath::new(namespace, Kind::Svc, &name);
    let checked = |path: ObjectPath| {
        let read: Result<ObjectPath, _> = path.to_string().parse();
        read.map_err(|error| error.to_string())
    };
    if let Some(namespace) = namespace {
        return checked(of(namespace));
    }
    if let (Some("svc"), Some(above)) = (kind.as_deref(), above) {
        return checked(of(&above));
    }
    let objects = inventory.objects.keys();
    let same: Vec<&ObjectPath> = objects
        .filter(|path| path.kind() == Kind::Svc && path.name() == name)
        .collect();
    match same[..] {
        [] => checked(of("root")),
        [only] => Ok(only.clone()),
        _ => Err(format!(
            "there are services of that name in several namespaces, {} and {} among them: name \
             one with --namespace",
            same[0], same[1]
        )),
    }
}

/// The keywords of an address that an agent 2.1 tells in its status.
const TOLD_OF_IP: [&str; 5] = ["ipname", "ipdev", "netmask", "gateway", "expose"];

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::Value;

    use super::*;
    use crate::inventory::Values;
    use crate::inventory::ini::Ini;

    fn inventory(paths: &[&str]) -> Inventory {
        let mut inventory = Inventory::default();
        inventory.apply(Event::Node("n1".to_owned(), Some(NodeStatus::Settled)));
        for path in paths {
            let keywords = Values::from([("ipaddr", Value::from("10.0.0.1"))]);
            let ip = Resource {
                driver: "ip".into(),
                status: "up".into(),
                keywords,
            };
            let instance = Instance {
                resources: Table::from([("ip#1".to_owned(), Arc::new(ip))]).into(),
                ..Instance::default()
            };
            let path: ObjectPath = path.parse().unwrap();
            let object = Object {
                path,
                revision: "1".into(),
                slave: false,
                instances: Table::from([("n1".to_owned(), instance)]),
            };
            inventory.apply(Event::Put(Arc::new(object)));
        }
        inventory
    }

    fn overlaid(paths: &[&str], text: &str) -> Arc<Object> {
        let mut inventory = inventory(paths);
        let path: ObjectPath = "test/svc/web1".parse().unwrap();
        let config = Ini::read(text).0.config();
        for event in overlay(&inventory, &path, &config) {
            inventory.apply(event);
        }
        assert_eq!(inventory.configs[&path].content, Some(config));
        inventory.objects[&path].clone()
    }

    #[test]
    fn an_address_stays_and_the_sections_are_those_of_the_file() {
        let text = "[ip#1]\nipname = web\nexpose = expose#0\n[expose#0]\nport = 80.9\n\
                    [vhost#0]\n[expose#1]\nsni = x\n[hashpolicy#0]\ncookie_ttl = 1h30m\n";
        let object = overlaid(&["test/svc/web1"], text);
        let resources = &object.instances.get("n1").unwrap().resources;
        let names: Vec<&str> = resources.keys().collect();
        assert_eq!(names, ["expose#0", "hashpolicy#0", "ip#1", "vhost#0"]);
        assert_eq!(
            resources
                .get("ip#1")
                .unwrap()
                .keywords
                .get("ipaddr")
                .unwrap(),
            "10.0.0.1"
        );
        assert_eq!(
            resources
                .get("expose#0")
                .unwrap()
                .keywords
                .get("port")
                .unwrap(),
            80
        );
        assert_eq!(
            resources
                .get("hashpolicy#0")
                .unwrap()
                .keywords
                .get("cookie_ttl")
                .unwrap(),
            5_400
        );
    }

    #[test]
    fn what_the_status_tells_is_not_looked_up_in_the_rest() {
        let text = "[expose#0]\nport@n1 = 80\nconnect_timeout = 5s\n[env]\nport = 1\n";
        let rest = untold(&Ini::read(text).0.config());
        let path: ObjectPath = "web1".parse().unwrap();
        let value = |section, keyword| rest.keyword(&path, "n1", section, keyword);
        assert_eq!(value("expose#0", "port"), None);
        assert_eq!(value("expose#0", "connect_timeout").as_deref(), Some("5s"));
        assert_eq!(value("env", "port").as_deref(), Some("1"));
    }

    #[test]
    fn a_new_service_is_taken_to_be_up_where_its_file_says() {
        let text = "[DEFAULT]\nnodes = *\n[ip#0]\nipname = 10.0.0.9\nexpose = expose#0\n\
                    [expose#0]\nport = 80\n";
        let object = overlaid(&[], text);
        let ip = object.instances.get("n1").unwrap();
        let ip = ip.resources.get("ip#0").unwrap();
        assert_eq!(
            (ip.status.as_ref(), ip.keywords.get("ipaddr").unwrap()),
            ("up", Value::from("10.0.0.9"))
        );
        let elsewhere = overlaid(&[], &text.replace('*', "n2"));
        assert!(elsewhere.instances.is_empty());
    }

    #[test]
    fn a_file_is_about_the_service_that_its_folders_or_its_name_say() {
        let known = inventory(&["test/svc/web1", "a/svc/twice", "b/svc/twice"]);
        let path = |file: &str, namespace| {
            let path = path_of(Path::new(file), namespace, &known);
            path.map(|path| path.to_string())
                .unwrap_or_else(|error| error)
        };
        assert_eq!(path("prod/svc/web1.conf", None), "prod/svc/web1");
        assert_eq!(path("web1.conf", None), "test/svc/web1");
        assert_eq!(path("x/new.conf", None), "new");
        assert_eq!(path("prod/svc/web1.conf", Some("dev")), "dev/svc/web1");
        assert!(path("twice.conf", None).contains("several namespaces"));
        assert!(path("web1.ini", None).contains(".conf"));
        assert!(path("web 1.conf", None).contains("path"));
    }
}
