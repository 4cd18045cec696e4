//! Findings as a text, as JSON, as SARIF 2.1.0 and as annotations of GitHub Actions. Finds
//! nothing itself.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{Finding, Level, RULES};
use crate::inventory::Problem;

/// A line each, then how many there are.
pub fn text(findings: &BTreeSet<Finding>) -> String {
    let mut text = String::new();
    for found in findings {
        let Finding { file, line, .. } = found;
        let note = match found.level {
            Level::Problem => "",
            Level::Note => "note: ",
        };
        text += &format!("{file}:{line}: {note}{}\n", told(&found.problem));
    }
    let (problems, notes) = counts(findings);
    text + &format!("{}, {}\n", count(problems, "problem"), count(notes, "note"))
}

/// One document.
pub fn json(findings: &BTreeSet<Finding>) -> String {
    let (problems, notes) = counts(findings);
    let findings = findings.iter().map(|found| {
        json!({
            "level": level(found.level),
            "rule": found.rule,
            "file": found.file,
            "line": found.line,
            "object": found.problem.object.to_string(),
            "section": found.problem.section,
            "keyword": found.problem.keyword,
            "reason": found.problem.reason,
        })
    });
    let findings: Vec<Value> = findings.collect();
    pretty(&json!({"problems": problems, "notes": notes, "findings": findings}))
}

/// A log of the Static Analysis Results Interchange Format (OASIS SARIF 2.1.0).
pub fn sarif(findings: &BTreeSet<Finding>) -> String {
    let rules = RULES.iter().map(|(id, what)| {
        json!({"id": id, "shortDescription": {"text": format!("{what}.")}, "helpUri": HELP})
    });
    let rules: Vec<Value> = rules.collect();
    let mut seen = BTreeMap::<String, usize>::new();
    let results = findings.iter().map(|found| {
        let place = place(&found.problem);
        let object = &found.problem.object;
        // The same finding on another line is the same one: lines move.
        let print = format!("{} {object} {place} {}", found.rule, found.problem.reason);
        let times = seen.entry(print.clone()).or_default();
        *times += 1;
        json!({
            "ruleId": found.rule,
            "ruleIndex": RULES.iter().position(|(id, _)| *id == found.rule),
            "level": sarif_level(found.level),
            "message": {"text": told(&found.problem)},
            "locations": [{
                "physicalLocation": {
                    "artifactLocation": {"uri": uri(&found.file)},
                    "region": {"startLine": found.line},
                },
                "logicalLocations": [{
                    "fullyQualifiedName": format!("{object} {place}").trim_end(),
                    "kind": "object",
                }],
            }],
            "partialFingerprints": {"osvcIgwFinding/v1": format!("{}:{times}", digest(&print))},
        })
    });
    let results: Vec<Value> = results.collect();
    pretty(&json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "osvc-igw",
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "informationUri": "https://github.com/opensvc/osvc-igw",
                "rules": rules,
            }},
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    }))
}

/// Workflow commands (GitHub Actions, "Workflow commands").
pub fn github(findings: &BTreeSet<Finding>) -> String {
    let mut text = String::new();
    for found in findings {
        let command = match found.level {
            Level::Problem => "error",
            Level::Note => "notice",
        };
        let property = |text: &str| data(text).replace(':', "%3A").replace(',', "%2C");
        let (file, line) = (property(&found.file), found.line);
        let problem = &found.problem;
        let title = property(&format!("{} {}", problem.object, place(problem)));
        let title = title.trim_end();
        let told = data(&problem.reason);
        text += &format!("::{command} file={file},line={line},title={title}::{told}\n");
    }
    text
}

/// How many problems and how many notes there are.
pub fn counts(findings: &BTreeSet<Finding>) -> (usize, usize) {
    let problems = findings
        .iter()
        .filter(|it| it.level == Level::Problem)
        .count();
    (problems, findings.len() - problems)
}

/// Where in the object, and what; the file says which object it is.
fn told(problem: &Problem) -> String {
    match place(problem).as_str() {
        "" => problem.reason.clone(),
        place => format!("{place}: {}", problem.reason),
    }
}

fn place(problem: &Problem) -> String {
    let parts = [&problem.section, &problem.keyword].into_iter();
    let parts = parts.filter(|part| !part.is_empty());
    let parts: Vec<String> = parts.map(|part| part.escape_debug().to_string()).collect();
    parts.join(".")
}

fn level(level: Level) -> &'static str {
    match level {
        Level::Problem => "problem",
        Level::Note => "note",
    }
}

fn sarif_level(level: Level) -> &'static str {
    match level {
        Level::Problem => "error",
        Level::Note => "note",
    }
}

fn count(number: usize, what: &str) -> String {
    match number {
        1 => format!("1 {what}"),
        _ => format!("{number} {what}s"),
    }
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

/// A message of a workflow command.
fn data(text: &str) -> String {
    let text = text.replace('%', "%25");
    text.replace('\r', "%0D").replace('\n', "%0A")
}

/// A file's name as a URI reference (RFC 3986).
fn uri(file: &str) -> String {
    let scheme = if file.starts_with('/') { "file://" } else { "" };
    let mut uri = scheme.to_owned();
    for byte in file.bytes() {
        let plain = byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
        match plain {
            true => uri.push(char::from(byte)),
            false => uri += &format!("%{byte:02X}"),
        }
    }
    uri
}

/// FNV-1a, 64 bits.
fn digest(text: &str) -> String {
    let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    format!("{:016x}", text.bytes().fold(0xcbf2_9ce4_8422_2325, mix))
}

const HELP: &str = "https://github.com/opensvc/osvc-igw/blob/main/examples/README.md";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::finding;

    fn found() -> BTreeSet<Finding> {
        let problem = Problem {
            object: "test/svc/web1".parse().unwrap(),
            section: "expose#0".to_owned(),
            keyword: "port".to_owned(),
            reason: "50% is\nno port".to_owned(),
        };
        let note = Problem {
            section: "vhost#0".to_owned(),
            keyword: String::new(),
            ..problem.clone()
        };
        BTreeSet::from([
            finding("a b:1.conf", 7, "gateway", Level::Problem, problem),
            finding("a b:1.conf", 9, "unused-section", Level::Note, note),
        ])
    }

    #[test]
    fn github_reads_back_what_was_said() {
        assert_eq!(
            github(&found()),
            "::error file=a b%3A1.conf,line=7,title=test/svc/web1 expose#0.port::\
             50%25 is%0Ano port\n\
             ::notice file=a b%3A1.conf,line=9,title=test/svc/web1 vhost#0::50%25 is%0Ano port\n"
        );
    }

    #[test]
    fn sarif_names_its_rules_and_places() {
        let log: Value = serde_json::from_str(&sarif(&found())).unwrap();
        let run = &log["runs"][0];
        let result = &run["results"][0];
        let index = result["ruleIndex"].as_u64().unwrap() as usize;
        assert_eq!(run["tool"]["driver"]["rules"][index]["id"], "gateway");
        let place = &result["locations"][0]["physicalLocation"];
        assert_eq!(place["artifactLocation"]["uri"], "a%20b%3A1.conf");
        assert_eq!(place["region"]["startLine"], 7);
        assert_eq!(run["results"][1]["level"], "note");
    }

    #[test]
    fn an_absolute_file_is_a_uri_of_its_own() {
        assert_eq!(uri("/etc/x#y"), "file:///etc/x%23y");
    }
}
