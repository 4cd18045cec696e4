//! Envoy's judgement of a snapshot: what to ask it, and what its answer means. Starts no process.

use super::{Finding, Level, finding};
use crate::inventory::{Problem, Sensitive};
use crate::xds::json::JsonError;
use crate::xds::{Resource, ResourceType, Snapshot, standalone};

use super::Stand;

/// A cluster or listener that Envoy is asked about.
pub type Asked<'a> = (ResourceType, &'a Resource);

/// Everything that Envoy can judge by itself: the rest is judged within it.
pub fn all(snapshot: &Snapshot) -> Vec<Asked<'_>> {
    let kinds = [ResourceType::Cluster, ResourceType::Listener];
    let all = kinds.into_iter().flat_map(|kind| {
        let resources = snapshot.all(kind);
        resources.map(move |resource| (kind, &**resource))
    });
    all.collect()
}

/// The bootstrap to ask Envoy with, encoded.
///
/// # Errors
/// Where a resource is not what its type says.
pub fn bootstrap(
    snapshot: &Snapshot,
    asked: &[Asked<'_>],
    stand: &Stand,
) -> Result<Vec<u8>, JsonError> {
    let part = |name: &str| {
        let part = stand.pair.get(name).cloned();
        part.unwrap_or_else(|| Sensitive::new(String::new()))
    };
    let (chain, key) = (part("certificate_chain"), part("private_key"));
    standalone::bootstrap(snapshot, asked, &chain, &key)
}

/// What Envoy says against a configuration, in one line, of all that it printed.
pub fn words(printed: &str) -> String {
    let lines = printed
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty());
    let lines: Vec<&str> = lines.collect();
    // `[time][thread][critical][main] [source/server/server.cc:1] error initializing …: words`
    let said = lines.iter().rev().find_map(|line| {
        let (_, words) = line.split_once(INITIALIZING)?;
        words.split_once("': ").map(|(_, words)| words)
    });
    let last = lines.last().copied().unwrap_or("it did not say why");
    let said = said.unwrap_or(last);
    let said: String = said.chars().take(WORDS_CHARS_MAX).collect();
    said.replace(char::is_control, " ")
}

/// What is said of a resource that Envoy refuses, for each section that it was made from. A file
/// of the gateway's host that is not here is only noted.
pub fn findings(
    (kind, resource): Asked<'_>,
    words: &str,
    locate: impl Fn(&Problem) -> (String, usize),
) -> Vec<Finding> {
    let noun = match kind {
        ResourceType::Cluster => "cluster",
        _ => "listener",
    };
    let absent = FILE_WORDS.iter().any(|file| words.contains(file));
    let level = if absent { Level::Note } else { Level::Problem };
    let found = resource.origins.iter().map(|origin| {
        let name = &resource.name;
        let problem = Problem {
            object: origin.object.clone(),
            section: origin.section.to_string(),
            keyword: String::new(),
            reason: format!("Envoy refuses the {noun} {name} that is made of it: {words}"),
        };
        let (file, line) = locate(&problem);
        finding(&file, line, "envoy", level, problem)
    });
    found.collect()
}

const INITIALIZING: &str = "error initializing config";
/// Envoy repeats whole messages.
const WORDS_CHARS_MAX: usize = 600;
/// What Envoy says of a file that it cannot open.
const FILE_WORDS: &[&str] = &["Invalid path: ", "unable to read file"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::Origin;
    use crate::xds::Version;

    #[test]
    fn envoy_s_words_are_those_behind_the_file() {
        let printed = "[2026-01-01 00:00:00.000][1][info][main] [source/server/server.cc:1] x\n\
                       [2026-01-01 00:00:00.000][1][critical][main] [source/server/server.cc:2] \
                       error initializing config '  /tmp/x.pb': bad\tregex: 'a': ')'\n";
        assert_eq!(words(printed), "bad regex: 'a': ')'");
        assert_eq!(words("one\nlast\n\n"), "last");
        assert_eq!(words(""), "it did not say why");
    }

    #[test]
    fn a_file_of_the_gateway_s_host_is_noted_and_a_bad_certificate_is_a_problem() {
        let mut resource = Resource::new("0.0.0.0:443/tcp", Version::of(&1));
        resource.origins = [Origin {
            object: "test/svc/web1".parse().unwrap(),
            section: "expose#0".into(),
        }]
        .into();
        for (words, level) in [
            ("Invalid path: /etc/envoy/x.lua", Level::Note),
            (
                "Failed to load certificate chain from <inline>",
                Level::Problem,
            ),
        ] {
            let asked = (ResourceType::Listener, &resource);
            let found = findings(asked, words, |_| ("web1.conf".to_owned(), 4));
            assert_eq!((found.len(), found[0].level), (1, level), "{words}");
            assert!(found[0].problem.reason.contains(words));
        }
    }
}
