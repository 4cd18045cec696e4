//! The suite that is the same over each way: whatever the daemon does, what is served is the old
//! or the right snapshot, and soon the right one.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use osvc_igw::inventory::Write;
use osvc_igw::opensvc::raw::Limits;
use osvc_igw::sim::Sim;
use osvc_igw::xds::Snapshot;
use tokio::time::{sleep, timeout};

use super::sites::{SERVICE, limits};
use super::{Calm, Served, Site, Way};

/// One module of tests for each way.
macro_rules! over_each_way {
    ($($test:ident),* $(,)?) => {
        over_each_way!(raw, Way::Raw, $($test),*);
        over_each_way!(h2_socket, Way::Socket, $($test),*);
        over_each_way!(h2_tls, Way::Tls, $($test),*);
    };
    ($module:ident, $way:expr, $($test:ident),*) => {
        mod $module {
            use super::Way;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    super::$test($way).await;
                }
            )*
        }
    };
}

over_each_way!(
    a_change_is_served,
    what_is_asked_for_anew_all_the_time_has_no_gap,
    messages_in_single_bytes_are_messages,
    a_lost_patch_is_made_good,
    a_patch_that_does_not_apply_is_made_good,
    a_status_that_is_cut_is_asked_for_again,
    garbage_costs_the_connection_only,
    a_lost_subscription_is_noticed,
    a_subscription_that_two_others_take_along_is_noticed,
    a_slow_daemon_is_waited_for,
    a_daemon_that_restarts_takes_nothing_away,
    a_daemon_that_refuses_connections_is_tried_again,
    a_change_that_is_stuck_is_flushed,
    a_refused_write_is_written_later,
    a_lost_write_is_seen_by_the_object_alone,
    a_port_is_chosen_and_written_although_it_was_refused,
    what_is_read_and_written_is_the_same,
);

/// A daemon and what is served of it, beside one without faults.
struct Pair {
    site: Site,
    served: Served,
    calm: Calm,
    known: Vec<Arc<Snapshot>>,
}

impl Pair {
    async fn start(way: Way) -> Self {
        Self::start_with(way, limits()).await
    }

    async fn start_with(way: Way, limits: Limits) -> Self {
        let site = Site::start(way);
        let (calm, first) = Calm::start().await;
        let served = Served::from(site.daemon_with(limits));
        served.becomes(&first).await;
        Self {
            site,
            served,
            calm,
            known: vec![first],
        }
    }

    /// The same happens to both daemons.
    fn both(&self, act: impl Fn(&Sim)) {
        act(&self.site.sim);
        act(&self.calm.sim);
    }

    /// Another address, which is what is right from now on.
    async fn change(&mut self, address: &str) {
        let change = |sim: &Sim| {
            sim.set_address(SERVICE, "ip#1", address)
                .expect("a service")
        };
        self.both(change);
        self.known.push(self.calm.next(&self.known).await);
    }

    /// Waits for what is right, and looks that nothing else was ever served.
    async fn is_right(&self) {
        let right = self.known.last().expect("a snapshot");
        self.served.becomes(right).await;
        for seen in self.served.seen() {
            assert!(self.known.contains(&seen), "a wrong snapshot was served");
        }
    }
}

async fn a_change_is_served(way: Way) {
    let mut pair = Pair::start(way).await;
    for address in ["10.0.0.2", "10.0.0.3", "10.0.0.4"] {
        pair.change(address).await;
        pair.is_right().await;
    }
}

async fn what_is_asked_for_anew_all_the_time_has_no_gap(way: Way) {
    let restless = Limits {
        refresh: Duration::from_millis(30),
        ..limits()
    };
    let mut pair = Pair::start_with(way, restless).await;
    for number in 2..10 {
        pair.change(&format!("10.0.0.{number}")).await;
        pair.is_right().await;
    }
    // Over the raw socket the status is compared with what is known; over HTTP/2 it comes with a
    // new subscription.
    let often = async {
        while match way {
            Way::Raw => pair.site.sim.requests("daemon_status") < 9,
            _ => pair.served.views.borrow().syncs < 9,
        } {
            sleep(Duration::from_millis(10)).await;
        }
    };
    let often = timeout(Duration::from_secs(10), often).await;
    assert!(often.is_ok(), "it is not asked for anew");
    pair.change("10.0.0.10").await;
    pair.is_right().await;
}

