//! PURE: certificates, their keys and authorities as texts: whether they can be used, and until
//! when. What is good is written anew, so that nothing is handed on but what was understood.
//!
//! Where the texts come from is no concern of this file, and no flaw that it tells quotes one.

use std::fmt::Write;

use rustls::SignatureAlgorithm;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::Serialize;
use x509_parser::prelude::{ASN1Time, FromDer, X509Certificate};
use x509_parser::x509::SubjectPublicKeyInfo;
use zeroize::Zeroize;

use super::{Secret, Sensitive};

/// A certificate chain, and the private key of its first certificate.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize)]
pub struct Pair {
    /// The certificates in PEM, leaf first.
    pub certificate_chain: Sensitive,
    /// The key in PEM.
    pub private_key: Sensitive,
    /// When the leaf expires, in seconds since 1970.
    pub not_after: i64,
}

/// What the certificate of a peer is judged by.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize)]
pub struct Trust {
    /// The authorities in PEM, one of which must have signed it.
    pub trusted_ca: Option<String>,
    /// SHA-256 hashes in hex, one of which it must have; empty for any.
    pub certificate_hashes: Vec<String>,
}

impl Pair {
    /// Reads the keys `certificate_chain` and `private_key` of a `sec` object; `fullpem`, the one
    /// key that is written as a whole, where either is absent or one of them is newer than the
    /// other: they are written one after the other, and the whole before both.
    ///
    /// # Errors
    /// What the object lacks, as the end of a sentence that begins with its name.
    pub fn of_secret(secret: &Secret) -> Result<Self, String> {
        match (secret.get(CHAIN_KEY), secret.get(PRIVATE_KEY)) {
            (Some(chain), Some(key)) => Self::parse(chain, key).or_else(|flaw| {
                let whole = secret.get(FULL_KEY);
                let whole = whole.and_then(|full| Self::parse(full, full).ok());
                // One that has neither half is older than both.
                let own = PrivateKey::parse(key.expose()).map(|key| key.pem());
                let new = whole.filter(|whole| own.as_ref() == Ok(&whole.private_key));
                new.ok_or(flaw)
            }),
            (chain, _) => match secret.get(FULL_KEY) {
                Some(full) => Self::parse(full, full),
                None if chain.is_some() => Err(format!("has no key {PRIVATE_KEY}")),
                None => Err(format!("has no key {CHAIN_KEY}")),
            },
        }
    }

    /// Reads two texts in PEM; each may hold more than what is looked for in it.
    ///
    /// # Errors
    /// What is wrong, as the end of a sentence that begins with whose they are.
    pub fn parse(chain: &Sensitive, key: &Sensitive) -> Result<Self, String> {
        let ders = certificates(chain.expose(), "its certificate chain")?;
        let parsed: Vec<_> = ders
            .iter()
            .filter_map(|der| certificate(der).ok())
            .collect();
        let private_key = PrivateKey::parse(key.expose())?;
        let own = |leaf: &X509Certificate<'_>| private_key.belongs_to(leaf.public_key());
        let Some(leaf) = parsed.first().filter(|leaf| own(leaf)) else {
            return Err(match parsed.iter().position(own) {
                Some(place) => format!(
                    "has a certificate chain in the wrong order: the certificate of the private \
                     key has to be the first, and is number {}",
                    place + 1
                ),
                None => "has a private key that is not the one of its certificate".to_owned(),
            });
        };
        Ok(Self {
            not_after: leaf.validity().not_after.timestamp(),
            certificate_chain: Sensitive::new(chain_pem(&ders)),
            private_key: private_key.pem(),
        })
    }

    /// When the leaf expires, for people.
    pub fn expiry(&self) -> String {
        let time = ASN1Time::from_timestamp(self.not_after);
        time.map_or_else(|_| "an unknown time".to_owned(), |time| time.to_string())
    }
}

impl Trust {
    /// Reads the keys `trusted_ca` and `verify_certificate_hash` of a `sec` object.
    ///
    /// # Errors
    /// What the object lacks, as the end of a sentence that begins with its name.
    pub fn of_secret(secret: &Secret) -> Result<Self, String> {
        let trusted_ca = match secret.get(CA_KEY) {
            Some(text) => Some(chain_pem(&certificates(text.expose(), "its trusted_ca")?)),
            None => None,
        };
        let hashes = secret.get(HASH_KEY).map(Sensitive::expose);
        let hashes = hashes.unwrap_or_default();
        let words = hashes.split(|c: char| c.is_whitespace() || c == ',');
        let words = words.filter(|word| !word.is_empty());
        let certificate_hashes = words.map(sha256).collect::<Option<Vec<_>>>();
        let certificate_hashes = certificate_hashes.ok_or_else(|| {
            format!("has a {HASH_KEY} that is no list of SHA-256 hashes in hexadecimal")
        })?;
        if trusted_ca.is_none() && certificate_hashes.is_empty() {
            return Err(format!("has no key {CA_KEY}, nor {HASH_KEY}"));
        }
        Ok(Self {
            trusted_ca,
            certificate_hashes,
        })
    }
}

