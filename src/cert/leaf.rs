//! PURE: what a certificate says of itself, and whether a new one is what was ordered.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::IpAddr;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use rustls::RootCertStore;
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::ParsedCertificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::inventory::Sensitive;
use crate::inventory::certificate::Pair;

/// The first certificate of a chain.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Leaf {
    /// The serial number in hexadecimal.
    pub serial: String,
    /// What its authority knows it by (RFC 9773, section 4.1); `None` where it does not tell
    /// which key has signed it.
    pub identifier: Option<String>,
    /// When it begins to be good, in seconds since 1970.
    pub not_before: i64,
    /// When it ends.
    pub not_after: i64,
    /// Its names.
    pub names: BTreeSet<String>,
    /// Whether it says that it has signed itself: the agent's placeholder does.
    pub self_signed: bool,
}

impl Leaf {
    /// Reads the first certificate of a text in PEM.
    pub fn of_pem(text: &str) -> Option<Self> {
        Self::of_der(&CertificateDer::from_pem_slice(text.as_bytes()).ok()?)
    }

    /// Reads a certificate.
    pub fn of_der(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let names = certificate.subject_alternative_name().ok().flatten();
        let names = names
            .into_iter()
            .flat_map(|found| &found.value.general_names);
        let names = names.filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
            GeneralName::IPAddress(bytes) => address(bytes),
            _ => None,
        });
        let serial = certificate.raw_serial();
        let mut signer = certificate.extensions().iter();
        let signer = signer.find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(found) => found.key_identifier.as_ref(),
            _ => None,
        });
        Some(Self {
            identifier: signer.map(|signer| {
                let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
                format!("{}.{}", encode(signer.0), encode(serial))
            }),
            serial: serial.iter().fold(String::new(), |mut text, byte| {
                let _ = write!(text, "{byte:02x}");
                text
            }),
            not_before: certificate.validity().not_before.timestamp(),
            not_after: certificate.validity().not_after.timestamp(),
            names: names.collect(),
            self_signed: certificate.issuer() == certificate.subject(),
        })
    }
}

/// Checks a new pair before it takes the place of one that works: the key is the certificate's,
/// the names are those that were ordered, it is good now, and each certificate of the chain has
/// signed the one before.
///
/// # Errors
/// What is wrong, as the end of a sentence that begins with the authority's answer.
pub fn check(
    second: i64,
    names: &BTreeSet<String>,
    chain: &Sensitive,
    key: &Sensitive,
) -> Result<(Pair, Leaf), String> {
    let pair = Pair::parse(chain, key)?;
    let ders = CertificateDer::pem_slice_iter(pair.certificate_chain.expose().as_bytes());
    let ders = ders.collect::<Result<Vec<_>, _>>();
    let ders = ders.map_err(|_| "has a chain that cannot be read".to_owned())?;
    let leaf = ders.first().and_then(|der| Leaf::of_der(der));
    let leaf = leaf.ok_or_else(|| "has no certificate".to_owned())?;
    if leaf.names != *names {
        let found: Vec<&str> = leaf.names.iter().map(String::as_str).collect();
        return Err(format!("is for other names: {}", found.join(" ")));
    }
    if leaf.not_after <= second {
        return Err("is over already".to_owned());
    }
    // The clock of the authority may be a little ahead of ours.
    let ahead = leaf.not_before.saturating_sub(second);
    let at = if ahead <= SKEW_S {
        second.max(leaf.not_before)
    } else {
        second
    };
    verify(at, &ders)?;
    Ok((pair, leaf))
}

/// Whether a chain leads to one of these roots (PEM), as its clients will have them.
pub fn leads_to(second: i64, chain: &Sensitive, roots: &str) -> bool {
    let ders = |text: &str| {
        let ders = CertificateDer::pem_slice_iter(text.as_bytes());
        ders.filter_map(Result::ok).collect::<Vec<_>>()
    };
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(ders(roots));
    let chain = ders(chain.expose());
    let Some((leaf, between)) = chain.split_first() else {
        return false;
    };
    holds(second, leaf, between, &store).is_ok()
}

