//! Settings of shards and directory.

use std::sync::Arc;

use roomhook_log::{NodeId, limits::PAYLOAD_BYTES_MAX};
use roomhook_room::{Facts, UnixMillis};

/// The time of day. A shell's matter, handed in.
pub type Clock = Arc<dyn Fn() -> UnixMillis + Send + Sync>;

/// The longest content of a message (`MsgBody` and `CloudCustomData` together, in bytes) that is sure to fit into a record: the
/// rest of one, ids, numbers and the room's type, takes less than 1 KiB.
pub const CONTENT_BYTES_MAX: usize = PAYLOAD_BYTES_MAX - 1024;

/// Limits and settings; all of them hold per shard.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who claims the logs.
    pub node: NodeId,
    /// Commands waiting for the owner. When full, callers are told [`crate::ExecuteError::Busy`].
    pub inbox_max: usize,
    /// What those commands and the ones being written weigh together, in bytes; the same answer when there is no room. One that
    /// weighs more than all of it is let in alone.
    pub inbox_bytes_max: usize,
    /// Commands of one append.
    pub batch_records_max: usize,
    /// Bodies of one append, in bytes, unless a single one is larger.
    pub batch_bytes_max: usize,
    /// Records that a restart has to replay, at most; one batch may come on top.
    pub replay_records_max: u64,
    /// Snapshots written with one append, in bytes, as long as `replay_records_max` is kept.
    pub snapshot_bytes_max: usize,
    /// Rooms in memory. Rooms with events since their last snapshot stay beyond that; there are at most
    /// `replay_records_max` of those.
    pub rooms_cached_max: usize,
    /// Records that must have become superfluous before the log is told: small steps would cost more than they give back.
    pub trim_step: u64,
    /// App-wide settings that decide.
    pub facts: Facts,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            node: NodeId(0),
            inbox_max: 4_096,
            inbox_bytes_max: 32 << 20,
            batch_records_max: 1_024,
            batch_bytes_max: 1 << 20,
            replay_records_max: 50_000,
            snapshot_bytes_max: 256 << 10,
            rooms_cached_max: 20_000,
            trim_step: 4_096,
            facts: Facts::default(),
        }
    }
}
