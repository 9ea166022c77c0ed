//! What the tasks of one endpoint share: the engine behind the only lock of the delivery path, and who to wake.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use parking_lot::{Mutex, MutexGuard};
use roomhook_log::{LogRead, Reigns, Rows};
use roomhook_room::{Endpoint, RoomKey, UnixMillis};
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

use crate::{
    config::Config,
    contents::Contents,
    endpoint::{Endpoints, checkpoint_is_due},
    engine::{Engine, Failed, Job, Verdict, Wakes},
    http::{Report, Roots, Transport},
    own_rows::OwnRows,
    retry::millis,
    settings::Settings,
    telemetry::Tally,
    trail::{Attempt, Trail},
};

/// Tells the time, in Unix milliseconds.
pub type Clock = Arc<dyn Fn() -> UnixMillis + Send + Sync>;

/// What a [`World`] is made of.
pub(crate) struct Parts {
    pub(crate) log: Arc<dyn LogRead>,
    pub(crate) rows: Arc<dyn Rows>,
    pub(crate) reigns: watch::Receiver<Reigns>,
    pub(crate) shards: u16,
    pub(crate) config: Config,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) clock: Clock,
}

/// What every endpoint's tasks use and none of them owns.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) log: Arc<dyn LogRead>,
    pub(crate) rows: OwnRows,
    pub(crate) shards: u16,
    pub(crate) config: Arc<Config>,
    pub(crate) roots: Arc<Roots>,
    pub(crate) contents: Arc<Contents>,
    pub(crate) transport: Arc<dyn Transport>,
    /// The time of day, for what people and endpoints are told.
    pub(crate) clock: Clock,
    steady: Steady,
}

/// The time of day when the process started, plus what has passed since: retries wait for it, so that they come when they
/// should although the time of day is set back or forth.
#[derive(Clone, Copy, Debug)]
struct Steady {
    began: u64,
    since: Instant,
}

impl World {
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts { log, rows, reigns, shards, config, transport, clock } = parts;
        let rows = OwnRows::new(rows, reigns);
        let roots = Arc::new(Roots::of(&config));
        let contents = Arc::new(Contents::new(shards));
        let steady = Steady { began: clock().0, since: Instant::now() };
        Self { log, rows, shards, config: Arc::new(config), roots, contents, transport, clock, steady }
    }

    /// The same, for somebody who goes by the rows that he reads from now on.
    pub(crate) fn as_of_now(&self) -> Self {
        Self { rows: self.rows.as_of_now(), ..self.clone() }
    }

    /// What the engine goes by: never steps.
    pub(crate) fn now(&self) -> u64 {
        self.steady.began.saturating_add(millis(self.steady.since.elapsed()))
    }

    /// The shard of a room.
    pub(crate) fn shard_of(&self, room: &RoomKey) -> u16 {
        u16::try_from(room.stable_hash() % u64::from(self.shards.max(1))).unwrap_or(0)
    }

    /// The time of day.
    pub(crate) fn wall(&self) -> u64 {
        (self.clock)().0
    }
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World").field("shards", &self.shards).field("config", &self.config).finish_non_exhaustive()
    }
}

/// The state of one endpoint.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) engine: Engine,
    pub(crate) trail: Trail,
    pub(crate) tally: Tally,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) world: World,
    pub(crate) settings: ArcSwap<Settings>,
    core: Mutex<Core>,
    /// Senders wait here for something to send.
    pub(crate) work: Notify,
    /// The keeper waits here for nearer timers and for the wish for more senders.
    pub(crate) keeper: Notify,
    /// The checkpointer waits here for a thousand settled deliveries.
    pub(crate) checkpoint: Notify,
    /// Readers wait here for space in their shard's window.
    pub(crate) spaces: Vec<Notify>,
    /// Readers of rooms off the main path wait here for something to read.
    pub(crate) lanes: Vec<Notify>,
    pub(crate) idle_senders: AtomicUsize,
    pub(crate) stopping: AtomicBool,
}

impl Shared {
    pub(crate) fn new(world: World, settings: Settings, engine: Engine) -> Self {
        let per_shard = || (0..world.shards).map(|_| Notify::new()).collect();
        let (spaces, lanes) = (per_shard(), per_shard());
        Self {
            world,
            settings: ArcSwap::from_pointee(settings),
            core: Mutex::new(Core { engine, trail: Trail::default(), tally: Tally::default() }),
            work: Notify::new(),
            keeper: Notify::new(),
            checkpoint: Notify::new(),
            spaces,
            lanes,
            idle_senders: AtomicUsize::new(0),
            stopping: AtomicBool::new(false),
        }
    }

