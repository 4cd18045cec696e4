//! Refusals: who is guilty, when it is tried again, and under which version.

use std::time::Duration;

use super::{Talk, check};

// A NACK does not say what was applied, and its text does not always name the guilty one.
#[test]
fn refused_batch_is_taken_apart_and_the_guilty_one_found_by_nonce() {
    check(
        "= rds a@1, rds b@1, rds c@1
         > rds subscribe a b c
         < rds +a@1 +b@1 +c@1
         > rds nack \"missing ): ((\"
         < rds +a@1.1
         > rds ack
         < rds +b@1.1
         > rds nack \"missing ): ((\"
         ! rds b \"missing ): ((\"
         < rds +c@1.1
         > rds ack",
    );
}

// Everything else goes on in the same second.
#[test]
fn what_is_not_suspect_goes_before_the_suspects() {
    check(
        "= rds a@1, rds b@1, rds c@1
         > rds subscribe a b c
         < rds +a@1 +b@1 +c@1
         > rds nack \"no\"
         < rds +a@1.1
         > rds subscribe d
         = rds a@1, rds b@1, rds c@1, rds d@1
         > rds ack
         < rds +d@1
         > rds ack
         < rds +b@1.1",
    );
}

// NACK hot loop: 1702 rounds a second.
#[test]
fn refused_resource_is_retried_with_doubling_delays_and_never_in_a_loop() {
    let mut talk = Talk::new();
    talk.line("= lds l@1");
    talk.line("> lds");
    for full in [1, 2, 4, 8, 16, 32, 64, 64, 64] {
        assert_eq!(
            talk.line("> lds nack \"address in use\""),
            "! lds l \"address in use\"\n"
        );
        let retry_at = talk.session.poll_timeout(talk.now).unwrap();
        let delay = retry_at - talk.now;
        let full = Duration::from_secs(full);
        assert!(full / 2 <= delay && delay <= full, "{delay:?} of {full:?}");
        assert_eq!(talk.tick(delay - Duration::from_millis(1)), "");
        let again = talk.tick(Duration::from_millis(1));
        assert!(again.starts_with("< lds +l@1."), "{again}");
        assert_eq!(talk.tick(Duration::from_secs(200)), "", "it is in flight");
    }
    assert_eq!(talk.line("> lds ack"), "");
    assert_eq!(talk.session.poll_timeout(talk.now), None);
}

// The jitter spreads many clients: it depends on the seed of each.
#[test]
fn refused_resource_keeps_the_last_good_and_its_retry_waits_alone() {
    check(
        "= lds k@1, lds l@1
         > lds
         < lds +k@1 +l@1
         > lds ack
         = lds k@1, lds l@2
         < lds +l@2
         > lds nack \"no\"
         ! lds l \"no\"
         = lds k@2, lds l@2
         < lds +k@2
         > lds ack
         tick 0.4s
         tick 0.6s
         < lds +l@2.1",
    );
}

#[test]
fn new_content_of_a_refused_resource_goes_at_once() {
    check(
        "= lds l@1
         > lds
         < lds +l@1
         > lds nack \"no\"
         ! lds l \"no\"
         = lds l@2
         < lds +l@2.1
         > lds ack",
    );
}

// Content hashes alias: after a NACK and a roll back, equal versions hide what was applied.
#[test]
fn roll_back_after_a_refused_batch_gets_a_version_never_sent_before() {
    check(
        "= rds a@1, rds b@1
         > rds subscribe a b
         < rds +a@1 +b@1
         > rds ack
         = rds a@2, rds b@2
         < rds +a@2 +b@2
         = rds a@1, rds b@1
         > rds nack \"no\"
         < rds +a@1.1
         > rds ack
         < rds +b@1.1
         > rds ack",
    );
}

#[test]
fn roll_back_after_a_refusal_alone_is_sent_too() {
    check(
        "= rds a@1
         > rds subscribe a
         < rds +a@1
         > rds ack
         = rds a@2
         < rds +a@2
         > rds nack \"no\"
         ! rds a \"no\"
         = rds a@1
         < rds +a@1.1
         > rds ack",
    );
}

// Removals are applied, or not, with the rest of a refused response.
#[test]
fn removal_in_a_refused_response_is_sent_again() {
    check(
        "= lds a@1
         > lds
         < lds +a@1
         > lds ack
         = lds b@1
         < lds +b@1 -a
         > lds nack \"no\"
         < lds -a
         > lds ack
         < lds +b@1.1",
    );
}

// A resource that may have been applied though its response was refused is taken back.
#[test]
fn resource_of_a_refused_batch_is_removed_when_it_is_not_wanted_any_more() {
    check(
        "= lds a@1, lds b@1
         > lds
         < lds +a@1 +b@1
         = lds a@1
         > lds nack \"no\"
         < lds +a@1.1
         > lds ack
         < lds -b",
    );
}

