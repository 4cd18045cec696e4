//! What README.md repeats from the program is what the program says, and what examples/README.md
//! tells of a keyword is tried.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use osvc_igw::config::options_table;
use serde_json::Value;

use crate::golden;

#[test]
fn the_options_table_of_the_readme_is_the_programs() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = fs::read_to_string(&path).unwrap();
    let begin = readme.find("<!-- options:").expect("a begin mark");
    let begin = begin + readme[begin..].find('\n').expect("the mark's end") + 1;
    let end = readme.find("<!-- /options -->").expect("an end mark");
    let table = format!("\n{}\n", options_table());
    if std::env::var_os("UPDATE").is_some() {
        let text = format!("{}{table}{}", &readme[..begin], &readme[end..]);
        fs::write(&path, text).unwrap();
        return;
    }
    assert_eq!(
        &readme[begin..end],
        table,
        "UPDATE=1 cargo test readme rewrites it"
    );
}

#[test]
fn every_keyword_of_the_tables_has_a_golden_case_and_ours_have_an_example() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("examples/README.md")).unwrap();
    let mut tried = BTreeSet::new();
    for case in golden::names() {
        let case = golden::Case::load(&case);
        members(&case.status, &mut tried);
        members(&case.reads, &mut tried);
    }
    let (mut rows, mut missing) = (0, Vec::new());
    let tables = page.split("\n| keyword |").skip(1);
    for row in tables.flat_map(|table| {
        table
            .lines()
            .skip(1)
            .take_while(|line| line.starts_with(['|', ' ']))
    }) {
        let cell = row
            .trim_start_matches('|')
            .split('|')
            .next()
            .unwrap_or_default();
        let ours = cell.contains('*');
        let words = cell.split('`').skip(1).step_by(2);
        for keyword in words.filter(|word| *word != "original_dst_lb") {
            rows += 1;
            if !tried.contains(keyword) {
                missing.push(format!("{keyword}: no golden case"));
            }
            let mut lines = page.lines().filter_map(|line| line.split_once(" = "));
            let shown = |(name, _): (&str, &str)| name.split('@').next() == Some(keyword);
            if ours && !lines.any(shown) {
                missing.push(format!("{keyword}: no line of an example"));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
    assert!(rows > 70, "{rows} keywords");
}

/// The names of all members, without their scopes.
fn members(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                let name = name.split('@').next().unwrap_or_default();
                found.insert(name.to_owned());
                members(value, found);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| members(value, found)),
        _ => {}
    }
}
