//! From `match_headers`, `match_query` and `match_methods` to [`Conditions`]. The agent 2.1 has
//! no definition of them.

use super::model::{Conditions, NamedMatch};
use super::texts;
use crate::gateway::regex;
use crate::inventory::Problem;
use crate::inventory::keywords::Keywords;

/// Reads what a request must have beside its path.
///
/// # Errors
/// The first word that cannot be taken.
pub(super) fn conditions(keywords: &Keywords<'_>) -> Result<Option<Box<Conditions>>, Problem> {
    let mut conditions = Conditions::default();
    for word in keywords.words("match_headers")? {
        let (name, value) = named(&word, ':');
        if !texts::is_token(name) || !value.is_none_or(is_value) {
            let reason = texts::shown(&word, "is no header such as x-beta or x-user:alice");
            return Err(keywords.problem("match_headers", reason));
        }
        conditions.headers.push(NamedMatch {
            name: name.to_ascii_lowercase(),
            value: value.map(str::to_owned),
        });
    }
    for word in keywords.words("match_query")? {
        let (name, value) = named(&word, '=');
        if name.is_empty() || name.len() > NAME_BYTES_MAX || !is_value(&word) {
            let reason = texts::shown(&word, "is no parameter such as debug or user=alice");
            return Err(keywords.problem("match_query", reason));
        }
        conditions.query.push(NamedMatch {
            name: name.to_owned(),
            value: value.map(str::to_owned),
        });
    }
    for word in keywords.words("match_methods")? {
        let letter = |c: char| c.is_ascii_alphabetic() || c == '-';
        if word.is_empty() || !word.chars().all(letter) {
            let reason = texts::shown(&word, "is no method such as GET");
            return Err(keywords.problem("match_methods", reason));
        }
        conditions.methods.push(word.to_ascii_uppercase());
    }
    if !conditions.methods.is_empty() {
        // Several methods are compared as one expression.
        regex::check(&conditions.methods.join("|"))
            .map_err(|reason| keywords.problem("match_methods", reason))?;
    }
    Ok((conditions != *Conditions::NONE).then(|| Box::new(conditions)))
}

fn named(word: &str, between: char) -> (&str, Option<&str>) {
    match word.split_once(between) {
        Some((name, value)) => (name, Some(value)),
        None => (word, None),
    }
}

fn is_value(text: &str) -> bool {
    text.len() <= VALUE_BYTES_MAX && !text.contains(char::is_control)
}

/// Envoy's limit.
const NAME_BYTES_MAX: usize = 1_024;
/// More than a request line or a header is for.
const VALUE_BYTES_MAX: usize = 4_096;
