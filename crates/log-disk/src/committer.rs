//! The thread that writes the journal. All decisions about the end of the logs are made here, one frame after the other.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, RecvError},
    },
    time::{Duration, Instant},
};

use bytes::BytesMut;
use parking_lot::Mutex;
use roomhook_log::{
    AppendError, Epoch, LogId, NewRecord, Record, Tail,
    entry::{Draft, Head, Position},
};
use roomhook_mirror::{EntryIndex, Stand};
use tokio::sync::OwnedSemaphorePermit;

use crate::{
    config::{DiskConfig, Durability},
    job::{Answer, Errand, Job, Reply},
    journal::{Flags, FrameDraft, Writer},
    keeper::Keeper,
    place::Standing,
    plan::{Floors, Plan, Planned, Positions},
    space::{Purpose, Space},
    telemetry::LogMetrics,
};

/// What one frame may take up beside the first job.
const JOBS_MAX: usize = 256;
const BYTES_MAX: u64 = 4 << 20;
/// How long rows of webhooks wait for records that they can ride along with, before they cost a sync of their own.
const PATIENCE: Duration = Duration::from_millis(5);
/// A segment spans at least this much time before it is ended for its age.
const AGED_MS_MIN: u64 = 3_600_000;

/// Work and its place in the bounded queue of its log.
pub(crate) struct Queued {
    pub(crate) work: Work,
    pub(crate) place: OwnedSemaphorePermit,
}

pub(crate) enum Work {
    Job(Job),
    Errand(Errand),
}

/// The epoch of a log, as far as it is durable.
#[derive(Clone, Debug)]
pub(crate) struct DurableEpoch(Arc<AtomicU64>);

impl DurableEpoch {
    pub(crate) fn new(epoch: Epoch) -> Self {
        Self(Arc::new(AtomicU64::new(epoch.0)))
    }

    pub(crate) fn get(&self) -> Epoch {
        Epoch(self.0.load(Ordering::Acquire))
    }

    fn set(&self, epoch: Epoch) {
        self.0.store(epoch.0, Ordering::Release);
    }
}

/// What the committer shares about one log with those who read it.
pub(crate) struct Shown {
    pub(crate) tail: Arc<Tail>,
    pub(crate) epoch: DurableEpoch,
    pub(crate) metrics: LogMetrics,
}

pub(crate) struct Committer {
    pub(crate) config: Arc<DiskConfig>,
    pub(crate) writer: Writer,
    pub(crate) positions: Positions,
    pub(crate) floors: Floors,
    pub(crate) logs: BTreeMap<LogId, Shown>,
    /// Why the store takes no more, once it does not.
    pub(crate) poisoned: Arc<Mutex<Option<String>>>,
    pub(crate) space: Arc<Space>,
    /// Mirror, dumps and retention: all that happens behind the receipts.
    pub(crate) keeper: Keeper,
    pub(crate) store: u64,
    pub(crate) buffer: BytesMut,
    /// Time of the oldest record of the present segment.
    pub(crate) oldest_at_ms: Option<u64>,
}

/// An entry that has its place in a frame.
struct Placed {
    /// `None` when it has only rows of the owner, which do not go into the journal.
    head: Option<Head>,
    index: EntryIndex,
}

impl Committer {
    /// Works until it is told to close or all senders are gone.
    pub(crate) fn run(mut self, queue: &Receiver<Queued>) {
        loop {
            match queue.recv() {
                Ok(first) => {
                    let Gathered { jobs, errand, places } = gather(first, queue);
                    if !jobs.is_empty() {
                        self.commit(jobs);
                    }
                    drop(places);
                    match errand {
                        Some(Errand::Close { reply }) => return self.close(Some(reply)),
                        Some(Errand::Retain { reply }) => self.retain(reply),
                        None => {}
                    }
                }
                Err(RecvError) => return self.close(None),
            }
        }
    }

