//! Make before break: endpoints behind their cluster, routes and listeners behind the clusters
//! that they name, removals last.

use super::{Talk, check};

// EDS pushed right behind CDS, before Envoy asks, is accepted and saves a round trip.
#[test]
fn endpoints_go_right_behind_a_new_cluster() {
    check(
        "> cds
         < cds
         > cds ack
         > eds subscribe x
         < eds -x
         > eds ack
         = cds a@1, eds a@1
         < cds +a@1
         < eds +a@1",
    );
}

// The subscription that a pushed cluster causes is answered by what was pushed behind it.
#[test]
fn endpoints_pushed_ahead_are_not_sent_twice() {
    check(
        "> cds
         < cds
         > cds ack
         > eds subscribe x
         < eds -x
         > eds ack
         = cds a@1, eds a@1
         < cds +a@1
         < eds +a@1
         > eds subscribe a
         > eds ack
         > cds ack
         > eds unsubscribe a
         > eds subscribe a
         < eds +a@1",
    );
}

// Any change to an EDS cluster warms it again and Envoy does not ask for its endpoints.
#[test]
fn endpoints_go_again_behind_any_change_of_their_cluster() {
    check(
        "= cds a@1, eds a@1
         > cds
         < cds +a@1
         > eds subscribe a
         < eds +a@1
         > eds ack
         > cds ack
         = cds a@2, eds a@1
         < cds +a@2
         < eds +a@1",
    );
}

// Endpoints in flight were sent before the cluster changed: Envoy takes them for the old one.
#[test]
fn endpoints_in_flight_do_not_count_for_a_changed_cluster() {
    check(
        "= cds a@1, eds a@1
         > cds
         < cds +a@1
         > eds subscribe a
         < eds +a@1
         > cds ack
         = cds a@2, eds a@1
         < cds +a@2
         > eds ack
         < eds +a@1",
    );
}

// A route to a warming cluster is a 503: the EDS ACK says it is warm, the CDS ACK comes later.
#[test]
fn route_waits_for_the_endpoints_of_its_cluster() {
    check(
        "> cds
         < cds
         > cds ack
         > rds subscribe r
         < rds +r@none
         > rds ack
         = cds a@1, eds a@1, rds r@1 -> a
         < cds +a@1
         > eds subscribe a
         < eds +a@1
         > eds ack
         < rds +r@1",
    );
}

#[test]
fn listener_waits_for_the_acknowledged_cluster() {
    check(
        "> cds
         < cds
         > lds
         < lds
         > lds ack
         = cds a@1, eds a@1, lds l@1 -> a
         > cds ack
         < cds +a@1
         > cds ack
         < lds +l@1",
    );
}

// The EDS of a cluster that needs more than endpoints is acknowledged while it still warms.
#[test]
fn cluster_that_needs_a_secret_is_ready_by_its_own_ack_only() {
    check(
        "= cds a@1 tls, eds a@1, sds s@1, rds r@1 -> a
         > cds
         < cds +a@1
         > eds subscribe a
         < eds +a@1
         > sds subscribe s
         < sds +s@1
         > eds ack
         > sds ack
         > rds subscribe r
         > cds ack
         < rds +r@1",
    );
}

#[test]
fn route_waits_five_seconds_at_most() {
    check(
        "= cds a@1, eds a@1, rds r@1 -> a
         > cds
         < cds +a@1
         > rds subscribe r
         tick 4.9s
         tick 0.2s
         < rds +r@1",
    );
}

// While a changed cluster warms, the one before it serves.
#[test]
fn route_does_not_wait_for_a_cluster_that_only_changed() {
    check(
        "= cds a@1, eds a@1, rds r@1 -> a
         > cds has a@1
         > eds subscribe a has a@1
         > rds subscribe r has r@1
         = cds a@2, eds a@1, rds r@2 -> a
         < cds +a@2
         < eds +a@1
         < rds +r@2",
    );
}

// EDS-first: which clusters the client has is known when it asks for them.
#[test]
fn route_waits_for_clusters_when_endpoints_came_first() {
    check(
        "= cds a@1, cds b@1, eds a@1, eds b@1, rds r@2 -> a b
         > eds subscribe a has a@1
         < eds +a@1
         > rds subscribe r has r@1
         > eds ack
         > cds has a@1
         < cds +b@1
         < eds +b@1
         > eds subscribe b ack
         < rds +r@2",
    );
}

