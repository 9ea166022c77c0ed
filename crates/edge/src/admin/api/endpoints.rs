//! Endpoints: their settings, which live in the directory, beside their state, which webhooks tell.

use std::sync::Arc;

use axum::{Json, extract::State};
use roomhook_protocol::{
    standard_webhooks::Secret,
    webhook::{CommandWord, check_url},
};
use roomhook_room::{self as room, AppId, EndpointId, MsgSeq, UnixMillis};

use super::{
    Context,
    control::{EndpointRef, EndpointState},
    error::{ApiError, Code},
    extract::{Body, OfApp, OfEndpoint, Path},
    schema::{object, words},
};

/// Ids of endpoints, in bytes.
const ID_BYTES_MAX: usize = 64;
/// Endpoints of one app, so that a mistaken script cannot make the server work for thousands.
const ENDPOINTS_MAX: usize = 32;
/// Secrets of one endpoint that sign at the same time.
const SECRETS_MAX: usize = 8;
/// `Token`, in characters (protocol: webhooks §1.2).
const TOKEN_CHARS_MAX: usize = 128;

words! {
    pub(super) enum Order {
        /// one delivery in flight per room
        Room = "room",
        None = "none",
    }
}

words! {
    pub(super) enum Retry {
        /// exponential with jitter, for a day, then parked
        Durable = "durable",
        /// as durable, then skipped instead of parked
        DurableSkip = "durable-skip",
        /// one try, as the vendor
        Tencent = "tencent",
    }
}

words! {
    /// What becomes of a message that the before-send gate could not decide.
    pub(super) enum GateFailure {
        /// it goes on as if allowed
        Pass = "pass",
        /// it is not sent; the sender gets 80003
        Drop = "drop",
    }
}

words! {
    pub(super) enum StartAt {
        /// with what is appended after its creation
        Tail = "tail",
        /// with the first event at or after `time_ms`
        Time = "time",
        /// with the message `msg_seq` of `room`; in other rooms with what happened at or after its time
        Message = "message",
        /// with the oldest event there is
        Oldest = "oldest",
    }
}

object! { request
    /// Where a new endpoint starts. Of no effect on one that exists.
    pub(super) struct StartRequest {
        pub(super) at: StartAt,
        /// Unix milliseconds, for `time`.
        pub(super) time_ms: Option<u64>,
        /// For `message`.
        pub(super) room: Option<String>,
        /// For `message`.
        pub(super) msg_seq: Option<u64>,
    }
}

object! { request
    /// The Tencent token, which signs the query.
    pub(super) struct TokenRequest {
        /// Left out: as before. Empty: no token.
        pub(super) value: Option<String>,
        /// Left out: true.
        pub(super) enabled: Option<bool>,
    }
}

object! { request
    /// The client certificate and key for mutual TLS, PEM. Both empty: none.
    pub(super) struct ClientCertificateRequest {
        pub(super) certificate_pem: String,
        pub(super) key_pem: String,
    }
}

object! { request
    /// The settings of an endpoint. What is left out gets its default, but for secrets and certificates (`token`, `signing_secrets`,
    /// `client_certificate`, `extra_roots_pem`): they cannot be read, so leaving them out keeps them.
    pub(super) struct EndpointRequest {
        /// Starts with `http://` or `https://`.
        pub(super) url: String,
        /// Command words switched on. Left out: `Group.CallbackAfterSendMsg`.
        pub(super) commands: Option<Vec<String>>,
        /// Only rooms whose id starts with this.
        pub(super) room_prefix: Option<String>,
        pub(super) token: Option<TokenRequest>,
        /// Standard Webhooks secrets (`whsec_...`), all active. Empty: none.
        pub(super) signing_secrets: Option<Vec<String>>,
        /// Emit `EventTime` as a string.
        pub(super) event_time_as_string: Option<bool>,
        /// Emit `OnlineOnlyFlag` and `GroupAtInfo` too.
        pub(super) extra_fields: Option<bool>,
        /// Left out: as configured.
        pub(super) order: Option<Order>,
        /// Left out: as configured.
        pub(super) retry: Option<Retry>,
        /// For one attempt, 1 to 60000. Left out: as configured.
        pub(super) timeout_ms: Option<u32>,
        /// Attempts in flight, 1 to 1024. Left out: as configured.
        pub(super) concurrency: Option<u32>,
        /// Extra trusted roots.
        pub(super) extra_roots_pem: Option<String>,
        pub(super) client_certificate: Option<ClientCertificateRequest>,
        /// Left out: as configured.
        pub(super) gate_failure: Option<GateFailure>,
        /// Left out: as configured.
        pub(super) gate_shadow: Option<bool>,
        /// Left out: as before; a new one runs.
        pub(super) paused: Option<bool>,
        pub(super) start: Option<StartRequest>,
    }
}

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
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
    if is_good {
        return Ok(EndpointId(id.to_owned()));
    }
    Err(ApiError::field("endpoint", format!("an id is 1 to {ID_BYTES_MAX} letters, digits, '-', '_' and '.'")))
}

