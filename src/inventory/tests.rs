//! What an inventory holds on to, and what it lets go.

use super::*;

fn object(name: &str, nodes: &[&str]) -> Arc<Object> {
    let instances = nodes.iter();
    Arc::new(Object {
        path: ObjectPath::new("test", Kind::Svc, name),
        revision: "1".into(),
        slave: false,
        instances: instances
            .map(|node| ((*node).to_owned(), Instance::default()))
            .collect(),
    })
}

fn report(nodes: &[(&str, NodeStatus)], objects: &[Arc<Object>]) -> Report {
    let nodes = nodes.iter();
    let objects = objects.iter();
    Report {
        nodes: nodes
            .map(|(name, status)| ((*name).to_owned(), *status))
            .collect(),
        labels: BTreeMap::new(),
        objects: objects
            .map(|object| (object.path.clone(), object.clone()))
            .collect(),
    }
}

fn node(name: &str, status: NodeStatus) -> Event {
    Event::Node(name.to_owned(), Some(status))
}

fn settled() -> Inventory {
    let mut inventory = Inventory::default();
    let nodes = [("n1", NodeStatus::Settled), ("n2", NodeStatus::Settled)];
    let objects = [object("a", &["n1", "n2"]), object("b", &["n2"])];
    assert!(inventory.apply(Event::Reset(report(&nodes, &objects))));
    inventory
}

#[test]
fn what_a_starting_node_goes_on_reporting_stays_when_it_settles() {
    let mut inventory = settled();
    inventory.apply(node("n2", NodeStatus::Starting));
    inventory.apply(node("n2", NodeStatus::Settled));
    assert_eq!(inventory, settled());
    let nodes = [("n1", NodeStatus::Settled), ("n2", NodeStatus::Starting)];
    let objects = [object("a", &["n1", "n2"]), object("b", &["n2"])];
    inventory.apply(Event::Reset(report(&nodes, &objects)));
    inventory.apply(node("n2", NodeStatus::Settled));
    assert_eq!(inventory, settled());
}

#[test]
fn what_a_starting_node_stops_reporting_is_held_until_it_settles() {
    let mut inventory = settled();
    inventory.apply(node("n2", NodeStatus::Starting));
    assert!(!inventory.apply(Event::Put(object("a", &["n1"]))));
    let b = object("b", &[]).path.clone();
    assert!(!inventory.apply(Event::Remove(b)));
    assert_eq!(inventory.objects, settled().objects);
    inventory.apply(Event::Put(object("a", &["n1", "n2"])));
    inventory.apply(node("n2", NodeStatus::Settled));
    let expected = BTreeMap::from([object("a", &["n1", "n2"])].map(|o| (o.path.clone(), o)));
    assert_eq!(inventory.objects, expected);
}

#[test]
fn what_was_read_of_an_object_goes_with_it() {
    let mut inventory = settled();
    let path = object("a", &[]).path.clone();
    let reading = || Reading {
        revision: "1".into(),
        content: Some(Secret::new()),
    };
    assert!(inventory.apply(Event::Secret(path.clone(), reading())));
    inventory.apply(Event::Remove(path.clone()));
    assert!(inventory.secrets.is_empty());
    assert!(!inventory.apply(Event::Secret(path, reading())));
    assert!(inventory.secrets.is_empty());
}

#[test]
fn a_starting_node_that_leaves_takes_what_was_held_with_it() {
    let mut inventory = settled();
    inventory.apply(node("n2", NodeStatus::Starting));
    inventory.apply(Event::Remove(object("b", &[]).path.clone()));
    inventory.apply(Event::Node("n2".to_owned(), None));
    assert!(!inventory.objects.contains_key(&object("b", &[]).path));
}

/// Two nodes that ran `a` and `b` and of which the second is not heard of any more.
fn lost() -> Inventory {
    let mut inventory = settled();
    inventory.apply(node("n2", NodeStatus::Lost));
    assert!(!inventory.apply(Event::Put(object("a", &["n1"]))));
    assert!(!inventory.apply(Event::Remove(object("b", &[]).path.clone())));
    assert!(!inventory.expire(NOW, HOLD_DOWN));
    inventory
}

fn instances(inventory: &Inventory, name: &str) -> Vec<String> {
    let object = inventory.objects.get(&object(name, &[]).path);
    let instances = object.map(|object| object.instances.keys().map(str::to_owned).collect());
    instances.unwrap_or_default()
}

