//! What the drivers of an agent 2.1 make of a section of a configuration: which keywords they know,
//! how they convert them, and what of it stands in the status. Whether that is good is no concern
//! of this file.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{ObjectPath, Resource};

/// How a driver of the agent converts a keyword.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Type {
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
pub struct Section {
    /// The word before `#`.
    pub group: &'static str,
    /// The type of the agent's one driver for it.
    pub driver: &'static str,
    /// Its keywords.
    pub keywords: &'static [(&'static str, Type)],
    /// Who names such a section: the type of a section, and its keyword.
    pub named_by: &'static [(&'static str, &'static str)],
}

/// What a driver makes of a section.
#[derive(Clone, Debug)]
pub struct Driven {
    /// As it stands in the status.
    pub resource: Resource,
    /// What it took for something else than was meant, by keyword.
    pub flaws: Vec<(&'static str, Flaw)>,
}

/// How a value is not what its keyword asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Flaw {
    /// No duration, which the agent takes for 0.
    Duration,
    /// No boolean: the agent cannot load the object.
    Boolean,
}

impl Section {
    /// What the driver makes of a section with these texts; `None` where the agent leaves it out:
    /// an expose without `port` lacks what is mandatory.
    pub fn read(
        &self,
        object: &ObjectPath,
        text: impl Fn(&str) -> Option<String>,
    ) -> Option<Driven> {
        if self.group == "expose" {
            text("port")?;
        }
        let (mut keywords, mut flaws) = (BTreeMap::new(), Vec::new());
        for (keyword, how) in self.keywords {
            let (value, flaw) = how.convert(text(keyword).as_deref());
            keywords.extend(value.map(|value| ((*keyword).to_owned(), value)));
            flaws.extend(flaw.map(|flaw| (*keyword, flaw)));
        }
        let defaults = match self.group {
            "expose" => vec![
                ("protocol", json!("tcp")),
                ("lb_policy", json!("round robin")),
            ],
            "vhost" => vec![("domains", json!([object.name()]))],
            _ => Vec::new(),
        };
        for (keyword, value) in defaults {
            keywords.entry(keyword.to_owned()).or_insert(value);
        }
        let driver = text("type").unwrap_or_else(|| self.driver.to_owned());
        let resource = Resource {
            driver: format!("{}.{driver}", self.group).into(),
            status: "n/a".into(),
            keywords: keywords.into(),
        };
        Some(Driven { resource, flaws })
    }

    /// Whether an agent tells a keyword in its status.
    pub fn tells(&self, keyword: &str) -> bool {
        let mut keywords = self.keywords.iter();
        keywords.any(|(known, how)| *known == keyword && *how != Own)
    }
}

impl Type {
    /// The value as the status has it, where it has one, and what is wrong with what was typed.
    pub fn convert(self, raw: Option<&str>) -> (Option<Value>, Option<Flaw>) {
        let Some(raw) = raw else {
            return ((self == Switch).then(|| false.into()), None);
        };
        let checked = |value: Option<Value>, otherwise: Value, flaw| match value {
            Some(value) => (Some(value), None),
            None => (Some(otherwise), Some(flaw)),
        };
        match self {
            Own => (None, None),
            Text => (Some(raw.into()), None),
            Words => {
                let words: Vec<&str> = raw.split_whitespace().collect();
                ((!words.is_empty()).then(|| words.into()), None)
            }
            Integer => (integer(raw).map(Value::from), None),
            Json => (serde_json::from_str(raw).ok(), None),
            Seconds => checked(seconds(raw).map(Value::from), 0.into(), Flaw::Duration),
            Switch => checked(switch(raw).map(Value::from), false.into(), Flaw::Boolean),
        }
    }
}

fn switch(raw: &str) -> Option<bool> {
    match raw.to_lowercase().as_str() {
        "true" | "yes" | "y" | "t" | "1" | "on" => Some(true),
        "false" | "no" | "n" | "f" | "0" | "off" => Some(false),
        _ => None,
    }
}

/// A number as the agent reads one: its fraction is cut.
fn integer(raw: &str) -> Option<i64> {
    let whole = raw.trim().parse::<f64>().ok()?.trunc();
    // Text to text: no float can be cast out of range this way.
    format!("{whole:.0}").parse().ok()
}

/// Seconds of `90` or `1h30m`.
fn seconds(raw: &str) -> Option<u64> {
    let (mut total, mut number) = (0_u64, String::new());
    for letter in raw.trim().chars() {
        if letter.is_ascii_digit() {
            number.push(letter);
            continue;
        }
        let unit = match letter {
            's' => 1,
            'm' => 60,
            'h' => 3_600,
            'd' => 86_400,
            'w' => 604_800,
            _ => return None,
        };
        let count: u64 = number.parse().ok()?;
        total = total.checked_add(count.checked_mul(unit)?)?;
        number.clear();
    }
    match number.as_str() {
        "" => Some(total),
        _ => total.checked_add(number.parse().ok()?),
    }
}

/// The type of a section by the word before `#`.
pub fn section(group: &str) -> Option<&'static Section> {
    SECTIONS.iter().find(|section| section.group == group)
}

/// The section types that a gateway reads.
pub const SECTIONS: &[Section] = &[
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