// Routes of other clusters do not wait: per dependency, no barrier.
#[test]
fn independent_routes_do_not_wait_for_each_other() {
    check(
        "= cds a@1, eds a@1
         > cds has a@1
         > eds subscribe a has a@1
         > rds subscribe r s has r@1 s@1
         = cds a@1, cds b@1, eds a@1, eds b@1, rds r@2 -> a, rds s@2 -> b
         < cds +b@1
         < eds +b@1
         < rds +r@2
         > rds ack
         > eds subscribe b
         > eds ack
         < rds +s@2",
    );
}

// A cluster removed before its routes change is a 503 for every request in between.
#[test]
fn cluster_is_removed_when_its_route_has_moved() {
    check(
        "= cds a@1, cds b@1, rds r@1 -> a
         > cds has a@1 b@1
         > lds has l@1
         < lds -l
         > lds ack
         > rds subscribe r has r@1
         = cds b@1, rds r@2 -> b
         < rds +r@2
         tick 60s
         > rds ack
         < cds -a",
    );
}

#[test]
fn cluster_is_removed_when_its_listener_has_gone() {
    check(
        "= cds a@1, lds l@1 -> a
         > cds has a@1
         > lds has l@1
         > rds subscribe r has r@1
         =
         < lds -l
         > lds ack
         < cds -a",
    );
}

// Reconnect: what the client's routes name is known when it has acknowledged new ones.
#[test]
fn vanished_cluster_is_removed_behind_the_routes_after_a_reconnect() {
    check(
        "= cds a@1, rds r@2 -> a
         > cds has a@1 b@1
         > lds has l@1
         < lds -l
         > lds ack
         > rds subscribe r has r@1
         < rds +r@2
         > rds ack
         < cds -b",
    );
}

#[test]
fn vanished_cluster_is_removed_though_nobody_asks_for_routes() {
    check(
        "= cds a@1
         > cds has a@1 b@1
         tick 4.9s
         tick 0.2s
         < cds -b",
    );
}

// A route that is refused stays at an older content: what that names is unknown.
#[test]
fn cluster_stays_while_a_refused_route_may_name_it() {
    check(
        "= cds a@1, cds b@1, rds r@1 -> a
         > cds has a@1 b@1
         > lds
         < lds
         > lds ack
         > rds subscribe r has r@1
         = cds b@1, rds r@2 -> b
         < rds +r@2
         > rds nack \"no\"
         ! rds r \"no\"
         = cds b@1, rds r@3 -> b
         < rds +r@3.1
         > rds ack
         < cds -a",
    );
}

// A listener that is refused still runs with the routes of the one before.
#[test]
fn cluster_stays_while_a_refused_listener_may_use_a_route_that_is_gone() {
    check(
        "= cds a@1, cds b@1, lds l@1, rds r@1 -> a
         > cds has a@1 b@1
         > lds has l@1
         > rds subscribe r
         < rds +r@1
         > rds ack
         = cds b@1, lds l@2 -> b
         < lds +l@2
         > lds nack \"no\"
         ! lds l \"no\"
         = cds b@1, lds l@3 -> b
         < lds +l@3.1
         > lds ack
         < cds -a",
    );
}

// The ACK of LDS does not mean active: the old listener serves while the new one waits for RDS
// or SDS.
#[test]
fn cluster_stays_while_the_new_listener_waits_for_its_route_or_secret() {
    check(
        "= cds a@1, cds b@1, lds l@1 -> a
         > cds has a@1 b@1
         > lds has l@1
         = cds b@1, lds l@2, rds r@1 -> b, sds s@1
         < lds +l@2
         > rds subscribe r
         < rds +r@1
         > sds subscribe s
         < sds +s@1
         > lds ack
         > rds ack
         > sds ack
         < cds -a",
    );
}

