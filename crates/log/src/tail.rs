//! The shared end of a log: recent durable batches in memory, and streams that join history to them.
//!
//! ```text
//!  first                 ring                 next
//!    |---- cold reads ----|===|=====|==|======|....   waiting readers are woken by `head`
//! ```
//!
//! A batch is allocated once, when it is published; every reader gets the same `Arc`. Readers older than the ring read
//! from the backend in pieces until they catch up with it.

use std::{collections::VecDeque, sync::Arc};

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::{
    api::RecordStream,
    error::ReadError,
    limits::{BATCH_BYTES_MAX, BATCH_RECORDS_MAX},
    types::{LogId, Lsn, Record},
};

/// How much of a log's end is kept in memory. The oldest batches leave when either limit is passed; the newest always
/// stays.
#[derive(Clone, Copy, Debug)]
pub struct TailLimits {
    pub bytes_max: usize,
    pub records_max: usize,
}

impl Default for TailLimits {
    fn default() -> Self {
        Self { bytes_max: 8 << 20, records_max: 32_768 }
    }
}

/// What the ring holds now: for gauges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TailSize {
    pub bytes: usize,
    pub records: usize,
}

/// Reads what is no longer in memory.
#[async_trait]
pub trait ColdRead: Send + Sync + 'static {
    /// Records from exactly `from` on, without a hole, all below `below`: at least one, at most about
    /// [`BATCH_BYTES_MAX`] and [`BATCH_RECORDS_MAX`].
    ///
    /// # Errors
    /// [`ReadError::Trimmed`] when `from` was dropped. Must be cancel safe.
    async fn read_cold(&self, log: LogId, from: Lsn, below: Lsn) -> Result<Arc<[Record]>, ReadError>;
}

/// The end of one log. The backend publishes, streams read.
#[derive(Debug)]
pub struct Tail {
    log: LogId,
    limits: TailLimits,
    ring: Mutex<Ring>,
    head: Mutex<Head>,
    /// Told when the head moves. First come, first woken: a simulated run is the same every time.
    moved: Notify,
}

#[derive(Clone, Copy, Debug)]
struct Head {
    next: Lsn,
    closed: bool,
}

#[derive(Debug, Default)]
struct Ring {
    batches: VecDeque<Batch>,
    size: TailSize,
}

#[derive(Debug)]
struct Batch {
    first: Lsn,
    bytes: usize,
    records: Arc<[Record]>,
}

enum Lookup {
    Found(Arc<[Record]>),
    /// Older than the ring, which starts at (or the log ends before) this position.
    Older(Lsn),
    AtHead,
}

impl Tail {
    /// An empty ring at the end of a log that already holds everything below `next`.
    #[must_use]
    pub fn new(log: LogId, next: Lsn, limits: TailLimits) -> Self {
        let head = Mutex::new(Head { next, closed: false });
        Self { log, limits, ring: Mutex::default(), head, moved: Notify::new() }
    }

    /// Next free position: everything below is durable and readable.
    #[must_use]
    pub fn next(&self) -> Lsn {
        self.head.lock().next
    }

    #[must_use]
    pub fn size(&self) -> TailSize {
        self.ring.lock().size
    }

    /// Makes durable records visible. They must start at [`Tail::next`].
    ///
    /// # Panics
    /// When they do not: a reader would see a hole.
    pub fn publish(&self, records: Arc<[Record]>) {
        let (Some(first), Some(last)) = (records.first(), records.last()) else { return };
        let next = last.lsn.next();
        assert_eq!(first.lsn, self.next(), "log {}: published records must continue the tail", self.log);
        self.ring.lock().push(records, self.limits);
        self.head.lock().next = next;
        self.moved.notify_waiters();
    }

    /// Waits until everything before `to` is readable. Cancel safe.
    ///
    /// # Errors
    /// [`ReadError::Closed`] when the tail ends before it.
    pub async fn reached(&self, to: Lsn) -> Result<(), ReadError> {
        loop {
            // Made before looking, so that it hears of everything that comes after the look.
            let moved = self.moved.notified();
            let Head { next, closed } = *self.head.lock();
            match (next >= to, closed) {
                (true, _) => return Ok(()),
                (false, true) => return Err(ReadError::Closed),
                (false, false) => moved.await,
            }
        }
    }

    /// Ends all streams once they have read everything.
    pub fn close(&self) {
        self.head.lock().closed = true;
        self.moved.notify_waiters();
    }

    fn lookup(&self, from: Lsn, next: Lsn) -> Lookup {
        if from >= next {
            return Lookup::AtHead;
        }
        self.ring.lock().lookup(from).unwrap_or(Lookup::Older(next))
    }
}

