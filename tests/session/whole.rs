//! The state-of-the-world variant, and streams of one type.

use super::check;

#[test]
fn whole_state_of_listeners_and_clusters_is_repeated_with_each_change() {
    check(
        "whole
         = cds a@1, cds b@1, lds l@1
         > cds
         < cds =a@1 b@1
         > cds ack
         > lds
         < lds =l@1
         > lds ack
         = cds a@1, cds b@2, lds l@1
         < cds =a@1 b@2
         > cds ack
         = cds b@2, lds l@1
         tick 5s
         < cds =b@2",
    );
}

#[test]
fn endpoints_routes_and_secrets_are_told_as_they_change() {
    check(
        "whole
         = eds a@1, eds b@1
         > eds a b
         < eds =a@1 b@1
         > eds ack a b
         = eds a@1, eds b@2
         < eds =b@2
         > eds ack a b",
    );
}

// What is missing from a state-of-the-world response would be removed.
#[test]
fn first_state_of_listeners_waits_until_it_is_complete() {
    check(
        "whole
         = cds a@1, eds a@1, lds l@1 -> a, lds m@1
         > cds
         < cds =a@1
         > lds
         > eds a
         < eds =a@1
         > eds ack a
         < lds =l@1 m@1",
    );
}

#[test]
fn listener_that_waits_keeps_its_last_version_in_the_state() {
    check(
        "whole
         = lds k@1, lds l@1
         > cds
         < cds =
         > cds ack
         > lds
         < lds =k@1 l@1
         > lds ack
         = cds a@1, eds a@1, lds k@2, lds l@2 -> a
         < cds =a@1
         < lds =k@2 l@1
         > lds ack
         > eds a
         < eds =a@1
         > eds ack a
         < lds =k@2 l@2",
    );
}

#[test]
fn names_that_are_missing_from_the_list_are_not_told_any_more() {
    check(
        "whole
         = rds a@1, rds b@1
         > rds a b
         < rds =a@1 b@1
         > rds ack a b
         > rds ack b
         = rds a@2, rds b@2
         < rds =b@2",
    );
}

#[test]
fn absent_endpoints_are_told_as_an_empty_assignment() {
    check(
        "whole
         = cds a@1
         > eds a
         < eds =a@none",
    );
}

// Envoy names the guilty of clusters and listeners, and has applied the others.
#[test]
fn refused_state_keeps_the_last_good_of_the_one_that_is_named() {
    check(
        "whole
         = lds k@1, lds l@1
         > lds
         < lds =k@1 l@1
         > lds ack
         = lds k@2, lds l@2
         < lds =k@2 l@2
         > lds nack \"Error adding/updating listener(s) l: no\"
         ! lds l \"Error adding/updating listener(s) l: no\"
         = lds k@3, lds l@2
         < lds =k@3 l@1
         > lds ack
         tick 1s
         < lds =k@3 l@2",
    );
}

// The client may have a good one from before, which it keeps while it is sent one of that name.
#[test]
fn first_state_that_is_refused_goes_on_naming_the_guilty_one() {
    check(
        "whole
         = lds k@1, lds l@1
         > lds
         < lds =k@1 l@1
         > lds nack \"Error adding/updating listener(s) l: no\"
         ! lds l \"Error adding/updating listener(s) l: no\"
         = lds k@2, lds l@1
         < lds =k@2 l@1
         > lds nack \"Error adding/updating listener(s) l: no\"
         = lds k@2, lds l@2
         < lds =k@2 l@2
         > lds ack",
    );
}

// At the root of a message Envoy names nobody and applies nothing: less than all would remove.
#[test]
fn first_state_that_is_refused_as_a_whole_goes_again_as_a_whole() {
    check(
        "whole
         = lds k@1, lds l@1
         > lds
         < lds =k@1 l@1
         > lds nack \"Proto constraint validation failed\"
         ! lds * \"Proto constraint validation failed\"
         tick 1s
         < lds =k@1 l@1
         > lds nack \"Proto constraint validation failed\"
         ! lds * \"Proto constraint validation failed\"
         = lds k@1, lds l@2
         < lds =k@1 l@2
         > lds ack",
    );
}

#[test]
fn later_state_that_is_refused_as_a_whole_is_taken_apart() {
    check(
        "whole
         = lds j@1
         > lds
         < lds =j@1
         > lds ack
         = lds j@1, lds k@1, lds l@1
         < lds =j@1 k@1 l@1
         > lds nack \"Proto constraint validation failed\"
         < lds =j@1 k@1
         > lds ack
         < lds =j@1 k@1 l@1
         > lds nack \"Proto constraint validation failed\"
         ! lds l \"Proto constraint validation failed\"",
    );
}

#[test]
fn clusters_of_a_stream_of_their_own_stay_two_seconds_behind_their_routes() {
    check(
        "alone cds
         = cds a@1, cds b@1
         > cds
         < cds +a@1 +b@1
         > cds ack
         tick 60s
         = cds b@1
         tick 1.9s
         tick 0.1s
         < cds -a",
    );
}

#[test]
fn routes_of_a_stream_of_their_own_wait_for_nothing() {
    check(
        "alone rds
         = cds a@1, rds r@1 -> a
         > rds subscribe r
         < rds +r@1",
    );
}
