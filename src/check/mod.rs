//! PURE: what is wrong with service configurations, before the cluster has them.
//!
//! Each file is taken as the agent 2.1 would take it (`agent`), as if each service had an
//! instance up on each of its nodes; the rest is the controller's own way from an inventory to a
//! snapshot, so that its problems are the very same. What only a cluster can know is made up, and
//! [`Stand`] says with what. `act` is the edge: files, and Envoy's own judgement.

pub mod act;
pub mod agent;
pub mod envoy;
mod known;
mod lint;
pub mod show;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use self::agent::Agent;
pub use self::known::keywords;
use crate::gateway::{Policy, Want, compile};
use crate::inventory::ini::Ini;
use crate::inventory::{
    Event, Instance, Inventory, Kind, Name, NodeStatus, Object, ObjectPath, Problem, Reading,
    Report, Secret, Write,
};
use crate::xds::{Encoding, Snapshot};

/// A configuration to check.
#[derive(Clone, Debug)]
pub struct Source {
    /// The object that it is of.
    pub object: ObjectPath,
    /// The file's name, as findings tell it.
    pub file: String,
    /// The file's text.
    pub text: String,
}

/// What stands in for what only the cluster knows.
#[derive(Clone, Debug)]
pub struct Stand {
    /// The keys of every `sec` object that a pair is asked of.
    pub pair: Secret,
    /// The keys of every `sec` object that tells whom to trust.
    pub trust: Secret,
}

/// How much a finding weighs.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Level {
    /// Something is not as it was meant.
    Problem,
    /// Something could not be looked at, or has no use.
    Note,
}

/// What somebody should know about a configuration.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Finding {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// How much it weighs.
    pub level: Level,
    /// Which of [`RULES`] it is.
    pub rule: &'static str,
    /// What is wrong, and where in the object.
    pub problem: Problem,
}

/// What came of checking.
#[derive(Clone, Debug, Default)]
pub struct Checked {
    /// What was found, in the order of files and lines.
    pub findings: BTreeSet<Finding>,
    /// What each gateway would serve, by its name.
    pub snapshots: BTreeMap<String, Snapshot>,
}

/// Checks configurations together. `only` is the one gateway that counts; otherwise every one
/// that an expose names does, or the policy's own where none names any. `now` is in seconds since
/// 1970.
pub fn check(
    sources: &[Source],
    only: Option<&str>,
    policy: &Policy,
    stand: &Stand,
    now: i64,
) -> Checked {
    let mut places = Places::default();
    let mut findings = BTreeSet::new();
    let mut agent = Agent::default();
    let mut meant = BTreeSet::new();
    for source in sources {
        let (ini, errors) = Ini::read(&source.text);
        let at = |line, reason: String| {
            let problem = of_object(&source.object, reason);
            finding(&source.file, line, "syntax", Level::Problem, problem)
        };
        for error in &errors {
            let reason = format!(
                "{}; the agent drops an object whose file it cannot read",
                error.reason
            );
            findings.insert(at(error.line, reason));
        }
        if errors.is_empty() && source.object.kind() == Kind::Svc {
            findings.extend(lint::lint(source, &ini, &mut meant));
            agent.take(source, &ini, &mut findings);
        }
        places.insert(source, ini);
    }
    let mut checked = Checked {
        findings,
        ..Checked::default()
    };
    let names = gateways(&agent, only, policy);
    for name in &names {
        let policy = Policy {
            gateway_name: name.clone(),
            ..policy.clone()
        };
        let world = World {
            agent: &agent,
            policy: &policy,
            stand,
        };
        let (snapshot, problems) = world.settle(now);
        for problem in problems {
            // It is another gateway's, which is asked as well, or was not asked for.
            if agent.is_of_other(&problem, name) || agent.is_of_left_out(&problem) {
                continue;
            }
            checked.findings.insert(places.finding("gateway", problem));
        }
        checked.snapshots.insert(name.clone(), snapshot);
    }
    drop_consequences(&mut checked.findings, &meant);
    for (path, section, keyword) in agent.unseen() {
        let secret = section_problem(
            &section.0,
            &section.1,
            keyword,
            format!("{path} is taken as good: what it holds is not known here"),
        );
        let mut note = places.finding("secret-unseen", secret);
        note.level = Level::Note;
        checked.findings.insert(note);
    }
    checked
}