    fn commit(&mut self, jobs: Vec<Job>) {
        let jobs = self.admitted(jobs);
        if jobs.is_empty() {
            return;
        }
        let started = Instant::now();
        let Plan { entries, answers, floors, .. } = Plan::of(jobs, &self.positions);
        let mut frame = FrameDraft::new(std::mem::take(&mut self.buffer));
        let mut written = HashMap::with_capacity(entries.len());
        let mut placed: Vec<Placed> =
            entries.into_iter().map(|entry| self.place(entry, &mut written, &mut frame)).collect();
        if !frame.is_empty() {
            if let Err(reason) = self.make_room(frame.len()) {
                answers.into_iter().for_each(|answer| answer.tell_full(&reason));
                return;
            }
            if let Err(error) = self.write(frame, &mut placed) {
                let reason = format!("writing the journal failed: {error}");
                self.poison(reason.clone());
                answers.into_iter().for_each(|answer| answer.tell_failed(&reason));
                return;
            }
        }
        for (log, floor) in floors {
            let known = self.floors.entry(log).or_default();
            *known = floor.max(*known);
        }
        self.release(placed, answers, started);
    }

    /// Encodes an entry into the frame, unless there is nothing in it for the journal.
    fn place(&self, planned: Planned, written: &mut HashMap<LogId, u32>, frame: &mut FrameDraft) -> Placed {
        let Planned { kind, log, mut after, records, owner_rows, hook_rows, .. } = planned;
        let position = self.position(log);
        // Its checksum was not known while it was planned: an entry before it may be in the same frame.
        after.crc = written.get(&log).copied().unwrap_or(position.crc);
        let mut index = EntryIndex {
            log,
            first: after.next,
            segment: 0,
            offset: 0,
            pieces: Vec::new(),
            records: Arc::default(),
            owner_rows,
            hook_rows,
        };
        if records.is_empty() && index.hook_rows.is_empty() {
            return Placed { head: None, index };
        }
        let draft = Draft { kind, log, store: self.store, after, records: &records, rows: &index.hook_rows };
        let (head, offset, pieces) = frame.add(&draft);
        written.insert(log, head.crc);
        index.records = durable(&head, records);
        (index.offset, index.pieces) = (offset, pieces);
        Placed { head: Some(head), index }
    }

    fn stand(&self) -> Stand {
        Standing::of_writer(&self.writer).stand(&self.positions, &self.floors)
    }

    fn position(&self, log: LogId) -> Position {
        self.positions.get(&log).copied().unwrap_or(Position::EMPTY)
    }

    /// Begins a segment if this one is full. Says why when there is no room for one.
    fn make_room(&mut self, len: usize) -> Result<(), String> {
        if self.writer.has_room(len) && !self.is_aged() {
            return Ok(());
        }
        match self.roll() {
            // Going on in the old one is safe; it is only older than wished.
            Err(_) if self.writer.has_room(len) => Ok(()),
            rolled => rolled.map_err(|error| format!("a segment of the journal could not be made: {error}")),
        }
    }

    fn roll(&mut self) -> std::io::Result<()> {
        self.writer.roll(self.flags())?;
        self.oldest_at_ms = None;
        self.keeper.begin_segment(self.writer.segment().number, self.writer.place().position, &self.positions);
        Ok(())
    }

    /// By the records' own times: a segment must not outlive most of what is in it by much.
    fn is_aged(&self) -> bool {
        let newest = self.positions.values().map(|position| position.newest_at_ms).max().unwrap_or_default();
        let spanned = self.oldest_at_ms.map_or(0, |oldest| newest.saturating_sub(oldest));
        let max_age = self.config.retention_max_age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
        max_age.is_some_and(|max_age| spanned > (max_age / 8).max(AGED_MS_MIN))
    }

    fn write(&mut self, frame: FrameDraft, placed: &mut [Placed]) -> std::io::Result<()> {
        let segment = self.writer.segment();
        let (number, at) = (segment.number, segment.offset(self.writer.place().position));
        self.buffer = self.writer.write(frame, self.flags())?;
        for Placed { index, .. } in placed {
            index.segment = number;
            index.offset += u32::try_from(at).unwrap_or(u32::MAX);
        }
        Ok(())
    }

    fn flags(&self) -> Flags {
        Flags { synced: self.config.durability == Durability::Fsync, ..Flags::default() }
    }

    /// The frame is durable: everybody may know.
    fn release(&mut self, placed: Vec<Placed>, answers: Vec<Answer>, started: Instant) {
        let mut entries = Vec::with_capacity(placed.len());
        let mut shown = Vec::with_capacity(placed.len());
        for Placed { head, index } in placed {
            if let Some(head) = head {
                self.positions.insert(index.log, head.position());
            }
            if let Some(record) = index.records.first() {
                self.oldest_at_ms.get_or_insert(record.at_ms);
            }
            let bytes = index.pieces.iter().map(|piece| u64::from(piece.bytes)).sum();
            shown.push((index.log, Arc::clone(&index.records), bytes));
            entries.push(index);
        }
        // Before the tails and the answers: whoever learns of a record there and then reads waits for the mirror to have it.
        self.keeper.apply(entries, self.stand());
        for (log, records, bytes) in shown {
            self.show(log, records, bytes, started);
        }
        answers.into_iter().for_each(Answer::tell);
    }

