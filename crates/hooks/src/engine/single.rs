//! Single deliveries, for people: where one is, and what they do about it.

use bytes::Bytes;

use super::{
    Engine,
    asides::{Aside, Phase},
    checkpoint::Dirty,
    types::{DeliveryId, Settlement},
    window::State,
};
use crate::rows::ExceptionRow;

/// An exception, for people.
#[derive(Clone, Debug)]
pub struct AsideView {
    pub id: DeliveryId,
    pub room: Bytes,
    pub seq: u64,
    pub at: u64,
    pub attempts: u32,
    pub next_try_at: Option<u64>,
    pub status: u16,
}

/// Where the engine has a delivery, for a message's trail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listed {
    /// Not read yet, or read ahead for the numbers only: in the log.
    Backlog,
    /// Loaded and unsettled.
    Pending {
        attempts: u32,
        in_flight: bool,
        next_try_at: Option<u64>,
    },
    SetAside {
        attempts: u32,
        next_try_at: Option<u64>,
    },
    Settled(Settlement),
    /// Before the cursor, and no exception in memory: delivered, given up, or parked in a row.
    BehindCursor,
    /// It was appended before the endpoint began.
    BeforeStart,
}

impl Engine {
    /// A parked delivery gets a second life, as one set aside that is due now. `row` is what its row says.
    pub fn unpark(&mut self, id: DeliveryId, row: &ExceptionRow, now: u64) -> bool {
        let overtaken = self.asides.get(id).is_some() || self.is_parked_no_more(id);
        // Without a URL it would wait for ever.
        if !row.parked || overtaken || self.is_aside_full() || !self.policy.sendable {
            return false;
        }
        let since = self.active(now);
        let Some(window) = self.windows.get_mut(usize::from(id.shard)) else { return false };
        window.live.parked = window.live.parked.saturating_sub(1);
        window.at_cursor.parked = window.at_cursor.parked.saturating_sub(1);
        let aside =
            Aside { since, tries: 0, failing_ms: 0, phase: Phase::Resting, retry_at: now, ..Aside::from_row(row) };
        self.asides.insert(id, aside);
        self.asides.wake(id, now);
        self.write_exception(id);
        true
    }

    /// A person gives up on a delivery: a parked one (by its row), or one set aside. False when there is no such one, or
    /// it is in flight right now.
    pub fn skip(&mut self, id: DeliveryId, parked: Option<&ExceptionRow>) -> bool {
        match self.asides.get(id).map(|aside| aside.phase) {
            Some(Phase::Resting | Phase::Ready) => self.finish_aside(id, Settlement::Skipped),
            Some(Phase::InFlight | Phase::Parked) => return false,
            None => {
                if self.is_parked_no_more(id) {
                    return false;
                }
                let Some(window) = parked.and_then(|_| self.windows.get_mut(usize::from(id.shard))) else {
                    return false;
                };
                for totals in [&mut window.live, &mut window.at_cursor] {
                    totals.parked = totals.parked.saturating_sub(1);
                    totals.settle(Settlement::Skipped);
                }
                self.write_row(id.shard, self.names.exception(id.pos), None);
                self.touch(id.shard, Dirty::Settled);
            }
        }
        true
    }

    /// Where a delivery of a room stands, if it is owed at all.
    pub fn listed(&self, id: DeliveryId, room: &[u8]) -> Option<Listed> {
        let window = self.windows.get(usize::from(id.shard))?;
        if let Some(aside) = self.asides.get(id).filter(|aside| aside.phase.is_pending()) {
            let next_try_at = (aside.phase == Phase::Resting).then_some(aside.retry_at);
            return Some(Listed::SetAside { attempts: aside.attempt, next_try_at });
        }
        if let Some(slot) = window.find(id.pos) {
            let pending = |in_flight, next_try_at| Listed::Pending { attempts: slot.attempt, in_flight, next_try_at };
            return Some(match slot.state {
                State::Settled(settlement) => Listed::Settled(settlement),
                State::Held { until } => pending(false, Some(until)),
                State::InFlight => pending(true, None),
                State::Waiting | State::Ready => pending(false, None),
                State::Apart => Listed::Backlog,
            });
        }
        let lane = self.rooms.find(room).and_then(|room| window.lanes.get(room));
        Some(match id.pos.lsn {
            lsn if lane.is_some_and(|lane| lsn >= lane.next_load) => Listed::Backlog,
            lsn if lsn < window.begun => Listed::BeforeStart,
            // After a restart the main path may still have to come by what the lane settled before.
            _ if lane.is_some() => Listed::BehindCursor,
            lsn if lsn >= window.next_load => Listed::Backlog,
            _ => Listed::BehindCursor,
        })
    }

    /// Tries one that was set aside at once. False when there is no such one, or it is being tried.
    pub fn retry_now(&mut self, id: DeliveryId, now: u64) -> bool {
        let Some(aside) = self.asides.get_mut(id).filter(|aside| aside.phase == Phase::Resting) else {
            return false;
        };
        aside.retry_at = now;
        self.asides.wake(id, now);
        true
    }

    /// Up to `limit` deliveries that are set aside.
    pub fn asides(&self, limit: usize) -> Vec<AsideView> {
        let pending = self.asides.iter().filter(|(_, aside)| aside.phase.is_pending());
        pending
            .take(limit)
            .map(|(id, aside)| AsideView {
                id: *id,
                room: aside.room.clone(),
                seq: aside.seq,
                at: aside.at,
                attempts: aside.attempt,
                next_try_at: (aside.phase == Phase::Resting).then_some(aside.retry_at),
                status: aside.last.status,
            })
            .collect()
    }
}
