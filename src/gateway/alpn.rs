//! Answers to the TLS-ALPN-01 challenges of certificate authorities (RFC 8737): filter chains
//! which show a certificate to who asks for `acme-tls/1`, and to nobody else. Decided after every
//! expose has been compiled.
//!
//! Envoy narrows the chains down by server name, then by transport, then by protocol, and never
//! goes back (config.listener.v3.FilterChainMatch). So a chain of ours stands exactly where the
//! chain stands that takes the name today, and differs from it in the protocol alone: any other
//! place would cut that chain's clients off. Where clients come from is looked at last, and does
//! not restrict ours: authorities come from anywhere.

use std::collections::{BTreeMap, BTreeSet};
use std::iter::once;
use std::net::IpAddr;

use super::challenges::{carried, origin, own_listener, problem, stranger};
use super::compile::Compiled;
use super::{
    ChainAction, ChainMatch, FilterChain, Listener, Policy, Protocol, SecretContent, Source,
    TlsSecret,
};
use crate::inventory::alpn::{AlpnAnswer, KEY, is_carrier, server_name};
use crate::inventory::challenge::host;
use crate::inventory::{Inventory, ObjectPath};

/// An answer that is given: for which name, and who has it.
#[derive(Clone, Copy)]
struct Shown<'a> {
    name: &'a str,
    carrier: &'a ObjectPath,
    answer: &'a AlpnAnswer,
}

/// Which of our chains on a listener an answer belongs to. There is one for each chain that takes
/// some of the names: two with the same match would cost the listener.
#[derive(Eq, Ord, PartialEq, PartialOrd)]
enum Place {
    /// Beside the chain of that number.
    Beside(usize),
    /// Where nobody takes the names.
    Alone,
    /// For an address. Envoy does not find its certificate by the name that is asked for.
    Address(String),
}

/// What one of our chains takes and shows.
#[derive(Default)]
struct Ours<'a> {
    /// The server names; empty for those that no server name matches.
    names: BTreeSet<String>,
    shown: Vec<Shown<'a>>,
}

/// Puts every answer that is known where it is asked for, and asks for those that are not.
pub(super) fn settle(
    inventory: &Inventory,
    policy: &Policy,
    carriers: &BTreeSet<&ObjectPath>,
    compiled: &mut Compiled,
) {
    let known = &inventory.alpn_answers;
    let carriers = carriers.iter().copied().filter(|path| is_carrier(path));
    let carried = carried(inventory, known, carriers, KEY, compiled);
    let carried = carried.into_iter().flat_map(|(carrier, answers)| {
        answers.iter().map(move |(name, answer)| Shown {
            name,
            carrier,
            answer,
        })
    });
    let mut carried: Vec<Shown<'_>> = carried.collect();
    // Of several who want to answer for a name, whoever takes it today does.
    carried.sort_by_key(|shown| !serves(policy, compiled, shown));
    let mut all: BTreeMap<&str, Shown<'_>> = BTreeMap::new();
    for shown in carried {
        let Shown { name, carrier, .. } = shown;
        let reason = match (
            stranger(policy, carrier, &host(name), compiled),
            all.get(name),
        ) {
            (Some(other), _) => format!(
                "is for {name}, which {} {} of another namespace serves",
                other.object, other.section
            ),
            (None, Some(first)) => format!("is for {name}, and so is that of {}", first.carrier),
            (None, None) => {
                all.insert(name, shown);
                continue;
            }
        };
        let problem = problem(carrier, KEY, reason);
        compiled
            .problems
            .insert(problem.hence("it is not answered"));
    }
    let all: Vec<Shown<'_>> = all.into_values().collect();
    let Some(first) = all.first() else {
        return;
    };
    open(policy, compiled);
    let port = policy.challenge_tls_port;
    let mut used = BTreeSet::new();
    let listeners = compiled.gateway.listeners.iter();
    let asked = listeners.filter(|(_, one)| one.port == port && one.protocol == Protocol::Tcp);
    let asked: Vec<String> = asked.map(|(name, _)| name.to_owned()).collect();
    for name in asked {
        let Some(listener) = compiled.gateway.listeners.get_mut(&name) else {
            continue;
        };
        let Some(chains) = chains(listener, &all) else {
            let reason = format!("cannot be answered on {name}, where nobody looks for TLS");
            let problem = problem(first.carrier, KEY, reason);
            compiled.problems.insert(problem);
            continue;
        };
        used.extend(chains.iter().flat_map(|chain| chain.certificates.clone()));
        listener.chains.extend(chains);
    }
    let secrets = all
        .iter()
        .map(|shown| (shown.secret_name(), shown.secret()));
    let secrets = secrets.filter(|(name, _)| used.contains(name));
    compiled.gateway.secrets.extend(secrets);
}

