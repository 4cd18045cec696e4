//! Who may import whom, and what a pure module may not contain: the table and its two rules.
//!
//! Rust cannot say it inside one crate; these tests say it by the text of each file.

use super::{Found, source};

/// One row of the table: the part of the crate that it is about, and what that may use.
struct Layer {
    /// A file, or a folder with its slash. The longest that fits decides.
    path: &'static str,
    /// The paths behind `crate::` that it may use, beside its own.
    inside: &'static [&'static str],
    /// For a pure layer, the only crates beside std and thiserror that it may use.
    pure: Option<&'static [&'static str]>,
}

/// Data flows one way: read from top to bottom, nothing uses what stands below it.
#[rustfmt::skip]
const LAYERS: &[Layer] = &[
    // rustls and x509_parser tell from two texts alone whether a key is that of a certificate.
    pure("src/inventory/", &[], &["rustls", "serde", "serde_json", "x509_parser", "zeroize"]),
    pure("src/inventory/fingerprint.rs", &[], &["aws_lc_rs", "humantime", "rustls", "x509_parser"]),
    pure("src/backoff.rs", &[], &[]),
    pure("src/bootstrap.rs", &[], &[]),
    pure("src/budget.rs", &[], &[]),
    pure("src/config/", CONFIG_INSIDE, &["clap", "clap_complete", "clap_mangen", "humantime"]),
    pure("src/named.rs", &[], &["imbl", "serde"]),
    pure("src/gateway/", &["inventory", "named"], &["regex_syntax", "serde", "serde_json"]),
    pure("src/xds/", XDS_INSIDE, XDS_CRATES),
    pure("src/xds/diff/", DIFF_INSIDE, &["base64", "prost", "serde", "serde_json"]),
    pure("src/cert/mod.rs", &["inventory"], &[]),
    pure("src/cert/auto/", &["inventory"], &[]),
    pure("src/cert/declaration/", &["inventory"], &["rustls"]),
    pure("src/cert/example.rs", &[], &[]),
    pure("src/cert/dns/caa.rs", &[], &[]),
    pure("src/cert/dns/persist.rs", &["cert", "inventory"], &["serde_json"]),
    pure("src/cert/dns/settings.rs", &["inventory"], &["base64", "humantime"]),
    pure("src/cert/leaf.rs", &["inventory"], &["base64", "rustls", "x509_parser"]),
    pure("src/cert/method.rs", &[], &[]),
    pure("src/cert/names.rs", &[], &[]),
    pure("src/cert/plan.rs", &["inventory"], &[]),
    pure("src/cert/report.rs", &["inventory"], &["humantime"]),
    pure("src/cert/record.rs", &["inventory"], &["psl", "serde", "serde_json"]),
    pure("src/cert/schedule.rs", &[], &["serde"]),
    pure("src/check/", &["inventory", "gateway", "xds"], &["serde_json", "strsim"]),
    edge("src/check/act.rs", &["clock", "config", "inventory", "gateway", "xds"]),
    pure("src/cert/turn.rs", &["inventory"], &[]),
    edge("src/aside.rs", &[]),
    edge("src/intake.rs", &[]),
    edge("src/clock.rs", &[]),
    edge("src/metrics/", &[]),
    edge("src/traces.rs", &[]),
    edge("src/journey.rs", &["clock", "inventory::Event", "metrics", "traces", "xds::Snapshot"]),
    pure("src/opensvc/frames.rs", &[], &[]),
    pure("src/opensvc/json_delta/", &[], &["serde", "serde_json"]),
    pure("src/opensvc/mirror/", &["inventory"], &["serde", "serde_json"]),
    pure("src/opensvc/reading.rs", &[], &["serde", "serde_json"]),
    pure("src/opensvc/rights.rs", &["inventory"], &["serde_json"]),
    pure("src/opensvc/sse.rs", &[], &[]),
    edge("src/opensvc/", &["aside", "inventory", "backoff"]),
    edge("src/cert/", &["backoff", "clock", "inventory", "opensvc", "writes"]),
    pure("src/desired.rs", &["gateway", "inventory", "xds"], &[]),
    pure("src/causes.rs", &["gateway", "inventory", "xds"], &[]),
    edge("src/ads/", &["clock", "journey", "xds", "metrics", "traces"]),
    pure("src/view.rs", &[
        "gateway::Gateway", "inventory", "writes::Waiting", "xds::ResourceType",
    ], &[]),
    edge("src/controller.rs", CORE),
    edge("src/writes/", &["clock", "backoff", "inventory", "opensvc"]),
    edge("src/reads.rs", &["clock", "backoff", "budget", "gateway", "inventory", "opensvc"]),
    edge("src/lacks.rs", &["inventory", "opensvc"]),
    edge("src/pb.rs", &[]),
    edge("src/differences.rs", &["ads", "aside", "pb", "status", "xds"]),
    pure("src/graph.rs", &["gateway", "inventory", "pb", "xds::Version"], &["prost_types"]),
    edge("src/status.rs", &[
        "ads", "aside", "controller", "gateway", "graph", "xds", "inventory", "pb",
    ]),
    pure("src/live/news.rs", &["inventory", "pb", "xds"], &[]),
    edge("src/live/", &["clock", "pb", "status", "xds"]),
    edge("src/reflection.rs", &["pb", "xds::json"]),
    edge("src/grpc.rs", &["clock", "ads", "differences", "live", "pb", "reflection", "status"]),
    pure("src/screen/", &["pb"], &["prost_types"]),
    edge("src/ask.rs", &["clock", "config", "pb", "screen", "status"]),
    edge("src/page/", &["live", "pb", "status"]),
    edge("src/admin.rs", &["ads", "differences", "live", "metrics", "page", "pb", "status"]),
    edge("src/acme.rs", &["clock", "cert", "config", "inventory", "opensvc"]),
    edge("src/envoy.rs", &["backoff", "bootstrap", "clock", "config"]),
    edge("src/state.rs", &["xds"]),
    edge("src/dry_run.rs", &["controller", "gateway", "opensvc", "xds"]),
    edge("src/compare/", &[
        "clock", "config", "differences", "gateway", "inventory", "opensvc", "reads", "xds",
    ]),
    edge("src/run.rs", &[
        "admin", "ads", "backoff", "bootstrap", "cert", "config", "controller", "dry_run",
        "gateway", "grpc", "inventory", "journey", "live", "metrics", "opensvc", "state",
        "status", "traces", "xds",
    ]),
    edge("src/sim/", &[]),
    edge("src/demo.rs", ANYTHING),
    edge("src/demo/", ANYTHING),
    edge("src/lib.rs", &[]),
    edge("src/start.rs", ANYTHING),
    edge("src/main.rs", &["config", "start"]),
];

