//! Which names are asked for, and when, as services come and go.

use serde_json::{Value, json};

use super::*;
use crate::cert::example::{self, DAY, NOW};
use crate::cert::record::Record;
use crate::inventory::{Instance, Name, Resource, Table, Values};

fn names(text: &str) -> BTreeSet<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn path(text: &str) -> ObjectPath {
    text.parse().unwrap()
}

/// A service with these sections on one node.
fn service(name: &str, sections: &Value) -> Object {
    let sections = sections.as_object().unwrap().iter();
    let resources = sections.map(|(section, keywords)| {
        let kind = section.split('#').next().unwrap();
        let driver = match kind {
            "expose" => "expose.envoy".to_owned(),
            kind => format!("{kind}.x"),
        };
        let resource = Resource {
            driver: driver.into(),
            status: "n/a".into(),
            keywords: serde_json::from_value(keywords.clone()).unwrap(),
        };
        (section.clone(), resource.into())
    });
    let instance = Instance {
        resources: std::sync::Arc::new(resources.collect()),
        ..Instance::default()
    };
    Object {
        path: path(name),
        revision: Name::default(),
        slave: name.contains('.'),
        instances: Table::from([("n1".to_owned(), instance)]),
    }
}

/// A service that serves domains with the certificate `front`.
fn web(name: &str, domains: &str) -> Object {
    let domains: Vec<&str> = domains.split(' ').collect();
    service(
        name,
        &json!({
            "expose#0": {"vhosts": ["vhost#0"], "listener_certificates": ["certificate#0"]},
            "vhost#0": {"domains": domains},
            "certificate#0": {"certificate_secret": "front"},
        }),
    )
}

fn all(objects: &[Object]) -> BTreeSet<Served> {
    let found = objects.iter().flat_map(|object| served(object, None));
    found.collect()
}

fn subject(at: &str, declared: &str, auto: bool) -> Subject {
    let mut subject = example::issued(0);
    subject.declaration.path = path(at);
    subject.declaration.names = names(declared);
    subject.declaration.settles_at = auto.then_some(0);
    subject.leaf = None;
    subject.record = Record::default();
    subject
}

/// A subject that has a certificate of 90 days for these names.
fn issued(auto_names: &str, days_ago: i64) -> Subject {
    let mut subject = subject("test/sec/front", "", true);
    subject.leaf = Some(Leaf {
        serial: "01".to_owned(),
        not_before: NOW - days_ago * DAY,
        not_after: NOW + (90 - days_ago) * DAY,
        names: names(auto_names),
        ..Leaf::default()
    });
    let mut declaration = subject.declaration.clone();
    declaration.names = names(auto_names);
    let declared = declaration.fingerprint(&subject.issuer);
    subject.record.succeed("01", &declared);
    subject
}

/// What becomes of one subject: its names, when they settle, and what is told.
fn settled(subject: Subject, sure: bool, objects: &[Object]) -> (String, i64, String) {
    let path = subject.declaration.path.clone();
    let mut subjects = BTreeMap::from([(path.clone(), subject)]);
    let mut settling = BTreeMap::new();
    let served = all(objects);
    let told = settle(NOW, sure, &served, QUIET_S, &mut subjects, &mut settling);
    let told: Vec<String> = told.iter().map(ToString::to_string).collect();
    let declaration = subjects.get(&path).map(|subject| &subject.declaration);
    let names = declaration.into_iter().flat_map(|one| &one.names);
    let names: Vec<&str> = names.map(String::as_str).collect();
    let at = declaration.and_then(|one| one.settles_at).unwrap_or(-1);
    (names.join(" "), at, told.join("; "))
}

