//! EDGE: looks at the gateways as an authority and as a client do: whether each of them answers a
//! challenge, and which certificate it shows. That they were told is no proof.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, aws_lc_rs::default_provider};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::version::TLS13;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::leaf::Leaf;
use crate::clock::now;
use crate::inventory::alpn::{AlpnAnswer, AlpnAnswers, PROTOCOL, claim, server_name};
use crate::inventory::challenge::Challenge;

/// Says whether every client of this process took what answers a challenge, by a text that stands
/// in nothing else.
pub type Acked = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// Where the gateways are.
#[derive(Clone)]
pub struct Door {
    /// Their addresses; empty to go where the names lead.
    pub gateways: Vec<IpAddr>,
    /// The port where authorities ask.
    pub http_port: u16,
    /// The port where clients see certificates.
    pub https_port: u16,
    /// How long they get to answer a challenge, before the try is given up.
    pub answered_max: Duration,
    /// How long they get to show a new certificate before it is noted that they do not.
    pub shown_max: Duration,
    /// What the gateways said, where this process is told.
    pub acked: Option<Acked>,
}

impl Door {
    /// Waits until every gateway answers every challenge.
    ///
    /// # Errors
    /// When one does not in time: which, and what it answers.
    pub async fn answers(&self, challenges: &[Challenge]) -> Result<(), String> {
        let until = now() + self.answered_max;
        for challenge in challenges {
            loop {
                let reason = match self.check(challenge).await {
                    Ok(()) => break,
                    Err(reason) => reason,
                };
                if now() >= until {
                    return Err(format!(
                        "the challenge for {} is not answered: {reason}",
                        challenge.name
                    ));
                }
                sleep(POLL).await;
            }
        }
        Ok(())
    }

    /// Waits until every gateway shows every answer to who asks as an authority does.
    ///
    /// # Errors
    /// When one does not in time: which, and what it shows.
    pub async fn answers_by_tls(&self, answers: &AlpnAnswers) -> Result<(), String> {
        let until = now() + self.answered_max;
        for (name, answer) in answers {
            loop {
                let reason = match self.check_tls(name, answer).await {
                    Ok(()) => break,
                    Err(reason) => reason,
                };
                if now() >= until {
                    return Err(format!(
                        "the challenge for {name} is not answered: {reason}"
                    ));
                }
                sleep(POLL).await;
            }
        }
        Ok(())
    }

    async fn check_tls(&self, name: &str, answer: &AlpnAnswer) -> Result<(), String> {
        self.check_acked(&answer.id(name))?;
        let asked = server_name(name);
        for address in self.addresses(name, self.https_port).await? {
            let shown = timeout(EXCHANGE_MAX, handshake(address, &asked, &[PROTOCOL])).await;
            let shown = shown.unwrap_or_else(|_| Err("no handshake in time".to_owned()));
            let shown = shown.map_err(|reason| format!("{address}: {reason}"))?;
            if shown.protocol != PROTOCOL.as_bytes() {
                return Err(format!("{address} does not speak {PROTOCOL} for {name}"));
            }
            if claim(&shown.leaf) != Some((name.to_owned(), answer.digest)) {
                return Err(format!("{address} shows another certificate for {name}"));
            }
        }
        Ok(())
    }

    /// Whether every client that is known took what has this in it.
    fn check_acked(&self, id: &str) -> Result<(), String> {
        match &self.acked {
            Some(acked) if !acked(id) => Err("a gateway has not taken it".to_owned()),
            _ => Ok(()),
        }
    }

    async fn check(&self, challenge: &Challenge) -> Result<(), String> {
        self.check_acked(&challenge.token)?;
        for address in self.addresses(&challenge.name, self.http_port).await? {
            let answer = timeout(EXCHANGE_MAX, get(address, challenge)).await;
            let answer = answer.unwrap_or_else(|_| Err("no answer in time".to_owned()));
            answer.map_err(|reason| format!("{address}: {reason}"))?;
        }
        Ok(())
    }

    /// Waits until every gateway shows the certificate to who asks for the name.
    ///
    /// # Errors
    /// When one does not in time: which, and what it shows.
    pub async fn shows(&self, name: &str, leaf: &Leaf) -> Result<(), String> {
        let until = now() + self.shown_max;
        loop {
            let reason = match self.shown(name, leaf).await {
                Ok(()) => return Ok(()),
                Err(reason) => reason,
            };
            if now() >= until {
                return Err(reason);
            }
            sleep(POLL).await;
        }
    }

