//! Joins the operators' API to the webhooks: its questions in their words, their answers in its shapes.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use roomhook_edge::admin::api::{
    self, ApiError, Code, DeliveryRef, DeliveryState, EndpointRef, EndpointState, EventPage, Held, MessageTrail,
    PulledEvent, Question, Replayed, Timings, WebhookControl,
};
use roomhook_hooks::{
    Attempt, EndpointName, EndpointTrail, EventCursor, Handle, HandleError, Parked, Replay, ReplayStatus, Status,
    TrailState, Unusable, What,
    engine::{DeliveryId, EventPos, Listed, Mode, Settlement},
    gate::{Asked, Gate},
};
use roomhook_room::{AppId, Endpoint, MsgSeq, RoomKey};
use roomhook_shard::Lsn;

/// Running webhooks, as operators see them.
#[derive(Debug)]
pub(crate) struct Control {
    pub(crate) hooks: Handle,
    pub(crate) gate: Gate,
}

#[async_trait]
impl WebhookControl for Control {
    fn state(&self, endpoint: &EndpointRef) -> Option<EndpointState> {
        self.hooks.status_of(&name(endpoint)).ok().map(state)
    }

    fn attempts(&self, endpoint: &EndpointRef, failures: bool, limit: usize) -> Result<Vec<api::Attempt>, ApiError> {
        let attempts = self.hooks.attempts(&name(endpoint), failures, limit).map_err(refused)?;
        Ok(attempts.iter().map(attempt).collect())
    }

    fn set_aside(&self, endpoint: &EndpointRef, limit: usize) -> Result<Vec<Held>, ApiError> {
        let asides = self.hooks.set_aside(&name(endpoint), limit).map_err(refused)?;
        let held = |aside: roomhook_hooks::engine::AsideView| Held {
            delivery: delivery(aside.id).to_string(),
            room: room(&aside.room),
            msg_seq: aside.seq,
            event_at: aside.at,
            attempts: aside.attempts,
            last_status: aside.status,
            next_try_at: aside.next_try_at,
        };
        Ok(asides.into_iter().map(held).collect())
    }

    async fn parked(
        &self,
        endpoint: &EndpointRef,
        after: Option<DeliveryRef>,
        limit: usize,
    ) -> Result<Vec<Held>, ApiError> {
        let parked = self.hooks.parked(&name(endpoint), after.map(id), limit).await.map_err(refused)?;
        let held = |Parked { id, row }| Held {
            delivery: delivery(id).to_string(),
            room: room(&row.room),
            msg_seq: row.seq,
            event_at: row.at,
            attempts: row.attempts,
            last_status: u16::try_from(row.status).unwrap_or(0),
            next_try_at: None,
        };
        Ok(parked.into_iter().map(held).collect())
    }

    async fn skip(&self, endpoint: &EndpointRef, delivery: DeliveryRef) -> Result<(), ApiError> {
        self.hooks.skip(&name(endpoint), id(delivery)).await.map_err(refused)
    }

    async fn retry(&self, endpoint: &EndpointRef, delivery: DeliveryRef) -> Result<(), ApiError> {
        self.hooks.retry(&name(endpoint), id(delivery)).await.map_err(refused)
    }

    fn resume(&self, endpoint: &EndpointRef) -> Result<(), ApiError> {
        self.hooks.resume(&name(endpoint)).map_err(refused)
    }

    fn check(&self, endpoint: &Endpoint) -> Result<(), ApiError> {
        self.hooks.check(endpoint).map_err(|Unusable { setting, reason }| ApiError::unusable(setting, reason))
    }

    async fn start_replay(&self, endpoint: &EndpointRef, replay: api::Replay) -> Result<api::ReplayState, ApiError> {
        let replay = Replay {
            what: match replay.what {
                api::What::One(delivery) => What::One(id(delivery)),
                api::What::Room { room, from, to } => What::Room { room, from, to },
                api::What::Time { from, to } => What::Time { from, to },
                api::What::Parked => What::Parked,
            },
            to: replay.to,
            per_s: replay.per_s,
        };
        self.hooks.start_replay(&name(endpoint), replay).await.map(replay_state).map_err(refused)
    }

    fn replays(&self) -> Vec<api::ReplayState> {
        self.hooks.replays().into_iter().map(replay_state).collect()
    }

    fn replay(&self, number: u64) -> Result<api::ReplayState, ApiError> {
        self.hooks.replay(number).map(replay_state).map_err(refused)
    }

    async fn stop_replay(&self, number: u64) -> Result<api::ReplayState, ApiError> {
        self.hooks.stop_replay(number).await.map(replay_state).map_err(refused)
    }

    async fn test(&self, endpoint: &EndpointRef) -> Result<api::Attempt, ApiError> {
        self.hooks.test(&name(endpoint)).await.map(|made| attempt(&made)).map_err(refused)
    }

