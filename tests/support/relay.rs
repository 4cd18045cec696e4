//! A way between a client and the controller that can be cut and frozen.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// Accepts connections and passes on what goes through them.
pub(crate) struct Relay {
    address: SocketAddr,
    accepting: JoinHandle<()>,
    ways: Arc<Mutex<JoinSet<()>>>,
    /// Not to pass on what goes through the connections that are open when it changes.
    frozen: watch::Sender<()>,
}

impl Relay {
    /// In front of `to`, at a free port.
    pub(crate) async fn start(to: SocketAddr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await;
        let listener = listener.expect("a port for a relay");
        let address = listener.local_addr().expect("an address");
        let ways: Arc<Mutex<JoinSet<()>>> = Arc::default();
        let shared = Arc::clone(&ways);
        let frozen = watch::Sender::new(());
        let freezer = frozen.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((mut from, _)) = listener.accept().await {
                let mut freezes = freezer.subscribe();
                shared.lock().expect("the ways").spawn(async move {
                    let Ok(mut to) = TcpStream::connect(to).await else {
                        return;
                    };
                    let _ = from.set_nodelay(true);
                    let _ = to.set_nodelay(true);
                    tokio::select! {
                        _ = copy_bidirectional(&mut from, &mut to) => {}
                        // Open, as it seems to both, and silent.
                        _ = freezes.changed() => std::future::pending().await,
                    }
                });
            }
        });
        Self {
            address,
            accepting,
            ways,
            frozen,
        }
    }

    /// Where clients connect to.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends every connection; new ones are taken.
    pub(crate) fn cut(&self) {
        self.ways.lock().expect("the ways").abort_all();
    }

    /// Passes nothing on any more over the connections that are open now, and ends none of them.
    pub(crate) fn freeze(&self) {
        self.frozen.send_replace(());
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}
