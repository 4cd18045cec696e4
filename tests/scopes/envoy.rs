//! A real Envoy with scopes: every form of host is answered as by one route configuration, nothing
//! is lost when the layout changes, and nobody sees how it is done.

use std::sync::Arc;
use std::time::{Duration, Instant};

use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use envoy_types::pb::envoy::service::route::v3::scoped_routes_discovery_service_client as srds;
use osvc_igw::demo::ports;
use osvc_igw::gateway::{Cluster, Endpoint, Gateway, Health, Route, RouteAction, VirtualHost};
use osvc_igw::xds::scope::{BUCKETS, HEADER};
use osvc_igw::xds::{Encoding, ResourceType, Snapshot};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};
use tonic::transport::Channel;

use super::asking::{Asking, answer, get};
use super::site::{gateway, host, listen, name, serve};
use super::{encoded, is_scoped};
use crate::random::Random;
use crate::support::stand::{LATE, Stand};

async fn answers(port: u16, host: &str, expected: &str) {
    let mut last = String::new();
    let answered = async {
        loop {
            last = answer(port, &get(host)).await;
            if last == expected {
                return;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    let late = timeout(LATE, answered).await.is_err();
    assert!(!late, "{host} is answered {last:?}, not {expected:?}");
}

/// One listener with scopes and one without, with the same virtual hosts.
fn both(hosts: &[VirtualHost], ports: [u16; 2]) -> Snapshot {
    let mut here = gateway(ports[0]);
    serve(&mut here, ports[0], hosts.to_vec());
    let mut snapshot = encoded(&here, 1);
    assert!(is_scoped(&snapshot, &name(ports[0])));
    let mut here = gateway(ports[1]);
    serve(&mut here, ports[1], hosts.to_vec());
    let whole = encoded(&here, usize::MAX);
    for kind in ResourceType::ALL {
        for resource in whole.all(kind) {
            snapshot.insert(kind, Arc::clone(resource));
        }
    }
    snapshot
}

fn two_ports() -> [u16; 2] {
    [ports::free().unwrap(), ports::free().unwrap()]
}

fn many(count: usize) -> Vec<VirtualHost> {
    let one = |at| host(at, &[&format!("h{at}.test")]);
    (0..count).map(one).collect()
}

/// Hosts of every form.
const HOSTS: &[&str] = &[
    "h7.test",
    "H7.TEST",
    "h7.test:8080",
    "H7.Test:1",
    "h7.test.",
    "h7.test:",
    "h7.test:x",
    "a.wild.org",
    "A.WILD.ORG:1",
    "exact.wild.org",
    "wild.org",
    ".wild.org",
    "other.test:80",
    "front.x",
    "FRONT.a.b:80",
    "front.",
    "[::1]",
    "[::1]:80",
    "[FE80::1]:443",
    "[::2]",
    "[::2]:80",
    "[",
    "]",
    "[]",
    ":80",
    ":",
    "",
    "nobody.net",
    "x",
    "a:b:80",
    "user@h7.test",
    "h7.test/x",
    "h7 test",
    "a_b",
    "%41",
    "~",
    "10.0.0.1:80",
    "h7.test:80:80",
    "*",
    "'\"\\",
];

/// Requests for those hosts, and others.
fn odd_requests(routes: &str) -> Vec<Vec<u8>> {
    let mut requests: Vec<Vec<u8>> = HOSTS.iter().map(|host| get(host)).collect();
    requests.push(get(&"a".repeat(300)));
    requests.push(get(&"h7.".repeat(3_000)));
    requests.push(b"GET / HTTP/1.1\r\nhost: h7\xfc.test\r\nconnection: close\r\n\r\n".to_vec());
    requests.push(b"GET / HTTP/1.0\r\n\r\n".to_vec());
    requests.push(b"GET / HTTP/1.0\r\nhost: h7.test\r\n\r\n".to_vec());
    requests.push(b"GET / HTTP/1.1\r\nconnection: close\r\n\r\n".to_vec());
    requests.push(b"GET http://h7.test/ HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".to_vec());
    let two = b"GET / HTTP/1.1\r\nhost: h7.test\r\nhost: x\r\nconnection: close\r\n\r\n";
    requests.push(two.to_vec());
    // A client that says which scope it wants.
    let wanted = format!("{} 111111111111", routes);
    requests.push(
        format!(
            "GET / HTTP/1.1\r\nhost: h7.test\r\n{HEADER}: {wanted}\r\n{HEADER}: x\r\n\
             connection: close\r\n\r\n"
        )
        .into_bytes(),
    );
    requests
}

fn alphabet(random: &mut Random) -> String {
    let all: Vec<char> = ('a'..='z')
        .chain('0'..='9')
        .chain(['.', '-', '_'])
        .collect();
    let length = 1 + random.below(30);
    (0..length).map(|_| all[random.below(all.len())]).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_form_of_host_is_answered_as_by_one_configuration() {
    let stand = Stand::start().await;
    let mut hosts = many(20);
    hosts.push(host(20, &["*.wild.org", "exact.wild.org", "other.test"]));
    hosts.push(host(21, &["front.*"]));
    hosts.push(host(22, &["[::1]", "[fe80::1]"]));
    hosts.push(host(23, &["*"]));
    let ports = two_ports();
    stand.publish(both(&hosts, ports));
    answers(ports[0], "h1.test", "200 host 1").await;
    answers(ports[1], "h1.test", "200 host 1").await;
    let mut found = 0;
    for request in odd_requests(&name(ports[0])) {
        let [scoped, whole] = [
            answer(ports[0], &request).await,
            answer(ports[1], &request).await,
        ];
        assert_eq!(scoped, whole, "{:?}", String::from_utf8_lossy(&request));
        found += usize::from(scoped.starts_with("200 host"));
    }
    assert!(found > 30, "{found}");
    stand.refuses(&[]).await;
}

/// Each host has routes in its own bucket alone: that it is found there is what the listener has
/// computed.
#[tokio::test(flavor = "multi_thread")]
async fn envoy_finds_each_of_many_hosts_in_the_bucket_that_is_computed_here() {
    let stand = Stand::start().await;
    let port = ports::free().unwrap();
    let mut random = Random(5);
    let mut names: Vec<String> = (0..400).map(|_| alphabet(&mut random)).collect();
    names.sort();
    names.dedup();
    let hosts = names.iter().enumerate().map(|(at, name)| host(at, &[name]));
    let mut here = gateway(port);
    serve(&mut here, port, hosts);
    stand.publish(encoded(&here, 1));
    answers(port, &names[0], "200 host 0").await;
    let mut wrong = Vec::new();
    for (at, name) in names.iter().enumerate() {
        let upper = at % 2 == 0;
        let asked = if upper {
            name.to_uppercase()
        } else {
            format!("{name}:8{at}")
        };
        let answered = answer(port, &get(&asked)).await;
        if answered != format!("200 host {at}") {
            wrong.push((asked, answered));
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}

/// Waits until Envoy has all that is served, and its listeners have all that they wait for.
async fn settled(stand: &Stand, snapshot: &Snapshot) {
    let settled = async {
        loop {
            let clients = stand.clients.list();
            let synced = clients.first().and_then(|client| client.synced.clone());
            let has_all = synced.is_some_and(|synced| synced.changes(snapshot).count() == 0);
            let path = format!("/stats?filter=^{WARMING}$");
            let warming = stand.envoy.text(&path).await;
            let warming = warming.trim() != format!("{WARMING}: 0");
            if has_all && !warming {
                return;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    let late = timeout(3 * LATE, settled).await.is_err();
    assert!(!late, "refused: {:?}", stand.refused());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_the_layout_loses_no_request() {
    let stand = Stand::start().await;
    let ports = two_ports();
    let mut encoding = Encoding::with_scopes_above(20);
    let mut here = gateway(ports[0]);
    listen(&mut here, ports[1]);
    let mut publish = async |counts: [usize; 2], scoped: [bool; 2]| {
        for (port, count) in ports.into_iter().zip(counts) {
            serve(&mut here, port, many(count));
        }
        encoding.follow(&here);
        let snapshot = encoding.snapshot().clone();
        let layouts = ports.map(|port| is_scoped(&snapshot, &name(port)));
        assert_eq!(layouts, scoped);
        stand.publish(snapshot.clone());
        settled(&stand, &snapshot).await;
    };
    publish([5, 5], [false, false]).await;
    let asking = ports.map(Asking::start);
    // The first one asks for scopes, which the other one finds there.
    publish([21, 5], [true, false]).await;
    publish([22, 21], [true, true]).await;
    publish([5, 22], [false, true]).await;
    publish([5, 5], [false, false]).await;
    // The listeners that had scopes drain meanwhile: their connections are served to their end.
    sleep(Duration::from_secs(4)).await;
    publish([21, 21], [true, true]).await;
    for asking in asking {
        asking.stop().await;
    }
    stand.refuses(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_envoy_that_comes_back_is_sent_nothing_that_it_has() {
    let stand = Stand::start().await;
    let port = ports::free().unwrap();
    let mut here = gateway(port);
    serve(&mut here, port, many(30));
    let snapshot = encoded(&here, 20);
    stand.publish(snapshot.clone());
    settled(&stand, &snapshot).await;
    let asking = Asking::start(port);
    let first = stand.clients.list()[0].began;
    stand.relay.cut();
    let back = async {
        loop {
            let clients = stand.clients.list();
            if clients
                .iter()
                .any(|it| it.began != first && it.synced.is_some())
            {
                return;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(LATE, back).await.unwrap();
    let clients = stand.clients.list();
    let client = clients.iter().find(|it| it.began != first).unwrap();
    assert_eq!(
        client.sent.get(&ResourceType::Scope),
        None,
        "{:?}",
        client.sent
    );
    assert_eq!(
        client.sent.get(&ResourceType::Route),
        None,
        "{:?}",
        client.sent
    );
    asking.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whole_states_carry_scopes_too() {
    let stand = Stand::start_with(&[("api_type: DELTA_GRPC", "api_type: GRPC")]).await;
    let port = ports::free().unwrap();
    let mut here = gateway(port);
    let mut encoding = Encoding::with_scopes_above(20);
    for (count, scoped) in [(30, true), (31, true), (5, false), (30, true)] {
        serve(&mut here, port, many(count));
        encoding.follow(&here);
        assert_eq!(is_scoped(encoding.snapshot(), &name(port)), scoped);
        stand.publish(encoding.snapshot().clone());
        let last = count - 1;
        answers(port, &format!("h{last}.test"), &format!("200 host {last}")).await;
    }
    stand.refuses(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn scopes_come_over_a_stream_of_their_own_too() {
    let stand = Stand::start().await;
    let port = ports::free().unwrap();
    let mut here = gateway(port);
    serve(&mut here, port, many(30));
    stand.publish(encoded(&here, 20));
    let channel = Channel::from_shared(format!("http://{}", stand.address)).unwrap();
    let mut client = srds::ScopedRoutesDiscoveryServiceClient::new(channel.connect_lazy());
    let requests = tokio_stream::once(DeltaDiscoveryRequest::default());
    let requests = tokio_stream::StreamExt::chain(requests, tokio_stream::pending());
    let mut responses = client
        .delta_scoped_routes(requests)
        .await
        .unwrap()
        .into_inner();
    let response = responses.message().await.unwrap().unwrap();
    assert_eq!(response.type_url, ResourceType::Scope.url());
    assert_eq!(response.resources.len(), usize::from(BUCKETS));
}

/// The number with which it is done: from one of them to one more.
#[tokio::test(flavor = "multi_thread")]
async fn one_domain_more_among_thousands_is_one_small_response() {
    let stand = Stand::start().await;
    let port = ports::free().unwrap();
    let mut here = gateway(port);
    let mut encoding = Encoding::default();
    serve(&mut here, port, many(2_000));
    encoding.follow(&here);
    assert!(!is_scoped(encoding.snapshot(), &name(port)));
    serve(&mut here, port, many(2_001));
    encoding.follow(&here);
    assert!(is_scoped(encoding.snapshot(), &name(port)));
    let since = Instant::now();
    stand.publish(encoding.snapshot().clone());
    answers(port, "h1999.test", "200 host 1999").await;
    settled(&stand, encoding.snapshot()).await;
    let took = since.elapsed();
    let memory = std::fs::read_to_string(format!("/proc/{}/status", stand.envoy.id()));
    let memory = memory.unwrap();
    let memory = memory.lines().find(|line| line.starts_with("VmRSS"));
    println!("{BUCKETS} scopes are there after {took:.1?}: {memory:?}");
    let sent = || stand.clients.list()[0].sent.clone();
    let before = sent();
    let since = Instant::now();
    let mut hosts = here.routes.get(&name(port)).unwrap().virtual_hosts.clone();
    hosts.push(Arc::new(host(5_000, &["one.more.test"])));
    here.routes.get_mut(&name(port)).unwrap().virtual_hosts = hosts;
    encoding.follow(&here);
    println!("encoded after {:.1?}", since.elapsed());
    stand.publish(encoding.snapshot().clone());
    settled(&stand, encoding.snapshot()).await;
    println!("acknowledged after {:.1?} at the most", since.elapsed());
    answers(port, "one.more.test", "200 host 5000").await;
    let mut expected = before;
    *expected.get_mut(&ResourceType::Route).unwrap() += 1;
    assert_eq!(sent(), expected);
}

const WARMING: &str = "listener_manager.total_listeners_warming";

/// Says in its answer what it was asked.
async fn mirror() -> std::net::SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") && stream.read_buf(&mut head).await? > 0 {}
                let length = head.len();
                let answer = format!(
                    "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
                );
                stream.write_all(answer.as_bytes()).await?;
                stream.write_all(&head).await
            });
        }
    });
    address
}

fn to_backend(gateway: &mut Gateway, backend: std::net::SocketAddr) -> VirtualHost {
    let mut one = host(0, &["back.test"]);
    one.routes = vec![Route::default_to("back".to_owned())];
    assert!(matches!(one.routes[0].action, RouteAction::Forward(_)));
    let cluster = Cluster {
        origin: one.origin.clone(),
        protocol: osvc_igw::gateway::Protocol::Tcp,
        lb_policy: osvc_igw::gateway::LbPolicy::RoundRobin,
        http: true,
        backend_protocol: osvc_igw::gateway::BackendProtocol::Http1,
        limits: osvc_igw::gateway::Limits::default(),
        outlier_consecutive_errors: None,
        connect_timeout_ms: 5_000,
        health_check: None,
        tls: None,
        proxy_protocol: None,
        data: None,
    };
    gateway.clusters.insert("back".to_owned(), cluster);
    let endpoint = Endpoint {
        address: backend.ip(),
        port: backend.port(),
        health: Health::Healthy,
        locality: None,
    };
    gateway.endpoints.insert("back".to_owned(), vec![endpoint]);
    one
}

#[tokio::test(flavor = "multi_thread")]
async fn no_backend_sees_the_header() {
    let stand = Stand::start().await;
    let port = ports::free().unwrap();
    let mut here = gateway(port);
    let back = to_backend(&mut here, mirror().await);
    let more = (1..9).map(|at| host(at, &[&format!("h{at}.test")]));
    serve(&mut here, port, more.chain([back]));
    let snapshot = encoded(&here, 2);
    stand.publish(snapshot.clone());
    settled(&stand, &snapshot).await;
    let spoofed = format!(
        "GET /x HTTP/1.1\r\nhost: BACK.test:80\r\n{HEADER}: 1\r\n{HEADER}: 2\r\nx-other: 1\r\n\
         connection: close\r\n\r\n"
    );
    let found = answer(port, spoofed.as_bytes()).await;
    assert!(found.starts_with("200 GET /x"), "{found}");
    assert!(found.contains("x-other: 1"), "{found}");
    assert!(!found.contains(HEADER), "{found}");
}