/// The last certificate of a chain is believed: who it belongs to is for the clients.
fn verify(second: i64, ders: &[CertificateDer<'_>]) -> Result<(), String> {
    let [leaf, between @ .., top] = ders else {
        return Err("has a chain without its authority".to_owned());
    };
    let wrong = |error: rustls::Error| format!("has a chain that does not hold: {error}");
    let mut roots = RootCertStore::empty();
    roots.add(top.clone().into_owned()).map_err(wrong)?;
    holds(second, leaf, between, &roots).map_err(wrong)
}

fn holds(
    second: i64,
    leaf: &CertificateDer<'_>,
    between: &[CertificateDer<'_>],
    roots: &RootCertStore,
) -> Result<(), rustls::Error> {
    let parsed = ParsedCertificate::try_from(leaf)?;
    let at = UnixTime::since_unix_epoch(Duration::from_secs(second.unsigned_abs()));
    let algorithms = default_provider().signature_verification_algorithms;
    verify_server_cert_signed_by_trust_anchor(&parsed, roots, between, at, algorithms.all)
}

fn address(bytes: &[u8]) -> Option<String> {
    let address = match bytes.len() {
        4 => IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?),
        _ => IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?),
    };
    Some(address.to_string())
}

/// How far ahead of ours an authority's clock may be.
const SKEW_S: i64 = 300;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::certificate::{Authority, Identity};

    /// rcgen's certificates are good from 1975 on.
    const SECOND: i64 = 1_800_000_000;

    fn text(text: &str) -> Sensitive {
        Sensitive::new(text.to_owned())
    }

    fn issued(names: &[&str]) -> Identity {
        Authority::new("ca").unwrap().issue("web", names).unwrap()
    }

    fn check_names(identity: &Identity, names: &[&str]) -> Result<(Pair, Leaf), String> {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        check(
            SECOND,
            &names,
            &text(&identity.chain_pem),
            &text(&identity.key_pem),
        )
    }

    #[test]
    fn a_pair_as_it_was_ordered_is_taken() {
        let identity = issued(&["a.org", "10.0.0.1"]);
        let (pair, leaf) = check_names(&identity, &["10.0.0.1", "a.org"]).unwrap();
        assert_eq!(pair.private_key.expose(), identity.key_pem);
        assert!(!leaf.self_signed && leaf.identifier.is_some() && !leaf.serial.is_empty());
    }

    #[test]
    fn other_names_than_the_ordered_are_not() {
        for names in [
            &["a.org"][..],
            &["a.org", "b.org", "c.org"],
            &["a.org", "c.org"],
        ] {
            let flaw = check_names(&issued(&["a.org", "b.org"]), names).unwrap_err();
            assert_eq!(flaw, "is for other names: a.org b.org");
        }
    }

    #[test]
    fn a_chain_of_strangers_and_one_of_a_leaf_alone_are_not() {
        let (one, other) = (issued(&["a.org"]), issued(&["a.org"]));
        let end = |text: &str| text.rfind("-----BEGIN").unwrap();
        let leaf = &one.chain_pem[..end(&one.chain_pem)];
        let mixed = format!("{leaf}{}", &other.chain_pem[end(&other.chain_pem)..]);
        for (chain, told) in [
            (mixed.as_str(), "does not hold"),
            (leaf, "without its authority"),
        ] {
            let chain_pem = chain.to_owned();
            let flaw = check_names(
                &Identity {
                    chain_pem,
                    ..one.clone()
                },
                &["a.org"],
            );
            assert!(flaw.as_ref().unwrap_err().contains(told), "{flaw:?}");
        }
    }

    #[test]
    fn a_key_of_another_pair_is_not() {
        let (one, other) = (issued(&["a.org"]), issued(&["a.org"]));
        let mixed = Identity {
            key_pem: other.key_pem,
            ..one
        };
        assert!(check_names(&mixed, &["a.org"]).is_err());
    }

    #[test]
    fn a_placeholder_has_signed_itself() {
        let authority = Authority::new("ca").unwrap();
        assert!(Leaf::of_pem(authority.pem()).unwrap().self_signed);
        assert_eq!(Leaf::of_pem("no certificate"), None);
    }
}
