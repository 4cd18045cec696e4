//! PURE: the certificates that a `sec` object carries from the certificate operator to every
//! gateway, to be shown to an authority that asks by TLS-ALPN-01 (RFC 8737). Who puts them there
//! is no concern of this file.
//!
//! They are good for nothing else: none is one that a client would believe.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::IpAddr;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::{Deserialize, Serialize};
use serde_json::json;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::certificate::Pair;
use super::challenge::CARRIER;
use super::{Kind, ObjectPath, Secret, Sensitive};

/// What an authority is shown for one name.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct AlpnAnswer {
    /// The certificate and its key.
    pub pair: Pair,
    /// The hash of the key authorization that is in the certificate (RFC 8737, section 3).
    pub digest: [u8; DIGEST_BYTES],
    /// Until when it is shown, in seconds since 1970.
    pub expires: i64,
}

/// The answers of one object, by name: a host or an address. There is one certificate that can be
/// shown for a name.
pub type AlpnAnswers = BTreeMap<String, AlpnAnswer>;

/// An answer as it is written: short, as a daemon takes no long requests over HTTP/2.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    expires: i64,
    certificate: String,
    /// Absent where it is that of the answer before.
    private_key: Option<String>,
}

impl AlpnAnswer {
    /// Reads a certificate and its key; returns them with the name that they are for.
    ///
    /// # Errors
    /// What is wrong, as the end of a sentence that begins with whose they are.
    pub fn read(
        certificate: &Sensitive,
        private_key: &Sensitive,
        expires: i64,
    ) -> Result<(String, Self), String> {
        let pair = Pair::parse(certificate, private_key)?;
        let leaf = CertificateDer::from_pem_slice(pair.certificate_chain.expose().as_bytes());
        let claim = leaf.ok().and_then(|leaf| claim(&leaf));
        let (name, digest) = claim.ok_or_else(|| NO_CLAIM.to_owned())?;
        let answer = Self {
            pair,
            digest,
            expires,
        };
        Ok((name, answer))
    }

    /// A text that no other answer has: whoever was given one with it in has this one.
    pub fn id(&self, name: &str) -> String {
        let mut id = format!("{name}.");
        for byte in &self.digest[..ID_BYTES] {
            let _ = write!(id, "{byte:02x}");
        }
        id
    }
}

/// What a certificate shows to an authority: the one name that it is for, and the hash in its
/// acmeIdentifier (RFC 8737, section 3). `None` where it is no such certificate: with a second
/// name it would answer for that, too.
pub fn claim(der: &[u8]) -> Option<(String, [u8; DIGEST_BYTES])> {
    let (rest, certificate) = X509Certificate::from_der(der).ok()?;
    let names = certificate.subject_alternative_name().ok()??;
    let [name] = names.value.general_names.as_slice() else {
        return None;
    };
    let name = match name {
        GeneralName::DNSName(name) if is_host(name) => (*name).to_owned(),
        GeneralName::IPAddress(bytes) => address(bytes)?.to_string(),
        _ => return None,
    };
    let mut found = certificate.extensions().iter();
    let found = found.find(|extension| extension.oid.to_id_string() == ACME_IDENTIFIER)?;
    let digest = found.value.strip_prefix(&OCTETS)?.try_into().ok()?;
    (rest.is_empty() && found.critical).then_some((name, digest))
}

/// The server name that an authority asks for when it looks for a name: that of an address is the
/// one that leads back from it (RFC 8738, section 6).
pub fn server_name(name: &str) -> String {
    match name.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => {
            let [a, b, c, d] = address.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        Ok(IpAddr::V6(address)) => {
            let mut text = String::new();
            for byte in address.octets().iter().rev() {
                let _ = write!(text, "{:x}.{:x}.", byte & 0xf, byte >> 4);
            }
            text + "ip6.arpa"
        }
        Err(_) => name.to_owned(),
    }
}

/// The object of a namespace that carries its answers.
pub fn carrier(namespace: &str) -> ObjectPath {
    ObjectPath::new(namespace, Kind::Sec, CARRIER)
}

/// Whether this is an object that carries answers.
pub fn is_carrier(path: &ObjectPath) -> bool {
    path.kind() == Kind::Sec && path.name() == CARRIER
}

/// Reads the key of a carrier; one that is absent or empty has none. It is judged as a whole, and
/// no flaw quotes it.
///
/// # Errors
/// What is wrong, as the end of a sentence that begins with the object's name.
pub fn answers(keys: &Secret) -> Result<AlpnAnswers, String> {
    let text = keys.get(KEY).map(Sensitive::expose).unwrap_or_default();
    if text.is_empty() {
        return Ok(AlpnAnswers::new());
    }
    // What serde says may quote what it has read.
    let written: Vec<Written> = serde_json::from_str(text).map_err(|error| {
        format!(
            "has a {KEY} that is no list of answers: line {}",
            error.line()
        )
    })?;
    if written.len() > ANSWERS_MAX {
        return Err(format!("has more than {ANSWERS_MAX} answers"));
    }
    let mut found = AlpnAnswers::new();
    let mut last = Sensitive::new(String::new());
    for (place, one) in written.into_iter().enumerate() {
        if let Some(key) = one.private_key.map(Sensitive::new) {
            last = whole(&key, "PRIVATE KEY");
        }
        let certificate = whole(&Sensitive::new(one.certificate), "CERTIFICATE");
        let read = AlpnAnswer::read(&certificate, &last, one.expires);
        let read = read.and_then(|(name, answer)| match name == one.name {
            true => Ok((name, answer)),
            false => Err("has a certificate that is for another name".to_owned()),
        });
        let (name, answer) = read.map_err(|flaw| {
            let number = place + 1;
            format!("has an answer that is none, number {number}, which {flaw}")
        })?;
        let older = found
            .get(&name)
            .filter(|known| known.expires > answer.expires);
        if older.is_none() {
            found.insert(name, answer);
        }
    }
    Ok(found)
}

