//! All that happens behind the receipts: the mirror follows, dumps are made, segments that retention allows go. A thread of its own,
//! so that none of it holds up a sender.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
};

use parking_lot::Mutex;
use roomhook_log::{LogId, ReadError};
use roomhook_mirror::{Applied, EntryIndex, SegmentStart, Stand};
use tokio::sync::watch;

use crate::{
    job::Reply,
    keeping::{Charge, Keeping, LastWill, Waiting, Work},
    line::{Haste, Line},
    plan::Positions,
};

/// What may wait to be mirrored, in bytes of records and rows; the committer waits beyond.
const WAITING_BYTES_MAX: usize = 32 << 20;
/// So much is not left lying about, whatever the time.
const EAGER_BYTES: usize = 1 << 20;
/// How far the mirror has got, for those who read it. Numbers of batches.
#[derive(Clone, Debug)]
pub(crate) struct Following {
    sent: Arc<AtomicU64>,
    applied: watch::Receiver<u64>,
    /// Why the mirror follows no more, once it does not.
    poisoned: Arc<Mutex<Option<String>>>,
    work: Line<Work>,
}

impl Following {
    /// Waits until the mirror has all that was answered before this call. Cancel safe.
    pub(crate) async fn caught_up(&self, log: LogId) -> Result<(), ReadError> {
        let wanted = self.sent.load(Ordering::Acquire);
        let mut applied = self.applied.clone();
        if *applied.borrow() >= wanted {
            return Ok(());
        }
        // If the keeper is gone, the wait ends with an error.
        self.work.send(Work::Hurry, Haste::Now);
        let reason = || {
            let why = self.poisoned.lock().clone().unwrap_or_else(|| "the store is shut down".to_owned());
            format!("the mirror follows no more ({why}): restart the server")
        };
        applied
            .wait_for(|applied| *applied >= wanted)
            .await
            .map(drop)
            .map_err(|_| ReadError::Io { log, reason: reason() })
    }

    /// Frames that the mirror has not taken in yet.
    pub(crate) fn lag(&self) -> u64 {
        self.sent.load(Ordering::Relaxed).saturating_sub(*self.applied.borrow())
    }
}

/// The committer's hold on the keeper.
pub(crate) struct Keeper {
    work: Line<Work>,
    waiting: Arc<Waiting>,
    sent: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    pub(crate) fn start(charge: Charge) -> std::io::Result<(Self, Following)> {
        let work = Line::new();
        let (sent, waiting) = (Arc::new(AtomicU64::new(0)), Arc::new(Waiting::default()));
        let (applied, watched) = watch::channel(0);
        let poisoned = Arc::clone(&charge.poisoned);
        let last_will =
            LastWill { poisoned: Arc::clone(&poisoned), waiting: Arc::clone(&waiting), queue: work.clone() };
        let keeping = Keeping::new(charge, Arc::clone(&waiting), applied);
        let thread = thread::Builder::new().name("keeper".to_owned()).spawn(move || {
            keeping.run(&last_will.queue);
        })?;
        let following = Following { sent: Arc::clone(&sent), applied: watched, poisoned, work: work.clone() };
        Ok((Self { work, waiting, sent, thread: Some(thread) }, following))
    }

    /// Entries that were just written. Waits while too much is on its way.
    pub(crate) fn apply(&self, entries: Vec<EntryIndex>, stand: Stand) {
        let bytes = entries.iter().map(weight).sum();
        let all = {
            let mut waiting = self.waiting.bytes.lock();
            self.waiting.less.wait_while(&mut waiting, |waiting| *waiting > WAITING_BYTES_MAX);
            *waiting += bytes;
            *waiting
        };
        self.sent.fetch_add(1, Ordering::Release);
        // A keeper that died has poisoned the store.
        let haste = if all >= EAGER_BYTES { Haste::Now } else { Haste::None };
        self.work.send(Work::Apply(Applied { entries, stand: Some(stand) }, bytes), haste);
    }

    /// What is written from here on lies in segment `number`.
    pub(crate) fn begin_segment(&self, number: u32, place: u64, positions: &Positions) {
        self.work.send(Work::Segment(segment_start(number, place, positions)), Haste::None);
    }

    pub(crate) fn retain(&self, reply: Reply<()>) {
        self.work.send(Work::Retain(reply), Haste::Now);
    }

    /// Waits until all is mirrored and the mirror is let go of.
    pub(crate) fn close(&mut self) {
        self.work.send(Work::Close, Haste::Now);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Keeper {
    /// When the committer panicked: the mirror is let go of all the same.
    fn drop(&mut self) {
        self.work.send(Work::Close, Haste::Now);
    }
}

pub(crate) fn segment_start(number: u32, place: u64, positions: &Positions) -> SegmentStart {
    SegmentStart {
        number,
        place,
        logs: positions.iter().map(|(log, position)| (*log, position.next)).collect(),
        newest_at_ms: positions.values().map(|position| position.newest_at_ms).max().unwrap_or_default(),
    }
}

/// About as many bytes as an entry holds on to while it waits.
fn weight(entry: &EntryIndex) -> usize {
    let records: usize = entry.records.iter().map(|record| record.key.0.len() + record.payload.len() + 64).sum();
    let rows = entry.owner_rows.iter().chain(&entry.hook_rows);
    records + rows.map(|row| row.key.len() + row.value.as_ref().map_or(0, bytes::Bytes::len) + 64).sum::<usize>() + 128
}
