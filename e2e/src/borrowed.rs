//! Holds the free room of a disk that others write to as well, by a file that grows when they free some and shrinks when they take some.

use std::fs::{File, TryLockError};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::fcntl::{FallocateFlags, fallocate};
use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use tokio::time::{Instant, sleep};

use crate::small_disk::{MIB, free_bytes};

/// What the file takes at first, which is what others may take away while a test runs: a quarter of the free room, within these.
const TAKEN_MIN: u64 = 4096 * MIB;
const TAKEN_MAX: u64 = 32_768 * MIB;
/// The part of that by which the room is held above or below a server's limit. Others write or free less between two looks.
const MARGIN_SHARE: u64 = 4;
/// Room that differs by less is left alone.
const TOLERANCE: u64 = 4 * MIB;
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// How long a new level may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The free room of one disk, held at a level until this is dropped.
#[derive(Debug)]
pub(crate) struct Level {
    state: Arc<State>,
    /// The level at which it began.
    first: u64,
    margin: u64,
    keeper: Option<JoinHandle<()>>,
    /// Two that hold the same disk would pull against each other.
    _lock: File,
}

#[derive(Debug)]
struct State {
    place: PathBuf,
    wanted: AtomicU64,
    ended: AtomicBool,
}

impl Level {
    /// Begins to hold the room of the disk that `place` is on, from about where it is; waits while another test does.
    ///
    /// # Errors
    /// If the disk has too little room for that, or cannot be filled without writing to it.
    pub(crate) async fn hold(place: &Path) -> Result<Self> {
        let kind = statfs(place)?.filesystem_type();
        ensure!(kind != TMPFS_MAGIC, "{} is in memory, which is not ours to fill up", place.display());
        let lock = lock(place).await?;
        let free = free_bytes(place)?;
        let taken = (free / 4).clamp(TAKEN_MIN, TAKEN_MAX);
        let needed = 2 * taken;
        ensure!(free > needed, "{} has {} MiB free of {} that this needs", place.display(), free / MIB, needed / MIB);
        let (first, margin) = (free - taken, taken / MARGIN_SHARE);
        let file = File::create(place.join("level"))?;
        let mut size = 0;
        resize(&file, &mut size, taken).context("the disk cannot be filled without writing to it")?;
        let state =
            Arc::new(State { place: place.into(), wanted: AtomicU64::new(first), ended: AtomicBool::new(false) });
        let keeper = thread::spawn({
            let state = Arc::clone(&state);
            move || keep(&state, &file, size)
        });
        Ok(Self { state, first, margin, keeper: Some(keeper), _lock: lock })
    }

    /// What was left free at first.
    pub(crate) fn first(&self) -> u64 {
        self.first
    }

    /// How far from a limit the room is to be held, so that others do not carry it across.
    pub(crate) fn margin(&self) -> u64 {
        self.margin
    }

    /// Holds another level from now on; returns when it is there.
    ///
    /// # Errors
    /// If others write so much that it cannot be.
    pub(crate) async fn set(&self, wanted: u64) -> Result<()> {
        self.state.wanted.store(wanted, Ordering::Release);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let free = free_bytes(&self.state.place)?;
            if free.abs_diff(wanted) < self.margin / 4 {
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "others use the disk so much that {} MiB are free, not {}",
                free / MIB,
                wanted / MIB
            );
            sleep(LOOK_EVERY).await;
        }
    }
}

impl Drop for Level {
    fn drop(&mut self) {
        self.state.ended.store(true, Ordering::Release);
        if let Some(keeper) = self.keeper.take() {
            drop(keeper.join());
        }
    }
}

/// Looks and corrects, again and again. What cannot be done now is tried again with the next look; who waits for it sees that it is not.
fn keep(state: &State, file: &File, mut size: u64) {
    while !state.ended.load(Ordering::Acquire) {
        if let Ok(free) = free_bytes(&state.place) {
            let wanted = state.wanted.load(Ordering::Acquire);
            if free.abs_diff(wanted) > TOLERANCE {
                let fitting = (size + free).saturating_sub(wanted);
                drop(resize(file, &mut size, fitting));
            }
        }
        thread::sleep(LOOK_EVERY);
    }
}

fn resize(file: &File, size: &mut u64, wanted: u64) -> Result<()> {
    if wanted > *size {
        let (from, length) = (i64::try_from(*size)?, i64::try_from(wanted - *size)?);
        fallocate(file, FallocateFlags::empty(), from, length)?;
    } else {
        file.set_len(wanted)?;
    }
    *size = wanted;
    Ok(())
}

/// One at a time for each user of this machine, whichever process it is in: `place` is this user's.
async fn lock(place: &Path) -> Result<File> {
    let name = format!("roomhook-borrowed-disk-{}.lock", place.metadata()?.uid());
    let file = File::create(std::env::temp_dir().join(name))?;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => sleep(Duration::from_millis(50)).await,
            Err(TryLockError::Error(error)) => return Err(error).context("waiting for others that fill the disk"),
        }
    }
}
