//! The store as the rest of the program sees it: async traits in front, threads and the blocking pool behind.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        mpsc::{self, Sender},
    },
    thread,
};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use roomhook_log::{
    AppendError, Bounds, Claim, Epoch, Expect, Key, LogAppend, LogId, LogRead, Lsn, NewRecord, NodeId, ReadError,
    Record, RecordStream, Row, Rows, Tail, TailStream, entry::Position, limits,
};
use tokio::sync::{Semaphore, oneshot};

use crate::{
    chunks::JournalChunks,
    committer::{Committer, DurableEpoch, Queued, Shown, Work},
    config::{DiskConfig, Health},
    dumps::Dumps,
    error::OpenError,
    job::{Errand, Job, Reply, What},
    keeper::Keeper,
    keeping::Charge,
    lock::Lock,
    open::{self, Opened, log_ids},
    reading::{Files, Reading},
    retention::Policy,
    space::Space,
    telemetry::{DiskSpace, LogMetrics, Metrics, MirrorLag},
    unwritten::{Unwritten, Whose},
};

/// Jobs of one log that may wait for the committer. Callers beyond wait for a place.
const QUEUE_JOBS_MAX: usize = 256;

/// The embedded log. Writing goes to one thread, reading to the blocking pool.
#[derive(Debug)]
pub struct DiskLog {
    shards: u16,
    logs: BTreeMap<LogId, OneLog>,
    work: Sender<Queued>,
    reading: Arc<Reading>,
    poisoned: Arc<Mutex<Option<String>>>,
    space: Arc<Space>,
    metrics: Metrics,
    lock: Mutex<Option<Lock>>,
}

#[derive(Debug)]
struct OneLog {
    tail: Arc<Tail>,
    epoch: DurableEpoch,
    places: Arc<Semaphore>,
    metrics: LogMetrics,
}

