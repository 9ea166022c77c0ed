//! The delivery state machine of one endpoint. Records, results and time go in; attempts, ticks and rows to write come
//! out. It alone decides order, concurrency, retry, hold and set-aside, pause and probe, parking, and the cursor.
//!
//! It does no I/O and reads no clock. The shell loads it with what is owed ([`Engine::load`]), asks what to send
//! ([`Engine::next`]), tells what came of it ([`Engine::settle`]), ticks it ([`Engine::tick`]) and writes its rows
//! ([`Engine::checkpoint`]).
//!
//! Two clocks are at work: *now* (Unix milliseconds, handed in), and *active* time, which stands still while the
//! endpoint is paused, so that an outage of the endpoint uses up nobody's retries.

mod asides;
mod checkpoint;
mod health;
mod rooms;
mod types;
mod window;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
    sync::Arc,
};

use bytes::Bytes;
use roomhook_log::Lsn;
use roomhook_room::Order;

pub use asides::{AsideView, Listed};
pub use checkpoint::{Checkpoint, ShardStart};
pub use types::{Content, DeliveryId, EventPos, Failed, Job, Limits, Owed, Policy, Settlement, Totals, Verdict, Wakes};

use self::{
    asides::Asides,
    health::{Health, Permit},
    rooms::Rooms,
    types::Ticket,
    window::{Slot, State, Window},
};
use crate::{
    plan::{History, Switches},
    retry::GiveUp,
};

/// Settled deliveries after which a checkpoint is due at once.
pub const CHECKPOINT_SETTLED: usize = 1_000;
/// Rows waiting to be written at which sending stops: the store does not take them.
const UNWRITTEN_MAX: usize = 20_000;

/// See the module.
#[derive(Debug)]
pub struct Engine {
    policy: Policy,
    windows: Vec<Window>,
    rooms: Rooms,
    asides: Asides,
    health: Health,
    /// Oldest event first.
    ready: BinaryHeap<Reverse<(u64, Ticket)>>,
    timers: BinaryHeap<Reverse<(u64, Ticket)>>,
    /// Failed deliveries that hold their room: began to fail (active time), shard, ordinal.
    held: BTreeSet<(u64, u16, u64)>,
    in_flight: usize,
    /// Milliseconds spent paused, and since when the present pause lasts.
    paused_ms: u64,
    paused_since: Option<u64>,
    /// Rows to write with the next checkpoint, by shard; the newest value of each key.
    rows: Vec<BTreeMap<Bytes, Option<Bytes>>>,
    dirty: Vec<checkpoint::Dirty>,
    settled: usize,
    names: checkpoint::Names,
    random: fastrand::Rng,
}

/// How an endpoint is doing, as one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Running,
    CatchingUp,
    /// It failed as a whole since this time; single probes go on.
    Paused {
        since: u64,
    },
    /// By a person.
    PausedByHand,
    /// Configured without URL.
    NoUrl,
}

/// A summary for people and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    pub mode: Mode,
    pub totals: Totals,
    pub in_flight: usize,
    pub set_aside: usize,
    pub open: usize,
    pub bytes: usize,
    pub span: usize,
    /// When the oldest pending event that is loaded happened.
    pub oldest_pending_at: Option<u64>,
    pub next_probe_at: Option<u64>,
}

// === time ===

impl Engine {
    fn active(&self, now: u64) -> u64 {
        let paused = self.paused_ms + self.paused_since.map_or(0, |since| now.saturating_sub(since));
        now.saturating_sub(paused)
    }

    fn is_stopped(&self) -> bool {
        self.policy.paused || !self.policy.sendable || self.health.is_paused()
    }

    /// Starts or stops the clock of active time as the state demands.
    fn keep_active_time(&mut self, now: u64) {
        match (self.is_stopped(), self.paused_since) {
            (true, None) => self.paused_since = Some(now),
            (false, Some(since)) => {
                self.paused_ms += now.saturating_sub(since);
                self.paused_since = None;
            }
            _ => {}
        }
    }
}

// === what is owed ===

