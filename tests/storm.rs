//! Many objects change at once: what of it the daemon is asked for.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::{self, BoxFuture, FutureExt};
use futures::stream::{self, BoxStream, StreamExt};
use osvc_igw::controller::{Controller, View};
use osvc_igw::gateway::Policy;
use osvc_igw::inventory::{
    Config, Event, Instance, NodeStatus, Object, ObjectPath, Report, Resource, Sensitive, Write,
};
use osvc_igw::opensvc::rights::Account;
use osvc_igw::opensvc::{Daemon, Error};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// What reads there are and were.
#[derive(Default)]
struct Count {
    now: usize,
    most: usize,
    total: usize,
    /// Which revision each object had when it was read last.
    read: BTreeMap<String, u32>,
    revision: u32,
}

/// Tells what it is given, and counts what it is asked for.
struct Counting {
    events: Mutex<Option<mpsc::UnboundedReceiver<Event>>>,
    count: Arc<Mutex<Count>>,
}

impl Daemon for Counting {
    fn watch(&self) -> BoxStream<'static, Result<Event, Error>> {
        let events = self.events.lock().expect("no panic").take();
        let events = stream::unfold(events, |events| async {
            let mut events = events?;
            Some((Ok(events.recv().await?), Some(events)))
        });
        events.chain(stream::pending()).boxed()
    }

    fn read_key(
        &self,
        _: &ObjectPath,
        _: &str,
    ) -> BoxFuture<'static, Result<Option<Sensitive>, Error>> {
        future::ready(Ok(None)).boxed()
    }

    fn read_config(&self, path: &ObjectPath) -> BoxFuture<'static, Result<Option<Config>, Error>> {
        let (count, path) = (Arc::clone(&self.count), path.to_string());
        let read = async move {
            {
                let mut count = count.lock().expect("no panic");
                count.now += 1;
                count.total += 1;
                count.most = count.most.max(count.now);
                let revision = count.revision;
                count.read.insert(path, revision);
            }
            sleep(Duration::from_micros(200)).await;
            count.lock().expect("no panic").now -= 1;
            Ok(Some(Config::default()))
        };
        read.boxed()
    }

    fn write(&self, _: &Write) -> BoxFuture<'static, Result<(), Error>> {
        future::ready(Ok(())).boxed()
    }

    fn write_key(
        &self,
        _: &ObjectPath,
        _: &str,
        _: &Sensitive,
    ) -> BoxFuture<'static, Result<(), Error>> {
        future::ready(Ok(())).boxed()
    }

    fn account(&self) -> BoxFuture<'static, Result<Account, Error>> {
        future::ready(Ok(Account::default())).boxed()
    }

    fn create(&self, _: &ObjectPath) -> BoxFuture<'static, Result<(), Error>> {
        future::ready(Ok(())).boxed()
    }
}

fn service(number: usize, revision: u32) -> Object {
    let resource = |driver: &str, status: &str, info: Value| Resource {
        driver: driver.to_owned(),
        status: status.to_owned(),
        keywords: serde_json::from_value(info).expect("an object"),
    };
    let ip = json!({"ipaddr": "10.0.0.1", "expose": ["expose#0"]});
    let expose = json!({"port": 80, "listener_port": 1_000 + number});
    let resources = BTreeMap::from([
        ("ip#1".to_owned(), resource("ip", "up", ip)),
        (
            "expose#0".to_owned(),
            resource("expose.envoy", "n/a", expose),
        ),
    ]);
    let instance = Instance {
        resources,
        ..Instance::default()
    };
    Object {
        path: format!("test/svc/s{number}").parse().expect("a path"),
        revision: revision.to_string(),
        slave: false,
        instances: BTreeMap::from([("n1".to_owned(), instance)]),
    }
}

/// Waits until every object was read at this revision, and nothing is being read.
async fn read_at(count: &Mutex<Count>, revision: u32) {
    let all = async {
        loop {
            {
                let count = count.lock().expect("no panic");
                let newest = count.read.values().all(|read| *read == revision);
                if newest && count.read.len() == OBJECTS && count.now == 0 {
                    return;
                }
            }
            sleep(Duration::from_millis(5)).await;
        }
    };
    let all = timeout(Duration::from_secs(60), all).await;
    let read = count.lock().expect("no panic").total;
    assert!(
        all.is_ok(),
        "not all are read at {revision}, after {read} reads"
    );
}

#[tokio::test]
async fn a_thousand_changes_at_once_are_read_four_at_a_time_and_the_newest_wins() {
    let (tell, events) = mpsc::unbounded_channel();
    let count = Arc::new(Mutex::new(Count::default()));
    let daemon = Counting {
        events: Mutex::new(Some(events)),
        count: Arc::clone(&count),
    };
    let (snapshots, _published) = watch::channel(None);
    let (views, _seen) = watch::channel(View::default());
    let stop = CancellationToken::new();
    let policy = Policy::default();
    let controller = Controller::new(Arc::new(daemon), policy, snapshots, views, stop.clone());
    let running = tokio::spawn(controller.run());
    let objects = (0..OBJECTS).map(|number| service(number, 0));
    let report = Report {
        nodes: BTreeMap::from([("n1".to_owned(), NodeStatus::Settled)]),
        objects: objects
            .map(|object| (object.path.clone(), object))
            .collect(),
        ..Report::default()
    };
    tell.send(Event::Reset(report)).expect("a controller");
    read_at(&count, 0).await;
    assert_eq!(count.lock().expect("no panic").total, OBJECTS);
    // Nothing that has not changed is read again.
    for revision in 1..=3 {
        count.lock().expect("no panic").revision = revision;
        for number in 0..OBJECTS {
            tell.send(Event::Put(service(number, revision)))
                .expect("a controller");
        }
        sleep(Duration::from_millis(20)).await;
    }
    read_at(&count, 3).await;
    let (most, total) = {
        let count = count.lock().expect("no panic");
        (count.most, count.total)
    };
    assert!(most <= 4, "{most} reads at once");
    assert!(total <= 4 * OBJECTS, "{total} reads");
    stop.cancel();
    running.await.expect("a controller that ends");
}

const OBJECTS: usize = 1_000;