impl DiskLog {
    /// Opens the store, creating it if its folder has none. Blocks: for well under a second in a healthy store, longer when the mirror
    /// has to be made anew, which is told now and then.
    ///
    /// # Errors
    /// When something that was acknowledged is not there, or the store is another one than configured: see
    /// [`OpenError`]; each says what to do.
    pub fn open(config: DiskConfig) -> Result<Arc<Self>, OpenError> {
        let config = Arc::new(config);
        let opened = open::open(&config)?;
        let metrics = Metrics::new(QUEUE_JOBS_MAX);
        let (shards, poisoned) = (config.shards, Arc::new(Mutex::new(None)));
        let space = Arc::new(Space::new(config.path.clone(), config.free_bytes_min));
        let Opened { lock, store, folders, mirror, positions, floors, writer, dumps } = opened;
        let logs: BTreeMap<LogId, OneLog> = log_ids(shards)
            .map(|log| {
                let Position { next, epoch, .. } = positions.get(&log).copied().unwrap_or(Position::EMPTY);
                let tail = Arc::new(Tail::new(log, next, config.tail));
                (
                    log,
                    OneLog {
                        tail,
                        epoch: DurableEpoch::new(epoch),
                        places: Arc::new(Semaphore::new(QUEUE_JOBS_MAX)),
                        metrics: metrics.of(log),
                    },
                )
            })
            .collect();
        let unwritten = Arc::new(Unwritten::default());
        let charge = Charge {
            mirror: Arc::clone(&mirror),
            unwritten: Arc::clone(&unwritten),
            journal: folders.journal.clone(),
            dumps: Dumps::new(&folders, store, config.durability, dumps),
            retention: policy(&config),
            clock: Arc::clone(&config.clock),
            poisoned: Arc::clone(&poisoned),
            metrics: metrics.store(),
        };
        let (keeper, following) =
            Keeper::start(charge).map_err(OpenError::io("starting the keeper of", &config.path))?;
        let shown = |(log, one): (&LogId, &OneLog)| {
            let (tail, epoch, metrics) = (Arc::clone(&one.tail), one.epoch.clone(), one.metrics.clone());
            (*log, Shown { tail, epoch, metrics })
        };
        let committer = Committer {
            config: Arc::clone(&config),
            writer,
            positions,
            floors,
            logs: logs.iter().map(shown).collect(),
            poisoned: Arc::clone(&poisoned),
            space: Arc::clone(&space),
            keeper,
            store,
            buffer: BytesMut::new(),
            oldest_at_ms: None,
        };
        let (work, queue) = mpsc::channel();
        thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || committer.run(&queue))
            .map_err(OpenError::io("starting the committer of", &config.path))?;
        let chunks = JournalChunks::new(folders.journal.clone());
        let reading = Reading::new(Files { folders, mirror, unwritten, chunks }, following);
        Ok(Arc::new(Self { shards, logs, work, reading, poisoned, space, metrics, lock: Mutex::new(Some(lock)) }))
    }

    /// Number of logs beside the directory's.
    #[must_use]
    pub fn shards(&self) -> u16 {
        self.shards
    }

    /// Whether the store takes what is new, and whether there is room on the disk at this moment.
    #[must_use]
    pub fn health(&self) -> Health {
        if let Some(reason) = &*self.poisoned.lock() {
            return Health::Poisoned(reason.clone());
        }
        if self.space.is_full() { Health::Full } else { Health::Ok }
    }

    /// Adds the store's metrics.
    pub fn register(&self, registry: &mut Registry) {
        self.metrics.register(registry);
        registry.register_collector(Box::new(DiskSpace(Arc::clone(&self.space))));
        registry.register_collector(Box::new(MirrorLag(self.reading.following.clone())));
    }

    /// Drops all segments that retention allows, now instead of little by little.
    ///
    /// # Errors
    /// [`AppendError::Closed`]. Cancel safe: the work is done anyway.
    pub async fn retain(&self) -> Result<(), AppendError> {
        self.send(LogId::DIRECTORY, |reply| Work::Errand(Errand::Retain { reply })).await
    }

    /// Finishes what is queued, syncs, and lets go of the folder. Appends and reads fail as closed from here on; streams
    /// end when they have read what is in memory. Not cancel safe: a dropped shutdown may leave the folder locked.
    pub async fn shutdown(&self) {
        let files = self.reading.open.write().take().map(|files| Arc::downgrade(&files));
        // Closed already is what is wanted.
        let _ = self.send(LogId::DIRECTORY, |reply| Work::Errand(Errand::Close { reply })).await;
        // Reads that were running hold the mirror a little longer.
        while files.as_ref().is_some_and(|files| files.strong_count() > 0) {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        self.lock.lock().take();
    }

    fn log(&self, log: LogId) -> Result<&OneLog, ReadError> {
        self.logs.get(&log).ok_or(ReadError::NoSuchLog(log))
    }

    /// Hands work to the committer and waits for its answer.
    async fn send<T>(&self, log: LogId, work: impl FnOnce(Reply<T>) -> Work) -> Result<T, AppendError> {
        let one = self.logs.get(&log).ok_or_else(|| AppendError::Refused(format!("there is no log {log}")))?;
        let place = Arc::clone(&one.places).acquire_owned().await.map_err(|_| AppendError::Closed)?;
        let (reply, answer) = oneshot::channel();
        one.metrics.queued(QUEUE_JOBS_MAX - one.places.available_permits());
        self.work.send(Queued { work: work(reply), place }).map_err(|_| AppendError::Closed)?;
        match answer.await {
            Ok(outcome) => outcome,
            // The committer went away with the job: by a shutdown, or by a panic, which leaves the files behind.
            Err(_) if self.reading.open.read().is_none() => Err(AppendError::Closed),
            Err(_) => {
                let reason = self.poisoned.lock().get_or_insert_with(|| "the committer died".to_owned()).clone();
                Err(AppendError::Poisoned { log, reason })
            }
        }
    }

    async fn row(&self, whose: Whose, log: LogId, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        self.log(log)?;
        let key = Bytes::copy_from_slice(key);
        self.reading.run(log, move |files| files.row(whose, log, &key)).await
    }

    async fn rows(
        &self,
        whose: Whose,
        log: LogId,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, ReadError> {
        self.log(log)?;
        let (prefix, after) = (prefix.to_vec(), after.map(<[u8]>::to_vec));
        self.reading.run(log, move |files| files.rows(whose, log, &prefix, after.as_deref(), limit)).await
    }

    async fn job<T>(&self, log: LogId, what: impl FnOnce(Reply<T>) -> What) -> Result<T, AppendError> {
        self.send(log, |reply| Work::Job(Job { log, what: what(reply) })).await
    }
}

impl Drop for DiskLog {
    /// Without a shutdown the threads end on their own: what was acknowledged is safe either way.
    fn drop(&mut self) {
        self.reading.open.write().take();
        let place = self.logs.get(&LogId::DIRECTORY).and_then(|one| Arc::clone(&one.places).try_acquire_owned().ok());
        if let Some(place) = place {
            let (reply, _) = oneshot::channel();
            // Closed already is what is wanted.
            let _ = self.work.send(Queued { work: Work::Errand(Errand::Close { reply }), place });
        }
    }
}

fn policy(config: &DiskConfig) -> Policy {
    Policy {
        max_age_ms: config.retention_max_age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
        max_bytes: config.retention_max_bytes,
    }
}

#[async_trait]
impl LogRead for DiskLog {
    fn read(&self, log: LogId, from: Lsn) -> Result<Box<dyn RecordStream>, ReadError> {
        let tail = Arc::clone(&self.log(log)?.tail);
        Ok(Box::new(TailStream::new(tail, Arc::clone(&self.reading), from)))
    }

    async fn last(&self, log: LogId, key: &Key, before: Lsn, limit: usize) -> Result<Vec<Record>, ReadError> {
        let (key, before) = (key.clone(), before.min(self.log(log)?.tail.next()));
        self.reading.run(log, move |files| files.last(log, &key, before, limit)).await
    }

    async fn of_key(
        &self,
        log: LogId,
        key: &Key,
        from: Lsn,
        below: Lsn,
        limit: usize,
    ) -> Result<Vec<Record>, ReadError> {
        let (key, below) = (key.clone(), below.min(self.log(log)?.tail.next()));
        self.reading.run(log, move |files| files.of_key(log, &key, from..below, limit)).await
    }

    async fn record(&self, log: LogId, at: Lsn) -> Result<Option<Record>, ReadError> {
        if at >= self.log(log)?.tail.next() {
            return Ok(None);
        }
        // So short a stretch is in one chunk.
        match self.reading.run(log, move |files| files.stretch(log, at..at.next())).await {
            Ok(records) => Ok(records.first().cloned()),
            Err(ReadError::Trimmed { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn bounds(&self, log: LogId) -> Result<Bounds, ReadError> {
        let next = self.log(log)?.tail.next();
        let first = self.reading.open.read().as_ref().ok_or(ReadError::Closed)?.mirror.first(log);
        Ok(Bounds { first: first.min(next), next, epoch: self.log(log)?.epoch.get() })
    }

    async fn end(&self, log: LogId) -> Result<Lsn, ReadError> {
        let end = self.log(log)?.tail.next();
        // Nobody else can write while this process has the folder; after that, anybody may have.
        if self.reading.open.read().is_some() { Ok(end) } else { Err(ReadError::Closed) }
    }

    async fn reached(&self, log: LogId, to: Lsn) -> Result<(), ReadError> {
        self.log(log)?.tail.reached(to).await
    }
}

#[async_trait]
impl LogAppend for DiskLog {
    async fn claim(&self, log: LogId, who: NodeId, expect: Expect) -> Result<Claim, AppendError> {
        self.job(log, |reply| What::Claim { who, expect, reply }).await
    }

    async fn append(&self, claim: &mut Claim, records: Vec<NewRecord>, rows: Vec<Row>) -> Result<Lsn, AppendError> {
        limits::check_append(&records, &rows)?;
        let (epoch, next) = (claim.epoch, claim.next);
        let last = self.job(claim.log, |reply| What::Append { epoch, next, records, rows, reply }).await?;
        claim.next = last.next();
        Ok(last)
    }

    async fn state(&self, log: LogId, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        self.row(Whose::Owner, log, key).await
    }

    async fn state_scan(
        &self,
        log: LogId,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, ReadError> {
        self.rows(Whose::Owner, log, prefix, after, limit).await
    }

    async fn trim(&self, claim: &Claim, up_to: Lsn) -> Result<(), AppendError> {
        let epoch = claim.epoch;
        self.job(claim.log, |reply| What::Trim { epoch, up_to, reply }).await
    }
}

#[async_trait]
impl Rows for DiskLog {
    async fn get(&self, log: LogId, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        self.row(Whose::Hooks, log, key).await
    }

    async fn scan(
        &self,
        log: LogId,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, ReadError> {
        self.rows(Whose::Hooks, log, prefix, after, limit).await
    }

    async fn put(&self, log: LogId, epoch: Epoch, rows: Vec<Row>) -> Result<(), AppendError> {
        limits::check_put(&rows)?;
        self.job(log, |reply| What::Put { epoch, rows, reply }).await
    }
}
