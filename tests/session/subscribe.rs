//! What a client asks for and what it is told: wildcards, initial versions, names that come and
//! go, nonces, and one response in flight.

use std::sync::Arc;

use osvc_igw::xds::session::Session;
use osvc_igw::xds::{ResourceType, Snapshot};

use super::{Talk, check};

// First request of a type with no names: legacy wildcard.
#[test]
fn first_request_without_names_asks_for_everything() {
    check(
        "= cds a@1, cds b@1
         > cds
         < cds +a@1 +b@1
         > cds ack
         = cds a@1, cds b@2, cds c@1
         < cds +b@2 +c@1",
    );
}

// Any later explicit name ends legacy mode, the wildcard stays until `unsubscribe "*"`.
#[test]
fn wildcard_outlives_an_explicit_name_and_ends_by_name() {
    check(
        "= cds a@1, cds b@1
         > cds
         < cds +a@1 +b@1
         > cds ack
         > cds subscribe a
         < cds +a@1
         > cds ack
         = cds a@1, cds b@2
         < cds +b@2
         > cds ack
         > cds unsubscribe *
         = cds a@2, cds b@3
         < cds +a@2",
    );
}

// Explicit `*`: the same as the wildcard; may come with names.
#[test]
fn explicit_wildcard_may_come_with_names() {
    check(
        "= cds a@1, cds b@1
         > cds subscribe * a
         < cds +a@1 +b@1",
    );
}

// On `unsubscribe name` under a wildcard the server must answer that name.
#[test]
fn name_unsubscribed_under_a_wildcard_is_answered() {
    check(
        "= cds a@1
         > cds subscribe * a gone
         < cds +a@1 -gone
         > cds ack
         > cds unsubscribe a
         < cds +a@1
         > cds ack
         > cds unsubscribe gone
         < cds -gone",
    );
}

// After `unsubscribe "*"` a client has dropped what it had: it is told again when it returns.
#[test]
fn wildcard_that_returns_is_told_everything_again() {
    check(
        "= cds a@1, cds b@1
         > cds subscribe * a
         < cds +a@1 +b@1
         > cds ack
         > cds unsubscribe *
         > cds subscribe *
         < cds +b@1",
    );
}

// An empty wildcard must be answered, or Envoy waits 15 s at its start.
#[test]
fn empty_wildcard_is_answered() {
    check(
        "> cds
         < cds
         > cds ack
         > lds
         < lds
         > lds ack
         = cds a@1
         < cds +a@1",
    );
}

// An empty answer to LDS lets Envoy finish its start without listeners.
#[test]
fn wildcard_is_not_answered_emptily_while_listeners_wait() {
    check(
        "= cds a@1, eds a@1, lds l@1 -> a
         > cds
         < cds +a@1
         > lds
         > eds subscribe a
         < eds +a@1
         > eds ack
         < lds +l@1",
    );
}

// `initial_resource_versions`: what is equal is skipped.
#[test]
fn equal_initial_versions_cost_nothing() {
    check(
        "= cds a@1, eds a@1, sds s@1, lds l@1, rds r@1 -> a
         > cds has a@1
         > eds subscribe a has a@1
         > sds subscribe s has s@1
         > lds has l@1
         > rds subscribe r has r@1
         tick 100s",
    );
}

// Names in initial versions that no longer exist must be removed.
#[test]
fn different_initial_version_is_sent_and_vanished_name_removed() {
    check(
        "= lds a@1, lds b@2
         > lds has a@1 b@1 c@1
         < lds +b@2 -c",
    );
}

// Any change of a cluster needs its endpoints again, also if they are asked for later.
#[test]
fn endpoints_follow_a_cluster_that_changed_before_they_were_asked_for() {
    check(
        "= cds a@2, cds b@1, eds a@1, eds b@1
         > cds has a@1 b@1
         < cds +a@2
         > eds subscribe a b has a@1 b@1
         < eds +a@1",
    );
}

// A stream that broke while a cluster warmed: EDS comes first, and its versions look current.
#[test]
fn endpoints_asked_for_before_clusters_are_sent_whatever_the_versions() {
    check(
        "= cds a@1, eds a@1, eds b@1
         > eds subscribe a b has a@1 b@1
         < eds +a@1 +b@1
         > eds ack
         > cds has a@1",
    );
}

// A name subscribed again later in a stream is sent again, whatever the client had.
#[test]
fn name_subscribed_again_in_one_stream_is_sent_again() {
    check(
        "= eds a@1, eds b@1
         > cds
         < cds
         > eds subscribe a
         < eds +a@1
         > eds ack subscribe b
         < eds +b@1
         > eds ack
         > eds unsubscribe a
         = eds a@2, eds b@1
         = eds a@1, eds b@1
         > eds subscribe a
         < eds +a@1
         > eds ack subscribe a
         < eds +a@1",
    );
}