/// Leaves out what only follows from something else that is told: that a keyword is missing,
/// beside one that is misspelled; and what the controller says of a keyword of which the agent
/// says more.
fn drop_consequences(findings: &mut BTreeSet<Finding>, meant: &BTreeSet<Meant>) {
    let place = |found: &Finding| {
        let Problem {
            object,
            section,
            keyword,
            ..
        } = &found.problem;
        (object.clone(), section.clone(), keyword.clone())
    };
    findings.retain(|found| found.rule != "agent" || !meant.contains(&place(found)));
    let agents = findings.iter().filter(|found| found.rule == "agent");
    let agents: BTreeSet<Meant> = agents.map(place).collect();
    findings.retain(|found| found.rule != "gateway" || !agents.contains(&place(found)));
}

/// Object, section and keyword that a misspelled keyword was probably meant to be.
type Meant = (ObjectPath, String, String);

/// The gateways to ask.
fn gateways(agent: &Agent, only: Option<&str>, policy: &Policy) -> BTreeSet<String> {
    if let Some(only) = only {
        return BTreeSet::from([only.to_owned()]);
    }
    let mut names = agent.gateways();
    if names.is_empty() {
        names.insert(policy.gateway_name.clone());
    }
    names
}

/// A cluster that has just what the agent takes of the files.
struct World<'a> {
    agent: &'a Agent,
    policy: &'a Policy,
    stand: &'a Stand,
}

impl World<'_> {
    /// Compiles, and answers what is wanted and written, until nothing new is.
    fn settle(&self, now: i64) -> (Snapshot, BTreeSet<Problem>) {
        let objects = self.agent.objects().iter();
        let objects = objects.map(|(path, object)| (path.clone(), Arc::new(object.clone())));
        let mut objects = objects.collect();
        let mut inventory = self.inventory(&objects);
        for _ in 0..ROUNDS_MAX {
            let compiled = compile(&inventory, self.policy);
            let mut changed = false;
            for event in compiled.wants.iter().map(|want| self.answer(want)) {
                changed |= inventory.apply(event);
            }
            if !changed && !compiled.writes.is_empty() {
                compiled
                    .writes
                    .iter()
                    .for_each(|write| put(&mut objects, write));
                inventory = self.inventory(&objects);
                changed = true;
            }
            if !changed {
                // In one piece, as Envoy is to judge it.
                let mut encoding = Encoding::with_scopes_above(usize::MAX);
                encoding.follow(&compiled.gateway);
                let over = compiled.expiries.into_iter();
                let over = over.filter(|(not_after, _)| *not_after < now);
                let mut problems = compiled.problems;
                problems.extend(encoding.problems().cloned());
                problems.extend(over.map(|(_, problem)| problem));
                return (encoding.snapshot().clone(), problems);
            }
        }
        (Snapshot::default(), BTreeSet::new())
    }

    fn inventory(&self, objects: &BTreeMap<ObjectPath, Arc<Object>>) -> Inventory {
        let nodes = objects.values().flat_map(|object| object.instances.keys());
        let nodes = nodes.map(|node| (node.to_owned(), NodeStatus::Settled));
        let mut inventory = Inventory::default();
        inventory.apply(Event::Reset(Report {
            nodes: nodes.collect(),
            labels: BTreeMap::new(),
            objects: objects.clone(),
        }));
        inventory
    }

    fn answer(&self, want: &Want) -> Event {
        let path = want.path().clone();
        let secret = |content: &Secret, revision: &Name| Reading {
            revision: revision.clone(),
            content: Some(content.clone()),
        };
        match want {
            Want::Secret(_, revision) => Event::Secret(path, secret(&self.stand.pair, revision)),
            Want::Trust(_, revision) => Event::Trust(path, secret(&self.stand.trust, revision)),
            Want::Challenges(_, revision) => {
                Event::Challenges(path, secret(&Secret::new(), revision))
            }
            Want::Config(_, revision) => {
                let content = self.agent.config(&path).cloned();
                let content = Some(content.unwrap_or_default());
                let revision = revision.clone();
                Event::Config(path, Reading { revision, content })
            }
        }
    }
}