const CONFIG_INSIDE: &[&str] = &[
    "bootstrap",
    "inventory::Kind",
    "inventory::ObjectPath",
    "inventory::Sensitive",
];

const XDS_INSIDE: &[&str] = &[
    "gateway",
    "backoff",
    "inventory::Problem",
    "inventory::Sensitive",
    "named",
];

const DIFF_INSIDE: &[&str] = &[
    "gateway::Origin",
    "inventory::ObjectPath",
    "inventory::fingerprint",
    "xds",
];

const XDS_CRATES: &[&str] = &[
    "bytes",
    "envoy_types",
    "miniz_oxide",
    "prost",
    "prost_reflect",
    "serde",
    "serde_json",
    "serde_path_to_error",
];

const CORE: &[&str] = &[
    "aside",
    "causes",
    "desired",
    "intake",
    "inventory",
    "gateway",
    "xds",
    "opensvc",
    "backoff",
    "journey",
    "metrics",
    "writes",
    "reads",
    "lacks",
    "view",
    "clock",
];

const ANYTHING: &[&str] = &["*"];

/// The files that fill map fields of envoy-types, which are of this type. They must not read one.
const FILL_MAPS: &[&str] = &[
    "src/xds/cluster.rs",
    "src/xds/endpoint.rs",
    "src/xds/guard.rs",
    "src/xds/listener.rs",
    "src/xds/route.rs",
    "src/xds/secret.rs",
];

/// What makes a result depend on more than the arguments.
const IMPURE: &[&str] = &[
    "async",
    "await",
    "tokio",
    "tracing",
    "rand",
    "Instant::now",
    "SystemTime::now",
    "TcpListener",
    "TcpStream",
    "UdpSocket",
    "UnixListener",
    "UnixStream",
    "std::env",
    "std::fs",
    "std::os",
    "std::process",
    "std::thread",
];

const UNORDERED: &[&str] = &["HashMap", "HashSet"];

const fn pure(
    path: &'static str,
    inside: &'static [&'static str],
    crates: &'static [&'static str],
) -> Layer {
    Layer {
        path,
        inside,
        pure: Some(crates),
    }
}

