//! Turns waiting jobs into entries. Decides who may write and which numbers they get; writes nothing. Pure.

use std::collections::{BTreeMap, HashMap};

use roomhook_log::{
    AppendError, Claim, Epoch, Expect, LogId, Lsn, NewRecord, NodeId, Row,
    entry::{Kind, Position},
    limits::{APPEND_BYTES_MAX, bytes_of},
};

use crate::job::{Answer, Job, Reply, What};

/// Where every log stands.
pub(crate) type Positions = BTreeMap<LogId, Position>;

/// From where on the owner of each log needs its records, beside the rows that it has written.
pub(crate) type Floors = BTreeMap<LogId, Lsn>;

/// One entry to be, of everything that came for one log until something had to come after it.
#[derive(Debug)]
pub(crate) struct Planned {
    pub(crate) kind: Kind,
    pub(crate) log: LogId,
    /// The position it continues, but with its own epoch.
    pub(crate) after: Position,
    pub(crate) records: Vec<NewRecord>,
    pub(crate) owner_rows: Vec<Row>,
    pub(crate) hook_rows: Vec<Row>,
    /// What of it goes into the entry, as appends are measured.
    bytes: usize,
}

/// What to write, and what to say then.
#[derive(Default)]
pub(crate) struct Plan {
    pub(crate) entries: Vec<Planned>,
    pub(crate) answers: Vec<Answer>,
    /// What owners gave up in this batch.
    pub(crate) floors: Floors,
    /// Index of the entry of each log that can still take something.
    open: HashMap<LogId, usize>,
}

impl Plan {
    /// Jobs that may not write are answered at once.
    pub(crate) fn of(jobs: Vec<Job>, positions: &Positions) -> Self {
        let mut plan = Self::default();
        for Job { log, what } in jobs {
            match what {
                What::Claim { who, expect, reply } => match plan.check_claim(log, expect, positions) {
                    Ok(()) => plan.claim(log, who, reply, positions),
                    Err(error) => drop(reply.send(Err(error))),
                },
                What::Append { epoch, next, records, rows, reply } => {
                    match plan.check_writer(log, epoch, Some(next), positions) {
                        Ok(()) => plan.append(log, records, rows, reply, positions),
                        Err(error) => drop(reply.send(Err(error))),
                    }
                }
                What::Put { epoch, rows, reply } => match plan.check_writer(log, epoch, None, positions) {
                    Ok(()) => plan.put(log, rows, reply, positions),
                    Err(error) => drop(reply.send(Err(error))),
                },
                What::Trim { epoch, up_to, reply } => match plan.check_writer(log, epoch, None, positions) {
                    Ok(()) => plan.trim(log, up_to, reply, positions),
                    Err(error) => drop(reply.send(Err(error))),
                },
            }
        }
        plan
    }

    /// Where a log will stand; its checksum is not known yet.
    fn position(&self, log: LogId, positions: &Positions) -> Position {
        match self.open.get(&log).and_then(|index| self.entries.get(*index)) {
            Some(entry) => {
                let next = Lsn(entry.after.next.0 + entry.records.len() as u64);
                let newest_at_ms =
                    entry.records.iter().map(|record| record.at_ms).fold(entry.after.newest_at_ms, u64::max);
                Position { next, newest_at_ms, ..entry.after }
            }
            None => positions.get(&log).copied().unwrap_or(Position::EMPTY),
        }
    }

    /// Whether nobody came in between, as far as whoever claims minds.
    fn check_claim(&self, log: LogId, expect: Expect, positions: &Positions) -> Result<(), AppendError> {
        match expect {
            Expect::Anyone => Ok(()),
            Expect::Epoch(epoch) => self.check_writer(log, epoch, None, positions),
        }
    }

    /// The one-writer rule.
    fn check_writer(
        &self,
        log: LogId,
        epoch: Epoch,
        next: Option<Lsn>,
        positions: &Positions,
    ) -> Result<(), AppendError> {
        let position = self.position(log, positions);
        if epoch != position.epoch {
            return Err(AppendError::Fenced { log, current: position.epoch, ours: epoch });
        }
        match next {
            Some(next) if next != position.next => {
                let reason = "an earlier append of this claim was not waited for".to_owned();
                Err(AppendError::Ambiguous { expected: next, reason })
            }
            _ => Ok(()),
        }
    }

    /// The entry that takes what comes for this log now. One that has as much as a single append may have gets nothing more, so
    /// that every entry is one that a stream of messages would take.
    fn entry(&mut self, log: LogId, bytes: usize, positions: &Positions) -> &mut Planned {
        let after = self.position(log, positions);
        if self.open.get(&log).and_then(|index| self.entries.get(*index)).is_some_and(|entry| entry.is_full(bytes)) {
            self.open.remove(&log);
        }
        let index = *self.open.entry(log).or_insert_with(|| {
            self.entries.push(planned(Kind::Append, log, after));
            self.entries.len() - 1
        });
        let entry = &mut self.entries[index];
        entry.bytes += bytes;
        entry
    }