/// A port that was asked for is the service's from now on.
fn put(objects: &mut BTreeMap<ObjectPath, Arc<Object>>, write: &Write) {
    let instances = objects.get_mut(&write.object).into_iter();
    let instances = instances.flat_map(|object| Arc::make_mut(object).instances.values_mut());
    for resource in
        instances.filter_map(|it: &mut Instance| it.resources_mut().get_mut(&write.section))
    {
        let value: Option<u16> = write.value.parse().ok();
        let value = value.map_or_else(|| write.value.as_str().into(), serde_json::Value::from);
        let resource = Arc::make_mut(resource);
        resource.keywords.insert(&write.keyword, value);
    }
}

/// Which file and line a problem is told at.
#[derive(Debug, Default)]
struct Places(BTreeMap<ObjectPath, Place>);

#[derive(Debug)]
struct Place {
    file: String,
    ini: Ini,
}

impl Places {
    fn insert(&mut self, source: &Source, ini: Ini) {
        let file = source.file.clone();
        self.0.insert(source.object.clone(), Place { file, ini });
    }

    /// The places of files that have been read.
    fn of(sources: &[Source]) -> Self {
        let mut places = Self::default();
        for source in sources {
            places.insert(source, Ini::read(&source.text).0);
        }
        places
    }

    /// The file and line that a problem is about; of an object without a file, the first one.
    fn locate(&self, problem: &Problem) -> (String, usize) {
        let known = self.0.get(&problem.object);
        let place = known.or_else(|| self.0.values().next());
        let line = place.and_then(|place| place.line(&problem.section, &problem.keyword));
        let file = place.map(|place| place.file.clone()).unwrap_or_default();
        (file, line.unwrap_or(1))
    }

    fn finding(&self, rule: &'static str, problem: Problem) -> Finding {
        let (file, line) = self.locate(&problem);
        finding(&file, line, rule, Level::Problem, problem)
    }
}

impl Place {
    fn line(&self, section: &str, keyword: &str) -> Option<usize> {
        let is_set = |keyword: &str| {
            let section = self.ini.sections().get(section)?;
            let mut names = section.keywords.keys();
            names.find(|name| name.split('@').next() == Some(keyword))
        };
        let other = OTHER_NAMES.iter().filter(|(told, _)| *told == keyword);
        let other = other
            .map(|(_, typed)| *typed)
            .find(|typed| is_set(typed).is_some());
        let typed = if is_set(keyword).is_some() {
            None
        } else {
            other
        };
        self.ini.line(section, typed.unwrap_or(keyword))
    }
}

fn finding(file: &str, line: usize, rule: &'static str, level: Level, problem: Problem) -> Finding {
    let file = file.to_owned();
    Finding {
        file,
        line,
        level,
        rule,
        problem,
    }
}

fn of_object(object: &ObjectPath, reason: String) -> Problem {
    section_problem(object, "", "", reason)
}

fn section_problem(object: &ObjectPath, section: &str, keyword: &str, reason: String) -> Problem {
    Problem {
        object: object.clone(),
        section: section.to_owned(),
        keyword: keyword.to_owned(),
        reason,
    }
}

/// The rules by which findings are made, and what each is about.
pub const RULES: &[(&str, &str)] = &[
    ("agent", "The agent 2.1 takes it otherwise, or not at all"),
    ("envoy", "Envoy refuses what is made of it"),
    ("gateway", "The controller cannot serve it as it is written"),
    (
        "repeated-keyword",
        "A keyword is set twice, and the last one counts",
    ),
    (
        "secret-unseen",
        "A secret is taken as good, as it cannot be seen from here",
    ),
    ("syntax", "The agent cannot read the file"),
    (
        "unknown-keyword",
        "Neither the agent nor osvc-igw knows the keyword",
    ),
    ("unknown-section", "The agent has no such type of section"),
    ("unused-section", "Nothing names the section"),
];

/// What a problem calls a keyword, and what it may be called in the file.
const OTHER_NAMES: &[(&str, &str)] = &[
    ("certificate_secret", "secret"),
    ("header_header_name", "header_name"),
    ("ipaddr", "ipname"),
];
/// Reads, then ports, then the reads of what has its port.
const ROUNDS_MAX: usize = 16;

#[cfg(test)]
mod tests;
