//! Follows the directory of endpoints: starts what is new, stops what is gone.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use parking_lot::RwLock;
use prometheus_client::registry::Registry;
use roomhook_log::{LogId, LogRead, Reigns, Row, Rows};
use roomhook_room::{AppId, Endpoint, EndpointId};
use tokio::{
    sync::{oneshot, watch},
    task::{JoinHandle, JoinSet},
    time::Instant,
};

use crate::{
    config::Config,
    endpoint::{Endpoints, Running},
    handle::Handle,
    http::{Guard, HttpTransport, SystemResolver, Transport},
    own_rows::Owned,
    replay::{self, Replays},
    rows::Names,
    shared::{Clock, Parts, Shared, World},
    telemetry,
};

/// Wait before an endpoint that could not be started is tried again.
const START_AGAIN: Duration = Duration::from_secs(1);
/// How long attempts in flight may take when logs go to other processes, or come from them.
const HAND_OVER: Duration = Duration::from_secs(2);
/// Rows of a deleted endpoint removed per call.
const SWEEP_ROWS: usize = 1_000;

/// Names a running endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EndpointName {
    pub app: AppId,
    pub id: EndpointId,
}

/// The endpoints that are running, for handles and metrics.
pub(crate) type Roster = Arc<RwLock<BTreeMap<EndpointName, Arc<Shared>>>>;

/// Webhooks, running.
#[derive(Debug)]
pub struct Hooks {
    pub handle: Handle,
    started: watch::Receiver<bool>,
    stop: oneshot::Sender<Instant>,
    task: JoinHandle<()>,
}

impl Hooks {
    /// Waits until each endpoint of the directory runs, or was tried: from then on the handle and the metrics know it.
    /// Cancel safe.
    pub async fn started(&self) {
        // An error means that the supervisor is gone; nothing more will start.
        let _ = self.started.clone().wait_for(|started| *started).await;
    }

    /// Stops sending, waits for attempts in flight, writes all cursors. What is not done by then is cut off, which may
    /// repeat deliveries after the next start.
    pub async fn shutdown(self, within: Duration) {
        // A supervisor that is gone already has nothing left to stop.
        let _ = self.stop.send(Instant::now() + within);
        let _ = self.task.await;
    }
}

/// Starts webhooks over HTTP. `endpoints` is followed as it changes, and so is `reigns`: of a log that is not owned nothing is
/// delivered, and nothing is written beside it.
#[expect(
    clippy::too_many_arguments,
    reason = "the wiring of a process is one call made once, with a name for each part"
)]
pub fn start(
    log: Arc<dyn LogRead>,
    rows: Arc<dyn Rows>,
    reigns: watch::Receiver<Reigns>,
    shards: u16,
    endpoints: watch::Receiver<Arc<Vec<Arc<Endpoint>>>>,
    config: Config,
    clock: Clock,
    metrics: &mut Registry,
) -> Hooks {
    let guard = Guard::new(config.allow.clone());
    let transport = Arc::new(HttpTransport::new(Arc::new(SystemResolver::default()), guard));
    start_with(transport, log, rows, reigns, shards, endpoints, config, clock, metrics)
}

/// As [`start`], over any transport.
#[expect(
    clippy::too_many_arguments,
    reason = "the wiring of a process is one call made once, with a name for each part"
)]
pub fn start_with(
    transport: Arc<dyn Transport>,
    log: Arc<dyn LogRead>,
    rows: Arc<dyn Rows>,
    reigns: watch::Receiver<Reigns>,
    shards: u16,
    endpoints: watch::Receiver<Arc<Vec<Arc<Endpoint>>>>,
    config: Config,
    clock: Clock,
    metrics: &mut Registry,
) -> Hooks {
    let world = World::new(Parts { log, rows, reigns, shards, config, transport, clock });
    let roster = Roster::default();
    let replays = Replays::new(endpoints.clone());
    telemetry::register(metrics, roster.clone(), world.clock.clone(), replays.clone());
    let handle = Handle::new(roster.clone(), world.clone(), replays);
    let (stop, stopped) = oneshot::channel();
    let (tell, started) = watch::channel(false);
    let (running, sweeps, owned) = (BTreeMap::new(), JoinSet::new(), world.rows.owned());
    let handle_of = handle.clone();
    let supervisor = Supervisor { world, endpoints, owned, roster, handle: handle_of, running, sweeps, started: tell };
    // Whoever shuts down awaits this task; if it panics, `shutdown` returns and the process goes on without webhooks.
    let task = tokio::spawn(supervisor.run(stopped));
    Hooks { handle, started, stop, task }
}

struct Supervisor {
    world: World,
    endpoints: Endpoints,
    /// What is owned, as far as those that run know.
    owned: Owned,
    roster: Roster,
    handle: Handle,
    running: BTreeMap<EndpointName, Running>,
    /// Removals of the rows of deleted endpoints.
    sweeps: JoinSet<()>,
    started: watch::Sender<bool>,
}

