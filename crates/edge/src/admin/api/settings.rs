//! What a request may set of an endpoint: its form, whether it can be so, and what becomes of what was set before. Pure.

use roomhook_protocol::{
    standard_webhooks::Secret,
    webhook::{CommandWord, check_url},
};
use roomhook_room::{self as room, AppId, EndpointId, UnixMillis};

use super::{
    error::ApiError,
    schema::{object, words},
};

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

/// What can be said without knowing the endpoint; certificates, keys and the rest of the URL's form are for
/// [`WebhookControl::check`](super::control::WebhookControl::check).
pub(super) fn check(request: &EndpointRequest) -> Result<(), ApiError> {
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

/// The endpoint as it shall be: what the request says, and of `before` what the request leaves out and nobody can read.
///
/// # Errors
/// When a token is to be changed that is not there.
pub(super) fn merged(
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
