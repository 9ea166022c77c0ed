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
//! of the log, so a room that is sent more than its endpoint takes in order (1/RTT) would fill it in the end, and then slow the
//! rooms of its shard to its own pace. Before that happens the room gets a lane of its own ([`super::lane`]), and leaves
//! nothing but markers here.

use std::collections::VecDeque;

use roomhook_log::Lsn;

use super::{
    count::take,
    lane::{Lane, Lanes},
    share::{Share, Size},
    switches::SwitchLog,
    types::{Content, EventPos, Failed, Settlement, Totals},
};

/// One loaded delivery.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) pos: EventPos,
    pub(crate) seq: u64,
    pub(crate) at: u64,
    /// Index in [`super::rooms::Rooms`].
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
    /// No slot but a marker: what was here is the business of its room's lane.
    Apart,
}

/// What some slots come to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Load {
    /// Unsettled ones.
    pub(crate) open: usize,
    /// Of their bodies.
    pub(crate) bytes: usize,
    pub(crate) in_flight: usize,
    pub(crate) ready: usize,
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
    /// When the oldest of them happened, or somewhat earlier.
    pub(crate) unloaded_at: u64,
    /// Of the slots between cursor and `next_load`.
    pub(crate) main: Load,
    /// Of the slots in lanes.
    pub(crate) apart: Load,
    pub(crate) lanes: Lanes,
    /// The numbers as of now.
    pub(crate) live: Totals,
    /// The numbers as a restart from the cursor would need them; `acknowledged` as of `counted`.
    pub(crate) at_cursor: Totals,
    /// What was switched on from which record on.
    pub(crate) switches: SwitchLog,
    /// The reader was told that there is no space and waits to be woken.
    pub(crate) full: bool,
    /// What the next record takes, as far as that is known.
    pub(crate) need: Size,
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
            unloaded_at: 0,
            main: Load::default(),
            apart: Load::default(),
            lanes: Lanes::default(),
            live: totals,
            at_cursor: totals,
            switches,
            full: false,
            need: Size::ONE,
        }
    }

    /// Everything before it is settled.
    pub(crate) fn cursor(&self) -> Lsn {
        self.slots.front().map_or(self.next_load, |slot| slot.pos.lsn)
    }

    /// What the main path may hold now: lanes have their part of the shard's share as soon as there is one.
    fn share(&self, shard: &Share) -> Share {
        if self.lanes.is_empty() { *shard } else { shard.without_lanes() }
    }

    /// Whether `size` more can be loaded. What is larger than the whole share is let in alone.
    pub(crate) fn fits(&self, size: &Size, shard: &Share) -> bool {
        let share = self.share(shard);
        let load = &self.main;
        let open = load.open == 0 || (load.open + size.open <= share.open && load.bytes + size.bytes <= share.bytes);
        open && !self.is_too_wide_for(size, shard)
    }

    /// Whether it is the span that leaves no space: something near the cursor is not settled.
    pub(crate) fn is_too_wide_for(&self, size: &Size, shard: &Share) -> bool {
        !self.slots.is_empty() && self.slots.len() + size.span > self.share(shard).span
    }

    /// Whether the reader may load more.
    pub(crate) fn has_space(&self, shard: &Share) -> bool {
        self.fits(&self.need, shard)
    }

    /// As [`Window::has_space`], with a quarter free, so that readers are not woken for every settled delivery.
    pub(crate) fn has_good_space(&self, shard: &Share) -> bool {
        let share = self.share(shard);
        let below = |used: usize, limit: usize| used < (limit * 3 / 4).max(1);
        below(self.main.open, share.open)
            && below(self.main.bytes, share.bytes)
            && below(self.slots.len(), share.span)
            && self.has_space(shard)
    }

    /// Deliveries that surely fit: more need not be made ready for loading.
    pub(crate) fn space_left(&self, shard: &Share) -> usize {
        let share = self.share(shard);
        (share.open.saturating_sub(self.main.open)).min(share.span.saturating_sub(self.slots.len())).max(1)
    }

    /// Whether a lane may take `size` more. One that is empty may, however little space there is: its room must go on. For
    /// the others the main path must have given back what it held of the lanes' part before there was a lane.
    pub(crate) fn fits_lane(&self, room: u32, size: &Size, shard: &Share) -> bool {
        let Some(lane) = self.lanes.get(room) else { return false };
        let is_within = self.open() + size.open <= shard.open
            && self.bytes() + size.bytes <= shard.bytes
            && self.span() + size.span <= shard.span;
        lane.ordinals.is_empty() || (is_within && lane.fits(size, &shard.of_lane(self.lanes.len())))
    }

    /// Whose lane's records should be read next: of those that have space, the one with least in memory.
    pub(crate) fn neediest_lane(&self, shard: &Share) -> Option<(u32, &Lane)> {
        let quota = shard.of_lane(self.lanes.len());
        let wants = |room: u32, lane: &Lane| lane.wants(&quota) && self.fits_lane(room, &lane.need, shard);
        self.lanes.rooms().filter(|(room, lane)| wants(*room, lane)).min_by_key(|(_, lane)| lane.ordinals.len())
    }

    /// Slots that a room may take along into a lane, when each of the others has `quota` at most: what it leaves behind are
    /// markers, and they need their place until the cursor has passed them.
    pub(crate) fn left_for_lane(&self, room: u32, quota: &Share, shard: &Share) -> usize {
        let passed = self.slots.iter().take_while(|slot| slot.room == room || !slot.is_open()).count();
        let lanes = self.lanes.rooms().map(|(_, lane)| lane.ordinals.len().min(quota.span));
        (shard.span + passed).saturating_sub(self.slots.len() + lanes.sum::<usize>())
    }

    /// Nothing of what is known to be owed waits here or in the log.
    pub(crate) fn is_paid(&self) -> bool {
        self.main.open == 0 && self.apart.open == 0 && self.unloaded == 0 && self.lanes.are_loaded()
    }

    pub(crate) fn push(&mut self, slot: Slot) -> u64 {
        self.main.open += 1;
        self.main.bytes += slot.bytes();
        self.slots.push_back(slot);
        self.base + self.slots.len() as u64 - 1
    }

    /// Remembers that an event of a room with a lane lies here.
    pub(crate) fn push_marker(&mut self, marker: Slot) {
        self.slots.push_back(marker);
    }

    /// Where in `slots` an ordinal is, unless it is in a lane, or nowhere any more.
    fn on_main(&self, ordinal: u64) -> Option<usize> {
        let at = usize::try_from(ordinal.checked_sub(self.base)?).ok()?;
        self.slots.get(at).filter(|slot| slot.state != State::Apart).map(|_| at)
    }

    pub(crate) fn slot(&mut self, ordinal: u64) -> Option<&mut Slot> {
        match self.on_main(ordinal) {
            Some(at) => self.slots.get_mut(at),
            None => self.lanes.slots.get_mut(&ordinal),
        }
    }

    /// The counters that a slot is part of.
    pub(crate) fn load_of(&mut self, ordinal: u64) -> &mut Load {
        if self.is_apart(ordinal) { &mut self.apart } else { &mut self.main }
    }

    /// Whether a slot is in a lane.
    pub(crate) fn is_apart(&self, ordinal: u64) -> bool {
        self.on_main(ordinal).is_none()
    }

    /// The slot of an event, if it is loaded.
    pub(crate) fn find(&self, pos: EventPos) -> Option<&Slot> {
        let at = self.slots.binary_search_by_key(&pos, |slot| slot.pos).ok();
        let found = at.and_then(|at| self.slots.get(at)).filter(|slot| slot.state != State::Apart);
        found.or_else(|| self.lanes.slots.values().find(|slot| slot.pos == pos))
    }

    /// All slots, those of each room in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &Slot)> {
        let main = (self.base..).zip(&self.slots).filter(|(_, slot)| slot.state != State::Apart);
        self.lanes.slots.iter().map(|(ordinal, slot)| (*ordinal, slot)).chain(main)
    }

    /// The slots between cursor and `next_load`, markers included, oldest first.
    pub(crate) fn main_path(&self) -> impl Iterator<Item = (u64, &Slot)> {
        (self.base..).zip(&self.slots)
    }

    /// Takes a slot off the main path and leaves a marker.
    pub(crate) fn take_apart(&mut self, ordinal: u64) -> Option<Slot> {
        let at = self.on_main(ordinal)?;
        let slot = self.slots.get_mut(at)?;
        let marker = Slot { content: None, state: State::Apart, ..*slot };
        let slot = std::mem::replace(slot, marker);
        self.main.remove(&slot);
        Some(slot)
    }

    /// Settles an unsettled slot and lets go of its content. Counters of its former state are the caller's.
    pub(crate) fn settle(&mut self, ordinal: u64, settlement: Settlement) {
        let Some(slot) = self.slot(ordinal) else { return };
        let (bytes, room) = (slot.bytes(), slot.room);
        slot.content = None;
        slot.state = State::Settled(settlement);
        let load = self.load_of(ordinal);
        take(&mut load.open, 1, "open");
        take(&mut load.bytes, bytes, "bytes");
        if self.is_apart(ordinal) {
            self.lanes.let_go(room, bytes);
        }
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

    /// Whether the cursor, or its lane's, has passed this slot, so that only an exception row remembers it.
    pub(crate) fn passed(&self, ordinal: u64) -> bool {
        self.on_main(ordinal).is_none() && !self.lanes.slots.contains_key(&ordinal)
    }

    /// Moves the cursor over everything settled, whole records at a time, and hands the passed slots to `visit`.
    pub(crate) fn pass(&mut self, mut visit: impl FnMut(&Slot, Settlement)) -> usize {
        let mut passed = 0;
        while let Some(lsn) = self.slots.front().map(|slot| slot.pos.lsn) {
            let mut record = self.slots.iter().take_while(|slot| slot.pos.lsn == lsn);
            if !record.all(|slot| matches!(slot.state, State::Settled(_) | State::Apart)) {
                break;
            }
            while let Some(slot) = self.slots.pop_front_if(|slot| slot.pos.lsn == lsn) {
                self.base += 1;
                passed += 1;
                match slot.state {
                    State::Settled(settlement) => {
                        self.at_cursor.settle(settlement);
                        visit(&slot, settlement);
                    }
                    _ => self.lanes.passed_marker(slot.room),
                }
            }
        }
        // Lanes read again what the cursor has passed, and must judge it as it was judged then.
        let cursor = self.lanes.cursors().fold(self.cursor(), Lsn::min);
        self.switches.pass(cursor);
        passed
    }

    /// When the oldest event happened that is not settled, loaded or only counted.
    pub(crate) fn oldest_at(&self) -> Option<u64> {
        let main = self.slots.iter().find(|slot| slot.is_open()).map(|slot| slot.at);
        // Of rows of older releases nothing is known until some are loaded.
        let unloaded = (self.unloaded > 0 && self.unloaded_at > 0).then_some(self.unloaded_at);
        main.into_iter().chain(unloaded).chain(self.lanes.oldest_at()).min()
    }

    pub(crate) fn span(&self) -> usize {
        self.slots.len() + self.lanes.slots.len()
    }

    pub(crate) fn open(&self) -> usize {
        self.main.open + self.apart.open
    }

    pub(crate) fn bytes(&self) -> usize {
        self.main.bytes + self.apart.bytes
    }

    pub(crate) fn ready(&self) -> usize {
        self.main.ready + self.apart.ready
    }
}

impl Slot {
    pub(crate) fn bytes(&self) -> usize {
        self.content.as_ref().map_or(0, |content| content.body.len())
    }

    /// Loaded and not settled.
    pub(crate) fn is_open(&self) -> bool {
        !matches!(self.state, State::Settled(_) | State::Apart)
    }

    /// Nothing is lost when it is forgotten and read again later.
    pub(crate) fn is_untouched(&self) -> bool {
        self.state == State::Waiting && self.attempt == 0
    }
}

impl Load {
    pub(crate) fn add(&mut self, slot: &Slot) {
        self.open += usize::from(slot.is_open());
        self.bytes += slot.bytes();
        self.ready += usize::from(slot.state == State::Ready);
        self.in_flight += usize::from(slot.state == State::InFlight);
    }

    pub(crate) fn remove(&mut self, slot: &Slot) {
        take(&mut self.open, usize::from(slot.is_open()), "open");
        take(&mut self.bytes, slot.bytes(), "bytes");
        take(&mut self.ready, usize::from(slot.state == State::Ready), "ready");
        take(&mut self.in_flight, usize::from(slot.state == State::InFlight), "in flight");
    }
}
