//! Spaces events evenly.

use std::{num::NonZeroU32, time::Duration};

use tokio::time::Instant;

/// How far behind a pace may be and still make up for it.
const ARREARS_MAX: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub(super) struct Pace {
    every: Duration,
    next: Instant,
}

impl Pace {
    pub(super) fn new(per_s: NonZeroU32) -> Self {
        Self { every: Duration::from_secs(1) / per_s.get(), next: Instant::now() }
    }

    /// Cancel safe: a wait that was dropped costs nothing.
    pub(super) async fn wait(&mut self) {
        // Timers have a resolution of a millisecond, so a fast pace goes in small bursts.
        if self.next > Instant::now() + Duration::from_millis(1) {
            tokio::time::sleep_until(self.next).await;
        }
        let now = Instant::now();
        self.next = self.next.max(now.checked_sub(ARREARS_MAX).unwrap_or(now)) + self.every;
    }
}
