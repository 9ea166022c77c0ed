//! A whole log in memory, with faults on demand.
//!
//! It uses no threads, no clock and no randomness, so a simulator or a test on a paused runtime that drives it sees
//! the same run every time.

mod fault;
mod state;

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;

use self::{fault::Gate, state::State};
use crate::{
    api::{Claim, LogAppend, LogRead, RecordStream, Rows},
    error::{AppendError, ReadError},
    limits::{check_append, check_put},
    tail::{ColdRead, Tail, TailLimits, TailStream},
    types::{Bounds, Epoch, Expect, Key, LogId, Lsn, NewRecord, NodeId, Record, Row},
};

pub use self::fault::{Fault, Hold};

/// A complete backend in memory. Clones share one store, as handles of one process do.
#[derive(Clone, Debug)]
pub struct MemoryLog {
    logs: Arc<BTreeMap<LogId, Arc<OneLog>>>,
    limits: TailLimits,
}

#[derive(Debug)]
struct OneLog {
    log: LogId,
    state: Mutex<State>,
    tail: Arc<Tail>,
    gate: Gate,
}

impl MemoryLog {
    /// An empty store with logs `0..shards` and the directory's.
    #[must_use]
    pub fn new(shards: u16) -> Self {
        Self::with_tail(shards, TailLimits::default())
    }

    /// As [`MemoryLog::new`], with a tail of this size: a small one makes readers fall back to history.
    #[must_use]
    pub fn with_tail(shards: u16, limits: TailLimits) -> Self {
        let ids = (0..shards).map(LogId).chain([LogId::DIRECTORY]);
        Self::assemble(ids.map(|log| (log, State::default())), limits)
    }

    fn assemble(states: impl Iterator<Item = (LogId, State)>, limits: TailLimits) -> Self {
        let open = |(log, state): (LogId, State)| {
            let tail = Arc::new(Tail::new(log, state.bounds().next, limits));
            (log, Arc::new(OneLog { log, state: Mutex::new(state), tail, gate: Gate::default() }))
        };
        Self { logs: Arc::new(states.map(open).collect()), limits }
    }

    // === faults and disasters ===

    /// The next append of this log (not a claim) fails like this. Several queue up.
    pub fn fail_next_append(&self, log: LogId, fault: Fault) {
        if let Some(one) = self.logs.get(&log) {
            one.gate.push(fault);
        }
    }

    /// Appends of this log wait, before anything is written, until the returned hold is dropped.
    ///
    /// # Panics
    /// When there is no such log.
    pub fn hold_appends(&self, log: LogId) -> Hold {
        self.logs.get(&log).map(|one| one.gate.hold()).unwrap_or_else(|| panic!("there is no log {log}"))
    }

    /// Retention at its fastest: drops everything below `up_to` that exists, whoever still needs it.
    pub fn trim_history(&self, log: LogId, up_to: Lsn) {
        if let Some(one) = self.logs.get(&log) {
            one.state.lock().trim(up_to);
        }
    }

    /// The process dies and starts again: handles and streams of this one are closed, everything written is kept.
    #[must_use]
    pub fn restart(&self) -> Self {
        self.next_life(State::after_restart)
    }

    /// As [`MemoryLog::restart`], but the process had not time for everything: the owner's rows of the last `appends` (of those
    /// that had any, at most a few) are as they were before.
    #[must_use]
    pub fn crash(&self, appends: usize) -> Self {
        self.next_life(|state| state.after_restart().with_older_rows(state, appends))
    }

    /// The power fails: as [`MemoryLog::restart`], and rows that were put since the last append of their log are gone.
    #[must_use]
    pub fn power_loss(&self) -> Self {
        self.next_life(State::after_power_loss)
    }

    /// The machine stops before the disk had everything: as [`MemoryLog::restart`], and of `log` the records from `end` on are gone,
    /// although they were acknowledged. Every log goes on in an epoch after the loss.
    #[must_use]
    pub fn lose_end(&self, log: LogId, end: Lsn) -> Self {
        let end_of = |this: LogId| if this == log { end } else { Lsn(u64::MAX) };
        let kept: Vec<_> =
            self.logs.iter().map(|(log, one)| (*log, one.close(|s| s.after_loss(end_of(*log))))).collect();
        Self::assemble(kept.into_iter(), self.limits)
    }

    fn next_life(&self, keep: impl Fn(&State) -> State) -> Self {
        let kept: Vec<_> = self.logs.iter().map(|(log, one)| (*log, one.close(&keep))).collect();
        Self::assemble(kept.into_iter(), self.limits)
    }

    fn log(&self, log: LogId) -> Result<&Arc<OneLog>, ReadError> {
        self.logs.get(&log).ok_or(ReadError::NoSuchLog(log))
    }

    fn log_to_write(&self, log: LogId) -> Result<&Arc<OneLog>, AppendError> {
        self.logs.get(&log).ok_or_else(|| AppendError::Refused(format!("there is no log {log}")))
    }
}

impl OneLog {
    fn close(&self, keep: impl Fn(&State) -> State) -> State {
        let mut state = self.state.lock();
        let kept = keep(&state);
        state.closed = true;
        self.tail.close();
        kept
    }