async fn messages_in_single_bytes_are_messages(way: Way) {
    let mut pair = Pair::start(way).await;
    for (chunk, address) in [(1, "10.0.0.2"), (7, "10.0.0.3"), (64, "10.0.0.4")] {
        pair.site.sim.set_chunk(chunk);
        pair.change(address).await;
        pair.is_right().await;
    }
    pair.site.sim.cut();
    pair.change("10.0.0.5").await;
    pair.is_right().await;
}

async fn a_lost_patch_is_made_good(way: Way) {
    let mut pair = Pair::start(way).await;
    // Which number is due is known from the first patch on.
    pair.change("10.0.0.2").await;
    pair.is_right().await;
    pair.site.sim.skip_id();
    pair.change("10.0.0.3").await;
    pair.is_right().await;
}

async fn a_patch_that_does_not_apply_is_made_good(way: Way) {
    let mut pair = Pair::start(way).await;
    // The first patches after a status may be older than it: those are forgiven.
    for _ in 0..12 {
        pair.both(|sim| sim.run(SERVICE).expect("a service"));
    }
    let syncs = pair.served.views.borrow().syncs;
    pair.site.sim.spoil_patch();
    pair.change("10.0.0.2").await;
    pair.is_right().await;
    let mut views = pair.served.views.clone();
    let again = timeout(
        Duration::from_secs(10),
        views.wait_for(|view| view.syncs > syncs),
    );
    assert!(again.await.is_ok(), "no new status was asked for");
}

async fn a_status_that_is_cut_is_asked_for_again(way: Way) {
    let mut pair = Pair::start(way).await;
    pair.site.sim.cut_statuses(2);
    pair.site.sim.cut();
    pair.change("10.0.0.2").await;
    pair.is_right().await;
}

async fn garbage_costs_the_connection_only(way: Way) {
    let mut pair = Pair::start(way).await;
    for (garbage, address) in [
        (&b"garbage\0"[..], "10.0.0.2"),
        (b"{\"kind\": \"patch\"}\0", "10.0.0.3"),
        (b"\xff\xfe\n\n\0\0", "10.0.0.4"),
        (b"data: {\n\ndata: \n\n", "10.0.0.5"),
    ] {
        pair.site.sim.send(garbage);
        pair.change(address).await;
        pair.is_right().await;
    }
}

async fn a_lost_subscription_is_noticed(way: Way) {
    let mut pair = Pair::start(way).await;
    pair.site.sim.lose_subscribers();
    pair.change("10.0.0.2").await;
    pair.is_right().await;
}

async fn a_subscription_that_two_others_take_along_is_noticed(way: Way) {
    let mut pair = Pair::start(way).await;
    pair.site.sim.set_forgetful(true);
    let mut others = [pair.site.daemon().watch(), pair.site.daemon().watch()];
    for other in &mut others {
        other.next().await.expect("an event").expect("a status");
    }
    drop(others);
    for _ in 0..100 {
        if pair.site.sim.subscribers() == 0 {
            break;
        }
        sleep(Duration::from_millis(10)).await;
        // Over the raw socket it is seen that nobody reads when something is written.
        pair.site.sim.run(SERVICE).expect("a service");
    }
    pair.change("10.0.0.2").await;
    pair.is_right().await;
}

async fn a_slow_daemon_is_waited_for(way: Way) {
    let mut pair = Pair::start(way).await;
    pair.site.sim.delay_answers(Duration::from_secs(1));
    pair.site.sim.cut();
    pair.change("10.0.0.2").await;
    pair.is_right().await;
}

async fn a_daemon_that_restarts_takes_nothing_away(way: Way) {
    let mut pair = Pair::start(way).await;
    pair.site.sim.set_boot_pace(Duration::from_millis(100));
    pair.site.sim.restart(Duration::from_millis(300));
    while pair.site.sim.is_starting() {
        sleep(Duration::from_millis(10)).await;
    }
    pair.change("10.0.0.2").await;
    pair.is_right().await;
}

