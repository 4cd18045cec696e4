//! What Envoy would refuse, or wait for, for ever: every golden snapshot names only what is in
//! it, and says nothing twice.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::golden::{Case, names, rendered};

#[test]
fn golden_snapshots_are_consistent() {
    for name in names() {
        let found = flaws(&rendered(&Case::load(&name).run().snapshot));
        assert!(found.is_empty(), "{name}:\n{}", found.join("\n"));
    }
}

/// What is wrong with a snapshot in its JSON form.
pub(crate) fn flaws(snapshot: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for (kind, name, body) in resources(snapshot) {
        let mut dangling = |what: &str, target: &str| {
            let known = snapshot[what].get(target).is_some();
            if !known {
                found.push(format!(
                    "{kind} {name} names {what} {target}, which is not there"
                ));
            }
        };
        walk(body, &mut |key, value| match (key, value) {
            // An origin of the body itself, such as a cluster's own name, is no reference.
            ("cluster", Value::String(target)) => dangling("cds", target),
            ("route_config_name", Value::String(target)) => dangling("rds", target),
            ("weighted_clusters", parts) => walk(parts, &mut |key, value| {
                if let ("name", Value::String(target)) = (key, value) {
                    dangling("cds", target);
                }
            }),
            (
                "tls_certificate_sds_secret_configs" | "validation_context_sds_secret_config",
                configs,
            ) => walk(configs, &mut |key, value| {
                if let ("name", Value::String(target)) = (key, value) {
                    dangling("sds", target);
                }
            }),
            ("eds_cluster_config", _) => dangling("eds", name),
            _ => {}
        });
        let twice = match kind {
            "lds" => chains_twice(body),
            "rds" => domains_twice(body),
            _ => Vec::new(),
        };
        if kind == "lds" {
            let cut = cuts_off(body).into_iter();
            found.extend(cut.map(|what| format!("{kind} {name}: {what}")));
        }
        found.extend(
            twice
                .into_iter()
                .map(|what| format!("{kind} {name}: {what} twice")),
        );
    }
    found
}

fn resources(snapshot: &Value) -> impl Iterator<Item = (&str, &str, &Value)> {
    let kinds = snapshot.as_object().into_iter().flatten();
    kinds.flat_map(|(kind, all)| {
        let all = all.as_object().into_iter().flatten();
        all.map(move |(name, body)| (kind.as_str(), name.as_str(), body))
    })
}

/// Two filter chains may neither share a name nor take the same connection.
fn chains_twice(listener: &Value) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let mut twice = Vec::new();
    for chain in listener["filter_chains"].as_array().into_iter().flatten() {
        let matches = &chain["filter_chain_match"];
        let transport = matches["transport_protocol"].as_str().unwrap_or("any");
        // Envoy looks at the protocol that is asked for after these two.
        let asked = matches["application_protocols"][0].as_str();
        let transport = match asked {
            Some(asked) => format!("{transport} {asked}"),
            None => transport.to_owned(),
        };
        let names = matches["server_names"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let mut keys: Vec<_> = names
            .iter()
            .map(|name| format!("{transport} {name}"))
            .collect();
        if keys.is_empty() {
            keys.push(format!("{transport} by default"));
        }
        keys.push(format!("the name {}", chain["name"]));
        twice.extend(keys.into_iter().filter(|key| !seen.insert(key.clone())));
    }
    twice
}

/// A chain for one protocol takes every other protocol of its place away from whoever has it by
/// another name: Envoy never goes back.
fn cuts_off(listener: &Value) -> Vec<String> {
    let chains = listener["filter_chains"].as_array().into_iter().flatten();
    let (ours, theirs): (Vec<&Value>, Vec<&Value>) = chains
        .map(|chain| &chain["filter_chain_match"])
        .partition(|matches| matches["application_protocols"].is_array());
    let names = |matches: &Value| match matches["server_names"].as_array() {
        Some(names) => names
            .iter()
            .map(|name| name.as_str().unwrap_or_default().to_owned())
            .collect(),
        None => vec![String::new()],
    };
    let taken: BTreeSet<(String, String)> = theirs
        .iter()
        .flat_map(|one| {
            names(one)
                .into_iter()
                .map(|name| (name, one["transport_protocol"].to_string()))
        })
        .collect();
    let mut found = Vec::new();
    for one in ours {
        for name in names(one)
            .into_iter()
            .filter(|name| !name.ends_with(".arpa"))
        {
            let whole = name.trim_start_matches("*.");
            let dots = whole
                .match_indices('.')
                .map(|(at, _)| format!("*{}", &whole[at..]));
            let wildcards = dots.chain([format!("*.{whole}")]).filter(|it| *it != name);
            let mut wider = wildcards.chain([String::new()]).filter(|it| *it != name);
            let beside = taken.contains(&(name.clone(), one["transport_protocol"].to_string()));
            let tls = |it: &String| {
                let mut all = taken.iter();
                all.any(|(name, transport)| name == it && transport != "\"raw_buffer\"")
            };
            if !beside && wider.any(|it| tls(&it)) {
                found.push(format!("{name:?} is cut off"));
            }
        }
    }
    found
}

