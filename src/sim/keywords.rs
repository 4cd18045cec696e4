//! The keywords that the 2.1 drivers of a gateway's sections know, and how each is converted.
//! A keyword that is not in a table does not exist for the driver.

use serde_json::Value;

/// How a driver converts a keyword.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Type {
    /// As typed, but for two quirks.
    Text,
    /// A list, split on spaces.
    Words,
    /// A number, its fraction cut.
    Integer,
    /// A duration.
    Seconds,
    /// Any JSON; what is none is left out.
    Json,
    /// A boolean that `info` always has, false where it is not set.
    Switch,
}

use Type::{Integer, Json, Seconds, Switch, Text, Words};

/// The value as `info` has it; none where it is left out.
pub(super) fn convert(kind: Type, raw: &str) -> Option<Value> {
    match kind {
        // The agent's reference cache confuses these texts with typed defaults that equal them.
        Text if raw == "0" => Some(0.into()),
        Text if raw == "False" => Some(false.into()),
        Text => Some(raw.into()),
        Words => {
            let words: Vec<&str> = raw.split_whitespace().collect();
            (!words.is_empty()).then(|| words.into())
        }
        Integer => integer(raw).map(Value::from),
        Seconds => Some(seconds(raw).into()),
        Json => serde_json::from_str(raw).ok(),
        Switch => switch(raw).map(Value::from),
    }
}

fn integer(raw: &str) -> Option<i64> {
    let number = raw.trim().parse::<f64>().ok()?;
    let whole = number.trunc();
    // Text to text: no float can be cast out of range this way.
    format!("{whole:.0}").parse().ok()
}

fn seconds(raw: &str) -> u64 {
    let (mut total, mut number) = (0_u64, String::new());
    for letter in raw.chars() {
        if letter.is_ascii_digit() {
            number.push(letter);
            continue;
        }
        let unit = match letter {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86_400,
            'w' => 604_800,
            _ => return 0,
        };
        let Ok(count) = number.parse::<u64>() else {
            return 0;
        };
        total = total.saturating_add(count.saturating_mul(unit));
        number.clear();
    }
    total.saturating_add(number.parse::<u64>().unwrap_or(0))
}

/// A boolean as the agent reads one; none where the file cannot be loaded.
pub(super) fn switch(raw: &str) -> Option<bool> {
    match raw.to_lowercase().as_str() {
        "true" | "yes" | "y" | "t" | "1" | "on" => Some(true),
        "false" | "no" | "n" | "f" | "0" | "off" => Some(false),
        _ => None,
    }
}

/// The driver of a group, and its keywords; none for groups without a table.
pub(super) fn table(group: &str) -> Option<(&'static str, Table)> {
    match group {
        "expose" => Some(("expose.envoy", EXPOSE)),
        "vhost" => Some(("vhost.envoy", VHOST)),
        "route" => Some(("route.envoy", ROUTE)),
        "hashpolicy" => Some(("hashpolicy.envoy", HASH_POLICY)),
        "certificate" => Some(("certificate.tls", CERTIFICATE)),
        _ => None,
    }
}

/// The keywords of a driver.
pub(super) type Table = &'static [(&'static str, Type)];

/// The keywords that take one of a few values.
pub(super) const CANDIDATES: [(&str, &[&str]); 3] = [
    ("type", &["envoy"]),
    ("protocol", &["tcp", "udp"]),
    (
        "lb_policy",
        &[
            "round robin",
            "least_request",
            "ring_hash",
            "random",
            "original_dst_lb",
            "maglev",
        ],
    ),
];

/// The keywords of every ip driver.
pub(super) const IP: Table = &[
    ("ipdev", Text),
    ("netmask", Text),
    ("gateway", Text),
    ("expose", Words),
];

const EXPOSE: Table = &[
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
];

const VHOST: Table = &[("domains", Words), ("routes", Words)];

const ROUTE: Table = &[
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
];

const HASH_POLICY: Table = &[
    ("cookie_name", Text),
    ("cookie_path", Text),
    ("cookie_ttl", Seconds),
    ("header_header_name", Text),
    ("connection_source_ip", Text),
    ("terminal", Switch),
];

const CERTIFICATE: Table = &[
    ("certificate_secret", Text),
    ("validation_secret", Text),
    ("certificate_chain_filename", Text),
    ("private_key_filename", Text),
    ("validation_filename", Text),
    ("certificate_chain_inline_string", Text),
    ("private_key_inline_string", Text),
    ("validation_inline_string", Text),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_seconds_and_nonsense_is_none() {
        assert_eq!(seconds("1w2d3h4m5s"), 788_645);
        assert_eq!(seconds("90"), 90);
        assert_eq!(seconds("forever"), 0);
        assert_eq!(integer("80.9"), Some(80));
        assert_eq!(integer("\"80\""), None);
    }
}
