//! When to try again, and when to stop trying. Pure: time and the random source are arguments.

use std::time::Duration;

use roomhook_room::RetryProfile;

/// What becomes of a delivery that used up its retries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GiveUp {
    /// Kept, listed, replayable.
    Park,
    /// Counted and forgotten.
    Skip,
}

/// A retry schedule: exponential with jitter, for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Wait after the first failure; doubles with each further one.
    pub first: Duration,
    /// The longest wait.
    pub max: Duration,
    /// A delivery that has been failing this long is given up. Time during which its endpoint was paused does not count.
    pub for_at_most: Duration,
    pub give_up: GiveUp,
    /// One try and no more, as the vendor does; such an endpoint is never paused either.
    pub once: bool,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(1),
            max: Duration::from_secs(600),
            for_at_most: Duration::from_secs(24 * 3600),
            give_up: GiveUp::Park,
            once: false,
        }
    }
}

impl RetryPolicy {
    /// This schedule as one endpoint's profile changes it.
    #[must_use]
    pub fn with_profile(&self, profile: Option<RetryProfile>) -> Self {
        match profile {
            None => self.clone(),
            Some(RetryProfile::Durable) => Self { give_up: GiveUp::Park, once: false, ..self.clone() },
            Some(RetryProfile::DurableSkip) => Self { give_up: GiveUp::Skip, once: false, ..self.clone() },
            Some(RetryProfile::Tencent) => Self { give_up: GiveUp::Skip, once: true, ..self.clone() },
        }
    }

    /// The longest wait there is.
    pub fn wait_max_ms(&self) -> u64 {
        let longest = millis(self.max).max(millis(self.first)).max(RETRY_AFTER_MAX_MS);
        longest.saturating_add(longest / 4)
    }

    /// Milliseconds to wait after the `failures`-th failure in a row (from 1), never less than the endpoint asked for by
    /// `Retry-After`. Up to a quarter more by chance, so that deliveries that failed together do not come back together.
    pub fn wait_ms(&self, failures: u32, retry_after_ms: Option<u64>, random: &mut fastrand::Rng) -> u64 {
        let first = millis(self.first).max(1);
        let doubled = first.saturating_mul(1_u64 << failures.saturating_sub(1).min(40));
        let base = doubled.min(millis(self.max).max(first));
        let asked = retry_after_ms.unwrap_or(0).min(RETRY_AFTER_MAX_MS);
        base.max(asked).saturating_add(random.u64(0..=base / 4))
    }
}

/// The longest `Retry-After` that is honoured: an endpoint must not be able to switch itself off by mistake.
pub const RETRY_AFTER_MAX_MS: u64 = 3_600_000;

/// Whole milliseconds of a duration.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_from_a_second_to_ten_minutes_with_a_quarter_of_chance() {
        let (policy, mut random) = (RetryPolicy::default(), fastrand::Rng::with_seed(7));
        for (failures, base) in
            [(1, 1_000), (2, 2_000), (3, 4_000), (9, 256_000), (10, 512_000), (11, 600_000), (4_000, 600_000)]
        {
            let wait = policy.wait_ms(failures, None, &mut random);
            assert!((base..=base + base / 4).contains(&wait), "after {failures} failures: {wait}");
        }
    }

    #[test]
    fn retry_after_is_honoured_up_to_an_hour() {
        let (policy, mut random) = (RetryPolicy::default(), fastrand::Rng::with_seed(7));
        assert!((20_000..=20_250).contains(&policy.wait_ms(1, Some(20_000), &mut random)));
        assert!(policy.wait_ms(1, Some(u64::MAX), &mut random) <= RETRY_AFTER_MAX_MS + 250);
    }

    #[test]
    fn the_vendors_profile_tries_once_and_skips() {
        let tencent = RetryPolicy::default().with_profile(Some(RetryProfile::Tencent));
        assert!(tencent.once);
        assert_eq!(tencent.give_up, GiveUp::Skip);
    }
}
