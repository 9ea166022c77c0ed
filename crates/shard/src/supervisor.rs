//! Keeps an owner alive, and tells how it is.

use std::{convert::Infallible, sync::Arc};

use parking_lot::Mutex;
use roomhook_log::Epoch;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Duration, sleep},
};
use tracing::Instrument as _;

use crate::{
    error::ExecuteError,
    inbox::Refuse,
    life::{Deps, Exit, deposed},
    owner::Owner,
    reign::Take,
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

/// What comes next in the life of a shard.
enum Next {
    Live(Box<Opened>),
    /// What an owner left is thrown away. Requests wait for the next one, but no longer than this.
    Reopen {
        reason: String,
        patience: Duration,
    },
    /// Somebody else owns the shard.
    Follow {
        by: Epoch,
    },
    End,
}

/// Runs owners of one shard, one after the other, until the server stops. What a panic leaves of an owner is dropped
/// whole (and tells its callers so); the next one starts from the log. One that was deposed has no next one before somebody
/// says so.
pub(crate) async fn supervise(
    deps: Deps,
    inbox: mpsc::Receiver<Request>,
    mut takes: mpsc::Receiver<Take>,
    opened: Opened,
) {
    let inbox = Arc::new(tokio::sync::Mutex::new(inbox));
    let mut next = Next::Live(Box::new(opened));
    loop {
        next = match next {
            Next::Live(opened) => {
                let owner = Owner::new(deps.clone(), Arc::clone(&inbox).lock_owned().await, *opened);
                match live(&deps, owner.run(), &mut takes).await {
                    Ok(Exit::Stopped) => Next::End,
                    // Its log did not answer for seconds already.
                    Ok(Exit::Reopen(reason)) => {
                        tracing::error!(reason, "the shard starts again from its log");
                        Next::Reopen { reason, patience: Duration::ZERO }
                    }
                    Ok(Exit::Deposed { by }) => Next::Follow { by },
                    Err(Panicked) => {
                        Next::Reopen { reason: "the shard starts again".to_owned(), patience: REOPEN_PATIENCE }
                    }
                }
            }
            Next::Reopen { reason, patience } => open_again(&deps, &inbox, reason, patience).await,
            Next::Follow { by } => {
                let mut inbox = inbox.lock().await;
                match follow(&deps, &mut *inbox, &mut takes, by).await {
                    Some(take) => taken(&deps, &mut inbox, take, by).await,
                    None => Next::End,
                }
            }
            Next::End => return deps.seat.ends(),
        };
    }
}

/// An owner panicked.
pub(crate) struct Panicked;

/// One owner's life. Whoever wants its log taken meanwhile is told that it is.
pub(crate) async fn live<E: Send + 'static>(
    deps: &Deps,
    owner: impl Future<Output = E> + Send + 'static,
    takes: &mut mpsc::Receiver<Take>,
) -> Result<E, Panicked> {
    // A task of its own, so that its panic is an answer here. The set ends it when this future is dropped.
    let mut life = JoinSet::new();
    life.spawn(owner.in_current_span());
    loop {
        tokio::select! {
            biased;
            ended = life.join_next() => match ended {
                Some(Ok(exit)) => return Ok(exit),
                Some(Err(_)) | None => {
                    tracing::error!("the owner panicked, it starts again from its log");
                    deps.metrics.panics.inc();
                    return Err(Panicked);
                }
            },
            Some(take) = takes.recv() => take.tell(Ok(deps.seat.epoch().unwrap_or_default())),
        }
    }
}

/// Follows whoever owns the log now: answers nothing, until somebody says that it is to be taken again. `None` when the server
/// stopped. Cancel safe.
pub(crate) async fn follow<R: Refuse>(
    deps: &Deps,
    inbox: &mut mpsc::Receiver<R>,
    takes: &mut mpsc::Receiver<Take>,
    by: Epoch,
) -> Option<Take> {
    let reason = deposed(by);
    tracing::error!(reason, "this process owns the log no more");
    deps.seat.ends();
    deps.health.set_closed(&reason);
    tokio::select! {
        biased;
        () = refuse_all(inbox, deps, &reason) => None,
        Some(take) = takes.recv() => Some(take),
    }
}

/// Takes the shard again, as somebody said.
async fn taken(deps: &Deps, inbox: &mut mpsc::Receiver<Request>, take: Take, by: Epoch) -> Next {
    match while_refusing(deps.open(take.expect), inbox, deps, &deposed(by), Duration::ZERO).await {
        Ok(opened) => {
            tracing::info!(epoch = %opened.claim.epoch, "the shard is taken again");
            deps.health.set_ready();
            take.tell(Ok(opened.claim.epoch));
            Next::Live(Box::new(opened))
        }
        Err(error) => {
            let by = error.deposed_by().unwrap_or(by);
            take.tell(Err(error));
            Next::Follow { by }
        }
    }
}

/// Opens the log again, however many tries it takes, unless somebody else has claimed it. Requests that wait in the inbox wait on
/// for the next owner, but not longer than `patience`, and not once a try has failed: then they are told that nothing happened.
async fn open_again(
    deps: &Deps,
    inbox: &tokio::sync::Mutex<mpsc::Receiver<Request>>,
    mut reason: String,
    mut patience: Duration,
) -> Next {
    deps.health.set_closed(&reason);
    let mut inbox = inbox.lock().await;
    let mut pause = REOPEN_PAUSE_MIN;
    loop {
        let error = match while_refusing(deps.open(deps.own()), &mut inbox, deps, &reason, patience).await {
            Ok(opened) => {
                tracing::info!(replayed = opened.replayed, "the shard runs again");
                deps.health.set_ready();
                return Next::Live(Box::new(opened));
            }
            Err(error) => error,
        };
        if let Some(by) = error.deposed_by() {
            return Next::Follow { by };
        }
        let heals = may_heal(&error);
        reason = error.told();
        tracing::error!(reason, heals, "the shard cannot be opened again");
        deps.health.set_closed(&reason);
        let refusing = refuse_all(&mut inbox, deps, &reason);
        if !heals {
            refusing.await;
            return Next::End;
        }
        tokio::select! {
            biased;
            () = refusing => return Next::End,
            () = sleep(pause) => {}
        }
        (patience, pause) = (Duration::ZERO, (pause * 2).min(REOPEN_PAUSE_MAX));
    }
}

/// Runs `opening` to its end. Whoever waits in the inbox for longer than `patience` meanwhile is told that nothing happened.
async fn while_refusing<T>(
    opening: impl Future<Output = T>,
    inbox: &mut mpsc::Receiver<Request>,
    deps: &Deps,
    reason: &str,
    patience: Duration,
) -> T {
    let refusing = async {
        sleep(patience).await;
        refuse_all(inbox, deps, reason).await;
        // Closed: whoever is underway is waited for.
        std::future::pending::<Infallible>().await
    };
    // In a box, because it is large.
    let mut opening = Box::pin(opening);
    tokio::select! {
        biased;
        opened = &mut opening => opened,
        never = refusing => match never {},
    }
}

/// Waits until the server stops; also if whoever would say so is gone.
pub(crate) async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Tells whoever asks that nothing happened, until the server stops and the inbox is empty. Cancel safe.
async fn refuse_all<R: Refuse>(inbox: &mut mpsc::Receiver<R>, deps: &Deps, reason: &str) {
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
