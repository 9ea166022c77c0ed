//! How the store is read: on the blocking pool, when the mirror has what was answered before, and beside a mirror that failed.

use std::{ops::Range, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::RwLock;
use roomhook_log::{ColdRead, Key, LogId, Lsn, ReadError, Record};
use roomhook_mirror::Mirror;
use tokio::sync::Semaphore;

use crate::{
    chunks::JournalChunks,
    keeper::Following,
    open::{self, Folders},
    unwritten::{Unwritten, Whose},
};

/// Reads of the whole store that may block at once. Callers beyond wait.
const READS_MAX: usize = 16;

/// What reading needs. Gone after the shutdown.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) open: RwLock<Option<Arc<Files>>>,
    pub(crate) following: Following,
    permits: Arc<Semaphore>,
}

impl Reading {
    pub(crate) fn new(files: Files, following: Following) -> Arc<Self> {
        let open = RwLock::new(Some(Arc::new(files)));
        Arc::new(Self { open, following, permits: Arc::new(Semaphore::new(READS_MAX)) })
    }

    /// Runs a read on the blocking pool, when the mirror has all that was answered before.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        log: LogId,
        read: impl FnOnce(&Files) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, ReadError> {
        let files = self.open.read().clone().ok_or(ReadError::Closed)?;
        self.following.caught_up(log).await?;
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(|_| ReadError::Closed)?;
        let task = tokio::task::spawn_blocking(move || {
            let outcome = read(&files);
            if outcome.is_err() && files.mirror.is_damaged() {
                open::condemn_mirror(&files.folders);
            }
            drop((files, permit));
            outcome
        });
        task.await.unwrap_or_else(|error| Err(ReadError::Io { log, reason: error.to_string() }))
    }
}

#[async_trait]
impl ColdRead for Reading {
    async fn read_cold(&self, log: LogId, from: Lsn, below: Lsn) -> Result<Arc<[Record]>, ReadError> {
        self.run(log, move |files| files.stretch(log, from..below)).await
    }
}

/// The mirror, what it could not take in, and the journal that both point into. All of this blocks.
#[derive(Debug)]
pub(crate) struct Files {
    pub(crate) folders: Folders,
    pub(crate) mirror: Arc<Mirror>,
    pub(crate) unwritten: Arc<Unwritten>,
    pub(crate) chunks: JournalChunks,
}

impl Files {
    /// Records of a stretch, in order, perhaps not up to its end.
    pub(crate) fn stretch(&self, log: LogId, within: Range<Lsn>) -> Result<Arc<[Record]>, ReadError> {
        let from = within.start;
        self.unwritten.stretch(log, within, |below| self.mirror.read_cold(&self.chunks, log, from, below))
    }

    pub(crate) fn last(&self, log: LogId, key: &Key, before: Lsn, limit: usize) -> Result<Vec<Record>, ReadError> {
        let of_mirror = |before, limit| self.mirror.last(&self.chunks, log, key, before, limit);
        self.unwritten.last(log, key, before, limit, of_mirror)
    }

    pub(crate) fn of_key(
        &self,
        log: LogId,
        key: &Key,
        within: Range<Lsn>,
        limit: usize,
    ) -> Result<Vec<Record>, ReadError> {
        let from = within.start;
        let of_mirror = |below| self.mirror.of_key(&self.chunks, log, key, (from, below), limit);
        self.unwritten.of_key(log, key, within, limit, of_mirror)
    }

    pub(crate) fn row(&self, whose: Whose, log: LogId, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        match (self.unwritten.row(whose, log, key), whose) {
            (Some(row), _) => Ok(row),
            (None, Whose::Owner) => self.mirror.owner_row(log, key),
            (None, Whose::Hooks) => self.mirror.hook_row(log, key),
        }
    }

    pub(crate) fn rows(
        &self,
        whose: Whose,
        log: LogId,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, ReadError> {
        self.unwritten.page(whose, log, (prefix, after), limit, |limit| match whose {
            Whose::Owner => self.mirror.owner_rows(log, prefix, after, limit),
            Whose::Hooks => self.mirror.hook_rows(log, prefix, after, limit),
        })
    }
}