impl Supervisor {
    async fn run(mut self, mut stopped: oneshot::Receiver<Instant>) {
        let deadline = loop {
            self.hand_over().await;
            let wanted = self.endpoints.borrow_and_update().clone();
            let complete = self.reconcile(&wanted).await & self.restore_replays().await;
            self.started.send_replace(true);
            while self.sweeps.try_join_next().is_some() {}
            tokio::select! {
                biased;
                deadline = &mut stopped => break deadline.unwrap_or_else(|_| Instant::now()),
                changed = self.endpoints.changed() => if changed.is_err() {
                    break (&mut stopped).await.unwrap_or_else(|_| Instant::now());
                },
                () = self.world.rows.changed(&self.owned) => {}
                () = tokio::time::sleep(START_AGAIN), if !complete => {}
            }
        };
        // They note where they are while endpoints finish what is in flight.
        let replays = self.handle.replays.clone();
        let mut stops: JoinSet<()> =
            std::mem::take(&mut self.running).into_values().map(|running| running.stop(deadline)).collect();
        stops.spawn(async move { replays.shutdown(deadline).await });
        stops.join_all().await;
        // Rows of deleted endpoints that are not removed by then are never read again.
        let _ = tokio::time::timeout_at(deadline, self.sweeps.join_all()).await;
        self.roster.write().clear();
    }

    /// When logs went to other processes, or came from them, all that runs begins again from its rows, as after a restart:
    /// what was remembered of a log is only true as long as nobody else has it.
    async fn hand_over(&mut self) {
        let owned = self.world.rows.owned();
        if owned == self.owned {
            return;
        }
        tracing::info!(
            logs = owned.len(),
            "logs went to other processes, or came from them: webhooks begin again from their rows"
        );
        let has_replays = |owned: &Owned| owned.get(&replay::LOG).copied();
        let loses_replays = has_replays(&self.owned) != has_replays(&owned);
        let deadline = Instant::now() + HAND_OVER;
        self.roster.write().clear();
        let stops: JoinSet<()> =
            std::mem::take(&mut self.running).into_values().map(|running| running.stop(deadline)).collect();
        if loses_replays {
            self.handle.replays.forget(deadline).await;
        }
        stops.join_all().await;
        self.owned = owned;
    }

    /// Makes what runs what is wanted. False when something could not be started.
    async fn reconcile(&mut self, wanted: &[Arc<Endpoint>]) -> bool {
        let gone: Vec<EndpointName> = self
            .running
            .iter()
            .filter(|(_, running)| !is_wanted(running, wanted))
            .map(|(name, _)| name.clone())
            .collect();
        for name in gone {
            self.remove(&name).await;
        }
        let mut complete = true;
        for endpoint in wanted {
            let name = EndpointName { app: endpoint.app, id: endpoint.id.clone() };
            match self.running.get(&name) {
                Some(running) => running.shared.follow(&self.endpoints),
                None => complete &= self.add(name, endpoint.clone()).await,
            }
        }
        complete
    }

    /// Goes on with replays of earlier processes. False when their rows cannot be read.
    async fn restore_replays(&self) -> bool {
        if !self.owned.contains_key(&replay::LOG) {
            return true;
        }
        let restored = self.handle.replays.restore(&self.handle).await;
        if let Err(error) = &restored {
            tracing::error!(%error, "cannot read the replays of earlier processes, trying again");
        }
        restored.is_ok()
    }

    async fn add(&mut self, name: EndpointName, endpoint: Arc<Endpoint>) -> bool {
        match Running::start(&self.world, endpoint, &self.endpoints).await {
            Ok(running) => {
                self.roster.write().insert(name.clone(), running.shared.clone());
                self.running.insert(name, running);
                true
            }
            Err(error) => {
                tracing::error!(app = name.app.0, endpoint = name.id.0, %error, "cannot start webhooks, trying again");
                false
            }
        }
    }

    async fn remove(&mut self, name: &EndpointName) {
        self.roster.write().remove(name);
        let Some(running) = self.running.remove(name) else { return };
        let generation = running.shared.settings.load().endpoint.generation;
        running.abandon().await;
        self.sweeps.spawn(sweep(self.world.clone(), Names::new(name.app, &name.id, generation)));
    }
}

fn is_wanted(running: &Running, wanted: &[Arc<Endpoint>]) -> bool {
    let own = &running.shared.settings.load().endpoint;
    wanted.iter().any(|other| other.app == own.app && other.id == own.id && other.generation == own.generation)
}

/// Removes all rows of a deleted endpoint. If it fails half-way, what is left is never read again: generations are not reused.
async fn sweep(world: World, names: Names) {
    for shard in 0..world.shards {
        let log = LogId(shard);
        if !sweep_all(&world, log, &names.trails(), None).await
            || !sweep_all(&world, log, &names.lanes(), None).await
            || !sweep_all(&world, log, &names.exceptions(), Some(names.cursor())).await
        {
            return;
        }
    }
}

/// Removes the rows of a prefix, and `at_last` with the last of them. False when that did not work.
async fn sweep_all(world: &World, log: LogId, prefix: &[u8], at_last: Option<Bytes>) -> bool {
    loop {
        let found = match world.rows.scan(log, prefix, None, SWEEP_ROWS).await {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(%log, %error, "cannot remove rows of a deleted endpoint");
                return false;
            }
        };
        let is_last = found.len() < SWEEP_ROWS;
        let last = at_last.clone().filter(|_| is_last);
        let keys = found.into_iter().map(|(key, _)| key).chain(last);
        let rows: Vec<Row> = keys.map(|key| Row { key, value: None }).collect();
        if !rows.is_empty()
            && let Err(error) = world.rows.put(log, rows).await
        {
            tracing::warn!(%log, %error, "cannot remove rows of a deleted endpoint");
            return false;
        }
        if is_last {
            return true;
        }
    }
}
