//! PURE: what happened between two looks at the controller, in words. When it is looked, and who
//! is told, is no concern of this file.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::inventory::Problem;
use crate::pb::EventKind;
use crate::xds::changes::Changes;
use crate::xds::diff::{Diff, Style};
use crate::xds::{ResourceType, Snapshot};

/// What was seen at one look.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Seen {
    /// Whether the daemon is followed.
    pub(super) connected: bool,
    /// Why it is not.
    pub(super) failure: Option<String>,
    /// What cannot be exposed as written.
    pub(super) problems: Arc<BTreeSet<Problem>>,
    /// The nodes of the clients, and what they are.
    pub(super) nodes: BTreeMap<String, String>,
    /// What clients refuse.
    pub(super) refused: BTreeMap<Refusal, Words>,
}

/// A node, and the type and the name of a resource.
pub(super) type Refusal = (String, ResourceType, String);

/// What a client says of what it refuses, and the objects that this was made from.
pub(super) type Words = (String, Vec<String>);

/// Something that happened.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct News {
    pub(super) kind: EventKind,
    pub(super) text: String,
    pub(super) objects: Vec<String>,
}

/// What happened between two looks, beside what is served.
pub(super) fn news(before: &Seen, after: &Seen) -> Vec<News> {
    let mut news = Vec::new();
    let mut tell = |kind, text: String, objects: &[String]| {
        let (text, objects) = (bounded(&text), objects.to_vec());
        news.push(News {
            kind,
            text,
            objects,
        });
    };
    match (before.connected, after.connected) {
        (false, true) => {
            let text = "the OpenSVC daemon is followed".to_owned();
            tell(EventKind::Followed, text, &[]);
        }
        (true, false) => {
            let why = after.failure.as_deref().unwrap_or("the connection ended");
            let text = format!("lost the OpenSVC daemon, serving what was known: {why}");
            tell(EventKind::Lost, text, &[]);
        }
        _ => {}
    }
    for problem in after.problems.difference(&before.problems) {
        let objects = [problem.object.to_string()];
        tell(EventKind::Problem, problem.to_string(), &objects);
    }
    for problem in before.problems.difference(&after.problems) {
        let objects = [problem.object.to_string()];
        tell(EventKind::Cleared, problem.to_string(), &objects);
    }
    let came = after.nodes.iter();
    for (node, agent) in came.filter(|(node, _)| !before.nodes.contains_key(*node)) {
        let text = format!("{} connected: {}", shown(node), shown(agent));
        tell(EventKind::Connected, text, &[]);
    }
    for (refusal, (message, objects)) in &after.refused {
        let known = before.refused.get(refusal);
        if known.is_none_or(|(known, _)| known != message) {
            let (node, kind, name) = refusal;
            let text = format!("{} refuses {kind} {name}: {message}", shown(node));
            tell(EventKind::Refused, text, objects);
        }
    }
    let over = before.refused.iter();
    for ((node, kind, name), (_, objects)) in
        over.filter(|(refusal, _)| !after.refused.contains_key(*refusal))
    {
        // Of one that went away nothing is known any more.
        if after.nodes.contains_key(node) {
            let text = format!("{} does not refuse {kind} {name} any more", shown(node));
            tell(EventKind::Taken, text, objects);
        }
    }
    for node in before.nodes.keys() {
        if !after.nodes.contains_key(node) {
            tell(EventKind::Gone, format!("{} went away", shown(node)), &[]);
        }
    }
    news
}

/// What a first snapshot has: everything in it is new, and is counted alone.
pub(super) fn first(snapshot: &Snapshot) -> News {
    let counts = snapshot.kinds();
    let counts = counts.map(|kind| format!("{} {kind}", snapshot.count(kind)));
    News {
        kind: EventKind::Change,
        text: format!("the first: {}", counts.collect::<Vec<_>>().join(", ")),
        objects: Vec::new(),
    }
}

/// What is other in what is served, in the words of its [`Diff`]; `None` where nothing is.
pub(super) fn change(changes: &Changes) -> Option<News> {
    let diff = Diff::told(changes);
    if diff.is_empty() {
        return None;
    }
    let origins = diff.changes.iter().flat_map(|change| &change.origins);
    let objects: BTreeSet<String> = origins.map(|origin| origin.object.to_string()).collect();
    Some(News {
        kind: EventKind::Change,
        text: bounded(&diff.text(Style::Plain)),
        objects: objects.into_iter().take(OBJECTS_MAX).collect(),
    })
}

