//! Which room leaves the main path, and when; what becomes of it there.

use std::cmp::Reverse;

use ahash::AHashMap;
use bytes::Bytes;
use roomhook_log::{Lsn, Row};
use roomhook_room::Order;

use super::{
    Engine,
    checkpoint::Dirty,
    lane::{Lane, Lanes},
    share::{Share, Size},
    types::{DeliveryId, Owed, Settlement, Ticket, Wakes},
    window::{State, Window},
};
use crate::rows::{LaneRow, LanesRow};

/// Records read for a lane at once.
const CHUNK_RECORDS: usize = 64;

/// What to read for a lane: records of one room, in `from..below`.
#[derive(Clone, Debug)]
pub struct LaneWork {
    /// The log key of the room.
    pub room: Bytes,
    pub from: Lsn,
    pub below: Lsn,
    /// Records to read at most.
    pub limit: usize,
    /// Events there that are owed, if retention has taken none.
    owed: u64,
}

impl Engine {
    pub(super) fn share(&self) -> Share {
        Share::of(&self.policy.limits, self.windows.len())
    }

    /// Makes space in a window that has none, by detaching rooms, if it is they that fill it. False when nothing was done.
    pub(super) fn relieve(&mut self, shard: u16) -> bool {
        if self.policy.order != Order::Room || self.is_stopped() || !self.is_bound_by_order() {
            return false;
        }
        let share = self.share();
        let Some(window) = self.windows.get(usize::from(shard)) else { return false };
        if window.lanes.len() >= share.lanes_max() {
            return false;
        }
        let room = if window.is_too_wide_for(&window.need, &share) {
            // What is not settled at the cursor keeps it where it is.
            window.main_path().find(|(_, slot)| slot.is_open()).map(|(_, slot)| slot.room)
        } else {
            greediest(window, &share)
        };
        room.is_some_and(|room| self.detach(shard, room, &share))
    }

    /// Whether the endpoint could take more than it is given. It is never more than half full with what lanes send while the
    /// main path has something (see `next_of_window`), so what the main path does not use of the other half counts too.
    fn is_bound_by_order(&self) -> bool {
        let concurrency = self.policy.concurrency.max(1);
        let main = |window: &Window| window.main.ready + window.main.in_flight;
        self.in_flight + self.ready_len() < concurrency
            || self.windows.iter().map(main).sum::<usize>() < concurrency / 2
    }

    /// Moves a room from the main path to a lane of its own, if all lanes can be made to fit.
    fn detach(&mut self, shard: u16, room: u32, share: &Share) -> bool {
        let Some(window) = self.windows.get_mut(usize::from(shard)) else { return false };
        let quota = share.of_lane(window.lanes.len() + 1);
        let fits = window.lanes.rooms().all(|(_, lane)| window.lanes.spare(lane, &quota).is_some());
        let own = Share { span: quota.span.min(window.left_for_lane(room, &quota, share)), ..quota };
        if !fits || own.span == 0 || !can_leave(window, room, &own) {
            return false;
        }
        let all: Vec<u64> =
            window.main_path().filter(|(_, slot)| slot.room == room).map(|(ordinal, _)| ordinal).collect();
        window.lanes.insert(room, Lane::new(window.next_load));
        for ordinal in all {
            let Some(slot) = window.take_apart(ordinal) else { continue };
            window.apart.add(&slot);
            if slot.state == State::Ready {
                self.ready_apart.push(Reverse((slot.at, Ticket::Window { shard, ordinal })));
            }
            window.lanes.push(Some(ordinal), slot);
            window.lanes.marked(room, None);
        }
        if let Some(room) = self.rooms.get(room) {
            room.apart = true;
        }
        self.pass_lane(shard, room);
        self.shrink_lanes(shard, &quota, (room, &own));
        // The cursor goes over the markers at once where it can.
        self.pass(shard);
        self.touch(shard, Dirty::Settled);
        true
    }