    pub(crate) fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock()
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Takes over the endpoint as it is now in the directory, for all that is sent from now on.
    pub(crate) fn follow(&self, endpoints: &Endpoints) {
        let wakes = {
            // Several readers may bring a change at once. The newest value is looked up under the lock, so that none of
            // them can put an older one back.
            let mut core = self.core();
            let previous = self.settings.load_full();
            let own = &previous.endpoint;
            let is_own = |other: &&Arc<Endpoint>| {
                other.app == own.app && other.id == own.id && other.generation == own.generation
            };
            let Some(endpoint) = endpoints.borrow().iter().find(is_own).cloned() else {
                // Deleted. Nothing more is sent, even if whoever ends these tasks waits for the store (simulator, seed 1011448).
                return self.stopping.store(true, Ordering::Release);
            };
            if endpoint == *own {
                return;
            }
            let settings = Settings::new(endpoint, &self.world.config, &self.world.roots, Some(&previous));
            core.engine.switch(&settings.timeline);
            let wakes = core.engine.configure(settings.policy.clone(), self.world.now());
            self.settings.store(Arc::new(settings));
            wakes
        };
        self.wake(wakes);
        // What filled a window may have been given up with the URL (simulator, seed 2038): readers look again.
        self.spaces.iter().chain(&self.lanes).for_each(Notify::notify_one);
    }

    pub(crate) fn next_job(&self) -> Option<Job> {
        if self.is_stopping() {
            return None;
        }
        self.core().engine.next(self.world.now())
    }

    /// Settles an attempt and takes the next one, under one lock.
    pub(crate) fn settle(&self, job: &Job, outcome: &Outcome) -> Option<Job> {
        let (now, wall) = (self.world.now(), self.world.wall());
        let answered = match outcome {
            Outcome::Answered(report) => Some((report, Attempt::of(job, report, wall))),
            Outcome::Gone | Outcome::Untried => None,
        };
        let mut core = self.core();
        if let Some((report, attempt)) = answered {
            core.tally.record(job, report, wall);
            core.trail.record(attempt, !report.is_acknowledged());
        }
        let before = Seen::of(&core.engine);
        let wakes = core.engine.settle(job, outcome.verdict(), now);
        let after = Seen::of(&core.engine);
        let next = if self.is_stopping() { None } else { core.engine.next(now) };
        let checkpoint_due = checkpoint_is_due(&core.engine);
        drop(core);
        self.wake(wakes);
        if checkpoint_due {
            self.checkpoint.notify_one();
        }
        if before != after {
            self.tell(job, outcome, before, after);
        }
        next
    }

    /// As if the job had never been handed out.
    pub(crate) fn give_back(&self, job: &Job) {
        let wakes = self.core().engine.settle(job, Verdict::Untried, self.world.now());
        self.wake(wakes);
    }

    /// Tells operators what they should know: an endpoint that went or came back, an event that waits for them.
    fn tell(&self, job: &Job, outcome: &Outcome, before: Seen, after: Seen) {
        let settings = self.settings.load();
        let (app, endpoint) = (settings.endpoint.app.0, settings.endpoint.id.0.as_str());
        let reason = outcome.reason();
        if after.paused && !before.paused {
            tracing::warn!(app, endpoint, reason, "webhook endpoint fails as a whole: paused, probing");
        } else if before.paused && !after.paused {
            tracing::info!(app, endpoint, "webhook endpoint answers again: catching up");
        }
        if after.parked > before.parked {
            let (shard, lsn) = (job.id.shard, job.id.pos.lsn.0);
            tracing::warn!(app, endpoint, shard, lsn, attempts = job.attempt, reason, "webhook delivery parked");
        }
    }

    pub(crate) fn wake(&self, wakes: Wakes) {
        let idle = self.idle_senders.load(Ordering::Acquire);
        for _ in 0..wakes.ready.min(idle) {
            // Whoever went idle last: its connection and its memory are still warm, and the others may end if so few do.
            self.work.notify_last();
        }
        if wakes.keeper || wakes.ready > idle {
            self.keeper.notify_one();
        }
        if let Some(shard) = wakes.space.map(usize::from) {
            let readers = [self.spaces.get(shard), self.lanes.get(shard)];
            readers.into_iter().flatten().for_each(Notify::notify_one);
        }
    }
}

/// How an attempt ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    Answered(Report),
    /// The event is not in the log any more.
    Gone,
    /// Our own storage failed before anything was sent.
    Untried,
}

/// What of the engine's state operators are told about when it changes.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Seen {
    paused: bool,
    parked: u64,
}

impl Seen {
    fn of(engine: &Engine) -> Self {
        Self { paused: engine.is_paused(), parked: engine.parked() }
    }
}

impl Outcome {
    /// Why it failed, without anything of the message.
    fn reason(&self) -> String {
        match self {
            Self::Answered(report) => match &report.result {
                Ok(status) => format!("status {status}"),
                Err(error) => error.to_string(),
            },
            Self::Gone => "the event is not in the log any more".into(),
            Self::Untried => "the log could not be read".into(),
        }
    }

    pub(crate) fn verdict(&self) -> Verdict {
        match self {
            Self::Gone => Verdict::Gone,
            Self::Untried => Verdict::Untried,
            Self::Answered(report) if report.is_acknowledged() => Verdict::Acknowledged,
            Self::Answered(report) => Verdict::Failed(Failed {
                connecting: report.result.as_ref().is_err_and(|error| error.is_connecting()),
                retry_after_ms: report.retry_after.map(millis),
                status: report.result.as_ref().copied().unwrap_or(0),
            }),
        }
    }
}

/// From now to a time of the clock.
pub(crate) fn until(at: u64, now: u64) -> Duration {
    Duration::from_millis(at.saturating_sub(now))
}
