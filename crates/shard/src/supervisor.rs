//! Keeps an owner alive, and tells how it is.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Duration, sleep},
};
use tracing::Instrument as _;

use crate::{
    error::ExecuteError,
    owner::{Deps, Exit, Owner},
    replay::{Opened, may_heal},
    request::Request,
};

/// Between two tries to open a log again.
const REOPEN_PAUSE_MIN: Duration = Duration::from_millis(100);
const REOPEN_PAUSE_MAX: Duration = Duration::from_secs(30);

/// How an owner is, as others see it. The lock guards a small value and is taken by the owner only when it changes.
#[derive(Debug)]
pub(crate) struct Health {
    name: String,
    ready: std::sync::atomic::AtomicBool,
    trouble: Mutex<Option<Trouble>>,
}

#[derive(Clone, Debug)]
struct Trouble {
    reason: String,
    /// Whether there is any use in asking.
    open: bool,
}

impl Health {
    pub(crate) fn new(name: String) -> Arc<Self> {
        Arc::new(Self { name, ready: true.into(), trouble: Mutex::new(None) })
    }

    pub(crate) fn set_ready(&self) {
        if !self.is_ready() {
            *self.trouble.lock() = None;
            self.ready.store(true, std::sync::atomic::Ordering::Release);
        }
    }

    /// Nothing can be written, now or until a restart. Reading goes on.
    pub(crate) fn set_refusing(&self, reason: &str) {
        self.set_trouble(Trouble { reason: reason.to_owned(), open: true });
    }

    /// Nobody is there to ask.
    pub(crate) fn set_closed(&self, reason: &str) {
        self.set_trouble(Trouble { reason: reason.to_owned(), open: false });
    }

    fn set_trouble(&self, trouble: Trouble) {
        *self.trouble.lock() = Some(trouble);
        self.ready.store(false, std::sync::atomic::Ordering::Release);
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.ready.load(std::sync::atomic::Ordering::Acquire)
    }

    pub(crate) fn trouble(&self) -> Option<String> {
        let trouble = self.trouble.lock();
        trouble.as_ref().map(|trouble| format!("{}: {}", self.name, trouble.reason))
    }

    /// # Errors
    /// When nobody is there to ask.
    pub(crate) fn check_open(&self) -> Result<(), ExecuteError> {
        if self.is_ready() {
            return Ok(());
        }
        match &*self.trouble.lock() {
            Some(Trouble { reason, open: false }) => Err(ExecuteError::Unavailable(reason.clone())),
            _ => Ok(()),
        }
    }
}

/// Runs owners of one shard, one after the other, until the server stops. What a panic leaves of an owner is dropped
/// whole; the next one starts from the log. Requests that still wait in the inbox wait on.
pub(crate) async fn supervise(deps: Deps, inbox: mpsc::Receiver<Request>, opened: Opened) {
    let inbox = Arc::new(tokio::sync::Mutex::new(inbox));
    let mut opened = Some(opened);
    let mut pause = REOPEN_PAUSE_MIN;
    loop {
        let Some(open) = opened.take() else {
            match deps.reader.open(deps.config.node).await {
                Ok(reopened) => {
                    tracing::info!(replayed = reopened.replayed, "the shard runs again");
                    deps.health.set_ready();
                    pause = REOPEN_PAUSE_MIN;
                    opened = Some(reopened);
                }
                Err(error) => {
                    let (reason, heals) = (error.told(), may_heal(&error));
                    tracing::error!(reason, heals, "the shard cannot be opened again");
                    deps.health.set_closed(&reason);
                    if !heals || stopped_within(&deps, pause).await {
                        return refuse_all(&inbox, &deps, reason).await;
                    }
                    pause = (pause * 2).min(REOPEN_PAUSE_MAX);
                }
            }
            continue;
        };
        // A task of its own, so that its panic is an answer here. The set ends it when this future is dropped.
        let mut life = JoinSet::new();
        let owner = Owner::new(deps.clone(), Arc::clone(&inbox).lock_owned().await, open);
        life.spawn(owner.run().in_current_span());
        match life.join_next().await {
            Some(Ok(Exit::Stopped)) | None => return,
            Some(Ok(Exit::Reopen(reason))) => {
                tracing::error!(reason, "the shard starts again from its log");
                deps.health.set_closed(&reason);
            }
            Some(Err(_)) => {
                tracing::error!("the owner of the shard panicked, it starts again from its log");
                deps.health.set_closed("the shard starts again");
                deps.metrics.panics.inc();
            }
        }
    }
}

/// Waits until the server stops; also if whoever would say so is gone.
pub(crate) async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Waits, and tells whether the server stopped meanwhile.
async fn stopped_within(deps: &Deps, pause: Duration) -> bool {
    let mut stop = deps.stop.clone();
    tokio::select! {
        biased;
        () = stopped(&mut stop) => true,
        () = sleep(pause) => *deps.stop.borrow(),
    }
}

/// Nothing will be decided any more: answers until the server stops.
async fn refuse_all(inbox: &tokio::sync::Mutex<mpsc::Receiver<Request>>, deps: &Deps, reason: String) {
    let mut inbox = inbox.lock().await;
    let mut stop = deps.stop.clone();
    loop {
        tokio::select! {
            biased;
            request = inbox.recv() => match request {
                Some(request) => request.refuse(ExecuteError::Unavailable(reason.clone())),
                None => return,
            },
            () = stopped(&mut stop), if !inbox.is_closed() => inbox.close(),
        }
    }
}
