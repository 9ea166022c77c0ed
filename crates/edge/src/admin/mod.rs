//! The private door of operators: `/metrics`, `/healthz`, `/readyz`. Meant for a listener that the public cannot reach:
//! there is no login.

pub mod api;
mod opening;

use std::{fmt, sync::Arc};

use axum::{
    Json, Router,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use prometheus_client::{encoding::text::encode, registry::Registry};
use serde::Serialize;

pub use opening::Opening;

/// Whether the server can do its work. The binary implements it from the state of store, shards and webhooks.
pub trait Readiness: Send + Sync + 'static {
    /// Why it is not ready; empty: it is. Called for each probe: look, do not work.
    fn reasons(&self) -> Vec<Reason>;
}

/// One reason for not being ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// Which part says so, e.g. `shard 3`, `disk`.
    pub part: String,
    /// What is wrong and what to do about it, for a person.
    pub message: String,
}

/// What this door shows.
#[derive(Clone)]
pub struct State {
    pub registry: Arc<Registry>,
    pub readiness: Arc<dyn Readiness>,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").finish_non_exhaustive()
    }
}

#[derive(Serialize)]
struct Ready {
    ready: bool,
    reasons: Vec<Reason>,
}

/// The routes of the private listener.
pub fn router(state: State) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .with_state(state)
}

/// OpenMetrics text.
async fn metrics(axum::extract::State(state): axum::extract::State<State>) -> Response {
    let mut text = String::new();
    if encode(&mut text, &state.registry).is_err() {
        return (StatusCode::INTERNAL_SERVER_ERROR, "metrics cannot be written\n").into_response();
    }
    ([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response()
}

/// 200 when ready, else 503; the reasons either way.
async fn ready(axum::extract::State(state): axum::extract::State<State>) -> Response {
    match state.readiness.reasons() {
        reasons if reasons.is_empty() => Json(Ready { ready: true, reasons }).into_response(),
        reasons => not_ready(reasons),
    }
}

fn not_ready(reasons: Vec<Reason>) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, Json(Ready { ready: false, reasons })).into_response()
}
