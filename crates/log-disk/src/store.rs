//! The store as the rest of the program sees it: async traits in front, committers and the blocking pool behind.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc,
        mpsc::{self, Sender},
    },
    thread,
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use prometheus_client::registry::Registry;
use roomhook_log::{
    AppendError, Bounds, Claim, ColdRead, Key, LogAppend, LogId, LogRead, Lsn, NewRecord, NodeId, ReadError, Record,
    RecordStream, Row, Rows, Tail, TailStream, limits,
};
use tokio::sync::{Semaphore, oneshot};

use crate::{
    batch::{Errand, Job, Reply},
    committer::{Committer, Queued, Work},
    config::{DiskConfig, Health},
    engine::Engine,
    error::OpenError,
    inspect::{self, Facts},
    lock::Lock,
    open,
    reads::{get_row, scan_rows},
    recover::{Believe, Recovered},
    rehearsal::{self, Rehearsal},
    retention::Policy,
    space::Space,
    telemetry::{LogMetrics, Metrics, Room},
};

/// Jobs that may wait for one committer. Callers beyond wait for a place.
const QUEUE_JOBS_MAX: usize = 256;
/// Reads of the whole store that may block at once. Callers beyond wait.
const READS_MAX: usize = 16;

/// The embedded log. Appends go to one thread per log, reads to the blocking pool.
#[derive(Debug)]
pub struct DiskLog {
    config: Arc<DiskConfig>,
    logs: BTreeMap<LogId, Arc<OneLog>>,
    space: Arc<Space>,
    metrics: Metrics,
    lock: Mutex<Option<Lock>>,
}

struct OneLog {
    log: LogId,
    tail: Arc<Tail>,
    /// Gone after the shutdown.
    engine: RwLock<Option<Arc<Engine>>>,
    work: Sender<Queued>,
    places: Arc<Semaphore>,
    reads: Arc<Semaphore>,
    /// Why it takes no more appends, once it does not.
    poisoned: Arc<Mutex<Option<String>>>,
    metrics: LogMetrics,
}

impl std::fmt::Debug for OneLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OneLog").field("log", &self.log).field("next", &self.tail.next()).finish_non_exhaustive()
    }
}

impl DiskLog {
    /// Opens the store, creating it if its folder has none. Blocks, for well under a second in a healthy store.
    ///
    /// # Errors
    /// When something that was acknowledged is not there, or the store is another one than configured: see
    /// [`OpenError`]; each says what to do.
    pub fn open(config: DiskConfig) -> Result<Arc<Self>, OpenError> {
        Self::open_believing(Believe::Disk, config)
    }

    pub(crate) fn open_believing(believe: Believe, config: DiskConfig) -> Result<Arc<Self>, OpenError> {
        let config = Arc::new(config);
        let (lock, recovered) = open::open(&config, believe)?;
        let (metrics, reads) = (Metrics::new(QUEUE_JOBS_MAX), Arc::new(Semaphore::new(READS_MAX)));
        let space = Arc::new(Space::new(config.path.clone(), config.free_bytes_min));
        let mut logs = BTreeMap::new();
        for log in recovered {
            let id = log.engine.log;
            let metrics = metrics.of(id);
            logs.insert(id, Arc::new(OneLog::start(log, &config, metrics, Arc::clone(&reads), Arc::clone(&space))?));
        }
        Ok(Arc::new(Self { config, logs, space, metrics, lock: Mutex::new(Some(lock)) }))
    }

    /// Number of logs beside the directory's.
    #[must_use]
    pub fn shards(&self) -> u16 {
        self.config.shards
    }

    /// The worst of all logs, and whether there is room on the disk at this moment.
    #[must_use]
    pub fn health(&self) -> Health {
        for log in self.logs.values() {
            if let Some(reason) = &*log.poisoned.lock() {
                return Health::Poisoned(format!("log {}: {reason}", log.log));
            }
        }
        if self.space.is_full() { Health::Full } else { Health::Ok }
    }

    /// Adds the store's metrics.
    pub fn register(&self, registry: &mut Registry) {
        self.metrics.register(registry);
        registry.register_collector(Box::new(Room(Arc::clone(&self.space))));
    }

    /// Facts about a store that need not be healthy, nor closed. Changes nothing.
    ///
    /// # Errors
    /// When the folder cannot be read or is none of ours.
    pub fn inspect(path: &Path) -> Result<Facts, OpenError> {
        inspect::inspect(path)
    }

    /// What opening the store would do, tried on a copy in a folder of its own within `place`: nothing of the store is changed, not
    /// even repaired. It takes as long as a start, and the room of its journals, at most 128 MiB per log.
    ///
    /// # Errors
    /// What [`DiskLog::open`] would say; also [`OpenError::NoCopy`].
    pub fn rehearse(config: DiskConfig, place: &Path) -> Result<Rehearsal, OpenError> {
        rehearsal::rehearse(config, place)
    }

