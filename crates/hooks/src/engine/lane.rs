//! Rooms off the main path: those that are sent more than their endpoint takes in order.
//!
//! Such a room gets a *lane*: what of it is in memory leaves the window, the reader passes its further records by (they are
//! counted, and leave a marker in the window until the cursor has passed), and a reader of its own ([`crate::laggards`])
//! brings them from the log, room by room, a few at a time. So the window and the cursor of the shard go on for all others.
//!
//! ```text
//!            of the room                     of the whole shard
//!     next          next_load        cursor            next_load
//!      │ slots, in order │  in the log  │   in the log    │
//! ─────┴─────────────────┴──────────────┴─────────────────┴──>
//!      └──────────── `owed` ────────────┘ └── markers ────┘
//! ```
//!
//! A row beside the cursor ([`crate::rows::LanesRow`]) says for each lane where its room goes on and how much of it the
//! cursor has passed; both are written together. When a lane has nothing left and the cursor has passed all its markers, the
//! room is back on the main path.

use std::collections::{BTreeMap, VecDeque};

use roomhook_log::Lsn;

use super::{
    count::take,
    share::{Share, Size},
    types::{Settlement, Totals},
    window::{Slot, State},
};

/// Ordinals of slots that were loaded by a lane begin here; the main path never gets that far.
const FIRST_ORDINAL: u64 = 1 << 63;

/// One room's.
#[derive(Debug)]
pub(crate) struct Lane {
    /// Its slots, oldest first; settled ones stay until those before them are.
    pub(crate) ordinals: VecDeque<u64>,
    /// Bodies of its slots.
    bytes: usize,
    /// Its records before this one are in slots, or settled.
    pub(crate) next_load: Lsn,
    /// Events that the main path passed by and that are not in slots.
    pub(crate) unloaded: u64,
    /// When the oldest of them happened, or somewhat earlier; 0: not known.
    pub(crate) unloaded_at: u64,
    /// Of it on the main path.
    markers: usize,
    /// Its records before this one were settled before the restart.
    pub(crate) settled_to: Lsn,
    /// What its next record takes, as far as that is known.
    pub(crate) need: Size,
}

/// Those of one shard, by the index of their room.
#[derive(Debug)]
pub(crate) struct Lanes {
    pub(crate) slots: BTreeMap<u64, Slot>,
    by_room: BTreeMap<u32, Lane>,
    next_ordinal: u64,
    /// Their reader was told that there is nothing to do and waits to be woken.
    pub(crate) reader_waits: bool,
}

impl Default for Lanes {
    fn default() -> Self {
        Self { slots: BTreeMap::new(), by_room: BTreeMap::new(), next_ordinal: FIRST_ORDINAL, reader_waits: false }
    }
}

impl Lane {
    pub(crate) fn new(next_load: Lsn) -> Self {
        Self {
            ordinals: VecDeque::new(),
            bytes: 0,
            next_load,
            unloaded: 0,
            unloaded_at: 0,
            markers: 0,
            settled_to: Lsn(0),
            need: Size::ONE,
        }
    }

    /// Goes on where a row left it: `owed` events from `next` on are behind the shard's cursor, the oldest of `at`.
    pub(crate) fn restored(next: Lsn, owed: u64, at: u64) -> Self {
        Self { unloaded: owed, unloaded_at: at, settled_to: next, ..Self::new(next) }
    }

    /// One that was not in a slot is in one now.
    pub(crate) fn loaded(&mut self, at: u64) {
        self.unloaded = self.unloaded.saturating_sub(1);
        // What is left lies behind it in the log.
        self.unloaded_at = self.unloaded_at.max(at);
    }

    /// Whether it may have `size` more, as far as its own share goes.
    pub(crate) fn fits(&self, size: &Size, share: &Share) -> bool {
        self.ordinals.len() + size.span <= share.span && self.bytes + size.bytes <= share.bytes
    }

    /// Whether its next records should be read: half of its share is free.
    pub(crate) fn wants(&self, share: &Share) -> bool {
        self.unloaded > 0 && self.ordinals.len() * 2 <= share.span
    }

    fn is_done(&self) -> bool {
        self.ordinals.is_empty() && self.unloaded == 0 && self.markers == 0
    }
}

impl Lanes {
    pub(crate) fn is_empty(&self) -> bool {
        self.by_room.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.by_room.len()
    }

    /// Nothing waits in the log.
    pub(crate) fn are_loaded(&self) -> bool {
        self.by_room.values().all(|lane| lane.unloaded == 0)
    }

    pub(crate) fn get(&self, room: u32) -> Option<&Lane> {
        self.by_room.get(&room)
    }

    pub(crate) fn get_mut(&mut self, room: u32) -> Option<&mut Lane> {
        self.by_room.get_mut(&room)
    }

    pub(crate) fn insert(&mut self, room: u32, lane: Lane) {
        self.by_room.insert(room, lane);
    }

    pub(crate) fn rooms(&self) -> impl Iterator<Item = (u32, &Lane)> {
        self.by_room.iter().map(|(room, lane)| (*room, lane))
    }

    /// The first record of a lane that is not settled.
    pub(crate) fn cursor(&self, lane: &Lane) -> Lsn {
        let front = lane.ordinals.front().and_then(|ordinal| self.slots.get(ordinal));
        front.map_or(lane.next_load, |slot| slot.pos.lsn)
    }

    pub(crate) fn cursors(&self) -> impl Iterator<Item = Lsn> {
        self.by_room.values().map(|lane| self.cursor(lane))
    }

