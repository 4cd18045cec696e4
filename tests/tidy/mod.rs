//! The rules of the house that no compiler knows, as tests; each fails with the sentence of the
//! rule. The rules are plain functions over text, so that each is shown to fail on a bad text.
//!
//! What clippy and rustfmt can say is said in Cargo.toml and .clippy.toml, not here.

mod layers;
mod source;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// What a rule found: one line for each violation.
type Found = Vec<String>;

#[test]
fn modules_import_only_what_the_table_allows() {
    let dependencies = dependencies(&read("Cargo.toml"));
    check(&sources(&["src"]), |path, text| {
        layers::imports(path, text, &dependencies)
    });
}

#[test]
fn pure_modules_have_no_clock_no_io_and_no_unordered_map() {
    check(&sources(&["src"]), layers::purity);
}

#[test]
fn every_file_opens_with_what_lives_there() {
    check(&sources(SOURCE_FOLDERS), source::opening);
}

#[test]
fn files_stay_small_enough_to_read() {
    check(&sources(SOURCE_FOLDERS), source::size);
}

#[test]
fn tests_stand_last_in_a_file() {
    check(&sources(&["src"]), source::tests_last);
}

#[test]
fn nothing_is_left_unfinished() {
    check(&sources(SOURCE_FOLDERS), source::finished);
}

#[test]
fn no_line_ends_in_blanks() {
    check(&texts(&root()), source::blanks);
}

#[test]
fn every_file_of_tests_is_run() {
    let folder = root().join("tests");
    let mut modules = names(&folder);
    for name in &mut modules {
        if folder.join(&*name).join("mod.rs").is_file() {
            name.push_str(".rs");
        }
    }
    report(orphan_tests(&read("tests/main.rs"), &modules));
}

#[test]
fn top_of_the_repository_shows_only_what_belongs_there() {
    report(strangers(&names(&root())));
}

#[test]
fn golden_case_has_all_its_files() {
    let golden = root().join("tests/golden");
    let mut found = Found::new();
    for case in names(&golden) {
        found.extend(incomplete(&case, &names(&golden.join(&case))));
    }
    report(found);
}

/// The folders that hold Rust.
const SOURCE_FOLDERS: &[&str] = &["build", "src", "tests", "examples", "benches"];

/// What may stand in the root of the repository, beside files whose name begins with a dot.
const ROOT: &[&str] = &[
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "Dockerfile",
    "LICENSE",
    "README.md",
    "benches",
    "build",
    "build.rs",
    "charts",
    "examples",
    "fuzz",
    "proto",
    "src",
    "target",
    "tests",
];

/// The files of a golden case: what goes in and what must come out.
const GOLDEN: &[&str] = &[
    "gateway.json",
    "problems.txt",
    "snapshot.json",
    "status.json",
];
const GOLDEN_OPTIONAL: &[&str] = &["policy.json", "reads.json", "wants.txt", "writes.txt"];

fn strangers(names: &[String]) -> Found {
    let sentence = "the root of the repository has only the agreed files and folders";
    let known = |name: &String| name.starts_with('.') || ROOT.contains(&name.as_str());
    names
        .iter()
        .filter(|name| !known(name))
        .map(|name| format!("{name}: {sentence}"))
        .collect()
}

fn orphan_tests(main: &str, names: &[String]) -> Found {
    let declared = |name: &str| main.lines().any(|line| line == format!("mod {name};"));
    let modules = names.iter().filter_map(|name| name.strip_suffix(".rs"));
    modules
        .filter(|name| *name != "main" && !declared(name))
        .map(|name| format!("tests/{name}: a file that tests/main.rs does not name is not run"))
        .collect()
}

fn incomplete(case: &str, names: &[String]) -> Found {
    let has = |name: &str| names.iter().any(|found| found == name);
    let absent = GOLDEN.iter().filter(|name| !has(name)).map(|name| {
        format!("tests/golden/{case}: a golden case has all its files, and {name} is missing")
    });
    let known = |name: &str| {
        GOLDEN
            .iter()
            .chain(GOLDEN_OPTIONAL)
            .any(|expected| *expected == name)
    };
    let orphans = names.iter().filter(|name| !known(name)).map(|name| {
        format!("tests/golden/{case}/{name}: a golden case has no file that no test reads")
    });
    absent.chain(orphans).collect()
}

/// The names of the crates that Cargo.toml asks for, as Rust spells them.
fn dependencies(manifest: &str) -> Vec<String> {
    let section = manifest
        .split("\n[")
        .find(|section| section.starts_with("dependencies]\n"));
    let lines = section
        .expect("Cargo.toml has dependencies")
        .lines()
        .skip(1);
    lines
        .filter_map(|line| line.split([' ', '.', '=']).next())
        .filter(|name| !name.is_empty() && !name.starts_with('#'))
        .map(|name| name.replace('-', "_"))
        .collect()
}

/// Applies a rule to every file.
#[track_caller]
fn check(files: &BTreeMap<String, String>, rule: impl Fn(&str, &str) -> Found) {
    assert!(!files.is_empty(), "a rule that sees no file holds nothing");
    report(
        files
            .iter()
            .flat_map(|(path, text)| rule(path, text))
            .collect(),
    );
}

#[track_caller]
fn report(found: Found) {
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).expect("a text file of the repository")
}

/// The names in a folder, sorted; none if there is no such folder.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// The Rust files of some folders, by their path from the root.
fn sources(folders: &[&str]) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    for folder in folders {
        collect(&root().join(folder), &["rs"], &mut files);
    }
    files
}

/// The text files that people write, by their path from the root.
fn texts(root: &Path) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    for name in names(root)
        .iter()
        .filter(|name| !["target", ".git"].contains(&name.as_str()))
    {
        collect(
            &root.join(name),
            &["rs", "toml", "md", "sh", "yml", "yaml", "proto"],
            &mut files,
        );
    }
    files
}

fn collect(path: &Path, extensions: &[&str], files: &mut BTreeMap<String, String>) {
    if path.is_dir() {
        for name in names(path) {
            collect(&path.join(name), extensions, files);
        }
    } else if path
        .extension()
        .is_some_and(|found| extensions.iter().any(|one| found == *one))
    {
        let name = path.strip_prefix(root()).expect("a file of the repository");
        let text = fs::read_to_string(path).expect("a text file");
        files.insert(name.to_string_lossy().into_owned(), text);
    }
}

#[test]
fn rules_of_the_repository_can_fail() {
    let list = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(strangers(&list(&["src", ".ci", "README.md"])), Found::new());
    assert_eq!(strangers(&list(&["utils"])).len(), 1);

    assert_eq!(
        orphan_tests("mod web;\n", &list(&["main.rs", "web.rs", "data"])),
        Found::new()
    );
    assert_eq!(
        orphan_tests("mod web;\n", &list(&["main.rs", "lost.rs"])).len(),
        1
    );

    assert_eq!(incomplete("web", &list(GOLDEN)), Found::new());
    assert_eq!(incomplete("web", &list(&GOLDEN[1..])).len(), 1);
    assert_eq!(
        incomplete("web", &list(&[GOLDEN, &["old.json"]].concat())).len(),
        1
    );

    let manifest =
        "[package]\nname = \"x\"\n\n[dependencies]\na-b = \"1\"\nc.workspace = true\n\n[x]";
    assert_eq!(dependencies(manifest), ["a_b", "c"]);
}

#[test]
#[should_panic(expected = "no file")]
fn rule_that_sees_no_file_fails() {
    check(&BTreeMap::new(), source::size);
}
