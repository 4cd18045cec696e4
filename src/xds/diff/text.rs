//! A difference for a terminal: grouped by object, a sign for each change, its places under it.

use std::fmt::Write as _;

use serde_json::Value;

use super::{Action, Change, Diff, Field, Level, ResourceType};

/// How it is printed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Style {
    /// Without colour.
    #[default]
    Plain,
    /// With the colours of a terminal (ECMA-48).
    Colour,
}

impl Style {
    fn paint(self, colour: &str, text: &str) -> String {
        match self {
            Self::Plain => text.to_owned(),
            Self::Colour => format!("\u{1b}[{colour}m{text}\u{1b}[0m"),
        }
    }
}

pub(super) fn whole(diff: &Diff, style: Style) -> String {
    let mut text = String::new();
    if !diff.nodes.is_empty() {
        let _ = writeln!(text, "Envoy {}:", clean(&diff.nodes.join(", ")));
    }
    if diff.is_empty() {
        return text + "No difference.\n";
    }
    for (object, changes) in diff.by_object() {
        let object = object.map_or_else(|| NO_OBJECT.to_owned(), ToString::to_string);
        let _ = writeln!(text, "{}", style.paint(BOLD, &clean(&object)));
        for one in changes {
            for line in change(one, style).lines() {
                let _ = writeln!(text, "  {line}");
            }
        }
        text.push('\n');
    }
    let _ = writeln!(text, "{}", summary(diff));
    text
}

/// `3 changes: 1 added, 1 changed, 1 removed. At worst: …`
pub(super) fn summary(diff: &Diff) -> String {
    let [added, changed, removed] = diff.counts();
    let count = diff.changes.len();
    let s = if count == 1 { "" } else { "s" };
    let worst = worst(diff.worst());
    format!(
        "{count} change{s}: {added} added, {changed} changed, {removed} removed. At worst: {worst}."
    )
}

/// The level in a few words.
pub(super) fn worst(level: Level) -> &'static str {
    match level {
        Level::Nothing => "nothing that runs notices",
        Level::NewTraffic => "new traffic goes another way, nothing open is touched",
        Level::Rewarms => "a cluster warms anew, nothing open is touched",
        Level::EndpointDrains => "an endpoint drains, nothing is cut",
        Level::ChainDrains => "HTTP clients of a chain are asked to connect again",
        Level::ListenerReplaced => "clients of a listener have to begin anew",
        Level::ConnectionsCut => "connections are cut",
    }
}

pub(super) fn change(change: &Change, style: Style) -> String {
    let mut text = String::new();
    let (sign, colour) = match change.action {
        Action::Added => ('+', GREEN),
        Action::Changed => ('~', YELLOW),
        Action::Removed => ('-', RED),
    };
    let mut line = format!("{sign} {}", title(change));
    if let Some(details) = details(change) {
        let _ = write!(line, ": {details}");
    }
    let _ = writeln!(text, "{}", style.paint(colour, &clean(&line)));
    for one in &change.fields {
        if let Some((line, colour)) = field(one) {
            let _ = writeln!(text, "    {}", style.paint(colour, &line));
        }
    }
    let colour = match change.impact.level {
        Level::Nothing | Level::NewTraffic => DIM,
        Level::Rewarms | Level::EndpointDrains => YELLOW,
        Level::ChainDrains | Level::ListenerReplaced | Level::ConnectionsCut => RED,
    };
    let impact = format!("impact: {}", impact(change));
    let _ = writeln!(text, "    {}", style.paint(colour, &clean(&impact)));
    text
}

/// What a change does, in words.
pub(super) fn impact(change: &Change) -> String {
    match change.impact.level {
        Level::Nothing => format!("nothing: {}", change.impact.text),
        _ => change.impact.text.clone(),
    }
}

/// `filter chain X of listener Y [expose#1]`
pub(super) fn title(change: &Change) -> String {
    let whole = match change.kind {
        ResourceType::Cluster => "cluster",
        ResourceType::Endpoint => "endpoints of",
        ResourceType::Secret => "secret",
        ResourceType::Scope => "scope",
        ResourceType::Listener => "listener",
        ResourceType::Route => "routes of",
    };
    let name = &change.name;
    let mut title = match &change.part {
        None => format!("{whole} {name}"),
        Some(part) => {
            let of = whole.trim_end_matches(" of");
            let of = if of == "endpoints" { "cluster" } else { of };
            format!(
                "{} {} of {of} {name}",
                part.noun.replace('_', " "),
                part.name
            )
        }
    };
    let mut others: Vec<String> = Vec::new();
    if let Some(first) = change.origins.first() {
        let same = change.origins.iter().filter(|it| it.object == first.object);
        let sections = same.map(|it| it.section.as_ref());
        let unsaid = |section: &&str| !section.is_empty() && !title.contains(*section);
        let sections: Vec<&str> = sections.filter(unsaid).collect();
        if !sections.is_empty() {
            let _ = write!(title, " [{}]", sections.join(", "));
        }
        let rest = change.origins.iter().filter(|it| it.object != first.object);
        others.extend(rest.map(|it| it.object.to_string()));
        others.dedup();
    }
    match &others[..] {
        [] => {}
        [one] => {
            let _ = write!(title, " (with {one})");
        }
        [one, rest @ ..] => {
            let _ = write!(title, " (with {one} and {} more)", rest.len());
        }
    }
    title
}

