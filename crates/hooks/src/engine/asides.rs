//! Deliveries that were set aside: off the path of their room and of the cursor, still pending, retried on their own.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
};

use bytes::Bytes;

use super::{
    Engine,
    checkpoint::Dirty,
    count::take,
    types::{DeliveryId, Failed, Job, Settlement, Ticket, Verdict},
};
use crate::{retry::GiveUp, rows::ExceptionRow};

/// A delivery among the exceptions.
#[derive(Clone, Debug)]
pub(crate) struct Aside {
    pub(crate) room: Bytes,
    pub(crate) seq: u64,
    pub(crate) at: u64,
    pub(crate) attempt: u32,
    pub(crate) tries: u32,
    /// When it began to fail, in active time.
    pub(crate) since: u64,
    pub(crate) retry_at: u64,
    /// How long it had been failing at its last failure, in active time.
    pub(crate) failing_ms: u64,
    /// Its slot in the window, as long as the cursor has not passed it.
    pub(crate) ordinal: u64,
    pub(crate) phase: Phase,
    pub(crate) last: Failed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Resting,
    Ready,
    InFlight,
    /// Only until its row is written; from then on the row alone remembers it.
    Parked,
}

#[derive(Debug, Default)]
pub(crate) struct Asides {
    by_id: BTreeMap<DeliveryId, Aside>,
    ready: BinaryHeap<Reverse<(u64, DeliveryId)>>,
    ready_len: usize,
    in_flight: usize,
}

impl Asides {
    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Those that are still pending (not about to become a parked row).
    pub(crate) fn pending(&self) -> usize {
        self.by_id.values().filter(|aside| aside.phase.is_pending()).count()
    }

    pub(crate) fn ready_len(&self) -> usize {
        self.ready_len
    }

    pub(crate) fn oldest_at(&self) -> Option<u64> {
        self.by_id.values().filter(|aside| aside.phase.is_pending()).map(|aside| aside.at).min()
    }

    pub(crate) fn get(&self, id: DeliveryId) -> Option<&Aside> {
        self.by_id.get(&id)
    }

    pub(crate) fn get_mut(&mut self, id: DeliveryId) -> Option<&mut Aside> {
        self.by_id.get_mut(&id)
    }

    pub(crate) fn remove(&mut self, id: DeliveryId) -> Option<Aside> {
        self.by_id.remove(&id)
    }

    pub(crate) fn insert(&mut self, id: DeliveryId, aside: Aside) {
        self.by_id.insert(id, aside);
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&DeliveryId, &Aside)> {
        self.by_id.iter()
    }

    /// Its timer fired.
    pub(crate) fn wake(&mut self, id: DeliveryId, at: u64) {
        if let Some(aside) =
            self.by_id.get_mut(&id).filter(|aside| aside.phase == Phase::Resting && aside.retry_at == at)
        {
            aside.phase = Phase::Ready;
            self.ready_len += 1;
            // By when they were due, not by age: an old one that never gets through must not always be first.
            self.ready.push(Reverse((at, id)));
        }
    }

    pub(crate) fn wake_all(&mut self, now: u64) {
        for (id, aside) in self.by_id.iter_mut().filter(|(_, aside)| aside.phase == Phase::Resting) {
            (aside.phase, aside.retry_at) = (Phase::Ready, now);
            self.ready_len += 1;
            self.ready.push(Reverse((now, *id)));
        }
    }

    /// The next one to try. They get a quarter of the concurrency at most, so that hopeless ones do not crowd out the rest.
    pub(crate) fn next(&mut self, concurrency: usize) -> Option<Job> {
        if self.in_flight >= (concurrency / 4).max(1) {
            return None;
        }
        while let Some(Reverse((_, id))) = self.ready.pop() {
            let Some(aside) = self.by_id.get_mut(&id).filter(|aside| aside.phase == Phase::Ready) else { continue };
            aside.phase = Phase::InFlight;
            aside.attempt = aside.attempt.saturating_add(1);
            take(&mut self.ready_len, 1, "set aside and ready");
            self.in_flight += 1;
            let (room, seq, at, attempt) = (aside.room.clone(), aside.seq, aside.at, aside.attempt);
            return Some(Job { id, ticket: Ticket::Aside(id), attempt, room, seq, at, content: None, probe: false });
        }
        None
    }
}

impl Engine {
    /// Makes a note of a delivery of the window before it is settled there.
    pub(super) fn note_aside(
        &mut self,
        shard: u16,
        ordinal: u64,
        phase: Phase,
        retry_at: u64,
        now: u64,
    ) -> Option<DeliveryId> {
        let active = self.active(now);
        let slot = self.windows.get_mut(usize::from(shard))?.slot(ordinal)?;
        let (pos, seq, at, room) = (slot.pos, slot.seq, slot.at, slot.room);
        let (attempt, tries, since, last) = (slot.attempt, slot.tries, slot.since, slot.last);
        let room = self.rooms.get(room)?.key.clone();
        let failing_ms = active.saturating_sub(since);
        let id = DeliveryId { shard, pos };
        self.asides
            .insert(id, Aside { room, seq, at, attempt, tries, since, retry_at, failing_ms, ordinal, phase, last });
        Some(id)
    }

