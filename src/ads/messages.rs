//! The discovery messages of both variants of the protocol, as one request and one response.

use std::collections::BTreeMap;

use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3 as pb;
use envoy_types::pb::google::protobuf::Any;

use crate::xds::ResourceType;

/// A request of either variant.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) node: Option<Node>,
    pub(super) type_url: String,
    pub(super) nonce: String,
    pub(super) error: Option<String>,
    pub(super) names: Names,
}

/// What it asks for.
#[derive(Clone, Debug)]
pub(super) enum Names {
    /// Names that come and go, and what the client has from an earlier stream.
    Delta {
        subscribe: Vec<String>,
        unsubscribe: Vec<String>,
        initial: BTreeMap<String, String>,
    },
    /// All of them.
    Whole(Vec<String>),
}

impl Names {
    /// One of them, to tell a client's streams of one name apart.
    pub(super) fn first(&self) -> &str {
        let (Self::Whole(names)
        | Self::Delta {
            subscribe: names, ..
        }) = self;
        names.first().map(String::as_str).unwrap_or_default()
    }
}

/// A response of either variant.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) kind: ResourceType,
    pub(super) nonce: String,
    /// Of a whole state; empty in the delta variant.
    pub(super) version: String,
    pub(super) resources: Vec<Body>,
    /// Of the delta variant.
    pub(super) removed: Vec<String>,
}

/// One resource of it.
pub(super) struct Body {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) body: Vec<u8>,
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", self.name, self.version)
    }
}

impl From<pb::DeltaDiscoveryRequest> for Asked {
    fn from(request: pb::DeltaDiscoveryRequest) -> Self {
        Self {
            node: request.node,
            type_url: request.type_url,
            nonce: request.response_nonce,
            error: request.error_detail.map(|status| status.message),
            names: Names::Delta {
                subscribe: request.resource_names_subscribe,
                unsubscribe: request.resource_names_unsubscribe,
                initial: request.initial_resource_versions.into_iter().collect(),
            },
        }
    }
}

impl From<pb::DiscoveryRequest> for Asked {
    fn from(request: pb::DiscoveryRequest) -> Self {
        Self {
            node: request.node,
            type_url: request.type_url,
            nonce: request.response_nonce,
            error: request.error_detail.map(|status| status.message),
            names: Names::Whole(request.resource_names),
        }
    }
}

impl From<Reply> for pb::DeltaDiscoveryResponse {
    fn from(reply: Reply) -> Self {
        let type_url = reply.kind.url().to_owned();
        let resources = reply.resources.into_iter().map(|one| pb::Resource {
            name: one.name,
            version: one.version,
            resource: Some(Any {
                type_url: type_url.clone(),
                value: one.body,
            }),
            ..pb::Resource::default()
        });
        Self {
            resources: resources.collect(),
            type_url: type_url.clone(),
            removed_resources: reply.removed,
            nonce: reply.nonce,
            ..Self::default()
        }
    }
}

impl From<Reply> for pb::DiscoveryResponse {
    fn from(reply: Reply) -> Self {
        let type_url = reply.kind.url().to_owned();
        let resources = reply.resources.into_iter().map(|one| Any {
            type_url: type_url.clone(),
            value: one.body,
        });
        Self {
            version_info: reply.version,
            resources: resources.collect(),
            type_url: type_url.clone(),
            nonce: reply.nonce,
            ..Self::default()
        }
    }
}
