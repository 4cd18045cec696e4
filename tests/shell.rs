//! What a shell and a reader get: help, completion scripts and manual pages, as the binary gives
//! them, each judged by the program that it is for, where that is there.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use osvc_igw::config::{Shell, completion, man_pages};

use crate::support::folder::Folder;

/// What a run of the binary gave: its exit code, standard output, standard error.
fn igw(arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_osvc-igw"))
        .args(arguments)
        .output()
        .expect("osvc-igw starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    let code = output.status.code().expect("an exit code");
    (code, text(output.stdout), text(output.stderr))
}

/// Gives a text to a program's standard input; `None` where there is no such program.
fn through(program: &str, arguments: &[&str], input: &str) -> Option<(bool, String)> {
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => panic!("{program}: {error}"),
    };
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(input.as_bytes()).expect("a reader");
    drop(stdin);
    let output = child.wait_with_output().expect("an end");
    let text = [output.stdout, output.stderr].concat();
    Some((
        output.status.success(),
        String::from_utf8_lossy(&text).into_owned(),
    ))
}

#[test]
fn completion_scripts_are_accepted_by_their_shells() {
    let shells: [(Shell, &str, &[&str]); 3] = [
        (Shell::Bash, "bash", &["-n"]),
        (Shell::Zsh, "zsh", &["-n"]),
        (Shell::Fish, "fish", &["--no-execute"]),
    ];
    for (shell, program, arguments) in shells {
        let (code, script, errors) = igw(&["completion", program]);
        assert_eq!((code, errors.as_str()), (0, ""));
        assert_eq!(script, completion(shell));
        let judged = through(program, arguments, &script);
        // Bash is wherever these tests are; the other two where somebody uses them.
        assert!(judged.is_some() || program != "bash");
        if let Some((fine, words)) = judged {
            assert!(fine && words.is_empty(), "{program}: {words}");
        }
    }
}

#[test]
fn bash_completes_a_command_an_option_and_a_value() {
    let (_, script, _) = igw(&["completion", "bash"]);
    let folder = Folder::new("completion");
    let file = folder.write("osvc-igw.bash", &script);
    let (_, function) = script.split_once("complete -F ").expect("a function");
    let function = function.split(' ').next().expect("its name");
    for (line, word) in [
        ("osvc-igw acme i", "issue"),
        ("osvc-igw run --janitor", "--janitor-socket"),
        ("osvc-igw --janitor", "--janitor-socket"),
        ("osvc-igw check --format s", "sarif"),
        ("osvc-igw comp", "completion"),
    ] {
        let words: Vec<&str> = line.split(' ').collect();
        let (at, last) = (words.len() - 1, words[words.len() - 1]);
        let before = words[at - 1];
        let program = format!(
            "source {}; COMP_WORDS=({line}); COMP_CWORD={at}; \
             {function} osvc-igw '{last}' '{before}'; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            file.display()
        );
        let (fine, found) = through("bash", &[], &program).expect("bash");
        assert!(fine, "{line}: {found}");
        assert!(found.lines().any(|it| it == word), "{line}: {found}");
    }
}

#[test]
fn manual_pages_are_written_for_every_command_and_have_no_flaw() {
    let folder = Folder::new("man");
    let inner = folder.0.join("man1");
    let (code, text, errors) = igw(&["man", "--folder", &inner.display().to_string()]);
    assert_eq!((code, text.as_str(), errors.as_str()), (0, "", ""));
    let pages = man_pages();
    assert_eq!(names(&inner).len(), pages.len());
    for page in pages {
        let written = fs::read_to_string(inner.join(&page.file)).expect("a page");
        assert_eq!(written, page.text, "{}", page.file);
        let arguments = ["-man", "-Tascii", "-P-cbou", "-ww", "-rLL=100n"];
        let Some((fine, shown)) = through("groff", &arguments, &page.text) else {
            continue;
        };
        assert!(fine && shown.contains("EXAMPLES"), "{}: {shown}", page.file);
        assert!(!shown.contains("warning:"), "{}: {shown}", page.file);
    }
}

#[test]
fn a_page_is_printed_by_the_words_of_its_command() {
    let (code, text, _) = igw(&["man", "acme", "issue"]);
    assert!(
        code == 0 && text.contains(".TH OSVC-IGW-ACME-ISSUE 1"),
        "{text}"
    );
    let (code, text, errors) = igw(&["man", "nope"]);
    assert_eq!((code, text.as_str()), (1, ""));
    assert_eq!(errors, "osvc-igw: there is no command \"nope\"\n");
    let (code, _, errors) = igw(&["man", "--folder", "/proc/nope"]);
    assert_eq!(code, 1);
    assert!(errors.starts_with("osvc-igw: cannot write to --folder /proc/nope: "));
    assert_eq!(errors.lines().count(), 1, "{errors}");
}

#[test]
fn help_is_on_standard_output_and_groups_its_options() {
    let (code, text, errors) = igw(&["run", "--help"]);
    assert_eq!((code, errors.as_str()), (0, ""));
    let headings = [
        "Options:",
        "The OpenSVC daemon:",
        "Certificates:",
        "Examples:",
    ];
    for heading in headings {
        assert!(
            text.lines().any(|line| line == heading),
            "{heading}\n{text}"
        );
    }
    let (_, short, _) = igw(&["run", "-h"]);
    assert!(
        short.len() < text.len() && !short.contains("Examples:"),
        "{short}"
    );
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    let names = entries.map(|entry| entry.expect("an entry").file_name());
    names
        .map(|name| name.to_string_lossy().into_owned())
        .collect()
}
