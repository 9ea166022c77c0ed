//! What waits in memory, weighed.
//!
//! A queue that is bounded by the number of its items alone is bounded by that number times the largest item, which
//! nobody has memory for. So whatever waits takes its weight out of a budget first, and holds that part until it is done
//! with.

use std::sync::Arc;

use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::Semaphore;

/// Bytes that some queues may hold together. Cheap to clone; clones are the same budget.
#[derive(Clone, Debug)]
pub struct Budget(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    free: Semaphore,
    bytes_max: u32,
    /// What is held now.
    gauge: Gauge,
}

/// A part of a budget. It is given back when this is dropped, so whoever ends, fails, panics or goes away with it cannot
/// keep it.
#[derive(Debug)]
#[must_use = "what is dropped is given back"]
pub struct Charge {
    budget: Arc<Inner>,
    bytes: u32,
}

impl Budget {
    /// `bytes_max`: at least 1 and at most 4 GiB are meant, whatever is given. `gauge` shows what is held.
    #[must_use]
    pub fn new(bytes_max: usize, gauge: Gauge) -> Self {
        let bytes_max = u32::try_from(bytes_max.min(Semaphore::MAX_PERMITS)).unwrap_or(u32::MAX).max(1);
        // It was just made to fit.
        Self(Arc::new(Inner { free: Semaphore::new(bytes_max as usize), bytes_max, gauge }))
    }

    /// A part of `bytes`, if so much is free now; at least one byte, so that nothing waits for nothing. What weighs more
    /// than the whole budget gets all of it, once nobody else holds any: it is let through alone and not refused for ever.
    #[must_use]
    pub fn try_charge(&self, bytes: usize) -> Option<Charge> {
        let mut charge = self.nothing();
        charge.try_grow(bytes).then_some(charge)
    }

    /// As [`Budget::try_charge`], but waits until so much is free; first come, first served.
    ///
    /// Whoever waits must hold no part of the same budget, or it may wait for itself. Cancel safe: a wait that is dropped
    /// has taken nothing.
    pub async fn charge(&self, bytes: usize) -> Charge {
        let bytes = self.0.weight(bytes);
        let mut charge = self.nothing();
        // Never closed.
        if let Ok(permit) = self.0.free.acquire_many(bytes).await {
            permit.forget();
            charge.add(bytes);
        }
        charge
    }

    /// A part that may grow.
    pub fn nothing(&self) -> Charge {
        Charge { budget: Arc::clone(&self.0), bytes: 0 }
    }
}

impl Inner {
    fn weight(&self, bytes: usize) -> u32 {
        u32::try_from(bytes).unwrap_or(u32::MAX).clamp(1, self.bytes_max)
    }
}

impl Charge {
    /// Takes `bytes` more, if so much is free now.
    pub fn try_grow(&mut self, bytes: usize) -> bool {
        let bytes = self.budget.weight(bytes);
        let Ok(permit) = self.budget.free.try_acquire_many(bytes) else { return false };
        permit.forget();
        self.add(bytes);
        true
    }

    fn add(&mut self, bytes: u32) {
        // Both parts were free a moment ago, so they are within the budget together.
        self.bytes += bytes;
        self.budget.gauge.inc_by(i64::from(bytes));
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        // In this order the gauge never shows more than there is.
        self.budget.gauge.dec_by(i64::from(self.bytes));
        self.budget.free.add_permits(self.bytes as usize);
    }
}

#[cfg(test)]
mod tests {
    use std::{future::Future as _, pin::pin, task::Context};

    use super::*;

    fn budget(bytes_max: usize) -> (Budget, Gauge) {
        let gauge = Gauge::default();
        (Budget::new(bytes_max, gauge.clone()), gauge)
    }

    #[test]
    fn what_is_held_stays_within_the_budget_and_comes_back() {
        let (budget, gauge) = budget(100);
        let first = budget.try_charge(60).expect("free");
        assert!(budget.try_charge(41).is_none(), "too much for what is left");
        let second = budget.try_charge(40).expect("free");
        assert!(budget.try_charge(0).is_none(), "nothing is weightless");
        assert_eq!(gauge.get(), 100);
        drop(first);
        assert_eq!(gauge.get(), 40);
        drop(second);
        assert_eq!(gauge.get(), 0);
        assert!(budget.try_charge(100).is_some());
    }

    #[test]
    fn what_weighs_more_than_everything_is_let_through_alone() {
        for bytes_max in [0, 1, 100] {
            let (budget, gauge) = budget(bytes_max);
            let small = budget.try_charge(1).expect("free");
            assert!(budget.try_charge(usize::MAX).is_none(), "not beside another");
            drop(small);
            let large = budget.try_charge(usize::MAX).expect("alone");
            assert!(budget.try_charge(1).is_none());
            drop(large);
            assert_eq!(gauge.get(), 0);
        }
    }

    #[test]
    fn a_part_that_cannot_grow_is_as_it_was() {
        let (budget, gauge) = budget(100);
        let mut charge = budget.nothing();
        assert!(charge.try_grow(50) && charge.try_grow(30) && !charge.try_grow(21));
        assert_eq!(gauge.get(), 80);
        drop(charge);
        assert_eq!(gauge.get(), 0);
    }

    #[test]
    fn a_wait_that_is_given_up_has_taken_nothing() {
        let (budget, gauge) = budget(100);
        let held = budget.try_charge(10).expect("free");
        let mut polls = Context::from_waker(std::task::Waker::noop());
        {
            let mut waiting = pin!(budget.charge(100));
            assert!(waiting.as_mut().poll(&mut polls).is_pending());
            drop(held);
            // It was given all of it, and goes away before it looks.
        }
        assert_eq!(gauge.get(), 0);
        let all = budget.try_charge(100).expect("nothing is lost");
        let mut waiting = pin!(budget.charge(1_000));
        assert!(waiting.as_mut().poll(&mut polls).is_pending());
        drop(all);
        let std::task::Poll::Ready(charge) = waiting.as_mut().poll(&mut polls) else { panic!("it is free") };
        assert_eq!(gauge.get(), 100);
        drop(charge);
        assert_eq!(gauge.get(), 0);
    }

    #[test]
    fn a_panic_gives_back_what_it_held() {
        let (budget, gauge) = budget(100);
        let charge = budget.try_charge(100).expect("free");
        let died = std::thread::spawn(move || {
            let _held = charge;
            panic!("as the test asked");
        });
        assert!(died.join().is_err());
        assert_eq!(gauge.get(), 0);
        assert!(budget.try_charge(100).is_some());
    }
}