const fn edge(path: &'static str, inside: &'static [&'static str]) -> Layer {
    Layer {
        path,
        inside,
        pure: None,
    }
}

/// "A module imports only what the table of layers allows."
pub(super) fn imports(path: &str, text: &str, dependencies: &[String]) -> Found {
    let Some(layer) = layer(path) else {
        return vec![format!(
            "{path}: every module has its row in the table of layers"
        )];
    };
    let code = code(path, text);
    let own = own(path);
    let root = if path == "src/main.rs" {
        "osvc_igw"
    } else {
        "crate"
    };
    let allowed = |used: &str| {
        layer.inside == ANYTHING
            || within(used, own)
            || layer.inside.iter().any(|allowed| within(used, allowed))
    };
    let inside = paths(&code, root)
        .into_iter()
        .filter(|used| !allowed(used))
        .map(|used| format!("{path}: {} may not use `{root}::{used}`", layer.path));
    // `super` would be a way around the table where it reaches the root of the crate.
    let levels = path.matches('/').count() - usize::from(path.ends_with("/mod.rs"));
    let upwards = "super::".repeat(levels);
    let upwards = (word(&code, &upwards) && path != "src/main.rs" && path != "src/lib.rs")
        .then(|| format!("{path}: another module is named by `crate::`, not by `{upwards}`"));
    let crates = dependencies.iter().filter(|name| {
        layer
            .pure
            .is_some_and(|crates| !crates.contains(&name.as_str()))
            && *name != "thiserror"
            && !paths(&code, name).is_empty()
    });
    let crates =
        crates.map(|name| format!("{path}: {} is pure and may not use `{name}`", layer.path));
    inside.chain(upwards).chain(crates).collect()
}

/// "A pure module has no clock, no IO, no task, no chance and no unordered map."
pub(super) fn purity(path: &str, text: &str) -> Found {
    if layer(path).is_none_or(|layer| layer.pure.is_none()) {
        return Found::new();
    }
    let code = code(path, text);
    let std: Vec<_> = paths(&code, "std")
        .into_iter()
        .map(|used| format!("std::{used}"))
        .collect();
    let maps = if FILL_MAPS.contains(&path) {
        &[]
    } else {
        UNORDERED
    };
    let sentence = "a pure module has no clock, no IO, no task, no chance and no unordered map";
    IMPURE
        .iter()
        .chain(maps)
        .filter(|bad| word(&code, bad) || std.iter().any(|used| within(used, bad)))
        .map(|bad| format!("{path}: `{bad}`: {sentence}"))
        .collect()
}

fn layer(path: &str) -> Option<&'static Layer> {
    let fits = LAYERS.iter().filter(|layer| {
        path == layer.path || (layer.path.ends_with('/') && path.starts_with(layer.path))
    });
    fits.max_by_key(|layer| layer.path.len())
}

/// The module at the top of the crate that a file belongs to.
fn own(path: &str) -> &str {
    let inside = path.strip_prefix("src/").unwrap_or(path);
    inside.split(['/', '.']).next().unwrap_or(inside)
}

/// Is `path` the same as `parent`, or below it?
fn within(path: &str, parent: &str) -> bool {
    path.strip_prefix(parent)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// The text without its tests and its comments.
fn code(path: &str, text: &str) -> String {
    if path.ends_with("/tests.rs") {
        return String::new();
    }
    let lines = source::without_tests(text).lines();
    let lines = lines.filter(|line| !line.trim_start().starts_with("//"));
    lines
        .map(|line| line.split(" // ").next().unwrap_or(line).to_owned() + "\n")
        .collect()
}

fn word(text: &str, word: &str) -> bool {
    starts(text, word).any(|start| {
        let after = &text[start + word.len()..];
        word.ends_with(':') || !after.starts_with(is_identifier)
    })
}

/// Where a word begins that no other identifier or path leads into.
fn starts(text: &str, word: &str) -> impl Iterator<Item = usize> {
    // A type may stand behind a path and still be the one that is meant; a module is another.
    let is_type = word.starts_with(char::is_uppercase);
    let begins = move |start: &usize| {
        let before = &text[..*start];
        !before.ends_with(is_identifier) && (is_type || !before.ends_with("::"))
    };
    text.match_indices(word)
        .map(|(start, _)| start)
        .filter(begins)
}

fn is_identifier(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// Every path that the text names behind `root::`, with groups in braces taken apart.
fn paths(text: &str, root: &str) -> Vec<String> {
    let root = format!("{root}::");
    let mut found = Vec::new();
    for start in starts(text, &root) {
        expand("", &text[start + root.len()..], &mut found);
    }
    found
}

/// Takes one tree of a `use` apart and returns what follows it.
fn expand<'a>(prefix: &str, text: &'a str, found: &mut Vec<String>) -> &'a str {
    let text = text.trim_start();
    if let Some(mut rest) = text.strip_prefix('{') {
        loop {
            rest = expand(prefix, rest, found).trim_start();
            match rest.strip_prefix(',') {
                Some(next) => rest = next,
                None => return rest.strip_prefix('}').unwrap_or(rest),
            }
        }
    }
    let end = text
        .find(|c| !is_identifier(c) && c != '*')
        .unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let path = if prefix.is_empty() {
        name.to_owned()
    } else {
        format!("{prefix}::{name}")
    };
    match rest.strip_prefix("::") {
        Some(deeper) if !deeper.starts_with('<') => expand(&path, deeper, found),
        _ => {
            if !name.is_empty() {
                found.push(path.trim_end_matches("::self").to_owned());
            }
            let alias = rest.trim_start().strip_prefix("as ");
            alias.map_or(rest, |alias| alias.trim_start_matches(is_identifier))
        }
    }
}

