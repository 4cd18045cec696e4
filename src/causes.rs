//! PURE: why a snapshot is published, in words for one line of the log: the events that led to it,
//! and the objects whose resources are not the same.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::gateway::Origin;
use crate::inventory::ObjectPath;
use crate::xds::Resource;
use crate::xds::changes::Changes;

/// What happened since the last publication.
#[derive(Debug, Default)]
pub(crate) struct Causes {
    told: BTreeSet<String>,
    more: usize,
}

impl Causes {
    /// Something changed, and this is why.
    pub(crate) fn note(&mut self, cause: String) {
        if self.told.contains(&cause) {
            return;
        }
        match self.told.len() < SHOWN_MAX {
            true => drop(self.told.insert(cause)),
            false => self.more += 1,
        }
    }

    /// All of it on one line; begins anew.
    pub(crate) fn take(&mut self) -> String {
        let told = std::mem::take(&mut self.told);
        listed(told, std::mem::take(&mut self.more))
    }
}

/// The objects whose resources are not the same.
pub(crate) fn objects(changes: &Changes) -> String {
    let mut objects: BTreeSet<&ObjectPath> = BTreeSet::new();
    for change in changes.iter() {
        let (before, after) = (of(&change.before), of(&change.after));
        // Of what many share, who joined or left it; else all of them.
        let shared: Vec<_> = after.symmetric_difference(&before).copied().collect();
        let whole = || change.resource().into_iter().flat_map(|it| &it.origins);
        let origins: Vec<_> = match shared.is_empty() {
            true => whole().collect(),
            false => shared,
        };
        objects.extend(origins.into_iter().map(|origin| &origin.object));
    }
    let more = objects.len().saturating_sub(SHOWN_MAX);
    let shown = objects.into_iter().take(SHOWN_MAX).map(ToString::to_string);
    listed(shown, more)
}

fn of(resource: &Option<Arc<Resource>>) -> BTreeSet<&Origin> {
    let origins = resource.iter().flat_map(|one| &one.origins);
    origins.collect()
}

fn listed(shown: impl IntoIterator<Item = String>, more: usize) -> String {
    let shown: Vec<String> = shown.into_iter().collect();
    match more {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// How many a line names.
const SHOWN_MAX: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_a_few_and_counts_the_rest() {
        let mut causes = Causes::default();
        for number in [1, 1, 2, 3, 4, 5, 6, 7] {
            causes.note(format!("web{number} changed"));
        }
        let line = causes.take();
        assert!(line.starts_with("web1 changed, web2 changed"), "{line}");
        assert!(line.ends_with("web5 changed and 2 more"), "{line}");
        assert_eq!(causes.take(), "");
    }
}
