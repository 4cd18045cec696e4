//! EDGE: what the account that the daemon takes this process for lacks for what is served. It is
//! said once when it appears and once when it clears, as problems are.

use std::collections::BTreeSet;

use tracing::{info, warn};

use crate::inventory::Account;
use crate::opensvc::rights::Role;

/// The account, what is needed of it, and what of that is missing.
#[derive(Debug, Default)]
pub(crate) struct Lacks {
    account: Option<Account>,
    /// The namespaces that something was exposed in, also where it is not seen any more: that a
    /// right is gone looks as if the objects were.
    namespaces: BTreeSet<String>,
    missing: BTreeSet<String>,
    told_root: bool,
}

impl Lacks {
    /// Notes who this process is by now; whether it may do other things than before.
    pub(crate) fn take(&mut self, account: &Account) -> bool {
        if self.account.as_ref() == Some(account) {
            return false;
        }
        let excess = account.excess();
        if let Some(excess) = excess.filter(|_| !std::mem::replace(&mut self.told_root, true)) {
            warn!("{excess}");
        }
        let before = self.account.replace(account.clone());
        self.judge();
        before.is_some()
    }

    /// Notes the namespaces that something is exposed in.
    pub(crate) fn need(&mut self, namespaces: &BTreeSet<String>) {
        if !namespaces.is_subset(&self.namespaces) {
            self.namespaces.extend(namespaces.iter().cloned());
            self.judge();
        }
    }

    /// The account's name, where the daemon told it.
    pub(crate) fn account(&self) -> Option<&str> {
        Some(self.account.as_ref()?.name.as_str())
    }

    /// What is missing, a sentence for each right.
    pub(crate) fn missing(&self) -> &BTreeSet<String> {
        &self.missing
    }

    fn judge(&mut self) {
        let Some(account) = &self.account else {
            return;
        };
        let missing = account.missing(Role::Gateway, &self.namespaces);
        let missing: BTreeSet<String> = missing.into_iter().collect();
        for lack in missing.difference(&self.missing) {
            warn!(lack, "a right is missing");
        }
        for lack in self.missing.difference(&missing) {
            info!(lack, "a right is missing no more");
        }
        self.missing = missing;
    }
}
