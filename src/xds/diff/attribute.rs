//! Which OpenSVC object a change comes from. Resources know what they were made from; of what an
//! Envoy tells, the names do.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Change, Entry};
use crate::gateway::Origin;

/// The origins of one resource and its parts.
pub(super) struct Attribution<'a> {
    name: &'a str,
    old: Option<&'a Entry>,
    new: Option<&'a Entry>,
}

impl<'a> Attribution<'a> {
    pub(super) const fn new(name: &'a str, old: Option<&'a Entry>, new: Option<&'a Entry>) -> Self {
        Self { name, old, new }
    }

    /// Of the resource as a whole: the newer side knows better.
    pub(super) fn whole(&self) -> Vec<Origin> {
        let sides = [self.new, self.old];
        let known = sides.into_iter().flatten().map(|entry| &entry.origins);
        let mut known = known.filter(|origins| !origins.is_empty());
        if let Some(known) = known.next() {
            return distinct(known.iter().cloned());
        }
        let mut found: Vec<Origin> = named(self.name).into_iter().collect();
        for entry in sides.into_iter().flatten() {
            mentioned(&entry.body, &mut found);
        }
        distinct(found)
    }

    /// Of a part: whom its name names, else who joined or left the resource, else all.
    pub(super) fn part(&self, name: &str, body: Option<&Value>) -> Vec<Origin> {
        let known = self.known();
        let fits = |origin: &&Origin| {
            let rest = name.strip_prefix(&format!("{}.{}", origin.object, origin.section));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let longest = known.iter().filter(fits).max_by_key(|it| it.section.len());
        if let Some(origin) = longest.cloned().or_else(|| named(name)) {
            return vec![origin];
        }
        let joined = self.joined();
        match (joined.is_empty(), body) {
            (false, _) => joined,
            (true, Some(body)) if known.is_empty() => {
                let mut found = Vec::new();
                mentioned(body, &mut found);
                match found.is_empty() {
                    true => self.whole(),
                    false => distinct(found),
                }
            }
            _ => self.whole(),
        }
    }

    /// Of what concerns the whole resource: who joined or left it, else whose parts changed.
    pub(super) fn head(&self, parts: &[Change]) -> Vec<Origin> {
        let joined = self.joined();
        if !joined.is_empty() {
            return joined;
        }
        let of_parts = parts.iter().flat_map(|change| change.origins.clone());
        let of_parts = distinct(of_parts);
        match of_parts.is_empty() {
            true => self.whole(),
            false => of_parts,
        }
    }

    fn known(&self) -> BTreeSet<Origin> {
        let sides = [self.new, self.old].into_iter().flatten();
        sides.flat_map(|entry| entry.origins.clone()).collect()
    }

    /// The origins of one side alone, where both sides tell of them.
    fn joined(&self) -> Vec<Origin> {
        let (Some(old), Some(new)) = (self.old, self.new) else {
            return Vec::new();
        };
        if old.origins.is_empty() || new.origins.is_empty() {
            return Vec::new();
        }
        let set = |entry: &Entry| entry.origins.iter().cloned().collect::<BTreeSet<_>>();
        let (old, new) = (set(old), set(new));
        new.symmetric_difference(&old).cloned().collect()
    }
}

/// The section of an object that a cluster, a chain or a virtual host is called after:
/// `test/svc/web1.expose#0`, and what follows.
fn named(name: &str) -> Option<Origin> {
    let at = name.find(".expose#")?;
    let section = name[at + 1..].split('.').next()?;
    Some(Origin {
        object: name[..at].parse().ok()?,
        section: section.to_owned().into(),
    })
}

/// What is named anywhere in a message.
fn mentioned(value: &Value, found: &mut Vec<Origin>) {
    match value {
        Value::String(text) => found.extend(named(text)),
        Value::Array(items) => items.iter().for_each(|item| mentioned(item, found)),
        Value::Object(members) => members.values().for_each(|it| mentioned(it, found)),
        _ => {}
    }
}

/// Each once, in the order of the first.
fn distinct(origins: impl IntoIterator<Item = Origin>) -> Vec<Origin> {
    let mut seen = BTreeSet::new();
    let origins = origins.into_iter();
    origins
        .filter(|origin| seen.insert(origin.clone()))
        .collect()
}
