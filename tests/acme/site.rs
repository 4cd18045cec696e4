//! A cluster that asks for a certificate, its gateways, and the operator that gets it.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking, as tests do"
)]

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderMap, Method, Response};
use osvc_igw::cert::operator::{Operator, Wires};
use osvc_igw::cert::probe::Door;
use osvc_igw::cert::wire::{Web, Wire};
use osvc_igw::opensvc::Daemon;
use osvc_igw::opensvc::local::Local;
use osvc_igw::sim::Sim;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::support::pebble::Pebble;

/// The object that the certificate goes into.
pub(super) const FRONT: &str = "test/sec/front";
/// The object of the authority.
pub(super) const ISSUER: &str = "test/sec/ca";
/// The object that the challenges are in.
pub(super) const CARRIER: &str = "test/cfg/osvc-igw-acme";

/// The daemon behind a socket.
pub(super) fn daemon(socket: &Path) -> Arc<dyn Daemon> {
    Arc::new(Local::first_of(vec![socket.to_owned()]))
}

/// Declares an authority and a certificate of it, as the commands of the README do.
pub(super) fn declare(sim: &Sim, pebble: &Pebble, names: &str) {
    sim.create(ISSUER, "").unwrap();
    sim.set_key(ISSUER, "directory", &pebble.directory())
        .unwrap();
    sim.set_key(ISSUER, "ca_bundle", pebble.ca_pem()).unwrap();
    let first = names.split(' ').next().unwrap();
    let config = format!("[DEFAULT]\ncn = {first}\nalt_names = {names}\nca = {ISSUER}\n");
    sim.create(FRONT, &config).unwrap();
}

/// Where the gateways are.
pub(super) fn door(gateways: &[&str], http_port: u16, https_port: u16) -> Door {
    Door {
        gateways: gateways
            .iter()
            .map(|text| text.parse::<IpAddr>().unwrap())
            .collect(),
        http_port,
        https_port,
        answered_max: Duration::from_secs(30),
        shown_max: Duration::from_secs(20),
        acked: None,
    }
}

/// A gateway that answers challenges and nothing else, as the daemon has them now.
pub(super) struct Gateway(JoinHandle<()>);

impl Gateway {
    pub(super) async fn start(sim: &Sim, port: u16) -> Self {
        Self::start_but(sim, port, None).await
    }

    /// One that answers the operator, and does not answer the authority for this name.
    pub(super) async fn start_but(sim: &Sim, port: u16, but: Option<&'static str>) -> Self {
        // The one before may still be ending.
        let listener = loop {
            match TcpListener::bind(("127.0.0.1", port)).await {
                Ok(listener) => break listener,
                Err(_) => sleep(Duration::from_millis(20)).await,
            }
        };
        let sim = sim.clone();
        Self(tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut bytes = [0; 4_096];
                let read = stream.read(&mut bytes).await.unwrap_or_default();
                let request = String::from_utf8_lossy(&bytes[..read]).into_owned();
                let text = sim.key(CARRIER, "http-01").unwrap_or_default();
                let challenges: Value = serde_json::from_str(&text).unwrap_or_default();
                let mut all = challenges.as_array().into_iter().flatten();
                let asked = |one: &&Value| request.contains(one["token"].as_str().unwrap());
                let from_pebble = request.to_ascii_lowercase().contains("pebble");
                let refused = but.is_some_and(|name| from_pebble && request.contains(name));
                let asked = |one: &&Value| !refused && asked(one);
                let body = all.find(asked).map(|one| one["key_authorization"].clone());
                let answer = match body.as_ref().and_then(Value::as_str) {
                    Some(body) => format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{body}"),
                    None => "HTTP/1.1 404 Not Found\r\nconnection: close\r\n\r\n".to_owned(),
                };
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        }))
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The way to an authority with something in between.
pub(super) struct Between<F>(pub(super) Web, pub(super) F);

/// What an authority is asked.
pub(super) struct Asked {
    pub(super) url: String,
    method: Method,
    headers: HeaderMap,
    /// What is sent along, signed.
    pub(super) body: Bytes,
}

/// What it answers, or why nothing comes.
pub(super) type Answer = BoxFuture<'static, Result<Response<Bytes>, String>>;

impl Asked {
    /// Asks.
    pub(super) fn of(self, web: &Web) -> Answer {
        web.send(self.method, self.url, self.headers, self.body)
    }
}

impl<F: Fn(&Web, Asked) -> Answer + Send + Sync> Wire for Between<F> {
    fn send(&self, method: Method, url: String, headers: HeaderMap, body: Bytes) -> Answer {
        let Self(web, between) = self;
        let asked = Asked {
            url,
            method,
            headers,
            body,
        };
        between(web, asked)
    }
}

/// Ways to authorities with this in between.
pub(super) fn between<F>(ask: F) -> Wires
where
    F: Fn(&Web, Asked) -> Answer + Clone + Send + Sync + 'static,
{
    Arc::new(move |bundle| Ok(Arc::new(Between(Web::new(bundle)?, ask.clone()))))
}

/// Runs until it is stopped or dropped.
pub(super) struct Running {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    pub(super) fn start(operator: Operator) -> Self {
        let stop = CancellationToken::new();
        let task = tokio::spawn(operator.run(stop.clone()));
        Self { stop, task }
    }

    /// Ends it wherever it is, as `kill -9` does.
    pub(super) async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
        drop(self.stop);
    }
}

/// What the record of the certificate says.
pub(super) fn record(sim: &Sim) -> Value {
    let text = sim.key(FRONT, "acme_state").unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

/// Waits until it holds.
pub(super) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    // A try that fails on a busy machine is repeated after a minute.
    let held = timeout(Duration::from_secs(150), async {
        while !holds() {
            sleep(Duration::from_millis(50)).await;
        }
    });
    assert!(held.await.is_ok(), "not in time: {what}");
}

/// Whether the certificate was issued, written and noted.
pub(super) fn issued(sim: &Sim) -> bool {
    let serial = record(sim)["serial"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    !serial.is_empty() && sim.key(FRONT, "acme_pending").as_deref() == Some("")
}