#[test]
fn names_are_those_of_exposes_and_vhosts_that_use_the_certificate() {
    let other = service(
        "test/svc/other",
        &json!({
            "expose#0": {"sni": ["not.acme.org"], "listener_certificates": ["certificate#0"]},
            "certificate#0": {"certificate_secret": "other"},
            "expose#1": {"sni": ["passed.acme.org"]},
            "expose#2": {"sni": ["db.acme.org"], "listener_certificates": ["certificate#1"]},
            "certificate#1": {"certificate_secret": "test/sec/front"},
        }),
    );
    let strange = web("strange/svc/web", "strange.acme.org");
    let objects = [
        web("test/svc/web", "www.acme.org WWW.acme.org:443"),
        other,
        strange,
    ];
    let (found, at, told) = settled(subject("test/sec/front", "acme.org", true), true, &objects);
    assert_eq!(found, "acme.org db.acme.org www.acme.org");
    assert_eq!((at, told.as_str()), (NOW + QUIET_S, ""));
}

#[test]
fn a_slave_serves_what_its_scaler_is_called() {
    let found = all(&[web("test/svc/2.web.acme.org", "2.web.acme.org")]);
    let found: Vec<_> = found
        .iter()
        .map(|one| (one.word.as_str(), one.by.to_string()))
        .collect();
    assert_eq!(
        found,
        [("web.acme.org", "test/svc/web.acme.org".to_owned())]
    );
}

#[test]
fn what_the_status_leaves_out_is_read_of_the_configuration() {
    let mut object = web("test/svc/web", "www.acme.org");
    assert!(!needs_config(&object));
    let instance = object.instances.get_mut("n1").unwrap();
    let section = instance.resources_mut().get_mut("certificate#0").unwrap();
    std::sync::Arc::make_mut(section).keywords = Values::default();
    assert!(needs_config(&object));
    assert!(served(&object, None).is_empty());
    let config = Config::from_json(&json!({"certificate#0": {"secret": "front"}}));
    assert_eq!(
        served(&object, config.as_ref()),
        all(&[web("test/svc/web", "www.acme.org")])
    );
}

#[test]
fn names_that_no_authority_signs_are_left_out_and_each_is_told() {
    let domains = "www.acme.org * localhost *.acme.org *-a.acme.org a_b.acme.org 10.0.0.1";
    let objects = [web("test/svc/web", domains)];
    let (found, _, told) = settled(subject("test/sec/front", "", true), true, &objects);
    assert_eq!(found, "www.acme.org");
    let left_out = "test/sec/front labels.acme.names: leaves out what test/svc/web expose#0 serves";
    assert_eq!(told.matches(left_out).count(), 6, "{told}");
    for reason in [
        "\"*\" is no name of a host",
        "\"localhost\" has no domain",
        "*.acme.org needs a DNS challenge",
        "\"*-a.acme.org\" is no name of a host",
        "\"a_b.acme.org\" is no name of a host",
        "the address 10.0.0.1 has to be among its alt_names",
    ] {
        assert!(told.contains(reason), "{told}");
    }
}

#[test]
fn a_wildcard_takes_the_place_of_the_names_that_it_has() {
    let objects = [web(
        "test/svc/web",
        "*.acme.org www.acme.org a.b.acme.org acme.org",
    )];
    let mut subject = subject("test/sec/front", "", true);
    subject.issuer.methods = vec![Method::Http01, Method::Dns01];
    let (found, _, told) = settled(subject, true, &objects);
    assert_eq!(
        (found.as_str(), told.as_str()),
        ("*.acme.org a.b.acme.org acme.org", "")
    );
}

#[test]
fn a_name_that_goes_is_kept_until_the_renewal_and_one_that_comes_is_not_waited_for() {
    let one = [web("test/svc/web", "a.acme.org")];
    let kept = settled(issued("a.acme.org b.acme.org", 1), true, &one);
    assert_eq!(kept, ("a.acme.org b.acme.org".to_owned(), 0, String::new()));
    let renewed = settled(issued("a.acme.org b.acme.org", 70), true, &one);
    assert_eq!(
        renewed,
        ("a.acme.org".to_owned(), NOW + QUIET_S, String::new())
    );
    let more = [web("test/svc/web", "a.acme.org c.acme.org")];
    let added = settled(issued("a.acme.org b.acme.org", 1), true, &more);
    let expect = "a.acme.org c.acme.org".to_owned();
    assert_eq!(added, (expect, NOW + QUIET_S, String::new()));
}

