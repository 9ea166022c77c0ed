//! An append of unknown outcome, and a log that does not answer when asked.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use roomhook_log::{
    AppendError, Bounds, Claim, Fault, Key, LogAppend, LogId, LogRead, Lsn, MemoryLog, NewRecord, NodeId, ReadError,
    Record, RecordStream, Row, Rows,
};
use roomhook_room::Receipt;
use roomhook_shard::{Config, ExecuteError};

use crate::world::World;

const SHARD: LogId = LogId(0);

/// A memory log whose claims fail for a while.
#[derive(Clone, Debug)]
struct Sulking {
    log: MemoryLog,
    refusals: Arc<AtomicU32>,
    /// Why claims are refused.
    poisoned: bool,
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

    async fn bounds(&self, log: LogId) -> Result<Bounds, ReadError> {
        self.log.bounds(log).await
    }
}

#[async_trait]
impl LogAppend for Sulking {
    async fn claim(&self, log: LogId, who: NodeId) -> Result<Claim, AppendError> {
        let refuses = |left: u32| left.checked_sub(1);
        if self.refusals.fetch_update(Ordering::Relaxed, Ordering::Relaxed, refuses).is_ok() {
            return Err(match self.poisoned {
                true => AppendError::Poisoned { log, reason: "sulking".into() },
                false => AppendError::Full("sulking".into()),
            });
        }
        self.log.claim(log, who).await
    }

    async fn append(&self, claim: &mut Claim, records: Vec<NewRecord>, rows: Vec<Row>) -> Result<Lsn, AppendError> {
        self.log.append(claim, records, rows).await
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

    async fn put(&self, log: LogId, rows: Vec<Row>) -> Result<(), AppendError> {
        self.log.put(log, rows).await
    }
}

/// A world with one room, one message in it, and a log that will be in doubt and then refuse so many claims.
async fn in_doubt(refusals: u32) -> World {
    in_doubt_of(refusals, false).await
}

async fn in_doubt_of(refusals: u32, poisoned: bool) -> World {
    let log = MemoryLog::new(1);
    let sulking = Sulking { log: log.clone(), refusals: Arc::default(), poisoned };
    let counter = Arc::clone(&sulking.refusals);
    let world = World::over(Arc::new(sulking), log, 1, Config::default()).await;
    world.create("lobby").await;
    world.say("lobby", 1).await;
    world.log.fail_next_append(SHARD, Fault::Ambiguous { durable: 1 });
    counter.store(refusals, Ordering::Relaxed);
    world
}

#[tokio::test(start_paused = true)]
async fn a_log_that_answers_after_a_while_still_decides_what_is_told() {
    let world = in_doubt(3).await;
    assert!(matches!(world.send("lobby", 2).await, Ok(Receipt::Sent(sent)) if sent.seq.0 == 2));
    assert!(world.router.is_ready());
}

/// What a commit that fails looks like: the append's outcome is unknown, and the log takes no more. Found with a real process:
/// the shard threw its rooms away to read them again, could not claim, and refused to be read until a restart.
#[tokio::test(start_paused = true)]
async fn a_log_that_failed_for_good_is_still_read() {
    let world = in_doubt_of(u32::MAX, true).await;
    let answer = world.send("lobby", 2).await;
    assert!(matches!(answer, Err(ExecuteError::Unknown(_))), "{answer:?}");
    assert!(!world.router.is_ready());
    assert_eq!(world.top("lobby").await, 1, "what was durable before is read, and no more");
    assert_eq!(world.view("nowhere").await, None);
    let later = world.send("lobby", 3).await;
    assert!(matches!(later, Err(ExecuteError::Unavailable(_))), "{later:?}");
}

#[tokio::test(start_paused = true)]
async fn a_log_that_does_not_answer_makes_the_outcome_unknown_and_is_asked_again_later() {
    let world = in_doubt(10).await;
    let answer = world.send("lobby", 2).await;
    assert!(matches!(answer, Err(ExecuteError::Unknown(_))), "{answer:?}");
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert!(!world.router.is_ready());
    let meanwhile = world.send("lobby", 3).await;
    assert!(matches!(meanwhile, Err(ExecuteError::Unavailable(_))), "told at once: {meanwhile:?}");

    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(world.router.is_ready());
    let repeated = world.send("lobby", 2).await;
    assert!(matches!(repeated, Ok(Receipt::Repeated(sent)) if sent.seq.0 == 2), "it was durable: {repeated:?}");
}
