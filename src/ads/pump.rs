//! One stream: a [`Session`], and the requests, snapshots and time that drive it.

use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::config::core::v3::node::UserAgentVersionType;
use futures::stream::{BoxStream, StreamExt};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tonic::Status;
use tracing::{debug, info, warn};

use super::Snapshots;
use super::clients::{Membership, Shown};
use super::flights::Flights;
use super::messages::{Asked, Body, Names, Reply};
use crate::clock::now;
use crate::xds::session::{self, Refused, Session};
use crate::xds::status::State;
use crate::xds::whole::{self, Whole};
use crate::xds::{Resource, ResourceType, Snapshot, sources};

/// What a stream carries, and in which variant of the protocol.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Style {
    /// The one type of a service of its own; `None` on the aggregated service.
    pub(super) only: Option<ResourceType>,
    /// Whether it is the delta variant.
    pub(super) delta: bool,
}

/// A stream that waits for the first snapshot.
pub(super) struct Start {
    pub(super) style: Style,
    pub(super) requests: BoxStream<'static, Result<Asked, Status>>,
    pub(super) snapshots: Snapshots,
    pub(super) membership: Membership,
    pub(super) place: Arc<OwnedSemaphorePermit>,
}

impl Start {
    pub(super) async fn ready(mut self) -> Option<Pump> {
        let snapshot = self
            .snapshots
            .wait_for(Option::is_some)
            .await
            .ok()?
            .clone()?;
        self.snapshots.mark_unchanged();
        let mut session = Session::new(snapshot, self.membership.id);
        if let Some(kind) = self.style.only {
            session = session.of_one_type(kind);
        }
        let whole = (!self.style.delta).then(Whole::default);
        if whole.is_some() {
            session = session.of_whole_states();
        }
        Some(Pump {
            style: self.style,
            session,
            whole,
            requests: self.requests,
            snapshots: self.snapshots,
            membership: self.membership,
            noted: None,
            flights: Flights::default(),
            started: now(),
            _place: self.place,
        })
    }
}

/// One stream: the session, and what drives it.
pub(super) struct Pump {
    style: Style,
    session: Session,
    /// What a stream of whole states was told.
    whole: Option<Whole>,
    requests: BoxStream<'static, Result<Asked, Status>>,
    snapshots: Snapshots,
    membership: Membership,
    /// The last snapshot that was noted as acknowledged as a whole.
    noted: Option<Arc<Snapshot>>,
    flights: Flights,
    started: Instant,
    _place: Arc<OwnedSemaphorePermit>,
}

impl Drop for Pump {
    fn drop(&mut self) {
        self.membership.leave(self.session.suspects());
    }
}

impl Pump {
    /// The next response, when there is one; `None` when the client or the controller has gone.
    pub(super) async fn next(mut self) -> Option<(Result<Reply, Status>, Self)> {
        self.membership.unread(None);
        loop {
            let elapsed = now() - self.started;
            if let Some(response) = self.session.poll_response(elapsed) {
                self.note_sent(&response);
                self.membership.unread(Some(now()));
                return Some((self.reply(response), self));
            }
            // Also of a client that came with everything, and is told nothing.
            self.note_synced();
            let due = self.session.answer_due();
            if let Some((_, kind)) = due.filter(|(at, _)| *at <= elapsed) {
                return Some((Err(self.drop_silent(kind)), self));
            }
            let wake = self.session.poll_timeout(elapsed);
            let wake = wake.into_iter().chain(due.map(|(at, _)| at)).min();
            let wake = wake.unwrap_or(elapsed + IDLE_WAKE_MAX);
            tokio::select! {
                request = self.requests.next() => match request {
                    Some(Ok(request)) => self.request(request),
                    None => return None,
                    Some(Err(status)) => {
                        debug!(%status, "xDS stream broke");
                        return None;
                    }
                },
                changed = self.snapshots.changed() => {
                    changed.ok()?;
                    let snapshot = self.snapshots.borrow_and_update().clone();
                    if let Some(snapshot) = snapshot {
                        self.flights.take(&self.membership, &snapshot);
                        self.session.handle_snapshot(snapshot);
                    }
                }
                question = self.membership.question() => {
                    let status = self.status(question.shown);
                    // Who asked may have gone.
                    let _ = question.answer.send(status);
                }
                () = tokio::time::sleep_until(self.started + wake) => {}
            }
        }
    }