    pub(super) fn settle_aside(&mut self, id: DeliveryId, verdict: Verdict, now: u64) {
        take(&mut self.asides.in_flight, 1, "set aside and in flight");
        let failed = match verdict {
            Verdict::Acknowledged => return self.finish_aside(id, Settlement::Delivered),
            Verdict::Gone => return self.finish_aside(id, Settlement::Expired),
            Verdict::Failed(_) | Verdict::Untried if !self.policy.sendable => {
                return self.finish_aside(id, Settlement::Skipped);
            }
            Verdict::Failed(failed) => Some(failed),
            Verdict::Untried => None,
        };
        let (active, stopped) = (self.active(now), self.is_stopped());
        let retry = &self.policy.retry;
        let Some(aside) = self.asides.by_id.get_mut(&id) else { return };
        if failed.is_none() {
            // The attempt's number was not used.
            aside.attempt = aside.attempt.saturating_sub(1);
        }
        if let Some(failed) = failed.filter(|_| !stopped) {
            aside.tries = aside.tries.saturating_add(1);
            aside.last = failed;
            aside.failing_ms = active.saturating_sub(aside.since);
            let spent = aside.failing_ms >= crate::retry::millis(retry.for_at_most);
            if spent || retry.once {
                return self.give_up_aside(id);
            }
        }
        // One that was not tried, or failed with its whole endpoint, comes back soon after the endpoint does.
        let wait = match failed {
            Some(failed) if !stopped => retry.wait_ms(aside.tries, failed.retry_after_ms, &mut self.random),
            _ => retry.wait_ms(1, None, &mut self.random),
        };
        (aside.phase, aside.retry_at) = (Phase::Resting, now + wait);
        self.timers.push(Reverse((now + wait, Ticket::Aside(id))));
        self.write_exception(id);
    }

    /// Without a URL nothing can be paid; what waits off the path is given up too. Those in flight follow when they fail.
    pub(super) fn skip_asides(&mut self) {
        let waits = |aside: &Aside| matches!(aside.phase, Phase::Resting | Phase::Ready);
        let waiting: Vec<DeliveryId> =
            self.asides.iter().filter(|(_, aside)| waits(aside)).map(|(id, _)| *id).collect();
        waiting.into_iter().for_each(|id| self.finish_aside(id, Settlement::Skipped));
    }

    /// Whether no more deliveries can be set aside.
    pub fn is_aside_full(&self) -> bool {
        self.asides.len() >= self.policy.limits.aside_max
    }

    pub(super) fn give_up_aside(&mut self, id: DeliveryId) {
        if self.policy.retry.give_up == GiveUp::Skip {
            return self.finish_aside(id, Settlement::Skipped);
        }
        let Some(aside) = self.asides.by_id.get_mut(&id) else { return };
        aside.phase = Phase::Parked;
        let ordinal = aside.ordinal;
        let Some(window) = self.windows.get_mut(usize::from(id.shard)) else { return };
        window.settle_aside(ordinal, Settlement::Parked);
        self.settled += 1;
        self.write_exception(id);
        self.touch(id.shard, Dirty::Settled);
    }

    /// The end of an exception, but for parking: its row goes.
    pub(super) fn finish_aside(&mut self, id: DeliveryId, settlement: Settlement) {
        let Some(aside) = self.asides.remove(id) else { return };
        take(&mut self.asides.ready_len, usize::from(aside.phase == Phase::Ready), "set aside and ready");
        let Some(window) = self.windows.get_mut(usize::from(id.shard)) else { return };
        let passed = window.passed(aside.ordinal);
        window.settle_aside(aside.ordinal, settlement);
        self.settled += 1;
        if passed {
            self.write_row(id.shard, self.names.exception(id.pos), None);
        }
        self.touch(id.shard, Dirty::Settled);
    }

    /// Writes the row of an exception that the cursor has passed. Parked ones leave memory with it.
    pub(super) fn write_exception(&mut self, id: DeliveryId) {
        let Some(aside) = self.asides.get(id) else { return };
        let passed = self.windows.get(usize::from(id.shard)).is_some_and(|window| window.passed(aside.ordinal));
        if !passed {
            return;
        }
        let parked = aside.phase == Phase::Parked;
        let row = ExceptionRow {
            room: aside.room.clone(),
            seq: aside.seq,
            at: aside.at,
            attempts: aside.attempt,
            tries: aside.tries,
            failing_ms: aside.failing_ms,
            retry_at: aside.retry_at,
            parked,
            status: u32::from(aside.last.status),
        };
        self.write_row(id.shard, self.names.exception(id.pos), Some(row.to_bytes()));
        if parked {
            self.asides.remove(id);
        }
        self.touch(id.shard, Dirty::Settled);
    }
}

impl Aside {
    /// What a row says, with the times left for the caller to set. The cursor has passed it, whatever its ordinal was.
    pub(super) fn from_row(row: &ExceptionRow) -> Self {
        Self {
            room: row.room.clone(),
            seq: row.seq,
            at: row.at,
            attempt: row.attempts,
            tries: row.tries,
            since: 0,
            retry_at: row.retry_at,
            failing_ms: row.failing_ms,
            ordinal: PASSED,
            phase: Phase::Resting,
            last: Failed { status: u16::try_from(row.status).unwrap_or(0), ..Failed::default() },
        }
    }
}

/// Ordinal of exceptions that came from rows: the slot before the first one.
pub(super) const PASSED: u64 = 0;
