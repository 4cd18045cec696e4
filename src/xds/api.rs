//! PURE: Envoy's API as descriptors: its messages, the fields that hold secrets, and what a
//! message was called in the v2 API.
//!
//! Decoding costs many milliseconds and megabytes, so it waits until somebody asks: who shows a
//! message, compares two, or reads one from a user's JSON. Who encodes does not: what is sent is
//! checked by the table of `preflight`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{LazyLock, OnceLock};

use prost_reflect::{DescriptorPool, ExtensionDescriptor, FieldDescriptor, MessageDescriptor};

use super::json::JsonError;

/// Envoy's API.
pub(super) struct Api {
    pub(super) pool: DescriptorPool,
    /// The full names of the fields that hold secrets.
    pub(super) sensitive: BTreeSet<String>,
}

impl Api {
    fn load() -> Result<Self, JsonError> {
        let broken = |reason: String| JsonError::Descriptors(reason);
        let bytes =
            miniz_oxide::inflate::decompress_to_vec_with_limit(DESCRIPTORS, DESCRIPTORS_MAX_BYTES)
                .map_err(|error| broken(error.to_string()))?;
        let pool =
            DescriptorPool::decode(bytes.as_slice()).map_err(|error| broken(error.to_string()))?;
        let option = extension(&pool, SENSITIVE)?;
        let marked = |field: &FieldDescriptor| {
            has_options(field) && field.options().get_extension(&option).as_bool() == Some(true)
        };
        let sensitive: BTreeSet<_> = fields(&pool)
            .filter(marked)
            .map(|field| field.full_name().to_owned())
            .collect();
        // An empty set would mean that the build lost the options, and would show every key.
        if sensitive.is_empty() {
            return Err(broken(format!("no field has the option {SENSITIVE}")));
        }
        Ok(Self { pool, sensitive })
    }

    /// The message with that name or type URL.
    pub(super) fn message(&self, type_url: &str) -> Result<MessageDescriptor, JsonError> {
        let name = type_url.rsplit('/').next().unwrap_or(type_url);
        self.pool
            .get_message_by_name(name)
            .ok_or_else(|| JsonError::UnknownType(type_url.to_owned()))
    }
}

/// The descriptors.
pub(super) fn api() -> Result<&'static Api, JsonError> {
    let again = |error: &JsonError| JsonError::Descriptors(error.to_string());
    API.get_or_init(Api::load).as_ref().map_err(again)
}

static API: OnceLock<Result<Api, JsonError>> = OnceLock::new();

/// What a message of the v2 API is called today; Envoy's API itself says so.
pub(super) fn successor(v2_name: &str) -> Option<&'static str> {
    static SUCCESSORS: LazyLock<BTreeMap<String, String>> =
        LazyLock::new(|| successors().unwrap_or_default());
    SUCCESSORS.get(v2_name).map(String::as_str)
}

fn successors() -> Result<BTreeMap<String, String>, JsonError> {
    let pool = &api()?.pool;
    let option = extension(pool, "udpa.annotations.versioning")?;
    let before = |message: MessageDescriptor| {
        let options = message.options();
        let value = options.get_extension(&option);
        let name = value
            .as_message()?
            .get_field_by_name("previous_message_type")?;
        let name = name.as_str().filter(|name| !name.is_empty())?;
        Some((name.to_owned(), message.full_name().to_owned()))
    };
    Ok(pool.all_messages().filter_map(before).collect())
}

pub(super) fn fields(pool: &DescriptorPool) -> impl Iterator<Item = FieldDescriptor> {
    pool.all_messages()
        .flat_map(|message| message.fields().collect::<Vec<_>>())
}

pub(super) fn has_options(field: &FieldDescriptor) -> bool {
    field.field_descriptor_proto().options.is_some()
}

pub(super) fn extension(
    pool: &DescriptorPool,
    name: &str,
) -> Result<ExtensionDescriptor, JsonError> {
    pool.get_extension_by_name(name)
        .ok_or_else(|| JsonError::Descriptors(format!("no option {name}")))
}

static DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/envoy-descriptors.deflate"));

