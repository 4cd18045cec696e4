//! Compiling what changed comes to the same as compiling everything: over random streams of
//! events, with the services of the golden cases, which are in each other's way in every way that
//! there is. A failure prints its seed: `SEED=<n> cargo test incremental` runs it alone, and
//! `STREAMS=<n>` that many.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking, as tests do"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use osvc_igw::gateway::{Compiled, Incremental, Policy, Want, compile};
use osvc_igw::inventory::{
    Event, Inventory, NodeStatus, Object, ObjectPath, Problem, Reading, Report, Touched,
};
use osvc_igw::named::Named;
use osvc_igw::xds::{Encoding, Resource, ResourceType, Snapshot, encode};
use serde_json::json;

use crate::golden::{Case, names};
use crate::random::Random;

/// A golden case, and what the daemon tells of its objects.
struct Told {
    case: Case,
    nodes: BTreeMap<String, NodeStatus>,
    objects: Vec<Object>,
}

/// The golden cases that are small: the others show what many services cost.
fn all() -> Vec<Told> {
    let told = names().into_iter().map(|name| {
        let case = Case::load(&name);
        let Inventory { nodes, objects, .. } = case.run().inventory;
        Told {
            case,
            nodes,
            objects: objects
                .values()
                .map(|object| Object::clone(object))
                .collect(),
        }
    });
    let told: Vec<Told> = told.filter(|told| told.objects.len() < 20).collect();
    assert!(told.len() > 200, "{}", told.len());
    told
}

/// The namespaces that cases are moved to, to stand beside each other.
const NAMESPACES: [&str; 3] = ["test", "one", "two"];

fn moved(path: &ObjectPath, from: &str, to: &str) -> ObjectPath {
    let text = path.to_string();
    match text.strip_prefix(&format!("{from}/")) {
        Some(rest) => format!("{to}/{rest}").parse().unwrap(),
        None => path.clone(),
    }
}

/// A cluster into which cases come, and from which they go.
struct World<'a> {
    random: Random,
    cases: Vec<&'a Told>,
    inventory: Inventory,
    policy: Policy,
    incremental: Incremental,
    encoding: Encoding,
    touched: Touched,
}

impl<'a> World<'a> {
    fn new(all: &'a [Told], seed: u64) -> Self {
        let mut random = Random(seed);
        let cases = NAMESPACES.map(|_| &all[random.below(all.len())]);
        let policy = cases[random.below(cases.len())].case.policy.clone();
        Self {
            random,
            cases: cases.to_vec(),
            inventory: Inventory::default(),
            incremental: Incremental::new(policy.clone()),
            policy,
            encoding: Encoding::default(),
            touched: Touched::default(),
        }
    }

    fn apply(&mut self, event: Event) {
        let touched = Touched::by(&event);
        if self.inventory.apply(event) {
            self.touched.join(touched);
        }
    }

    /// An object of one of the cases, in the namespace of that.
    fn object(&mut self) -> Option<Object> {
        let number = self.random.below(NAMESPACES.len());
        let objects = &self.cases[number].objects;
        if objects.is_empty() {
            return None;
        }
        let mut object = objects[self.random.below(objects.len())].clone();
        object.path = moved(&object.path, "test", NAMESPACES[number]);
        Some(object)
    }

    /// What the daemon answers to something that is wanted.
    fn answer(&self, want: &Want) -> Option<Event> {
        let namespace = want.path().namespace();
        let number = NAMESPACES
            .iter()
            .position(|one| *one == namespace)
            .unwrap_or(0);
        let back = |path: &ObjectPath| moved(path, namespace, "test");
        let asked = match want.clone() {
            Want::Secret(path, revision) => Want::Secret(back(&path), revision),
            Want::Trust(path, revision) => Want::Trust(back(&path), revision),
            Want::Challenges(path, revision) => Want::Challenges(back(&path), revision),
            Want::Config(path, revision) => Want::Config(back(&path), revision),
        };
        let path = want.path().clone();
        Some(match self.cases[number].case.answer(&asked)? {
            Event::Secret(_, reading) => Event::Secret(path, reading),
            Event::Trust(_, reading) => Event::Trust(path, reading),
            Event::Challenges(_, reading) => Event::Challenges(path, reading),
            Event::Config(_, reading) => Event::Config(path, reading),
            other => other,
        })
    }

