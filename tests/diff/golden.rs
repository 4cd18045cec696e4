//! The difference of two states in its three forms: every folder of `golden/` is a case.
//!
//! In: `case.json`, the golden case of the pipeline that both states begin as (`base`), and what
//! is put into its documents (JSON pointers; null takes away) for the `old` and the `new` state.
//! Out: `diff.txt`, `diff.json`, `diff.md`. `UPDATE=1` writes what comes out.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking, as tests do"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use osvc_igw::pb;
use osvc_igw::xds::Snapshot;
use osvc_igw::xds::diff::{Diff, Document, Level, Style};
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use serde_json::{Value, json};

use crate::golden::{self, Case};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/diff/golden")
}

fn names() -> BTreeSet<String> {
    let entries = fs::read_dir(folder()).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.collect()
}

/// Puts a value where a pointer says; null takes away what is there.
fn put(document: &mut Value, pointer: &str, value: Value) {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let name = name.replace("~1", "/").replace("~0", "~");
    let place = document.pointer_mut(parent);
    match place.unwrap_or_else(|| panic!("nothing is at {parent}")) {
        Value::Object(members) if value.is_null() => drop(members.remove(&name).unwrap()),
        Value::Object(members) => drop(members.insert(name, value)),
        other => panic!("{parent} is {other}"),
    }
}

fn state(case: &Value, side: &str) -> Snapshot {
    let mut base = Case::load(case["base"].as_str().unwrap());
    for (name, document) in [("status", &mut base.status), ("reads", &mut base.reads)] {
        for (pointer, value) in case[side][name].as_object().into_iter().flatten() {
            put(document, pointer, value.clone());
        }
    }
    base.run().snapshot
}

fn states(name: &str) -> (Snapshot, Snapshot) {
    let text = fs::read_to_string(folder().join(name).join("case.json")).unwrap();
    let case: Value = serde_json::from_str(&text).unwrap();
    (state(&case, "old"), state(&case, "new"))
}

#[test]
fn differences_come_out_as_recorded() {
    let update = std::env::var("UPDATE").is_ok_and(|value| value == "1");
    let mut wrong = Vec::new();
    for name in names() {
        let (old, new) = states(&name);
        let diff = Diff::between(&old, &new);
        let json = serde_json::to_string_pretty(&diff.to_json()).unwrap() + "\n";
        for (file, text) in [
            ("diff.txt", diff.text(Style::Plain)),
            ("diff.json", json),
            ("diff.md", diff.markdown()),
        ] {
            let path = folder().join(&name).join(file);
            let recorded = fs::read_to_string(&path).unwrap_or_default();
            if update {
                fs::write(&path, text).unwrap();
            } else if recorded != text {
                wrong.push(format!("{name}/{file}:\n{text}"));
            }
        }
    }
    assert!(wrong.is_empty(), "UPDATE=1 rewrites\n{}", wrong.join("\n"));
}

#[test]
fn a_difference_is_the_same_by_way_of_documents() {
    for name in names() {
        let (old, new) = states(&name);
        let read = |snapshot: &Snapshot| {
            let text = Document::of(snapshot).to_json().to_string();
            Document::from_json(&serde_json::from_str(&text).unwrap()).unwrap()
        };
        let diff = Diff::of(&read(&old), &read(&new));
        assert_eq!(diff, Diff::between(&old, &new), "{name}");
    }
}

#[test]
fn nothing_differs_from_itself() {
    for name in golden::names() {
        let snapshot = Case::load(&name).run().snapshot;
        let document = Document::of(&snapshot);
        assert!(Diff::of(&document, &document).is_empty(), "{name}");
    }
}

/// What comes is the mirror image of what goes.
#[test]
fn a_way_back_has_as_many_changes() {
    for name in names() {
        let (old, new) = states(&name);
        let (way, back) = (Diff::between(&old, &new), Diff::between(&new, &old));
        let [added, changed, removed] = way.counts();
        assert_eq!(back.counts(), [removed, changed, added], "{name}");
    }
}

#[test]
fn the_cases_show_every_level_of_impact_and_every_change_has_an_object() {
    let mut levels = BTreeSet::new();
    for name in names() {
        let (old, new) = states(&name);
        for change in Diff::between(&old, &new).changes {
            assert!(change.object().is_some(), "{name}: {change}");
            levels.insert(change.impact.level);
        }
    }
    assert_eq!(
        levels.into_iter().map(Level::word).collect::<Vec<_>>(),
        [
            "nothing",
            "new_traffic",
            "rewarms",
            "endpoint_drains",
            "chain_drains",
            "listener_replaced",
            "connections_cut",
        ]
    );
    assert!(names().len() >= 15);
}

/// Every chain's object is known without what a controller remembers: from names alone.
#[test]
fn an_envoy_s_resources_are_attributed_by_their_names() {
    let (_, new) = states("service-added");
    let value = Document::of(&new).to_json();
    let mut bare = value.as_array().unwrap().clone();
    for resource in &mut bare {
        resource["origins"] = json!([]);
    }
    let bare = Document::from_json(&Value::Array(bare)).unwrap();
    for change in Diff::of(&bare, &Document::default()).changes {
        let known = change.object().map(ToString::to_string);
        let secret = change.name.starts_with("tls_certificate/");
        assert!(
            secret || known.as_deref() == Some("test/svc/web1"),
            "{change}"
        );
    }
}

#[test]
fn no_private_key_is_in_any_recorded_difference() {
    for name in names() {
        for file in ["diff.txt", "diff.json", "diff.md"] {
            let text = fs::read_to_string(folder().join(&name).join(file)).unwrap();
            for word in ["PRIVATE KEY", "BEGIN CERTIFICATE", "s3cret"] {
                assert!(!text.contains(word), "{name}/{file}");
            }
        }
    }
}

/// The document is what `diff.proto` says: it can be read as that message, and nothing is lost.
#[test]
fn the_document_is_the_message_of_the_contract() {
    let pool = DescriptorPool::decode(pb::DESCRIPTORS).unwrap();
    let message = pool.get_message_by_name("osvc_igw.v1.Diff").unwrap();
    for name in names() {
        let (old, new) = states(&name);
        let json = Diff::between(&old, &new).to_json();
        let read = DynamicMessage::deserialize(message.clone(), json.clone()).unwrap();
        let options = SerializeOptions::new().use_proto_field_name(true);
        let again = read
            .serialize_with_options(serde_json::value::Serializer, &options)
            .unwrap();
        let count = |value: &Value| value["changes"].as_array().map_or(0, Vec::len);
        assert_eq!(count(&again), count(&json), "{name}");
    }
}
