//! What is found in which configuration: the ways that the wrong files of `tests/wrong.rs` do not
//! go. Each file's problems are compared as the text that an operator reads.

use super::act::stand;
use super::*;
use crate::inventory::drivers::section;
use crate::xds::ResourceType;

fn source(object: &str, text: &str) -> Source {
    let object: ObjectPath = object.parse().unwrap();
    Source {
        file: format!("{}.conf", object.name()),
        object,
        text: text.to_owned(),
    }
}

fn checked(sources: &[Source], only: Option<&str>) -> Checked {
    let stand = stand().unwrap();
    check(sources, only, &Policy::default(), &stand, NOW)
}

#[track_caller]
fn expect(sources: &[Source], expected: &str) -> Checked {
    let checked = checked(sources, None);
    assert_eq!(show::text(&checked.findings), expected);
    checked
}

#[test]
fn the_walk_through_s_service_has_no_problem_and_is_served_whole() {
    let text = include_str!("../sim/recorded/web1.conf");
    let checked = expect(
        &[source("test/svc/web1", text)],
        "web1.conf:20: note: certificate#front.secret: test/sec/web1-front-cert is taken as good: \
         what it holds is not known here\n\
         web1.conf:23: note: certificate#back.secret: test/sec/web1-back-cert is taken as good: \
         what it holds is not known here\n\
         0 problems, 2 notes\n",
    );
    let snapshot = &checked.snapshots["envoy"];
    assert_eq!(snapshot.count(ResourceType::Cluster), 3);
    assert_eq!(snapshot.count(ResourceType::Listener), 2);
    assert_eq!(snapshot.count(ResourceType::Secret), 2);
}

#[test]
fn each_node_has_an_instance_with_its_own_scopes() {
    let text = format!("[DEFAULT]\nnodes = n1 N2\n{SIMPLE}port@n2 = 8081\n");
    let checked = checked(&[source("test/svc/a", &text)], None);
    assert_eq!(show::counts(&checked.findings), (0, 0));
    let endpoints = checked.snapshots["envoy"].get(ResourceType::Endpoint, "test/svc/a.expose#0");
    let json = crate::xds::json::to_json(ResourceType::Endpoint.url(), &endpoints.unwrap().body);
    let json = json.unwrap().to_string();
    assert!(json.contains("8080") && json.contains("8081"), "{json}");
}

#[test]
fn every_gateway_that_is_named_is_asked_and_each_expose_by_its_own() {
    let other = SIMPLE.replace("port = 8080", "port = 8080\ngateway = igw2");
    let sources = [source("test/svc/a", SIMPLE), source("test/svc/b", &other)];
    // Both want port 80, of which the second is asked of its own gateway alone.
    let both = expect(
        &sources,
        "b.conf:6: expose#0.listener_port: plain traffic on 0.0.0.0:80/tcp is taken by test/svc/a \
         expose#0, which comes first; the expose is not served\n1 problem, 0 notes\n",
    );
    assert_eq!(both.snapshots.len(), 1);
    let one = checked(&sources, Some("envoy"));
    assert_eq!(show::counts(&one.findings), (0, 0));
}

#[test]
fn services_that_are_checked_together_are_in_each_other_s_way() {
    let sources = [source("test/svc/a", SIMPLE), source("test/svc/b", SIMPLE)];
    let checked = checked(&sources, None);
    let text = show::text(&checked.findings);
    assert!(text.starts_with("b.conf:"), "{text}");
    assert!(
        text.contains("test/svc/a expose#0") && text.ends_with("1 problem, 0 notes\n"),
        "{text}"
    );
}

#[test]
fn a_port_that_is_asked_for_is_given() {
    let text = SIMPLE.replace("listener_port = 80", "listener_port = 0");
    let checked = checked(&[source("test/svc/a", &text)], None);
    assert_eq!(show::counts(&checked.findings), (0, 0));
    let listeners = checked.snapshots["envoy"].all(ResourceType::Listener);
    let names: Vec<&str> = listeners.map(|it| it.name.as_ref()).collect();
    assert_eq!(names, ["0.0.0.0:1025/tcp"]);
}

#[test]
fn an_object_that_is_no_service_is_only_read() {
    expect(
        &[source("test/sec/x", "[data]\na = crypt:b\n")],
        "0 problems, 0 notes\n",
    );
}

#[test]
fn a_secret_of_another_namespace_is_a_problem_as_it_is_for_the_controller() {
    let text = format!(
        "{SIMPLE}listener_certificates = certificate#0\n[certificate#0]\nsecret = other/sec/x\n"
    );
    let checked = checked(&[source("test/svc/a", &text)], None);
    let text = show::text(&checked.findings);
    assert!(text.contains("--allow-secrets-of other"), "{text}");
    assert!(
        text.contains("a.conf:10: certificate#0.certificate_secret: "),
        "{text}"
    );
}

/// What the drivers of a real agent 2.1 made of these files, but for the addresses, which only
/// its node knew.
#[test]
fn recorded_objects_are_taken_as_the_real_drivers_took_them() {
    for (name, text, recorded) in [
        (
            "web1",
            include_str!("../sim/recorded/web1.conf"),
            include_str!("../sim/recorded/web1.json"),
        ),
        (
            "app1",
            include_str!("../sim/recorded/app1.conf"),
            include_str!("../sim/recorded/app1.json"),
        ),
        (
            "bad1",
            include_str!("../sim/recorded/bad1.conf"),
            include_str!("../sim/recorded/bad1.json"),
        ),
    ] {
        let source = source(&format!("test/svc/{name}"), text);
        let (ini, errors) = Ini::read(text);
        assert_eq!(errors, []);
        let mut agent = Agent::default();
        agent.take(&source, &ini, &mut BTreeSet::new());
        let object = &agent.objects()[&source.object];
        let instance = object.instances.values().next().unwrap();
        let recorded: serde_json::Value = serde_json::from_str(recorded).unwrap();
        for (rid, told) in recorded.as_object().unwrap() {
            let group = rid.split('#').next().unwrap_or_default();
            let Some(known) = section(group) else {
                continue;
            };
            let resource = &instance.resources.get(rid).unwrap();
            assert_eq!(told["type"], resource.driver.as_ref(), "{name} {rid}");
            for (keyword, _) in known.keywords {
                let ours = resource.keywords.get(keyword).as_ref().map(as_text);
                let theirs = told["info"].get(*keyword).map(as_text);
                assert_eq!(ours, theirs, "{name} {rid}.{keyword}");
            }
        }
    }
}

/// The agent confuses some texts with numbers and booleans that equal them; readers do not mind.
fn as_text(value: &serde_json::Value) -> String {
    match value.as_str() {
        Some(text) => text.to_lowercase(),
        None => value.to_string(),
    }
}

/// A service with one expose, to which keywords can be added.
const SIMPLE: &str = "\
[ip#0]
ipname = web.internal
expose = expose#0
[expose#0]
type = envoy
listener_port = 80
port = 8080
";
/// In 2026.
const NOW: i64 = 1_780_000_000;
