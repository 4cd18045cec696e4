//! EDGE: builds the parts of the controller, runs them together, and ends them together.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::net::{TcpListener, UnixListener};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::TcpIncoming;
use tracing::{info, warn};

use crate::admin::Admin;
use crate::ads::{self, Ads, Clients};
use crate::cert::dns::Reach;
use crate::cert::operator::Operator;
use crate::cert::probe::{Acked, Door};
use crate::controller::{Controller, View};
use crate::gateway::Policy;
use crate::grpc;
use crate::journey::Gauge;
use crate::live::Live;
use crate::opensvc::Daemon;
use crate::state::StateDir;
use crate::status::Knowledge;
use crate::traces::Traces;
use crate::xds::{ResourceType, Snapshot};

/// What the controller runs with.
#[derive(Clone)]
pub struct Settings {
    /// What the operator of the gateway decides about what is exposed.
    pub policy: Policy,
    /// Where xDS is served.
    pub xds_address: SocketAddr,
    /// Where xDS is served as well.
    pub xds_socket: Option<PathBuf>,
    /// The most xDS streams at once.
    pub streams_max: usize,
    /// Threads that serve xDS connections beside the one that runs everything.
    pub threads: Vec<Handle>,
    /// Where the admin pages are served.
    pub admin_address: SocketAddr,
    /// Where what is served is kept for a start without the daemon.
    pub state_dir: Option<PathBuf>,
    /// Where the gateways are and the way to the DNS, where this process gets their certificates,
    /// too.
    pub acme: Option<(Door, Reach)>,
}

/// Why the controller could not start, or ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An address could not be listened on.
    #[error("cannot listen on {address} (option {option}): {source}")]
    Listen {
        /// The address or the path.
        address: String,
        /// The option that gives it.
        option: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// The folder of `--state-dir` cannot be used.
    #[error("cannot use {} (option --state-dir): {source}", folder.display())]
    State {
        /// The folder.
        folder: PathBuf,
        /// What the system said, or what is wrong with it.
        source: std::io::Error,
    },
    /// A part ended that should not have.
    #[error("{part} ended: {reason}")]
    Ended {
        /// Which part.
        part: &'static str,
        /// Why.
        reason: String,
    },
}

