//! Keeps an owner alive, and tells how it is.

use std::{convert::Infallible, sync::Arc};

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
/// How long requests wait for an owner that died to be replaced.
const REOPEN_PATIENCE: Duration = Duration::from_secs(1);

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
/// whole (and tells its callers so); the next one starts from the log.
pub(crate) async fn supervise(deps: Deps, inbox: mpsc::Receiver<Request>, opened: Opened) {
    let inbox = Arc::new(tokio::sync::Mutex::new(inbox));
    let mut opened = opened;
    loop {
        // A task of its own, so that its panic is an answer here. The set ends it when this future is dropped.
        let mut life = JoinSet::new();
        let owner = Owner::new(deps.clone(), Arc::clone(&inbox).lock_owned().await, opened);
        life.spawn(owner.run().in_current_span());
        let (reason, patience) = match life.join_next().await {
            Some(Ok(Exit::Stopped)) | None => return,
            // Its log did not answer for seconds already.
            Some(Ok(Exit::Reopen(reason))) => {
                tracing::error!(reason, "the shard starts again from its log");
                (reason, Duration::ZERO)
            }
            Some(Err(_)) => {
                tracing::error!("the owner of the shard panicked, it starts again from its log");
                deps.metrics.panics.inc();
                ("the shard starts again".to_owned(), REOPEN_PATIENCE)
            }
        };
        deps.health.set_closed(&reason);
        match open_again(&deps, &inbox, reason, patience).await {
            Some(again) => opened = again,
            None => return,
        }
    }
}

/// Opens the log again, however many tries it takes. Requests that wait in the inbox wait on for the next owner, but not
/// longer than `patience`, and not once a try has failed: then they are told that nothing happened. `None` when there will
/// be no owner any more and the server stopped.
async fn open_again(
    deps: &Deps,
    inbox: &tokio::sync::Mutex<mpsc::Receiver<Request>>,
    mut reason: String,
    mut patience: Duration,
) -> Option<Opened> {
    let mut inbox = inbox.lock().await;
    let mut pause = REOPEN_PAUSE_MIN;
    loop {
        // In a box, because it is large.
        let mut opening = Box::pin(deps.reader.open(deps.config.node));
        let refusing = async {
            sleep(patience).await;
            refuse_all(&mut inbox, deps, &reason).await;
            // Closed: whoever is underway is waited for.
            std::future::pending::<Infallible>().await
        };
        let tried = tokio::select! {
            biased;
            tried = &mut opening => tried,
            never = refusing => match never {},
        };
        let error = match tried {
            Ok(opened) => {
                tracing::info!(replayed = opened.replayed, "the shard runs again");
                deps.health.set_ready();
                return Some(opened);
            }
            Err(error) => error,
        };
        let heals = may_heal(&error);
        reason = error.told();
        tracing::error!(reason, heals, "the shard cannot be opened again");
        deps.health.set_closed(&reason);
        let refusing = refuse_all(&mut inbox, deps, &reason);
        if !heals {
            refusing.await;
            return None;
        }
        tokio::select! {
            biased;
            () = refusing => return None,
            () = sleep(pause) => {}
        }
        (patience, pause) = (Duration::ZERO, (pause * 2).min(REOPEN_PAUSE_MAX));
    }
}

/// Waits until the server stops; also if whoever would say so is gone.
pub(crate) async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Tells whoever asks that nothing happened, until the server stops and the inbox is empty. Cancel safe.
async fn refuse_all(inbox: &mut mpsc::Receiver<Request>, deps: &Deps, reason: &str) {
    let mut stop = deps.stop.clone();
    loop {
        tokio::select! {
            biased;
            request = inbox.recv() => match request {
                Some(request) => request.refuse(ExecuteError::Unavailable(reason.to_owned())),
                None => return,
            },
            () = stopped(&mut stop), if !inbox.is_closed() => inbox.close(),
        }
    }
}
