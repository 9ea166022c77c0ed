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
    #[error(
        "{path} has no STORE file, but {found}; restore that file from a backup, or the whole store; if this is none of roomhook's, use another storage path"
    )]
    StoreFileMissing { path: PathBuf, found: PathBuf },
    #[error("there is no store at {path}; correct storage.path")]
    NoStore { path: PathBuf },
    #[error("{path} is not empty; choose another folder for the backup")]
    NotEmpty { path: PathBuf },
    #[error("{path} is no backup, or not a whole one: it has no BACKUP file; choose another one")]
    NoBackup { path: PathBuf },
    #[error(
        "there is a store at {path} already; move it away, or set storage.path to another folder, then restore again"
    )]
    StoreThere { path: PathBuf },
    /// The journal is the truth: nothing can stand in for it.
    #[error("{0}; nothing was changed. Put back what was there, or restore the store from a backup")]
    Journal(JournalError),
    #[error(
        "{doing} {path}: {error}. That says nothing about what was stored: look at the disk (the kernel's log tells more), then start again, and restore the store from a backup only if the disk is broken"
    )]
    Unreadable { doing: &'static str, path: PathBuf, error: io::Error },
    #[error(
        "the mirror has to be made anew, and {path} has no dump that the journal goes on from; restore the store from a backup"
    )]
    NoDump { path: PathBuf },
    #[error("the mirror at {path} cannot be made: {source}; look at the disk, then start again")]
    Mirror { path: PathBuf, source: MirrorError },
    #[error("{0}; start again, and another one is used")]
    Dump(#[from] DumpError),
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

    pub(crate) fn mirror(path: &Path) -> impl FnOnce(MirrorError) -> Self {
        let path = path.to_owned();
        move |source| match source.no_room() {
            Ok(error) => Self::NoRoom { at: path.display().to_string(), error },
            Err(source) => Self::Mirror { path, source },
        }
    }

    /// A file went while it was to be read.
    pub(crate) fn is_gone(&self) -> bool {
        match self {
            Self::Unreadable { error, .. } | Self::Io { error, .. } => error.kind() == io::ErrorKind::NotFound,
            Self::Journal(JournalError::Missing { .. }) => true,
            _ => false,
        }
    }

    /// As of a store at `to` instead of `from`.
    pub(crate) fn moved(self, from: &Path, to: &Path) -> Self {
        let moved = |path: PathBuf| path.strip_prefix(from).map_or_else(|_| path.clone(), |rest| to.join(rest));
        match self {
            Self::Journal(error) => Self::Journal(error.moved(moved)),
            Self::NoDump { path } => Self::NoDump { path: moved(path) },
            Self::Mirror { path, source } => Self::Mirror { path: moved(path), source },
            Self::Unreadable { doing, path, error } => Self::Unreadable { doing, path: moved(path), error },
            Self::Io { what, path, error } => Self::Io { what, path: moved(path), error },
            other => other,
        }
    }
}

impl From<MirrorError> for OpenError {
    fn from(error: MirrorError) -> Self {
        Self::mirror(Path::new("mirror"))(error)
    }
}

impl From<JournalError> for OpenError {
    fn from(error: JournalError) -> Self {
        match error {
            JournalError::Io { path, source: error, .. } if is_no_room(&error) => {
                Self::NoRoom { at: path.display().to_string(), error }
            }
            JournalError::Io { doing, path, source: error } if error.kind() == io::ErrorKind::PermissionDenied => {
                Self::Io { what: doing, path, error }
            }
            JournalError::Io { doing, path, source: error } => Self::Unreadable { doing, path, error },
            damage => Self::Journal(damage),
        }
    }
}

/// A full disk, a quota, a limit of the process: a person makes room, and nothing has to be restored.
fn is_no_room(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}
