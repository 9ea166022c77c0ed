//! The keeper's thread.

use std::{
    fs,
    path::PathBuf,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};
use roomhook_log::LogId;
use roomhook_mirror::{Applied, Mirror, MirrorError, SegmentStart};
use tokio::sync::watch;

use crate::{
    config::Clock,
    dumps::Dumps,
    durable::sync_folder,
    job::Reply,
    journal,
    line::Line,
    retention::{Candidate, Policy, droppable},
    telemetry::StoreMetrics,
    unwritten::Unwritten,
};

/// What the mirror's engine takes in at once.
const BATCH_BYTES: usize = 4 << 20;
/// How long the mirror may lag while nobody asks: one batch for many frames costs far less than one for each.
const LAG: Duration = Duration::from_millis(20);
/// A dump is made when a segment is full, and at least this often while anything changes.
const DUMP_PERIOD: Duration = Duration::from_secs(3600);
/// How often an idle keeper looks for segments that have grown too old.
const IDLE_TICK: Duration = Duration::from_secs(30);
/// Segments dropped at a time: unlinking a large file holds up others who write to the same file system.
const DROPS_AT_ONCE: usize = 1;
const DROP_PAUSE: Duration = Duration::from_millis(200);

/// What the keeper is told.
#[derive(Debug)]
pub(crate) enum Work {
    Apply(Applied, usize),
    Segment(SegmentStart),
    /// Somebody reads what may not be there yet.
    Hurry,
    Retain(Reply<()>),
    Close,
}

/// Bytes on their way to the mirror.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    pub(crate) bytes: Mutex<usize>,
    pub(crate) less: Condvar,
}

/// What the keeper works on.
pub(crate) struct Charge {
    pub(crate) mirror: Arc<Mirror>,
    /// What the mirror could not take in.
    pub(crate) unwritten: Arc<Unwritten>,
    pub(crate) journal: PathBuf,
    pub(crate) dumps: Dumps,
    pub(crate) retention: Policy,
    pub(crate) clock: Clock,
    /// Why the store takes no more, once it does not.
    pub(crate) poisoned: Arc<Mutex<Option<String>>>,
    pub(crate) metrics: StoreMetrics,
}

/// What is left to do when the keeper ends. When it panics, nothing more may be written, and nobody may wait for it.
pub(crate) struct LastWill {
    pub(crate) poisoned: Arc<Mutex<Option<String>>>,
    pub(crate) waiting: Arc<Waiting>,
    pub(crate) queue: Line<Work>,
}

impl Drop for LastWill {
    fn drop(&mut self) {
        // Whoever waits for an answer learns that none comes.
        self.queue.close();
        if thread::panicking() {
            self.poisoned.lock().get_or_insert_with(|| "the keeper of the mirror died".to_owned());
            *self.waiting.bytes.lock() = 0;
            self.waiting.less.notify_all();
        }
    }
}

/// What is not taken in yet.
#[derive(Default)]
struct Pending {
    batches: Vec<Applied>,
    bytes: usize,
}

pub(crate) struct Keeping {
    charge: Charge,
    waiting: Arc<Waiting>,
    applied: watch::Sender<u64>,
    /// It takes nothing more: what comes is kept beside it.
    is_mirror_failed: bool,
    pending: Pending,
    dumped_at: Instant,
    is_changed: bool,
    dropped_at: Option<Instant>,
}

impl Keeping {
    pub(crate) fn new(charge: Charge, waiting: Arc<Waiting>, applied: watch::Sender<u64>) -> Self {
        Self {
            charge,
            waiting,
            applied,
            is_mirror_failed: false,
            pending: Pending::default(),
            dumped_at: Instant::now(),
            is_changed: false,
            dropped_at: None,
        }
    }

    /// Works until it is told to close.
    pub(crate) fn run(mut self, queue: &Line<Work>) {
        loop {
            let idle = if self.dropped_at.is_some() { DROP_PAUSE } else { IDLE_TICK };
            for work in queue.take(LAG, idle) {
                match work {
                    Work::Apply(applied, bytes) => {
                        self.pending.batches.push(applied);
                        self.pending.bytes += bytes;
                        // One batch of the engine is not to grow without an end.
                        if self.pending.bytes >= BATCH_BYTES {
                            self.flush();
                        }
                    }
                    // What came before it is taken in below.
                    Work::Hurry => {}
                    Work::Segment(start) => {
                        self.flush();
                        self.begin_segment(start);
                    }
                    Work::Retain(reply) => {
                        self.flush();
                        self.retain_all();
                        // Nobody has to wait for the answer.
                        let _ = reply.send(Ok(()));
                    }
                    Work::Close => return self.close(),
                }
            }
            self.flush();
            self.look_after();
        }
    }

