//! From `hashpolicy` sections to [`HashPolicy`]s. `hash_policy` is igw_envoy's older spelling.

use std::collections::BTreeSet;

use super::model::{HashKey, HashPolicy};
use super::texts;
use crate::gateway::exposes::Exposed;
use crate::inventory::Problem;
use crate::inventory::keywords::{Keywords, shown};

/// Reads the policies that a route names, in its order. What cannot be read is left out.
pub(super) fn hash_policies(
    exposed: &Exposed<'_>,
    route: &Keywords<'_>,
    problems: &mut BTreeSet<Problem>,
) -> Vec<HashPolicy> {
    let sections = match route.words("hash_policies") {
        Ok(sections) => sections,
        Err(problem) => {
            problems.insert(problem.hence("nothing is hashed"));
            return Vec::new();
        }
    };
    let mut policies = Vec::new();
    for section in &sections {
        let keywords = exposed
            .section_keywords("hashpolicy", section)
            .or_else(|| exposed.section_keywords(OLD_SPELLING, section))
            .or_else(|| exposed.raw_section_keywords(OLD_SPELLING, section));
        let Some(keywords) = keywords else {
            let reason = format!("names {}, which is no hashpolicy section", shown(section));
            let problem = route.problem("hash_policies", reason);
            problems.insert(problem.hence("it is left out"));
            continue;
        };
        match section_policies(&keywords) {
            Ok(found) => policies.extend(found),
            Err(problem) => {
                problems.insert(problem.hence("the policy is left out"));
            }
        }
    }
    policies
}

/// A section has one policy as a rule; of several, each counts.
fn section_policies(keywords: &Keywords<'_>) -> Result<Vec<HashPolicy>, Problem> {
    let header = match texts::header(keywords, "header_header_name")? {
        None => texts::header(keywords, "header_name")?,
        header => header,
    };
    let source_ip = keywords.boolean("connection_source_ip")?.unwrap_or(false);
    let keys = [
        cookie(keywords)?,
        header.map(HashKey::Header),
        source_ip.then_some(HashKey::SourceIp),
    ];
    let terminal = keywords.boolean("terminal")?.unwrap_or(false);
    let policies: Vec<_> = keys
        .into_iter()
        .flatten()
        .map(|key| HashPolicy { key, terminal })
        .collect();
    match policies.is_empty() {
        true => {
            let reason = "has none of cookie_name, header_name and connection_source_ip";
            Err(keywords.problem("", reason))
        }
        false => Ok(policies),
    }
}

fn cookie(keywords: &Keywords<'_>) -> Result<Option<HashKey>, Problem> {
    let Some(name) = texts::line(keywords, "cookie_name")? else {
        return Ok(None);
    };
    if !texts::is_token(&name) {
        let reason = texts::shown(&name, "is no name of a cookie");
        return Err(keywords.problem("cookie_name", reason));
    }
    let path = texts::line(keywords, "cookie_path")?;
    if let Some(text) = path.as_ref().filter(|path| path.contains([';', ','])) {
        let reason = texts::shown(text, "is no path of a cookie");
        return Err(keywords.problem("cookie_path", reason));
    }
    let ttl = texts::seconds(keywords, "cookie_ttl")?;
    Ok(Some(HashKey::Cookie {
        name,
        path,
        ttl_s: ttl,
    }))
}

/// The agent 2.1 has no driver of that name: it reports nothing of such a section.
const OLD_SPELLING: &str = "hash_policy";
