//! Whether an endpoint as a whole is well: pausing with single probes, and the careful return to full speed.

use super::types::{Failed, Ticket};

/// Failures to connect in a row, with no answer between them, that pause an endpoint.
const CONNECT_FAILURES: u32 = 3;
/// Different deliveries in a row that failed, with no success between them, that pause an endpoint.
const DISTINCT_FAILURES: usize = 5;
/// Wait before the first probe, and the longest wait between two.
const PROBE_FIRST_MS: u64 = 1_000;
const PROBE_MAX_MS: u64 = 60_000;
/// Attempts in flight that a recovered endpoint gets at first; each success adds one.
const RAMP_FIRST: usize = 4;

/// What may be sent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Permit {
    Send,
    Probe,
    /// Nothing before this time (`None`: before something else happens).
    Wait(Option<u64>),
}

#[derive(Debug, Default)]
pub(crate) struct Health {
    connect_failures: u32,
    failed: Vec<Ticket>,
    paused: Option<Paused>,
    catch_up: Option<CatchUp>,
}

#[derive(Debug)]
struct Paused {
    since: u64,
    probes: u32,
    next_probe: u64,
    probing: bool,
    /// The newest failure was of a delivery that was set aside: it may say more about that one than about the endpoint.
    by_aside: bool,
    /// Not before this is a delivery that just came a reason to probe.
    hurry_from: u64,
}

#[derive(Debug)]
struct CatchUp {
    /// Events older than this were waiting during the outage.
    until: u64,
    in_flight_max: usize,
    tokens: f64,
    filled_at: u64,
}

impl Health {
    pub(crate) fn is_paused(&self) -> bool {
        self.paused.is_some()
    }

    pub(crate) fn is_catching_up(&self) -> bool {
        self.catch_up.is_some()
    }

    /// Whether each success allows one more attempt in flight.
    pub(crate) fn is_ramping(&self, concurrency: usize) -> bool {
        self.catch_up.as_ref().is_some_and(|catch_up| catch_up.in_flight_max <= concurrency)
    }

    /// How many more attempts the endpoint may be sent now, as far as its health goes.
    pub(crate) fn places(&self, in_flight: usize) -> usize {
        match (&self.paused, &self.catch_up) {
            (Some(paused), _) => usize::from(!paused.probing),
            (None, Some(catch_up)) => catch_up.in_flight_max.saturating_sub(in_flight),
            (None, None) => usize::MAX,
        }
    }

    pub(crate) fn next_probe(&self) -> Option<u64> {
        self.paused.as_ref().filter(|paused| !paused.probing).map(|paused| paused.next_probe)
    }

    pub(crate) fn paused_since(&self) -> Option<u64> {
        self.paused.as_ref().map(|paused| paused.since)
    }

    /// `fresh` says whether a delivery waits that was not set aside.
    pub(crate) fn permit(&mut self, in_flight: usize, per_s: u32, fresh: bool, now: u64) -> Permit {
        if let Some(paused) = &self.paused {
            let due = paused.due(fresh);
            return match paused.probing {
                true => Permit::Wait(None),
                false if now < due => Permit::Wait(Some(due)),
                false => Permit::Probe,
            };
        }
        let Some(catch_up) = &mut self.catch_up else { return Permit::Send };
        if in_flight >= catch_up.in_flight_max {
            return Permit::Wait(None);
        }
        catch_up.permit(per_s, now)
    }

    /// A job was handed out under a [`Permit`].
    pub(crate) fn sent(&mut self, event_at: u64) {
        if let Some(paused) = &mut self.paused {
            paused.probing = true;
        } else if let Some(catch_up) = &mut self.catch_up {
            catch_up.tokens -= 1.0;
            if event_at >= catch_up.until {
                self.catch_up = None;
            }
        }
    }

    /// True when this success ended a pause.
    pub(crate) fn succeeded(&mut self, now: u64) -> bool {
        self.connect_failures = 0;
        self.failed.clear();
        if let Some(catch_up) = &mut self.catch_up {
            catch_up.in_flight_max = catch_up.in_flight_max.saturating_add(1);
        }
        let resumed = self.paused.take().is_some();
        if resumed {
            self.catch_up = Some(CatchUp { until: now, in_flight_max: RAMP_FIRST, tokens: 1.0, filled_at: now });
        }
        resumed
    }

    /// True when this failure began a pause.
    pub(crate) fn failed(&mut self, ticket: Ticket, failed: &Failed, was_probe: bool, now: u64) -> bool {
        if let Some(paused) = &mut self.paused {
            if was_probe {
                paused.probing = false;
                paused.probes = paused.probes.saturating_add(1);
                let wait = (PROBE_FIRST_MS << paused.probes.min(10)).min(PROBE_MAX_MS);
                paused.next_probe = now + wait.max(asked_for(failed));
                paused.note(ticket, failed, now);
            }
            return false;
        }
        self.connect_failures = if failed.connecting { self.connect_failures + 1 } else { 0 };
        if self.failed.len() < DISTINCT_FAILURES && !self.failed.contains(&ticket) {
            self.failed.push(ticket);
        }
        if self.connect_failures < CONNECT_FAILURES && self.failed.len() < DISTINCT_FAILURES {
            return false;
        }
        let next_probe = now + PROBE_FIRST_MS.max(asked_for(failed));
        let mut paused =
            Paused { since: now, probes: 0, next_probe, probing: false, by_aside: false, hurry_from: next_probe };
        paused.note(ticket, failed, now);
        self.paused = Some(paused);
        self.catch_up = None;
        true
    }

    /// Nothing waits and nothing is in flight: whatever the outage left is delivered. The times of events alone would not
    /// tell when the time of day was set back meanwhile.
    pub(crate) fn caught_up(&mut self) {
        self.catch_up = None;
    }

    /// A probe was handed out but never tried, or told nothing.
    pub(crate) fn probe_untried(&mut self) {
        if let Some(paused) = &mut self.paused {
            paused.probing = false;
        }
    }

    /// Forgets what it learned: the endpoint was changed or resumed by a person.
    pub(crate) fn reset(&mut self) {
        *self = Self::default();
    }
}

/// How long the endpoint asked to be left alone.
fn asked_for(failed: &Failed) -> u64 {
    failed.retry_after_ms.unwrap_or(0).min(PROBE_MAX_MS)
}

impl Paused {
    fn note(&mut self, ticket: Ticket, failed: &Failed, now: u64) {
        self.by_aside = matches!(ticket, Ticket::Aside(_));
        self.hurry_from = now + PROBE_FIRST_MS.max(asked_for(failed));
    }

    /// The waits between probes grow with what is known against the endpoint. A delivery that always fails says nothing
    /// against it, so the first one that comes after it need not wait as long. If that one fails too, the waits hold.
    fn due(&self, fresh: bool) -> u64 {
        if fresh && self.by_aside { self.next_probe.min(self.hurry_from) } else { self.next_probe }
    }
}

impl CatchUp {
    /// A token bucket with a tenth of a second of depth.
    fn permit(&mut self, per_s: u32, now: u64) -> Permit {
        if per_s == 0 {
            self.tokens = 1.0;
            return Permit::Send;
        }
        let rate = f64::from(per_s) / 1000.0;
        let passed = now.saturating_sub(self.filled_at) as f64;
        self.tokens = (self.tokens + passed * rate).min((rate * 100.0).max(1.0));
        self.filled_at = now;
        match self.tokens >= 1.0 {
            true => Permit::Send,
            false => Permit::Wait(Some(now + (((1.0 - self.tokens) / rate) as u64).max(1))),
        }
    }
}
