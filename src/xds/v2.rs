//! PURE: what users of igw_envoy wrote, in the words of today's API. Envoy's v2 API is gone; its
//! JSON is translated field by field where the new name means the same.
//!
//! Names of messages come from Envoy's own descriptors, renamed fields and extensions from the
//! tables below. What is in no table is left as it is, and is refused when it is read.

use prost_reflect::{Kind, MessageDescriptor};
use serde_json::{Map, Value, json};

use super::api::{api, successor};
use super::json::ANY;

/// Rewrites the JSON of a message of that name in place.
pub(super) fn translate(type_name: &str, value: &mut Value) {
    if let Ok(descriptor) = api().and_then(|api| api.message(type_name)) {
        message(&descriptor, value, DEPTH_MAX);
    }
}

fn message(descriptor: &MessageDescriptor, value: &mut Value, depth: usize) {
    let (Some(depth), Value::Object(members)) = (depth.checked_sub(1), value) else {
        return;
    };
    if descriptor.full_name() == ANY {
        return any(members, depth);
    }
    rename(descriptor, members);
    match descriptor.full_name() {
        CLUSTER => cluster(members),
        HTTP_MANAGER => http_manager(members),
        _ => {}
    }
    if descriptor.get_field_by_name("typed_config").is_some() {
        extension(members);
    }
    for (name, value) in members {
        let field = descriptor
            .get_field_by_name(name)
            .or_else(|| descriptor.get_field_by_json_name(name));
        let Some(field) = field else {
            continue;
        };
        let kind = match field.kind() {
            Kind::Message(entry) if field.is_map() => entry.map_entry_value_field().kind(),
            kind => kind,
        };
        let values: Vec<&mut Value> = match value {
            Value::Array(items) if field.is_list() => items.iter_mut().collect(),
            Value::Object(entries) if field.is_map() => entries.values_mut().collect(),
            value => vec![value],
        };
        for value in values {
            match &kind {
                Kind::Message(inner) => message(inner, value, depth),
                Kind::Enum(names) => {
                    // `ROUND ROBIN`, as the keyword spells it, and `auto`.
                    let upper = |text: &str| text.to_ascii_uppercase().replace([' ', '-'], "_");
                    let name = value.as_str().map(upper);
                    if let Some(name) = name.filter(|name| names.get_value_by_name(name).is_some())
                    {
                        *value = Value::from(name);
                    }
                }
                _ => {}
            }
        }
    }
}

fn any(members: &mut Map<String, Value>, depth: usize) {
    let url = members.get("@type").and_then(Value::as_str);
    let Some(name) = url.map(|url| url.rsplit('/').next().unwrap_or(url)) else {
        return;
    };
    let name = successor_to(name).unwrap_or(name).to_owned();
    members.insert("@type".to_owned(), Value::from(format!("{URL}{name}")));
    if let Ok(descriptor) = api().and_then(|api| api.message(&name)) {
        let mut value = Value::Object(std::mem::take(members));
        message(&descriptor, &mut value, depth);
        if let Value::Object(translated) = value {
            *members = translated;
        }
    }
}

/// The message of today with that v2 name, unless the name is still one.
fn successor_to(name: &str) -> Option<&'static str> {
    let known = api().and_then(|api| api.message(name)).is_ok();
    if known { None } else { successor(name) }
}

fn rename(descriptor: &MessageDescriptor, members: &mut Map<String, Value>) {
    for (owner, old, new) in RENAMED {
        if *owner != descriptor.full_name() || members.contains_key(*new) {
            continue;
        }
        let Some(value) = members.remove(*old) else {
            continue;
        };
        let value = match *new {
            "safe_regex" | "safe_regex_match" => json!({"regex": value}),
            "service_name_matcher" => json!({"prefix": value}),
            "match_subject_alt_names" => {
                let names = value.as_array().cloned().unwrap_or_default();
                names.iter().map(|name| json!({"exact": name})).collect()
            }
            "custom_tags" => {
                let names = value.as_array().cloned().unwrap_or_default();
                let tag = |name: &Value| json!({"tag": name, "request_header": {"name": name}});
                names.iter().map(tag).collect()
            }
            "codec_client_type" => match value.as_bool() {
                Some(true) => json!("HTTP2"),
                Some(false) => json!("HTTP1"),
                None => value,
            },
            _ => value,
        };
        if !new.is_empty() {
            members.insert((*new).to_owned(), value);
        }
    }
}

