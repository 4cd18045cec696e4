//! EDGE: the document of what this controller knows, of what its parts show. Read-only; the same
//! for every way it is asked for.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, SerializeOptions};
use prost_types::Timestamp;
use serde_json::Value;
use tokio::sync::watch;

use crate::ads::{self, Clients, Shown, Snapshots};
use crate::aside::{MANY, apart, aside_if};
use crate::controller::{Validity, View, Waiting};
use crate::gateway::{Gateway, Origin};
use crate::graph::graph;
use crate::inventory::{Held, NodeStatus, ObjectPath, Problem, Target};
use crate::pb;
use crate::xds::status::{ResourceStatus, State};
use crate::xds::{ResourceType, Snapshot};

/// What is known, for whoever asks.
#[derive(Clone, Debug)]
pub struct Knowledge {
    gateway: Arc<str>,
    views: watch::Receiver<View>,
    clients: Clients,
    snapshots: Snapshots,
    drawn: Arc<Mutex<Option<Drawn>>>,
}

/// The graph that was made last, and what of.
#[derive(Debug)]
struct Drawn {
    gateway: Arc<Gateway>,
    held: Vec<Held>,
    graph: Arc<pb::Graph>,
}

impl Knowledge {
    /// Of the latest of `views` and `snapshots`, and the list of `clients`.
    pub fn new(
        gateway: &str,
        views: watch::Receiver<View>,
        clients: Clients,
        snapshots: Snapshots,
    ) -> Self {
        Self {
            gateway: gateway.into(),
            views,
            clients,
            snapshots,
            drawn: Arc::default(),
        }
    }

    /// What the controller shows.
    pub fn view(&self) -> View {
        self.views.borrow().clone()
    }

    /// The clients.
    pub const fn clients(&self) -> &Clients {
        &self.clients
    }

    /// What is served.
    pub fn snapshot(&self) -> Option<Arc<Snapshot>> {
        self.snapshots.borrow().clone()
    }

    /// When the daemon told something last.
    fn last_event(&self) -> Option<Timestamp> {
        let seconds = self.clients.metrics().heard_last();
        (seconds > 0).then_some(Timestamp { seconds, nanos: 0 })
    }

    /// The gateway's name.
    pub fn gateway(&self) -> &str {
        &self.gateway
    }

    /// Whether what is served was saved by an earlier process.
    pub fn is_stale(&self) -> bool {
        let latest = self.snapshots.borrow();
        let latest = latest.as_ref();
        latest.is_some_and(|snapshot| snapshot.is_partial())
    }

    /// The way of traffic, as it is published now. It is made once for all who ask.
    pub fn graph(&self) -> Arc<pb::Graph> {
        let View { gateway, held, .. } = self.view();
        let mut drawn = self.drawn.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(drawn) = &*drawn
            && Arc::ptr_eq(&drawn.gateway, &gateway)
            && drawn.held == held
        {
            return Arc::clone(&drawn.graph);
        }
        let is_long = gateway.clusters.len() > MANY;
        let graph = Arc::new(aside_if(is_long, || graph(&gateway, &held)));
        *drawn = Some(Drawn {
            gateway,
            held,
            graph: Arc::clone(&graph),
        });
        graph
    }

    /// Tells of every change of what is known.
    pub fn changes(&self) -> Changes {
        Changes {
            views: self.views.clone(),
            clients: self.clients.changes(),
            snapshots: self.snapshots.clone(),
        }
    }

    /// The document. Of each client at most [`RESOURCES_MAX`] resources are listed, unless those
    /// that are in order are asked for as well.
    pub async fn status(&self, request: &pb::GetStatusRequest) -> pb::Status {
        let shown = match request.synced_resources {
            true => Shown::All,
            false => Shown::Unsynced(RESOURCES_MAX),
        };
        let asked = request.node.as_str();
        let statuses = self
            .clients
            .statuses(shown, |client| asked.is_empty() || client.node == asked);
        let (statuses, knowledge) = (statuses.await, self.clone());
        apart(move || knowledge.status_of(statuses)).await
    }

