//! The virtual hosts of a listener as an Envoy `RouteConfiguration` (config.route.v3).

use std::collections::BTreeSet;

use envoy_types::pb::envoy::config::core::v3::data_source::Specifier;
use envoy_types::pb::envoy::config::core::v3::{DataSource, RuntimeFractionalPercent};
use envoy_types::pb::envoy::config::route::v3::header_matcher::HeaderMatchSpecifier;
use envoy_types::pb::envoy::config::route::v3::query_parameter_matcher::QueryParameterMatchSpecifier;
use envoy_types::pb::envoy::config::route::v3::redirect_action::{
    PathRewriteSpecifier, RedirectResponseCode, SchemeRewriteSpecifier,
};
use envoy_types::pb::envoy::config::route::v3::route::Action;
use envoy_types::pb::envoy::config::route::v3::route_action::hash_policy::{
    ConnectionProperties, Cookie, Header, PolicySpecifier,
};
use envoy_types::pb::envoy::config::route::v3::route_action::{
    ClusterSpecifier, HashPolicy as PbHashPolicy, HostRewriteSpecifier, RequestMirrorPolicy,
    UpgradeConfig,
};
use envoy_types::pb::envoy::config::route::v3::route_match::PathSpecifier;
use envoy_types::pb::envoy::config::route::v3::weighted_cluster::ClusterWeight;
use envoy_types::pb::envoy::config::route::v3::{
    DirectResponseAction, HeaderMatcher, QueryParameterMatcher, RedirectAction, Route as PbRoute,
    RouteAction as PbRouteAction, RouteConfiguration as PbRouteConfiguration, RouteMatch,
    VirtualHost as PbVirtualHost, WeightedCluster as PbWeightedCluster,
};
use envoy_types::pb::envoy::r#type::matcher::v3::RegexMatcher;
use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use envoy_types::pb::google::protobuf::{BoolValue, Duration, UInt32Value};
use prost::Message;

use super::encode::milliseconds;
use super::guard;
use super::route_policy::{default_retry, filter_configs, headers, percent, retry, string_matcher};
use crate::gateway::{
    Conditions, Forward, HashKey, HashPolicy, HeaderEdits, Mirror, NamedMatch, PathMatch, Redirect,
    RedirectCode, RedirectPath, Route, RouteAction, RouteConfiguration, Target, VirtualHost,
    WeightedCluster,
};

/// Writes a `RouteConfiguration`. A `hidden` header of requests is not passed on.
///
/// One virtual host is made after the other: all of them together would take several times the
/// room of what is written. Messages that follow each other are one (Protocol Buffers, Encoding).
pub fn encode(name: &str, routes: &RouteConfiguration, hidden: Option<&str>) -> Vec<u8> {
    let message = PbRouteConfiguration {
        name: name.to_owned(),
        request_headers_to_remove: hidden.map(str::to_owned).into_iter().collect(),
        // A client names the port it was told of; domains are compared without it.
        ignore_port_in_host_matching: true,
        ..PbRouteConfiguration::default()
    };
    let mut bytes = message.encode_to_vec();
    for host in &routes.virtual_hosts {
        let message = PbRouteConfiguration {
            virtual_hosts: vec![virtual_host(host)],
            ..PbRouteConfiguration::default()
        };
        message.encode_raw(&mut bytes);
    }
    bytes.shrink_to_fit();
    bytes
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
        routes: host.routes.iter().map(|one| routed(host, one)).collect(),
        retry_policy: Some(default_retry()),
        response_headers_to_add: headers(&alternative(host)),
        typed_per_filter_config: guard::per_host(&host.allow_from),
        ..PbVirtualHost::default()
    }
}

/// Where else the host is served (RFC 7838); browsers try it, and come back if it does not answer.
fn alternative(host: &VirtualHost) -> Vec<(String, String)> {
    let header = host.http3_port.map(|port| {
        let value = format!("h3=\":{port}\"; ma={ALTERNATIVE_S}");
        ("alt-svc".to_owned(), value)
    });
    header.into_iter().collect()
}

/// What Envoy answers by itself it answers to everybody: an authority asks from anywhere.
fn routed(host: &VirtualHost, one: &Route) -> PbRoute {
    let mut message = route(one);
    if matches!(one.action, RouteAction::Answer(_)) && !host.allow_from.is_empty() {
        message.typed_per_filter_config = guard::everybody();
    }
    message
}

fn direct_response(text: &str) -> DirectResponseAction {
    DirectResponseAction {
        status: 200,
        body: Some(DataSource {
            specifier: Some(Specifier::InlineString(text.to_owned())),
            ..DataSource::default()
        }),
        ..DirectResponseAction::default()
    }
}