/// A named extension: its name and, in `config`, what is in it. Today the type decides.
fn extension(members: &mut Map<String, Value>) {
    let name = members
        .get("name")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let Some((_, new, type_name)) = EXTENSIONS
        .iter()
        .find(|(old, new, _)| name == *old || name == *new)
    else {
        return;
    };
    if members.contains_key("config_discovery") || members.contains_key("configDiscovery") {
        return;
    }
    members.insert("name".to_owned(), Value::from(*new));
    if members.contains_key("typed_config") || members.contains_key("typedConfig") {
        return;
    }
    let mut config = match members.remove("config") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(config)) => config,
        Some(other) => {
            members.insert("config".to_owned(), other);
            return;
        }
    };
    config.insert("@type".to_owned(), Value::from(format!("{URL}{type_name}")));
    members.insert("typed_config".to_owned(), Value::Object(config));
}

fn cluster(members: &mut Map<String, Value>) {
    if !members.contains_key("transport_socket")
        && let Some(Value::Object(mut context)) = members.remove("tls_context")
    {
        context.insert(
            "@type".to_owned(),
            Value::from(format!("{URL}{UPSTREAM_TLS}")),
        );
        let socket = json!({"name": "envoy.transport_sockets.tls", "typed_config": context});
        members.insert("transport_socket".to_owned(), socket);
    }
    if members.get("lb_policy").and_then(Value::as_str) == Some("ORIGINAL_DST_LB") {
        members.insert("lb_policy".to_owned(), Value::from("CLUSTER_PROVIDED"));
    }
    http_options(members);
}

/// How a cluster speaks HTTP is an extension today.
fn http_options(members: &mut Map<String, Value>) {
    let typed = members.get("typed_extension_protocol_options");
    if typed.is_some_and(|typed| typed.get(HTTP_OPTIONS).is_some()) {
        return;
    }
    let mut take = |name: &str| members.remove(name).filter(|value| !value.is_null());
    let http = take("http_protocol_options");
    let http2 = take("http2_protocol_options");
    let common = take("common_http_protocol_options");
    let upstream = take("upstream_http_protocol_options");
    let selection = take("protocol_selection");
    if [&http, &http2, &common, &upstream]
        .iter()
        .all(|part| part.is_none())
    {
        return;
    }
    let mut options = Map::new();
    options.insert(
        "@type".to_owned(),
        Value::from(format!("{URL}{HTTP_OPTIONS}")),
    );
    for (name, part) in [
        ("common_http_protocol_options", common),
        ("upstream_http_protocol_options", upstream),
    ] {
        if let Some(part) = part {
            options.insert(name.to_owned(), part);
        }
    }
    let follows = selection.as_ref().and_then(Value::as_str) == Some("USE_DOWNSTREAM_PROTOCOL");
    let (name, config) = match (follows, http2) {
        (true, http2) => (
            "use_downstream_protocol_config",
            json!({
                "http_protocol_options": http.unwrap_or_else(|| json!({})),
                "http2_protocol_options": http2.unwrap_or_else(|| json!({})),
            }),
        ),
        (false, Some(http2)) => (
            "explicit_http_config",
            json!({"http2_protocol_options": http2}),
        ),
        (false, None) => (
            "explicit_http_config",
            json!({"http_protocol_options": http.unwrap_or_else(|| json!({}))}),
        ),
    };
    options.insert(name.to_owned(), config);
    let typed = members
        .entry("typed_extension_protocol_options")
        .or_insert_with(|| json!({}));
    if let Value::Object(typed) = typed {
        typed.insert(HTTP_OPTIONS.to_owned(), Value::Object(options));
    }
}

fn http_manager(members: &mut Map<String, Value>) {
    if let Some(idle) = members.remove("idle_timeout") {
        let common = members
            .entry("common_http_protocol_options")
            .or_insert_with(|| json!({}));
        if let Value::Object(common) = common {
            common.entry("idle_timeout").or_insert(idle);
        }
    }
}

const URL: &str = "type.googleapis.com/";
const CLUSTER: &str = "envoy.config.cluster.v3.Cluster";
const HTTP_MANAGER: &str =
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
const SPANS: &str =
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.Tracing";
const HTTP_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
const UPSTREAM_TLS: &str = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext";
const HTTP_CHECK: &str = "envoy.config.core.v3.HealthCheck.HttpHealthCheck";
const VALIDATION: &str = "envoy.extensions.transport_sockets.tls.v3.CertificateValidationContext";