#[test]
fn paths_are_found_in_every_spelling() {
    let text = "use crate::{a, b::{self, c as d}, e::F};\nlet x = crate::g::H::<u8>::new();";
    assert_eq!(paths(text, "crate"), ["a", "b", "b::c", "e::F", "g::H"]);
    assert!(paths("use my_crate::a; use x::crate::b;", "crate").is_empty());
}

#[test]
fn rule_of_imports_can_fail() {
    let crates = ["tokio".to_owned(), "serde".to_owned()];
    let check = |path: &str, text: &str| imports(path, text, &crates);
    let none = Found::new();
    assert_eq!(
        check(
            "src/gateway/mod.rs",
            "use crate::inventory::Path;\nuse serde::S;"
        ),
        none
    );
    assert_eq!(check("src/gateway/mod.rs", "// use crate::xds;\n"), none);
    assert_eq!(
        check("src/gateway/mod.rs", "x\n#[cfg(test)]\nuse crate::xds;"),
        none
    );
    assert_eq!(
        check("src/gateway/compile.rs", "use crate::xds::Version;"),
        ["src/gateway/compile.rs: src/gateway/ may not use `crate::xds::Version`"]
    );
    assert_eq!(
        check("src/gateway/mod.rs", "fn f() -> tokio::time::Sleep {}"),
        ["src/gateway/mod.rs: src/gateway/ is pure and may not use `tokio`"]
    );
    assert_eq!(check("src/gateway/mod.rs", "use super::xds::X;").len(), 1);
    assert_eq!(check("src/gateway/a.rs", "use super::X;"), none);
    assert_eq!(
        check("src/gateway/a.rs", "use super::super::xds::X;").len(),
        1
    );
    assert_eq!(
        check("src/sim/mod.rs", "use tokio::x;\nuse crate::sim::Y;"),
        none
    );
    assert_eq!(check("src/sim/mod.rs", "use crate::inventory;").len(), 1);
    assert_eq!(check("src/view.rs", "use crate::writes::Waiting;"), none);
    assert_eq!(
        check("src/view.rs", "use crate::writes::Waitings;").len(),
        1
    );
    assert_eq!(check("src/demo.rs", "use crate::{sim, run};"), none);
    assert_eq!(check("src/main.rs", "use osvc_igw::start;"), none);
    assert_eq!(check("src/main.rs", "use osvc_igw::xds;").len(), 1);
    assert_eq!(check("src/helpers.rs", "").len(), 1);
}

#[test]
fn rule_of_purity_can_fail() {
    let path = "src/xds/session.rs";
    assert_eq!(
        purity(
            path,
            "use std::collections::BTreeMap;\nlet operand = x.randomize;"
        ),
        [""; 0]
    );
    assert_eq!(
        purity(path, "/// Not async.\nlet a = 1; // await\n"),
        [""; 0]
    );
    assert_eq!(purity("src/run.rs", "use std::fs;"), [""; 0]);
    for bad in [
        "async fn f() {}",
        "x.await",
        "let now = Instant::now();",
        "let now = std::time::SystemTime::now();",
        "use std::fs;",
        "use std::{fmt, fs::File};",
        "use std::net::{IpAddr, TcpStream};",
        "std::thread::sleep(x)",
        "let map = std::collections::HashMap::new();",
        "use tracing::info;",
    ] {
        assert_eq!(purity(path, bad).len(), 1, "{bad}");
    }
    assert_eq!(purity("src/xds/cluster.rs", "HashMap::new()"), [""; 0]);
}
