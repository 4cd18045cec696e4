//! PURE: the HTTP-01 challenges (RFC 8555, section 8.3) that a `cfg` object carries from the
//! certificate operator to every gateway. Who puts them there is no concern of this file.
//!
//! Nothing in a challenge is secret: whoever asks for its path is told all of it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{Inventory, Kind, ObjectPath, Secret, Sensitive};

/// What an authority looks for under one name.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Challenge {
    /// The name, as it stands in a certificate.
    pub name: String,
    /// The last part of the path that is asked for.
    pub token: String,
    /// The whole answer.
    pub key_authorization: String,
    /// Until when it is answered, in seconds since 1970.
    pub expires: i64,
}

/// The challenges of one object.
pub type Challenges = BTreeSet<Challenge>;

impl Challenge {
    /// The path that is asked for.
    pub fn path(&self) -> String {
        format!("/.well-known/acme-challenge/{}", self.token)
    }

    fn is_sound(&self) -> bool {
        let base64url = |text: &str| {
            let digit = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_');
            (1..=TOKEN_BYTES_MAX).contains(&text.len()) && text.bytes().all(digit)
        };
        let host = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b".-_:[]".contains(&c);
        let thumbprint = self.key_authorization.strip_prefix(&self.token);
        let thumbprint = thumbprint.and_then(|rest| rest.strip_prefix('.'));
        base64url(&self.token)
            && thumbprint.is_some_and(base64url)
            && (1..=NAME_BYTES_MAX).contains(&self.name.len())
            && self.name.bytes().all(host)
    }
}

/// The object of a namespace that carries its challenges.
pub fn carrier(namespace: &str) -> ObjectPath {
    ObjectPath::new(namespace, Kind::Cfg, CARRIER)
}

/// The name as a client writes it into the host of a request.
pub fn host(name: &str) -> String {
    match name.parse::<IpAddr>() {
        Ok(IpAddr::V6(address)) => format!("[{address}]"),
        _ => name.to_owned(),
    }
}

/// Whether this is an object that carries challenges.
pub fn is_carrier(path: &ObjectPath) -> bool {
    path.kind() == Kind::Cfg && path.name() == CARRIER
}

/// Reads the key of a carrier; one that is absent or empty has none.
///
/// # Errors
/// What is wrong, as the end of a sentence that begins with the object's name.
pub fn challenges(keys: &Secret) -> Result<Challenges, String> {
    let text = keys.get(KEY).map(Sensitive::expose).unwrap_or_default();
    if text.is_empty() {
        return Ok(Challenges::new());
    }
    let found: Challenges = serde_json::from_str(text)
        .map_err(|error| format!("has a {KEY} that is no list of challenges: {error}"))?;
    if found.len() > CHALLENGES_MAX {
        return Err(format!("has more than {CHALLENGES_MAX} challenges"));
    }
    match found.iter().position(|challenge| !challenge.is_sound()) {
        Some(place) => Err(format!(
            "has a challenge that is none: number {}",
            place + 1
        )),
        None => Ok(found),
    }
}

/// The text of a carrier's key.
pub fn text(challenges: &Challenges) -> String {
    serde_json::to_string(challenges).unwrap_or_default()
}

impl Inventory {
    /// Lets go of the challenges whose time is over; returns whether there were any.
    pub fn expire_challenges(&mut self, second: i64) -> bool {
        let mut any = false;
        for judged in self.challenges.values_mut() {
            if let Some(good) = &mut judged.good {
                let before = good.len();
                good.retain(|challenge| challenge.expires > second);
                any |= good.len() < before;
            }
        }
        for judged in self.alpn_answers.values_mut() {
            if let Some(good) = &mut judged.good {
                let before = good.len();
                good.retain(|_, answer| answer.expires > second);
                any |= good.len() < before;
            }
        }
        any
    }

    /// The second in which the next challenge is over.
    pub fn next_challenge_end(&self) -> Option<i64> {
        let good = self
            .challenges
            .values()
            .filter_map(|judged| judged.good.as_ref());
        let ends = good.flatten().map(|challenge| challenge.expires);
        let shown = self
            .alpn_answers
            .values()
            .filter_map(|judged| judged.good.as_ref());
        let shown = shown.flatten().map(|(_, answer)| answer.expires);
        ends.chain(shown).min()
    }
}

/// The key that the challenges are in.
pub const KEY: &str = "http-01";
/// The name of the objects that carry something from the operator to the gateways.
pub(super) const CARRIER: &str = "osvc-igw-acme";
/// More than an order of any authority can have names.
const CHALLENGES_MAX: usize = 1_000;
const NAME_BYTES_MAX: usize = 253;
const TOKEN_BYTES_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::{Judged, Reading};

    fn challenge(name: &str, expires: i64) -> Challenge {
        Challenge {
            name: name.to_owned(),
            token: "to-ken".to_owned(),
            key_authorization: "to-ken.thumb_print".to_owned(),
            expires,
        }
    }

    fn read(text: &str) -> Result<Challenges, String> {
        let value = Sensitive::new(text.to_owned());
        challenges(&Secret::from([(KEY.to_owned(), value)]))
    }

    #[test]
    fn what_is_written_reads_back() {
        let all = Challenges::from([challenge("a.org", 1), challenge("b.org", 2)]);
        assert_eq!(read(&text(&all)), Ok(all));
        assert_eq!(read(""), Ok(Challenges::new()));
        assert_eq!(challenges(&Secret::new()), Ok(Challenges::new()));
    }

    #[test]
    fn what_is_no_challenge_is_refused_as_a_whole() {
        let bad = |change: &dyn Fn(&mut Challenge)| {
            let mut one = challenge("a.org", 1);
            change(&mut one);
            assert!(
                read(&text(&Challenges::from([one.clone()]))).is_err(),
                "{one:?}"
            );
        };
        bad(&|one| one.token = "a/b".to_owned());
        bad(&|one| one.token = String::new());
        bad(&|one| one.key_authorization = "other.thumb".to_owned());
        bad(&|one| one.key_authorization = "to-ken.\r\nx: y".to_owned());
        bad(&|one| one.name = "A.org".to_owned());
        bad(&|one| one.name = "*".to_owned());
        for text in ["[", "{}", "[{}]", "[{\"name\": 1}]"] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_address_stands_in_brackets_in_a_host() {
        assert_eq!(host("fe80::1"), "[fe80::1]");
        assert_eq!(host("a.acme.org"), "a.acme.org");
    }

    #[test]
    fn a_challenge_is_over_in_its_last_second() {
        let mut inventory = Inventory::default();
        let mut judged = Judged::default();
        let all = Challenges::from([challenge("a.org", 10), challenge("b.org", 20)]);
        let value = Sensitive::new(text(&all));
        let content = Some(Secret::from([(KEY.to_owned(), value)]));
        let revision = "".into();
        judged.take(&Reading { revision, content }, challenges);
        inventory.challenges.insert(carrier("test"), judged);
        assert_eq!(inventory.next_challenge_end(), Some(10));
        assert!(!inventory.expire_challenges(9));
        assert!(inventory.expire_challenges(10));
        assert_eq!(inventory.next_challenge_end(), Some(20));
    }
}
