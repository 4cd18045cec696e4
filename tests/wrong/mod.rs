//! Fifty wrong command lines and fifty wrong configurations: each gives one clear line, and ends
//! with the exit code that `--help` tells.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking, as tests do"
)]

mod files;
mod lines;

use std::process::Command;

use osvc_igw::check::act::stand;
use osvc_igw::check::{Source, check, show};
use osvc_igw::gateway::Policy;

use self::files::FILES;
use self::lines::LINES;

#[test]
fn a_wrong_command_line_is_one_clear_line_and_its_exit_code() {
    assert!(LINES.len() >= 50);
    let mut failures = Vec::new();
    for (line, code, words) in LINES {
        let output = Command::new(env!("CARGO_BIN_EXE_osvc-igw"))
            .args(line.split(' '))
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .expect("osvc-igw starts");
        let told = String::from_utf8(output.stderr).unwrap();
        let fine = output.status.code() == Some(*code)
            && output.stdout.is_empty()
            && told.lines().count() == 1
            && told.starts_with("osvc-igw: ")
            && told.contains(words);
        if !fine {
            failures.push(format!("{line}: {:?}: {told}", output.status.code()));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// A configuration that is right, a line of which each case replaces by others.
const RIGHT: &str = "\
[DEFAULT]
nodes = n1 n2
topology = flex
[ip#0]
ipname = 10.0.0.1
ipname@n2 = 10.0.0.2
expose = expose#0
[expose#0]
type = envoy
port = 8080
listener_port = 443
lb_policy = ring_hash
vhosts = vhost#0
listener_certificates = certificate#front
[vhost#0]
domains = www.acme.org
routes = route#0 route#1
[route#0]
match_prefix = /
hash_policies = hashpolicy#0
[route#1]
match_prefix = /
[hashpolicy#0]
cookie_name = session
[certificate#front]
type = tls
certificate_secret = front
";

#[test]
fn a_wrong_configuration_is_one_clear_line() {
    assert!(FILES.len() >= 50, "{}", FILES.len());
    let mut failures = Vec::new();
    for (line, wrong, expected) in FILES {
        let text = RIGHT.replacen(&format!("{line}\n"), &format!("{wrong}\n"), 1);
        assert!(text != RIGHT, "{line} is no line of it");
        let problems = problems(&text);
        if problems != [*expected] {
            failures.push(format!(
                "    ({line:?}, {wrong:?},\n     {:?}),",
                problems.join("\n")
            ));
        }
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

#[test]
fn what_each_case_begins_with_is_right() {
    assert_eq!(problems(RIGHT), Vec::<String>::new());
}

/// The problems of a configuration, without the file's name; notes do not count.
fn problems(text: &str) -> Vec<String> {
    let sources = [Source {
        object: "test/svc/web1".parse().unwrap(),
        file: "web1.conf".to_owned(),
        text: text.to_owned(),
    }];
    let stand = stand().unwrap();
    let checked = check(&sources, None, &Policy::default(), &stand, 1_780_000_000);
    let text = show::text(&checked.findings);
    let lines = text.lines().filter(|line| !line.contains(": note: "));
    let lines = lines.filter_map(|line| line.strip_prefix("web1.conf:"));
    lines.map(str::to_owned).collect()
}
