//! The commands of `examples/OPERATIONS.md`, typed as they stand there. Folders of the system are
//! folders under `root`, and ports are those that are free.

use std::fs;

use osvc_igw::demo::ports;
use serde_json::Value;

use crate::support::page::block;
use crate::support::session::Session;

const PAGE: &str = "examples/OPERATIONS.md";

/// A session beside the simulated cluster; returns the requests to try as well.
fn beside_a_cluster() -> (Session, Vec<String>) {
    let mut session = Session::start(&[("OSVC_IGW_SOCKET", "cluster/lsnr.sock")]);
    session.behind("osvc-igw demo --cluster cluster", "cluster.log");
    let told = session.until_file("cluster.log", "/realtime/generic");
    let requests = told.lines().filter(|line| line.starts_with("curl "));
    let requests = requests.map(str::to_owned).collect();
    (session, requests)
}

/// Puts the service's file, with another domain, where a line names it.
fn reviewed(session: &mut Session) {
    let text = fs::read_to_string(session.folder.0.join("cluster/web1.conf")).expect("a file");
    let text = text.replace("domains = alt-svcweb", "domains = shop.acme.org alt-svcweb");
    session.works("mkdir -p namespaces/test/svc");
    session.folder.write("namespaces/test/svc/web1.conf", &text);
}

#[test]
pub(super) fn what_installs_a_gateway_installs_one() {
    let (mut session, requests) = beside_a_cluster();
    // What a node of OpenSVC has, and what was unpacked.
    session.works("mkdir -p root/usr/local/bin root/etc/bash_completion.d root/var/lib");
    session.works("mkdir -p root/etc/opensvc/namespaces/test/svc");
    session.works("cp cluster/web1.conf root/etc/opensvc/namespaces/test/svc/");
    session.works("ln -s target/release/osvc-igw osvc-igw");
    let lines = block(PAGE, "install -m 755").commands();
    assert!(lines.len() <= 10, "ten lines");
    for (number, line) in lines.iter().enumerate() {
        let here = line
            .replace(" /usr/", " root/usr/")
            .replace(" /etc/", " root/etc/")
            .replace("=/etc/", "=root/etc/")
            .replace(" /var/", " root/var/");
        match here.split(' ').collect::<Vec<_>>().as_slice() {
            [.., "&"] => session.behind(here.trim_end_matches('&'), &format!("{number}.log")),
            ["osvc-igw", "health", ..] => {
                session.until(&here, |code, _| code == 0);
            }
            _ => {
                session.works(&here);
            }
        }
    }
    session.until(&requests[0], |code, told| {
        code == 0 && told.contains(".web1 GET ")
    });
    // The same, as another program sees it: Envoy has what would be served.
    let compare = block(PAGE, "osvc-igw diff --envoy").commands().remove(0);
    let there = session.works("echo $OSVC_IGW_ENVOY_PORT");
    let here = compare.replace(":9901", &format!(":{}", there.trim()));
    assert_ne!(here, compare);
    session.until(&here, |code, told| code == 0 && told == "No difference.\n");
}

#[test]
pub(super) fn a_step_of_a_workflow_annotates_the_lines_that_are_wrong() {
    let mut session = Session::start(&[]);
    session.works("mkdir -p namespaces/test/svc");
    session.works("cp examples/services/*.conf namespaces/test/svc/");
    let text = block(PAGE, "- run: osvc-igw check").text;
    let steps: Value = serde_norway::from_str(&text).expect("YAML");
    let step = steps[0]["run"].as_str().expect("a command");
    let here = step.replace("/usr/local/bin/envoy", "bin/envoy");
    assert_ne!(here, step);
    session.works(&here);
    let file = "namespaces/test/svc/l4.conf";
    session.works(&format!("sed -i 's/^port = .*/port = none/' {file}"));
    let (code, told) = session.run(&here);
    assert!(
        code == 2 && told.contains(&format!("::error file={file},line=")),
        "{told}"
    );
}

#[test]
pub(super) fn a_change_is_told_for_a_pull_request() {
    let (mut session, _) = beside_a_cluster();
    reviewed(&mut session);
    let line = block(PAGE, "osvc-igw diff --with").commands().remove(0);
    let (code, told) = session.run(&line);
    assert!(
        code == 2 && told.contains("shop.acme.org"),
        "{code}: {told}"
    );
    assert!(
        told.contains("```") || told.contains("| "),
        "Markdown: {told}"
    );
}

#[test]
pub(super) fn a_second_gateway_runs_beside_the_first() {
    let (mut session, _) = beside_a_cluster();
    session.behind("osvc-igw", "first.log");
    session.until("osvc-igw health --ready", |code, _| code == 0);
    let [xds, envoy, admin] = [0; 3].map(|_| ports::free().expect("a free port").to_string());
    for line in block(PAGE, "osvc-igw bootstrap --name igw2").commands() {
        let here = line
            .replace("50052", &xds)
            .replace("9911", &envoy)
            .replace("9912", &admin)
            .replace("/tmp/", "");
        match here.starts_with("osvc-igw run ") {
            true => session.behind(&here, "second.log"),
            false => drop(session.works(&here)),
        }
    }
    let second = format!("osvc-igw health --ready --admin-address 127.0.0.1:{admin}");
    session.until(&second, |code, _| code == 0);
    session.works("osvc-igw health --ready");
    session.behind("envoy -c igw2.yaml", "envoy.log");
    let status = format!("osvc-igw status --address 127.0.0.1:{xds}");
    let told = session.until(&status, |_, told| told.contains("has everything"));
    assert!(told.contains("igw2"), "{told}");
}
