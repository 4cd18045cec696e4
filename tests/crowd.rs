//! Many clients at once, and clients that do not do their part.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking, as tests do"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_client as ads;
use osvc_igw::ads::{Ads, Clients, bind_tcp};
use osvc_igw::xds::{Resource, ResourceType, Snapshot, Version};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Endpoint;

use crate::support::rig::Rig;
use crate::support::wire::{self, Held};

/// Kilobytes of memory that a process holds.
fn resident(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.unwrap().trim().trim_end_matches(" kB");
    number.trim().parse().unwrap()
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waits = async {
        while !holds().await {
            sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(timeout(LATE, waits).await.is_ok(), "not in time: {what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_clients_stay_in_step() {
    let mut rig = Rig::start_with(&["-w", "600"]).await;
    rig.answered().await;
    let process = rig.controller.id();
    let before = resident(process);
    let received = Arc::new(AtomicUsize::new(0));
    let (latest, _) = watch::channel(vec![Held::new(); CLIENTS]);
    let mut clients = JoinSet::new();
    let endpoint = Endpoint::from_shared(format!("http://{}", rig.options.xds)).unwrap();
    for number in 0..CLIENTS {
        let channel = endpoint.connect().await.unwrap();
        let (received, latest) = (Arc::clone(&received), latest.clone());
        clients.spawn(async move {
            let mut held = Held::new();
            let seen = |held: &Held, count| {
                received.fetch_add(count, Ordering::Relaxed);
                latest.send_modify(|all| all[number].clone_from(held));
                true
            };
            wire::run(channel, &format!("client{number}"), &mut held, seen).await;
        });
    }
    let equal = async || {
        let all = latest.borrow();
        let kinds = |kind| all[0].keys().any(|(one, _)| *one == kind);
        let mut few = ResourceType::ALL.into_iter();
        let few = few.all(|kind| kind == ResourceType::Scope || kinds(kind));
        few && all.iter().all(|held| *held == all[0])
    };
    until("all clients have the same", equal).await;
    let resources = latest.borrow()[0].len();
    assert_eq!(received.load(Ordering::Relaxed), CLIENTS * resources);
    let with = resident(process);

    // One instance fewer: three clusters have other endpoints, and nothing else is sent.
    let first = latest.borrow()[0].clone();
    let since = Instant::now();
    rig.stage.scale(3).await.unwrap();
    let changed = async || {
        let all = latest.borrow();
        let moved = |held: &Held| {
            let endpoints = |((kind, _), _): &(&(ResourceType, String), &String)| {
                *kind == ResourceType::Endpoint
            };
            held.iter()
                .filter(endpoints)
                .ne(first.iter().filter(endpoints))
        };
        all.iter().all(|held| moved(held) && *held == all[0])
    };
    until("all clients have the change", changed).await;
    println!(
        "{CLIENTS} clients have a change after {:.0?}",
        since.elapsed()
    );
    println!(
        "{before} kB without clients, {with} kB with {CLIENTS}: {} kB each",
        (with.saturating_sub(before)) / CLIENTS as u64
    );
    clients.abort_all();
    while clients.join_next().await.is_some() {}
    until("all clients are forgotten", async || {
        let status = rig.controller.status().await;
        status["clients"]
            .as_array()
            .is_some_and(|all| all.len() == 1)
    })
    .await;
    rig.answered().await;
}

/// The service alone, with a snapshot that does not fit into what is sent without being read.
async fn served() -> (std::net::SocketAddr, Clients, CancellationToken) {
    let mut snapshot = Snapshot::default();
    for number in 0..400 {
        let mut resource = Resource::new(&format!("c{number}"), Version::of(&number));
        resource.body = vec![b'x'; 16 << 10];
        snapshot.insert(ResourceType::Secret, Arc::new(resource));
    }
    let resource = Resource::new("l", Version::of(&"l"));
    snapshot.insert(ResourceType::Listener, Arc::new(resource));
    let (sender, latest) = watch::channel(Some(Arc::new(snapshot)));
    let stop = CancellationToken::new();
    let ads = Ads::new(latest, 8, stop.clone());
    let clients = ads.clients();
    let incoming = bind_tcp(([127, 0, 0, 1], 0).into()).unwrap();
    let address = incoming.local_addr().unwrap();
    tokio::spawn(async move {
        let served = ads.serve_tcp(incoming).await;
        drop(sender);
        served
    });
    (address, clients, stop)
}

async fn gone(clients: &Clients) {
    let gone = async {
        while !clients.list().is_empty() {
            sleep(Duration::from_millis(100)).await;
        }
    };
    // The longest bound is 60 s, for an answer.
    let late = timeout(Duration::from_secs(90), gone).await.is_err();
    assert!(!late, "still there: {:?}", clients.list().len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_is_dropped() {
    let (address, clients, stop) = served().await;
    let channel = Endpoint::from_shared(format!("http://{address}")).unwrap();
    let mut client = ads::AggregatedDiscoveryServiceClient::new(channel.connect().await.unwrap());
    let (requests, outgoing) = mpsc::channel(4);
    let ask = |kind: ResourceType| DeltaDiscoveryRequest {
        type_url: kind.url().to_owned(),
        ..DeltaDiscoveryRequest::default()
    };
    requests.send(ask(ResourceType::Secret)).await.unwrap();
    let outgoing = ReceiverStream::new(outgoing);
    // Its transport lives and answers pings; nobody takes what comes.
    let _unread = client.delta_aggregated_resources(outgoing).await.unwrap();
    until("it is a client", async || clients.list().len() == 1).await;
    gone(&clients).await;
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_answer_is_dropped_with_the_reason() {
    let (address, clients, stop) = served().await;
    let channel = Endpoint::from_shared(format!("http://{address}")).unwrap();
    let mut client = ads::AggregatedDiscoveryServiceClient::new(channel.connect().await.unwrap());
    let (requests, outgoing) = mpsc::channel(4);
    let request = DeltaDiscoveryRequest {
        type_url: ResourceType::Listener.url().to_owned(),
        ..DeltaDiscoveryRequest::default()
    };
    requests.send(request).await.unwrap();
    let outgoing = ReceiverStream::new(outgoing);
    let responses = client.delta_aggregated_resources(outgoing).await.unwrap();
    let mut responses = responses.into_inner();
    assert!(responses.message().await.unwrap().is_some());
    let ended = timeout(Duration::from_secs(90), responses.message()).await;
    let status = ended.expect("an end in time").unwrap_err();
    assert_eq!(status.code(), tonic::Code::DeadlineExceeded, "{status}");
    assert!(status.message().contains("lds"), "{status}");
    gone(&clients).await;
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_answers_no_ping_is_closed_within_thirty_seconds() {
    let (address, _, stop) = served().await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The preface of HTTP/2 and empty settings, and then nothing.
    let hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";
    stream.write_all(hello).await.unwrap();
    let mut sink = Vec::new();
    let closed = timeout(Duration::from_secs(30), stream.read_to_end(&mut sink)).await;
    assert!(closed.is_ok(), "the connection is still open");
    stop.cancel();
}

const CLIENTS: usize = 500;
/// Long enough for a machine that is busy with other tests.
const LATE: Duration = Duration::from_secs(30);