/// The text of a carrier's key.
pub fn text(answers: &AlpnAnswers) -> Sensitive {
    let mut last = None;
    let written = answers.iter().map(|(name, answer)| {
        let Pair {
            certificate_chain,
            private_key,
            ..
        } = &answer.pair;
        let mut one = json!({
            "name": name,
            "expires": answer.expires,
            "certificate": bare(certificate_chain, "CERTIFICATE"),
        });
        if last.replace(private_key) != Some(private_key) {
            one["private_key"] = bare(private_key, "PRIVATE KEY").into();
        }
        one
    });
    Sensitive::new(serde_json::Value::from_iter(written).to_string())
}

/// A text in PEM without what can be told without it, where it is a single one of that label.
fn bare(text: &Sensitive, label: &str) -> String {
    let (begin, end) = (
        format!("-----BEGIN {label}-----"),
        format!("-----END {label}-----"),
    );
    let inner = text.expose().trim().strip_prefix(&begin);
    let inner = inner.and_then(|rest| rest.strip_suffix(&end));
    match inner.filter(|inner| !inner.contains("-----")) {
        Some(inner) => inner.split_whitespace().collect(),
        None => text.expose().to_owned(),
    }
}

/// The reverse of [`bare`].
fn whole(text: &Sensitive, label: &str) -> Sensitive {
    match text.expose().contains("-----") {
        true => text.clone(),
        false => Sensitive::new(format!(
            "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
            text.expose()
        )),
    }
}

/// A host as an authority asks for it, and so no wildcard.
fn is_host(name: &str) -> bool {
    let fits = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b".-_".contains(&c);
    (1..=NAME_BYTES_MAX).contains(&name.len())
        && name.bytes().all(fits)
        && name.parse::<IpAddr>().is_err()
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    let v6 = <[u8; 16]>::try_from(bytes).map(IpAddr::from);
    v4.or(v6).ok()
}

