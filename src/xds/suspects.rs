//! What outlives a stream: the names of which a client's own word cannot be believed.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::ResourceType;

/// The names, by type, that were refused or unanswered when a client's stream ended. Envoy
/// records no version for anything in a response that it refused, though it runs some of it: the
/// versions that it tells on its next stream may be wrong for them.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Suspects {
    pub(super) types: BTreeMap<ResourceType, Doubts>,
}

/// The suspects of one type.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Doubts {
    /// The names, and whether each was in a refused response.
    pub(super) names: BTreeMap<Arc<str>, bool>,
    /// How often each name was in a refused response, also of those that are trusted again.
    pub(super) epochs: BTreeMap<Arc<str>, u32>,
}

impl Suspects {
    /// Whether all that the client says can be believed, and was sent as it is.
    pub fn is_empty(&self) -> bool {
        let mut all = self.types.values();
        all.all(|doubts| doubts.names.is_empty() && doubts.epochs.is_empty())
    }
}

/// What streams that ended have left, by node id. Bounded: nodes that never return are forgotten
/// when others need the place.
#[derive(Clone, Debug, Default)]
pub struct NodeSuspects {
    nodes: BTreeMap<String, Suspects>,
}

impl NodeSuspects {
    /// Keeps what the next stream of the node must know; nothing for one without a name.
    pub fn leave(&mut self, node: String, suspects: Suspects) {
        if node.is_empty() || suspects.is_empty() {
            return;
        }
        if self.nodes.len() >= NODES_MAX && !self.nodes.contains_key(&node) {
            self.nodes.pop_first();
        }
        self.nodes.insert(node, suspects);
    }

    /// Takes what the last stream of the node left.
    pub fn take(&mut self, node: &str) -> Suspects {
        self.nodes.remove(node).unwrap_or_default()
    }
}

/// The most nodes without a stream that are remembered.
const NODES_MAX: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    fn doubtful(name: &str) -> Suspects {
        let doubts = Doubts {
            names: BTreeMap::from([(name.into(), true)]),
            ..Doubts::default()
        };
        Suspects {
            types: BTreeMap::from([(ResourceType::Route, doubts)]),
        }
    }

    #[test]
    fn suspects_are_left_to_the_next_stream_of_the_same_node() {
        let mut nodes = NodeSuspects::default();
        nodes.leave("a".to_owned(), doubtful("r"));
        nodes.leave("b".to_owned(), Suspects::default());
        nodes.leave(String::new(), doubtful("r"));
        assert!(nodes.take("b").is_empty() && nodes.take("").is_empty());
        assert_eq!(nodes.take("a"), doubtful("r"));
        assert!(nodes.take("a").is_empty());
    }

    #[test]
    fn suspects_of_endless_nodes_are_bounded() {
        let mut nodes = NodeSuspects::default();
        for node in 0..NODES_MAX + 10 {
            nodes.leave(node.to_string(), doubtful("r"));
        }
        assert_eq!(nodes.nodes.len(), NODES_MAX);
        assert!(!nodes.take(&(NODES_MAX + 9).to_string()).is_empty());
    }
}
