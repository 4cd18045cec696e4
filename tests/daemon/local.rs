//! The daemon of this node, by whichever of its sockets is there; and who else may be there.

use futures::StreamExt;
use osvc_igw::inventory::{Event, Write};
use osvc_igw::opensvc::h2::H2;
use osvc_igw::opensvc::local::Local;
use osvc_igw::opensvc::tls::Server;
use osvc_igw::opensvc::{Daemon, Error};
use osvc_igw::sim::Sim;
use osvc_igw::sim::certificate::Identity;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};

use super::sites::SERVICE;
use super::{Site, Way};
use crate::support::folder::Folder;

async fn first(daemon: &Local) -> Result<Event, Error> {
    daemon.watch().next().await.expect("an event")
}

#[tokio::test]
async fn the_socket_of_http2_is_preferred_to_the_raw_one_beside_it() {
    let site = Site::start(Way::Raw);
    let sockets = [site.path("osvcd.sock"), site.path("lsnr.sock")];
    let daemon = Local::first_of(sockets.to_vec());
    first(&daemon).await.expect("a status");
    assert_eq!(site.sim.requests("daemon_status"), 0);
    daemon
        .read_config(&SERVICE.parse().expect("a path"))
        .await
        .expect("an answer");
    assert_eq!(site.sim.requests("object_config"), 1);
    // Named itself, too.
    first(&Local::first_of(vec![site.path("h2.sock")]))
        .await
        .expect("a status");
    assert_eq!(site.sim.requests("events"), 2);
}

#[tokio::test]
async fn a_socket_of_http2_that_nobody_listens_on_is_passed_over() {
    let folder = Folder::new("stale");
    let sim = Sim::start(&folder.0.join("lsnr.sock"), &["n1"]).expect("a daemon");
    drop(UnixListener::bind(folder.0.join("h2.sock")).expect("a socket"));
    sim.create(SERVICE, "").expect("an object");
    let daemon = Local::first_of(vec![folder.0.join("lsnr.sock")]);
    first(&daemon).await.expect("a status");
    assert_eq!(sim.requests("daemon_status"), 1);
    daemon
        .read_config(&SERVICE.parse().expect("a path"))
        .await
        .expect("an answer");
    assert_eq!(sim.requests("get_service_config"), 1);
}

#[tokio::test]
async fn what_is_too_long_for_http2_is_written_over_the_raw_socket() {
    let site = Site::start(Way::Raw);
    let daemon = Local::first_of(vec![site.path("lsnr.sock")]);
    let write = Write {
        object: SERVICE.parse().expect("a path"),
        section: "env".to_owned(),
        keyword: "a".to_owned(),
        value: "x".repeat(66_000),
    };
    daemon.write(&write).await.expect("a write");
    assert_eq!(site.sim.requests("object_action"), 0);
    assert_eq!(site.sim.requests("service_action"), 1);
}

/// Answers as an agent 3 does to who asks who it is.
async fn answer_as_v3(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let mut request = vec![0; 1024];
    let read = stream.read(&mut request).await.unwrap_or_default();
    let text = String::from_utf8_lossy(&request[..read]).into_owned();
    let known = text.starts_with("GET /api/auth/info HTTP/1.1\r\n");
    let head = if known { "200 OK" } else { "400 Bad Request" };
    let answer = format!("HTTP/1.1 {head}\r\ncontent-length: 2\r\n\r\n{{}}");
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
}

#[tokio::test]
async fn an_agent_3_on_its_socket_is_named() {
    let folder = Folder::new("v3");
    let socket = folder.0.join("http.sock");
    let listener = UnixListener::bind(&socket).expect("a socket");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            answer_as_v3(stream).await;
        }
    });
    let daemon = Local::first_of(vec![folder.0.join("lsnr.sock")]);
    let error = first(&daemon).await.expect_err("an error").to_string();
    let address = socket.display();
    assert!(
        error.starts_with(&format!("at {address} is an OpenSVC agent v3")),
        "{error}"
    );
}

#[tokio::test]
async fn an_agent_3_over_tls_is_named() {
    let site = Site::start(Way::Tls);
    let identity = site
        .authority
        .issue("v3", &["127.0.0.1"])
        .expect("a certificate");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(http1_only(&identity)));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if let Ok(stream) = acceptor.accept(stream).await {
                answer_as_v3(stream).await;
            }
        }
    });
    let host = "127.0.0.1".to_owned();
    let daemon = H2::at_servers(vec![Server { host, port }], site.access());
    let error = daemon
        .watch()
        .next()
        .await
        .expect("an error")
        .expect_err("an error");
    let expected = format!("at 127.0.0.1:{port} is an OpenSVC agent v3");
    assert!(error.to_string().starts_with(&expected), "{error}");
}

fn http1_only(identity: &Identity) -> rustls::ServerConfig {
    let chain = CertificateDer::pem_slice_iter(identity.chain_pem.as_bytes());
    let chain = chain.collect::<Result<Vec<_>, _>>().expect("PEM");
    let key = PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes()).expect("a key");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("a certificate")
}