    fn status_of(&self, statuses: Vec<(ads::Client, Option<ads::Status>)>) -> pb::Status {
        let latest = self.snapshots.borrow().clone();
        let clients = statuses.into_iter().map(|(client, status)| {
            let same = |synced| latest.as_ref().is_some_and(|it| Arc::ptr_eq(it, synced));
            let synced = client.synced.as_ref().is_some_and(same);
            of_client(client, status, synced)
        });
        let clients = clients.collect();
        let view = self.view();
        let held = view.held.iter().map(|it| of_held(it, view.started));
        pb::Status {
            gateway: self.gateway.to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ready: view.ready,
            stale: self.is_stale(),
            daemon: Some(pb::Daemon {
                connected: view.connected,
                syncs: count(view.syncs),
                corrections: count(view.corrections),
                failure: view.failure.clone(),
                account: view.account.clone(),
                lacks: view.lacks.iter().cloned().collect(),
                last_event: self.last_event(),
                place: view.place.clone(),
            }),
            resources: by_type(&view.resources, |number| count(*number as u64)),
            held: held.collect(),
            problems: view.problems.iter().map(of_problem).collect(),
            writes: view.writes.into_iter().map(of_waiting).collect(),
            clients,
            certificates: view.certificates.iter().map(of_certificate).collect(),
            listeners: latest.as_deref().map(listeners).unwrap_or_default(),
        }
    }
}

/// Waits for changes of what is known.
#[derive(Clone, Debug)]
pub struct Changes {
    views: watch::Receiver<View>,
    clients: watch::Receiver<()>,
    snapshots: Snapshots,
}

impl Changes {
    /// Waits for a change since the last call; returns whether there can be more.
    pub async fn next(&mut self) -> bool {
        let changed = tokio::select! {
            changed = self.views.changed() => changed,
            changed = self.clients.changed() => changed,
            changed = self.snapshots.changed() => changed,
        };
        self.views.mark_unchanged();
        self.clients.mark_unchanged();
        self.snapshots.mark_unchanged();
        changed.is_ok()
    }
}

/// The document as JSON: the field names of the message, and every field, also empty ones.
///
/// # Errors
/// When the descriptors that were built in are damaged.
pub fn to_json(status: &pb::Status) -> Result<Value, String> {
    json_of("osvc_igw.v1.Status", status)
}

/// Any of our own messages as JSON, by its full name.
///
/// # Errors
/// When the descriptors that were built in are damaged, or have no message of that name.
pub fn json_of(name: &str, message: &impl prost::Message) -> Result<Value, String> {
    aside_if(message.encoded_len() > LONG, || {
        let mut dynamic = DynamicMessage::new(descriptor(name)?);
        let transcoded = dynamic.transcode_from(message);
        transcoded.map_err(|error| error.to_string())?;
        let options = SerializeOptions::new()
            .use_proto_field_name(true)
            .skip_default_fields(false);
        let json = dynamic.serialize_with_options(serde_json::value::Serializer, &options);
        json.map_err(|error| error.to_string())
    })
}

/// What one of our own messages looks like, by its full name.
///
/// # Errors
/// When the descriptors that were built in are damaged, or have no message of that name.
pub fn descriptor(name: &str) -> Result<MessageDescriptor, String> {
    let pool = POOL.as_ref().map_err(Clone::clone)?;
    let found = pool.get_message_by_name(name);
    found.ok_or_else(|| format!("no descriptor of {name}"))
}

fn of_client(client: ads::Client, status: Option<ads::Status>, synced: bool) -> pb::Client {
    let refused = client.refused.into_values().map(|refused| pb::Refused {
        r#type: refused.kind.word().to_owned(),
        name: refused.name,
        message: refused.message,
        origins: of_origins(refused.origins),
    });
    let blocked = status.is_none();
    let status = status.unwrap_or_default();
    let resources = status.resources.into_iter();
    pb::Client {
        node: client.node,
        agent: client.agent,
        only: client
            .only
            .map(|kind| kind.word().to_owned())
            .unwrap_or_default(),
        synced,
        blocked,
        sent: by_type(&client.sent, |number| count(*number)),
        refused: refused.collect(),
        unsynced: count(status.unsynced as u64),
        resources: resources
            .map(|one| of_resource(one, client.began))
            .collect(),
    }
}

fn of_resource(resource: ResourceStatus, began: Duration) -> pb::Resource {
    let at = |since: Duration| timestamp(began.saturating_add(since));
    let (acked, acked_at) = resource.acked.unzip();
    let mut told = pb::Resource {
        r#type: resource.kind.word().to_owned(),
        name: resource.name,
        wanted: resource
            .wanted
            .map(|version| version.to_string())
            .unwrap_or_default(),
        acked: acked.unwrap_or_default(),
        acked_at: acked_at.flatten().and_then(at),
        origins: of_origins(resource.origins),
        ..pb::Resource::default()
    };
    let state = match resource.state {
        State::Synced => pb::ResourceState::Synced,
        State::Stale => pb::ResourceState::Stale,
        State::DoesNotExist => pb::ResourceState::DoesNotExist,
        State::NotSent { since, waits } => {
            told.since = since.and_then(at);
            told.reason = waits.to_string();
            pb::ResourceState::NotSent
        }
        State::Error {
            version,
            message,
            at: when,
        } => {
            told.since = at(when);
            told.reason = message;
            told.refused = version.map(|it| it.to_string()).unwrap_or_default();
            pb::ResourceState::Error
        }
    };
    told.set_state(state);
    told
}

