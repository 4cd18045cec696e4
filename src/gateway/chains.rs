//! Which filter chain of its listener an expose gets: the match it claims and what is done with
//! the connections.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::claims::{Claim, Claims};
use super::exposes::Exposed;
use super::routes::{domain, taken};
use super::{ChainAction, ChainMatch, FilterChain, LbPolicy, Origin, Protocol, VirtualHost};
use crate::inventory::Problem;

/// The chain of the plain HTTP exposes of a listener, which they share.
pub const HTTP_CHAIN: &str = "http";

const NOT_SERVED: &str = "the expose is not served";

/// Builds the chain of an expose; `None` where all that it would match is taken.
///
/// * `vhosts` and `listener_certificates`: TLS for the names of the virtual hosts, then HTTP;
/// * `vhosts` alone: plain HTTP;
/// * `sni`: TLS connections for these names, terminated if there are `listener_certificates`,
///   else passed through;
/// * none of them: whatever comes to the address, or whatever TLS if there are certificates.
///
/// Where there are both, `sni` has a chain of its own, see [`named_chain`].
///
/// Over UDP it is always whatever comes to the address.
pub fn chain(
    exposed: &Exposed<'_>,
    listener: &str,
    certificates: Vec<String>,
    hosts: &[VirtualHost],
    claims: &mut Claims,
    problems: &mut BTreeSet<Problem>,
) -> Option<FilterChain> {
    let origin = exposed.origin();
    let mut claimer = Claimer {
        exposed,
        listener,
        origin: &origin,
        claims,
        problems,
    };
    let http = !exposed.expose.vhosts.is_empty();
    let matches = match (http, certificates.is_empty()) {
        (true, true) => claimer.plain_http()?,
        (true, false) => {
            let names = hosts.iter().flat_map(|host| &host.domains);
            claimer.server_names("vhosts", names, NOT_SERVED)?
        }
        (false, _) if !exposed.expose.sni.is_empty() => {
            claimer.server_names("sni", &exposed.expose.sni, NOT_SERVED)?
        }
        (false, true) => claimer.anything()?,
        (false, false) => claimer.any_tls()?,
    };
    let name = match (http, certificates.is_empty()) {
        (true, true) => HTTP_CHAIN.to_owned(),
        _ => exposed.cluster(),
    };
    Some(FilterChain {
        name,
        origins: vec![origin],
        matches,
        allow_from: match http {
            true => Vec::new(),
            false => exposed.expose.allow_from.clone(),
        },
        certificates,
        validation: None,
        action: action(exposed),
        data: None,
    })
}

/// Builds the chain of the names in `sni` beside `vhosts`: their connections are not taken for
/// HTTP, and end in TLS as those of the virtual hosts do, or pass through. `None` where there is
/// nothing to match that is not a name of a virtual host.
pub fn named_chain(
    exposed: &Exposed<'_>,
    listener: &str,
    beside: &FilterChain,
    hosts: &[VirtualHost],
    claims: &mut Claims,
    problems: &mut BTreeSet<Problem>,
) -> Option<FilterChain> {
    let expose = &exposed.expose;
    if expose.vhosts.is_empty() || expose.protocol != Protocol::Tcp {
        return None;
    }
    let hosted: BTreeSet<&String> = hosts.iter().flat_map(|host| &host.domains).collect();
    let is_hosted = |word: &&String| domain(word).is_ok_and(|name| hosted.contains(&name));
    let words: Vec<&String> = expose.sni.iter().filter(|word| !is_hosted(word)).collect();
    if words.is_empty() {
        return None;
    }
    let origin = exposed.origin();
    let mut claimer = Claimer {
        exposed,
        listener,
        origin: &origin,
        claims,
        problems,
    };
    let matches = claimer.server_names("sni", words, "the virtual hosts alone are served")?;
    let cluster = exposed.cluster();
    Some(FilterChain {
        name: format!("{cluster}.sni"),
        origins: vec![origin],
        matches,
        allow_from: expose.allow_from.clone(),
        certificates: beside.certificates.clone(),
        validation: None,
        action: ChainAction::Tcp { cluster },
        data: None,
    })
}

fn action(exposed: &Exposed<'_>) -> ChainAction {
    let expose = &exposed.expose;
    let cluster = exposed.cluster();
    match expose.protocol {
        Protocol::Udp => ChainAction::Udp {
            cluster,
            hash_source_ip: matches!(expose.lb_policy, LbPolicy::RingHash | LbPolicy::Maglev),
        },
        Protocol::Tcp if expose.vhosts.is_empty() => ChainAction::Tcp { cluster },
        Protocol::Tcp => ChainAction::Http,
    }
}

