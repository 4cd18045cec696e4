//! What other tasks of the process have written through the controller's queue: keys and objects,
//! against a simulated daemon that refuses and loses writes.

use std::sync::Arc;
use std::time::Duration;

use osvc_igw::controller::{Controller, Ticket, Unwritten, View, WriteQueue};
use osvc_igw::gateway::Policy;
use osvc_igw::inventory::{ObjectPath, Sensitive};
use osvc_igw::opensvc::Daemon;
use osvc_igw::opensvc::h2::H2;
use osvc_igw::opensvc::raw::Raw;
use osvc_igw::sim::Sim;
use osvc_igw::xds::Snapshot;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::support::folder::Folder;

/// A daemon, a controller that follows it, and its queue.
struct Setup {
    sim: Sim,
    queue: WriteQueue,
    views: watch::Receiver<View>,
    stop: CancellationToken,
    _snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
    _folder: Folder,
}

impl Setup {
    fn start() -> Self {
        Self::over(|folder| Arc::new(Raw::new(folder.0.join("lsnr.sock"))))
    }

    fn over(daemon: impl Fn(&Folder) -> Arc<dyn Daemon>) -> Self {
        let folder = Folder::new("queue");
        let sim = Sim::start(&folder.0.join("lsnr.sock"), &["n1"]).expect("a daemon");
        sim.serve_h2(&folder.0.join("h2.sock")).expect("a socket");
        let (publish, snapshots) = watch::channel(None);
        let (show, views) = watch::channel(View::default());
        let (daemon, stop) = (daemon(&folder), CancellationToken::new());
        let controller = Controller::new(daemon, Policy::default(), publish, show, stop.clone());
        let queue = controller.queue();
        tokio::spawn(controller.run());
        Self {
            sim,
            queue,
            views,
            stop,
            _snapshots: snapshots,
            _folder: folder,
        }
    }

    /// Sets a key of the one object.
    async fn set(&self, key: &str, value: &str) -> Ticket {
        let value = Sensitive::new(value.to_owned());
        self.queue.set_key(&path(SECRET), key, value).await
    }

    /// What waits, as the status page has it.
    fn waiting(&self) -> Value {
        json!(self.views.borrow().writes)
    }

    async fn until(&self, what: &str, reached: impl Fn(&Value) -> bool) {
        let reaching = async {
            while !reached(&self.waiting()) {
                sleep(Duration::from_millis(10)).await;
            }
        };
        let in_time = timeout(PATIENCE, reaching).await;
        assert!(in_time.is_ok(), "not in time: {what}: {}", self.waiting());
    }
}

