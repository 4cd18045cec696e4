//! What a shell and `man` need, made from the same table of options as the parser: completion
//! scripts and manual pages. They are texts here; nothing is written to a file.

use std::io;
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue};
use clap::{Args, Command, ValueEnum};
use clap_complete::aot;
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, roman};

use super::manual::{self, Page};

/// Options of `osvc-igw completion`.
#[derive(Args, Clone, Debug, PartialEq)]
pub struct CompletionOptions {
    /// The shell to print the script for
    #[arg(value_enum, value_name = "SHELL")]
    pub shell: Shell,
}

/// A shell that can complete.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Shell {
    /// GNU Bash.
    Bash,
    /// The Z shell.
    Zsh,
    /// fish.
    Fish,
}

/// Options of `osvc-igw man`.
#[derive(Args, Clone, Debug, PartialEq)]
pub struct ManOptions {
    /// The command whose page it is, such as `acme issue` [default: that of osvc-igw itself]
    #[arg(value_name = "COMMAND", conflicts_with = "folder")]
    pub command: Vec<String>,

    /// Write the pages of all commands as files into this folder, instead of printing one
    #[arg(long, value_name = "FOLDER")]
    pub folder: Option<PathBuf>,
}

/// A manual page (section 1).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ManPage {
    /// The name of its file, such as `osvc-igw-acme-issue.1`.
    pub file: String,
    /// Its source, for groff and mandoc (`man(7)`).
    pub text: String,
}

/// The completion script of a shell.
pub fn completion(shell: Shell) -> String {
    let shell = match shell {
        Shell::Bash => aot::Shell::Bash,
        Shell::Zsh => aot::Shell::Zsh,
        Shell::Fish => aot::Shell::Fish,
    };
    let mut script = Vec::new();
    let mut command = super::command();
    aot::generate(shell, &mut command, PROGRAM, &mut script);
    let script = String::from_utf8_lossy(&script);
    // Where a program's name has a dash, clap_complete 4.6 calls it by two names in the script for
    // Bash, so that nothing behind a command would be completed.
    script.replace("osvc__subcmd__igw", "osvc__igw")
}

/// The page of each command, that of the program first.
pub fn man_pages() -> Vec<ManPage> {
    let mut program = super::command();
    program.build();
    let mut pages = Vec::new();
    collect(&program, "", &mut pages);
    pages
}

/// The page of the command that these words name; `None` where there is no such command.
pub fn man_page(words: &[String]) -> Option<ManPage> {
    let program = std::iter::once(PROGRAM).chain(words.iter().map(String::as_str));
    let file = format!("{}.1", program.collect::<Vec<_>>().join("-"));
    man_pages().into_iter().find(|page| page.file == file)
}

/// What was probably meant, as the end of a line that says what is wrong.
pub(super) fn tip(error: &clap::Error) -> String {
    let kinds = [
        ContextKind::SuggestedSubcommand,
        ContextKind::SuggestedArg,
        ContextKind::SuggestedValue,
    ];
    let meant = kinds.into_iter().find_map(|kind| match error.get(kind)? {
        ContextValue::String(word) => Some(word.clone()),
        ContextValue::Strings(words) => words.first().cloned(),
        _ => None,
    });
    meant.map_or_else(String::new, |word| format!("; did you mean {word}?"))
}

fn collect(command: &Command, words: &str, pages: &mut Vec<ManPage>) {
    let name = match words {
        "" => PROGRAM.to_owned(),
        words => format!("{PROGRAM}-{}", words.replace(' ', "-")),
    };
    let mut text = Vec::new();
    // Writing into memory cannot fail.
    if render(command, &name, words, &mut text).is_ok() {
        pages.push(ManPage {
            file: format!("{name}.1"),
            text: String::from_utf8_lossy(&text).into_owned(),
        });
    }
    for inner in command.get_subcommands().filter(|it| !it.is_hide_set()) {
        let words = format!("{words} {}", inner.get_name());
        collect(inner, words.trim_start(), pages);
    }
}

