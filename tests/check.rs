//! `osvc-igw check` as a process, its formats, and a real Envoy's judgement of what is made of a
//! file. What is found in which file is shown by `wrong` and by the tests beside the code.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use osvc_igw::check::act::stand;
use osvc_igw::check::{Source, check as judge, keywords, show};
use osvc_igw::gateway::Policy;
use serde_json::Value;

use crate::support::envoy;
use crate::support::folder::Folder;

/// What a run of the binary gave: its exit code, standard output, standard error.
fn check(folder: &Path, arguments: &[&str], input: &str) -> (i32, String, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_osvc-igw"))
        .arg("check")
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("osvc-igw starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    // A command that does not read has gone by then.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    let output = child.wait_with_output().expect("an end");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    let code = output.status.code().expect("an exit code");
    (code, text(output.stdout), text(output.stderr))
}

#[test]
fn the_exit_code_tells_whether_there_are_problems() {
    let folder = Folder::new("check");
    folder.write("good.conf", GOOD);
    folder.write("bad.conf", &GOOD.replace("8080", "http"));
    let (code, text, errors) = check(&folder.0, &["good.conf"], "");
    assert_eq!(
        (code, text.as_str(), errors.as_str()),
        (0, "0 problems, 0 notes\n", "")
    );
    let (code, text, errors) = check(&folder.0, &["test/svc/web=bad.conf"], "");
    assert_eq!((code, errors.as_str()), (2, ""));
    assert_eq!(
        text,
        "bad.conf:6: expose#0.port: expected a port from 0 to 65535, found \"http\"; \
         the expose is not served\n1 problem, 0 notes\n"
    );
    let (code, text, errors) = check(&folder.0, &["no.conf"], "");
    assert_eq!((code, text.as_str()), (1, ""));
    assert_eq!(errors.lines().count(), 1, "{errors}");
}

#[test]
fn the_readme_shows_what_it_prints() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(root.join("README.md")).expect("README.md");
    let folder = Folder::new("check");
    let bad = GOOD.replace("port = 8080", "prot = 8080");
    let bad = bad.replace("expose = expose#0", "expose = expose#0 expose#1");
    folder.write("web1.conf", &bad);
    let (code, text, _) = check(&folder.0, &["test/svc/web1=web1.conf"], "");
    let shown = format!("```text\n$ osvc-igw check test/svc/web1=web1.conf\n{text}```\n");
    assert!(code == 2 && readme.contains(&shown), "{shown}");
}

#[test]
fn a_configuration_comes_from_standard_input_too() {
    let folder = Folder::new("check");
    let bad = GOOD.replace("8080", "http");
    let (code, text, _) = check(&folder.0, &["test/svc/web=-", "--format", "json"], &bad);
    let document: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(code, 2);
    assert_eq!(document["findings"][0]["file"], "stdin");
    assert_eq!(document["findings"][0]["object"], "test/svc/web");
    assert_eq!(document["problems"], 1);
}

#[test]
fn a_forge_gets_sarif_or_annotations() {
    let folder = Folder::new("check");
    folder.write("web.conf", &GOOD.replace("8080", "http"));
    let (code, text, _) = check(&folder.0, &["--format", "sarif", "web.conf"], "");
    let log: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((code, &log["version"]), (2, &Value::from("2.1.0")));
    let result = &log["runs"][0]["results"][0];
    let place = &result["locations"][0]["physicalLocation"];
    assert_eq!(place["artifactLocation"]["uri"], "web.conf");
    assert_eq!(place["region"]["startLine"], 6);
    let (code, text, _) = check(&folder.0, &["--format", "github", "web.conf"], "");
    assert_eq!(code, 2);
    assert_eq!(
        text,
        "::error file=web.conf,line=6,title=web expose#0.port::expected a port from 0 to 65535, \
         found \"http\"; the expose is not served\n"
    );
}

#[test]
fn envoy_takes_what_every_keyword_makes_and_says_what_it_refuses() {
    let folder = Folder::new("check");
    let envoy = envoy::binary().display().to_string();
    folder.write("web.conf", EVERYTHING);
    let arguments = ["--envoy", envoy.as_str(), "test/svc/web=web.conf"];
    let (code, text, errors) = check(&folder.0, &arguments, "");
    assert_eq!((code, errors.as_str()), (0, ""), "{text}");
    assert!(text.ends_with("0 problems, 2 notes\n"), "{text}");
    // The first keeps every rule of Envoy's API, and is refused all the same: no such filter.
    let data = r#"{"http_filters": [{"name": "x", "typed_config": {"@type":
      "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua",
      "default_source_code": {"inline_string": "not lua"}}}]}"#;
    let vhosts = format!("vhosts = vhost#0\nfilter_config_data = {data}");
    let bad = EVERYTHING.replace("vhosts = vhost#0", &vhosts);
    folder.write("web.conf", &bad);
    let (code, text, errors) = check(&folder.0, &arguments, "");
    assert_eq!((code, errors.as_str()), (2, ""), "{text}");
    let found = text.lines().filter(|line| !line.contains(": note: "));
    let found: Vec<&str> = found.collect();
    assert!(
        found[0].contains("expose#0: Envoy refuses the listener")
            && found[0].contains("script load error"),
        "{text}"
    );
    assert!(text.ends_with("problems, 2 notes\n"), "{text}");
}

