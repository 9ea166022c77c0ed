//! All chance of a run, from its seed.

use std::{ops::RangeInclusive, time::Duration};

use parking_lot::Mutex;

/// A stream of random choices. Pieces of the world have one each, so that a change in one does not shift the others.
#[derive(Debug)]
pub(crate) struct Dice(Mutex<fastrand::Rng>);

impl Dice {
    #[must_use]
    pub(crate) fn new(seed: u64, piece: u64) -> Self {
        Self(Mutex::new(fastrand::Rng::with_seed(seed ^ piece.wrapping_mul(0x9e37_79b9_7f4a_7c15))))
    }

    pub(crate) fn number(&self) -> u64 {
        self.0.lock().u64(..)
    }

    pub(crate) fn from(&self, range: RangeInclusive<u64>) -> u64 {
        self.0.lock().u64(range)
    }

    /// Below `len`, which must not be zero.
    pub(crate) fn index(&self, len: usize) -> usize {
        self.0.lock().usize(0..len)
    }

    pub(crate) fn pick<T: Copy>(&self, items: &[T]) -> T {
        items[self.index(items.len())]
    }

    /// True in so many of a thousand cases.
    pub(crate) fn chance(&self, per_mille: u64) -> bool {
        self.from(1..=1_000) <= per_mille
    }

    pub(crate) fn millis(&self, range: RangeInclusive<u64>) -> Duration {
        Duration::from_millis(self.from(range))
    }
}