fn render(command: &Command, name: &str, words: &str, text: &mut Vec<u8>) -> io::Result<()> {
    let page = manual::page(words);
    let examples = page.map_or(&[][..], |page| page.examples);
    let about = command.get_about().map(ToString::to_string);
    let about = about.unwrap_or_default();
    let about = about.trim_start_matches(PROGRAM).trim_start_matches(": ");
    let plain = command.clone().display_name(name.to_owned());
    let source = format!("{PROGRAM} {}", env!("CARGO_PKG_VERSION"));
    let man = Man::new(plain.about(about.to_owned()));
    // A page has no date: equal sources make equal pages.
    let man = man.title(name.to_uppercase()).date(" ").source(source);
    man.render_title(text)?;
    man.render_name_section(text)?;
    man.render_synopsis_section(text)?;
    man.render_description_section(text)?;
    man.render_options_section(text)?;
    if command.has_subcommands() {
        man.render_subcommands_section(text)?;
    }
    let mut rest = Roff::new();
    if !examples.is_empty() {
        rest.control("SH", ["EXAMPLES"]);
    }
    for (what, line) in examples {
        rest.control("TP", []);
        rest.text([roman(*what)]);
        rest.text([bold(*line)]);
    }
    exit_status(page, &mut rest);
    rest.control("SH", ["SEE ALSO"]);
    rest.text(see_also(command, words));
    rest.to_writer(text)
}

fn exit_status(page: Option<&Page>, rest: &mut Roff) {
    rest.control("SH", ["EXIT STATUS"]);
    for (code, meaning) in page.map_or(manual::EXITS, |page| page.exits) {
        rest.control("TP", []);
        rest.text([bold(code.to_string())]);
        rest.text([roman(*meaning)]);
    }
}

/// The pages above and below.
fn see_also(command: &Command, words: &str) -> Vec<Inline> {
    let own = std::iter::once(PROGRAM).chain(words.split(' ').filter(|word| !word.is_empty()));
    let own: Vec<&str> = own.collect();
    let mut names: Vec<String> = Vec::new();
    if own.len() > 1 {
        names.push(own[..own.len() - 1].join("-"));
    }
    for inner in command.get_subcommands().filter(|it| !it.is_hide_set()) {
        names.push(format!("{}-{}", own.join("-"), inner.get_name()));
    }
    let mut line = Vec::new();
    for name in names {
        line.extend([bold(name), roman("(1), ")]);
    }
    line.push(roman("https://github.com/opensvc/osvc-igw"));
    line
}

const PROGRAM: &str = "osvc-igw";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_has_a_page_and_it_has_its_examples() {
        let pages = man_pages();
        let files: Vec<&str> = pages.iter().map(|page| page.file.as_str()).collect();
        assert_eq!(files[0], "osvc-igw.1");
        assert!(files.contains(&"osvc-igw-acme-issue.1"), "{files:?}");
        for page in &pages {
            for section in ["NAME", "SYNOPSIS", "DESCRIPTION", "EXAMPLES", "EXIT STATUS"] {
                let heading = ["\n.SH ", section].concat();
                let quoted = format!("\n.SH \"{section}\"");
                let found = page.text.contains(&heading) || page.text.contains(&quoted);
                assert!(found, "{}: {section}\n{}", page.file, page.text);
            }
        }
    }

    #[test]
    fn a_page_is_found_by_the_words_of_its_command() {
        let words = ["acme".to_owned(), "issue".to_owned()];
        let page = man_page(&words).map(|page| page.file);
        assert_eq!(page.as_deref(), Some("osvc-igw-acme-issue.1"));
        assert_eq!(man_page(&["nope".to_owned()]), None);
    }

    #[test]
    fn each_shell_completes_commands_options_and_values() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = completion(shell);
            for word in ["bootstrap", "janitor-socket", "completion", "acme", "json"] {
                assert!(script.contains(word), "{shell:?}: {word}");
            }
        }
    }
}