/// What a client calls itself; it may call itself anything.
fn shown(name: &str) -> String {
    match name {
        "" => "a client without a name".to_owned(),
        _ => cut(name, NAME_CHARS_MAX).to_owned(),
    }
}

/// The text, or its first lines, how many there are beside them, and the last one, which sums up.
pub(super) fn bounded(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let mut shown: Vec<&str> = lines
        .iter()
        .take(LINES_MAX)
        .map(|line| cut(line, LINE_CHARS_MAX))
        .collect();
    let more;
    if let Some((last, rest)) = lines.get(LINES_MAX..).and_then(|rest| rest.split_last()) {
        more = format!("… and {} lines more", rest.len());
        shown.extend([more.as_str(), cut(last, LINE_CHARS_MAX)]);
    }
    shown.join("\n")
}

fn cut(text: &str, chars_max: usize) -> &str {
    let end = text.char_indices().nth(chars_max);
    end.map_or(text, |(end, _)| text.get(..end).unwrap_or(text))
}

/// As much of a text as somebody reads.
const LINES_MAX: usize = 60;
const LINE_CHARS_MAX: usize = 2_000;
pub(super) const OBJECTS_MAX: usize = 50;
const NAME_CHARS_MAX: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    fn seen() -> Seen {
        Seen {
            connected: true,
            nodes: BTreeMap::from([("edge".to_owned(), "envoy/1.40.0".to_owned())]),
            ..Seen::default()
        }
    }

    fn texts(before: &Seen, after: &Seen) -> Vec<(EventKind, String)> {
        let news = news(before, after).into_iter();
        news.map(|one| (one.kind, one.text)).collect()
    }

    #[test]
    fn nothing_is_told_where_nothing_happened() {
        assert_eq!(news(&seen(), &seen()), []);
    }

    #[test]
    fn a_refusal_is_told_and_its_end_too() {
        let refusal = ("edge".to_owned(), ResourceType::Cluster, "web".to_owned());
        let words = ("no".to_owned(), vec!["test/svc/web".to_owned()]);
        let refused = Seen {
            refused: BTreeMap::from([(refusal, words)]),
            ..seen()
        };
        let said = (EventKind::Refused, "edge refuses cds web: no".to_owned());
        assert_eq!(texts(&seen(), &refused), [said]);
        let over = "edge does not refuse cds web any more".to_owned();
        assert_eq!(texts(&refused, &seen()), [(EventKind::Taken, over)]);
    }

    #[test]
    fn of_an_envoy_that_went_away_it_is_not_told_that_it_takes_anything() {
        let refusal = ("edge".to_owned(), ResourceType::Cluster, "web".to_owned());
        let refused = Seen {
            refused: BTreeMap::from([(refusal, ("no".to_owned(), Vec::new()))]),
            ..seen()
        };
        let gone = Seen {
            nodes: BTreeMap::new(),
            ..seen()
        };
        let said = (EventKind::Gone, "edge went away".to_owned());
        assert_eq!(texts(&refused, &gone), [said]);
    }

    #[test]
    fn a_problem_is_told_when_it_comes_and_when_it_clears() {
        let problem = Problem {
            object: "test/svc/web".parse().unwrap(),
            section: "expose#0".to_owned(),
            keyword: "port".to_owned(),
            reason: "is missing".to_owned(),
        };
        let wrong = Seen {
            problems: Arc::new(BTreeSet::from([problem])),
            ..seen()
        };
        let text = "test/svc/web expose#0.port: is missing".to_owned();
        let said = (EventKind::Problem, text.clone());
        assert_eq!(texts(&seen(), &wrong), [said]);
        assert_eq!(texts(&wrong, &seen()), [(EventKind::Cleared, text)]);
    }

    #[test]
    fn a_long_text_is_cut_and_says_so() {
        let text = format!("{}the sum\n", "line\n".repeat(LINES_MAX + 3));
        assert!(bounded(&text).ends_with("line\n… and 3 lines more\nthe sum"));
    }
}
