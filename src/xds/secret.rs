//! A secret of the gateway as an Envoy `Secret` (extensions.transport_sockets.tls.v3). The one
//! place where a secret's text becomes bytes.

use envoy_types::pb::envoy::config::core::v3::DataSource;
use envoy_types::pb::envoy::config::core::v3::data_source::Specifier;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::secret::Type;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, Secret, TlsCertificate,
};

use prost::Message;

use super::Resource;
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

/// The same secret in other words: a text as bytes, a file by another spelling of its path. Of a
/// body that is no secret, nothing differs.
pub(super) fn reworded(resource: &Resource) -> Resource {
    let mut resource = resource.clone();
    if let Ok(mut secret) = Secret::decode(resource.body.as_slice()) {
        for source in sources(&mut secret) {
            source.specifier = source.specifier.take().map(|specifier| match specifier {
                Specifier::InlineString(text) => Specifier::InlineBytes(text.into_bytes()),
                Specifier::Filename(path) => Specifier::Filename(detour(&path)),
                other => other,
            });
        }
        resource.body = secret.encode_to_vec();
    }
    resource
}

fn sources(secret: &mut Secret) -> impl Iterator<Item = &mut DataSource> {
    let sources = match &mut secret.r#type {
        Some(Type::TlsCertificate(pair)) => {
            [pair.certificate_chain.as_mut(), pair.private_key.as_mut()]
        }
        Some(Type::ValidationContext(trust)) => [trust.trusted_ca.as_mut(), None],
        _ => [None, None],
    };
    sources.into_iter().flatten()
}

/// The same file, by way of its own folder.
fn detour(path: &str) -> String {
    match path.rsplit_once('/') {
        Some((folder, file)) => format!("{folder}/./{file}"),
        None => format!("./{path}"),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::certificate::Trust;
    use crate::xds::Version;

    fn resource(secret: &Secret) -> Resource {
        let mut resource = Resource::new("s", Version::of(&"s"));
        resource.body = secret.encode_to_vec();
        resource
    }

    #[test]
    fn a_text_is_said_as_bytes_and_a_file_by_a_detour() {
        let pair = TlsCertificate {
            certificate_chain: Some(inline("chain".to_owned())),
            private_key: Some(source(&Source::Filename("/keys/key.pem".to_owned()))),
            ..TlsCertificate::default()
        };
        let secret = Secret {
            name: "s".to_owned(),
            r#type: Some(Type::TlsCertificate(pair)),
        };
        let mut other = Secret::decode(reworded(&resource(&secret)).body.as_slice()).unwrap();
        let said: Vec<_> = sources(&mut other)
            .filter_map(|source| source.specifier.clone())
            .collect();
        let expected = [
            Specifier::InlineBytes(b"chain".to_vec()),
            Specifier::Filename("/keys/./key.pem".to_owned()),
        ];
        assert!(said == expected);
    }

    #[test]
    fn what_is_no_secret_stays_as_it_is() {
        let mut broken = Resource::new("s", Version::of(&"s"));
        broken.body = vec![0xff; 3];
        assert!(reworded(&broken) == broken);
        let hashes = SecretContent::Validation(Trust {
            trusted_ca: None,
            certificate_hashes: vec!["ab".to_owned()],
        });
        let origin = crate::gateway::Origin {
            object: "test/sec/s".parse().unwrap(),
            section: "".into(),
        };
        let secret = TlsSecret {
            origin,
            content: hashes,
        };
        let secret = encode("s", &secret);
        assert!(reworded(&resource(&secret)) == resource(&secret));
    }
}
