//! The defaults that a careful operator would choose. Each function takes a message and fills in
//! what the service has not set in it; what it has set stays, also where that is what Envoy takes
//! a plain field for that nobody has set.

use envoy_types::pb::envoy::config::cluster::v3::circuit_breakers::Thresholds;
use envoy_types::pb::envoy::config::cluster::v3::{
    CircuitBreakers, Cluster as PbCluster, OutlierDetection,
};
use envoy_types::pb::envoy::config::cluster::v3::cluster::{CommonLbConfig, LbPolicy};
use envoy_types::pb::envoy::config::core::v3::health_check::{
    HealthChecker, HttpHealthCheck, TcpHealthCheck,
};
use envoy_types::pb::envoy::config::core::v3::http_protocol_options::HeadersWithUnderscoresAction;
use envoy_types::pb::envoy::config::core::v3::{
    HealthCheck as PbHealthCheck, Http1ProtocolOptions, Http2ProtocolOptions, HttpProtocolOptions,
};
use envoy_types::pb::envoy::config::listener::v3::Listener as PbListener;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::{
    PathWithEscapedSlashesAction, ServerHeaderTransformation, UpgradeConfig,
};
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3::TcpProxy;
use envoy_types::pb::envoy::r#type::v3::{CodecClientType, Percent};
use envoy_types::pb::google::protobuf::{BoolValue, UInt32Value};

use super::access_log;
use super::data::Given;
use super::encode::milliseconds;
use crate::gateway::{BackendProtocol, Cluster, Downstream, HealthCheck, Limits};

/// Fills in how requests are taken from clients. Envoy's guide for edge proxies is followed where
/// nothing else is said.
pub(super) fn fill_manager(
    manager: &mut HttpConnectionManager,
    given: &Given<HttpConnectionManager>,
    downstream: Downstream,
) {
    let trusts = downstream.xff_trusted_hops > 0;
    // The client's address is the connection's, or what the trusted proxies say it is; what else
    // a client claims of itself in x-forwarded-for and x-envoy-* is not passed on as true.
    set(&mut manager.use_remote_address, BoolValue { value: true });
    if !given.has("xff_num_trusted_hops") {
        manager.xff_num_trusted_hops = downstream.xff_trusted_hops.into();
    }
    // A request keeps the id that a trusted proxy gave it; a client cannot choose one.
    if !given.has("preserve_external_request_id") {
        manager.preserve_external_request_id = trusts;
    }
    if !given.has("always_set_request_id_in_response") {
        manager.always_set_request_id_in_response = true;
    }
    fill_paths(manager, given);
    fill_protocols(manager, given);
    // The application's own, as if there were no proxy.
    if !given.has("server_header_transformation") {
        manager.server_header_transformation = ServerHeaderTransformation::PassThrough.into();
    }
    if !given.has("upgrade_configs") {
        manager.upgrade_configs = vec![UpgradeConfig {
            upgrade_type: "websocket".to_owned(),
            ..UpgradeConfig::default()
        }];
    }
    // Requests that dribble their headers in hold a connection for no good reason.
    let headers_timeout = milliseconds(REQUEST_HEADERS_TIMEOUT_MS);
    set(&mut manager.request_headers_timeout, headers_timeout);
    // Also for websockets: one that says nothing for so long, not even a ping, is cut.
    let idle_timeout = milliseconds(STREAM_IDLE_TIMEOUT_MS);
    set(&mut manager.stream_idle_timeout, idle_timeout);
    if downstream.access_log && !given.has("access_log") {
        manager.access_log = vec![access_log::requests()];
    }
}

/// One path, one spelling, so that what a route matches is what the application sees. An escaped
/// slash stays: applications have it in names (`@scope%2Fpackage`, `group%2Fproject`).
fn fill_paths(manager: &mut HttpConnectionManager, given: &Given<HttpConnectionManager>) {
    set(&mut manager.normalize_path, BoolValue { value: true });
    if !given.has("merge_slashes") {
        manager.merge_slashes = true;
    }
    if !given.has("path_with_escaped_slashes_action") {
        let keep = PathWithEscapedSlashesAction::KeepUnchanged;
        manager.path_with_escaped_slashes_action = keep.into();
    }
}