    /// Drops all segments that retention allows, now instead of little by little.
    ///
    /// # Errors
    /// [`AppendError::Closed`]. Cancel safe: the work is done anyway.
    pub async fn retain(&self) -> Result<(), AppendError> {
        for log in self.logs.values() {
            log.send(|reply| Work::Errand(Errand::Retain { reply })).await?;
        }
        Ok(())
    }

    /// Finishes what is queued, syncs, and lets go of the folder. Appends and reads fail as closed from here on; streams
    /// end when they have read what is in memory. Not cancel safe: a dropped shutdown may leave the folder locked.
    pub async fn shutdown(&self) {
        let mut engines = Vec::new();
        for log in self.logs.values() {
            engines.extend(log.engine.write().take().as_ref().map(Arc::downgrade));
            // Closed already is what is wanted.
            let _ = log.send(|reply| Work::Errand(Errand::Close { reply })).await;
        }
        // Reads that were running hold the databases a little longer.
        while engines.iter().any(|engine| engine.strong_count() > 0) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        self.lock.lock().take();
    }

    fn log(&self, log: LogId) -> Result<&Arc<OneLog>, ReadError> {
        self.logs.get(&log).ok_or(ReadError::NoSuchLog(log))
    }

    fn log_to_write(&self, log: LogId) -> Result<&Arc<OneLog>, AppendError> {
        self.logs.get(&log).ok_or_else(|| AppendError::Refused(format!("there is no log {log}")))
    }
}

impl Drop for DiskLog {
    /// Without a shutdown the committers end on their own: what was acknowledged is safe either way.
    fn drop(&mut self) {
        for log in self.logs.values() {
            log.engine.write().take();
            log.close_unwatched();
        }
    }
}

// === impl OneLog ===

impl OneLog {
    fn start(
        recovered: Recovered,
        config: &Arc<DiskConfig>,
        metrics: LogMetrics,
        reads: Arc<Semaphore>,
        space: Arc<Space>,
    ) -> Result<Self, OpenError> {
        let Recovered { engine, position, active, sealed, mark, boot } = recovered;
        let (log, engine) = (engine.log, Arc::new(engine));
        let tail = Arc::new(Tail::new(log, position.next, config.tail));
        let poisoned = Arc::new(Mutex::new(None));
        metrics.segments(sealed.len() + 1);
        let committer = Committer {
            engine: Arc::clone(&engine),
            config: Arc::clone(config),
            tail: Arc::clone(&tail),
            poisoned: Arc::clone(&poisoned),
            metrics: metrics.clone(),
            position,
            active,
            sealed,
            mark,
            mark_written: None,
            boot,
            space,
            retention: policy(config),
            dropped_at: None,
        };
        let (work, queue) = mpsc::channel();
        thread::Builder::new()
            .name(format!("log-{log}"))
            .spawn(move || committer.run(&queue))
            .map_err(OpenError::io("starting the committer of", &config.path))?;
        let places = Arc::new(Semaphore::new(QUEUE_JOBS_MAX));
        Ok(Self { log, tail, engine: RwLock::new(Some(engine)), work, places, reads, poisoned, metrics })
    }

    /// Hands work to the committer and waits for its answer.
    async fn send<T>(&self, work: impl FnOnce(Reply<T>) -> Work) -> Result<T, AppendError> {
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(|_| AppendError::Closed)?;
        let (reply, answer) = oneshot::channel();
        self.metrics.queued(QUEUE_JOBS_MAX - self.places.available_permits());
        self.work.send(Queued { work: work(reply), place }).map_err(|_| AppendError::Closed)?;
        match answer.await {
            Ok(outcome) => outcome,
            // The committer went away with the job: by a shutdown, or by a panic, which leaves the engine behind.
            Err(_) if self.engine.read().is_none() => Err(AppendError::Closed),
            Err(_) => {
                let reason = "the committer died".to_owned();
                *self.poisoned.lock() = Some(reason.clone());
                Err(AppendError::Poisoned { log: self.log, reason })
            }
        }
    }

    fn close_unwatched(&self) {
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            let (reply, _) = oneshot::channel();
            // Closed already is what is wanted.
            let _ = self.work.send(Queued { work: Work::Errand(Errand::Close { reply }), place });
        }
    }

    /// Runs a read on the blocking pool.
    async fn blocking<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Engine) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, ReadError> {
        let log = self.log;
        let permit = Arc::clone(&self.reads).acquire_owned().await.map_err(|_| ReadError::Closed)?;
        let engine = self.engine.read().clone().ok_or(ReadError::Closed)?;
        let task = tokio::task::spawn_blocking(move || {
            let outcome = read(&engine);
            drop((engine, permit));
            outcome
        });
        task.await.unwrap_or_else(|error| Err(ReadError::Io { log, reason: error.to_string() }))
    }
}

