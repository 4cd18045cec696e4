//! From a `certificate` section to the secret that holds its key pair: where the name of the
//! `sec` object is found, and what still has to be read before it can be used.

use std::collections::BTreeSet;

use super::compile::Want;
use super::exposes::Exposed;
use super::{Origin, TlsSecret};
use crate::inventory::keywords::{Keywords, shown};
use crate::inventory::{Inventory, Kind, ObjectPath, Problem, Sensitive};

/// What became of the certificates that an expose names.
#[derive(Debug, Eq, PartialEq)]
pub enum Resolved {
    /// The secrets, by name, in the order in which they are named.
    Ready(Vec<(String, TlsSecret)>),
    /// Something has been asked for and is not there yet.
    Waiting,
    /// One cannot be had: serving without it would be something else than what was written.
    Broken,
}

/// Finds secrets in what is known, and notes what is wrong or wanted.
#[derive(Debug)]
pub struct Resolver<'a, 'p> {
    /// What is known.
    pub inventory: &'a Inventory,
    /// Takes what is wrong.
    pub problems: &'p mut BTreeSet<Problem>,
    /// Takes what has to be read.
    pub wants: &'p mut BTreeSet<Want>,
}

/// Why a certificate is not there.
enum Missing {
    Waiting,
    Broken(Problem),
}

impl<'a> Resolver<'a, '_> {
    /// Resolves the `certificate` sections that the expose's `keyword` names.
    pub fn resolve(
        &mut self,
        exposed: &Exposed<'_>,
        keyword: &str,
        sections: &[String],
    ) -> Resolved {
        let mut ready: Vec<(String, TlsSecret)> = Vec::new();
        let mut waiting = false;
        let mut broken = false;
        for section in sections {
            match self.certificate(exposed, keyword, section) {
                Ok((name, _)) if ready.iter().any(|(known, _)| *known == name) => {}
                Ok(secret) => ready.push(secret),
                Err(Missing::Waiting) => waiting = true,
                Err(Missing::Broken(problem)) => {
                    let consequence = format!("{} is not served", exposed.section);
                    self.problems.insert(problem.hence(consequence));
                    broken = true;
                }
            }
        }
        match (broken, waiting) {
            (true, _) => Resolved::Broken,
            (false, true) => Resolved::Waiting,
            (false, false) => Resolved::Ready(ready),
        }
    }

    fn certificate(
        &mut self,
        exposed: &Exposed<'_>,
        keyword: &str,
        section: &str,
    ) -> Result<(String, TlsSecret), Missing> {
        let Some(keywords) = exposed.section_keywords("certificate", section) else {
            let reason = format!("names {}, which is no certificate section", shown(section));
            return Err(Missing::Broken(exposed.problem(keyword, reason)));
        };
        let word = secret_word(&keywords).map_err(Missing::Broken)?;
        let path = exposed
            .owner
            .resolve(Kind::Sec, &word)
            .filter(|path| path.kind() == Kind::Sec);
        let Some(path) = path else {
            let reason = format!("{} is no name of a sec object", shown(&word));
            return Err(Missing::Broken(keywords.problem(SECRET, reason)));
        };
        // Another namespace belongs to somebody else: naming its secret must not lend it.
        if path.namespace() != exposed.owner.namespace() {
            let reason = format!("{path} is in another namespace than the service");
            return Err(Missing::Broken(keywords.problem(SECRET, reason)));
        }
        let secret = self.key_pair(&keywords, &path)?;
        Ok((format!("tls_certificate/{path}"), secret))
    }

    fn key_pair(
        &mut self,
        keywords: &Keywords<'_>,
        path: &ObjectPath,
    ) -> Result<TlsSecret, Missing> {
        let broken = |reason: String| Err(Missing::Broken(keywords.problem(SECRET, reason)));
        let reading = self.inventory.secrets.get(path);
        // A reading that ends after the object went must not live on: what is served would depend
        // on which was faster.
        let Some(object) = self.inventory.objects.get(path) else {
            return broken(format!("{path} does not exist"));
        };
        if reading.is_none_or(|reading| reading.revision != object.revision) {
            let want = Want::Secret(path.clone(), object.revision.clone());
            self.wants.insert(want);
        }
        let Some(secret) = reading.ok_or(Missing::Waiting)?.content.as_ref() else {
            return broken(format!("{path} does not exist"));
        };
        let key = |name: &str| -> Option<Sensitive> { secret.get(name).cloned() };
        let (Some(certificate_chain), Some(private_key)) = (key(CHAIN_KEY), key(PRIVATE_KEY))
        else {
            let missing = if secret.contains_key(CHAIN_KEY) {
                PRIVATE_KEY
            } else {
                CHAIN_KEY
            };
            return broken(format!("{path} has no key {missing}"));
        };
        Ok(TlsSecret {
            origin: Origin {
                object: path.clone(),
                section: String::new(),
            },
            certificate_chain,
            private_key,
        })
    }
}

/// The name of the `sec` object: `certificate_secret`, or the documented `secret`, which the 2.1
/// driver drops.
fn secret_word(keywords: &Keywords<'_>) -> Result<String, Problem> {
    for keyword in [SECRET, "secret"] {
        if let Some(word) = keywords.text(keyword)? {
            return Ok(word);
        }
    }
    Err(keywords.problem(
        SECRET,
        "is not set, and no other certificate source is served",
    ))
}

/// The keys of a `sec` object that are read; other keys are disregarded.
pub const SECRET_KEYS: [&str; 2] = [CHAIN_KEY, PRIVATE_KEY];
const CHAIN_KEY: &str = "certificate_chain";
const PRIVATE_KEY: &str = "private_key";
const SECRET: &str = "certificate_secret";
