//! The scripted cluster: nodes, objects and their instances, and what a command of an operator
//! does to them. It knows neither trees nor patches nor sockets; `status` draws it.

use std::collections::{BTreeMap, BTreeSet};

use super::Refused;
use super::boot::Boot;
use super::ini::{Ini, digest};
use super::status;
use super::told::Report;

/// An object path, taken apart.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Path {
    /// None for the root namespace.
    pub(super) namespace: Option<String>,
    /// `svc`, `sec`, `cfg`.
    pub(super) kind: String,
    /// The last part.
    pub(super) name: String,
}

/// How far the daemon is with an object.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Stage {
    /// Its configuration is known.
    Configured,
    /// It is counted among the services, with nothing known.
    Listed,
    /// Its instances are evaluated.
    Evaluated,
}

/// A node of the cluster.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// Seen by the daemon; a lost node is not, and stays a member.
    pub(super) present: bool,
    /// It has joined and has not told of its objects yet.
    pub(super) joining: bool,
    /// `idle`, `init`, `maintenance`.
    pub(super) status: String,
    /// When that changed.
    pub(super) since: f64,
}

/// An object on one node.
#[derive(Clone, Debug)]
pub(super) struct Instance {
    /// Its resources are started.
    pub(super) started: bool,
    /// Resource statuses that were given, not derived.
    pub(super) given: BTreeMap<String, String>,
    /// Addresses that were given, not configured, by resource.
    pub(super) addresses: BTreeMap<String, String>,
    /// Addresses that were configured and not started since.
    pub(super) unstarted: BTreeSet<String>,
    /// `idle`, `stopping`, `start failed`.
    pub(super) monitor: String,
    /// When that changed; none until it does.
    pub(super) monitor_since: Option<f64>,
    /// What the daemon reports; none before the first evaluation.
    pub(super) report: Option<Report>,
}

/// An object of the cluster.
#[derive(Clone, Debug)]
pub(super) struct Object {
    /// Its path.
    pub(super) path: Path,
    /// Its configuration file.
    pub(super) ini: Ini,
    /// When the file was written.
    pub(super) written: f64,
    /// When the object was made.
    pub(super) created: f64,
    /// The values of a `sec` or `cfg`, in the clear.
    pub(super) keys: BTreeMap<String, String>,
    /// How far the daemon is with it.
    pub(super) stage: Stage,
    /// By node.
    pub(super) instances: BTreeMap<String, Instance>,
}

/// The whole cluster as one daemon sees it: the first node is the daemon's own.
#[derive(Debug, Default)]
pub(super) struct Cluster {
    /// Members, in order.
    pub(super) order: Vec<String>,
    /// By name.
    pub(super) nodes: BTreeMap<String, Node>,
    /// By path.
    pub(super) objects: BTreeMap<String, Object>,
    /// What the resolver knows.
    pub(super) hosts: BTreeMap<String, String>,
    /// Objects just deleted, of which an empty instance is still around.
    pub(super) zombies: BTreeSet<String>,
    /// Where the daemon's start is; none when it is done.
    pub(super) boot: Option<Boot>,
    /// When the daemon started.
    pub(super) born: f64,
    /// The time of the change in hand.
    pub(super) now: f64,
    /// Changes so far: the generation of the data set.
    pub(super) generation: u64,
    /// Objects that may differ from what was drawn of them last.
    pub(super) touched: BTreeSet<String>,
    serial: u64,
}

impl Path {
    /// Takes `name`, `kind/name` or `ns/kind/name` apart.
    pub(super) fn parse(text: &str) -> Result<Self, Refused> {
        let parts: Vec<&str> = text.split('/').collect();
        let (namespace, kind, name) = match parts[..] {
            ["cluster"] => (None, "ccfg", "cluster"),
            [name] => (None, "svc", name),
            [kind, name] => (None, kind, name),
            [namespace, kind, name] => (Some(namespace), kind, name),
            _ => return Err(Refused::new(format!("invalid path {text}"))),
        };
        if name.is_empty() || kind.is_empty() {
            return Err(Refused::new(format!("invalid path {text}")));
        }
        let namespace = namespace.filter(|name| *name != "root").map(str::to_owned);
        Ok(Self {
            namespace,
            kind: kind.to_owned(),
            name: name.to_owned(),
        })
    }
}

impl Instance {
    fn new(started: bool) -> Self {
        Self {
            started,
            given: BTreeMap::new(),
            addresses: BTreeMap::new(),
            unstarted: BTreeSet::new(),
            monitor: "idle".to_owned(),
            monitor_since: None,
            report: None,
        }
    }
}

impl Object {
    /// `flex` or `failover`.
    pub(super) fn topology(&self) -> &str {
        self.ini.value("DEFAULT", "topology").unwrap_or("failover")
    }

