//! EDGE: finds out what the `sec` objects ask for and hold. What did not change is not read again.

use std::collections::{BTreeMap, BTreeSet};

use tracing::debug;

use super::auto::{self, Served, Settling};
use super::declaration::{Declaration, ISSUER_KEYS, Issuer, declaration, issuer};
use super::dns::settings::keys_of;
use super::issue::{JOURNAL_KEY, RECORD_KEY};
use super::leaf::Leaf;
use super::plan::Subject;
use super::record::{Journal, Record};
use crate::clock::unix_seconds;
use crate::inventory::certificate::{FULL_KEY, PAIR_KEYS, Pair};
use crate::inventory::{Inventory, Kind, Name, ObjectPath, Problem, Secret, Sensitive};
use crate::opensvc::{Daemon, Error};

/// Everything that is asked for, and what is wrong with the rest.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Survey {
    /// The certificates, by path.
    pub subjects: BTreeMap<ObjectPath, Subject>,
    /// What cannot be done as it is declared.
    pub problems: Vec<Problem>,
}

/// What was read so far, by object and revision.
#[derive(Debug, Default)]
pub struct Known {
    declared: BTreeMap<ObjectPath, (Name, Option<Held>)>,
    issuers: BTreeMap<ObjectPath, (Name, Option<Result<Issuer, Problem>>)>,
    /// What each service serves, by its revision and how many sections it tells of.
    served: BTreeMap<ObjectPath, ((Name, usize), BTreeSet<Served>)>,
    settling: BTreeMap<ObjectPath, Settling>,
    /// How long names that services serve have to stay as they are before they are ordered.
    pub quiet_s: i64,
}

/// What an object that declares a certificate holds.
#[derive(Clone, Debug)]
struct Held {
    declaration: Result<Declaration, Problem>,
    leaf: Option<Leaf>,
    record: Record,
    journal: Option<Journal>,
}

impl Known {
    /// Nothing yet; names get so long to settle.
    pub fn new(quiet_s: i64) -> Self {
        Self {
            quiet_s,
            ..Self::default()
        }
    }

    /// Forgets what was read of an object and of issuers, so that all of it is read again.
    pub fn forget(&mut self, path: &ObjectPath) {
        self.declared.remove(path);
        self.issuers.clear();
    }

    /// Reads what is not known yet.
    ///
    /// # Errors
    /// When the daemon cannot be asked. What it does not show to this account is left out.
    pub async fn survey(
        &mut self,
        daemon: &dyn Daemon,
        inventory: &Inventory,
    ) -> Result<Survey, Error> {
        let secs = inventory.objects.values();
        let secs = secs.filter(|object| object.path.kind() == Kind::Sec);
        let secs: BTreeMap<&ObjectPath, &Name> = secs
            .map(|object| (&object.path, &object.revision))
            .collect();
        self.declared.retain(|path, _| secs.contains_key(path));
        let mut survey = Survey::default();
        for (path, revision) in &secs {
            let known = self.declared.get(path).filter(|(at, _)| at == *revision);
            let held = match known {
                Some((_, held)) => held.clone(),
                None => {
                    let held = shown(held(daemon, path).await)?.flatten();
                    let entry = ((*revision).clone(), held.clone());
                    self.declared.insert((*path).clone(), entry);
                    held
                }
            };
            let Some(held) = held else {
                continue;
            };
            match held.declaration.clone() {
                Err(problem) => survey.problems.push(problem),
                Ok(declaration) => {
                    let all = self.issuers(daemon, &secs, &declaration.issuer).await?;
                    survey.enter(declaration, held, all);
                }
            }
        }
        self.settle_names(daemon, inventory, &mut survey).await?;
        Ok(survey)
    }

    /// An issuer, and those that stand in for it.
    async fn issuers(
        &mut self,
        daemon: &dyn Daemon,
        secs: &BTreeMap<&ObjectPath, &Name>,
        first: &ObjectPath,
    ) -> Result<Vec<Result<Issuer, Problem>>, Error> {
        let revision = |issuer: &ObjectPath| secs.get(issuer).copied();
        let found = self.issuer(daemon, first, revision(first)).await?;
        let mut all = Vec::from_iter(found);
        while all.len() < ISSUERS_MAX
            && let Some(Ok(issuer)) = all.last()
            && let Some(next) = issuer.fallback.clone()
        {
            let path = issuer.path.clone();
            let found = self.issuer(daemon, &next, revision(&next)).await?;
            all.push(found.unwrap_or_else(|| Err(no_issuer(&path, &next))));
        }
        Ok(all)
    }

