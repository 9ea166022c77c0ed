//! What others may ask of running webhooks, and how they steer them.
//!
//! Pausing by a person is a setting of the endpoint (`paused`), kept by the directory so that it survives restarts; what
//! is here acts on deliveries.

use std::sync::Arc;

use roomhook_log::{LogId, ReadError};
use roomhook_room::UnixMillis;

use crate::{
    engine::{AsideView, DeliveryId, Engine, Summary, Wakes},
    pull::EventCursor,
    replay::Replays,
    rows::{ExceptionRow, Names, RowError},
    shared::{Shared, World},
    supervisor::{EndpointName, Roster},
    trail::Attempt,
};

/// Asks and steers running webhooks. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    roster: Roster,
    pub(crate) world: World,
    pub(crate) replays: Arc<Replays>,
}

/// How one endpoint is doing.
#[derive(Clone, Debug)]
pub struct Status {
    pub name: EndpointName,
    pub summary: Summary,
    /// Age of the oldest pending event that is known; zero when nothing is pending.
    pub lag_ms: u64,
    /// Why nothing can be sent with the present settings, if so.
    pub unusable: Option<String>,
    /// The newest failure, if any is remembered.
    pub last_failure: Option<Attempt>,
}

/// A parked delivery.
#[derive(Clone, Debug)]
pub struct Parked {
    pub id: DeliveryId,
    pub row: ExceptionRow,
}