    /// Forgets what does not fit into lanes any more because there is one more of them, or into the new one.
    fn shrink_lanes(&mut self, shard: u16, quota: &Share, (new, own): (u32, &Share)) {
        let Some(Window { lanes, apart, .. }) = self.windows.get_mut(usize::from(shard)) else { return };
        let share = |room| if room == new { own } else { quota };
        let spare = |(room, lane): (u32, &Lane)| lanes.spare(lane, share(room)).map(|count| (room, count));
        let spare: Vec<(u32, usize)> = lanes.rooms().filter_map(spare).filter(|(_, count)| *count > 0).collect();
        for (index, count) in spare {
            lanes.forget(index, count, |slot| apart.remove(slot));
            if let Some(room) = self.rooms.get(index) {
                room.slots = room.slots.saturating_sub(count);
                room.queue.truncate(room.queue.len().saturating_sub(count));
            }
        }
    }

    /// Moves the cursor of a room's lane over what is settled.
    pub(super) fn pass_lane(&mut self, shard: u16, room: u32) {
        let Some(window) = self.windows.get_mut(usize::from(shard)) else { return };
        let mut exceptions = Vec::new();
        window.lanes.pass(room, &mut window.at_cursor, |slot, settlement| {
            self.rooms.leave_one(room);
            if matches!(settlement, Settlement::Aside | Settlement::Parked) {
                exceptions.push(DeliveryId { shard, pos: slot.pos });
            }
        });
        exceptions.into_iter().for_each(|id| self.write_exception(id));
    }

    /// Lets rooms whose lanes have nothing left go back to the main path.
    pub(super) fn attach_done(&mut self, shard: u16) {
        let Some(window) = self.windows.get_mut(usize::from(shard)) else { return };
        let mut attached = false;
        while let Some(room) = window.lanes.remove_done(window.next_load) {
            self.rooms.attach(room);
            attached = true;
        }
        if attached {
            self.touch(shard, Dirty::Moved);
        }
    }

    /// Whether a room's records are passed by: their content need not be made.
    pub fn is_apart(&self, room: &[u8]) -> bool {
        self.rooms.is_apart(room)
    }

    /// Whether any room of a shard has a lane.
    pub fn has_lanes(&self, shard: u16) -> bool {
        self.windows.get(usize::from(shard)).is_some_and(|window| !window.lanes.is_empty())
    }

    /// What to read for the lanes of a shard now. Without anything to read, their reader is woken by [`Wakes::space`].
    pub fn lane_work(&mut self, shard: u16) -> Option<LaneWork> {
        let share = self.share();
        let window = self.windows.get_mut(usize::from(shard))?;
        let quota = share.of_lane(window.lanes.len());
        let Some((room, lane)) = window.neediest_lane(&share) else {
            window.lanes.reader_waits = true;
            return None;
        };
        let limit = quota.span.saturating_sub(lane.ordinals.len()).clamp(1, CHUNK_RECORDS);
        let (from, below, owed) = (lane.next_load, window.next_load, lane.unloaded);
        window.lanes.reader_waits = false;
        let room = self.rooms.get(room)?.key.clone();
        Some(LaneWork { room, from, below, limit, owed })
    }

    /// Whether the reader of lanes waits although there is something to read. Once: it is told so.
    pub(super) fn lanes_call(&mut self, shard: u16) -> bool {
        let share = self.share();
        let Some(window) = self.windows.get_mut(usize::from(shard)) else { return false };
        let calls = window.lanes.reader_waits && window.neediest_lane(&share).is_some();
        window.lanes.reader_waits &= !calls;
        calls
    }

