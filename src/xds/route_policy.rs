//! What the router and the HTTP filters do with the requests of a route: retries, rate limits,
//! CORS, compression, headers. The filters stand in every listener and do nothing without what is
//! written here.

use envoy_types::pb::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use envoy_types::pb::envoy::config::core::v3::{
    HeaderValue, HeaderValueOption, RuntimeFractionalPercent,
};
use envoy_types::pb::envoy::config::route::v3::RetryPolicy;
use envoy_types::pb::envoy::config::route::v3::retry_policy::{
    RetryHostPredicate, retry_host_predicate,
};
use envoy_types::pb::envoy::extensions::filters::http::cors::v3::{Cors as CorsFilter, CorsPolicy};
use envoy_types::pb::envoy::extensions::filters::http::local_ratelimit::v3::LocalRateLimit;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpFilter, http_filter,
};
use envoy_types::pb::envoy::extensions::retry::host::previous_hosts::v3::PreviousHostsPredicate;
use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use envoy_types::pb::envoy::r#type::matcher::v3::{RegexMatcher, StringMatcher};
use envoy_types::pb::envoy::r#type::v3::fractional_percent::DenominatorType;
use envoy_types::pb::envoy::r#type::v3::{FractionalPercent, TokenBucket};
use envoy_types::pb::google::protobuf::{Any, BoolValue, Duration, UInt32Value};

use super::compression;
use super::encode::{any, milliseconds};
use crate::gateway::{Cors, RateLimit, Retry, Route};

/// The filters that routes may give something to do, in the order in which they see a request.
///
/// Every listener has them always: one that came with the first route that needs it would change
/// the listener, and Envoy ends the connections of a changed listener.
pub(super) fn filters() -> Vec<HttpFilter> {
    let rate_limit = LocalRateLimit {
        stat_prefix: RATE_LIMIT_STATS.to_owned(),
        ..LocalRateLimit::default()
    };
    let filters = [
        (CORS, any(CORS_TYPE, &CorsFilter {})),
        (RATE_LIMIT, any(RATE_LIMIT_TYPE, &rate_limit)),
    ];
    let filters = filters.into_iter().map(|(name, config)| HttpFilter {
        name: name.to_owned(),
        config_type: Some(http_filter::ConfigType::TypedConfig(config)),
        ..HttpFilter::default()
    });
    filters.chain(compression::filters()).collect()
}

/// What the filters do for a route, by the filter's name.
pub(super) fn filter_configs(route: &Route) -> Vec<(String, Any)> {
    let cors = route.cors.as_ref();
    let cors = cors.map(|cors| (CORS, any(CORS_POLICY_TYPE, &cors_policy(cors))));
    let limit = route.rate_limit.as_ref();
    let limit = limit.map(|limit| (RATE_LIMIT, any(RATE_LIMIT_TYPE, &rate_limit(limit))));
    let configs = [cors, limit].into_iter().flatten();
    configs
        .chain(compression::per_route(&route.compression))
        .map(|(name, config)| (name.to_owned(), config))
        .collect()
}

fn cors_policy(cors: &Cors) -> CorsPolicy {
    let origins = cors.allow_origins.iter().map(|origin| match origin {
        // An empty suffix is refused, and `*` means any.
        origin if origin == "*" => MatchPattern::SafeRegex(RegexMatcher {
            regex: ".*".to_owned(),
            ..RegexMatcher::default()
        }),
        origin => match origin.strip_prefix('*') {
            Some(suffix) => MatchPattern::Suffix(suffix.to_owned()),
            None => MatchPattern::Exact(origin.clone()),
        },
    });
    CorsPolicy {
        allow_origin_string_match: origins.map(string_matcher).collect(),
        allow_methods: cors.allow_methods.join(","),
        allow_headers: cors.allow_headers.join(","),
        expose_headers: cors.expose_headers.join(","),
        max_age: cors
            .max_age_s
            .map(|seconds| seconds.to_string())
            .unwrap_or_default(),
        allow_credentials: cors.allow_credentials.map(|value| BoolValue { value }),
        ..CorsPolicy::default()
    }
}