    async fn trail(&self, room: &RoomKey, seq: MsgSeq) -> Result<MessageTrail, ApiError> {
        let trail = self.hooks.trail(room, seq).await.map_err(refused)?;
        Ok(MessageTrail {
            delivery: delivery(DeliveryId { shard: trail.shard, pos: trail.pos }).to_string(),
            appended_at: trail.appended_at,
            endpoints: trail.endpoints.iter().map(endpoint_trail).collect(),
        })
    }

    async fn events(&self, endpoint: &EndpointRef, after: Option<&str>, limit: usize) -> Result<EventPage, ApiError> {
        let after: Option<EventCursor> = after.map(str::parse).transpose().map_err(refused)?;
        let page = self.hooks.events(&name(endpoint), after.as_ref(), limit).await.map_err(refused)?;
        let pulled = |event: roomhook_hooks::Pulled| PulledEvent {
            delivery: delivery(event.id).to_string(),
            command: event.command.word().to_owned(),
            room: room(&event.room),
            msg_seq: event.seq,
            event_at: event.at,
            // Bodies are JSON text, written by us.
            body: String::from_utf8_lossy(&event.body).into_owned(),
        };
        let events = page.events.into_iter().map(pulled).collect();
        Ok(EventPage { events, next: page.next.to_string(), at_end: page.at_end })
    }

    async fn end(&self) -> Result<String, ApiError> {
        self.hooks.end().await.map(|end| end.to_string()).map_err(refused)
    }

    fn questions(&self, app: AppId) -> Vec<Question> {
        self.gate.recent(app).into_iter().map(question).collect()
    }
}

// === words ===

fn name(endpoint: &EndpointRef) -> EndpointName {
    EndpointName { app: endpoint.app, id: endpoint.id.clone() }
}

fn id(delivery: DeliveryRef) -> DeliveryId {
    DeliveryId { shard: delivery.shard, pos: EventPos { lsn: Lsn(delivery.position), index: delivery.index } }
}

fn delivery(id: DeliveryId) -> DeliveryRef {
    DeliveryRef { shard: id.shard, position: id.pos.lsn.0, index: id.pos.index }
}

/// The room id of a log key. Test events have none.
fn room(key: &[u8]) -> String {
    RoomKey::from_bytes(key).map(|room| room.room.as_str().to_owned()).unwrap_or_default()
}

fn refused(error: HandleError) -> ApiError {
    if let HandleError::CursorExpired { next } | HandleError::CursorLost { next } = &error {
        return ApiError { next: Some(next.to_string()), ..ApiError::new(Code::CursorExpired, error.to_string()) };
    }
    let code = match &error {
        HandleError::NoEndpoint => Code::EndpointMissing,
        HandleError::NoReplay => Code::ReplayMissing,
        HandleError::Forbidden => Code::NotOwed,
        HandleError::NoDelivery => Code::DeliveryMissing,
        HandleError::NoEvent => Code::EventMissing,
        HandleError::Url(_) | HandleError::Cursor => Code::Unusable,
        HandleError::CursorExpired { .. } | HandleError::CursorLost { .. } => Code::CursorExpired,
        HandleError::TooMuch { .. } | HandleError::TooManyReplays { .. } | HandleError::TooFar { .. } => Code::TooMuch,
        HandleError::Log(_) | HandleError::NotNow | HandleError::Unwritten(_) => Code::Unavailable,
        HandleError::Row(_) | HandleError::Record(_) => Code::Internal,
    };
    ApiError::new(code, error.to_string())
}

// === shapes ===

fn state(status: Status) -> EndpointState {
    let Status { name: _, summary, lag_ms, unusable, last_failure } = status;
    let totals = summary.totals;
    let (mode, paused_since) = match summary.mode {
        Mode::Running => (api::Mode::Running, None),
        Mode::CatchingUp => (api::Mode::CatchingUp, None),
        Mode::Paused { since } => (api::Mode::Paused, Some(since)),
        Mode::PausedByHand => (api::Mode::PausedByHand, None),
        Mode::NoUrl => (api::Mode::NoUrl, None),
    };
    let failing = || last_failure.as_ref().filter(|_| mode == api::Mode::Paused)?.problem.as_deref().map(str::to_owned);
    EndpointState {
        mode,
        paused_since,
        reason: unusable.or_else(failing),
        acknowledged: totals.acknowledged,
        delivered: totals.delivered,
        pending: totals.pending(),
        parked: totals.parked,
        expired: totals.expired,
        skipped: totals.skipped,
        lost_records: totals.lost_records,
        set_aside: summary.set_aside as u64,
        in_flight: summary.in_flight as u64,
        lag_seconds: lag_ms as f64 / 1_000.0,
        next_probe_at: summary.next_probe_at,
        last_failure: last_failure.as_ref().map(attempt),
    }
}

