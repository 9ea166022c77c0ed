//! One process at a time.

use std::{
    fs::{File, OpenOptions, TryLockError},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use crate::error::OpenError;

const NAME: &str = "LOCK";
/// A process that was just stopped may need a moment to let go.
const PATIENCE: Duration = Duration::from_millis(300);

/// Held while the store is open. The kernel lets go when the process ends, however it ends.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    pub(crate) fn acquire(store: &Path) -> Result<Self, OpenError> {
        let path = store.join(NAME);
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(OpenError::io("opening the lock file", &path))?;
        let give_up = Instant::now() + PATIENCE;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self { _file: file }),
                Err(TryLockError::WouldBlock) if Instant::now() < give_up => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(TryLockError::WouldBlock) => return Err(OpenError::InUse { path: store.to_owned() }),
                Err(TryLockError::Error(error)) => return Err(OpenError::io("locking", path)(error)),
            }
        }
    }

    /// Whether another process has the store open. Takes the lock for a moment if none has.
    pub(crate) fn is_held(store: &Path) -> bool {
        let path: PathBuf = store.join(NAME);
        let Ok(file) = File::open(path) else { return false };
        matches!(file.try_lock(), Err(TryLockError::WouldBlock))
    }
}