/// Reads a chain whose private key is elsewhere: written anew, and when its leaf expires.
///
/// # Errors
/// What is wrong, as the end of a sentence that begins with whose it is.
pub fn chain(text: &Sensitive) -> Result<(Sensitive, i64), String> {
    let ders = certificates(text.expose(), "its certificate chain")?;
    let leaf = ders.first().and_then(|der| certificate(der).ok());
    let not_after = leaf.map(|leaf| leaf.validity().not_after.timestamp());
    Ok((
        Sensitive::new(chain_pem(&ders)),
        not_after.unwrap_or_default(),
    ))
}

/// Reads a private key whose certificate is elsewhere: written anew.
///
/// # Errors
/// What is wrong, as the end of a sentence that begins with whose it is.
pub fn private_key(text: &Sensitive) -> Result<Sensitive, String> {
    PrivateKey::parse(text.expose()).map(|key| key.pem())
}

/// A private key and the public one that belongs to it.
struct PrivateKey {
    der: PrivateKeyDer<'static>,
    public: Vec<u8>,
}

impl Drop for PrivateKey {
    fn drop(&mut self) {
        self.der.zeroize();
    }
}

impl PrivateKey {
    fn parse(text: &str) -> Result<Self, String> {
        let Ok(der) = PrivateKeyDer::from_pem_slice(text.as_bytes()) else {
            return Err(match text.contains("ENCRYPTED") {
                true => "has an encrypted private key; only a plain one can be used",
                false => "has no private key in PEM",
            }
            .to_owned());
        };
        let mut found = Self {
            der,
            public: Vec::new(),
        };
        let key = any_supported_type(&found.der).ok();
        let key = key.filter(|key| ALGORITHMS.contains(&key.algorithm()));
        let public = key.as_ref().and_then(|key| key.public_key());
        let Some(public) = public else {
            return Err("has a private key that cannot be used: \
                        RSA from 2048 bits on and ECDSA on P-256, P-384 or P-521 can"
                .to_owned());
        };
        found.public = public.as_ref().to_vec();
        Ok(found)
    }

    fn belongs_to(&self, theirs: &SubjectPublicKeyInfo<'_>) -> bool {
        SubjectPublicKeyInfo::from_der(&self.public).is_ok_and(|(_, own)| {
            own.algorithm.algorithm == theirs.algorithm.algorithm
                && own.subject_public_key.data == theirs.subject_public_key.data
        })
    }

    fn pem(&self) -> Sensitive {
        let label = match &self.der {
            PrivateKeyDer::Pkcs1(_) => "RSA PRIVATE KEY",
            PrivateKeyDer::Sec1(_) => "EC PRIVATE KEY",
            _ => "PRIVATE KEY",
        };
        let der = self.der.secret_der();
        // Enough room from the beginning: what is moved leaves a copy behind.
        let mut text = String::with_capacity(der.len() * 3 / 2 + 128);
        write_pem(&mut text, label, der);
        Sensitive::new(text)
    }
}

/// The certificates of a text in PEM: one at least, and none that cannot be read.
fn certificates(text: &str, whose: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let mut found = Vec::new();
    for der in CertificateDer::pem_slice_iter(text.as_bytes()) {
        let number = found.len() + 1;
        let readable = der.ok().filter(|der| certificate(der).is_ok());
        let Some(der) = readable else {
            return Err(format!(
                "has something in {whose} that is no certificate: number {number}"
            ));
        };
        found.push(der);
    }
    match found.is_empty() {
        true => Err(format!("has no certificate in PEM in {whose}")),
        false => Ok(found),
    }
}

fn certificate<'a>(der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, ()> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        _ => Err(()),
    }
}

/// A SHA-256 hash in Envoy's spelling: 64 hexadecimal digits, without the colons of openssl.
fn sha256(word: &str) -> Option<String> {
    let digits = word.replace(':', "").to_ascii_lowercase();
    let whole = digits.len() == 64 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    whole.then_some(digits)
}