struct Claimer<'a, 'e> {
    exposed: &'a Exposed<'e>,
    listener: &'a str,
    origin: &'a Origin,
    claims: &'a mut Claims,
    problems: &'a mut BTreeSet<Problem>,
}

impl Claimer<'_, '_> {
    fn plain_http(&mut self) -> Option<ChainMatch> {
        let claimed = self.claims.share(self.listener, Claim::Plain, self.origin);
        self.won_all(claimed, "plain traffic")?;
        Some(ChainMatch::Plain)
    }

    fn any_tls(&mut self) -> Option<ChainMatch> {
        let claimed = self.claims.claim(self.listener, Claim::AnyTls, self.origin);
        self.won_all(claimed, "TLS for any server name")?;
        Some(ChainMatch::AnyTls)
    }

    fn anything(&mut self) -> Option<ChainMatch> {
        let claimed = self.claims.claim(self.listener, Claim::Plain, self.origin);
        let what = match self.exposed.expose.protocol {
            Protocol::Tcp => "plain traffic",
            Protocol::Udp => "every datagram",
        };
        self.won_all(claimed, what)?;
        // TLS that no server name takes is nobody else's either, or it stays with who has it.
        let claimed = self.claims.claim(self.listener, Claim::AnyTls, self.origin);
        match self.won_or(claimed, "TLS for any server name", "TLS does not come here") {
            Some(()) => Some(ChainMatch::Any),
            None => Some(ChainMatch::Plain),
        }
    }

    fn server_names<'n>(
        &mut self,
        keyword: &str,
        words: impl IntoIterator<Item = &'n String>,
        consequence: &str,
    ) -> Option<ChainMatch> {
        let mut names = BTreeSet::new();
        let mut any = false;
        for word in words {
            let claim = match server_name(word) {
                Ok(claim) => claim,
                Err(reason) => {
                    let problem = self.exposed.problem(keyword, reason);
                    self.problems.insert(problem.hence("it is left out"));
                    continue;
                }
            };
            let claimed = self.claims.claim(self.listener, claim.clone(), self.origin);
            if self.won(claimed, keyword, word).is_none() {
                continue;
            }
            match claim {
                Claim::ServerName(name) => drop(names.insert(name)),
                _ => any = true,
            }
        }
        match (any, names.is_empty()) {
            (true, _) => Some(ChainMatch::AnyTls),
            (false, false) => Some(ChainMatch::ServerNames(names.into_iter().collect())),
            (false, true) => {
                let reason = "has no server name that can be served".to_owned();
                let problem = self.exposed.problem(keyword, reason);
                self.problems.insert(problem.hence(consequence));
                None
            }
        }
    }

    /// For a claim without which nothing is left.
    fn won_all(&mut self, claimed: Result<(), Origin>, what: &str) -> Option<()> {
        self.won_or(claimed, what, NOT_SERVED)
    }

    fn won_or(&mut self, claimed: Result<(), Origin>, what: &str, consequence: &str) -> Option<()> {
        let Err(holder) = claimed else {
            return Some(());
        };
        let reason = taken(what, self.listener, &holder);
        let problem = self.exposed.problem("listener_port", reason);
        self.problems.insert(problem.hence(consequence));
        None
    }

    fn won(&mut self, claimed: Result<(), Origin>, keyword: &str, what: &str) -> Option<()> {
        let holder = match claimed {
            Ok(()) => return Some(()),
            Err(holder) => holder,
        };
        let reason = taken(what, self.listener, &holder);
        self.problems.insert(self.exposed.problem(keyword, reason));
        None
    }
}

/// What a word claims: Envoy compares server names with at most a leading `*.`
/// (config.listener.v3.FilterChainMatch.server_names).
fn server_name(word: &str) -> Result<Claim, String> {
    let name = domain(word)?;
    if name.starts_with('[') || name.parse::<IpAddr>().is_ok() {
        return Err(format!(
            "{name} is an address, which no TLS client asks for by name"
        ));
    }
    if name == "*" {
        return Ok(Claim::AnyTls);
    }
    let rest = name.strip_prefix("*.").unwrap_or(&name);
    if rest.is_empty() || rest.contains('*') {
        return Err(format!(
            "{name} cannot be matched by a TLS server name, only a leading \"*.\" can"
        ));
    }
    Ok(Claim::ServerName(name))
}
