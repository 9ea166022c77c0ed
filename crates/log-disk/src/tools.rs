//! What can be done with a store without opening it. All of this blocks.

use std::path::Path;

use crate::{
    backup::{self, Full, Progress, Taken},
    config::DiskConfig,
    error::OpenError,
    inspect::{self, Facts},
    rehearsal::{self, Rehearsal},
    restore,
    store::DiskLog,
};

impl DiskLog {
    /// What [`DiskLog::open`] would say, tried on a copy in `place`. Changes nothing in the store, but for the time of the last use of
    /// files. Blocks, as a start does.
    ///
    /// # Errors
    /// Those of a start, and [`OpenError::NoCopy`] when there is no room for a copy.
    pub fn rehearse(config: DiskConfig, place: &Path) -> Result<Rehearsal, OpenError> {
        rehearsal::rehearse(config, place)
    }

    /// Copies the store at `store` to `to`, an empty folder or none yet, with all that was acknowledged before, and checks the copy.
    /// A server may write to it meanwhile. Blocks for as long as the disks take.
    ///
    /// # Errors
    /// When something cannot be read or written, or the store is damaged. What `to` holds then is no backup.
    pub fn backup(store: &Path, to: &Path, full: Full, progress: Progress<'_>) -> Result<Taken, OpenError> {
        backup::backup(store, to, full, progress)
    }

    /// Makes a store of the backup `from`, where the configuration wants one and none is, after every byte of it was checked. Positions
    /// that were given out after the backup mean other records from then on: every log goes on in an epoch after a loss. Blocks.
    ///
    /// # Errors
    /// When the backup is not whole or does not fit, or there is a store already. A restore that is cut off can be repeated.
    pub fn restore(from: &Path, config: &DiskConfig, progress: Progress<'_>) -> Result<Taken, OpenError> {
        restore::restore(from, config, progress)
    }

    /// Facts about a store that need not be healthy, nor closed. Changes nothing.
    ///
    /// # Errors
    /// When the folder cannot be read or is none of ours.
    pub fn inspect(path: &Path) -> Result<Facts, OpenError> {
        inspect::inspect(path)
    }
}
