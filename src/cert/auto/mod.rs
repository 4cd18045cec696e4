//! PURE: which names services serve with a certificate: those that a certificate asks for where
//! its label says so (`[labels] acme.names = auto`), and those that another one lacks.
//!
//! Each other set of names is another certificate, and authorities count them. So names that come
//! are gathered for a while before an order is made, and names that go are kept until the
//! certificate is renewed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::leaf::Leaf;
use super::method::Method;
use super::names::{is_wildcard, name};
use super::plan::Subject;
use super::schedule::renew_at;
use crate::inventory::keywords::{Keywords, Raw};
use crate::inventory::{Config, Kind, Object, ObjectPath, Problem};

/// A name that a service serves over TLS, and with which certificates.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Served {
    /// The name as it was typed.
    pub word: String,
    /// The service; a scaler for its slaves.
    pub by: ObjectPath,
    /// The section of its expose.
    pub expose: String,
    /// The `sec` objects of its namespace with the certificates.
    pub certificates: BTreeSet<ObjectPath>,
    /// Whether there are certificates that do not come from such an object.
    pub others: bool,
}

/// The names that a certificate is about to ask for, and since when.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settling {
    names: BTreeSet<String>,
    first: i64,
    last: i64,
}

impl Settling {
    fn observe(known: Option<&Self>, now: i64, names: &BTreeSet<String>) -> Self {
        match known {
            Some(known) if known.names == *names => known.clone(),
            known => Self {
                names: names.clone(),
                first: known.map_or(now, |known| known.first.min(now)),
                last: now,
            },
        }
    }

    /// When they count as settled: names that change again and again are not waited for for ever.
    fn at(&self, quiet_s: i64) -> i64 {
        let quiet = self.last.saturating_add(quiet_s);
        quiet.min(self.first.saturating_add(quiet_s * QUIET_TIMES_MAX))
    }
}

/// Whether something that the agent's status leaves out may tell of certificates.
pub fn needs_config(object: &Object) -> bool {
    let mut instances = object.instances.values();
    instances.any(|instance| {
        let mut sections = instance.resources.values();
        sections.any(|one| one.is_of(CERTIFICATE) && !one.keywords.contains_key(SECRET))
    })
}

/// The names that a service serves with certificates of `sec` objects: `sni` of its exposes and
/// `domains` of their vhosts.
pub fn served(object: &Object, config: Option<&Config>) -> BTreeSet<Served> {
    let path = &object.path;
    let owner = match path.scaler() {
        Some((_, owner)) if object.slave => owner,
        _ => path.clone(),
    };
    let mut found = BTreeSet::new();
    for (node, instance) in &object.instances {
        let keywords = |kind: &str, section: &str| {
            let (section, resource) = instance.resources.get_key_value(section)?;
            let raw = config.map(|config| Raw {
                config,
                object: path,
                node,
            });
            resource
                .is_of(kind)
                .then(|| Keywords::new(path, section, &resource.keywords, raw))
        };
        let exposes = instance.resources.iter();
        for (expose, _) in exposes.filter(|(_, resource)| resource.driver == EXPOSE_DRIVER) {
            let Some(own) = keywords(EXPOSE, expose) else {
                continue;
            };
            let sections = words(&own, "listener_certificates");
            let certificates = sections.iter().map(|section| {
                let keywords = keywords(CERTIFICATE, section)?;
                let mut word = [SECRET, "secret"].iter();
                let word = word.find_map(|keyword| keywords.text(keyword).ok().flatten())?;
                let secret = path.resolve(Kind::Sec, &word)?;
                (secret.namespace() == path.namespace()).then_some(secret)
            });
            let certificates: Vec<Option<ObjectPath>> = certificates.collect();
            let others = certificates.iter().any(Option::is_none);
            let certificates: BTreeSet<ObjectPath> = certificates.into_iter().flatten().collect();
            if certificates.is_empty() {
                continue;
            }
            let mut names = words(&own, "sni");
            for vhost in words(&own, "vhosts") {
                let Some(vhost) = keywords("vhost", &vhost) else {
                    continue;
                };
                let domains = words(&vhost, "domains");
                match domains.is_empty() {
                    true => names.push(owner.name().to_owned()),
                    false => names.extend(domains),
                }
            }
            found.extend(names.into_iter().map(|word| Served {
                // The agent's default is the object's name, which for a slave is not served.
                word: match word == path.name() {
                    true => owner.name().to_owned(),
                    false => word,
                },
                by: owner.clone(),
                expose: expose.to_owned(),
                certificates: certificates.clone(),
                others,
            }));
        }
    }
    found
}

