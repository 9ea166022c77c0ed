//! The window in which a repeated `Random` of the same sender with the same content is the same message.
//!
//! It is part of the folded room, because "sent once" must survive a crash. A busy room holds thousands of entries, so
//! they are packed: 48 bytes each, plus about 7 for the index, plus one copy of each sender's id. Senders are
//! interned and compared in full: two senders whose ids happen to hash alike are never taken for one another.

use std::{
    collections::VecDeque,
    hash::{BuildHasher, RandomState},
};

use hashbrown::HashTable;

use crate::{
    command::Sent,
    ids::{MsgSeq, UnixMillis, UserId},
    message::{ContentHash, DedupKey, Message, MsgId},
};

/// How long a repeat is recognised, in milliseconds.
pub const DEDUP_WINDOW_MS: u64 = 5 * 60 * 1000;
/// How many messages of one room are remembered for it at most: the vendor's 40 messages per second for 5 minutes.
/// In a room that is faster than that the window is shorter in time, never larger in memory.
pub const DEDUP_ENTRIES_MAX: usize = 12_000;

/// A window with room for fewer entries than this (48 kB) is not worth shrinking.
const GIVE_BACK_MIN: usize = 1_000;

/// What the first message with this (sender, random, content) was answered.
#[derive(Clone, Copy, Debug)]
struct Entry {
    at: UnixMillis,
    seq: MsgSeq,
    account: u64,
    content: ContentHash,
    /// Slot in [`Senders`].
    sender: u32,
    random: u32,
    msg_random: u32,
    /// `MsgId` seconds minus the seconds of `at`; exact while the two are less than 68 years apart.
    secs_delta: i32,
}

impl Entry {
    fn key(&self) -> DedupKey {
        DedupKey { random: self.random, content: self.content }
    }

    fn sent(&self) -> Sent {
        let secs = self.at.secs().saturating_add_signed(self.secs_delta.into());
        let msg_id = MsgId { account: self.account, secs, random: self.msg_random };
        Sent { seq: self.seq, at: self.at, msg_id }
    }
}

/// One remembered message, as snapshots and comparisons see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Remembered<'a> {
    pub(crate) sender: &'a UserId,
    /// Names `sender` within one walk over the window: equal senders, equal slots.
    pub(crate) slot: u32,
    pub(crate) key: DedupKey,
    pub(crate) sent: Sent,
}

/// The remembered messages, oldest first.
#[derive(Clone, Default)]
pub(crate) struct Window {
    entries: VecDeque<Entry>,
    /// Number of `entries[0]`; numbers wrap.
    first: u32,
    /// Entry numbers by (sender, random, content). Never iterated, so its random hashing (which keeps senders from choosing
    /// colliding numbers) shows nowhere.
    index: HashTable<u32>,
    senders: Senders,
    hasher: RandomState,
}

impl Window {
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The receipt of the first message with this sender and key, if it is remembered and younger than the window.
    pub(crate) fn find(&self, sender: &UserId, key: DedupKey, now: UnixMillis) -> Option<Sent> {
        let sender = self.senders.slot_of(&self.hasher, sender)?;
        let entry = self.entry_of(sender, key)?;
        (!is_over(entry.at, now)).then(|| entry.sent())
    }

    /// Remembers a message, and forgets what is too old or too much.
    pub(crate) fn remember(&mut self, message: &Message, key: DedupKey) {
        self.forget_until(message.at);
        let draft = &message.draft;
        let secs_delta = i128::from(draft.msg_id.secs) - i128::from(message.at.secs());
        self.push(
            &draft.from,
            key,
            Sent { seq: message.seq, at: message.at, msg_id: draft.msg_id },
            i32::try_from(secs_delta).unwrap_or(if secs_delta < 0 { i32::MIN } else { i32::MAX }),
        );
        while self.entries.len() > DEDUP_ENTRIES_MAX {
            self.pop();
        }
    }

    /// Forgets what a message at `now` would no longer repeat.
    pub(crate) fn forget_until(&mut self, now: UnixMillis) {
        while self.entries.front().is_some_and(|entry| is_over(entry.at, now)) {
            self.pop();
        }
        self.give_back();
    }

