//! How nodes join, and how a daemon starts: in steps, each with less than the truth.

use super::cluster::{Cluster, Node, Stage};

/// How far a daemon that starts is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Boot {
    /// It answers, and knows nothing.
    Blank,
    /// It knows the cluster's name.
    Named,
    /// It has read the configurations.
    Configured,
    /// It looks at one object after the other.
    Evaluating,
}

impl Cluster {
    /// Makes the node a member that has not told anything yet.
    pub(super) fn join(&mut self, node: &str) {
        if !self.order.iter().any(|name| name == node) {
            self.order.push(node.to_owned());
        }
        let status = "init".to_owned();
        let joined = Node {
            present: true,
            joining: true,
            status,
            since: self.now,
        };
        self.nodes.insert(node.to_owned(), joined);
    }

    /// The node tells of its objects.
    pub(super) fn welcome(&mut self, node: &str, status: &str) {
        if let Some(node) = self.nodes.get_mut(node) {
            node.joining = false;
            status.clone_into(&mut node.status);
            node.since = self.now;
        }
        self.evaluate_all();
    }

    /// The daemon starts anew: it forgets what it knew.
    pub(super) fn reboot(&mut self) {
        self.boot = Some(Boot::Blank);
        self.born = self.now;
        self.zombies.clear();
        for object in self.objects.values_mut() {
            object.stage = Stage::Configured;
        }
        let local = self.local().to_owned();
        if let Some(node) = self.nodes.get_mut(&local) {
            "init".clone_into(&mut node.status);
            node.since = self.now;
        }
    }

    /// One step on from the start to idle.
    pub(super) fn boot_step(&mut self) {
        let next = match self.boot {
            None => return,
            Some(Boot::Blank) => Boot::Named,
            Some(Boot::Named) => Boot::Configured,
            Some(Boot::Configured) => {
                for object in self.objects.values_mut() {
                    object.stage = Stage::Listed;
                }
                Boot::Evaluating
            }
            Some(Boot::Evaluating) => {
                let waiting = self
                    .objects
                    .iter()
                    .find(|(_, object)| object.stage == Stage::Listed);
                if let Some(path) = waiting.map(|(path, _)| path.clone()) {
                    return self.advance(&path, Stage::Evaluated);
                }
                let local = self.local().to_owned();
                self.boot = None;
                return self.welcome(&local, "idle");
            }
        };
        self.boot = Some(next);
    }
}
