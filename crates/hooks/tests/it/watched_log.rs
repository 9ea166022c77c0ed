//! A log that counts what is read of it, and fails when told to.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use roomhook_log::{Bounds, Key, LogId, LogRead, Lsn, MemoryLog, ReadError, Record, RecordStream};

/// What became of reads, and what is to become of them.
#[derive(Debug, Default)]
pub(crate) struct Reads {
    records: AtomicUsize,
    failing: AtomicUsize,
    /// So many of the newest records are not there yet, until somebody waits for them.
    lag: AtomicUsize,
}

impl Reads {
    /// Records that were read so far.
    pub(crate) fn records(&self) -> usize {
        self.records.load(Ordering::Acquire)
    }

    /// The next reads of one room fail, so many of them.
    pub(crate) fn fail(&self, count: usize) {
        self.failing.store(count, Ordering::Release);
    }

    /// Reads are so many records behind what is written elsewhere.
    pub(crate) fn lag(&self, records: usize) {
        self.lag.store(records, Ordering::Release);
    }

    pub(crate) fn left_to_fail(&self) -> usize {
        self.failing.load(Ordering::Acquire)
    }

    fn count(&self, records: &[Record]) {
        self.records.fetch_add(records.len(), Ordering::AcqRel);
    }
}

#[derive(Debug)]
pub(crate) struct WatchedLog {
    pub(crate) log: Arc<MemoryLog>,
    pub(crate) reads: Arc<Reads>,
}

struct WatchedStream {
    stream: Box<dyn RecordStream>,
    reads: Arc<Reads>,
}

#[async_trait]
impl RecordStream for WatchedStream {
    async fn next_batch(&mut self) -> Result<Arc<[Record]>, ReadError> {
        let batch = self.stream.next_batch().await?;
        self.reads.count(&batch);
        Ok(batch)
    }
}

#[async_trait]
impl LogRead for WatchedLog {
    fn read(&self, log: LogId, from: Lsn) -> Result<Box<dyn RecordStream>, ReadError> {
        Ok(Box::new(WatchedStream { stream: self.log.read(log, from)?, reads: self.reads.clone() }))
    }

    async fn last(&self, log: LogId, key: &Key, before: Lsn, limit: usize) -> Result<Vec<Record>, ReadError> {
        let records = self.log.last(log, key, before, limit).await?;
        self.reads.count(&records);
        Ok(records)
    }

    async fn of_key(
        &self,
        log: LogId,
        key: &Key,
        from: Lsn,
        below: Lsn,
        limit: usize,
    ) -> Result<Vec<Record>, ReadError> {
        let one_less = |left: usize| left.checked_sub(1);
        if self.reads.failing.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_less).is_ok() {
            return Err(ReadError::Io { log, reason: "told to fail".to_owned() });
        }
        let records = self.log.of_key(log, key, from, below, limit).await?;
        self.reads.count(&records);
        Ok(records)
    }

    async fn record(&self, log: LogId, at: Lsn) -> Result<Option<Record>, ReadError> {
        let record = self.log.record(log, at).await?;
        self.reads.count(record.as_slice());
        Ok(record)
    }

    async fn bounds(&self, log: LogId) -> Result<Bounds, ReadError> {
        let bounds = self.log.bounds(log).await?;
        let lag = self.reads.lag.load(Ordering::Acquire) as u64;
        Ok(Bounds { next: Lsn(bounds.next.0.saturating_sub(lag)).max(bounds.first), ..bounds })
    }

    async fn end(&self, log: LogId) -> Result<Lsn, ReadError> {
        LogRead::end(&*self.log, log).await
    }

    async fn reached(&self, log: LogId, to: Lsn) -> Result<(), ReadError> {
        self.log.reached(log, to).await?;
        self.reads.lag.store(0, Ordering::Release);
        Ok(())
    }
}
