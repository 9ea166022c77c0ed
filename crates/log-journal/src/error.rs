//! Why a store cannot be opened, and what to do about it.

use std::{
    io,
    path::{Path, PathBuf},
};

use roomhook_mirror::{DumpError, MirrorError};

use crate::journal::JournalError;

/// The store was not opened; nothing was changed in it but the mirror, which can be made anew.
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
    /// The journal is the truth: nothing can stand in for it.
    #[error("{0}; nothing was changed. Put back what was there, or restore the store from a backup")]
    Journal(#[from] JournalError),
    #[error(
        "the mirror has to be made anew, and {path} has no dump that the journal goes on from; restore the store from a backup"
    )]
    NoDump { path: PathBuf },
    #[error("the mirror at {path} cannot be made: {source}")]
    Mirror { path: PathBuf, source: MirrorError },
    #[error(transparent)]
    Dump(#[from] DumpError),
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

    pub(crate) fn mirror(path: &Path) -> impl FnOnce(MirrorError) -> Self {
        let path = path.to_owned();
        move |source| Self::Mirror { path, source }
    }

    pub(crate) fn mirror_unnamed(source: MirrorError) -> Self {
        Self::Mirror { path: PathBuf::from("mirror"), source }
    }
}

/// A full disk, a quota, a limit of the process: a person makes room, and nothing has to be restored.
fn is_no_room(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}
