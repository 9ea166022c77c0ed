//! Replays: started by a request, run beside it, looked at and stopped by others. They end with the process; what was
//! parked stays parked until it is delivered.

use std::{collections::VecDeque, num::NonZeroU32, sync::Arc};

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use parking_lot::Mutex;
use roomhook_protocol::webhook::check_url;
use roomhook_room::MsgSeq;
use tokio::task::AbortHandle;

use super::{
    Context,
    control::{EndpointRef, Replay, Replayed, What},
    error::{ApiError, Code},
    extract::Body,
    schema::{object, words},
};

/// Replays at the same time.
const RUNNING_MAX: usize = 8;
/// Replays that are remembered, running ones included.
const KEPT_MAX: usize = 64;
/// Events per second, unless asked otherwise.
const PER_S_DEFAULT: u32 = 100;
const PER_S_MAX: u32 = 100_000;
/// Messages of one replay by number.
const ROOM_MESSAGES_MAX: u64 = 100_000;

object! { request
    /// A room's messages, by `MsgSeq`, both ends included.
    pub(super) struct RoomRange {
        pub(super) room: String,
        pub(super) from: u64,
        pub(super) to: u64,
    }
}

object! { request
    /// A range of time, Unix milliseconds, both ends included.
    pub(super) struct TimeRange {
        pub(super) from_ms: u64,
        pub(super) to_ms: u64,
    }
}

object! { request
    /// What to send again (exactly one of `delivery`, `messages`, `time`, `parked`), where to and how fast.
    pub(super) struct ReplayRequest {
        pub(super) delivery: Option<String>,
        pub(super) messages: Option<RoomRange>,
        /// Everything owed in this time.
        pub(super) time: Option<TimeRange>,
        /// True: all parked deliveries. To their own endpoint they get a second life with all their retries.
        pub(super) parked: Option<bool>,
        /// Another URL than the endpoint's own; signed with the endpoint's secrets.
        pub(super) to: Option<String>,
        /// Events per second, 1 to 100000; 100 if left out.
        pub(super) per_s: Option<u32>,
    }
}

words! {
    pub(super) enum ReplayStatus {
        Running = "running",
        /// all was sent, or failed one by one
        Done = "done",
        /// it could not go on
        Broken = "broken",
        /// by a person
        Stopped = "stopped",
    }
}

object! { answer
    pub(super) struct ReplayState {
        pub(super) replay: String,
        pub(super) app: u32,
        pub(super) endpoint: String,
        pub(super) status: ReplayStatus,
        /// Why it could not go on.
        pub(super) reason: Option<String>,
        pub(super) progress: Replayed,
    }
}

object! { answer
    pub(super) struct ReplayStates {
        /// Newest first.
        pub(super) replays: Vec<ReplayState>,
    }
}

/// Replays of this process.
#[derive(Debug, Default)]
pub(super) struct Replays(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    started: u64,
    replays: VecDeque<Entry>,
}

#[derive(Debug)]
struct Entry {
    number: u64,
    endpoint: EndpointRef,
    state: Arc<Mutex<(ReplayStatus, Option<String>, Replayed)>>,
    task: AbortHandle,
}

impl Entry {
    fn is_running(&self) -> bool {
        self.state.lock().0 == ReplayStatus::Running
    }

    fn show(&self) -> ReplayState {
        let (status, reason, progress) = self.state.lock().clone();
        ReplayState {
            replay: self.number.to_string(),
            app: self.endpoint.app.0,
            endpoint: self.endpoint.id.0.clone(),
            status,
            reason,
            progress,
        }
    }
}

impl Replays {
    fn start(&self, context: &Context, endpoint: EndpointRef, replay: Replay) -> Result<ReplayState, ApiError> {
        let mut kept = self.0.lock();
        if kept.replays.iter().filter(|entry| entry.is_running()).count() >= RUNNING_MAX {
            return Err(ApiError::new(
                Code::TooMuch,
                format!("{RUNNING_MAX} replays are running, wait for one to end"),
            ));
        }
        if kept.replays.len() >= KEPT_MAX
            && let Some(oldest) = kept.replays.iter().position(|entry| !entry.is_running())
        {
            kept.replays.remove(oldest);
        }
        let state = Arc::new(Mutex::new((ReplayStatus::Running, None, Replayed::nothing())));
        // Its end is in `state`, for whoever asks; there is nobody else to tell.
        let task = tokio::spawn(run(context.clone(), endpoint.clone(), replay, state.clone())).abort_handle();
        kept.started += 1;
        let entry = Entry { number: kept.started, endpoint, state, task };
        let shown = entry.show();
        kept.replays.push_back(entry);
        Ok(shown)
    }

