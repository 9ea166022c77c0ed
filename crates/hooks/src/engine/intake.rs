//! What is owed: loading the window, counting ahead of it, and what retention takes away.

use std::sync::Arc;

use roomhook_log::Lsn;

use super::{
    Engine,
    checkpoint::Dirty,
    types::{Failed, Owed, Policy, Settlement, Wakes},
    window::{Slot, State},
};
use crate::plan::{History, Switches};

impl Engine {
    /// The endpoint was changed. Takes effect at once, for what is pending too.
    pub fn configure(&mut self, policy: Policy, now: u64) -> Wakes {
        let reordered = self.policy.order != policy.order;
        let resumed = self.policy.paused && !policy.paused;
        self.policy = policy;
        // An endpoint that gets one try per delivery is never paused, not even by what happened before.
        if resumed || self.policy.retry.once {
            self.health.reset();
        }
        if reordered {
            self.reorder();
        }
        if !self.policy.sendable {
            self.skip_loaded();
        }
        self.keep_active_time(now);
        Wakes { ready: self.ready_len(), space: None, keeper: true }
    }

    /// Takes over what was switched on since which time ([`Switches::timeline`]): for records that were not counted yet.
    pub fn switch(&mut self, timeline: &[(u64, Arc<Switches>)]) {
        for (window, dirty) in self.windows.iter_mut().zip(&mut self.dirty) {
            if window.switches.follow(timeline, window.counted) {
                *dirty = Dirty::Settled;
            }
        }
    }

    /// What was switched on at these records of a shard, which were read in this order.
    pub fn switches(&mut self, shard: u16, records: impl Iterator<Item = (Lsn, u64)> + Clone) -> History {
        let Some(window) = self.windows.get_mut(usize::from(shard)) else { return History::default() };
        window.switches.reach(records);
        window.switches.history()
    }

    /// What was switched on at the records that were read.
    pub fn switches_so_far(&self, shard: u16) -> History {
        self.windows.get(usize::from(shard)).map(|window| window.switches.history()).unwrap_or_default()
    }

    /// Where to read on: the next record to load, the next to count, and whether there is space to load. Without space
    /// the reader is woken by [`Wakes::space`].
    pub fn reading(&mut self, shard: u16) -> Option<(Lsn, Lsn, bool)> {
        let shards = self.windows.len();
        let window = self.windows.get_mut(usize::from(shard))?;
        let space = window.has_space(&self.policy.limits, shards);
        window.full = !space;
        Some((window.next_load, window.counted, space))
    }

    /// The records up to `next` (exclusive) were read; `owed` of them is owed, in log order.
    pub fn load(&mut self, shard: u16, owed: Vec<Owed>, next: Lsn) -> Wakes {
        let at = usize::from(shard);
        for delivery in owed {
            let Some(window) = self.windows.get_mut(at) else { break };
            if delivery.pos.lsn >= window.counted {
                window.live.acknowledged += 1;
                window.at_cursor.acknowledged += 1;
            } else {
                window.unloaded = window.unloaded.saturating_sub(1);
            }
            self.take_in(shard, delivery);
        }
        if !self.policy.sendable {
            // All of it was given up at once, and no answer will ever come to move the cursor.
            self.pass(shard);
        }
        if let Some(window) = self.windows.get_mut(at) {
            window.next_load = window.next_load.max(next);
            window.counted = window.counted.max(next);
            if window.next_load == window.counted {
                self.expire_unloaded(shard);
            }
        }
        self.touch(shard, Dirty::Moved);
        Wakes { ready: self.ready_len(), space: None, keeper: false }
    }

    /// The records up to `next` (exclusive) were read ahead for the numbers alone: `owed` more events are owed.
    pub fn count(&mut self, shard: u16, owed: u64, next: Lsn) {
        let Some(window) = self.windows.get_mut(usize::from(shard)) else { return };
        if next > window.counted {
            window.counted = next;
            window.unloaded += owed;
            window.live.acknowledged += owed;
            window.at_cursor.acknowledged += owed;
            self.touch(shard, Dirty::Moved);
        }
    }

    /// Retention dropped the records before `first` while they were still to be loaded. What of them was owed is
    /// counted as expired as soon as the reader has caught up with its own count. Returns how many records were lost.
    pub fn trimmed(&mut self, shard: u16, first: Lsn) -> u64 {
        let Some(window) = self.windows.get_mut(usize::from(shard)) else { return 0 };
        let lost = first.0.saturating_sub(window.next_load.0);
        window.next_load = window.next_load.max(first);
        window.counted = window.counted.max(first);
        if window.next_load == window.counted {
            self.expire_unloaded(shard);
        }
        self.touch(shard, Dirty::Settled);
        lost
    }

    /// All that was counted has been loaded; what is missing was trimmed away.
    fn expire_unloaded(&mut self, shard: u16) {
        let Some(window) = self.windows.get_mut(usize::from(shard)) else { return };
        let missing = std::mem::take(&mut window.unloaded);
        if missing > 0 {
            window.live.expired += missing;
            window.at_cursor.expired += missing;
            self.touch(shard, Dirty::Settled);
        }
    }

    fn take_in(&mut self, shard: u16, delivery: Owed) {
        let sendable = self.policy.sendable;
        let room = self.rooms.intern(&delivery.room);
        let Some(window) = self.windows.get_mut(usize::from(shard)) else { return };
        let ordinal = window.push(Slot {
            pos: delivery.pos,
            seq: delivery.seq,
            at: delivery.at,
            room,
            content: Some(delivery.content),
            attempt: 0,
            tries: 0,
            since: 0,
            last: Failed::default(),
            state: State::Waiting,
        });
        if let Some(room) = self.rooms.get(room) {
            room.open += 1;
        }
        if sendable {
            self.enqueue(shard, ordinal, room);
        } else {
            self.finish(shard, ordinal, Settlement::Skipped);
        }
    }

    /// Without a URL nothing can be paid; what is loaded is given up.
    fn skip_loaded(&mut self) {
        for shard in 0..self.windows.len() as u16 {
            let Some(window) = self.windows.get(usize::from(shard)) else { continue };
            let waiting = |state| matches!(state, State::Waiting | State::Ready | State::Held { .. });
            let open: Vec<u64> =
                window.iter().filter(|(_, slot)| waiting(slot.state)).map(|(ordinal, _)| ordinal).collect();
            open.into_iter().for_each(|ordinal| self.finish(shard, ordinal, Settlement::Skipped));
            self.pass(shard);
        }
        self.skip_asides();
    }
}
