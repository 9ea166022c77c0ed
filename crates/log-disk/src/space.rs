//! Is there room on the disk? fjall cannot go on after a failed write, so appends are refused before one fails.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

/// Asking costs a system call; the answer holds for this long or until this much of the reserve was written.
const FRESH: Duration = Duration::from_millis(200);

#[derive(Debug)]
pub(crate) struct Space {
    path: PathBuf,
    free_bytes_min: u64,
    asked: Option<Instant>,
    free_bytes: u64,
}

impl Space {
    pub(crate) fn new(path: PathBuf, free_bytes_min: u64) -> Self {
        Self { path, free_bytes_min, asked: None, free_bytes: 0 }
    }

    /// Charges `bytes` about to be written, or says why they must not be.
    pub(crate) fn charge(&mut self, bytes: u64) -> Result<(), String> {
        let stale = self.asked.is_none_or(|asked| asked.elapsed() >= FRESH);
        if stale || self.free_bytes < self.free_bytes_min.saturating_add(bytes) {
            self.ask();
        }
        if self.free_bytes < self.free_bytes_min.saturating_add(bytes) {
            return Err(format!(
                "{} has {} MiB free, of which {} MiB are kept in reserve; free some space",
                self.path.display(),
                self.free_bytes >> 20,
                self.free_bytes_min >> 20
            ));
        }
        self.free_bytes -= bytes;
        Ok(())
    }

    fn ask(&mut self) {
        // When the answer cannot be had, writing goes on: a wrong guess must not stop a healthy store.
        self.free_bytes = nix::sys::statvfs::statvfs(&self.path)
            .map_or(u64::MAX, |stat| stat.blocks_available().saturating_mul(stat.fragment_size()));
        self.asked = Some(Instant::now());
    }
}
