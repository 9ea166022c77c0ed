//! What a durable log must be. Positions and bytes; no rooms here.
//!
//! A log is the ordered records of one shard. Appending to it is the only durable write there is. Beside each log lie
//! small *rows*: the owner's (snapshots) and the webhooks' (cursors, exceptions). Both follow from the log: what a crash
//! leaves of them may be older than its records, never newer.

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
pub use types::{Bounds, Epoch, Expect, Key, LogId, Lsn, NewRecord, NodeId, Record, Reign, Reigns, Row};
