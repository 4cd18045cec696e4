//! A secret of the gateway as an Envoy `Secret` (extensions.transport_sockets.tls.v3). The one
//! place where a secret's text becomes bytes.

use envoy_types::pb::envoy::config::core::v3::DataSource;
use envoy_types::pb::envoy::config::core::v3::data_source::Specifier;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::secret::Type;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, Secret, TlsCertificate,
};

use crate::gateway::{SecretContent, Source, TlsSecret};

/// Writes the message.
pub fn encode(name: &str, secret: &TlsSecret) -> Secret {
    let content = match &secret.content {
        SecretContent::Certificate {
            certificate_chain,
            private_key,
            not_after: _,
        } => Type::TlsCertificate(TlsCertificate {
            certificate_chain: Some(source(certificate_chain)),
            private_key: Some(source(private_key)),
            ..TlsCertificate::default()
        }),
        SecretContent::Validation(trust) => Type::ValidationContext(CertificateValidationContext {
            trusted_ca: trust.trusted_ca.clone().map(inline),
            verify_certificate_hash: trust.certificate_hashes.clone(),
            ..CertificateValidationContext::default()
        }),
    };
    Secret {
        name: name.to_owned(),
        r#type: Some(content),
    }
}

fn source(source: &Source) -> DataSource {
    match source {
        Source::Filename(name) => DataSource {
            specifier: Some(Specifier::Filename(name.clone())),
            ..DataSource::default()
        },
        Source::Inline(text) => inline(text.expose().to_owned()),
    }
}

fn inline(text: String) -> DataSource {
    DataSource {
        specifier: Some(Specifier::InlineString(text)),
        ..DataSource::default()
    }
}