    fn claim(&mut self, log: LogId, who: NodeId, reply: Reply<Claim>, positions: &Positions) {
        let before = self.position(log, positions);
        let after = Position { epoch: before.epoch.next(), ..before };
        let record = NewRecord::claim(who, before.newest_at_ms);
        self.open.insert(log, self.entries.len());
        self.entries.push(Planned { records: vec![record], ..planned(Kind::Claim, log, after) });
        let claim = Claim { log, epoch: after.epoch, next: after.next.next() };
        self.answers.push(Answer::Claim(reply, claim));
    }

    fn append(
        &mut self,
        log: LogId,
        records: Vec<NewRecord>,
        rows: Vec<Row>,
        reply: Reply<Lsn>,
        positions: &Positions,
    ) {
        let expected = self.position(log, positions).next;
        let last = Lsn(expected.0 + records.len() as u64 - 1);
        let entry = self.entry(log, bytes_of(&records, &[]), positions);
        entry.records.extend(records);
        entry.owner_rows.extend(rows);
        self.answers.push(Answer::Append { reply, last, expected });
    }

    fn put(&mut self, log: LogId, rows: Vec<Row>, reply: Reply<()>, positions: &Positions) {
        self.entry(log, bytes_of(&[], &rows), positions).hook_rows.extend(rows);
        self.answers.push(Answer::Done(log, reply));
    }

    fn trim(&mut self, log: LogId, up_to: Lsn, reply: Reply<()>, positions: &Positions) {
        let next = self.position(log, positions).next;
        // A floor never goes back: what an earlier call gave up may be gone.
        let floor = self.floors.entry(log).or_default();
        *floor = up_to.min(next).max(*floor);
        self.answers.push(Answer::Done(log, reply));
    }
}

fn planned(kind: Kind, log: LogId, after: Position) -> Planned {
    Planned { kind, log, after, records: Vec::new(), owner_rows: Vec::new(), hook_rows: Vec::new(), bytes: 0 }
}

impl Planned {
    fn is_full(&self, more: usize) -> bool {
        self.bytes + more > APPEND_BYTES_MAX
    }
}

#[cfg(test)]
mod tests {
    use bytes::{Bytes, BytesMut};
    use roomhook_log::{
        entry::Draft,
        limits::{APPEND_RECORDS_MAX, ENTRY_BYTES_MAX, ROW_FRAME_BYTES},
    };
    use tokio::sync::oneshot;

    use super::*;

    fn put(bytes: usize) -> Job {
        let value = Some(Bytes::from(vec![7; bytes / 2 - 1 - ROW_FRAME_BYTES]));
        let row = |key| Row { key: Bytes::from_static(key), value: value.clone() };
        let rows = vec![row(b"a"), row(b"b")];
        Job { log: LogId(0), what: What::Put { epoch: Epoch(1), rows, reply: oneshot::channel().0 } }
    }

    fn append(next: u64, records: usize, bytes: usize) -> Job {
        let payload = Bytes::from(vec![7; bytes / records - 1]);
        let record = NewRecord { key: roomhook_log::Key(Bytes::from_static(b"k")), at_ms: 1, payload };
        let (records, reply) = (vec![record; records], oneshot::channel().0);
        Job { log: LogId(0), what: What::Append { epoch: Epoch(1), next: Lsn(next), records, rows: Vec::new(), reply } }
    }

    /// Puts of many endpoints ride along with an append; together they would be more than a stream takes.
    #[test]
    fn no_entry_is_larger_than_a_message_and_each_continues_the_one_before() {
        let mut position = Position { epoch: Epoch(1), next: Lsn(2), ..Position::EMPTY };
        let positions = Positions::from([(LogId(0), position)]);
        let many = APPEND_RECORDS_MAX;
        let jobs = vec![
            put(100),
            append(2, many, APPEND_BYTES_MAX),
            put(APPEND_BYTES_MAX),
            put(100),
            append(2 + many as u64, 1, 1 << 20),
            put(5 << 20),
        ];
        let plan = Plan::of(jobs, &positions);
        assert_eq!((plan.entries.len(), plan.answers.len()), (5, 6));
        for entry in &plan.entries {
            let after = Position { crc: position.crc, ..entry.after };
            let Planned { kind, log, records, hook_rows: rows, .. } = entry;
            let mut out = BytesMut::new();
            let (head, _) = Draft { kind: *kind, log: *log, store: 1, after, records, rows }.encode(&mut out);
            assert!(out.len() <= ENTRY_BYTES_MAX, "{} bytes", out.len());
            assert_eq!(head.continues(&position), Ok(()));
            position = head.position();
        }
        assert_eq!(position.next, Lsn(3 + many as u64));
    }
}
