//! What a shard may keep in memory of what its endpoint may, and how much of that is for lanes.

use super::types::{Limits, Owed};

/// Lanes per shard at most. One is only made while the endpoint could take more than it is given, which with a concurrency
/// of `c` means fewer than `c` rooms that are too fast; beyond this, such a room slows its shard.
const LANES_MAX: usize = 64;

/// Limits of one shard. A share of the endpoint's per shard, so that no shard starves another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Share {
    pub(crate) open: usize,
    pub(crate) bytes: usize,
    pub(crate) span: usize,
}

/// What something takes of a [`Share`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) open: usize,
    pub(crate) bytes: usize,
    pub(crate) span: usize,
}

impl Share {
    pub(crate) fn of(limits: &Limits, shards: usize) -> Self {
        let share = |limit: usize| (limit / shards.max(1)).max(1);
        Self { open: share(limits.open_max), bytes: share(limits.bytes_max), span: share(limits.span_max) }
    }

    /// All lanes together: a quarter.
    fn lanes(&self) -> Self {
        let quarter = |limit: usize| (limit / 4).max(1);
        let span = quarter(self.span);
        Self { open: quarter(self.open).min(span), bytes: quarter(self.bytes), span }
    }

    /// What is left beside lanes.
    pub(crate) fn without_lanes(&self) -> Self {
        let lanes = self.lanes();
        let rest = |limit: usize, lanes: usize| limit.saturating_sub(lanes).max(1);
        Self {
            open: rest(self.open, lanes.open),
            bytes: rest(self.bytes, lanes.bytes),
            span: rest(self.span, lanes.open),
        }
    }

    /// Lanes there may be at once.
    pub(crate) fn lanes_max(&self) -> usize {
        self.lanes().open.min(LANES_MAX)
    }

    /// What each of `count` lanes may hold.
    pub(crate) fn of_lane(&self, count: usize) -> Self {
        let lanes = self.lanes();
        let each = |limit: usize| (limit / count.max(1)).max(1);
        Self { open: each(lanes.open), bytes: each(lanes.bytes), span: each(lanes.open) }
    }
}

impl Size {
    pub(crate) const ONE: Self = Self { open: 1, bytes: 1, span: 1 };

    /// Of deliveries that are loaded.
    pub(crate) fn of<'a>(owed: impl Iterator<Item = &'a Owed>) -> Self {
        owed.fold(Self::default(), |size, owed| Self {
            open: size.open + 1,
            bytes: size.bytes + owed.content.body.len(),
            span: size.span + 1,
        })
    }

    /// Of deliveries that the main path only passes by.
    pub(crate) fn of_markers(count: usize) -> Self {
        Self { open: 0, bytes: 0, span: count }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_main_path_and_all_lanes_together_stay_within_the_share() {
        for limit in [1, 2, 3, 4, 5, 8, 100, 16_384] {
            let share = Share::of(&Limits { open_max: limit, bytes_max: limit, span_max: limit, aside_max: 0 }, 1);
            let main = share.without_lanes();
            for count in 1..=share.lanes_max() {
                let lane = share.of_lane(count);
                let within = |main: usize, lane: usize, limit: usize| main + count * lane <= limit.max(2);
                assert!(within(main.open, lane.open, share.open), "{limit} with {count} lanes");
                assert!(within(main.span, lane.span, share.span), "{limit} with {count} lanes");
                assert!(within(main.bytes, lane.bytes, share.bytes), "{limit} with {count} lanes");
            }
        }
    }
}
