//! A snapshot as bytes, to be served again by a controller that has nothing else yet.
//!
//! Secrets are left out, and with them whatever has one inside: what is on disk can be read by who
//! reads the disk, and sealing it with a key that lies beside it would help nobody. So what is
//! read back is partial: see [`Snapshot::is_partial`].

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use prost::Message;

use super::sensitive::holds_secret;
use super::{Resource, ResourceType, Snapshot, Version};
use crate::gateway::Origin;

/// Why bytes are no saved snapshot.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SavedError {
    /// They end too early, or somebody else wrote them.
    #[error("it is no saved snapshot, or a torn one")]
    Torn,
    /// Another version of this program wrote them.
    #[error("another version of osvc-igw wrote it")]
    Format,
    /// Something in them is not what this program writes.
    #[error("it holds what no osvc-igw wrote")]
    Content,
}

#[derive(Clone, PartialEq, Message)]
struct Saved {
    #[prost(uint32, tag = "1")]
    format: u32,
    #[prost(fixed64, tag = "2")]
    checksum: u64,
    #[prost(message, repeated, tag = "3")]
    resources: Vec<SavedResource>,
}

#[derive(Clone, Eq, Hash, PartialEq, Message)]
struct SavedResource {
    #[prost(string, tag = "1")]
    kind: String,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(fixed64, tag = "3")]
    version: u64,
    #[prost(bytes = "vec", tag = "4")]
    body: Vec<u8>,
    #[prost(string, repeated, tag = "5")]
    clusters: Vec<String>,
    #[prost(bool, tag = "6")]
    warms_until_acked: bool,
    #[prost(message, repeated, tag = "7")]
    origins: Vec<SavedOrigin>,
}

#[derive(Clone, Eq, Hash, PartialEq, Message)]
struct SavedOrigin {
    #[prost(string, tag = "1")]
    object: String,
    #[prost(string, tag = "2")]
    section: String,
}

/// The bytes of a snapshot, without its secrets.
pub fn to_bytes(snapshot: &Snapshot) -> Vec<u8> {
    let mut resources = Vec::new();
    for kind in ResourceType::ALL {
        let open = snapshot.all(kind).filter(|resource| {
            kind != ResourceType::Secret && !holds_secret(kind.url(), &resource.body)
        });
        resources.extend(open.map(|resource| save(kind, resource)));
    }
    let saved = Saved {
        format: FORMAT,
        checksum: checksum(&resources),
        resources,
    };
    saved.encode_to_vec()
}

/// The snapshot that bytes tell of; it is partial.
///
/// # Errors
/// When they are torn, of another version of this program, or not its own.
pub fn from_bytes(bytes: &[u8]) -> Result<Snapshot, SavedError> {
    let saved = Saved::decode(bytes).map_err(|_| SavedError::Torn)?;
    if saved.format != FORMAT {
        return Err(SavedError::Format);
    }
    if checksum(&saved.resources) != saved.checksum {
        return Err(SavedError::Torn);
    }
    let mut snapshot = Snapshot {
        partial: true,
        ..Snapshot::default()
    };
    for saved in saved.resources {
        let mut kinds = ResourceType::ALL.into_iter();
        let kind = kinds.find(|kind| kind.word() == saved.kind);
        let kind = kind.ok_or(SavedError::Content)?;
        snapshot.insert(kind, Arc::new(load(saved)?));
    }
    Ok(snapshot)
}

fn save(kind: ResourceType, resource: &Resource) -> SavedResource {
    let origins = resource.origins.iter().map(|origin| SavedOrigin {
        object: origin.object.to_string(),
        section: origin.section.to_string(),
    });
    SavedResource {
        kind: kind.word().to_owned(),
        name: resource.name.to_string(),
        version: resource.version.0,
        body: resource.body.clone(),
        clusters: resource.clusters.to_vec(),
        warms_until_acked: resource.warms_until_acked,
        origins: origins.collect(),
    }
}

fn load(saved: SavedResource) -> Result<Resource, SavedError> {
    let mut resource = Resource::new(&saved.name, Version(saved.version));
    let origins = saved.origins.into_iter().map(|origin| {
        let object = origin.object.parse().map_err(|_| SavedError::Content)?;
        let section = origin.section.into();
        Ok(Origin { object, section })
    });
    resource.origins = origins.collect::<Result<_, _>>()?;
    resource.body = saved.body;
    resource.clusters = saved.clusters.into();
    resource.warms_until_acked = saved.warms_until_acked;
    Ok(resource)
}

/// Of the content alone: what an older version of this program encoded can be served as well.
fn checksum(resources: &[SavedResource]) -> u64 {
    let mut hasher = DefaultHasher::new();
    resources.hash(&mut hasher);
    hasher.finish()
}

/// The way of writing it.
const FORMAT: u32 = 1;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::xds::json::from_json;

    const TLS: &str = "envoy.extensions.transport_sockets.tls.v3";

    fn snapshot() -> Snapshot {
        let mut snapshot = Snapshot::default();
        let mut add = |kind: ResourceType, value: serde_json::Value| {
            let name = value["name"].as_str().unwrap_or_default().to_owned();
            let mut resource = Resource::new(&name, Version::of(&name));
            resource.body = from_json(kind.url(), &value).unwrap();
            resource.clusters = ["web".to_owned()].into();
            resource.origins = [Origin {
                object: "test/svc/web1".parse().unwrap(),
                section: "expose#0".into(),
            }]
            .into();
            snapshot.insert(kind, Arc::new(resource));
        };
        add(ResourceType::Cluster, json!({"name": "web"}));
        let key = json!({"private_key": {"inline_string": "the key"}});
        let tls = json!({
            "@type": format!("type.googleapis.com/{TLS}.UpstreamTlsContext"),
            "common_tls_context": {"tls_certificates": [key]},
        });
        let socket = json!({"name": "tls", "typed_config": tls});
        let keyed = json!({"name": "keyed", "transport_socket": socket});
        add(ResourceType::Cluster, keyed);
        add(
            ResourceType::Secret,
            json!({"name": "s", "tls_certificate": {"private_key": {"inline_string": "the key"}}}),
        );
        snapshot
    }

    #[test]
    fn what_is_saved_comes_back_without_secrets_and_is_partial() {
        let whole = snapshot();
        let bytes = to_bytes(&whole);
        assert!(!String::from_utf8_lossy(&bytes).contains("the key"));
        let back = from_bytes(&bytes).unwrap();
        assert!(back.is_partial() && !whole.is_partial());
        let (web, same) = (ResourceType::Cluster, "web");
        assert_eq!(back.get(web, same), whole.get(web, same));
        assert_eq!(back.count(web), 1);
        assert_eq!(back.count(ResourceType::Secret), 0);
    }

    #[test]
    fn torn_and_foreign_bytes_are_told_from_saved_ones() {
        let bytes = to_bytes(&snapshot());
        for end in 0..bytes.len() {
            assert!(from_bytes(&bytes[..end]).is_err(), "{end} bytes");
        }
        for at in 0..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1;
            assert!(from_bytes(&bytes).is_err(), "byte {at}");
        }
        assert_eq!(from_bytes(b"{\"json\": true}"), Err(SavedError::Torn));
        let other = Saved {
            format: 2,
            ..Saved::default()
        };
        assert_eq!(from_bytes(&other.encode_to_vec()), Err(SavedError::Format));
    }
}
