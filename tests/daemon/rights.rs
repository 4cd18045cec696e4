//! The simulated daemon against the recorded one: who is let in and what each grant allows.

use bytes::Bytes;
use http::Request;
use osvc_igw::sim::Sim;
use osvc_igw::sim::certificate::Authority;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::net::TcpStream;

use super::transcripts::{Exchange, exchanges};
use crate::captures::capture;
use crate::support::folder::Folder;

/// A daemon with what the recorded one had, and a client of its own.
struct Recorded {
    sim: Sim,
    config: rustls::ClientConfig,
    port: u16,
    _folder: Folder,
}

impl Recorded {
    fn start(with_certificate: bool) -> Self {
        let folder = Folder::new("rights");
        let sim = Sim::start(&folder.0.join("lsnr.sock"), &["n1"]).expect("a daemon");
        for path in ["test/svc/noip", "test/sec/web1-front-cert", "other/sec/foo"] {
            sim.create(path, "").expect("an object");
        }
        sim.set_key("test/sec/web1-front-cert", "k", "v")
            .expect("a key");
        sim.set_user("acme", "admin:test", Some("s3cret"));
        let authority = Authority::new("demo-ca").expect("an authority");
        let identity = authority
            .issue("demo", &["127.0.0.1"])
            .expect("a certificate");
        let bound = sim.serve_tls(([127, 0, 0, 1], 0).into(), &identity, authority.pem());
        let mut roots = rustls::RootCertStore::empty();
        let pem = |text: &str| CertificateDer::from_pem_slice(text.as_bytes()).expect("PEM");
        roots.add(pem(authority.pem())).expect("a root");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots);
        let client = authority.issue("acme", &["acme"]).expect("a certificate");
        let key = PrivateKeyDer::from_pem_slice(client.key_pem.as_bytes()).expect("a key");
        let mut config = match with_certificate {
            true => builder
                .with_client_auth_cert(vec![pem(&client.chain_pem)], key)
                .expect("a certificate"),
            false => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        Self {
            sim,
            config,
            port: bound.expect("a port").port(),
            _folder: folder,
        }
    }

    /// Asks the same; `None` where the daemon hangs up.
    async fn ask(&self, exchange: &Exchange) -> Option<(u16, Value)> {
        let tcp = TcpStream::connect(("127.0.0.1", self.port)).await.ok()?;
        let connector = tokio_rustls::TlsConnector::from(Arc::new(self.config.clone()));
        let name = "127.0.0.1".try_into().expect("a name");
        let tls = connector.connect(name, tcp).await.ok()?;
        let (mut sender, connection) = h2::client::handshake(tls).await.ok()?;
        tokio::spawn(connection);
        let query: Vec<String> = exchange
            .query
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let uri = format!("https://n1:1215{}?{}", exchange.path, query.join("&"));
        let mut request = Request::builder().method(&*exchange.method).uri(uri);
        if let Some((name, value)) = &exchange.header {
            request = request.header(name, value);
        }
        let request = request.body(()).expect("a request");
        let bodiless = exchange.body.is_none();
        let (response, mut stream) = sender.send_request(request, bodiless).ok()?;
        if let Some(body) = &exchange.body {
            stream.send_data(Bytes::from(body.clone()), true).ok()?;
        }
        let response = response.await.ok()?;
        let status = response.status().as_u16();
        let mut body = response.into_body();
        let mut text = Vec::new();
        while let Some(bytes) = body.data().await {
            text.extend_from_slice(&bytes.ok()?);
        }
        Some((status, serde_json::from_slice(&text).expect("JSON")))
    }
}

/// The lists of a document in order.
fn sorted(mut document: Value) -> Value {
    for list in document["grant"]
        .as_object_mut()
        .into_iter()
        .flat_map(|map| map.values_mut())
    {
        if let Some(list) = list.as_array_mut() {
            list.sort_by_key(ToString::to_string);
        }
    }
    document
}

