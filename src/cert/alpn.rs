//! EDGE: TLS-ALPN-01 (RFC 8737): a certificate for each name that no client would believe, made
//! here, given to every gateway through the cluster, and seen there before an authority looks.

use rcgen::{
    CertificateParams, CustomExtension, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256,
};

use super::authority::Proof;
use super::issue::Desk;
use super::method::Method;
use super::record::Failure;
use super::refusal::Refusal;
use crate::inventory::alpn::{self, AlpnAnswer, AlpnAnswers};
use crate::inventory::{Secret, Sensitive};

impl Desk {
    /// Makes what is shown for the proofs of this kind, and gives it to the gateways.
    pub(super) async fn show(
        &self,
        namespace: &str,
        proofs: &[Proof],
        expires: i64,
    ) -> Result<AlpnAnswers, Refusal> {
        let ours = ours(proofs);
        if ours.is_empty() {
            return Ok(AlpnAnswers::default());
        }
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256);
        let key = key.map_err(|_| Refusal::of(Failure::Transient, NO_KEY))?;
        let made = ours.iter().map(|proof| answer(proof, &key, expires));
        let made = made.collect::<Result<AlpnAnswers, Refusal>>()?;
        let add = made.clone();
        self.change_shown(namespace, true, |all| all.extend(add))
            .await?;
        Ok(made)
    }

    /// Takes away what is shown for the proofs of this kind.
    pub(super) async fn unshow(&self, namespace: &str, proofs: &[Proof]) -> Result<(), Refusal> {
        let ours = ours(proofs);
        if ours.is_empty() {
            return Ok(());
        }
        let shown = |answer: &AlpnAnswer| ours.iter().any(|one| one.digest[..] == answer.digest);
        let remove = |all: &mut AlpnAnswers| all.retain(|_, answer| !shown(answer));
        self.change_shown(namespace, false, remove).await
    }

    /// Changes what the gateways show; an object for it is made where `adds` is true alone.
    async fn change_shown(
        &self,
        namespace: &str,
        adds: bool,
        change: impl FnOnce(&mut AlpnAnswers),
    ) -> Result<(), Refusal> {
        let now = (self.clock)();
        let change = |keys: &Secret| {
            let mut all = alpn::answers(keys).unwrap_or_default();
            all.retain(|_, answer| answer.expires > now);
            change(&mut all);
            alpn::text(&all)
        };
        let carrier = alpn::carrier(namespace);
        self.carry(&carrier, alpn::KEY, adds, change).await
    }
}

/// The proofs of this kind.
fn ours(proofs: &[Proof]) -> Vec<&Proof> {
    let proofs = proofs.iter();
    proofs
        .filter(|proof| proof.method == Method::TlsAlpn01)
        .collect()
}

/// The certificate for a proof (RFC 8737, section 3), of the key that all of them have: the one
/// name, and nothing that a name could be too long for.
fn answer(proof: &Proof, key: &KeyPair, expires: i64) -> Result<(String, AlpnAnswer), Refusal> {
    let wrong = |reason: String| {
        let reason = format!(
            "no certificate can be made to show for {}: {reason}",
            proof.name
        );
        Refusal::of(Failure::Transient, &reason)
    };
    let failed = |error: rcgen::Error| wrong(error.to_string());
    let digest: [u8; 32] = match proof.digest.as_slice().try_into() {
        Ok(digest) => digest,
        Err(_) => return Err(wrong("the digest is no SHA-256".to_owned())),
    };
    let mut params = CertificateParams::new(vec![proof.name.clone()]).map_err(failed)?;
    params.distinguished_name = DistinguishedName::new();
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(&digest)];
    let certificate = params.self_signed(key).map_err(failed)?;
    let certificate = Sensitive::new(certificate.pem());
    let key = Sensitive::new(key.serialize_pem());
    AlpnAnswer::read(&certificate, &key, expires).map_err(wrong)
}

const NO_KEY: &str = "no key can be made to show to an authority";

#[cfg(test)]
mod tests {
    use super::*;

    fn proof(name: &str, digest: Vec<u8>) -> Proof {
        Proof {
            method: Method::TlsAlpn01,
            name: name.to_owned(),
            token: "t".to_owned(),
            key_authorization: "t.k".to_owned(),
            digest,
            dns_value: String::new(),
        }
    }

    #[test]
    fn what_is_made_is_for_the_one_name_and_has_the_digest() {
        let long = format!("{}.{}.org", "a".repeat(60), "b".repeat(60));
        for name in ["www.acme.org", &long, "192.0.2.1", "2001:db8::1"] {
            let key = KeyPair::generate().unwrap();
            let (made_for, made) = answer(&proof(name, vec![9; 32]), &key, 5).unwrap();
            assert_eq!(made_for, name);
            assert_eq!((made.digest, made.expires), ([9; 32], 5));
        }
    }

    #[test]
    fn a_digest_that_is_none_is_told() {
        let key = KeyPair::generate().unwrap();
        let refusal = answer(&proof("a.org", vec![9; 31]), &key, 5).unwrap_err();
        assert!(refusal.reason.contains("a.org"), "{}", refusal.reason);
    }
}
