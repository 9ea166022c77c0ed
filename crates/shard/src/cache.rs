//! The rooms of one shard that are in memory.
//!
//! A room is *dirty* while it has durable events that its snapshot row does not cover. Dirty rooms never leave memory,
//! so the row of a room that is not here is the whole truth about it. The oldest event of any dirty room is where a
//! restart begins to replay.

use std::collections::VecDeque;

use ahash::AHashMap;
use roomhook_log::{Key, Lsn, Row};
use roomhook_room::{Room, RoomKey};

use crate::rows;

/// Snapshots of one append, in bytes, however many are overdue: the log refuses appends that are too large, and would
/// refuse the next one no less. What is left over goes with the batches after.
const SNAPSHOT_BYTES_MAX: usize = roomhook_log::limits::APPEND_BYTES_MAX / 6;

/// One room in memory.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) key: Key,
    pub(crate) room: Room,
    /// Records up to here are in its row.
    pub(crate) covers: Lsn,
    /// Number of its last use. No two rooms have the same, so which rooms leave does not hang on the order of a map.
    used: u64,
    /// First durable record that the row does not cover.
    dirty_since: Option<Lsn>,
    /// Durable records that the row does not cover.
    pub(crate) records_since: usize,
    /// What the batch being decided adds: position of its first record, and their number.
    batch: Option<(Lsn, usize)>,
}

impl Slot {
    /// A room as its row has it.
    pub(crate) fn clean(key: Key, room: Room, covers: Lsn) -> Self {
        Self { key, room, covers, used: 0, dirty_since: None, records_since: 0, batch: None }
    }

    /// Notes a record of the batch being decided. True for the first one.
    pub(crate) fn note(&mut self, at: Lsn) -> bool {
        let (first, records) = self.batch.unwrap_or((at, 0));
        self.batch = Some((first, records + 1));
        records == 0
    }
}

/// All rooms in memory.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    slots: AHashMap<RoomKey, Slot>,
    /// Dirty rooms by the record that made them dirty, oldest first. Entries of rooms that became clean (or dirty
    /// again, later) are skipped.
    dirty: VecDeque<(Lsn, RoomKey)>,
    /// Number of the newest use of any room.
    clock: u64,
    /// So many rooms must be here before the next look for rooms that may leave.
    look_at: usize,
}

/// Snapshots that go with a batch.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) rows: Vec<Row>,
    rooms: Vec<(Lsn, RoomKey)>,
    /// Where a restart begins once the batch is durable.
    pub(crate) replay_from: Option<Lsn>,
}

/// How far snapshots may lag.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) replay_records_max: u64,
    pub(crate) snapshot_bytes_max: usize,
    pub(crate) rooms_cached_max: usize,
}

impl Cache {
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn contains(&self, room: &RoomKey) -> bool {
        self.slots.contains_key(room)
    }

    /// The room, marked as used now.
    pub(crate) fn get_mut(&mut self, room: &RoomKey) -> Option<&mut Slot> {
        let slot = self.slots.get_mut(room)?;
        self.clock += 1;
        slot.used = self.clock;
        Some(slot)
    }

    pub(crate) fn insert(&mut self, room: RoomKey, slot: Slot) {
        self.clock += 1;
        self.slots.insert(room, Slot { used: self.clock, ..slot });
    }

    /// Notes a durable record that was just folded into the room.
    pub(crate) fn folded(&mut self, room: &RoomKey, at: Lsn) {
        if let Some(slot) = self.slots.get_mut(room) {
            slot.records_since += 1;
            if slot.dirty_since.is_none() {
                slot.dirty_since = Some(at);
                self.dirty.push_back((at, room.clone()));
            }
        }
    }

    // === snapshots ===

    /// The first record that no row covers; `None` when rows cover everything.
    pub(crate) fn oldest_dirty(&mut self) -> Option<Lsn> {
        while let Some((at, room)) = self.dirty.front() {
            if self.slots.get(room).is_some_and(|slot| slot.dirty_since == Some(*at)) {
                return Some(*at);
            }
            self.dirty.pop_front();
        }
        None
    }

