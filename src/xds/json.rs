//! PURE: Envoy's messages as canonical proto-JSON, and back, for any type Envoy has.
//!
//! Field names are those of Envoy's documentation, keys are sorted, an `Any` shows what is in it.
//! What Envoy marks as secret never leaves: redaction follows the descriptor, not a list of ours.
//! Nothing here knows which resources a gateway has.

use prost::Message;
use prost_reflect::{
    DescriptorPool, DeserializeOptions, DynamicMessage, Kind, MessageDescriptor, SerializeOptions,
};
use serde_json::{Map, Value};

use super::api::{Api, api};

/// Why a message could not be turned into JSON, or JSON into a message.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// No message of this name is in the Envoy API that this program was built with.
    #[error("Envoy has no message {0:?}")]
    UnknownType(String),
    /// The bytes are not a message of the type.
    #[error("not an encoded {message}")]
    Decode {
        /// The type that was expected.
        message: String,
        /// What is wrong with the bytes.
        #[source]
        source: prost::DecodeError,
    },
    /// The bytes are not a message of the type, says who reads them without descriptors.
    #[error("not an encoded {0}")]
    Damaged(String),
    /// The message has no JSON form, for example an `Any` of an unknown type.
    #[error("{message} has no JSON form: {reason}")]
    Render {
        /// The type of the message.
        message: String,
        /// What stood in the way.
        reason: String,
    },
    /// The JSON is not a message of the type.
    #[error("not a {message}: {reason}, at {path}")]
    Parse {
        /// The type that was asked for.
        message: String,
        /// Where in the JSON, for example `health_checks[1].timeout`.
        path: String,
        /// What is wrong there.
        reason: String,
    },
    /// The descriptors that were built in cannot be read: this program is broken.
    #[error("the built-in descriptors of Envoy's API are damaged: {0}")]
    Descriptors(String),
}

/// The descriptors of Envoy's whole API, for who describes it to others.
///
/// # Errors
/// [`JsonError::Descriptors`] alone.
pub fn descriptors() -> Result<DescriptorPool, JsonError> {
    Ok(api()?.pool.clone())
}

/// Renders an encoded message as canonical proto-JSON, with `"[redacted]"` in place of every
/// secret, at any depth.
///
/// Equal messages give equal JSON, whatever order their maps were encoded in. `type_url` may be a
/// bare message name as well. For the JSON mapping see
/// <https://protobuf.dev/programming-guides/json/>.
pub fn to_json(type_url: &str, body: &[u8]) -> Result<Value, JsonError> {
    let api = api()?;
    let descriptor = api.message(type_url)?;
    let name = || descriptor.full_name().to_owned();
    let message =
        DynamicMessage::decode(descriptor.clone(), body).map_err(|source| JsonError::Decode {
            message: name(),
            source,
        })?;
    let options = SerializeOptions::new().use_proto_field_name(true);
    let mut value = message
        .serialize_with_options(serde_json::value::Serializer, &options)
        .map_err(|error| JsonError::Render {
            message: name(),
            reason: error.to_string(),
        })?;
    api.redact(&descriptor, &mut value);
    Ok(value)
}

/// Encodes proto-JSON, in Envoy's spelling or in camel case, as a message of the named type.
///
/// Nothing is let through in silence: an unknown field, enum value or type is an error that says
/// where. The bytes of equal JSON may differ from call to call, as protobuf's maps have no order.
pub fn from_json(type_name: &str, value: &Value) -> Result<Vec<u8>, JsonError> {
    Ok(parse(type_name, value)?.encode_to_vec())
}

/// Like [`from_json`], but as a message that can still be looked at.
pub(super) fn parse(type_name: &str, value: &Value) -> Result<DynamicMessage, JsonError> {
    let descriptor = api()?.message(type_name)?;
    let options = DeserializeOptions::new().deny_unknown_fields(true);
    let mut track = serde_path_to_error::Track::new();
    let deserializer = serde_path_to_error::Deserializer::new(value, &mut track);
    match DynamicMessage::deserialize_with_options(descriptor.clone(), deserializer, &options) {
        Ok(message) => Ok(message),
        Err(error) => Err(JsonError::Parse {
            message: descriptor.full_name().to_owned(),
            path: track.path().to_string(),
            reason: error.to_string(),
        }),
    }
}