#[test]
fn what_ran_on_a_lost_node_is_held_for_the_hold_down() {
    let mut inventory = lost();
    assert_eq!(inventory.objects, settled().objects);
    let expiry = NOW + HOLD_DOWN;
    assert_eq!(inventory.next_expiry(HOLD_DOWN), Some(expiry));
    assert!(!inventory.expire(expiry - Duration::from_millis(1), HOLD_DOWN));
    assert!(inventory.expire(expiry, HOLD_DOWN));
    assert_eq!(instances(&inventory, "a"), ["n1"]);
    assert_eq!(instances(&inventory, "b"), [""; 0]);
    assert_eq!(inventory.next_expiry(HOLD_DOWN), None);
    assert!(!inventory.expire(expiry + HOLD_DOWN, HOLD_DOWN));
}

#[test]
fn a_node_that_comes_back_in_time_loses_nothing() {
    let mut inventory = lost();
    inventory.apply(node("n2", NodeStatus::Starting));
    assert!(!inventory.expire(NOW + HOLD_DOWN, HOLD_DOWN));
    assert_eq!(inventory.next_expiry(HOLD_DOWN), None);
    assert_eq!(inventory.objects, settled().objects);
    inventory.apply(Event::Put(object("a", &["n1", "n2"])));
    inventory.apply(node("n2", NodeStatus::Settled));
    assert_eq!(instances(&inventory, "a"), ["n1", "n2"]);
    assert_eq!(instances(&inventory, "b"), [""; 0]);
}

#[test]
fn a_node_is_lost_across_a_new_full_status_too() {
    let mut inventory = settled();
    let nodes = [("n1", NodeStatus::Settled), ("n2", NodeStatus::Lost)];
    inventory.apply(Event::Reset(report(&nodes, &[object("a", &["n1"])])));
    inventory.expire(NOW, HOLD_DOWN);
    assert_eq!(inventory.objects, settled().objects);
    inventory.apply(Event::Reset(report(&nodes, &[object("a", &["n1"])])));
    assert!(inventory.expire(NOW + HOLD_DOWN, HOLD_DOWN));
    assert_eq!(instances(&inventory, "a"), ["n1"]);
}

#[test]
fn a_node_that_is_no_member_any_more_is_not_held() {
    let mut inventory = lost();
    inventory.apply(Event::Node("n2".to_owned(), None));
    assert_eq!(instances(&inventory, "a"), ["n1"]);
    assert_eq!(instances(&inventory, "b"), [""; 0]);
}

#[test]
fn a_node_that_was_emptied_before_it_went_is_not_held() {
    let mut inventory = settled();
    inventory.apply(node("n2", NodeStatus::Draining));
    inventory.apply(node("n2", NodeStatus::Lost));
    inventory.apply(Event::Put(object("a", &["n1"])));
    assert_eq!(instances(&inventory, "a"), ["n1"]);
}

#[test]
fn a_node_whose_maintenance_took_too_long_is_held_and_leaving() {
    let mut inventory = settled();
    inventory.apply(node("n2", NodeStatus::Maintenance));
    assert!(!inventory.nodes["n2"].is_leaving());
    inventory.apply(node("n2", NodeStatus::Lost));
    inventory.apply(Event::Put(object("a", &["n1"])));
    assert!(inventory.nodes["n2"].is_leaving());
    assert_eq!(instances(&inventory, "a"), ["n1", "n2"]);
}

/// `a`, running where `up` says.
fn failover(nodes: &[(&str, bool)]) -> Arc<Object> {
    let mut object = Object::clone(&object("a", &[]));
    for (node, up) in nodes {
        let status = if *up { "up" } else { "down" };
        let address = Resource {
            driver: "ip".into(),
            status: status.into(),
            keywords: Values::default(),
        };
        let instance = Instance {
            failover: true,
            resources: Table::from([("ip#1".to_owned(), Arc::new(address))]).into(),
            ..Instance::default()
        };
        object.instances.insert((*node).to_owned(), instance);
    }
    Arc::new(object)
}

