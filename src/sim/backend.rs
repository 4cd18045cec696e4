//! A small HTTP/1.1 backend, with TLS or without: it says who answered and what it saw, so that
//! a test or the demo can tell what a proxy did. It serves nothing but that.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HOST, HeaderName, HeaderValue, UPGRADE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
};
use tokio::io::{AsyncRead, AsyncWrite, copy, split};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use x509_parser::prelude::{FromDer, X509Certificate};

pub use super::certificate::Identity;

/// One instance of an application: an HTTP/1.1 server that answers every request.
///
/// The body of an answer is `{name} {method} {host}{path}`, over TLS followed by
/// ` tls sni=<name or -> client=<CN of the client certificate or ->`; the header `x-instance` is
/// the name. A request to upgrade to `websocket` is answered 101, and from then on every byte
/// comes back. A client certificate is asked for, not required, and never judged.
///
/// What a request asks for: `x-wait-ms: N`, to be answered after that time; `x-fail-at: NAME`, to
/// be answered 503 by the instance of that name; `x-test-…: V`, the answer header
/// `saw-x-test-…: V`.
pub struct Backend {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    server: JoinHandle<()>,
}

impl Backend {
    /// Listens on the address (SO_REUSEADDR; port 0 takes a free one) and serves until stopped.
    pub async fn start(address: SocketAddr, name: &str, tls: Option<Identity>) -> io::Result<Self> {
        let acceptor = tls.map(|identity| acceptor(&identity)).transpose()?;
        let listener = listen(address)?;
        let address = listener.local_addr()?;
        let (stop, stopped) = watch::channel(false);
        let server = background(serve(listener, name.into(), acceptor, stopped));
        Ok(Self {
            address,
            stop,
            server,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops accepting, closes idle connections, lets requests in flight finish for as long as
    /// `grace`, and cuts what is left then.
    pub async fn stop(mut self, grace: Duration) {
        self.stop.send_replace(true);
        if timeout(grace, &mut self.server).await.is_err() {
            self.server.abort();
        }
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the handle is kept, and aborted on drop"
)]
fn background(server: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    tokio::spawn(server)
}

async fn serve(
    listener: TcpListener,
    name: Arc<str>,
    acceptor: Option<TlsAcceptor>,
    mut stopped: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else {
                    // Out of descriptors, most likely: not to spin on it.
                    sleep(PAUSE).await;
                    continue;
                };
                let (name, acceptor) = (name.clone(), acceptor.clone());
                connections.spawn(connection(stream, name, acceptor, stopped.clone()));
            }
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            () = told(&mut stopped) => break,
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn connection(
    stream: TcpStream,
    name: Arc<str>,
    acceptor: Option<TlsAcceptor>,
    stopped: watch::Receiver<bool>,
) {
    let Some(acceptor) = acceptor else {
        return converse(stream, name, String::new(), stopped).await;
    };
    let Ok(Ok(stream)) = timeout(HANDSHAKE_MAX, acceptor.accept(stream)).await else {
        return;
    };
    let seen = {
        let session = stream.get_ref().1;
        let client = session
            .peer_certificates()
            .and_then(|chain| common_name(chain.first()?));
        format!(
            " tls sni={} client={}",
            session.server_name().unwrap_or("-"),
            client.as_deref().unwrap_or("-")
        )
    };
    converse(stream, name, seen, stopped).await;
}

async fn converse<S>(stream: S, name: Arc<str>, tls: String, mut stopped: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    // An echo belongs to its connection: it must not outlive it unseen.
    let (echoes, mut upgraded) = tokio::sync::mpsc::channel(1);
    let service = service_fn(move |request| {
        let wait = wait(&request);
        let answer = answer(request, &name, &tls, &echoes);
        async move {
            sleep(wait).await;
            Ok::<_, Infallible>(answer)
        }
    });
    let serving = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let mut serving = pin!(serving.with_upgrades());
    tokio::select! {
        _ = serving.as_mut() => {}
        () = told(&mut stopped) => {
            serving.as_mut().graceful_shutdown();
            // An error ends the connection too, and the client is the one to tell of it.
            let _ = serving.as_mut().await;
        }
    }
    if let Ok(upgrade) = upgraded.try_recv() {
        tokio::select! {
            () = echo(upgrade) => {}
            () = told(&mut stopped) => {}
        }
    }
}

/// How long the request wants to wait for its answer.
fn wait(request: &Request<Incoming>) -> Duration {
    let header = request.headers().get("x-wait-ms");
    let text = header.and_then(|value| value.to_str().ok());
    Duration::from_millis(text.and_then(|text| text.parse().ok()).unwrap_or(0))
}

/// What the request had for the backend alone, for the one who asked to see.
fn seen(request: &Request<Incoming>) -> Vec<(HeaderName, HeaderValue)> {
    let headers = request.headers().iter();
    let asked = headers.filter(|(name, _)| name.as_str().starts_with("x-test-"));
    let seen = asked.filter_map(|(name, value)| {
        let name = HeaderName::try_from(format!("saw-{name}")).ok()?;
        Some((name, value.clone()))
    });
    seen.collect()
}

fn answer(
    mut request: Request<Incoming>,
    name: &str,
    tls: &str,
    echoes: &tokio::sync::mpsc::Sender<hyper::upgrade::OnUpgrade>,
) -> Response<Body> {
    let header = request
        .headers()
        .get(HOST)
        .and_then(|host| host.to_str().ok());
    let host = header
        .or_else(|| request.uri().host())
        .unwrap_or("-")
        .to_owned();
    let path = request
        .uri()
        .path_and_query()
        .map_or("/", |path| path.as_str());
    let body = format!("{name} {} {host}{path}{tls}\n", request.method());
    let (seen, fails) = (seen(&request), request.headers().get("x-fail-at"));
    let fails = fails.is_some_and(|at| at.as_bytes() == name.as_bytes());
    let asked = request.headers().get(UPGRADE);
    let upgrade = asked.is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(b"websocket"));
    let mut response = Response::new(if upgrade {
        Body::empty()
    } else {
        Body::from(body)
    });
    if upgrade {
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        response
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("upgrade"));
        response
            .headers_mut()
            .insert(UPGRADE, HeaderValue::from_static("websocket"));
        // A connection upgrades once; a second request on it cannot be.
        let _ = echoes.try_send(hyper::upgrade::on(&mut request));
    }
    if let Ok(value) = HeaderValue::from_str(name) {
        response.headers_mut().insert("x-instance", value);
    }
    if fails {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    response.headers_mut().extend(seen);
    response
}

/// Waits until the backend is told to stop, or is gone.
async fn told(stopped: &mut watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stop| *stop).await;
}

async fn echo(upgrade: hyper::upgrade::OnUpgrade) {
    let Ok(upgraded) = upgrade.await else { return };
    let (mut reader, mut writer) = split(TokioIo::new(upgraded));
    // Ends with the client; how it ended is the client's to say.
    let _ = copy(&mut reader, &mut writer).await;
}

fn acceptor(identity: &Identity) -> io::Result<TlsAcceptor> {
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(identity.chain_pem.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(io::Error::other)?;
    let key =
        PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes()).map_err(io::Error::other)?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = Arc::new(AnyClient(provider.clone()));
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(io::Error::other)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn common_name(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let name = certificate
        .subject()
        .iter_common_name()
        .next()?
        .as_str()
        .ok()?;
    Some(name.to_owned())
}

/// Takes any client certificate whose key the client can prove, and none too.
#[derive(Debug)]
struct AnyClient(Arc<CryptoProvider>);

impl ClientCertVerifier for AnyClient {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// What the kernel keeps for a moment when nobody accepts.
const BACKLOG: u32 = 1024;

/// Between two tries to accept, when the first failed.
const PAUSE: Duration = Duration::from_millis(10);

/// A client that connects and says nothing must not stay for ever.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::super::certificate::Authority;
    use super::*;
    use rustls::{ClientConfig, RootCertStore};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio_rustls::TlsConnector;

    const ANY: &str = "127.0.0.1:0";

    async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, request: &str) -> String {
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8(answer).unwrap()
    }

    #[tokio::test]
    async fn an_answer_tells_who_and_what() {
        let backend = Backend::start(ANY.parse().unwrap(), "web1-a", None)
            .await
            .unwrap();
        let mut stream = TcpStream::connect(backend.address()).await.unwrap();
        let request = "GET /a?b=1 HTTP/1.1\r\nhost: web.example.org\r\nconnection: close\r\n\r\n";
        let answer = exchange(&mut stream, request).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains("x-instance: web1-a\r\n"), "{answer}");
        assert!(
            answer.ends_with("web1-a GET web.example.org/a?b=1\n"),
            "{answer}"
        );
    }