/// Gives every certificate that takes its names from services its names, and tells which names it
/// leaves out, and which names other certificates lack. `sure` is whether all that is served is
/// known: no name is gone while a node is not heard of.
pub fn settle(
    now: i64,
    sure: bool,
    served: &BTreeSet<Served>,
    quiet_s: i64,
    subjects: &mut BTreeMap<ObjectPath, Subject>,
    settling: &mut BTreeMap<ObjectPath, Settling>,
) -> BTreeSet<Problem> {
    let mut problems = lacking(served, subjects);
    let declared: BTreeMap<ObjectPath, BTreeSet<String>> = subjects
        .iter()
        .filter(|(_, subject)| subject.declaration.settles_at.is_none())
        .map(|(path, subject)| (path.clone(), subject.declaration.names.clone()))
        .collect();
    settling.retain(|path, _| subjects.contains_key(path));
    for (path, subject) in subjects.iter_mut() {
        if subject.declaration.settles_at.is_none() {
            settling.remove(path);
            continue;
        }
        let ours = served.iter().filter(|one| one.certificates.contains(path));
        let elsewhere = |one: &&Served| {
            let mut others = one
                .certificates
                .iter()
                .filter_map(|path| declared.get(path));
            let name = spelled(&one.word);
            name.is_ok_and(|name| others.any(|names| covers(names, &name)))
        };
        let ours: Vec<&Served> = ours.filter(|one| !elsewhere(one)).collect();
        let (wanted, left_out) = wanted(subject, &ours);
        problems.extend(left_out);
        let names = kept(now, sure, subject, wanted);
        let leaf = subject.leaf.as_ref();
        let settled = leaf.is_some_and(|leaf| leaf.names == names);
        let at = match settled {
            true => {
                settling.remove(path);
                0
            }
            false => {
                let seen = Settling::observe(settling.get(path), now, &names);
                let at = seen.at(quiet_s);
                settling.insert(path.clone(), seen);
                at
            }
        };
        subject.declaration.names = names;
        subject.declaration.settles_at = Some(at);
    }
    subjects.retain(|path, subject| {
        let declaration = &subject.declaration;
        let any = declaration.settles_at.is_none() || !declaration.names.is_empty();
        if !any {
            problems.insert(label(path, NOTHING.to_owned()));
        }
        any
    });
    problems
}

/// The names to ask for, and what is wrong with those that are left out.
fn wanted(subject: &Subject, served: &[&Served]) -> (BTreeSet<String>, BTreeSet<Problem>) {
    let (path, methods) = (
        &subject.declaration.path,
        subject.declaration.methods(&subject.issuer),
    );
    let mut names = subject.declaration.names.clone();
    let mut problems = BTreeSet::new();
    for one in served {
        match signable(&one.word, methods) {
            Ok(name) => drop(names.insert(name)),
            Err(reason) => {
                let Served { by, expose, .. } = one;
                let reason = format!("leaves out what {by} {expose} serves: {reason}");
                problems.insert(label(path, reason));
            }
        }
    }
    // Authorities refuse a name beside the wildcard that has it.
    let all = names.clone();
    names.retain(|name| {
        !all.iter()
            .any(|other| other != name && matches(other, name))
    });
    if names.len() > NAMES_MAX {
        let reason = format!(
            "finds {} names, and no authority takes more than {NAMES_MAX}: those that come last \
             in the alphabet are left out",
            names.len()
        );
        problems.insert(label(path, reason));
        names = names.into_iter().take(NAMES_MAX).collect();
    }
    (names, problems)
}