#[test]
fn no_name_is_gone_while_a_node_is_not_heard_of() {
    let one = [web("test/svc/web", "a.acme.org")];
    let (found, ..) = settled(issued("a.acme.org b.acme.org", 70), false, &one);
    assert_eq!(found, "a.acme.org b.acme.org");
    let (found, ..) = settled(issued("a.acme.org", 70), false, &[]);
    assert_eq!(found, "a.acme.org");
}

#[test]
fn without_any_name_nothing_is_asked_for() {
    let (found, at, told) = settled(subject("test/sec/front", "", true), true, &[]);
    assert_eq!((found.as_str(), at), ("", -1));
    assert!(
        told.contains("no service serves a name with the certificate"),
        "{told}"
    );
}

#[test]
fn names_settle_when_they_stay_and_at_last_although_they_do_not() {
    let mut known = None;
    let mut observe = |now: i64, text: &str| {
        let seen = Settling::observe(known.as_ref(), now, &names(text));
        let at = seen.at(QUIET_S);
        known = Some(seen);
        at
    };
    assert_eq!(observe(0, "a"), QUIET_S);
    assert_eq!(observe(20, "a b"), 20 + QUIET_S);
    assert_eq!(observe(40, "a b"), 20 + QUIET_S);
    for number in 0..100 {
        observe(40 + number, &format!("n{number}"));
    }
    let last = QUIET_S * QUIET_TIMES_MAX;
    assert_eq!(observe(last - 1, "a b c"), last);
}

#[test]
fn a_name_that_its_certificate_is_not_for_is_told_of() {
    let objects = [web("test/svc/web", "www.acme.org shop.acme.org *")];
    let (found, at, told) = settled(
        subject("test/sec/front", "www.acme.org", false),
        true,
        &objects,
    );
    assert_eq!((found.as_str(), at), ("www.acme.org", -1));
    assert_eq!(
        told,
        "test/svc/web expose#0.listener_certificates: shop.acme.org is served with the \
         certificate test/sec/front, which is not for it"
    );
    let (_, _, told) = settled(
        subject("test/sec/front", "*.acme.org", false),
        true,
        &objects,
    );
    assert_eq!(told, "");
}

#[test]
fn a_name_may_have_its_certificate_among_others_of_the_expose() {
    let both = |secrets: [&str; 2]| {
        service(
            "test/svc/web",
            &json!({
                "expose#0": {"sni": ["a.acme.org", "b.acme.org"],
                    "listener_certificates": ["certificate#0", "certificate#1"]},
                "certificate#0": {"certificate_secret": secrets[0]},
                "certificate#1": {"certificate_secret": secrets[1]},
            }),
        )
    };
    let declared = |auto| {
        BTreeMap::from([
            (
                path("test/sec/front"),
                subject("test/sec/front", "a.acme.org", false),
            ),
            (path("test/sec/more"), subject("test/sec/more", "", auto)),
        ])
    };
    let run = |auto, secrets| {
        let mut subjects = declared(auto);
        let served = all(&[both(secrets)]);
        let told = settle(NOW, true, &served, 0, &mut subjects, &mut BTreeMap::new());
        (subjects, told.len())
    };
    // What one declares, the one that takes what is served leaves to it.
    let (subjects, told) = run(true, ["front", "more"]);
    let more = &subjects[&path("test/sec/more")].declaration;
    assert_eq!((&more.names, told), (&names("b.acme.org"), 0));
    // What a certificate has that nobody here makes is not known.
    assert_eq!(run(false, ["front", "bought"]).1, 0);
    assert_eq!(run(false, ["front", "front"]).1, 1);
}
