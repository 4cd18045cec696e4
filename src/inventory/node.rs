//! The nodes of the OpenSVC cluster: how far what they report can be believed, and what follows
//! for what they reported before. Holds no instance itself.

use serde::Serialize;

/// How far a node's report can be believed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeStatus {
    /// The node's daemon runs and has evaluated its instances.
    Settled,
    /// The node's daemon starts: instances may still be missing from its report.
    Starting,
    /// The node's daemon was stopped on purpose, or is about to be; its services run on.
    Maintenance,
    /// An operator empties the node: its instances are being stopped.
    Draining,
    /// Nothing is heard of the node any more, though it is a member of the OpenSVC cluster.
    Lost,
    /// The node was in maintenance, and stayed away for longer than OpenSVC grants it.
    Expired,
}

impl NodeStatus {
    /// Whether nothing is heard of the node.
    pub fn is_lost(self) -> bool {
        matches!(self, Self::Lost | Self::Expired)
    }

    /// Whether the absence of an instance from the node's report is no proof that it is gone.
    pub fn is_unsure(self) -> bool {
        self == Self::Starting || self.is_lost()
    }

    /// Whether what runs on the node should get no new traffic.
    pub fn is_leaving(self) -> bool {
        matches!(self, Self::Draining | Self::Expired)
    }

    /// What the daemon's word means after what was known of the node; `None` for a node that
    /// needs not be thought of any more.
    ///
    /// A node that was being emptied has taken its instances with it. One in maintenance is
    /// forgotten by the daemon after a while, although its services run on.
    pub(super) fn after(self, before: Option<Self>) -> Option<Self> {
        match (self, before) {
            (Self::Lost, Some(Self::Draining)) => None,
            (Self::Lost, Some(Self::Maintenance | Self::Expired)) => Some(Self::Expired),
            _ => Some(self),
        }
    }
}
