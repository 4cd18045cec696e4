//! EDGE: finds out what the `sec` objects ask for and hold. What did not change is not read again.

use std::collections::BTreeMap;

use tracing::debug;

use super::declaration::{Declaration, ISSUER_KEYS, Issuer, declaration, issuer};
use super::dns::settings::keys_of;
use super::issue::{JOURNAL_KEY, RECORD_KEY};
use super::leaf::Leaf;
use super::plan::Subject;
use super::record::{Journal, Record};
use crate::inventory::certificate::{FULL_KEY, PAIR_KEYS, Pair};
use crate::inventory::{Inventory, Kind, ObjectPath, Problem, Secret, Sensitive};
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
    declared: BTreeMap<ObjectPath, (String, Option<Held>)>,
    issuers: BTreeMap<ObjectPath, (String, Option<Result<Issuer, Problem>>)>,
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
    /// Forgets what was read of an object and of its issuer, so that both are read again.
    pub fn forget(&mut self, path: &ObjectPath) {
        if let Some((_, Some(held))) = self.declared.remove(path)
            && let Ok(declaration) = held.declaration
        {
            self.issuers.remove(&declaration.issuer);
        }
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
        let secs: BTreeMap<&ObjectPath, &String> = secs
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
                    let revision = secs.get(&declaration.issuer).copied();
                    let found = self.issuer(daemon, &declaration.issuer, revision).await?;
                    survey.enter(declaration, held, found);
                }
            }
        }
        Ok(survey)
    }

    async fn issuer(
        &mut self,
        daemon: &dyn Daemon,
        path: &ObjectPath,
        revision: Option<&String>,
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
        issuer: Option<Result<Issuer, Problem>>,
    ) {
        match issuer {
            // An authority of OpenSVC's own signs by itself.
            None => {}
            Some(Err(problem)) if self.problems.contains(&problem) => {}
            Some(Err(problem)) => self.problems.push(problem),
            Some(Ok(issuer)) => {
                let subject = Subject {
                    declaration,
                    issuer,
                    leaf: held.leaf,
                    record: held.record,
                    journal: held.journal,
                };
                let path = subject.declaration.path.clone();
                self.subjects.insert(path, subject);
            }
        }
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