    /// Gives the certificates their names that take them from services.
    async fn settle_names(
        &mut self,
        daemon: &dyn Daemon,
        inventory: &Inventory,
        survey: &mut Survey,
    ) -> Result<(), Error> {
        let subjects = survey.subjects.keys();
        let namespaces: BTreeSet<&str> = subjects.map(ObjectPath::namespace).collect();
        let services = inventory.objects.values().filter(|object| {
            object.path.kind() == Kind::Svc && namespaces.contains(object.path.namespace())
        });
        let mut all = BTreeSet::new();
        let mut before = std::mem::take(&mut self.served);
        for object in services {
            let sections = object.instances.values();
            let sections = sections.map(|instance| instance.resources.len()).sum();
            let seen = (object.revision.clone(), sections);
            let known = before.remove(&object.path).filter(|(at, _)| *at == seen);
            let served = match known {
                Some((_, served)) => served,
                None => {
                    let config = match auto::needs_config(object) {
                        true => shown(daemon.read_config(&object.path).await)?.flatten(),
                        false => None,
                    };
                    auto::served(object, config.as_ref())
                }
            };
            all.extend(served.iter().cloned());
            self.served.insert(object.path.clone(), (seen, served));
        }
        let sure = !inventory.nodes.values().any(|node| node.is_unsure());
        let quiet_s = self.quiet_s;
        let (subjects, settling) = (&mut survey.subjects, &mut self.settling);
        let problems = auto::settle(unix_seconds(), sure, &all, quiet_s, subjects, settling);
        survey.problems.extend(problems);
        Ok(())
    }

    async fn issuer(
        &mut self,
        daemon: &dyn Daemon,
        path: &ObjectPath,
        revision: Option<&Name>,
    ) -> Result<Option<Result<Issuer, Problem>>, Error> {
        let Some(revision) = revision else {
            return Ok(None);
        };
        if let Some((at, known)) = self.issuers.get(path)
            && at == revision
        {
            return Ok(known.clone());
        }
        let keys = shown(issuer_keys(daemon, path).await)?;
        let found = keys.and_then(|keys| issuer(path, &keys));
        let entry = (revision.clone(), found.clone());
        self.issuers.insert(path.clone(), entry);
        Ok(found)
    }
}

impl Survey {
    fn enter(
        &mut self,
        declaration: Declaration,
        held: Held,
        issuers: Vec<Result<Issuer, Problem>>,
    ) {
        let mut good = Vec::new();
        for issuer in issuers {
            match issuer {
                Err(problem) if self.problems.contains(&problem) => {}
                Err(problem) => self.problems.push(problem),
                Ok(issuer) if good.contains(&issuer) => {}
                Ok(issuer) => good.push(issuer),
            }
        }
        let mut good = good.into_iter();
        // An authority of OpenSVC's own signs by itself.
        let Some(issuer) = good.next() else {
            return;
        };
        let mut others = Vec::new();
        for other in good {
            match declaration.check(&other) {
                Ok(()) => others.push(other),
                Err(problem) => self.problems.push(problem),
            }
        }
        let subject = Subject {
            declaration,
            issuer,
            others,
            leaf: held.leaf,
            record: held.record,
            journal: held.journal,
        };
        let path = subject.declaration.path.clone();
        self.subjects.insert(path, subject);
    }
}

fn no_issuer(path: &ObjectPath, other: &ObjectPath) -> Problem {
    Problem {
        object: path.clone(),
        section: String::new(),
        keyword: "fallback".to_owned(),
        reason: format!("names {other}, which describes no ACME authority"),
    }
}

async fn held(daemon: &dyn Daemon, path: &ObjectPath) -> Result<Option<Held>, Error> {
    let Some(config) = daemon.read_config(path).await? else {
        return Ok(None);
    };
    let Some(declaration) = declaration(path, &config) else {
        return Ok(None);
    };
    let [chain, key] = PAIR_KEYS;
    let names = [chain, key, FULL_KEY, RECORD_KEY, JOURNAL_KEY];
    let keys = keys(daemon, path, &names).await?;
    let pair = Pair::of_secret(&keys).ok();
    let record = keys.get(RECORD_KEY).map(Sensitive::expose);
    Ok(Some(Held {
        declaration,
        leaf: pair.and_then(|pair| Leaf::of_pem(pair.certificate_chain.expose())),
        record: Record::parse(record.unwrap_or_default()),
        journal: keys.get(JOURNAL_KEY).and_then(Journal::parse),
    }))
}

async fn issuer_keys(daemon: &dyn Daemon, path: &ObjectPath) -> Result<Secret, Error> {
    let mut found = keys(daemon, path, &ISSUER_KEYS).await?;
    let more = found.get("dns").map(|way| keys_of(way.expose()));
    found.extend(keys(daemon, path, more.unwrap_or_default()).await?);
    Ok(found)
}

async fn keys(daemon: &dyn Daemon, path: &ObjectPath, names: &[&str]) -> Result<Secret, Error> {
    let mut secret = Secret::new();
    for name in names {
        if let Some(value) = daemon.read_key(path, name).await? {
            secret.insert((*name).to_owned(), value);
        }
    }
    Ok(secret)
}

/// What this account may not see is not there for it.
fn shown<T>(read: Result<T, Error>) -> Result<Option<T>, Error> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(error @ (Error::Refused { .. } | Error::Forbidden { .. })) => {
            debug!(%error, "an object is not shown to this account");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// How many authorities may be asked for one certificate: names that go round in a circle end.
const ISSUERS_MAX: usize = 4;
