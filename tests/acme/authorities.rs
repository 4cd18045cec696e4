//! Several authorities, and what each of them says of itself: its clock, its other chains, when
//! it would like to renew.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::Response;
use http::header::DATE;
use osvc_igw::cert::dns::Reach;
use osvc_igw::cert::issue::Desk;
use osvc_igw::cert::leaf::leads_to;
use osvc_igw::cert::operator::{Operator, Wires};
use osvc_igw::cert::plan::Step;
use osvc_igw::cert::wire::Web;
use osvc_igw::cert::writer::Direct;
use osvc_igw::clock::unix_seconds;
use osvc_igw::inventory::Sensitive;
use serde_json::{Value, json};

use super::faults::{NOTHING, Says, Site};
use super::site::{FRONT, Gateway, ISSUER, Running, between, daemon, record, until};
use crate::support::pebble::Pebble;

/// An authority that is away.
const AWAY: Says = Says {
    at: "/dir",
    after: 0,
    times: usize::MAX,
    status: 503,
    retry_after: Some("86400"),
    body: "<html>busy</html>",
};

const SECOND: &str = "test/sec/second";

#[tokio::test(flavor = "multi_thread")]
async fn another_authority_stands_in_for_one_that_is_away_and_hands_over_at_the_renewal() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let (pebble, second) = (Pebble::start(), Pebble::start());
    let mut site = Site::start(&pebble).await;
    site.sim.create(SECOND, "").expect("a sec object");
    for (object, key, value) in [
        (SECOND, "directory", second.directory()),
        (SECOND, "ca_bundle", second.ca_pem().to_owned()),
        (ISSUER, "fallback", SECOND.to_owned()),
    ] {
        site.sim.set_key(object, key, &value).expect("a key");
    }
    let mut operator = site.operator(Says { times: 1, ..AWAY }).await;
    let failure = site.try_once(&mut operator, false).await;
    assert!(failure.is_err_and(|told| told.contains("HTTP 503")));
    let _second = Gateway::start(&site.sim, second.http_port).await;
    let (first_port, second_port) = (site.door.http_port, second.http_port);
    site.door.http_port = second_port;
    let mut next = site.operator(NOTHING).await;
    assert_eq!(site.try_once(&mut next, true).await, Ok(()));
    assert_eq!((pebble.orders(), second.orders()), (0, 1));
    // It is good as it is: what is declared was issued.
    assert_eq!(
        site.try_once(&mut next, false).await,
        Err("not due".to_owned())
    );
    site.door.http_port = first_port;
    let mut renews = site.operator(NOTHING).await;
    assert_eq!(site.try_once(&mut renews, true).await, Ok(()));
    assert_eq!((pebble.orders(), second.orders()), (1, 1));
    assert_eq!(record(&site.sim)["failures"], 0);
    assert!(site.sim.key(FRONT, "fullpem").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_chains_the_one_that_leads_to_a_preferred_root_is_taken() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let pebble = Pebble::start();
    let site = Site::start(&pebble).await;
    for number in [0, 1] {
        let root = pebble.root(number).await;
        site.sim
            .set_key(ISSUER, "preferred_roots", &root)
            .expect("a key");
        let mut operator = site.operator(NOTHING).await;
        assert_eq!(site.try_once(&mut operator, true).await, Ok(()));
        let chain = site.sim.key(FRONT, "certificate_chain").expect("a chain");
        let chain = Sensitive::new(chain);
        assert!(leads_to(unix_seconds(), &chain, &root), "root {number}");
        let other = pebble.root(1 - number).await;
        assert!(!leads_to(unix_seconds(), &chain, &other), "root {number}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_used_again_where_that_is_asked_for_and_it_is_of_the_kind() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let pebble = Pebble::start();
    let site = Site::start(&pebble).await;
    let mut keys = Vec::new();
    for label in ["reuse_key=false", "reuse_key=true", "key=p384", "key=p384"] {
        let set = format!("labels.acme.{label}");
        site.sim.set(FRONT, &[&set]).expect("a label");
        let mut operator = site.operator(NOTHING).await;
        assert_eq!(site.try_once(&mut operator, true).await, Ok(()), "{label}");
        keys.push(site.sim.key(FRONT, "private_key").expect("a key"));
    }
    assert_eq!(keys[0], keys[1]);
    assert_ne!(keys[1], keys[2]);
    assert_eq!(keys[2], keys[3]);
}

/// What is done with an answer of the authority on its way, by the address that was asked and what
/// was said there.
type Change = Arc<dyn Fn(&str, &Value, Response<Bytes>) -> Response<Bytes> + Send + Sync>;

/// An authority whose answers are changed on their way.
fn changed(change: Change) -> Wires {
    between(move |web, asked| {
        let signed: Value = serde_json::from_slice(&asked.body).unwrap_or_default();
        let payload = signed["payload"].as_str().unwrap_or_default();
        let payload = BASE64_URL_SAFE_NO_PAD.decode(payload).unwrap_or_default();
        let payload: Value = serde_json::from_slice(&payload).unwrap_or_default();
        let (url, change) = (asked.url.clone(), Arc::clone(&change));
        let sent = asked.of(web);
        Box::pin(async move { Ok(change(&url, &payload, sent.await?)) })
    })
}

/// An operator of the site with these ways to the authority, which has looked around.
async fn operator(site: &Site, wires: Wires) -> Operator {
    let daemon = daemon(&site.folder.0.join("lsnr.sock"));
    let writer = Arc::new(Direct::new(Arc::clone(&daemon)));
    let operator = Operator::over(daemon, writer, site.door.clone(), wires);
    let mut operator = operator.with_settle(Duration::ZERO);
    operator.look().await.expect("a survey");
    operator
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_ordered_by_a_clock_that_is_hours_off() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let pebble = Pebble::start();
    let site = Site::start(&pebble).await;
    let tomorrow = changed(Arc::new(|_, _, mut answer| {
        let date = "Fri, 31 Dec 2100 23:59:59 GMT".parse().expect("a date");
        answer.headers_mut().insert(DATE, date);
        answer
    }));
    let mut wrong = operator(&site, tomorrow).await;
    let failure = site.try_once(&mut wrong, false).await.expect_err("a clock");
    assert!(failure.contains("by a clock that is wrong"), "{failure}");
    assert!(
        record(&site.sim)["error"]
            .as_str()
            .is_some_and(|told| told.contains("is ahead"))
    );
    assert_eq!(pebble.orders(), 0);
    let mut right = site.operator(NOTHING).await;
    assert_eq!(site.try_once(&mut right, true).await, Ok(()));
}

fn yesterday() -> i64 {
    unix_seconds() - 86_400
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_tomorrow_is_not_written_and_taken_when_the_clock_is_right() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let pebble = Pebble::start();
    let site = Site::start(&pebble).await;
    let mut right = site.operator(NOTHING).await;
    let survey = right.look().await.expect("a survey");
    let subject = &survey.subjects[&FRONT.parse().expect("a path")];
    let daemon = daemon(&site.folder.0.join("lsnr.sock"));
    let desk = Desk {
        daemon: Arc::clone(&daemon),
        writer: Arc::new(Direct::new(daemon)),
        wire: Arc::new(Web::new(Some(pebble.ca_pem())).expect("a client")),
        door: site.door.clone(),
        reach: Reach::default(),
        settle: Duration::ZERO,
        clock: yesterday,
    };
    let refused = desk.work(subject, &Step::Order { replaces: None }).await;
    let refused = refused.expect_err("a certificate of tomorrow");
    assert!(refused.reason.contains("does not hold"), "{refused:?}");
    assert_eq!(site.sim.key(FRONT, "fullpem"), None);
    assert_eq!(site.try_once(&mut right, true).await, Ok(()));
    assert_eq!((pebble.orders(), pebble.certificates()), (1, 1));
}

/// An authority that would like to renew everything now, and takes no order that replaces
/// something where it is told so.
fn renews(takes: bool, told: &Arc<AtomicUsize>) -> Wires {
    let told = Arc::clone(told);
    changed(Arc::new(move |url, payload, mut answer| {
        let mut document: Value = serde_json::from_slice(answer.body()).unwrap_or_default();
        if url.ends_with("/dir") {
            let base = url.trim_end_matches("/dir");
            document["renewalInfo"] = json!(format!("{base}/renewal"));
            *answer.body_mut() = Bytes::from(document.to_string());
        } else if url.contains("/renewal/") {
            let window = json!({"start": "2020-01-01T00:00:00Z", "end": "2020-01-02T00:00:00Z"});
            let document = json!({"suggestedWindow": window}).to_string();
            return Response::new(Bytes::from(document));
        } else if let Some(replaces) = payload.get("replaces") {
            told.fetch_add(1, Ordering::SeqCst);
            document["replaces"] = replaces.clone();
            *answer.body_mut() = Bytes::from(document.to_string());
            if !takes {
                let problem = json!({
                    "type": "urn:ietf:params:acme:error:alreadyReplaced", "detail": "because",
                });
                *answer.status_mut() = http::StatusCode::CONFLICT;
                *answer.body_mut() = Bytes::from(problem.to_string());
            }
        }
        answer
    }))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_says_when_to_renew_and_is_told_what_is_replaced() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    for takes in [true, false] {
        // A twentieth of its life is what it is left alone for.
        let life = json!({"certificateValidityPeriod": 200});
        let pebble = Pebble::start_with(&life);
        let site = Site::start(&pebble).await;
        let told = Arc::new(AtomicUsize::new(0));
        let running = operator(&site, renews(takes, &told)).await;
        let running = Running::start(running);
        until("a renewal", || pebble.certificates() > 1).await;
        running.kill().await;
        assert!(told.load(Ordering::SeqCst) > 0, "takes: {takes}");
    }
}