fn route(route: &Route) -> PbRoute {
    let conditions = route.conditions.as_deref().unwrap_or(Conditions::NONE);
    let edits = [&route.request_headers, &route.response_headers];
    let [request, response] = edits.map(|it| it.as_deref().unwrap_or(HeaderEdits::NONE));
    PbRoute {
        name: route.section.clone(),
        r#match: Some(RouteMatch {
            headers: header_matchers(route, conditions),
            query_parameters: conditions.query.iter().map(query_matcher).collect(),
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
            RouteAction::Answer(text) => Action::DirectResponse(direct_response(text)),
        }),
        request_headers_to_add: headers(&request.set),
        request_headers_to_remove: request.remove.clone(),
        response_headers_to_add: headers(&response.set),
        response_headers_to_remove: response.remove.clone(),
        typed_per_filter_config: filter_configs(route).into_iter().collect(),
        ..PbRoute::default()
    }
}

fn header_matchers(route: &Route, conditions: &Conditions) -> Vec<HeaderMatcher> {
    let method = match conditions.methods.as_slice() {
        [] => None,
        [method] => Some(MatchPattern::Exact(method.clone())),
        methods => Some(MatchPattern::SafeRegex(RegexMatcher {
            regex: methods.join("|"),
            ..RegexMatcher::default()
        })),
    };
    let method = method.map(|pattern| HeaderMatcher {
        name: ":method".to_owned(),
        header_match_specifier: Some(HeaderMatchSpecifier::StringMatch(string_matcher(pattern))),
        ..HeaderMatcher::default()
    });
    let headers = conditions.headers.iter().map(|header| HeaderMatcher {
        name: header.name.clone(),
        header_match_specifier: Some(match &header.value {
            None => HeaderMatchSpecifier::PresentMatch(true),
            Some(value) => {
                let pattern = MatchPattern::Exact(value.clone());
                HeaderMatchSpecifier::StringMatch(string_matcher(pattern))
            }
        }),
        ..HeaderMatcher::default()
    });
    let matchers = method.into_iter().chain(headers);
    matchers.chain(own_clusters(&route.action)).collect()
}

/// Whose clusters a request may name: those of a namespace, which are called after it, but for
/// the root namespace, whose objects are called by their names alone.
fn own_clusters(action: &RouteAction) -> Option<HeaderMatcher> {
    let RouteAction::Forward(forward) = action else {
        return None;
    };
    let Target::ClusterHeader { header, namespace } = &forward.to else {
        return None;
    };
    let pattern = match namespace {
        None => MatchPattern::SafeRegex(RegexMatcher {
            regex: "[^/]+".to_owned(),
            ..RegexMatcher::default()
        }),
        Some(namespace) => MatchPattern::Prefix(format!("{namespace}/")),
    };
    Some(HeaderMatcher {
        name: header.clone(),
        header_match_specifier: Some(HeaderMatchSpecifier::StringMatch(string_matcher(pattern))),
        ..HeaderMatcher::default()
    })
}

fn query_matcher(parameter: &NamedMatch) -> QueryParameterMatcher {
    QueryParameterMatcher {
        name: parameter.name.clone(),
        query_parameter_match_specifier: Some(match &parameter.value {
            None => QueryParameterMatchSpecifier::PresentMatch(true),
            Some(value) => {
                let pattern = MatchPattern::Exact(value.clone());
                QueryParameterMatchSpecifier::StringMatch(string_matcher(pattern))
            }
        }),
    }
}

fn forward_action(forward: &Forward) -> PbRouteAction {
    PbRouteAction {
        cluster_specifier: Some(match &forward.to {
            Target::Cluster(cluster) => ClusterSpecifier::Cluster(cluster.clone()),
            Target::ClusterHeader { header, .. } => ClusterSpecifier::ClusterHeader(header.clone()),
            Target::Weighted(parts) => ClusterSpecifier::WeightedClusters(PbWeightedCluster {
                clusters: parts.iter().map(cluster_weight).collect(),
                ..PbWeightedCluster::default()
            }),
        }),
        prefix_rewrite: forward.prefix_rewrite.clone().unwrap_or_default(),
        host_rewrite_specifier: forward
            .host_rewrite
            .clone()
            .map(HostRewriteSpecifier::HostRewriteLiteral),
        timeout: forward.timeout_ms.map(milliseconds),
        upgrade_configs: forward.websocket.map(websocket).into_iter().collect(),
        hash_policy: forward.hash_policies.iter().map(hash_policy).collect(),
        retry_policy: forward.retry.as_deref().map(retry),
        request_mirror_policies: forward
            .mirror
            .as_deref()
            .into_iter()
            .map(mirror_policy)
            .collect(),
        ..PbRouteAction::default()
    }
}

fn cluster_weight(part: &WeightedCluster) -> ClusterWeight {
    ClusterWeight {
        name: part.cluster.clone(),
        weight: Some(UInt32Value { value: part.weight }),
        ..ClusterWeight::default()
    }
}

fn mirror_policy(mirror: &Mirror) -> RequestMirrorPolicy {
    RequestMirrorPolicy {
        cluster: mirror.cluster.clone(),
        // The copy goes to the host that the client asked for.
        disable_shadow_host_suffix_append: true,
        runtime_fraction: Some(RuntimeFractionalPercent {
            default_value: Some(percent(mirror.percent)),
            ..RuntimeFractionalPercent::default()
        }),
        ..RequestMirrorPolicy::default()
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

/// How long a client remembers that HTTP/3 is served.
const ALTERNATIVE_S: u32 = 86_400;
