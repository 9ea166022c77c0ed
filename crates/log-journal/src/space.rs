//! Is there room on the disk? fjall cannot go on after a failed write, so writes are refused before one fails.
//!
//! The operator keeps some of the disk in reserve. New records stop where it begins, so that it is there for what keeps a
//! full store alive: claims (a store can be opened), webhook cursors (deliveries go on, and a crash repeats few of them),
//! and retention. The last quarter belongs to the engine alone, for what it writes behind our back.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

/// Asking costs a system call (about a microsecond); where there is plenty, the answer holds for this long. Others write as
/// well, but not a whole reserve within it.
const FRESH: Duration = Duration::from_millis(50);
/// The part of the reserve that nothing of ours is written into.
const ENGINE_SHARE: u64 = 4;
/// When writing was refused, so much must be free on top of the reserve before it goes on (an eighth of a small reserve): a
/// store at the limit would go back and forth with every file that comes and goes.
const SLACK_BYTES_MAX: u64 = 32 << 20;
const SLACK_SHARE: u64 = 8;

/// What somebody wants to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// What people say. Stops where the reserve begins.
    Records,
    /// What a full store needs to go on; small, and superseded by the next of its kind.
    Upkeep,
}

/// The room that all logs of a store share.
#[derive(Debug)]
pub(crate) struct Space {
    path: PathBuf,
    free_bytes_min: u64,
    now: Mutex<Now>,
}

#[derive(Debug)]
struct Now {
    asked: Option<Instant>,
    free_bytes: u64,
    /// Records were refused, and there was not enough room since.
    full: bool,
}

impl Space {
    /// Keeps `free_bytes_min` in reserve on the file system of `path`.
    pub(crate) fn new(path: PathBuf, free_bytes_min: u64) -> Self {
        Self { path, free_bytes_min, now: Mutex::new(Now { asked: None, free_bytes: 0, full: false }) }
    }

    /// Charges `bytes` about to be written, or says why they must not be.
    pub(crate) fn charge(&self, purpose: Purpose, bytes: u64) -> Result<(), String> {
        let mut now = self.now.lock();
        let needed = self.limit(purpose, now.full).saturating_add(bytes);
        let stale = now.asked.is_none_or(|asked| asked.elapsed() >= FRESH);
        if stale || now.free_bytes < needed.max(self.free_bytes_min.saturating_mul(2)) {
            self.ask(&mut now);
        }
        if purpose == Purpose::Records {
            self.note(&mut now, needed);
        }
        if now.free_bytes < needed {
            return Err(self.refusal(purpose, needed, now.free_bytes));
        }
        now.free_bytes -= bytes;
        Ok(())
    }

    /// Whether records would be refused. Looks at the disk now and then: nobody may be writing who would notice.
    pub(crate) fn is_full(&self) -> bool {
        let mut now = self.now.lock();
        if now.asked.is_none_or(|asked| asked.elapsed() >= FRESH) {
            self.ask(&mut now);
            let needed = self.limit(Purpose::Records, now.full);
            self.note(&mut now, needed);
        }
        now.full
    }

    /// Bytes free on the file system now, and how many of them are kept in reserve.
    pub(crate) fn facts(&self) -> (u64, u64) {
        (self.free_bytes().unwrap_or_default(), self.free_bytes_min)
    }

    /// What must be left after a write.
    fn limit(&self, purpose: Purpose, full: bool) -> u64 {
        match purpose {
            Purpose::Records if full => {
                self.free_bytes_min.saturating_add((self.free_bytes_min / SLACK_SHARE).min(SLACK_BYTES_MAX))
            }
            Purpose::Records => self.free_bytes_min,
            Purpose::Upkeep => self.free_bytes_min / ENGINE_SHARE,
        }
    }

    /// Tells operators once, for all logs of the store: a full disk must not be filled with lines about it.
    fn note(&self, now: &mut Now, needed: u64) {
        let full = now.free_bytes < needed;
        if full && !now.full {
            let reason = self.refusal(Purpose::Records, needed, now.free_bytes);
            tracing::error!(reason, "messages are refused: the disk is full");
        } else if now.full && !full {
            tracing::info!(free_mib = now.free_bytes >> 20, "there is room on the disk again: messages are taken");
        }
        now.full = full;
    }

    fn refusal(&self, purpose: Purpose, needed: u64, free: u64) -> String {
        let (path, kept, short) = (self.path.display(), self.free_bytes_min, needed.saturating_sub(free));
        let (free, kept, short) = (free >> 20, kept >> 20, (short >> 20) + 1);
        match purpose {
            Purpose::Records => {
                format!("{path} has {free} MiB free, and {kept} MiB are kept in reserve: free {short} MiB or more")
            }
            Purpose::Upkeep => format!(
                "{path} has {free} MiB free, and even the reserve of {kept} MiB (storage.free_bytes_min) is used up: free {short} MiB or more, or lower that setting"
            ),
        }
    }

    fn ask(&self, now: &mut Now) {
        // When the answer cannot be had, writing goes on: a wrong guess must not stop a healthy store.
        now.free_bytes = self.free_bytes().unwrap_or(u64::MAX);
        now.asked = Some(Instant::now());
    }

    fn free_bytes(&self) -> Option<u64> {
        let stat = nix::sys::statvfs::statvfs(&self.path).ok()?;
        Some(stat.blocks_available().saturating_mul(stat.fragment_size()))
    }
}