    fn status(&self, shown: Shown) -> super::Status {
        let elapsed = now() - self.started;
        let (all, max) = match shown {
            Shown::All => (true, usize::MAX),
            Shown::Unsynced(max) => (false, max),
            Shown::Lags => {
                return super::Status {
                    lags: self.session.lags(),
                    ..super::Status::default()
                };
            }
        };
        let mut status = super::Status::default();
        self.session.each_resource(elapsed, |resource| {
            let unsynced = resource.state != State::Synced;
            status.unsynced += usize::from(unsynced);
            if (all || unsynced) && status.resources.len() < max {
                status.resources.push(resource);
            }
        });
        status
    }

    fn request(&mut self, request: Asked) {
        if let Some(node) = &request.node {
            self.introduce(node, request.names.first());
        }
        let type_url = request.type_url.as_str();
        let kind = match self.style.only {
            Some(only) if type_url.is_empty() => Some(only),
            Some(only) => ResourceType::from_url(type_url).filter(|kind| *kind == only),
            None => ResourceType::from_url(type_url),
        };
        let Some(kind) = kind else {
            warn!(type_url, "a client asks for a type that is not served here");
            return;
        };
        let acknowledges = request.error.is_none();
        if !request.nonce.is_empty() {
            let metrics = self.membership.metrics();
            metrics.answered(kind.word(), acknowledges);
            let error = request.error.clone().map(|message| said(kind, message));
            self.flights
                .arrive(&self.membership, &request.nonce, error.as_deref());
        }
        let refused = self.take(kind, request);
        let session = &self.session;
        self.membership.update(|client| {
            for refused in refused {
                let key = (kind, refused.name.clone());
                let before = client.refused.get(&key);
                if before.is_none_or(|before| before.message != refused.message) {
                    log_refused(&client.node, &refused);
                }
                client.refused.insert(key, refused);
            }
            if acknowledges {
                client
                    .refused
                    .retain(|(kind, name), _| session.refuses(*kind, name));
            }
        });
    }

    fn introduce(&mut self, node: &Node, name: &str) {
        let agent = &agent(node);
        let mut known = false;
        self.membership.update(|client| {
            known = !client.node.is_empty();
            client.node.clone_from(&node.id);
            client.agent.clone_from(agent);
        });
        if known {
            return;
        }
        let id = node.id.as_str();
        match self.style.only {
            None => info!(node = id, agent, "Envoy connected"),
            Some(kind) => debug!(node = id, agent, %kind, name, "Envoy connected"),
        }
        let identity = match self.style.only {
            Some(kind) if !id.is_empty() => format!("{id} {kind} {name}"),
            _ => id.to_owned(),
        };
        self.session.inherit(self.membership.take(identity));
    }

    fn take(&mut self, kind: ResourceType, request: Asked) -> Vec<Refused> {
        let elapsed = now() - self.started;
        let (nonce, error) = (request.nonce, request.error);
        let error = error.map(|message| said(kind, message));
        match (request.names, &mut self.whole) {
            (Names::Whole(names), Some(whole)) => {
                let request = whole::Request {
                    nonce,
                    error,
                    names,
                };
                whole.handle_request(&mut self.session, elapsed, kind, request)
            }
            (Names::Whole(_), None) | (Names::Delta { .. }, Some(_)) => Vec::new(),
            (
                Names::Delta {
                    subscribe,
                    unsubscribe,
                    initial,
                },
                None,
            ) => {
                let request = session::Request {
                    kind,
                    nonce,
                    error,
                    subscribe,
                    unsubscribe,
                    initial,
                };
                self.session.handle_request(elapsed, request)
            }
        }
    }

    fn reply(&mut self, mut response: session::Response) -> Result<Reply, Status> {
        if self.style.only.is_some() {
            for (resource, _) in &mut response.resources {
                *resource = self.style.for_separate_streams(response.kind, resource)?;
            }
        }
        let Some(whole) = &mut self.whole else {
            return Ok(Reply {
                kind: response.kind,
                nonce: response.nonce,
                version: String::new(),
                resources: response
                    .resources
                    .iter()
                    .map(|(resource, version)| body(resource, version.to_string()))
                    .collect(),
                removed: response.removed,
            });
        };
        let response = whole.respond(response);
        Ok(Reply {
            kind: response.kind,
            nonce: response.nonce,
            version: response.version.to_string(),
            resources: response
                .resources
                .iter()
                .map(|resource| body(resource, String::new()))
                .collect(),
            removed: Vec::new(),
        })
    }

