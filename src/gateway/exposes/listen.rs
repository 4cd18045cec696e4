//! Where an expose listens: its protocol and address, and what goes with them.

use std::net::{IpAddr, Ipv4Addr};

use super::Expose;
use crate::gateway::{LbPolicy, Protocol};
use crate::inventory::Problem;
use crate::inventory::keywords::{Keywords, shown};

impl Expose {
    /// A keyword that is given and would be lost, and why: what narrows or protects a TCP expose
    /// has no meaning over UDP, and to serve it without would open more than was meant.
    pub(super) fn contradiction(&self) -> Option<(&'static str, &'static str)> {
        if self.protocol == Protocol::Tcp {
            // The connections to the instances are shared by many clients.
            let shared = self.send_proxy_protocol.is_some() && !self.vhosts.is_empty();
            let reason = "has no meaning beside vhosts, whose instances get x-forwarded-for";
            return shared.then_some(("send_proxy_protocol", reason));
        }
        let given = [
            ("sni", !self.sni.is_empty()),
            ("vhosts", !self.vhosts.is_empty()),
            (
                "listener_certificates",
                !self.listener_certificates.is_empty(),
            ),
            (
                "cluster_certificates",
                !self.cluster_certificates.is_empty(),
            ),
            ("lb_policy", self.lb_policy == LbPolicy::OriginalDst),
            ("allow_from", !self.allow_from.is_empty()),
            ("accept_proxy_protocol", self.accept_proxy_protocol),
            ("send_proxy_protocol", self.send_proxy_protocol.is_some()),
            ("http3", self.http3),
        ];
        let (keyword, _) = given.into_iter().find(|(_, given)| *given)?;
        Some((keyword, "has no meaning with protocol udp"))
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

/// `expose.http3`: whether the UDP port of the same number is wanted too.
pub(in crate::gateway) fn read_http3(keywords: &Keywords<'_>) -> Result<bool, Problem> {
    Ok(keywords.boolean("http3")?.unwrap_or_default())
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
