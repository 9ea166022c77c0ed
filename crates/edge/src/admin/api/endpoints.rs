//! Endpoints: their settings, which live in the directory, beside their state, which webhooks tell.

use std::sync::Arc;

use axum::{Json, extract::State};
use roomhook_room::{self as room, AppId, EndpointId, MsgSeq};

use super::{
    Context,
    answers::EndpointState,
    control::EndpointRef,
    error::{ApiError, Code},
    extract::{Body, OfApp, OfEndpoint, Path},
    schema::object,
    settings::{EndpointRequest, GateFailure, Order, Retry, StartAt, StartRequest, check, merged},
};

/// Ids of endpoints, in bytes.
const ID_BYTES_MAX: usize = 64;
/// An id, as the document has it. Not with a dot in front: clients take `.` and `..` in a path for something else.
pub(super) const ID: &str = "[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}";
/// Endpoints of one app, so that a mistaken script cannot make the server work for thousands.
const ENDPOINTS_MAX: usize = 32;
object! { answer
    /// An endpoint without its secrets.
    pub(super) struct Endpoint {
        pub(super) app: u32,
        /// `default` is the one that `live_config/*` manages and that the before-send gate asks.
        pub(super) id: String,
        pub(super) url: String,
        pub(super) commands: Vec<String>,
        pub(super) room_prefix: String,
        /// Whether there is a Tencent token.
        pub(super) token_set: bool,
        pub(super) token_enabled: bool,
        /// How many Standard Webhooks secrets there are.
        pub(super) signing_secrets_set: u32,
        pub(super) event_time_as_string: bool,
        pub(super) extra_fields: bool,
        /// Null: as configured; the same below.
        pub(super) order: Option<Order>,
        pub(super) retry: Option<Retry>,
        pub(super) timeout_ms: Option<u32>,
        pub(super) concurrency: Option<u32>,
        pub(super) extra_roots_set: bool,
        pub(super) client_certificate_set: bool,
        pub(super) gate_failure: Option<GateFailure>,
        pub(super) gate_shadow: Option<bool>,
        /// Paused by a person.
        pub(super) paused: bool,
        /// Unix milliseconds.
        pub(super) created_at: u64,
        /// Null: not running yet.
        pub(super) state: Option<EndpointState>,
    }
}

object! { answer
    pub(super) struct Endpoints {
        pub(super) endpoints: Vec<Endpoint>,
    }
}

pub(super) async fn all(State(context): State<Context>) -> Json<Endpoints> {
    Json(Endpoints { endpoints: list(&context, |_| true) })
}

pub(super) async fn of_app(
    State(context): State<Context>,
    Path(OfApp { app }): Path<OfApp>,
) -> Result<Json<Endpoints>, ApiError> {
    let app = context.app(app)?;
    Ok(Json(Endpoints { endpoints: list(&context, |endpoint| endpoint.app == app) }))
}

pub(super) async fn show(
    State(context): State<Context>,
    Path(OfEndpoint { app, endpoint: id }): Path<OfEndpoint>,
) -> Result<Json<Endpoint>, ApiError> {
    let endpoint = context.endpoint(app, &id)?;
    Ok(Json(view(&context, &endpoint)))
}

pub(super) async fn put(
    State(context): State<Context>,
    Path(OfEndpoint { app, endpoint: id }): Path<OfEndpoint>,
    Body(request): Body<EndpointRequest>,
) -> Result<Json<Endpoint>, ApiError> {
    let app = context.app(app)?;
    let id = new_id(&id)?;
    check(&request)?;
    let start = start_of(&context, app, request.start.as_ref()).await?;
    // One change at a time, whichever door it comes through, so that what is kept is kept of the newest.
    let turn = context.services.directory.turn().await;
    let before = turn.endpoint(app, &id);
    if before.is_none() && list(&context, |endpoint| endpoint.app == app).len() >= ENDPOINTS_MAX {
        return Err(ApiError::new(Code::TooMuch, format!("an app has {ENDPOINTS_MAX} endpoints at most")));
    }
    let endpoint = merged(request, before.as_deref(), app, id.clone(), start)?;
    context.control.check(&endpoint)?;
    turn.put(endpoint).await?;
    tracing::info!(app = app.0, endpoint = id.0, "a person set an endpoint");
    let endpoint = context.endpoint(app.0, &id.0)?;
    Ok(Json(view(&context, &endpoint)))
}

pub(super) async fn delete(
    State(context): State<Context>,
    Path(OfEndpoint { app, endpoint: id }): Path<OfEndpoint>,
) -> Result<(), ApiError> {
    let endpoint = context.endpoint(app, &id)?;
    context.services.directory.delete_endpoint(endpoint.app, endpoint.id.clone()).await?;
    tracing::info!(app, endpoint = id, "a person deleted an endpoint");
    Ok(())
}

pub(super) async fn pause(
    State(context): State<Context>,
    Path(OfEndpoint { app, endpoint: id }): Path<OfEndpoint>,
) -> Result<Json<Endpoint>, ApiError> {
    set_paused(&context, app, &id, true).await
}