impl Api {
    /// Replaces the secrets in the JSON form of a message of the given type.
    fn redact(&self, message: &MessageDescriptor, value: &mut Value) {
        let Value::Object(members) = value else {
            return; // A duration, a wrapper, an empty list: nothing with fields.
        };
        if message.full_name() == ANY {
            self.redact_any(members);
        } else {
            self.redact_fields(message, members);
        }
    }

    fn redact_fields(&self, message: &MessageDescriptor, members: &mut Map<String, Value>) {
        for (name, value) in members {
            let Some(field) = message.get_field_by_name(name) else {
                continue; // `@type`, and the free-form content of a Struct.
            };
            if self.sensitive.contains(field.full_name()) {
                *value = Value::from(REDACTED);
                continue;
            }
            let kind = match field.kind() {
                Kind::Message(entry) if field.is_map() => entry.map_entry_value_field().kind(),
                kind => kind,
            };
            let Kind::Message(inner) = kind else {
                continue;
            };
            match value {
                Value::Array(items) if field.is_list() => {
                    items.iter_mut().for_each(|item| self.redact(&inner, item));
                }
                Value::Object(entries) if field.is_map() => {
                    entries
                        .values_mut()
                        .for_each(|entry| self.redact(&inner, entry));
                }
                value => self.redact(&inner, value),
            }
        }
    }

    fn redact_any(&self, members: &mut Map<String, Value>) {
        let Some(Ok(message)) = members
            .get("@type")
            .and_then(Value::as_str)
            .map(|url| self.message(url))
        else {
            return; // The empty Any.
        };
        match members.get_mut("value") {
            // An Any in an Any stands under `value`, as does all that has a JSON form of its own.
            Some(value) if message.full_name() == ANY => self.redact(&message, value),
            _ if message.package_name() == "google.protobuf" => {}
            _ => self.redact_members(&message, members),
        }
    }

    /// The content of the message stands beside its `@type`.
    fn redact_members(&self, message: &MessageDescriptor, members: &mut Map<String, Value>) {
        let mut value = Value::Object(std::mem::take(members));
        self.redact(message, &mut value);
        if let Value::Object(redacted) = value {
            *members = redacted;
        }
    }
}

pub(super) const ANY: &str = "google.protobuf.Any";