    #[tokio::test]
    async fn tls_tells_the_server_name_and_the_client() {
        let authority = Authority::new("ca").unwrap();
        let identity = authority.issue("web1", &["web.example.org"]).unwrap();
        let client = authority.issue("envoy", &[]).unwrap();
        let address = ANY.parse().unwrap();
        let backend = Backend::start(address, "web1-a", Some(identity))
            .await
            .unwrap();
        for (with, expected) in [(Some(client), "envoy"), (None, "-")] {
            let mut roots = RootCertStore::empty();
            roots
                .add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap())
                .unwrap();
            let provider = Arc::new(aws_lc_rs::default_provider());
            let config = ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(roots);
            let config = match with {
                None => config.with_no_client_auth(),
                Some(client) => {
                    let chain = CertificateDer::pem_slice_iter(client.chain_pem.as_bytes());
                    let key = PrivateKeyDer::from_pem_slice(client.key_pem.as_bytes()).unwrap();
                    config
                        .with_client_auth_cert(chain.map(Result::unwrap).collect(), key)
                        .unwrap()
                }
            };
            let stream = TcpStream::connect(backend.address()).await.unwrap();
            let connector = TlsConnector::from(Arc::new(config));
            let name = "web.example.org".try_into().unwrap();
            let mut stream = connector.connect(name, stream).await.unwrap();
            let request = "GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n";
            let answer = exchange(&mut stream, request).await;
            let tail = format!("web1-a GET h/ tls sni=web.example.org client={expected}\n");
            assert!(answer.ends_with(&tail), "{answer}");
        }
    }

    #[tokio::test]
    async fn an_upgraded_connection_echoes() {
        let backend = Backend::start(ANY.parse().unwrap(), "ws", None)
            .await
            .unwrap();
        let mut stream = TcpStream::connect(backend.address()).await.unwrap();
        let request = "GET /ws HTTP/1.1\r\nhost: h\r\nconnection: Upgrade\r\n\
                       upgrade: WebSocket\r\n\r\n";
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        stream.write_all(b"\x81\x02hi").await.unwrap();
        let mut echoed = [0; 4];
        stream.read_exact(&mut echoed).await.unwrap();
        assert_eq!(&echoed, b"\x81\x02hi");
    }

    #[tokio::test]
    async fn a_stopped_backend_closes_idle_connections_and_refuses_new_ones() {
        let backend = Backend::start(ANY.parse().unwrap(), "web", None)
            .await
            .unwrap();
        let address = backend.address();
        let mut idle = TcpStream::connect(address).await.unwrap();
        idle.write_all(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n")
            .await
            .unwrap();
        let mut chunk = [0; 1024];
        assert!(idle.read(&mut chunk).await.unwrap() > 0);
        // One that is in the middle of its request may finish it.
        let mut busy = TcpStream::connect(address).await.unwrap();
        busy.write_all(b"GET /slow HTTP/1.1\r\n").await.unwrap();
        sleep(Duration::from_millis(50)).await;
        let stopping = backend.stop(Duration::from_secs(5));
        let clients = async {
            while idle.read(&mut chunk).await.unwrap() > 0 {}
            let answer = exchange(&mut busy, "host: h\r\n\r\n").await;
            assert!(answer.ends_with("web GET h/slow\n"), "{answer}");
        };
        tokio::join!(stopping, clients);
        assert!(TcpStream::connect(address).await.is_err());
    }
}
