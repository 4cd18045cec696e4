//! PURE: what is done next for a certificate, and when. Nothing is asked of an authority to find
//! out.

use super::declaration::{Declaration, Issuer};
use super::leaf::Leaf;
use super::record::{Journal, Ledger, Record};
use super::schedule::renew_at;
use crate::inventory::Problem;

/// All that is known of one certificate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Subject {
    /// What is asked for.
    pub declaration: Declaration,
    /// Of whom.
    pub issuer: Issuer,
    /// What is there; `None` where there is no usable pair.
    pub leaf: Option<Leaf>,
    /// What became of the last tries.
    pub record: Record,
    /// The order that is under way.
    pub journal: Option<Journal>,
}

/// What is done next.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Step {
    /// The order that is under way goes on.
    Resume,
    /// A new certificate is ordered.
    Order {
        /// The certificate that it takes the place of, as its authority knows it.
        replaces: Option<String>,
    },
    /// Nothing, before something else is declared.
    Refuse,
}

/// The next step, when it is due, and why.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Plan {
    /// What is done.
    pub step: Step,
    /// In which second since 1970, or as soon as possible after it.
    pub at: i64,
    /// Why, for people.
    pub why: String,
}

/// What is done next for a certificate.
///
/// # Errors
/// The problem that stands in the way of any order.
pub fn plan(now: i64, subject: &Subject, ledger: &Ledger) -> Result<Plan, Problem> {
    let Subject {
        declaration,
        issuer,
        record,
        journal,
        ..
    } = subject;
    declaration.check(issuer)?;
    let declared = declaration.fingerprint(issuer);
    let journal = journal.as_ref();
    let under_way = journal.filter(|one| one.ordered_for == declared && !one.order.is_empty());
    let claimed = journal.filter(|one| one.order.is_empty());
    let claimed = claimed.map(|one| one.claimed_at.min(now).saturating_add(CLAIM_S));
    let (due, why) = match due(now, subject, &declared) {
        (due, _) if under_way.is_some() => (due.min(now), "an order is under way".to_owned()),
        due => due,
    };
    if record.refused_for == declared {
        return Ok(Plan {
            step: Step::Refuse,
            at: i64::MAX,
            why: format!(
                "the authority refuses it as it is declared: {}",
                record.error
            ),
        });
    }
    let mut plan = Plan {
        step: match under_way {
            Some(_) => Step::Resume,
            None => Step::Order {
                replaces: replaces(subject, &declared),
            },
        },
        at: due,
        why,
    };
    if record.next_try > plan.at.max(now) && record.failures > 0 {
        plan.at = record.next_try;
        plan.why = format!("{}; the last try failed: {}", plan.why, record.error);
    }
    if let Some(until) = claimed.filter(|until| *until > plan.at.max(now)) {
        plan.at = until;
        plan.why = format!("{}; another operator is about to order it", plan.why);
    }
    // What is under way was counted when it began; a renewal that says what it replaces counts
    // for no limit (letsencrypt.org, rate limits).
    if plan.step == (Step::Order { replaces: None })
        && let Some((free, limit)) = ledger.free_at(plan.at.max(now), &declaration.names)
    {
        plan.at = plan.at.max(free);
        plan.why = format!("{}; waits for a limit: {limit}", plan.why);
    }
    Ok(plan)
}

/// Since when a certificate is needed, or until when the one that is there will do.
fn due(now: i64, subject: &Subject, declared: &str) -> (i64, String) {
    let Subject {
        declaration,
        leaf,
        record,
        ..
    } = subject;
    let Some(leaf) = leaf else {
        return (now, "there is no certificate".to_owned());
    };
    if leaf.self_signed {
        return (now, "there is only a placeholder".to_owned());
    }
    if leaf.names != declaration.names {
        return (now, "other names are declared than it has".to_owned());
    }
    // One that somebody put there is as good as ours while it lasts.
    let ours = leaf.serial == record.serial;
    if ours && record.issued_for != declared {
        return (now, "something else is declared than was issued".to_owned());
    }
    let window = record.window.as_ref().filter(|_| ours);
    let at = renew_at(leaf, window);
    match at <= now {
        true => (at, "it has to be renewed".to_owned()),
        false => (at, "it is good".to_owned()),
    }
}

