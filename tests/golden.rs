//! The pure pipeline, case by case: every folder of `golden/` is a test case.
//!
//! In: `status.json`, a `daemon_status` document of a real agent or one edited from it;
//! `reads.json`, what the daemon answers to reads (`configs` and `secrets` by object path, null
//! for "no such object"; a read that never ends is a secret that is absent, or a configuration
//! that is `"never"`, while an absent one is empty); `policy.json`, what the operator decides.
//! Out: `gateway.json`, `snapshot.json` (Envoy's JSON by type and name), `problems.txt`, and
//! `wants.txt` where a read never ended, `writes.txt` where something should be written.
//! `UPDATE=1` writes what comes out.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking, as tests do"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use osvc_igw::gateway::{Compiled, Downstream, Policy, Want, compile};
use osvc_igw::inventory::{
    Config, Event, Inventory, ObjectPath, Problem, Reading, Secret, Sensitive,
};
use osvc_igw::opensvc::mirror::Mirror;
use osvc_igw::xds::{ResourceType, Snapshot, encode, json::to_json};
use serde_json::{Value, json};

/// What goes into a case.
#[derive(Clone)]
pub(crate) struct Case {
    pub(crate) status: Value,
    pub(crate) reads: Value,
    pub(crate) policy: Policy,
}

fn read_policy(policy: &Value) -> Policy {
    let mut read = Policy::default();
    if let Some(name) = policy["gateway_name"].as_str() {
        name.clone_into(&mut read.gateway_name);
    }
    if let Some([min, max]) = policy["port_range"].as_array().map(Vec::as_slice) {
        let port = |value: &Value| value.as_u64().unwrap().try_into().unwrap();
        read.port_range = port(min)..=port(max);
    }
    let lent = policy["secrets_of"].as_array().into_iter().flatten();
    let lent = lent.filter_map(Value::as_str).map(str::to_owned);
    read.secrets_of = lent.collect();
    if let Some(port) = policy["challenge_port"].as_u64() {
        read.challenge_port = port.try_into().unwrap();
    }
    if let Some(port) = policy["challenge_tls_port"].as_u64() {
        read.challenge_tls_port = port.try_into().unwrap();
    }
    read.health_checks = policy["health_checks"].as_bool().unwrap_or(true);
    read.downstream = Downstream {
        xff_trusted_hops: policy["xff_trusted_hops"].as_u64().unwrap_or(0) as u8,
        // On by default in the program, and in one case: it is long.
        access_log: policy["access_log"].as_bool().unwrap_or(false),
    };
    read
}

/// What the pipeline makes of a case.
pub(crate) struct Outcome {
    pub(crate) inventory: Inventory,
    pub(crate) compiled: Compiled,
    pub(crate) snapshot: Snapshot,
}

impl Case {
    /// The case of that name.
    pub(crate) fn load(name: &str) -> Self {
        let read = |file: &str| std::fs::read_to_string(folder().join(name).join(file)).ok();
        let parse = |text: String| serde_json::from_str::<Value>(&text).unwrap();
        let policy = read("policy.json").map_or(Value::Null, parse);
        Self {
            status: parse(read("status.json").unwrap_or_else(|| panic!("{name}: no status.json"))),
            reads: read("reads.json").map_or_else(|| json!({}), parse),
            policy: read_policy(&policy),
        }
    }

    /// Runs the pipeline as the controller does.
    pub(crate) fn run(&self) -> Outcome {
        let mut inventory = Inventory::default();
        for event in Mirror::default().reset(self.status.clone()) {
            inventory.apply(event);
        }
        self.settle(inventory)
    }

    /// Compiles, and answers what is wanted, until nothing new is wanted.
    pub(crate) fn settle(&self, mut inventory: Inventory) -> Outcome {
        loop {
            let mut compiled = compile(&inventory, &self.policy);
            let mut changed = false;
            for event in compiled.wants.iter().filter_map(|want| self.answer(want)) {
                changed |= inventory.apply(event);
            }
            if !changed {
                let (snapshot, refused) = encode(&compiled.gateway, &Snapshot::default());
                compiled.problems.extend(refused);
                return Outcome {
                    inventory,
                    compiled,
                    snapshot,
                };
            }
        }
    }

