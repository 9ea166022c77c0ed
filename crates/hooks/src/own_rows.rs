//! Whose logs are whose, and the rows that webhooks keep beside them: everybody may read those, and only the log's owner writes.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use roomhook_log::{AppendError, Epoch, LogId, ReadError, Reigns, Row, Rows};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

/// How long a write that was fenced waits to hear that its own process has claimed the log anew.
const NEWER_WITHIN: Duration = Duration::from_millis(250);

/// Why rows are not written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unwritten {
    #[error("log {0} belongs to another process")]
    NotOwned(LogId),
    #[error(transparent)]
    Log(#[from] AppendError),
}

impl Unwritten {
    /// Whether the log was claimed anew: by this process, which is told in a moment, or by another one, which is as well.
    pub(crate) fn is_fenced(&self) -> bool {
        matches!(self, Self::Log(AppendError::Fenced { .. }))
    }

    /// Whether it says something of the store, and not of who writes.
    pub(crate) fn is_trouble(&self) -> bool {
        !self.is_fenced() && !matches!(self, Self::NotOwned(_))
    }
}

/// Which logs are owned without a break since which claim: while that stays the same, so does what was read of their rows.
pub(crate) type Owned = BTreeMap<LogId, Epoch>;

/// Webhooks have nothing in the directory's log.
fn owned(reigns: &Reigns) -> impl Iterator<Item = (LogId, Epoch)> {
    let of_shards = reigns.iter().filter(|(log, _)| **log != LogId::DIRECTORY);
    of_shards.map(|(log, reign)| (*log, reign.since))
}

/// Between two looks at whose a log is. A claim of this process is known a moment after its record; another one's may stay.
const LOOK_AGAIN_MIN: Duration = Duration::from_millis(1);
const LOOK_AGAIN_MAX: Duration = Duration::from_millis(100);

/// Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct OwnRows {
    rows: Arc<dyn Rows>,
    reigns: watch::Receiver<Reigns>,
    /// Of whom it is: whoever has read rows writes only as long as nobody else had their log since.
    of: Option<Arc<Owned>>,
}

impl OwnRows {
    pub(crate) fn new(rows: Arc<dyn Rows>, reigns: watch::Receiver<Reigns>) -> Self {
        Self { rows, reigns, of: None }
    }

    /// The same, for somebody who goes by what he reads from now on.
    pub(crate) fn as_of_now(&self) -> Self {
        Self { of: Some(Arc::new(self.owned())), ..self.clone() }
    }

    pub(crate) fn owned(&self) -> Owned {
        owned(&self.reigns.borrow()).collect()
    }

    pub(crate) fn owns(&self, log: LogId) -> bool {
        self.epoch(&self.reigns.borrow(), log).is_some()
    }

    /// The epoch to write under.
    fn epoch(&self, reigns: &Reigns, log: LogId) -> Option<Epoch> {
        let reign = reigns.get(&log)?;
        let is_still = self.of.as_ref().is_none_or(|of| of.get(&log) == Some(&reign.since));
        is_still.then_some(reign.epoch)
    }

    /// Waits until it is not these that are owned. Cancel safe.
    pub(crate) async fn changed(&self, from: &Owned) {
        let is_other = |reigns: &Reigns| !owned(reigns).eq(from.iter().map(|(log, since)| (*log, *since)));
        if self.reigns.clone().wait_for(is_other).await.is_err() {
            // Nobody is there to tell.
            std::future::pending().await
        }
    }

    /// Waits until this process owns a log under an epoch that is not before this one, the epoch of a record: who owned it when it
    /// was written is known then. Does not return if another process has the log, or had it meanwhile. Cancel safe.
    pub(crate) async fn until_ours(&self, log: LogId, epoch: Epoch) {
        let is_ours = |reigns: &Reigns| self.epoch(reigns, log).is_some_and(|ours| ours >= epoch);
        // Not woken by the watch: that wakes many who wait in an order drawn by lot, and the same seed would not give the same run.
        let mut pause = LOOK_AGAIN_MIN;
        while !is_ours(&self.reigns.borrow()) {
            sleep(pause).await;
            pause = (pause * 2).min(LOOK_AGAIN_MAX);
        }
    }

    /// As [`Rows::get`].
    pub(crate) async fn get(&self, log: LogId, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        self.rows.get(log, key).await
    }

    /// As [`Rows::scan`].
    pub(crate) async fn scan(
        &self,
        log: LogId,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, ReadError> {
        self.rows.scan(log, prefix, after, limit).await
    }

    /// As [`Rows::put`], under the present epoch of this process. When the log was claimed anew meanwhile by its owner here, the
    /// rows are written under the new epoch.
    pub(crate) async fn put(&self, log: LogId, rows: Vec<Row>) -> Result<(), Unwritten> {
        let mut reigns = self.reigns.clone();
        loop {
            let epoch = self.epoch(&reigns.borrow_and_update(), log).ok_or(Unwritten::NotOwned(log))?;
            let fenced = match self.rows.put(log, epoch, rows.clone()).await {
                Err(fenced @ AppendError::Fenced { .. }) => fenced,
                outcome => return Ok(outcome?),
            };
            let newer = reigns.wait_for(|reigns| self.epoch(reigns, log) != Some(epoch));
            if !matches!(timeout(NEWER_WITHIN, newer).await, Ok(Ok(_))) {
                return Err(fenced.into());
            }
        }
    }
}
