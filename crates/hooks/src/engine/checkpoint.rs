//! What survives a restart: the cursor with its numbers, and the exceptions behind it, written together.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
};

use bytes::Bytes;
use roomhook_log::{Lsn, Row};

pub(super) use crate::rows::Names;

use super::{
    Engine,
    asides::{Aside, Asides, Phase},
    health::Health,
    rooms::Rooms,
    switches::SwitchLog,
    types::{DeliveryId, EventPos, Policy, Settlement, Ticket, Totals},
    window::Window,
};
use crate::rows::{CursorRow, ExceptionRow, LanesRow};

/// What there is to write about a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Dirty {
    Clean,
    /// Only the position moved, over records that nobody is owed: no hurry.
    Moved,
    Settled,
}

/// Rows of one shard to put in one atomic call.
#[derive(Debug)]
pub struct Checkpoint {
    pub shard: u16,
    pub rows: Vec<Row>,
}

/// What a shard's rows said when the endpoint was started.
#[derive(Debug, Default)]
pub struct ShardStart {
    pub cursor: CursorRow,
    /// Those set aside; parked ones stay in their rows.
    pub set_aside: Vec<(EventPos, ExceptionRow)>,
    /// Rooms off the main path.
    pub lanes: LanesRow,
}

impl Engine {
    /// A machine that goes on where the rows of each shard left off. `seed` drives the jitter of retries.
    pub fn new(names: Names, policy: Policy, starts: Vec<ShardStart>, seed: u64, now: u64) -> Self {
        let mut engine = Self {
            policy,
            windows: Vec::with_capacity(starts.len()),
            rooms: Rooms::default(),
            asides: Asides::default(),
            health: Health::default(),
            ready: BinaryHeap::new(),
            ready_apart: BinaryHeap::new(),
            lanes_first: false,
            lanes_written: vec![false; starts.len()],
            timers: BinaryHeap::new(),
            held: BTreeSet::new(),
            in_flight: 0,
            paused_ms: 0,
            paused_since: None,
            answered_at: 0,
            rows: vec![BTreeMap::new(); starts.len()],
            writing: vec![BTreeMap::new(); starts.len()],
            dirty: vec![Dirty::Settled; starts.len()],
            settled: 0,
            names,
            random: fastrand::Rng::with_seed(seed),
        };
        for (shard, start) in (0..).zip(starts) {
            engine.windows.push(window_of(&start));
            engine.restore_lanes(shard, &start.lanes);
            start
                .set_aside
                .iter()
                .for_each(|(pos, row)| engine.restore_aside(DeliveryId { shard, pos: *pos }, row, now));
        }
        if !engine.policy.sendable {
            engine.skip_asides();
        }
        engine.keep_active_time(now);
        engine
    }

    fn restore_aside(&mut self, id: DeliveryId, row: &ExceptionRow, now: u64) {
        let since = self.active(now).saturating_sub(row.failing_ms);
        self.asides.insert(id, Aside { since, ..Aside::from_row(row) });
        // Written by a process whose clock was ahead of ours, it must not wait for that time.
        let retry_at = row.retry_at.min(now.saturating_add(self.policy.retry.wait_max_ms()));
        if let Some(aside) = self.asides.get_mut(id) {
            aside.retry_at = retry_at;
        }
        self.timers.push(Reverse((retry_at, Ticket::Aside(id))));
        // A power loss may bring back more of them than there is room for, because shards lose rows of different age.
        if self.asides.len() > self.policy.limits.aside_max {
            self.give_up_aside(id);
        }
    }

    pub(super) fn touch(&mut self, shard: u16, how: Dirty) {
        if let Some(dirty) = self.dirty.get_mut(usize::from(shard)) {
            *dirty = how.max(*dirty);
        }
    }

    pub(super) fn write_row(&mut self, shard: u16, key: Bytes, value: Option<Bytes>) {
        if let Some(rows) = self.rows.get_mut(usize::from(shard)) {
            rows.insert(key, value);
        }
    }

