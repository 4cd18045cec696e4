//! PURE: what is kept in the `sec` objects themselves, so that a restart costs nothing: what
//! became of the last tries, the order that is under way with its key, and what was asked of an
//! authority lately. A text that cannot be read counts as absent: it is written anew.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::schedule::{Window, retry_after};
use crate::inventory::Sensitive;

/// What became of the last tries for one certificate.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct Record {
    /// What was declared when the certificate was written.
    pub issued_for: String,
    /// Its serial number.
    pub serial: String,
    /// The failures since the last success.
    pub failures: u32,
    /// No order before this second.
    pub next_try: i64,
    /// What was said last of a failure; empty after a success.
    pub error: String,
    /// What was declared when an authority said that trying again is of no use.
    pub refused_for: BTreeSet<String>,
    /// Until when authorities want to be left alone, by their directory.
    pub left_alone: BTreeMap<String, i64>,
    /// When the authority would like it to be renewed.
    pub window: Option<Window>,
    /// When a handshake with every gateway showed it; 0 before.
    pub deployed: i64,
}

/// An order that is under way.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Journal {
    /// The address of the order; empty while it is about to be made.
    pub order: String,
    /// When somebody set out to make it.
    pub claimed_at: i64,
    /// What was declared when it was made.
    pub ordered_for: String,
    /// The private key that the certificate will be for, in PEM.
    pub key: Sensitive,
}

/// How a try failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Failure {
    /// It may work another time.
    Transient,
    /// It cannot work before something else is declared.
    Refused,
}

/// Which authority was asked for what.
#[derive(Clone, Copy, Debug)]
pub struct Tried<'a> {
    /// What was declared.
    pub declared: &'a str,
    /// The address of its directory.
    pub directory: &'a str,
    /// Whether nobody else can be asked.
    pub alone: bool,
}

impl Record {
    /// Reads what was written.
    pub fn parse(text: &str) -> Self {
        serde_json::from_str(text).unwrap_or_default()
    }

    /// The text to write.
    pub fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Notes a failure; `told_s` is for how long the authority wants to be left alone.
    pub fn fail(
        &mut self,
        now: i64,
        failure: Failure,
        error: String,
        tried: &Tried<'_>,
        told_s: Option<u64>,
    ) {
        self.failures = self.failures.saturating_add(1);
        self.left_alone.retain(|_, until| *until > now);
        if let Some(told_s) = told_s {
            let until = now.saturating_add(retry_after(1, Some(told_s)));
            self.left_alone.insert(tried.directory.to_owned(), until);
        }
        // Another one is not kept waiting.
        let told_s = told_s.filter(|_| tried.alone);
        self.next_try = now.saturating_add(retry_after(self.failures, told_s));
        self.error = error;
        if failure == Failure::Refused {
            self.refused_for.insert(tried.declared.to_owned());
        }
    }

    /// Notes that a certificate was written.
    pub fn succeed(&mut self, serial: &str, declared: &str) {
        *self = Self {
            issued_for: declared.to_owned(),
            serial: serial.to_owned(),
            ..Self::default()
        };
    }
}

/// The shape of a journal's text: the key is shown here and nowhere else.
#[derive(Deserialize, Serialize)]
struct JournalText<'a> {
    order: String,
    claimed_at: i64,
    ordered_for: String,
    key: std::borrow::Cow<'a, str>,
}

impl Journal {
    /// Reads what was written; `None` where nothing is under way.
    pub fn parse(text: &Sensitive) -> Option<Self> {
        let read: JournalText<'_> = serde_json::from_str(text.expose()).ok()?;
        Some(Self {
            order: read.order,
            claimed_at: read.claimed_at,
            ordered_for: read.ordered_for,
            key: Sensitive::new(read.key.into_owned()),
        })
    }

    /// The text to write.
    pub fn text(&self) -> Sensitive {
        let text = serde_json::to_string(&JournalText {
            order: self.order.clone(),
            claimed_at: self.claimed_at,
            ordered_for: self.ordered_for.clone(),
            key: self.key.expose().into(),
        });
        Sensitive::new(text.unwrap_or_default())
    }
}

/// What was asked of an authority lately, so that its limits are kept instead of met. The numbers
/// are those that Let's Encrypt publishes, and no other authority is asked more either.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct Ledger {
    /// The orders, in seconds since 1970.
    orders: Vec<i64>,
    /// The certificates, by their names.
    certificates: BTreeMap<String, Vec<i64>>,
    /// The certificates that were not for the same names as one before, by the domains that
    /// somebody registered.
    domains: BTreeMap<String, Vec<i64>>,
    /// The names whose validation failed.
    failures: BTreeMap<String, Vec<i64>>,
}

