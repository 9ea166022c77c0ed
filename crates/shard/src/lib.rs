//! The owner of a shard, and how to reach it.
//!
//! Each shard has one task that owns its rooms and is the only writer of its log. It takes whatever waits in its inbox,
//! decides all of it with the pure code of `roomhook-room`, appends the outcome in one commit, and only then answers.
//! What arrives meanwhile forms the next batch: that is the group commit. The directory (accounts, endpoints) works the
//! same way on a log of its own.
//!
//! This crate knows neither JSON nor sockets, and no log by name.

mod config;
mod error;

mod budget;
mod inbox;
mod request;
mod router;
mod start;

mod life;
mod owner;
mod reign;

mod batch;
mod cache;
mod replay;
mod rows;

mod supervisor;

mod directory;

mod history;
mod tail;

mod telemetry;

pub use budget::{Budget, Charge};
pub use config::{CONTENT_BYTES_MAX, Clock, Config};
pub use directory::{Account, Directory, FirstValue, ImportAccount, Turn, stored_endpoints};
pub use error::{ExecuteError, StartError};
pub use history::{History, HistoryError, Range};
pub use reign::Ownership;
pub use request::RoomView;
pub use router::Router;
pub use start::{Shards, start};
pub use tail::{TailHub, shard_of};

// What a tail hands out, so that doors need not know the log.
pub use roomhook_log::{Bounds, Epoch, Expect, Key, LogId, Lsn, NodeId, ReadError, Record, RecordStream};