    /// What the daemon answers to a read; `None` where the read never ends.
    pub(crate) fn answer(&self, want: &Want) -> Option<Event> {
        match want {
            Want::Secret(path, revision)
            | Want::Trust(path, revision)
            | Want::Challenges(path, revision) => {
                let keys = self.reads.get("secrets")?.get(path.to_string())?;
                let (revision, content) = (revision.clone(), secret(keys));
                let reading = Reading { revision, content };
                Some(match want {
                    Want::Trust(..) => Event::Trust(path.clone(), reading),
                    Want::Challenges(..) => Event::Challenges(path.clone(), reading),
                    _ => Event::Secret(path.clone(), reading),
                })
            }
            Want::Config(path, revision) => {
                let configs = self.reads.get("configs");
                let sections = configs.and_then(|configs| configs.get(path.to_string()));
                if sections == Some(&json!("never")) {
                    return None;
                }
                // What the status tells is enough for most cases.
                let content = sections.map_or_else(|| Some(Config::default()), Config::from_json);
                let revision = revision.clone();
                Some(Event::Config(path.clone(), Reading { revision, content }))
            }
        }
    }

    /// The case as if there were only the objects that `keep` names.
    fn only(&self, keep: impl Fn(&ObjectPath) -> bool) -> Self {
        let mut case = self.clone();
        let services = case.status["monitor"]["services"].as_object_mut();
        services
            .unwrap()
            .retain(|key, _| key.parse().is_ok_and(|path| keep(&path)));
        case
    }
}

fn secret(keys: &Value) -> Option<Secret> {
    let text = |value: &Value| Sensitive::new(value.as_str().unwrap_or_default().to_owned());
    let keys = keys.as_object()?.iter();
    Some(
        keys.map(|(name, value)| (name.clone(), text(value)))
            .collect(),
    )
}

/// The names of all cases.
pub(crate) fn names() -> Vec<String> {
    let entries = std::fs::read_dir(folder()).unwrap();
    let entries = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = entries.collect();
    names.sort();
    names
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// A snapshot as Envoy's JSON, redacted: by type, then by name.
pub(crate) fn rendered(snapshot: &Snapshot) -> Value {
    let kinds = snapshot.kinds().map(|kind| {
        let resources = snapshot.all(kind).map(|resource| {
            let body = to_json(kind.url(), &resource.body).unwrap();
            (resource.name.to_string(), body)
        });
        (kind.word().to_owned(), Value::Object(resources.collect()))
    });
    Value::Object(kinds.collect())
}

/// The output files of a case. A file without text is not there.
fn files(outcome: &Outcome) -> BTreeMap<&'static str, String> {
    let pretty = |value: &Value| format!("{}\n", serde_json::to_string_pretty(value).unwrap());
    let Compiled {
        gateway,
        problems,
        wants,
        writes,
        expiries: _,
        namespaces: _,
    } = &outcome.compiled;
    let problems = problems
        .iter()
        .map(|problem: &Problem| format!("{problem}\n"));
    let wants = wants.iter().map(|want| match want {
        Want::Secret(path, _) => format!("the keys of {path}\n"),
        Want::Trust(path, _) => format!("the authorities of {path}\n"),
        Want::Challenges(path, _) => format!("the challenges of {path}\n"),
        Want::Config(path, _) => format!("the configuration of {path}\n"),
    });
    BTreeMap::from([
        (
            "gateway.json",
            pretty(&serde_json::to_value(gateway).unwrap()),
        ),
        ("snapshot.json", pretty(&rendered(&outcome.snapshot))),
        ("problems.txt", problems.collect()),
        ("wants.txt", wants.collect()),
        (
            "writes.txt",
            writes.iter().map(|write| format!("{write}\n")).collect(),
        ),
    ])
}

#[test]
fn golden_cases_come_out_as_recorded() {
    let update = std::env::var("UPDATE").is_ok_and(|value| value == "1");
    let mut failures = Vec::new();
    for name in names() {
        for (file, text) in files(&Case::load(&name).run()) {
            let path = folder().join(&name).join(file);
            let optional = OPTIONAL.contains(&file) && text.is_empty();
            let recorded = match std::fs::read_to_string(&path) {
                Ok(recorded) => Some(recorded),
                Err(_) if optional => continue,
                Err(_) => None,
            };
            match (recorded, update) {
                (Some(recorded), _) if recorded == text && !optional => {}
                (_, true) if optional => std::fs::remove_file(&path).unwrap(),
                (_, true) => std::fs::write(&path, text).unwrap(),
                (Some(recorded), false) => failures.push(difference(&name, file, &recorded, &text)),
                (None, false) => failures.push(format!("{name}/{file} is missing")),
            }
        }
    }
    let hint = "UPDATE=1 writes what comes out; read it before you commit it";
    assert!(failures.is_empty(), "\n{}\n{hint}\n", failures.join("\n"));
}

