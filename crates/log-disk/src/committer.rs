//! The thread that writes one log. All decisions about the end of the log are made here, one batch after the other.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use fjall::PersistMode;
use parking_lot::Mutex;
use roomhook_log::{AppendError, Bounds, Lsn, Tail};
use tokio::sync::OwnedSemaphorePermit;

use crate::{
    batch::{Batch, Errand, Job, Position, Reply},
    config::{DiskConfig, Durability},
    durable,
    engine::{Engine, delete_segment, segment_keyspaces},
    mark::{Mark, Marked},
    recover::keyspaces_folder,
    retention::{Candidate, Policy, droppable},
    segments::{Sealed, Segment, SegmentRow},
    space::{Purpose, Space},
    telemetry::LogMetrics,
};

/// What one commit may take up beside the first job.
const JOBS_MAX: usize = 64;
const BYTES_MAX: u64 = 4 << 20;
/// How often an idle log looks for segments that have grown too old.
const IDLE_TICK: Duration = Duration::from_secs(30);
/// A segment spans at least this much time before it is ended for its age.
const AGED_MS_MIN: u64 = 3_600_000;
/// Between two dropped segments, so that retention after a long pause does not hold up appends.
const DROP_PAUSE: Duration = Duration::from_millis(200);
/// After a power cut the mark is behind the log by no more than this, so the loss of anything older is noticed.
const MARK_SYNC: Duration = Duration::from_secs(1);
/// About what has to be written to drop a segment.
const DROP_BYTES: u64 = 64 << 10;

/// Work and its place in the bounded queue.
pub(crate) struct Queued {
    pub(crate) work: Work,
    pub(crate) place: OwnedSemaphorePermit,
}

pub(crate) enum Work {
    Job(Job),
    Errand(Errand),
}

/// What is known of the segment that is written to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Active {
    pub(crate) bytes: u64,
    pub(crate) oldest_at_ms: Option<u64>,
}

pub(crate) struct Committer {
    pub(crate) engine: Arc<Engine>,
    pub(crate) config: Arc<DiskConfig>,
    pub(crate) tail: Arc<Tail>,
    /// Why this log takes no more, once it does not.
    pub(crate) poisoned: Arc<Mutex<Option<String>>>,
    pub(crate) metrics: LogMetrics,

    pub(crate) position: Position,
    pub(crate) active: Active,
    /// Ends of the segments before the active one, oldest first.
    pub(crate) sealed: VecDeque<Sealed>,
    pub(crate) mark: Mark,
    /// When the mark was written first since its last sync.
    pub(crate) mark_written: Option<Instant>,
    pub(crate) boot: u64,
    pub(crate) space: Arc<Space>,
    pub(crate) retention: Policy,
    pub(crate) dropped_at: Option<Instant>,
}