    /// How many a scaler is scaled to; none for other objects.
    pub(super) fn scale(&self) -> Option<u32> {
        self.ini.value("DEFAULT", "scale")?.parse().ok()
    }

    /// True for an object that a scaler made.
    pub(super) fn is_slave(&self) -> bool {
        self.ini.value("DEFAULT", "scaler_slave").is_some()
    }
}

impl Cluster {
    /// A cluster of these nodes, idle, with nothing but its own `cluster` object.
    pub(super) fn new(nodes: &[&str], now: f64) -> Self {
        let mut cluster = Self {
            now,
            born: now,
            ..Self::default()
        };
        for name in nodes {
            cluster.join(name);
            cluster.welcome(name, "idle");
        }
        let mut ini = Ini::default();
        ini.put("cluster", "name", "demo");
        ini.put("cluster", "nodes", &cluster.order.join(" "));
        ini.put("DEFAULT", "nodes", "*");
        if let Ok(path) = Path::parse("cluster") {
            cluster.insert("cluster", path, ini, true);
            cluster.advance("cluster", Stage::Evaluated);
        }
        cluster
    }

    /// The daemon's own node.
    pub(super) fn local(&self) -> &str {
        self.order.first().map_or("", String::as_str)
    }

    /// The nodes that an object is configured for.
    pub(super) fn scope(&self, ini: &Ini) -> Vec<String> {
        match ini.value("DEFAULT", "nodes") {
            Some("*") => self.order.clone(),
            Some(nodes) => nodes.split_whitespace().map(str::to_owned).collect(),
            None => vec![self.local().to_owned()],
        }
    }

    /// The object, or what `om` says of one that is not there.
    pub(super) fn object(&mut self, path: &str) -> Result<&mut Object, Refused> {
        let missing = || Refused::new(format!("{path} does not exist"));
        self.touched.insert(path.to_owned());
        self.objects.get_mut(path).ok_or_else(missing)
    }

    /// Adds an object whose configuration is accepted; nothing of it is evaluated yet.
    pub(super) fn insert(&mut self, text: &str, path: Path, mut ini: Ini, started: bool) {
        if ini.value("DEFAULT", "id").is_none() && path.kind != "ccfg" {
            ini.put("DEFAULT", "id", &self.uuid());
        }
        let object = Object {
            path,
            ini,
            written: self.now,
            created: self.now,
            keys: BTreeMap::new(),
            stage: Stage::Configured,
            instances: BTreeMap::new(),
        };
        self.objects.insert(text.to_owned(), object);
        self.touched.insert(text.to_owned());
        self.place(text, started);
    }

    /// Gives the object an instance on each of its nodes that has none, takes the others away.
    fn place(&mut self, path: &str, started: bool) {
        let Some(object) = self.objects.get(path) else {
            return;
        };
        let scope = self.scope(&object.ini);
        let flex = object.topology() == "flex";
        let Some(object) = self.objects.get_mut(path) else {
            return;
        };
        object.instances.retain(|node, _| scope.contains(node));
        let mut alone = object.instances.is_empty();
        for node in scope {
            let first = std::mem::take(&mut alone);
            let new = || Instance::new(started && (flex || first));
            object.instances.entry(node).or_insert_with(new);
        }
    }

    /// Removes the object; an instance without content stays around for a moment.
    pub(super) fn erase(&mut self, path: &str) {
        let object = self.objects.remove(path);
        self.touched.insert(path.to_owned());
        if object.is_some_and(|object| object.path.kind == "svc") {
            self.zombies.insert(path.to_owned());
        }
    }

    /// The instances of objects that are gone are gone, too.
    pub(super) fn bury(&mut self) {
        self.touched.append(&mut self.zombies);
    }

    /// Moves an object on; at [`Stage::Evaluated`] its instances are looked at.
    pub(super) fn advance(&mut self, path: &str, stage: Stage) {
        self.touched.insert(path.to_owned());
        if let Some(object) = self.objects.get_mut(path) {
            object.stage = stage;
        }
        if stage == Stage::Evaluated {
            self.evaluate(path);
        }
    }

    /// Looks at the object's instances anew. A configuration that cannot be loaded makes the
    /// object vanish; one that crashes a driver leaves the old report.
    pub(super) fn evaluate(&mut self, path: &str) {
        self.generation += 1;
        self.touched.insert(path.to_owned());
        let Some(object) = self.objects.get(path) else {
            return;
        };
        let mut reports = Vec::new();
        for (node, instance) in &object.instances {
            match status::report(self, object, node, instance) {
                Ok(report) => reports.push((node.clone(), Report::new(&report))),
                Err(super::driver::Fault::Crash(_)) => {}
                Err(super::driver::Fault::Unloadable(_)) => return self.erase(path),
            }
        }
        let Some(object) = self.objects.get_mut(path) else {
            return;
        };
        for (node, report) in reports {
            if let Some(instance) = object.instances.get_mut(&node) {
                instance.report = Some(report);
            }
        }
    }

