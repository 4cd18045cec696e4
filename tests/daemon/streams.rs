//! The client of the HTTP/2 interface against recorded traffic, and against what no daemon should
//! do.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use osvc_igw::inventory::{Config, Event, Inventory, ObjectPath, Write};
use osvc_igw::opensvc::h2::H2;
use osvc_igw::opensvc::mirror::Mirror;
use osvc_igw::opensvc::raw::{Limits, Raw};
use osvc_igw::opensvc::{Daemon, Error};
use serde_json::{Value, json};
use tokio::net::UnixStream;

use super::fake::FakeH2;
use super::sites::limits;
use super::transcripts::exchanges;
use super::{Site, Way};
use crate::captures::{capture, status, stream};
use crate::fake::{Fake, Reply};

fn client(fake: &FakeH2) -> H2 {
    H2::at_socket(&fake.socket).with_limits(limits())
}

/// A server that only has an event stream.
fn streaming() -> FakeH2 {
    FakeH2::start(|_| (200, String::new()))
}

fn event(id: u64, message: &Value) -> Vec<u8> {
    format!("id: {id}\ndata: {message}\n\n").into_bytes()
}

/// Takes in what comes until the watch has told of as much as the mirror.
async fn same(
    events: &mut BoxStream<'static, Result<Event, Error>>,
    expected: &[Event],
    inventory: &mut Inventory,
) {
    for one in expected {
        let event = events.next().await.expect("an event").expect("an event");
        assert_eq!(&event, one);
        inventory.apply(event);
    }
}

#[tokio::test]
async fn a_subscription_is_asked_for_as_the_daemon_wants_it() {
    let fake = streaming();
    fake.events.send(event(1, &full())).expect("a server");
    let mut events = client(&fake).watch();
    let first = events.next().await;
    assert!(matches!(first, Some(Ok(Event::Reset(_)))), "{first:?}");
    let asked = fake.asked.lock().expect("no panic").clone();
    assert_eq!(asked.len(), 1);
    assert_eq!((&*asked[0].method, &*asked[0].path), ("GET", "/events"));
    assert_eq!(asked[0].query, [("full".to_owned(), "true".to_owned())]);
    let accepts: Vec<_> = asked[0].headers.get_all("accept").iter().collect();
    assert_eq!(accepts, ["text/event-stream"]);
}

#[tokio::test]
async fn the_recorded_stream_is_the_same_in_any_pieces() {
    let text = capture("h2-sse-stream-transcript.txt");
    let (_, body) = text.split_once("\n< \n").expect("a body");
    let messages = body.lines().filter_map(|line| line.strip_prefix("data: "));
    let mut mirror = Mirror::default();
    let expected: Vec<Event> = messages
        .flat_map(|line| {
            mirror
                .apply(serde_json::from_str::<Value>(line).expect("JSON"))
                .expect("a patch")
        })
        .collect();
    assert!(expected.len() > 1);
    for size in [1, 2, 3, 10, 100, 1_000, 16_384, body.len()] {
        let fake = streaming();
        let mut events = client(&fake).watch();
        for piece in body.as_bytes().chunks(size) {
            fake.events.send(piece.to_vec()).expect("a server");
        }
        same(&mut events, &expected, &mut Inventory::default()).await;
    }
}

#[tokio::test]
async fn recorded_streams_arrive_as_they_were_recorded() {
    for name in [
        "single-lifecycle",
        "tls-acme-guest-all",
        "node-join",
        "peer-daemon-stop",
        "scaler-root",
    ] {
        let fake = streaming();
        let mut events = client(&fake).watch();
        let mut mirror = Mirror::default();
        let mut inventory = Inventory::default();
        for (id, message) in (1..).zip(stream(name)) {
            fake.events.send(event(id, &message)).expect("a server");
            let Ok(expected) = mirror.apply(message) else {
                break;
            };
            same(&mut events, &expected, &mut inventory).await;
        }
        if name == "single-lifecycle" {
            let mut last = Inventory::default();
            for event in Mirror::default().reset(status("single-lifecycle-final")) {
                last.apply(event);
            }
            assert_eq!(inventory.objects, last.objects);
        }
    }
}

