//! The store as the server sees it: the memory log, with delays and faults by chance, and the crash that may come before,
//! within or after everything that is done to it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use roomhook_log::{
    AppendError, Bounds, Claim, Epoch, Expect, Fault, Key, LogAppend, LogId, LogRead, Lsn, MemoryLog, NewRecord,
    NodeId, ReadError, Record, RecordStream, Row, Rows,
};
use tokio::time::sleep;

use crate::world::World;

/// How long a store may take without being called slow.
const APPEND_MS: u64 = 5;
const SLOW_APPEND_MS: u64 = 3_000;
/// What waits for a store that failed tries again within this time.
const DISTURBANCE_MS: u64 = 3_000;

/// What owners have told the logs that they need no longer, and what of it is gone. It outlives the server, as a disk does.
#[derive(Debug, Default)]
pub(crate) struct Retention {
    may_go: BTreeMap<LogId, Lsn>,
    gone: BTreeMap<LogId, Lsn>,
    /// Logs beside which rows were put that no append has synced since.
    unsynced: BTreeSet<LogId>,
}

impl Retention {
    /// The power fails. Whether any rows are lost.
    pub(crate) fn power_fails(&mut self) -> bool {
        !std::mem::take(&mut self.unsynced).is_empty()
    }
}

#[derive(Clone)]
pub(crate) struct Store {
    inner: MemoryLog,
    world: Arc<World>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}

impl Store {
    #[must_use]
    pub(crate) fn new(inner: MemoryLog, world: Arc<World>) -> Self {
        Self { inner, world }
    }

    fn fails_to_read(&self, log: LogId) -> Result<(), ReadError> {
        if !self.world.goes_wrong(self.world.scenario.read_fails) {
            return Ok(());
        }
        self.world.count("read: fails");
        self.world.note(|| format!("log {log}: read fails"));
        self.world.disturb(DISTURBANCE_MS);
        Err(ReadError::Io { log, reason: "simulated".to_owned() })
    }

    fn draw_fault(&self, records: usize) -> Option<Fault> {
        let (world, scenario) = (&self.world, &self.world.scenario);
        if !world.goes_wrong(scenario.append_fails) {
            return None;
        }
        world.disturb(DISTURBANCE_MS);
        let fault = if world.goes_wrong(scenario.append_kills) {
            if world.store_dice.chance(500) { Fault::Fenced } else { Fault::Poisoned }
        } else {
            match world.store_dice.index(4) {
                0 => Fault::Full,
                1 => Fault::Refused,
                _ => Fault::Ambiguous { durable: world.store_dice.index(records + 1) },
            }
        };
        world.count(match &fault {
            Fault::Full => "append: Full",
            Fault::Refused => "append: Refused",
            Fault::Fenced => "append: Fenced",
            Fault::Poisoned => "append: Poisoned",
            Fault::Closed => "append: Closed",
            Fault::Ambiguous { durable } if *durable == records => "append: Ambiguous, all written",
            Fault::Ambiguous { durable: 0 } => "append: Ambiguous, nothing written",
            Fault::Ambiguous { .. } => "append: Ambiguous, a part written",
        });
        Some(fault)
    }

    async fn wait(&self) {
        let world = &self.world;
        let mut wait = Duration::from_millis(world.store_dice.from(0..=APPEND_MS));
        if world.goes_wrong(world.scenario.append_is_slow) {
            wait = world.store_dice.millis(100..=SLOW_APPEND_MS);
            world.count("append: is slow");
            world.disturb(SLOW_APPEND_MS + DISTURBANCE_MS);
        }
        if !wait.is_zero() {
            sleep(wait).await;
        }
    }