impl Engine {
    /// The endpoint was changed. Takes effect at once, for what is pending too.
    pub fn configure(&mut self, policy: Policy, now: u64) -> Wakes {
        let reordered = self.policy.order != policy.order;
        let resumed = self.policy.paused && !policy.paused;
        self.policy = policy;
        if resumed {
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

    /// From the next record counted on, `switches` say what is owed.
    pub fn switch(&mut self, switches: &Arc<Switches>) {
        for window in &mut self.windows {
            if window.switches.back().is_some_and(|(_, last)| last == switches) {
                continue;
            }
            if window.switches.back().is_some_and(|(from, _)| *from == window.counted) {
                window.switches.pop_back();
            }
            window.switches.push_back((window.counted, switches.clone()));
        }
        self.dirty.iter_mut().for_each(|dirty| *dirty = checkpoint::Dirty::Settled);
    }

    /// What was switched on at the records of a shard that are still to be loaded.
    pub fn switches(&self, shard: u16) -> History {
        let window = self.windows.get(usize::from(shard));
        History(window.map(|window| window.switches.iter().cloned().collect()).unwrap_or_default())
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
        if let Some(window) = self.windows.get_mut(at) {
            window.next_load = window.next_load.max(next);
            window.counted = window.counted.max(next);
            if window.next_load == window.counted {
                self.expire_unloaded(shard);
            }
        }
        self.touch(shard, checkpoint::Dirty::Moved);
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
            self.touch(shard, checkpoint::Dirty::Moved);
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
        self.touch(shard, checkpoint::Dirty::Settled);
        lost
    }

    /// All that was counted has been loaded; what is missing was trimmed away.
    fn expire_unloaded(&mut self, shard: u16) {
        let Some(window) = self.windows.get_mut(usize::from(shard)) else { return };
        let missing = std::mem::take(&mut window.unloaded);
        if missing > 0 {
            window.live.expired += missing;
            window.at_cursor.expired += missing;
            self.touch(shard, checkpoint::Dirty::Settled);
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
        }
    }
}

// === order ===

impl Engine {
    fn enqueue(&mut self, shard: u16, ordinal: u64, room: u32) {
        match self.policy.order {
            Order::None => self.make_ready(shard, ordinal),
            Order::Room => {
                if let Some(room) = self.rooms.get(room) {
                    room.queue.push_back(ordinal);
                }
                self.advance(shard, room);
            }
        }
    }

    /// Lets the next delivery of a room go when nothing stands before it.
    fn advance(&mut self, shard: u16, room: u32) {
        while let Some(room) = self.rooms.get(room) {
            let Some(&front) = room.queue.front() else { return };
            let state =
                self.windows.get_mut(usize::from(shard)).and_then(|window| window.slot(front)).map(|slot| slot.state);
            match state {
                None | Some(State::Settled(_)) => {
                    room.queue.pop_front();
                }
                Some(State::Waiting) if room.in_flight == 0 => return self.make_ready(shard, front),
                Some(_) => return,
            }
        }
    }

    fn make_ready(&mut self, shard: u16, ordinal: u64) {
        let at = self.policy_key(shard, ordinal);
        self.make_ready_as(shard, ordinal, at);
    }

    fn policy_key(&mut self, shard: u16, ordinal: u64) -> u64 {
        self.windows.get_mut(usize::from(shard)).and_then(|window| window.slot(ordinal)).map_or(0, |slot| slot.at)
    }

    fn make_ready_as(&mut self, shard: u16, ordinal: u64, key: u64) {
        let Some(window) = self.windows.get_mut(usize::from(shard)) else { return };
        let Some(slot) = window.slot(ordinal) else { return };
        if matches!(slot.state, State::Waiting | State::Held { .. } | State::InFlight) {
            slot.state = State::Ready;
            window.ready += 1;
            self.ready.push(Reverse((key, Ticket::Window { shard, ordinal })));
        }
    }

    /// The order setting changed: builds all queues anew.
    fn reorder(&mut self) {
        self.rooms.clear_queues();
        self.ready.clear();
        for shard in 0..self.windows.len() as u16 {
            let Some(window) = self.windows.get_mut(usize::from(shard)) else { continue };
            window.ready = 0;
            let open: Vec<(u64, u32)> = window
                .iter()
                .filter(|(_, slot)| !matches!(slot.state, State::Settled(_)))
                .map(|(ordinal, slot)| (ordinal, slot.room))
                .collect();
            for (ordinal, room) in open {
                let slot = self.windows.get_mut(usize::from(shard)).and_then(|window| window.slot(ordinal));
                let Some(slot) = slot else { continue };
                if slot.state == State::Ready {
                    slot.state = State::Waiting;
                }
                if self.policy.order == Order::Room || slot.state == State::Waiting {
                    self.enqueue(shard, ordinal, room);
                }
            }
        }
    }

    /// Settles a delivery of the window and lets its room go on.
    fn finish(&mut self, shard: u16, ordinal: u64, settlement: Settlement) {
        let Some(window) = self.windows.get_mut(usize::from(shard)) else { return };
        let Some(slot) = window.slot(ordinal) else { return };
        let (room, since, state) = (slot.room, slot.since, slot.state);
        if state == State::Ready {
            window.ready -= 1;
        }
        if matches!(state, State::Held { .. }) {
            self.held.remove(&(since, shard, ordinal));
        }
        window.settle(ordinal, settlement);
        self.settled += 1;
        self.rooms.close_one(room);
        self.touch(shard, checkpoint::Dirty::Settled);
        if self.policy.order == Order::Room {
            self.advance(shard, room);
        }
    }
}

// === attempts ===

impl Engine {
    /// The attempt to make now, if any. Whoever gets it must [`Engine::settle`] it.
    pub fn next(&mut self, now: u64) -> Option<Job> {
        if self.policy.paused || !self.policy.sendable || self.rows.iter().any(|rows| rows.len() > UNWRITTEN_MAX) {
            return None;
        }
        if self.in_flight >= self.policy.concurrency.max(1) {
            return None;
        }
        let probe = match self.health.permit(self.in_flight, self.policy.catch_up_per_s, now) {
            Permit::Send => false,
            Permit::Probe => true,
            Permit::Wait(_) => return None,
        };
        let aside = self.asides.next(self.policy.concurrency);
        let job = aside.or_else(|| self.next_of_window()).or_else(|| self.next_after_relief(now))?;
        self.in_flight += 1;
        self.health.sent(job.at);
        Some(Job { probe, ..job })
    }

    fn next_of_window(&mut self) -> Option<Job> {
        while let Some(Reverse((_, ticket))) = self.ready.pop() {
            let Ticket::Window { shard, ordinal } = ticket else { continue };
            let Some(window) = self.windows.get_mut(usize::from(shard)) else { continue };
            let Some(slot) = window.slot(ordinal).filter(|slot| slot.state == State::Ready) else { continue };
            slot.state = State::InFlight;
            slot.attempt = slot.attempt.saturating_add(1);
            let (pos, seq, at, room) = (slot.pos, slot.seq, slot.at, slot.room);
            let (attempt, content) = (slot.attempt, slot.content.clone());
            window.ready -= 1;
            window.in_flight += 1;
            let Some(room) = self.rooms.get(room) else { continue };
            room.in_flight += 1;
            let (id, room) = (DeliveryId { shard, pos }, room.key.clone());
            return Some(Job { id, ticket, attempt, room, seq, at, content, probe: false });
        }
        None
    }

    /// When a shard's window is full of deliveries that wait behind held ones, holding on would stop the rooms that are
    /// well: the one that held longest is set aside before its time.
    fn next_after_relief(&mut self, now: u64) -> Option<Job> {
        let (shards, limits) = (self.windows.len(), self.policy.limits);
        let is_stuck = |window: &Window| {
            window.ready == 0 && window.in_flight == 0 && window.open > 0 && !window.has_space(&limits, shards)
        };
        let &(_, shard, ordinal) =
            self.held.iter().find(|(_, shard, _)| self.windows.get(usize::from(*shard)).is_some_and(is_stuck))?;
        self.set_aside(shard, ordinal, now);
        self.next_of_window()
    }

    /// What came of an attempt.
    pub fn settle(&mut self, job: &Job, verdict: Verdict, now: u64) -> Wakes {
        self.in_flight = self.in_flight.saturating_sub(1);
        let resumed = match verdict {
            Verdict::Acknowledged => self.health.succeeded(now),
            Verdict::Failed(failed) if !self.policy.retry.once => {
                if self.health.failed(job.ticket, &failed, job.probe, now) {
                    self.release_held(now);
                }
                false
            }
            Verdict::Untried if job.probe => {
                self.health.probe_untried();
                false
            }
            _ => false,
        };
        self.keep_active_time(now);
        match job.ticket {
            Ticket::Window { shard, ordinal } => self.settle_window(shard, ordinal, verdict, now),
            Ticket::Aside(id) => self.settle_aside(id, verdict, now),
        }
        let failed = !matches!(verdict, Verdict::Acknowledged);
        Wakes {
            ready: if failed || self.health.is_catching_up() { self.ready_len() } else { 0 },
            space: self.regained_space(job.id.shard),
            keeper: failed || resumed,
        }
    }

    fn settle_window(&mut self, shard: u16, ordinal: u64, verdict: Verdict, now: u64) {
        let Some(window) = self.windows.get_mut(usize::from(shard)) else { return };
        window.in_flight = window.in_flight.saturating_sub(1);
        let Some(slot) = window.slot(ordinal) else { return };
        let room = slot.room;
        if let Some(room) = self.rooms.get(room) {
            room.in_flight = room.in_flight.saturating_sub(1);
        }
        match verdict {
            Verdict::Acknowledged => self.finish(shard, ordinal, Settlement::Delivered),
            Verdict::Gone => self.finish(shard, ordinal, Settlement::Expired),
            Verdict::Untried => self.make_ready(shard, ordinal),
            Verdict::Failed(_) if !self.policy.sendable => self.finish(shard, ordinal, Settlement::Skipped),
            Verdict::Failed(failed) => self.fail_window(shard, ordinal, failed, now),
        }
    }

    fn fail_window(&mut self, shard: u16, ordinal: u64, failed: Failed, now: u64) {
        let (active, stopped) = (self.active(now), self.is_stopped());
        let Some(window) = self.windows.get_mut(usize::from(shard)) else { return };
        let Some(slot) = window.slot(ordinal) else { return };
        slot.last = failed;
        if self.policy.retry.once {
            return self.give_up(shard, ordinal, now);
        }
        if stopped {
            // The endpoint's fault, not the message's: it waits for the endpoint. Behind the others, so that the next
            // probe is about another room.
            (slot.tries, slot.since) = (0, 0);
            return self.make_ready_as(shard, ordinal, now);
        }
        slot.tries = slot.tries.saturating_add(1);
        if slot.tries == 1 {
            slot.since = active;
        }
        if active.saturating_sub(slot.since) >= self.policy.hold_ms {
            return self.set_aside(shard, ordinal, now);
        }
        let hold_ends = now + self.policy.hold_ms - (active - slot.since);
        let wait = self.policy.retry.wait_ms(slot.tries, failed.retry_after_ms, &mut self.random);
        let until = (now + wait).min(hold_ends);
        slot.state = State::Held { until };
        self.held.insert((slot.since, shard, ordinal));
        self.timers.push(Reverse((until, Ticket::Window { shard, ordinal })));
    }

    /// The endpoint was paused: nobody holds a room any more, all wait for the endpoint.
    fn release_held(&mut self, now: u64) {
        for (_, shard, ordinal) in std::mem::take(&mut self.held) {
            let slot = self.windows.get_mut(usize::from(shard)).and_then(|window| window.slot(ordinal));
            if let Some(slot) = slot {
                (slot.tries, slot.since) = (0, 0);
            }
            self.make_ready_as(shard, ordinal, now);
        }
    }

    fn give_up(&mut self, shard: u16, ordinal: u64, now: u64) {
        match self.policy.retry.give_up {
            GiveUp::Skip => self.finish(shard, ordinal, Settlement::Skipped),
            GiveUp::Park => {
                self.note_aside(shard, ordinal, asides::Phase::Parked, 0, now);
                self.finish(shard, ordinal, Settlement::Parked);
            }
        }
    }

    /// Lets the room go on without this delivery, which keeps being retried on its own.
    fn set_aside(&mut self, shard: u16, ordinal: u64, now: u64) {
        if self.asides.len() >= self.policy.limits.aside_max {
            return self.give_up(shard, ordinal, now);
        }
        let slot = self.windows.get_mut(usize::from(shard)).and_then(|window| window.slot(ordinal));
        let Some((tries, retry_after)) = slot.map(|slot| (slot.tries, slot.last.retry_after_ms)) else { return };
        let retry_at = now + self.policy.retry.wait_ms(tries, retry_after, &mut self.random);
        if let Some(id) = self.note_aside(shard, ordinal, asides::Phase::Resting, retry_at, now) {
            self.timers.push(Reverse((retry_at, Ticket::Aside(id))));
        }
        self.finish(shard, ordinal, Settlement::Aside);
    }

    /// Time passed. Call it at [`Engine::wake_at`] or later.
    pub fn tick(&mut self, now: u64) -> Wakes {
        while let Some(Reverse((at, ticket))) = self.timers.peek().copied() {
            if at > now {
                break;
            }
            self.timers.pop();
            match ticket {
                Ticket::Aside(id) => self.asides.wake(id, at),
                Ticket::Window { shard, ordinal } => self.wake_held(shard, ordinal, at, now),
            }
        }
        Wakes { ready: self.ready_len(), space: None, keeper: false }
    }

    fn wake_held(&mut self, shard: u16, ordinal: u64, at: u64, now: u64) {
        let active = self.active(now);
        let slot = self.windows.get_mut(usize::from(shard)).and_then(|window| window.slot(ordinal));
        let Some(slot) = slot.filter(|slot| slot.state == State::Held { until: at }) else { return };
        let since = slot.since;
        if active.saturating_sub(since) >= self.policy.hold_ms {
            return self.set_aside(shard, ordinal, now);
        }
        self.held.remove(&(since, shard, ordinal));
        self.make_ready(shard, ordinal);
    }

    /// When [`Engine::tick`] or [`Engine::next`] has something new to say although nothing else happened.
    pub fn wake_at(&mut self, now: u64) -> Option<u64> {
        if self.policy.paused || !self.policy.sendable {
            return None;
        }
        let timer = self.timers.peek().map(|Reverse((at, _))| *at);
        let permit = match self.health.permit(self.in_flight, self.policy.catch_up_per_s, now) {
            Permit::Wait(until) if self.ready_len() > 0 => until,
            Permit::Probe => Some(now),
            _ => None,
        };
        timer.into_iter().chain(permit).min()
    }

    fn regained_space(&mut self, shard: u16) -> Option<u16> {
        // The cursor is moved here too, because settled slots at the front count as used space.
        self.pass(shard);
        let shards = self.windows.len();
        let window = self.windows.get_mut(usize::from(shard))?;
        let regained = window.full && window.has_good_space(&self.policy.limits, shards);
        window.full &= !regained;
        regained.then_some(shard)
    }

    /// Attempts that could start now, not counting limits.
    pub fn ready_len(&self) -> usize {
        self.windows.iter().map(|window| window.ready).sum::<usize>() + self.asides.ready_len()
    }

    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Whether the endpoint failed as a whole and is only probed.
    pub fn is_paused(&self) -> bool {
        self.health.is_paused()
    }

    /// Deliveries that wait for a person.
    pub fn parked(&self) -> u64 {
        self.windows.iter().map(|window| window.live.parked).sum()
    }

    pub fn summary(&self) -> Summary {
        let mut totals = Totals::default();
        self.windows.iter().for_each(|window| totals.add(&window.live));
        let oldest = self.windows.iter().filter_map(Window::oldest_at).min();
        Summary {
            mode: self.mode(),
            totals,
            in_flight: self.in_flight,
            set_aside: self.asides.pending(),
            open: self.windows.iter().map(|window| window.open).sum(),
            bytes: self.windows.iter().map(Window::bytes).sum(),
            span: self.windows.iter().map(Window::span).sum(),
            oldest_pending_at: oldest.into_iter().chain(self.asides.oldest_at()).min(),
            next_probe_at: self.health.next_probe(),
        }
    }

    fn mode(&self) -> Mode {
        match self.health.paused_since() {
            _ if !self.policy.sendable => Mode::NoUrl,
            _ if self.policy.paused => Mode::PausedByHand,
            Some(since) => Mode::Paused { since },
            None if self.health.is_catching_up() => Mode::CatchingUp,
            None => Mode::Running,
        }
    }

    /// A person says the endpoint is well again: no more waiting for probes, failed deliveries are tried at once.
    pub fn resume(&mut self, now: u64) -> Wakes {
        self.health.reset();
        self.release_held(now);
        self.asides.wake_all(now);
        self.keep_active_time(now);
        Wakes { ready: self.ready_len(), space: None, keeper: true }
    }
}