impl Ring {
    fn push(&mut self, records: Arc<[Record]>, limits: TailLimits) {
        // Readers are promised batches of limited size, an append may be larger. Only then are records copied.
        let bytes = records.iter().map(record_bytes).sum();
        if bytes <= BATCH_BYTES_MAX && records.len() <= BATCH_RECORDS_MAX {
            self.push_one(bytes, records);
        } else {
            let mut rest: &[Record] = &records;
            while !rest.is_empty() {
                let (piece, after) = rest.split_at(prefix_within_limits(rest));
                self.push_one(piece.iter().map(record_bytes).sum(), piece.into());
                rest = after;
            }
        }
        while self.batches.len() > 1
            && (self.size.bytes > limits.bytes_max || self.size.records > limits.records_max)
            && let Some(oldest) = self.batches.pop_front()
        {
            self.size.bytes -= oldest.bytes;
            self.size.records -= oldest.records.len();
        }
    }

    fn push_one(&mut self, bytes: usize, records: Arc<[Record]>) {
        let Some(first) = records.first().map(|r| r.lsn) else { return };
        self.size.bytes += bytes;
        self.size.records += records.len();
        self.batches.push_back(Batch { first, bytes, records });
    }

    /// `None` when the ring is empty.
    fn lookup(&self, from: Lsn) -> Option<Lookup> {
        let oldest = self.batches.front()?;
        if from < oldest.first {
            return Some(Lookup::Older(oldest.first));
        }
        let batch = self.batches.get(self.batches.partition_point(|batch| batch.first <= from).checked_sub(1)?)?;
        if batch.first == from {
            return Some(Lookup::Found(Arc::clone(&batch.records)));
        }
        // A reader that starts in the middle of a batch: this copy happens once per stream.
        let rest = batch.records.iter().skip_while(|record| record.lsn < from).cloned().collect();
        Some(Lookup::Found(rest))
    }
}

/// Number of leading records that fit into one batch; at least one.
#[must_use]
pub fn prefix_within_limits(records: &[Record]) -> usize {
    let mut bytes = 0;
    records
        .iter()
        .take(BATCH_RECORDS_MAX)
        .take_while(|record| {
            bytes += record_bytes(record);
            bytes <= BATCH_BYTES_MAX
        })
        .count()
        .max(1)
        .min(records.len())
}

fn record_bytes(record: &Record) -> usize {
    record.key.0.len() + record.payload.len() + size_of::<Record>()
}

/// A place in a log: the [`RecordStream`] of every backend.
pub struct TailStream<C> {
    tail: Arc<Tail>,
    cold: Arc<C>,
    next: Lsn,
}

impl<C> std::fmt::Debug for TailStream<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TailStream").field("log", &self.tail.log).field("next", &self.next).finish_non_exhaustive()
    }
}

impl<C: ColdRead> TailStream<C> {
    /// Reads from `from` on. A position beyond the end waits until the log has grown to it.
    #[must_use]
    pub fn new(tail: Arc<Tail>, cold: Arc<C>, from: Lsn) -> Self {
        Self { tail, cold, next: from }
    }
}

#[async_trait]
impl<C: ColdRead> RecordStream for TailStream<C> {
    async fn next_batch(&mut self) -> Result<Arc<[Record]>, ReadError> {
        loop {
            // Made before looking, so that it hears of everything that comes after the look.
            let moved = self.tail.moved.notified();
            // The head is looked at before the ring, so that a batch published in between is found by the next look
            // and never taken for "older than the ring".
            let Head { next, closed } = *self.tail.head.lock();
            let records = match self.tail.lookup(self.next, next) {
                Lookup::Found(records) => records,
                Lookup::Older(below) => self.cold.read_cold(self.tail.log, self.next, below).await?,
                Lookup::AtHead if closed => return Err(ReadError::Closed),
                Lookup::AtHead => {
                    // Cancel safe: nothing of this stream has changed yet.
                    moved.await;
                    continue;
                }
            };
            // Nobody starts a reader again that panics: it is told, and stays where it is.
            return match (records.first(), records.last()) {
                (Some(first), Some(last)) if first.lsn == self.next => {
                    self.next = last.lsn.next();
                    Ok(records)
                }
                (first, _) => Err(ReadError::Corrupt {
                    log: self.tail.log,
                    at: self.next,
                    reason: match first {
                        Some(first) => format!("a batch starts at {} instead", first.lsn),
                        None => "a batch without records".to_owned(),
                    },
                }),
            };
        }
    }
}
