//! The virtual hosts of a listener as an Envoy `RouteConfiguration` (config.route.v3).

use std::collections::BTreeSet;

use envoy_types::pb::envoy::config::route::v3::retry_policy::{
    RetryHostPredicate, retry_host_predicate,
};
use envoy_types::pb::envoy::config::route::v3::route::Action;
use envoy_types::pb::envoy::config::route::v3::route_action::ClusterSpecifier;
use envoy_types::pb::envoy::config::route::v3::route_match::PathSpecifier;
use envoy_types::pb::envoy::config::route::v3::{
    RetryPolicy, Route as PbRoute, RouteAction, RouteConfiguration as PbRouteConfiguration,
    RouteMatch, VirtualHost as PbVirtualHost,
};
use envoy_types::pb::envoy::extensions::retry::host::previous_hosts::v3::PreviousHostsPredicate;
use envoy_types::pb::envoy::r#type::matcher::v3::RegexMatcher;
use envoy_types::pb::google::protobuf::{BoolValue, UInt32Value};

use super::encode::any;
use super::guard;
use crate::gateway::{PathMatch, Route, RouteConfiguration, VirtualHost};

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

/// The clusters that the routes send requests to.
pub fn clusters(routes: &RouteConfiguration) -> Vec<String> {
    let hosts = routes.virtual_hosts.iter();
    let names: BTreeSet<&String> = hosts
        .flat_map(|host| &host.routes)
        .map(|route| &route.cluster)
        .collect();
    names.into_iter().cloned().collect()
}

fn virtual_host(host: &VirtualHost) -> PbVirtualHost {
    PbVirtualHost {
        name: host.name.clone(),
        domains: host.domains.clone(),
        routes: host.routes.iter().map(route).collect(),
        retry_policy: Some(retry_policy()),
        typed_per_filter_config: guard::per_host(&host.allow_from),
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
        action: Some(Action::Route(RouteAction {
            cluster_specifier: Some(ClusterSpecifier::Cluster(route.cluster.clone())),
            ..RouteAction::default()
        })),
        ..PbRoute::default()
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
