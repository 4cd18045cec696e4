//! `cargo bench --bench micro`: each step between an event and a response alone, without a daemon
//! and without a socket. The whole way is measured by `pipeline`.

#![allow(clippy::disallowed_methods, reason = "a benchmark is an edge")]
#![allow(missing_docs, reason = "nobody builds on a benchmark")]

#[allow(dead_code, reason = "only the cluster is used here")]
#[path = "pipeline/mod.rs"]
mod pipeline;

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use osvc_igw::gateway::{Incremental, Policy, Want, compile};
use osvc_igw::inventory::{Config, Event, Inventory, Reading, Secret, Sensitive, Touched};
use osvc_igw::opensvc::mirror::Mirror;
use osvc_igw::sim::certificate::Authority;
use osvc_igw::xds::session::{Request, Session};
use osvc_igw::xds::{Encoding, ResourceType, Snapshot, encode};
use serde_json::{Value, json};

/// One cluster at every step of its way.
struct World {
    services: usize,
    mirror: Mirror,
    inventory: Inventory,
    policy: Policy,
    compiling: Incremental,
    encoding: Encoding,
    patches: u64,
}

impl World {
    fn new(services: usize) -> Self {
        let mut mirror = Mirror::default();
        let mut inventory = Inventory::default();
        for event in mirror.reset(pipeline::status_of(services)) {
            inventory.apply(event);
        }
        let policy = Policy {
            gateway_name: "gateway0".to_owned(),
            ..Policy::default()
        };
        let secret = secret();
        let mut compiling = Incremental::new(policy.clone());
        loop {
            compiling.follow(&inventory, &Touched::All);
            let wants = compiling.compiled().wants.clone();
            if wants.is_empty() {
                break;
            }
            for want in wants {
                inventory.apply(answer(want, &secret));
            }
        }
        let mut encoding = Encoding::default();
        encoding.follow(&compiling.compiled().gateway);
        let endpoints = encoding.snapshot().count(ResourceType::Endpoint);
        let problems = &compiling.compiled().problems;
        assert_eq!(endpoints, services, "{problems:?}");
        Self {
            services,
            mirror,
            inventory,
            policy,
            compiling,
            encoding,
            patches: 0,
        }
    }

    /// The next patch: one address is another.
    fn patch(&mut self) -> String {
        self.patches += 1;
        let number = self.patches as usize * 7_919 % self.services;
        let path = format!("bench/svc/s{number}");
        let [_, _, a, b] = (self.patches as u32).to_be_bytes();
        let place = json!([
            "monitor",
            "nodes",
            "n1",
            "services",
            "status",
            path,
            "resources",
            "ip#1",
            "info",
            "ipaddr"
        ]);
        let address = format!("10.200.{a}.{b}");
        let patch = json!({
            "kind": "patch", "id": self.patches, "ts": 0.0, "data": [[place, address]],
        });
        patch.to_string()
    }

    /// One patch on, from its text to the inventory; returns what it touched.
    fn step(&mut self, patch: &str) -> Touched {
        let message: Value = serde_json::from_str(patch).expect("JSON");
        let mut touched = Touched::default();
        for event in self.mirror.apply(message).expect("a patch in its turn") {
            touched.join(Touched::by(&event));
            self.inventory.apply(event);
        }
        touched
    }

    /// Another patch on, to what is compiled of it; returns how long that took alone.
    fn compile_one(&mut self) -> Duration {
        let patch = self.patch();
        let touched = self.step(&patch);
        let began = Instant::now();
        black_box(self.compiling.follow(&self.inventory, &touched));
        began.elapsed()
    }

    /// Another patch on, to the message of it; returns how long to encode it took alone.
    fn encode_one(&mut self) -> Duration {
        self.compile_one();
        let began = Instant::now();
        black_box(self.encoding.follow(&self.compiling.compiled().gateway));
        began.elapsed()
    }
}

fn secret() -> Secret {
    let authority = Authority::new("bench").expect("an authority");
    let pair = authority
        .issue("bench.test", &["bench.test"])
        .expect("a pair");
    let keys = [
        ("certificate_chain", pair.chain_pem),
        ("private_key", pair.key_pem),
    ];
    let keys = keys.map(|(key, text)| (key.to_owned(), Sensitive::new(text)));
    keys.into_iter().collect()
}

