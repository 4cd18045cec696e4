//! The path of somebody who has a fresh clone and README.md, and nothing else: every line that is
//! typed here is read out of the page.

use crate::support::page::{Block, block, read, same};
use crate::support::session::Session;

const README: &str = "README.md";

/// What differs from run to run: ports, the demo's folder, and which instance answers.
pub(super) fn alike(text: &str) -> String {
    let lines = text.lines().map(|line| {
        let numbers: String = line
            .split_inclusive(|letter: char| !letter.is_ascii_digit())
            .map(|part| {
                let digits = part.trim_end_matches(|letter: char| !letter.is_ascii_digit());
                if digits.len() > 1 {
                    part.replace(digits, "#")
                } else {
                    part.to_owned()
                }
            })
            .collect();
        match numbers.split_once(".web1 GET ") {
            Some((_, asked)) => format!("N.web1 GET {asked}\n"),
            None => format!("{numbers}\n"),
        }
    });
    lines.collect()
}

#[test]
pub(super) fn the_demo_prints_what_the_readme_shows() {
    let opening = "om test/svc/web1 scale --to 4";
    let mut session = Session::start(&[]);
    let line = &block(README, "examples/demo.sh").commands()[0];
    session.behind(line, "demo.log");
    // The last round that is shown; its line is printed as a whole.
    let told = session.until_file("demo.log", "\nscale --to 4: ");
    let from = told.find(opening).unwrap_or_else(|| panic!("{told}"));
    same(README, opening, &told[from..], alike);
}

#[test]
pub(super) fn the_demo_s_check_finds_nothing_wrong() {
    let typed = "examples/demo.sh --check";
    assert!(
        read(README).contains(&format!("`{typed}`")),
        "{README} tells of it"
    );
    let told = Session::start(&[]).works(typed);
    let fine = told.lines().filter(|line| line.starts_with("ok: ")).count();
    assert_eq!(fine, 7, "{told}");
}

/// Starts the simulated cluster as the page says; returns the requests to try.
fn cluster(session: &mut Session, line: &str) -> Vec<String> {
    let (line, _) = line.split_once('&').expect("it runs in the background");
    session.behind(line, "cluster.log");
    let told = session.until_file("cluster.log", "/realtime/generic");
    let requests = told.lines().filter(|line| line.starts_with("curl "));
    requests.map(str::to_owned).collect()
}

/// Types the lines of a block, each as its kind asks for.
fn follow(session: &mut Session, block: &Block) -> Vec<String> {
    let mut requests = Vec::new();
    for line in block.commands() {
        let command = line.split('#').next().unwrap_or_default().trim();
        match command.split(' ').collect::<Vec<_>>().as_slice() {
            ["osvc-igw", "demo", "--cluster", ..] => requests = cluster(session, command),
            // Who reads waits until it is.
            ["osvc-igw", "health", ..] => {
                session.until(command, |code, _| code == 0);
            }
            ["osvc-igw", "check", ..] => {
                assert_eq!(
                    session.works(&line).lines().last(),
                    Some("0 problems, 2 notes")
                );
            }
            ["osvc-igw", "diff", ..] => {
                let (code, told) = session.run(&line);
                let change = "+ domains[\"shop.acme.org\"]";
                assert!(code == 2 && told.contains(change), "{code}: {told}");
            }
            ["osvc-igw", "status"] => {
                session.until(command, |code, told| {
                    code == 0 && told.contains("has everything")
                });
            }
            _ => {
                session.works(&line);
            }
        }
    }
    requests
}

#[test]
pub(super) fn from_nothing_to_an_answered_request_by_the_readme_alone() {
    let mut session = Session::start(&[]);
    let typed = block(README, "PATH=");
    let requests = follow(&mut session, &typed);
    assert_eq!(requests.len(), 4, "{requests:?}");
    for request in &requests {
        let told = session.until(request, |code, _| code == 0);
        assert!(told.contains(".web1 GET "), "{request}: {told}");
    }
    let made = format!("$ {}\n{}", requests[0], session.works(&requests[0]));
    same(README, "$ curl --resolve svcweb.acme.org:", &made, alike);
}

#[test]
pub(super) fn beside_a_daemon_three_lines_make_a_gateway() {
    let mut session = Session::start(&[("OSVC_IGW_SOCKET", "cluster/lsnr.sock")]);
    let requests = cluster(&mut session, "osvc-igw demo --cluster cluster &");
    for (number, line) in block(README, "cargo build").commands().iter().enumerate() {
        match line.split(' ').collect::<Vec<_>>().as_slice() {
            ["osvc-igw", "--name", ..] | ["envoy", ..] => {
                session.behind(line, &format!("{number}.log"));
            }
            _ => {
                session.works(line);
            }
        }
    }
    let told = session.until(&requests[0], |code, _| code == 0);
    assert!(told.contains(".web1 GET "), "{told}");
}
