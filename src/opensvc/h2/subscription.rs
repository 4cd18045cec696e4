//! EDGE: one event stream on a connection of its own, kept going by PINGs and watched: what it
//! says is for others.

use std::io;
use std::pin::Pin;

use ::h2::{Ping, PingPong, RecvStream};
use futures::FutureExt;
use futures::future::{BoxFuture, pending};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{Method, StatusCode};
use tokio::time::{Sleep, sleep, timeout};

use super::wire::Wire;
use super::{H2, Peer, finish, head, judge, read};
use crate::aside::aside_if;
use crate::inventory::Account;
use crate::opensvc::mirror::{Message, Status};
use crate::opensvc::request::EVENTS;
use crate::opensvc::sse::Sse;
use crate::opensvc::{Error, LONG, answer};

/// An open event stream.
pub(super) struct Subscription {
    h2: H2,
    peer: Peer,
    wire: Wire,
    body: RecvStream,
    sse: Sse,
    /// Who this is for the daemon, if it was asked.
    account: Option<Account>,
    /// Sends PINGs for ever; ends only with the connection.
    pings: BoxFuture<'static, ()>,
    silence: Pin<Box<Sleep>>,
}

/// What a [`Subscription`] woke up for.
enum Wake {
    Bytes(io::Result<Option<bytes::Bytes>>),
    Silence,
}

impl Subscription {
    /// Subscribes, and waits for the status that comes first.
    pub(super) async fn open(h2: H2) -> Result<(Box<Self>, Status), Error> {
        let (wire, peer) = h2.connect().await?;
        let index = peer.index;
        let limit = h2.limits.status;
        let opened = timeout(limit, Self::subscribe(&h2, wire, peer)).await;
        let opened = opened.unwrap_or_else(|_| {
            let source = io::ErrorKind::TimedOut.into();
            let action = EVENTS;
            Err(Error::Receive { action, source })
        });
        if opened.is_err() {
            h2.distrust(index);
        }
        opened
    }

    async fn subscribe(h2: &H2, mut wire: Wire, peer: Peer) -> Result<(Box<Self>, Status), Error> {
        let action = EVENTS;
        let account = whoami(h2, &mut wire, &peer).await?;
        let uri = format!("{}/{EVENTS}?full=true", peer.base);
        // Exactly this one: with another the daemon pushes, which clients do not take.
        let request = head(Method::GET, &uri, &peer).header(ACCEPT, "text/event-stream");
        let response = wire.request(finish(request, action)?, None).await;
        let response = response.map_err(|source| peer.hung_up(action, source))?;
        let (head, mut body) = response.into_parts();
        let kind = head.headers.get(CONTENT_TYPE);
        let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if head.status != StatusCode::OK || !kind.starts_with("text/event-stream") {
            let bytes = read(&mut wire, &mut body, action, h2.limits.bytes_max).await?;
            let document = judge(action, head.status, &bytes, &peer.address)?;
            answer::refusal_of(action, &document)?;
            let reason = "no event stream";
            return Err(Error::Answer { action, reason });
        }
        let pings = match wire.pings() {
            Some(pings) => ping(pings, h2.limits.flush).boxed(),
            None => pending().boxed(),
        };
        let mut subscription = Box::new(Self {
            h2: h2.clone(),
            peer,
            wire,
            body,
            sse: Sse::default(),
            account,
            pings,
            // The status comes first, and has a limit of its own: of thousands of objects it takes
            // its time.
            silence: Box::pin(sleep(h2.limits.status + h2.limits.silence)),
        });
        loop {
            let message = subscription.next().await?;
            if message.is_full() {
                let reason = "a full without a status";
                let status = message.into_status();
                let status = status.ok_or(Error::Answer { action, reason })?;
                return Ok((subscription, status));
            }
        }
    }

    /// Who this is for the daemon, the first time that it is asked for.
    pub(super) fn take_account(&mut self) -> Option<Account> {
        self.account.take()
    }

    /// The next message. Nothing is lost where this is dropped half-way.
    pub(super) async fn next(&mut self) -> Result<Message, Error> {
        let action = EVENTS;
        loop {
            if let Some(data) = self.sse.next_data() {
                self.silence = Box::pin(sleep(self.h2.limits.silence));
                let parsed = aside_if(data.len() > LONG, || answer::json(&data));
                return parsed.map_err(|source| Error::Parse { action, source });
            }
            let wake = tokio::select! {
                biased;
                bytes = self.wire.receive(&mut self.body) => Wake::Bytes(bytes),
                () = &mut self.pings => Wake::Silence,
                () = &mut self.silence => Wake::Silence,
            };
            let bytes = match wake {
                Wake::Bytes(bytes) => bytes,
                // Where the caller was slow, what waits to be read breaks the silence.
                Wake::Silence => match self.wire.receive(&mut self.body).now_or_never() {
                    Some(bytes) => bytes,
                    None => {
                        let silence = self.h2.limits.heard_nothing(&self.silence)?;
                        self.silence = Box::pin(silence);
                        continue;
                    }
                },
            };
            self.take(bytes)?;
        }
    }

    fn take(&mut self, bytes: io::Result<Option<bytes::Bytes>>) -> Result<(), Error> {
        let action = EVENTS;
        let bytes = bytes.map_err(|source| Error::Receive { action, source })?;
        let Some(bytes) = bytes else {
            if self.sse.waiting() > 0 {
                let source = io::ErrorKind::UnexpectedEof.into();
                return Err(Error::Receive { action, source });
            }
            return Err(Error::Closed);
        };
        self.sse.push(&bytes);
        let bytes_max = self.h2.limits.bytes_max;
        match self.sse.waiting() > bytes_max {
            true => Err(Error::Oversized { action, bytes_max }),
            false => Ok(()),
        }
    }

    /// The stream ended: another daemon may be better.
    pub(super) fn give_up(&self) {
        self.h2.distrust(self.peer.index);
    }
}

/// Asks who this is, on the connection of the events: what is granted is fixed with it. Nobody
/// asks at the unix socket, where everyone is root. A daemon that does not say it is followed.
async fn whoami(h2: &H2, wire: &mut Wire, peer: &Peer) -> Result<Option<Account>, Error> {
    if h2.is_socket() {
        return Ok(None);
    }
    let action = "whoami";
    let uri = format!("{}/{action}", peer.base);
    let request = head(Method::GET, &uri, peer).header(ACCEPT, "*/*");
    let response = wire.request(finish(request, action)?, None).await;
    let response = response.map_err(|source| peer.hung_up(action, source))?;
    let (head, mut body) = response.into_parts();
    let bytes = read(wire, &mut body, action, h2.limits.bytes_max).await?;
    let document = match judge(action, head.status, &bytes, &peer.address) {
        Err(Error::Parse { .. }) => return Ok(None),
        document => document?,
    };
    if document.get("name").is_none_or(|name| !name.is_string()) {
        return Ok(None);
    }
    let account = Account::of_whoami(&document);
    match account.is_known() {
        true => Ok(Some(account)),
        false => Err(Error::Unauthorized {
            address: peer.address.clone(),
        }),
    }
}

/// Sends a PING now and then, each when the one before was answered.
async fn ping(mut pings: PingPong, pause: std::time::Duration) {
    loop {
        sleep(pause).await;
        if pings.ping(Ping::opaque()).await.is_err() {
            // The stream says why.
            return pending().await;
        }
    }
}
