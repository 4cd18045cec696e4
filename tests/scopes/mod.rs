//! Very many virtual hosts on one listener: laid out in scopes they answer as in one piece, and a
//! change costs what it changes. A real Envoy is asked in `envoy`.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking, as tests do"
)]

mod asking;
mod envoy;
mod pieces;
mod session;
mod site;

use std::collections::{BTreeMap, BTreeSet};

use osvc_igw::gateway::Gateway;
use osvc_igw::xds::scope::{BUCKETS, HEADER, bucket, name};
use osvc_igw::xds::{Encoding, ResourceType, Snapshot};
use prost::Message as _;

use envoy_types::pb::envoy::config::route::v3::RouteConfiguration;
use site::{gateway, host, limited, search, serve};

/// The routes of that name, as they are sent.
fn routes(snapshot: &Snapshot, name: &str) -> Option<RouteConfiguration> {
    let resource = snapshot.get(ResourceType::Route, name)?;
    Some(RouteConfiguration::decode(resource.body.as_slice()).unwrap())
}

/// Whether the routes are laid out in scopes, all of which are there.
#[track_caller]
fn is_scoped(snapshot: &Snapshot, routes: &str) -> bool {
    let whole = snapshot.get(ResourceType::Route, routes).is_some();
    let count = |kind| {
        let names = (0..BUCKETS).map(|bucket| name(routes, bucket));
        names
            .filter(|name| snapshot.get(kind, name).is_some())
            .count()
    };
    let counts = [ResourceType::Scope, ResourceType::Route].map(count);
    let all = usize::from(BUCKETS);
    assert!(
        counts == if whole { [0, 0] } else { [all, all] },
        "one configuration: {whole}, scopes and their routes: {counts:?}"
    );
    !whole
}

fn encoded(gateway: &Gateway, hosts_max: usize) -> Snapshot {
    let mut encoding = Encoding::with_scopes_above(hosts_max);
    encoding.follow(gateway);
    encoding.snapshot().clone()
}

const L: &str = "127.0.0.1:80/tcp";

#[test]
fn few_virtual_hosts_are_one_resource_and_there_is_no_scope() {
    let mut here = gateway(80);
    serve(
        &mut here,
        80,
        (0..20).map(|at| host(at, &[&format!("h{at}.test")])),
    );
    let snapshot = encoded(&here, 20);
    assert!(!is_scoped(&snapshot, L));
    assert!(!snapshot.counts().contains_key(&ResourceType::Scope));
    let (usual, _) = osvc_igw::xds::encode(&here, &Snapshot::default());
    assert_eq!(snapshot.changes(&usual).count(), 0);
}

#[test]
fn one_domain_more_is_one_resource_of_less_than_two_kilobytes() {
    let mut here = gateway(80);
    let of = |at: usize| host(at, &[&format!("shop{}.example{}.com", at % 100, at / 100)]);
    let wild = [host(9_998, &["*.wild.org"]), host(9_999, &["*"])];
    serve(&mut here, 80, (0..9_998).map(of).chain(wild));
    let mut encoding = Encoding::default();
    encoding.follow(&here);
    let mut bytes = Vec::new();
    for at in 10_000..10_050 {
        let before = encoding.snapshot().clone();
        let mut hosts = here.routes.get(L).unwrap().virtual_hosts.clone();
        hosts.push(host(at, &[&format!("www.more{at}.com")]).into());
        here.routes.get_mut(L).unwrap().virtual_hosts = hosts;
        encoding.follow(&here);
        let changes: Vec<(ResourceType, String)> = encoding
            .snapshot()
            .changes(&before)
            .map(|(kind, name)| (kind, name.to_owned()))
            .collect();
        let at = bucket(&format!("www.more{at}.com"));
        assert_eq!(changes, [(ResourceType::Route, name(L, at))]);
        let resource = encoding.snapshot().get(ResourceType::Route, &changes[0].1);
        bytes.push(resource.unwrap().body.len());
    }
    bytes.sort_unstable();
    println!("{} bytes, {} at most", bytes[25], bytes[49]);
    assert!(bytes[40] < 2_048, "{bytes:?}");
}

#[test]
fn the_layout_changes_back_at_half_of_the_number_only() {
    let mut here = gateway(80);
    let mut encoding = Encoding::with_scopes_above(20);
    let mut with = |count: usize, encoding: &mut Encoding| {
        serve(
            &mut here,
            80,
            (0..count).map(|at| host(at, &[&format!("h{at}.test")])),
        );
        encoding.follow(&here);
        is_scoped(encoding.snapshot(), L)
    };
    let counts = [20, 21, 20, 10, 9, 10, 20, 21, 0];
    let scoped = counts.map(|count| with(count, &mut encoding));
    let expected = [false, true, true, true, false, false, false, true, false];
    assert_eq!(scoped, expected);
}

