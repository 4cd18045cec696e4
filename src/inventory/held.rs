//! What is held of nodes that are starting or lost, for whoever asks why it is still served.

use std::time::Duration;

use serde::Serialize;

use super::{Inventory, NodeStatus, ObjectPath};

/// An instance that its node does not report, and that is nevertheless not taken for gone.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Held {
    /// The object.
    pub object: ObjectPath,
    /// The node that the instance was on.
    pub node: String,
    /// What is known of the node, which is why.
    pub node_status: NodeStatus,
    /// The addresses that worked when the node was last heard of.
    pub addresses: Vec<String>,
    /// On the clock of [`Inventory::expire`], when it is let go; `None` where that ends only
    /// when the node has told all that it runs.
    #[serde(skip)]
    pub until: Option<Duration>,
}

impl Inventory {
    /// What is held, in the order of the objects.
    pub fn held(&self, hold_down: Duration) -> Vec<Held> {
        let held = self.held.iter().filter_map(|((path, node), instance)| {
            let ips = instance.resources.values();
            let ips = ips.filter(|resource| resource.is_of("ip") && resource.is_up());
            let addresses = ips.filter_map(|ip| ip.keywords.text("ipaddr"));
            let since = self.lost.get(node);
            Some(Held {
                object: path.clone(),
                node: node.clone(),
                node_status: *self.nodes.get(node)?,
                addresses: addresses.map(str::to_owned).collect(),
                until: since.map(|since| since.saturating_add(hold_down)),
            })
        });
        held.collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use serde_json::json;

    use super::super::{Event, Instance, Object, Report, Resource, Table, Values};
    use super::*;

    fn object(nodes: &[&str]) -> Arc<Object> {
        let ip = Resource {
            driver: "ip".into(),
            status: "up".into(),
            keywords: Values::from([("ipaddr", json!("10.0.0.1"))]),
        };
        let instance = Instance {
            resources: Table::from([("ip#1".to_owned(), Arc::new(ip))]).into(),
            ..Instance::default()
        };
        let instances = nodes.iter();
        Arc::new(Object {
            path: "test/svc/a".parse().unwrap(),
            revision: "".into(),
            slave: false,
            instances: instances
                .map(|node| ((*node).to_owned(), instance.clone()))
                .collect(),
        })
    }

    fn inventory(status: NodeStatus) -> Inventory {
        let mut inventory = Inventory::default();
        let reported = object(&["n1", "n2"]);
        let settled = |name: &str| (name.to_owned(), NodeStatus::Settled);
        inventory.apply(Event::Reset(Report {
            nodes: BTreeMap::from([settled("n1"), settled("n2")]),
            labels: BTreeMap::new(),
            objects: BTreeMap::from([(reported.path.clone(), reported)]),
        }));
        inventory.apply(Event::Node("n2".to_owned(), Some(status)));
        inventory.apply(Event::Put(object(&["n1"])));
        inventory
    }

    const HOLD_DOWN: Duration = Duration::from_secs(60);

    #[test]
    fn what_a_lost_node_ran_is_held_for_the_hold_down_and_says_so() {
        let mut inventory = inventory(NodeStatus::Lost);
        inventory.expire(Duration::from_secs(5), HOLD_DOWN);
        let held = inventory.held(HOLD_DOWN);
        let expected = Held {
            object: "test/svc/a".parse().unwrap(),
            node: "n2".to_owned(),
            node_status: NodeStatus::Lost,
            addresses: vec!["10.0.0.1".to_owned()],
            until: Some(Duration::from_secs(65)),
        };
        assert_eq!(held, [expected]);
        inventory.expire(Duration::from_secs(65), HOLD_DOWN);
        assert_eq!(inventory.held(HOLD_DOWN), []);
    }

    #[test]
    fn what_a_starting_node_has_not_told_yet_is_held_until_it_settles() {
        let mut inventory = inventory(NodeStatus::Starting);
        inventory.expire(Duration::from_secs(5), HOLD_DOWN);
        let held = inventory.held(HOLD_DOWN);
        assert_eq!(held.len(), 1);
        assert_eq!(held[0].node_status, NodeStatus::Starting);
        assert_eq!(held[0].until, None);
        inventory.apply(Event::Node("n2".to_owned(), Some(NodeStatus::Settled)));
        assert_eq!(inventory.held(HOLD_DOWN), []);
    }

    #[test]
    fn what_a_settled_node_stops_reporting_is_not_held() {
        assert_eq!(inventory(NodeStatus::Settled).held(HOLD_DOWN), []);
    }
}
