//! The operator is killed behind each thing that it writes, and in front of and behind each request
//! to the authority; another one goes on where it was.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::{BoxFuture, pending};
use osvc_igw::cert::operator::{Operator, Wires};
use osvc_igw::cert::probe::Door;
use osvc_igw::cert::wire::Web;
use osvc_igw::cert::writer::{Direct, Writer};
use osvc_igw::inventory::{ObjectPath, Sensitive};
use osvc_igw::opensvc::Error;
use osvc_igw::sim::Sim;

use super::site::{
    Answer, Asked, FRONT, Gateway, Running, between, daemon, declare, door, issued, until,
};
use crate::support::folder::Folder;
use crate::support::pebble::Pebble;

/// Counts steps, and stops for ever at one of them.
#[derive(Clone, Default)]
struct Fuse {
    left: Arc<AtomicUsize>,
    blown: Arc<AtomicUsize>,
}

impl Fuse {
    fn of(steps: usize) -> Self {
        let fuse = Self::default();
        fuse.left.store(steps, Ordering::SeqCst);
        fuse
    }

    async fn step(&self) {
        let step = |left: usize| left.checked_sub(1);
        let left = self
            .left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, step);
        if left == Ok(1) {
            self.blown.store(1, Ordering::SeqCst);
            pending::<()>().await;
        }
    }

    fn is_blown(&self) -> bool {
        self.blown.load(Ordering::SeqCst) == 1
    }
}

/// A daemon behind which the process ends.
struct Writes(Direct, Fuse);

impl Writer for Writes {
    fn write_key<'a>(
        &'a self,
        path: &'a ObjectPath,
        key: &'a str,
        value: &'a Sensitive,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let written = self.0.write_key(path, key, value).await;
            self.1.step().await;
            written
        })
    }

    fn create<'a>(&'a self, path: &'a ObjectPath) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let made = self.0.create(path).await;
            self.1.step().await;
            made
        })
    }
}

/// An authority in front of which, and behind which, the process ends.
fn around(sent: Answer, fuse: Fuse) -> Answer {
    Box::pin(async move {
        fuse.step().await;
        let answer = sent.await;
        fuse.step().await;
        answer
    })
}

/// An authority that makes an order, and is not heard of again.
fn unheard(web: &Web, asked: Asked, fuse: Fuse) -> Answer {
    let orders = asked.url.ends_with("/order-plz");
    let sent = asked.of(web);
    Box::pin(async move {
        let answer = sent.await;
        let made = answer.as_ref();
        if orders && made.is_ok_and(|answer| answer.status().is_success()) {
            fuse.step().await;
        }
        answer
    })
}

/// A cluster that asks for a certificate.
struct Site {
    sim: Sim,
    folder: Folder,
    door: Door,
    _gateway: Gateway,
}

impl Site {
    async fn start(pebble: &Pebble) -> Self {
        let folder = Folder::new("crash");
        let sim = Sim::start(&folder.0.join("lsnr.sock"), &["n1"]).expect("a daemon");
        declare(&sim, pebble, "www.acme.org acme.org");
        let gateway = Gateway::start(&sim, pebble.http_port).await;
        let mut door = door(&["127.0.0.1"], pebble.http_port, 1);
        door.shown_max = Duration::ZERO;
        Self {
            sim,
            folder,
            door,
            _gateway: gateway,
        }
    }

    fn operator(&self, writes: &Fuse, requests: &Fuse) -> Operator {
        let daemon = daemon(&self.folder.0.join("lsnr.sock"));
        let writer = Writes(Direct::new(Arc::clone(&daemon)), writes.clone());
        let fuse = requests.clone();
        let wires = between(move |web, asked| around(asked.of(web), fuse.clone()));
        self.operator_over(wires, writer)
    }

    fn operator_over(&self, wires: Wires, writer: Writes) -> Operator {
        let daemon = daemon(&self.folder.0.join("lsnr.sock"));
        let operator = Operator::over(daemon, Arc::new(writer), self.door.clone(), wires);
        operator.with_settle(Duration::ZERO)
    }

    /// Ends an operator at a step and lets another go on; returns whether it came to that step.
    async fn survives(&self, pebble: &Pebble, what: &str, writes: Fuse, requests: Fuse) -> bool {
        let before = (pebble.orders(), pebble.certificates());
        let first = Running::start(self.operator(&writes, &requests));
        let ended = || writes.is_blown() || requests.is_blown();
        until(what, || ended() || issued(&self.sim)).await;
        first.kill().await;
        let blown = ended();
        let none = Fuse::default();
        let second = Running::start(self.operator(&none, &none));
        until(what, || issued(&self.sim)).await;
        second.kill().await;
        let after = (pebble.orders(), pebble.certificates());
        assert_eq!(
            after,
            (before.0 + 1, before.1 + 1),
            "orders and certificates: {what}"
        );
        blown
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_behind_any_write_another_goes_on_with_one_order() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let pebble = Pebble::start();
    let mut steps = 0;
    loop {
        let site = Site::start(&pebble).await;
        let what = format!("killed behind write {}", steps + 1);
        let (writes, requests) = (Fuse::of(steps + 1), Fuse::default());
        if !site.survives(&pebble, &what, writes, requests).await {
            break;
        }
        steps += 1;
    }
    assert!(steps >= 12, "only {steps} writes");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_operators_by_mistake_make_one_order() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let pebble = Pebble::start();
    let site = Site::start(&pebble).await;
    let none = Fuse::default();
    let operator = || {
        let operator = site.operator(&none, &none);
        Running::start(operator.with_settle(Duration::from_secs(2)))
    };
    let (one, other) = (operator(), operator());
    until("the certificate", || issued(&site.sim)).await;
    one.kill().await;
    other.kill().await;
    assert_eq!((pebble.orders(), pebble.certificates()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_around_requests_to_the_authority_another_goes_on_with_one_order() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let pebble = Pebble::start();
    let mut steps = 0;
    // Each third moment, to be done in time; the moments move with the nonces that are refused.
    loop {
        let site = Site::start(&pebble).await;
        let what = format!("killed around requests: moment {}", steps + 1);
        let (writes, requests) = (Fuse::default(), Fuse::of(steps + 1));
        if !site.survives(&pebble, &what, writes, requests).await {
            break;
        }
        steps += 3;
    }
    assert!(steps >= 12, "only {steps} moments");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_whose_answer_nobody_heard_is_found_again() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let pebble = Pebble::start();
    let site = Site::start(&pebble).await;
    let (none, blows) = (Fuse::default(), Fuse::of(1));
    let fuse = blows.clone();
    let wires = between(move |web, asked| unheard(web, asked, fuse.clone()));
    let direct = Direct::new(daemon(&site.folder.0.join("lsnr.sock")));
    let first = Running::start(site.operator_over(wires, Writes(direct, none.clone())));
    until("the order", || blows.is_blown()).await;
    first.kill().await;
    // Who begins within half a minute takes the first one to be at it still.
    let mut second = site.operator(&none, &none);
    second.look().await.expect("a survey");
    let path = FRONT.parse().expect("a path");
    let done = second.work(&path, true).await.expect("a daemon");
    assert!(matches!(done, Some(Ok(_))), "{done:?}");
    assert_eq!((pebble.orders(), pebble.certificates()), (1, 1));
}