fn fill_protocols(manager: &mut HttpConnectionManager, given: &Given<HttpConnectionManager>) {
    let common = manager
        .common_http_protocol_options
        .get_or_insert_with(HttpProtocolOptions::default);
    let idle_timeout = milliseconds(CONNECTION_IDLE_TIMEOUT_MS);
    set(&mut common.idle_timeout, idle_timeout);
    // CGI, WSGI and PHP cannot tell X_Forwarded_For from X-Forwarded-For: such names are dropped
    // as other servers drop them, so that a client cannot pass for a proxy.
    if !given.has("common_http_protocol_options.headers_with_underscores_action") {
        let drop = HeadersWithUnderscoresAction::DropHeader;
        common.headers_with_underscores_action = drop.into();
    }
    let headers_kb = UInt32Value {
        value: REQUEST_HEADERS_KB_MAX,
    };
    set(&mut manager.max_request_headers_kb, headers_kb);
    let http1 = || Http1ProtocolOptions {
        accept_http_10: true,
        ..Http1ProtocolOptions::default()
    };
    manager.http_protocol_options.get_or_insert_with(http1);
    let http2 = manager
        .http2_protocol_options
        .get_or_insert_with(Http2ProtocolOptions::default);
    fill_http2(http2);
}

/// What one client can make the gateway hold. Envoy's own windows are 16 MiB and more.
pub(super) fn fill_http2(options: &mut Http2ProtocolOptions) {
    let number = |value| UInt32Value { value };
    let streams = number(CONCURRENT_STREAMS_MAX);
    set(&mut options.max_concurrent_streams, streams);
    let stream_window = number(STREAM_WINDOW_BYTES);
    set(&mut options.initial_stream_window_size, stream_window);
    let window = number(CONNECTION_WINDOW_BYTES);
    set(&mut options.initial_connection_window_size, window);
}

/// Fills in how connections are passed on.
pub(super) fn fill_tcp_proxy(
    proxy: &mut TcpProxy,
    given: &Given<TcpProxy>,
    downstream: Downstream,
) {
    let attempts = UInt32Value {
        value: CONNECT_ATTEMPTS,
    };
    set(&mut proxy.max_connect_attempts, attempts);
    let idle_timeout = milliseconds(CONNECTION_IDLE_TIMEOUT_MS);
    set(&mut proxy.idle_timeout, idle_timeout);
    if downstream.access_log && !given.has("access_log") {
        proxy.access_log = vec![access_log::connections()];
    }
}

/// Fills in what a listener holds for each of its connections.
pub(super) fn fill_listener(listener: &mut PbListener) {
    let limit = UInt32Value {
        value: BUFFER_BYTES_MAX,
    };
    set(&mut listener.per_connection_buffer_limit_bytes, limit);
}

/// Fills in how a cluster reaches its hosts, and finds out which of them work.
pub(super) fn fill_cluster(cluster: &mut PbCluster, given: &Given<PbCluster>, wanted: &Cluster) {
    let connect_timeout = milliseconds(wanted.connect_timeout_ms);
    set(&mut cluster.connect_timeout, connect_timeout);
    // An address that is taken away is gone: without this a host that passes its checks would
    // stay although the service has left it.
    if !given.has("ignore_health_on_host_removal") {
        cluster.ignore_health_on_host_removal = true;
    }
    let panic_threshold = Percent {
        value: PANIC_THRESHOLD_PERCENT,
    };
    let common = cluster
        .common_lb_config
        .get_or_insert_with(CommonLbConfig::default);
    set(&mut common.healthy_panic_threshold, panic_threshold);
    let limit = UInt32Value {
        value: BUFFER_BYTES_MAX,
    };
    set(&mut cluster.per_connection_buffer_limit_bytes, limit);
    // Data of the service, too, can make a cluster take its hosts from the connections.
    let has_hosts = cluster.lb_policy() != LbPolicy::ClusterProvided;
    if has_hosts && !given.has("health_checks") {
        let check = wanted.health_check.iter();
        let check = check.map(|check| health_check(check, wanted.backend_protocol));
        cluster.health_checks = check.collect();
    }
    if let Some(errors) = wanted.outlier_consecutive_errors {
        cluster
            .outlier_detection
            .get_or_insert_with(|| outlier_detection(errors));
    }
    cluster
        .circuit_breakers
        .get_or_insert_with(|| circuit_breakers(wanted.limits));
}

/// A host that only errs is left alone for 30 s, then longer; at most half of the hosts are.
fn outlier_detection(errors: u32) -> OutlierDetection {
    let number = |value| Some(UInt32Value { value });
    OutlierDetection {
        consecutive_5xx: number(errors),
        max_ejection_percent: number(EJECTED_PERCENT_MAX),
        ..OutlierDetection::default()
    }
}

