//! A throw-away certificate authority: keys and certificates for backends, listeners and clients
//! of tests and the demo. Nothing here is fit for anything else, and nothing is written to disk.

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};

/// A certificate authority with a key of its own.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A key and the certificates that go with it, leaf first, authority last.
#[derive(Clone)]
pub struct Identity {
    /// The certificates, PEM.
    pub chain_pem: String,
    /// The private key, PKCS#8 PEM.
    pub key_pem: String,
}

impl Authority {
    /// Makes a new authority whose certificate says `CN=name`.
    pub fn new(name: &str) -> Result<Self, rcgen::Error> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name = named(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let pem = params.self_signed(&key)?.pem();
        Ok(Self {
            issuer: Issuer::new(params, key),
            pem,
        })
    }

    /// The authority's own certificate, PEM: what the other side has to trust.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Issues an ECDSA P-256 certificate for `CN=cn` with these DNS names and addresses, good
    /// for servers and for clients.
    pub fn issue(&self, cn: &str, names: &[&str]) -> Result<Identity, rcgen::Error> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name = named(cn);
        params.use_authority_key_identifier_extension = true;
        let leaf = params.signed_by(&key, &self.issuer)?;
        let chain_pem = format!("{}{}", leaf.pem(), self.pem);
        Ok(Identity {
            chain_pem,
            key_pem: key.serialize_pem(),
        })
    }
}

fn named(cn: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, cn);
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use x509_parser::pem::Pem;

    #[test]
    fn an_issued_certificate_names_its_subject_and_its_authority() {
        let authority = Authority::new("demo-ca").unwrap();
        let identity = authority
            .issue("web1", &["web1.example.org", "127.0.0.2"])
            .unwrap();
        let chain: Vec<Pem> = Pem::iter_from_buffer(identity.chain_pem.as_bytes())
            .map(Result::unwrap)
            .collect();
        assert_eq!(chain.len(), 2);
        let leaf = chain[0].parse_x509().unwrap();
        let root = chain[1].parse_x509().unwrap();
        assert_eq!(leaf.subject().to_string(), "CN=web1");
        assert_eq!(leaf.issuer(), root.subject());
        let names = leaf.subject_alternative_name().unwrap().unwrap();
        assert_eq!(names.value.general_names.len(), 2);
        assert!(identity.key_pem.contains("PRIVATE KEY"));
    }
}