impl Ledger {
    /// Reads what was written.
    pub fn parse(text: &str) -> Self {
        serde_json::from_str(text).unwrap_or_default()
    }

    /// The text to write.
    pub fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Notes an order.
    pub fn order(&mut self, now: i64) {
        self.forget(now);
        self.orders.push(now);
    }

    /// Notes a certificate; `again` is one for the same names as the one before.
    pub fn certificate(&mut self, now: i64, names: &BTreeSet<String>, again: bool) {
        self.certificates.entry(set(names)).or_default().push(now);
        for domain in registered(names).filter(|_| !again) {
            self.domains.entry(domain).or_default().push(now);
        }
    }

    /// Notes that names were not found to be ours.
    pub fn failure(&mut self, now: i64, names: &[String]) {
        for name in names {
            self.failures.entry(name.clone()).or_default().push(now);
        }
    }

    /// The first second in which an order for these names keeps every limit, and which limit it
    /// waits for. One for the same names `again` is counted with its own kind alone
    /// (letsencrypt.org, rate limits, non-ARI renewals).
    pub fn free_at(
        &self,
        now: i64,
        names: &BTreeSet<String>,
        again: bool,
    ) -> Option<(i64, &'static str)> {
        let own = self.certificates.get(&set(names));
        let failures = names.iter().filter_map(|name| self.failures.get(name));
        let failures = failures.filter_map(|times| ORDER_FAILURES.free_at(now, times));
        let domains = registered(names).filter_map(|domain| self.domains.get(&domain));
        let domains = domains.filter_map(|times| SAME_DOMAIN.free_at(now, times));
        let first = [ORDERS.free_at(now, &self.orders), domains.max()];
        let each = [
            own.and_then(|times| SAME_NAMES.free_at(now, times)),
            failures.max(),
        ];
        let first = first.into_iter().filter(|_| !again);
        first.chain(each).flatten().max()
    }

    /// What an order for these names costs of the limits.
    pub fn costs(&self, now: i64, names: &BTreeSet<String>, again: bool) -> String {
        let count = |limit: Limit, times: &[i64]| {
            times.iter().filter(|at| limit.counts(now, **at)).count() + 1
        };
        let own = self.certificates.get(&set(names));
        let number = count(SAME_NAMES, own.map_or(&[], Vec::as_slice));
        let mut costs = format!("number {number} of {}", SAME_NAMES.name);
        if again {
            return costs;
        }
        let mut cost =
            |number: usize, of: &str| costs = format!("{costs}, number {number} of {of}");
        cost(count(ORDERS, &self.orders), ORDERS.name);
        for domain in registered(names) {
            let times = self.domains.get(&domain);
            let number = count(SAME_DOMAIN, times.map_or(&[], Vec::as_slice));
            cost(number, &format!("{} ({domain})", SAME_DOMAIN.name));
        }
        costs
    }

    fn forget(&mut self, now: i64) {
        self.orders.retain(|at| ORDERS.counts(now, *at));
        let keep = |limit: Limit, all: &mut BTreeMap<String, Vec<i64>>| {
            for times in all.values_mut() {
                times.retain(|at| limit.counts(now, *at));
            }
            all.retain(|_, times| !times.is_empty());
        };
        keep(SAME_NAMES, &mut self.certificates);
        keep(SAME_DOMAIN, &mut self.domains);
        keep(ORDER_FAILURES, &mut self.failures);
    }
}

fn set(names: &BTreeSet<String>) -> String {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    names.join(" ")
}

/// The domains that somebody registered, by the public suffix list; an address has none.
fn registered(names: &BTreeSet<String>) -> impl Iterator<Item = String> {
    let names = names.iter().filter(|name| name.parse::<IpAddr>().is_err());
    let domains = names.filter_map(|name| psl::domain_str(name.trim_start_matches("*.")));
    BTreeSet::from_iter(domains.map(str::to_owned)).into_iter()
}

/// So many in each so many seconds.
#[derive(Clone, Copy)]
struct Limit {
    count: usize,
    per_s: i64,
    name: &'static str,
}

impl Limit {
    fn counts(self, now: i64, at: i64) -> bool {
        at <= now && now - at < self.per_s
    }

    fn free_at(self, now: i64, times: &[i64]) -> Option<(i64, &'static str)> {
        let mut times: Vec<i64> = times
            .iter()
            .copied()
            .filter(|at| self.counts(now, *at))
            .collect();
        times.sort_unstable();
        let over = times.len().checked_sub(self.count)?;
        Some((times.get(over)?.saturating_add(self.per_s), self.name))
    }
}