    fn show(&self, log: LogId, records: Arc<[Record]>, bytes: u64, started: Instant) {
        let Some(Shown { tail, epoch, metrics }) = self.logs.get(&log) else { return };
        epoch.set(self.position(log).epoch);
        let count = records.len() as u64;
        if count > 0 {
            tail.publish(records);
        }
        metrics.committed(count, bytes, started.elapsed(), tail.size());
    }

    // === what stands in the way of a frame ===

    /// The jobs that may be tried; the others are answered.
    fn admitted(&self, jobs: Vec<Job>) -> Vec<Job> {
        if let Some(reason) = self.poisoned.lock().clone() {
            for job in jobs {
                let log = job.log;
                job.fail(AppendError::Poisoned { log, reason: reason.clone() });
            }
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
        tracing::error!(reason, "the store takes nothing more until a restart");
        *self.poisoned.lock() = Some(reason);
    }

    // === errands ===

    fn retain(&mut self, reply: Reply<()>) {
        // What is written to never goes, so a full one that retention could drop must not be it.
        if self.poisoned.lock().is_none()
            && let Err(error) = self.roll()
        {
            tracing::warn!(%error, "the present segment stays the one that is written to");
        }
        self.keeper.retain(reply);
    }

    fn close(mut self, reply: Option<Reply<()>>) {
        self.logs.values().for_each(|shown| shown.tail.close());
        if self.poisoned.lock().is_none() {
            let frame = FrameDraft::new(std::mem::take(&mut self.buffer));
            let written = self.writer.sync().and_then(|()| {
                let closing = Flags { synced: true, closing: true, lost: false };
                if !self.writer.has_room(frame.len()) {
                    return Ok(());
                }
                self.writer.write(frame, closing).map(drop)
            });
            if let Err(error) = written {
                tracing::error!(%error, "the last sync failed");
            }
            self.keeper.apply(Vec::new(), self.stand());
        }
        self.keeper.close();
        // The answer means that everything has been let go of.
        if let Err(error) = self.writer.close() {
            tracing::warn!(%error, "a file that was prepared for the journal is left behind");
        }
        if let Some(reply) = reply {
            let _ = reply.send(Ok(()));
        }
    }
}

/// The one allocation that readers share.
fn durable(head: &Head, records: Vec<NewRecord>) -> Arc<[Record]> {
    let (epoch, first) = (head.epoch, head.first.0);
    let durable = (first..).zip(records).map(|(lsn, NewRecord { key, at_ms, payload })| Record {
        lsn: roomhook_log::Lsn(lsn),
        epoch,
        key,
        at_ms,
        payload,
    });
    durable.collect()
}

struct Gathered {
    jobs: Vec<Job>,
    errand: Option<Errand>,
    places: Vec<OwnedSemaphorePermit>,
}

/// The first piece of work and what else is waiting, up to the first errand. Nothing is waited for, unless all of it is patient:
/// a frame grows with the time that a sync takes.
fn gather(first: Queued, queue: &Receiver<Queued>) -> Gathered {
    let mut gathered = Gathered { jobs: Vec::new(), errand: None, places: Vec::new() };
    let (mut bytes, mut next, mut patient) = (0, Some(first), true);
    let patience_ends = Instant::now() + PATIENCE;
    while let Some(Queued { work, place }) = next {
        gathered.places.push(place);
        match work {
            Work::Job(job) => {
                bytes += job.bytes();
                patient &= job.is_patient();
                gathered.jobs.push(job);
            }
            Work::Errand(errand) => {
                gathered.errand = Some(errand);
                break;
            }
        }
        let full = gathered.jobs.len() >= JOBS_MAX || bytes >= BYTES_MAX;
        next = match (full, patient) {
            (true, _) => None,
            (false, false) => queue.try_recv().ok(),
            (false, true) => queue.recv_timeout(patience_ends.saturating_duration_since(Instant::now())).ok(),
        };
    }
    gathered
}
