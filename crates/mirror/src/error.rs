//! What can be wrong with a mirror. The answer is always the same: throw it away and make it anew.

/// Why a mirror cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MirrorError {
    #[error("its engine failed: {0}")]
    Engine(#[from] fjall::Error),
    #[error("{0}")]
    Damaged(String),
}

impl MirrorError {
    /// What the system said, if the disk is full, a quota is used up, or the like: then nothing is damaged, and a person makes room.
    ///
    /// # Errors
    /// The error as it is, if it is another one.
    pub fn no_room(self) -> Result<std::io::Error, Self> {
        use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        match self {
            Self::Engine(fjall::Error::Io(error) | fjall::Error::Storage(fjall::LsmError::Io(error)))
                if matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge) =>
            {
                Ok(error)
            }
            other => Err(other),
        }
    }
}