async fn a_daemon_that_refuses_connections_is_tried_again(way: Way) {
    let mut pair = Pair::start(way).await;
    pair.site.sim.refuse(true);
    pair.site.sim.cut();
    pair.change("10.0.0.2").await;
    sleep(Duration::from_millis(500)).await;
    pair.site.sim.refuse(false);
    pair.is_right().await;
}

async fn a_change_that_is_stuck_is_flushed(way: Way) {
    let mut pair = Pair::start(way).await;
    pair.site.sim.set_stuck_tail(true);
    pair.change("10.0.0.2").await;
    pair.is_right().await;
}

async fn a_refused_write_is_written_later(way: Way) {
    let site = Site::start(way);
    let daemon = site.daemon();
    site.sim.refuse_sets(true);
    let error = daemon.write(&write("1025")).await.expect_err("a refusal");
    assert!(error.to_string().contains("locked"), "{error}");
    site.sim.refuse_sets(false);
    daemon.write(&write("1025")).await.expect("a write");
    assert_eq!(port(&site.sim), "1025");
}

async fn a_port_is_chosen_and_written_although_it_was_refused(way: Way) {
    let site = Site::start(way);
    let any = "expose#0.listener_port=0";
    site.sim.set(SERVICE, &[any]).expect("a service");
    site.sim.refuse_sets(true);
    let action = if way == Way::Raw {
        "service_action"
    } else {
        "object_action"
    };
    let _served = Served::from(site.daemon());
    let written = async {
        while site.sim.requests(action) == 0 {
            sleep(Duration::from_millis(20)).await;
        }
        site.sim.refuse_sets(false);
        while port(&site.sim) == "0" {
            sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(
        timeout(Duration::from_secs(20), written).await.is_ok(),
        "no port was written"
    );
}

async fn a_lost_write_is_seen_by_the_object_alone(way: Way) {
    let site = Site::start(way);
    let daemon = site.daemon();
    site.sim.lose_sets(1);
    daemon.write(&write("1025")).await.expect("an answer");
    assert_eq!(port(&site.sim), "8080");
    let config = daemon.read_config(&path(SERVICE)).await.expect("an answer");
    let config = config.expect("a configuration");
    let read = config.keyword(&path(SERVICE), "n1", "expose#0", "listener_port");
    assert_eq!(read.as_deref(), Some("8080"));
    daemon.write(&write("1025")).await.expect("an answer");
    assert_eq!(port(&site.sim), "1025");
}

async fn what_is_read_and_written_is_the_same(way: Way) {
    let site = Site::start(way);
    let daemon = site.daemon_with(limits());
    site.sim.create("test/sec/a", "").expect("an object");
    let value = "a\nb \u{e9}\u{0}&=%41+?#".repeat(20_000);
    site.sim
        .set_key("test/sec/a", "a b&c=%41", &value)
        .expect("a key");
    let read = |key: &'static str| daemon.read_key(&path("test/sec/a"), key);
    let text = read("a b&c=%41").await.expect("an answer").expect("a key");
    assert_eq!(text.expose(), value);
    assert_eq!(read("none").await.expect("an answer"), None);
    let nowhere = daemon.read_key(&path("test/sec/none"), "a").await;
    assert_eq!(nowhere.expect("an answer"), None);
    let nowhere = daemon.read_config(&path("test/svc/none")).await;
    assert_eq!(nowhere.expect("an answer"), None);
    // More writes than one connection could carry.
    for number in 1025..1035 {
        let mut write = write("");
        write.value = format!("{number}{}", " ".repeat(20_000));
        daemon.write(&write).await.expect("a write");
        assert_eq!(port(&site.sim).trim(), number.to_string());
    }
    let error = daemon
        .write(&Write {
            object: path("test/svc/none"),
            ..write("1")
        })
        .await;
    let error = error.expect_err("a refusal").to_string();
    assert!(
        error.contains("not found") || error.contains("unknown service"),
        "{error}"
    );
}

fn write(port: &str) -> Write {
    Write {
        object: path(SERVICE),
        section: "expose#0".to_owned(),
        keyword: "listener_port".to_owned(),
        value: port.to_owned(),
    }
}

fn port(sim: &Sim) -> String {
    sim.keyword(SERVICE, "expose#0.listener_port")
        .expect("a keyword")
}

fn path(text: &str) -> osvc_igw::inventory::ObjectPath {
    text.parse().expect("a path")
}
