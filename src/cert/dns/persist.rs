//! PURE: the record that stands in the DNS for good and names the account that may have
//! certificates (draft-ietf-acme-dns-persist). It is published by people; here is told what it has
//! to say, and whether it says that.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::cert::declaration::{Declaration, Issuer};
use crate::cert::method::Method;
use crate::cert::names::is_wildcard;
use crate::inventory::Sensitive;

/// A record that has to stand.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Standing {
    /// Where it stands, with a dot at its end.
    pub name: String,
    /// Whether it has to hold for a wildcard, too.
    pub wildcard: bool,
}

/// The records that have to stand for the names of a certificate.
pub fn standing(declaration: &Declaration, issuer: &Issuer, failures: u32) -> Vec<Standing> {
    let methods = declaration.methods(issuer);
    let persists =
        |name: &&String| Method::choose(methods, name, failures) == Some(Method::DnsPersist01);
    let mut hosts: BTreeMap<&str, bool> = BTreeMap::new();
    for name in declaration.names.iter().filter(persists) {
        let host = name.strip_prefix("*.").unwrap_or(name);
        *hosts.entry(host).or_default() |= is_wildcard(name);
    }
    let all = hosts.into_iter().map(|(host, wildcard)| Standing {
        name: format!("_validation-persist.{host}."),
        wildcard,
    });
    all.collect()
}

impl Standing {
    /// What the record says, of the authority with this name and of this account.
    pub fn text(&self, authority: &str, account: &str) -> String {
        let policy = if self.wildcard {
            "; policy=wildcard"
        } else {
            ""
        };
        format!("{authority}; accounturi={account}{policy}")
    }

    /// Whether a text of a record is what has to stand there, for an authority that goes by any
    /// of these names.
    ///
    /// # Errors
    /// What it lacks, as the end of a sentence; empty where it is about another authority.
    pub fn fits(
        &self,
        text: &str,
        authorities: &[String],
        account: &str,
        now: i64,
    ) -> Result<(), String> {
        let mut parts = text.split(';').map(str::trim);
        let of = parts.next().unwrap_or_default().trim_end_matches('.');
        if !authorities.iter().any(|one| one.eq_ignore_ascii_case(of)) {
            return Err(String::new());
        }
        let mut said: BTreeMap<String, &str> = BTreeMap::new();
        for part in parts.filter(|part| !part.is_empty()) {
            let (tag, value) = part.split_once('=').unwrap_or((part, ""));
            let tag = tag.trim().to_ascii_lowercase();
            if said.insert(tag.clone(), value.trim()).is_some() {
                return Err(format!("says {tag:?} twice"));
            }
        }
        if said.get("accounturi").copied() != Some(account) {
            return Err("is for another account".to_owned());
        }
        let policy = said.get("policy").copied().unwrap_or_default();
        if self.wildcard && !policy.eq_ignore_ascii_case("wildcard") {
            return Err("has no policy=wildcard".to_owned());
        }
        match said.get("persistuntil").map(|until| until.parse::<i64>()) {
            None => Ok(()),
            Some(Ok(until)) if until > now => Ok(()),
            Some(_) => Err("was to stand until a time that is over".to_owned()),
        }
    }
}

/// The records to publish, as lines for people. The account is known when it was made, and the
/// name of the authority where the issuer has it.
pub fn lines(declaration: &Declaration, issuer: &Issuer, failures: u32) -> String {
    let authority = issuer.dns.issuer_domain.as_deref();
    let authority = authority.unwrap_or("<the authority's name, of its caaIdentities>");
    let account = issuer.account.as_ref().and_then(address);
    let account = account.as_deref();
    let account = account.unwrap_or("<the account's address, told when it is made>");
    let all = standing(declaration, issuer, failures).into_iter();
    let lines = all.map(|one| {
        let text = one.text(authority, account);
        format!("  needs the record {} TXT \"{text}\"\n", one.name)
    });
    lines.collect()
}

/// The address of an account of which this is kept.
fn address(kept: &Sensitive) -> Option<String> {
    let kept: Value = serde_json::from_str(kept.expose()).ok()?;
    Some(kept["id"].as_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCOUNT: &str = "https://ca.org/acct/1";

    fn check(wildcard: bool, text: &str) -> Result<(), String> {
        let name = "_validation-persist.a.org.".to_owned();
        let one = Standing { name, wildcard };
        one.fits(text, &["ca.org".to_owned()], ACCOUNT, 1_000)
    }

    #[test]
    fn what_is_told_to_be_published_fits() {
        for wildcard in [false, true] {
            let name = String::new();
            let text = Standing { name, wildcard }.text("ca.org", ACCOUNT);
            assert_eq!(check(wildcard, &text), Ok(()), "{text}");
        }
    }

    #[test]
    fn what_a_record_lacks_is_told() {
        let other = "ca.net; accounturi=https://ca.org/acct/1";
        assert_eq!(check(false, other), Err(String::new()));
        let spaced = " CA.org. ;  AccountURI = https://ca.org/acct/1 ; policy=Wildcard;";
        assert_eq!(check(true, spaced), Ok(()));
        for (text, told) in [
            ("ca.org", "another account"),
            (
                "ca.org; accounturi=https://ca.org/acct/2",
                "another account",
            ),
            ("ca.org; accounturi=x; accounturi=y", "\"accounturi\" twice"),
            (
                "ca.org; accounturi=https://ca.org/acct/1",
                "policy=wildcard",
            ),
            (
                "ca.org; accounturi=https://ca.org/acct/1; policy=wildcard; persistUntil=999",
                "is over",
            ),
        ] {
            let reason = check(true, text).unwrap_err();
            assert!(reason.contains(told), "{text}: {reason}");
        }
        let until = "ca.org; accounturi=https://ca.org/acct/1; persistUntil=1001; new=x";
        assert_eq!(check(false, until), Ok(()));
    }
}