/// The names to ask for, where those of the certificate that is there do as well until it is
/// renewed: then names that are gone are left out.
fn kept(now: i64, sure: bool, subject: &Subject, wanted: BTreeSet<String>) -> BTreeSet<String> {
    let Some(leaf) = subject.leaf.as_ref().filter(|leaf| !leaf.self_signed) else {
        return wanted;
    };
    let Subject {
        declaration,
        issuer,
        record,
        ..
    } = subject;
    let ours = leaf.serial == record.serial;
    let window = record.window.as_ref().filter(|_| ours);
    let mut as_issued = declaration.clone();
    as_issued.names.clone_from(&leaf.names);
    let same = !ours || as_issued.fingerprint(issuer) == record.issued_for;
    let lasts = same && now < renew_at(leaf, window);
    let covered = |leaf: &Leaf| wanted.iter().all(|name| covers(&leaf.names, name));
    if lasts && !wanted.is_empty() && covered(leaf) {
        return leaf.names.clone();
    }
    match sure {
        true => wanted,
        false => wanted.into_iter().chain(leaf.names.clone()).collect(),
    }
}

/// The names that are served with certificates all of which are declared, and none of which
/// covers them.
fn lacking(
    served: &BTreeSet<Served>,
    subjects: &BTreeMap<ObjectPath, Subject>,
) -> BTreeSet<Problem> {
    let mut problems = BTreeSet::new();
    for one in served.iter().filter(|one| !one.others) {
        let declared = one.certificates.iter().map(|path| subjects.get(path));
        let Some(declared) = declared.collect::<Option<Vec<&Subject>>>() else {
            continue;
        };
        let Ok(name) = signable(&one.word, &Method::ALL) else {
            continue;
        };
        let covered = declared.iter().any(|subject| {
            let declaration = &subject.declaration;
            declaration.settles_at.is_some() || covers(&declaration.names, &name)
        });
        if covered {
            continue;
        }
        let paths: Vec<String> = one.certificates.iter().map(ToString::to_string).collect();
        problems.insert(Problem {
            object: one.by.clone(),
            section: one.expose.clone(),
            keyword: "listener_certificates".to_owned(),
            reason: format!(
                "{name} is served with the certificate {}, which is not for it",
                paths.join(" ")
            ),
        });
    }
    problems
}

/// The name as an authority takes it.
///
/// # Errors
/// Why none does, as a sentence that quotes it.
fn signable(word: &str, methods: &[Method]) -> Result<String, String> {
    let name = spelled(word)?;
    if name.parse::<IpAddr>().is_ok() {
        return Err(format!("the address {name} has to be among its alt_names"));
    }
    match Method::choose(methods, &name, 0) {
        Some(_) => Ok(name),
        None if is_wildcard(&name) => Err(format!("{name} needs a DNS challenge")),
        None => Err(format!("{name} fits none of its challenges")),
    }
}

/// The name without what a domain of a virtual host may have beside it.
fn spelled(word: &str) -> Result<String, String> {
    let port = |text: &str| !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
    let host = match word.rsplit_once(':') {
        Some((host, end)) if port(end) && (host.ends_with(']') || !host.contains(':')) => host,
        _ => word,
    };
    let bare = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    name(bare.unwrap_or(host))
}

fn covers(names: &BTreeSet<String>, name: &str) -> bool {
    names
        .iter()
        .any(|known| known == name || matches(known, name))
}

/// Whether a wildcard stands for a name (RFC 6125, section 6.4.3: for one label).
fn matches(wildcard: &str, name: &str) -> bool {
    let parent = wildcard.strip_prefix("*.");
    !is_wildcard(name)
        && parent.is_some()
        && name.split_once('.').map(|(_, parent)| parent) == parent
}

fn words(keywords: &Keywords<'_>, keyword: &str) -> Vec<String> {
    // What cannot be read is not served either, and the gateway tells so.
    keywords.words(keyword).unwrap_or_default()
}

fn label(path: &ObjectPath, reason: String) -> Problem {
    Problem {
        object: path.clone(),
        section: "labels".to_owned(),
        keyword: "acme.names".to_owned(),
        reason,
    }
}

/// How long names have to stay as they are before they are ordered.
pub const QUIET_S: i64 = 30;
/// After so many such times they are ordered as they are.
const QUIET_TIMES_MAX: i64 = 20;
const NAMES_MAX: usize = 100;
const EXPOSE: &str = "expose";
const EXPOSE_DRIVER: &str = "expose.envoy";
const CERTIFICATE: &str = "certificate";
const SECRET: &str = "certificate_secret";
const NOTHING: &str = "is auto, and no service serves a name with the certificate";

#[cfg(test)]
mod tests;