    /// When the oldest event happened that is not settled, in a slot or not.
    pub(crate) fn oldest_at(&self) -> Option<u64> {
        self.by_room.values().filter_map(|lane| self.oldest_of(lane)).min()
    }

    /// As [`Lanes::oldest_at`], of one lane.
    pub(crate) fn oldest_of(&self, lane: &Lane) -> Option<u64> {
        let unloaded = (lane.unloaded > 0 && lane.unloaded_at > 0).then_some(lane.unloaded_at);
        self.front_at(lane).or(unloaded)
    }

    /// When the oldest event of a lane that is in a slot happened.
    pub(crate) fn front_at(&self, lane: &Lane) -> Option<u64> {
        let front = lane.ordinals.front().and_then(|ordinal| self.slots.get(ordinal));
        front.map(|slot| slot.at)
    }

    /// The main path passed an event of a room with a lane by, and left a marker. `owed_at` says when it happened, if no slot
    /// has it and it is not settled.
    pub(crate) fn marked(&mut self, room: u32, owed_at: Option<u64>) {
        let Some(lane) = self.by_room.get_mut(&room) else { return };
        lane.markers += 1;
        if let Some(at) = owed_at {
            if lane.unloaded == 0 {
                lane.unloaded_at = at;
            }
            lane.unloaded += 1;
        }
    }

    /// The cursor has passed a marker.
    pub(crate) fn passed_marker(&mut self, room: u32) {
        if let Some(lane) = self.by_room.get_mut(&room) {
            take(&mut lane.markers, 1, "markers of a lane");
        }
    }

    /// A slot of a room let go of its body.
    pub(crate) fn let_go(&mut self, room: u32, bytes: usize) {
        if let Some(lane) = self.by_room.get_mut(&room) {
            take(&mut lane.bytes, bytes, "bytes of a lane");
        }
    }

    /// Adds a slot at the end of its room's lane, under the ordinal it had on the main path or a new one.
    pub(crate) fn push(&mut self, ordinal: Option<u64>, slot: Slot) -> u64 {
        let ordinal = ordinal.unwrap_or_else(|| {
            self.next_ordinal += 1;
            self.next_ordinal
        });
        if let Some(lane) = self.by_room.get_mut(&slot.room) {
            lane.ordinals.push_back(ordinal);
            lane.bytes += slot.bytes();
        }
        self.slots.insert(ordinal, slot);
        ordinal
    }

    /// How many slots at a lane's end must be forgotten so that it fits into `share`; `None` when some of them cannot be.
    pub(crate) fn spare(&self, lane: &Lane, share: &Share) -> Option<usize> {
        let (mut left, mut bytes) = (lane.ordinals.len(), lane.bytes);
        while left > share.span || bytes > share.bytes {
            // Whole records, because a lane reads whole records.
            let all = left;
            let slots = || lane.ordinals.range(..all).rev().filter_map(|ordinal| self.slots.get(ordinal));
            let Some(lsn) = slots().next().map(|slot| slot.pos.lsn) else { break };
            let record = || slots().take_while(|slot| slot.pos.lsn == lsn);
            let count = record().count();
            if count == left {
                break;
            }
            if !record().all(Slot::is_untouched) {
                return None;
            }
            take(&mut left, count, "slots of a lane");
            take(&mut bytes, record().map(Slot::bytes).sum(), "bytes of a lane");
        }
        Some(lane.ordinals.len() - left)
    }

    /// Forgets the last `count` slots of a lane: they are read again later. The counters of open slots are the caller's.
    pub(crate) fn forget(&mut self, room: u32, count: usize, mut visit: impl FnMut(&Slot)) {
        let Some(lane) = self.by_room.get_mut(&room) else { return };
        for _ in 0..count {
            let Some(slot) = lane.ordinals.pop_back().and_then(|ordinal| self.slots.remove(&ordinal)) else { return };
            take(&mut lane.bytes, slot.bytes(), "bytes of a lane");
            lane.unloaded += 1;
            lane.unloaded_at = slot.at;
            lane.next_load = slot.pos.lsn;
            visit(&slot);
        }
    }

    /// Moves the cursor of a lane over everything settled, whole records at a time, and hands the passed slots to `visit`.
    pub(crate) fn pass(&mut self, room: u32, totals: &mut Totals, mut visit: impl FnMut(&Slot, Settlement)) {
        let Some(lane) = self.by_room.get_mut(&room) else { return };
        let slots = &mut self.slots;
        while let Some(lsn) = lane.ordinals.front().and_then(|ordinal| slots.get(ordinal)).map(|slot| slot.pos.lsn) {
            let mut states = lane.ordinals.iter().filter_map(|ordinal| slots.get(ordinal));
            let is_open = |slot: &Slot| slot.is_open();
            if states.by_ref().take_while(|slot| slot.pos.lsn == lsn).any(is_open) {
                return;
            }
            while let Some(ordinal) =
                lane.ordinals.pop_front_if(|ordinal| slots.get(ordinal).is_none_or(|slot| slot.pos.lsn == lsn))
            {
                let Some(slot) = slots.remove(&ordinal) else { continue };
                if let State::Settled(settlement) = slot.state {
                    totals.settle(settlement);
                    visit(&slot, settlement);
                }
            }
        }
    }

    /// Removes a lane that has nothing left, when the main path has reached what was settled before a restart.
    pub(crate) fn remove_done(&mut self, main_path: Lsn) -> Option<u32> {
        let done = |lane: &Lane| lane.is_done() && lane.settled_to <= main_path;
        let room = self.rooms().find(|(_, lane)| done(lane)).map(|(room, _)| room)?;
        self.by_room.remove(&room);
        Some(room)
    }
}