fn policy(config: &DiskConfig) -> Policy {
    Policy {
        max_age_ms: config.retention_max_age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
        // Rooms are spread over shards by hash, so an equal share for each is fair enough.
        max_bytes: config.retention_max_bytes.map(|bytes| bytes / u64::from(config.shards)),
    }
}

#[async_trait]
impl ColdRead for OneLog {
    async fn read_cold(&self, _log: LogId, from: Lsn, below: Lsn) -> Result<Arc<[Record]>, ReadError> {
        self.blocking(move |engine| engine.read_cold(from, below)).await
    }
}

#[async_trait]
impl LogRead for DiskLog {
    fn read(&self, log: LogId, from: Lsn) -> Result<Box<dyn RecordStream>, ReadError> {
        let one = self.log(log)?;
        Ok(Box::new(TailStream::new(Arc::clone(&one.tail), Arc::clone(one), from)))
    }

    async fn last(&self, log: LogId, key: &Key, before: Lsn, limit: usize) -> Result<Vec<Record>, ReadError> {
        let one = self.log(log)?;
        // The end is looked up before the segments are: what is durable is all that may be seen.
        let (key, before) = (key.clone(), before.min(one.tail.next()));
        one.blocking(move |engine| engine.last(&key, before, limit)).await
    }

    async fn of_key(
        &self,
        log: LogId,
        key: &Key,
        from: Lsn,
        below: Lsn,
        limit: usize,
    ) -> Result<Vec<Record>, ReadError> {
        let one = self.log(log)?;
        let (key, below) = (key.clone(), below.min(one.tail.next()));
        one.blocking(move |engine| engine.of_key(&key, from, below, limit)).await
    }

    async fn record(&self, log: LogId, at: Lsn) -> Result<Option<Record>, ReadError> {
        let one = self.log(log)?;
        if at >= one.tail.next() {
            return Ok(None);
        }
        // So short a stretch is in one chunk.
        match one.blocking(move |engine| engine.read_cold(at, at.next())).await {
            Ok(records) => Ok(records.first().cloned()),
            Err(ReadError::Trimmed { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn bounds(&self, log: LogId) -> Result<Bounds, ReadError> {
        let one = self.log(log)?;
        let engine = one.engine.read();
        let first = engine.as_ref().ok_or(ReadError::Closed)?.segments.first();
        Ok(Bounds { first, next: one.tail.next() })
    }
}

#[async_trait]
impl LogAppend for DiskLog {
    async fn claim(&self, log: LogId, who: NodeId) -> Result<Claim, AppendError> {
        self.log_to_write(log)?.send(|reply| Work::Job(Job::Claim { who, reply })).await
    }

    async fn append(&self, claim: &mut Claim, records: Vec<NewRecord>, rows: Vec<Row>) -> Result<Lsn, AppendError> {
        limits::check_append(&records, &rows)?;
        let (epoch, next) = (claim.epoch, claim.next);
        let job = |reply| Work::Job(Job::Append { epoch, next, records, rows, reply });
        let last = self.log_to_write(claim.log)?.send(job).await?;
        claim.next = last.next();
        Ok(last)
    }

    async fn state(&self, log: LogId, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        let key = Bytes::copy_from_slice(key);
        self.log(log)?.blocking(move |engine| get_row(engine.log, &engine.owner_rows, &key)).await
    }

    async fn state_scan(
        &self,
        log: LogId,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, ReadError> {
        let (prefix, after) = (prefix.to_vec(), after.map(<[u8]>::to_vec));
        let scan = move |engine: &Engine| scan_rows(engine.log, &engine.owner_rows, &prefix, after.as_deref(), limit);
        self.log(log)?.blocking(scan).await
    }

    async fn trim(&self, claim: &Claim, up_to: Lsn) -> Result<(), AppendError> {
        let epoch = claim.epoch;
        self.log_to_write(claim.log)?.send(|reply| Work::Job(Job::Trim { epoch, up_to, reply })).await
    }
}

#[async_trait]
impl Rows for DiskLog {
    async fn get(&self, log: LogId, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        let key = Bytes::copy_from_slice(key);
        self.log(log)?.blocking(move |engine| get_row(engine.log, &engine.rows, &key)).await
    }

    async fn scan(
        &self,
        log: LogId,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, ReadError> {
        let (prefix, after) = (prefix.to_vec(), after.map(<[u8]>::to_vec));
        let scan = move |engine: &Engine| scan_rows(engine.log, &engine.rows, &prefix, after.as_deref(), limit);
        self.log(log)?.blocking(scan).await
    }

    async fn put(&self, log: LogId, rows: Vec<Row>) -> Result<(), AppendError> {
        limits::check_put(&rows)?;
        self.log_to_write(log)?.send(|reply| Work::Job(Job::Put { rows, reply })).await
    }
}