    /// The records of `work` up to `next` (exclusive) were read; `owed` of them is owed, in log order.
    pub fn load_lane(&mut self, shard: u16, work: &LaneWork, owed: Vec<Owed>, next: Lsn) -> Wakes {
        let Some(index) = self.lane_of(shard, work) else { return Wakes::default() };
        let (share, mut next, mut loaded) = (self.share(), next, 0);
        for record in owed.chunk_by(|one, other| one.pos.lsn == other.pos.lsn) {
            let size = Size::of(record.iter());
            let Some(window) = self.windows.get_mut(usize::from(shard)) else { break };
            let fits = window.fits_lane(index, &size, &share);
            let Some(lane) = window.lanes.get_mut(index) else { break };
            lane.need = Size::ONE;
            if !fits {
                lane.need = size;
                next = record.first().map_or(next, |owed| owed.pos.lsn);
                break;
            }
            record.iter().for_each(|owed| lane.loaded(owed.at));
            loaded += record.len() as u64;
            record.iter().for_each(|owed| self.take_into_lane(shard, index, owed));
        }
        let missing = if next == work.below { work.owed.saturating_sub(loaded) } else { 0 };
        self.lane_reached(shard, index, next, missing);
        Wakes { ready: self.startable(), space: None, keeper: false }
    }

    /// Retention dropped the records before `first`, of `work` too; `left` events of it are still there.
    pub fn lane_trimmed(&mut self, shard: u16, work: &LaneWork, first: Lsn, left: u64) {
        if let Some(index) = self.lane_of(shard, work) {
            self.lane_reached(shard, index, first.min(work.below), work.owed.saturating_sub(left));
        }
    }

    /// The lane that `work` was for, unless it is elsewhere by now.
    fn lane_of(&self, shard: u16, work: &LaneWork) -> Option<u32> {
        let index = self.rooms.find(&work.room)?;
        let lane = self.windows.get(usize::from(shard))?.lanes.get(index)?;
        (lane.next_load == work.from).then_some(index)
    }

    fn lane(&mut self, shard: u16, index: u32) -> Option<&mut Lane> {
        self.windows.get_mut(usize::from(shard))?.lanes.get_mut(index)
    }

    fn take_into_lane(&mut self, shard: u16, index: u32, owed: &Owed) {
        let slot = self.slot_of(owed.clone(), index);
        let Some(window) = self.windows.get_mut(usize::from(shard)) else { return };
        window.apart.add(&slot);
        let ordinal = window.lanes.push(None, slot);
        self.queue_up(shard, ordinal, index);
    }

    fn lane_reached(&mut self, shard: u16, index: u32, next: Lsn, missing: u64) {
        let Some(lane) = self.lane(shard, index) else { return };
        lane.next_load = lane.next_load.max(next);
        lane.unloaded = lane.unloaded.saturating_sub(missing);
        if let Some(window) = self.windows.get_mut(usize::from(shard)) {
            window.live.expired += missing;
            window.at_cursor.expired += missing;
        }
        self.pass_lane(shard, index);
        self.attach_done(shard);
        self.touch(shard, if missing > 0 { Dirty::Settled } else { Dirty::Moved });
    }

    /// Makes the lanes of a shard as its row says.
    pub(super) fn restore_lanes(&mut self, shard: u16, row: &LanesRow) {
        let Some(window) = self.windows.get_mut(usize::from(shard)) else { return };
        for lane in &row.lanes {
            let index = self.rooms.intern(&lane.room);
            if let Some(room) = self.rooms.get(index) {
                room.apart = true;
            }
            window.lanes.insert(index, Lane::restored(Lsn(lane.next), lane.owed, lane.at));
            // The main path does not meet these.
            window.unloaded = window.unloaded.saturating_sub(lane.owed);
        }
        if let Some(written) = self.lanes_written.get_mut(usize::from(shard)) {
            *written = !row.lanes.is_empty();
        }
    }

    /// The row about lanes that goes with the cursor, or its end.
    pub(super) fn lanes_to_write(&mut self, shard: u16) -> Option<Row> {
        let row = self.lanes_row(shard);
        let written = self.lanes_written.get_mut(usize::from(shard))?;
        let was_written = std::mem::replace(written, !row.lanes.is_empty());
        let value = (!row.lanes.is_empty()).then(|| row.to_bytes());
        (was_written || value.is_some()).then(|| Row { key: self.names.lanes(), value })
    }