    /// Looks at everything anew; a node that is new to an object gets its instance.
    pub(super) fn evaluate_all(&mut self) {
        let paths: Vec<String> = self.objects.keys().cloned().collect();
        for path in &paths {
            self.place(path, true);
            self.evaluate(path);
        }
    }

    /// Replaces the configuration file. Addresses that it changes are down until they are started,
    /// unless `keep` says that they were.
    pub(super) fn write(&mut self, path: &str, ini: Ini, keep: bool) -> Result<(), Refused> {
        let now = self.now;
        let object = self.object(path)?;
        if object.ini == ini {
            return Ok(());
        }
        let before = std::mem::replace(&mut object.ini, ini);
        object.written = now;
        self.place(path, true);
        if !keep {
            self.mark_unstarted(path, &before);
        }
        self.evaluate(path);
        Ok(())
    }

    fn mark_unstarted(&mut self, path: &str, before: &Ini) {
        let Some(object) = self.objects.get(path) else {
            return;
        };
        let mut changed = Vec::new();
        for node in object.instances.keys() {
            let nodes = self.scope(&object.ini);
            let scope = |ini| status::scope(self, object, ini, node, &nodes).addresses();
            let old = scope(before);
            let new = scope(&object.ini).into_iter();
            let new = new.filter(|(rid, address)| old.get(rid) != Some(address));
            changed.extend(new.map(|(rid, _)| (node.clone(), rid)));
        }
        let Some(object) = self.objects.get_mut(path) else {
            return;
        };
        for (node, rid) in changed {
            if let Some(instance) = object.instances.get_mut(&node) {
                instance.unstarted.insert(rid);
            }
        }
    }

    /// Changes every instance of the object (or that of one node) and evaluates it.
    pub(super) fn each(
        &mut self,
        path: &str,
        node: Option<&str>,
        change: impl Fn(&mut Instance, f64),
    ) -> Result<(), Refused> {
        let now = self.now;
        let object = self.object(path)?;
        let instances = object.instances.iter_mut();
        let mut hits = 0;
        for (_, instance) in instances.filter(|(name, _)| node.is_none_or(|node| node == *name)) {
            change(instance, now);
            hits += 1;
        }
        if hits == 0 {
            return Err(Refused::new(format!("{path} has no instance there")));
        }
        self.evaluate(path);
        Ok(())
    }

    /// Sets what the instances are doing.
    pub(super) fn monitor(
        &mut self,
        path: &str,
        node: Option<&str>,
        doing: &str,
    ) -> Result<(), Refused> {
        self.each(path, node, |instance, now| {
            doing.clone_into(&mut instance.monitor);
            instance.monitor_since = Some(now);
        })
    }

    /// Starts the instances where they belong, or stops them all.
    pub(super) fn run(&mut self, path: &str, start: bool) -> Result<(), Refused> {
        let object = self.object(path)?;
        let flex = object.topology() == "flex";
        let leader = object.instances.keys().next().cloned();
        let ini = self.object(path)?.ini.clone();
        let nodes = self.scope(&ini);
        let leader = nodes.first().cloned().or(leader);
        for node in nodes {
            let up = start && (flex || Some(&node) == leader.as_ref());
            self.each(path, Some(&node), |instance, now| {
                instance.started = up;
                instance.unstarted.clear();
                instance.given.clear();
                "idle".clone_into(&mut instance.monitor);
                instance.monitor_since = Some(now);
            })?;
        }
        Ok(())
    }

    /// Writes (or removes) a key; the value is "encrypted" anew each time, as the agent does.
    pub(super) fn key(
        &mut self,
        path: &str,
        key: &str,
        value: Option<&str>,
    ) -> Result<(), Refused> {
        self.serial += 1;
        let (now, serial) = (self.now, self.serial);
        let object = self.object(path)?;
        if let Some(value) = value {
            object.keys.insert(key.to_owned(), value.to_owned());
            let sealed = digest(&format!("{serial} {value}"));
            object.ini.put("data", key, &format!("crypt:{sealed}"));
        } else if object.keys.remove(key).is_some() {
            object.ini.forget("data", key);
        } else {
            return Ok(());
        }
        object.written = now;
        self.generation += 1;
        Ok(())
    }

    /// An identifier that no other has.
    pub(super) fn uuid(&mut self) -> String {
        self.serial += 1;
        let hex = digest(&format!("id {} {}", self.born, self.serial));
        [
            &hex[..8],
            &hex[8..12],
            &hex[12..16],
            &hex[16..20],
            &hex[20..32],
        ]
        .join("-")
    }
}
