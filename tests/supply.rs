//! What is linked into the program: the list that `.ci/sbom.py` makes is whole, and every licence
//! in it is one that `.deny.toml` allows. Whether there are duplicates and where they come from is
//! for cargo-deny to say.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::support::folder::Folder;

fn sbom(repository: &Path, folder: &Path) -> Output {
    let mut command = Command::new("python3");
    command.arg(repository.join(".ci/sbom.py")).arg(folder);
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    command.output().expect("Python starts")
}

#[test]
fn the_list_has_every_package_with_its_licence_and_checksum() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = Folder::new("sbom");
    let output = sbom(root, &folder.0);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let text = fs::read_to_string(folder.0.join("osvc-igw.cdx.json")).expect("a list");
    let list: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(list["specVersion"], "1.6");
    let own = &list["metadata"]["component"];
    assert_eq!(own["version"], env!("CARGO_PKG_VERSION"));
    let components = list["components"].as_array().expect("components");
    let references = components.iter().chain([own]).map(|it| &it["bom-ref"]);
    let references: BTreeSet<&str> = references.filter_map(Value::as_str).collect();
    for component in components {
        let hash = component["hashes"][0]["content"]
            .as_str()
            .unwrap_or_default();
        assert_eq!(hash.len(), 64, "{component:#}");
        assert!(
            component["licenses"][0]["expression"].is_string(),
            "{component:#}"
        );
    }
    for dependency in list["dependencies"].as_array().expect("dependencies") {
        let needs = dependency["dependsOn"].as_array().expect("a list").iter();
        for name in needs.chain([&dependency["ref"]]).filter_map(Value::as_str) {
            assert!(references.contains(name), "{name} is in the list");
        }
    }
    // What Cargo.toml names is linked.
    let manifest = fs::read_to_string(root.join("Cargo.toml")).expect("a manifest");
    let (_, named) = manifest
        .split_once("\n[dependencies]\n")
        .expect("dependencies");
    let named = named.lines().take_while(|line| !line.is_empty());
    for name in named.filter_map(|line| line.split(" = ").next()) {
        let prefix = format!("pkg:cargo/{name}@");
        assert!(
            references.iter().any(|it| it.starts_with(&prefix)),
            "{name}"
        );
    }
    let licences = fs::read_to_string(folder.0.join("LICENCES.txt")).expect("a report");
    for component in components {
        let name = component["name"].as_str().unwrap_or_default();
        assert!(licences.contains(&format!("\n{name} ")), "{name}");
    }
}
