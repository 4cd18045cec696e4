//! What objects declare and describe, and what is said of what they get wrong.

use serde_json::{Value, json};

use super::*;

fn path(text: &str) -> ObjectPath {
    text.parse().unwrap()
}

fn declared(config: Value) -> Option<Result<Declaration, String>> {
    let config = Config::from_json(&config).unwrap();
    let found = declaration(&path("test/sec/front"), &config)?;
    Some(found.map_err(|problem| problem.to_string()))
}

fn keys(keys: &[(&str, &str)]) -> Secret {
    let keys = keys.iter();
    keys.map(|(key, text)| ((*key).to_owned(), Sensitive::new((*text).to_owned())))
        .collect()
}

fn described(pairs: &[(&str, &str)]) -> Option<Result<Issuer, String>> {
    let found = issuer(&path("acme/sec/le"), &keys(pairs))?;
    Some(found.map_err(|problem| problem.to_string()))
}

#[test]
fn keywords_of_opensvc_declare_a_certificate() {
    let found = declared(json!({
        "DEFAULT": {"cn": "www.acme.org", "alt_names": "WWW.acme.org {env.more}",
            "ca": "acme/sec/le"},
        "env": {"more": "acme.org"},
        "labels": {"acme.key": "p384", "acme.profile": "shortlived"},
    }));
    let found = found.unwrap().unwrap();
    assert_eq!(Vec::from_iter(&found.names), ["acme.org", "www.acme.org"]);
    assert_eq!(found.issuer, path("acme/sec/le"));
    assert_eq!(found.key, KeyKind::P384);
    assert_eq!(found.profile.as_deref(), Some("shortlived"));
}

#[test]
fn names_may_be_left_to_the_services() {
    let config = |label: &str| {
        let labels = json!({"acme.names": label});
        json!({"DEFAULT": {"ca": "acme/sec/le"}, "labels": labels})
    };
    let found = declared(config("auto")).unwrap().unwrap();
    assert!(found.names.is_empty() && found.settles_at.is_some());
    let reason = declared(config("all")).unwrap().unwrap_err();
    assert!(
        reason.contains("labels.acme.names: \"all\" is not auto"),
        "{reason}"
    );
}

#[test]
fn a_secret_without_a_ca_declares_nothing() {
    assert!(declared(json!({"DEFAULT": {"cn": "www.acme.org"}})).is_none());
    assert!(declared(json!({})).is_none());
}

#[test]
fn what_is_wrong_names_section_and_keyword() {
    for (config, told) in [
        (
            json!({"DEFAULT": {"ca": "le", "cn": "a.org"}}),
            "test/sec/front DEFAULT.ca: names \"le\"",
        ),
        (
            json!({"DEFAULT": {"ca": "acme/sec/le"}}),
            "DEFAULT.cn: is not set",
        ),
        (
            json!({"DEFAULT": {"ca": "acme/sec/le", "cn": "a.org", "alt_names": "b_c.org"}}),
            "DEFAULT.alt_names: \"b_c.org\" is no name of a host",
        ),
        (
            json!({"DEFAULT": {"ca": "acme/sec/le", "cn": "My Cert"}}),
            "DEFAULT.cn: \"My\" has no domain",
        ),
        (
            json!({"DEFAULT": {"ca": "acme/sec/le", "cn": "a.org"},
                "labels": {"acme.key": "dsa"}}),
            "labels.acme.key: \"dsa\" is none of",
        ),
        (
            json!({"DEFAULT": {"ca": "acme/sec/le", "cn": "a.org"},
                "labels": {"acme.reuse_key": "yes"}}),
            "labels.acme.reuse_key: \"yes\" is neither",
        ),
    ] {
        let reason = declared(config).unwrap().unwrap_err();
        assert!(reason.contains(told), "{reason}");
    }
}

#[test]
fn keys_describe_an_issuer() {
    let found = described(&[
        ("directory", "https://ca.org/directory\n"),
        ("contact", "ops@acme.org"),
        ("eab_kid", "k"),
        ("eab_hmac", "c2VjcmV0"),
        ("allow", "test shop-*"),
    ]);
    let found = found.unwrap().unwrap();
    assert_eq!(found.directory, "https://ca.org/directory");
    assert_eq!(found.contact, ["mailto:ops@acme.org"]);
    assert!(!format!("{found:?}").contains("c2VjcmV0"));
}

#[test]
fn a_certificate_authority_of_opensvc_is_no_issuer() {
    assert!(described(&[("private_key", "x"), ("certificate_chain", "y")]).is_none());
    assert!(described(&[("directory", "https://ca.org"), ("private_key", "x")]).is_none());
}

#[test]
fn what_is_wrong_with_an_issuer_names_the_key() {
    for (pairs, told) in [
        (
            &[("directory", "http://ca.org")][..],
            "directory: is no https address",
        ),
        (
            &[("directory", "https://ca.org"), ("challenge", "dns")][..],
            "challenge: \"dns\" is none of http-01, ",
        ),
        (
            &[("directory", "https://ca.org"), ("preferred_roots", "X1")][..],
            "preferred_roots: holds no certificates",
        ),
        (
            &[("directory", "https://ca.org"), ("fallback", "le")][..],
            "fallback: names \"le\", which is no path",
        ),
        (
            &[("directory", "https://ca.org"), ("challenge", "dns-01")][..],
            "dns: is missing: dns-01 needs a way",
        ),
        (
            &[("directory", "https://ca.org"), ("dns", "route53")][..],
            "dns: \"route53\" is none of",
        ),
        (
            &[("directory", "https://ca.org"), ("eab_kid", "k")][..],
            "eab_hmac: is missing",
        ),
    ] {
        let reason = described(pairs).unwrap().unwrap_err();
        assert!(reason.contains(told), "{reason}");
    }
}

#[test]
fn wildcards_and_strange_namespaces_are_refused_before_anything_is_asked() {
    let check = |cn: &str, allow: &str| {
        let config = json!({"DEFAULT": {"ca": "acme/sec/le", "cn": cn}});
        let pairs = [("directory", "https://ca.org"), ("allow", allow)];
        let issuer = described(&pairs).unwrap().unwrap();
        let checked = declared(config).unwrap().unwrap().check(&issuer);
        checked.map_err(|problem| problem.to_string())
    };
    assert_eq!(check("a.org", "test"), Ok(()));
    assert_eq!(check("a.org", "x te*"), Ok(()));
    assert!(
        check("*.a.org", "*")
            .unwrap_err()
            .contains("a wildcard needs a DNS challenge")
    );
    assert!(
        check("a.org", "")
            .unwrap_err()
            .contains("does not allow the namespace test")
    );
}