    /// Publishing happens under the lock: the order of the log is the order readers see.
    fn write(&self, claim: &mut Claim, records: Vec<NewRecord>, rows: Vec<Row>) -> Result<Lsn, AppendError> {
        let mut state = self.state.lock();
        state.check_writer(claim)?;
        let Some(fault) = self.gate.pop() else {
            self.tail.publish(state.append(claim.epoch, records));
            state.put_synced(rows);
            claim.next = state.bounds().next;
            return Ok(Lsn(claim.next.0 - 1));
        };
        Err(self.fail(&mut state, claim, fault, records, rows))
    }

    fn fail(
        &self,
        state: &mut State,
        claim: &Claim,
        fault: Fault,
        mut records: Vec<NewRecord>,
        rows: Vec<Row>,
    ) -> AppendError {
        let log = self.log;
        match fault {
            Fault::Full => AppendError::Full("injected: disk full".to_owned()),
            Fault::Refused => AppendError::Refused("injected".to_owned()),
            Fault::Closed => AppendError::Closed,
            Fault::Poisoned => {
                let reason = "injected: sync failed".to_owned();
                state.poisoned = Some(reason.clone());
                AppendError::Poisoned { log, reason }
            }
            Fault::Fenced => {
                self.tail.publish(state.claim(NodeId(u64::MAX)));
                AppendError::Fenced { log, current: state.epoch, ours: claim.epoch }
            }
            Fault::Ambiguous { durable } => {
                let whole = durable >= records.len();
                records.truncate(durable);
                self.tail.publish(state.append(claim.epoch, records));
                if whole {
                    state.put_synced(rows);
                }
                state.ambiguous = true;
                AppendError::Ambiguous { expected: claim.next, reason: "injected".to_owned() }
            }
        }
    }
}

#[async_trait]
impl ColdRead for OneLog {
    async fn read_cold(&self, _log: LogId, from: Lsn, below: Lsn) -> Result<Arc<[Record]>, ReadError> {
        self.state.lock().read(self.log, from, below)
    }
}

#[async_trait]
impl LogRead for MemoryLog {
    fn read(&self, log: LogId, from: Lsn) -> Result<Box<dyn RecordStream>, ReadError> {
        let one = self.log(log)?;
        Ok(Box::new(TailStream::new(Arc::clone(&one.tail), Arc::clone(one), from)))
    }

    async fn last(&self, log: LogId, key: &Key, before: Lsn, limit: usize) -> Result<Vec<Record>, ReadError> {
        self.log(log)?.state.lock().last(key, before, limit)
    }

    async fn of_key(
        &self,
        log: LogId,
        key: &Key,
        from: Lsn,
        below: Lsn,
        limit: usize,
    ) -> Result<Vec<Record>, ReadError> {
        self.log(log)?.state.lock().of_key(key, from, below, limit)
    }

    async fn record(&self, log: LogId, at: Lsn) -> Result<Option<Record>, ReadError> {
        let state = self.log(log)?.state.lock();
        state.check_open()?;
        Ok(state.record(at).cloned())
    }

    async fn bounds(&self, log: LogId) -> Result<Bounds, ReadError> {
        Ok(self.log(log)?.state.lock().bounds())
    }

    async fn end(&self, log: LogId) -> Result<Lsn, ReadError> {
        let state = self.log(log)?.state.lock();
        state.check_open()?;
        Ok(state.bounds().next)
    }

    async fn reached(&self, log: LogId, to: Lsn) -> Result<(), ReadError> {
        self.log(log)?.tail.reached(to).await
    }
}

#[async_trait]
impl LogAppend for MemoryLog {
    async fn claim(&self, log: LogId, who: NodeId, expect: Expect) -> Result<Claim, AppendError> {
        let one = self.log_to_write(log)?;
        let mut state = one.state.lock();
        state.check_claim(log, expect)?;
        one.tail.publish(state.claim(who));
        Ok(Claim { log, epoch: state.epoch, next: state.bounds().next })
    }

    async fn append(&self, claim: &mut Claim, records: Vec<NewRecord>, rows: Vec<Row>) -> Result<Lsn, AppendError> {
        check_append(&records, &rows)?;
        let one = self.log_to_write(claim.log)?;
        one.gate.pass().await;
        one.write(claim, records, rows)
    }

    async fn state(&self, log: LogId, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        let state = self.log(log)?.state.lock();
        state.check_open()?;
        Ok(state.owner_rows.get(key).cloned())
    }

    async fn state_scan(
        &self,
        log: LogId,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, ReadError> {
        let state = self.log(log)?.state.lock();
        state.check_open()?;
        Ok(state::scan(&state.owner_rows, prefix, after, limit))
    }

    async fn trim(&self, claim: &Claim, up_to: Lsn) -> Result<(), AppendError> {
        let one = self.log_to_write(claim.log)?;
        let mut state = one.state.lock();
        state.check_writer(claim)?;
        state.give_up(up_to);
        Ok(())
    }
}

#[async_trait]
impl Rows for MemoryLog {
    async fn get(&self, log: LogId, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        let state = self.log(log)?.state.lock();
        state.check_open()?;
        Ok(state.rows.get(key).cloned())
    }

    async fn scan(
        &self,
        log: LogId,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, ReadError> {
        let state = self.log(log)?.state.lock();
        state.check_open()?;
        Ok(state::scan(&state.rows, prefix, after, limit))
    }

    async fn put(&self, log: LogId, epoch: Epoch, rows: Vec<Row>) -> Result<(), AppendError> {
        check_put(&rows)?;
        let mut state = self.log_to_write(log)?.state.lock();
        state.check_epoch(log, epoch)?;
        state.put_unsynced(rows);
        Ok(())
    }
}