fn domains_twice(routes: &Value) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let hosts = routes["virtual_hosts"].as_array().into_iter().flatten();
    let domains = hosts.flat_map(|host| {
        let name = format!("the name {}", host["name"]);
        let domains = host["domains"].as_array().into_iter().flatten();
        domains.map(ToString::to_string).chain([name])
    });
    domains
        .filter(|domain| !seen.insert(domain.clone()))
        .collect()
}

/// Calls `visit` with every key and value, at any depth.
fn walk(value: &Value, visit: &mut dyn FnMut(&str, &Value)) {
    match value {
        Value::Object(members) => {
            for (key, value) in members {
                visit(key, value);
                walk(value, visit);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| walk(value, visit)),
        _ => {}
    }
}

#[test]
fn a_chain_for_one_protocol_that_cuts_others_off_is_found() {
    let matches = |transport: &str, name: &str, protocol: Option<&str>| {
        let mut matches = serde_json::json!({});
        if !transport.is_empty() {
            matches["transport_protocol"] = transport.into();
        }
        if !name.is_empty() {
            matches["server_names"] = serde_json::json!([name]);
        }
        if let Some(protocol) = protocol {
            matches["application_protocols"] = serde_json::json!([protocol]);
        }
        serde_json::json!({"filter_chain_match": matches})
    };
    let count = |theirs: (&str, &str), ours: (&str, &str)| {
        let theirs = matches(theirs.0, theirs.1, None);
        let ours = matches(ours.0, ours.1, Some("acme-tls/1"));
        cuts_off(&serde_json::json!({"filter_chains": [theirs, ours]})).len()
    };
    assert_eq!(count(("tls", "*.a.org"), ("tls", "x.a.org")), 1);
    assert_eq!(count(("tls", "*.a.org"), ("tls", "*.a.org")), 0);
    assert_eq!(count(("tls", "x.a.org"), ("tls", "x.a.org")), 0);
    assert_eq!(count(("tls", ""), ("tls", "x.a.org")), 1);
    assert_eq!(count(("", ""), ("tls", "x.a.org")), 1);
    assert_eq!(count(("", ""), ("", "")), 0);
    assert_eq!(count(("raw_buffer", ""), ("tls", "x.a.org")), 0);
    assert_eq!(count(("tls", "y.org"), ("tls", "x.a.org")), 0);
}

#[test]
fn inconsistent_snapshots_are_found() {
    let chain = |name: &str, names: Value| {
        serde_json::json!({
            "name": name,
            "filter_chain_match": {"transport_protocol": "tls", "server_names": names},
            "filters": [{"typed_config": {"cluster": "lost", "rds": {"route_config_name": "no"}}}],
            "transport_socket": {"x": {"tls_certificate_sds_secret_configs": [{"name": "gone"}]}},
        })
    };
    let chains = [
        chain("a", serde_json::json!(["x", "y"])),
        chain("b", serde_json::json!(["y"])),
        chain("b", serde_json::json!([])),
    ];
    let shares = serde_json::json!({"weighted_clusters": {"clusters": [{"name": "x"}]}});
    let host = serde_json::json!({"name": "h", "domains": ["d", "d"], "routes": [shares]});
    let found = flaws(&serde_json::json!({
        "cds": {"c": {"eds_cluster_config": {}}},
        "lds": {"l": {"filter_chains": chains}},
        "rds": {"r": {"virtual_hosts": [host]}},
    }));
    let count = |word: &str| found.iter().filter(|flaw| flaw.contains(word)).count();
    assert_eq!(count("not there"), 11, "{found:#?}");
    assert_eq!(count("lds l: tls \"y\" twice"), 1, "{found:#?}");
    assert_eq!(count("lds l: the name \"b\" twice"), 1, "{found:#?}");
    assert_eq!(count("rds r: \"d\" twice"), 1, "{found:#?}");
}
