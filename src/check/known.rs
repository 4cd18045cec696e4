//! Which sections and keywords there are: those that the drivers of the agent 2.1 know, how each
//! converts them, and those that osvc-igw reads itself. What they mean is not known here.

/// How a driver of the agent converts a keyword.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Type {
    /// As typed.
    Text,
    /// A list, split on spaces.
    Words,
    /// A number, its fraction cut.
    Integer,
    /// A duration, in seconds.
    Seconds,
    /// Any JSON.
    Json,
    /// A boolean. The agent cannot load an object with one that is none.
    Switch,
    /// osvc-igw's own: the driver drops it, and it is read from the configuration.
    Own,
}

use Type::{Integer, Json, Own, Seconds, Switch, Text, Words};

/// A section type that a gateway reads.
#[derive(Debug)]
pub(super) struct Section {
    /// The word before `#`.
    pub(super) group: &'static str,
    /// The type of the agent's one driver for it.
    pub(super) driver: &'static str,
    /// Its keywords.
    pub(super) keywords: &'static [(&'static str, Type)],
    /// Who names such a section: the type of a section, and its keyword.
    pub(super) named_by: &'static [(&'static str, &'static str)],
}

/// The keywords of a section type, sorted; empty where a gateway reads no such section.
pub fn keywords(group: &str) -> Vec<&'static str> {
    let section = section(group).into_iter();
    let mut names: Vec<&str> = section.flat_map(|it| it.keywords).map(|it| it.0).collect();
    names.sort_unstable();
    names
}

/// The type of a section by the word before `#`.
pub(super) fn section(group: &str) -> Option<&'static Section> {
    SECTIONS.iter().find(|section| section.group == group)
}

/// The section types that a gateway reads.
pub(super) const SECTIONS: &[Section] = &[
    Section {
        group: "expose",
        driver: "envoy",
        keywords: &[
            ("port", Integer),
            ("listener_port", Integer),
            ("protocol", Text),
            ("lb_policy", Text),
            ("listener_addr", Text),
            ("gateway", Text),
            ("cluster_private_key_filename", Text),
            ("sni", Words),
            ("vhosts", Words),
            ("listener_certificates", Words),
            ("cluster_certificates", Words),
            ("cluster_data", Json),
            ("filter_config_data", Json),
            ("accept_proxy_protocol", Own),
            ("allow_from", Own),
            ("backend_protocol", Own),
            ("connect_timeout", Own),
            ("health_check", Own),
            ("health_check_path", Own),
            ("http3", Own),
            ("locality", Own),
            ("max_connections", Own),
            ("max_pending_requests", Own),
            ("max_requests", Own),
            ("outlier_consecutive_errors", Own),
            ("send_proxy_protocol", Own),
        ],
        named_by: &[],
    },
    Section {
        group: "vhost",
        driver: "envoy",
        keywords: &[("domains", Words), ("routes", Words)],
        named_by: &[("expose", "vhosts")],
    },
    Section {
        group: "route",
        driver: "envoy",
        keywords: ROUTE,
        named_by: &[("vhost", "routes")],
    },
    Section {
        group: "hashpolicy",
        driver: "envoy",
        keywords: HASH_POLICY,
        named_by: &[("route", "hash_policies")],
    },
    // The spelling of old configurations; the agent has no driver for it.
    Section {
        group: "hash_policy",
        driver: "",
        keywords: HASH_POLICY,
        named_by: &[("route", "hash_policies")],
    },
    Section {
        group: "certificate",
        driver: "tls",
        keywords: &[
            ("certificate_secret", Text),
            ("validation_secret", Text),
            ("certificate_chain_filename", Text),
            ("private_key_filename", Text),
            ("validation_filename", Text),
            ("certificate_chain_inline_string", Text),
            ("private_key_inline_string", Text),
            ("validation_inline_string", Text),
            ("secret", Own),
            ("require_client_certificate", Own),
            ("verify_server_name", Own),
        ],
        named_by: &[
            ("expose", "listener_certificates"),
            ("expose", "cluster_certificates"),
        ],
    },
];

const ROUTE: &[(&str, Type)] = &[
    ("match_path", Text),
    ("match_prefix", Text),
    ("match_regex", Text),
    ("match_case_sensitive", Text),
    ("route_prefix_rewrite", Text),
    ("route_host_rewrite", Text),
    ("route_cluster_header", Text),
    ("route_timeout", Text),
    ("redirect_host_redirect", Text),
    ("redirect_path_redirect", Text),
    ("redirect_prefix_rewrite", Text),
    ("redirect_response_code", Text),
    ("redirect_https_redirect", Switch),
    ("redirect_strip_query", Switch),
    ("hash_policies", Words),
    ("compression", Own),
    ("cors_allow_credentials", Own),
    ("cors_allow_headers", Own),
    ("cors_allow_methods", Own),
    ("cors_allow_origins", Own),
    ("cors_expose_headers", Own),
    ("cors_max_age", Own),
    ("match_headers", Own),
    ("match_methods", Own),
    ("match_query", Own),
    ("mirror_expose", Own),
    ("rate_limit", Own),
    ("request_headers_add", Own),
    ("request_headers_remove", Own),
    ("response_headers_add", Own),
    ("response_headers_remove", Own),
    ("retry_count", Own),
    ("retry_on", Own),
    ("retry_timeout", Own),
    ("route_use_websocket", Own),
    ("weighted_exposes", Own),
];

const HASH_POLICY: &[(&str, Type)] = &[
    ("cookie_name", Text),
    ("cookie_path", Text),
    ("cookie_ttl", Seconds),
    ("header_header_name", Text),
    ("connection_source_ip", Text),
    ("terminal", Switch),
    ("header_name", Own),
];

/// Keywords of any section of a resource.
pub(super) const EVERYWHERE: &[&str] = &[
    "type",
    "comment",
    "disable",
    "encap",
    "monitor",
    "optional",
    "restart",
    "restart_delay",
    "shared",
    "standby",
    "subset",
    "tags",
];

/// Booleans of any section of a resource whose driver looks at them.
pub(super) const FLAGS: &[&str] = &["disable", "standby", "optional", "monitor"];

/// The other sections of a configuration: those with a number or name behind `#`, and those
/// without.
pub(super) const OTHERS: &[&str] = &[
    "app",
    "container",
    "disk",
    "fs",
    "ip",
    "share",
    "subset",
    "sync",
    "task",
    "volume",
];
pub(super) const ALONE: &[&str] = &["DEFAULT", "data", "env", "labels", "metadata"];
