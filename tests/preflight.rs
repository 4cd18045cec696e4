//! What the preflight finds, held to what a real Envoy refuses; and that it finds nothing in what
//! is served.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking, as tests do"
)]

use osvc_igw::xds::ResourceType;
use osvc_igw::xds::json::from_json;
use osvc_igw::xds::preflight::check;
use serde_json::{Value, json};

use crate::golden::{Case, names};
use crate::support::envoy;

/// A message that breaks one rule: where, and the message.
fn bad_clusters() -> Vec<(&'static str, Value)> {
    let tcp = json!({"timeout": "1s", "interval": "1s", "unhealthy_threshold": 1,
        "healthy_threshold": 1, "tcp_health_check": {}});
    let without = |member: &str| {
        let mut check = tcp.clone();
        check.as_object_mut().map(|check| check.remove(member));
        json!({"health_checks": [check]})
    };
    let address = json!({"socket_address": {"address": "127.0.0.1", "port_value": 1}});
    let host = json!({"endpoint": {"address": address}, "load_balancing_weight": 0});
    let http = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    let typed = json!({"@type": format!("type.googleapis.com/{http}"), "explicit_http_config": {
        "http2_protocol_options": {"max_concurrent_streams": 0}}});
    vec![
        ("connect_timeout", json!({"connect_timeout": "-1s"})),
        ("cleanup_interval", json!({"cleanup_interval": "0s"})),
        ("lb_policy", json!({"lb_policy": 99})),
        ("health_checks[0].timeout", without("timeout")),
        (
            "health_checks[0].healthy_threshold",
            without("healthy_threshold"),
        ),
        ("health_checks[0]", without("tcp_health_check")),
        (
            "load_assignment.endpoints[0].lb_endpoints[0].load_balancing_weight",
            json!({"load_assignment": {"cluster_name": "a",
                "endpoints": [{"lb_endpoints": [host]}]}}),
        ),
        (
            "outlier_detection.max_ejection_percent",
            json!({"outlier_detection": {"max_ejection_percent": 101}}),
        ),
        (
            "typed_extension_protocol_options",
            json!({"typed_extension_protocol_options": {http: typed}}),
        ),
    ]
}

fn bad_routes() -> Vec<(&'static str, Value)> {
    let route = |matches: Value, action: Value| {
        let route = json!({"match": matches, "route": action});
        json!({"virtual_hosts": [{"name": "a", "domains": ["*"], "routes": [route]}]})
    };
    let slash = json!({"prefix": "/"});
    vec![
        (
            "virtual_hosts[0].domains",
            json!({"virtual_hosts": [{"name": "a"}]}),
        ),
        (
            "virtual_hosts[0].name",
            json!({"virtual_hosts": [{"domains": ["a"]}]}),
        ),
        (
            "virtual_hosts[0].routes[0]",
            json!({"virtual_hosts": [{"name": "a", "domains": ["*"],
                "routes": [{"match": slash}]}]}),
        ),
        (
            "virtual_hosts[0].routes[0].match.safe_regex.regex",
            route(json!({"safe_regex": {}}), json!({"cluster": "a"})),
        ),
        (
            "virtual_hosts[0].routes[0].match",
            route(json!({}), json!({"cluster": "a"})),
        ),
        (
            "virtual_hosts[0].routes[0].route.host_rewrite_literal",
            route(
                slash.clone(),
                json!({"cluster": "a", "host_rewrite_literal": "a\nb"}),
            ),
        ),
        (
            "virtual_hosts[0].routes[0].route.hash_policy[0].cookie.name",
            route(
                slash,
                json!({"cluster": "a", "hash_policy": [{"cookie": {}}]}),
            ),
        ),
        (
            "request_headers_to_remove[0]",
            json!({"request_headers_to_remove": ["a\rb"]}),
        ),
    ]
}

fn bootstrap(clusters: &[Value], listeners: &[Value]) -> String {
    json!({"static_resources": {"clusters": clusters, "listeners": listeners}}).to_string()
}

fn cluster(more: &Value) -> Value {
    let mut cluster = json!({"name": "a", "type": "STATIC", "connect_timeout": "1s"});
    merge(&mut cluster, more);
    cluster
}

fn listener(routes: &Value) -> Value {
    let router = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";
    let manager = "type.googleapis.com/envoy.extensions.filters.network.\
                   http_connection_manager.v3.HttpConnectionManager";
    let mut config = json!({"name": "r"});
    merge(&mut config, routes);
    let manager = json!({"@type": manager, "stat_prefix": "a", "route_config": config,
        "http_filters": [{"name": "r", "typed_config": {"@type": router}}]});
    json!({"name": "l",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 1}},
        "filter_chains": [{"filters": [{"name": "h", "typed_config": manager}]}]})
}

fn merge(target: &mut Value, more: &Value) {
    let more = more.as_object().cloned().unwrap_or_default();
    if let Some(target) = target.as_object_mut() {
        target.extend(more);
    }
}

#[track_caller]
fn check_refused(type_name: &str, message: &Value, place: &str, bootstrap: &str) {
    let found = check(type_name, &from_json(type_name, message).unwrap()).unwrap();
    let paths: Vec<&str> = found.iter().map(|found| found.path.as_str()).collect();
    assert!(
        matches!(paths[..], [path] if path.starts_with(place)),
        "{place}: found {found:?}"
    );
    let error = envoy::validate(bootstrap).unwrap_err();
    let refused = ["constraint validation failed", "Invalid duration"];
    assert!(
        refused.iter().any(|words| error.contains(words)),
        "{place}: {error}"
    );
}

#[test]
fn envoy_accepts_what_the_table_is_made_from() {
    let host = json!({"name": "a", "domains": ["*"], "routes": [
        {"match": {"prefix": "/"}, "route": {"cluster": "a"}}]});
    let good = listener(&json!({"virtual_hosts": [host]}));
    envoy::validate(&bootstrap(&[cluster(&json!({}))], &[good])).unwrap();
}

#[test]
fn envoy_refuses_the_clusters_that_the_preflight_finds() {
    for (place, more) in bad_clusters() {
        let message = cluster(&more);
        let bootstrap = bootstrap(std::slice::from_ref(&message), &[]);
        check_refused(ResourceType::Cluster.url(), &message, place, &bootstrap);
    }
}

#[test]
fn envoy_refuses_the_routes_that_the_preflight_finds() {
    for (place, routes) in bad_routes() {
        let bootstrap = bootstrap(&[cluster(&json!({}))], &[listener(&routes)]);
        check_refused(ResourceType::Route.url(), &routes, place, &bootstrap);
    }
}

#[test]
fn golden_snapshots_pass_the_preflight() {
    for name in names() {
        let snapshot = Case::load(&name).run().snapshot;
        for kind in ResourceType::ALL {
            for resource in snapshot.all(kind) {
                let found = check(kind.url(), &resource.body).unwrap();
                assert!(
                    found.is_empty(),
                    "{name}: {kind} {}: {found:?}",
                    resource.name
                );
            }
        }
    }
}