    fn find(&self, number: &str, act: impl FnOnce(&Entry)) -> Result<ReplayState, ApiError> {
        let kept = self.0.lock();
        let entry =
            number.parse().ok().and_then(|number: u64| kept.replays.iter().find(|entry| entry.number == number));
        let entry =
            entry.ok_or_else(|| ApiError::new(Code::ReplayMissing, "there is no such replay, or not any more"))?;
        act(entry);
        Ok(entry.show())
    }
}

async fn run(
    context: Context,
    endpoint: EndpointRef,
    replay: Replay,
    state: Arc<Mutex<(ReplayStatus, Option<String>, Replayed)>>,
) {
    let shown = Arc::clone(&state);
    let mut progress = move |done: Replayed| shown.lock().2 = done;
    let ended = context.control.replay(&endpoint, replay, &mut progress).await;
    let mut state = state.lock();
    match ended {
        Ok(done) => (state.0, state.2) = (ReplayStatus::Done, done),
        Err(error) => (state.0, state.1) = (ReplayStatus::Broken, Some(error.message)),
    }
}

pub(super) async fn start(
    State(context): State<Context>,
    Path((app, id)): Path<(u32, String)>,
    Body(request): Body<ReplayRequest>,
) -> Result<(StatusCode, Json<ReplayState>), ApiError> {
    let endpoint = context.endpoint_ref(app, &id)?;
    let replay = parsed(&context, app, request)?;
    tracing::info!(app, endpoint = id, "a person started a replay");
    Ok((StatusCode::ACCEPTED, Json(context.replays.start(&context, endpoint, replay)?)))
}

pub(super) async fn list(State(context): State<Context>) -> Json<ReplayStates> {
    let kept = context.replays.0.lock();
    Json(ReplayStates { replays: kept.replays.iter().rev().map(Entry::show).collect() })
}

pub(super) async fn show(
    State(context): State<Context>,
    Path(number): Path<String>,
) -> Result<Json<ReplayState>, ApiError> {
    context.replays.find(&number, |_| ()).map(Json)
}

pub(super) async fn stop(
    State(context): State<Context>,
    Path(number): Path<String>,
) -> Result<Json<ReplayState>, ApiError> {
    let stop = |entry: &Entry| {
        entry.task.abort();
        let mut state = entry.state.lock();
        if state.0 == ReplayStatus::Running {
            state.0 = ReplayStatus::Stopped;
        }
    };
    context.replays.find(&number, stop).map(Json)
}

fn parsed(context: &Context, app: u32, request: ReplayRequest) -> Result<Replay, ApiError> {
    let ReplayRequest { delivery, messages, time, parked, to, per_s } = request;
    let what = match (delivery, messages, time, parked.unwrap_or_default()) {
        (Some(delivery), None, None, false) => What::One(delivery.parse()?),
        (None, Some(RoomRange { room, from, to }), None, false) => {
            if from == 0 || to < from || to - from >= ROOM_MESSAGES_MAX {
                return Err(ApiError::bad(format!(
                    "messages: from is 1 or more, to is not before it, and {ROOM_MESSAGES_MAX} is the most at once"
                )));
            }
            What::Room { room: context.room(app, &room)?, from: MsgSeq(from), to: MsgSeq(to) }
        }
        (None, None, Some(TimeRange { from_ms, to_ms }), false) if from_ms <= to_ms => {
            What::Time { from: from_ms, to: to_ms }
        }
        (None, None, None, true) => What::Parked,
        _ => return Err(ApiError::bad("name exactly one of delivery, messages, time, parked")),
    };
    if let Some(url) = &to {
        check_url(url).map_err(|error| ApiError::bad(format!("to: {error}")))?;
    }
    let per_s = NonZeroU32::new(per_s.unwrap_or(PER_S_DEFAULT)).filter(|rate| rate.get() <= PER_S_MAX);
    let per_s = per_s.ok_or_else(|| ApiError::bad(format!("per_s: choose 1 to {PER_S_MAX}")))?;
    Ok(Replay { what, to, per_s })
}