// It may wait for long: a refused route without a last good one never comes.
#[test]
fn cluster_stays_while_a_listener_waits_for_a_refused_route() {
    check(
        "= cds a@1, cds b@1, lds l@1 -> a
         > cds has a@1 b@1
         > lds has l@1
         = cds b@1, lds l@2, rds r@1 -> b
         < lds +l@2
         > rds subscribe r
         < rds +r@1
         > lds ack
         > rds nack \"no\"
         ! rds r \"no\"
         = cds b@1, lds l@2, rds r@2 -> b
         < rds +r@2.1
         > rds ack
         < cds -a",
    );
}

// A removal in flight is a cluster that the client no longer has.
#[test]
fn route_waits_for_a_cluster_that_returns_while_its_removal_is_in_flight() {
    check(
        "= cds a@1, cds b@1, eds a@1, eds b@1, rds r@1 -> b
         > cds has a@1 b@1
         > eds subscribe a b has a@1 b@1
         > lds
         < lds
         > lds ack
         > rds subscribe r has r@1
         = cds b@1, eds b@1, rds r@1 -> b
         < cds -a
         = cds a@1, cds b@1, eds a@1, eds b@1, rds r@2 -> a
         > eds unsubscribe a
         > cds ack
         < cds +a@1
         < eds +a@1
         > eds subscribe a
         > eds ack
         < rds +r@2",
    );
}

// Rename on one port: removal and addition in one response lose no request.
#[test]
fn renamed_listener_goes_and_comes_in_one_response() {
    check(
        "= cds a@1, eds a@1, lds old@1 -> a
         > cds has a@1
         > eds subscribe a has a@1
         > lds has old@1
         = cds a@1, eds a@1, lds new@1 -> a
         < lds +new@1 -old",
    );
}

#[test]
fn listener_stays_until_the_one_that_takes_its_port_can_come() {
    check(
        "= cds a@1, eds a@1, lds old@1 -> a
         > cds has a@1
         > eds subscribe a has a@1
         > lds has old@1
         = cds a@1, cds b@1, eds a@1, eds b@1, lds new@1 -> b
         < cds +b@1
         < eds +b@1
         > eds subscribe b
         > eds ack
         < lds +new@1 -old",
    );
}

// Envoy holds back its answer while any cluster warms, and applies what comes meanwhile.
#[test]
fn changes_of_clusters_go_out_behind_one_that_is_not_acknowledged() {
    check(
        "= cds a@1
         > cds
         < cds +a@1
         = cds a@1, cds b@1
         tick 0.04s
         tick 0.01s
         < cds +b@1
         = cds a@1, cds b@1, cds c@1
         tick 0.09s
         tick 0.01s
         < cds +c@1
         > cds ack 1
         > cds ack 2
         > cds ack 3",
    );
}

#[test]
fn unanswered_responses_of_clusters_are_few() {
    let mut talk = Talk::new();
    talk.line("> cds");
    for number in 1..=10 {
        let names: Vec<String> = (0..number).map(|name| format!("cds c{name}@1")).collect();
        let sent = talk.line(&format!("= {}", names.join(", "))) + &talk.line("tick 60s");
        let went = sent.contains("< cds +");
        assert_eq!(went, number < 10, "{number}: {sent}");
    }
    let sent = talk.line("> cds ack 1");
    assert!(sent.contains("< cds +c9@1"), "{sent}");
}

// A cluster that comes and goes while nothing is answered ends as it was wanted last.
#[test]
fn cluster_that_returns_behind_its_unanswered_removal_is_sent_again() {
    check(
        "= cds a@1, eds a@1
         > cds
         < cds +a@1
         > lds
         < lds
         > lds ack
         > rds subscribe q
         < rds +q@none
         > rds ack
         =
         tick 0.05s
         < cds -a
         = cds a@1, eds a@1, rds q@1 -> a
         tick 0.1s
         < cds +a@1
         > cds ack 1
         > cds ack 4
         > cds ack 5
         < rds +q@1",
    );
}

// Its own acknowledgement may be held back for another cluster, which may never be warm.
#[test]
fn cluster_that_needs_more_is_waited_for_half_a_second_beside_others_that_warm() {
    check(
        "= cds a@1 tls, cds b@1 tls, eds a@1, eds b@1, rds r@1 -> a
         > cds
         < cds +a@1 +b@1
         > rds subscribe r
         > eds subscribe a b
         < eds +a@1 +b@1
         > eds ack
         tick 0.49s
         tick 0.01s
         < rds +r@1",
    );
}
