//! A rate, and what it cost the process that kept it.

use std::time::{Duration, Instant};

use super::{process::Probe, stats::cpu_s_per_10k};

/// How fast something was done, and the CPU time that one process spent on ten thousand of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    pub(super) per_s: f64,
    pub(super) cpu_s_per_10k: Option<f64>,
}

/// A measurement that began.
#[derive(Debug)]
pub(super) struct Began {
    at: Instant,
    probe: Option<Probe>,
    cpu: Option<Duration>,
}

impl Began {
    /// Begins now. Without a process to look at, its CPU time stays unknown.
    pub(super) fn now(probe: Option<Probe>) -> Self {
        Self { at: Instant::now(), probe, cpu: probe.and_then(Probe::cpu) }
    }

    /// So many were done since.
    pub(super) fn done(self, count: u64) -> Pace {
        let count = count as f64;
        let per_s = count / self.at.elapsed().as_secs_f64().max(1e-6);
        let used = self.cpu.zip(self.probe.and_then(Probe::cpu)).map(|(before, after)| after.saturating_sub(before));
        Pace { per_s, cpu_s_per_10k: cpu_s_per_10k(used, count) }
    }
}
