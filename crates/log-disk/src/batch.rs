//! Turns waiting jobs into one fjall batch. Decides who may write; writes nothing itself.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use fjall::{Keyspace, OwnedWriteBatch};
use roomhook_log::{AppendError, Claim, Epoch, Key, LogId, Lsn, NewRecord, NodeId, Record, Row};
use tokio::sync::oneshot;

use crate::{
    codec::{chunk_len, chunk_offset, encode_chunk, encode_offsets, event_key, index_key},
    engine::Engine,
    segments::{Segment, SegmentRow},
    space::Purpose,
};

pub(crate) const EPOCH_KEY: &[u8] = b"epoch";
pub(crate) const FLOOR_KEY: &[u8] = b"floor";

pub(crate) type Reply<T> = oneshot::Sender<Result<T, AppendError>>;

/// What the committer is asked to do.
pub(crate) enum Job {
    Claim { who: NodeId, reply: Reply<Claim> },
    Append { epoch: Epoch, next: Lsn, records: Vec<NewRecord>, rows: Vec<Row>, reply: Reply<Lsn> },
    Put { rows: Vec<Row>, reply: Reply<()> },
    Trim { epoch: Epoch, up_to: Lsn, reply: Reply<()> },
}

/// What is done between two batches, when everything before it is committed.
pub(crate) enum Errand {
    /// Drops whatever retention allows, at once.
    Retain {
        reply: Reply<()>,
    },
    Close {
        reply: Reply<()>,
    },
}

impl Job {
    /// About as many bytes as this adds to a batch.
    pub(crate) fn bytes(&self) -> u64 {
        let row = |row: &Row| row.key.len() + row.value.as_ref().map_or(0, Bytes::len) + 64;
        let record = |record: &NewRecord| 2 * record.key.0.len() + record.payload.len() + 64;
        let bytes: usize = match self {
            Self::Append { records, rows, .. } => {
                records.iter().map(record).sum::<usize>() + rows.iter().map(row).sum::<usize>()
            }
            Self::Put { rows, .. } => rows.iter().map(row).sum(),
            Self::Claim { .. } | Self::Trim { .. } => 128,
        };
        bytes as u64
    }

    /// What it is for. The owner's rows without records count as records: that is how owners find out whether records
    /// are taken again.
    pub(crate) fn purpose(&self) -> Purpose {
        match self {
            Self::Append { .. } => Purpose::Records,
            Self::Claim { .. } | Self::Put { .. } | Self::Trim { .. } => Purpose::Upkeep,
        }
    }

    pub(crate) fn fail(self, error: AppendError) {
        // A caller that went away does not want to know.
        match self {
            Self::Claim { reply, .. } => drop(reply.send(Err(error))),
            Self::Append { reply, .. } => drop(reply.send(Err(error))),
            Self::Put { reply, .. } | Self::Trim { reply, .. } => drop(reply.send(Err(error))),
        }
    }
}

/// What fencing and numbering go by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) epoch: Epoch,
    pub(crate) next: Lsn,
    /// Records from here on are needed by the owner.
    pub(crate) floor: Lsn,
    /// The newest time seen in a record: claims, which have no time of their own, take it over.
    pub(crate) newest_at_ms: u64,
}

/// An answer that becomes true with the commit.
enum Answer {
    Claim(Reply<Claim>, Claim),
    Append { reply: Reply<Lsn>, last: Lsn, expected: Lsn },
    Done(Reply<()>),
}

/// A batch in the making, and what is to be told when it is durable.
pub(crate) struct Batch {
    log: LogId,
    pub(crate) position: Position,
    pub(crate) fjall: OwnedWriteBatch,
    pub(crate) records: Vec<Arc<[Record]>>,
    /// Something in it must be on the disk before it is told.
    pub(crate) sync: bool,
    pub(crate) record_bytes: u64,
    answers: Vec<Answer>,
    segment: Segment,
    rows: LastWrites,
}

/// All entries of a fjall batch are of the same moment, so of several writes of one key only the last may enter it.
#[derive(Default)]
struct LastWrites {
    owner: HashMap<Bytes, Option<Bytes>>,
    hooks: HashMap<Bytes, Option<Bytes>>,
}

impl Batch {
    pub(crate) fn new(engine: &Engine, position: Position, segment: Segment, capacity: usize) -> Self {
        Self {
            log: engine.log,
            position,
            fjall: OwnedWriteBatch::with_capacity(engine.db.clone(), capacity),
            records: Vec::new(),
            sync: false,
            record_bytes: 0,
            answers: Vec::new(),
            segment,
            rows: LastWrites::default(),
        }
    }

    /// Begins a segment with this batch: `sealed` is the row of the one before.
    pub(crate) fn begin_segment(&mut self, meta: &Keyspace, sealed: (u32, SegmentRow)) {
        let row = SegmentRow { first: self.segment.first, sealed: None };
        self.fjall.insert(meta, SegmentRow::key(self.segment.id), row.encode());
        self.fjall.insert(meta, SegmentRow::key(sealed.0), sealed.1.encode());
    }

    /// Adds a job, or answers it at once when it may not write.
    pub(crate) fn add(&mut self, job: Job, engine: &Engine) {
        match job {
            Job::Claim { who, reply } => self.claim(who, reply, &engine.meta),
            Job::Append { epoch, next, records, rows, reply } => match self.check_writer(epoch, Some(next)) {
                Ok(()) => self.append(records, rows, reply),
                Err(error) => drop(reply.send(Err(error))),
            },
            Job::Put { rows, reply } => {
                self.rows.hooks.extend(rows.into_iter().map(|Row { key, value }| (key, value)));
                self.answers.push(Answer::Done(reply));
            }
            Job::Trim { epoch, up_to, reply } => match self.check_writer(epoch, None) {
                Ok(()) => self.trim(up_to, reply),
                Err(error) => drop(reply.send(Err(error))),
            },
        }
    }

