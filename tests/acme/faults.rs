//! What goes wrong at the authority, at the daemon and in what is declared: each ends with a
//! certificate, or with a record that says why there is none and when it is tried again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use http::Response;
use osvc_igw::cert::operator::{Operator, Wires};
use osvc_igw::cert::probe::Door;
use osvc_igw::cert::wire::Web;
use osvc_igw::cert::writer::{Direct, Writer};
use osvc_igw::clock::unix_seconds;
use osvc_igw::inventory::{ObjectPath, Sensitive};
use osvc_igw::opensvc::Error;
use osvc_igw::sim::Sim;
use serde_json::json;

use super::site::{
    Answer, Asked, CARRIER, FRONT, Gateway, ISSUER, between, daemon, declare, door, record,
};
use crate::support::folder::Folder;
use crate::support::pebble::Pebble;

/// What an authority answers in the place of its own answer.
#[derive(Clone, Copy)]
pub(super) struct Says {
    /// The end of the address that is asked.
    pub(super) at: &'static str,
    /// How many requests get through before.
    pub(super) after: usize,
    /// How often it is said.
    pub(super) times: usize,
    pub(super) status: u16,
    pub(super) retry_after: Option<&'static str>,
    /// A problem's kind, or a page of HTML.
    pub(super) body: &'static str,
}

/// What comes of a request where this is said; `said` counts those that it is meant for.
fn faulty(web: &Web, asked: Asked, says: Says, said: &AtomicUsize) -> Answer {
    if !asked.url.contains(says.at) {
        return asked.of(web);
    }
    let number = said.fetch_add(1, Ordering::SeqCst);
    if number
        .checked_sub(says.after)
        .is_none_or(|number| number >= says.times)
    {
        return asked.of(web);
    }
    if says.status == 0 {
        return ready(Err("no answer in time".to_owned())).boxed();
    }
    let problem = json!({
        "type": format!("urn:ietf:params:acme:error:{}", says.body), "detail": "because",
    });
    let text = match says.body.starts_with('<') {
        true => says.body.to_owned(),
        false => problem.to_string(),
    };
    let mut response = Response::builder().status(says.status);
    if let Some(wait) = says.retry_after {
        response = response.header("retry-after", wait);
    }
    let response = response.body(Bytes::from(text)).expect("a response");
    ready(Ok(response)).boxed()
}

/// A cluster that asks for a certificate for three names.
pub(super) struct Site {
    pub(super) sim: Sim,
    pub(super) folder: Folder,
    pub(super) door: Door,
    gateway: Gateway,
}

impl Site {
    pub(super) async fn start(pebble: &Pebble) -> Self {
        let folder = Folder::new("faults");
        let sim = Sim::start(&folder.0.join("lsnr.sock"), &["n1"]).expect("a daemon");
        declare(&sim, pebble, "a.acme.org b.acme.org c.acme.org");
        let gateway = Gateway::start(&sim, pebble.http_port).await;
        let mut door = door(&["127.0.0.1"], pebble.http_port, 1);
        door.shown_max = Duration::ZERO;
        Self {
            sim,
            folder,
            door,
            gateway,
        }
    }

    /// An operator that has looked around, at an authority that says this.
    pub(super) async fn operator(&self, says: Says) -> Operator {
        let daemon = daemon(&self.folder.0.join("lsnr.sock"));
        let writer = Arc::new(Direct::new(Arc::clone(&daemon)));
        let said = Arc::new(AtomicUsize::new(0));
        let wires = between(move |web, asked| faulty(web, asked, says, &said));
        let operator = Operator::over(daemon, writer, self.door.clone(), wires);
        let mut operator = operator.with_settle(Duration::ZERO);
        operator.look().await.expect("a survey");
        operator
    }

