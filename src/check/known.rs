//! Which sections and keywords there are, beside those of the drivers: what any section may have,
//! and what is no concern of a gateway.

use crate::inventory::drivers::section;

/// The keywords of a section type, sorted; empty where a gateway reads no such section.
pub fn keywords(group: &str) -> Vec<&'static str> {
    let section = section(group).into_iter();
    let mut names: Vec<&str> = section.flat_map(|it| it.keywords).map(|it| it.0).collect();
    names.sort_unstable();
    names
}

/// Keywords of any section of a resource.
pub(super) const EVERYWHERE: &[&str] = &[
    "type",
    "comment",
    "disable",
    "encap",
    "monitor",
    "optional",
    "restart",
    "restart_delay",
    "shared",
    "standby",
    "subset",
    "tags",
];

/// Booleans of any section of a resource whose driver looks at them.
pub(super) const FLAGS: &[&str] = &["disable", "standby", "optional", "monitor"];

/// The other sections of a configuration: those with a number or name behind `#`, and those
/// without.
pub(super) const OTHERS: &[&str] = &[
    "app",
    "container",
    "disk",
    "fs",
    "ip",
    "share",
    "subset",
    "sync",
    "task",
    "volume",
];
pub(super) const ALONE: &[&str] = &["DEFAULT", "data", "env", "labels", "metadata"];
