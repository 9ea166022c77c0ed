//! The queues of rooms that have something pending. Names are interned, so that slots stay small.

use std::collections::VecDeque;

use ahash::AHashMap;
use bytes::Bytes;

/// Names of idle rooms kept, so that a room that speaks again costs no allocation.
const ROOMS_KEPT: usize = 8_192;

#[derive(Debug, Default)]
pub(crate) struct Rooms {
    by_key: AHashMap<Bytes, u32>,
    rooms: Vec<Room>,
    free: Vec<u32>,
}

#[derive(Debug, Default)]
pub(crate) struct Room {
    pub(crate) key: Bytes,
    /// Its slots in memory, whatever the order setting. Settled ones too: as long as they are there they name the room by its
    /// index, and one that leaves the main path takes along what it finds under that.
    pub(crate) slots: usize,
    pub(crate) in_flight: usize,
    /// It has a lane.
    pub(crate) apart: bool,
    /// Ordinals in order, with order by room: only the front one may be tried.
    pub(crate) queue: VecDeque<u64>,
}

impl Rooms {
    /// The room with this log key; makes it known.
    pub(crate) fn intern(&mut self, key: &[u8]) -> u32 {
        if let Some(index) = self.by_key.get(key) {
            return *index;
        }
        // A copy, because the key handed in may keep a whole batch of records alive.
        let key = Bytes::copy_from_slice(key);
        let index = self.free.pop().unwrap_or_else(|| {
            self.rooms.push(Room::default());
            u32::try_from(self.rooms.len() - 1).unwrap_or(u32::MAX)
        });
        if let Some(room) = self.rooms.get_mut(index as usize) {
            *room = Room { key: key.clone(), ..Room::default() };
        }
        self.by_key.insert(key, index);
        index
    }

    pub(crate) fn get(&mut self, index: u32) -> Option<&mut Room> {
        self.rooms.get_mut(index as usize)
    }

    /// The room with this log key, if it is known.
    pub(crate) fn find(&self, key: &[u8]) -> Option<u32> {
        self.by_key.get(key).copied()
    }

    /// Whether the room with this log key has a lane.
    pub(crate) fn is_apart(&self, key: &[u8]) -> bool {
        let room = self.find(key).and_then(|index| self.rooms.get(index as usize));
        room.is_some_and(|room| room.apart)
    }

    /// A slot of the room is there no more.
    pub(crate) fn leave_one(&mut self, index: u32) {
        if let Some(room) = self.rooms.get_mut(index as usize) {
            room.slots = room.slots.saturating_sub(1);
        }
        self.tidy(index);
    }

    /// The room has no lane any more.
    pub(crate) fn attach(&mut self, index: u32) {
        if let Some(room) = self.rooms.get_mut(index as usize) {
            room.apart = false;
        }
        self.tidy(index);
    }

    /// Forgets the room when nothing is left of it and many names are kept.
    fn tidy(&mut self, index: u32) {
        let crowded = self.by_key.len() > ROOMS_KEPT;
        let Some(room) = self.rooms.get_mut(index as usize) else { return };
        if room.slots == 0 && !room.apart && crowded {
            self.by_key.remove(&room.key);
            *room = Room::default();
            self.free.push(index);
        }
    }

    pub(crate) fn clear_queues(&mut self) {
        self.rooms.iter_mut().for_each(|room| room.queue.clear());
    }
}