/// Ends both kinds of pause: by a person, and for failing.
pub(super) async fn resume(
    State(context): State<Context>,
    Path(OfEndpoint { app, endpoint: id }): Path<OfEndpoint>,
) -> Result<Json<Endpoint>, ApiError> {
    let endpoint = set_paused(&context, app, &id, false).await?;
    match context.control.resume(&EndpointRef { app: AppId(app), id: EndpointId(id) }) {
        // It is about to start; then there is nothing to resume.
        Ok(()) | Err(ApiError { code: Code::EndpointMissing, .. }) => Ok(endpoint),
        Err(error) => Err(error),
    }
}

async fn set_paused(context: &Context, app: u32, id: &str, paused: bool) -> Result<Json<Endpoint>, ApiError> {
    let turn = context.services.directory.turn().await;
    let endpoint = context.endpoint(app, id)?;
    if endpoint.paused != paused {
        turn.put(room::Endpoint { paused, ..room::Endpoint::clone(&endpoint) }).await?;
    }
    let endpoint = context.endpoint(app, id)?;
    Ok(Json(view(context, &endpoint)))
}

fn list(context: &Context, wanted: impl Fn(&room::Endpoint) -> bool) -> Vec<Endpoint> {
    let endpoints = context.services.directory.endpoints().borrow().clone();
    let mut endpoints: Vec<&Arc<room::Endpoint>> = endpoints.iter().filter(|endpoint| wanted(endpoint)).collect();
    endpoints.sort_by(|a, b| (a.app, &a.id).cmp(&(b.app, &b.id)));
    endpoints.into_iter().map(|endpoint| view(context, endpoint)).collect()
}

fn view(context: &Context, endpoint: &room::Endpoint) -> Endpoint {
    let name = EndpointRef { app: endpoint.app, id: endpoint.id.clone() };
    Endpoint {
        app: endpoint.app.0,
        id: endpoint.id.0.clone(),
        url: endpoint.url.clone(),
        commands: endpoint.commands.clone(),
        room_prefix: endpoint.room_prefix.clone(),
        token_set: endpoint.token.as_ref().is_some_and(|token| !token.value.is_empty()),
        token_enabled: endpoint.token.as_ref().is_some_and(|token| token.enabled),
        signing_secrets_set: u32::try_from(endpoint.signing_secrets.len()).unwrap_or(u32::MAX),
        event_time_as_string: endpoint.event_time_as_string,
        extra_fields: endpoint.extra_fields,
        order: endpoint.order.map(|order| match order {
            room::Order::Room => Order::Room,
            room::Order::None => Order::None,
        }),
        retry: endpoint.retry.map(|retry| match retry {
            room::RetryProfile::Durable => Retry::Durable,
            room::RetryProfile::DurableSkip => Retry::DurableSkip,
            room::RetryProfile::Tencent => Retry::Tencent,
        }),
        timeout_ms: endpoint.timeout_ms,
        concurrency: endpoint.concurrency,
        extra_roots_set: !endpoint.extra_roots_pem.is_empty(),
        client_certificate_set: !endpoint.client_cert_pem.is_empty(),
        gate_failure: endpoint.gate_failure.map(|failure| match failure {
            room::GateFailure::Pass => GateFailure::Pass,
            room::GateFailure::Drop => GateFailure::Drop,
        }),
        gate_shadow: endpoint.gate_shadow,
        paused: endpoint.paused,
        created_at: endpoint.created_at.0,
        state: context.control.state(&name),
    }
}

fn new_id(id: &str) -> Result<EndpointId, ApiError> {
    let is_good = (1..=ID_BYTES_MAX).contains(&id.len())
        && !id.starts_with('.')
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
    if is_good {
        return Ok(EndpointId(id.to_owned()));
    }
    Err(ApiError::field(
        "endpoint",
        format!("an id is 1 to {ID_BYTES_MAX} letters, digits, '-', '_' and '.', none in front"),
    ))
}

/// Where a new endpoint starts, as the directory has it.
async fn start_of(context: &Context, app: AppId, request: Option<&StartRequest>) -> Result<room::Start, ApiError> {
    let Some(start) = request else { return Ok(room::Start::Tail) };
    match (start.at, start.time_ms, &start.room, start.msg_seq) {
        (StartAt::Tail, None, None, None) => Ok(room::Start::Tail),
        (StartAt::Oldest, None, None, None) => Ok(room::Start::Oldest),
        (StartAt::Time, Some(time_ms), None, None) => Ok(room::Start::Time(time_ms)),
        (StartAt::Message, None, Some(room), Some(seq)) => {
            let room = context.room(app.0, room)?;
            Ok(room::Start::Time(context.control.trail(&room, MsgSeq(seq)).await?.appended_at))
        }
        _ => Err(ApiError::field(
            "start",
            "time needs time_ms alone, message needs room and msg_seq, the others need nothing",
        )),
    }
}
