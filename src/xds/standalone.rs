//! A snapshot as the bootstrap of an Envoy that has no controller: everything in it at once, for
//! Envoy's own judgement (`envoy --mode validate`). Nothing is served by it.

use envoy_types::pb::envoy::config::bootstrap::v3::Bootstrap;
use envoy_types::pb::envoy::config::core::v3::DataSource;
use envoy_types::pb::envoy::config::core::v3::data_source::Specifier;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::{Secret, secret};
use prost::Message;
use prost_reflect::{DynamicMessage, ReflectMessage, Value};
use serde_json::json;

use super::api::api;
use super::json::{ANY, JsonError, from_json};
use super::{Resource, ResourceType, Snapshot};
use crate::inventory::Sensitive;

/// The encoded `Bootstrap` of an Envoy with these clusters and listeners and all that they name.
///
/// What would come over discovery stands in its place: endpoints in clusters, routes in
/// connection managers, secrets beside them. Files with certificates are on the gateway's host;
/// `chain` and `key` stand in for them.
///
/// # Errors
/// Where a resource is not what its type says.
pub fn bootstrap(
    snapshot: &Snapshot,
    chosen: &[(ResourceType, &Resource)],
    chain: &Sensitive,
    key: &Sensitive,
) -> Result<Vec<u8>, JsonError> {
    let frame = json!({
        "node": {"id": "check", "cluster": "check"},
        "dynamic_resources": {"ads_config": {
            "api_type": "DELTA_GRPC",
            "transport_api_version": "V3",
            "grpc_services": [{"envoy_grpc": {"cluster_name": CONTROLLER}}],
        }},
        "layered_runtime": {"layers": [
            {"name": "static", "static_layer": {"re2.max_program_size.error_level": 10_000}},
        ]},
        "static_resources": {"clusters": [{
            "name": CONTROLLER,
            "connect_timeout": "1s",
            "typed_extension_protocol_options": {HTTP_OPTIONS: {
                "@type": format!("type.googleapis.com/{HTTP_OPTIONS}"),
                "explicit_http_config": {"http2_protocol_options": {}},
            }},
        }]},
    });
    let mut message: Bootstrap = decode("Bootstrap", &from_json(BOOTSTRAP, &frame)?)?;
    let resources = message.static_resources.get_or_insert_default();
    for (kind, resource) in chosen {
        let body = whole(*kind, resource, snapshot)?;
        match kind {
            ResourceType::Cluster => resources.clusters.push(decode("Cluster", &body)?),
            ResourceType::Listener => resources.listeners.push(decode("Listener", &body)?),
            _ => {}
        }
    }
    for secret in snapshot.all(ResourceType::Secret) {
        let secret: Secret = decode("Secret", &secret.body)?;
        resources.secrets.push(here(secret, chain, key));
    }
    Ok(message.encode_to_vec())
}

fn decode<M: Message + Default>(name: &str, bytes: &[u8]) -> Result<M, JsonError> {
    M::decode(bytes).map_err(|source| JsonError::Decode {
        message: name.to_owned(),
        source,
    })
}

/// The secret, without files of another host.
fn here(mut secret: Secret, chain: &Sensitive, key: &Sensitive) -> Secret {
    if let Some(secret::Type::TlsCertificate(pair)) = &mut secret.r#type {
        let is_file = |source: &Option<DataSource>| {
            let specifier = source.as_ref().and_then(|it| it.specifier.as_ref());
            matches!(specifier, Some(Specifier::Filename(_)))
        };
        if is_file(&pair.certificate_chain) || is_file(&pair.private_key) {
            let inline = |text: &Sensitive| DataSource {
                specifier: Some(Specifier::InlineString(text.expose().to_owned())),
                ..DataSource::default()
            };
            pair.certificate_chain = Some(inline(chain));
            pair.private_key = Some(inline(key));
            pair.watched_directory = None;
        }
    }
    secret
}

/// A cluster or listener with what it would ask for in it.
fn whole(
    kind: ResourceType,
    resource: &Resource,
    snapshot: &Snapshot,
) -> Result<Vec<u8>, JsonError> {
    let mut message = dynamic(kind.url(), &resource.body)?;
    fill(&mut message, snapshot, DEPTH_MAX)?;
    Ok(message.encode_to_vec())
}

fn dynamic(type_url: &str, body: &[u8]) -> Result<DynamicMessage, JsonError> {
    let descriptor = api()?.message(type_url)?;
    let message = descriptor.full_name().to_owned();
    let decoded = DynamicMessage::decode(descriptor, body);
    decoded.map_err(|source| JsonError::Decode { message, source })
}

