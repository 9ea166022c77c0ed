//! Errors say what the caller can do.

use roomhook_log::{AppendError, Epoch, LogId, Lsn, ReadError};
use roomhook_room::{CodecError, Reject};

/// Why a command has no receipt.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExecuteError {
    /// The room said no.
    #[error(transparent)]
    Rejected(#[from] Reject),
    /// The inbox is full, by number or by weight; nothing happened. Try again later.
    #[error("too many commands are waiting")]
    Busy,
    /// Nothing was written. Trying again is safe, and may help.
    #[error("not written: {0}")]
    Unavailable(String),
    /// It may or may not have been written. Repeating the same message with the same `Random` is safe.
    #[error("outcome unknown: {0}")]
    Unknown(String),
}

/// Why a shard or the directory cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("log {log} cannot be claimed")]
    Claim { log: LogId, source: AppendError },
    #[error("log {log} has no owner here: the server is stopping, or the log is not one of its own")]
    Stopping { log: LogId },
    #[error("log {log} cannot be read")]
    Read { log: LogId, source: ReadError },
    #[error("record {lsn} of log {log} cannot be understood")]
    Record { log: LogId, lsn: Lsn, source: CodecError },
    /// Its room's messages would not be `dense`.
    #[error("record {lsn} of log {log} does not follow the one before it in its room")]
    Hole { log: LogId, lsn: Lsn },
    #[error("record {lsn} of log {log} names no room")]
    Key { log: LogId, lsn: Lsn },
    #[error("row {row} of log {log} cannot be understood")]
    Row { log: LogId, row: String, source: CodecError },
}

impl StartError {
    /// The epoch of whoever claimed the log instead.
    pub(crate) fn deposed_by(&self) -> Option<Epoch> {
        match self {
            Self::Claim { source: AppendError::Fenced { current, .. }, .. } => Some(*current),
            _ => None,
        }
    }

    /// The error and its cause in one line: for answers and log lines.
    pub(crate) fn told(&self) -> String {
        match std::error::Error::source(self) {
            Some(source) => format!("{self}: {source}"),
            None => self.to_string(),
        }
    }
}
