//! PURE: Envoy's API as descriptors: its messages, the fields that hold secrets, and what a
//! message was called in the v2 API.
//!
//! Decoding costs many milliseconds and megabytes, so it waits until somebody asks: who shows a
//! message, compares two, or reads one from a user's JSON. Who encodes does not: what is sent is
//! checked by the table of `preflight`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

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
    static API: LazyLock<Result<Api, JsonError>> = LazyLock::new(Api::load);
    API.as_ref().map_err(again)
}

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

fn again(error: &JsonError) -> JsonError {
    JsonError::Descriptors(error.to_string())
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
    use super::*;

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
