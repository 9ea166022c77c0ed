//! Errors say what the caller can do.

use crate::types::{Epoch, LogId, Lsn};

/// Why records did not become durable.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Another writer claimed the log, and nothing was written. Step down; never retry with old state.
    #[error("log {log} is claimed by epoch {current}, this writer has epoch {ours}")]
    Fenced { log: LogId, current: Epoch, ours: Epoch },
    /// A prefix of the batch may be durable. Claim again, expecting the epoch it was written under, refold, then answer.
    #[error("outcome of the append at {expected} is unknown: {reason}")]
    Ambiguous { expected: Lsn, reason: String },
    /// Nothing was written and nothing will be until there is room again (disk full). Retrying is safe.
    #[error("no room to write: {0}")]
    Full(String),
    /// Only a restart helps: an earlier sync failed, and what the disk holds is not known.
    #[error("log {log} is poisoned: {reason}")]
    Poisoned { log: LogId, reason: String },
    /// The request itself cannot be stored, e.g. a record over the size limit. Nothing was written.
    #[error("record refused: {0}")]
    Refused(String),
    #[error("the log is shut down")]
    Closed,
}

/// Why records could not be read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    /// Retention has dropped what was asked for; reading can go on at `first`.
    #[error("log {log} starts at {first}, {wanted} was trimmed")]
    Trimmed { log: LogId, wanted: Lsn, first: Lsn },
    /// A checksum, a sequence or a version is wrong. A person must look.
    #[error("log {log} is damaged at {at}: {reason}")]
    Corrupt { log: LogId, at: Lsn, reason: String },
    /// The storage failed; trying again may help.
    #[error("reading log {log}: {reason}")]
    Io { log: LogId, reason: String },
    #[error("there is no log {0}")]
    NoSuchLog(LogId),
    #[error("the log is shut down")]
    Closed,
}
