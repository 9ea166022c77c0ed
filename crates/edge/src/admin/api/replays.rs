//! Replays: started by a request, run beside it and across restarts, looked at and stopped by others.

use std::num::NonZeroU32;

use axum::{Json, extract::State, http::StatusCode};
use roomhook_room::MsgSeq;
use serde_json::{Value, json};

use super::{
    Context,
    answers::{ReplayState, Replayed, RoomRange, TimeRange},
    control::{DELIVERY, Replay, What},
    error::ApiError,
    extract::{Body, OfEndpoint, OfReplay, Path},
    schema::{matches, object, one_of, range},
    settings::{URL, check_hook_url},
};

/// What a replay can be of; `parked` only when it is true.
fn exactly_one() -> Value {
    let parked = json!({"const": true});
    one_of(&[
        ("delivery", json!({"not": {"type": "null"}})),
        ("messages", json!({"not": {"type": "null"}})),
        ("time", json!({"not": {"type": "null"}})),
        ("parked", parked),
    ])
}

/// Events per second, unless asked otherwise.
const PER_S_DEFAULT: u32 = 100;
const PER_S_MAX: u32 = 100_000;

object! { request
    /// What to send again (exactly one of `delivery`, `messages`, `time`, `parked`), where to and how fast.
    pub(super) struct ReplayRequest where exactly_one(), {
        pub(super) delivery: Option<String> where matches(DELIVERY),
        /// Of the newest room of this name, as far as there are any when the replay starts.
        pub(super) messages: Option<RoomRange>,
        /// Everything of this time that the endpoint's present switches ask for.
        pub(super) time: Option<TimeRange>,
        /// True: all parked deliveries. To their own endpoint they get a second life with all their retries.
        pub(super) parked: Option<bool>,
        /// Another URL than the endpoint's own; signed with the endpoint's secrets. Without, a replay waits while the endpoint is
        /// paused.
        pub(super) to: Option<String> where matches(URL),
        /// Events per second; 100 if left out.
        pub(super) per_s: Option<u32> where range(1, PER_S_MAX.into()),
    }
}

object! { answer
    pub(super) struct ReplayStates {
        /// Newest first: all that run, and of those that ended the last 64, for a week.
        pub(super) replays: Vec<ReplayState>,
    }
}

pub(super) async fn start(
    State(context): State<Context>,
    Path(OfEndpoint { app, endpoint: id }): Path<OfEndpoint>,
    Body(request): Body<ReplayRequest>,
) -> Result<(StatusCode, Json<ReplayState>), ApiError> {
    let endpoint = context.endpoint_ref(app, &id)?;
    let replay = parsed(&context, app, request)?;
    let started = context.control.start_replay(&endpoint, replay).await?;
    tracing::info!(app, endpoint = id, replay = started.replay, "a person started a replay");
    Ok((StatusCode::ACCEPTED, Json(started)))
}

pub(super) async fn list(State(context): State<Context>) -> Json<ReplayStates> {
    let without_failures = |state: ReplayState| {
        let progress = Replayed { failures: Vec::new(), ..state.progress };
        ReplayState { progress, ..state }
    };
    Json(ReplayStates { replays: context.control.replays().into_iter().map(without_failures).collect() })
}

pub(super) async fn show(
    State(context): State<Context>,
    Path(OfReplay { replay }): Path<OfReplay>,
) -> Result<Json<ReplayState>, ApiError> {
    context.control.replay(replay).map(Json)
}

pub(super) async fn stop(
    State(context): State<Context>,
    Path(OfReplay { replay }): Path<OfReplay>,
) -> Result<Json<ReplayState>, ApiError> {
    let stopped = context.control.stop_replay(replay).await?;
    tracing::info!(replay, "a person stopped a replay");
    Ok(Json(stopped))
}

fn parsed(context: &Context, app: u32, request: ReplayRequest) -> Result<Replay, ApiError> {
    let ReplayRequest { delivery, messages, time, parked, to, per_s } = request;
    let what = match (delivery, messages, time, parked.unwrap_or_default()) {
        (Some(delivery), None, None, false) => What::One(delivery.parse()?),
        (None, Some(RoomRange { room, from, to }), None, false) => {
            if from == 0 {
                return Err(ApiError::field("messages.from", "the first message of a room is 1"));
            }
            if to < from {
                return Err(ApiError::unusable("messages", "to is before from"));
            }
            What::Room { room: context.room(app, &room)?, from: MsgSeq(from), to: MsgSeq(to) }
        }
        (None, None, Some(TimeRange { from_ms, to_ms }), false) if from_ms <= to_ms => {
            What::Time { from: from_ms, to: to_ms }
        }
        (None, None, Some(_), false) => return Err(ApiError::unusable("time", "to_ms is before from_ms")),
        (None, None, None, true) => What::Parked,
        _ => return Err(ApiError::bad("name exactly one of delivery, messages, time, parked")),
    };
    if let Some(url) = &to {
        check_hook_url("to", url)?;
    }
    let per_s = NonZeroU32::new(per_s.unwrap_or(PER_S_DEFAULT)).filter(|rate| rate.get() <= PER_S_MAX);
    let per_s = per_s.ok_or_else(|| ApiError::field("per_s", format!("choose 1 to {PER_S_MAX}")))?;
    Ok(Replay { what, to, per_s })
}
