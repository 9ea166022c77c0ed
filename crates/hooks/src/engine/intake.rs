//! What is owed: loading the window, counting ahead of it, and what retention takes away.

use std::{collections::VecDeque, sync::Arc};

use roomhook_log::Lsn;
use roomhook_room::Positions;

use super::{
    Engine,
    checkpoint::Dirty,
    share::Size,
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
        Wakes { ready: self.startable(), space: None, keeper: true }
    }

    /// Takes over what was switched on from which records on ([`Switches::timeline`]): for those not counted yet.
    pub fn switch(&mut self, timeline: &[(Positions, Arc<Switches>)]) {
        for ((shard, window), dirty) in (0..).zip(&mut self.windows).zip(&mut self.dirty) {
            if window.switches.follow(timeline, shard, window.counted) {
                *dirty = Dirty::Settled;
            }
        }
    }

    /// What was switched on at the records of a shard that may still be read.
    pub fn switches(&self, shard: u16) -> History {
        self.windows.get(usize::from(shard)).map(|window| window.switches.history()).unwrap_or_default()
    }

    /// Where to read on: the next record to load, the next to count, and whether there is space to load. Without space
    /// the reader is woken by [`Wakes::space`].
    pub fn reading(&mut self, shard: u16) -> Option<(Lsn, Lsn, bool)> {
        let share = self.share();
        let window = self.windows.get_mut(usize::from(shard))?;
        let space = window.has_space(&share);
        window.full = !space;
        Some((window.next_load, window.counted, space))
    }

    /// Deliveries of a shard that it is worth making ready for [`Engine::load`].
    pub fn space_left(&self, shard: u16) -> usize {
        let share = self.share();
        self.windows.get(usize::from(shard)).map_or(0, |window| window.space_left(&share))
    }

    /// The next record to load.
    pub fn next_load(&self, shard: u16) -> Lsn {
        self.windows.get(usize::from(shard)).map_or(Lsn(0), |window| window.next_load)
    }

    /// The records up to `next` (exclusive) were read; `owed` of them is owed, in log order. Whole records are taken while
    /// there is space; [`Engine::next_load`] tells where to go on.
    pub fn load(&mut self, shard: u16, owed: Vec<Owed>, next: Lsn) -> Wakes {
        let (mut owed, mut reached) = (VecDeque::from(owed), next);
        if let Some(window) = self.windows.get_mut(usize::from(shard)) {
            window.need = Size::ONE;
        }
        while let Some(lsn) = owed.front().map(|delivery| delivery.pos.lsn) {
            self.reach(shard, lsn);
            let record = owed.iter().take_while(|delivery| delivery.pos.lsn == lsn);
            if !self.makes_space(shard, record) {
                reached = lsn;
                break;
            }
            while let Some(delivery) = owed.pop_front_if(|delivery| delivery.pos.lsn == lsn) {
                self.take_in(shard, delivery);
            }
            self.reach(shard, lsn.next());
        }
        self.reach(shard, reached);
        if !self.policy.sendable || self.has_lanes(shard) {
            // What was given up at once, or only passed by, is followed by no answer that would move the cursor.
            self.pass(shard);
        }
        self.touch(shard, Dirty::Moved);
        let space = self.lanes_call(shard).then_some(shard);
        Wakes { ready: self.startable(), space, keeper: false }
    }

    /// The main path has come to this record.
    fn reach(&mut self, shard: u16, next: Lsn) {
        let Some(window) = self.windows.get_mut(usize::from(shard)) else { return };
        window.next_load = window.next_load.max(next);
        window.counted = window.counted.max(window.next_load);
        if window.next_load == window.counted {
            self.expire_unloaded(shard);
        }
    }

    /// Whether a record fits into the window, or can be made to fit.
    fn makes_space<'a>(&mut self, shard: u16, record: impl Iterator<Item = &'a Owed> + Clone) -> bool {
        let share = self.share();
        let size = match record.clone().next().is_some_and(|first| self.rooms.is_apart(&first.room)) {
            true => Size::of_markers(record.count()),
            false => Size::of(record),
        };
        let fits = |engine: &mut Self| {
            let Some(window) = engine.windows.get_mut(usize::from(shard)) else { return false };
            window.need = size;
            window.has_space(&share)
        };
        if !fits(self) {
            self.pass(shard);
            while !fits(self) && self.relieve(shard) {}
        }
        let Some(window) = self.windows.get_mut(usize::from(shard)) else { return false };
        let fits = window.has_space(&share);
        if fits {
            window.need = Size::ONE;
        }
        fits
    }

    /// The records up to `next` (exclusive) were read ahead for the numbers alone: `owed` more events are owed, the first
    /// of which happened at `at`.
    pub fn count(&mut self, shard: u16, owed: u64, at: u64, next: Lsn) {
        let Some(window) = self.windows.get_mut(usize::from(shard)) else { return };
        if next > window.counted {
            window.counted = next;
            if window.unloaded == 0 {
                window.unloaded_at = at;
            }
            window.unloaded += owed;
            window.live.acknowledged += owed;
            window.at_cursor.acknowledged += owed;
            self.touch(shard, Dirty::Moved);
        }
    }

    /// Retention dropped the records before `first` while they were still to be loaded. What of them was owed is
    /// counted as expired as soon as the reader has caught up with its own count. Records that were not even counted are
    /// a number of their own, because nobody can tell what was owed of them. Returns how many records were lost, and how
    /// many of them unseen.
    pub fn trimmed(&mut self, shard: u16, first: Lsn) -> (u64, u64) {
        let Some(window) = self.windows.get_mut(usize::from(shard)) else { return (0, 0) };
        let lost = first.0.saturating_sub(window.next_load.0);
        let unseen = first.0.saturating_sub(window.counted.0);
        window.live.lost_records += unseen;
        window.at_cursor.lost_records += unseen;
        window.next_load = window.next_load.max(first);
        window.counted = window.counted.max(first);
        if window.next_load == window.counted {
            self.expire_unloaded(shard);
        }
        self.touch(shard, Dirty::Settled);
        (lost, unseen)
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
        let index = self.rooms.intern(&delivery.room);
        let slot = self.slot_of(delivery, index);
        let Some(window) = self.windows.get_mut(usize::from(shard)) else { return };
        let lsn = slot.pos.lsn;
        let settled_to = window.lanes.get(index).map(|lane| lane.settled_to);
        if lsn >= window.counted {
            window.live.acknowledged += 1;
            window.at_cursor.acknowledged += 1;
        } else if settled_to.is_none_or(|settled_to| lsn >= settled_to) {
            window.unloaded = window.unloaded.saturating_sub(1);
            // What is left lies behind it in the log.
            window.unloaded_at = window.unloaded_at.max(slot.at);
        }
        match settled_to {
            Some(settled_to) => {
                window.push_marker(Slot { content: None, state: State::Apart, ..slot });
                window.lanes.marked(index, (lsn >= settled_to).then_some(slot.at));
            }
            None => {
                let ordinal = window.push(slot);
                self.queue_up(shard, ordinal, index);
            }
        }
    }

    pub(super) fn slot_of(&self, delivery: Owed, room: u32) -> Slot {
        Slot {
            pos: delivery.pos,
            seq: delivery.seq,
            at: delivery.at,
            room,
            content: Some(delivery.content).filter(|content| !content.body.is_empty()),
            attempt: 0,
            tries: 0,
            since: 0,
            last: Failed::default(),
            state: State::Waiting,
        }
    }

    /// A new slot gets its place behind what its room has already.
    pub(super) fn queue_up(&mut self, shard: u16, ordinal: u64, room: u32) {
        if let Some(room) = self.rooms.get(room) {
            room.slots += 1;
        }
        if self.policy.sendable {
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
