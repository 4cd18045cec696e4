//! Who the daemon takes this process for, and the roles that it gives it. What is lacking, and how
//! it is granted, is known where the agent is known.

use std::collections::BTreeSet;

/// An account of the daemon's.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Account {
    /// The account's name; `nobody` where the daemon knows none.
    pub name: String,
    /// The namespace of the account's `usr` object; `None` for whoever opens the unix socket.
    pub namespace: Option<String>,
    /// Whether it may do everything.
    pub root: bool,
    /// The namespaces whose objects it sees.
    pub guest: BTreeSet<String>,
    /// The namespaces whose keys and configurations it reads and writes.
    pub admin: BTreeSet<String>,
    /// The grant in the words of the account's configuration, such as `guest:*`.
    pub granted: BTreeSet<String>,
}
