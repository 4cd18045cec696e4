//! PURE: a certificate to plan for, as the tests of this folder have it.

use super::declaration::{Declaration, Issuer, KeyKind};
use super::dns::settings::Dns;
use super::leaf::Leaf;
use super::method::Method;
use super::plan::Subject;
use super::record::Record;

pub(super) const DAY: i64 = 86_400;
pub(super) const NOW: i64 = 1_000 * DAY;

/// A certificate of 90 days that was issued so many days ago.
pub(super) fn issued(days_ago: i64) -> Subject {
    let mut subject = Subject {
        declaration: Declaration {
            path: "test/sec/front".parse().unwrap(),
            names: ["a.org".to_owned()].into(),
            issuer: "test/sec/le".parse().unwrap(),
            key: KeyKind::P256,
            profile: None,
            methods: Vec::new(),
            reuse_key: false,
            settles_at: None,
        },
        issuer: Issuer {
            path: "test/sec/le".parse().unwrap(),
            directory: "https://ca.org".to_owned(),
            contact: Vec::new(),
            profile: None,
            methods: vec![Method::Http01],
            external: None,
            ca_bundle: None,
            allow: Vec::new(),
            fallback: None,
            preferred_roots: None,
            dns: Dns::default(),
            account: None,
            ledger: None,
        },
        others: Vec::new(),
        leaf: Some(Leaf {
            serial: "01".to_owned(),
            identifier: Some("aki.serial".to_owned()),
            not_before: NOW - days_ago * DAY,
            not_after: NOW + (90 - days_ago) * DAY,
            names: ["a.org".to_owned()].into(),
            self_signed: false,
        }),
        record: Record::default(),
        journal: None,
    };
    let declared = subject.declaration.fingerprint(&subject.issuer);
    subject.record.succeed("01", &declared);
    subject
}
