//! Ports for exposes that ask for one: what is chosen over random clusters, and what the real
//! binary writes to a simulated daemon that loses and refuses writes.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking, as tests do"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use osvc_igw::demo::stage::Stage;
use osvc_igw::gateway::{Compiled, Gateway, Policy, compile};
use osvc_igw::inventory::{Config, Event, Inventory, Object, ObjectPath, Reading, Write};
use osvc_igw::sim::Sim;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::random::Random;
use crate::support::controller::{Controller, Options};
use crate::support::folder::Folder;

/// The exposes of a cluster: gateway, protocol, address and port of each section, by object.
#[derive(Clone, Debug, Default)]
struct World(BTreeMap<String, Vec<(&'static str, &'static str, &'static str, u16)>>);

const GATEWAYS: [&str; 2] = ["one", "two"];
const ADDRESSES: [&str; 5] = ["0.0.0.0", "10.0.0.1", "10.0.0.2", "::", "fd00::1"];

impl World {
    /// A few services; what they state does not conflict, as there would be no right answer.
    fn random(random: &mut Random) -> Self {
        let mut world = Self::default();
        for number in 0..1 + random.below(8) {
            let exposes = (0..1 + random.below(3)).map(|_| {
                let port = match random.below(3) {
                    0 => FIRST + random.below(12) as u16,
                    _ => 0,
                };
                (
                    GATEWAYS[random.below(2)],
                    ["tcp", "udp"][random.below(2)],
                    ADDRESSES[random.below(5)],
                    port,
                )
            });
            world
                .0
                .insert(format!("test/svc/s{number}"), exposes.collect());
        }
        let mut seen: Vec<(&str, &str, u16)> = Vec::new();
        for (_, protocol, address, port) in world.0.values_mut().flatten() {
            let clash = seen
                .iter()
                .any(|other| clashes(*other, (protocol, address, *port)));
            if clash {
                *port = 0;
            }
            seen.push((protocol, address, *port));
        }
        world
    }

    /// The inventory of a controller that has just started.
    fn inventory(&self) -> Inventory {
        let mut inventory = Inventory::default();
        for (path, exposes) in &self.0 {
            let object = self.object(path, exposes);
            let (path, revision) = (object.path.clone(), object.revision.clone());
            inventory.apply(Event::Put(object));
            let content = Some(Config::default());
            inventory.apply(Event::Config(path, Reading { revision, content }));
        }
        inventory
    }

    fn object(&self, path: &str, exposes: &[(&str, &str, &str, u16)]) -> Arc<Object> {
        let names: Vec<String> = (0..exposes.len()).map(|n| format!("expose#{n}")).collect();
        let mut resources = json!({"ip#0": {
            "type": "ip", "status": "up", "info": {"ipaddr": "10.9.9.9", "expose": names}}});
        for (name, (gateway, protocol, address, port)) in names.iter().zip(exposes) {
            resources[name] = json!({"type": "expose.envoy", "status": "n/a", "info": {
                "port": 80, "gateway": gateway, "protocol": protocol,
                "listener_addr": address, "listener_port": port}});
        }
        let status = json!({"monitor": {
            "nodes": {"n1": {"monitor": {"status": "idle"}, "services": {
                "status": {path: {"avail": "up", "resources": resources}},
                "config": {path: {"csum": "a"}}}}},
            "services": {path: {"avail": "up"}}}});
        let mut mirror = osvc_igw::opensvc::mirror::Mirror::default();
        let mut events = mirror.reset(status).into_iter();
        let report = events.find_map(|event| match event {
            Event::Reset(report) => Some(report),
            _ => None,
        });
        let path: ObjectPath = path.parse().unwrap();
        report.unwrap().objects.remove(&path).unwrap()
    }

    /// The daemon carries a write out.
    fn take(&mut self, write: &Write) {
        let exposes = self.0.get_mut(&write.object.to_string()).unwrap();
        let number: usize = write
            .section
            .strip_prefix("expose#")
            .unwrap()
            .parse()
            .unwrap();
        exposes[number].3 = write.value.parse().unwrap();
    }

    fn check(&self, seed: u64) {
        let all: Vec<_> = self.0.values().flatten().collect();
        for (at, one) in all.iter().enumerate() {
            for other in &all[at + 1..] {
                let (one, other) = ((one.1, one.2, one.3), (other.1, other.2, other.3));
                assert!(!clashes(one, other), "seed {seed}: {one:?} and {other:?}");
            }
        }
    }
}

fn clashes(one: (&str, &str, u16), other: (&str, &str, u16)) -> bool {
    let family = |address: &str| address.contains(':');
    let any = |address: &str| matches!(address, "0.0.0.0" | "::");
    one.2 != 0
        && (one.0, one.2) == (other.0, other.2)
        && family(one.1) == family(other.1)
        && (one.1 == other.1 || any(one.1) || any(other.1))
}

fn policy(gateway: &str) -> Policy {
    Policy {
        gateway_name: gateway.to_owned(),
        port_range: FIRST..=FIRST + 40,
        reserved_ports: BTreeSet::from([FIRST + 1]),
        ..Policy::default()
    }
}

/// Both gateways' controllers compile, their writes arrive in any order or never, controllers
/// restart, services come: in the end everyone has a port of its own and nobody writes.
#[test]
fn no_port_is_given_twice_whatever_becomes_of_the_writes() {
    for seed in 0..400 {
        let mut random = Random(seed);
        let mut world = World::random(&mut random);
        let mut controllers = GATEWAYS.map(|_| world.inventory());
        for round in 0.. {
            let mut writes = Vec::new();
            for (inventory, gateway) in controllers.iter_mut().zip(GATEWAYS) {
                let compiled = compile(inventory, &policy(gateway));
                for write in compiled.writes {
                    inventory.apply(Event::Asked(write.clone()));
                    writes.push(write);
                }
            }
            if writes.is_empty() {
                break;
            }
            assert!(round < 50, "seed {seed}: still writing {writes:?}");
            while !writes.is_empty() {
                let write = writes.swap_remove(random.below(writes.len()));
                if round > 20 || random.below(3) != 0 {
                    world.take(&write);
                }
            }
            world.check(seed);
            show(&world, &mut controllers, &mut random);
        }
        let every = world.0.values().flatten();
        assert!(
            every.clone().all(|(.., port)| *port != 0),
            "seed {seed}: {world:?}"
        );
        let free = |port: u16| port != FIRST + 1 || world_states(seed).contains(&port);
        assert!(every.clone().all(|(.., port)| free(*port)), "seed {seed}");
    }
}

/// What the random world of a seed stated before anything was allocated.
fn world_states(seed: u64) -> BTreeSet<u16> {
    let world = World::random(&mut Random(seed));
    world.0.values().flatten().map(|(.., port)| *port).collect()
}

/// Each controller sees what the services say now; one may be new.
fn show(world: &World, controllers: &mut [Inventory; 2], random: &mut Random) {
    for inventory in controllers {
        if random.below(6) == 0 {
            *inventory = world.inventory();
            continue;
        }
        for (path, exposes) in &world.0 {
            inventory.apply(Event::Put(world.object(path, exposes)));
        }
    }
}

#[test]
fn what_the_services_show_is_kept_whoever_else_asks() {
    for seed in 0..100 {
        let mut random = Random(seed);
        let mut world = World::random(&mut random);
        let mut inventory = world.inventory();
        for gateway in GATEWAYS {
            for write in compile(&inventory, &policy(gateway)).writes {
                world.take(&write);
            }
        }
        inventory = world.inventory();
        let before = GATEWAYS.map(|gateway| compile(&inventory, &policy(gateway)));
        assert!(before.iter().all(|compiled| compiled.writes.is_empty()));
        // One that comes first in the order of paths takes from nobody.
        world
            .0
            .insert("test/svc/a".to_owned(), vec![("one", "tcp", "0.0.0.0", 0)]);
        inventory = world.inventory();
        let after = compile(&inventory, &policy("one"));
        let listeners = |Compiled { gateway, .. }: &Compiled| -> Gateway { gateway.clone() };
        assert_eq!(listeners(&after), listeners(&before[0]), "seed {seed}");
        let writes: Vec<_> = after.writes.into_iter().collect();
        assert_eq!(writes.len(), 1);
        world.take(&writes[0]);
        world.check(seed);
    }
}

#[test]
fn a_port_that_was_asked_for_stays_with_its_expose() {
    let mut world = World::default();
    let asks = ("one", "tcp", "0.0.0.0", 0);
    world.0.insert("test/svc/m".to_owned(), vec![asks]);
    let mut inventory = world.inventory();
    let [write] = &Vec::from_iter(compile(&inventory, &policy("one")).writes)[..] else {
        panic!("one write");
    };
    assert_eq!(write.value, FIRST.to_string());
    inventory.apply(Event::Asked(write.clone()));
    world.0.insert("test/svc/a".to_owned(), vec![asks]);
    for (path, exposes) in &world.0 {
        let object = world.object(path, exposes);
        let (path, revision) = (object.path.clone(), object.revision.clone());
        inventory.apply(Event::Put(object));
        let content = Some(Config::default());
        inventory.apply(Event::Config(path, Reading { revision, content }));
    }
    let writes = compile(&inventory, &policy("one")).writes;
    let values: Vec<_> = writes.iter().map(|write| write.value.clone()).collect();
    assert_eq!(values, [(FIRST + 2).to_string(), FIRST.to_string()]);
}

/// A simulated daemon and the real binary, without an Envoy.
struct Pair {
    controller: Controller,
    sim: Sim,
    options: Options,
    _stage: Stage,
    folder: Folder,
}

impl Pair {
    async fn start() -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let folder = Folder::new("ports");
        let options = Options::new(&folder.0).with(&["--port-range", "1100-1102"]);
        let stage = Stage::start(&options.daemon).await.unwrap();
        let mut controller = Controller::start(&options);
        controller.ready().await;
        Self {
            controller,
            sim: stage.sim.clone(),
            options,
            _stage: stage,
            folder,
        }
    }

    fn create(&self, path: &str) {
        self.sim.create(path, ASKS).unwrap();
    }

    fn port(&self, path: &str) -> String {
        let port = self.sim.keyword(path, "expose#0.listener_port");
        port.unwrap_or_default()
    }

    async fn until(&self, what: &str, reached: impl Fn() -> bool) {
        let reaching = async {
            while !reached() {
                sleep(Duration::from_millis(20)).await;
            }
        };
        let in_time = timeout(PATIENCE, reaching).await;
        assert!(in_time.is_ok(), "not in time: {what}");
    }

    async fn until_served(&mut self, listeners: u64) {
        let serving = async {
            while self.controller.status().await["resources"]["lds"] != json!(listeners) {
                sleep(Duration::from_millis(20)).await;
            }
        };
        let in_time = timeout(PATIENCE, serving).await;
        assert!(in_time.is_ok(), "not served: {listeners} listeners");
    }

    async fn problems(&self) -> Value {
        let page = self.controller.page("/problems").await.unwrap();
        serde_json::from_str(&page).unwrap_or(Value::String(page))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_service_gets_a_port_once_and_keeps_it_over_restarts() {
    let mut pair = Pair::start().await;
    for path in ["test/svc/a", "test/svc/b"] {
        pair.create(path);
    }
    pair.until_served(2).await;
    let ports = ["test/svc/a", "test/svc/b"].map(|path| pair.port(path));
    assert_eq!(
        BTreeSet::from(ports.clone()),
        ["1100", "1101"].map(str::to_owned).into()
    );
    assert_eq!(pair.sim.requests("service_action"), 2);
    pair.controller.restart("KILL");
    pair.controller.ready().await;
    pair.until_served(2).await;
    assert_eq!(
        ["test/svc/a", "test/svc/b"].map(|path| pair.port(path)),
        ports
    );
    pair.create("test/svc/0");
    pair.until_served(3).await;
    pair.create("test/svc/1");
    let exhausted = async {
        while !pair.problems().await.to_string().contains("none left") {
            sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(timeout(PATIENCE, exhausted).await.is_ok());
    assert_eq!(pair.port("test/svc/1"), "0");
    assert_eq!(pair.sim.requests("service_action"), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_slaves_of_a_scaler_have_the_scalers_port() {
    let mut pair = Pair::start().await;
    pair.sim
        .address_slaves("test/svc/many", |number, _| format!("127.0.9.{number}"));
    let scaler = ASKS.replace("[ip#0]", "[DEFAULT]\ntopology = flex\nscale = 2\n[ip#0]");
    pair.sim.create("test/svc/many", &scaler).unwrap();
    let paths = ["test/svc/many", "test/svc/0.many", "test/svc/1.many"];
    let all = || paths.iter().all(|path| pair.port(path) == "1100");
    pair.until("the scaler's port in its slaves", all).await;
    pair.until_served(1).await;
    pair.sim.scale("test/svc/many", 3).unwrap();
    assert_eq!(pair.port("test/svc/2.many"), "1100");
    // A crash before the slaves were written is a state like this one.
    pair.controller.signal("KILL");
    for slave in ["test/svc/0.many", "test/svc/1.many"] {
        pair.sim.set(slave, &["expose#0.listener_port=0"]).unwrap();
    }
    pair.controller = Controller::start(&pair.options);
    pair.controller.ready().await;
    let all = || paths.iter().all(|path| pair.port(path) == "1100");
    pair.until("the scaler's port in its slaves again", all)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_write_is_made_again_and_a_refused_one_too() {
    let mut pair = Pair::start().await;
    pair.sim.lose_sets(1);
    pair.create("test/svc/a");
    let asked = || pair.sim.requests("service_action") == 1;
    pair.until("a write that is lost", asked).await;
    assert_eq!(pair.port("test/svc/a"), "0");
    pair.sim.refuse_sets(true);
    pair.controller.restart("TERM");
    pair.controller.ready().await;
    let asked = || pair.sim.requests("service_action") >= 3;
    pair.until("a write that is refused twice", asked).await;
    let refusals = pair.controller.log();
    let refusals = refusals.matches("cannot write to the OpenSVC daemon");
    assert_eq!(refusals.count(), 1, "a failure that stays is told once");
    pair.sim.refuse_sets(false);
    pair.until_served(1).await;
    assert_eq!(pair.port("test/svc/a"), "1100");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_controllers_give_every_service_one_port() {
    let mut pair = Pair::start().await;
    let folder = pair.folder.0.join("second");
    std::fs::create_dir_all(&folder).unwrap();
    let mut options = Options::new(&folder).with(&["--port-range", "1100-1102"]);
    options.daemon.clone_from(&pair.options.daemon);
    let mut second = Controller::start(&options);
    second.ready().await;
    for path in ["test/svc/c", "test/svc/b", "test/svc/a"] {
        pair.create(path);
    }
    pair.until_served(3).await;
    let ports = ["test/svc/a", "test/svc/b", "test/svc/c"].map(|path| pair.port(path));
    let expected = ["1100", "1101", "1102"].map(str::to_owned);
    assert_eq!(BTreeSet::from(ports), expected.into());
}

/// A service that asks for a port.
const ASKS: &str = "[ip#0]\nipname = 127.0.9.9\nipdev = lo\nnetmask = 8\nexpose = expose#0\n\
                    [expose#0]\ntype = envoy\nport = 80\nlistener_port = 0\n";
/// The first port of the range.
const FIRST: u16 = 1_100;
const PATIENCE: Duration = Duration::from_secs(30);
