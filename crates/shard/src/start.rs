//! Starting and stopping all of it.

use std::sync::Arc;

use futures_util::future::try_join_all;
use prometheus_client::registry::Registry;
use roomhook_log::{Log, LogId};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};
use tracing::Instrument as _;

use crate::{
    config::{Clock, Config},
    directory::{self, Directory},
    error::StartError,
    owner::Deps,
    replay::Reader,
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
    let (config, metrics) = (Arc::new(config), Metrics::register(metrics));
    let deps = |log_id: LogId| Deps {
        reader: Reader { store: Arc::clone(&log), log: log_id },
        config: Arc::clone(&config),
        clock: Arc::clone(&clock),
        metrics: metrics.of(log_id),
        health: Health::new(format!("shard {log_id}")),
        stop: stopping.clone(),
    };
    let of_shards: Vec<Deps> = (0..shards).map(LogId).map(deps).collect();
    let opening = try_join_all(of_shards.iter().map(|deps| deps.reader.open(config.node)));
    let (opened, directory) = tokio::try_join!(opening, directory::open(deps(LogId::DIRECTORY)))?;

    let mut tasks = JoinSet::new();
    let mut doors = Vec::new();
    for (deps, opened) in of_shards.into_iter().zip(opened) {
        let (inbox, requests) = mpsc::channel(config.inbox_max);
        doors.push(Door { inbox, health: Arc::clone(&deps.health) });
        deps.metrics.replayed.set(opened.replayed as i64);
        let span = tracing::info_span!("shard", shard = %deps.reader.log);
        tasks.spawn(supervise(deps, requests, opened).instrument(span));
    }
    let (directory, health) = directory.run(&mut tasks);
    let router = Router::new(doors, health, TailHub::new(log, shards));
    Ok(Shards { router, directory, stop, tasks })
}

impl Shards {
    /// Stops: new commands are refused, those that wait are decided, appended and answered first.
    pub async fn shutdown(mut self) {
        // The owners hold receivers; if all are gone there is nothing to stop.
        let _ = self.stop.send(true);
        while self.tasks.join_next().await.is_some() {}
    }
}
