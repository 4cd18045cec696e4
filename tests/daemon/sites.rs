//! A simulated daemon that can be reached in each way, a controller that follows it, and one
//! beside it whose daemon has no faults, to say what is right.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use osvc_igw::controller::{Controller, View};
use osvc_igw::gateway::Policy;
use osvc_igw::opensvc::Daemon;
use osvc_igw::opensvc::h2::H2;
use osvc_igw::opensvc::raw::{Limits, Raw};
use osvc_igw::opensvc::tls::{Access, Login, Server};
use osvc_igw::sim::Sim;
use osvc_igw::sim::certificate::Authority;
use osvc_igw::xds::Snapshot;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::support::folder::Folder;

/// A way to a daemon.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Way {
    Raw,
    Socket,
    Tls,
}

/// A daemon that can be reached in one of the ways.
pub(crate) struct Site {
    pub(crate) sim: Sim,
    pub(crate) folder: Folder,
    pub(crate) authority: Authority,
    pub(crate) server: Server,
    way: Way,
}

impl Site {
    /// A daemon of two nodes with one service.
    pub(crate) fn start(way: Way) -> Self {
        let folder = Folder::new("site");
        let sim = Sim::start(&folder.0.join("lsnr.sock"), &["n1", "n2"]).expect("a daemon");
        sim.serve_h2(&folder.0.join("h2.sock")).expect("a socket");
        sim.set_user("igw", "admin:test guest:*", Some("hunter2"));
        sim.create(SERVICE, INI).expect("a service");
        let authority = Authority::new("demo-ca").expect("an authority");
        let identity = authority.issue("demo", &["127.0.0.1", "localhost"]);
        let identity = identity.expect("a certificate");
        let bound = sim.serve_tls(([127, 0, 0, 1], 0).into(), &identity, authority.pem());
        folder.write("ca.pem", authority.pem());
        let client = authority.issue("igw", &["igw"]).expect("a certificate");
        folder.write("cert.pem", &client.chain_pem);
        folder.write("key.pem", &client.key_pem);
        Self {
            server: Server {
                host: "127.0.0.1".to_owned(),
                port: bound.expect("a port").port(),
            },
            sim,
            folder,
            authority,
            way,
        }
    }

    /// The client of this way.
    pub(crate) fn daemon(&self) -> Arc<dyn Daemon> {
        self.daemon_with(limits())
    }

    /// The client of this way with other limits.
    pub(crate) fn daemon_with(&self, limits: Limits) -> Arc<dyn Daemon> {
        match self.way {
            Way::Raw => Arc::new(Raw::with_limits(self.path("lsnr.sock"), limits)),
            Way::Socket => Arc::new(H2::at_socket(self.path("h2.sock")).with_limits(limits)),
            Way::Tls => {
                let servers = vec![self.server.clone()];
                Arc::new(H2::at_servers(servers, self.access()).with_limits(limits))
            }
        }
    }

    /// Who the client is over TLS.
    pub(crate) fn access(&self) -> Access {
        Access {
            ca: self.path("ca.pem"),
            login: Login::Certificate {
                chain: self.path("cert.pem"),
                key: self.path("key.pem"),
            },
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.0.join(name)
    }
}

/// A controller that follows a daemon, and all that it ever published.
pub(crate) struct Served {
    snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
    pub(crate) views: watch::Receiver<View>,
    seen: Arc<Mutex<Vec<Arc<Snapshot>>>>,
    stop: CancellationToken,
}

impl Served {
    /// Follows the daemon.
    pub(crate) fn from(daemon: Arc<dyn Daemon>) -> Self {
        Self::with(daemon, Policy::default())
    }

    /// Follows the daemon with a policy.
    pub(crate) fn with(daemon: Arc<dyn Daemon>, policy: Policy) -> Self {
        let (publish, snapshots) = watch::channel(None);
        let (show, views) = watch::channel(View::default());
        let stop = CancellationToken::new();
        let controller = Controller::new(daemon, policy, publish, show, stop.clone());
        tokio::spawn(controller.run());
        let seen = Arc::<Mutex<Vec<Arc<Snapshot>>>>::default();
        let (mut published, all) = (snapshots.clone(), seen.clone());
        tokio::spawn(async move {
            while published.changed().await.is_ok() {
                let snapshot = published.borrow_and_update().clone();
                all.lock().expect("no panic").extend(snapshot);
            }
        });
        Self {
            snapshots,
            views,
            seen,
            stop,
        }
    }