/// Many times what Envoy's API needs (0.7 MB).
const DESCRIPTORS_MAX_BYTES: usize = 16 << 20;

/// The field option by which Envoy says that a value is secret.
const SENSITIVE: &str = "udpa.annotations.sensitive";

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::Command;
    use std::{env, fs};

    use serde_json::Value;

    use super::*;
    use crate::gateway::{Policy, Want, compile};
    use crate::inventory::{Config, Event, Inventory, ObjectPath, Reading, Sensitive};
    use crate::opensvc::mirror::Mirror;
    use crate::xds::{Snapshot, encode, saved};

    /// What is served of a golden case, saved too; nothing if a user gave JSON.
    fn serve(case: &Path) -> Option<Snapshot> {
        let read = |file: &str| fs::read_to_string(case.join(file)).unwrap_or_default();
        let (status, reads) = (read("status.json"), read("reads.json"));
        let is_plain = |text: &String| !text.contains("_data");
        if ![&status, &reads].into_iter().all(is_plain) {
            return None;
        }
        let reads: Value = serde_json::from_str(&reads).unwrap_or_default();
        let mut inventory = Inventory::default();
        let status: Value = serde_json::from_str(&status).unwrap();
        for event in Mirror::default().reset(status) {
            inventory.apply(event);
        }
        let mut compiled = compile(&inventory, &Policy::default());
        while !compiled.wants.is_empty() {
            let mut changed = false;
            for want in compiled.wants {
                changed |= inventory.apply(answer(&reads, want));
            }
            compiled = compile(&inventory, &Policy::default());
            if !changed {
                break;
            }
        }
        let (snapshot, _) = encode(&compiled.gateway, &Snapshot::default());
        saved::from_bytes(&saved::to_bytes(&snapshot)).unwrap();
        Some(snapshot)
    }

    fn answer(reads: &Value, want: Want) -> Event {
        let secret = |path: &ObjectPath, revision| {
            let keys = reads["secrets"][path.to_string()].as_object();
            let text = |it: &Value| Sensitive::new(it.as_str().unwrap_or_default().to_owned());
            let key = |(name, value): (&String, &Value)| (name.clone(), text(value));
            let content = keys.map(|keys| keys.iter().map(key).collect());
            Reading { revision, content }
        };
        match want {
            Want::Secret(path, revision) => Event::Secret(path.clone(), secret(&path, revision)),
            Want::Trust(path, revision) => Event::Trust(path.clone(), secret(&path, revision)),
            Want::Challenges(path, revision) => {
                Event::Challenges(path.clone(), secret(&path, revision))
            }
            Want::Config(path, revision) => {
                let content = Some(Config::default());
                Event::Config(path, Reading { revision, content })
            }
        }
    }

    /// In a process of its own: other tests load them.
    #[test]
    fn what_is_served_needs_no_descriptors() {
        const ALONE: &str = "OSVC_IGW_TEST_ALONE";
        if env::var_os(ALONE).is_none() {
            let this = "xds::api::tests::what_is_served_needs_no_descriptors";
            let mut alone = Command::new(env::current_exe().unwrap());
            let ended = alone
                .args([this, "--exact"])
                .env(ALONE, "1")
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&ended.stdout);
            assert!(
                ended.status.success() && said.contains("1 passed"),
                "{said}"
            );
            return;
        }
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
        let cases = fs::read_dir(golden).unwrap();
        let served = cases.filter_map(|case| serve(&case.unwrap().path()));
        let has_all = |snapshot: &Snapshot| {
            let mut kinds = snapshot.kinds();
            kinds.all(|kind| snapshot.all(kind).next().is_some())
        };
        assert!(served.filter(has_all).count() > 10);
        assert!(API.get().is_none());
    }

    #[test]
    fn a_v2_message_has_a_successor() {
        let cluster = successor("envoy.api.v2.Cluster");
        assert_eq!(cluster, Some("envoy.config.cluster.v3.Cluster"));
        let log = successor("envoy.config.accesslog.v2.FileAccessLog");
        assert_eq!(
            log,
            Some("envoy.extensions.access_loggers.file.v3.FileAccessLog")
        );
    }
}
