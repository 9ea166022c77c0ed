//! What a durable log must be. Positions and bytes; no rooms here.
//!
//! A log is the ordered records of one shard. Appending to it is the only durable write there is. Beside each log lie
//! small *rows*: the owner's (snapshots, written atomically with records) and the webhooks' (cursors, exceptions).

mod api;
mod error;
mod types;

pub mod entry;
pub mod limits;
mod tail;

mod memory;

pub mod contract;

pub use api::{Claim, Log, LogAppend, LogRead, RecordStream, Rows};
pub use error::{AppendError, ReadError};
pub use memory::{Fault, Hold, MemoryLog};
pub use tail::{ColdRead, Tail, TailLimits, TailSize, TailStream, prefix_within_limits};
pub use types::{Bounds, Epoch, Key, LogId, Lsn, NewRecord, NodeId, Record, Row};