    /// Waits until this is published.
    #[track_caller]
    pub(crate) fn becomes(&self, right: &Arc<Snapshot>) -> impl Future<Output = ()> {
        let mut snapshots = self.snapshots.clone();
        let right = right.clone();
        let place = std::panic::Location::caller();
        async move {
            let right = Some(right);
            let waiting = timeout(PATIENCE, snapshots.wait_for(|one| *one == right));
            let came = waiting.await.is_ok_and(|one| one.is_ok());
            assert!(came, "not the right snapshot at {place}");
        }
    }

    /// The first snapshot that is none of these.
    pub(crate) async fn next(&self, known: &[Arc<Snapshot>]) -> Arc<Snapshot> {
        let mut snapshots = self.snapshots.clone();
        let is_new =
            |one: &Option<Arc<Snapshot>>| one.as_ref().is_some_and(|one| !known.contains(one));
        let waiting = timeout(PATIENCE, snapshots.wait_for(is_new)).await;
        let came = waiting.expect("no new snapshot").expect("a controller");
        came.clone().expect("a snapshot")
    }

    /// Waits until this is shown.
    #[track_caller]
    pub(crate) fn shows(&self, is_right: impl Fn(&View) -> bool) -> impl Future<Output = View> {
        let mut views = self.views.clone();
        let place = std::panic::Location::caller();
        async move {
            let waiting = timeout(PATIENCE, views.wait_for(|view| is_right(view))).await;
            let shown = waiting.ok().and_then(|view| Some(view.ok()?.clone()));
            shown.unwrap_or_else(|| panic!("not shown at {place}: {:?}", views.borrow()))
        }
    }

    /// What is served by now.
    pub(crate) fn snapshot(&self) -> Option<Arc<Snapshot>> {
        self.snapshots.borrow().clone()
    }

    /// All that was published.
    pub(crate) fn seen(&self) -> Vec<Arc<Snapshot>> {
        self.seen.lock().expect("no panic").clone()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A daemon without faults, to which the same happens, and what is made of it.
pub(crate) struct Calm {
    pub(crate) sim: Sim,
    served: Served,
    _folder: Folder,
}

impl Calm {
    /// The same as a [`Site`] at its start, and what is served of it.
    pub(crate) async fn start() -> (Self, Arc<Snapshot>) {
        let folder = Folder::new("calm");
        let socket = folder.0.join("lsnr.sock");
        let sim = Sim::start(&socket, &["n1", "n2"]).expect("a daemon");
        sim.create(SERVICE, INI).expect("a service");
        let served = Served::from(Arc::new(Raw::with_limits(&socket, limits())));
        let first = served.next(&[]).await;
        let calm = Self {
            sim,
            served,
            _folder: folder,
        };
        (calm, first)
    }

    /// What is right after a change.
    pub(crate) async fn next(&self, known: &[Arc<Snapshot>]) -> Arc<Snapshot> {
        self.served.next(known).await
    }
}

/// Frequent flushes, and a watchdog that no busy machine wakes up.
pub(crate) fn limits() -> Limits {
    Limits {
        flush: Duration::from_millis(100),
        silence: Duration::from_secs(3),
        ..Limits::default()
    }
}

pub(crate) const SERVICE: &str = "test/svc/web1";
const INI: &str = "[DEFAULT]\ntopology = flex\nnodes = *\n[ip#1]\nipname = 10.0.0.1\nipdev = lo\n\
                   netmask = 8\nexpose = expose#0\n[expose#0]\ntype = envoy\nport = 80\n\
                   listener_port = 8080\n";
/// How long it may take until what is right is served.
const PATIENCE: Duration = Duration::from_secs(10);