fn chain_pem(ders: &[CertificateDer<'_>]) -> String {
    let mut text = String::new();
    for der in ders {
        write_pem(&mut text, "CERTIFICATE", der);
    }
    text
}

fn write_pem(text: &mut String, label: &str, der: &[u8]) {
    let _ = writeln!(text, "-----BEGIN {label}-----");
    for line in der.chunks(PEM_LINE_BYTES) {
        for group in line.chunks(3) {
            let bits = (0..3).fold(0_u32, |bits, place| {
                bits << 8 | u32::from(group.get(place).copied().unwrap_or_default())
            });
            for place in 0..4 {
                let digit = (bits >> (18 - 6 * place)) & 0x3f;
                text.push(match place > group.len() {
                    true => '=',
                    false => char::from(BASE64[digit as usize]),
                });
            }
        }
        text.push('\n');
    }
    let _ = writeln!(text, "-----END {label}-----");
}

/// The keys of a `sec` object that a pair is in.
pub const PAIR_KEYS: [&str; 2] = [CHAIN_KEY, PRIVATE_KEY];
/// The key that is read where one of them is absent.
pub const FULL_KEY: &str = "fullpem";
/// The keys of a `sec` object that tell whom to trust.
pub const TRUST_KEYS: [&str; 2] = [CA_KEY, HASH_KEY];
const CHAIN_KEY: &str = "certificate_chain";
const PRIVATE_KEY: &str = "private_key";
const CA_KEY: &str = "trusted_ca";
const HASH_KEY: &str = "verify_certificate_hash";
/// What a listener of Envoy takes.
const ALGORITHMS: [SignatureAlgorithm; 2] = [SignatureAlgorithm::RSA, SignatureAlgorithm::ECDSA];
/// 64 characters a line.
const PEM_LINE_BYTES: usize = 48;
const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, PKCS_ED25519, PKCS_RSA_SHA256};

    use super::*;
    use crate::sim::certificate::{Authority, Identity};

    fn text(text: &str) -> Sensitive {
        Sensitive::new(text.to_owned())
    }

    fn identity() -> Identity {
        let authority = Authority::new("ca").unwrap();
        authority.issue("web", &["web.example.org"]).unwrap()
    }

    fn parse(chain: &str, key: &str) -> Result<Pair, String> {
        Pair::parse(&text(chain), &text(key))
    }

    fn flaw(chain: &str, key: &str) -> String {
        parse(chain, key).unwrap_err()
    }

    #[test]
    fn a_pair_comes_out_as_it_was_written() {
        let Identity { chain_pem, key_pem } = identity();
        let pair = parse(&chain_pem, &key_pem).unwrap();
        assert_eq!(pair.certificate_chain.expose(), chain_pem);
        assert_eq!(pair.private_key.expose(), key_pem);
        let messy = format!("words\r\n{}\r\n", chain_pem.replace('\n', "\r\n"));
        assert_eq!(parse(&messy, &key_pem).unwrap(), pair);
    }

    #[test]
    fn a_chain_never_takes_a_private_key_along() {
        let Identity { chain_pem, key_pem } = identity();
        let full = format!("{key_pem}{chain_pem}");
        let pair = parse(&full, &full).unwrap();
        assert_eq!(pair, parse(&chain_pem, &key_pem).unwrap());
    }

    #[test]
    fn halves_of_two_pairs_are_none() {
        let (one, other) = (identity(), identity());
        let flaw = flaw(&one.chain_pem, &other.key_pem);
        assert_eq!(
            flaw,
            "has a private key that is not the one of its certificate"
        );
    }

    #[test]
    fn a_chain_begins_with_its_leaf() {
        let Identity { chain_pem, key_pem } = identity();
        let second = chain_pem.rfind("-----BEGIN").unwrap();
        let reversed = format!("{}{}", &chain_pem[second..], &chain_pem[..second]);
        assert!(flaw(&reversed, &key_pem).ends_with("has to be the first, and is number 2"));
    }

    #[test]
    fn rsa_is_taken_and_what_envoy_cannot_use_is_not() {
        let signed = |key: &KeyPair| {
            let params = CertificateParams::new(vec!["web".to_owned()]).unwrap();
            params.self_signed(key).unwrap().pem()
        };
        let rsa = KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap();
        assert!(parse(&signed(&rsa), &rsa.serialize_pem()).is_ok());
        let ed25519 = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let flaw = flaw(&signed(&ed25519), &ed25519.serialize_pem());
        assert!(flaw.contains("cannot be used"), "{flaw}");
    }

    #[test]
    fn what_is_no_pair_says_why_and_quotes_nothing() {
        let Identity { chain_pem, key_pem } = identity();
        let secret_line = key_pem.lines().nth(1).unwrap();
        let garbage = format!("-----BEGIN PRIVATE KEY-----\n{secret_line}!\n");
        let encrypted = key_pem.replace("PRIVATE", "ENCRYPTED PRIVATE");
        let broken_chain = chain_pem.replacen("MII", "AAA", 1);
        let cut_chain = &chain_pem[..chain_pem.len() - 30];
        for (chain, key, told) in [
            ("", key_pem.as_str(), "no certificate in PEM"),
            (key_pem.as_str(), key_pem.as_str(), "no certificate in PEM"),
            (broken_chain.as_str(), key_pem.as_str(), "number 1"),
            (cut_chain, key_pem.as_str(), "number 2"),
            (chain_pem.as_str(), "", "no private key in PEM"),
            (
                chain_pem.as_str(),
                garbage.as_str(),
                "no private key in PEM",
            ),
            (chain_pem.as_str(), encrypted.as_str(), "encrypted"),
        ] {
            let flaw = flaw(chain, key);
            assert!(flaw.contains(told), "{flaw}");
            assert!(!flaw.contains(secret_line), "{flaw}");
        }
    }

    #[test]
    fn the_whole_in_one_key_counts_where_a_half_is_absent() {
        let (one, other) = (identity(), identity());
        let full = format!("{}{}", one.key_pem, one.chain_pem);
        let mut secret = Secret::from([(FULL_KEY.to_owned(), text(&full))]);
        let whole = Pair::of_secret(&secret).unwrap();
        secret.insert(CHAIN_KEY.to_owned(), text(&other.chain_pem));
        assert_eq!(Pair::of_secret(&secret).unwrap(), whole);
        secret.insert(PRIVATE_KEY.to_owned(), text(&other.key_pem));
        assert_ne!(Pair::of_secret(&secret).unwrap(), whole);
    }

    #[test]
    fn a_pair_that_is_being_written_is_never_torn() {
        let (old, new) = (identity(), identity());
        let full = |pair: &Identity| text(&format!("{}{}", pair.key_pem, pair.chain_pem));
        let mut secret = Secret::from([
            (FULL_KEY.to_owned(), full(&old)),
            (CHAIN_KEY.to_owned(), text(&old.chain_pem)),
            (PRIVATE_KEY.to_owned(), text(&old.key_pem)),
        ]);
        let before = Pair::of_secret(&secret).unwrap();
        let after = parse(&new.chain_pem, &new.key_pem).unwrap();
        secret.insert(FULL_KEY.to_owned(), full(&new));
        assert_eq!(Pair::of_secret(&secret).unwrap(), before);
        secret.insert(PRIVATE_KEY.to_owned(), text(&new.key_pem));
        assert_eq!(Pair::of_secret(&secret).unwrap(), after);
        secret.insert(CHAIN_KEY.to_owned(), text(&new.chain_pem));
        assert_eq!(Pair::of_secret(&secret).unwrap(), after);
    }

    #[test]
    fn a_whole_that_is_older_than_both_halves_is_not_taken() {
        let (old, one, other) = (identity(), identity(), identity());
        let secret = Secret::from([
            (
                FULL_KEY.to_owned(),
                text(&format!("{}{}", old.key_pem, old.chain_pem)),
            ),
            (CHAIN_KEY.to_owned(), text(&one.chain_pem)),
            (PRIVATE_KEY.to_owned(), text(&other.key_pem)),
        ]);
        assert!(Pair::of_secret(&secret).is_err());
    }

    #[test]
    fn an_authority_or_a_hash_is_trusted() {
        let authority = Authority::new("ca").unwrap();
        let trust = |keys: &[(&str, &str)]| {
            let keys = keys.iter();
            Trust::of_secret(&keys.map(|(k, v)| ((*k).to_owned(), text(v))).collect())
        };
        let hash = "aB".repeat(32);
        let colons = vec!["Ab"; 32].join(":");
        let both = trust(&[
            (CA_KEY, authority.pem()),
            (HASH_KEY, &format!("{hash}, {colons}")),
        ]);
        let both = both.unwrap();
        assert_eq!(both.trusted_ca.as_deref(), Some(authority.pem()));
        assert_eq!(both.certificate_hashes, ["ab".repeat(32), "ab".repeat(32)]);
        for bad in [
            &[][..],
            &[(HASH_KEY, "")],
            &[(HASH_KEY, "abcd")],
            &[(CA_KEY, "")],
            &[(CA_KEY, authority.pem()), (HASH_KEY, "x")],
        ] {
            assert!(trust(bad).is_err(), "{bad:?}");
        }
    }
}