    async fn shown(&self, name: &str, leaf: &Leaf) -> Result<(), String> {
        for address in self.addresses(name, self.https_port).await? {
            let shown = timeout(EXCHANGE_MAX, handshake(address, name, &[])).await;
            let shown = shown.unwrap_or_else(|_| Err("no handshake in time".to_owned()));
            let shown = shown.map_err(|reason| format!("{address}: {reason}"))?;
            if Leaf::of_der(&shown.leaf).is_none_or(|shown| shown.serial != leaf.serial) {
                return Err(format!("{address} shows another certificate for {name}"));
            }
        }
        Ok(())
    }

    async fn addresses(&self, name: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
        if !self.gateways.is_empty() {
            let gateways = self.gateways.iter();
            return Ok(gateways.map(|ip| SocketAddr::new(*ip, port)).collect());
        }
        let name = name.trim_matches(['[', ']']);
        let found = lookup_host((name, port)).await;
        found
            .map(Iterator::collect)
            .map_err(|error| format!("{name} leads nowhere: {error}"))
    }
}

async fn get(address: SocketAddr, challenge: &Challenge) -> Result<(), String> {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        let request = format!(
            "GET {} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n",
            challenge.path(),
            challenge.name
        );
        stream.write_all(request.as_bytes()).await?;
        let mut bytes = Vec::new();
        stream
            .take(ANSWER_BYTES_MAX)
            .read_to_end(&mut bytes)
            .await?;
        Ok::<_, std::io::Error>(bytes)
    };
    let bytes = exchange.await.map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&bytes);
    let line = text.lines().next().unwrap_or_default();
    if line.split(' ').nth(1) != Some("200") {
        return Err(format!("answers {line:?}"));
    }
    let body = text.split_once("\r\n\r\n").map(|(_, body)| body);
    match body == Some(challenge.key_authorization.as_str()) {
        true => Ok(()),
        false => Err("answers something else".to_owned()),
    }
}

/// What a server shows.
struct Seen {
    /// Its certificate, in DER.
    leaf: Vec<u8>,
    /// The protocol that was agreed on; empty for none.
    protocol: Vec<u8>,
}

async fn handshake(address: SocketAddr, name: &str, protocols: &[&str]) -> Result<Seen, String> {
    let provider = Arc::new(default_provider());
    let algorithms = provider.signature_verification_algorithms;
    let versions = match protocols.is_empty() {
        true => rustls::ALL_VERSIONS,
        // The one in which any certificate can be looked at, see there.
        false => &[&TLS13][..],
    };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Looks(algorithms)))
        .with_no_client_auth();
    config.alpn_protocols = protocols
        .iter()
        .map(|one| one.as_bytes().to_vec())
        .collect();
    let server = ServerName::try_from(name.to_owned()).map_err(|error| error.to_string())?;
    let stream = TcpStream::connect(address)
        .await
        .map_err(|error| error.to_string())?;
    let connected = TlsConnector::from(Arc::new(config))
        .connect(server, stream)
        .await;
    let connected = connected.map_err(|error| error.to_string())?;
    let (_, session) = connected.get_ref();
    let leaf = session.peer_certificates().and_then(|chain| chain.first());
    Ok(Seen {
        leaf: leaf.map(|leaf| leaf.to_vec()).unwrap_or_default(),
        protocol: session.alpn_protocol().unwrap_or_default().to_vec(),
    })
}

/// Looks at any certificate: what is sent afterwards is nothing.
#[derive(Debug)]
struct Looks(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Looks {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, signed, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        // A certificate that answers a challenge has an extension that only authorities know.
        let (_, cert) = X509Certificate::from_der(cert).map_err(|_| NO_CERTIFICATE)?;
        let key = SubjectPublicKeyInfoDer::from(cert.public_key().raw);
        verify_tls13_signature_with_raw_key(message, &key, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

const NO_CERTIFICATE: Error = Error::InvalidCertificate(CertificateError::BadEncoding);
const POLL: Duration = Duration::from_millis(200);
const EXCHANGE_MAX: Duration = Duration::from_secs(5);
/// How long the gateways get to answer: the daemon tells them within 14 s.
pub const ANSWERED_MAX: Duration = Duration::from_secs(60);
/// How long the gateways get to show a new certificate.
pub const SHOWN_MAX: Duration = Duration::from_secs(30);
const ANSWER_BYTES_MAX: u64 = 16 * 1024;