#[tokio::test]
async fn recorded_answers_are_understood() {
    let recorded = exchanges(&capture("h2-unix-transcript.txt"));
    assert!(recorded.len() > 20);
    let fake = FakeH2::start(move |asked| {
        if asked.headers.contains_key("o-node") {
            return (
                200,
                json!({"error": "unknown service", "status": 1}).to_string(),
            );
        }
        let same = recorded.iter().find(|one| {
            (&one.method, &one.path, &one.query) == (&asked.method, &asked.path, &asked.query)
        });
        let (status, document) = same.expect("recorded").answer.clone().expect("an answer");
        (status, document.to_string())
    });
    let daemon = client(&fake);
    let key = async |object: &str, key: &str| {
        let read = daemon
            .read_key(&path(object), key)
            .await
            .expect("an answer");
        read.map(|secret| secret.expose().to_owned())
    };
    let secret = "test/sec/web1-front-cert";
    assert_eq!(key(secret, "extra").await.as_deref(), Some("v1795421580"));
    assert_eq!(key(secret, "nope").await, None);
    assert_eq!(key("test/sec/nope", "nope").await, None);
    let config = daemon
        .read_config(&path("test/svc/web1"))
        .await
        .expect("an answer");
    let front = config.expect("a configuration");
    let front = front.keyword(&path("test/svc/web1"), "n1", "certificate#front", "secret");
    assert_eq!(front.as_deref(), Some("web1-front-cert"));
    let nowhere = daemon.read_config(&path("test/sec/nope")).await;
    assert_eq!(nowhere.expect("an answer"), None::<Config>);
}

#[tokio::test]
async fn a_stream_that_ends_anywhere_is_one_error_and_the_end() {
    let text = event(2, &json!({"kind": "patch", "id": 1, "data": []}));
    for cut in [0, 1, 3, 6, 10, text.len() - 2, text.len() - 1, text.len()] {
        let mut fake = streaming();
        let mut events = client(&fake).watch();
        fake.events.send(event(1, &full())).expect("a server");
        events.next().await.expect("an event").expect("a status");
        fake.events.send(text[..cut].to_vec()).expect("a server");
        fake.events = tokio::sync::mpsc::unbounded_channel().0;
        let error = events
            .next()
            .await
            .expect("an error")
            .expect_err("an error");
        let expected = matches!(error, Error::Closed | Error::Receive { .. });
        assert!(expected, "{cut} {error:?}");
        assert!(events.next().await.is_none());
    }
}

