//! What is decided when every expose has been compiled, as it depends on what others there are.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::compile::Compiled;
use super::{ChainMatch, Gateway, Listener, Policy, alpn, challenges};
use crate::inventory::alpn as alpn_answers;
use crate::inventory::{Inventory, ObjectPath, Problem, challenge};

/// A plain chain alone on its listener takes everything: no need to look for TLS then.
pub(super) fn matches(listener: &mut Listener) {
    if let [only] = listener.chains.as_mut_slice()
        && only.matches == ChainMatch::Plain
    {
        only.matches = ChainMatch::Any;
    }
}

/// HTTP/3 has the virtual hosts of TLS, and so also those that are not for everybody.
pub(super) fn guards(gateway: &mut Gateway) {
    let listeners = gateway.listeners.values();
    let guarding = listeners.filter(|listener| listener.guards_hosts);
    let guarded: BTreeSet<(IpAddr, u16)> = guarding
        .map(|listener| (listener.address, listener.port))
        .collect();
    gateway.listeners.change_all(|listener| {
        listener.guards_hosts |=
            listener.is_quic() && guarded.contains(&(listener.address, listener.port));
    });
}

/// Whether an object may carry challenges.
pub(super) fn is_carrier(path: &ObjectPath) -> bool {
    challenge::is_carrier(path) || alpn_answers::is_carrier(path)
}

/// Answers the challenges of those objects that may carry some.
pub(super) fn answers(
    inventory: &Inventory,
    policy: &Policy,
    carriers: &BTreeSet<&ObjectPath>,
    compiled: &mut Compiled,
) {
    challenges::settle(inventory, policy, carriers, compiled);
    alpn::settle(inventory, policy, carriers, compiled);
    rights(inventory, compiled);
}

/// What is wanted and may not be read is a problem of the object that it is read of.
pub(super) fn rights(inventory: &Inventory, compiled: &mut Compiled) {
    for want in &compiled.wants {
        let path = want.path();
        compiled.namespaces.insert(path.namespace().to_owned());
        if let Some(lack) = inventory.refused.get(path) {
            compiled.problems.insert(Problem {
                object: path.clone(),
                section: String::new(),
                keyword: String::new(),
                reason: lack.clone(),
            });
        }
    }
}
