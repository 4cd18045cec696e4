//! What is told of a client's resources: how each stands, since when, and what it waits for.

use super::check;

#[test]
fn a_route_that_waits_says_for_which_cluster_and_since_when() {
    check(
        "= cds a@1, eds a@1, rds r@1 -> a
         > cds
         < cds +a@1
         > rds subscribe r
         tick 2s
         status
         ~ cds a stale
         ~ rds r not sent since 0ns: the cluster a cannot take traffic yet
         > eds subscribe a
         < eds +a@1
         > eds ack
         < rds +r@1
         > cds ack
         > rds ack
         status
         ~ cds a synced
         ~ eds a synced
         ~ rds r synced",
    );
}

#[test]
fn a_cluster_that_goes_says_that_it_is_still_named() {
    check(
        "= cds a@1, eds a@1, rds r@1 -> a
         > cds
         < cds +a@1
         > eds subscribe a
         < eds +a@1
         > eds ack
         > cds ack
         > rds subscribe r
         < rds +r@1
         > rds ack
         = rds r@2
         < rds +r@2
         status
         ~ cds a not sent since 0ns: routes or listeners may still send traffic to it
         ~ eds a synced
         ~ rds r stale",
    );
}

#[test]
fn what_changes_behind_an_unanswered_response_waits_for_its_turn() {
    check(
        "= rds r@1
         > rds subscribe r
         < rds +r@1
         = rds r@2
         status
         ~ rds r stale
         > rds subscribe s
         = rds r@2, rds s@1
         status
         ~ rds r stale
         ~ rds s not sent: its turn: what was sent before is not answered",
    );
}

#[test]
fn what_is_refused_says_when_and_in_the_clients_words() {
    check(
        "= cds a@1
         > cds
         < cds +a@1
         tick 1s
         > cds nack \"no\"
         ! cds a \"no\"
         status
         ~ cds a refused at 1s: no",
    );
}

#[test]
fn what_nobody_has_does_not_exist() {
    check(
        "> eds subscribe x
         < eds -x
         > eds ack
         status
         ~ eds x does not exist",
    );
}

#[test]
fn by_what_an_earlier_process_saved_nothing_goes_and_that_is_said() {
    check(
        "partial cds a@1
         > cds has a@1 b@1
         status
         ~ cds a synced
         ~ cds b not sent since 0ns: nothing is removed before the daemon is heard",
    );
}
