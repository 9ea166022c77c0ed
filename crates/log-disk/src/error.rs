//! Why a store cannot be opened, and what to do about it.

use std::{io, path::PathBuf};

use roomhook_log::{LogId, Lsn};

/// The store was not opened; nothing was changed in it but what fjall repairs itself (a torn last write).
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("{path} is in use by another process; stop it first, or choose another storage path")]
    InUse { path: PathBuf },
    #[error(
        "the store at {path} was created with {stored} shards, the configuration says {configured}; the number cannot be changed: set it back to {stored}, or start with an empty storage path"
    )]
    ShardCount { path: PathBuf, stored: u16, configured: u16 },
    #[error("the number of shards must be from 1 to 1000, not {0}")]
    ShardsRange(u16),
    #[error("{path} has store format {found}, this program knows {known}; use the version of roomhook that wrote it")]
    Format { path: PathBuf, found: u32, known: u32 },
    #[error("{path} is not a store file of roomhook: {reason}; restore it from a backup together with its folder")]
    StoreFile { path: PathBuf, reason: String },
    #[error("{path} holds logs with records but no STORE file; restore the file from a backup")]
    StoreFileMissing { path: PathBuf },
    #[error("log {log} is missing at {path}; restore the whole store from a backup")]
    LogMissing { log: LogId, path: PathBuf },
    #[error("log {log} lost segment {segment} (records from {first} on); restore the whole store from a backup")]
    SegmentMissing { log: LogId, segment: u32, first: Lsn },
    #[error("log {log} has a gap: after {expected_from} comes {found}; restore the whole store from a backup")]
    Gap { log: LogId, expected_from: Lsn, found: Lsn },
    #[error(
        "log {log} had acknowledged records up to {acknowledged}, but ends at {found}; the end of its journal is damaged: restore the whole store from a backup. To go on without these records, delete {mark}"
    )]
    EndLost { log: LogId, acknowledged: Lsn, found: Lsn, mark: PathBuf },
    #[error("log {log} is damaged at {at}: {reason}; restore the whole store from a backup")]
    Damaged { log: LogId, at: Lsn, reason: String },
    #[error(
        "log {log} holds records of version {found}, this program knows {known}; use the version of roomhook that wrote it"
    )]
    RecordVersion { log: LogId, found: u8, known: u8 },
    #[error("the database of log {log} cannot be opened: {reason}; restore the whole store from a backup")]
    Database { log: LogId, reason: String },
    #[error(
        "there is no room on the disk to open {at} ({error}): free some MiB there and start again; nothing is lost"
    )]
    NoRoom { at: String, error: io::Error },
    #[error("{what} {path}: {error}")]
    Io { what: &'static str, path: PathBuf, error: io::Error },
}

impl OpenError {
    pub(crate) fn io(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |error| match is_no_room(&error) {
            true => Self::NoRoom { at: path.display().to_string(), error },
            false => Self::Io { what, path, error },
        }
    }

    pub(crate) fn database(log: LogId) -> impl Fn(fjall::Error) -> Self {
        move |error| match error {
            fjall::Error::Io(error) | fjall::Error::Storage(fjall::LsmError::Io(error)) if is_no_room(&error) => {
                Self::NoRoom { at: format!("log {log}"), error }
            }
            error => Self::Database { log, reason: error.to_string() },
        }
    }
}

/// A full disk, a quota, a limit of the process: a person makes room, and nothing has to be restored.
fn is_no_room(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_not_told_as_damage() {
        for code in [nix::libc::ENOSPC, nix::libc::EDQUOT, nix::libc::EFBIG] {
            let error = || io::Error::from_raw_os_error(code);
            let of_fjall = [fjall::Error::Io(error()), fjall::Error::Storage(fjall::LsmError::Io(error()))];
            for told in of_fjall.map(OpenError::database(LogId(3))) {
                assert!(told.to_string().contains("start again; nothing is lost"), "{told}");
            }
            assert!(matches!(OpenError::io("writing", "mark")(error()), OpenError::NoRoom { .. }));
        }
        let broken = OpenError::database(LogId(3))(fjall::Error::Io(io::Error::from_raw_os_error(nix::libc::EIO)));
        assert!(matches!(broken, OpenError::Database { .. }));
    }
}
