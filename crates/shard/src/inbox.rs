//! The callers' end of an owner's inbox, and the way back.

use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{mpsc, oneshot};

use crate::{
    budget::{Budget, Charge},
    config::Config,
    error::ExecuteError,
    telemetry::ShardMetrics,
};

/// Something that can be answered without having been done.
pub(crate) trait Refuse {
    /// Answers; nothing happened.
    fn refuse(self, error: ExecuteError);
}

/// Where requests wait for an owner: bounded by number and by weight. Cheap to clone.
#[derive(Debug)]
pub(crate) struct Inbox<R> {
    requests: mpsc::Sender<R>,
    /// What is in here and with the owner until it is answered.
    budget: Budget,
    waiting: Gauge,
}

impl<R> Clone for Inbox<R> {
    fn clone(&self) -> Self {
        Self { requests: self.requests.clone(), budget: self.budget.clone(), waiting: self.waiting.clone() }
    }
}

impl<R> Inbox<R> {
    /// An empty inbox and the owner's end of it.
    pub(crate) fn new(config: &Config, metrics: &ShardMetrics) -> (Self, mpsc::Receiver<R>) {
        let (requests, taken) = mpsc::channel(config.inbox_max);
        let budget = Budget::new(config.inbox_bytes_max, metrics.inbox_bytes.clone());
        (Self { requests, budget, waiting: metrics.inbox.clone() }, taken)
    }

    /// Puts a request in, if there is room for one more and for its weight, and waits for the answer. `weight` in bytes.
    ///
    /// # Errors
    /// [`ExecuteError::Busy`] when there is no room, [`ExecuteError::Unavailable`] when the inbox is closed; and the answer's.
    /// Cancel safe in that nothing breaks; what was put in is done even if nobody waits.
    pub(crate) async fn ask<T>(&self, weight: usize, request: impl FnOnce(Reply<T>) -> R) -> Result<T, ExecuteError> {
        // In this order, so that a closed inbox is told as such also while it is full.
        let place = self.requests.try_reserve().map_err(|error| match error {
            mpsc::error::TrySendError::Full(()) => ExecuteError::Busy,
            mpsc::error::TrySendError::Closed(()) => ExecuteError::Unavailable("the server is stopping".into()),
        })?;
        let charge = self.budget.try_charge(weight).ok_or(ExecuteError::Busy)?;
        self.waiting.inc();
        let held = Held { _charge: charge, waiting: self.waiting.clone() };
        let (to, answer) = oneshot::channel();
        place.send(request(Reply { to: Some(to), held: Some(held), is_appending: false }));
        // A reply always tells something.
        answer.await.unwrap_or_else(|_| Err(ExecuteError::Unknown("no answer".into())))
    }
}

/// What a request takes until it is answered.
#[derive(Debug)]
struct Held {
    _charge: Charge,
    waiting: Gauge,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.waiting.dec();
    }
}

/// The way back to whoever asked.
///
/// Whatever becomes of the task that has it, the caller is told what is true: a request that is dropped before its append
/// began did nothing; after that nobody knows.
#[derive(Debug)]
pub(crate) struct Reply<T> {
    /// `None` once it was answered.
    to: Option<oneshot::Sender<Result<T, ExecuteError>>>,
    held: Option<Held>,
    is_appending: bool,
}

impl<T> Reply<T> {
    /// What this request writes is on its way to the log: from now on it may have happened.
    pub(crate) fn append_begins(&mut self) {
        self.is_appending = true;
    }

    pub(crate) fn send(mut self, told: Result<T, ExecuteError>) {
        self.tell(told);
    }

    fn tell(&mut self, told: Result<T, ExecuteError>) {
        let Some(to) = self.to.take() else { return };
        // Before the answer: whoever has it may ask the next thing.
        self.held = None;
        // A caller that is gone needs no answer.
        drop(to.send(told));
    }
}

impl<T> Drop for Reply<T> {
    fn drop(&mut self) {
        if self.to.is_some() {
            let reason = "the owner starts again from its log".to_owned();
            self.tell(Err(match self.is_appending {
                true => ExecuteError::Unknown(reason),
                false => ExecuteError::Unavailable(reason),
            }));
        }
    }
}
