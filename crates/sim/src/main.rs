//! `cargo run -p roomhook-sim -- --seeds 1000`, and `--seed N --verbose` to see what one of them does.

use std::{
    io::{Write as _, stdout},
    process::ExitCode,
    sync::Mutex,
    time::Instant,
};

use anyhow::Context as _;
use clap::Parser;
use roomhook_sim::{Coverage, Options, Outcome, Scenario, run_many};

/// Simulates the server from seeds and checks its invariants.
#[derive(Debug, Parser)]
struct Args {
    /// How many seeds to run.
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 1)]
    start: u64,
    /// Run this one only.
    #[arg(long)]
    seed: Option<u64>,
    /// Run that one once for each step up to here, with a crash of the first life at that step.
    #[arg(long, requires = "seed")]
    every_step_to: Option<u64>,
    /// Threads.
    #[arg(long)]
    threads: Option<usize>,
    /// Go on after a violation.
    #[arg(long)]
    keep_going: bool,
    /// Tell how often everything happened that can, and fail if something never did.
    #[arg(long)]
    coverage: bool,
    /// Print what happens, line by line.
    #[arg(long)]
    verbose: bool,
}

#[derive(Default)]
struct Seen {
    runs: u64,
    failed: u64,
    steps: u64,
    coverage: Coverage,
}

fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    let threads = args.threads.or_else(|| std::thread::available_parallelism().ok().map(usize::from)).unwrap_or(1);
    let (first, count) = args.seed.map_or((args.start, args.seeds), |seed| (seed, 1));
    let options = Options { trace: args.verbose, crash_at: None };
    let began = Instant::now();
    let seen = Mutex::new(Seen::default());
    let report = |outcome: Outcome| tell(&seen, &args, outcome);
    writeln!(stdout(), "seeds {first} to {}", first + count - 1)?;
    if let Some(last) = args.every_step_to {
        for step in 1..=last {
            run_many(first..first + 1, 1, Options { crash_at: Some(step), ..options }, report);
        }
    } else {
        if args.seed.is_some() {
            writeln!(stdout(), "{:#?}", Scenario::of(first))?;
        }
        let stop = || !args.keep_going && seen.lock().is_ok_and(|seen| seen.failed > 0);
        run_many((first..first + count).take_while(|_| !stop()), threads, options, report);
    }
    let seen = seen.into_inner().ok().context("a run panicked outside of the simulation")?;
    let Seen { runs, failed, steps, coverage } = seen;
    if args.coverage {
        write!(stdout(), "{coverage}")?;
    }
    let never = if args.coverage { coverage.missing() } else { Vec::new() };
    never.iter().try_for_each(|what| writeln!(stdout(), "never happened: {what}"))?;
    writeln!(stdout(), "{runs} runs, {failed} failed, {steps} steps, {:.1?}", began.elapsed())?;
    Ok(if failed == 0 && never.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn tell(seen: &Mutex<Seen>, args: &Args, outcome: Outcome) {
    let Ok(mut seen) = seen.lock() else { return };
    seen.runs += 1;
    seen.steps += outcome.steps;
    seen.coverage.add(&outcome.coverage);
    let mut out = stdout().lock();
    // Whoever closed our output needs no more of it.
    for line in outcome.trace {
        let _ = writeln!(out, "{line}");
    }
    if let Some(violation) = outcome.violation {
        seen.failed += 1;
        let _ = writeln!(out, "seed {}: {violation}", outcome.seed);
    } else if args.seed.is_some() {
        let _ = writeln!(out, "seed {}: hash {:016x}, {} steps", outcome.seed, outcome.hash, outcome.steps);
    }
}
