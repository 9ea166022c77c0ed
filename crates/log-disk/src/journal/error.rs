//! What can be wrong with a journal, and what to do about it.

use std::{
    io,
    path::{Path, PathBuf},
};

/// Why a journal is not read or not written.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error("{doing} {path}: {source}")]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
    /// Something that was acknowledged cannot be read.
    #[error("{path} is damaged at byte {offset}: {reason}")]
    Damaged { path: PathBuf, offset: u64, reason: String },
    #[error("{path} is a segment of version {found}, this program reads {known}")]
    Version { path: PathBuf, found: u32, known: u32 },
    #[error("{path} belongs to another store")]
    Foreign { path: PathBuf },
    #[error("segment {number} of the journal is missing: {path}")]
    Missing { number: u32, path: PathBuf },
}

impl JournalError {
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { doing, path: path.to_owned(), source }
    }

    /// With other paths.
    pub(crate) fn moved(self, moved: impl Fn(PathBuf) -> PathBuf) -> Self {
        match self {
            Self::Io { doing, path, source } => Self::Io { doing, path: moved(path), source },
            Self::Damaged { path, offset, reason } => Self::Damaged { path: moved(path), offset, reason },
            Self::Version { path, found, known } => Self::Version { path: moved(path), found, known },
            Self::Foreign { path } => Self::Foreign { path: moved(path) },
            Self::Missing { number, path } => Self::Missing { number, path: moved(path) },
        }
    }
}