    /// Retention at work: drops some of what no owner needs, however far readers are behind.
    pub(crate) fn drop_old_records(&self) {
        let world = &self.world;
        let mut retention = world.retention.lock();
        let Retention { may_go, gone, .. } = &mut *retention;
        let some: Vec<(LogId, Lsn, Lsn)> = may_go
            .iter()
            .map(|(log, to)| (*log, gone.get(log).copied().unwrap_or(Lsn::FIRST), *to))
            .filter(|(_, from, to)| from < to)
            .collect();
        if some.is_empty() {
            return;
        }
        let (log, from, to) = some[world.act_dice.index(some.len())];
        let up_to = Lsn(world.act_dice.from(from.0 + 1..=to.0));
        gone.insert(log, up_to);
        drop(retention);
        self.inner.trim_history(log, up_to);
        world.count("retention: drops records");
        world.note(|| format!("log {log}: everything before {up_to} is dropped"));
        crate::auditor::trimmed(world, log, up_to);
    }

    /// What is durable now is the truth.
    fn capture(&self, log: LogId) {
        self.world.ledger.lock().capture(&self.inner, log, &self.world);
    }
}

struct Stream {
    records: Box<dyn RecordStream>,
    store: Store,
    log: LogId,
}

#[async_trait]
impl RecordStream for Stream {
    async fn next_batch(&mut self) -> Result<Arc<[Record]>, ReadError> {
        // Before the records are taken, so that dropping the future loses none.
        self.store.fails_to_read(self.log)?;
        self.store.world.step("crash: reading records").await;
        self.records.next_batch().await
    }
}

#[async_trait]
impl LogRead for Store {
    fn read(&self, log: LogId, from: Lsn) -> Result<Box<dyn RecordStream>, ReadError> {
        Ok(Box::new(Stream { records: self.inner.read(log, from)?, store: self.clone(), log }))
    }

    async fn last(&self, log: LogId, key: &Key, before: Lsn, limit: usize) -> Result<Vec<Record>, ReadError> {
        self.fails_to_read(log)?;
        self.inner.last(log, key, before, limit).await
    }

    async fn of_key(
        &self,
        log: LogId,
        key: &Key,
        from: Lsn,
        below: Lsn,
        limit: usize,
    ) -> Result<Vec<Record>, ReadError> {
        self.fails_to_read(log)?;
        self.world.step("crash: reading records").await;
        self.inner.of_key(log, key, from, below, limit).await
    }

    async fn record(&self, log: LogId, at: Lsn) -> Result<Option<Record>, ReadError> {
        self.fails_to_read(log)?;
        self.world.step("crash: reading records").await;
        self.inner.record(log, at).await
    }

    async fn bounds(&self, log: LogId) -> Result<Bounds, ReadError> {
        self.fails_to_read(log)?;
        self.inner.bounds(log).await
    }

    async fn end(&self, log: LogId) -> Result<Lsn, ReadError> {
        self.fails_to_read(log)?;
        LogRead::end(&self.inner, log).await
    }

    async fn reached(&self, log: LogId, to: Lsn) -> Result<(), ReadError> {
        self.inner.reached(log, to).await
    }
}

#[async_trait]
impl LogAppend for Store {
    async fn claim(&self, log: LogId, who: NodeId, expect: Expect) -> Result<Claim, AppendError> {
        let world = &self.world;
        world.step("crash: before a claim").await;
        let fails = world.goes_wrong(world.scenario.claim_fails);
        if fails && world.store_dice.chance(500) {
            world.count("claim: fails");
            world.note(|| format!("log {log}: a claim fails"));
            world.disturb(DISTURBANCE_MS);
            return Err(AppendError::Full("simulated".to_owned()));
        }
        let claim = self.inner.claim(log, who, expect).await;
        self.capture(log);
        world.note(|| format!("log {log}: claimed {:?}", claim.as_ref().map(|claim| claim.epoch)));
        world.step("crash: after a claim").await;
        if fails && let Ok(claim) = claim {
            world.count("claim: fails and holds");
            world.disturb(DISTURBANCE_MS);
            return Err(AppendError::Ambiguous { expected: claim.next, reason: "simulated".to_owned() });
        }
        claim
    }