#[test]
fn a_failover_object_that_is_up_elsewhere_has_left_the_lost_node() {
    let mut inventory = settled();
    inventory.apply(Event::Put(failover(&[("n1", false), ("n2", true)])));
    inventory.apply(node("n2", NodeStatus::Lost));
    assert!(!inventory.apply(Event::Put(failover(&[("n1", false)]))));
    assert_eq!(instances(&inventory, "a"), ["n1", "n2"]);
    assert!(inventory.apply(Event::Put(failover(&[("n1", true)]))));
    assert_eq!(instances(&inventory, "a"), ["n1"]);
    inventory.apply(Event::Put(failover(&[("n1", false)])));
    assert_eq!(instances(&inventory, "a"), ["n1"]);
}

#[test]
fn a_lost_node_keeps_its_labels() {
    let labels = Labels::from([("zone".to_owned(), "z1".to_owned())]);
    let mut inventory = settled();
    inventory.apply(Event::Labels("n2".to_owned(), labels.clone()));
    inventory.apply(node("n2", NodeStatus::Lost));
    inventory.apply(Event::Labels("n2".to_owned(), Labels::new()));
    assert_eq!(inventory.labels("n2"), Some(&labels));
    inventory.apply(node("n2", NodeStatus::Settled));
    assert_eq!(inventory.labels("n2"), None);
}

const NOW: Duration = Duration::from_secs(1_000);
const HOLD_DOWN: Duration = Duration::from_secs(60);

fn web1(scaler: bool, resources: &[&str]) -> Arc<Object> {
    let mut web1 = Object::clone(&object("web1", &["n1"]));
    for instance in web1.instances.values_mut() {
        instance.scaler = scaler;
        let resources = resources.iter();
        let resources = resources.map(|section| ((*section).to_owned(), Arc::default()));
        instance.resources = Arc::new(resources.collect());
    }
    Arc::new(web1)
}

fn slave(status: &str) -> Arc<Object> {
    let mut slave = Object::clone(&object("0.web1", &["n1"]));
    slave.slave = true;
    for instance in slave.instances.values_mut() {
        let ip = Resource {
            driver: "ip".into(),
            status: status.to_owned().into(),
            ..Resource::default()
        };
        let ip = Arc::new(ip);
        instance.resources_mut().insert("ip#1", ip);
    }
    Arc::new(slave)
}

fn sections(inventory: &Inventory) -> usize {
    let web1 = &inventory.objects[&object("web1", &[]).path];
    web1.instances.get("n1").unwrap().resources.len()
}

#[test]
fn a_service_that_becomes_a_scaler_keeps_its_sections_until_a_slave_works() {
    let mut inventory = settled();
    inventory.apply(Event::Put(web1(false, &["ip#1", "expose#0"])));
    inventory.apply(Event::Put(web1(true, &[])));
    assert_eq!(sections(&inventory), 2);
    inventory.apply(Event::Put(slave("down")));
    assert!(!inventory.apply(Event::Put(web1(true, &[]))));
    assert_eq!(sections(&inventory), 2);
    assert!(inventory.apply(Event::Put(slave("up"))));
    assert_eq!(sections(&inventory), 0);
}

#[test]
fn a_scaler_whose_slaves_never_work_loses_its_sections_after_a_while() {
    let mut inventory = settled();
    inventory.apply(Event::Put(web1(false, &["ip#1"])));
    inventory.apply(Event::Put(web1(true, &[])));
    let hold_down = Duration::from_secs(60);
    assert!(!inventory.expire(Duration::from_secs(10), hold_down));
    let at = inventory.next_expiry(hold_down).unwrap();
    assert_eq!(at, Duration::from_secs(70));
    assert!(inventory.expire(at, hold_down));
    assert_eq!(sections(&inventory), 0);
}

#[test]
fn a_scaler_that_was_never_a_service_has_no_sections() {
    let mut inventory = settled();
    inventory.apply(Event::Put(web1(true, &[])));
    assert_eq!(sections(&inventory), 0);
}

#[test]
fn a_full_status_does_not_end_the_wait_for_a_slave() {
    let mut inventory = settled();
    inventory.apply(Event::Put(web1(false, &["ip#1"])));
    let nodes = [("n1", NodeStatus::Settled), ("n2", NodeStatus::Settled)];
    let status = |slave| report(&nodes, &[web1(true, &[]), slave]);
    inventory.apply(Event::Reset(status(slave("down"))));
    assert_eq!(sections(&inventory), 1);
    inventory.apply(Event::Reset(status(slave("up"))));
    assert_eq!(sections(&inventory), 0);
}
