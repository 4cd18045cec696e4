//! PURE: in what a full status differs from what was told, and which of it is no matter of time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::inventory::{Labels, NodeStatus, Object, ObjectPath, Report};

/// The places at which two reports differ, with what each says there: told, then read.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Differences {
    nodes: BTreeMap<String, Pair<NodeStatus>>,
    labels: BTreeMap<String, Pair<Labels>>,
    objects: BTreeMap<ObjectPath, Pair<Arc<Object>>>,
}

/// What was told and what was read; `None` where it is not there.
type Pair<T> = (Option<T>, Option<T>);

impl Differences {
    /// Compares what was told with what was read.
    pub(super) fn between(told: &Report, read: &Report) -> Self {
        Self {
            nodes: differing(&told.nodes, &read.nodes),
            labels: differing(&told.labels, &read.labels),
            objects: differing(&told.objects, &read.objects),
        }
    }

    /// Whether both are the same.
    pub(super) fn is_empty(&self) -> bool {
        self.nodes.is_empty() && self.labels.is_empty() && self.objects.is_empty()
    }

    /// The names of the places where nothing moved since `before`, on either side.
    pub(super) fn confirmed_by(&self, before: &Self) -> BTreeSet<String> {
        let nodes = same(&self.nodes, &before.nodes).map(|name| format!("node {name}"));
        let labels = same(&self.labels, &before.labels);
        let labels = labels.map(|name| format!("labels of node {name}"));
        let objects = same(&self.objects, &before.objects).map(ToString::to_string);
        nodes.chain(labels).chain(objects).collect()
    }
}

fn differing<K: Clone + Ord, V: Clone + PartialEq>(
    told: &BTreeMap<K, V>,
    read: &BTreeMap<K, V>,
) -> BTreeMap<K, Pair<V>> {
    let names: BTreeSet<&K> = told.keys().chain(read.keys()).collect();
    let differing = names
        .into_iter()
        .filter(|name| told.get(*name) != read.get(*name));
    differing
        .map(|name| {
            let pair = (told.get(name).cloned(), read.get(name).cloned());
            (name.clone(), pair)
        })
        .collect()
}

fn same<'a, K: Ord, V: PartialEq>(
    now: &'a BTreeMap<K, V>,
    before: &'a BTreeMap<K, V>,
) -> impl Iterator<Item = &'a K> {
    let unmoved = now
        .iter()
        .filter(|(name, it)| before.get(name) == Some(*it));
    unmoved.map(|(name, _)| name)
}