/// The lines between the common beginning and the common end.
fn difference(name: &str, file: &str, recorded: &str, found: &str) -> String {
    let (old, new): (Vec<_>, Vec<_>) = (recorded.lines().collect(), found.lines().collect());
    let same = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let (old, new) = (&old[same..], &new[same..]);
    let ends = old.iter().rev().zip(new.iter().rev());
    let end = ends.take_while(|(a, b)| a == b).count();
    let show = |sign: char, lines: &[&str]| {
        let (shown, more) = lines.split_at(lines.len().min(SHOWN_LINES));
        let mut text: String = shown
            .iter()
            .map(|line| format!("{sign} {line}\n"))
            .collect();
        if !more.is_empty() {
            text.push_str(&format!("{sign} ... and {} more lines\n", more.len()));
        }
        text
    };
    let (old, new) = (&old[..old.len() - end], &new[..new.len() - end]);
    format!(
        "{name}/{file}:{}\n{}{}",
        same + 1,
        show('-', old),
        show('+', new)
    )
}

#[test]
fn no_private_key_is_in_any_golden_file() {
    let mut keys = 0;
    for name in names() {
        let case = Case::load(&name);
        let mut private = Vec::new();
        private_lines(&case.status, &mut private);
        private_lines(&case.reads, &mut private);
        keys += private.len();
        for (file, text) in files(&case.run()) {
            let shown = private.iter().find(|line| text.contains(line.as_str()));
            assert!(shown.is_none(), "{name}/{file} shows a private key");
        }
    }
    assert!(keys > 0, "a test that sees no key shows nothing");
}

/// The lines of every private key in a document, whatever they stand under.
fn private_lines(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => {
            let mut inside = false;
            for line in text.lines() {
                if line.starts_with("-----") {
                    inside = line.contains("BEGIN") && line.contains("PRIVATE KEY");
                } else if inside && line.len() >= 16 {
                    found.push(line.to_owned());
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|v| private_lines(v, found)),
        Value::Object(members) => members.values().for_each(|v| private_lines(v, found)),
        _ => {}
    }
}

/// One bad service costs only itself: what `test/svc/good` gets is what it gets alone.
#[test]
fn golden_good_service_is_served_as_if_it_were_alone() {
    let (mut seen, mut kinds) = (0, BTreeSet::new());
    for name in names() {
        let case = Case::load(&name);
        let good: ObjectPath = "test/svc/good".parse().unwrap();
        let alone = case.only(|path| *path == good || path.to_string() == "test/sec/good");
        let alone = alone.run();
        if !alone.inventory.objects.contains_key(&good) {
            assert!(
                !name.starts_with("bad-"),
                "{name}: no good service stands beside"
            );
            continue;
        }
        seen += 1;
        assert!(alone.compiled.problems.is_empty(), "{name}");
        let beside = case.run().snapshot;
        for kind in ResourceType::ALL {
            for resource in alone.snapshot.all(kind) {
                let found = beside.get(kind, &resource.name);
                let same = found.is_some_and(|found| found.version == resource.version);
                assert!(
                    same,
                    "{name}: {kind} {} is not as it is alone",
                    resource.name
                );
            }
            kinds.extend((alone.snapshot.count(kind) > 0).then_some(kind));
        }
    }
    assert!(
        // No case has as many virtual hosts as scopes take.
        seen > 20 && kinds.len() + 1 == ResourceType::ALL.len(),
        "{seen} {kinds:?}"
    );
}

/// Envoy would make a resource under the name that is in it and keep account of it under the other.
#[test]
fn every_golden_resource_goes_under_the_name_that_is_in_it() {
    for name in names() {
        let snapshot = Case::load(&name).run().snapshot;
        for kind in ResourceType::ALL {
            for resource in snapshot.all(kind) {
                let message = to_json(kind.url(), &resource.body).unwrap();
                let key = match kind {
                    ResourceType::Endpoint => "cluster_name",
                    _ => "name",
                };
                assert_eq!(
                    message[key],
                    json!(resource.name.as_ref()),
                    "{name}: {kind}"
                );
            }
        }
    }
}

/// What most cases have nothing of.
const OPTIONAL: [&str; 2] = ["wants.txt", "writes.txt"];
/// How much of a difference is shown.
const SHOWN_LINES: usize = 40;
