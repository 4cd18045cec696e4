//! EDGE: agent 2.1 over HTTP/2: its unix socket `h2.sock`, or its TLS listener, port 1215.
//!
//! One request a connection: the daemon never gives back the window of a request's body, and
//! works on a request in the thread of its connection.

mod subscription;
mod watch;
mod wire;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ::h2::RecvStream;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE};
use http::request::Builder;
use http::{HeaderValue, Method, StatusCode};
use serde_json::Value;
use tokio::net::UnixStream;
use tokio::time::timeout;
use tracing::debug;
use zeroize::Zeroizing;

use super::changes;
use super::raw::Limits;
use super::request::{self, Ask, CREATE, Request, SERVICE_ACTION};
use super::tls::{Access, Server};
use super::{Daemon, Error};
use crate::inventory::Account;
use crate::inventory::{Config, Event, ObjectPath, Sensitive, Write};
use wire::{Io, Wire};

/// An agent 2.1 behind its HTTP/2 interface.
#[derive(Clone, Debug)]
pub struct H2 {
    place: Arc<Place>,
    limits: Limits,
}

/// Where a daemon is.
#[derive(Debug)]
enum Place {
    Socket(PathBuf),
    Servers {
        servers: Vec<Server>,
        access: Access,
        /// The one that is tried first.
        first: AtomicUsize,
    },
}

/// Whom a connection leads to.
struct Peer {
    address: String,
    /// The scheme and the authority of each request.
    base: String,
    authorization: Option<HeaderValue>,
    /// Its number among the servers.
    index: usize,
}

impl Peer {
    /// Why there was no answer at all.
    fn hung_up(&self, action: &'static str, source: io::Error) -> Error {
        match self.authorization {
            Some(_) => Error::HungUp {
                address: self.address.clone(),
                action,
                source,
            },
            None => Error::Receive { action, source },
        }
    }
}

impl H2 {
    /// The daemon whose `h2.sock` is at `socket`.
    pub fn at_socket(socket: impl Into<PathBuf>) -> Self {
        Self {
            place: Arc::new(Place::Socket(socket.into())),
            limits: limits(REFRESH),
        }
    }

    /// The first of these daemons that can be had.
    pub fn at_servers(servers: Vec<Server>, access: Access) -> Self {
        let first = AtomicUsize::new(0);
        let place = Place::Servers {
            servers,
            access,
            first,
        };
        Self {
            place: Arc::new(place),
            limits: limits(REFRESH_GRANTS),
        }
    }

    /// The same with other limits. `flush` is the pause between two PINGs, `refresh` that
    /// between two event streams.
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    async fn connect(&self) -> Result<(Wire, Peer), Error> {
        let (servers, access, first) = match &*self.place {
            Place::Socket(socket) => return self.connect_socket(socket).await,
            Place::Servers {
                servers,
                access,
                first,
            } => (servers, access, first),
        };
        let start = first.load(Ordering::Relaxed);
        let mut failure = Error::Closed;
        for step in 0..servers.len() {
            let index = start.wrapping_add(step) % servers.len();
            let Some(server) = servers.get(index) else {
                continue;
            };
            match self.connect_server(server, access, index).await {
                Ok(connected) => {
                    first.store(index, Ordering::Relaxed);
                    return Ok(connected);
                }
                Err(error) => {
                    debug!(%error, "cannot have this daemon");
                    failure = error;
                }
            }
        }
        Err(failure)
    }

    async fn connect_socket(&self, socket: &PathBuf) -> Result<(Wire, Peer), Error> {
        let address = socket.display().to_string();
        let connecting = async { Wire::open(Box::new(UnixStream::connect(socket).await?)).await };
        let wire = within(self.limits.connect, connecting).await;
        let wire = wire.map_err(|source| Error::Connect {
            address: address.clone(),
            source,
        })?;
        let peer = Peer {
            address,
            base: "http://localhost".to_owned(),
            authorization: None,
            index: 0,
        };
        Ok((wire, peer))
    }

    async fn connect_server(
        &self,
        server: &Server,
        access: &Access,
        index: usize,
    ) -> Result<(Wire, Peer), Error> {
        let address = server.address();
        let authorization = access.authorization().await?;
        let stream = access.connect(server, self.limits.connect).await?;
        let opening = Wire::open(Box::new(stream) as Box<dyn Io>);
        let wire = within(self.limits.connect, opening).await;
        let wire = wire.map_err(|source| Error::Connect {
            address: address.clone(),
            source,
        })?;
        let peer = Peer {
            base: format!("https://{address}"),
            address,
            authorization,
            index,
        };
        Ok((wire, peer))
    }

    /// Whether this is the daemon's own unix socket.
    fn is_socket(&self) -> bool {
        matches!(*self.place, Place::Socket(_))
    }

