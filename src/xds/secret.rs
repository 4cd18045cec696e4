//! A key pair as an Envoy `Secret` (extensions.transport_sockets.tls.v3). The one place where a
//! secret's text becomes bytes.

use envoy_types::pb::envoy::config::core::v3::DataSource;
use envoy_types::pb::envoy::config::core::v3::data_source::Specifier;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::secret::Type;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::{Secret, TlsCertificate};

use crate::gateway::TlsSecret;
use crate::inventory::Sensitive;

/// Writes the message.
pub fn encode(name: &str, secret: &TlsSecret) -> Secret {
    Secret {
        name: name.to_owned(),
        r#type: Some(Type::TlsCertificate(TlsCertificate {
            certificate_chain: Some(inline(&secret.certificate_chain)),
            private_key: Some(inline(&secret.private_key)),
            ..TlsCertificate::default()
        })),
    }
}

fn inline(text: &Sensitive) -> DataSource {
    DataSource {
        specifier: Some(Specifier::InlineString(text.expose().to_owned())),
        ..DataSource::default()
    }
}
