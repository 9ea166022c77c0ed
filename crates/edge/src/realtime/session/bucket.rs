//! How many commands a client may send.

use std::time::Duration;

/// A token bucket that also notices those who do not listen.
#[derive(Debug)]
pub(crate) struct Bucket {
    per_s: f64,
    burst: f64,
    tokens: f64,
    at: Duration,
    /// Commands refused, less those let through meanwhile. (Were it "in a row", a busy machine would never cut anybody: it takes so long
    /// to refuse that many that one is let through in between.)
    refused: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Go,
    /// To be answered 111.
    Slow,
    /// Refused so often that answering is no use.
    Flood,
}

/// So many more refusals than passes after which a client is cut.
const REFUSALS_MAX: u32 = 256;

impl Bucket {
    /// `per_s` 0 = no limit.
    pub(crate) fn new(per_s: u32, burst: u32, now: Duration) -> Self {
        let burst = f64::from(burst.max(1));
        Self { per_s: f64::from(per_s), burst, tokens: burst, at: now, refused: 0 }
    }

    pub(crate) fn take(&mut self, now: Duration) -> Verdict {
        if self.per_s == 0.0 {
            return Verdict::Go;
        }
        let passed = now.saturating_sub(self.at).as_secs_f64();
        self.at = now;
        self.tokens = (self.tokens + passed * self.per_s).min(self.burst);
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            self.refused = self.refused.saturating_sub(1);
            return Verdict::Go;
        }
        self.refused += 1;
        if self.refused > REFUSALS_MAX { Verdict::Flood } else { Verdict::Slow }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_then_the_rate_holds_and_a_flood_is_cut() {
        let mut bucket = Bucket::new(10, 3, Duration::ZERO);
        let mut take = |ms| bucket.take(Duration::from_millis(ms));
        assert_eq!([take(0), take(0), take(0), take(0)], [Verdict::Go, Verdict::Go, Verdict::Go, Verdict::Slow]);
        assert_eq!([take(100), take(100)], [Verdict::Go, Verdict::Slow]);
        let verdicts: Vec<_> = (0..300).map(|_| take(100)).collect();
        assert_eq!(verdicts.last(), Some(&Verdict::Flood));
        assert_eq!(take(10_000), Verdict::Go, "whoever waits may go on");
    }

    #[test]
    fn a_flood_is_cut_however_slowly_it_is_read() {
        let mut bucket = Bucket::new(100, 300, Duration::ZERO);
        let mut verdicts = (0..10_000).map(|n| bucket.take(Duration::from_millis(4 * n)));
        assert!(verdicts.any(|verdict| verdict == Verdict::Flood), "250 commands a second where 100 are let through");

        let mut bucket = Bucket::new(100, 300, Duration::ZERO);
        let mut verdicts = (0..10_000).map(|n| bucket.take(Duration::from_millis(6 * n)));
        assert!(verdicts.all(|verdict| verdict != Verdict::Flood), "whoever is a little too quick is only told so");
    }
}
