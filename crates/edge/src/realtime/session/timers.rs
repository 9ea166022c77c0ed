//! Pings, the end of patience, the end of a token: one deadline for all.

use std::time::Duration;

use roomhook_centrifuge::codes;

use super::{Goodbye, Settings, Step};

#[derive(Debug)]
pub(super) struct Timers {
    connect_by: Duration,
    next_ping: Duration,
    /// Set while a ping is unanswered.
    pong_by: Option<Duration>,
    /// When the connection ends unless its token is refreshed.
    expires: Option<Duration>,
}

impl Timers {
    pub(super) fn new(settings: &Settings, random: u64, now: Duration) -> Self {
        // Between half an interval and a whole one.
        let half = settings.ping_every / 2;
        let share = (random % 1024) as u32;
        let first = half + half * share / 1024;
        Self { connect_by: now + settings.connect_within, next_ping: now + first, pong_by: None, expires: None }
    }

    pub(super) fn answered(&mut self) {
        self.pong_by = None;
    }

    /// The token is good until then.
    pub(super) fn renew(&mut self, end: Duration) {
        self.expires = Some(end);
    }

    pub(super) fn next(&self) -> Duration {
        // Before the connect command only patience counts; it is far off afterwards.
        let mut next = self.next_ping.min(self.connect_by);
        for deadline in [self.pong_by, self.expires].into_iter().flatten() {
            next = next.min(deadline);
        }
        next
    }

    /// `busy`: we are not reading, so a pong may be waiting unread; nobody is blamed for that.
    pub(super) fn handle(&mut self, settings: &Settings, connected: bool, busy: bool, now: Duration) -> Step {
        if connected {
            self.connect_by = Duration::MAX;
        } else if now >= self.connect_by && !busy {
            return Step::Close(Goodbye::from(codes::disconnect::STALE));
        } else if now >= self.connect_by {
            self.connect_by = now + Duration::from_secs(1);
        }
        if self.expires.is_some_and(|end| now >= end) {
            return Step::Close(Goodbye::from(codes::disconnect::EXPIRED));
        }
        if self.pong_by.is_some_and(|end| now >= end) {
            if !busy {
                return Step::Close(Goodbye::from(codes::disconnect::NO_PONG));
            }
            self.pong_by = Some(now + Duration::from_secs(1));
        }
        if now < self.next_ping {
            return Step::Next;
        }
        self.next_ping = now + settings.ping_every;
        if !connected {
            return Step::Next;
        }
        self.pong_by = Some(now + settings.pong_within);
        Step::Ping
    }
}
