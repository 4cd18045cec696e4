//! PURE: what should be served, following what is known as it changes: compiled, encoded, and what
//! is wrong with it. When it is published is the controller's business.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::gateway::{Compiled, Incremental, Policy};
use crate::inventory::{Inventory, Problem, Touched};
use crate::xds::{Encoding, Snapshot};

/// What should be served.
#[derive(Debug)]
pub(crate) struct Desired {
    compiling: Incremental,
    encoding: Encoding,
    /// Whether there may be other problems than those that were told.
    untold: bool,
    /// How many of the problems that time brings were told.
    expired: usize,
}

impl Desired {
    pub(crate) fn new(policy: Policy) -> Self {
        Self {
            encoding: Encoding::with_scopes_above(policy.scoped_routes_above),
            compiling: Incremental::new(policy),
            untold: true,
            expired: 0,
        }
    }

    /// Compiles what was touched.
    pub(crate) fn compile(&mut self, inventory: &Inventory, touched: &Touched) -> &Compiled {
        self.untold |= self.compiling.follow(inventory, touched);
        self.compiling.compiled()
    }

    /// Encodes what was compiled.
    pub(crate) fn encode(&mut self) -> Arc<Snapshot> {
        self.untold |= self.encoding.follow(&self.compiling.compiled().gateway);
        self.encoding.share()
    }

    /// What was compiled last.
    pub(crate) fn compiled(&self) -> &Compiled {
        self.compiling.compiled()
    }

    /// What is wrong by a second, counted from 1970; `None` where that is what was told last.
    pub(crate) fn problems(&mut self, second: i64) -> Option<BTreeSet<Problem>> {
        let expired = self.expired(second);
        if !self.untold && expired == self.expired {
            return None;
        }
        (self.untold, self.expired) = (false, expired);
        let Compiled {
            problems, expiries, ..
        } = self.compiling.compiled();
        let refused = self.encoding.problems();
        let expired = expiries.iter().take(expired).map(|(_, problem)| problem);
        let all = problems.iter().chain(refused).chain(expired);
        Some(all.cloned().collect())
    }

    /// The last second before something else is wrong than at that one.
    pub(crate) fn next_expiry(&self, second: i64) -> Option<i64> {
        let expiries = &self.compiling.compiled().expiries;
        expiries
            .iter()
            .nth(self.expired(second))
            .map(|(last, _)| *last)
    }

    /// How many of the expiries are over; they are in order.
    fn expired(&self, second: i64) -> usize {
        let expiries = self.compiling.compiled().expiries.iter();
        expiries.take_while(|(last, _)| *last < second).count()
    }
}