#[tokio::test]
async fn each_grant_allows_what_it_was_recorded_to_allow() {
    let recorded = Recorded::start(true);
    let mut compared = 0;
    for exchange in exchanges(&capture("h2-tls-grants.txt")) {
        let (status, document) = exchange.answer.clone().expect("an answer");
        if exchange.path == "/whoami" {
            let grant = document["raw_grant"].as_str().expect("a grant");
            recorded.sim.set_user("acme", grant, None);
        }
        let (simulated, answer) = recorded.ask(&exchange).await.expect("an answer");
        assert_eq!(simulated, status, "{exchange:?}");
        match &*exchange.path {
            "/whoami" => {
                let namespaces = &document["grant"]["guest"];
                // At the end of the recording there were other namespaces.
                if namespaces
                    .as_array()
                    .is_none_or(|all| all.len() != 3 || all[0] != "test")
                {
                    let without = |value: Value| {
                        let text = value.to_string().replace("\"newns\"", "\"other\"");
                        sorted(serde_json::from_str(&text).expect("JSON"))
                    };
                    assert_eq!(without(answer), without(document));
                }
            }
            "/object_selector" => {
                let shows = |list: &Value, path: &str| {
                    list.as_array().expect("a list").contains(&json!(path))
                };
                for path in ["test/svc/noip", "other/sec/foo", "cluster"] {
                    assert_eq!(shows(&answer, path), shows(&document, path), "{exchange:?}");
                }
            }
            _ => assert_eq!(answer.get("error"), document.get("error")),
        }
        compared += 1;
    }
    assert!(compared > 30, "{compared}");
}

#[tokio::test]
async fn what_was_forbidden_is_forbidden_with_the_same_words() {
    let mut compared = 0;
    for name in ["h2-tls-transcript.txt", "h2-tls-rbac-transcript.txt"] {
        let recorded = Recorded::start(true);
        recorded.sim.remove("other/sec/foo").expect("an object");
        recorded.sim.create("test/cfg/c1", "").expect("an object");
        for exchange in exchanges(&capture(name)) {
            // The grant was widened in the second half of the first.
            if let Some((200, document)) = &exchange.answer
                && let Some(grant) = document["raw_grant"].as_str()
            {
                recorded.sim.set_user("acme", grant, None);
            }
            let Some((403, document)) = exchange.answer.clone() else {
                continue;
            };
            // A namespace that there is by then.
            let error = document["error"].as_str().unwrap_or_default();
            if error.starts_with("Forbidden: handler 'object_create'") {
                recorded.sim.create("other/sec/foo", "").expect("an object");
            }
            let answer = recorded.ask(&exchange).await;
            assert_eq!(answer, Some((403, document)), "{exchange:?}");
            compared += 1;
        }
    }
    assert!(compared > 15, "{compared}");
}

#[tokio::test]
async fn requests_get_the_recorded_answers() {
    let recorded = Recorded::start(true);
    recorded.sim.set_user("acme", "root", None);
    let front = "test/sec/web1-front-cert";
    recorded
        .sim
        .set_key(front, "extra", "v1795421580")
        .expect("a key");
    let mut compared = 0;
    for exchange in exchanges(&capture("h2-unix-transcript.txt")) {
        // A service of the recorded cluster, who root is on the socket, and Python's own JSON.
        let text = format!("{:?} {:?}", exchange.query, exchange.body);
        let other = text.contains("test/svc/web1") || text.contains("\"k2\")");
        if other || exchange.path == "/whoami" {
            continue;
        }
        let mut answer = recorded.ask(&exchange).await;
        let mut expected = exchange.answer.clone();
        for (_, document) in [&mut answer, &mut expected].into_iter().flatten() {
            let document = document.as_object_mut().expect("an object");
            document.remove("traceback");
            // The recorded one had more keys.
            if exchange.path == "/object_keys" {
                document.remove("data");
            }
        }
        assert_eq!(answer, expected, "{exchange:?}");
        compared += 1;
    }
    assert!(compared >= 20, "{compared}");
}

#[tokio::test]
async fn each_way_to_log_in_is_answered_as_recorded() {
    let recorded = Recorded::start(false);
    let mut compared = 0;
    let transcript = capture("h2-tls-auth-transcript.txt");
    // The cluster's secret and the certificates that come later are no way in here.
    let (passwords, _) = transcript
        .split_once("args: -H o-secret")
        .expect("the secret");
    let (passwords, _) = passwords.rsplit_once("########## ").expect("a block");
    for exchange in exchanges(passwords) {
        if exchange.path == "/authinfo" {
            continue;
        }
        let simulated = recorded.ask(&exchange).await;
        let expected = exchange.answer.clone();
        let sorted = |answer: Option<(u16, Value)>| answer.map(|(code, json)| (code, sorted(json)));
        assert_eq!(sorted(simulated), sorted(expected), "{exchange:?}");
        compared += 1;
    }
    assert!(compared > 8, "{compared}");
}