/// A matcher that minds letter case.
pub(super) fn string_matcher(pattern: MatchPattern) -> StringMatcher {
    StringMatcher {
        match_pattern: Some(pattern),
        ..StringMatcher::default()
    }
}

fn rate_limit(limit: &RateLimit) -> LocalRateLimit {
    let always = RuntimeFractionalPercent {
        default_value: Some(percent(100)),
        ..RuntimeFractionalPercent::default()
    };
    LocalRateLimit {
        stat_prefix: RATE_LIMIT_STATS.to_owned(),
        token_bucket: Some(TokenBucket {
            max_tokens: limit.requests,
            tokens_per_fill: Some(UInt32Value {
                value: limit.requests,
            }),
            fill_interval: Some(Duration {
                seconds: limit.per_s.into(),
                nanos: 0,
            }),
        }),
        filter_enabled: Some(always.clone()),
        filter_enforced: Some(always),
        ..LocalRateLimit::default()
    }
}

/// So many of a hundred.
pub(super) fn percent(numerator: u32) -> FractionalPercent {
    FractionalPercent {
        numerator,
        denominator: DenominatorType::Hundred.into(),
    }
}

/// Headers to set; whatever the text, it is what is sent.
pub(super) fn headers(set: &[(String, String)]) -> Vec<HeaderValueOption> {
    let headers = set.iter().map(|(name, value)| HeaderValueOption {
        header: Some(HeaderValue {
            key: name.clone(),
            // Envoy puts something in the place of `%NAME%`.
            value: value.replace('%', "%%"),
            ..HeaderValue::default()
        }),
        append_action: HeaderAppendAction::OverwriteIfExistsOrAdd.into(),
        keep_empty_value: true,
        ..HeaderValueOption::default()
    });
    headers.collect()
}

/// Only what never reached an instance is tried again, so that this is safe for any request: an
/// instance that was stopped a moment ago must not show.
pub(super) fn default_retry() -> RetryPolicy {
    let previous = any(PREVIOUS_HOSTS_TYPE, &PreviousHostsPredicate {});
    RetryPolicy {
        retry_on: "connect-failure,refused-stream,reset-before-request".to_owned(),
        num_retries: Some(UInt32Value { value: RETRIES }),
        retry_host_predicate: vec![RetryHostPredicate {
            name: "envoy.retry_host_predicates.previous_hosts".to_owned(),
            config_type: Some(retry_host_predicate::ConfigType::TypedConfig(previous)),
        }],
        host_selection_retry_max_attempts: HOST_SELECTION_ATTEMPTS,
        ..RetryPolicy::default()
    }
}

/// A route's own policy; what it does not say is as in the default.
pub(super) fn retry(retry: &Retry) -> RetryPolicy {
    let mut policy = default_retry();
    if let Some(value) = retry.count {
        policy.num_retries = Some(UInt32Value { value });
    }
    if !retry.on.is_empty() || !retry.codes.is_empty() {
        let codes = (!retry.codes.is_empty()).then_some("retriable-status-codes");
        let words = retry.on.iter().map(String::as_str).chain(codes);
        policy.retry_on = words.collect::<Vec<_>>().join(",");
    }
    policy.retriable_status_codes.clone_from(&retry.codes);
    policy.per_try_timeout = retry.per_try_timeout_ms.map(milliseconds);
    policy
}

/// Attempts after the first.
const RETRIES: u32 = 3;
/// How often a host that was tried already may be picked and put back.
const HOST_SELECTION_ATTEMPTS: i64 = 5;
const CORS: &str = "envoy.filters.http.cors";
const CORS_TYPE: &str = "envoy.extensions.filters.http.cors.v3.Cors";
const CORS_POLICY_TYPE: &str = "envoy.extensions.filters.http.cors.v3.CorsPolicy";
const PREVIOUS_HOSTS_TYPE: &str =
    "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate";
const RATE_LIMIT: &str = "envoy.filters.http.local_ratelimit";
const RATE_LIMIT_STATS: &str = "rate_limit";
const RATE_LIMIT_TYPE: &str = "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit";
