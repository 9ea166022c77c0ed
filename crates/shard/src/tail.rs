//! Released records, for doors: reading only.

use std::sync::Arc;

use roomhook_log::{Bounds, Key, LogId, LogRead, Lsn, ReadError, Record, RecordStream};
use roomhook_room::RoomKey;

/// The log that holds a room, out of `shards`. Never changes for a store, because its shard count does not.
#[must_use]
pub fn shard_of(room: &RoomKey, shards: u16) -> LogId {
    // A remainder of a u16 is a u16.
    LogId((room.stable_hash() % u64::from(shards.max(1))) as u16)
}

/// The tails of all shards: every record here is durable, and nothing can be written through this. Cheap to clone.
#[derive(Clone, Debug)]
pub struct TailHub {
    log: Arc<dyn LogRead>,
    shards: u16,
}

impl TailHub {
    pub(crate) fn new(log: Arc<dyn LogRead>, shards: u16) -> Self {
        Self { log, shards }
    }

    #[must_use]
    pub fn shards(&self) -> u16 {
        self.shards
    }

    /// The shard that `room` lives on.
    #[must_use]
    pub fn shard_of(&self, room: &RoomKey) -> LogId {
        shard_of(room, self.shards)
    }

    /// Records of a shard from `from` on, then live ones.
    ///
    /// # Errors
    /// [`ReadError::NoSuchLog`]; that `from` was trimmed is told by the first batch.
    pub fn read(&self, shard: LogId, from: Lsn) -> Result<Box<dyn RecordStream>, ReadError> {
        self.log.read(shard, from)
    }

    /// The newest `limit` records of a room before `before`, oldest first.
    ///
    /// # Errors
    /// As the log has them. Cancel safe.
    pub async fn last(&self, room: &RoomKey, before: Lsn, limit: usize) -> Result<Vec<Record>, ReadError> {
        self.log.last(self.shard_of(room), &Key(room.to_bytes()), before, limit).await
    }

    /// Waits until reads here see everything of a shard before `to`.
    ///
    /// # Errors
    /// As the log has them. Cancel safe.
    pub async fn reached(&self, shard: LogId, to: Lsn) -> Result<(), ReadError> {
        self.log.reached(shard, to).await
    }

    /// First readable and next free position of a shard.
    ///
    /// # Errors
    /// As the log has them. Cancel safe.
    pub async fn bounds(&self, shard: LogId) -> Result<Bounds, ReadError> {
        self.log.bounds(shard).await
    }
}