/// Only an authority that knows about renewal windows takes a hint at what is replaced.
fn replaces(subject: &Subject, declared: &str) -> Option<String> {
    let (leaf, record) = (subject.leaf.as_ref()?, &subject.record);
    let ours = leaf.serial == record.serial && record.issued_for == declared;
    (ours && record.window.is_some() && record.failures == 0)
        .then(|| leaf.identifier.clone())
        .flatten()
}

/// How long somebody who set out to make an order may take to make it, before another does.
pub const CLAIM_S: i64 = 30;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::cert::declaration::KeyKind;
    use crate::cert::dns::settings::Dns;
    use crate::cert::method::Method;
    use crate::cert::record::Failure;
    use crate::cert::schedule::Window;
    use crate::inventory::Sensitive;

    const DAY: i64 = 86_400;
    const NOW: i64 = 1_000 * DAY;

    fn names(text: &str) -> BTreeSet<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    fn declared(subject: &Subject) -> String {
        subject.declaration.fingerprint(&subject.issuer)
    }

    /// A certificate of 90 days that was issued so many days ago.
    fn issued(days_ago: i64) -> Subject {
        let mut subject = Subject {
            declaration: Declaration {
                path: "test/sec/front".parse().unwrap(),
                names: names("a.org"),
                issuer: "test/sec/le".parse().unwrap(),
                key: KeyKind::P256,
                profile: None,
                methods: Vec::new(),
            },
            issuer: Issuer {
                path: "test/sec/le".parse().unwrap(),
                directory: "https://ca.org".to_owned(),
                contact: Vec::new(),
                profile: None,
                methods: vec![Method::Http01],
                dns: Dns::default(),
                external: None,
                ca_bundle: None,
                allow: Vec::new(),
                account: None,
                ledger: None,
            },
            leaf: Some(Leaf {
                serial: "01".to_owned(),
                identifier: Some("aki.serial".to_owned()),
                not_before: NOW - days_ago * DAY,
                not_after: NOW + (90 - days_ago) * DAY,
                names: names("a.org"),
                self_signed: false,
            }),
            record: Record::default(),
            journal: None,
        };
        let declared = declared(&subject);
        subject.record.succeed("01", &declared);
        subject
    }

    /// What is done in how many days from now, of a subject that was changed.
    #[track_caller]
    fn check(days_ago: i64, change: impl Fn(&mut Subject), expect: (&str, i64), told: &str) {
        let mut subject = issued(days_ago);
        change(&mut subject);
        let plan = plan(NOW, &subject, &Ledger::default()).unwrap();
        let step = match &plan.step {
            Step::Resume => "resume",
            Step::Order { replaces: None } => "order",
            Step::Order { .. } => "replace",
            Step::Refuse => "refuse",
        };
        let days = match plan.step {
            Step::Refuse => 0,
            _ => (plan.at.max(NOW) - NOW) / DAY,
        };
        assert_eq!((step, days), expect, "{plan:?}");
        assert!(plan.why.contains(told), "{plan:?}");
    }

    fn nothing(_: &mut Subject) {}

    #[test]
    fn what_is_done_when() {
        // The jitter of this serial number makes it a little less than 60.
        check(0, nothing, ("order", 58), "it is good");
        check(50, nothing, ("order", 8), "it is good");
        check(70, nothing, ("order", 0), "has to be renewed");
        check(0, |s| s.leaf = None, ("order", 0), "no certificate");
        check(
            0,
            |s| s.leaf.as_mut().unwrap().self_signed = true,
            ("order", 0),
            "placeholder",
        );
        check(
            0,
            |s| s.declaration.names = names("a.org b.org"),
            ("order", 0),
            "other names",
        );
        check(
            0,
            |s| s.declaration.key = KeyKind::P384,
            ("order", 0),
            "something else",
        );
        check(
            0,
            |s| s.issuer.directory.push('2'),
            ("order", 0),
            "something else",
        );
        check(
            0,
            |s| s.leaf.as_mut().unwrap().serial.push('2'),
            ("order", 61),
            "it is good",
        );
    }

    #[test]
    fn a_window_moves_the_renewal_and_tells_what_is_replaced() {
        let window = |start, end| {
            move |subject: &mut Subject| {
                let (start, end) = (NOW + start * DAY, NOW + end * DAY);
                subject.record.window = Some(Window { start, end });
            }
        };
        check(10, window(20, 21), ("replace", 20), "it is good");
        check(10, window(-2, -1), ("replace", 0), "has to be renewed");
        check(10, window(2, 1), ("replace", 48), "it is good");
        check(10, window(500, 501), ("replace", 48), "it is good");
    }

    #[test]
    fn a_failure_waits_and_a_refusal_waits_for_another_declaration() {
        let fail = |failure, told| {
            move |subject: &mut Subject| {
                let declared = declared(subject);
                let record = &mut subject.record;
                record.fail(NOW, failure, "because".to_owned(), &declared, told);
            }
        };
        let transient = |told| fail(Failure::Transient, told);
        check(
            70,
            transient(None),
            ("order", 0),
            "the last try failed: because",
        );
        check(70, transient(Some(2 * 86_400)), ("order", 2), "because");
        check(70, fail(Failure::Refused, None), ("refuse", 0), "because");
        let mended = |subject: &mut Subject| {
            fail(Failure::Refused, None)(subject);
            subject.declaration.names = names("b.org");
            subject.record.next_try = 0;
        };
        check(70, mended, ("order", 0), "other names");
    }

    #[test]
    fn an_order_that_is_under_way_goes_on_unless_something_else_is_declared() {
        let begun = |subject: &mut Subject| {
            subject.leaf = None;
            subject.journal = Some(Journal {
                order: "https://ca.org/1".to_owned(),
                claimed_at: NOW,
                ordered_for: declared(subject),
                key: Sensitive::new(String::new()),
            });
        };
        check(0, begun, ("resume", 0), "under way");
        let changed = |subject: &mut Subject| {
            begun(subject);
            subject.declaration.names = names("b.org");
        };
        check(0, changed, ("order", 0), "no certificate");
    }

    #[test]
    fn an_order_that_somebody_else_is_about_to_make_is_left_to_them_for_a_while() {
        let at = |claimed_at| {
            let mut subject = issued(0);
            subject.leaf = None;
            subject.journal = Some(Journal {
                order: String::new(),
                claimed_at,
                ordered_for: declared(&subject),
                key: Sensitive::new(String::new()),
            });
            let plan = plan(NOW, &subject, &Ledger::default()).unwrap();
            assert_eq!(plan.step, Step::Order { replaces: None });
            plan.at - NOW
        };
        assert_eq!(at(NOW - 10), CLAIM_S - 10);
        assert_eq!(at(NOW - CLAIM_S), 0);
        // Whose clock is ahead does not claim for longer.
        assert_eq!(at(NOW + 1_000), CLAIM_S);
    }

    #[test]
    fn orders_wait_for_the_limits_and_renewals_that_say_what_they_replace_do_not() {
        let mut ledger = Ledger::default();
        for _ in 0..5 {
            ledger.certificate(NOW, &names("a.org"));
        }
        let mut subject = issued(70);
        let waits = plan(NOW, &subject, &ledger).unwrap();
        assert_eq!(waits.at, NOW + 7 * DAY);
        assert!(
            waits.why.contains("5 certificates for the same names"),
            "{}",
            waits.why
        );
        subject.record.window = Some(Window {
            start: NOW - 2,
            end: NOW - 1,
        });
        assert!(plan(NOW, &subject, &ledger).unwrap().at <= NOW);
    }

    #[test]
    fn a_wildcard_is_refused_before_anything_is_ordered() {
        let mut subject = issued(70);
        subject.declaration.names = names("*.a.org");
        let problem = plan(NOW, &subject, &Ledger::default()).unwrap_err();
        assert!(problem.to_string().contains("DNS challenge"), "{problem}");
    }
}
