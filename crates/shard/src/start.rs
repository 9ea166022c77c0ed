//! Starting and stopping all of it.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use futures_util::future::try_join_all;
use prometheus_client::registry::Registry;
use roomhook_log::{Expect, Log, LogId, Reigns};
use roomhook_room::UnixMillis;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};
use tracing::Instrument as _;

use crate::{
    config::{Clock, Config},
    directory::{self, Directory},
    error::StartError,
    inbox::Inbox,
    life::Deps,
    reign::{Ownership, Seat, Take},
    replay::{Opened, Reader},
    router::{Door, Router},
    supervisor::{Health, supervise},
    tail::TailHub,
    telemetry::Metrics,
};

/// All shards and the directory, running.
#[derive(Debug)]
pub struct Shards {
    pub router: Router,
    pub directory: Directory,
    pub ownership: Ownership,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

/// Claims the logs of all shards and of the directory, replays what snapshots do not cover, and starts the owners. All
/// are ready when it returns.
///
/// # Errors
/// [`StartError`] when a log cannot be claimed, read or understood: guessing would lose messages. Not cancel safe: a
/// dropped start may have fenced others.
pub async fn start(
    log: Arc<dyn Log>,
    shards: u16,
    config: Config,
    clock: Clock,
    metrics: &mut Registry,
) -> Result<Shards, StartError> {
    let (stop, stopping) = watch::channel(false);
    let (reigns, reigning) = watch::channel(Reigns::new());
    let mut takes = BTreeMap::new();
    let clock = never_back(clock);
    let (config, metrics) = (Arc::new(config), Metrics::register(metrics));
    let deps = |log_id: LogId| Deps {
        reader: Reader { store: Arc::clone(&log), log: log_id },
        seat: Seat::new(log_id, reigns.clone()),
        shards,
        config: Arc::clone(&config),
        clock: Arc::clone(&clock),
        metrics: metrics.of(log_id),
        health: Health::new(format!("shard {log_id}")),
        stop: stopping.clone(),
    };
    let of_shards: Vec<Deps> = (0..shards).map(LogId).map(deps).collect();
    let opening = open_all(&of_shards);
    let (opened, directory) = tokio::try_join!(opening, directory::open(deps(LogId::DIRECTORY)))?;

    let mut tasks = JoinSet::new();
    let mut doors = Vec::new();
    for (deps, opened) in of_shards.into_iter().zip(opened) {
        let (inbox, requests) = Inbox::new(&config, &deps.metrics);
        doors.push(Door { inbox, health: Arc::clone(&deps.health) });
        deps.metrics.replayed.set(opened.replayed as i64);
        let span = tracing::info_span!("shard", shard = %deps.reader.log);
        let taking = told_to_take(deps.reader.log, &mut takes);
        tasks.spawn(supervise(deps, requests, taking, opened).instrument(span));
    }
    let (directory, health) = directory.run(told_to_take(LogId::DIRECTORY, &mut takes), &mut tasks);
    let router = Router::new(doors, health, TailHub::new(log, shards));
    Ok(Shards { router, directory, ownership: Ownership::new(reigning, takes), stop, tasks })
}

/// The owner's end of what it can be told.
fn told_to_take(log: LogId, takes: &mut BTreeMap<LogId, mpsc::Sender<Take>>) -> mpsc::Receiver<Take> {
    let (take, taking) = mpsc::channel(1);
    takes.insert(log, take);
    taking
}

/// Replays all shards at the same time, each in a task of its own: folding keeps a core busy.
async fn open_all(shards: &[Deps]) -> Result<Vec<Opened>, StartError> {
    let opening = shards.iter().map(|deps| {
        let deps = deps.clone();
        // Aborted when this future is dropped. Its death is noticed by `join_next` below.
        let mut task = JoinSet::new();
        task.spawn(async move { deps.open(Expect::Anyone).await });
        async move {
            match task.join_next().await {
                Some(Ok(opened)) => opened,
                Some(Err(error)) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                // Only a runtime that is shutting down aborts it, and drops this future next.
                Some(Err(_)) | None => std::future::pending().await,
            }
        }
    });
    try_join_all(opening).await
}

impl Shards {
    /// Stops: new commands are refused, those that wait are decided, appended and answered first.
    pub async fn shutdown(mut self) {
        // The owners hold receivers; if all are gone there is nothing to stop.
        let _ = self.stop.send(true);
        while self.tasks.join_next().await.is_some() {}
    }
}

/// All owners go by one clock that stands still where the given one steps back: what is done after something else was
/// answered is never dated before it, in whichever shard.
fn never_back(clock: Clock) -> Clock {
    let newest = AtomicU64::new(0);
    Arc::new(move || {
        let now = clock().0;
        UnixMillis(newest.fetch_max(now, Ordering::AcqRel).max(now))
    })
}