/// The key that the answers are in.
pub const KEY: &str = "tls-alpn-01";
/// The protocol that an authority asks for, and nobody else (RFC 8737, section 6.2).
pub const PROTOCOL: &str = "acme-tls/1";
/// id-pe-acmeIdentifier (RFC 8737, section 3).
const ACME_IDENTIFIER: &str = "1.3.6.1.5.5.7.1.31";
/// An OCTET STRING of that length, in DER.
const OCTETS: [u8; 2] = [4, DIGEST_BYTES as u8];
/// A SHA-256 hash.
const DIGEST_BYTES: usize = 32;
const ID_BYTES: usize = 8;
/// More than an order of any authority can have names.
const ANSWERS_MAX: usize = 1_000;
const NAME_BYTES_MAX: usize = 253;
const NO_CLAIM: &str = "has no certificate for one name alone with an acmeIdentifier";

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};

    use super::*;
    use crate::inventory::{Inventory, Judged, Reading};

    fn made(names: &[&str], digest: Option<[u8; 32]>) -> (Sensitive, Sensitive) {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name = DistinguishedName::new();
        params.custom_extensions = digest
            .iter()
            .map(|digest| CustomExtension::new_acme_identifier(digest))
            .collect();
        let certificate = params.self_signed(&key).unwrap();
        let texts = [certificate.pem(), key.serialize_pem()];
        let [certificate, key] = texts.map(Sensitive::new);
        (certificate, key)
    }

    fn answer(name: &str, expires: i64) -> (String, AlpnAnswer) {
        let (certificate, key) = made(&[name], Some([7; 32]));
        AlpnAnswer::read(&certificate, &key, expires).unwrap()
    }

    fn read(text: Sensitive) -> Result<AlpnAnswers, String> {
        answers(&Secret::from([(KEY.to_owned(), text)]))
    }

    #[test]
    fn what_is_written_reads_back() {
        let all = AlpnAnswers::from([answer("a.org", 1), answer("2001:db8::1", 2)]);
        assert_eq!(read(text(&all)), Ok(all));
        let (certificate, key) = made(&["b.org"], Some([7; 32]));
        let both = json!([{"name": "b.org", "expires": 1, "certificate": certificate.expose(),
            "private_key": key.expose()}]);
        let found = read(Sensitive::new(both.to_string())).unwrap();
        assert_eq!(read(text(&found)), Ok(found));
        assert_eq!(read(Sensitive::new(String::new())), Ok(AlpnAnswers::new()));
        assert_eq!(answers(&Secret::new()), Ok(AlpnAnswers::new()));
    }

    #[test]
    fn as_many_answers_as_an_order_has_names_fit_into_a_request() {
        let key = KeyPair::generate().unwrap();
        let made = (0..100).map(|number| {
            let name = format!("shop-number-{number:03}.example.org");
            let mut params = CertificateParams::new(vec![name]).unwrap();
            params.distinguished_name = DistinguishedName::new();
            params.custom_extensions = vec![CustomExtension::new_acme_identifier(&[7; 32])];
            let certificate = params.self_signed(&key).unwrap();
            let texts = [certificate.pem(), key.serialize_pem()];
            let [certificate, key] = texts.map(Sensitive::new);
            AlpnAnswer::read(&certificate, &key, 1_800_000_000).unwrap()
        });
        let all: AlpnAnswers = made.collect();
        let text = text(&all);
        assert!(text.expose().len() < 60_000, "{}", text.expose().len());
        assert_eq!(text.expose().matches("private_key").count(), 1);
        assert_eq!(read(text), Ok(all));
    }

    #[test]
    fn an_answer_is_known_by_its_name_and_its_hash() {
        let (name, answer) = answer("a.org", 1);
        assert_eq!(answer.id(&name), "a.org.0707070707070707");
    }

    #[test]
    fn a_certificate_that_could_answer_for_something_else_is_none() {
        let flaw = |names: &[&str], digest| {
            let (certificate, key) = made(names, digest);
            AlpnAnswer::read(&certificate, &key, 1).unwrap_err()
        };
        for (names, digest) in [
            (&["a.org", "b.org"][..], Some([7; 32])),
            (&[], Some([7; 32])),
            (&["*.a.org"], Some([7; 32])),
            (&["a.org"], None),
        ] {
            assert_eq!(flaw(names, digest), NO_CLAIM, "{names:?}");
        }
    }

    #[test]
    fn a_bad_answer_makes_all_of_them_be_refused_and_none_is_quoted() {
        let (certificate, key) = made(&["a.org"], Some([7; 32]));
        let (_, other) = made(&["a.org"], Some([7; 32]));
        let good = json!({"name": "a.org", "expires": 1, "certificate": certificate.expose(),
            "private_key": key.expose()});
        for (field, value, told) in [
            (
                "name",
                json!("b.org"),
                "number 2, which has a certificate that is for another",
            ),
            (
                "private_key",
                json!(other.expose()),
                "is not the one of its certificate",
            ),
            ("certificate", json!("none"), "is no certificate: number 1"),
            ("expires", json!(key.expose()), "no list of answers"),
            ("more", json!(1), "no list of answers"),
        ] {
            let mut bad = good.clone();
            bad[field] = value;
            let flaw = read(Sensitive::new(json!([good, bad]).to_string())).unwrap_err();
            assert!(flaw.contains(told), "{flaw}");
            let line = key.expose().lines().nth(1).unwrap();
            assert!(!flaw.contains(line), "{flaw}");
        }
    }

    #[test]
    fn of_two_answers_for_a_name_the_one_that_lasts_longer_counts() {
        let (first, second) = (answer("a.org", 5), answer("a.org", 9));
        let both = |a: &(String, AlpnAnswer), b: &(String, AlpnAnswer)| {
            let texts = [a, b].map(|one| text(&AlpnAnswers::from([one.clone()])));
            let [a, b] = texts.map(|text| text.expose().trim_matches(['[', ']']).to_owned());
            read(Sensitive::new(format!("[{a},{b}]"))).unwrap()
        };
        let found = AlpnAnswers::from([second.clone()]);
        assert_eq!(both(&first, &second), found);
        assert_eq!(both(&second, &first), found);
    }

    #[test]
    fn an_answer_is_over_in_its_last_second() {
        let mut inventory = Inventory::default();
        let mut judged = Judged::default();
        let all = AlpnAnswers::from([answer("a.org", 10), answer("b.org", 20)]);
        let content = Some(Secret::from([(KEY.to_owned(), text(&all))]));
        let revision = "".into();
        judged.take(&Reading { revision, content }, answers);
        inventory.alpn_answers.insert(carrier("test"), judged);
        assert_eq!(inventory.next_challenge_end(), Some(10));
        assert!(!inventory.expire_challenges(9));
        assert!(inventory.expire_challenges(10));
        assert_eq!(inventory.next_challenge_end(), Some(20));
    }

    #[test]
    fn an_address_is_asked_for_by_the_name_that_leads_back_from_it() {
        assert_eq!(server_name("a.org"), "a.org");
        assert_eq!(server_name("192.0.2.1"), "1.2.0.192.in-addr.arpa");
        let v6 = server_name("2001:db8::1");
        assert!(v6.starts_with("1.0.0.0.0.0"), "{v6}");
        assert!(v6.ends_with(".8.b.d.0.1.0.0.2.ip6.arpa"), "{v6}");
        assert_eq!(v6.len(), 32 * 2 + 8);
    }
}