/// Why a request cannot be answered.
#[derive(Debug, thiserror::Error)]
pub enum HandleError {
    #[error("there is no such endpoint")]
    NoEndpoint,
    #[error("there is no such delivery, or it is not in a state for this")]
    NoDelivery,
    #[error("there is no such event in the log; it may have been trimmed")]
    NoEvent,
    #[error("the sender of this message forbade its webhook (ForbidAfterSendMsgCallback)")]
    Forbidden,
    #[error("there is no such replay, or not any more")]
    NoReplay,
    #[error("{0}")]
    Url(String),
    #[error("{max} deliveries are set aside already, which is the most there may be; wait until some are settled")]
    TooMuch { max: usize },
    #[error("{max} replays are running, which is the most there may be; wait for one to end, or stop one")]
    TooManyReplays { max: usize },
    #[error("the message lies more than {max} records back in its room, which is too far for one question")]
    TooFar { max: usize },
    #[error(
        "this cursor was not given out for this server's store; begin with the oldest event (without `after`) or at the end (`after` = end)"
    )]
    Cursor,
    /// Retention overtook a cursor. What lies between it and `next` is gone.
    #[error("retention dropped events after this cursor; to go on without them, use {next}")]
    CursorExpired { next: EventCursor },
    /// The server lost its end since the cursor was given out: positions from `next` on may mean other events now.
    #[error(
        "the server lost its newest events since this cursor was given out: what you got after {next} may be gone, and other events are in its place; go on with {next}"
    )]
    CursorLost { next: EventCursor },
    #[error("the server is starting or stopping, or another one has taken over; try again in a moment")]
    NotNow,
    /// Our own store refused a row.
    #[error("this could not be written down: {0}")]
    Unwritten(String),
    #[error(transparent)]
    Log(#[from] ReadError),
    #[error("a row cannot be read: {0}")]
    Row(#[from] RowError),
    #[error("a record cannot be decoded: {0}")]
    Record(#[from] roomhook_room::CodecError),
}

impl Handle {
    pub(crate) fn new(roster: Roster, world: World, replays: Arc<Replays>) -> Self {
        Self { roster, world, replays }
    }

    /// Every running endpoint, in order of app and id.
    pub fn status(&self) -> Vec<Status> {
        let now = (self.world.clock)();
        self.all().iter().map(|(name, shared)| status(name, shared, now)).collect()
    }

    /// One endpoint.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn status_of(&self, name: &EndpointName) -> Result<Status, HandleError> {
        Ok(status(name, self.shared(name)?.as_ref(), (self.world.clock)()))
    }

    /// Attempts of late, newest first; `failures` are remembered longer.
    ///
    /// # Errors
    /// When there is no such endpoint.
    pub fn attempts(&self, name: &EndpointName, failures: bool, limit: usize) -> Result<Vec<Attempt>, HandleError> {
        let shared = self.shared(name)?;
        let core = shared.core();
        Ok(match failures {
            true => core.trail.failures().take(limit).cloned().collect(),
            false => core.trail.recent().take(limit).cloned().collect(),
        })
    }

    /// Deliveries that are set aside, in order of their events.
    ///
    /// # Errors
    /// When there is no such endpoint.
    pub fn set_aside(&self, name: &EndpointName, limit: usize) -> Result<Vec<AsideView>, HandleError> {
        Ok(self.shared(name)?.core().engine.asides(limit))
    }

    /// Parked deliveries, from the first one after `after` on. One that was parked less than a checkpoint ago may be missing.
    ///
    /// # Errors
    /// When there is no such endpoint, or its rows cannot be read. Cancel safe.
    pub async fn parked(
        &self,
        name: &EndpointName,
        after: Option<DeliveryId>,
        limit: usize,
    ) -> Result<Vec<Parked>, HandleError> {
        let shared = self.shared(name)?;
        let names = self.names(name, &shared);
        let mut found = Vec::new();
        for shard in after.map_or(0, |id| id.shard)..self.world.shards {
            let mut last = after.filter(|id| id.shard == shard).map(|id| names.exception(id.pos));
            loop {
                let rows = self.world.rows.scan(LogId(shard), &names.exceptions(), last.as_deref(), SCAN_ROWS).await?;
                for (key, value) in &rows {
                    let row = ExceptionRow::from_bytes(value)?;
                    if found.len() >= limit {
                        return Ok(found);
                    }
                    if let Some(pos) = Names::position(key).filter(|_| row.parked) {
                        found.push(Parked { id: DeliveryId { shard, pos }, row });
                    }
                }
                match rows.last() {
                    Some((key, _)) if rows.len() == SCAN_ROWS => last = Some(key.clone()),
                    _ => break,
                }
            }
        }
        Ok(found)
    }

    /// Sends one delivery again now: a parked one gets a second life with all its retries, one set aside need not wait.
    ///
    /// # Errors
    /// When there is no such endpoint or delivery, or too many are set aside already. Cancel safe.
    pub async fn retry(&self, name: &EndpointName, id: DeliveryId) -> Result<(), HandleError> {
        self.check_owned(id)?;
        let row = self.parked_row(name, id).await?;
        if row.is_some() && self.shared(name)?.core().engine.is_aside_full() {
            return Err(HandleError::TooMuch { max: self.world.config.limits.aside_max });
        }
        self.act(name, |engine, now| {
            engine.retry_now(id, now) || row.as_ref().is_some_and(|row| engine.unpark(id, row, now))
        })
    }

    /// Gives up on one delivery that is parked or set aside; it counts as expired (skipped).
    ///
    /// # Errors
    /// When there is no such endpoint or delivery. Cancel safe.
    pub async fn skip(&self, name: &EndpointName, id: DeliveryId) -> Result<(), HandleError> {
        self.check_owned(id)?;
        let row = self.parked_row(name, id).await?;
        self.act(name, |engine, _| engine.skip(id, row.as_ref()))
    }

    /// Ends the waiting of an endpoint that was paused for failing: everything pending is tried at once.
    ///
    /// # Errors
    /// When there is no such endpoint.
    pub fn resume(&self, name: &EndpointName) -> Result<(), HandleError> {
        self.act(name, |engine, now| {
            engine.resume(now);
            true
        })
    }

    /// What is decided of a delivery is remembered beside its log.
    fn check_owned(&self, id: DeliveryId) -> Result<(), HandleError> {
        let is_others = id.shard < self.world.shards && !self.world.rows.owns(LogId(id.shard));
        if is_others { Err(HandleError::NotNow) } else { Ok(()) }
    }

    fn act(&self, name: &EndpointName, act: impl FnOnce(&mut Engine, u64) -> bool) -> Result<(), HandleError> {
        let shared = self.shared(name)?;
        let (done, ready) = {
            let mut core = shared.core();
            (act(&mut core.engine, self.world.now()), core.engine.startable())
        };
        shared.wake(Wakes { ready, space: None, keeper: true });
        if done { Ok(()) } else { Err(HandleError::NoDelivery) }
    }

    async fn parked_row(&self, name: &EndpointName, id: DeliveryId) -> Result<Option<ExceptionRow>, HandleError> {
        let names = self.names(name, self.shared(name)?.as_ref());
        let bytes = self.world.rows.get(LogId(id.shard), &names.exception(id.pos)).await?;
        let row = bytes.map(|bytes| ExceptionRow::from_bytes(&bytes)).transpose()?;
        Ok(row.filter(|row| row.parked))
    }

    pub(crate) fn names(&self, name: &EndpointName, shared: &Shared) -> Names {
        Names::new(name.app, &name.id, shared.settings.load().endpoint.generation)
    }

    pub(crate) fn shared(&self, name: &EndpointName) -> Result<Arc<Shared>, HandleError> {
        self.roster.read().get(name).cloned().ok_or(HandleError::NoEndpoint)
    }

    pub(crate) fn all(&self) -> Vec<(EndpointName, Arc<Shared>)> {
        self.roster.read().iter().map(|(name, shared)| (name.clone(), shared.clone())).collect()
    }
}

/// Rows read per call.
const SCAN_ROWS: usize = 1_000;

fn status(name: &EndpointName, shared: &Shared, now: UnixMillis) -> Status {
    let core = shared.core();
    let summary = core.engine.summary();
    Status {
        name: name.clone(),
        lag_ms: summary.oldest_pending_at.map_or(0, |at| now.0.saturating_sub(at)),
        unusable: shared.settings.load().destination.as_ref().err().cloned(),
        summary,
        last_failure: core.trail.failures().next().cloned(),
    }
}
