//! Which raw configuration an expose is read with, and what has to be read of it first.

use std::sync::Arc;

use super::{Exposed, Finder, Place};
use crate::gateway::compile::Want;
use crate::inventory::keywords::Raw;
use crate::inventory::{Config, ObjectPath, Problem, Resource};

impl<'a> Finder<'a, '_> {
    /// The raw configuration for an instance: `None` where it has to be read first, `Some(None)`
    /// where it cannot be had.
    ///
    /// An instance that defines nothing does without. A slave's configuration is a copy of its
    /// scaler's, which stands in for it while it is read: when the first slave goes, what it
    /// defined must not go with it.
    pub(super) fn raw(&mut self, at: Place<'a>, section: &str) -> Option<Option<Raw<'a>>> {
        let defines = !self.found.contains_key(section);
        let own = self.config(at.path, section, defines);
        let owner = self.owner.clone();
        let scaler = match defines && *at.path != owner {
            true => self.config(&owner, section, true),
            false => None,
        };
        let Some((object, config)) = own.or(scaler) else {
            return (!defines).then_some(None);
        };
        let raw = config.map(|config| Raw {
            config,
            object,
            node: at.node,
        });
        if defines && raw.is_none() {
            let reason = "its configuration cannot be read";
            let problem = Problem {
                object: self.owner.clone(),
                section: String::new(),
                keyword: String::new(),
                reason: reason.to_owned(),
            };
            let hence = "keywords that the agent leaves out of the status have no effect";
            self.problems.insert(problem.hence(hence));
        }
        Some(raw)
    }

    /// What was read last of the configuration of an object that exists; notes, if it is
    /// `wanted`, where that is not what the object has now. A section that is newer than what
    /// was read is waited for: what protects it may stand there.
    fn config(
        &mut self,
        path: &ObjectPath,
        section: &str,
        wanted: bool,
    ) -> Option<(&'a ObjectPath, Option<&'a Config>)> {
        let (path, object) = self.inventory.objects.get_key_value(path)?;
        let reading = self.inventory.configs.get(path);
        let stale = reading.is_none_or(|reading| reading.revision != object.revision);
        if wanted && stale {
            self.wants
                .insert(Want::Config(path.clone(), object.revision.clone()));
        }
        let content = reading?.content.as_ref();
        let newer = content.is_some_and(|config| !config.has_section(section));
        (!(wanted && stale && newer)).then_some((path, content))
    }
}

impl Exposed<'_> {
    /// Whether what another instance has of it is the same, so that to read it would come to the
    /// same.
    pub(super) fn is_said_again(&self, resource: &Arc<Resource>, raw: Option<Raw<'_>>) -> bool {
        let same_raw = match (self.raw, raw) {
            (None, None) => true,
            (Some(own), Some(raw)) => {
                std::ptr::eq(own.config, raw.config) && raw.config.is_same_everywhere(self.section)
            }
            _ => false,
        };
        let own = self.instance.resources.get(self.section);
        same_raw
            && own
                .is_some_and(|own| Arc::ptr_eq(own, resource) || own.keywords == resource.keywords)
    }
}