    /// After a busy time most of the memory is given back: a room stays in memory long after it was busy.
    fn give_back(&mut self) {
        let (len, capacity) = (self.entries.len(), self.entries.capacity());
        if capacity < GIVE_BACK_MIN || len >= capacity / 4 {
            return;
        }
        // Half full afterwards, so that it neither grows nor shrinks again at once.
        self.entries.shrink_to(2 * len);
        let Self { entries, first, index, hasher, .. } = self;
        index.shrink_to(2 * len, |number| {
            let entry = entries.get(number.wrapping_sub(*first) as usize);
            entry.map_or(0, |entry| hash(hasher, entry.sender, entry.key()))
        });
    }

    /// Puts back what [`Window::iter`] gave, in the same order.
    pub(crate) fn restore(&mut self, sender: &UserId, key: DedupKey, sent: Sent, secs_delta: i32) {
        self.push(sender, key, sent, secs_delta);
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Remembered<'_>> {
        self.entries.iter().filter_map(|entry| {
            let sender = self.senders.user(entry.sender)?;
            Some(Remembered { sender, slot: entry.sender, key: entry.key(), sent: entry.sent() })
        })
    }

    fn push(&mut self, sender: &UserId, key: DedupKey, sent: Sent, secs_delta: i32) {
        let sender = self.senders.intern(&self.hasher, sender);
        if self.entries.len() == self.entries.capacity() {
            self.entries.reserve_exact(growth(self.entries.len()));
        }
        let number = self.first.wrapping_add(self.entries.len() as u32);
        let MsgId { account, random: msg_random, .. } = sent.msg_id;
        let DedupKey { random, content } = key;
        let entry = Entry { at: sent.at, seq: sent.seq, account, content, sender, random, msg_random, secs_delta };
        self.entries.push_back(entry);
        let Self { entries, first, index, hasher, .. } = self;
        let hash_of_number = |number: &u32| {
            let entry = entries.get(number.wrapping_sub(*first) as usize);
            entry.map_or(0, |entry| hash(hasher, entry.sender, entry.key()))
        };
        index.insert_unique(hash(hasher, sender, key), number, hash_of_number);
    }

    fn pop(&mut self) {
        let Some(entry) = self.entries.pop_front() else { return };
        let number = self.first;
        self.first = self.first.wrapping_add(1);
        let hash = hash(&self.hasher, entry.sender, entry.key());
        if let Ok(found) = self.index.find_entry(hash, |&other| other == number) {
            found.remove();
        }
        self.senders.release(&self.hasher, entry.sender);
    }

    fn entry_of(&self, sender: u32, key: DedupKey) -> Option<&Entry> {
        let number = self.index.find(hash(&self.hasher, sender, key), |&number| {
            self.entry(number).is_some_and(|entry| entry.sender == sender && entry.key() == key)
        })?;
        self.entry(*number)
    }

    fn entry(&self, number: u32) -> Option<&Entry> {
        self.entries.get(number.wrapping_sub(self.first) as usize)
    }
}

impl PartialEq for Window {
    fn eq(&self, other: &Self) -> bool {
        let content = |remembered: Remembered<'_>| (remembered.sender.clone(), remembered.key, remembered.sent);
        self.len() == other.len() && self.iter().map(content).eq(other.iter().map(content))
    }
}

impl std::fmt::Debug for Window {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Window").field("entries", &self.len()).field("senders", &self.senders.index.len()).finish()
    }
}

/// Entries to make room for when `len` are full. A full window stays full for good, so it gets not one place more than
/// it needs: one, for the entry that comes before the oldest leaves.
fn growth(len: usize) -> usize {
    let by_half = (len / 2).max(4);
    if len <= DEDUP_ENTRIES_MAX { by_half.min(DEDUP_ENTRIES_MAX + 1 - len) } else { by_half }
}

fn is_over(at: UnixMillis, now: UnixMillis) -> bool {
    now.0.saturating_sub(at.0) >= DEDUP_WINDOW_MS
}