/// What the daemon would answer.
fn answer(want: Want, secret: &Secret) -> Event {
    match want {
        Want::Config(path, revision) => {
            // What the status leaves out.
            let behind_tls = path.to_string().ends_with('2');
            let sections = json!({"certificate#front": {"secret": "front0"}});
            let content = match behind_tls {
                true => Config::from_json(&sections),
                false => Some(Config::default()),
            };
            Event::Config(path, Reading { revision, content })
        }
        Want::Secret(path, revision) => {
            let content = Some(secret.clone());
            Event::Secret(path, Reading { revision, content })
        }
        Want::Trust(path, revision) => {
            let content = Some(secret.clone());
            Event::Trust(path, Reading { revision, content })
        }
        Want::Challenges(path, revision) => {
            let content = None;
            Event::Challenges(path, Reading { revision, content })
        }
    }
}

/// Two snapshots that differ in one endpoint.
fn pair(world: &mut World) -> [Arc<Snapshot>; 2] {
    let before = world.encoding.share();
    world.encode_one();
    let after = world.encoding.share();
    assert_eq!(after.changes(&before).count(), 1);
    [before, after]
}

/// The session of a client that has everything.
fn session(snapshot: &Arc<Snapshot>, seed: u64) -> Session {
    let mut session = Session::new(Arc::clone(snapshot), seed);
    for kind in ResourceType::ALL {
        let all = snapshot.all(kind);
        let initial: BTreeMap<_, _> = all
            .map(|resource| (resource.name.to_string(), resource.version.to_string()))
            .collect();
        let request = Request {
            kind,
            nonce: String::new(),
            error: None,
            subscribe: vec!["*".to_owned()],
            unsubscribe: Vec::new(),
            initial,
        };
        session.handle_request(Duration::ZERO, request);
    }
    drain(&mut session);
    session
}

/// Takes every response, and says yes to it.
fn drain(session: &mut Session) -> usize {
    let mut sent = 0;
    while let Some(response) = session.poll_response(Duration::ZERO) {
        sent += response.resources.len();
        let request = Request {
            kind: response.kind,
            nonce: response.nonce,
            error: None,
            subscribe: Vec::new(),
            unsubscribe: Vec::new(),
            initial: BTreeMap::new(),
        };
        session.handle_request(Duration::ZERO, request);
    }
    sent
}

fn steps(criterion: &mut Criterion) {
    for services in SIZES {
        let mut world = World::new(services);
        let id = |name: &str| format!("{name}/{services}");
        criterion.bench_function(&id("patch"), |bench| {
            bench.iter(|| {
                let patch = world.patch();
                world.step(&patch);
            });
        });
        criterion.bench_function(&id("compile"), |bench| {
            bench.iter(|| black_box(compile(&world.inventory, &world.policy)));
        });
        criterion.bench_function(&id("compile-one-changed"), |bench| {
            bench.iter_custom(|times| (0..times).map(|_| world.compile_one()).sum());
        });
        criterion.bench_function(&id("encode-all"), |bench| {
            let nothing = Snapshot::default();
            let gateway = &world.compiling.compiled().gateway;
            bench.iter(|| black_box(encode(gateway, &nothing)));
        });
        world.encode_one();
        criterion.bench_function(&id("encode-one-changed"), |bench| {
            bench.iter_custom(|times| (0..times).map(|_| world.encode_one()).sum());
        });
        let [before, after] = pair(&mut world);
        criterion.bench_function(&id("diff"), |bench| {
            bench.iter(|| assert_eq!(black_box(after.changes(&before).count()), 1));
        });
        sessions(criterion, services, &[before, after]);
    }
}

/// One changed endpoint for one session, and for many.
fn sessions(criterion: &mut Criterion, services: usize, pair: &[Arc<Snapshot>; 2]) {
    for count in [1, 500] {
        let all = (0..count).map(|seed| session(&pair[0], seed));
        let mut all: Vec<Session> = all.collect();
        let mut turn = 0;
        let id = format!("session-{count}/{services}");
        criterion.bench_function(&id, |bench| {
            bench.iter_batched(
                || {
                    turn += 1;
                    Arc::clone(&pair[turn % 2])
                },
                |next| {
                    for session in &mut all {
                        session.handle_snapshot(Arc::clone(&next));
                        assert_eq!(drain(session), 1);
                    }
                },
                BatchSize::PerIteration,
            );
        });
    }
}

fn patient() -> Criterion {
    let criterion = Criterion::default().sample_size(10);
    criterion
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
}

/// Without optimization it is only shown that it works.
const SIZES: [usize; 2] = match cfg!(debug_assertions) {
    true => [20, 40],
    false => [1_000, 10_000],
};

criterion_group! {
    name = benches;
    config = patient();
    targets = steps
}
criterion_main!(benches);