/// Fields that have another name today: the message, the old name, the new one. A field without
/// a new name means nothing any more.
const RENAMED: &[(&str, &str, &str)] = &[
    (
        CLUSTER,
        "drain_connections_on_host_removal",
        "ignore_health_on_host_removal",
    ),
    // Whether traffic comes in or goes out is said by the listener today.
    (SPANS, "operation_name", ""),
    (SPANS, "request_headers_for_tags", "custom_tags"),
    (HTTP_CHECK, "use_http2", "codec_client_type"),
    (HTTP_CHECK, "service_name", "service_name_matcher"),
    (
        VALIDATION,
        "verify_subject_alt_name",
        "match_subject_alt_names",
    ),
    ("envoy.type.matcher.v3.StringMatcher", "regex", "safe_regex"),
    ("envoy.config.route.v3.RouteMatch", "regex", "safe_regex"),
    (
        "envoy.config.route.v3.HeaderMatcher",
        "regex_match",
        "safe_regex_match",
    ),
    (
        "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        "deprecated_v1",
        "",
    ),
];

/// Extensions: the old name, today's name, the message that configures it.
const EXTENSIONS: &[(&str, &str, &str)] = &[
    (
        "envoy.router",
        "envoy.filters.http.router",
        "envoy.extensions.filters.http.router.v3.Router",
    ),
    (
        "envoy.cors",
        "envoy.filters.http.cors",
        "envoy.extensions.filters.http.cors.v3.Cors",
    ),
    (
        "envoy.buffer",
        "envoy.filters.http.buffer",
        "envoy.extensions.filters.http.buffer.v3.Buffer",
    ),
    (
        "envoy.csrf",
        "envoy.filters.http.csrf",
        "envoy.extensions.filters.http.csrf.v3.CsrfPolicy",
    ),
    (
        "envoy.ext_authz",
        "envoy.filters.http.ext_authz",
        "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
    ),
    (
        "envoy.fault",
        "envoy.filters.http.fault",
        "envoy.extensions.filters.http.fault.v3.HTTPFault",
    ),
    (
        "envoy.grpc_http1_bridge",
        "envoy.filters.http.grpc_http1_bridge",
        "envoy.extensions.filters.http.grpc_http1_bridge.v3.Config",
    ),
    (
        "envoy.grpc_json_transcoder",
        "envoy.filters.http.grpc_json_transcoder",
        "envoy.extensions.filters.http.grpc_json_transcoder.v3.GrpcJsonTranscoder",
    ),
    (
        "envoy.grpc_web",
        "envoy.filters.http.grpc_web",
        "envoy.extensions.filters.http.grpc_web.v3.GrpcWeb",
    ),
    (
        "envoy.health_check",
        "envoy.filters.http.health_check",
        "envoy.extensions.filters.http.health_check.v3.HealthCheck",
    ),
    (
        "envoy.ip_tagging",
        "envoy.filters.http.ip_tagging",
        "envoy.extensions.filters.http.ip_tagging.v3.IPTagging",
    ),
    (
        "envoy.jwt_authn",
        "envoy.filters.http.jwt_authn",
        "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
    ),
    (
        "envoy.lua",
        "envoy.filters.http.lua",
        "envoy.extensions.filters.http.lua.v3.Lua",
    ),
    (
        "envoy.rate_limit",
        "envoy.filters.http.ratelimit",
        "envoy.extensions.filters.http.ratelimit.v3.RateLimit",
    ),
    (
        "envoy.rbac",
        "envoy.filters.http.rbac",
        "envoy.extensions.filters.http.rbac.v3.RBAC",
    ),
    (
        "envoy.file_access_log",
        "envoy.access_loggers.file",
        "envoy.extensions.access_loggers.file.v3.FileAccessLog",
    ),
    (
        "envoy.http_grpc_access_log",
        "envoy.access_loggers.http_grpc",
        "envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig",
    ),
    (
        "envoy.tcp_grpc_access_log",
        "envoy.access_loggers.tcp_grpc",
        "envoy.extensions.access_loggers.grpc.v3.TcpGrpcAccessLogConfig",
    ),
    (
        "envoy.transport_sockets.raw_buffer",
        "envoy.transport_sockets.raw_buffer",
        "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer",
    ),
    (
        "envoy.health_checkers.redis",
        "envoy.health_checkers.redis",
        "envoy.extensions.health_checkers.redis.v3.Redis",
    ),
    ("tls", "envoy.transport_sockets.tls", UPSTREAM_TLS),
];

