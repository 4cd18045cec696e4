//! What may be told of a certificate to tell it from another: a hash of it and its last day.
//! Keys are never looked at.

use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{SHA256, digest};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::prelude::{FromDer, X509Certificate};

/// What is told of one certificate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Fingerprint {
    /// The first 16 hexadecimal digits of the SHA-256 of its DER form.
    pub sha256: String,
    /// Its last second, as RFC 3339 has it; `None` where it cannot be read.
    pub not_after: Option<String>,
}

/// The certificates in a text in PEM, in its order. What is no certificate is passed over.
pub fn fingerprints(pem: &[u8]) -> Vec<Fingerprint> {
    let ders = CertificateDer::pem_slice_iter(pem);
    ders.filter_map(Result::ok)
        .map(|der| fingerprint(&der))
        .collect()
}

fn fingerprint(der: &[u8]) -> Fingerprint {
    let hash = digest(&SHA256, der);
    let bytes = hash.as_ref().iter().take(SHOWN_BYTES);
    let certificate = X509Certificate::from_der(der).ok();
    let last = certificate.and_then(|(_, it)| {
        let seconds = u64::try_from(it.validity().not_after.timestamp()).ok()?;
        (seconds < SECONDS_WRITTEN).then_some(seconds)
    });
    let text = |seconds| {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        humantime::format_rfc3339_seconds(time).to_string()
    };
    Fingerprint {
        sha256: bytes.map(|byte| format!("{byte:02x}")).collect(),
        not_after: last.map(text),
    }
}

/// Enough to tell certificates apart, and short enough to read aloud.
const SHOWN_BYTES: usize = 8;
/// Until the end of the year 9999, about: beyond it there is no way to write a time.
const SECONDS_WRITTEN: u64 = 253_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::certificate::Authority;

    #[test]
    fn a_certificate_has_a_short_hash_and_a_last_day() {
        let authority = Authority::new("ca").unwrap();
        let one = authority.issue("a", &["a.example.org"]).unwrap();
        let other = authority.issue("a", &["a.example.org"]).unwrap();
        let prints = fingerprints(one.chain_pem.as_bytes());
        assert_eq!(prints[0].sha256.len(), 16);
        assert!(prints[0].not_after.as_ref().unwrap().ends_with('Z'));
        assert_ne!(prints[0], fingerprints(other.chain_pem.as_bytes())[0]);
    }

    #[test]
    fn what_is_no_certificate_has_none() {
        assert_eq!(fingerprints(b"-----BEGIN CERTIFICATE-----\nx"), []);
    }
}
