//! README.md and examples/OPERATIONS.md as their readers take them: each code block is typed, or is
//! what a program prints, and this is the list of which test sees to that. A block that is not on
//! it fails, and so does a line of it whose block has gone.

mod newcomer;
mod operations;
mod shown;
mod tables;

use osvc_igw::sim::Sim;
use osvc_igw::sim::certificate::Authority;

use crate::acme::documented;
use crate::support::folder::Folder;
use crate::support::om::Om;
use crate::support::page::{blocks, read};

/// How a block begins, and the test that fails when it drifts.
type Held = (&'static str, fn());

const README: &[Held] = &[
    (
        "examples/demo.sh",
        newcomer::the_demo_prints_what_the_readme_shows,
    ),
    (
        "om test/svc/web1 scale --to 4",
        newcomer::the_demo_prints_what_the_readme_shows,
    ),
    (
        "PATH=",
        newcomer::from_nothing_to_an_answered_request_by_the_readme_alone,
    ),
    (
        "$ curl --resolve svcweb.acme.org:",
        newcomer::from_nothing_to_an_answered_request_by_the_readme_alone,
    ),
    (
        "cargo build --release",
        newcomer::beside_a_daemon_three_lines_make_a_gateway,
    ),
    (
        "om system/usr/igw create",
        shown::an_account_of_these_commands_is_all_that_a_gateway_elsewhere_needs,
    ),
    (
        "$ osvc-igw check",
        shown::what_check_says_of_a_file_with_two_mistakes,
    ),
    (
        "grpcurl",
        shown::the_call_of_grpcurl_is_one_that_the_service_describes,
    ),
    (
        "$ osvc-igw diff",
        crate::diff::readme::the_difference_of_the_readme_is_the_commands,
    ),
    (
        "om shop/sec/letsencrypt create",
        documented::the_commands_of_the_readme_get_a_certificate_that_envoy_shows,
    ),
    (
        "[DEFAULT]",
        documented::the_object_of_the_readme_asks_for_the_names_that_are_served,
    ),
    (
        "shop/svc/web expose#1",
        documented::a_name_that_the_certificate_lacks_is_told_by_these_words,
    ),
    (
        "om shop/sec/letsencrypt add --key challenge",
        documented::with_the_keys_of_the_readme_an_issuer_takes_wildcards,
    ),
    (
        "WARN problem",
        shown::a_domain_that_two_services_want_is_this_line_of_the_log,
    ),
    (
        " OpenSVC daemon",
        shown::the_picture_names_rooms_that_are_there,
    ),
];

const OPERATIONS: &[Held] = &[
    (
        "install -m 755",
        operations::what_installs_a_gateway_installs_one,
    ),
    (
        "- run: osvc-igw check",
        operations::a_step_of_a_workflow_annotates_the_lines_that_are_wrong,
    ),
    (
        "osvc-igw diff --with",
        operations::a_change_is_told_for_a_pull_request,
    ),
    (
        "osvc-igw bootstrap --name igw2",
        operations::a_second_gateway_runs_beside_the_first,
    ),
    (
        "osvc-igw diff --envoy",
        operations::what_installs_a_gateway_installs_one,
    ),
];

/// What is wrong with a page and the list of its blocks.
fn strays(text: &str, held: &[Held]) -> Vec<String> {
    let blocks = match blocks(text) {
        Ok(blocks) => blocks,
        Err(error) => return vec![error],
    };
    let mut found = Vec::new();
    for block in &blocks {
        let opening = block.opening();
        match held
            .iter()
            .filter(|(begins, _)| opening.starts_with(begins))
            .count()
        {
            1 => {}
            0 => found.push(format!("no test holds the block that begins {opening:?}")),
            _ => found.push(format!(
                "two lines are of the block that begins {opening:?}"
            )),
        }
        if !["ini", "sh", "text", "yaml"].contains(&block.language.as_str()) {
            found.push(format!(
                "{opening:?} is in {:?}, which is no language",
                block.language
            ));
        }
    }
    for (begins, _) in held {
        match blocks
            .iter()
            .filter(|it| it.opening().starts_with(begins))
            .count()
        {
            1 => {}
            count => found.push(format!("{count} blocks begin {begins:?}")),
        }
    }
    found
}

#[test]
fn every_code_block_is_held_by_a_test() {
    for (page, held) in [
        ("README.md", README),
        ("examples/OPERATIONS.md", OPERATIONS),
    ] {
        assert_eq!(strays(&read(page), held), Vec::<String>::new(), "{page}");
    }
}

#[test]
fn a_block_that_no_test_holds_is_found() {
    let held: &[Held] = &[("one", || ())];
    let check = |text: &str, expect: &[&str]| assert_eq!(strays(text, held), expect, "{text}");
    check("a\n\n```sh\none\n```\n", &[]);
    check("1. a\n\n   ```sh\n   one\n   ```\n", &[]);
    check(
        "```sh\none\n```\n```text\ntwo\n```\n",
        &["no test holds the block that begins \"two\""],
    );
    check("a\n", &["0 blocks begin \"one\""]);
    check(
        "```rs\none\n```\n",
        &["\"one\" is in \"rs\", which is no language"],
    );
    check("a\n\n    one\n", &["line 3 is indented code: fence it"]);
    check("```sh\none\n", &["the block of line 1 has no end"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_om_does_not_take_is_refused_as_a_page_must_not_show_it() {
    let folder = Folder::new("om");
    let sim = Sim::start(&folder.0.join("lsnr.sock"), &["n1"]).expect("a daemon");
    let authority = Authority::new("the cluster's").expect("an authority");
    let mut om = Om::new(&sim, &folder.0, &authority);
    assert_eq!(om.run("om a/sec/b create --kw cn=x # a comment"), Ok(()));
    for bad in [
        "oms a/sec/b create",
        "om a/sec/b crate",
        "om a/sec/b add --key x --valeu y",
        "om a/sec/b add --key x --value 'y",
        "om a/sec/b set --kw x=y; reboot",
        "om a/sec/b decode --key nope > file",
        "om system/usr/x create --kw grant=guest:*",
        "om cluster set --kw cluster.ca=system/sec/nope",
    ] {
        assert!(om.run(bad).is_err(), "{bad}");
    }
}

/// The commands of the other pages, and of the comments of the examples, in the order in which
/// they stand there; the simulated daemon takes them all.
#[tokio::test(flavor = "multi_thread")]
async fn every_om_command_of_the_examples_is_taken() {
    let pages = ["charts/osvc-igw/README.md", "examples/opensvc/README.md"];
    let mut count = 0;
    for page in pages {
        let blocks = blocks(&read(page)).expect("a page");
        let lines = blocks.iter().filter(|it| it.language == "sh");
        let lines: Vec<String> = lines.flat_map(|it| it.commands()).collect();
        count += take(page, &lines);
    }
    for folder in ["examples/opensvc", "examples/services"] {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let name = entry.expect("an entry").path().display().to_string();
            if name.ends_with(".conf") {
                let text = read(&name).replace("\\\n#", " ");
                let lines = text.lines().filter_map(|line| line.strip_prefix("#   "));
                count += take(&name, &lines.map(str::to_owned).collect::<Vec<_>>());
            }
        }
    }
    assert!(count > 35, "{count} commands");
}

/// Types the lines of a page that are `om`'s on a cluster of their own; returns how many.
fn take(page: &str, lines: &[String]) -> usize {
    let folder = Folder::new("om");
    let sim = Sim::start(&folder.0.join("lsnr.sock"), &["n1"]).expect("a daemon");
    let authority = Authority::new("the cluster's").expect("an authority");
    for name in ["CA", "ca-demo"] {
        // Pages that do not make the cluster's authority take it as there.
        let path = format!("system/sec/{name}");
        let made = format!("om {path} create");
        if !lines.iter().any(|line| line.starts_with(&made)) {
            sim.create(&path, "").expect("an object");
            sim.set_key(&path, "certificate_chain", authority.pem())
                .expect("a key");
        }
    }
    // Files that the commands name, and those that they write somewhere else.
    let own = page.rsplit_once('/').map_or(".", |(folder, _)| folder);
    for entry in std::fs::read_dir(own).expect("a folder") {
        let from = entry.expect("an entry").path();
        let name = from.file_name().expect("a name").to_owned();
        if from.is_file() {
            std::fs::copy(&from, folder.0.join(name)).expect("a copy");
        }
    }
    for name in [
        "www.key",
        "www.chain.pem",
        "partners-ca.pem",
        "backend-ca.pem",
    ] {
        folder.write(name, "PEM");
    }
    let mut om = Om::new(&sim, &folder.0, &authority);
    let typed = lines.iter().filter(|line| line.starts_with("om "));
    typed
        .map(|line| {
            om.run(&line.replace("/etc/osvc-igw/acme/", ""))
                .expect(page)
        })
        .count()
}
