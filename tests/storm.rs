//! Many objects change at once: what of it the daemon is asked for.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::future::{self, BoxFuture, FutureExt};
use futures::stream::{self, BoxStream, StreamExt};
use osvc_igw::controller::{Controller, View};
use osvc_igw::gateway::Policy;
use osvc_igw::inventory::Account;
use osvc_igw::inventory::{
    Config, Event, Instance, NodeStatus, Object, ObjectPath, Report, Resource, Sensitive, Table,
    Write,
};
use osvc_igw::opensvc::{Daemon, Error};
use osvc_igw::xds::Snapshot;
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
    /// Nothing may be read.
    forbids: bool,
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
            let mut count = count.lock().expect("no panic");
            count.now -= 1;
            let (action, lack) = ("get_service_config", "no right".to_owned());
            match count.forbids {
                true => Err(Error::Forbidden { action, lack }),
                false => Ok(Some(Config::default())),
            }
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
    let resource = |driver: &str, status: &str, info: Value| {
        Arc::new(Resource {
            driver: driver.to_owned().into(),
            status: status.to_owned().into(),
            keywords: serde_json::from_value(info).expect("an object"),
        })
    };
    let ip = json!({"ipaddr": "10.0.0.1", "expose": ["expose#0"]});
    let expose = json!({"port": 80, "listener_port": 1_000 + number});
    let resources = Table::from([
        ("ip#1".to_owned(), resource("ip", "up", ip)),
        (
            "expose#0".to_owned(),
            resource("expose.envoy", "n/a", expose),
        ),
    ]);
    let instance = Instance {
        resources: resources.into(),
        ..Instance::default()
    };
    Object {
        path: format!("test/svc/s{number}").parse().expect("a path"),
        revision: revision.to_string().into(),
        slave: false,
        instances: Table::from([("n1".to_owned(), instance)]),
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

/// A controller that follows a daemon of a thousand services.
struct Storm {
    tell: mpsc::UnboundedSender<Event>,
    count: Arc<Mutex<Count>>,
    stop: CancellationToken,
    views: watch::Receiver<View>,
    _snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
}

impl Storm {
    /// Has read each service once.
    async fn start() -> Self {
        let storm = Self::of(OBJECTS, false);
        read_at(&storm.count, 0).await;
        assert_eq!(storm.count.lock().expect("no panic").total, OBJECTS);
        let mut views = storm.views.clone();
        views.wait_for(|view| view.ready).await.expect("a snapshot");
        storm
    }

    /// A daemon of so many services.
    fn of(objects: usize, forbids: bool) -> Self {
        let (tell, events) = mpsc::unbounded_channel();
        let count = Count {
            forbids,
            ..Count::default()
        };
        let count = Arc::new(Mutex::new(count));
        let daemon = Counting {
            events: Mutex::new(Some(events)),
            count: Arc::clone(&count),
        };
        let (publish, snapshots) = watch::channel(None);
        let (show, views) = watch::channel(View::default());
        let stop = CancellationToken::new();
        let policy = Policy::default();
        let controller = Controller::new(Arc::new(daemon), policy, publish, show, stop.clone());
        tokio::spawn(controller.run());
        let objects = (0..objects).map(|number| service(number, 0));
        let report = Report {
            nodes: BTreeMap::from([("n1".to_owned(), NodeStatus::Settled)]),
            objects: objects
                .map(|object| (object.path.clone(), Arc::new(object)))
                .collect(),
            ..Report::default()
        };
        tell.send(Event::Reset(report)).expect("a controller");
        Self {
            tell,
            count,
            stop,
            views,
            _snapshots: snapshots,
        }
    }

    /// Every service changes.
    fn change(&self, revision: u32) {
        self.count.lock().expect("no panic").revision = revision;
        for number in 0..OBJECTS {
            let change = Event::Put(Arc::new(service(number, revision)));
            self.tell.send(change).expect("a controller");
        }
    }
}

impl Drop for Storm {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[tokio::test]
async fn a_thousand_changes_at_once_are_read_four_at_a_time_and_the_newest_wins() {
    let storm = Storm::start().await;
    // Nothing that has not changed is read again.
    for revision in 1..=3 {
        storm.change(revision);
        sleep(Duration::from_millis(20)).await;
    }
    read_at(&storm.count, 3).await;
    let (most, total) = {
        let count = storm.count.lock().expect("no panic");
        (count.most, count.total)
    };
    assert!(most <= 4, "{most} reads at once");
    assert!(total <= 4 * OBJECTS, "{total} reads");
}

#[tokio::test]
async fn changes_that_go_on_cost_no_more_reads_than_the_budget_has() {
    let storm = Storm::start().await;
    let since = Instant::now();
    storm.change(1);
    read_at(&storm.count, 1).await;
    storm.change(2);
    read_more(&storm, 200).await;
    let total = storm.count.lock().expect("no panic").total;
    let took = since.elapsed();
    let allowed = OBJECTS + BURST + 1 + took.as_millis() as usize / 20;
    assert!(total <= allowed, "{total} reads in {took:?}");
    // Nor does any object wait for ever: those that were read are not read before the others.
    storm.change(3);
    read_more(&storm, 150).await;
    let count = storm.count.lock().expect("no panic");
    let newer = count.read.values().filter(|read| **read >= 2).count();
    assert!(newer >= 300, "{newer} objects were read");
}

#[tokio::test]
async fn what_may_not_be_read_is_a_problem_and_is_tried_again_much_later() {
    let storm = Storm::of(1, true);
    let mut views = storm.views.clone();
    let since = Instant::now();
    let problem = |view: &View| view.problems.iter().any(|one| one.reason == "no right");
    let told = timeout(Duration::from_secs(20), views.wait_for(problem));
    assert!(told.await.is_ok(), "no problem");
    storm.count.lock().expect("no panic").forbids = false;
    let cleared = views.wait_for(|view| view.problems.is_empty());
    let cleared = timeout(Duration::from_secs(20), cleared);
    assert!(cleared.await.is_ok(), "not tried again");
    assert_eq!(storm.count.lock().expect("no panic").total, 2);
    assert!(since.elapsed() >= Duration::from_millis(2_500), "at once");
}

async fn read_more(storm: &Storm, more: usize) {
    let total = || storm.count.lock().expect("no panic").total;
    let enough = total() + more;
    let reading = async {
        while total() < enough {
            sleep(Duration::from_millis(5)).await;
        }
    };
    let read = timeout(Duration::from_secs(60), reading).await;
    assert!(read.is_ok(), "nothing is read any more");
}

/// What is read at once after a quiet while.
const BURST: usize = 1_000;
const OBJECTS: usize = 1_000;
