//! Turns waiting jobs into entries. Decides who may write and which numbers they get; writes nothing. Pure.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use roomhook_log::{
    AppendError, Claim, Epoch, Key, LogId, Lsn, NewRecord, NodeId, Row,
    entry::{Kind, Position},
};

use crate::job::{Answer, Job, Reply, What};

/// Where every log stands.
pub(crate) type Positions = BTreeMap<LogId, Position>;

/// One entry to be, of everything that came for one log until something had to come after it.
#[derive(Debug)]
pub(crate) struct Planned {
    pub(crate) kind: Kind,
    pub(crate) log: LogId,
    /// The position it continues, but with its own epoch and floor.
    pub(crate) after: Position,
    pub(crate) records: Vec<NewRecord>,
    pub(crate) owner_rows: Vec<Row>,
    pub(crate) hook_rows: Vec<Row>,
}

/// What to write, and what to say then.
#[derive(Default)]
pub(crate) struct Plan {
    pub(crate) entries: Vec<Planned>,
    pub(crate) answers: Vec<Answer>,
    /// Index of the entry of each log that can still take something.
    open: HashMap<LogId, usize>,
}

impl Plan {
    /// Jobs that may not write are answered at once.
    pub(crate) fn of(jobs: Vec<Job>, positions: &Positions) -> Self {
        let mut plan = Self::default();
        for Job { log, what } in jobs {
            match what {
                What::Claim { who, reply } => plan.claim(log, who, reply, positions),
                What::Append { epoch, next, records, rows, reply } => {
                    match plan.check_writer(log, epoch, Some(next), positions) {
                        Ok(()) => plan.append(log, records, rows, reply, positions),
                        Err(error) => drop(reply.send(Err(error))),
                    }
                }
                What::Put { rows, reply } => {
                    plan.entry(log, positions).hook_rows.extend(rows);
                    plan.answers.push(Answer::Done(log, reply));
                }
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

    /// The entry that takes what comes for this log now.
    fn entry(&mut self, log: LogId, positions: &Positions) -> &mut Planned {
        let after = self.position(log, positions);
        let index = *self.open.entry(log).or_insert_with(|| {
            self.entries.push(planned(Kind::Append, log, after));
            self.entries.len() - 1
        });
        &mut self.entries[index]
    }

    fn claim(&mut self, log: LogId, who: NodeId, reply: Reply<Claim>, positions: &Positions) {
        let before = self.position(log, positions);
        let after = Position { epoch: before.epoch.next(), ..before };
        let payload = Bytes::copy_from_slice(&who.0.to_be_bytes());
        let record = NewRecord { key: Key(Bytes::new()), at_ms: before.newest_at_ms, payload };
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
        let entry = self.entry(log, positions);
        entry.records.extend(records);
        entry.owner_rows.extend(rows);
        self.answers.push(Answer::Append { reply, last, expected });
    }

    fn trim(&mut self, log: LogId, up_to: Lsn, reply: Reply<()>, positions: &Positions) {
        let next = self.position(log, positions).next;
        let entry = self.entry(log, positions);
        // A floor never goes back: what an earlier call gave up may be gone.
        entry.after.floor = entry.after.floor.max(up_to.min(next));
        self.answers.push(Answer::Done(log, reply));
    }
}

fn planned(kind: Kind, log: LogId, after: Position) -> Planned {
    Planned { kind, log, after, records: Vec::new(), owner_rows: Vec::new(), hook_rows: Vec::new() }
}
