//! Attempts: what to send now, and what follows from how it went: retry, hold, set aside, give up, pause.

use std::cmp::Reverse;

use super::{
    Engine, UNWRITTEN_MAX,
    asides::Phase,
    count::take,
    health::Permit,
    types::{DeliveryId, Failed, Job, Settlement, Ticket, Verdict, Wakes},
    window::{State, Window},
};
use crate::retry::GiveUp;

impl Engine {
    /// The attempt to make now, if any. Whoever gets it must [`Engine::settle`] it.
    pub fn next(&mut self, now: u64) -> Option<Job> {
        if self.policy.paused || !self.policy.sendable || self.rows.iter().any(|rows| rows.len() > UNWRITTEN_MAX) {
            return None;
        }
        if self.in_flight >= self.policy.concurrency.max(1) {
            return None;
        }
        let fresh = self.has_fresh();
        let probe = match self.health.permit(self.in_flight, self.policy.catch_up_per_s, fresh, now) {
            Permit::Send => false,
            Permit::Probe => true,
            Permit::Wait(_) => return None,
        };
        let job = match probe {
            // What was set aside failed on its own account before: it says least about whether the endpoint is back.
            true => self.next_of_window().or_else(|| self.next_aside()),
            false => self.next_aside().or_else(|| self.next_of_window()).or_else(|| self.next_after_relief(now)),
        };
        let Some(job) = job else {
            if self.health.is_catching_up() && self.windows.iter().all(Window::is_paid) {
                self.health.caught_up();
            }
            return None;
        };
        self.in_flight += 1;
        let lanes_at = if self.health.is_catching_up() { self.oldest_apart() } else { u64::MAX };
        self.health.sent(job.at.min(lanes_at));
        Some(Job { probe, ..job })
    }

    fn next_aside(&mut self) -> Option<Job> {
        self.asides.next(self.policy.concurrency)
    }

    /// Rooms with lanes have the oldest events, so they would always be first. They take turns with the others, when both
    /// have something; and as they may be so far behind because their attempts take long, they have half of the attempts
    /// in flight at most until the others have nothing.
    fn next_of_window(&mut self) -> Option<Job> {
        self.lanes_first = !self.lanes_first;
        let apart: usize = self.windows.iter().map(|window| window.apart.in_flight).sum();
        match self.lanes_first && apart < (self.policy.concurrency / 2).max(1) {
            true => self.next_ready(true).or_else(|| self.next_ready(false)),
            false => self.next_ready(false).or_else(|| self.next_ready(true)),
        }
    }

    fn next_ready(&mut self, apart: bool) -> Option<Job> {
        loop {
            let ready = if apart { &mut self.ready_apart } else { &mut self.ready };
            let Reverse((_, ticket)) = ready.pop()?;
            let Ticket::Window { shard, ordinal } = ticket else { continue };
            let Some(window) = self.windows.get_mut(usize::from(shard)) else { continue };
            if window.is_apart(ordinal) != apart {
                // Its room left the main path after it was made ready there.
                continue;
            }
            let Some(slot) = window.slot(ordinal).filter(|slot| slot.state == State::Ready) else { continue };
            slot.state = State::InFlight;
            slot.attempt = slot.attempt.saturating_add(1);
            let (pos, seq, at, room) = (slot.pos, slot.seq, slot.at, slot.room);
            let (attempt, content) = (slot.attempt, slot.content.clone());
            let load = window.load_of(ordinal);
            take(&mut load.ready, 1, "ready");
            load.in_flight += 1;
            let Some(room) = self.rooms.get(room) else { continue };
            room.in_flight += 1;
            let (id, room) = (DeliveryId { shard, pos }, room.key.clone());
            return Some(Job { id, ticket, attempt, room, seq, at, content, probe: false });
        }
    }

    /// When a shard's window is full of deliveries that wait behind held ones, and there can be no more lanes, holding on
    /// would stop the rooms that are well: the one that held longest is set aside before its time. If rooms are well: before
    /// an endpoint counts as failing as a whole, each room would lose its first messages that way, and they would come
    /// after newer ones.
    fn next_after_relief(&mut self, now: u64) -> Option<Job> {
        let share = self.share();
        let is_stuck = |window: &Window| {
            let load = &window.main;
            load.ready == 0 && load.in_flight == 0 && load.open > 0 && !window.has_space(&share)
        };
        // Nearly never is one, and there may be very many that are held.
        if !self.windows.iter().any(is_stuck) {
            return None;
        }
        let answers_others = |window: &mut Window, since, ordinal| {
            since < self.answered_at && window.slot(ordinal).is_some_and(|slot| slot.tries > 1)
        };
        let windows = &mut self.windows;
        let &(_, shard, ordinal) = self.held.iter().find(|(since, shard, ordinal)| {
            let window = windows.get_mut(usize::from(*shard));
            window.is_some_and(|window| {
                is_stuck(window) && !window.is_apart(*ordinal) && answers_others(window, *since, *ordinal)
            })
        })?;
        self.set_aside(shard, ordinal, now);
        self.next_of_window()
    }