impl Committer {
    /// Works until it is told to close or all senders are gone.
    pub(crate) fn run(mut self, queue: &Receiver<Queued>) {
        loop {
            match queue.recv_timeout(self.patience()) {
                Ok(first) => {
                    let Gathered { jobs, errand, places } = gather(first, queue);
                    if !jobs.is_empty() {
                        self.commit(jobs);
                    }
                    drop(places);
                    match errand {
                        Some(Errand::Close { reply }) => return self.close(Some(reply)),
                        Some(Errand::Retain { reply }) => {
                            self.retain(true);
                            // Nobody has to wait for the answer.
                            let _ = reply.send(Ok(()));
                        }
                        None => {}
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.close(None),
            }
            self.retain(false);
            if self.mark_written.is_some_and(|at| at.elapsed() >= MARK_SYNC) {
                self.sync_mark();
            }
        }
    }

    fn patience(&self) -> Duration {
        let pausing = self.dropped_at.is_some_and(|at| at.elapsed() < 2 * DROP_PAUSE);
        let next = if pausing { DROP_PAUSE } else { IDLE_TICK };
        self.mark_written.map_or(next, |at| MARK_SYNC.saturating_sub(at.elapsed()).min(next))
    }

    fn commit(&mut self, jobs: Vec<Job>) {
        let jobs = self.admitted(jobs);
        if jobs.is_empty() {
            return;
        }
        let started = Instant::now();
        let Some(active) = self.engine.segments.active() else { return };
        let rolled = if jobs.iter().any(adds_records) { self.next_segment(&active) } else { None };
        let segment = rolled.as_ref().unwrap_or(&active).clone();
        let mut batch = Batch::new(&self.engine, self.position, segment, 4 * jobs.len() + 16);
        for job in jobs {
            batch.add(job, &self.engine);
        }
        let rolled = rolled.filter(|_| batch.position.next > self.position.next);
        if rolled.is_some() {
            let sealed = Sealed { next: self.position.next, newest_at_ms: self.position.newest_at_ms };
            batch.begin_segment(
                &self.engine.meta,
                (active.id, SegmentRow { first: active.first, sealed: Some(sealed) }),
            );
        }
        batch.finish(&self.engine, self.position);
        self.write(batch, rolled, started);
    }

    fn write(&mut self, mut batch: Batch, rolled: Option<Segment>, started: Instant) {
        let answers = batch.take_answers();
        let synced = batch.sync && self.config.durability == Durability::Fsync;
        let mode = if synced { PersistMode::SyncData } else { PersistMode::Buffer };
        let Batch { position, fjall, records, record_bytes, .. } = batch;
        let named = if rolled.is_some() { self.sync_keyspace_names() } else { Ok(()) };
        if let Err(error) = named.and_then(|()| fjall.durability(Some(mode)).commit()) {
            let reason = format!("a commit failed: {error}");
            self.poison(reason.clone());
            return Batch::answer_failed(answers, self.engine.log, &reason);
        }
        let begins_segment = rolled.is_some();
        if let Some(segment) = rolled {
            self.rolled(segment);
        }
        let count = position.next.0 - self.position.next.0;
        self.position = position;
        self.active.bytes += record_bytes;
        if count > 0 {
            self.active.oldest_at_ms.get_or_insert(position.newest_at_ms);
            self.write_mark();
        }
        for records in records {
            self.tail.publish(records);
        }
        self.metrics.committed(count, record_bytes, started.elapsed(), self.tail.size());
        Batch::answer(answers);
        if begins_segment {
            self.sync_mark();
        }
    }

    /// fjall makes durable what a new keyspace holds, but not its name.
    fn sync_keyspace_names(&self) -> fjall::Result<()> {
        Ok(durable::sync_folder(&keyspaces_folder(&self.config.path, self.engine.log))?)
    }

    // === what stands in the way of a commit ===

    /// The jobs that may be tried; the others are answered.
    fn admitted(&self, jobs: Vec<Job>) -> Vec<Job> {
        let log = self.engine.log;
        if let Some(reason) = self.poisoned.lock().clone() {
            jobs.into_iter().for_each(|job| job.fail(AppendError::Poisoned { log, reason: reason.clone() }));
            return Vec::new();
        }
        let refusals = [Purpose::Upkeep, Purpose::Records].map(|purpose| self.refusal(purpose, &jobs));
        let mut admitted = Vec::with_capacity(jobs.len());
        for job in jobs {
            match refusals.iter().flatten().find(|(purpose, _)| *purpose == job.purpose()) {
                Some((_, reason)) => job.fail(AppendError::Full(reason.clone())),
                None => admitted.push(job),
            }
        }
        admitted
    }

    /// Charges what these jobs write for a purpose; `Some` with the reason when there is no room for it.
    fn refusal(&self, purpose: Purpose, jobs: &[Job]) -> Option<(Purpose, String)> {
        let bytes = jobs.iter().filter(|job| job.purpose() == purpose).map(Job::bytes).sum();
        if bytes == 0 {
            return None;
        }
        self.space.charge(purpose, bytes).err().map(|reason| (purpose, reason))
    }

    fn poison(&self, reason: String) {
        tracing::error!(log = %self.engine.log, reason, "the log takes no more appends until a restart");
        *self.poisoned.lock() = Some(reason);
    }

    fn write_mark(&mut self) {
        let marked = Marked {
            boot: self.boot,
            synced: self.config.durability == Durability::Fsync,
            bounds: Bounds { first: self.engine.segments.first(), next: self.position.next },
            segments: u32::try_from(self.sealed.len() + 1).unwrap_or(u32::MAX),
        };
        // The mark is a second guard; a store whose mark cannot be written still keeps every promise.
        match self.mark.write(marked) {
            Ok(()) => _ = self.mark_written.get_or_insert_with(Instant::now),
            Err(error) => tracing::warn!(log = %self.engine.log, %error, "the mark could not be written"),
        }
    }

    /// Nobody waits for it. But a sync that fails says that the disk does, and nothing is written after that.
    fn sync_mark(&mut self) {
        let is_due = self.mark_written.take().is_some() && self.poisoned.lock().is_none();
        if is_due && let Err(error) = self.mark.sync() {
            self.poison(format!("syncing the mark failed: {error}"));
        }
    }

    // === segments ===

    /// The segment the next records go to, if a new one is due.
    fn next_segment(&self, active: &Segment) -> Option<Segment> {
        let records = self.position.next.0 - active.first.0;
        // By the records' own times: a segment must not outlive most of what is in it by much.
        let spanned = self.active.oldest_at_ms.map_or(0, |oldest| self.position.newest_at_ms.saturating_sub(oldest));
        let aged = self.retention.max_age_ms.is_some_and(|max_age| spanned > (max_age / 8).max(AGED_MS_MIN));
        let due = self.active.bytes >= self.config.segment_bytes || records >= self.config.segment_records || aged;
        if !due || records == 0 {
            return None;
        }
        match segment_keyspaces(&self.engine.db, active.id + 1, &self.config) {
            Ok((events, index)) => Some(Segment { id: active.id + 1, first: self.position.next, events, index }),
            Err(error) => {
                // Going on in the old segment is safe; it is only larger than wished.
                tracing::warn!(log = %self.engine.log, %error, "a new segment could not be made");
                None
            }
        }
    }

    fn rolled(&mut self, segment: Segment) {
        let before = self.engine.segments.active();
        self.sealed.push_back(Sealed { next: self.position.next, newest_at_ms: self.position.newest_at_ms });
        self.active = Active::default();
        self.engine.segments.push(segment);
        tracing::debug!(log = %self.engine.log, segments = self.sealed.len() + 1, "began a segment");
        self.metrics.segments(self.sealed.len() + 1);
        // Nothing more comes for the old segment: writing out its memtables now frees memory and journals.
        let quiet = [&self.engine.meta, &self.engine.owner_rows, &self.engine.rows];
        for keyspace in before.iter().flat_map(|segment| [&segment.events, &segment.index]).chain(quiet) {
            if let Err(error) = keyspace.rotate_memtable() {
                tracing::warn!(log = %self.engine.log, %error, "a memtable could not be rotated");
            }
        }
    }

    /// Drops what retention allows: one segment now and then, or all of them `at_once`.
    fn retain(&mut self, at_once: bool) {
        if self.sealed.is_empty() || self.poisoned.lock().is_some() {
            return;
        }
        if !at_once && self.dropped_at.is_some_and(|at| at.elapsed() < DROP_PAUSE) {
            return;
        }
        // Asking each segment for its size takes longer than a commit should, so it is asked only when it matters.
        if self.sealed.front().is_some_and(|oldest| oldest.next > self.position.floor) {
            return;
        }
        let segments = self.engine.segments.all();
        let bytes = |segment: &Segment| if self.retention.max_bytes.is_some() { segment.disk_bytes() } else { 0 };
        let candidates: Vec<Candidate> = self
            .sealed
            .iter()
            .zip(segments.iter())
            .map(|(sealed, segment)| Candidate {
                next: sealed.next,
                newest_at_ms: sealed.newest_at_ms,
                bytes: bytes(segment),
            })
            .collect();
        let now = (self.config.clock)();
        let count = droppable(self.retention, &candidates, self.active.bytes, self.position.floor, now);
        drop(segments);
        // A full disk is when it matters most; only the engine's own part of the reserve is not touched for it.
        if count > 0 && self.space.charge(Purpose::Upkeep, DROP_BYTES).is_err() {
            return;
        }
        for _ in 0..if at_once { count } else { count.min(1) } {
            if let Err(error) = self.drop_oldest() {
                return self.poison(format!("dropping a segment failed: {error}"));
            }
        }
        self.dropped_at = (count > 0).then(Instant::now);
    }

    /// The row goes first, and durably: a segment without a row is swept up at the next start, a row without a segment
    /// would be taken for damage.
    fn drop_oldest(&mut self) -> fjall::Result<()> {
        let Some(id) = self.engine.segments.all().first().map(|segment| segment.id) else { return Ok(()) };
        let mut batch = self.engine.db.batch().durability(Some(PersistMode::SyncAll));
        batch.remove(&self.engine.meta, SegmentRow::key(id));
        batch.commit()?;
        let Some(segment) = self.engine.segments.take_oldest() else { return Ok(()) };
        self.sealed.pop_front();
        delete_segment(&self.engine.db, segment)?;
        self.write_mark();
        tracing::info!(log = %self.engine.log, segment = id, first = %self.engine.segments.first(), "dropped a segment");
        self.metrics.dropped(self.sealed.len() + 1);
        Ok(())
    }

    fn close(mut self, reply: Option<Reply<()>>) {
        self.tail.close();
        self.sync_mark();
        if let Err(error) = self.engine.db.persist(PersistMode::SyncAll) {
            tracing::error!(log = %self.engine.log, %error, "the last sync failed");
        }
        // The answer means that everything has been let go of.
        drop(self);
        if let Some(reply) = reply {
            let _ = reply.send(Ok(()));
        }
    }
}

fn adds_records(job: &Job) -> bool {
    match job {
        Job::Claim { .. } => true,
        Job::Append { records, .. } => !records.is_empty(),
        Job::Put { .. } | Job::Trim { .. } => false,
    }
}

struct Gathered {
    jobs: Vec<Job>,
    errand: Option<Errand>,
    places: Vec<OwnedSemaphorePermit>,
}

/// The first piece of work and what else is waiting, up to the first errand. Nothing is waited for: the batch grows with
/// the time a commit takes.
fn gather(first: Queued, queue: &Receiver<Queued>) -> Gathered {
    let mut gathered = Gathered { jobs: Vec::new(), errand: None, places: Vec::new() };
    let (mut bytes, mut next) = (0, Some(first));
    while let Some(Queued { work, place }) = next {
        gathered.places.push(place);
        match work {
            Work::Job(job) => {
                bytes += job.bytes();
                gathered.jobs.push(job);
            }
            Work::Errand(errand) => {
                gathered.errand = Some(errand);
                break;
            }
        }
        let full = gathered.jobs.len() >= JOBS_MAX || bytes >= BYTES_MAX;
        next = if full { None } else { queue.try_recv().ok() };
    }
    gathered
}

/// Where an empty log begins.
pub(crate) const EMPTY: Position =
    Position { epoch: roomhook_log::Epoch(0), next: Lsn::FIRST, floor: Lsn(0), newest_at_ms: 0 };
