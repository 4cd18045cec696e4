//! The listeners of the HTTP/2 interface: a unix socket, whose clients are root, and TLS, whose
//! clients are who their certificates say.

use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::grants::User;
use super::http::{converse, namespaces};
use super::raw::{Shared, bind};

/// Where clients come in.
#[derive(Clone)]
pub(super) enum Door {
    /// `h2.sock`.
    Unix(PathBuf),
    /// Port 1215.
    Tls(SocketAddr, TlsAcceptor),
}

/// An open [`Door`].
pub(super) enum Listener {
    Unix(UnixListener),
    Tcp(TcpListener),
}

/// A certificate that is sent to whoever asks, good or bad.
#[derive(Debug)]
struct Always(Arc<CertifiedKey>);

impl ResolvesServerCert for Always {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

impl Door {
    /// A TLS listener that shows this certificate, and takes those of clients from the
    /// authority.
    pub(super) fn tls(
        address: SocketAddr,
        chain_pem: &str,
        key_pem: &str,
        authority_pem: &str,
    ) -> io::Result<Self> {
        let config = config(chain_pem, key_pem, authority_pem).map_err(io::Error::other)?;
        Ok(Self::Tls(address, TlsAcceptor::from(Arc::new(config))))
    }

    /// Opens it.
    pub(super) fn open(&self) -> io::Result<Listener> {
        match self {
            Self::Unix(socket) => Ok(Listener::Unix(bind(socket)?)),
            Self::Tls(address, _) => {
                let listener = std::net::TcpListener::bind(address)?;
                listener.set_nonblocking(true)?;
                Ok(Listener::Tcp(TcpListener::from_std(listener)?))
            }
        }
    }
}

impl Listener {
    /// Where a TLS listener is.
    pub(super) fn address(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
            Self::Tcp(listener) => listener.local_addr(),
        }
    }
}

fn config(
    chain_pem: &str,
    key_pem: &str,
    authority_pem: &str,
) -> Result<ServerConfig, Box<dyn std::error::Error + Send + Sync>> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority_pem.as_bytes())?)?;
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .allow_unauthenticated()
            .build()?;
    let chain = CertificateDer::pem_slice_iter(chain_pem.as_bytes());
    let chain = chain.collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes())?;
    let key = provider.key_provider.load_private_key(key)?;
    let resolver = Always(Arc::new(CertifiedKey::new(chain, key)));
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(resolver));
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// Serves for ever; while the daemon is down, or refuses, nobody is let in.
pub(super) async fn serve(shared: Arc<Shared>, door: Door, listener: Listener) {
    let mut listener = Some(listener);
    let mut connections = JoinSet::new();
    loop {
        let (down, refuse) = {
            let state = shared.lock();
            (state.restart.is_some(), state.refuse)
        };
        if down {
            connections.shutdown().await;
        }
        if down || refuse {
            listener = None;
        } else if listener.is_none() {
            listener = door.open().ok();
        }
        tokio::select! {
            () = admit(&shared, &door, listener.as_ref(), &mut connections) => {}
            () = sleep(PACE) => {}
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn admit(
    shared: &Arc<Shared>,
    door: &Door,
    listener: Option<&Listener>,
    connections: &mut JoinSet<()>,
) {
    match (listener, door) {
        (Some(Listener::Unix(listener)), _) => {
            if let Ok((stream, _)) = listener.accept().await {
                connections.spawn(converse(shared.clone(), stream, Some(User::root())));
            }
        }
        (Some(Listener::Tcp(listener)), Door::Tls(_, acceptor)) => {
            if let Ok((stream, _)) = listener.accept().await {
                // A failure costs time only.
                let _ = stream.set_nodelay(true);
                connections.spawn(over_tls(shared.clone(), stream, acceptor.clone()));
            }
        }
        _ => pending().await,
    }
}

async fn over_tls(shared: Arc<Shared>, stream: TcpStream, acceptor: TlsAcceptor) {
    let Ok(Ok(stream)) = timeout(HANDSHAKE_MAX, acceptor.accept(stream)).await else {
        return;
    };
    let certificate = stream.get_ref().1.peer_certificates();
    let certificate = certificate.and_then(|chain| chain.first());
    let user = certificate.map(|certificate| {
        let state = shared.lock();
        let name = common_name(certificate).unwrap_or_default();
        match state.accounts.users.get(&name) {
            Some((grant, _)) => User::new(&name, "x509", grant, &namespaces(&state)),
            None => User::nobody(),
        }
    });
    converse(shared, stream, user).await;
}

fn common_name(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let name = certificate.subject().iter_common_name().next()?.as_str();
    name.ok().map(str::to_owned)
}

/// How often it is looked whether the daemon goes down.
const PACE: Duration = Duration::from_millis(5);
const HANDSHAKE_MAX: Duration = Duration::from_secs(5);
