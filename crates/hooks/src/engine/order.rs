//! Who may go next: one delivery in flight per room, or none of that.

use std::cmp::Reverse;

use roomhook_room::Order;

use super::{
    Engine,
    checkpoint::Dirty,
    count::take,
    types::{Settlement, Ticket},
    window::State,
};

impl Engine {
    pub(super) fn enqueue(&mut self, shard: u16, ordinal: u64, room: u32) {
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

    pub(super) fn make_ready(&mut self, shard: u16, ordinal: u64) {
        let at = self.policy_key(shard, ordinal);
        self.make_ready_as(shard, ordinal, at);
    }

    fn policy_key(&mut self, shard: u16, ordinal: u64) -> u64 {
        self.windows.get_mut(usize::from(shard)).and_then(|window| window.slot(ordinal)).map_or(0, |slot| slot.at)
    }

    pub(super) fn make_ready_as(&mut self, shard: u16, ordinal: u64, key: u64) {
        let Some(window) = self.windows.get_mut(usize::from(shard)) else { return };
        let Some(slot) = window.slot(ordinal) else { return };
        if matches!(slot.state, State::Waiting | State::Held { .. } | State::InFlight) {
            slot.state = State::Ready;
            window.load_of(ordinal).ready += 1;
            let ready = if window.is_apart(ordinal) { &mut self.ready_apart } else { &mut self.ready };
            ready.push(Reverse((key, Ticket::Window { shard, ordinal })));
        }
    }

    /// The order setting changed: builds all queues anew.
    pub(super) fn reorder(&mut self) {
        self.rooms.clear_queues();
        self.ready.clear();
        self.ready_apart.clear();
        for shard in 0..self.windows.len() as u16 {
            let Some(window) = self.windows.get_mut(usize::from(shard)) else { continue };
            (window.main.ready, window.apart.ready) = (0, 0);
            let open = window.iter().filter(|(_, slot)| slot.is_open());
            let open: Vec<(u64, u32)> = open.map(|(ordinal, slot)| (ordinal, slot.room)).collect();
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
    pub(super) fn finish(&mut self, shard: u16, ordinal: u64, settlement: Settlement) {
        let Some(window) = self.windows.get_mut(usize::from(shard)) else { return };
        let Some(slot) = window.slot(ordinal) else { return };
        let (room, since, state) = (slot.room, slot.since, slot.state);
        if state == State::Ready {
            take(&mut window.load_of(ordinal).ready, 1, "ready");
        }
        let is_apart = window.is_apart(ordinal);
        if matches!(state, State::Held { .. }) {
            self.held.remove(&(since, shard, ordinal));
        }
        window.settle(ordinal, settlement);
        self.settled += 1;
        if is_apart {
            self.pass_lane(shard, room);
        }
        self.touch(shard, Dirty::Settled);
        if self.policy.order == Order::Room {
            self.advance(shard, room);
        }
    }
}
