//! PURE: which of several authorities is asked next: the issuer that a certificate names, and the
//! ones that stand in for it (its key `fallback`) while it refuses, is away, or wants to be left
//! alone.

use super::declaration::Issuer;
use super::plan::Subject;
use super::record::Ledger;
use crate::inventory::Sensitive;

impl Subject {
    /// Puts the authority whose turn it is first, of all that may be asked.
    ///
    /// Each has two tries before the next has its own. One that refused what is declared, or wants
    /// to be left alone longer, or whose limits are used up, is passed over while another is not.
    pub fn take_turn(&mut self, now: i64) {
        if self.others.is_empty() {
            return;
        }
        let all = [std::slice::from_ref(&self.issuer), &self.others].concat();
        let count = all.len();
        let begin = usize::try_from(self.record.failures / TRIES).unwrap_or_default();
        let turns = (0..count).map(|turn| (begin + turn) % count);
        let frees = turns.map(|place| (self.free_at(now, &all[place]).max(now), place));
        // The first of those that are free first.
        let Some((_, chosen)) = frees.min_by_key(|(at, _)| *at) else {
            return;
        };
        let mut others = all;
        self.issuer = others.remove(chosen);
        self.others = others;
    }

    /// Who signed the certificate that is there, where one of these did.
    pub fn signer(&self) -> Option<&Issuer> {
        let all = std::iter::once(&self.issuer).chain(&self.others);
        let mut all = all.filter(|issuer| self.declaration.check(issuer).is_ok());
        all.find(|issuer| self.declaration.fingerprint(issuer) == self.record.issued_for)
    }

    /// Whether there is nobody else to ask.
    pub fn is_alone(&self) -> bool {
        self.others.is_empty()
    }

    /// The first second in which an authority may be asked.
    fn free_at(&self, now: i64, issuer: &Issuer) -> i64 {
        let declared = self.declaration.fingerprint(issuer);
        let refused = self.record.refused_for.contains(&declared);
        if refused || self.declaration.check(issuer).is_err() {
            return i64::MAX;
        }
        let kept = issuer.ledger.as_ref().map(Sensitive::expose);
        let ledger = Ledger::parse(kept.unwrap_or_default());
        let free = ledger.free_at(now, &self.declaration.names, self.is_again());
        let left_alone = self.record.left_alone.get(&issuer.directory);
        let left_alone = left_alone.copied().unwrap_or_default();
        left_alone.max(free.map_or(0, |(at, _)| at))
    }
}

/// How often one is asked in vain before another is.
const TRIES: u32 = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cert::example::{NOW, issued};
    use crate::cert::record::{Failure, Tried};

    /// A certificate that two others may sign as well.
    fn subject() -> Subject {
        let mut subject = issued(70);
        for name in ["https://second.org", "https://third.org"] {
            let issuer = Issuer {
                directory: name.to_owned(),
                ..subject.issuer.clone()
            };
            subject.others.push(issuer);
        }
        subject
    }

    /// Who is asked, after each of these failures of whoever was asked before.
    fn asked(failures: &[(Failure, Option<u64>)]) -> Vec<String> {
        let first = subject();
        let mut record = first.record.clone();
        let mut turns = Vec::new();
        for place in 0..=failures.len() {
            let mut subject = first.clone();
            subject.record = record.clone();
            subject.take_turn(NOW);
            turns.push(subject.issuer.directory.clone());
            if let Some((failure, told_s)) = failures.get(place) {
                let tried = Tried {
                    declared: &subject.declaration.fingerprint(&subject.issuer),
                    directory: &subject.issuer.directory,
                    alone: false,
                };
                record.fail(NOW, *failure, "because".to_owned(), &tried, *told_s);
            }
        }
        turns
    }

    const FIRST: &str = "https://ca.org";
    const SECOND: &str = "https://second.org";
    const THIRD: &str = "https://third.org";

    #[test]
    fn each_has_two_tries_before_the_next() {
        let turns = asked(&[(Failure::Transient, None); 6]);
        let expect = [FIRST, FIRST, SECOND, SECOND, THIRD, THIRD, FIRST];
        assert_eq!(turns, expect);
    }

    #[test]
    fn one_that_refuses_is_passed_over_until_all_do() {
        let turns = asked(&[(Failure::Refused, None); 2]);
        assert_eq!(turns, [FIRST, SECOND, THIRD]);
    }

    #[test]
    fn one_that_wants_to_be_left_alone_is_and_another_is_asked_at_once() {
        let turns = asked(&[
            (Failure::Transient, Some(86_400)),
            (Failure::Transient, None),
        ]);
        assert_eq!(turns, [FIRST, SECOND, SECOND]);
        let mut subject = subject();
        let tried = Tried {
            declared: "",
            directory: FIRST,
            alone: false,
        };
        let told_s = Some(86_400);
        let because = "because".to_owned();
        let failure = Failure::Transient;
        subject.record.fail(NOW, failure, because, &tried, told_s);
        assert_eq!(subject.record.next_try, NOW + 60);
    }

    #[test]
    fn the_one_whose_limits_are_used_up_is_passed_over() {
        let mut subject = subject();
        let mut ledger = Ledger::default();
        for _ in 0..5 {
            ledger.certificate(NOW, &subject.declaration.names, true);
        }
        subject.issuer.ledger = Some(Sensitive::new(ledger.text()));
        subject.take_turn(NOW);
        assert_eq!(subject.issuer.directory, SECOND);
    }

    #[test]
    fn a_certificate_of_one_that_stood_in_is_good_until_it_has_to_be_renewed() {
        let mut subject = subject();
        let declared = subject.declaration.fingerprint(&subject.others[0]);
        subject.record.issued_for = declared;
        subject.take_turn(NOW);
        assert_eq!(subject.issuer.directory, FIRST);
        assert_eq!(
            subject.signer().map(|one| one.directory.as_str()),
            Some(SECOND)
        );
    }
}