/// Whether the namespace of an answer has the chain that takes the name, be it by a wildcard.
fn serves(policy: &Policy, compiled: &Compiled, shown: &Shown<'_>) -> bool {
    let asked = server_name(shown.name);
    let mut listeners = compiled.gateway.listeners.values();
    listeners.any(|listener| {
        let ours = listener.port == policy.challenge_tls_port && listener.protocol == Protocol::Tcp;
        let serving = serving(&listener.chains, &asked).filter(|_| ours);
        let chain = serving.and_then(|(number, _)| listener.chains.get(number));
        let mut origins = chain.into_iter().flat_map(|chain| &chain.origins);
        origins.any(|origin| origin.object.namespace() == shown.carrier.namespace())
    })
}

/// Opens a listener of our own where authorities ask and none is.
fn open(policy: &Policy, compiled: &mut Compiled) {
    let port = policy.challenge_tls_port;
    let listeners = &mut compiled.gateway.listeners;
    let is_there = |one: &Listener| one.port == port && one.protocol == Protocol::Tcp;
    if listeners.values().any(|one| is_there(one)) {
        return;
    }
    let (name, listener) = own_listener(policy, port, Vec::new());
    listeners.insert(name, listener);
}

/// The chains that show the answers on a listener; `None` where Envoy does not look for TLS: it
/// would have to wait for the first words of clients that may wait for those of a backend.
fn chains(listener: &Listener, all: &[Shown<'_>]) -> Option<Vec<FilterChain>> {
    if !listener.chains.is_empty() && !listener.inspects() {
        return None;
    }
    let mut places: BTreeMap<Place, Ours<'_>> = BTreeMap::new();
    for shown in all {
        let asked = server_name(shown.name);
        let (place, name) = match serving(&listener.chains, &asked) {
            Some((number, Some(name))) => (Place::Beside(number), Some(name)),
            // No client asks for such a name by chance: none is cut off.
            _ if shown.name.parse::<IpAddr>().is_ok() => {
                (Place::Address(asked.clone()), Some(asked))
            }
            Some((number, None)) => (Place::Beside(number), None),
            None => (Place::Alone, Some(asked)),
        };
        let ours = places.entry(place).or_default();
        ours.names.extend(name);
        ours.shown.push(*shown);
    }
    let chains = places.into_iter().map(|(place, ours)| {
        let beside = match &place {
            Place::Beside(number) => listener.chains.get(*number),
            _ => None,
        };
        chain(beside, &place, ours)
    });
    Some(chains.collect())
}

fn chain(beside: Option<&FilterChain>, place: &Place, ours: Ours<'_>) -> FilterChain {
    let matches = match (beside.map(|chain| &chain.matches), ours.names.is_empty()) {
        (Some(ChainMatch::Any), true) => ChainMatch::Any,
        (_, true) => ChainMatch::AnyTls,
        (_, false) => ChainMatch::ServerNames(ours.names.into_iter().collect()),
    };
    let beside = beside.map(|chain| chain.name.as_str());
    let name = match place {
        Place::Address(name) => name,
        _ => beside.unwrap_or("alone"),
    };
    let carriers: BTreeSet<&ObjectPath> = ours.shown.iter().map(|shown| shown.carrier).collect();
    FilterChain {
        name: format!("acme-tls-alpn-01/{name}"),
        origins: carriers.into_iter().map(origin).collect(),
        matches,
        allow_from: Vec::new(),
        certificates: ours.shown.iter().map(Shown::secret_name).collect(),
        validation: None,
        action: ChainAction::Handshake,
        data: None,
    }
}

/// The chain that takes a server name today, and the name by which it does, if it is by one: the
/// name itself, then the longest `*.`, then whatever takes the rest
/// (config.listener.v3.FilterChainMatch.server_names).
fn serving(chains: &[FilterChain], asked: &str) -> Option<(usize, Option<String>)> {
    let dots = asked.match_indices('.');
    let wildcards = dots.filter_map(|(at, _)| Some(format!("*{}", asked.get(at..)?)));
    for name in once(asked.to_owned()).chain(wildcards) {
        let takes = |chain: &FilterChain| match &chain.matches {
            ChainMatch::ServerNames(names) => names.contains(&name),
            _ => false,
        };
        if let Some(number) = chains.iter().position(takes) {
            return Some((number, Some(name)));
        }
    }
    let rest = [ChainMatch::AnyTls, ChainMatch::Any].into_iter();
    let mut rest = rest.filter_map(|one| chains.iter().position(|chain| chain.matches == one));
    rest.next().map(|number| (number, None))
}

impl Shown<'_> {
    /// What Envoy knows it by: another answer has another name, so that who has this one has this
    /// answer.
    fn secret_name(&self) -> String {
        format!(
            "tls_certificate/{}.{}",
            self.carrier,
            self.answer.id(self.name)
        )
    }

    fn secret(&self) -> TlsSecret {
        let pair = &self.answer.pair;
        TlsSecret {
            origin: origin(self.carrier),
            content: SecretContent::Certificate {
                certificate_chain: Source::Inline(pair.certificate_chain.clone()),
                private_key: Source::Inline(pair.private_key.clone()),
                not_after: None,
            },
        }
    }
}