fn hash(hasher: &RandomState, sender: u32, key: DedupKey) -> u64 {
    hasher.hash_one((u64::from(sender) << 32 | u64::from(key.random), key.content.0))
}

/// Senders of remembered messages, each once, with the number of entries that name them.
#[derive(Clone, Default)]
struct Senders {
    slots: Vec<Option<(UserId, u32)>>,
    free: Vec<u32>,
    index: HashTable<u32>,
}

impl Senders {
    fn user(&self, slot: u32) -> Option<&UserId> {
        self.slots.get(slot as usize)?.as_ref().map(|(user, _)| user)
    }

    fn slot_of(&self, hasher: &RandomState, user: &UserId) -> Option<u32> {
        self.index.find(hasher.hash_one(user), |&slot| self.user(slot) == Some(user)).copied()
    }

    fn intern(&mut self, hasher: &RandomState, user: &UserId) -> u32 {
        if let Some(slot) = self.slot_of(hasher, user) {
            if let Some(Some((_, entries))) = self.slots.get_mut(slot as usize) {
                *entries += 1;
            }
            return slot;
        }
        let slot = self.free.pop().unwrap_or(self.slots.len() as u32);
        let taken = Some((user.clone(), 1));
        match self.slots.get_mut(slot as usize) {
            Some(empty) => *empty = taken,
            None => self.slots.push(taken),
        }
        let Self { slots, index, .. } = self;
        index.insert_unique(hasher.hash_one(user), slot, |&slot| {
            let user = slots.get(slot as usize).and_then(Option::as_ref);
            user.map_or(0, |(user, _)| hasher.hash_one(user))
        });
        slot
    }

    fn release(&mut self, hasher: &RandomState, slot: u32) {
        let Some(Some((user, entries))) = self.slots.get_mut(slot as usize) else { return };
        *entries -= 1;
        if *entries > 0 {
            return;
        }
        let hash = hasher.hash_one(&*user);
        if let Some(taken) = self.slots.get_mut(slot as usize) {
            *taken = None;
        }
        if let Ok(found) = self.index.find_entry(hash, |&other| other == slot) {
            found.remove();
        }
        self.free.push(slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_as_small_as_the_module_says() {
        assert_eq!(size_of::<Entry>(), 48);
    }

    fn key(random: u32) -> DedupKey {
        DedupKey { random, content: ContentHash(7) }
    }

    fn filled(window: &mut Window, from_ms: u64, messages: u32) {
        let sender = UserId::new("ann").expect("a good id");
        for random in 0..messages {
            let at = UnixMillis(from_ms + u64::from(random));
            window.forget_until(at);
            let msg_id = MsgId { account: 1, secs: at.secs(), random };
            window.restore(&sender, key(random), Sent { seq: MsgSeq(u64::from(random) + 1), at, msg_id }, 0);
        }
    }

    #[test]
    fn a_full_window_has_no_place_to_spare() {
        let mut window = Window::default();
        filled(&mut window, 0, DEDUP_ENTRIES_MAX as u32 + 1);
        assert_eq!(window.entries.capacity(), DEDUP_ENTRIES_MAX + 1);
    }

    #[test]
    fn a_window_gives_back_what_a_busy_time_took_and_still_finds_the_rest() {
        let sender = UserId::new("ann").expect("a good id");
        let mut window = Window::default();
        filled(&mut window, 0, 10_000);
        let busy = window.entries.capacity();
        let now = UnixMillis(DEDUP_WINDOW_MS + 9_899);
        window.forget_until(now);
        assert_eq!(window.len(), 100, "those of the last 100 ms are left");
        assert!(window.entries.capacity() < busy / 20, "{} of {busy}", window.entries.capacity());
        for random in 9_900..10_000 {
            assert!(window.find(&sender, key(random), now).is_some(), "{random}");
        }
        assert!(window.find(&sender, key(9_899), now).is_none());
        filled(&mut window, now.0, 5_000);
        assert!(window.find(&sender, key(4_999), UnixMillis(now.0 + 4_999)).is_some());
    }
}