impl Drop for Setup {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn path(text: &str) -> ObjectPath {
    text.parse().expect("a path")
}

async fn done(ticket: &mut Ticket) {
    let done = timeout(PATIENCE, ticket.done()).await;
    done.expect("an outcome").expect("a write");
}

#[tokio::test]
async fn an_object_is_created_and_its_keys_are_written() {
    let setup = Setup::start();
    let mut tickets = vec![setup.queue.create(&path(SECRET)).await];
    for key in ["private_key", "certificate_chain"] {
        tickets.push(setup.set(key, "text").await);
    }
    for ticket in &mut tickets {
        done(ticket).await;
    }
    for key in ["private_key", "certificate_chain"] {
        assert_eq!(setup.sim.key(SECRET, key).as_deref(), Some("text"));
    }
    assert_eq!(setup.sim.requests("create"), 1);
    assert_eq!(setup.sim.requests("set_key"), 2);
    setup.until("nothing waits", |all| *all == json!([])).await;
}

#[tokio::test]
async fn a_write_that_is_refused_waits_in_the_status_without_its_value_and_is_made_again() {
    let setup = Setup::start();
    setup.sim.create(SECRET, "").expect("an object");
    setup.sim.refuse_sets(true);
    let mut ticket = setup.set("private_key", "hunter2").await;
    let refused = |all: &Value| all[0]["failure"].is_string();
    setup.until("a refusal", refused).await;
    let waiting = setup.waiting();
    let write = json!({"change": "key", "object": SECRET, "key": "private_key"});
    assert_eq!(waiting[0]["write"], write);
    assert!(ticket.failure().is_some());
    let shown = format!("{waiting} {:?} {ticket:?}", setup.views.borrow());
    assert!(!shown.contains("hunter2"), "{shown}");
    setup.sim.refuse_sets(false);
    done(&mut ticket).await;
    assert_eq!(
        setup.sim.key(SECRET, "private_key").as_deref(),
        Some("hunter2")
    );
    assert_eq!(ticket.failure(), None);
}

#[tokio::test]
async fn a_write_that_is_lost_is_found_by_reading_it_back_and_made_again() {
    let setup = Setup::start();
    setup.sim.create(SECRET, "").expect("an object");
    setup.sim.lose_sets(1);
    let mut ticket = setup.set("private_key", "text").await;
    done(&mut ticket).await;
    assert_eq!(
        setup.sim.key(SECRET, "private_key").as_deref(),
        Some("text")
    );
    assert_eq!(setup.sim.requests("set_key"), 2);
}

#[tokio::test]
async fn of_two_values_for_one_key_the_newer_is_written_and_both_are_told() {
    let setup = Setup::start();
    setup.sim.create(SECRET, "").expect("an object");
    setup.sim.refuse_sets(true);
    let mut first = setup.set("private_key", "old").await;
    let refused = |all: &Value| all[0]["failure"].is_string();
    setup.until("a refusal", refused).await;
    let mut second = setup.set("private_key", "new").await;
    let once = |all: &Value| all.as_array().is_some_and(|all| all.len() == 1);
    setup.until("one write", once).await;
    let asked = setup.sim.requests("set_key");
    setup.sim.refuse_sets(false);
    done(&mut first).await;
    done(&mut second).await;
    assert_eq!(setup.sim.key(SECRET, "private_key").as_deref(), Some("new"));
    assert!(setup.sim.requests("set_key") <= asked + 2);
}

#[tokio::test]
async fn what_is_submitted_while_the_daemon_is_away_is_written_when_it_is_back() {
    let setup = Setup::start();
    setup.sim.create(SECRET, "").expect("an object");
    let mut views = setup.views.clone();
    let ready = timeout(PATIENCE, views.wait_for(|view| view.ready)).await;
    ready.expect("a snapshot").expect("a controller");
    setup.sim.refuse(true);
    setup.sim.cut();
    let away = timeout(PATIENCE, views.wait_for(|view| !view.connected)).await;
    away.expect("no daemon").expect("a controller");
    let mut ticket = setup.set("private_key", "text").await;
    let waits = |all: &Value| all[0]["write"]["key"] == "private_key";
    setup.until("a write that waits", waits).await;
    setup.sim.refuse(false);
    done(&mut ticket).await;
    assert_eq!(
        setup.sim.key(SECRET, "private_key").as_deref(),
        Some("text")
    );
}

#[tokio::test]
async fn what_nobody_waits_for_any_more_is_given_up() {
    let setup = Setup::start();
    setup.sim.create(SECRET, "").expect("an object");
    setup.sim.refuse_sets(true);
    let ticket = setup.set("private_key", "text").await;
    let refused = |all: &Value| all[0]["failure"].is_string();
    setup.until("a refusal", refused).await;
    drop(ticket);
    setup.until("nothing waits", |all| *all == json!([])).await;
    assert_eq!(setup.sim.key(SECRET, "private_key"), None);
}

#[tokio::test]
async fn what_the_daemon_can_never_read_is_told_at_once() {
    let setup = Setup::over(|folder| Arc::new(H2::at_socket(folder.0.join("h2.sock"))));
    setup.sim.create(SECRET, "").expect("an object");
    let mut ticket = setup.set("private_key", &"x".repeat(70_000)).await;
    let outcome = timeout(PATIENCE, ticket.done()).await.expect("an outcome");
    let Err(Unwritten::Impossible(reason)) = outcome else {
        panic!("{outcome:?}");
    };
    assert!(reason.contains("the daemon reads 65535"), "{reason}");
}

#[tokio::test]
async fn who_waits_when_the_controller_ends_is_told_so() {
    let setup = Setup::start();
    setup.sim.create(SECRET, "").expect("an object");
    setup.sim.refuse_sets(true);
    let mut ticket = setup.set("private_key", "text").await;
    setup.stop.cancel();
    let outcome = timeout(PATIENCE, ticket.done()).await.expect("an outcome");
    assert_eq!(outcome, Err(Unwritten::Ended));
    let mut late = setup.set("private_key", "text").await;
    let outcome = timeout(PATIENCE, late.done()).await.expect("an outcome");
    assert_eq!(outcome, Err(Unwritten::Ended));
}

const SECRET: &str = "test/sec/web1";
const PATIENCE: Duration = Duration::from_secs(20);