const ORDERS: Limit = Limit {
    count: 300,
    per_s: 3 * 3_600,
    name: "300 orders in 3 hours",
};
const SAME_NAMES: Limit = Limit {
    count: 5,
    per_s: 7 * 86_400,
    name: "5 certificates for the same names in 7 days",
};
const SAME_DOMAIN: Limit = Limit {
    count: 50,
    per_s: 7 * 86_400,
    name: "50 certificates for the same domain in 7 days",
};
const ORDER_FAILURES: Limit = Limit {
    count: 5,
    per_s: 3_600,
    name: "5 failed validations of a name in an hour",
};

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> BTreeSet<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn a_journal_reads_back_and_does_not_show_its_key() {
        let journal = Journal {
            order: "https://ca/order/1".to_owned(),
            claimed_at: 7,
            ordered_for: "a.org".to_owned(),
            key: Sensitive::new("-----BEGIN PRIVATE KEY-----\nhunter2\n".to_owned()),
        };
        assert_eq!(Journal::parse(&journal.text()), Some(journal.clone()));
        assert!(!format!("{journal:?}").contains("hunter2"));
        assert_eq!(Journal::parse(&Sensitive::new(String::new())), None);
    }

    #[test]
    fn a_record_reads_back_and_garbage_is_none() {
        let mut record = Record::default();
        let tried = Tried {
            declared: "a.org",
            directory: "https://ca.org",
            alone: true,
        };
        record.fail(100, Failure::Refused, "no".to_owned(), &tried, None);
        assert_eq!(Record::parse(&record.text()), record);
        assert_eq!(record.next_try, 160);
        assert_eq!(Record::parse("{half"), Record::default());
        assert_eq!(Record::parse("{\"failures\": \"x\"}"), Record::default());
    }

    #[test]
    fn the_sixth_certificate_for_the_same_names_waits_and_another_does_not() {
        let mut ledger = Ledger::default();
        for at in 0..5 {
            assert_eq!(ledger.free_at(at, &names("a b"), false), None);
            ledger.certificate(at, &names("a b"), false);
        }
        let waits = ledger.free_at(10, &names("a b"), false);
        assert_eq!(waits.map(|(at, _)| at), Some(7 * 86_400));
        assert_eq!(ledger.free_at(10, &names("a"), false), None);
        assert_eq!(ledger.free_at(7 * 86_400, &names("a b"), false), None);
        assert_eq!(Ledger::parse(&ledger.text()), ledger);
    }

    #[test]
    fn the_fifty_first_certificate_of_a_domain_waits_and_a_renewal_does_not() {
        let mut ledger = Ledger::default();
        for at in 0..50 {
            let name = format!("n{at}.shop.acme.co.uk");
            ledger.certificate(at, &names(&name), false);
        }
        for at in 0..100 {
            ledger.certificate(at, &names(&format!("n{at}.acme.org")), true);
        }
        let free_at = |text: &str, again| ledger.free_at(100, &names(text), again);
        let waits = Some((7 * 86_400, SAME_DOMAIN.name));
        assert_eq!(free_at("*.acme.co.uk other.org", false), waits);
        assert_eq!(free_at("new.acme.co.uk", true), None);
        assert_eq!(free_at("new.other.co.uk", false), None);
        assert_eq!(free_at("new.acme.org", false), None);
        let costs = ledger.costs(100, &names("new.acme.co.uk 192.0.2.1"), false);
        let told = "number 51 of 50 certificates for the same domain in 7 days (acme.co.uk)";
        assert!(costs.ends_with(told), "{costs}");
    }

    #[test]
    fn a_name_that_fails_waits_and_takes_no_other_along() {
        let mut ledger = Ledger::default();
        for at in 0..5 {
            ledger.failure(at * 60, &["bad.org".to_owned()]);
        }
        let waits = ledger.free_at(300, &names("bad.org good.org"), false);
        assert_eq!(waits.map(|(at, _)| at), Some(3_600));
        assert_eq!(ledger.free_at(300, &names("good.org"), false), None);
    }

    #[test]
    fn what_is_long_over_is_forgotten() {
        let mut ledger = Ledger::default();
        for at in 0..300 {
            ledger.order(at);
        }
        ledger.certificate(0, &names("a"), false);
        let waits = ledger.free_at(300, &names("a"), false);
        assert_eq!(waits, Some((3 * 3_600, "300 orders in 3 hours")));
        ledger.order(8 * 86_400);
        let text = format!(
            "{{\"orders\":[{}],\"certificates\":{{}},\"domains\":{{}},\"failures\":{{}}}}",
            8 * 86_400
        );
        assert_eq!(ledger.text(), text);
    }
}