/// A part's name and, if it failed, why.
type Ended = (&'static str, Result<(), String>);

/// Runs the controller until `stop` is cancelled; then ends every stream and returns.
///
/// # Errors
/// When an address is taken, or when a part ends by itself.
pub async fn run(
    settings: Settings,
    daemon: Arc<dyn Daemon>,
    stop: CancellationToken,
) -> Result<(), Error> {
    let doors = Doors::open(&settings).await?;
    let Settings {
        policy,
        xds_address,
        xds_socket,
        streams_max,
        threads,
        admin_address,
        acme,
        ..
    } = settings;
    let (snapshots_tx, snapshots) = watch::channel(None);
    let (views_tx, views) = watch::channel(View::default());
    let ads = Ads::new(snapshots, streams_max, stop.clone()).on(threads);
    let gateway = &policy.gateway_name;
    let traces = Traces::from_environment(gateway);
    let knowledge = Knowledge::new(gateway, views, ads.clients(), snapshots_tx.subscribe());
    let live = Live::default();
    let (beside, health) = grpc::services(knowledge.clone(), live.clone(), stop.clone());
    let health = grpc::keep_health(health, snapshots_tx.subscribe(), stop.clone());
    let ads = ads.beside(beside);
    let noting = live.clone().follow(knowledge.clone(), stop.clone());
    let admin = Admin::new(knowledge, live);
    let saving = doors
        .state
        .map(|state| state.follow(snapshots_tx.clone(), stop.clone()));
    let follow = Arc::clone(&daemon);
    let gauge = gauge(&ads.clients(), &traces);
    let controller = Controller::new(follow, policy, snapshots_tx, views_tx, stop.clone());
    let controller = controller.measured(gauge);
    let operator = acme.map(|ways| operator(daemon, &controller, ads.clients(), ways));
    info!(%xds_address, ?xds_socket, %admin_address, "serving");

    let mut parts: JoinSet<Ended> = JoinSet::new();
    parts.spawn(async { ("the controller", ended(controller.run()).await) });
    let over_tcp = ads.clone();
    parts.spawn(async { ("xDS over TCP", text(over_tcp.serve_tcp(doors.tcp).await)) });
    if let Some(unix) = doors.unix {
        parts.spawn(async { ("xDS over the unix socket", text(ads.serve_unix(unix).await)) });
    }
    parts.spawn(async { ("the health service", ended(health).await) });
    parts.spawn(async { ("noting what happens", ended(noting).await) });
    if let Some(saving) = saving {
        parts.spawn(async { ("keeping what is served", ended(saving).await) });
    }
    if let Some(operator) = operator {
        let until = stop.clone();
        parts.spawn(async {
            ("the certificate operator", {
                operator.run(until).await;
                Ok(())
            })
        });
    }
    let until = stop.clone();
    parts.spawn(async {
        (
            "the admin pages",
            text(admin.serve(doors.admin, until).await),
        )
    });
    let result = join(parts, stop).await;
    traces.finish().await;
    if let Some(path) = xds_socket
        && let Err(error) = tokio::fs::remove_file(&path).await
    {
        warn!(path = %path.display(), %error, "cannot remove the xDS socket");
    }
    result
}

/// What measures the way of events, with the streams that they end on.
fn gauge(clients: &Clients, traces: &Traces) -> Gauge {
    let (metrics, journeys) = (clients.metrics().clone(), clients.journeys().clone());
    Gauge::new(metrics, journeys, traces.clone())
}

fn operator(
    daemon: Arc<dyn Daemon>,
    controller: &Controller,
    clients: Clients,
    (door, reach): (Door, Reach),
) -> Operator {
    let metrics = clients.metrics().clone();
    let acked = Some(acked(clients));
    let operator = Operator::queued(daemon, controller.queue(), Door { acked, ..door });
    operator.with_reach(reach).telling(Arc::new(move |issued| {
        metrics.asked_for_certificate(issued)
    }))
}

/// Says whether every client took what answers a challenge: a route with its token, or a chain
/// with the name of its certificate. One that refuses something else never takes a whole
/// snapshot: what it answers is looked at all the same.
fn acked(clients: Clients) -> Acked {
    let answers = |snapshot: &Snapshot, token: &str| {
        let mut answers = ANSWERING.iter().flat_map(|kind| snapshot.all(*kind));
        let token = token.as_bytes();
        answers.any(|one| one.body.windows(token.len()).any(|part| part == token))
    };
    Arc::new(move |token| {
        clients.list().iter().all(|client| {
            let elsewhere = client.only.is_some_and(|kind| !ANSWERING.contains(&kind));
            let synced = client.synced.as_ref();
            elsewhere
                || !client.refused.is_empty()
                || synced.is_some_and(|snapshot| answers(snapshot, token))
        })
    })
}

/// What a challenge is answered by.
const ANSWERING: [ResourceType; 2] = [ResourceType::Route, ResourceType::Listener];

/// What has to be there before anything is served.
struct Doors {
    tcp: TcpIncoming,
    unix: Option<UnixListener>,
    admin: TcpListener,
    state: Option<StateDir>,
}

impl Doors {
    async fn open(settings: &Settings) -> Result<Self, Error> {
        let listen = |address: String, option| {
            move |source| Error::Listen {
                address,
                option,
                source,
            }
        };
        let xds = settings.xds_address;
        let tcp = ads::bind_tcp(xds).map_err(listen(xds.to_string(), "--port"))?;
        let admin = settings.admin_address;
        let admin = TcpListener::bind(admin)
            .await
            .map_err(listen(admin.to_string(), "--admin-address"))?;
        let unix = match &settings.xds_socket {
            Some(path) => {
                let address = path.display().to_string();
                let bound = ads::bind_unix(path).await;
                Some(bound.map_err(listen(address, "--janitor-socket"))?)
            }
            None => None,
        };
        let folder = settings.state_dir.as_ref();
        let state = folder.map(|folder| {
            let opened = StateDir::open(folder, &settings.policy.gateway_name);
            opened.map_err(|source| Error::State {
                folder: folder.clone(),
                source,
            })
        });
        Ok(Self {
            tcp,
            unix,
            admin,
            state: state.transpose()?,
        })
    }
}

/// Waits for all parts. The first that ends before it was told to ends the others.
async fn join(mut parts: JoinSet<Ended>, stop: CancellationToken) -> Result<(), Error> {
    let mut result = Ok(());
    while let Some(ended) = parts.join_next().await {
        if stop.is_cancelled() {
            continue;
        }
        stop.cancel();
        let (part, reason) = match ended {
            Ok((part, Ok(()))) => (part, "without being told to".to_owned()),
            Ok((part, Err(reason))) => (part, reason),
            Err(error) => ("a part", error.to_string()),
        };
        result = Err(Error::Ended { part, reason });
    }
    info!("stopped");
    result
}

/// A part that does not fail.
async fn ended(part: impl Future<Output = ()>) -> Result<(), String> {
    part.await;
    Ok(())
}

fn text<E: std::error::Error>(result: Result<(), E>) -> Result<(), String> {
    result.map_err(|error| error.to_string())
}