    async fn append(&self, claim: &mut Claim, records: Vec<NewRecord>, rows: Vec<Row>) -> Result<Lsn, AppendError> {
        let (log, world) = (claim.log, &self.world);
        world.step("crash: before an append").await;
        self.wait().await;
        if world.fuse.is_about_to_blow() && world.store_dice.chance(500) {
            // The process dies within the append: any prefix may be on disk.
            let durable = world.store_dice.index(records.len() + 1);
            self.inner.fail_next_append(log, Fault::Ambiguous { durable });
            world.note(|| format!("log {log}: crash within an append, {durable} of {} durable", records.len()));
            world.count("crash: within an append");
        } else if let Some(fault) = self.draw_fault(records.len()) {
            world.note(|| format!("log {log}: append of {} fails: {fault:?}", records.len()));
            self.inner.fail_next_append(log, fault);
        } else {
            world.step("crash: before an append").await;
        }
        let appended = self.inner.append(claim, records, rows).await;
        if appended.is_ok() {
            world.retention.lock().unsynced.remove(&log);
        }
        self.capture(log);
        world.step("crash: after an append").await;
        appended
    }

    async fn state(&self, log: LogId, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        self.fails_to_read(log)?;
        self.inner.state(log, key).await
    }

    async fn state_scan(
        &self,
        log: LogId,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, ReadError> {
        self.fails_to_read(log)?;
        self.inner.state_scan(log, prefix, after, limit).await
    }

    /// Only makes a note: when records go is the retention's to choose.
    async fn trim(&self, claim: &Claim, up_to: Lsn) -> Result<(), AppendError> {
        self.world.step("crash: before a trim").await;
        // Rows that a crash leaves do not come back from before this.
        self.inner.trim(claim, Lsn::FIRST).await?;
        self.world.count("retention: may drop records");
        self.world.note(|| format!("log {}: needs nothing before {up_to}", claim.log));
        let mut retention = self.world.retention.lock();
        let may_go = retention.may_go.entry(claim.log).or_insert(Lsn::FIRST);
        *may_go = up_to.max(*may_go);
        Ok(())
    }
}

#[async_trait]
impl Rows for Store {
    async fn get(&self, log: LogId, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        self.fails_to_read(log)?;
        self.inner.get(log, key).await
    }

    async fn scan(
        &self,
        log: LogId,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, ReadError> {
        self.fails_to_read(log)?;
        self.inner.scan(log, prefix, after, limit).await
    }

    async fn put(&self, log: LogId, epoch: Epoch, rows: Vec<Row>) -> Result<(), AppendError> {
        let world = &self.world;
        world.step("crash: before rows are put").await;
        if world.goes_wrong(world.scenario.append_is_slow) {
            world.count("rows: put is slow");
            world.disturb(SLOW_APPEND_MS + DISTURBANCE_MS);
            sleep(world.store_dice.millis(100..=SLOW_APPEND_MS)).await;
        }
        if world.goes_wrong(world.scenario.put_fails) {
            let count = rows.len();
            world.disturb(DISTURBANCE_MS);
            // Whoever is told that it failed must not count on that.
            let holds = world.store_dice.chance(300);
            world.note(|| format!("log {log}: put of {count} rows fails, and holds: {holds}"));
            if holds {
                self.inner.put(log, epoch, rows).await?;
            }
            world.count(if holds { "rows: put fails and holds" } else { "rows: put fails" });
            return Err(AppendError::Full("simulated".to_owned()));
        }
        let put = self.inner.put(log, epoch, rows).await;
        if matches!(put, Err(AppendError::Fenced { .. })) {
            world.count("rows: put is fenced");
            world.note(|| format!("log {log}: a put of epoch {epoch} is fenced"));
        }
        put?;
        world.retention.lock().unsynced.insert(log);
        world.step("crash: after rows were put").await;
        Ok(())
    }
}