#[test]
fn refusal_is_forgotten_with_its_resource() {
    let mut talk = Talk::new();
    talk.line("= lds a@1");
    talk.line("> lds");
    talk.line("> lds nack \"no\"");
    assert!(
        talk.session
            .refuses(osvc_igw::xds::ResourceType::Listener, "a")
    );
    talk.line("=");
    assert!(
        !talk
            .session
            .refuses(osvc_igw::xds::ResourceType::Listener, "a")
    );
    assert_eq!(talk.session.poll_timeout(talk.now), None);
}

// A route to a cluster that is refused is not held back: its other clusters serve.
#[test]
fn route_goes_when_its_cluster_is_refused() {
    check(
        "= cds a@1, cds b@1, eds b@1, rds r@1 -> a b
         > cds
         < cds +a@1 +b@1
         > rds subscribe r
         > cds nack \"no\"
         < cds +a@1.1
         > cds nack \"no\"
         ! cds a \"no\"
         < cds +b@1.1
         > cds ack
         < rds +r@1",
    );
}

// A root-level refusal applies nothing: a new cluster of that response is not there.
#[test]
fn route_waits_for_a_cluster_of_a_refused_batch() {
    check(
        "= cds a@1, cds b@1, rds r@1 -> b
         > cds
         < cds +a@1 +b@1
         > rds subscribe r
         > cds nack \"no\"
         < cds +a@1.1
         > cds ack
         < cds +b@1.1
         > cds ack
         < rds +r@1",
    );
}

// Removals of a refused response are applied with its good resources.
#[test]
fn route_waits_for_a_cluster_whose_removal_was_in_a_refused_batch() {
    check(
        "= cds a@1, rds r@1
         > cds has a@1
         > lds
         < lds
         > lds ack
         > rds subscribe r has r@1
         = cds b@1, rds r@1
         < cds +b@1 -a
         = cds a@1, cds b@1, rds r@2 -> a
         > cds nack \"no\"
         < cds +a@1.1
         > cds ack
         < cds +b@1.1
         < rds +r@2",
    );
}

// NACKed batch, roll back, reconnect: Envoy's versions are wrong for what was in the batch.
#[test]
fn suspects_are_sent_again_whatever_the_versions_on_the_next_stream() {
    check(
        "= rds a@1, rds b@1, rds c@1
         > rds subscribe a b c
         < rds +a@1 +b@1 +c@1
         > rds ack
         = rds a@2, rds b@2, rds c@1
         < rds +a@2 +b@2
         > rds nack \"no\"
         < rds +a@2.1
         = rds a@1, rds b@1, rds c@1
         reconnect
         > rds subscribe a b c has a@1 b@1 c@1
         < rds +a@1.1
         > rds ack
         < rds +b@1.1
         > rds ack",
    );
}

// The answer to the response in flight is lost with the stream: it may have been a refusal.
#[test]
fn unanswered_names_are_sent_again_on_the_next_stream() {
    check(
        "= lds a@1, lds b@1
         > lds
         < lds +a@1 +b@1
         > lds ack
         = lds a@2, lds b@1, lds c@1
         < lds +a@2 +c@1
         = lds a@1, lds b@1
         reconnect
         > lds has a@1 b@1
         < lds +a@1 -c
         > lds ack
         reconnect
         > lds has a@1 b@1",
    );
}

// The epoch of a name lasts: what the client has under it is not sent again.
#[test]
fn trusted_again_costs_nothing_on_the_next_stream() {
    check(
        "= rds a@1, rds b@1
         > rds subscribe a b
         < rds +a@1 +b@1
         > rds nack \"no\"
         < rds +a@1.1
         > rds ack
         < rds +b@1.1
         > rds ack
         reconnect
         reconnect
         > rds subscribe a b has a@1.1 b@1.1",
    );
}

// The removal of a doubtful cluster waits for the routes: it may have to wait for two streams.
#[test]
fn doubtful_names_stay_doubtful_from_stream_to_stream() {
    check(
        "= cds a@1
         > cds
         < cds +a@1
         =
         reconnect
         > cds
         < cds
         reconnect
         > cds
         < cds
         > cds ack
         tick 5s
         < cds -a",
    );
}

// Envoy stops at the first error: what it was told of absent names beside it is lost.
#[test]
fn absent_names_of_a_refused_batch_are_answered_again() {
    check(
        "= eds b@1, rds s@1
         > eds subscribe a b
         < eds +b@1 -a
         > eds nack \"no\"
         < eds -a
         > eds ack
         < eds +b@1.1
         > rds subscribe r s
         < rds +r@none +s@1
         > rds nack \"no\"
         < rds +r@none.1
         > rds ack
         < rds +s@1.1",
    );
}
