//! PURE: what the controller shows of what it knows. It is made where things happen; how it is
//! shown is no concern of this file.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::gateway::Gateway;
use crate::inventory::{Held, Inventory, ObjectPath, Problem};
use crate::writes::Waiting;
use crate::xds::ResourceType;

/// What the controller knows, for whoever shows it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct View {
    /// Whether a snapshot has been published.
    pub ready: bool,
    /// Whether the daemon is being followed now.
    pub connected: bool,
    /// Why it is not, in the daemon's words or the system's.
    pub failure: Option<String>,
    /// Where the daemon is that is followed, as it was when its full status came.
    pub place: String,
    /// Who the daemon takes this process for, where it told.
    pub account: Option<String>,
    /// What that account lacks for what is served.
    pub lacks: BTreeSet<String>,
    /// How often the daemon's full status was taken.
    pub syncs: u64,
    /// In how many places a full status showed that what was followed had gone wrong.
    pub corrections: u64,
    /// When the controller started, in seconds since 1970.
    pub started: u64,
    /// The instances that are served although they are not reported any more, or not yet again.
    pub held: Vec<Held>,
    /// What the daemon is asked to write.
    pub writes: Vec<Waiting>,
    /// What cannot be exposed as written.
    pub problems: Arc<BTreeSet<Problem>>,
    /// The certificates of `sec` objects that are used, or would be if they were good.
    pub certificates: Arc<BTreeMap<ObjectPath, Validity>>,
    /// How many resources are served, by type.
    pub resources: BTreeMap<ResourceType, usize>,
    /// What is exposed by what was published last; nothing of what an earlier process saved.
    pub gateway: Arc<Gateway>,
}

/// Until when a certificate is good, and what is wrong with the one that should follow it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Validity {
    /// When the one that is served expires, in seconds since 1970; `None` where none is.
    pub not_after: Option<i64>,
    /// Why the newest content of the object is not served.
    pub flaw: Option<String>,
}

/// The certificates that were read, good or not.
pub(crate) fn certificates(inventory: &Inventory) -> BTreeMap<ObjectPath, Validity> {
    let certificates = inventory.secrets.iter().map(|(path, judged)| {
        let validity = Validity {
            not_after: judged.good.as_ref().map(|pair| pair.not_after),
            flaw: judged.flaw.clone(),
        };
        (path.clone(), validity)
    });
    certificates.collect()
}
