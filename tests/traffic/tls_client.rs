//! A client of TLS listeners: with a certificate of its own or without, and with any host.

use std::net::SocketAddr;
use std::time::Duration;

use osvc_igw::sim::certificate::{Authority, Identity};
use reqwest::header::HeaderMap;
use reqwest::tls::TlsInfo;
use reqwest::{Certificate, Client};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// What a client saw.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
    pub(crate) certificate: Vec<u8>,
}

/// A GET on a connection of its own to `https` or `http` on the port, whatever the host.
pub(crate) async fn get(
    url: &str,
    port: u16,
    authority: &Authority,
    identity: Option<&Identity>,
    host: Option<&str>,
) -> Result<Answer, String> {
    let name = url.split("://").nth(1).expect("a host");
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let ca = Certificate::from_pem(authority.pem().as_bytes()).expect("a certificate");
    let mut client = Client::builder()
        .resolve(name, address)
        .tls_certs_only([ca])
        .tls_info(true)
        .http1_only()
        .no_proxy()
        .timeout(Duration::from_secs(5));
    if let Some(Identity { chain_pem, key_pem }) = identity {
        let pem = format!("{key_pem}{chain_pem}");
        let identity = reqwest::Identity::from_pem(pem.as_bytes()).expect("an identity");
        client = client.identity(identity);
    }
    let client = client.build().expect("a client");
    let mut request = client.get(format!("{url}:{port}/"));
    if let Some(host) = host {
        request = request.header("host", host);
    }
    let response = request.send().await.map_err(|error| format!("{error:?}"))?;
    let info = response.extensions().get::<TlsInfo>();
    let certificate = info.and_then(TlsInfo::peer_certificate);
    Ok(Answer {
        status: response.status().as_u16(),
        headers: response.headers().clone(),
        certificate: certificate.unwrap_or_default().to_vec(),
        body: response.text().await.map_err(|error| error.to_string())?,
    })
}

/// The first certificate of the chain.
pub(crate) fn leaf(identity: &Identity) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(identity.chain_pem.as_bytes()).expect("a certificate")
}

/// The hash as openssl prints a fingerprint.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    let suite = rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
    let suite = suite.tls13().expect("a suite of TLS 1.3");
    let hash = suite.common.hash_provider.hash(bytes);
    let digits = hash.as_ref().iter().map(|byte| format!("{byte:02X}"));
    digits.collect::<Vec<_>>().join(":")
}
