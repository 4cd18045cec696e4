//! A page of the documentation, and its code blocks.

use std::fs;
use std::path::{Path, PathBuf};

/// A code block.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    /// What stands behind the fence.
    pub(crate) language: String,
    /// The lines in between, each with its end.
    pub(crate) text: String,
    /// The first line of the text, counted from 0.
    first: usize,
}

impl Block {
    /// The line that it is known by.
    pub(crate) fn opening(&self) -> &str {
        self.text.lines().next().unwrap_or_default()
    }

    /// What one would type, a command a line: without prompts, and with continued lines joined.
    pub(crate) fn commands(&self) -> Vec<String> {
        let text = self.text.replace("\\\n", " ");
        text.lines().map(str::to_owned).collect()
    }
}

/// Where a file of the repository is.
pub(crate) fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

pub(crate) fn read(name: &str) -> String {
    fs::read_to_string(file(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The code blocks of a text, in order. Whoever indents a line instead of fencing it is told so:
/// such a line would be code that no test sees.
pub(crate) fn blocks(text: &str) -> Result<Vec<Block>, String> {
    let mut blocks = Vec::new();
    let (mut open, mut before): (Option<(usize, Block)>, &str) = (None, "");
    for (number, line) in text.lines().enumerate() {
        let rest = line.trim_start();
        let fence = rest.strip_prefix("```");
        open = match (open, fence) {
            (Some((_, block)), Some("")) => {
                blocks.push(block);
                None
            }
            (Some((indent, mut block)), _) => {
                let line = line.get(indent..).unwrap_or_default();
                block.text.push_str(line);
                block.text.push('\n');
                Some((indent, block))
            }
            (None, Some(language)) => {
                let block = Block {
                    language: language.to_owned(),
                    text: String::new(),
                    first: number + 1,
                };
                Some((line.len() - rest.len(), block))
            }
            (None, None) if before.is_empty() && line.starts_with("    ") => {
                return Err(format!("line {} is indented code: fence it", number + 1));
            }
            (None, None) => None,
        };
        before = line;
    }
    match open {
        Some((_, block)) => Err(format!("the block of line {} has no end", block.first)),
        None => Ok(blocks),
    }
}

/// The block of a page that begins with these words. There is one, or the page has drifted.
pub(crate) fn block(page: &str, opening: &str) -> Block {
    let all = blocks(&read(page)).unwrap_or_else(|error| panic!("{page}: {error}"));
    let mut found = all
        .into_iter()
        .filter(|it| it.opening().starts_with(opening));
    let first = found.next();
    assert!(
        found.next().is_none(),
        "{page} has two blocks that begin with {opening:?}"
    );
    first.unwrap_or_else(|| panic!("{page} has no block that begins with {opening:?}"))
}

/// Holds a block to what a program says; with `UPDATE` in the environment writes it there.
/// `alike` makes equal what may differ from run to run.
#[track_caller]
pub(crate) fn same(page: &str, opening: &str, made: &str, alike: impl Fn(&str) -> String) {
    let block = block(page, opening);
    let equal = alike(&block.text) == alike(made);
    if std::env::var_os("UPDATE").is_some() && !equal {
        let text = read(page);
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        let last = block.first + block.text.lines().count();
        let before = lines[..block.first].concat();
        let text = format!("{before}{made}{}", lines[last..].concat());
        fs::write(file(page), text).expect("the page");
        return;
    }
    assert_eq!(
        alike(&block.text),
        alike(made),
        "{page}: UPDATE=1 cargo test with this test's name rewrites it"
    );
}
