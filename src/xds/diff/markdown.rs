//! A difference for a pull request: what it does to traffic in a table, what changed by object,
//! and every place behind a fold.

use std::fmt::Write as _;

use super::text::{NO_OBJECT, clean, details, impact, shown, summary, title};
use super::{Action, Change, Diff, Field, Level};

pub(super) fn whole(diff: &Diff) -> String {
    let mut text = "### What Envoy would be sent\n\n".to_owned();
    if !diff.nodes.is_empty() {
        let nodes: Vec<String> = diff.nodes.iter().map(|node| code(node)).collect();
        let _ = writeln!(text, "Of Envoy {}.\n", nodes.join(", "));
    }
    if diff.is_empty() {
        text.push_str("No difference.\n");
        return text;
    }
    let _ = writeln!(text, "{}\n", summary(diff));
    text.push_str("| object | added | changed | removed | impact |\n|---|---|---|---|---|\n");
    let groups = diff.by_object();
    for (object, changes) in &groups {
        let count = |action| changes.iter().filter(|it| it.action == action).count();
        let worst = changes.iter().max_by_key(|change| change.impact.level);
        let impact = worst.map(|it| sign(it.impact.level).to_owned() + &impact(it));
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} |",
            code(&object.map_or_else(|| NO_OBJECT.to_owned(), ToString::to_string)),
            count(Action::Added),
            count(Action::Changed),
            count(Action::Removed),
            cell(&impact.unwrap_or_default()),
        );
    }
    for (object, changes) in groups {
        let object = object.map_or_else(|| NO_OBJECT.to_owned(), ToString::to_string);
        let _ = writeln!(text, "\n#### {}\n", code(&object));
        text.push_str("| | what | impact |\n|---|---|---|\n");
        for change in &changes {
            row(change, &mut text);
        }
        let s = if changes.len() == 1 { "" } else { "s" };
        let _ = writeln!(
            text,
            "\n<details><summary>{} change{s} in detail</summary>\n",
            changes.len()
        );
        fenced(&changes, &mut text);
        text.push_str("\n</details>\n");
    }
    text
}

fn row(change: &Change, text: &mut String) {
    let action = change.action.word();
    let more = details(change).map(|details| format!(": {}", cell(&details)));
    let _ = writeln!(
        text,
        "| {action} | {}{} | {}{} |",
        code(&title(change)),
        more.unwrap_or_default(),
        sign(change.impact.level),
        cell(&impact(change)),
    );
}

/// A block that the places are coloured in. No content can end it: no line begins with its fence.
fn fenced(changes: &[&Change], text: &mut String) {
    text.push_str("```diff\n");
    for change in changes {
        let _ = writeln!(text, "# {}", clean(&title(change)));
        for field in &change.fields {
            place(field, text);
        }
    }
    text.push_str("```\n");
}

fn place(field: &Field, text: &mut String) {
    let path = match field.path.is_empty() {
        true => String::new(),
        false => format!("{}: ", clean(&field.path)),
    };
    if let Some(old) = &field.old {
        let _ = writeln!(text, "- {path}{}", shown(old, VALUE_CHARS));
    }
    if let Some(new) = &field.new {
        let _ = writeln!(text, "+ {path}{}", shown(new, VALUE_CHARS));
    }
}

fn sign(level: Level) -> &'static str {
    match level {
        Level::Nothing | Level::NewTraffic => "",
        Level::Rewarms | Level::EndpointDrains => "\u{1f7e1} ",
        Level::ChainDrains | Level::ListenerReplaced | Level::ConnectionsCut => "\u{1f534} ",
    }
}

/// Text in a cell of a table, or anywhere: nothing of it is markup.
fn cell(text: &str) -> String {
    let mut cell = String::with_capacity(text.len());
    for c in clean(text).chars() {
        match c {
            '<' => cell.push_str("&lt;"),
            '>' => cell.push_str("&gt;"),
            '&' => cell.push_str("&amp;"),
            '@' => cell.push_str("&#64;"),
            '|' | '`' | '*' | '_' | '[' | ']' | '\\' | '~' => {
                cell.push('\\');
                cell.push(c);
            }
            c => cell.push(c),
        }
    }
    cell
}

/// A name as code, in a table too.
fn code(text: &str) -> String {
    let text = clean(text).replace('`', "'").replace('|', "\\|");
    format!("`{text}`")
}

/// How much of a value is shown; the JSON document has all of it.
const VALUE_CHARS: usize = 2_000;
