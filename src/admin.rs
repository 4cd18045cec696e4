//! EDGE: the admin HTTP pages: health, readiness, and what is wrong. Read-only.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::ads::Client;
use crate::differences;
use crate::live::Live;
use crate::metrics::{Certificate, Standing, classic};
use crate::page::Page;
use crate::pb::GetStatusRequest;
use crate::status::{Knowledge, json_of, to_json};

/// The pages and what they show.
#[derive(Clone, Debug)]
pub struct Admin {
    knowledge: Knowledge,
    live: Live,
}

impl Admin {
    /// Pages that show what is known, and what happens.
    pub const fn new(knowledge: Knowledge, live: Live) -> Self {
        Self { knowledge, live }
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
        let page = Page::new(self.knowledge.clone(), self.live.clone(), stop.clone());
        let router = Router::new()
            .route("/healthz", get(healthz))
            .route("/readyz", get(readyz))
            .route("/problems", get(problems))
            .route("/status", get(status))
            .route("/metrics", get(metrics))
            .route("/snapshot", get(snapshot))
            .route("/diff", get(diff))
            .with_state(self)
            .merge(page.router());
        axum::serve(listener, router)
            .with_graceful_shutdown(stop.cancelled_owned())
            .await
    }
}

async fn healthz() -> &'static str {
    "ok\n"
}

async fn readyz(State(admin): State<Admin>) -> (StatusCode, &'static str) {
    match admin.knowledge.view().ready {
        true => (StatusCode::OK, "ready\n"),
        false => (
            StatusCode::SERVICE_UNAVAILABLE,
            "no snapshot has been published yet\n",
        ),
    }
}

async fn problems(State(admin): State<Admin>) -> Json<Value> {
    Json(json!(admin.knowledge.view().problems.as_ref()))
}

async fn status(State(admin): State<Admin>, Query(asked): Query<Asked>) -> Response {
    let request = GetStatusRequest {
        node: asked.node,
        synced_resources: asked.synced_resources,
    };
    let status = admin.knowledge.status(&request).await;
    match to_json(&status) {
        Ok(json) => Json(json).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error).into_response(),
    }
}

/// What `/status` may be asked for, as `GetStatusRequest` has it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Asked {
    node: String,
    synced_resources: bool,
}

/// What is served and what each client has otherwise, without secrets.
async fn snapshot(State(admin): State<Admin>) -> Json<Value> {
    Json(differences::snapshot(&admin.knowledge).await)
}

/// From what each client has to what is served.
async fn diff(State(admin): State<Admin>, Query(asked): Query<Asked>) -> Response {
    let diffs = differences::of_clients(&admin.knowledge, &asked.node).await;
    match diffs.and_then(|diffs| json_of("osvc_igw.v1.ClientDiffs", &diffs)) {
        Ok(json) => Json(json).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error).into_response(),
    }
}

/// In the format that is asked for; who asks for none in particular gets the older one.
async fn metrics(State(admin): State<Admin>, asked: HeaderMap) -> Response {
    let view = admin.knowledge.view();
    let clients = admin.knowledge.clients().list();
    let latest = admin.knowledge.snapshot();
    let synced = |client: &&Client| match (&client.synced, &latest) {
        (Some(synced), Some(latest)) => Arc::ptr_eq(synced, latest),
        _ => false,
    };
    let refused = clients.iter().flat_map(|client| {
        client.refused.values().map(|refused| {
            let origin = refused.origins.first();
            let object = origin.map(|origin| origin.object.to_string());
            let section = origin.map(|origin| origin.section.to_string());
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
    let problems = view.problems.iter();
    let certificates = view.certificates.iter().map(|(object, validity)| {
        let certificate = Certificate {
            not_after: validity.not_after,
            flawed: validity.flaw.is_some(),
        };
        (object.to_string(), certificate)
    });
    let standing = Standing {
        ready: view.ready,
        stale: admin.knowledge.is_stale(),
        connected: view.connected,
        syncs: view.syncs,
        corrections: view.corrections,
        started: view.started,
        problems: problems.map(|problem| problem.section.clone()).collect(),
        lacks: view.lacks.len() as u64,
        held: view.held.len() as u64,
        writes: view.writes.len() as u64,
        resources: resources
            .map(|(kind, count)| (kind.word(), *count as u64))
            .collect(),
        streams: clients.len() as u64,
        unsynced: (clients.len() - clients.iter().filter(synced).count()) as u64,
        certificates: certificates.collect(),
        refused: refused.collect(),
    };
    match admin.knowledge.clients().metrics().page(&standing) {
        Ok(page) if accepts(&asked, "application/openmetrics-text") => {
            ([(CONTENT_TYPE, OPEN_METRICS)], page).into_response()
        }
        Ok(page) => ([(CONTENT_TYPE, CLASSIC)], classic(&page)).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

fn accepts(asked: &HeaderMap, format: &str) -> bool {
    let accepted = asked.get_all(ACCEPT).into_iter();
    let mut accepted = accepted.filter_map(|value| value.to_str().ok());
    accepted.any(|value| value.contains(format))
}

const CLASSIC: &str = "text/plain; version=0.0.4; charset=utf-8";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
