//! The daemon's HTTP/2 interface, `h2.sock` and TLS: the requests of the raw socket as routes,
//! and the event stream. What is answered is decided in `answer`, and who may ask in `grants`.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use futures::stream::{FuturesUnordered, StreamExt};
use h2::server::{self, SendResponse};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use serde_json::{Map, Value, json};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

use super::answer::{self, Answer};
use super::grants::{User, namespace};
use super::raw::Shared;
use super::state::State;

/// Why the daemon closes a connection.
struct HangUp;

/// A connection that tells when something came in: the daemon's thread wakes up then.
struct Heard<T> {
    inner: T,
    heard: watch::Sender<usize>,
}

/// Serves one connection to its end. The user is who the connection itself says: root on the
/// unix socket, or the user of a certificate.
pub(super) async fn converse<T>(shared: Arc<Shared>, stream: T, user: Option<User>)
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let (sender, heard) = watch::channel(0);
    let io = Heard {
        inner: stream,
        heard: sender,
    };
    let session = {
        let mut state = shared.lock();
        let (id, now) = (state.cluster.uuid(), state.cluster.now);
        state.sessions.open(&id, now);
        flush(&mut state);
        id
    };
    // A connection that ends badly ends.
    let _ = exchange(&shared, &session, io, heard, user).await;
    let mut state = shared.lock();
    state.sessions.close(&session, 0);
    let now = state.cluster.now;
    state.journal.leave(now);
    if !state.blank() {
        state.note();
    }
}

async fn exchange<T>(
    shared: &Shared,
    session: &str,
    io: Heard<T>,
    mut heard: watch::Receiver<usize>,
    user: Option<User>,
) -> Result<Infallible, HangUp>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let mut connection = server::handshake(io).await.map_err(|_| HangUp)?;
    let mut handlers = FuturesUnordered::new();
    // The daemon never gives back what a body took of the window: nor are bodies let go here.
    let mut bodies = Vec::new();
    loop {
        tokio::select! {
            biased;
            accepted = connection.accept() => {
                let (request, respond) = accepted.ok_or(HangUp)?.map_err(|_| HangUp)?;
                let handled = handle(shared, session, request, respond, heard.clone(), &user);
                handlers.push(handled);
            }
            Some(body) = handlers.next(), if !handlers.is_empty() => bodies.push(body?),
            changed = heard.changed() => {
                changed.map_err(|_| HangUp)?;
                let mut state = shared.lock();
                state.sessions.hear(session, *heard.borrow_and_update());
                flush(&mut state);
            }
        }
    }
}

/// Whatever is heard is a change of the statistics, and sends what is held back.
fn flush(state: &mut State) {
    // The first message of a daemon that starts is for those who are there already.
    if !state.blank() {
        state.note();
        let now = state.cluster.now;
        state.journal.flush(now);
    }
}

async fn handle(
    shared: &Shared,
    session: &str,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    heard: watch::Receiver<usize>,
    user: &Option<User>,
) -> Result<RecvStream, HangUp> {
    let (head, mut body) = request.into_parts();
    let mut text = Vec::new();
    let bodiless = body.is_end_stream();
    while let Some(bytes) = body.data().await {
        text.extend_from_slice(&bytes.map_err(|_| HangUp)?);
    }
    let user = match user {
        Some(user) => user.clone(),
        None => identify(&shared.lock(), &head.headers)?,
    };
    let mut options = match bodiless {
        true => Map::new(),
        false => serde_json::from_slice(&text).map_err(|_| HangUp)?,
    };
    options.extend(query(head.uri.query().unwrap_or_default()));
    let options = Value::Object(options);
    let action = head.uri.path().trim_start_matches('/').to_owned();
    let delay = shared.lock().delay;
    if !delay.is_zero() {
        sleep(delay).await;
    }
    if let Some(refusal) = user.refusal(head.method.as_str(), &action, &options) {
        return answer_with(&mut respond, &refusal).map(|()| body);
    }
    if action == "events" && options.get("full").is_some_and(|full| full == "true") {
        if !takes_events(&head.headers) {
            // It would be pushed, and the client does not take it: nothing comes, ever.
            std::future::pending::<()>().await;
        }
        return pump(shared, session, &mut respond, heard, &user)
            .await
            .map(|_| body);
    }
    let anywhere = head.headers.get("o-node").is_some_and(|node| node == "ANY");
    let document = document(
        shared,
        session,
        head.method.as_str(),
        &action,
        &options,
        &user,
    );
    let document = match anywhere {
        true => found(&shared.lock(), document, &options),
        false => document,
    };
    answer_with(&mut respond, &document).map(|()| body)
}

