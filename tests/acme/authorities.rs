//! Several authorities, and what each of them says of itself: its clock, its other chains, when
//! it would like to renew.

use super::faults::{NOTHING, Says, Site};
use super::site::{FRONT, Gateway, ISSUER, record};
use crate::support::pebble::Pebble;

/// An authority that is away.
const AWAY: Says = Says {
    at: "/dir",
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
