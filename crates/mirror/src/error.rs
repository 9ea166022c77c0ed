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
    /// Whether the disk is full, a quota is used up, or the like: then nothing is damaged, and a person makes room.
    #[must_use]
    pub fn is_no_room(&self) -> bool {
        let Self::Engine(fjall::Error::Io(error) | fjall::Error::Storage(fjall::LsmError::Io(error))) = self else {
            return false;
        };
        use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
    }
}