/// Where an answer would not be the same, or it would not pay.
#[test]
fn one_configuration_stays_where_scopes_would_answer_otherwise() {
    let plain = || (0..30).map(|at| host(at, &[&format!("h{at}.test")]));
    let scoped = |more: Vec<osvc_igw::gateway::VirtualHost>| {
        let mut here = gateway(80);
        serve(&mut here, 80, plain().chain(more));
        is_scoped(&encoded(&here, 20), L)
    };
    assert!(scoped(vec![host(30, &["*", "a.test", "b.test"])]));
    assert!(scoped(vec![limited(host(30, &["a.test"]))]));
    assert!(
        !scoped(vec![limited(host(30, &["a.test", "b.test"]))]),
        "one count for both"
    );
    assert!(
        !scoped(vec![limited(host(30, &["*.a.test"]))]),
        "one count for all"
    );
    let wild = |count: usize| (0..count).map(|at| host(30 + at, &[&format!("*.w{at}.test")]));
    assert!(scoped(wild(8).collect()));
    assert!(!scoped(wild(9).collect()), "each would be in every scope");
}

/// One of a service's own filters may change the host of a request.
#[test]
fn one_configuration_stays_where_a_service_has_filters_of_its_own() {
    let mut here = gateway(80);
    serve(
        &mut here,
        80,
        (0..30).map(|at| host(at, &[&format!("h{at}.test")])),
    );
    let mut encoding = Encoding::with_scopes_above(20);
    encoding.follow(&here);
    assert!(is_scoped(encoding.snapshot(), L));
    let bare = here.clone();
    site::give_filters(&mut here, L);
    encoding.follow(&here);
    assert!(!is_scoped(encoding.snapshot(), L));
    encoding.follow(&bare);
    assert!(is_scoped(encoding.snapshot(), L));
}

#[test]
fn what_envoy_would_refuse_is_told_once_and_costs_itself() {
    let mut here = gateway(80);
    let bad = site::with_regex(host(30, &["*", "bad.test"]), "");
    let good = (0..30).map(|at| host(at, &[&format!("h{at}.test")]));
    serve(&mut here, 80, good.chain([bad]));
    let mut encoding = Encoding::with_scopes_above(20);
    encoding.follow(&here);
    assert!(is_scoped(encoding.snapshot(), L));
    let told: BTreeSet<String> = encoding.problems().map(ToString::to_string).collect();
    assert_eq!(told.len(), 1, "{told:?}");
    let at = name(L, bucket("bad.test"));
    let hosts = routes(encoding.snapshot(), &at).unwrap().virtual_hosts;
    let bad = hosts
        .iter()
        .find(|host| host.domains.contains(&"bad.test".to_owned()));
    assert_eq!(bad.unwrap().routes.len(), 0);
}

#[test]
fn a_scope_takes_the_header_off() {
    let mut here = gateway(80);
    serve(
        &mut here,
        80,
        (0..3).map(|at| host(at, &[&format!("h{at}.test")])),
    );
    let snapshot = encoded(&here, 2);
    for bucket in 0..BUCKETS {
        let routes = routes(&snapshot, &name(L, bucket)).unwrap();
        assert_eq!(routes.request_headers_to_remove, [HEADER]);
        assert!(routes.ignore_port_in_host_matching);
    }
}

/// Whatever comes and goes, the scopes together answer what one configuration would, and are what
/// encoding everything anew comes to.
#[test]
fn random_hosts_are_answered_as_by_one_configuration() {
    let mut tried = 0;
    for seed in 0..4 {
        let mut world = pieces::World::new(seed);
        let mut encoding = Encoding::with_scopes_above(3);
        for _ in 0..6 {
            world.step();
            let here = world.gateway();
            encoding.follow(&here);
            let snapshot = encoding.snapshot();
            let again = Encoding::with_scopes_above(3);
            let again = anew(again, &here, snapshot);
            let others: Vec<_> = snapshot.changes(&again).collect();
            assert!(others.is_empty(), "seed {seed}: {others:?}");
            let whole = routes(&encoded(&here, usize::MAX), L).unwrap_or_default();
            let mut known: BTreeMap<u16, RouteConfiguration> = BTreeMap::new();
            for asked in world.asked() {
                let expected = search(&whole, &asked);
                let found = if is_whole(snapshot) {
                    search(&routes(snapshot, L).unwrap_or_default(), &asked)
                } else {
                    tried += 1;
                    let at = bucket(&asked);
                    let routes = || routes(snapshot, &name(L, at)).unwrap();
                    search(known.entry(at).or_insert_with(routes), &asked)
                };
                assert_eq!(found, expected, "seed {seed}: {asked:?}");
            }
        }
    }
    assert!(tried > 200, "{tried}");
}

fn is_whole(snapshot: &Snapshot) -> bool {
    snapshot.count(ResourceType::Scope) == 0
}

/// Everything encoded again, with the layout that it has.
fn anew(mut encoding: Encoding, gateway: &Gateway, layout: &Snapshot) -> Snapshot {
    let mut more = gateway.clone();
    if !is_whole(layout) {
        // As many as it takes, that go again.
        let hosts = (0..9).map(|at| host(900 + at, &[&format!("gone{at}.test")]).into());
        let all = &mut more.routes.get_mut(L).unwrap().virtual_hosts;
        all.extend(hosts);
        encoding.follow(&more);
    }
    encoding.follow(gateway);
    encoding.snapshot().clone()
}