#[test]
fn no_text_is_too_wrong_to_be_judged() {
    let stand = stand().expect("a certificate");
    let mut seed = 7_u64;
    // SplitMix64: the same texts on every machine.
    let mut random = move |below: usize| {
        seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits ^ (bits >> 31)) as usize % below
    };
    for _ in 0..300 {
        let mut lines: Vec<String> = EVERYTHING.lines().map(str::to_owned).collect();
        for _ in 0..=random(4) {
            let (at, other) = (random(lines.len()), random(lines.len()));
            match random(6) {
                0 => drop(lines.remove(at)),
                1 => lines.swap(at, other),
                2 => lines[at] = lines[other].clone(),
                3 => lines[at] = lines[at].replace(" = ", SPOILS[random(SPOILS.len())]),
                4 => lines[at].insert_str(0, SPOILS[random(SPOILS.len())]),
                _ => lines[at] += SPOILS[random(SPOILS.len())],
            }
        }
        let sources = [Source {
            object: "test/svc/web".parse().expect("a path"),
            file: "web.conf".to_owned(),
            text: lines.join("\n"),
        }];
        let checked = judge(&sources, None, &Policy::default(), &stand, 0);
        let said = show::text(&checked.findings);
        assert!(said.lines().all(|line| line.len() < 1_000), "{said}");
        let last = sources[0].text.lines().count().max(1);
        assert!(
            checked
                .findings
                .iter()
                .all(|it| (1..=last).contains(&it.line)),
            "{said}"
        );
        serde_json::from_str::<Value>(&show::sarif(&checked.findings)).expect("JSON");
    }
}

/// What makes a line another one, or none.
const SPOILS: &[&str] = &[
    " = ",
    "=",
    ":",
    "[",
    "]",
    "{",
    "}",
    "{env.x}",
    "{name}",
    "@n1",
    "#",
    " 99999999999999999999",
    " -1",
    " \u{0}",
    " \u{202e}",
    "\u{feff}",
    "  ",
    "\t",
];

#[test]
fn the_keywords_that_are_known_are_those_of_the_documentation() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("examples/README.md")).expect("the page");
    // Drivers of the agent know them, and nothing is made of them.
    let silent = ["validation_filename", "validation_inline_string"];
    for group in ["expose", "vhost", "route", "hashpolicy", "certificate"] {
        let (_, section) = page
            .split_once(&format!("\n## {group}\n"))
            .expect("its section");
        let section = section.split("\n## ").next().unwrap_or_default();
        let tables = section.split("\n| keyword |").skip(1);
        let rows = tables.flat_map(|table| table.lines().take_while(|line| !line.is_empty()));
        let rows = rows.filter(|line| line.starts_with("| `"));
        let cells = rows.filter_map(|row| row.split('|').nth(1));
        let told = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2));
        let mut told: Vec<&str> = told.filter(|word| *word != "original_dst_lb").collect();
        told.extend(silent.iter().filter(|_| group == "certificate"));
        told.sort_unstable();
        told.dedup();
        assert_eq!(keywords(group), told, "{group}");
    }
}

const GOOD: &str = "\
[ip#0]
ipname = 10.0.0.1
expose = expose#0
[expose#0]
type = envoy
port = 8080
listener_port = 80
";

/// Every noun that is made of a service: plain and TLS, QUIC, UDP, a client's and an instance's
/// certificate, routes of all kinds.
const EVERYTHING: &str = "\
[DEFAULT]
nodes = n1 n2

[ip#0]
ipname = 10.0.0.1
ipname@n2 = 10.0.0.2
expose = expose#0 expose#1 expose#2 expose#3

[expose#0]
type = envoy
port = 8443
listener_port = 443
vhosts = vhost#0
listener_certificates = certificate#front
cluster_certificates = certificate#back
http3 = true
lb_policy = ring_hash
allow_from = 10.0.0.0/8
health_check_path = /healthz

[expose#1]
type = envoy
port = 53
listener_port = 53
protocol = udp

[expose#2]
type = envoy
port = 5432
listener_port = 5432
accept_proxy_protocol = true
send_proxy_protocol = v2
cluster_certificates = certificate#back

[expose#3]
type = envoy
port = 8080
listener_port = 80
vhosts = vhost#1

[vhost#0]
domains = www.acme.org
routes = route#0 route#1

[vhost#1]
domains = www.acme.org
routes = route#2

[route#0]
match_regex = /[a-z]{1,99}
hash_policies = hashpolicy#0
retry_on = 503
rate_limit = 100/s
compression = br gzip zstd

[route#1]
match_prefix = /api/
route_prefix_rewrite = /
weighted_exposes = expose#0:90 expose#3:10
cors_allow_origins = https://app.acme.org

[route#2]
redirect_https_redirect = true
redirect_response_code = 308

[hashpolicy#0]
cookie_name = session
cookie_ttl = 1h

[certificate#front]
type = tls
certificate_chain_filename = /etc/envoy/front.pem
private_key_filename = /etc/envoy/front.key

[certificate#back]
type = tls
certificate_secret = back
validation_secret = backend-ca
";
