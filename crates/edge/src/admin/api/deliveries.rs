//! Deliveries: what is held back, what was tried, and what an operator can do about it.

use axum::{Json, extract::State};
use roomhook_room::{MsgSeq, RoomId, RoomKey};

use super::{
    Context,
    answers::{Attempt, EventPage, Held, MessageTrail, Question},
    control::{DELIVERY, DeliveryRef},
    error::ApiError,
    extract::{Body, OfApp, OfEndpoint, OfMessage, Path, Query},
    schema::{matches, object, range},
};

/// Items of one answer, unless asked for less.
const LIMIT_DEFAULT: u32 = 100;
const LIMIT_MAX: u32 = 1_000;

object! { request
    pub(super) struct Page {
        /// 100 if left out.
        pub(super) limit: Option<u32> where range(1, LIMIT_MAX.into()),
        /// Goes on after the last delivery of the page before.
        pub(super) after: Option<String> where matches(DELIVERY),
    }
}

object! { request
    pub(super) struct First {
        /// 100 if left out.
        pub(super) limit: Option<u32> where range(1, LIMIT_MAX.into()),
    }
}

object! { request
    pub(super) struct EventsQuery {
        /// 100 if left out.
        pub(super) limit: Option<u32> where range(1, LIMIT_MAX.into()),
        /// Goes on after the page before: its `next`. Or `end`.
        pub(super) after: Option<String> where matches("end|[0-9]{1,19}(?:\\.[0-9]{1,19})*(?:~[0-9]{1,4})?"),
    }
}

object! { request
    pub(super) struct AttemptsQuery {
        /// 100 if left out.
        pub(super) limit: Option<u32> where range(1, LIMIT_MAX.into()),
        /// Only those that failed, which are remembered longer.
        pub(super) failures: Option<bool>,
    }
}

object! { request
    pub(super) struct DeliveryRequest {
        /// Names the delivery, as answers do.
        pub(super) delivery: String where matches(DELIVERY),
    }
}

object! { answer
    pub(super) struct Deliveries {
        pub(super) deliveries: Vec<Held>,
        /// Pass it as `after` to get what follows; null: that was all.
        pub(super) next: Option<String>,
    }
}

object! { answer
    pub(super) struct Attempts {
        /// Newest first.
        pub(super) attempts: Vec<Attempt>,
    }
}

object! { answer
    pub(super) struct Questions {
        /// Newest first.
        pub(super) questions: Vec<Question>,
    }
}

type Of = Path<OfEndpoint>;

pub(super) async fn parked(
    State(context): State<Context>,
    Path(OfEndpoint { app, endpoint: id }): Of,
    Query(page): Query<Page>,
) -> Result<Json<Deliveries>, ApiError> {
    let endpoint = context.endpoint_ref(app, &id)?;
    let after = page.after.as_deref().map(str::parse).transpose()?;
    let limit = limit(page.limit)?;
    let deliveries = context.control.parked(&endpoint, after, limit).await?;
    let next = deliveries.last().filter(|_| deliveries.len() >= limit).map(|last| last.delivery.clone());
    Ok(Json(Deliveries { deliveries, next }))
}

pub(super) async fn set_aside(
    State(context): State<Context>,
    Path(OfEndpoint { app, endpoint: id }): Of,
    Query(first): Query<First>,
) -> Result<Json<Deliveries>, ApiError> {
    let endpoint = context.endpoint_ref(app, &id)?;
    Ok(Json(Deliveries { deliveries: context.control.set_aside(&endpoint, limit(first.limit)?)?, next: None }))
}

pub(super) async fn attempts(
    State(context): State<Context>,
    Path(OfEndpoint { app, endpoint: id }): Of,
    Query(query): Query<AttemptsQuery>,
) -> Result<Json<Attempts>, ApiError> {
    let endpoint = context.endpoint_ref(app, &id)?;
    let failures = query.failures.unwrap_or_default();
    Ok(Json(Attempts { attempts: context.control.attempts(&endpoint, failures, limit(query.limit)?)? }))
}

pub(super) async fn skip(
    State(context): State<Context>,
    Path(OfEndpoint { app, endpoint: id }): Of,
    Body(request): Body<DeliveryRequest>,
) -> Result<(), ApiError> {
    let endpoint = context.endpoint_ref(app, &id)?;
    let delivery: DeliveryRef = request.delivery.parse()?;
    context.control.skip(&endpoint, delivery).await?;
    tracing::info!(app, endpoint = id, %delivery, "a person skipped a delivery");
    Ok(())
}

pub(super) async fn retry(
    State(context): State<Context>,
    Path(OfEndpoint { app, endpoint: id }): Of,
    Body(request): Body<DeliveryRequest>,
) -> Result<(), ApiError> {
    let endpoint = context.endpoint_ref(app, &id)?;
    context.control.retry(&endpoint, request.delivery.parse()?).await
}

pub(super) async fn test(
    State(context): State<Context>,
    Path(OfEndpoint { app, endpoint: id }): Of,
) -> Result<Json<Attempt>, ApiError> {
    let endpoint = context.endpoint_ref(app, &id)?;
    Ok(Json(context.control.test(&endpoint).await?))
}

/// `after=end` gives the end as of now and no event.
pub(super) async fn events(
    State(context): State<Context>,
    Path(OfEndpoint { app, endpoint: id }): Of,
    Query(page): Query<EventsQuery>,
) -> Result<Json<EventPage>, ApiError> {
    let endpoint = context.endpoint_ref(app, &id)?;
    if page.after.as_deref() == Some("end") {
        let next = context.control.end().await?;
        return Ok(Json(EventPage { events: Vec::new(), next, at_end: true }));
    }
    Ok(Json(context.control.events(&endpoint, page.after.as_deref(), limit(page.limit)?).await?))
}

pub(super) async fn trail(
    State(context): State<Context>,
    Path(OfMessage { app, room, msg_seq }): Path<OfMessage>,
) -> Result<Json<MessageTrail>, ApiError> {
    let room = context.room(app, &room)?;
    Ok(Json(context.control.trail(&room, MsgSeq(msg_seq)).await?))
}

pub(super) async fn questions(
    State(context): State<Context>,
    Path(OfApp { app }): Path<OfApp>,
) -> Result<Json<Questions>, ApiError> {
    Ok(Json(Questions { questions: context.control.questions(context.app(app)?) }))
}

impl Context {
    pub(super) fn room(&self, app: u32, room: &str) -> Result<RoomKey, ApiError> {
        let app = self.app(app)?;
        let room = RoomId::new(room).map_err(|error| ApiError::field("room", error))?;
        Ok(RoomKey { app, room })
    }
}

fn limit(asked: Option<u32>) -> Result<usize, ApiError> {
    match asked.unwrap_or(LIMIT_DEFAULT) {
        limit @ 1..=LIMIT_MAX => Ok(limit as usize),
        _ => Err(ApiError::field("limit", format!("choose 1 to {LIMIT_MAX}"))),
    }
}