/// Envoy lets three requests be tried again at once: too few for those that were under way to an
/// instance that goes.
fn circuit_breakers(limits: Limits) -> CircuitBreakers {
    let number = |value| UInt32Value { value };
    CircuitBreakers {
        thresholds: vec![Thresholds {
            max_connections: limits.connections.map(number),
            max_pending_requests: limits.pending_requests.map(number),
            max_requests: limits.requests.map(number),
            max_retries: Some(number(RETRIES_AT_ONCE_MAX)),
            ..Thresholds::default()
        }],
        ..CircuitBreakers::default()
    }
}

/// A failing host is out after three checks, and back two seconds after it works again. The
/// spread is a share of each interval, so that it does not slow the recovery down.
fn health_check(check: &HealthCheck, protocol: BackendProtocol) -> PbHealthCheck {
    let number = |value| Some(UInt32Value { value });
    PbHealthCheck {
        timeout: Some(milliseconds(CHECK_TIMEOUT_MS)),
        interval: Some(milliseconds(CHECK_INTERVAL_MS)),
        interval_jitter_percent: CHECK_JITTER_PERCENT,
        unhealthy_threshold: number(3),
        healthy_threshold: number(1),
        unhealthy_interval: Some(milliseconds(CHECK_INTERVAL_UNHEALTHY_MS)),
        // Without these a host that nobody asked for anything is looked at once a minute.
        no_traffic_interval: Some(milliseconds(CHECK_INTERVAL_UNHEALTHY_MS)),
        no_traffic_healthy_interval: Some(milliseconds(CHECK_INTERVAL_IDLE_MS)),
        health_checker: Some(match check {
            HealthCheck::Tcp => HealthChecker::TcpHealthCheck(TcpHealthCheck::default()),
            HealthCheck::Http { path, host } => HealthChecker::HttpHealthCheck(HttpHealthCheck {
                path: path.clone(),
                host: host.clone(),
                codec_client_type: match protocol {
                    BackendProtocol::Http1 => CodecClientType::Http1.into(),
                    BackendProtocol::Http2 => CodecClientType::Http2.into(),
                },
                ..HttpHealthCheck::default()
            }),
        }),
        ..PbHealthCheck::default()
    }
}

fn set<T>(field: &mut Option<T>, value: T) {
    field.get_or_insert(value);
}

/// Long enough for a slow client, and not for one that is slow on purpose.
const REQUEST_HEADERS_TIMEOUT_MS: u32 = 15_000;
/// Envoy's own default, and its guide's.
const STREAM_IDLE_TIMEOUT_MS: u32 = 5 * 60_000;
/// Without requests, or for plain TCP without a byte. Envoy's own default, and its guide's.
const CONNECTION_IDLE_TIMEOUT_MS: u32 = 3_600_000;
/// Envoy's own default.
const REQUEST_HEADERS_KB_MAX: u32 = 60;
/// The values of Envoy's guide for edge proxies.
const CONCURRENT_STREAMS_MAX: u32 = 100;
const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// A quarter of Envoy's own default. The guide's 32 KiB would be too little here: only a request
/// whose body fits is tried again when its instance went away.
const BUFFER_BYTES_MAX: u32 = 256 * 1024;
/// A connection whose instance was stopped a moment ago goes to another one.
const CONNECT_ATTEMPTS: u32 = 4;
/// Below this share of healthy hosts Envoy ignores health. The usual 50 % would send traffic to
/// the three instances of four that are being stopped; with none left, any is better than none.
const PANIC_THRESHOLD_PERCENT: f64 = 1.0;
/// How long a new cluster with a silent host is held up, and every acknowledgement of clusters
/// with it. igw_envoy waited 5 s.
const CHECK_TIMEOUT_MS: u32 = 2_000;
/// Three of them must fail before a hold-down of a minute ends; igw_envoy's 30 to 45 s are longer.
const CHECK_INTERVAL_MS: u32 = 10_000;
const CHECK_JITTER_PERCENT: u32 = 50;
const CHECK_INTERVAL_UNHEALTHY_MS: u32 = 2_000;
const CHECK_INTERVAL_IDLE_MS: u32 = 30_000;
const EJECTED_PERCENT_MAX: u32 = 50;
/// As many as Envoy lets be under way.
const RETRIES_AT_ONCE_MAX: u32 = 1_024;
