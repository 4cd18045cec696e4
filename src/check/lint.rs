//! What nobody else would say: names that mean nothing to the agent nor to the controller, which
//! both pass over in silence. Judges no value.

use std::collections::BTreeSet;

use super::known::{ALONE, EVERYWHERE, OTHERS};
use super::{Finding, Level, Meant, Source, finding, section_problem};
use crate::inventory::drivers::{self, SECTIONS};
use crate::inventory::ini::{Ini, IniSection};

/// Looks at the names in a file, and at sections that nothing names. What misspelled keywords were
/// probably meant to be goes to `misspelled`.
pub(super) fn lint(source: &Source, ini: &Ini, misspelled: &mut BTreeSet<Meant>) -> Vec<Finding> {
    let mut found = Vec::new();
    for repeated in ini.repeated() {
        let (section, keyword) = (&repeated.section, &repeated.keyword);
        let reason = format!("is set again on line {}, which counts", repeated.line);
        let problem = section_problem(&source.object, section, keyword, reason);
        let (file, line) = (&source.file, repeated.lost_line);
        found.push(finding(
            file,
            line,
            "repeated-keyword",
            Level::Problem,
            problem,
        ));
    }
    for (name, section) in ini.sections() {
        found.extend(section_name(source, name, section));
        found.extend(keyword_names(source, name, section, misspelled));
        found.extend(paths(source, name, section));
    }
    found.extend(unused(source, ini));
    found
}

fn section_name(source: &Source, name: &str, section: &IniSection) -> Option<Finding> {
    let group = name.split('#').next().unwrap_or_default();
    let numbered = name.contains('#');
    let counted = SECTIONS
        .iter()
        .map(|it| it.group)
        .chain(OTHERS.iter().copied());
    let counted: Vec<&str> = counted.collect();
    let (level, reason) = if numbered && counted.contains(&group) || ALONE.contains(&name) {
        return None;
    } else if counted.contains(&group) {
        let reason = format!("has no number or name: [{group}#0] would be a section of {group}");
        (Level::Problem, reason)
    } else {
        let known = counted.iter().chain(ALONE).copied();
        match meant(group, known) {
            Some(meant) => {
                let reason = format!("is no section of the agent; did you mean {meant}?");
                (Level::Problem, reason)
            }
            None => (Level::Note, "is no section that is known here".to_owned()),
        }
    };
    let problem = section_problem(&source.object, name, "", reason);
    Some(finding(
        &source.file,
        section.line,
        "unknown-section",
        level,
        problem,
    ))
}

fn keyword_names(
    source: &Source,
    name: &str,
    section: &IniSection,
    misspelled: &mut BTreeSet<Meant>,
) -> Vec<Finding> {
    let group = name.split('#').next().unwrap_or_default();
    let Some(known) = drivers::section(group) else {
        return match group {
            "ip" => ip_names(source, name, section),
            _ => Vec::new(),
        };
    };
    let names = known.keywords.iter().map(|it| it.0);
    let names = names.chain(EVERYWHERE.iter().copied());
    let names: BTreeSet<&str> = names.collect();
    let mut found = Vec::new();
    for (typed, value) in &section.keywords {
        let keyword = typed.split('@').next().unwrap_or_default();
        if names.contains(keyword) {
            continue;
        }
        let tip = meant(keyword, names.iter().copied());
        if let Some(meant) = &tip {
            misspelled.insert((source.object.clone(), name.to_owned(), meant.clone()));
        }
        let tip = tip.map_or_else(String::new, |meant| format!("; did you mean {meant}?"));
        let reason = format!("is no keyword of {group}, and has no effect{tip}");
        let problem = section_problem(&source.object, name, typed, reason);
        let line = value.line;
        found.push(finding(
            &source.file,
            line,
            "unknown-keyword",
            Level::Problem,
            problem,
        ));
    }
    found
}

