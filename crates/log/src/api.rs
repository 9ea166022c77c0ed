//! The contract. Every backend passes [`crate::contract`]'s suite, so what is said here holds for all.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;

use crate::{
    error::{AppendError, ReadError},
    types::{Bounds, Epoch, Expect, Key, LogId, Lsn, NewRecord, NodeId, Record, Row},
};

/// The right to append to one log, held by one writer. Not `Clone`: ownership is a value.
#[derive(Debug)]
pub struct Claim {
    pub log: LogId,
    pub epoch: Epoch,
    /// Where the next record goes. Backends advance it after each successful append.
    pub next: Lsn,
}

/// A reader's place in a log: history first, then live, with no seam.
#[async_trait]
pub trait RecordStream: Send {
    /// Waits until there is at least one record, then returns records in order without a hole: one shared batch, at
    /// most about 1 MiB or 4,096 records, cheap to clone. Only durable records are ever seen. Successive calls
    /// continue where the last one ended.
    ///
    /// # Errors
    /// [`ReadError::Trimmed`] when retention overtook this reader, others as named there. After an error the stream
    /// stays where it was; the caller may open a new one elsewhere.
    ///
    /// Cancel safe: dropping the future loses no record.
    async fn next_batch(&mut self) -> Result<Arc<[Record]>, ReadError>;
}

/// Reading records.
#[async_trait]
pub trait LogRead: Send + Sync + fmt::Debug {
    /// Records from `from` on, then live ones as they become durable.
    ///
    /// # Errors
    /// [`ReadError::NoSuchLog`]. That `from` was trimmed is told by the stream's first batch.
    fn read(&self, log: LogId, from: Lsn) -> Result<Box<dyn RecordStream>, ReadError>;

    /// The newest `limit` records of one key with `lsn < before`, oldest first: what history needs.
    ///
    /// # Errors
    /// As [`ReadError`] names them. Cancel safe.
    async fn last(&self, log: LogId, key: &Key, before: Lsn, limit: usize) -> Result<Vec<Record>, ReadError>;

    /// The oldest `limit` records of one key with `from <= lsn < below`, oldest first: what somebody needs who goes on with
    /// one room where he left it, without reading all the others. What was trimmed is missing without a word; compare
    /// [`LogRead::bounds`].
    ///
    /// # Errors
    /// As [`ReadError`] names them. Cancel safe.
    async fn of_key(
        &self,
        log: LogId,
        key: &Key,
        from: Lsn,
        below: Lsn,
        limit: usize,
    ) -> Result<Vec<Record>, ReadError>;

    /// The record at one position, without those around it; `None` when it was trimmed or is not written yet.
    ///
    /// # Errors
    /// As [`ReadError`] names them. Cancel safe.
    async fn record(&self, log: LogId, at: Lsn) -> Result<Option<Record>, ReadError>;

    /// First readable and next free position, as reads here have it now. On a machine that follows a log that is written
    /// elsewhere this may lie behind the log's end: see [`LogRead::end`].
    ///
    /// # Errors
    /// As [`ReadError`] names them. Cancel safe.
    async fn bounds(&self, log: LogId) -> Result<Bounds, ReadError>;

    /// Where the log ends, whoever writes it: everything that was acknowledged anywhere before this call lies below. Reads
    /// here may not see all of it yet; [`LogRead::reached`] waits until they do.
    ///
    /// # Errors
    /// As [`ReadError`] names them; [`ReadError::Io`] when whoever knows cannot be asked. Cancel safe.
    async fn end(&self, log: LogId) -> Result<Lsn, ReadError>;

    /// Waits until reads here see everything before `to`; for a position beyond the log's end, until it has grown to it.
    ///
    /// # Errors
    /// [`ReadError::Closed`] when that will not come any more, others as [`ReadError`] names them. Cancel safe.
    async fn reached(&self, log: LogId, to: Lsn) -> Result<(), ReadError>;
}

/// Writing records, and the owner's rows beside them.
#[async_trait]
pub trait LogAppend: LogRead {
    /// Becomes the writer: appends a claim record ([`Key::CLAIMS`], telling `who`) that fences every older epoch. Reads here
    /// see everything before it when this returns.
    ///
    /// # Errors
    /// [`AppendError::Fenced`] when the log is not as expected: nothing was written then. [`AppendError::Ambiguous`] when it
    /// is not known whether it was; the newest record of [`Key::CLAIMS`] tells. Others as named there. Not cancel safe: a
    /// dropped claim may have fenced others.
    async fn claim(&self, log: LogId, who: NodeId, expect: Expect) -> Result<Claim, AppendError>;

    /// Appends `records` in order, durably, and writes the owner's `rows` with them: whoever reads sees both or none. Returns
    /// the position of the last record (or of the one before `claim.next` when `records` is empty). `claim.next` has moved
    /// on then.
    ///
    /// The rows follow from the records, so they need not be as durable: a crash may leave all of them as they were after
    /// some earlier append, older than the records and never newer. Records that such rows need are kept, whatever
    /// [`LogAppend::trim`] gave up meanwhile.
    ///
    /// # Errors
    /// On [`AppendError::Ambiguous`] a prefix may be durable; never a gap, never a reorder. Not cancel safe:
    /// a dropped append has an unknown outcome.
    async fn append(&self, claim: &mut Claim, records: Vec<NewRecord>, rows: Vec<Row>) -> Result<Lsn, AppendError>;

    /// The owner's row with this key.
    ///
    /// # Errors
    /// As [`ReadError`] names them. Cancel safe.
    async fn state(&self, log: LogId, key: &[u8]) -> Result<Option<Bytes>, ReadError>;

    /// The owner's rows whose key starts with `prefix`, in order of key, from the first key `> after` on; at most
    /// `limit`. Pass the last key back in to page on.
    ///
    /// # Errors
    /// As [`ReadError`] names them. Cancel safe.
    async fn state_scan(
        &self,
        log: LogId,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, ReadError>;

    /// Allows the backend to drop records below `up_to`; it does so in whole segments, when it likes.
    ///
    /// # Errors
    /// As [`AppendError`] names them.
    async fn trim(&self, claim: &Claim, up_to: Lsn) -> Result<(), AppendError>;
}

/// Small durable rows beside a log, in a namespace of their own, apart from the owner's: webhook cursors and exceptions.
/// This is all that webhooks may write.
#[async_trait]
pub trait Rows: Send + Sync + fmt::Debug {
    /// # Errors
    /// As [`ReadError`] names them. Cancel safe.
    async fn get(&self, log: LogId, key: &[u8]) -> Result<Option<Bytes>, ReadError>;

    /// Rows whose key starts with `prefix`, in order of key, from the first key `> after` on; at most `limit`.
    ///
    /// # Errors
    /// As [`ReadError`] names them. Cancel safe.
    async fn scan(
        &self,
        log: LogId,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, ReadError>;

    /// Writes all rows or none, for the owner of this epoch. Need not be synced when it returns: a power cut may lose the
    /// newest calls (which repeats deliveries), never a part of one, and never an older call while keeping a newer. A
    /// process crash loses nothing.
    ///
    /// # Errors
    /// [`AppendError::Fenced`] when the log has another epoch: as a record would be, the row of a deposed owner is refused,
    /// so that a cursor never goes back over its successor's. Others as [`AppendError`] names them.
    async fn put(&self, log: LogId, epoch: Epoch, rows: Vec<Row>) -> Result<(), AppendError>;
}

/// A whole store: what `app.rs` hands around, narrowed to what each ring may do.
pub trait Log: LogAppend + Rows {}
impl<T: LogAppend + Rows> Log for T {}
