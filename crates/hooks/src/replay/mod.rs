//! Sending again what was sent, or parked, before: to its endpoint or to another URL, at a limited rate, beside live
//! delivery. A replay is a job with a row of its own, so that a restart goes on with it.
//!
//! `jobs` keeps them, `job` is one with its place, `run` does the work for the one that `whom` knows, `rows` says how they are written.

mod job;
mod jobs;
mod pace;
mod rows;
mod run;
mod whom;

use std::num::NonZeroU32;

use roomhook_log::Lsn;
use roomhook_room::{MsgSeq, RoomKey};

use crate::{
    engine::{DeliveryId, EventPos},
    supervisor::EndpointName,
    trail::Attempt,
};

pub use jobs::{KEPT_MAX, RUNNING_MAX};
pub use run::REPEATS_MAX;

pub(crate) use jobs::Replays;
pub(crate) use rows::LOG;

/// Failures reported by name.
pub const FAILURES_KEPT: usize = 100;

/// What to send again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    One(DeliveryId),
    /// Messages `from..=to` of the newest room of this name that there is when the replay starts.
    Room {
        room: RoomKey,
        from: MsgSeq,
        to: MsgSeq,
    },
    /// Everything from one time to another (Unix milliseconds, inclusive) that the endpoint's present switches ask for.
    Time {
        from: u64,
        to: u64,
    },
    /// All parked ones. To their own endpoint they get a second life with all their retries.
    Parked,
}

/// A replay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replay {
    pub what: What,
    /// Another URL than the endpoint's own, with the same secrets and certificates.
    pub to: Option<String>,
    pub per_s: NonZeroU32,
}

/// What came of it so far, or in the end.
#[derive(Clone, Debug, Default)]
pub struct Replayed {
    pub acknowledged: u64,
    pub failed: u64,
    /// Not in the log any more.
    pub gone: u64,
    /// In the range, but nothing that the endpoint is to get: switched off, filtered, or forbidden by its sender.
    pub not_owed: u64,
    /// Parked ones that were handed back to live delivery.
    pub requeued: u64,
    /// The last attempts of what failed, the first hundred.
    pub failures: Vec<Attempt>,
}

/// How a replay is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplayStatus {
    Running,
    /// All was sent, or failed one by one.
    Done,
    /// It could not go on.
    Broken,
    /// By a person.
    Stopped,
}

/// A replay, as people see it.
#[derive(Clone, Debug)]
pub struct ReplayState {
    pub number: u64,
    pub endpoint: EndpointName,
    pub replay: Replay,
    pub status: ReplayStatus,
    /// Why it could not go on; or, while it runs, why it sends nothing at the moment.
    pub reason: Option<String>,
    /// Unix milliseconds.
    pub started_at: u64,
    pub ended_at: Option<u64>,
    /// Restarts of the server that it outlived.
    pub resumed: u32,
    pub done: Replayed,
}

/// How far a replay is: the first event that is not done. Nothing but zeroes at its beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Place {
    shard: u16,
    lsn: Lsn,
    index: u32,
    /// In a room's range: the first `MsgSeq` that is not done.
    seq: u64,
}

impl Place {
    const fn in_shard(shard: u16) -> Self {
        Self { shard, lsn: Lsn(0), index: 0, seq: 0 }
    }

    const fn at(shard: u16, lsn: Lsn) -> Self {
        Self { shard, lsn, index: 0, seq: 0 }
    }

    const fn after(id: DeliveryId) -> Self {
        Self { shard: id.shard, lsn: id.pos.lsn, index: id.pos.index.saturating_add(1), seq: 0 }
    }

    /// The delivery that [`Place::after`] was made of.
    fn last_done(self) -> Option<DeliveryId> {
        let index = self.index.checked_sub(1)?;
        Some(DeliveryId { shard: self.shard, pos: EventPos { lsn: self.lsn, index } })
    }
}