/// What drivers of addresses know is not known here, but for the one keyword of gateways.
fn ip_names(source: &Source, name: &str, section: &IniSection) -> Vec<Finding> {
    let keywords = section.keywords.iter();
    let keywords = keywords.filter(|(typed, _)| typed.split('@').next() != Some("expose"));
    let near = keywords.filter(|(typed, _)| meant(typed, ["expose"].into_iter()).is_some());
    let found = near.map(|(typed, value)| {
        let reason = "is no keyword of ip, and has no effect; did you mean expose?";
        let problem = section_problem(&source.object, name, typed, reason.to_owned());
        finding(
            &source.file,
            value.line,
            "unknown-keyword",
            Level::Problem,
            problem,
        )
    });
    found.collect()
}

/// Paths that no request has: each begins with a slash (RFC 9112, section 3.2.1).
fn paths(source: &Source, name: &str, section: &IniSection) -> Vec<Finding> {
    let keywords = section
        .keywords
        .iter()
        .filter(|_| name.starts_with("route#"));
    let paths = keywords.filter(|(typed, value)| {
        let keyword = typed.split('@').next().unwrap_or_default();
        let text = &value.text;
        matches!(keyword, "match_path" | "match_prefix")
            && !text.is_empty()
            && !text.starts_with(['/', '{'])
    });
    let found = paths.map(|(typed, value)| {
        let reason = "begins with no /, so that no request matches it".to_owned();
        let problem = section_problem(&source.object, name, typed, reason);
        finding(
            &source.file,
            value.line,
            "never-matches",
            Level::Problem,
            problem,
        )
    });
    found.collect()
}

/// Sections that are to be named and are not, by any spelling of who could.
fn unused(source: &Source, ini: &Ini) -> Vec<Finding> {
    let mut found = Vec::new();
    for (name, section) in ini.sections() {
        let Some((group, _)) = name.split_once('#') else {
            continue;
        };
        let Some(known) = drivers::section(group).filter(|known| !known.named_by.is_empty()) else {
            continue;
        };
        let values = ini.sections().iter().flat_map(|(by, section)| {
            let by = by.split('#').next().unwrap_or_default();
            let keywords = known.named_by.iter().filter(move |(group, _)| *group == by);
            keywords.flat_map(move |(_, keyword)| {
                let typed = section.keywords.iter();
                typed.filter(move |(typed, _)| typed.split('@').next() == Some(*keyword))
            })
        });
        // What a reference stands for is not looked up: it may be this one.
        let named =
            |text: &str| text.contains('{') || text.split_whitespace().any(|word| word == name);
        if values.map(|(_, value)| value.text.as_str()).any(named) {
            continue;
        }
        let by: Vec<String> = known
            .named_by
            .iter()
            .map(|(_, by)| by.to_string())
            .collect();
        let reason = format!("is named by no keyword {}", by.join(" or "));
        let problem = section_problem(&source.object, name, "", reason);
        let line = section.line;
        found.push(finding(
            &source.file,
            line,
            "unused-section",
            Level::Note,
            problem,
        ));
    }
    found
}

/// The known name that somebody probably meant.
fn meant<'a>(typed: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    if typed.len() > NAME_BYTES_MAX {
        return None;
    }
    let typed = typed.to_lowercase();
    let known: Vec<&str> = known.collect();
    let near = known.iter().map(|name| {
        let distance = strsim::damerau_levenshtein(&typed, &name.to_lowercase());
        (distance, *name)
    });
    let near = near.filter(|(distance, name)| *distance <= (name.len() / 4).clamp(1, 3));
    let whole = || {
        let end = format!("_{typed}");
        known.iter().copied().find(|name| name.ends_with(&end))
    };
    let name = near.min().map(|(_, name)| name).or_else(whole);
    name.map(str::to_owned)
}

/// Longer than any name that there is.
const NAME_BYTES_MAX: usize = 64;
