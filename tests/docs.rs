//! Every command line of osvc-igw in the documentation is one that the program takes.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use osvc_igw::config::parse;

use crate::support::page::file;

/// The command lines of osvc-igw in the code blocks of a page.
fn commands(page: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut inside = false;
    let text = page.replace("\\\n", " ");
    for line in text.lines() {
        let line = line.trim();
        if line.starts_with("```") {
            inside = line == "```sh" || (!inside && line == "```text");
            continue;
        }
        let line = line.trim_start_matches("$ ");
        if inside && line.starts_with("osvc-igw ") {
            let end = line.find([';', '|', '>', '&', '#']).unwrap_or(line.len());
            found.push(line[..end].trim().to_owned());
        }
    }
    found
}

#[test]
fn every_command_line_of_the_documentation_is_taken() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut count = 0;
    for name in PAGES {
        let page = fs::read_to_string(root.join(name)).expect("a page");
        for line in commands(&page) {
            let parsed = parse(line.split_whitespace());
            assert!(parsed.is_ok(), "{name}: {line}: {parsed:?}");
            count += 1;
        }
    }
    assert!(count >= 14, "{count} command lines");
}

#[test]
fn options_and_commands_in_the_text_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for name in PAGES {
        let page = fs::read_to_string(root.join(name)).expect("a page");
        for word in page.split('`').skip(1).step_by(2) {
            let Some(rest) = word.strip_prefix("osvc-igw ") else {
                continue;
            };
            // What is meant is a command, with or without all that it needs.
            let command = rest.split_whitespace().next().unwrap_or_default();
            let help = match command.starts_with('-') {
                true => parse(["osvc-igw", "--help"]),
                false => parse(["osvc-igw", command, "--help"]),
            };
            assert!(
                help.is_err_and(|help| help.exit_code == 0),
                "{name}: `{word}`"
            );
        }
    }
}

#[test]
fn options_in_the_text_exist() {
    let commands = [
        "run",
        "acme run",
        "acme issue",
        "bootstrap",
        "check",
        "completion",
        "demo",
        "diff",
        "health",
        "man",
        "status",
    ];
    let mut known = BTreeSet::from(OF_OTHERS.map(str::to_owned));
    for command in commands {
        let words = ["osvc-igw"]
            .into_iter()
            .chain(command.split(' '))
            .chain(["--help"]);
        let help = parse(words).expect_err("help is no command").text;
        let words = help.split(|letter: char| !(letter == '-' || letter.is_ascii_lowercase()));
        known.extend(
            words
                .filter(|word| word.starts_with("--"))
                .map(str::to_owned),
        );
    }
    for name in PAGES {
        let page = fs::read_to_string(file(name)).expect("a page");
        for word in page.split('`').skip(1).step_by(2) {
            let end = word.find([' ', '\n', '=']).unwrap_or(word.len());
            let option = &word[..end];
            assert!(
                !option.starts_with("--") || known.contains(option),
                "{name}: `{word}`"
            );
        }
    }
}

/// Options of Envoy and of om.
const OF_OTHERS: [&str; 3] = ["--drain-time-s", "--file-flush-interval-msec", "--kw"];

const PAGES: &[&str] = &[
    "README.md",
    "charts/osvc-igw/README.md",
    "examples/OPERATIONS.md",
    "examples/README.md",
    "examples/opensvc/README.md",
    "examples/services/README.md",
];
