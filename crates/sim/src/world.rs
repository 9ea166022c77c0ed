//! What survives the crashes of the server: time, chance, the truth about the log, the endpoints, and what was seen.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use parking_lot::Mutex;
use roomhook_hooks::engine::Mode;
use roomhook_room::UnixMillis;
use roomhook_shard::Clock;
use tokio::{sync::Notify, time::Instant};

use crate::{
    archive::Archive, auditor::Auditor, coverage::Coverage, dice::Dice, endpoints::Net, gates::Gates, ledger::Ledger,
    scenario::Scenario, store::Retention,
};

/// Unix time at which every run begins.
const BEGIN_MS: u64 = 1_700_000_000_000;
/// What was done this short a time ago was done just now.
const JUST_MS: u64 = 20;

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Its name in ARCHITECTURE.md, or `liveness`, `panic`, `start`.
    pub invariant: &'static str,
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.what)
    }
}

/// See the module. One thread uses it; the locks are there because the traits it is used through want `Sync`.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) scenario: Scenario,
    pub(crate) time: Time,
    pub(crate) fuse: Fuse,
    /// Whether things may go wrong: the safety phase.
    pub(crate) rough: AtomicBool,
    pub(crate) store_dice: Dice,
    pub(crate) net_dice: Dice,
    pub(crate) act_dice: Dice,
    pub(crate) ledger: Mutex<Ledger>,
    pub(crate) net: Mutex<Net>,
    pub(crate) auditor: Mutex<Auditor>,
    pub(crate) gates: Mutex<Gates>,
    pub(crate) archive: Mutex<Archive>,
    pub(crate) retention: Mutex<Retention>,
    coverage: Mutex<Coverage>,
    /// The server is still claiming and replaying.
    pub(crate) starting: AtomicBool,
    /// Until then (virtual milliseconds) delays have an excuse: the store had a fault, the server has just started.
    disturbed_until: AtomicU64,
    /// The same without starts.
    store_disturbed_until: AtomicU64,
    violation: Mutex<Option<Violation>>,
    trace: Mutex<Trace>,
}

impl World {
    #[must_use]
    pub(crate) fn new(scenario: Scenario, keep_trace: bool) -> Arc<Self> {
        let seed = scenario.seed;
        Arc::new(Self {
            ledger: Mutex::new(Ledger::new(scenario.shards, scenario.clock_steps > 0)),
            scenario,
            time: Time::default(),
            fuse: Fuse::default(),
            rough: AtomicBool::new(true),
            store_dice: Dice::new(seed, 2),
            net_dice: Dice::new(seed, 3),
            act_dice: Dice::new(seed, 4),
            net: Mutex::default(),
            auditor: Mutex::default(),
            gates: Mutex::default(),
            archive: Mutex::default(),
            retention: Mutex::default(),
            coverage: Mutex::default(),
            starting: AtomicBool::new(false),
            disturbed_until: AtomicU64::new(0),
            store_disturbed_until: AtomicU64::new(0),
            violation: Mutex::default(),
            trace: Mutex::new(Trace { hash: 0xcbf2_9ce4_8422_2325, lines: keep_trace.then(Vec::new) }),
        })
    }

    pub(crate) fn is_rough(&self) -> bool {
        self.rough.load(Relaxed)
    }

    /// From now on nothing goes wrong any more, and nothing dies.
    pub(crate) fn heal(&self) {
        self.note(|| "everything is healed".to_owned());
        self.rough.store(false, Relaxed);
        self.fuse.set(0);
    }

    /// Rolls a chance per thousand that something goes wrong; never after the healing.
    pub(crate) fn goes_wrong(&self, per_mille: u64) -> bool {
        self.is_rough() && self.store_dice.chance(per_mille)
    }

    /// Whatever is late within this time has an excuse.
    pub(crate) fn disturb(&self, for_ms: u64) {
        let until = self.time.now_ms() + for_ms;
        self.store_disturbed_until.fetch_max(until, Relaxed);
        self.disturbed_until.fetch_max(until, Relaxed);
    }

    /// A server that has just started is excused too.
    pub(crate) fn starts(&self, for_ms: u64) {
        self.disturbed_until.fetch_max(self.time.now_ms() + for_ms, Relaxed);
    }

    pub(crate) fn store_disturbed_until(&self) -> u64 {
        self.store_disturbed_until.load(Relaxed)
    }

    /// Whether delays have an excuse now.
    pub(crate) fn is_disturbed(&self) -> bool {
        self.time.now_ms() < self.disturbed_until()
    }

    /// The clock of the server.
    pub(crate) fn clock(self: &Arc<Self>) -> Clock {
        let world = Arc::clone(self);
        Arc::new(move || world.time.unix())
    }

    pub(crate) fn disturbed_until(&self) -> u64 {
        self.disturbed_until.load(Relaxed)
    }

    // === counting and telling ===

    pub(crate) fn count(&self, what: &'static str) {
        self.count_many(what, 1);
    }

    pub(crate) fn count_many(&self, what: &'static str, times: u64) {
        self.coverage.lock().count(what, times);
    }

    pub(crate) fn coverage(&self) -> Coverage {
        self.coverage.lock().clone()
    }

    /// One step of the server, where it may die. Does not return if it does.
    pub(crate) async fn step(&self, doing: &'static str) {
        if self.fuse.step() {
            self.count(doing);
            self.note(|| doing.to_owned());
            self.crash_in_the_middle();
        }
        if self.fuse.is_blown() {
            std::future::pending::<()>().await;
        }
    }

