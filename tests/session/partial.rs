//! A snapshot that was saved without its secrets: things come and change by it, and nothing goes.

use super::check;

#[test]
fn nothing_is_removed_by_a_partial_snapshot_and_all_that_is_gone_by_the_next() {
    check(
        "partial cds a@1, cds b@2, lds l@1
         > cds has a@1 b@1 c@1
         < cds +b@2
         > cds ack
         > lds has l@1 m@1
         > sds subscribe s has s@1
         = cds a@1, cds b@2, lds l@1
         < lds -m
         > lds ack
         tick 5s
         < cds -c",
    );
}

#[test]
fn clients_of_whole_states_wait_for_the_next_snapshot() {
    check(
        "whole
         partial lds l@1
         > lds
         = lds l@1, lds m@1
         < lds =l@1 m@1",
    );
}
