//! What a replay is about, and when its endpoint may be sent something.

use std::{sync::Arc, time::Duration};

use roomhook_log::{LogId, Lsn, ReadError, Record};
use roomhook_room::{CodecError, Event};
use tokio::time::sleep;

use super::job::Job;
use crate::{
    endpoint::Endpoints,
    engine::{Content, DeliveryId, EventPos},
    handle::{Handle, HandleError},
    plan,
    settings::Settings,
    shared::Shared,
    walk::WalkError,
};

/// Between two looks at what it waits for.
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Why it does not go on.
#[derive(Debug, thiserror::Error)]
pub(super) enum Halt {
    #[error("{0}")]
    Broken(String),
    #[error(transparent)]
    Log(#[from] ReadError),
    #[error("a record cannot be decoded: {0}")]
    Record(#[from] CodecError),
    #[error(transparent)]
    Handle(#[from] HandleError),
}

impl From<WalkError> for Halt {
    fn from(error: WalkError) -> Self {
        match error {
            WalkError::Log(error) => Self::Log(error),
            WalkError::Record(error) => Self::Record(error),
        }
    }
}

impl Halt {
    /// Whether the storage failed in a way that may pass.
    pub(super) fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::Log(ReadError::Io { .. })
                | Self::Handle(HandleError::Log(ReadError::Io { .. }) | HandleError::NotNow)
        )
    }

    pub(super) fn is_closed(&self) -> bool {
        matches!(self, Self::Log(ReadError::Closed) | Self::Handle(HandleError::Log(ReadError::Closed)))
    }
}

/// A replay and its surroundings.
#[derive(Clone, Copy)]
pub(super) struct Whom<'a> {
    pub(super) handle: &'a Handle,
    pub(super) endpoints: &'a Endpoints,
    pub(super) job: &'a Job,
}

impl Whom<'_> {
    /// The endpoint. Waits while it is starting.
    ///
    /// # Errors
    /// When it was deleted.
    pub(super) async fn endpoint(self) -> Result<Arc<Shared>, Halt> {
        let (name, generation) = (&self.job.plan.endpoint, self.job.plan.generation);
        loop {
            if let Ok(shared) = self.handle.shared(name)
                && shared.settings.load().endpoint.generation == generation
            {
                return Ok(shared);
            }
            let is_own = |endpoint: &Arc<roomhook_room::Endpoint>| {
                endpoint.app == name.app && endpoint.id == name.id && endpoint.generation == generation
            };
            if !self.endpoints.borrow().iter().any(is_own) {
                return Err(Halt::Broken("the endpoint was deleted".to_owned()));
            }
            self.wait("the endpoint is starting", LOOK_AGAIN).await;
        }
    }

    /// The endpoint, when something may be sent to it: not while it is paused, unless it goes to another URL.
    ///
    /// # Errors
    /// When it was deleted, or nothing can be sent with its settings.
    pub(super) async fn ready(self) -> Result<Arc<Shared>, Halt> {
        loop {
            let shared = self.endpoint().await?;
            if self.job.plan.replay.to.is_some() {
                return Ok(shared);
            }
            let settings = shared.settings.load_full();
            if let Err(reason) = &settings.destination {
                return Err(Halt::Broken(reason.clone()));
            }
            let why = if settings.endpoint.paused {
                "the endpoint is paused by hand"
            } else if is_failing(&shared) {
                "the endpoint is paused because it fails as a whole"
            } else {
                self.job.progress().waiting = None;
                return Ok(shared);
            };
            self.wait(why, LOOK_AGAIN).await;
        }
    }

    /// Where the replay ends in a shard's log: where that ended when it was started, unless it lost its end since.
    ///
    /// # Errors
    /// When the log cannot be asked.
    pub(super) async fn end_of(self, shard: u16) -> Result<Lsn, Halt> {
        let end = self.handle.world.log.end(LogId(shard)).await?;
        Ok(self.job.plan.ends.get(usize::from(shard)).copied().unwrap_or(Lsn(0)).min(end))
    }

    /// Says why it sends nothing, and waits a moment.
    pub(super) async fn wait(self, why: impl Into<String>, pause: Duration) {
        self.job.progress().waiting = Some(why.into());
        sleep(pause).await;
    }
}

/// Paused by itself, and with something left to probe with: without, no success would ever end the pause.
fn is_failing(shared: &Shared) -> bool {
    let core = shared.core();
    core.engine.is_paused() && core.engine.summary().totals.pending() > 0
}

impl Handle {
    /// The record of a delivery and what is posted for it.
    ///
    /// # Errors
    /// [`HandleError::NoEvent`] when there is no such event, or it is another app's; [`HandleError::Forbidden`] when its
    /// sender forbade it.
    pub(super) async fn find_delivery(
        &self,
        settings: &Settings,
        id: DeliveryId,
    ) -> Result<(Record, Content), HandleError> {
        let DeliveryId { shard, pos: EventPos { lsn, index } } = id;
        let (world, log) = (&self.world, LogId(shard));
        // Logs beside the shards' hold no events.
        if shard >= world.shards {
            return Err(HandleError::NoEvent);
        }
        let record = world.log.record(log, lsn).await?.ok_or(HandleError::NoEvent)?;
        if !record.key.0.starts_with(&settings.endpoint.app.0.to_be_bytes()) {
            return Err(HandleError::NoEvent);
        }
        let content = plan::content_at(&record, index, settings.style)?.ok_or(HandleError::NoEvent)?;
        match roomhook_room::decode_record(&record.payload)?.get(index as usize) {
            Some(Event::MessageSent(message)) if message.draft.forbid_after_hook => Err(HandleError::Forbidden),
            _ => Ok((record, content)),
        }
    }
}
