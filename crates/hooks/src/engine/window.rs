//! The deliveries of one shard between the cursor and the newest one loaded.
//!
//! ```text
//!        cursor            next_load             counted            end of the log
//!          │ slots: settled    │  counted, still     │   not seen yet  │
//!          │ and unsettled     │  only in the log    │                 │
//! ─────────┴───────────────────┴─────────────────────┴─────────────────┴──>
//! ```
//!
//! When the window is full the reader waits, and the rest stays in the log. A window holds what lies between in the order
//! of the log, so a room that is sent more than its endpoint takes in order (1/RTT) fills it in the end, and then slows the
//! rooms of its shard to its own pace. A delivery that fails is set aside before that happens; one that is merely slow is not.

use std::collections::VecDeque;

use roomhook_log::Lsn;

use super::{
    switches::SwitchLog,
    types::{Content, EventPos, Failed, Limits, Settlement, Totals},
};

/// One loaded delivery.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) pos: EventPos,
    pub(crate) seq: u64,
    pub(crate) at: u64,
    /// Index in [`super::rooms::Rooms`]; meaningless once settled.
    pub(crate) room: u32,
    /// Dropped when settled.
    pub(crate) content: Option<Content>,
    pub(crate) attempt: u32,
    /// Failures in a row since the endpoint was last well.
    pub(crate) tries: u32,
    /// When it began to fail, in active time (see [`super::Engine`]).
    pub(crate) since: u64,
    pub(crate) last: Failed,
    pub(crate) state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Behind another delivery of its room.
    Waiting,
    /// In the ready queue.
    Ready,
    InFlight,
    /// Failed; its timer fires at this time.
    Held {
        until: u64,
    },
    Settled(Settlement),
}

#[derive(Debug)]
pub(crate) struct Window {
    slots: VecDeque<Slot>,
    /// Ordinal of the front slot. Ordinals are dense, from 1, and never reused.
    base: u64,
    /// The record the endpoint began with.
    pub(crate) begun: Lsn,
    pub(crate) next_load: Lsn,
    pub(crate) counted: Lsn,
    /// Deliveries counted but not loaded.
    pub(crate) unloaded: u64,
    pub(crate) open: usize,
    bytes: usize,
    pub(crate) in_flight: usize,
    pub(crate) ready: usize,
    /// The numbers as of now.
    pub(crate) live: Totals,
    /// The numbers as a restart from the cursor would need them; `acknowledged` as of `counted`.
    pub(crate) at_cursor: Totals,
    /// What was switched on from which record on.
    pub(crate) switches: SwitchLog,
    /// The reader was told that there is no space and waits to be woken.
    pub(crate) full: bool,
}

impl Window {
    pub(crate) fn new(begun: Lsn, cursor: Lsn, counted: Lsn, totals: Totals, asides: u64, switches: SwitchLog) -> Self {
        Self {
            slots: VecDeque::new(),
            base: 1,
            begun,
            next_load: cursor,
            counted: counted.max(cursor),
            unloaded: totals.pending().saturating_sub(asides),
            open: 0,
            bytes: 0,
            in_flight: 0,
            ready: 0,
            live: totals,
            at_cursor: totals,
            switches,
            full: false,
        }
    }

    /// Everything before it is settled.
    pub(crate) fn cursor(&self) -> Lsn {
        self.slots.front().map_or(self.next_load, |slot| slot.pos.lsn)
    }

    /// Whether the reader may load more. A share per shard, so that no shard starves another.
    pub(crate) fn has_space(&self, limits: &Limits, shards: usize) -> bool {
        let share = |limit: usize| (limit / shards).max(1);
        self.open < share(limits.open_max)
            && self.bytes < share(limits.bytes_max)
            && self.slots.len() < share(limits.span_max)
    }

    /// As [`Window::has_space`], with a quarter free, so that readers are not woken for every settled delivery.
    pub(crate) fn has_good_space(&self, limits: &Limits, shards: usize) -> bool {
        let share = |limit: usize| (limit / shards * 3 / 4).max(1);
        self.open < share(limits.open_max)
            && self.bytes < share(limits.bytes_max)
            && self.slots.len() < share(limits.span_max)
    }

    /// Nothing of what is known to be owed waits here or in the log.
    pub(crate) fn is_paid(&self) -> bool {
        self.open == 0 && self.unloaded == 0
    }

    pub(crate) fn push(&mut self, slot: Slot) -> u64 {
        self.open += 1;
        self.bytes += slot.content.as_ref().map_or(0, |content| content.body.len());
        self.slots.push_back(slot);
        self.base + self.slots.len() as u64 - 1
    }

    pub(crate) fn slot(&mut self, ordinal: u64) -> Option<&mut Slot> {
        let offset = usize::try_from(ordinal.checked_sub(self.base)?).ok()?;
        self.slots.get_mut(offset)
    }

    /// The slot of an event, if it is loaded.
    pub(crate) fn find(&self, pos: EventPos) -> Option<&Slot> {
        let at = self.slots.binary_search_by_key(&pos, |slot| slot.pos).ok()?;
        self.slots.get(at)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &Slot)> {
        (self.base..).zip(&self.slots)
    }

    /// Settles an unsettled slot and lets go of its content. Counters of its former state are the caller's.
    pub(crate) fn settle(&mut self, ordinal: u64, settlement: Settlement) {
        let Some(slot) = self.slot(ordinal) else { return };
        let bytes = slot.content.take().map_or(0, |content| content.body.len());
        slot.state = State::Settled(settlement);
        self.open -= 1;
        self.bytes -= bytes;
        self.live.settle(settlement);
    }

    /// A delivery that was set aside earlier came to its end.
    pub(crate) fn settle_aside(&mut self, ordinal: u64, settlement: Settlement) {
        self.live.settle(settlement);
        match self.slot(ordinal) {
            Some(slot) => slot.state = State::Settled(settlement),
            None => self.at_cursor.settle(settlement),
        }
    }

    /// Whether the cursor has passed this slot, so that only an exception row remembers it.
    pub(crate) fn passed(&self, ordinal: u64) -> bool {
        ordinal < self.base
    }

    /// Moves the cursor over everything settled, whole records at a time, and hands the passed slots to `visit`.
    pub(crate) fn pass(&mut self, mut visit: impl FnMut(&Slot, Settlement)) -> usize {
        let mut passed = 0;
        while let Some(lsn) = self.slots.front().map(|slot| slot.pos.lsn) {
            let record = self.slots.iter().take_while(|slot| slot.pos.lsn == lsn);
            if !record.into_iter().all(|slot| matches!(slot.state, State::Settled(_))) {
                break;
            }
            while let Some(slot) = self.slots.pop_front_if(|slot| slot.pos.lsn == lsn) {
                self.base += 1;
                passed += 1;
                if let State::Settled(settlement) = slot.state {
                    self.at_cursor.settle(settlement);
                    visit(&slot, settlement);
                }
            }
        }
        let cursor = self.cursor();
        self.switches.pass(cursor);
        passed
    }

    /// The oldest event that is loaded and not settled.
    pub(crate) fn oldest_at(&self) -> Option<u64> {
        self.slots.iter().find(|slot| !matches!(slot.state, State::Settled(_))).map(|slot| slot.at)
    }

    pub(crate) fn span(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}