    /// The one-writer rule.
    fn check_writer(&self, epoch: Epoch, next: Option<Lsn>) -> Result<(), AppendError> {
        if epoch != self.position.epoch {
            return Err(AppendError::Fenced { log: self.log, current: self.position.epoch, ours: epoch });
        }
        match next {
            Some(next) if next != self.position.next => {
                let reason = "an earlier append of this claim was not waited for".to_owned();
                Err(AppendError::Ambiguous { expected: next, reason })
            }
            _ => Ok(()),
        }
    }

    fn claim(&mut self, who: NodeId, reply: Reply<Claim>, meta: &Keyspace) {
        self.position.epoch.0 += 1;
        let row = [self.position.epoch.0.to_le_bytes(), who.0.to_le_bytes()].concat();
        self.fjall.insert(meta, EPOCH_KEY, row);
        let payload = Bytes::copy_from_slice(&who.0.to_be_bytes());
        let record = NewRecord { key: Key(Bytes::new()), at_ms: self.position.newest_at_ms, payload };
        self.add_records(vec![record]);
        self.sync = true;
        let claim = Claim { log: self.log, epoch: self.position.epoch, next: self.position.next };
        self.answers.push(Answer::Claim(reply, claim));
    }

    fn append(&mut self, records: Vec<NewRecord>, rows: Vec<Row>, reply: Reply<Lsn>) {
        let expected = self.position.next;
        self.sync |= !records.is_empty() || !rows.is_empty();
        self.rows.owner.extend(rows.into_iter().map(|Row { key, value }| (key, value)));
        self.add_records(records);
        self.answers.push(Answer::Append { reply, last: Lsn(self.position.next.0 - 1), expected });
    }

    fn trim(&mut self, up_to: Lsn, reply: Reply<()>) {
        // A floor never goes back: what an earlier call gave up may be gone.
        self.position.floor = self.position.floor.max(up_to.min(self.position.next));
        self.answers.push(Answer::Done(reply));
    }

    fn add_records(&mut self, records: Vec<NewRecord>) {
        let mut rest = &records[..];
        let start = self.position.next;
        let mut first = start;
        let mut found: Vec<(&Key, u16)> = Vec::with_capacity(records.len());
        while !rest.is_empty() {
            let (chunk, after) = rest.split_at(chunk_len(rest));
            let stored = encode_chunk(first, self.position.epoch, chunk);
            self.record_bytes += stored.len() as u64;
            self.fjall.insert(&self.segment.events, event_key(first), stored);
            let offset = chunk_offset(start, first);
            found.extend(chunk.iter().map(|record| (&record.key, offset)));
            first = Lsn(first.0 + chunk.len() as u64);
            rest = after;
        }
        // The engine's cost is per entry, so there is one for each key of an append, not of a chunk.
        found.sort_unstable();
        found.dedup();
        for of_key in found.chunk_by(|a, b| a.0 == b.0) {
            let Some((key, _)) = of_key.first() else { continue };
            let offsets = encode_offsets(of_key.iter().map(|(_, offset)| *offset));
            self.fjall.insert(&self.segment.index, index_key(key, start), offsets);
        }
        if records.is_empty() {
            return;
        }
        let epoch = self.position.epoch;
        self.position.next = first;
        self.position.newest_at_ms =
            records.iter().map(|record| record.at_ms).fold(self.position.newest_at_ms, u64::max);
        // The one allocation that readers share.
        let durable = (start.0..).zip(records).map(|(lsn, NewRecord { key, at_ms, payload })| Record {
            lsn: Lsn(lsn),
            epoch,
            key,
            at_ms,
            payload,
        });
        self.records.push(durable.collect());
    }

    /// Puts the rows in; call once, before the commit.
    pub(crate) fn finish(&mut self, engine: &Engine, before: Position) {
        let rows = std::mem::take(&mut self.rows);
        for (keyspace, rows) in [(&engine.owner_rows, rows.owner), (&engine.rows, rows.hooks)] {
            for (key, value) in rows {
                match value {
                    Some(value) => self.fjall.insert(keyspace, key, value),
                    None => self.fjall.remove(keyspace, key),
                }
            }
        }
        if self.position.floor != before.floor {
            self.fjall.insert(&engine.meta, FLOOR_KEY, self.position.floor.0.to_le_bytes());
        }
    }

    /// The batch is durable: tell.
    pub(crate) fn answer(answers: Answers) {
        for answer in answers.0 {
            match answer {
                Answer::Claim(reply, claim) => drop(reply.send(Ok(claim))),
                Answer::Append { reply, last, .. } => drop(reply.send(Ok(last))),
                Answer::Done(reply) => drop(reply.send(Ok(()))),
            }
        }
    }

    /// The commit failed: the batch may be in the journal all the same.
    pub(crate) fn answer_failed(answers: Answers, log: LogId, reason: &str) {
        let poisoned = || AppendError::Poisoned { log, reason: reason.to_owned() };
        for answer in answers.0 {
            match answer {
                Answer::Append { reply, expected, .. } => {
                    drop(reply.send(Err(AppendError::Ambiguous { expected, reason: reason.to_owned() })));
                }
                Answer::Claim(reply, _) => drop(reply.send(Err(poisoned()))),
                Answer::Done(reply) => drop(reply.send(Err(poisoned()))),
            }
        }
    }

    pub(crate) fn take_answers(&mut self) -> Answers {
        Answers(std::mem::take(&mut self.answers))
    }
}

/// What callers wait for.
pub(crate) struct Answers(Vec<Answer>);
