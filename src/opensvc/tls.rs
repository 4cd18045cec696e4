//! EDGE: TLS to a daemon's port 1215, and who this process is there. The files are read for each
//! connection: certificates and tokens are renewed by others.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::HeaderValue;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{CertificateError, ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::Error;
use super::probe;
use crate::inventory::Sensitive;

/// A daemon's TLS listener.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Server {
    /// Its name or address; its certificate has to have it.
    pub host: String,
    /// Its port.
    pub port: u16,
}

/// Whom to believe, and who this process is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Access {
    /// The certificate of the daemons' authority, PEM.
    pub ca: PathBuf,
    /// How this process shows who it is.
    pub login: Login,
}

/// How a client shows who it is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Login {
    /// A certificate of the daemons' authority, and its key.
    Certificate {
        /// The certificates, PEM.
        chain: PathBuf,
        /// The key, PEM.
        key: PathBuf,
    },
    /// The name of a user of the namespace `system`, and its password.
    Password {
        /// The name.
        user: String,
        /// The password, or where it is.
        password: Password,
    },
    /// A token of an OpenID provider, in a file.
    Token(PathBuf),
}

/// A password, or where it is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Password {
    /// In a file.
    File(PathBuf),
    /// Here.
    Given(Sensitive),
}

impl Access {
    /// Connects, and makes sure that an agent 2.x is at the other end.
    pub(super) async fn connect(
        &self,
        server: &Server,
        limit: Duration,
    ) -> Result<TlsStream<TcpStream>, Error> {
        let address = server.address();
        let config = Arc::new(self.config().await?);
        let stream = match timeout(limit, self.open(server, config)).await {
            Ok(stream) => stream?,
            Err(_) => {
                let source = io::ErrorKind::TimedOut.into();
                return Err(Error::Connect { address, source });
            }
        };
        if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
            return Ok(stream);
        }
        Err(probe::not_http2(address, stream).await)
    }

    async fn open(
        &self,
        server: &Server,
        config: Arc<ClientConfig>,
    ) -> Result<TlsStream<TcpStream>, Error> {
        let address = server.address();
        let name = ServerName::try_from(server.host.clone()).map_err(|_| Error::Tls {
            address: address.clone(),
            reason: "this is no name that a certificate can have".to_owned(),
        })?;
        let connecting = async {
            let tcp = TcpStream::connect((server.host.as_str(), server.port)).await?;
            // A small frame must not wait for an acknowledgement.
            tcp.set_nodelay(true)?;
            Ok(tcp)
        };
        let tcp = connecting.await.map_err(|source| Error::Connect {
            address: address.clone(),
            source,
        })?;
        let connecting = TlsConnector::from(config).connect(name, tcp);
        connecting.await.map_err(|error| Error::Tls {
            reason: reason(&error, server),
            address,
        })
    }

    async fn config(&self) -> Result<ClientConfig, Error> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates("--ca", &self.ca).await? {
            let added = roots.add(certificate);
            added.map_err(|error| credentials("--ca", &self.ca, &error.to_string()))?;
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| credentials("--ca", &self.ca, &error.to_string()))?
            .with_root_certificates(roots);
        let mut config = match &self.login {
            Login::Certificate { chain, key } => {
                let certificates = certificates("--client-cert", chain).await?;
                let text = read("--client-key", key).await?;
                let private = PrivateKeyDer::from_pem_slice(text.expose().as_bytes());
                let private =
                    private.map_err(|_| credentials("--client-key", key, "it holds no key"))?;
                let built = builder.with_client_auth_cert(certificates, private);
                built.map_err(|error| credentials("--client-cert", chain, &own(&error)))?
            }
            Login::Password { .. } | Login::Token(_) => builder.with_no_client_auth(),
        };
        // An agent 2.x takes the first. One that takes the second is another, and can be asked.
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }

    /// The header that goes with each request.
    pub(super) async fn authorization(&self) -> Result<Option<HeaderValue>, Error> {
        let (option, path, text) = match &self.login {
            Login::Certificate { .. } => return Ok(None),
            Login::Token(path) => {
                let token = read("--token-file", path).await?;
                let text = format!("Bearer {}", token.expose().trim());
                ("--token-file", path.as_path(), Sensitive::new(text))
            }
            Login::Password { user, password } => {
                let (path, password) = match password {
                    Password::File(path) => (path.as_path(), read("--password-file", path).await?),
                    Password::Given(password) => (Path::new("password"), password.clone()),
                };
                let password = password.expose().trim_end_matches(['\r', '\n']);
                let pair = Sensitive::new(format!("{user}:{password}"));
                let coded = Sensitive::new(BASE64_STANDARD.encode(pair.expose()));
                let text = Sensitive::new(format!("Basic {}", coded.expose()));
                ("--password-file", path, text)
            }
        };
        let value = HeaderValue::from_str(text.expose());
        let mut value =
            value.map_err(|_| credentials(option, path, "it is no text of one line"))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

impl Server {
    /// `host:port`, as in an address bar.
    pub(super) fn address(&self) -> String {
        let Self { host, port } = self;
        match host.contains(':') {
            true => format!("[{host}]:{port}"),
            false => format!("{host}:{port}"),
        }
    }
}

async fn read(option: &'static str, path: &Path) -> Result<Sensitive, Error> {
    let text = tokio::fs::read_to_string(path).await;
    let text = text.map_err(|error| credentials(option, path, &error.to_string()))?;
    Ok(Sensitive::new(text))
}

async fn certificates(
    option: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, Error> {
    let text = read(option, path).await?;
    let parsed = CertificateDer::pem_slice_iter(text.expose().as_bytes());
    let parsed = parsed.collect::<Result<Vec<_>, _>>().unwrap_or_default();
    match parsed.is_empty() {
        true => Err(credentials(option, path, "it holds no certificate")),
        false => Ok(parsed),
    }
}

fn credentials(option: &'static str, path: &Path, reason: &str) -> Error {
    Error::Credentials {
        option,
        path: path.to_owned(),
        reason: reason.to_owned(),
    }
}

/// What is wrong with this process's own certificate.
fn own(error: &rustls::Error) -> String {
    match is_old(error) {
        true => format!(
            "{OLD}; make a new user with `om system/usr/NAME create --kw alt_names=NAME --kw \
             \"grant=...\"` and use its certificate_chain and private_key"
        ),
        false => error.to_string(),
    }
}

/// Why TLS does not come about, and what helps.
fn reason(error: &io::Error, server: &Server) -> String {
    let inner = error.get_ref();
    let Some(inner) = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()) else {
        return error.to_string();
    };
    let host = &server.host;
    let remedy = format!(
        "make one with `om system/sec/NAME create --kw ca=system/sec/CA --kw cn=CLUSTER --kw \
         \"alt_names={host} ...\"`, name it with `om cluster set --kw \
         cluster.cert=system/sec/NAME`, and restart the daemon"
    );
    match inner {
        error if is_old(error) => format!("its certificate cannot be used: {OLD}; {remedy}"),
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => format!("its certificate has no alt_names with {host}; {remedy}"),
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "its certificate is not of the authority in --ca".to_owned()
        }
        error => error.to_string(),
    }
}

/// Whether a certificate is of X.509 version 1. The type of this error is not public.
fn is_old(error: &rustls::Error) -> bool {
    format!("{error:?}").contains("UnsupportedCertVersion")
}

const OLD: &str = "it is X.509 version 1, as the agent makes it without alt_names";
