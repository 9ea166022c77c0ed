//! Long work tells how far it is, on standard error.

use std::{
    io::Write as _,
    time::{Duration, Instant},
};

const PERIOD: Duration = Duration::from_secs(2);

/// Tells now and then; work that is soon over says nothing.
pub(super) struct Told {
    done_so: &'static str,
    last: Instant,
}

impl Told {
    /// `done_so` is what happens to the bytes: copied, restored.
    pub(super) fn new(done_so: &'static str) -> Self {
        Self { done_so, last: Instant::now() }
    }

    /// `done` bytes of `all`.
    pub(super) fn tell(&mut self, done: u64, all: u64) {
        if self.last.elapsed() < PERIOD {
            return;
        }
        self.last = Instant::now();
        let percent = done.saturating_mul(100) / all.max(1);
        let _gone = writeln!(std::io::stderr(), "{} {} of {} MiB, {percent} %", self.done_so, done >> 20, all >> 20);
    }
}
