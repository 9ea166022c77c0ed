//! Why a store cannot be opened, and what to do about it.

use std::{
    io,
    path::{Path, PathBuf},
};

use roomhook_log::{LogId, Lsn};

use crate::durable::At;

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
    #[error(
        "{path} holds logs but no STORE file; restore the whole store from a backup, or that file if only it was lost"
    )]
    StoreFileMissing { path: PathBuf },
    #[error(
        "{path} is none of roomhook's, and lies where a new store would be made; use another storage path, or move it away"
    )]
    NotOurs { path: PathBuf },
    #[error(
        "{path} could not be made durable: {error}. A write to the disk failed, and what it holds is not known. Look at the disk (the kernel's log tells more), then start again: the start believes only what it reads from the disk"
    )]
    Unsynced { path: PathBuf, error: io::Error },
    #[error(
        "{at} cannot be read or written: {error}. That says nothing about what was stored: look at the disk (the kernel's log tells more), then start again, and restore the whole store from a backup only if the disk is broken"
    )]
    Unreadable { at: String, error: io::Error },
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
    #[error(
        "a start was not tried, because there can be no copy of the store at {at}: {error}; choose a folder with room (TMPDIR)"
    )]
    NoCopy { at: PathBuf, error: io::Error },
    #[error("{what} {path}: {error}; look at the rights there and at the disk, then start again")]
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

    /// As of a store at `to` instead of `from`.
    pub(crate) fn moved(self, from: &Path, to: &Path) -> Self {
        let moved = |path: PathBuf| path.strip_prefix(from).map_or_else(|_| path.clone(), |rest| to.join(rest));
        match self {
            Self::EndLost { log, acknowledged, found, mark } => {
                Self::EndLost { log, acknowledged, found, mark: moved(mark) }
            }
            Self::Unsynced { path, error } => Self::Unsynced { path: moved(path), error },
            Self::Io { what, path, error } => Self::Io { what, path: moved(path), error },
            other => other,
        }
    }

    pub(crate) fn unsynced((path, error): At) -> Self {
        if is_no_room(&error) {
            return Self::NoRoom { at: path.display().to_string(), error };
        }
        if matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::NotFound) {
            return Self::Io { what: "opening", path, error };
        }
        Self::Unsynced { path, error }
    }

    pub(crate) fn database(log: LogId) -> impl Fn(fjall::Error) -> Self {
        move |error| match error {
            fjall::Error::Io(error) | fjall::Error::Storage(fjall::LsmError::Io(error)) => {
                let at = format!("log {log}");
                if is_no_room(&error) {
                    Self::NoRoom { at, error }
                } else if is_of_the_disk(&error) {
                    Self::Unreadable { at, error }
                } else {
                    Self::Database { log, reason: error.to_string() }
                }
            }
            error => Self::Database { log, reason: error.to_string() },
        }
    }
}

/// A full disk, a quota, a limit of the process: a person makes room, and nothing has to be restored.
fn is_no_room(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}

/// The disk or the rights to it are what is wrong, not what was stored: fjall also tells of missing and cut files as I/O errors.
fn is_of_the_disk(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, NotFound, UnexpectedEof};
    error.raw_os_error().is_some() && !matches!(error.kind(), NotFound | InvalidData | UnexpectedEof)
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
        assert!(matches!(broken, OpenError::Unreadable { .. }), "nobody restores a backup for a cable: {broken}");
        let cut = OpenError::database(LogId(3))(fjall::Error::Io(io::ErrorKind::UnexpectedEof.into()));
        assert!(matches!(cut, OpenError::Database { .. }));
    }
}
