//! Seeds that everybody runs. `scripts/test` runs thousands more, optimized.

use std::sync::Mutex;

use roomhook_sim::{Options, Outcome, Stats, run, run_many};

/// How many seeds an unoptimized build runs.
const SEEDS: u64 = 1_000;

fn check_all(seeds: impl Iterator<Item = u64> + Send) -> Stats {
    let (broken, stats) = (Mutex::new(Vec::new()), Mutex::new(Stats::default()));
    run_many(seeds, 2, Options::default(), |outcome: Outcome| {
        stats.lock().unwrap().add(&outcome.stats);
        if let Some(violation) = outcome.violation {
            broken
                .lock()
                .unwrap()
                .push(format!("cargo run -p roomhook-sim -- --verbose --seed {}: {violation}", outcome.seed));
        }
    });
    let broken = broken.into_inner().unwrap();
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    stats.into_inner().unwrap()
}

#[test]
fn all_invariants_hold_in_every_seed() {
    let stats = check_all(1..=SEEDS);
    // A simulation in which nothing happens proves nothing.
    assert!(stats.receipts > SEEDS && stats.arrivals > SEEDS && stats.repeats > 100, "{stats:?}");
    assert!(stats.crashes > SEEDS / 2 && stats.unknown > 0 && stats.set_aside > 0 && stats.parked > 0, "{stats:?}");
}

#[test]
fn a_crash_at_any_step_breaks_nothing() {
    for step in 1..=120 {
        let outcome = run(3, Options { crash_at: Some(step), ..Options::default() });
        assert_eq!(outcome.violation, None, "seed 3 with a crash at step {step}");
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in 1..=30 {
        let (one, two) = (run(seed, Options::default()), run(seed, Options::default()));
        assert_eq!((one.hash, one.steps), (two.hash, two.steps), "seed {seed}");
    }
}
