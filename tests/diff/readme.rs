//! The output that README.md shows is what the command prints.

use std::path::Path;
use std::process::Command;

use crate::support::folder::Folder;

#[test]
pub(crate) fn the_difference_of_the_readme_is_the_commands() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let recorded = include_str!("../../src/sim/recorded/web1.conf");
    let folder = Folder::new("readme");
    let reviewed = recorded
        .replace("domains = alt", "domains = shop.acme.org alt")
        .replace("sni = svcweb", "sni = www.acme.org svcweb")
        .replace(
            "listener_port = 8082\nport = 80",
            "listener_port = 8082\nport = 8080",
        );
    let file = folder.write("web1.conf", &reviewed);
    let state = root.join("tests/captures/opensvc-2.1/status-web1-documented.json");
    let mut command = Command::new(env!("CARGO_BIN_EXE_osvc-igw"));
    let command = command
        .args(["diff", "--to"])
        .arg(state)
        .arg("--with")
        .arg(file);
    let output = command.output().expect("osvc-igw starts");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let told = String::from_utf8(output.stdout).expect("UTF-8");
    let block = format!("```text\n$ osvc-igw diff --with test/svc/web1.conf\n{told}```\n");
    let path = root.join("README.md");
    let readme = std::fs::read_to_string(&path).expect("README.md");
    let begin = readme.find("<!-- diff:").expect("a begin mark");
    let begin = begin + readme[begin..].find('\n').expect("the mark's end") + 1;
    let end = readme.find("<!-- /diff -->").expect("an end mark");
    if std::env::var_os("UPDATE").is_some() {
        let text = format!("{}{block}{}", &readme[..begin], &readme[end..]);
        std::fs::write(&path, text).expect("README.md");
        return;
    }
    assert_eq!(
        &readme[begin..end],
        block,
        "UPDATE=1 cargo test readme rewrites it"
    );
}
