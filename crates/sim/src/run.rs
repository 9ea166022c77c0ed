//! A whole run of one seed, and many of them side by side.

use std::{
    cell::RefCell,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex, Once, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use roomhook_log::MemoryLog;

use crate::{
    coverage::Coverage,
    life::{Phase, live},
    oracle,
    people::People,
    scenario::Scenario,
    world::{Violation, World},
};

/// How to run a seed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Keep what happened, line by line.
    pub trace: bool,
    /// The first life ends at this step, whatever the seed says.
    pub crash_at: Option<u64>,
}

/// What became of a seed.
#[derive(Debug)]
pub struct Outcome {
    pub seed: u64,
    pub violation: Option<Violation>,
    /// What happened, and how often.
    pub coverage: Coverage,
    /// The same in every run of the seed.
    pub hash: u64,
    /// Steps of the whole run.
    pub steps: u64,
    pub trace: Vec<String>,
}

thread_local! {
    /// Panics of this thread's run: tasks die quietly otherwise.
    static PANICS: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}
static HOOK: Once = Once::new();

/// Panics within a run are its violations; others stay as loud as ever.
fn listen_for_panics() {
    HOOK.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let kept = PANICS.with_borrow_mut(|panics| panics.as_mut().map(|list| list.push(info.to_string())));
            if kept.is_none() {
                previous(info);
            }
        }));
    });
}

/// Runs one seed: safety first, then liveness.
#[must_use]
pub fn run(seed: u64, options: Options) -> Outcome {
    listen_for_panics();
    PANICS.set(Some(Vec::new()));
    let world = World::new(Scenario::of(seed), options.trace);
    let ended = catch_unwind(AssertUnwindSafe(|| lives(&world, options)));
    let panics = PANICS.take().unwrap_or_default();
    if let Some(panic) = panics.first() {
        world.violate("panic", panic.clone());
    } else if let Ok(Err(error)) = ended {
        world.violate("start", format!("{error:#}"));
    }
    Outcome {
        seed,
        violation: world.violation(),
        coverage: world.coverage(),
        hash: world.trace_hash(),
        steps: world.fuse.steps(),
        trace: world.take_trace(),
    }
}

fn lives(world: &std::sync::Arc<World>, options: Options) -> anyhow::Result<()> {
    let mut people = People::new(world);
    let mut log = MemoryLog::with_tail(world.scenario.shards, world.scenario.tail);
    for life in 0..world.scenario.lives {
        let chosen = options.crash_at.filter(|_| life == 0);
        let crash_at = chosen.unwrap_or_else(|| world.act_dice.from(1..=world.scenario.steps_per_life_max));
        log = live(world, &mut people, log, Phase::Safety { crash_at })?;
        if world.violation().is_some() {
            return Ok(());
        }
    }
    world.heal();
    // Twice: what was paid before a restart is paid after it.
    for _ in 0..2 {
        log = live(world, &mut people, log, Phase::Liveness)?;
        if world.violation().is_some() {
            return Ok(());
        }
    }
    oracle::histories(world);
    Ok(())
}

/// Runs `seeds` on `threads` threads and hands each outcome to `report`, in no order.
pub fn run_many(
    seeds: impl Iterator<Item = u64> + Send,
    threads: usize,
    options: Options,
    report: impl Fn(Outcome) + Sync,
) {
    let seeds = Mutex::new(seeds);
    let running = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                loop {
                    let next = seeds.lock().unwrap_or_else(PoisonError::into_inner).next();
                    let Some(seed) = next else { return };
                    running.fetch_add(1, Relaxed);
                    report(run(seed, options));
                }
            });
        }
    });
}
