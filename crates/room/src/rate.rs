//! Rate control of one room: all messages of one second, whoever sent them (protocol: messages §5).

use crate::{ids::UnixMillis, message::Priority};

/// How many messages the room has sent in the second it is in. Counted from [`crate::Event::MessageSent`] alone, so a
/// replay counts the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rate {
    pub(crate) second: u64,
    pub(crate) count: u32,
}

impl Rate {
    /// Counts a message sent at `at`.
    pub(crate) fn count(&mut self, at: UnixMillis) {
        if self.second != at.secs() {
            *self = Self { second: at.secs(), count: 0 };
        }
        self.count = self.count.saturating_add(1);
    }

    /// Whether one more message of this priority is within `limit` per second (0 = no limit).
    ///
    /// Lower priorities are dropped first: `Low` passes while fewer than three quarters of the limit were sent in this
    /// second, `Normal` up to the limit, `High` up to five quarters of it (all rounded up). So a room that is flooded
    /// with likes still has room for text, and one that is flooded with text still has room for gifts. Within a
    /// priority the later ones are dropped.
    pub(crate) fn allows(&self, priority: Priority, limit: u32, at: UnixMillis) -> bool {
        if limit == 0 {
            return true;
        }
        let sent = if self.second == at.secs() { u64::from(self.count) } else { 0 };
        let quarters = match priority {
            Priority::Low => 3,
            Priority::Normal => 4,
            Priority::High => 5,
        };
        sent < (u64::from(limit) * quarters).div_ceil(4)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(priority: Priority, limit: u32) -> u32 {
        let (mut rate, at) = (Rate::default(), UnixMillis(1_700_000_000_500));
        while rate.allows(priority, limit, at) {
            rate.count(at);
        }
        rate.count
    }

    #[test]
    fn lower_priorities_are_dropped_first() {
        assert_eq!([Priority::Low, Priority::Normal, Priority::High].map(|p| passed(p, 40)), [30, 40, 50]);
        assert_eq!([Priority::Low, Priority::Normal, Priority::High].map(|p| passed(p, 1)), [1, 1, 2]);
    }

    #[test]
    fn the_next_second_starts_afresh() {
        let mut rate = Rate::default();
        rate.count(UnixMillis(1_999));
        assert!(!rate.allows(Priority::Normal, 1, UnixMillis(1_999)));
        assert!(rate.allows(Priority::Normal, 1, UnixMillis(2_000)));
    }

    #[test]
    fn no_limit_means_no_limit() {
        let rate = Rate { second: 1, count: u32::MAX };
        assert!(rate.allows(Priority::Low, 0, UnixMillis(1_000)));
    }
}