/// More than the depth that is let in.
const DEPTH_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(type_name: &str, mut value: Value, expect: Value) {
        translate(type_name, &mut value);
        assert_eq!(value, expect);
        super::super::json::from_json(type_name, &value).unwrap();
    }

    #[test]
    fn every_name_of_the_tables_exists() {
        for (owner, _, new) in RENAMED {
            let message = api().unwrap().message(owner).unwrap();
            assert!(
                new.is_empty() || message.get_field_by_name(new).is_some(),
                "{owner} {new}"
            );
        }
        for (_, _, type_name) in EXTENSIONS {
            assert!(api().unwrap().message(type_name).is_ok(), "{type_name}");
        }
    }

    #[test]
    fn a_cluster_of_the_v2_api_is_one_of_today() {
        check(
            CLUSTER,
            json!({
                "connect_timeout": "2s",
                "lb_policy": "ROUND ROBIN",
                "drain_connections_on_host_removal": false,
                "http2_protocol_options": {"max_concurrent_streams": 10},
                "tls_context": {"sni": "a", "common_tls_context": {"validation_context": {
                    "verify_subject_alt_name": ["b"]}}},
                "health_checks": [{"timeout": "1s", "interval": "1s", "unhealthy_threshold": 1,
                    "healthy_threshold": 1,
                    "http_health_check": {"path": "/", "use_http2": true}}],
            }),
            json!({
                "connect_timeout": "2s",
                "lb_policy": "ROUND_ROBIN",
                "ignore_health_on_host_removal": false,
                "typed_extension_protocol_options": {HTTP_OPTIONS: {
                    "@type": format!("{URL}{HTTP_OPTIONS}"),
                    "explicit_http_config": {
                        "http2_protocol_options": {"max_concurrent_streams": 10}},
                }},
                "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": {
                    "@type": format!("{URL}{UPSTREAM_TLS}"),
                    "sni": "a", "common_tls_context": {"validation_context": {
                        "match_subject_alt_names": [{"exact": "b"}]}}}},
                "health_checks": [{"timeout": "1s", "interval": "1s", "unhealthy_threshold": 1,
                    "healthy_threshold": 1,
                    "http_health_check": {"path": "/", "codec_client_type": "HTTP2"}}],
            }),
        );
    }

    #[test]
    fn an_http_filter_of_the_v2_api_is_one_of_today() {
        let log = "envoy.extensions.access_loggers.file.v3.FileAccessLog";
        check(
            HTTP_MANAGER,
            json!({
                "codec_type": "auto",
                "idle_timeout": "30s",
                "tracing": {"operation_name": "ingress", "request_headers_for_tags": ["x-a"]},
                "access_log": [
                    {"name": "envoy.file_access_log", "config": {"path": "/dev/stdout"}},
                    {"name": "envoy.file_access_log", "typed_config": {
                        "@type": "type.googleapis.com/envoy.config.accesslog.v2.FileAccessLog",
                        "path": "/dev/stdout"}},
                ],
                "http_filters": [{"name": "envoy.router"}],
            }),
            json!({
                "codec_type": "AUTO",
                "common_http_protocol_options": {"idle_timeout": "30s"},
                "tracing": {"custom_tags": [{"tag": "x-a", "request_header": {"name": "x-a"}}]},
                "access_log": [
                    {"name": "envoy.access_loggers.file", "typed_config": {
                        "@type": format!("{URL}{log}"), "path": "/dev/stdout"}},
                    {"name": "envoy.access_loggers.file", "typed_config": {
                        "@type": format!("{URL}{log}"), "path": "/dev/stdout"}},
                ],
                "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {
                    "@type": format!("{URL}envoy.extensions.filters.http.router.v3.Router")}}],
            }),
        );
    }

    #[test]
    fn what_is_of_today_stays_as_it_is() {
        let value = json!({
            "connectTimeout": "2s",
            "circuit_breakers": {"thresholds": [{"priority": "HIGH", "max_connections": 9}]},
        });
        check(CLUSTER, value.clone(), value);
    }
}
