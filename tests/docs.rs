//! Every command line of osvc-igw in the documentation is one that the program takes.

use std::fs;
use std::path::Path;

use osvc_igw::config::parse;

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

const PAGES: &[&str] = &[
    "README.md",
    "charts/osvc-igw/README.md",
    "examples/OPERATIONS.md",
    "examples/README.md",
    "examples/opensvc/README.md",
    "examples/services/README.md",
];