/// What came or went, in a few words.
pub(super) fn details(change: &Change) -> Option<String> {
    let [only] = &change.fields[..] else {
        return None;
    };
    if !only.path.is_empty() {
        return None;
    }
    let body = only.new.as_ref().or(only.old.as_ref())?;
    let words = match (change.kind, &change.part) {
        (ResourceType::Endpoint, None) => super::parts::parts(change.kind, body)
            .parts
            .into_keys()
            .collect(),
        (ResourceType::Endpoint, Some(_)) => match body.get("health_status") {
            Some(status) => vec![status.as_str()?.to_lowercase()],
            None => return None,
        },
        (ResourceType::Route, None) => {
            let hosts = body.get("virtual_hosts")?.as_array()?;
            hosts.iter().flat_map(domains).collect()
        }
        (ResourceType::Route, Some(_)) => domains(body),
        (ResourceType::Secret, _) => vec![certificate(body)?],
        (ResourceType::Listener | ResourceType::Cluster | ResourceType::Scope, _) => return None,
    };
    let more = words.len().saturating_sub(WORDS_SHOWN);
    let mut shown = words
        .into_iter()
        .take(WORDS_SHOWN)
        .collect::<Vec<_>>()
        .join(", ");
    match (shown.is_empty(), more) {
        (true, _) => return None,
        (_, 0) => {}
        (_, more) => {
            let _ = write!(shown, " and {more} more");
        }
    }
    Some(shown)
}

fn domains(host: &Value) -> Vec<String> {
    let domains = host.get("domains").and_then(Value::as_array);
    let domains = domains.into_iter().flatten().filter_map(Value::as_str);
    domains.map(str::to_owned).collect()
}

fn certificate(secret: &Value) -> Option<String> {
    let pair = secret.get("tls_certificate");
    let chain = pair.and_then(|pair| pair.get("certificate_chain"));
    let trust = secret.get("validation_context");
    let chain = chain.or_else(|| trust?.get("trusted_ca"))?;
    let first = chain.get(0)?;
    let text = |name: &str| first.get(name).and_then(Value::as_str);
    let until = text("not_after").map(|at| format!(", good until {at}"));
    Some(format!(
        "sha256 {}{}",
        text("sha256")?,
        until.unwrap_or_default()
    ))
}

/// A place and what happened to it; nothing for what came or went as a whole.
fn field(field: &Field) -> Option<(String, &'static str)> {
    if field.path.is_empty() {
        return None;
    }
    let path = clean(&field.path);
    let shown = |value: &Value| shown(value, VALUE_CHARS);
    Some(match (&field.old, &field.new) {
        (Some(old), Some(new)) => (format!("{path}: {} -> {}", shown(old), shown(new)), YELLOW),
        (None, Some(new)) => (format!("+ {path}: {}", shown(new)), GREEN),
        (Some(old), None) => (format!("- {path}: {}", shown(old)), RED),
        (None, None) => return None,
    })
}

/// A value on one line, not too long.
pub(super) fn shown(value: &Value, chars_max: usize) -> String {
    let text = clean(&value.to_string());
    match text.char_indices().nth(chars_max) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

/// What a terminal would obey, and what turns the direction of writing, is spelled out.
pub(super) fn clean(text: &str) -> String {
    let turns = |c: char| {
        let ranges = [
            '\u{200e}'..='\u{200f}',
            '\u{202a}'..='\u{202e}',
            '\u{2066}'..='\u{2069}',
        ];
        ranges.iter().any(|range| range.contains(&c))
    };
    let mut clean = String::with_capacity(text.len());
    for c in text.chars() {
        match c.is_control() || turns(c) {
            true => clean.extend(c.escape_unicode()),
            false => clean.push(c),
        }
    }
    clean
}

/// Where a change belongs to no object.
pub(super) const NO_OBJECT: &str = "(no object)";
/// How much of a value a line shows.
const VALUE_CHARS: usize = 200;
/// How many names a line lists.
const WORDS_SHOWN: usize = 4;
const BOLD: &str = "1";
const DIM: &str = "2";
const RED: &str = "31";
const GREEN: &str = "32";
const YELLOW: &str = "33";