    /// Takes in what waits, at once.
    fn flush(&mut self) {
        let Pending { batches, bytes } = std::mem::take(&mut self.pending);
        if batches.is_empty() {
            return;
        }
        let count = batches.len() as u64;
        // Also of a store that takes no more: what was answered before is read.
        if !self.is_mirror_failed
            && let Err(error) = self.charge.mirror.apply(&batches)
        {
            self.fail(&error);
        }
        if self.is_mirror_failed {
            self.charge.unwritten.keep(batches);
        }
        *self.waiting.bytes.lock() -= bytes;
        self.waiting.less.notify_all();
        self.is_changed = true;
        self.applied.send_modify(|applied| *applied += count);
    }

    /// Nothing more is to be written, beside what the journal has.
    fn is_failed(&self) -> bool {
        self.charge.poisoned.lock().is_some()
    }

    /// The journal has everything; but nobody could read it, and nothing would ever go.
    fn fail(&mut self, error: &MirrorError) {
        let reason = format!("the mirror failed: {}", self.charge.mirror.why(error));
        tracing::error!(reason, "the store takes nothing more until a restart");
        self.charge.poisoned.lock().get_or_insert(reason);
        self.is_mirror_failed = true;
    }

    fn begin_segment(&mut self, start: SegmentStart) {
        if self.is_mirror_failed {
            return;
        }
        if let Err(error) = self.charge.mirror.begin_segment(start) {
            return self.fail(&error);
        }
        self.charge.metrics.segments(self.charge.mirror.segments().len());
        if !self.is_failed() {
            self.dump();
        }
    }

    fn dump(&mut self) {
        self.charge.dumps.begin(&self.charge.mirror);
        (self.dumped_at, self.is_changed) = (Instant::now(), false);
    }

    /// What is due by itself.
    fn look_after(&mut self) {
        if self.is_failed() {
            return;
        }
        self.charge.dumps.finish(false);
        if self.is_changed && self.dumped_at.elapsed() >= DUMP_PERIOD {
            self.dump();
        }
        if self.dropped_at.is_none_or(|at| at.elapsed() >= DROP_PAUSE) {
            let dropped = self.drop_segments(DROPS_AT_ONCE);
            self.dropped_at = (dropped > 0).then(Instant::now);
        }
    }

    fn retain_all(&mut self) {
        if self.is_failed() {
            return;
        }
        self.charge.dumps.finish(true);
        self.dump();
        self.charge.dumps.finish(true);
        // An older one would keep what the newest one no longer needs.
        self.charge.dumps.keep(1);
        self.drop_segments(usize::MAX);
    }

    /// Drops what retention allows, at most `max` segments. Returns how many.
    fn drop_segments(&mut self, max: usize) -> usize {
        let segments = self.charge.mirror.segments();
        let Some(covered) = self.charge.dumps.covered().filter(|_| segments.len() > 1) else { return 0 };
        let size = |start: &SegmentStart| {
            fs::metadata(journal::path(&self.charge.journal, start.number)).map_or(0, |file| file.len())
        };
        let floor = |log: &LogId| covered.floors.get(log).copied().unwrap_or_default();
        let [place, ..] = covered.place;
        let candidates: Vec<Candidate> = segments
            .windows(2)
            .filter_map(|pair| <&[_; 2]>::try_from(pair).ok())
            .map(|[segment, next]| Candidate {
                newest_at_ms: next.newest_at_ms,
                bytes: size(segment),
                is_needed: next.place > place
                    || next.logs.iter().any(|(log, end)| *end > segment.first(*log) && *end > floor(log)),
            })
            .collect();
        let active_bytes = segments.last().map_or(0, |start| size(start));
        let count = droppable(self.charge.retention, &candidates, active_bytes, (self.charge.clock)()).min(max);
        let Some(oldest) = segments.get(count).filter(|_| count > 0) else { return 0 };
        if let Err(error) = journal::set_oldest(&self.charge.journal, oldest.number) {
            tracing::warn!(%error, "nothing was dropped: which segment is the oldest could not be written down");
            return 0;
        }
        for start in segments.iter().take(count) {
            self.drop_segment(start);
        }
        count
    }

    /// The index goes first: a file that is not part of the journal any more is swept up at the next start.
    fn drop_segment(&mut self, start: &SegmentStart) {
        if let Err(error) = self.charge.mirror.drop_oldest() {
            return self.fail(&error);
        }
        let path = journal::path(&self.charge.journal, start.number);
        if let Err(error) = fs::remove_file(&path).and_then(|()| sync_folder(&self.charge.journal)) {
            tracing::warn!(path = %path.display(), %error, "a segment that is no longer needed could not be removed");
        }
        tracing::info!(segment = start.number, "dropped a segment");
        self.charge.metrics.dropped(self.charge.mirror.segments().len());
    }

    fn close(mut self) {
        self.flush();
        self.charge.dumps.finish(true);
        if !self.is_failed()
            && let Err(error) = self.charge.mirror.close()
        {
            tracing::warn!(%error, "the mirror could not be closed; the next start reads more of the journal");
        }
    }
}