    /// What came of an attempt.
    pub fn settle(&mut self, job: &Job, verdict: Verdict, now: u64) -> Wakes {
        take(&mut self.in_flight, 1, "attempts in flight");
        let resumed = match verdict {
            Verdict::Acknowledged => self.health.succeeded(now),
            Verdict::Failed(failed) if !self.policy.retry.once => {
                if self.health.failed(job.ticket, &failed, job.probe, now) {
                    self.release_held(now);
                }
                false
            }
            // Nothing was learned about the endpoint, so the next probe must not wait for this one.
            _ if job.probe => {
                self.health.probe_untried();
                false
            }
            _ => false,
        };
        self.keep_active_time(now);
        if verdict == Verdict::Acknowledged {
            self.answered_at = self.active(now);
        }
        match job.ticket {
            Ticket::Window { shard, ordinal } => self.settle_window(shard, ordinal, verdict, now),
            Ticket::Aside(id) => self.settle_aside(id, verdict, now),
        }
        let failed = !matches!(verdict, Verdict::Acknowledged);
        Wakes {
            // Whoever settles takes the next one itself. One more may start while an endpoint that recovers gets more room;
            // waking all would be in vain while its rate is limited.
            ready: match resumed {
                true => self.startable(),
                false => usize::from(failed || self.health.is_ramping(self.policy.concurrency)),
            },
            space: self.regained_space(job.id.shard),
            keeper: failed || resumed,
        }
    }

    fn settle_window(&mut self, shard: u16, ordinal: u64, verdict: Verdict, now: u64) {
        let Some(window) = self.windows.get_mut(usize::from(shard)) else { return };
        take(&mut window.load_of(ordinal).in_flight, 1, "in flight");
        let Some(slot) = window.slot(ordinal) else { return };
        let room = slot.room;
        if let Some(room) = self.rooms.get(room) {
            take(&mut room.in_flight, 1, "in flight of a room");
        }
        match verdict {
            Verdict::Acknowledged => self.finish(shard, ordinal, Settlement::Delivered),
            Verdict::Gone => self.finish(shard, ordinal, Settlement::Expired),
            Verdict::Failed(_) | Verdict::Untried if !self.policy.sendable => {
                self.finish(shard, ordinal, Settlement::Skipped)
            }
            Verdict::Untried => {
                // Its number was not used.
                slot.attempt = slot.attempt.saturating_sub(1);
                self.make_ready(shard, ordinal);
            }
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
        let hold_left = self.policy.hold_ms.saturating_sub(active.saturating_sub(slot.since));
        if hold_left == 0 {
            return self.set_aside(shard, ordinal, now);
        }
        let hold_ends = now + hold_left;
        let wait = self.policy.retry.wait_ms(slot.tries, failed.retry_after_ms, &mut self.random);
        let until = (now + wait).min(hold_ends);
        slot.state = State::Held { until };
        self.held.insert((slot.since, shard, ordinal));
        self.timers.push(Reverse((until, Ticket::Window { shard, ordinal })));
    }

    /// The endpoint was paused: nobody holds a room any more, all wait for the endpoint.
    pub(super) fn release_held(&mut self, now: u64) {
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
                self.note_aside(shard, ordinal, Phase::Parked, 0, now);
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
        if let Some(id) = self.note_aside(shard, ordinal, Phase::Resting, retry_at, now) {
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
        Wakes { ready: self.startable(), space: None, keeper: false }
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
        let fresh = self.has_fresh();
        let permit = match self.health.permit(self.in_flight, self.policy.catch_up_per_s, fresh, now) {
            Permit::Wait(until) if self.ready_len() > 0 => until,
            Permit::Probe if self.ready_len() > 0 => Some(now),
            _ => None,
        };
        timer.into_iter().chain(permit).min()
    }

    fn regained_space(&mut self, shard: u16) -> Option<u16> {
        // The cursor is moved here too, because settled slots at the front count as used space.
        self.pass(shard);
        let share = self.share();
        let is_full = |engine: &Self| {
            let window = engine.windows.get(usize::from(shard));
            window.is_some_and(|window| window.full && !window.has_good_space(&share))
        };
        while is_full(self) && self.relieve(shard) {}
        let window = self.windows.get_mut(usize::from(shard))?;
        let regained = window.full && window.has_good_space(&share);
        window.full &= !regained;
        (self.lanes_call(shard) || regained).then_some(shard)
    }

    /// A shard whose reader waits for space that is there again. Deliveries that are set aside or given up by time alone make
    /// space too, and no answer will come that could say so.
    pub fn space_again(&mut self) -> Option<u16> {
        (0..self.windows.len() as u16).find_map(|shard| self.regained_space(shard))
    }

    /// Attempts that could start now, not counting limits.
    pub fn ready_len(&self) -> usize {
        self.windows.iter().map(Window::ready).sum::<usize>() + self.asides.ready_len()
    }

    /// Attempts that could start now, as many as the endpoint may be sent: what senders are needed for. One, while the
    /// endpoint is paused and only probed, however much waits for it.
    pub fn startable(&self) -> usize {
        if self.policy.paused || !self.policy.sendable {
            return 0;
        }
        self.ready_len().min(self.health.places(self.in_flight))
    }

    /// Whether a delivery that was not set aside could be tried.
    fn has_fresh(&self) -> bool {
        self.windows.iter().any(|window| window.ready() > 0)
    }

    pub fn in_flight(&self) -> usize {
        self.in_flight
    }
}
