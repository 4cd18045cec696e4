//! PURE: whether the records of a domain let an authority make a certificate (RFC 8659, with the
//! parameters of RFC 8657). Where they are looked up is told in `lookup`.

/// One record, as it stands in the DNS.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Caa {
    /// Whether who does not know the tag has to refuse.
    pub critical: bool,
    /// What it is about.
    pub tag: String,
    /// What it says.
    pub value: String,
}

/// Who asks for what.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The names by which the authority is known.
    pub authorities: &'a [String],
    /// The address of the account there.
    pub account: &'a str,
    /// The challenge.
    pub method: &'a str,
    /// Whether it is for a wildcard.
    pub wildcard: bool,
}

/// The names where records for a name may stand, nearest first (RFC 8659, section 3).
pub fn climb(name: &str) -> Vec<&str> {
    let host = name.strip_prefix("*.").unwrap_or(name);
    let up = std::iter::successors(Some(host), |name| {
        name.split_once('.').map(|(_, rest)| rest)
    });
    up.collect()
}

/// Whether the records of the nearest name that has any let the authority make a certificate.
///
/// # Errors
/// Why they do not, as the end of a sentence about them.
pub fn allows(records: &[Caa], asked: Asked<'_>) -> Result<(), String> {
    let unknown = records
        .iter()
        .find(|one| one.critical && !KNOWN.contains(&tag(one).as_str()));
    if let Some(one) = unknown {
        return Err(format!("have {:?}, which is critical and unknown", one.tag));
    }
    let of =
        |tagged: &str| -> Vec<&Caa> { records.iter().filter(|one| tag(one) == tagged).collect() };
    let mut issue = of("issue");
    if asked.wildcard && !of("issuewild").is_empty() {
        issue = of("issuewild");
    }
    if issue.is_empty() {
        return Ok(());
    }
    let mut reason = None;
    for one in &issue {
        match fits(&one.value, asked) {
            Ok(()) => return Ok(()),
            Err(why) => reason = why.or(reason),
        }
    }
    let names = asked.authorities.join(" or ");
    Err(reason.unwrap_or_else(|| format!("do not name {names}")))
}

/// Whether the value of one record is about who asks; else, where it is about the authority, why.
fn fits(value: &str, asked: Asked<'_>) -> Result<(), Option<String>> {
    let mut parts = value.split(';').map(str::trim);
    let of = parts.next().unwrap_or_default().trim_end_matches('.');
    if of.is_empty()
        || !asked
            .authorities
            .iter()
            .any(|one| one.eq_ignore_ascii_case(of))
    {
        return Err(None);
    }
    for part in parts {
        let (tag, value) = part.split_once('=').unwrap_or((part, ""));
        let value = value.trim();
        match tag.trim().to_ascii_lowercase().as_str() {
            "accounturi" if value != asked.account => {
                return Err(Some(format!("let {of} do it for another account")));
            }
            "validationmethods" if !value.split(',').any(|one| one.trim() == asked.method) => {
                return Err(Some(format!("let {of} do it, and not by {}", asked.method)));
            }
            _ => {}
        }
    }
    Ok(())
}

fn tag(record: &Caa) -> String {
    record.tag.to_ascii_lowercase()
}

const KNOWN: [&str; 6] = [
    "issue",
    "issuewild",
    "iodef",
    "issuemail",
    "contactemail",
    "contactphone",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn check(wildcard: bool, records: &[(&str, &str)]) -> Result<(), String> {
        let records: Vec<Caa> = records
            .iter()
            .map(|(tag, value)| Caa {
                critical: tag.starts_with('!'),
                tag: tag.trim_start_matches('!').to_owned(),
                value: (*value).to_owned(),
            })
            .collect();
        let asked = Asked {
            authorities: &["ca.org".to_owned()],
            account: "https://ca.org/1",
            method: "dns-01",
            wildcard,
        };
        allows(&records, asked)
    }

    #[test]
    fn records_are_looked_for_up_to_the_top() {
        assert_eq!(climb("*.b.a.org"), ["b.a.org", "a.org", "org"]);
        assert_eq!(climb("a.org"), ["a.org", "org"]);
    }

    #[test]
    fn who_is_named_may() {
        assert_eq!(check(false, &[]), Ok(()));
        assert_eq!(check(false, &[("iodef", "mailto:a@b")]), Ok(()));
        assert_eq!(
            check(false, &[("issue", "other.org"), ("Issue", " CA.org. ")]),
            Ok(())
        );
        assert_eq!(check(true, &[("issue", "ca.org")]), Ok(()));
        assert_eq!(
            check(true, &[("issue", ";"), ("issuewild", "ca.org")]),
            Ok(())
        );
        let own = "ca.org; accounturi=https://ca.org/1; validationmethods=http-01,dns-01";
        assert_eq!(check(false, &[("issue", own)]), Ok(()));
    }

    #[test]
    fn who_is_not_named_may_not() {
        for (wildcard, records, told) in [
            (false, &[("issue", "other.org")][..], "do not name ca.org"),
            (false, &[("issue", ";")], "do not name ca.org"),
            (
                true,
                &[("issue", "ca.org"), ("issuewild", ";")],
                "do not name ca.org",
            ),
            (
                false,
                &[("!future", "x"), ("issue", "ca.org")],
                "critical and unknown",
            ),
            (
                false,
                &[("issue", "ca.org; accounturi=x")],
                "for another account",
            ),
            (
                false,
                &[("issue", "ca.org;validationmethods=http-01")],
                "not by dns-01",
            ),
        ] {
            let reason = check(wildcard, records).unwrap_err();
            assert!(reason.contains(told), "{records:?}: {reason}");
        }
    }
}