/// The word that Envoy's own `/config_dump` uses.
const REDACTED: &str = "[redacted]";

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, HashMap};

    use envoy_types::pb::envoy::config::cluster::v3::Cluster;
    use envoy_types::pb::envoy::config::core::v3::transport_socket::ConfigType as SocketConfig;
    use envoy_types::pb::envoy::config::core::v3::{DataSource, TransportSocket, data_source};
    use envoy_types::pb::envoy::config::listener::v3::filter::ConfigType as FilterConfig;
    use envoy_types::pb::envoy::config::listener::v3::{Filter, FilterChain, Listener};
    use envoy_types::pb::envoy::extensions::filters::http::router::v3::Router;
    use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
    use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::{
        CommonTlsContext, DownstreamTlsContext, Secret, TlsCertificate, secret,
    };
    use envoy_types::pb::envoy::extensions::upstreams::http::v3::HttpProtocolOptions;
    use envoy_types::pb::google::protobuf::{Any, Duration};
    use serde_json::json;

    use super::*;

    const CLUSTER: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
    const LISTENER: &str = "type.googleapis.com/envoy.config.listener.v3.Listener";
    const SECRET: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";
    const HTTP: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

    fn any(name: &str, message: &impl Message) -> Any {
        Any {
            type_url: format!("type.googleapis.com/{name}"),
            value: message.encode_to_vec(),
        }
    }

    fn inline(text: &str) -> DataSource {
        DataSource {
            specifier: Some(data_source::Specifier::InlineString(text.into())),
            ..DataSource::default()
        }
    }

    fn certificate() -> TlsCertificate {
        TlsCertificate {
            certificate_chain: Some(inline("CHAIN")),
            private_key: Some(inline("KEY")),
            ..TlsCertificate::default()
        }
    }

    fn cluster() -> Cluster {
        let http = from_json(
            HTTP,
            &json!({ "explicit_http_config": { "http2_protocol_options": {} } }),
        );
        let http = HttpProtocolOptions::decode(http.unwrap().as_slice()).unwrap();
        let options: HashMap<_, _> = ["zulu", "alpha", "mike", "echo", "tango"]
            .map(|key| (key.to_owned(), any(HTTP, &http)))
            .into();
        Cluster {
            name: "ns1/svc/web1.expose#1".into(),
            connect_timeout: Some(Duration {
                seconds: 0,
                nanos: 250_000_000,
            }),
            typed_extension_protocol_options: options,
            ..Cluster::default()
        }
    }

    /// A listener whose secret hides two `Any` deep.
    fn listener() -> Listener {
        let manager = hcm::HttpConnectionManager {
            stat_prefix: "web".into(),
            http_filters: vec![hcm::HttpFilter {
                name: "envoy.filters.http.router".into(),
                config_type: Some(hcm::http_filter::ConfigType::TypedConfig(any(
                    "envoy.extensions.filters.http.router.v3.Router",
                    &Router {
                        suppress_envoy_headers: true,
                        ..Router::default()
                    },
                ))),
                ..hcm::HttpFilter::default()
            }],
            ..hcm::HttpConnectionManager::default()
        };
        let tls = DownstreamTlsContext {
            common_tls_context: Some(CommonTlsContext {
                tls_certificates: vec![certificate()],
                ..CommonTlsContext::default()
            }),
            ..DownstreamTlsContext::default()
        };
        Listener {
            name: "0.0.0.0:443/tcp".into(),
            filter_chains: vec![FilterChain {
                filters: vec![Filter {
                    name: "envoy.filters.network.http_connection_manager".into(),
                    config_type: Some(FilterConfig::TypedConfig(any(
                        "envoy.extensions.filters.network.http_connection_manager.v3\
                         .HttpConnectionManager",
                        &manager,
                    ))),
                }],
                transport_socket: Some(TransportSocket {
                    name: "envoy.transport_sockets.tls".into(),
                    config_type: Some(SocketConfig::TypedConfig(any(
                        "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
                        &tls,
                    ))),
                }),
                ..FilterChain::default()
            }],
            ..Listener::default()
        }
    }

    #[test]
    fn cluster_reads_as_envoys_documentation_writes_it() {
        let json = to_json(CLUSTER, &cluster().encode_to_vec()).unwrap();
        assert_eq!(json["connect_timeout"], "0.250s");
        assert_eq!(
            json["typed_extension_protocol_options"]["alpha"],
            json!({
                "@type": format!("type.googleapis.com/{HTTP}"),
                "explicit_http_config": { "http2_protocol_options": {} },
            })
        );
    }

    #[test]
    fn equal_messages_give_one_json_whatever_the_order_of_their_maps() {
        // Each call builds its maps anew, and every HashMap has an order of its own.
        let bodies: Vec<_> = (0..100).map(|_| cluster().encode_to_vec()).collect();
        let different: BTreeSet<_> = bodies.iter().collect();
        assert!(
            different.len() > 1,
            "the encodings should differ, or this shows nothing"
        );
        let texts: BTreeSet<_> = bodies
            .iter()
            .map(|body| to_json(CLUSTER, body).unwrap().to_string())
            .collect();
        assert_eq!(texts.len(), 1);
    }

    #[test]
    fn keys_are_sorted() {
        let text = to_json(CLUSTER, &cluster().encode_to_vec())
            .unwrap()
            .to_string();
        let places: Vec<_> = ["alpha", "echo", "mike", "tango", "zulu"]
            .map(|key| text.find(key).unwrap())
            .into();
        assert!(places.is_sorted(), "{text}");
    }

    #[test]
    fn any_is_expanded_at_every_depth() {
        let json = to_json(LISTENER, &listener().encode_to_vec()).unwrap();
        let manager = &json["filter_chains"][0]["filters"][0]["typed_config"];
        assert_eq!(manager["stat_prefix"], "web");
        let router = &manager["http_filters"][0]["typed_config"];
        assert_eq!(router["suppress_envoy_headers"], true);
    }

    #[test]
    fn private_key_is_redacted_and_the_chain_stays() {
        let secret = Secret {
            name: "ns1/sec/web".into(),
            r#type: Some(secret::Type::TlsCertificate(certificate())),
        };
        let json = to_json(SECRET, &secret.encode_to_vec()).unwrap();
        assert_eq!(
            json,
            json!({
                "name": "ns1/sec/web",
                "tls_certificate": {
                    "certificate_chain": { "inline_string": "CHAIN" },
                    "private_key": "[redacted]",
                },
            })
        );
    }

    #[test]
    fn secret_inside_any_is_redacted() {
        let json = to_json(LISTENER, &listener().encode_to_vec()).unwrap();
        let tls = &json["filter_chains"][0]["transport_socket"]["typed_config"];
        let certificate = &tls["common_tls_context"]["tls_certificates"][0];
        assert_eq!(certificate["private_key"], "[redacted]");
        assert_eq!(certificate["certificate_chain"]["inline_string"], "CHAIN");
        assert!(!json.to_string().contains("KEY"));
    }

    #[test]
    fn secret_of_every_shape_is_redacted() {
        let generic = json!({ "generic_secret": { "secrets": { "a": { "inline_string": "X" } } } });
        let keys = json!({ "session_ticket_keys": { "keys": [{ "inline_string": "X" }] } });
        let config = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.TlsCertificate";
        let nested = json!({
            "@type": "type.googleapis.com/google.protobuf.Any",
            "value": { "@type": config, "private_key": { "inline_string": "X" } },
        });
        let socket = "envoy.config.core.v3.TransportSocket";
        for (name, value) in [
            (SECRET, generic),
            (SECRET, keys),
            (socket, json!({ "name": "tls", "typed_config": nested })),
        ] {
            let text = to_json(name, &from_json(name, &value).unwrap())
                .unwrap()
                .to_string();
            assert!(text.contains("[redacted]") && !text.contains('X'), "{text}");
        }
    }

    #[test]
    fn json_goes_to_bytes_and_back() {
        let first = to_json(CLUSTER, &cluster().encode_to_vec()).unwrap();
        let body = from_json(CLUSTER, &first).unwrap();
        assert_eq!(Cluster::decode(body.as_slice()).unwrap(), cluster());
        assert_eq!(to_json(CLUSTER, &body).unwrap(), first);
    }

    #[test]
    fn bad_json_is_refused_with_its_place() {
        for (value, place) in [
            (json!({ "nmae": "x" }), "nmae"),
            (
                json!({ "health_checks": [{ "timeout": "1s" }, { "timeout": "soon" }] }),
                "at health_checks[1].timeout",
            ),
            (json!({ "lb_policy": "ROUND ROBIN" }), "at lb_policy"),
            (
                json!({ "transport_socket": { "typed_config": {
                "@type": "type.googleapis.com/google.protobuf.Duration2" } } }),
                "Duration2",
            ),
        ] {
            let error = from_json(CLUSTER, &value).unwrap_err().to_string();
            assert!(error.contains(place), "{error}");
        }
    }

    #[test]
    fn unknown_types_and_damaged_bytes_are_errors() {
        assert!(matches!(
            to_json("a.b.C", b""),
            Err(JsonError::UnknownType(_))
        ));
        assert!(matches!(
            from_json("a.b.C", &json!({})),
            Err(JsonError::UnknownType(_))
        ));
        assert!(matches!(
            to_json(CLUSTER, b"\xff"),
            Err(JsonError::Decode { .. })
        ));
        let hidden = Cluster {
            typed_extension_protocol_options: [("x".to_owned(), any("a.b.C", &Cluster::default()))]
                .into(),
            ..Cluster::default()
        };
        let error = to_json(CLUSTER, &hidden.encode_to_vec()).unwrap_err();
        assert!(matches!(error, JsonError::Render { .. }), "{error}");
    }
}
