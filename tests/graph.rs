//! The document of the way of traffic: what it names is there, and what is secret is not.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use osvc_igw::gateway::Gateway;
use osvc_igw::graph::graph;
use osvc_igw::pb::Graph;
use osvc_igw::pb::graph::Health;
use osvc_igw::status::json_of;

use crate::golden::{self, Case};

/// What is exposed in each golden case.
static GATEWAYS: LazyLock<BTreeMap<String, Gateway>> = LazyLock::new(|| {
    let names = golden::names().into_iter();
    let gateways = names.map(|name| {
        let gateway = Case::load(&name).run().compiled.gateway;
        (name, gateway)
    });
    gateways.collect()
});

fn graph_of(case: &str) -> Graph {
    graph(&GATEWAYS[case], &[])
}

fn text(graph: &Graph) -> String {
    let json = json_of("osvc_igw.v1.Graph", graph).expect("JSON");
    json.to_string()
}

#[test]
fn every_part_that_is_named_is_there() {
    let mut edges = 0;
    for case in GATEWAYS.keys() {
        let graph = graph_of(case);
        let clusters: BTreeSet<&str> = graph.clusters.iter().map(|it| it.name.as_str()).collect();
        let hosts: BTreeSet<&str> = graph.hosts.iter().map(|it| it.name.as_str()).collect();
        for chain in graph.listeners.iter().flat_map(|it| &it.chains) {
            // A chain that answers a challenge leads nowhere.
            if chain.name.starts_with("acme-tls-alpn-01/") {
                continue;
            }
            let known = match chain.cluster.as_str() {
                "" => hosts.contains(chain.hosts.as_str()),
                cluster => clusters.contains(cluster),
            };
            assert!(known, "{case}: {chain:?}");
            edges += 1;
        }
        let hosts = graph.hosts.iter().flat_map(|it| &it.virtual_hosts);
        let routes = hosts.flat_map(|host| &host.routes);
        for target in routes.flat_map(|route| &route.targets) {
            assert!(
                clusters.contains(target.cluster.as_str()),
                "{case}: {target:?}"
            );
            edges += 1;
        }
    }
    assert!(edges > 300, "{edges}");
}

#[test]
fn no_key_no_header_value_and_no_json_of_a_service_is_in_it() {
    let mut held_back = 0;
    for (case, gateway) in &*GATEWAYS {
        let graph = text(&graph_of(case));
        for secret in ["-----BEGIN", "PRIVATE", "typed_config", "inline_string"] {
            assert!(!graph.contains(secret), "{case}: {secret}");
        }
        let hosts = gateway.routes.values().flat_map(|it| &it.virtual_hosts);
        for route in hosts.flat_map(|host| &host.routes) {
            let edits = [&route.request_headers, &route.response_headers];
            let set = edits.into_iter().flatten().flat_map(|edits| &edits.set);
            let set = set.map(|(_, value)| value);
            let matched = route.conditions.iter().flat_map(|it| &it.headers);
            let matched = matched.filter_map(|header| header.value.as_ref());
            // What is short stands in other words by chance.
            for value in set.chain(matched).filter(|value| value.len() > 4) {
                assert!(!graph.contains(value.as_str()), "{case}: {value}");
                held_back += 1;
            }
        }
    }
    assert!(held_back > 0);
}

#[test]
fn an_equal_graph_has_an_equal_version_and_another_one_another() {
    let [one, again, other] = ["app1", "app1", "access-log"].map(graph_of);
    assert_eq!(one.version, again.version);
    assert_ne!(one.version, other.version);
}

#[test]
fn an_endpoint_at_the_address_of_a_held_instance_is_held() {
    let gateway = &GATEWAYS["app1"];
    let (object, address) = {
        let (name, endpoints) = gateway.endpoints.iter().next().expect("endpoints");
        let object = gateway.clusters.get(name).unwrap().origin.object.clone();
        (object, endpoints[0].address.to_string())
    };
    let before = graph(gateway, &[]);
    let held = osvc_igw::inventory::Held {
        object,
        node: "n9".to_owned(),
        node_status: osvc_igw::inventory::NodeStatus::Starting,
        addresses: vec![address.clone()],
        until: None,
    };
    let after = graph(gateway, &[held]);
    assert_ne!(before.version, after.version);
    let endpoints = after.clusters.iter().flat_map(|it| &it.endpoints);
    let mut there = endpoints.filter(|endpoint| endpoint.address == address);
    let endpoint = there.next().expect("the endpoint");
    assert_eq!(endpoint.health(), Health::Held);
    assert_eq!(endpoint.node, "n9");
}
