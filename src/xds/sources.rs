//! Where a resource says that others are to be fetched from. All is asked of this program: over
//! the aggregated stream, or over streams of one type for a client that has no other.

use envoy_types::pb::envoy::config::core::v3::api_config_source::ApiType;
use prost::Message as _;
use prost_reflect::{DynamicMessage, ReflectMessage, Value as Pb};
use serde_json::json;

use super::ResourceType;
use super::api::api;
use super::json::{ANY, JsonError, parse};

/// A place to fetch resources from, as a message.
pub(super) struct Source(DynamicMessage);

impl Source {
    /// The aggregated stream.
    ///
    /// # Errors
    /// When the descriptors of this build are broken.
    pub(super) fn aggregated() -> Result<Self, JsonError> {
        let source = json!({"ads": {}, "resource_api_version": "V3"});
        parse(CONFIG_SOURCE, &source).map(Self)
    }

    /// A stream for each name, over the cluster that Envoy was started with.
    fn separate(delta: bool) -> Result<Self, JsonError> {
        let api_type = if delta {
            ApiType::DeltaGrpc
        } else {
            ApiType::Grpc
        };
        let source = json!({
            "resource_api_version": "V3",
            "api_config_source": {
                "api_type": api_type.as_str_name(),
                "transport_api_version": "V3",
                "set_node_on_first_message_only": true,
                "grpc_services": [{"envoy_grpc": {"cluster_name": XDS_CLUSTER}}],
            },
        });
        parse(CONFIG_SOURCE, &source).map(Self)
    }

    /// Puts it in the place of every other one, also in what is packed.
    pub(super) fn put(&self, message: &mut DynamicMessage) {
        put(message, &self.0, DEPTH_MAX);
    }
}

/// The body of a resource for a client without an aggregated stream: it fetches what the resource
/// names over streams of their own, in the same protocol, from the cluster `xds_cluster` of its
/// bootstrap.
///
/// # Errors
/// When the body is no message of its type, which no encoder of ours makes.
pub fn for_separate_streams(
    kind: ResourceType,
    body: &[u8],
    delta: bool,
) -> Result<Vec<u8>, JsonError> {
    let descriptor = api()?.message(kind.url())?;
    let refused = |source| JsonError::Decode {
        message: kind.url().to_owned(),
        source,
    };
    let mut message = DynamicMessage::decode(descriptor, body).map_err(refused)?;
    Source::separate(delta)?.put(&mut message);
    Ok(message.encode_to_vec())
}

fn put(message: &mut DynamicMessage, source: &DynamicMessage, depth: usize) {
    let Some(depth) = depth.checked_sub(1) else {
        return;
    };
    if message.descriptor().full_name() == CONFIG_SOURCE {
        message.clone_from(source);
        return;
    }
    if message.descriptor().full_name() == ANY {
        put_packed(message, source, depth);
        return;
    }
    for (_, value) in message.fields_mut() {
        match value {
            Pb::Message(inner) => put(inner, source, depth),
            Pb::List(items) => {
                let inner = items.iter_mut().filter_map(Pb::as_message_mut);
                inner.for_each(|inner| put(inner, source, depth));
            }
            Pb::Map(entries) => {
                let inner = entries.values_mut().filter_map(Pb::as_message_mut);
                inner.for_each(|inner| put(inner, source, depth));
            }
            _ => {}
        }
    }
}

fn put_packed(packed: &mut DynamicMessage, source: &DynamicMessage, depth: usize) {
    let url = packed.get_field_by_name("type_url");
    let url = url.as_deref().and_then(Pb::as_str).unwrap_or_default();
    let body = packed.get_field_by_name("value");
    let body = body.as_deref().and_then(Pb::as_bytes).cloned();
    let inner = api().and_then(|api| api.message(url)).ok();
    let inner = inner.and_then(|inner| DynamicMessage::decode(inner, body?).ok());
    if let Some(mut inner) = inner {
        put(&mut inner, source, depth);
        packed.set_field_by_name("value", Pb::Bytes(inner.encode_to_vec().into()));
    }
}

const CONFIG_SOURCE: &str = "envoy.config.core.v3.ConfigSource";
/// What the janitor and `osvc-igw bootstrap` call the cluster that this program is.
const XDS_CLUSTER: &str = "xds_cluster";
/// More than the depth that is let in, packed messages counted twice.
const DEPTH_MAX: usize = 200;
