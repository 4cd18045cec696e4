//! Where an expose listens: its protocol and address, and what goes with them.

use std::net::{IpAddr, Ipv4Addr};

use super::Expose;
use crate::gateway::{LbPolicy, Protocol};
use crate::inventory::Problem;
use crate::inventory::keywords::{Keywords, shown};

impl Expose {
    /// What narrows or protects a TCP expose and would be lost over UDP: to serve it without
    /// would open more than was meant.
    pub(super) fn without_meaning_over_udp(&self) -> Option<(&'static str, &'static str)> {
        let lists = [
            ("sni", &self.sni),
            ("vhosts", &self.vhosts),
            ("listener_certificates", &self.listener_certificates),
            ("cluster_certificates", &self.cluster_certificates),
        ];
        let reason = "has no meaning with protocol udp";
        if let Some((keyword, _)) = lists.into_iter().find(|(_, words)| !words.is_empty()) {
            return Some((keyword, reason));
        }
        (self.lb_policy == LbPolicy::OriginalDst).then_some(("lb_policy", reason))
    }
}

/// `expose.protocol`: an Envoy listener has one of them.
pub(in crate::gateway) fn read_protocol(keywords: &Keywords<'_>) -> Result<Protocol, Problem> {
    let text = keywords.text("protocol")?.unwrap_or_default();
    match text.to_ascii_lowercase().as_str() {
        "" | "tcp" => Ok(Protocol::Tcp),
        "udp" => Ok(Protocol::Udp),
        _ => {
            let reason = format!("{} is not served, only tcp and udp are", shown(&text));
            Err(keywords.problem("protocol", reason))
        }
    }
}

/// `expose.listener_addr`, brackets around an IPv6 address or not. An IPv4 address in the form
/// of an IPv6 one is the IPv4 address.
pub(in crate::gateway) fn read_address(keywords: &Keywords<'_>) -> Result<IpAddr, Problem> {
    let Some(text) = keywords
        .text("listener_addr")?
        .filter(|text| !text.is_empty())
    else {
        return Ok(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    };
    let inner = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .filter(|text| text.contains(':'));
    inner
        .unwrap_or(&text)
        .parse::<IpAddr>()
        .map(|address| address.to_canonical())
        .map_err(|_| {
            keywords.problem(
                "listener_addr",
                format!("{} is no IP address", shown(&text)),
            )
        })
}