/// What can be said without knowing the endpoint; certificates, keys and the rest of the URL's form are for
/// [`WebhookControl::check`](super::control::WebhookControl::check).
fn check(request: &EndpointRequest) -> Result<(), ApiError> {
    let bad = |field: &str, what: &str| Err(ApiError::field(field, what));
    check_url(&request.url).map_err(|error| ApiError::field("url", error))?;
    for (index, command) in request.commands.iter().flatten().enumerate() {
        if CommandWord::parse(command).is_none() {
            return bad(&format!("commands[{index}]"), &format!("{command:?} is no known command word"));
        }
    }
    if !request.timeout_ms.is_none_or(|ms| (1..=60_000).contains(&ms)) {
        return bad("timeout_ms", "choose 1 to 60000");
    }
    if !request.concurrency.is_none_or(|limit| (1..=1024).contains(&limit)) {
        return bad("concurrency", "choose 1 to 1024");
    }
    if request.room_prefix.as_ref().is_some_and(|prefix| prefix.len() > room::ROOM_ID_BYTES_MAX) {
        return bad("room_prefix", "is longer than a room id can be");
    }
    let secrets = request.signing_secrets.as_deref().unwrap_or_default();
    if secrets.len() > SECRETS_MAX {
        return bad("signing_secrets", &format!("at most {SECRETS_MAX} at a time"));
    }
    for (index, secret) in secrets.iter().enumerate() {
        // The text itself stays out of the answer.
        Secret::parse(secret).map_err(|error| ApiError::field(format!("signing_secrets[{index}]"), error))?;
        if secrets.iter().take(index).any(|other| other == secret) {
            return bad(&format!("signing_secrets[{index}]"), "is there twice");
        }
    }
    let token = request.token.as_ref().and_then(|token| token.value.as_ref());
    if token.is_some_and(|value| value.chars().count() > TOKEN_CHARS_MAX) {
        return bad("token.value", &format!("is longer than {TOKEN_CHARS_MAX} characters"));
    }
    Ok(())
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

fn merged(
    request: EndpointRequest,
    before: Option<&room::Endpoint>,
    app: AppId,
    id: EndpointId,
    start: room::Start,
) -> Result<room::Endpoint, ApiError> {
    let kept = before.cloned().unwrap_or_else(|| room::Endpoint::new(app, id.clone()));
    let default_commands = || vec![CommandWord::GroupAfterSendMsg.as_str().to_owned()];
    let mut commands = request.commands.unwrap_or_else(default_commands);
    let mut seen = std::collections::HashSet::new();
    commands.retain(|command| seen.insert(command.clone()));
    let (client_cert_pem, client_key_pem) = match request.client_certificate {
        Some(pair) => (pair.certificate_pem, pair.key_pem),
        None => (kept.client_cert_pem, kept.client_key_pem),
    };
    Ok(room::Endpoint {
        app,
        id,
        url: request.url,
        commands,
        token: merged_token(kept.token, request.token)?,
        signing_secrets: request.signing_secrets.unwrap_or(kept.signing_secrets),
        room_prefix: request.room_prefix.unwrap_or_default(),
        event_time_as_string: request.event_time_as_string.unwrap_or_default(),
        extra_fields: request.extra_fields.unwrap_or_default(),
        order: request.order.map(|order| match order {
            Order::Room => room::Order::Room,
            Order::None => room::Order::None,
        }),
        retry: request.retry.map(|retry| match retry {
            Retry::Durable => room::RetryProfile::Durable,
            Retry::DurableSkip => room::RetryProfile::DurableSkip,
            Retry::Tencent => room::RetryProfile::Tencent,
        }),
        timeout_ms: request.timeout_ms,
        concurrency: request.concurrency,
        extra_roots_pem: request.extra_roots_pem.unwrap_or(kept.extra_roots_pem),
        client_cert_pem,
        client_key_pem,
        gate_failure: request.gate_failure.map(|failure| match failure {
            GateFailure::Pass => room::GateFailure::Pass,
            GateFailure::Drop => room::GateFailure::Drop,
        }),
        gate_shadow: request.gate_shadow,
        paused: request.paused.unwrap_or(kept.paused),
        start: before.map_or(start, |before| before.start),
        generation: kept.generation,
        created_at: before.map_or(UnixMillis(0), |before| before.created_at),
        begins: kept.begins,
        past: kept.past,
    })
}

fn merged_token(before: Option<room::Token>, request: Option<TokenRequest>) -> Result<Option<room::Token>, ApiError> {
    let Some(TokenRequest { value, enabled }) = request else { return Ok(before) };
    let value = match (value, before) {
        (Some(value), _) if value.is_empty() => return Ok(None),
        (Some(value), _) => value,
        (None, Some(before)) => before.value,
        (None, None) => return Err(ApiError::field("token.value", "there is none yet, so it is needed")),
    };
    Ok(Some(room::Token { value, enabled: enabled.unwrap_or(true) }))
}