/// The answer of the raw socket, but for what a user is shown.
fn document(
    shared: &Shared,
    session: &str,
    method: &str,
    action: &str,
    options: &Value,
    user: &User,
) -> Value {
    if action == "whoami" {
        *shared
            .lock()
            .requests
            .entry("whoami".to_owned())
            .or_default() += 1;
        return user.whoami();
    }
    if action == "object_selector" {
        let state = shared.lock();
        let paths = state.cluster.objects.keys();
        return paths.filter(|path| user.is_shown(path)).cloned().collect();
    }
    let request = json!({"action": action, "method": method, "options": options});
    let answered = answer::answer(&mut shared.lock(), session, request.to_string().as_bytes());
    match answered {
        Answer::Json(json) => json,
        Answer::Status(text) => {
            let mut status = serde_json::from_str(&text).unwrap_or_default();
            user.filter_status(&mut status);
            status
        }
        Answer::Events(_) => json!({"status": 501, "error": "only full=true is simulated"}),
    }
}

/// What comes back from the node that a request is passed on to.
fn found(state: &State, document: Value, options: &Value) -> Value {
    let path = options.get("path").and_then(Value::as_str);
    let known = path.is_none_or(|path| state.cluster.objects.contains_key(path));
    match known {
        true => json!({"nodes": {state.cluster.local(): document}, "status": 0}),
        false => json!({"error": "unknown service", "status": 1}),
    }
}

fn answer_with(respond: &mut SendResponse<Bytes>, document: &Value) -> Result<(), HangUp> {
    let status = document.get("status").and_then(Value::as_u64);
    let status = status.and_then(|status| u16::try_from(status).ok());
    let status = status.filter(|status| *status >= 400).unwrap_or(200);
    let response = Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .header("server", "opensvc-h2-server/1.0")
        .body(())
        .map_err(|_| HangUp)?;
    let mut stream = respond.send_response(response, false).map_err(|_| HangUp)?;
    let bytes = Bytes::from(document.to_string());
    stream.send_data(bytes, true).map_err(|_| HangUp)
}

/// Exactly one `accept`, with exactly this.
fn takes_events(headers: &HeaderMap) -> bool {
    let mut accept = headers.get_all("accept").iter();
    accept
        .next_back()
        .is_some_and(|last| last == "text/event-stream")
}

/// The event stream: a full status, then messages, sent when the daemon's thread wakes up.
async fn pump(
    shared: &Shared,
    session: &str,
    respond: &mut SendResponse<Bytes>,
    mut heard: watch::Receiver<usize>,
    user: &User,
) -> Result<Infallible, HangUp> {
    let response = Response::builder()
        .header("content-type", "text/event-stream")
        .header("server", "opensvc-h2-server/1.0")
        .header("cache-control", "no-cache")
        .body(())
        .map_err(|_| HangUp)?;
    let mut stream = respond.send_response(response, false).map_err(|_| HangUp)?;
    let (mut messages, full, cut) = subscribe(&mut shared.lock(), session, user);
    let mut id = 1;
    let text = event(id, &full);
    if cut {
        let half = text.as_bytes().get(..text.len() / 2).unwrap_or_default();
        send(shared, &mut stream, half).await?;
        sleep(Duration::from_millis(10)).await;
        return Err(HangUp);
    }
    send(shared, &mut stream, text.as_bytes()).await?;
    let mut waiting = Vec::new();
    let mut wake = Box::pin(sleep(RECEIVE_MAX));
    loop {
        tokio::select! {
            message = messages.recv() => {
                waiting.push(message.ok_or(HangUp)?);
                continue;
            }
            changed = heard.changed() => changed.map_err(|_| HangUp)?,
            () = &mut wake => {}
        }
        wake = Box::pin(sleep(RECEIVE_MAX));
        for message in waiting.drain(..) {
            let bytes = match written(&message, user) {
                Some(json) => {
                    id += 1;
                    event(id, &json).into_bytes()
                }
                None => message,
            };
            send(shared, &mut stream, &bytes).await?;
        }
    }
}

