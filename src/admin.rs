//! EDGE: the admin HTTP pages: health, readiness, and what is wrong. Read-only.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::ads::{Client, Clients, Snapshots};
use crate::controller::View;

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
    let clients: Vec<Value> = admin.clients.list().iter().map(client).collect();
    let latest = admin.snapshots.borrow().clone();
    let stale = latest.is_some_and(|snapshot| snapshot.is_partial());
    Json(json!({
        "ready": view.ready,
        "stale": stale,
        "daemon": {"connected": view.connected, "syncs": view.syncs},
        "resources": resources,
        "problems": view.problems,
        "clients": clients,
    }))
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