fn attempt(made: &Attempt) -> api::Attempt {
    api::Attempt {
        delivery: delivery(made.id).to_string(),
        room: room(&made.room),
        msg_seq: made.seq,
        event_at: made.event_at,
        ended_at: made.ended_at,
        attempt: made.number,
        status: made.status,
        problem: made.problem.as_deref().map(str::to_owned),
        timings: Timings {
            dns_ms: ms(made.phases.dns),
            connect_ms: ms(made.phases.connect),
            tls_ms: ms(made.phases.tls),
            first_byte_ms: ms(made.phases.first_byte),
            total_ms: ms(made.phases.total),
        },
        answer: String::from_utf8_lossy(&made.answer).into_owned(),
        probe: made.probe,
    }
}

/// With microseconds, and no more digits than that.
fn ms(took: Duration) -> f64 {
    (took.as_secs_f64() * 1e6).round() / 1e3
}

fn replay_state(state: roomhook_hooks::ReplayState) -> api::ReplayState {
    let Replay { what, to, per_s } = state.replay;
    let (mut delivery, mut messages, mut time, mut parked) = (None, None, None, None);
    match what {
        What::One(one) => delivery = Some(self::delivery(one).to_string()),
        What::Room { room, from, to } => {
            messages = Some(api::RoomRange { room: room.room.as_str().to_owned(), from: from.0, to: to.0 });
        }
        What::Time { from, to } => time = Some(api::TimeRange { from_ms: from, to_ms: to }),
        What::Parked => parked = Some(true),
    }
    let done = state.done;
    api::ReplayState {
        replay: state.number.to_string(),
        app: state.endpoint.app.0,
        endpoint: state.endpoint.id.0,
        what: api::Replayable { delivery, messages, time, parked },
        to,
        per_s: per_s.get(),
        status: match state.status {
            ReplayStatus::Running => api::ReplayStatus::Running,
            ReplayStatus::Done => api::ReplayStatus::Done,
            ReplayStatus::Broken => api::ReplayStatus::Broken,
            ReplayStatus::Stopped => api::ReplayStatus::Stopped,
        },
        reason: state.reason,
        started_at: state.started_at,
        ended_at: state.ended_at,
        resumed: state.resumed,
        progress: Replayed {
            acknowledged: done.acknowledged,
            failed: done.failed,
            gone: done.gone,
            not_owed: done.not_owed,
            requeued: done.requeued,
            failures: done.failures.iter().map(attempt).collect(),
        },
    }
}

fn endpoint_trail(trail: &EndpointTrail) -> api::EndpointTrail {
    let known = u32::try_from(trail.attempts.len()).unwrap_or(u32::MAX);
    let (state, attempts_made, next_try_at) = match &trail.state {
        _ if trail.owed.is_err() => (DeliveryState::NotOwed, 0, None),
        None => (DeliveryState::Backlog, 0, None),
        Some(TrailState::Parked(row)) if row.parked => (DeliveryState::Parked, row.attempts, None),
        Some(TrailState::Parked(row)) => (DeliveryState::SetAside, row.attempts, Some(row.retry_at)),
        Some(TrailState::Listed(listed)) => match *listed {
            Listed::Backlog => (DeliveryState::Backlog, known, None),
            Listed::Pending { attempts, in_flight: true, .. } => (DeliveryState::InFlight, attempts, None),
            Listed::Pending { attempts, next_try_at, .. } => (DeliveryState::Pending, attempts, next_try_at),
            Listed::SetAside { attempts, next_try_at } => (DeliveryState::SetAside, attempts, next_try_at),
            Listed::Settled(settlement) => (settled(settlement), known, None),
            Listed::BehindCursor => (behind_cursor(&trail.attempts), known, None),
            Listed::BeforeStart => (DeliveryState::NotOwed, 0, None),
        },
    };
    api::EndpointTrail {
        endpoint: trail.name.id.0.clone(),
        state,
        why_not: trail.owed.as_ref().err().map(ToString::to_string),
        attempts_made,
        next_try_at,
        attempts: trail.attempts.iter().map(attempt).collect(),
    }
}

fn settled(settlement: Settlement) -> DeliveryState {
    match settlement {
        Settlement::Delivered => DeliveryState::Delivered,
        Settlement::Aside => DeliveryState::SetAside,
        Settlement::Parked => DeliveryState::Parked,
        Settlement::Expired => DeliveryState::Expired,
        Settlement::Skipped => DeliveryState::Skipped,
    }
}

/// What is behind the cursor was delivered if an attempt that is still remembered says so.
fn behind_cursor(attempts: &[Attempt]) -> DeliveryState {
    let delivered = attempts.iter().any(|made| made.status.is_some_and(|status| (200..300).contains(&status)));
    if delivered { DeliveryState::Delivered } else { DeliveryState::Settled }
}

fn question(asked: Asked) -> Question {
    Question {
        room: asked.room.room.as_str().to_owned(),
        msg_id: asked.msg_id,
        asked_at: asked.at,
        took_ms: ms(asked.took),
        verdict: asked.verdict.to_owned(),
        code: asked.code,
        problem: asked.problem.map(|problem| problem.to_string()),
        shadow: asked.shadow,
    }
}

/// For the wiring.
pub(crate) fn joined(hooks: Handle, gate: Gate) -> Arc<dyn WebhookControl> {
    Arc::new(Control { hooks, gate })
}
