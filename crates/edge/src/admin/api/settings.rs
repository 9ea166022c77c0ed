//! What a request may set of an endpoint: its form, whether it can be so, and what becomes of what was set before. Pure.

use roomhook_protocol::{
    standard_webhooks::Secret,
    webhook::{CommandWord, UrlError, check_url},
};
use roomhook_room::{self as room, AppId, EndpointId, RoomId, UnixMillis};
use serde_json::{Map, Value, json};

use super::{
    error::ApiError,
    schema::{matches, object, range, words},
};

/// Secrets of one endpoint that sign at the same time.
const SECRETS_MAX: usize = 8;
/// `Token`, in characters.
const TOKEN_CHARS_MAX: usize = 128;
const TIMEOUT_MS_MAX: u32 = 60_000;
const CONCURRENCY_MAX: u32 = 1024;

/// A URL as the document has it. What else is wrong with one is told as unusable.
pub(super) const URL: &str = "https?://.*";
/// A room, as the document has it.
pub(super) const ROOM: &str = "[ -~]{1,48}";
/// 24 to 64 bytes in base64, with or without `whsec_` in front of them.
const SECRET: &str = "(?:whsec_)?(?:(?:[A-Za-z0-9+/]{4}){8,20}(?:[A-Za-z0-9+/]{4}|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=|[A-Za-z0-9+/][AQgw]==)?|\
                      (?:[A-Za-z0-9+/]{4}){21}[A-Za-z0-9+/][AQgw]==)";

/// A URL of a request.
pub(super) fn check_hook_url(field: &str, url: &str) -> Result<(), ApiError> {
    check_url(url).map_err(|error| match error {
        UrlError::Scheme => ApiError::field(field, error),
        _ => ApiError::unusable(field, error),
    })
}

/// Where an endpoint can start, each with what it needs.
fn starts() -> Value {
    let null = json!({"type": "null"});
    let case = |at: Value, needs: &[&str]| {
        let others = ["time_ms", "room", "msg_seq"].into_iter().filter(|name| !needs.contains(name));
        let mut members: Map<String, Value> = others.map(|name| (name.to_owned(), null.clone())).collect();
        members.extend(needs.iter().map(|name| ((*name).to_owned(), json!({"not": {"type": "null"}}))));
        members.insert("at".to_owned(), at);
        json!({"properties": members, "required": needs})
    };
    json!({"oneOf": [
        case(json!({"enum": ["tail", "oldest"]}), &[]),
        case(json!({"const": "time"}), &["time_ms"]),
        case(json!({"const": "message"}), &["room", "msg_seq"]),
    ]})
}

/// The words of commands that can be switched on.
fn commands() -> Value {
    let words: Vec<&str> = CommandWord::ALL.iter().map(|word| word.as_str()).collect();
    json!({"items": {"type": "string", "enum": words}})
}

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
    pub(super) struct StartRequest where starts(), {
        pub(super) at: StartAt,
        /// Unix milliseconds, for `time`.
        pub(super) time_ms: Option<u64>,
        /// For `message`.
        pub(super) room: Option<String> where matches(ROOM),
        /// For `message`.
        pub(super) msg_seq: Option<u64>,
    }
}

object! { request
    /// The Tencent token, which signs the query.
    pub(super) struct TokenRequest {
        /// Left out: as before. Empty: no token.
        pub(super) value: Option<String> where json!({"maxLength": TOKEN_CHARS_MAX}),
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
        pub(super) url: String where matches(URL),
        /// Command words switched on. Left out: `Group.CallbackAfterSendMsg`.
        pub(super) commands: Option<Vec<String>> where commands(),
        /// Only rooms whose id starts with this.
        pub(super) room_prefix: Option<String> where matches("[ -~]{0,48}"),
        pub(super) token: Option<TokenRequest>,
        /// Standard Webhooks secrets (`whsec_...`), all active. Empty: none.
        pub(super) signing_secrets: Option<Vec<String>>
            where json!({"items": {"type": "string", "pattern": format!("^(?:{SECRET})$")}, "maxItems": SECRETS_MAX, "uniqueItems": true}),
        /// Emit `EventTime` as a string.
        pub(super) event_time_as_string: Option<bool>,
        /// Emit `OnlineOnlyFlag` and `GroupAtInfo` too.
        pub(super) extra_fields: Option<bool>,
        /// Left out: as configured.
        pub(super) order: Option<Order>,
        /// Left out: as configured.
        pub(super) retry: Option<Retry>,
        /// For one attempt. Left out: as configured.
        pub(super) timeout_ms: Option<u32> where range(1, TIMEOUT_MS_MAX.into()),
        /// Attempts in flight. Left out: as configured.
        pub(super) concurrency: Option<u32> where range(1, CONCURRENCY_MAX.into()),
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
    check_hook_url("url", &request.url)?;
    for (index, command) in request.commands.iter().flatten().enumerate() {
        if CommandWord::parse(command).is_none() {
            return bad(&format!("commands[{index}]"), &format!("{command:?} is no known command word"));
        }
    }
    if !request.timeout_ms.is_none_or(|ms| (1..=TIMEOUT_MS_MAX).contains(&ms)) {
        return bad("timeout_ms", &format!("choose 1 to {TIMEOUT_MS_MAX}"));
    }
    if !request.concurrency.is_none_or(|limit| (1..=CONCURRENCY_MAX).contains(&limit)) {
        return bad("concurrency", &format!("choose 1 to {CONCURRENCY_MAX}"));
    }
    if request.room_prefix.as_ref().is_some_and(|prefix| !prefix.is_empty() && RoomId::new(prefix).is_err()) {
        return bad("room_prefix", "no room id starts like this");
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
        (None, None) => return Err(ApiError::unusable("token.value", "there is none yet, so it is needed")),
    };
    Ok(Some(room::Token { value, enabled: enabled.unwrap_or(true) }))
}
