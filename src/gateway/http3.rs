//! HTTP/3 beside TLS (`expose.http3`): which exposes get the datagrams of their address for it.
//! What cannot be had costs HTTP/3 alone: the expose is served over TCP all the same.

use std::collections::BTreeSet;

use super::claims::{Claim, Claims};
use super::exposes::Exposed;
use super::routes::taken;
use super::{Listener, Origin, Protocol};
use crate::inventory::Problem;

/// Claims the datagrams, which all exposes that want them for HTTP/3 share. Returns whether the
/// expose has them; `judges` is whether its clients need certificates.
pub(super) fn claim(
    exposed: &Exposed<'_>,
    judges: bool,
    claims: &mut Claims,
    problems: &mut BTreeSet<Problem>,
) -> bool {
    if !exposed.expose.http3 {
        return false;
    }
    match obstacle(exposed, judges, claims) {
        None => true,
        Some(reason) => {
            let problem = exposed.problem(KEYWORD, reason);
            problems.insert(problem.hence("HTTP/3 is not served for it"));
            false
        }
    }
}

/// What is in the way, if anything; else the claim is made.
fn obstacle(exposed: &Exposed<'_>, judges: bool, claims: &mut Claims) -> Option<String> {
    let expose = &exposed.expose;
    if expose.vhosts.is_empty() || expose.listener_certificates.is_empty() {
        return Some("needs vhosts and listener_certificates".to_owned());
    }
    if expose.accept_proxy_protocol {
        return Some("has no meaning beside accept_proxy_protocol".to_owned());
    }
    if judges {
        let reason = "has no meaning beside a validation_secret: clients are judged over TCP alone";
        return Some(reason.to_owned());
    }
    let (address, port) = (expose.listener_addr, expose.listener_port);
    let name = |address| Listener::name(Protocol::Udp, address, port);
    let listener = name(address);
    if let Some((other, holder)) = claims.in_the_way(Protocol::Udp, address, port) {
        let (other, Origin { object, section }) = (name(other), holder);
        return Some(format!(
            "{listener} overlaps {other}, which {object} {section} has"
        ));
    }
    let origin = exposed.origin();
    if let Err(holder) = claims.share(&listener, Claim::Plain, &origin) {
        return Some(taken("every datagram", &listener, &holder));
    }
    claims.bind(Protocol::Udp, address, port, &origin);
    None
}

const KEYWORD: &str = "http3";