    /// What a restart must know of the lanes of a shard, as of its cursor.
    fn lanes_row(&mut self, shard: u16) -> LanesRow {
        let Some(window) = self.windows.get(usize::from(shard)) else { return LanesRow::default() };
        let ahead = markers_ahead(window);
        let lanes = window.lanes.rooms().map(|(index, lane)| LaneRow {
            room: self.rooms.get(index).map(|room| room.key.clone()).unwrap_or_default(),
            next: window.lanes.cursor(lane).0,
            owed: owed_behind_cursor(window, lane, ahead.get(&index).map_or(0, |(_, count)| *count)),
            at: window.lanes.oldest_of(lane).unwrap_or(0),
        });
        LanesRow { lanes: lanes.collect() }
    }

    /// When the oldest event happened that some lane owes; 0 when that is not known.
    pub(super) fn oldest_apart(&self) -> u64 {
        let lanes = self.windows.iter().map(|window| &window.lanes);
        let oldest = |lanes: &Lanes| match lanes.are_loaded() {
            true => lanes.oldest_at(),
            false => lanes.rooms().map(|(_, lane)| lane).map(|lane| lanes.front_at(lane).unwrap_or(0)).min(),
        };
        lanes.filter_map(oldest).min().unwrap_or(u64::MAX)
    }
}

/// Events of a lane between its own cursor and that of the shard, with so many markers `ahead`. After a restart the main path
/// does not meet them.
fn owed_behind_cursor(window: &Window, lane: &Lane, ahead: u64) -> u64 {
    let cursor = window.cursor();
    let slots = lane.ordinals.iter().filter_map(|ordinal| window.lanes.slots.get(ordinal));
    let loaded = slots.filter(|slot| slot.pos.lsn < cursor).count() as u64;
    loaded + lane.unloaded.saturating_sub(ahead)
}

/// What the main path has of each room with a lane that is not in the lane's slots yet: from which record on, and how many
/// markers. In one pass for all, because there may be tens of thousands, and all else waits meanwhile.
fn markers_ahead(window: &Window) -> AHashMap<u32, (Lsn, u64)> {
    let mut ahead: AHashMap<_, _> = window.lanes.rooms().map(|(room, lane)| (room, (lane.next_load, 0))).collect();
    if ahead.is_empty() {
        return ahead;
    }
    for (_, marker) in window.main_path().filter(|(_, slot)| slot.state == State::Apart) {
        if let Some((from, count)) = ahead.get_mut(&marker.room) {
            *count += u64::from(marker.pos.lsn >= *from);
        }
    }
    ahead
}

/// The room with the largest part of the main path in memory, if it has something waiting there.
fn greediest(window: &Window, share: &Share) -> Option<u32> {
    let mut rooms: AHashMap<u32, (usize, usize)> = AHashMap::new();
    for (_, slot) in window.main_path().filter(|(_, slot)| slot.is_open()) {
        let (open, bytes) = rooms.entry(slot.room).or_default();
        *open += 1;
        *bytes += slot.bytes();
    }
    let waits = rooms.into_iter().filter(|(_, (open, _))| *open > 1);
    let part = |open: usize, bytes: usize| {
        (open.saturating_mul(1_000_000) / share.open).max(bytes.saturating_mul(1_000_000) / share.bytes)
    };
    waits.max_by_key(|(room, (open, bytes))| (part(*open, *bytes), Reverse(*room))).map(|(room, _)| room)
}

/// Whether what of a room cannot be forgotten fits into its lane.
fn can_leave(window: &Window, room: u32, quota: &Share) -> bool {
    let slots = window.main_path().map(|(_, slot)| slot).filter(|slot| slot.room == room);
    let slots: Vec<_> = slots.skip_while(|slot| !slot.is_open()).collect();
    let Some(touched) = slots.iter().rposition(|slot| !slot.is_untouched()) else { return true };
    let (Some(last), Some(first)) = (slots.get(touched), slots.first()) else { return true };
    let kept = slots.iter().take_while(|slot| slot.pos.lsn <= last.pos.lsn);
    let (count, bytes) = kept.fold((0, 0), |(count, bytes), slot| (count + 1, bytes + slot.bytes()));
    first.pos.lsn == last.pos.lsn || (count <= quota.span && bytes <= quota.bytes)
}