    /// Counts what the server is in the middle of.
    fn crash_in_the_middle(&self) {
        self.count("end: crash");
        if self.starting.load(Relaxed) {
            self.count("crash: while starting");
        }
        if self.gates.lock().is_asking() {
            self.count("crash: while the before-send gate asks");
        }
        let auditor = self.auditor.lock();
        if auditor.changes_under_way > 0 {
            self.count("crash: change of an endpoint under way");
        }
        if auditor.changed_at_ms.is_some_and(|at| self.time.last_ms() <= at + JUST_MS) {
            self.count("crash: change of an endpoint just made");
        }
        let statuses = auditor.handle.as_ref().map(|handle| handle.status()).unwrap_or_default();
        if statuses.iter().any(|status| matches!(status.summary.mode, Mode::Paused { .. })) {
            self.count("crash: while endpoints are paused");
        }
        if statuses.iter().any(|status| status.summary.set_aside > 0) {
            self.count("crash: while deliveries are set aside");
        }
    }

    /// Notes a broken promise; the first one counts.
    pub(crate) fn violate(&self, invariant: &'static str, what: String) {
        self.note(|| format!("VIOLATION {invariant}: {what}"));
        self.violation.lock().get_or_insert(Violation { invariant, what });
    }

    pub(crate) fn check(&self, invariant: &'static str, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.violate(invariant, what());
        }
    }

    pub(crate) fn violation(&self) -> Option<Violation> {
        self.violation.lock().clone()
    }

    /// Something that is the same in every run of the seed.
    pub(crate) fn note(&self, line: impl FnOnce() -> String) {
        let line = format!("{:>8} {:>6} {}", self.time.last_ms(), self.fuse.steps(), line());
        let mut trace = self.trace.lock();
        trace.hash = line.bytes().fold(trace.hash, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
        if let Some(lines) = &mut trace.lines {
            lines.push(line);
        }
    }

    pub(crate) fn trace_hash(&self) -> u64 {
        self.trace.lock().hash
    }

    pub(crate) fn take_trace(&self) -> Vec<String> {
        self.trace.lock().lines.take().unwrap_or_default()
    }
}

#[derive(Debug)]
struct Trace {
    hash: u64,
    lines: Option<Vec<String>>,
}

/// Virtual time, going on over the lives of the server, and the wall clock, which may step.
#[derive(Debug, Default)]
pub(crate) struct Time {
    /// When this life began: in virtual milliseconds, and on its runtime's own clock.
    life: Mutex<Option<(u64, Instant)>>,
    last_ms: AtomicU64,
    step_ms: AtomicI64,
}

impl Time {
    /// A new runtime starts after `gap`. Call it inside.
    pub(crate) fn begin_life(&self, gap: Duration) {
        let begins = self.last_ms() + gap.as_millis() as u64;
        *self.life.lock() = Some((begins, Instant::now()));
        self.last_ms.store(begins, Relaxed);
    }

    /// Virtual milliseconds since the run began. Only inside a runtime.
    pub(crate) fn now_ms(&self) -> u64 {
        let Some((begun, at)) = *self.life.lock() else { return 0 };
        let now = begun + at.elapsed().as_millis() as u64;
        self.last_ms.store(now, Relaxed);
        now
    }

    /// As when somebody last looked.
    pub(crate) fn last_ms(&self) -> u64 {
        self.last_ms.load(Relaxed)
    }

    /// What the server's clock shows.
    pub(crate) fn unix(&self) -> UnixMillis {
        UnixMillis((BEGIN_MS + self.now_ms()).saturating_add_signed(self.step_ms.load(Relaxed)))
    }

    pub(crate) fn step_clock(&self, by_ms: i64) {
        self.step_ms.fetch_add(by_ms, Relaxed);
    }
}

/// Counts what the server does to the world, and ends its life at a chosen step: from there on nothing it does has any
/// effect, until whoever runs it drops it.
#[derive(Debug, Default)]
pub(crate) struct Fuse {
    steps: AtomicU64,
    blows_at: AtomicU64,
    blown: AtomicBool,
    told: Notify,
}

impl Fuse {
    /// A new life; `steps` from now on it ends (0 = not by the fuse).
    pub(crate) fn set(&self, steps: u64) {
        self.blown.store(false, Relaxed);
        self.blows_at.store(if steps == 0 { u64::MAX } else { self.steps() + steps }, Relaxed);
    }

    pub(crate) fn steps(&self) -> u64 {
        self.steps.load(Relaxed)
    }

    pub(crate) fn is_blown(&self) -> bool {
        self.blown.load(Relaxed)
    }

    /// Whether the next step is the last one.
    pub(crate) fn is_about_to_blow(&self) -> bool {
        !self.is_blown() && self.steps() + 1 >= self.blows_at.load(Relaxed)
    }

    /// One step. True if it is the last one.
    fn step(&self) -> bool {
        let blows = !self.is_blown() && self.steps.fetch_add(1, Relaxed) + 1 >= self.blows_at.load(Relaxed);
        if blows {
            self.blown.store(true, Relaxed);
            self.told.notify_one();
        }
        blows
    }

    pub(crate) async fn blown(&self) {
        self.told.notified().await;
    }
}
