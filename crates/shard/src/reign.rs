//! Which logs this process owns, and how it is told to take one again.
//!
//! An owner that was deposed does not fight: it answers nothing and waits here until somebody who knows better (a person, the
//! assignment of shards to machines) has it take its log again.

use std::{collections::BTreeMap, fmt, sync::Arc};

use roomhook_log::{Epoch, Expect, LogId, Reign, Reigns};
use tokio::sync::{mpsc, oneshot, watch};

use crate::error::StartError;

/// Told to take a log.
#[derive(Debug)]
pub(crate) struct Take {
    pub(crate) expect: Expect,
    /// The new epoch.
    reply: oneshot::Sender<Result<Epoch, StartError>>,
}

impl Take {
    pub(crate) fn tell(self, outcome: Result<Epoch, StartError>) {
        // A caller that went away does not want to know.
        drop(self.reply.send(outcome));
    }
}

/// The logs of shards and directory as this process has them. Cheap to clone.
#[derive(Clone)]
pub struct Ownership {
    reigns: watch::Receiver<Reigns>,
    takes: Arc<BTreeMap<LogId, mpsc::Sender<Take>>>,
}

impl fmt::Debug for Ownership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ownership").field("reigns", &*self.reigns.borrow()).finish_non_exhaustive()
    }
}

impl Ownership {
    pub(crate) fn new(reigns: watch::Receiver<Reigns>, takes: BTreeMap<LogId, mpsc::Sender<Take>>) -> Self {
        Self { reigns, takes: Arc::new(takes) }
    }

    /// Which logs are owned, under which epochs, and every change of that. A log that somebody else has claimed leaves when its
    /// owner has noticed.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Reigns> {
        self.reigns.clone()
    }

    /// Has this process take a log again that it was deposed from, and waits until its owner runs. Nothing is done if it is
    /// owned already. Its epoch.
    ///
    /// # Errors
    /// [`StartError`] when it cannot be claimed, or somebody claimed it since the epoch that `expect` names: whoever was deposed
    /// stays so then, and may be told again. Cancel safe in that nothing breaks; a take that was sent may still happen.
    pub async fn take(&self, log: LogId, expect: Expect) -> Result<Epoch, StartError> {
        if let Some(reign) = self.reigns.borrow().get(&log).copied() {
            return Ok(reign.epoch);
        }
        let stopping = || StartError::Stopping { log };
        let (reply, taken) = oneshot::channel();
        let takes = self.takes.get(&log).ok_or_else(stopping)?;
        takes.send(Take { expect, reply }).await.map_err(|_| stopping())?;
        taken.await.unwrap_or_else(|_| Err(stopping()))
    }
}

/// The part of it that belongs to the owner of one log, and to those who come after it.
#[derive(Clone, Debug)]
pub(crate) struct Seat {
    log: LogId,
    reigns: watch::Sender<Reigns>,
}

impl Seat {
    pub(crate) fn new(log: LogId, reigns: watch::Sender<Reigns>) -> Self {
        Self { log, reigns }
    }

    /// The epoch under which the log was claimed last, if it is owned.
    pub(crate) fn epoch(&self) -> Option<Epoch> {
        self.reigns.borrow().get(&self.log).map(|reign| reign.epoch)
    }

    /// The log was claimed; nobody else did since it was before, if it was.
    pub(crate) fn claimed(&self, epoch: Epoch) {
        self.reigns.send_modify(|reigns| {
            let before = reigns.get(&self.log).map(|reign| reign.since);
            reigns.insert(self.log, Reign { epoch, since: before.unwrap_or(epoch) });
        });
    }

    /// Somebody else did, or nobody writes here any more.
    pub(crate) fn ends(&self) {
        self.reigns.send_if_modified(|reigns| reigns.remove(&self.log).is_some());
    }
}
