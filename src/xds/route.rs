//! The virtual hosts of a listener as an Envoy `RouteConfiguration` (config.route.v3).

use std::collections::BTreeSet;

use envoy_types::pb::envoy::config::route::v3::redirect_action::{
    PathRewriteSpecifier, RedirectResponseCode, SchemeRewriteSpecifier,
};
use envoy_types::pb::envoy::config::route::v3::retry_policy::{
    RetryHostPredicate, retry_host_predicate,
};
use envoy_types::pb::envoy::config::route::v3::route::Action;
use envoy_types::pb::envoy::config::route::v3::route_action::hash_policy::{
    ConnectionProperties, Cookie, Header, PolicySpecifier,
};
use envoy_types::pb::envoy::config::route::v3::route_action::{
    ClusterSpecifier, HashPolicy as PbHashPolicy, HostRewriteSpecifier, UpgradeConfig,
};
use envoy_types::pb::envoy::config::route::v3::route_match::PathSpecifier;
use envoy_types::pb::envoy::config::route::v3::{
    RedirectAction, RetryPolicy, Route as PbRoute, RouteAction as PbRouteAction,
    RouteConfiguration as PbRouteConfiguration, RouteMatch, VirtualHost as PbVirtualHost,
};
use envoy_types::pb::envoy::extensions::retry::host::previous_hosts::v3::PreviousHostsPredicate;
use envoy_types::pb::envoy::r#type::matcher::v3::RegexMatcher;
use envoy_types::pb::google::protobuf::{BoolValue, Duration, UInt32Value};

use super::encode::{any, milliseconds};
use crate::gateway::{
    Forward, HashKey, HashPolicy, PathMatch, Redirect, RedirectCode, RedirectPath, Route,
    RouteAction, RouteConfiguration, Target, VirtualHost,
};

/// Writes the message.
pub fn encode(name: &str, routes: &RouteConfiguration) -> PbRouteConfiguration {
    PbRouteConfiguration {
        name: name.to_owned(),
        virtual_hosts: routes.virtual_hosts.iter().map(virtual_host).collect(),
        // A client names the port it was told of; domains are compared without it.
        ignore_port_in_host_matching: true,
        ..PbRouteConfiguration::default()
    }
}

/// The clusters that the routes send requests to. One that a request header names is not known.
pub fn clusters(routes: &RouteConfiguration) -> Vec<String> {
    let hosts = routes.virtual_hosts.iter();
    let names: BTreeSet<&String> = hosts
        .flat_map(|host| &host.routes)
        .flat_map(|route| route.clusters())
        .collect();
    names.into_iter().cloned().collect()
}

fn virtual_host(host: &VirtualHost) -> PbVirtualHost {
    PbVirtualHost {
        name: host.name.clone(),
        domains: host.domains.clone(),
        routes: host.routes.iter().map(route).collect(),
        retry_policy: Some(retry_policy()),
        ..PbVirtualHost::default()
    }
}

fn route(route: &Route) -> PbRoute {
    PbRoute {
        name: route.section.clone(),
        r#match: Some(RouteMatch {
            case_sensitive: (!route.case_sensitive).then_some(BoolValue { value: false }),
            path_specifier: Some(match &route.path {
                PathMatch::Path(path) => PathSpecifier::Path(path.clone()),
                PathMatch::Prefix(prefix) => PathSpecifier::Prefix(prefix.clone()),
                PathMatch::Regex(regex) => PathSpecifier::SafeRegex(RegexMatcher {
                    regex: regex.clone(),
                    ..RegexMatcher::default()
                }),
            }),
            ..RouteMatch::default()
        }),
        action: Some(match &route.action {
            RouteAction::Forward(forward) => Action::Route(forward_action(forward)),
            RouteAction::Redirect(redirect) => Action::Redirect(redirect_action(redirect)),
        }),
        ..PbRoute::default()
    }
}

fn forward_action(forward: &Forward) -> PbRouteAction {
    PbRouteAction {
        cluster_specifier: Some(match &forward.to {
            Target::Cluster(cluster) => ClusterSpecifier::Cluster(cluster.clone()),
            Target::ClusterHeader(header) => ClusterSpecifier::ClusterHeader(header.clone()),
        }),
        prefix_rewrite: forward.prefix_rewrite.clone().unwrap_or_default(),
        host_rewrite_specifier: forward
            .host_rewrite
            .clone()
            .map(HostRewriteSpecifier::HostRewriteLiteral),
        timeout: forward.timeout_ms.map(milliseconds),
        upgrade_configs: forward.websocket.map(websocket).into_iter().collect(),
        hash_policy: forward.hash_policies.iter().map(hash_policy).collect(),
        ..PbRouteAction::default()
    }
}

fn websocket(enabled: bool) -> UpgradeConfig {
    UpgradeConfig {
        upgrade_type: "websocket".to_owned(),
        enabled: Some(BoolValue { value: enabled }),
        ..UpgradeConfig::default()
    }
}

fn hash_policy(policy: &HashPolicy) -> PbHashPolicy {
    PbHashPolicy {
        terminal: policy.terminal,
        policy_specifier: Some(match &policy.key {
            HashKey::Cookie { name, path, ttl_s } => PolicySpecifier::Cookie(Cookie {
                name: name.clone(),
                path: path.clone().unwrap_or_default(),
                ttl: ttl_s.map(|seconds| Duration {
                    seconds: seconds.into(),
                    nanos: 0,
                }),
                ..Cookie::default()
            }),
            HashKey::Header(name) => PolicySpecifier::Header(Header {
                header_name: name.clone(),
                ..Header::default()
            }),
            HashKey::SourceIp => {
                PolicySpecifier::ConnectionProperties(ConnectionProperties { source_ip: true })
            }
        }),
    }
}

fn redirect_action(redirect: &Redirect) -> RedirectAction {
    RedirectAction {
        host_redirect: redirect.host.clone().unwrap_or_default(),
        path_rewrite_specifier: redirect.path.clone().map(|path| match path {
            RedirectPath::Whole(path) => PathRewriteSpecifier::PathRedirect(path),
            RedirectPath::Prefix(prefix) => PathRewriteSpecifier::PrefixRewrite(prefix),
        }),
        scheme_rewrite_specifier: redirect
            .https
            .then_some(SchemeRewriteSpecifier::HttpsRedirect(true)),
        response_code: match redirect.code {
            RedirectCode::MovedPermanently => RedirectResponseCode::MovedPermanently,
            RedirectCode::Found => RedirectResponseCode::Found,
            RedirectCode::SeeOther => RedirectResponseCode::SeeOther,
            RedirectCode::TemporaryRedirect => RedirectResponseCode::TemporaryRedirect,
            RedirectCode::PermanentRedirect => RedirectResponseCode::PermanentRedirect,
        }
        .into(),
        strip_query: redirect.strip_query,
        ..RedirectAction::default()
    }
}

/// Only what never reached an instance is tried again, so that this is safe for any request: an
/// instance that was stopped a moment ago must not show.
fn retry_policy() -> RetryPolicy {
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

/// Attempts after the first.
const RETRIES: u32 = 3;
/// How often a host that was tried already may be picked and put back.
const HOST_SELECTION_ATTEMPTS: i64 = 5;
const PREVIOUS_HOSTS_TYPE: &str =
    "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate";