#[tokio::test]
async fn what_is_no_stream_of_an_agent_is_an_error_that_says_so() {
    let refusal = r#"{"status": 500, "error": "boom", "traceback": "..."}"#;
    for (status, body, expected) in [
        (500, refusal, "refuses events with status 500: boom"),
        (
            401,
            r#"{"status": 401, "error": "Not Authorized"}"#,
            "does not take these credentials",
        ),
        (
            404,
            r#"{"title": "Not Found", "status": 404}"#,
            "is an OpenSVC agent v3",
        ),
        (404, "404 page not found", "is an OpenSVC agent v3"),
    ] {
        let fake = FakeH2::start(move |_| (status, body.to_owned()));
        let error = client(&fake).watch().next().await.expect("an error");
        let error = error.expect_err("an error").to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[tokio::test]
async fn messages_and_answers_without_end_are_given_up() {
    let small = Limits {
        bytes_max: 100_000,
        ..limits()
    };
    let fake = streaming();
    let mut events = client(&fake).with_limits(small.clone()).watch();
    fake.events.send(event(1, &full())).expect("a server");
    events.next().await.expect("an event").expect("a status");
    for _ in 0..20 {
        fake.events.send(vec![b' '; 10_000]).expect("a server");
    }
    let error = events
        .next()
        .await
        .expect("an error")
        .expect_err("an error");
    assert!(matches!(error, Error::Oversized { .. }), "{error:?}");
    let fake = FakeH2::start(|_| (200, " ".repeat(200_000)));
    let read = client(&fake)
        .with_limits(small)
        .read_config(&path("a"))
        .await;
    assert!(matches!(read, Err(Error::Oversized { .. })), "{read:?}");
}

#[tokio::test]
async fn a_status_that_does_not_come_is_an_error() {
    let fake = streaming();
    let impatient = Limits {
        status: Duration::from_millis(200),
        ..limits()
    };
    let mut events = client(&fake).with_limits(impatient).watch();
    let error = events
        .next()
        .await
        .expect("an error")
        .expect_err("an error");
    assert!(matches!(error, Error::Receive { .. }), "{error:?}");
}

#[tokio::test]
async fn a_slow_caller_is_not_taken_for_a_silent_daemon() {
    let fake = streaming();
    let impatient = Limits {
        silence: Duration::from_millis(300),
        ..limits()
    };
    let mut events = client(&fake).with_limits(impatient).watch();
    fake.events.send(event(1, &full())).expect("a server");
    events.next().await.expect("an event").expect("a status");
    let labels = json!([[["monitor", "nodes", "n1", "labels"], {"zone": "z1"}]]);
    let patch = json!({"kind": "patch", "id": 1, "data": labels});
    fake.events.send(event(2, &patch)).expect("a server");
    tokio::time::sleep(Duration::from_millis(700)).await;
    let next = events.next().await.expect("an event");
    assert!(matches!(next, Ok(Event::Labels(..))), "{next:?}");
    // Nor is one that keeps what it has until it is asked, as nobody did.
    tokio::time::sleep(Duration::from_millis(700)).await;
    let gone = json!([[["monitor", "services", "web"]]]);
    let patch = json!({"kind": "patch", "id": 2, "data": gone});
    let send = async { fake.events.send(event(3, &patch)).expect("a server") };
    let (next, ()) = tokio::join!(events.next(), send);
    assert!(matches!(next, Some(Ok(Event::Remove(_)))), "{next:?}");
}

#[tokio::test]
async fn a_daemon_that_takes_its_time_for_the_status_is_not_taken_for_silent() {
    let fake = streaming();
    let impatient = Limits {
        silence: Duration::from_millis(200),
        ..limits()
    };
    let mut events = client(&fake).with_limits(impatient).watch();
    let send = async {
        tokio::time::sleep(Duration::from_millis(600)).await;
        fake.events.send(event(1, &full())).expect("a server");
    };
    let (next, ()) = tokio::join!(events.next(), send);
    assert!(matches!(next, Some(Ok(Event::Reset(_)))), "{next:?}");
}

#[tokio::test]
async fn nor_is_one_that_does_so_on_the_raw_socket() {
    let answer = |action: &str| {
        if action == "daemon_status" {
            std::thread::sleep(Duration::from_millis(600));
        }
        Reply::json(&full()["data"])
    };
    let daemon = Fake::start(answer);
    let impatient = Limits {
        silence: Duration::from_millis(200),
        ..limits()
    };
    drop(followed(&daemon, impatient).await);
}

#[tokio::test]
async fn nor_is_one_that_takes_its_time_for_what_makes_it_say_something() {
    let daemon = Fake::start(|action| {
        if action == "whoami" {
            std::thread::sleep(Duration::from_millis(900));
        }
        Reply::json(&full()["data"])
    });
    let impatient = Limits {
        flush: Duration::from_millis(20),
        silence: Duration::from_millis(200),
        ..limits()
    };
    hears_a_late_event(&daemon, impatient).await;
}

#[tokio::test]
async fn nor_is_one_that_makes_a_status_to_compare_with() {
    let asked = [const { AtomicUsize::new(0) }; 2];
    let daemon = Fake::start(move |action| {
        let times = |of: &AtomicUsize| of.fetch_add(1, Ordering::Relaxed);
        match action {
            "daemon_status" if times(&asked[0]) > 0 => std::thread::sleep(Duration::from_secs(2)),
            // The first one comes before the status.
            "whoami" if times(&asked[1]) > 0 => return Reply::Stall,
            _ => {}
        }
        Reply::json(&full()["data"])
    });
    let impatient = Limits {
        answer: Duration::from_millis(300),
        flush: Duration::from_millis(20),
        silence: Duration::from_millis(200),
        refresh: Duration::from_millis(20),
        ..limits()
    };
    hears_a_late_event(&daemon, impatient).await;
}

#[tokio::test]
async fn a_stream_that_breaks_before_the_status_came_costs_no_status() {
    let mut daemon = Fake::start(|action| {
        if action == "daemon_status" {
            std::thread::sleep(Duration::from_millis(300));
        }
        Reply::json(&full()["data"])
    });
    daemon.events.send(b"{\"kind\"".to_vec()).expect("a daemon");
    daemon.hang_up();
    let mut events = followed(&daemon, limits()).await;
    let next = events.next().await;
    assert!(matches!(next, Some(Err(Error::Receive { .. }))), "{next:?}");
    assert!(events.next().await.is_none());
}

#[tokio::test]
async fn the_status_is_asked_for_when_the_stream_was_heard() {
    let (stream, asked) = (Arc::new(OnceLock::<Sender<_>>::new()), AtomicUsize::new(0));
    let told = Arc::clone(&stream);
    let daemon = Fake::start(move |action| {
        // It comes to the subscription when it has taken two others.
        if action == "whoami" && asked.fetch_add(1, Ordering::Relaxed) == 2 {
            let event = b"{\"kind\":\"event\",\"id\":1}\0".to_vec();
            told.get().and_then(|told| told.send(event).ok());
        }
        Reply::json(&full()["data"])
    });
    stream.set(daemon.events.clone()).expect("once");
    drop(followed(&daemon, limits()).await);
    let requests = daemon.requests.lock().expect("no panic");
    let status = |request: &Value| request["action"] == "daemon_status";
    assert!(requests.iter().position(status) >= Some(4), "{requests:?}");
}

/// Follows it, and hears of what it tells 600 ms after its status.
async fn hears_a_late_event(daemon: &Fake, limits: Limits) {
    let mut events = followed(daemon, limits).await;
    let labels = json!([[["monitor", "nodes", "n1", "labels"], {"zone": "z1"}]]);
    let patch = json!({"kind": "patch", "id": 1, "data": labels});
    let send = async {
        tokio::time::sleep(Duration::from_millis(600)).await;
        let patch = format!("{patch}\0").into_bytes();
        daemon.events.send(patch).expect("a daemon");
    };
    let (next, ()) = tokio::join!(events.next(), send);
    assert!(matches!(next, Some(Ok(Event::Labels(..)))), "{next:?}");
}

/// The events of a daemon behind its status.
async fn followed(daemon: &Fake, limits: Limits) -> BoxStream<'static, Result<Event, Error>> {
    let mut events = Raw::with_limits(&daemon.socket, limits).watch();
    let next = events.next().await;
    assert!(matches!(next, Some(Ok(Event::Reset(_)))), "{next:?}");
    events
}

#[tokio::test]
async fn one_that_answers_nothing_is_silent() {
    let asked = AtomicUsize::new(0);
    let daemon = Fake::start(move |action| {
        // The first one comes before the status.
        match action == "whoami" && asked.fetch_add(1, Ordering::Relaxed) > 0 {
            true => Reply::Stall,
            false => Reply::json(&full()["data"]),
        }
    });
    let impatient = Limits {
        answer: Duration::from_millis(600),
        flush: Duration::from_millis(20),
        silence: Duration::from_millis(200),
        ..limits()
    };
    let mut events = followed(&daemon, impatient).await;
    let next = events.next().await;
    assert!(matches!(next, Some(Err(Error::Silent { .. }))), "{next:?}");
}

#[tokio::test]
async fn without_pings_the_daemon_is_silent_for_longer_than_is_waited() {
    // The daemon sends when something comes in, or after five seconds.
    let site = Site::start(Way::Socket);
    let quiet = Limits {
        flush: Duration::from_secs(3_600),
        silence: Duration::from_secs(2),
        ..limits()
    };
    let mut events = site.daemon_with(quiet).watch();
    events.next().await.expect("an event").expect("a status");
    site.sim.run("test/svc/web1").expect("a service");
    let error = loop {
        if let Err(error) = events.next().await.expect("an event") {
            break error;
        }
    };
    assert!(matches!(error, Error::Silent { seconds: 2 }), "{error:?}");
}

#[tokio::test]
async fn a_connection_is_read_to_65_535_bytes_and_no_further() {
    let site = Site::start(Way::Socket);
    site.sim.create("test/sec/a", "").expect("an object");
    let stream = UnixStream::connect(site.path("h2.sock"))
        .await
        .expect("a daemon");
    let (mut sender, connection) = h2::client::handshake(stream).await.expect("a daemon");
    tokio::spawn(connection);
    let data = "x".repeat(15_000);
    let body = json!({"path": "test/sec/a", "key": "k", "data": data}).to_string();
    for number in 1..=5 {
        let request = http::Request::builder()
            .method("POST")
            .uri("http://localhost/key");
        let request = request.body(()).expect("a request");
        let (response, mut stream) = sender.send_request(request, false).expect("a stream");
        stream
            .send_data(body.clone().into(), true)
            .expect("a stream");
        let patience = Duration::from_secs(if number < 5 { 10 } else { 1 });
        let answer = tokio::time::timeout(patience, response).await;
        assert_eq!(answer.is_ok(), number < 5, "{number}");
    }
}

#[tokio::test]
async fn a_request_that_the_daemon_would_not_read_to_its_end_is_not_sent() {
    let site = Site::start(Way::Socket);
    let write = |bytes: usize| Write {
        object: path("test/svc/web1"),
        section: "env".to_owned(),
        keyword: "a".to_owned(),
        value: "x".repeat(bytes),
    };
    let daemon = site.daemon();
    daemon.write(&write(65_000)).await.expect("a write");
    let error = daemon
        .write(&write(66_000))
        .await
        .expect_err("too much")
        .to_string();
    assert!(error.contains("the daemon reads 65535"), "{error}");
}

fn full() -> Value {
    json!({"kind": "full", "data": {"monitor": {
        "nodes": {"n1": {"monitor": {"status": "idle"}, "services": {
            "config": {"web": {"csum": "1"}},
            "status": {"web": {"avail": "up", "resources": {}}}}}},
        "services": {"web": {"avail": "up"}}}}})
}

fn path(text: &str) -> ObjectPath {
    text.parse().expect("a path")
}