    /// Tries once; returns what came of it.
    pub(super) async fn try_once(
        &self,
        operator: &mut Operator,
        force: bool,
    ) -> Result<(), String> {
        let path = FRONT.parse().expect("a path");
        let tried = operator.work(&path, force).await.expect("a daemon");
        tried
            .unwrap_or_else(|| Err("not due".to_owned()))
            .map(|_| ())
    }
}

pub(super) const NOTHING: Says = Says {
    at: "nowhere at all",
    after: 0,
    times: 0,
    status: 0,
    retry_after: None,
    body: "",
};

const fn says(
    at: &'static str,
    status: u16,
    retry_after: Option<&'static str>,
    body: &'static str,
) -> Says {
    Says {
        at,
        after: 0,
        times: 1,
        status,
        retry_after,
        body,
    }
}

/// What is said, where; what the record says then; for how many seconds it waits; and whether
/// another declaration is waited for.
const FAULTS: [(Says, &str, i64, bool); 8] = [
    (
        says("/order-plz", 429, Some("3600"), "rateLimited"),
        "rateLimited: because",
        3_600,
        false,
    ),
    (
        says("/dir", 503, Some("120"), "<html>busy</html>"),
        "HTTP 503",
        120,
        false,
    ),
    (
        says("/dir", 503, None, "<html>busy</html>"),
        "HTTP 503",
        60,
        false,
    ),
    (
        says("/order-plz", 0, None, ""),
        "no answer in time",
        60,
        false,
    ),
    (
        says("/finalize-order", 500, None, "serverInternal"),
        "serverInternal",
        60,
        false,
    ),
    (
        says("/order-plz", 403, None, "rejectedIdentifier"),
        "rejectedIdentifier",
        60,
        true,
    ),
    (
        says("/sign-me-up", 403, None, "externalAccountRequired"),
        "externalAccount",
        60,
        true,
    ),
    (
        says("/order-plz", 403, None, "caa"),
        "caa: because",
        60,
        true,
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn each_fault_of_an_authority_is_noted_and_the_next_try_gets_the_certificate() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let pebble = Pebble::start();
    for (says, told, wait, refused) in FAULTS {
        let site = Site::start(&pebble).await;
        let before = pebble.certificates();
        let mut operator = site.operator(says).await;
        let failure = site.try_once(&mut operator, false).await.expect_err(told);
        assert!(failure.contains(told), "{failure}");
        let noted = record(&site.sim);
        let waits = noted["next_try"].as_i64().expect("a second") - unix_seconds();
        assert!(
            (wait - 10..=wait).contains(&waits),
            "{told}: waits {waits} s"
        );
        assert_eq!(noted["refused_for"] != json!([]), refused, "{noted}");
        let again = site.try_once(&mut operator, false).await;
        assert_eq!(again, Err("not due".to_owned()), "{told}");
        if refused {
            // Another declaration is another try.
            let names = "alt_names=a.acme.org b.acme.org c.acme.org d.acme.org";
            site.sim.set(FRONT, &[names]).expect("a keyword");
        }
        let mut next = site.operator(NOTHING).await;
        let issued = site.try_once(&mut next, true).await;
        assert_eq!(issued, Ok(()), "{told}");
        assert_eq!(pebble.certificates(), before + 1, "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_the_authority_rejects_is_named_and_waits_for_another_declaration() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let pebble = Pebble::start_with(&json!({"domainBlocklist": ["blocked.acme.org"]}));
    let site = Site::start(&pebble).await;
    let names = "alt_names=a.acme.org blocked.acme.org c.acme.org";
    site.sim.set(FRONT, &[names]).expect("a keyword");
    let mut operator = site.operator(NOTHING).await;
    let failure = site
        .try_once(&mut operator, false)
        .await
        .expect_err("blocked");
    assert!(failure.contains("blocked.acme.org"), "{failure}");
    assert!(record(&site.sim)["refused_for"] != json!([]));
    assert_eq!(pebble.certificates(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_name_of_three_that_is_not_found_to_be_ours_is_named_and_counted_alone() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let pebble = Pebble::start();
    let mut site = Site::start(&pebble).await;
    let port = pebble.http_port;
    drop(site.gateway);
    site.gateway = Gateway::start_but(&site.sim, port, Some("b.acme.org")).await;
    let mut operator = site.operator(NOTHING).await;
    let failure = site.try_once(&mut operator, false).await;
    let failure = failure.expect_err("a name is not ours");
    assert!(failure.starts_with("b.acme.org: "), "{failure}");
    let noted = record(&site.sim);
    assert_eq!(noted["error"], json!(failure));
    assert_eq!(noted["refused_for"], json!([]));
    let ledger = site.sim.key(ISSUER, "acme_ledger").expect("a ledger");
    let ledger: serde_json::Value = serde_json::from_str(&ledger).expect("JSON");
    let counted = ledger["failures"].as_object().expect("names");
    assert_eq!(Vec::from_iter(counted.keys()), ["b.acme.org"]);
    assert_eq!(site.sim.key(CARRIER, "http-01").as_deref(), Some("[]"));
    drop(site.gateway);
    site.gateway = Gateway::start(&site.sim, port).await;
    let mut next = site.operator(NOTHING).await;
    assert_eq!(site.try_once(&mut next, true).await, Ok(()));
    assert_eq!(pebble.certificates(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn nonces_that_are_refused_between_two_challenges_cost_nothing() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let pebble = Pebble::start();
    let site = Site::start(&pebble).await;
    // As often as instant-acme asks.
    let says = Says {
        after: 1,
        times: 3,
        ..says("/chalZ/", 400, None, "badNonce")
    };
    let mut operator = site.operator(says).await;
    assert_eq!(site.try_once(&mut operator, false).await, Ok(()));
    assert_eq!((pebble.orders(), pebble.certificates()), (1, 1));
}

/// A daemon that does not take these keys.
struct Refuses(Direct, &'static [&'static str]);

impl Writer for Refuses {
    fn write_key<'a>(
        &'a self,
        path: &'a ObjectPath,
        key: &'a str,
        value: &'a Sensitive,
    ) -> BoxFuture<'a, Result<(), Error>> {
        match self.1.contains(&key) {
            true => ready(Err(Error::Closed)).boxed(),
            false => self.0.write_key(path, key, value),
        }
    }

    fn create<'a>(&'a self, path: &'a ObjectPath) -> BoxFuture<'a, Result<(), Error>> {
        self.0.create(path)
    }
}

/// The keys that are not taken, and how many orders are made all the same, in two tries.
const REFUSED: [(&[&str], usize); 7] = [
    (&["account"], 0),
    (&["acme_pending"], 0),
    (&["http-01"], 1),
    (&["fullpem"], 1),
    (&["private_key"], 1),
    (&["certificate_chain"], 1),
    (&["acme_state", "acme_ledger"], 1),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_takes_no_writes_costs_one_order_at_most() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let pebble = Pebble::start();
    for (keys, orders) in REFUSED {
        let site = Site::start(&pebble).await;
        let before = pebble.orders();
        for _ in 0..2 {
            let daemon = daemon(&site.folder.0.join("lsnr.sock"));
            let writer = Refuses(Direct::new(Arc::clone(&daemon)), keys);
            let wires: Wires = Arc::new(|bundle| Ok(Arc::new(Web::new(bundle)?)));
            let door = site.door.clone();
            let operator = Operator::over(daemon, Arc::new(writer), door, wires);
            let mut operator = operator.with_settle(Duration::ZERO);
            operator.look().await.expect("a survey");
            let failure = site
                .try_once(&mut operator, true)
                .await
                .expect_err("a refusal");
            assert!(failure.contains("cannot be written"), "{failure}");
            assert_eq!(pebble.orders() - before, orders, "{keys:?}");
        }
        let mut next = site.operator(NOTHING).await;
        assert_eq!(site.try_once(&mut next, true).await, Ok(()), "{keys:?}");
        assert_eq!(pebble.orders() - before, 1, "{keys:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_is_not_told_to_ask_before_every_gateway_answers() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let pebble = Pebble::start();
    let mut site = Site::start(&pebble).await;
    // At the second address nobody answers.
    site.door = Door {
        answered_max: Duration::from_secs(1),
        shown_max: Duration::ZERO,
        ..door(&["127.0.0.1", "127.0.0.9"], pebble.http_port, 1)
    };
    let mut operator = site.operator(NOTHING).await;
    let failure = site
        .try_once(&mut operator, false)
        .await
        .expect_err("no answer");
    assert!(failure.contains("is not answered: 127.0.0.9"), "{failure}");
    assert!(!pebble.log().contains("/chalZ/"), "Pebble was told to ask");
    assert_eq!(site.sim.key(CARRIER, "http-01").as_deref(), Some("[]"));
    site.door.gateways.truncate(1);
    let mut next = site.operator(NOTHING).await;
    assert_eq!(site.try_once(&mut next, true).await, Ok(()));
    assert_eq!((pebble.orders(), pebble.certificates()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pair_that_somebody_broke_is_ordered_anew() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let pebble = Pebble::start();
    let site = Site::start(&pebble).await;
    let mut operator = site.operator(NOTHING).await;
    site.try_once(&mut operator, false)
        .await
        .expect("a certificate");
    for key in ["private_key", "fullpem"] {
        site.sim.set_key(FRONT, key, "").expect("a key");
    }
    let mut next = site.operator(NOTHING).await;
    site.try_once(&mut next, false)
        .await
        .expect("a certificate again");
    let mended = site.sim.key(FRONT, "private_key").expect("a key");
    assert!(mended.contains("PRIVATE KEY"));
    assert_eq!(pebble.orders(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_was_made_elsewhere_is_bound_and_one_that_is_gone_is_made_again() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let external = json!({
        "externalAccountBindingRequired": true,
        "externalAccountMACKeys": {"kid-1": HMAC},
    });
    let pebble = Pebble::start_with(&external);
    let site = Site::start(&pebble).await;
    let mut operator = site.operator(NOTHING).await;
    let failure = site
        .try_once(&mut operator, false)
        .await
        .expect_err("no binding");
    assert!(failure.contains("externalAccountRequired"), "{failure}");
    for (key, value) in [("eab_kid", "kid-1"), ("eab_hmac", HMAC)] {
        site.sim.set_key(ISSUER, key, value).expect("a key");
    }
    let mut next = site.operator(NOTHING).await;
    assert_eq!(site.try_once(&mut next, true).await, Ok(()));
    let kept = site.sim.key(ISSUER, "account").expect("an account");
    let gone = kept.replace("/my-account/", "/my-account/none");
    site.sim.set_key(ISSUER, "account", &gone).expect("a key");
    let mut last = site.operator(NOTHING).await;
    assert_eq!(site.try_once(&mut last, true).await, Ok(()));
    assert_ne!(site.sim.key(ISSUER, "account"), Some(gone));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_that_names_another_authority_gets_an_account_there() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let pebble = Pebble::start();
    let mut site = Site::start(&pebble).await;
    let mut operator = site.operator(NOTHING).await;
    assert_eq!(site.try_once(&mut operator, false).await, Ok(()));
    let other = Pebble::start();
    site.sim
        .set_key(ISSUER, "directory", &other.directory())
        .expect("a key");
    site.sim
        .set_key(ISSUER, "ca_bundle", other.ca_pem())
        .expect("a key");
    let _gateway = Gateway::start(&site.sim, other.http_port).await;
    site.door.http_port = other.http_port;
    let mut next = site.operator(NOTHING).await;
    assert_eq!(site.try_once(&mut next, false).await, Ok(()));
    assert_eq!((pebble.orders(), other.orders()), (1, 1));
}

const HMAC: &str = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";