    /// A snapshot that differs in nothing is acknowledged without a word.
    fn note_synced(&mut self) {
        let newest = self.session.snapshot();
        if self
            .noted
            .as_ref()
            .is_some_and(|noted| Arc::ptr_eq(noted, newest))
        {
            return;
        }
        if let Some(snapshot) = self.session.synced() {
            let snapshot = Arc::clone(snapshot);
            self.noted = Some(Arc::clone(&snapshot));
            self.membership
                .update(|client| client.synced = Some(snapshot));
        }
    }

    fn note_sent(&mut self, response: &session::Response) {
        self.flights.depart(&self.membership, response);
        let count = response.resources.len() + response.removed.len();
        let metrics = self.membership.metrics();
        metrics.sent(response.kind.word(), count as u64);
        self.membership.update(|client| {
            *client.sent.entry(response.kind).or_default() += count as u64;
        });
        debug!(kind = %response.kind, nonce = response.nonce, resources = ?response.resources,
            removed = ?response.removed, "sent");
    }

    fn drop_silent(&mut self, kind: ResourceType) -> Status {
        let reason = format!("it has not answered a response of {kind} for too long");
        self.membership.cut_soon();
        self.membership.metrics().dropped();
        self.membership
            .update(|client| warn!(node = client.node, reason, "dropped an xDS client"));
        self.requests = futures::stream::empty().boxed();
        Status::deadline_exceeded(reason)
    }
}

impl Style {
    fn for_separate_streams(
        self,
        kind: ResourceType,
        resource: &Arc<Resource>,
    ) -> Result<Arc<Resource>, Status> {
        if !matches!(kind, ResourceType::Cluster | ResourceType::Listener) {
            return Ok(Arc::clone(resource));
        }
        let body = sources::for_separate_streams(kind, &resource.body, self.delta);
        let body = body.map_err(|error| Status::internal(error.to_string()))?;
        let resource = Resource {
            body,
            ..Resource::clone(resource)
        };
        Ok(Arc::new(resource))
    }
}

fn body(resource: &Resource, version: String) -> Body {
    Body {
        name: resource.name.to_string(),
        version,
        body: resource.body.clone(),
    }
}

/// What the client is: its name, and its version where it tells that in numbers or words.
fn agent(node: &Node) -> String {
    let name = &node.user_agent_name;
    let version = match &node.user_agent_version_type {
        Some(UserAgentVersionType::UserAgentVersion(version)) => Some(version.clone()),
        Some(UserAgentVersionType::UserAgentBuildVersion(build)) => build
            .version
            .as_ref()
            .map(|it| format!("{}.{}.{}", it.major_number, it.minor_number, it.patch)),
        None => None,
    };
    version.map_or_else(|| name.clone(), |version| format!("{name}/{version}"))
}

/// One line, with the section that the resource was made from.
fn log_refused(node: &str, refused: &Refused) {
    let origin = refused.origins.first();
    let object = origin
        .map(|origin| origin.object.to_string())
        .unwrap_or_default();
    let section = origin
        .map(|origin| origin.section.as_ref())
        .unwrap_or_default();
    let (kind, name, message) = (refused.kind, &refused.name, &refused.message);
    warn!(node, %kind, name, object, section, message, "Envoy refused a resource");
}

/// Envoy's words, except where they may repeat a secret: at the root of a message it prints the
/// message that it refuses.
fn said(kind: ResourceType, message: String) -> String {
    let repeats = ["-----BEGIN", "inline_string", "inline_bytes"];
    if kind == ResourceType::Secret && repeats.iter().any(|part| message.contains(part)) {
        return "[Envoy's words repeat the secret and are left out]".to_owned();
    }
    message.chars().take(MESSAGE_CHARS_MAX).collect()
}

/// How long a stream without deadlines sleeps at most.
const IDLE_WAKE_MAX: Duration = Duration::from_secs(3_600);
/// How much of a refusal is kept.
const MESSAGE_CHARS_MAX: usize = 4_096;