    /// Lets the next connection begin with the server after this one.
    fn distrust(&self, index: usize) {
        if let Place::Servers { servers, first, .. } = &*self.place {
            let next = (index + 1) % servers.len().max(1);
            // Another connection may have found a good one meanwhile.
            let _ = first.compare_exchange(index, next, Ordering::Relaxed, Ordering::Relaxed);
        }
    }
}

impl Ask for H2 {
    async fn ask(&self, request: Request) -> Result<Value, Error> {
        let action = request.action;
        let (mut wire, peer) = self.connect().await?;
        let (head, body) = compose(&request, &peer)?;
        let limit = self.limits.of(action);
        let bytes_max = self.limits.bytes_max;
        let exchange = async {
            let response = wire.request(head, body).await;
            let response = response.map_err(|source| peer.hung_up(action, source))?;
            let (head, mut body) = response.into_parts();
            let bytes = read(&mut wire, &mut body, action, bytes_max).await?;
            judge(action, head.status, &bytes, &peer.address)
        };
        match timeout(limit, exchange).await {
            Ok(answer) => answer,
            Err(_) => {
                let source = io::ErrorKind::TimedOut.into();
                Err(Error::Receive { action, source })
            }
        }
    }
}

impl Daemon for H2 {
    fn place(&self) -> String {
        match &*self.place {
            Place::Socket(socket) => socket.display().to_string(),
            Place::Servers { servers, first, .. } => {
                let server = servers.get(first.load(Ordering::Relaxed));
                server
                    .map(|it| format!("{}:{}", it.host, it.port))
                    .unwrap_or_default()
            }
        }
    }

    fn watch(&self) -> BoxStream<'static, Result<Event, Error>> {
        watch::watch(self.clone())
    }

    fn read_key(
        &self,
        path: &ObjectPath,
        key: &str,
    ) -> BoxFuture<'static, Result<Option<Sensitive>, Error>> {
        Box::pin(request::read_key(
            self.clone(),
            path.to_string(),
            key.to_owned(),
        ))
    }

    fn read_config(&self, path: &ObjectPath) -> BoxFuture<'static, Result<Option<Config>, Error>> {
        Box::pin(request::read_config(self.clone(), path.to_string()))
    }

    fn write(&self, write: &Write) -> BoxFuture<'static, Result<(), Error>> {
        Box::pin(request::write(self.clone(), write.clone()))
    }

    fn write_key(
        &self,
        path: &ObjectPath,
        key: &str,
        value: &Sensitive,
    ) -> BoxFuture<'static, Result<(), Error>> {
        let (path, key, value) = (path.clone(), key.to_owned(), value.clone());
        Box::pin(changes::set_key(self.clone(), path, key, value))
    }

    fn account(&self) -> BoxFuture<'static, Result<Account, Error>> {
        Box::pin(request::account(self.clone()))
    }

    fn create(&self, path: &ObjectPath) -> BoxFuture<'static, Result<(), Error>> {
        Box::pin(changes::create(self.clone(), path.clone()))
    }
}

/// The route that answers what the raw socket answers to an action.
fn route(action: &'static str) -> (Method, &'static str) {
    match action {
        "get_key" | "get_secret_key" => (Method::GET, "key"),
        "get_service_config" => (Method::GET, "object_config"),
        "set_key" => (Method::POST, "key"),
        SERVICE_ACTION => (Method::POST, "object_action"),
        CREATE => (Method::POST, "object_create"),
        "wake_monitor" => (Method::POST, "wake_monitor"),
        action => (Method::GET, action),
    }
}

/// A GET has its options in the query, as the daemon's own clients do it; the others in a body.
fn compose(request: &Request, peer: &Peer) -> Result<(http::Request<()>, Option<Bytes>), Error> {
    let action = request.action;
    let (method, route) = route(action);
    let mut uri = format!("{}/{route}", peer.base);
    let mut body = None;
    if method == Method::GET {
        uri += &query(&request.options);
    } else {
        let mut text = Zeroizing::new(Vec::new());
        request.write_options(&mut text)?;
        if text.len() > BODY_BYTES_MAX {
            return Err(Error::Unsendable {
                action,
                bytes: text.len(),
                bytes_max: BODY_BYTES_MAX,
            });
        }
        // What is sent is wiped when it was.
        body = Some(Bytes::from_owner(text));
    }
    let mut builder = head(method, &uri, peer).header(ACCEPT, "*/*");
    if let Some(body) = &body {
        builder = builder
            .header(CONTENT_TYPE, "application/json")
            .header(CONTENT_LENGTH, body.len());
    }
    if request.anywhere {
        builder = builder.header("o-node", "ANY");
    }
    Ok((finish(builder, action)?, body))
}