    fn wants(&mut self) {
        let wants = self.incremental.compiled().wants.clone();
        for want in wants {
            if self.random.below(4) != 0
                && let Some(event) = self.answer(&want)
            {
                self.apply(event);
            }
        }
    }

    fn altered(&mut self, mut object: Object) -> Object {
        if self.random.below(2) == 0 {
            object.revision = format!("{}x", object.revision).into();
        }
        let random = &mut self.random;
        for instance in object.instances.values_mut() {
            instance.resources_mut().retain(|_, _| random.below(6) != 0);
            for resource in instance.resources_mut().values_mut() {
                let resource = Arc::make_mut(resource);
                if random.below(4) == 0 {
                    resource.status = "down".into();
                }
                if resource.driver == "expose.envoy" && random.below(2) == 0 {
                    let port = json!([80, 443, 1024, 0][random.below(20).min(3)]);
                    let ports = ["listener_port", "port"][random.below(2)];
                    resource.keywords.insert(ports, port);
                }
                if resource.driver == "vhost.envoy" && random.below(3) == 0 {
                    let domain = ["a.org", "b.org", "*.org"][random.below(3)];
                    resource.keywords.insert("domains", json!([domain]));
                }
            }
        }
        object
    }

    /// Something that is there is up elsewhere, or is not, or leaves; its sections stay.
    fn moved(&mut self, path: &ObjectPath) -> Option<Event> {
        let mut object = Object::clone(self.inventory.objects.get(path)?);
        let random = &mut self.random;
        for instance in object.instances.values_mut() {
            let doing = ["idle", "idle", "stopping"][random.below(3)];
            instance.monitor = doing.to_owned().into();
            let ips = instance.resources_mut().values_mut();
            for ip in ips.filter(|resource| resource.is_of("ip")) {
                let ip = Arc::make_mut(ip);
                ip.status = ["up", "up", "down"][random.below(3)].into();
                let address = match random.below(20) {
                    0 => json!("nowhere"),
                    number => json!(format!("10.0.0.{number}")),
                };
                if random.below(2) == 0 {
                    ip.keywords.insert("ipaddr", address);
                }
            }
        }
        Some(Event::Put(object.into()))
    }

    fn node(&mut self) -> Option<Event> {
        let nodes = &self.cases[0].nodes;
        let name = nodes
            .keys()
            .nth(self.random.below(nodes.len().max(1)))?
            .clone();
        let labels = BTreeMap::from([("zone".to_owned(), self.random.below(3).to_string())]);
        Some(match self.random.below(5) {
            0 => Event::Labels(name, labels),
            1 => Event::Node(name, None),
            2 => Event::Node(name, Some(NodeStatus::Maintenance)),
            3 => Event::Node(name, Some(NodeStatus::Starting)),
            _ => Event::Node(name, Some(NodeStatus::Settled)),
        })
    }

    fn reset(&mut self) -> Event {
        let mut objects = BTreeMap::new();
        for _ in 0..self.random.below(8) {
            let object = self.object();
            objects.extend(object.map(|object| (object.path.clone(), Arc::new(object))));
        }
        Event::Reset(Report {
            nodes: self.cases[0].nodes.clone(),
            labels: BTreeMap::new(),
            objects,
        })
    }

    fn happen(&mut self) {
        let object = self.object();
        let event = match (self.random.below(16), object) {
            (0, _) => Some(self.reset()),
            (1, _) => self.node(),
            (2, Some(object)) => Some(Event::Remove(object.path)),
            (3, Some(object)) => Some(Event::Refused(object.path, "no right".to_owned())),
            (4, Some(object)) => {
                let revision = object.revision;
                let content = None;
                Some(Event::Config(object.path, Reading { revision, content }))
            }
            (5..9, Some(object)) => Some(Event::Put(self.altered(object).into())),
            (9..12, Some(object)) => self.moved(&object.path),
            (_, object) => object.map(|object| Event::Put(object.into())),
        };
        if let Some(event) = event {
            self.apply(event);
        }
        if self.random.below(3) != 0 {
            self.wants();
        }
    }

