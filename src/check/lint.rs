//! What nobody else would say: names that mean nothing to the agent nor to the controller, which
//! both pass over in silence. Judges no value.

use std::collections::BTreeSet;

use super::known::{self, ALONE, EVERYWHERE, OTHERS, SECTIONS};
use super::{Finding, Level, Meant, Source, finding, section_problem};
use crate::inventory::ini::{Ini, IniSection};
use crate::inventory::keywords::shown;

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
    let Some(known) = known::section(group) else {
        return Vec::new();
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

/// Sections that are to be named and are not, by any spelling of who could.
fn unused(source: &Source, ini: &Ini) -> Vec<Finding> {
    let mut found = Vec::new();
    for (name, section) in ini.sections() {
        let Some((group, _)) = name.split_once('#') else {
            continue;
        };
        let Some(known) = known::section(group).filter(|known| !known.named_by.is_empty()) else {
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
    let near = known.map(|name| {
        (
            strsim::damerau_levenshtein(&typed, &name.to_lowercase()),
            name,
        )
    });
    let near = near.filter(|(distance, name)| *distance <= 1.max(name.len() / 4).min(3));
    near.min()
        .map(|(_, name)| shown(name).trim_matches('"').to_owned())
}

/// Longer than any name that there is.
const NAME_BYTES_MAX: usize = 64;
