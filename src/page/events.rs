//! EDGE: `/events`: the state, the version of the graph, and what happens, as server-sent events
//! (WHATWG HTML, 9.2), each as JSON.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream::{self, BoxStream, StreamExt};
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Page;
use crate::pb;
use crate::status::{Changes, json_of, to_json};

/// How many may watch at once.
#[derive(Clone, Debug)]
pub(super) struct Places(Arc<Semaphore>);

impl Default for Places {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(WATCHERS_MAX)))
    }
}

/// `Last-Event-ID` is the last of what happened that is known already.
pub(super) async fn events(State(page): State<Page>, asked: HeaderMap) -> Response {
    let Ok(place) = Arc::clone(&page.places.0).try_acquire_owned() else {
        let reason = format!("{WATCHERS_MAX} watch already\n");
        return (StatusCode::SERVICE_UNAVAILABLE, reason).into_response();
    };
    let last = asked.get("last-event-id").and_then(|id| id.to_str().ok());
    let last = last.and_then(|id| id.parse().ok()).unwrap_or_default();
    let stop = page.stop.clone().cancelled_owned();
    let watch = Watch {
        changes: page.knowledge.changes(),
        happened: page.live.events(last),
        page,
        told: None,
        graph: String::new(),
        next: VecDeque::new(),
        _place: place,
    };
    let first = stream::once(async { Ok::<_, Infallible>(Event::default().retry(RETRY)) });
    let events = stream::unfold(watch, |watch| async {
        let (event, watch) = watch.next().await?;
        Some((Ok(event), watch))
    });
    let events = first.chain(events).take_until(stop);
    let headers = [("x-accel-buffering", "no"), ("cache-control", "no-store")];
    let alive = KeepAlive::new().interval(ALIVE);
    (headers, Sse::new(events).keep_alive(alive)).into_response()
}

/// One who watches.
struct Watch {
    page: Page,
    changes: Changes,
    happened: BoxStream<'static, pb::Event>,
    told: Option<Value>,
    graph: String,
    next: VecDeque<Event>,
    _place: OwnedSemaphorePermit,
}

impl Watch {
    async fn next(mut self) -> Option<(Event, Self)> {
        loop {
            if let Some(event) = self.next.pop_front() {
                return Some((event, self));
            }
            if self.told.is_none() {
                self.look().await;
                continue;
            }
            tokio::select! {
                event = self.happened.next() => {
                    let event = event?;
                    let id = event.id.to_string();
                    let json = json_of("osvc_igw.v1.Event", &event).ok()?;
                    return Some((named("change", &json).id(id), self));
                }
                more = self.changes.next() => {
                    if !more {
                        return None;
                    }
                    tokio::time::sleep(PAUSE).await;
                    self.look().await;
                }
            }
        }
    }

    /// Tells of what is other than it was told.
    async fn look(&mut self) {
        let request = pb::GetStatusRequest::default();
        let mut status = self.page.knowledge.status(&request).await;
        for client in &mut status.clients {
            client.resources.truncate(RESOURCES_MAX);
        }
        // A status that cannot be written is told as none, once.
        let status = to_json(&status).unwrap_or_default();
        let graph = self.page.knowledge.graph();
        if graph.version != self.graph {
            self.next
                .push_back(named("graph", &json!({ "version": graph.version })));
            self.graph.clone_from(&graph.version);
        }
        if self.told.as_ref() != Some(&status) {
            self.next.push_back(named("status", &status));
            self.told = Some(status);
        }
    }
}

/// JSON has no line breaks of its own, which would end the data.
fn named(name: &str, data: &Value) -> Event {
    Event::default().event(name).data(data.to_string())
}

const WATCHERS_MAX: usize = 64;
/// How many resources of a client the page is told of.
const RESOURCES_MAX: usize = 20;
/// The least time between two looks at what is known.
const PAUSE: Duration = Duration::from_millis(200);
/// How long a browser waits before it connects again.
const RETRY: Duration = Duration::from_secs(1);
/// Proxies and browsers find out what is dead.
const ALIVE: Duration = Duration::from_secs(15);
