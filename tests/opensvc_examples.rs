//! The OpenSVC services of `examples/opensvc`: each is read by the reader of the checker, refers to
//! nothing that is not there, and runs commands that the programs take.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use osvc_igw::check::act::stand;
use osvc_igw::check::{Source, check, show};
use osvc_igw::config;
use osvc_igw::gateway::Policy;
use osvc_igw::inventory::ObjectPath;
use osvc_igw::inventory::ini::Ini;

use crate::support::envoy;
use crate::support::folder::Folder;

fn text(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/opensvc");
    fs::read_to_string(folder.join(name)).expect("an example")
}

fn object() -> ObjectPath {
    "system/svc/igw".parse().expect("a path")
}

/// The value of a keyword as a node has it.
fn value(ini: &Ini, section: &str, keyword: &str) -> Option<String> {
    ini.config().keyword(&object(), "n1", section, keyword)
}

#[test]
fn each_is_read_and_every_reference_leads_somewhere() {
    for name in FILES {
        let (ini, errors) = Ini::read(&text(name));
        assert!(
            errors.is_empty() && ini.repeated().is_empty(),
            "{name}: {errors:?}"
        );
        let mut used = BTreeSet::new();
        for (section, body) in ini.sections() {
            for (keyword, raw) in &body.keywords {
                let value = value(&ini, section, keyword).expect("a value");
                assert!(
                    !value.contains('{'),
                    "{name}: {section}.{keyword} = {value}"
                );
                let named = raw
                    .text
                    .split('{')
                    .skip(1)
                    .filter_map(|it| it.split_once('}'));
                used.extend(
                    named
                        .filter_map(|(name, _)| name.strip_prefix("env."))
                        .map(str::to_owned),
                );
                // A network is that of the host, or of a container that is there, and starts before
                // the others that are in it: the agent starts them in the order of their names.
                if keyword == "netns" && value != "host" {
                    assert!(
                        ini.sections().contains_key(&value),
                        "{name}: {section}.netns"
                    );
                    let first = section.starts_with("ip#") || value < *section;
                    assert!(first, "{name}: {section} starts before {value}");
                }
                // The agent drops what it does not know, and evaluates no file that has it.
                if section.starts_with("container#") {
                    assert!(
                        OF_CONTAINERS.contains(&keyword.as_str()),
                        "{name}: {section}.{keyword}"
                    );
                }
            }
        }
        let env = ini.sections().get("env").map(|env| &env.keywords);
        let given: BTreeSet<String> = env.into_iter().flat_map(|it| it.keys()).cloned().collect();
        assert_eq!(used, given, "{name}: what [env] gives is used");
    }
}

#[test]
fn the_checker_has_no_problem_with_any_of_them() {
    for name in FILES {
        let source = Source {
            object: object(),
            file: (*name).to_owned(),
            text: text(name),
        };
        let stand = stand().expect("a certificate");
        let checked = check(&[source], None, &Policy::default(), &stand, 0);
        assert_eq!(
            show::text(&checked.findings),
            "0 problems, 0 notes\n",
            "{name}"
        );
    }
}

#[test]
fn every_command_of_a_container_is_one_that_its_program_takes() {
    let mut commands = 0;
    for name in FILES {
        let (ini, _) = Ini::read(&text(name));
        for section in ini.sections().keys() {
            let Some(line) = value(&ini, section, "run_command") else {
                continue;
            };
            let image = value(&ini, section, "image").expect("an image");
            commands += 1;
            if image.contains("/osvc-igw:") {
                let words = ["osvc-igw"].into_iter().chain(line.split_whitespace());
                let parsed = config::parse(words);
                assert!(parsed.is_ok(), "{name} {section}: {parsed:?}");
            } else {
                envoy_takes(&line);
            }
            let rights = value(&ini, section, "run_args").expect("what it may do");
            assert!(
                rights.contains("--cap-drop ALL") && !rights.contains("privileged "),
                "{rights}"
            );
        }
    }
    assert_eq!(commands, 10);
}

/// Envoy accepts the arguments, with the bootstrap that the first container writes.
fn envoy_takes(line: &str) {
    let folder = Folder::new("example");
    let file = folder.0.join("envoy.yaml");
    let written = Command::new(env!("CARGO_BIN_EXE_osvc-igw"))
        .args(["bootstrap", "--name", "igw", "--node-id", "n1", "--output"])
        .arg(&file)
        .output()
        .expect("osvc-igw starts");
    assert!(written.status.success() && written.stdout.is_empty());
    let line = line.replace("/run/igw/envoy.yaml", &file.display().to_string());
    let mut words = line.split_whitespace();
    assert_eq!(words.next(), Some("envoy"));
    let output = Command::new(envoy::binary())
        .args(words)
        .args(["--mode", "validate"])
        .output()
        .expect("Envoy starts");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}: {told}");
}

#[test]
fn the_test_service_takes_the_steps_of_the_walk_through() {
    let steps = "\
[ip#1]
expose = expose#0 expose#1 expose#2
[expose#0]
type = envoy
listener_port = 8080
port = 80
[expose#1]
type = envoy
listener_port = 443
port = 443
sni = svcweb.acme.org
listener_certificates = certificate#front
cluster_certificates = certificate#back
[expose#2]
type = envoy
listener_addr = 0.0.0.0
listener_port = 443
port = 443
vhosts = vhost#0
listener_certificates = certificate#front
cluster_certificates = certificate#back
[vhost#0]
domains = alt-svcweb.acme.org
routes = route#0 route#1
[route#0]
match_prefix = /realtime/generic
route_use_websocket = true
[route#1]
match_prefix = /
[certificate#front]
secret = web1-front-cert
[certificate#back]
secret = web1-back-cert
";
    let source = Source {
        object: "test/svc/web1".parse().expect("a path"),
        file: "svcweb.conf".to_owned(),
        text: format!("{}\n{steps}", text("svcweb.conf")),
    };
    let stand = stand().expect("a certificate");
    let checked = check(&[source], None, &Policy::default(), &stand, 0);
    assert_eq!(
        show::counts(&checked.findings),
        (0, 2),
        "{:#?}",
        checked.findings
    );
    assert_eq!(
        checked.snapshots["envoy"].count(osvc_igw::xds::ResourceType::Listener),
        2
    );
}

/// The keywords of the agent's docker driver that the examples use.
const OF_CONTAINERS: &[&str] = &[
    "detach",
    "environment",
    "image",
    "netns",
    "rm",
    "run_args",
    "run_command",
    "type",
    "volume_mounts",
];

const FILES: &[&str] = &[
    "acme-operator.conf",
    "igw-bridge.conf",
    "igw-host.conf",
    "igw-ipvlan.conf",
    "svcweb.conf",
];
