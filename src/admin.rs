//! EDGE: the admin HTTP pages: health, readiness, and what is wrong. Read-only.

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::ads::{Client, Clients, Snapshots};
use crate::controller::View;
use crate::inventory::{Held, NodeStatus};
use crate::metrics::Standing;

/// The pages and what they show.
#[derive(Clone, Debug)]
pub struct Admin {
    views: watch::Receiver<View>,
    clients: Clients,
    snapshots: Snapshots,
}

impl Admin {
    /// Pages that show the latest of `views` and `snapshots`, and the list of `clients`.
    pub fn new(views: watch::Receiver<View>, clients: Clients, snapshots: Snapshots) -> Self {
        Self {
            views,
            clients,
            snapshots,
        }
    }

    /// Whether what is served was saved by an earlier process.
    fn is_stale(&self) -> bool {
        let latest = self.snapshots.borrow();
        let latest = latest.as_ref();
        latest.is_some_and(|snapshot| snapshot.is_partial())
    }

    /// Serves until stopped.
    ///
    /// # Errors
    /// When the listener fails.
    pub async fn serve(
        self,
        listener: TcpListener,
        stop: CancellationToken,
    ) -> std::io::Result<()> {
        let router = Router::new()
            .route("/healthz", get(healthz))
            .route("/readyz", get(readyz))
            .route("/problems", get(problems))
            .route("/status", get(status))
            .route("/metrics", get(metrics))
            .with_state(self);
        axum::serve(listener, router)
            .with_graceful_shutdown(stop.cancelled_owned())
            .await
    }
}

async fn healthz() -> &'static str {
    "ok\n"
}

async fn readyz(State(admin): State<Admin>) -> (StatusCode, &'static str) {
    match admin.views.borrow().ready {
        true => (StatusCode::OK, "ready\n"),
        false => (
            StatusCode::SERVICE_UNAVAILABLE,
            "no snapshot has been published yet\n",
        ),
    }
}

async fn problems(State(admin): State<Admin>) -> Json<Value> {
    Json(json!(admin.views.borrow().problems))
}

async fn status(State(admin): State<Admin>) -> Json<Value> {
    let view = admin.views.borrow().clone();
    let resources: BTreeMap<&str, usize> = view
        .resources
        .iter()
        .map(|(kind, count)| (kind.word(), *count))
        .collect();
    let held: Vec<Value> = view.held.iter().map(|it| held(it, view.started)).collect();
    let clients: Vec<Value> = admin.clients.list().iter().map(client).collect();
    Json(json!({
        "ready": view.ready,
        "stale": admin.is_stale(),
        "daemon": {
            "connected": view.connected,
            "syncs": view.syncs,
            "corrections": view.corrections,
            "failure": view.failure,
            "account": view.account,
            "lacks": view.lacks,
        },
        "held": held,
        "writes": view.writes,
        "resources": resources,
        "problems": view.problems,
        "clients": clients,
    }))
}

async fn metrics(State(admin): State<Admin>) -> Response {
    let view = admin.views.borrow().clone();
    let clients = admin.clients.list();
    let refused = clients.iter().flat_map(|client| {
        client.refused.values().map(|refused| {
            let origin = refused.origins.first();
            let object = origin.map(|origin| origin.object.to_string());
            let section = origin.map(|origin| origin.section.clone());
            [
                client.node.clone(),
                refused.kind.word().to_owned(),
                refused.name.clone(),
                object.unwrap_or_default(),
                section.unwrap_or_default(),
            ]
        })
    });
    let resources = view.resources.iter();
    let standing = Standing {
        ready: view.ready,
        stale: admin.is_stale(),
        connected: view.connected,
        syncs: view.syncs,
        problems: view.problems.len() as u64,
        lacks: view.lacks.len() as u64,
        resources: resources
            .map(|(kind, count)| (kind.word(), *count as u64))
            .collect(),
        streams: clients.len() as u64,
        refused: refused.collect(),
    };
    match admin.clients.metrics().page(&standing) {
        Ok(page) => ([(CONTENT_TYPE, OPEN_METRICS)], page).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// An instance that is held: until when, where time ends it, and why in words.
fn held(held: &Held, started: u64) -> Value {
    let reason = match held.node_status {
        NodeStatus::Starting => "the node's daemon starts and has not told of it yet",
        NodeStatus::Expired => "the node stayed away for longer than its maintenance may last",
        _ => "nothing is heard of the node",
    };
    let until = held.until.and_then(|at| {
        let at = at.checked_add(Duration::from_secs(started))?;
        let at = UNIX_EPOCH.checked_add(at)?;
        // Beyond the year 9999 there is no way to write it, and no way to wait for it.
        (at < UNIX_EPOCH + YEARS_WRITTEN).then(|| humantime::format_rfc3339_seconds(at).to_string())
    });
    let mut value = json!(held);
    value["reason"] = reason.into();
    value["until"] = json!(until);
    value
}

fn client(client: &Client) -> Value {
    let sent: BTreeMap<&str, u64> = client
        .sent
        .iter()
        .map(|(kind, count)| (kind.word(), *count))
        .collect();
    let refused = client.refused.values().map(|refused| {
        json!({
            "type": refused.kind.word(),
            "name": refused.name,
            "message": refused.message,
            "origins": refused.origins,
        })
    });
    json!({
        "node": client.node,
        "agent": client.agent,
        "sent": sent,
        "refused": refused.collect::<Vec<_>>(),
    })
}

/// Until the end of the year 9999, about.
const YEARS_WRITTEN: Duration = Duration::from_secs(253_000_000_000);

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