// Unsubscribe only: no answer needed; phantom unsubscribes are ignored.
#[test]
fn phantom_unsubscribe_is_ignored() {
    check(
        "= cds a@1, eds a@1
         > eds subscribe a
         < eds +a@1
         > eds ack
         > eds unsubscribe b
         > eds unsubscribe a a
         > cds
         < cds +a@1
         < eds +a@1
         > cds unsubscribe a",
    );
}

// A response that crosses the unsubscription leaves nothing behind.
#[test]
fn name_unsubscribed_while_in_flight_is_not_held() {
    check(
        "= cds a@1, cds b@1, rds r@1 -> a
         > cds
         < cds +a@1 +b@1
         > cds ack
         > lds
         < lds
         > lds ack
         > rds subscribe r
         < rds +r@1
         > rds unsubscribe r
         > rds ack
         = cds b@1, rds r@2 -> b
         < cds -a",
    );
}

// A requested name that does not exist: EDS removed (warm at once with no hosts).
#[test]
fn absent_endpoints_are_answered_as_removed() {
    check(
        "> eds subscribe a
         < eds -a
         > eds ack
         = eds a@1
         < eds +a@1",
    );
}

// RDS: "removed" leaves the listener warming for ever; an empty configuration does not.
#[test]
fn absent_route_is_answered_with_an_empty_configuration() {
    check(
        "> rds subscribe r
         < rds +r@none
         > rds ack
         = rds r@1
         < rds +r@1",
    );
}

// A route that vanished while the client was away may still be used until its listener changes.
#[test]
fn absent_route_that_the_client_has_is_left_alone() {
    check(
        "> rds subscribe r has r@1
         tick 100s",
    );
}

// SDS: an answer would make the listener active with handshakes reset.
#[test]
fn absent_secret_is_held_until_it_appears() {
    check(
        "> sds subscribe s
         tick 100s
         = sds s@1
         < sds +s@1",
    );
}

// Removal works for CDS and LDS only.
#[test]
fn removal_is_said_of_clusters_and_listeners_only() {
    check(
        "= cds a@1, eds a@1, sds s@1, lds l@1, rds r@1
         > cds
         < cds +a@1
         > eds subscribe a
         < eds +a@1
         > sds subscribe s
         < sds +s@1
         > lds
         < lds +l@1
         > rds subscribe r
         < rds +r@1
         > cds ack
         > eds ack
         > sds ack
         > lds ack
         > rds ack
         =
         < lds -l
         > lds ack
         < cds -a
         > cds ack
         tick 100s",
    );
}

// A stale nonce must not make the server drop subscription changes.
#[test]
fn stale_nonce_answers_nothing_but_its_names_count() {
    check(
        "= eds a@1, eds b@1
         > cds
         < cds
         > eds subscribe a
         < eds +a@1
         > eds ack 77 subscribe b
         > eds ack
         < eds +b@1
         > eds ack 2
         = eds a@1, eds b@2
         > eds ack
         < eds +b@2",
    );
}

// One response in flight per type; changes gather behind it and the newest wins.
#[test]
fn changes_gather_behind_the_response_in_flight() {
    check(
        "= eds a@1, eds b@1
         > cds
         < cds
         > eds subscribe a b
         < eds +a@1 +b@1
         = eds a@2, eds b@1
         = eds a@3, eds b@2
         = eds a@4, eds b@1
         tick 10s
         > eds ack
         < eds +a@4",
    );
}

// What is gathered and taken back costs nothing.
#[test]
fn other_types_do_not_wait_for_the_response_in_flight() {
    check(
        "= eds a@1, sds s@1
         > cds
         < cds
         > eds subscribe a
         < eds +a@1
         > sds subscribe s
         < sds +s@1
         > sds ack
         = eds a@2, sds s@2
         < sds +s@2",
    );
}

#[test]
fn two_sessions_have_their_own_truth() {
    let mut left = Talk::new();
    let mut right = Talk::new();
    for talk in [&mut left, &mut right] {
        talk.line("= lds a@1, lds b@1");
        assert_eq!(talk.line("> lds"), "< lds +a@1 +b@1\n");
    }
    assert_eq!(left.line("> lds ack"), "");
    assert_eq!(right.line("> lds nack \"no\""), "< lds +a@1.1\n");
    assert_eq!(left.line("= lds a@2, lds b@1"), "< lds +a@2\n");
    assert_eq!(right.line("= lds a@2, lds b@1"), "");
    assert_eq!(right.line("> lds ack"), "< lds +a@2.1\n");
    assert_eq!(right.line("> lds ack"), "< lds +b@1.1\n");
}

#[test]
fn session_that_nobody_speaks_to_says_nothing() {
    let mut session = Session::new(Arc::new(Snapshot::default()), 0);
    assert_eq!(session.poll_response(std::time::Duration::ZERO), None);
    assert_eq!(session.poll_timeout(std::time::Duration::ZERO), None);
    assert!(!session.refuses(ResourceType::Cluster, "a"));
}
