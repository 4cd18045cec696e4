//! What outlives a stream: the names of which a client's own word cannot be believed.

use std::collections::BTreeMap;

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
    pub(super) names: BTreeMap<String, bool>,
    /// How often each name was in a refused response, also of those that are trusted again.
    pub(super) epochs: BTreeMap<String, u32>,
}

impl Suspects {
    /// Whether all that the client says can be believed, and was sent as it is.
    pub fn is_empty(&self) -> bool {
        let mut all = self.types.values();
        all.all(|doubts| doubts.names.is_empty() && doubts.epochs.is_empty())
    }
}
