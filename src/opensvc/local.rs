//! EDGE: the daemon of this node, by whichever of its sockets is there.
//!
//! `h2.sock` is preferred to the raw socket beside it. They are looked at for each connection:
//! the daemon may have been down, or another, when this process began.

use std::path::PathBuf;
use std::sync::Arc;

use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, StreamExt};
use tokio::net::UnixStream;

use super::h2::H2;
use super::probe;
use super::raw::Raw;
use super::{Daemon, Error};
use crate::inventory::Account;
use crate::inventory::{Config, Event, ObjectPath, Sensitive, Write};

/// The daemon of this node.
#[derive(Clone, Debug)]
pub struct Local {
    sockets: Arc<[PathBuf]>,
    raw: Raw,
}

impl Local {
    /// The daemon whose socket is at, or beside, the first of these paths where there is one.
    pub fn first_of(sockets: impl Into<Arc<[PathBuf]>>) -> Self {
        let sockets: Arc<[PathBuf]> = sockets.into();
        let raw = Raw::first_of(Arc::clone(&sockets));
        Self { sockets, raw }
    }

    /// The daemon's `h2.sock`, if that is the socket to take.
    fn h2(&self) -> Option<H2> {
        for socket in &*self.sockets {
            let beside = socket.with_file_name(H2_SOCKET);
            if beside.exists() {
                return Some(H2::at_socket(beside));
            }
            if socket.exists() {
                return None;
            }
        }
        None
    }

    /// A better reason why nobody listens: the socket of an agent 3 is there, and it answers.
    async fn explain(&self, error: Error) -> Error {
        for socket in &*self.sockets {
            let beside = socket.with_file_name(V3_SOCKET);
            let address = beside.display().to_string();
            if let Ok(stream) = UnixStream::connect(&beside).await
                && probe::is_v3(stream).await
            {
                return Error::OtherAgent { address };
            }
        }
        error
    }

    /// Asks over `h2.sock`, or over the raw socket where nobody listens on the first, or where it
    /// is too much for it.
    fn ask<T: Send + 'static>(
        &self,
        ask: impl Fn(&dyn Daemon) -> BoxFuture<'static, Result<T, Error>>,
    ) -> BoxFuture<'static, Result<T, Error>> {
        let Some(h2) = self.h2() else {
            return ask(&self.raw);
        };
        let (first, second) = (ask(&h2), ask(&self.raw));
        Box::pin(async move {
            match first.await {
                Err(Error::Connect { .. } | Error::Unsendable { .. }) => second.await,
                answer => answer,
            }
        })
    }
}

impl Daemon for Local {
    fn place(&self) -> String {
        self.h2().map_or_else(|| self.raw.place(), |h2| h2.place())
    }

    fn watch(&self) -> BoxStream<'static, Result<Event, Error>> {
        let local = self.clone();
        let watching = async move {
            if let Some(h2) = local.h2() {
                let mut events = h2.watch();
                match events.next().await {
                    Some(Err(Error::Connect { .. })) => {}
                    first => return with_account(first, events),
                }
            }
            let mut events = local.raw.watch();
            let first = match events.next().await {
                Some(Err(error @ Error::Connect { .. })) => Some(Err(local.explain(error).await)),
                first => first,
            };
            with_account(first, events)
        };
        stream::once(watching).flatten().boxed()
    }

    fn read_key(
        &self,
        path: &ObjectPath,
        key: &str,
    ) -> BoxFuture<'static, Result<Option<Sensitive>, Error>> {
        self.ask(|daemon| daemon.read_key(path, key))
    }

    fn read_config(&self, path: &ObjectPath) -> BoxFuture<'static, Result<Option<Config>, Error>> {
        self.ask(|daemon| daemon.read_config(path))
    }

    fn write(&self, write: &Write) -> BoxFuture<'static, Result<(), Error>> {
        self.ask(|daemon| daemon.write(write))
    }

    fn write_key(
        &self,
        path: &ObjectPath,
        key: &str,
        value: &Sensitive,
    ) -> BoxFuture<'static, Result<(), Error>> {
        self.ask(|daemon| daemon.write_key(path, key, value))
    }

    fn account(&self) -> BoxFuture<'static, Result<Account, Error>> {
        self.ask(|daemon| daemon.account())
    }

    fn create(&self, path: &ObjectPath) -> BoxFuture<'static, Result<(), Error>> {
        self.ask(|daemon| daemon.create(path))
    }
}

/// The events, and behind the first of them who this is for the daemon.
fn with_account(first: Option<Result<Event, Error>>, events: Events) -> Events {
    let opened = matches!(first, Some(Ok(_)));
    let account = opened.then(|| Ok(Event::Account(Account::of_the_socket())));
    stream::iter(first.into_iter().chain(account))
        .chain(events)
        .boxed()
}

type Events = BoxStream<'static, Result<Event, Error>>;

const H2_SOCKET: &str = "h2.sock";
/// Where an agent 3 is.
const V3_SOCKET: &str = "http.sock";