fn of_origins(origins: Vec<Origin>) -> Vec<pb::Origin> {
    let origins = origins.into_iter().map(|origin| pb::Origin {
        object: origin.object.to_string(),
        section: origin.section.to_string(),
    });
    origins.collect()
}

fn of_problem(problem: &Problem) -> pb::Problem {
    pb::Problem {
        object: problem.object.to_string(),
        section: problem.section.clone(),
        keyword: problem.keyword.clone(),
        reason: problem.reason.clone(),
    }
}

fn of_certificate((object, validity): (&ObjectPath, &Validity)) -> pb::Certificate {
    let seconds = validity.not_after.and_then(|at| u64::try_from(at).ok());
    pb::Certificate {
        object: object.to_string(),
        not_after: seconds.and_then(|at| timestamp(Duration::from_secs(at))),
        flaw: validity.flaw.clone(),
    }
}

fn listeners(snapshot: &Snapshot) -> Vec<pb::Listener> {
    let listeners = snapshot
        .all(ResourceType::Listener)
        .map(|one| pb::Listener {
            name: one.name.to_string(),
            origins: of_origins(one.origins.to_vec()),
        });
    listeners.collect()
}

fn of_held(held: &Held, started: u64) -> pb::HeldInstance {
    let (status, reason) = match held.node_status {
        NodeStatus::Starting => (
            "starting",
            "the node's daemon starts and has not told of it yet",
        ),
        NodeStatus::Expired => (
            "expired",
            "the node stayed away for longer than its maintenance may last",
        ),
        _ => ("lost", "nothing is heard of the node"),
    };
    let started = Duration::from_secs(started);
    pb::HeldInstance {
        object: held.object.to_string(),
        node: held.node.clone(),
        node_status: status.to_owned(),
        addresses: held.addresses.clone(),
        reason: reason.to_owned(),
        until: held
            .until
            .and_then(|at| timestamp(started.saturating_add(at))),
    }
}

fn of_waiting(waiting: Waiting) -> pb::WaitingWrite {
    let write = match waiting.write {
        Target::Keyword(write) => pb::Write {
            change: "keyword".to_owned(),
            object: write.object.to_string(),
            section: write.section,
            keyword: write.keyword,
            value: write.value,
            ..pb::Write::default()
        },
        Target::Key { object, key } => pb::Write {
            change: "key".to_owned(),
            object: object.to_string(),
            key,
            ..pb::Write::default()
        },
        Target::Create { object } => pb::Write {
            change: "create".to_owned(),
            object: object.to_string(),
            ..pb::Write::default()
        },
    };
    pb::WaitingWrite {
        write: Some(write),
        taken: waiting.taken,
        failure: waiting.failure,
    }
}

fn by_type<T>(of: &BTreeMap<ResourceType, T>, number: impl Fn(&T) -> u32) -> BTreeMap<String, u32> {
    of.iter()
        .map(|(kind, it)| (kind.word().to_owned(), number(it)))
        .collect()
}

fn count(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// Beyond the year 9999 there is no way to write it, and no way to wait for it.
fn timestamp(since_1970: Duration) -> Option<Timestamp> {
    let seconds = i64::try_from(since_1970.as_secs()).ok()?;
    (since_1970 < YEARS_WRITTEN).then(|| Timestamp {
        seconds,
        nanos: i32::try_from(since_1970.subsec_nanos()).unwrap_or_default(),
    })
}

/// What the documents are made of, read once.
static POOL: LazyLock<Result<DescriptorPool, String>> =
    LazyLock::new(|| DescriptorPool::decode(pb::DESCRIPTORS).map_err(|error| error.to_string()));

/// The resources that are listed of one client, at most, where not all are asked for.
pub const RESOURCES_MAX: usize = 1_000;

/// A longer message is written while other tasks go on, in bytes.
const LONG: usize = 1 << 20;
/// Until the end of the year 9999, about.
const YEARS_WRITTEN: Duration = Duration::from_secs(253_000_000_000);