    /// Moves a shard's cursor over what is settled; exceptions it passes get their row.
    pub(super) fn pass(&mut self, shard: u16) {
        let Some(window) = self.windows.get_mut(usize::from(shard)) else { return };
        let mut exceptions = Vec::new();
        window.pass(|slot, settlement| {
            self.rooms.leave_one(slot.room);
            if matches!(settlement, Settlement::Aside | Settlement::Parked) {
                exceptions.push(DeliveryId { shard, pos: slot.pos });
            }
        });
        exceptions.into_iter().for_each(|id| self.write_exception(id));
        self.attach_done(shard);
    }

    /// Deliveries settled since the last round of checkpoints.
    pub fn settled_since_checkpoint(&self) -> usize {
        self.settled
    }

    /// The rows of a shard to write now, if any. `lazy` ones (the position moved, nothing else) only when asked for.
    pub fn checkpoint(&mut self, shard: u16, lazy: bool) -> Option<Checkpoint> {
        self.settled = 0;
        if let Some(writing) = self.writing.get_mut(usize::from(shard)) {
            writing.clear();
        }
        self.pass(shard);
        let dirty = self.dirty.get_mut(usize::from(shard))?;
        if *dirty == Dirty::Clean || (*dirty == Dirty::Moved && !lazy) {
            return None;
        }
        *dirty = Dirty::Clean;
        let window = self.windows.get(usize::from(shard))?;
        let rows = std::mem::take(self.rows.get_mut(usize::from(shard))?);
        self.writing.get_mut(usize::from(shard))?.clone_from(&rows);
        let mut rows: Vec<Row> = rows.into_iter().map(|(key, value)| Row { key, value }).collect();
        let cursor = cursor_row(window);
        let cursor = if window.lanes.is_empty() { cursor.to_bytes() } else { cursor.to_bytes_beside_lanes() };
        rows.push(Row { key: self.names.cursor(), value: Some(cursor) });
        rows.extend(self.lanes_to_write(shard));
        Some(Checkpoint { shard, rows })
    }

    /// Whether a row that says that `id` is parked, as it was read from the store, is overtaken by one that is not there yet.
    pub(super) fn is_parked_no_more(&self, id: DeliveryId) -> bool {
        let (at, key) = (usize::from(id.shard), self.names.exception(id.pos));
        let newer = [&self.rows, &self.writing].into_iter().find_map(|rows| rows.get(at)?.get(&key));
        let parked = |row: &Option<Bytes>| {
            row.as_ref().is_some_and(|bytes| ExceptionRow::from_bytes(bytes).is_ok_and(|row| row.parked))
        };
        newer.is_some_and(|row| !parked(row))
    }

    /// The rows could not be written: they come again with the next checkpoint, unless newer ones exist.
    pub fn checkpoint_failed(&mut self, checkpoint: Checkpoint) {
        let Some(rows) = self.rows.get_mut(usize::from(checkpoint.shard)) else { return };
        for row in checkpoint.rows {
            if row.key != self.names.cursor() && row.key != self.names.lanes() {
                rows.entry(row.key).or_insert(row.value);
            }
        }
        if let Some(written) = self.lanes_written.get_mut(usize::from(checkpoint.shard)) {
            *written = true;
        }
        self.touch(checkpoint.shard, Dirty::Settled);
    }
}

fn window_of(start: &ShardStart) -> Window {
    let row = &start.cursor;
    let totals = Totals {
        acknowledged: row.acknowledged,
        delivered: row.delivered,
        parked: row.parked,
        expired: row.expired,
        skipped: row.skipped,
        lost_records: row.lost_records,
    };
    let switches = SwitchLog::from_rows(&row.switches);
    let set_aside = start.set_aside.len() as u64;
    let mut window = Window::new(Lsn(row.begun), Lsn(row.next), Lsn(row.counted), totals, set_aside, switches);
    window.unloaded_at = row.pending_at;
    window
}

fn cursor_row(window: &Window) -> CursorRow {
    let totals = window.at_cursor;
    CursorRow {
        next: window.cursor().0,
        counted: window.counted.0,
        acknowledged: totals.acknowledged,
        delivered: totals.delivered,
        parked: totals.parked,
        expired: totals.expired,
        skipped: totals.skipped,
        lost_records: totals.lost_records,
        pending_at: window.oldest_at().unwrap_or(0),
        begun: window.begun.0,
        switches: window.switches.to_rows(),
    }
}

impl Phase {
    /// Whether the delivery still counts as pending.
    pub(crate) fn is_pending(self) -> bool {
        self != Self::Parked
    }
}
