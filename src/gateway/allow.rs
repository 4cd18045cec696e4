//! Who may use an expose: the networks of `expose.allow_from`, and what a proxy in front says of
//! who the client is (`expose.accept_proxy_protocol`, `expose.send_proxy_protocol`).

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde::Serialize;

use crate::inventory::Problem;
use crate::inventory::keywords::{Keywords, shown};

/// A network.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Prefix {
    /// An address of it.
    pub address: IpAddr,
    /// How many bits of the address all of its addresses share.
    pub length: u8,
}

/// How an instance is told who the client is, before the client's own bytes.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProxyVersion {
    /// In a line of text.
    V1,
    /// In bytes.
    V2,
}

/// Reads `allow_from`; empty where everybody may. A list that cannot be read whole is an error,
/// and so is one that is there and empty: who wrote it meant to keep somebody out.
pub(super) fn read(keywords: &Keywords<'_>) -> Result<Vec<Prefix>, Problem> {
    let words = keywords.words(KEYWORD)?;
    if words.is_empty() && keywords.value(KEYWORD).is_some() {
        return Err(keywords.problem(KEYWORD, "is empty, so that nobody could connect"));
    }
    let mut prefixes = BTreeSet::new();
    for word in &words {
        let Some(prefix) = parse(word) else {
            let reason = format!("{} is no network, such as 10.0.0.0/8", shown(word));
            return Err(keywords.problem(KEYWORD, reason));
        };
        prefixes.insert(prefix);
    }
    Ok(prefixes.into_iter().collect())
}

/// Reads `send_proxy_protocol`.
pub(super) fn read_proxy_version(keywords: &Keywords<'_>) -> Result<Option<ProxyVersion>, Problem> {
    let keyword = "send_proxy_protocol";
    let Some(text) = keywords.text(keyword)? else {
        return Ok(None);
    };
    match text.to_ascii_lowercase().as_str() {
        "v1" | "1" => Ok(Some(ProxyVersion::V1)),
        "v2" | "2" => Ok(Some(ProxyVersion::V2)),
        _ => {
            let reason = format!("{} is neither v1 nor v2", shown(&text));
            Err(keywords.problem(keyword, reason))
        }
    }
}

fn parse(word: &str) -> Option<Prefix> {
    let (address, length) = match word.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (word, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let length = length.map_or(Ok(longest), str::parse).ok()?;
    (length <= longest).then_some(Prefix { address, length })
}

const KEYWORD: &str = "allow_from";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_an_address_with_or_without_a_length() {
        for (word, expected) in [
            ("10.0.0.0/8", Some("10.0.0.0/8")),
            ("10.1.2.3", Some("10.1.2.3/32")),
            ("fd00::/8", Some("fd00::/8")),
            ("::1", Some("::1/128")),
            ("0.0.0.0/0", Some("0.0.0.0/0")),
            ("10.0.0.0/33", None),
            ("10.0.0.0/", None),
            ("10.0.0.0/-1", None),
            ("10.0.0/8", None),
            ("fd00::/129", None),
            ("/8", None),
            ("localhost", None),
            ("", None),
        ] {
            let found = parse(word).map(|it| format!("{}/{}", it.address, it.length));
            assert_eq!(found.as_deref(), expected, "{word}");
        }
    }
}
