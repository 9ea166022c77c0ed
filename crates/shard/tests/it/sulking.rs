//! A memory log that does not do what it is asked, or does it and says nothing.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, Ordering},
};

use async_trait::async_trait;
use bytes::Bytes;
use roomhook_log::{
    AppendError, Bounds, Claim, Epoch, Expect, Key, LogAppend, LogId, LogRead, Lsn, MemoryLog, NewRecord, NodeId,
    ReadError, Record, RecordStream, Row, Rows,
};
use roomhook_shard::Config;

use crate::world::World;

/// A memory log whose claims fail for a while.
#[derive(Clone, Debug)]
pub(crate) struct Sulking {
    log: MemoryLog,
    pub(crate) refusals: Arc<AtomicU32>,
    /// Why claims are refused.
    poisoned: bool,
    /// Claims are never answered.
    pub(crate) hangs: Arc<AtomicBool>,
    /// So many claims hold, and nobody is told.
    pub(crate) forgets: Arc<AtomicU32>,
    /// The append after so many writes, and then panics; 0: none does.
    pub(crate) dies: Arc<AtomicU32>,
    /// Somebody else claims the log before the owner hears of an append of unknown outcome.
    pub(crate) robbed: Arc<AtomicBool>,
}

fn one_less(left: u32) -> Option<u32> {
    left.checked_sub(1)
}

#[async_trait]
impl LogRead for Sulking {
    fn read(&self, log: LogId, from: Lsn) -> Result<Box<dyn RecordStream>, ReadError> {
        self.log.read(log, from)
    }

    async fn last(&self, log: LogId, key: &Key, before: Lsn, limit: usize) -> Result<Vec<Record>, ReadError> {
        self.log.last(log, key, before, limit).await
    }

    async fn of_key(
        &self,
        log: LogId,
        key: &Key,
        from: Lsn,
        below: Lsn,
        limit: usize,
    ) -> Result<Vec<Record>, ReadError> {
        self.log.of_key(log, key, from, below, limit).await
    }

    async fn record(&self, log: LogId, at: Lsn) -> Result<Option<Record>, ReadError> {
        self.log.record(log, at).await
    }

    async fn bounds(&self, log: LogId) -> Result<Bounds, ReadError> {
        self.log.bounds(log).await
    }

    async fn end(&self, log: LogId) -> Result<Lsn, ReadError> {
        LogRead::end(&self.log, log).await
    }

    async fn reached(&self, log: LogId, to: Lsn) -> Result<(), ReadError> {
        self.log.reached(log, to).await
    }
}

#[async_trait]
impl LogAppend for Sulking {
    async fn claim(&self, log: LogId, who: NodeId, expect: Expect) -> Result<Claim, AppendError> {
        if self.hangs.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        if self.refusals.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok() {
            return Err(match self.poisoned {
                true => AppendError::Poisoned { log, reason: "sulking".into() },
                false => AppendError::Full("sulking".into()),
            });
        }
        let claim = self.log.claim(log, who, expect).await?;
        if self.forgets.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok() {
            return Err(AppendError::Ambiguous { expected: claim.next, reason: "forgotten".into() });
        }
        Ok(claim)
    }

    async fn append(&self, claim: &mut Claim, records: Vec<NewRecord>, rows: Vec<Row>) -> Result<Lsn, AppendError> {
        let appended = self.log.append(claim, records, rows).await;
        if matches!(appended, Err(AppendError::Ambiguous { .. })) && self.robbed.swap(false, Ordering::Relaxed) {
            self.log.claim(claim.log, NodeId(9), Expect::Anyone).await?;
        }
        let left = self.dies.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less);
        assert!(left != Ok(1), "the log died, as the test asked");
        appended
    }

    async fn state(&self, log: LogId, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        self.log.state(log, key).await
    }

    async fn state_scan(
        &self,
        log: LogId,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, ReadError> {
        self.log.state_scan(log, prefix, after, limit).await
    }

    async fn trim(&self, claim: &Claim, up_to: Lsn) -> Result<(), AppendError> {
        self.log.trim(claim, up_to).await
    }
}

#[async_trait]
impl Rows for Sulking {
    async fn get(&self, log: LogId, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        self.log.get(log, key).await
    }

    async fn scan(
        &self,
        log: LogId,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, ReadError> {
        self.log.scan(log, prefix, after, limit).await
    }

    async fn put(&self, log: LogId, epoch: Epoch, rows: Vec<Row>) -> Result<(), AppendError> {
        self.log.put(log, epoch, rows).await
    }
}

/// A world with one room, one message in it, and what makes its log sulk.
pub(crate) async fn sulking_world(poisoned: bool, config: Config) -> (World, Sulking) {
    let log = MemoryLog::new(1);
    let sulking = Sulking {
        log: log.clone(),
        refusals: Arc::default(),
        poisoned,
        hangs: Arc::default(),
        forgets: Arc::default(),
        dies: Arc::default(),
        robbed: Arc::default(),
    };
    let world = World::over(Arc::new(sulking.clone()), log, 1, config).await;
    world.create("lobby").await;
    world.say("lobby", 1).await;
    (world, sulking)
}