fn subscribe(
    state: &mut State,
    session: &str,
    user: &User,
) -> (mpsc::Receiver<Vec<u8>>, String, bool) {
    *state.requests.entry("events".to_owned()).or_default() += 1;
    state
        .sessions
        .request(session, 0, "sending GET /events result");
    let messages = state.journal.subscribe();
    let mut status = state.status();
    if !user.is_root() {
        let mut tree = serde_json::from_str(&status).unwrap_or_default();
        user.filter_status(&mut tree);
        status = tree.to_string();
    }
    let (node, now) = (json!(state.cluster.local()), json!(state.cluster.now));
    let full = format!(r#"{{"data":{status},"kind":"full","nodename":{node},"ts":{now}}}"#);
    (messages, full, state.cuts_status())
}

/// A message of the journal as this user gets it; none for bytes that are no message.
fn written(message: &[u8], user: &User) -> Option<String> {
    let text = message.strip_suffix(b"\0")?;
    match serde_json::from_slice(text) {
        Ok(mut json) => {
            user.filter_message(&mut json);
            Some(json.to_string())
        }
        Err(_) => Some(String::from_utf8_lossy(text).into_owned()),
    }
}

fn event(id: u64, json: &str) -> String {
    format!("id: {id}\ndata: {json}\n\n")
}

async fn send(shared: &Shared, stream: &mut SendStream<Bytes>, bytes: &[u8]) -> Result<(), HangUp> {
    let chunk = shared.tapped(bytes);
    for part in bytes.chunks(chunk) {
        let part = Bytes::copy_from_slice(part);
        stream.send_data(part, false).map_err(|_| HangUp)?;
        if chunk != usize::MAX {
            tokio::task::yield_now().await;
        }
    }
    Ok(())
}

/// Who the headers say is there. What cannot be read at all is not answered.
fn identify(state: &State, headers: &HeaderMap) -> Result<User, HangUp> {
    let Some(value) = headers.get("authorization") else {
        return Ok(User::nobody());
    };
    let value = value.to_str().map_err(|_| HangUp)?;
    let namespaces = namespaces(state);
    if let Some(coded) = value.strip_prefix("Basic ") {
        let pair = BASE64_STANDARD.decode(coded).map_err(|_| HangUp)?;
        let pair = String::from_utf8(pair).map_err(|_| HangUp)?;
        let (name, password) = pair.split_once(':').ok_or(HangUp)?;
        let known = state.accounts.users.get(name);
        let known = known.filter(|(_, right)| right.as_deref() == Some(password));
        return Ok(known.map_or_else(User::nobody, |(grant, _)| {
            User::new(name, "basic", grant, &namespaces)
        }));
    }
    let token = value.strip_prefix("Bearer ").ok_or(HangUp)?;
    match state.accounts.tokens.get(token) {
        Some(Some((name, grant))) => Ok(User::new(name, "jwt", grant, &namespaces)),
        // The daemon trips over one that is expired.
        Some(None) => Err(HangUp),
        None => Ok(User::nobody()),
    }
}

/// The namespaces that there are.
pub(super) fn namespaces(state: &State) -> BTreeSet<String> {
    let objects = state.cluster.objects.keys();
    let named = objects.map(|path| namespace(path).to_owned());
    let always = ["root", "system"].map(str::to_owned);
    named.chain(always).collect()
}

fn query(text: &str) -> Map<String, Value> {
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    pairs
        .map(|(name, value)| (decode(name), Value::String(decode(value))))
        .collect()
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let code = match (first, after) {
            (b'%', [high, low, ..]) => hex(*high).zip(hex(*low)),
            _ => None,
        };
        match code {
            Some((high, low)) => {
                bytes.push(high * 16 + low);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hex(digit: u8) -> Option<u8> {
    let value = char::from(digit).to_digit(16)?;
    u8::try_from(value).ok()
}

impl<T: AsyncRead + Unpin> AsyncRead for Heard<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(cx, buffer);
        let count = buffer.filled().len() - before;
        if count > 0 {
            self.heard.send_modify(|heard| *heard += count);
        }
        polled
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Heard<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// How long the daemon waits for something to come in before it sends what it has.
const RECEIVE_MAX: Duration = Duration::from_secs(5);