    /// Chooses the rooms whose snapshots go with a batch of records `first..end`: the longest dirty first, from half of
    /// the replay limit on, a limited number of bytes per batch; beyond the limit, as many as an append can take.
    pub(crate) fn plan(&mut self, first: Lsn, end: Lsn, limits: Limits) -> Plan {
        let mut plan = Plan::default();
        let mut bytes = 0;
        while let Some(oldest) = self.oldest_dirty() {
            let suffix = end.0.saturating_sub(oldest.0);
            let has_time = bytes >= limits.snapshot_bytes_max && suffix <= limits.replay_records_max;
            let may_wait = has_time || bytes >= SNAPSHOT_BYTES_MAX;
            if suffix <= limits.replay_records_max / 2 || may_wait {
                break;
            }
            let Some((at, room)) = self.dirty.pop_front() else { break };
            let Some(slot) = self.slots.get(&room) else { continue };
            let row = rows::room_row(&slot.key.0, &slot.room, Lsn(end.0 - 1));
            bytes += row.key.len() + row.value.as_ref().map_or(0, bytes::Bytes::len);
            plan.rows.push(row);
            plan.rooms.push((at, room));
        }
        if !plan.rows.is_empty() {
            let replay_from = self.oldest_dirty().unwrap_or(first);
            plan.rows.push(rows::position_row(rows::REPLAY_FROM, replay_from));
            plan.replay_from = Some(replay_from);
        }
        plan
    }

    // === after the append ===

    /// The batch is durable: `touched` rooms have new records, planned snapshots hold.
    pub(crate) fn commit(&mut self, touched: &[RoomKey], plan: &Plan) {
        for room in touched {
            let Some(slot) = self.slots.get_mut(room) else { continue };
            let Some((first, records)) = slot.batch.take() else { continue };
            slot.records_since += records;
            if slot.dirty_since.is_none() {
                slot.dirty_since = Some(first);
                self.dirty.push_back((first, room.clone()));
            }
        }
        for (_, room) in &plan.rooms {
            if let Some(slot) = self.slots.get_mut(room) {
                (slot.dirty_since, slot.records_since) = (None, 0);
            }
        }
    }

    /// Nothing of the batch is durable: planned snapshots do not count. The state of the rooms it touched is worthless;
    /// the caller must read them again and hand them to [`Cache::reloaded`].
    pub(crate) fn roll_back(&mut self, plan: Plan) {
        for entry in plan.rooms.into_iter().rev() {
            self.dirty.push_front(entry);
        }
    }

    /// The state that a room of a batch that is not durable had before.
    pub(crate) fn reloaded(&mut self, room: &RoomKey, state: Room) {
        if let Some(slot) = self.slots.get_mut(room) {
            (slot.room, slot.batch) = (state, None);
        }
    }

    // === leaving ===

    /// Ends a batch: clean rooms that were not used for longest leave when there are too many.
    pub(crate) fn tidy(&mut self, limits: Limits) {
        if self.slots.len() <= limits.rooms_cached_max || self.slots.len() < self.look_at {
            return;
        }
        let mut uses: Vec<u64> = self.slots.values().map(|slot| slot.used).collect();
        let excess = self.slots.len() - limits.rooms_cached_max;
        let (_, &mut newest_to_leave, _) = uses.select_nth_unstable(excess - 1);
        let mut leaving = excess;
        self.slots.retain(|_, slot| {
            let leaves = leaving > 0 && slot.used <= newest_to_leave && slot.dirty_since.is_none();
            leaving -= usize::from(leaves);
            !leaves
        });
        // Looking at all rooms is paid for by those that come until the next look, even if only dirty ones are here.
        self.look_at = self.slots.len() + limits.rooms_cached_max / 8 + 1;
    }
}

#[cfg(test)]
mod tests {
    use roomhook_log::limits;
    use roomhook_room::{AppId, Event, Incarnation, RoomId, RoomInfo, UnixMillis, UserId, fold};

    use super::*;

    /// A room whose snapshot has about this many bytes.
    fn large(bytes: usize) -> Room {
        let operator = UserId::new("ann").expect("user");
        let info = RoomInfo { custom_info: "x".repeat(bytes), ..RoomInfo::bare("Live", operator.clone()) };
        let mut room = Room::absent();
        let incarnation = Incarnation::from_random(7);
        fold(&mut room, &Event::RoomCreated { at: UnixMillis(1), operator, incarnation, info });
        room
    }

    #[test]
    fn overdue_snapshots_never_make_an_append_that_the_log_refuses() {
        let mut cache = Cache::default();
        for number in 1..=50 {
            let room = RoomKey { app: AppId(1), room: RoomId::new(&format!("r{number}")).expect("room") };
            cache.insert(room.clone(), Slot::clean(Key(room.to_bytes()), large(100 << 10), Lsn(0)));
            cache.folded(&room, Lsn(number));
        }
        let limits = Limits { replay_records_max: 10, snapshot_bytes_max: 1 << 10, rooms_cached_max: 100 };
        let mut batches = 0;
        while cache.oldest_dirty().is_some() {
            let plan = cache.plan(Lsn(1_000), Lsn(1_001), limits);
            limits::check_append(&[], &plan.rows).expect("an append that the log takes");
            cache.commit(&[], &plan);
            batches += 1;
        }
        assert!((2..=10).contains(&batches), "{batches}");
    }
}