fn head(method: Method, uri: &str, peer: &Peer) -> Builder {
    let builder = http::Request::builder().method(method).uri(uri);
    match &peer.authorization {
        Some(value) => builder.header(AUTHORIZATION, value),
        None => builder,
    }
}

fn finish(builder: Builder, action: &'static str) -> Result<http::Request<()>, Error> {
    builder.body(()).map_err(|error| Error::Send {
        action,
        source: io::Error::other(error),
    })
}

/// What is false is left out: in a query it would be a text, and true.
fn query(options: &Value) -> String {
    let options = options.as_object().into_iter().flatten();
    let options = options.filter_map(|(name, value)| Some((name, value.as_str()?)));
    let mut query = String::new();
    for (name, value) in options {
        query.push(if query.is_empty() { '?' } else { '&' });
        query += name;
        query.push('=');
        for byte in value.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' | b'~' => {
                    query.push(char::from(byte));
                }
                _ => query += &format!("%{byte:02X}"),
            }
        }
    }
    query
}

async fn read(
    wire: &mut Wire,
    body: &mut RecvStream,
    action: &'static str,
    bytes_max: usize,
) -> Result<Vec<u8>, Error> {
    let mut whole = Vec::new();
    loop {
        let bytes = wire.receive(body).await;
        let bytes = bytes.map_err(|source| Error::Receive { action, source })?;
        let Some(bytes) = bytes else {
            return Ok(whole);
        };
        whole.extend_from_slice(&bytes);
        if whole.len() > bytes_max {
            return Err(Error::Oversized { action, bytes_max });
        }
    }
}

/// The document in an answer. What it says is true, not the status of HTTP; but some answers
/// are not of an agent 2.1, or not for this user.
fn judge(
    action: &'static str,
    status: StatusCode,
    body: &[u8],
    address: &str,
) -> Result<Value, Error> {
    let address = address.to_owned();
    if status == StatusCode::UNAUTHORIZED {
        return Err(Error::Unauthorized { address });
    }
    match serde_json::from_slice::<Value>(body) {
        Ok(document) if status.is_success() || document.get("error").is_some() => Ok(document),
        _ if !status.is_success() => Err(Error::OtherAgent { address }),
        Ok(document) => Ok(document),
        Err(source) => Err(Error::Parse { action, source }),
    }
}

async fn within<T>(limit: Duration, future: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let late = |_| Err(io::ErrorKind::TimedOut.into());
    timeout(limit, future).await.unwrap_or_else(late)
}

fn limits(refresh: Duration) -> Limits {
    Limits {
        // Without PINGs events come in batches of 5 s; they also flush the daemon's last changes.
        flush: Duration::from_millis(500),
        refresh,
        ..Limits::default()
    }
}

/// How long an event stream is followed. For root nothing is hidden; what patches cannot express
/// comes with the next status.
const REFRESH: Duration = Duration::from_secs(300);
/// What a user may see is frozen when a connection is made: new namespaces come with a new one.
const REFRESH_GRANTS: Duration = Duration::from_secs(60);
/// What the daemon takes of requests on one connection before it reads no more.
const BODY_BYTES_MAX: usize = 65_535;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_query_says_what_is_text_and_not_false() {
        let options = json!({"path": "test/svc/a", "key": "a b&c=ü#", "evaluate": false});
        assert_eq!(
            query(&options),
            "?key=a%20b%26c%3D%C3%BC%23&path=test/svc/a"
        );
        assert_eq!(query(&json!({})), "");
    }

    #[test]
    fn the_document_is_true_and_not_the_status_of_http() {
        let judged = |status: u16, body: &str| {
            judge(
                "x",
                StatusCode::from_u16(status).unwrap(),
                body.as_bytes(),
                "n1:1215",
            )
        };
        for (status, body) in [
            (200, r#"{"status": "1", "error": "'a'"}"#),
            (403, r#"{"status": 403, "error": ["no"]}"#),
            (500, r#"{"status": 500, "error": "boom", "traceback": ""}"#),
            (200, r#"{"status": 0}"#),
        ] {
            assert!(judged(status, body).is_ok(), "{body}");
        }
        let error = judged(401, r#"{"status": 401, "error": "Not Authorized"}"#).unwrap_err();
        assert!(matches!(error, Error::Unauthorized { .. }), "{error}");
        for body in [
            r#"{"title": "Not Found", "detail": "x"}"#,
            "404 page not found",
            "",
        ] {
            let error = judged(404, body).unwrap_err();
            assert!(matches!(error, Error::OtherAgent { .. }), "{error}");
        }
        assert!(matches!(judged(200, "{").unwrap_err(), Error::Parse { .. }));
    }
}
