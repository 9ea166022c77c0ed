//! The tasks of one endpoint, and their end.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use roomhook_log::LogId;
use roomhook_room::Endpoint;
use tokio::{
    sync::watch,
    task::{JoinHandle, JoinSet},
    time::Instant,
};

use crate::{
    engine::{CHECKPOINT_SETTLED, Engine, ShardStart, Wakes},
    kept_trails,
    laggards::Laggards,
    reader::Reader,
    rows::Names,
    sender,
    settings::Settings,
    shared::{Shared, World, until},
    start::{StartError, shard_start},
};

/// The longest sleep of the keeper, so that a wrong timer costs a second at most.
const NAP_MAX: Duration = Duration::from_secs(1);
/// A cursor that only moved over records nobody is owed is written every so many rounds.
const LAZY_ROUNDS: u32 = 25;

pub(crate) type Endpoints = watch::Receiver<Arc<Vec<Arc<Endpoint>>>>;

/// A running endpoint.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) shared: Arc<Shared>,
    readers: JoinSet<()>,
    keeper: JoinHandle<()>,
    checkpointer: JoinHandle<()>,
}

impl Running {
    /// # Errors
    /// When the rows or the log cannot be read; trying again may help.
    pub(crate) async fn start(
        world: &World,
        endpoint: Arc<Endpoint>,
        endpoints: &Endpoints,
    ) -> Result<Self, StartError> {
        let names = Names::new(endpoint.app, &endpoint.id, endpoint.generation);
        let world = &world.as_of_now();
        let mut starts = Vec::with_capacity(usize::from(world.shards));
        // Those of logs that belong to others stay empty, and nobody reads for them.
        let owned: Vec<bool> = (0..world.shards).map(|shard| world.rows.owns(LogId(shard))).collect();
        for (shard, owned) in (0..).zip(&owned) {
            starts.push(match owned {
                true => shard_start(world, &names, &endpoint, shard).await?,
                false => ShardStart::default(),
            });
        }
        let settings = Settings::new(endpoint, &world.config, &world.roots, None);
        let seed = world.config.jitter_seed ^ names.hash();
        let mut engine = Engine::new(names, settings.policy.clone(), starts, seed, world.now());
        engine.switch(&settings.timeline);
        let shared = Arc::new(Shared::new(world.clone(), settings, engine));
        let mut readers = JoinSet::new();
        for (shard, _) in (0..).zip(owned).filter(|(_, owned)| *owned) {
            readers.spawn(Reader::new(shared.clone(), shard, endpoints.clone()).run());
            readers.spawn(Laggards::new(shared.clone(), shard).run());
        }
        let keeper = tokio::spawn(keep(shared.clone()));
        let checkpointer = tokio::spawn(checkpoint(shared.clone()));
        Ok(Self { shared, readers, keeper, checkpointer })
    }

    /// Lets attempts in flight end until the deadline, then writes the cursors.
    pub(crate) async fn stop(mut self, deadline: Instant) {
        self.shared.stopping.store(true, Ordering::Release);
        self.readers.abort_all();
        self.shared.work.notify_waiters();
        self.shared.keeper.notify_one();
        self.shared.checkpoint.notify_one();
        // The keeper ends when its last sender did.
        if tokio::time::timeout_at(deadline, &mut self.keeper).await.is_err() {
            self.keeper.abort();
        }
        let _ = (&mut self.checkpointer).await;
        // An owner that has claimed its log anew tells in a moment: what is not written now is delivered again.
        while write_checkpoints(&self.shared, true, false).await.fenced && Instant::now() < deadline {}
    }

    /// Ends at once, for an endpoint that was deleted: nothing of it matters any more.
    pub(crate) async fn abandon(mut self) {
        self.shared.stopping.store(true, Ordering::Release);
        self.readers.shutdown().await;
        self.keeper.abort();
        self.checkpointer.abort();
        let _ = self.keeper.await;
        let _ = self.checkpointer.await;
    }
}

/// Fires timers and keeps as many senders as there is work for.
async fn keep(shared: Arc<Shared>) {
    let mut senders = JoinSet::new();
    loop {
        let now = shared.world.now();
        let (startable, busy, wake_at) = {
            let mut core = shared.core();
            core.engine.tick(now);
            while let Some(shard) = core.engine.space_again() {
                shared.wake(Wakes { space: Some(shard), ..Wakes::default() });
            }
            (core.engine.startable(), core.engine.in_flight(), core.engine.wake_at(now))
        };
        while senders.try_join_next().is_some() {}
        if shared.is_stopping() {
            while senders.join_next().await.is_some() {}
            return;
        }
        let idle = shared.idle_senders.load(Ordering::Acquire);
        for _ in 0..startable.min(idle) {
            shared.work.notify_last();
        }
        let wanted = (busy + startable).min(shared.settings.load().policy.concurrency.max(1));
        while senders.len() < wanted {
            senders.spawn(sender::run(shared.clone()));
        }
        // Never less than a millisecond, the resolution of both clocks: a timer that is due but blocked must not spin.
        let nap = wake_at.map_or(NAP_MAX, |at| until(at, now).clamp(Duration::from_millis(1), NAP_MAX));
        tokio::select! {
            biased;
            () = shared.keeper.notified() => {}
            () = tokio::time::sleep(nap) => {}
        }
    }
}

/// Writes cursors and exceptions, at least every so often or after a thousand settled deliveries.
async fn checkpoint(shared: Arc<Shared>) {
    let mut round: u32 = 0;
    let mut failing = false;
    while !shared.is_stopping() {
        tokio::select! {
            biased;
            () = shared.checkpoint.notified() => {}
            () = tokio::time::sleep(shared.world.config.checkpoint_every) => {}
        }
        round = round.wrapping_add(1);
        failing = write_checkpoints(&shared, round.is_multiple_of(LAZY_ROUNDS), failing).await.failing;
    }
}

/// What became of a round of checkpoints.
#[derive(Debug, Default)]
struct Round {
    /// Something could not be written.
    failing: bool,
    /// A log was claimed anew, and it is not known yet by whom.
    fenced: bool,
}

/// Trouble is told once: a full disk must not be filled with lines about it. That a log was claimed is none, and told by its owner.
async fn write_checkpoints(shared: &Shared, lazy: bool, was_failing: bool) -> Round {
    let (mut failed, mut wrote, mut fenced) = (false, false, false);
    for shard in (0..shared.world.shards).filter(|shard| shared.world.rows.owns(LogId(*shard))) {
        let Some(checkpoint) = shared.core().engine.checkpoint(shard, lazy) else { continue };
        let rows = checkpoint.rows.clone();
        match shared.world.rows.put(LogId(shard), rows).await {
            Ok(()) => {
                wrote = true;
                kept_trails::follow(shared, &checkpoint).await;
            }
            Err(error) => {
                if error.is_trouble() && !was_failing && !failed {
                    tracing::error!(shard, %error, "cannot write webhook cursors; a restart now would repeat deliveries");
                }
                failed |= error.is_trouble();
                fenced |= error.is_fenced();
                shared.core().engine.checkpoint_failed(checkpoint);
            }
        }
    }
    // A round that wrote nothing at all says nothing about whether the trouble is over.
    Round { failing: failed || (was_failing && !wrote), fenced }
}

/// Whether a thousand deliveries wait for their checkpoint.
pub(crate) fn checkpoint_is_due(engine: &Engine) -> bool {
    engine.settled_since_checkpoint() >= CHECKPOINT_SETTLED
}
