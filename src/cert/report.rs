//! PURE: what the operator would do and what there is, as lines for people.

use std::collections::BTreeSet;
use std::time::{Duration, UNIX_EPOCH};

use super::dns::persist;
use super::method::Method;
use super::plan::{Plan, Step, Subject};
use super::record::Ledger;
use crate::inventory::{Problem, Sensitive};

/// What would be done for a certificate, and what that would cost of the authority's limits.
pub fn planned(now: i64, subject: &Subject, plan: &Result<Plan, Problem>) -> String {
    let head = head(subject);
    let plan = match plan {
        Ok(plan) => plan,
        Err(problem) => return format!("{head}\n  nothing: {problem}\n"),
    };
    let (when, why) = (when(now, plan.at), &plan.why);
    let directory = &subject.issuer.directory;
    let does = match &plan.step {
        Step::Refuse => return format!("{head}\n  nothing: {why}\n"),
        Step::Resume => format!("goes on {when} with the order at {directory}: {why}"),
        Step::Order { .. } => format!(
            "orders {when} of {directory} over {}: {why}",
            methods(subject)
        ),
    };
    let kept = subject.issuer.ledger.as_ref().map(Sensitive::expose);
    let ledger = Ledger::parse(kept.unwrap_or_default());
    let costs = match &plan.step {
        Step::Order { replaces: None } => {
            format!(
                "  costs {}\n",
                ledger.costs(
                    plan.at.max(now),
                    &subject.declaration.names,
                    subject.is_again()
                )
            )
        }
        Step::Order { .. } => {
            "  costs nothing: it tells which certificate it replaces\n".to_owned()
        }
        _ => String::new(),
    };
    format!("{head}\n  {does}\n{costs}{}", records(subject))
}

/// What there is of a certificate, and what it waits for.
pub fn status(now: i64, subject: &Subject, plan: &Result<Plan, Problem>) -> String {
    let head = head(subject);
    let record = &subject.record;
    let there = match &subject.leaf {
        None => "no certificate".to_owned(),
        Some(leaf) if leaf.self_signed => "a placeholder".to_owned(),
        Some(leaf) if leaf.not_after <= now => format!("over since {}", date(leaf.not_after)),
        Some(leaf) => {
            let ours = leaf.serial == record.serial;
            let shown = match (ours, record.deployed) {
                (false, _) => "which somebody else put there".to_owned(),
                (true, 0) => "not seen at every gateway yet".to_owned(),
                (true, at) => format!("seen at every gateway on {}", date(at)),
            };
            format!("good until {}, {shown}", date(leaf.not_after))
        }
    };
    let next = match plan {
        Err(problem) => format!("waits for another declaration: {problem}"),
        Ok(Plan {
            step: Step::Refuse,
            why,
            ..
        }) => format!("waits for another declaration: {why}"),
        Ok(plan) => format!("next {}: {}", when(now, plan.at), plan.why),
    };
    format!("{head}\n  {there}\n  {next}\n{}", records(subject))
}

fn head(subject: &Subject) -> String {
    let names = subject.declaration.names.iter();
    let names: Vec<&str> = names.map(String::as_str).collect();
    format!("{} ({})", subject.declaration.path, names.join(" "))
}

/// The challenges that its names will be shown to be ours by.
fn methods(subject: &Subject) -> String {
    let methods = subject.declaration.methods(&subject.issuer);
    let failures = subject.record.failures;
    let names = subject.declaration.names.iter();
    let chosen = names.filter_map(|name| Method::choose(methods, name, failures));
    let words: BTreeSet<&str> = chosen.map(Method::word).collect();
    Vec::from_iter(words).join(" and ")
}

/// What people have to publish for it.
fn records(subject: &Subject) -> String {
    let failures = subject.record.failures;
    persist::lines(&subject.declaration, &subject.issuer, failures)
}

fn when(now: i64, at: i64) -> String {
    match at <= now {
        true => "now".to_owned(),
        false => format!("on {}", date(at)),
    }
}

fn date(second: i64) -> String {
    let since = Duration::from_secs(u64::try_from(second).unwrap_or_default());
    match UNIX_EPOCH.checked_add(since) {
        Some(time) if second < LAST_DATE => humantime::format_rfc3339_seconds(time).to_string(),
        _ => "a day that no calendar has".to_owned(),
    }
}

/// The end of the year 9999.
const LAST_DATE: i64 = 253_402_300_800;