    /// Compiles in both ways.
    fn check(&mut self, seed: u64, step: usize) {
        let touched = std::mem::take(&mut self.touched);
        self.incremental.follow(&self.inventory, &touched);
        let expected = compile(&self.inventory, &self.policy);
        let found = self.incremental.compiled();
        let equal = found == &expected;
        let other = || differences(found, &expected);
        assert!(equal, "seed {seed}, step {step}: {}", other());
        let before = self.encoding.share();
        self.encoding.follow(&found.gateway);
        let after = self.encoding.share();
        // Of a copy it is not known what is other in it.
        let copy = Snapshot::clone(&before);
        let (known, looked_for) = (after.changes(&before), after.changes(&copy));
        assert!(known.eq(looked_for), "seed {seed}, step {step}");
    }

    /// Encodes in both ways.
    fn check_encoding(&self, seed: u64) {
        let gateway = &self.incremental.compiled().gateway;
        let (snapshot, problems) = encode(gateway, &Snapshot::default());
        let found = resources(self.encoding.snapshot());
        assert_eq!(found, resources(&snapshot), "seed {seed}");
        let refused: BTreeSet<&Problem> = self.encoding.problems().collect();
        let problems: BTreeSet<&Problem> = problems.iter().collect();
        assert_eq!(refused, problems, "seed {seed}");
    }

    fn run(mut self, seed: u64) {
        for step in 0..STEPS {
            // Often several things happen before anything is compiled.
            for _ in 0..=self.random.below(3) {
                self.happen();
            }
            self.check(seed, step);
        }
        self.check_encoding(seed);
    }
}

/// All that there is but for the bodies: the order of maps in them is any.
fn resources(snapshot: &Snapshot) -> Vec<(ResourceType, Resource)> {
    let all = ResourceType::ALL.into_iter();
    let all = all.flat_map(|kind| snapshot.all(kind).map(move |one| (kind, one)));
    let bodiless = all.map(|(kind, one)| {
        let mut one = Resource::clone(one);
        one.body.clear();
        (kind, one)
    });
    bodiless.collect()
}

/// What is other, for whoever has to find out why.
fn differences(found: &Compiled, expected: &Compiled) -> String {
    fn named<T: Debug + Eq>(found: &Named<T>, expected: &Named<T>, said: &mut String) {
        for name in found.changes(expected) {
            let (one, other) = (found.get(name), expected.get(name));
            *said += &format!("{name}: {one:#?}, not {other:#?}\n");
        }
    }
    fn set<T: Debug + Ord>(found: &BTreeSet<T>, expected: &BTreeSet<T>, said: &mut String) {
        for item in found.symmetric_difference(expected) {
            let is_there = found.contains(item);
            *said += &format!("{item:?} is there: {is_there}\n");
        }
    }
    let mut said = String::new();
    let (one, other) = (&found.gateway, &expected.gateway);
    named(&one.clusters, &other.clusters, &mut said);
    named(&one.endpoints, &other.endpoints, &mut said);
    named(&one.secrets, &other.secrets, &mut said);
    named(&one.listeners, &other.listeners, &mut said);
    named(&one.routes, &other.routes, &mut said);
    set(&found.problems, &expected.problems, &mut said);
    set(&found.wants, &expected.wants, &mut said);
    set(&found.namespaces, &expected.namespaces, &mut said);
    set(&found.expiries, &expected.expiries, &mut said);
    said
}

#[test]
fn what_is_compiled_of_a_change_is_what_is_compiled_of_everything() {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let (first, count) = match number("SEED") {
        Some(seed) => (seed, 1),
        None => (0, number("STREAMS").unwrap_or(STREAMS)),
    };
    let all = all();
    let next = AtomicU64::new(first);
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + count {
                return;
            }
            World::new(&all, seed).run(seed);
        }
    };
    std::thread::scope(|threads| {
        let other = threads.spawn(work);
        work();
        other.join().unwrap();
    });
}

/// Some seconds in a debug build.
const STREAMS: u64 = 500;
const STEPS: usize = 8;
