//! Rules for the text of one file. Who may import whom is in `layers`.

use super::Found;

/// "Every file opens with `//!`: what lives here, and what never does."
pub(super) fn opening(path: &str, text: &str) -> Found {
    let opens = text.starts_with("//! ");
    found(
        !opens,
        path,
        "every file opens with `//!`: what lives here, and what never does",
    )
}

/// "A file has at most 500 lines of at most 100 columns."
pub(super) fn size(path: &str, text: &str) -> Found {
    let lines = text.lines().count();
    let mut found = found(
        lines > 500,
        path,
        &format!("a file has at most 500 lines, not {lines}"),
    );
    for (number, line) in (1..).zip(text.lines()) {
        let width = line.chars().count();
        // The path of a `use` cannot be broken.
        if width > 100 && !line.starts_with("use ") {
            found.push(format!(
                "{path}:{number}: a line has at most 100 columns, not {width}"
            ));
        }
    }
    found
}

/// "Tests stand last in a file": `build.rs` and the purity rule read no further than their mark.
pub(super) fn tests_last(path: &str, text: &str) -> Found {
    let Some((_, tests)) = text.split_once(TESTS) else {
        return Found::new();
    };
    let opens = tests.trim_start_matches('\n').starts_with("mod ");
    let ends = match tests.split_once("\n}\n") {
        Some((_, after)) => after.is_empty(),
        None => tests.ends_with(";\n"),
    };
    found(
        !opens || !ends,
        path,
        "a file has one test module, and it stands last",
    )
}

/// "Nothing is left unfinished: no macro that stands for code to come, no test switched off."
pub(super) fn finished(path: &str, text: &str) -> Found {
    // Put together here, or this file would break its own rule.
    let words = [
        concat!("to", "do!"),
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("un", "implemented!"),
        concat!("#[ig", "nore"),
    ];
    let words = words.iter().filter(|word| text.contains(**word));
    words
        .map(|word| format!("{path}: `{word}`: nothing is left unfinished"))
        .collect()
}

/// "No line ends in blanks, and the last line ends."
pub(super) fn blanks(path: &str, text: &str) -> Found {
    let lines = (1..).zip(text.split('\n'));
    let mut found: Found = lines
        .filter(|(_, line)| line.ends_with([' ', '\t', '\r']))
        .map(|(number, _)| format!("{path}:{number}: no line ends in blanks"))
        .collect();
    if !text.ends_with('\n') || text.ends_with("\n\n") {
        found.push(format!("{path}: a file ends with one line end"));
    }
    found
}

/// The code of a file without its tests.
pub(super) fn without_tests(text: &str) -> &str {
    text.split_once(TESTS).map_or(text, |(code, _)| code)
}

/// What the tests of a file begin with.
const TESTS: &str = "\n#[cfg(test)]";

fn found(bad: bool, path: &str, sentence: &str) -> Found {
    if bad {
        vec![format!("{path}: {sentence}")]
    } else {
        Found::new()
    }
}

#[test]
fn rules_of_the_text_can_fail() {
    let none = Found::new();
    assert_eq!(opening("a.rs", "//! Good.\n"), none);
    assert_eq!(opening("a.rs", "use std::fmt;\n").len(), 1);

    assert_eq!(size("a.rs", &"x\n".repeat(500)), none);
    assert_eq!(size("a.rs", &"x\n".repeat(501)).len(), 1);
    assert_eq!(size("a.rs", &"é".repeat(100)), none);
    assert_eq!(
        size("a.rs", &"x".repeat(101)),
        ["a.rs:1: a line has at most 100 columns, not 101"]
    );

    assert_eq!(
        size("a.rs", &format!("use {}::X;\n", "x".repeat(100))),
        none
    );

    assert_eq!(tests_last("a.rs", "fn f() {\n}\n"), none);
    assert_eq!(
        tests_last("a.rs", "x\n#[cfg(test)]\nmod tests {\n}\n"),
        none
    );
    assert_eq!(tests_last("a.rs", "x\n#[cfg(test)]\nmod tests;\n"), none);
    assert_eq!(
        tests_last("a.rs", "x\n#[cfg(test)]\nmod tests {\n}\nfn f() {\n}\n").len(),
        1
    );
    assert_eq!(
        tests_last("a.rs", "x\n#[cfg(test)]\nfn f() {\n}\n").len(),
        1
    );
    assert_eq!(without_tests("code\n#[cfg(test)]\nmod tests;\n"), "code");

    assert_eq!(finished("a.rs", "fn f() {}"), none);
    assert_eq!(finished("a.rs", concat!("fn f() { to", "do!() }")).len(), 1);
    assert_eq!(
        finished("a.rs", concat!("#[ig", "nore = \"slow\"]")).len(),
        1
    );

    assert_eq!(blanks("a.rs", "a\nb\n"), none);
    assert_eq!(blanks("a.rs", "a \nb\t\n").len(), 2);
    assert_eq!(blanks("a.rs", "a").len(), 1);
    assert_eq!(blanks("a.rs", "a\n\n").len(), 1);
}
