//! EDGE: the threads that connections are served on. Each connection is served on one of them from
//! its beginning to its end: none wakes another to have a part of its work done.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{Stream, StreamExt};
use tokio::runtime::Handle;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::time::sleep;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tracing::warn;

use super::connection::{Connection, Socket};

/// The thread that takes connections in, those beside it, and how many connections each has, of
/// all listeners. Clones share the numbers.
#[derive(Clone, Debug, Default)]
pub(super) struct Threads(Arc<All>);

#[derive(Debug, Default)]
struct All {
    first: Place,
    beside: Vec<(Handle, Place)>,
}

/// A connection's place on a thread, until it is dropped.
#[derive(Clone, Debug, Default)]
pub(super) struct Place(Arc<()>);

impl Place {
    /// How many there are on its thread.
    fn taken(&self) -> usize {
        Arc::strong_count(&self.0) - 1
    }
}

impl Threads {
    /// The one that takes connections in, and these.
    pub(super) fn and(beside: Vec<Handle>) -> Self {
        let beside = beside.into_iter();
        Self(Arc::new(All {
            first: Place::default(),
            beside: beside.map(|handle| (handle, Place::default())).collect(),
        }))
    }

    /// Who deals connections to the threads, and for each thread those that it is dealt. The first
    /// thread is the one that calls this.
    pub(super) fn open<T: Socket>(&self) -> (Dealer<T>, Vec<(Handle, Connections<T>)>) {
        let beside = self.0.beside.iter().map(|(handle, _)| handle.clone());
        let opened = std::iter::once(Handle::current())
            .chain(beside)
            .map(|handle| {
                let (way, dealt) = unbounded_channel();
                let arrive: Arrive<T> = Dealt::arrive;
                let connections = UnboundedReceiverStream::new(dealt).map(arrive);
                (way, (handle, connections))
            });
        let (ways, opened) = opened.unzip();
        let threads = self.clone();
        (Dealer { threads, ways }, opened)
    }

    /// The number of the thread that the next connection is for, and a place on it: the first as
    /// long as it has few, so that the Envoy beside is served where events are taken in; then that
    /// with the fewest.
    fn next(&self) -> (usize, Place) {
        let mut next = (0, &self.0.first);
        for (number, (_, place)) in self.0.beside.iter().enumerate() {
            if next.1.taken() >= FEW && place.taken() < next.1.taken() {
                next = (number + 1, place);
            }
        }
        (next.0, next.1.clone())
    }
}

/// Deals connections to the threads.
pub(super) struct Dealer<T: Socket> {
    threads: Threads,
    ways: Vec<UnboundedSender<Dealt<T>>>,
}

/// What a thread is dealt.
pub(super) type Connections<T> = futures::stream::Map<UnboundedReceiverStream<Dealt<T>>, Arrive<T>>;
type Arrive<T> = fn(Dealt<T>) -> io::Result<Connection<T>>;

/// A socket on its way between two threads.
pub(super) struct Dealt<T: Socket> {
    socket: T::Left,
    place: Place,
}

impl<T: Socket> Dealt<T> {
    fn arrive(self) -> io::Result<Connection<T>> {
        Ok(Connection::new(T::arrive(self.socket)?, self.place))
    }
}

impl<T: Socket> Dealer<T> {
    /// Deals what comes, until nothing does. One that cannot be taken in is no reason to stop:
    /// files may be free again in a moment.
    pub(super) async fn deal(self, mut sockets: impl Stream<Item = io::Result<T>> + Unpin) {
        while let Some(socket) = sockets.next().await {
            if let Err(error) = socket.and_then(|socket| self.pass(socket)) {
                warn!(%error, "cannot take an xDS connection in");
                sleep(PAUSE).await;
            }
        }
    }

    fn pass(&self, socket: T) -> io::Result<()> {
        let (number, place) = self.threads.next();
        let socket = socket.leave()?;
        let way = self.ways.get(number);
        // Where it serves no more, the process is about to end.
        let _ = way.map(|way| way.send(Dealt { socket, place }));
        Ok(())
    }
}

/// So many connections have not enough to do to be worth another thread.
const FEW: usize = 8;
/// How long to wait after a connection that could not be taken in.
const PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use tokio::runtime::Runtime;

    use super::*;

    #[test]
    fn few_connections_are_on_the_first_thread_and_many_are_shared_out() {
        let runtime = Runtime::new().unwrap();
        let threads = Threads::and(vec![runtime.handle().clone(); 2]);
        let mut taken: Vec<_> = (0..FEW).map(|_| threads.next()).collect();
        assert!(taken.iter().all(|(thread, _)| *thread == 0));
        // Clones know of each other: there is one for each listener.
        let other = threads.clone();
        taken.extend((0..2 * FEW + 3).map(|_| other.next()));
        let on = |one| taken.iter().filter(|(thread, _)| *thread == one).count();
        assert_eq!([on(0), on(1), on(2)], [FEW + 1; 3]);
        taken.retain(|(thread, _)| *thread != 2);
        assert_eq!(threads.next().0, 2);
    }
}