fn fill(message: &mut DynamicMessage, snapshot: &Snapshot, depth: usize) -> Result<(), JsonError> {
    let Some(depth) = depth.checked_sub(1) else {
        return Ok(());
    };
    match message.descriptor().full_name() {
        ANY => return fill_any(message, snapshot, depth),
        CLUSTER => fill_cluster(message, snapshot)?,
        MANAGER => fill_manager(message, snapshot)?,
        // Without a source, a secret is looked for among those of the bootstrap.
        SDS if is_known(message, snapshot) => message.clear_field_by_name("sds_config"),
        _ => {}
    }
    for (_, value) in message.fields_mut() {
        fill_value(value, snapshot, depth)?;
    }
    Ok(())
}

fn fill_value(value: &mut Value, snapshot: &Snapshot, depth: usize) -> Result<(), JsonError> {
    match value {
        Value::Message(inner) => fill(inner, snapshot, depth),
        Value::List(values) => {
            let mut values = values.iter_mut();
            values.try_for_each(|value| fill_value(value, snapshot, depth))
        }
        Value::Map(entries) => {
            let mut values = entries.values_mut();
            values.try_for_each(|value| fill_value(value, snapshot, depth))
        }
        _ => Ok(()),
    }
}

fn fill_any(any: &mut DynamicMessage, snapshot: &Snapshot, depth: usize) -> Result<(), JsonError> {
    let url = text(any, "type_url");
    let body = any.get_field_by_name("value");
    let body = body.and_then(|body| body.as_bytes().cloned());
    // What Envoy does not have is for Envoy to say.
    let (Ok(mut inner), true) = (dynamic(&url, &body.unwrap_or_default()), !url.is_empty()) else {
        return Ok(());
    };
    fill(&mut inner, snapshot, depth)?;
    any.set_field_by_name("value", Value::Bytes(inner.encode_to_vec().into()));
    Ok(())
}

fn fill_cluster(cluster: &mut DynamicMessage, snapshot: &Snapshot) -> Result<(), JsonError> {
    if !cluster.has_field_by_name("eds_cluster_config") {
        return Ok(());
    }
    let name = text(cluster, "name");
    cluster.clear_field_by_name("eds_cluster_config");
    cluster.set_field_by_name("type", Value::EnumNumber(STATIC));
    let endpoints = snapshot.get(ResourceType::Endpoint, &name);
    let body = endpoints.map(|it| it.body.clone()).unwrap_or_default();
    let mut endpoints = dynamic(ResourceType::Endpoint.url(), &body)?;
    endpoints.set_field_by_name("cluster_name", Value::String(name));
    cluster.set_field_by_name("load_assignment", Value::Message(endpoints));
    Ok(())
}

fn fill_manager(manager: &mut DynamicMessage, snapshot: &Snapshot) -> Result<(), JsonError> {
    let rds = manager.get_field_by_name("rds");
    let rds = rds.and_then(|rds| rds.as_message().cloned());
    let name = rds.map(|rds| text(&rds, "route_config_name"));
    let routes = name.and_then(|name| snapshot.get(ResourceType::Route, &name));
    let Some(routes) = routes else {
        return Ok(());
    };
    let mut routes = dynamic(ResourceType::Route.url(), &routes.body)?;
    // As with routes that are discovered: a cluster may be known later, or never.
    let mut no = dynamic("google.protobuf.BoolValue", &[])?;
    no.set_field_by_name("value", Value::Bool(false));
    routes.set_field_by_name("validate_clusters", Value::Message(no));
    manager.clear_field_by_name("rds");
    manager.set_field_by_name("route_config", Value::Message(routes));
    Ok(())
}

fn is_known(sds: &DynamicMessage, snapshot: &Snapshot) -> bool {
    let name = text(sds, "name");
    snapshot.get(ResourceType::Secret, &name).is_some()
}

fn text(message: &DynamicMessage, field: &str) -> String {
    let value = message.get_field_by_name(field);
    let text = value.and_then(|value| value.as_str().map(str::to_owned));
    text.unwrap_or_default()
}

const BOOTSTRAP: &str = "envoy.config.bootstrap.v3.Bootstrap";
const CLUSTER: &str = "envoy.config.cluster.v3.Cluster";
const MANAGER: &str =
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
const SDS: &str = "envoy.extensions.transport_sockets.tls.v3.SdsSecretConfig";
const HTTP_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
/// `Cluster.DiscoveryType.STATIC`.
const STATIC: i32 = 0;
const CONTROLLER: &str = "xds_cluster";
/// Nothing that is made here is nested deeper; what a service brings is bounded as well.
const DEPTH_MAX: usize = 100;
