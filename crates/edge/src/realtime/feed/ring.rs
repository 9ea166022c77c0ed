//! The newest messages of a room, encoded, and what a member that comes back can have of them. Pure.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use prometheus_client::metrics::gauge::Gauge;

use crate::realtime::{encode::Encoded, session::Resume, telemetry::signed};

/// How much is kept and how much is given at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Messages kept per room.
    pub(crate) ring_messages_max: usize,
    /// Bytes kept per room, both formats together.
    pub(crate) ring_bytes_max: usize,
    /// Messages of one recovery or history reply.
    pub(crate) reply_messages_max: usize,
    /// Bytes of one recovery or history reply.
    pub(crate) reply_bytes_max: usize,
}

/// What the rings of one feed hold together.
#[derive(Debug, Default)]
pub(crate) struct Held {
    bytes: AtomicUsize,
    /// The same over all feeds, for people.
    gauge: Gauge,
    /// Counts messages taken, so that rings can be told apart by when they last grew.
    pushes: AtomicU64,
}

impl Held {
    pub(crate) fn new(gauge: Gauge) -> Self {
        Self { gauge, ..Self::default() }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    fn add(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.gauge.inc_by(signed(bytes));
    }

    fn sub(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.gauge.dec_by(signed(bytes));
    }
}

/// A dense run of messages that ends with the newest.
#[derive(Debug, Default)]
pub(crate) struct Ring {
    messages: VecDeque<Arc<Encoded>>,
    bytes: usize,
    held: Arc<Held>,
    grown_at: u64,
}

/// What a member that comes back gets.
#[derive(Debug)]
pub(crate) enum Recovery {
    /// Everything it missed, in order; perhaps nothing.
    Missed(Vec<Arc<Encoded>>),
    /// It missed more than is in memory, but no more than may be given: the log has it.
    Older,
    /// It is of another life of the room, or missed too much.
    Lost,
}

impl Ring {
    /// Empty; what it will hold is counted in `held`.
    pub(crate) fn new(held: Arc<Held>) -> Self {
        Self { messages: VecDeque::new(), bytes: 0, held, grown_at: 0 }
    }

    /// Appends the newest message and drops what is too much. The caller has checked that it follows the last one.
    pub(crate) fn push(&mut self, message: Arc<Encoded>, limits: Limits) {
        self.grow(message.size());
        self.grown_at = self.held.pushes.fetch_add(1, Ordering::Relaxed);
        self.messages.push_back(message);
        self.trim(limits);
    }

    /// Lets go of everything: whoever comes back is served from the log.
    pub(crate) fn clear(&mut self) {
        self.shrink(self.bytes);
        self.messages = VecDeque::new();
    }

    /// When the newest message came, as a number that only grows over all rings of a feed.
    pub(crate) fn grown_at(&self) -> u64 {
        self.grown_at
    }

    fn grow(&mut self, bytes: usize) {
        self.bytes += bytes;
        self.held.add(bytes);
    }

    fn shrink(&mut self, bytes: usize) {
        self.bytes -= bytes;
        self.held.sub(bytes);
    }

    /// Puts older messages, dense and ending right before the oldest one here (or before `top + 1` when there is none),
    /// in front. They stay until the next message comes.
    pub(crate) fn prepend(&mut self, older: Vec<Arc<Encoded>>, top: u64) {
        let mut before = self.first().unwrap_or(top + 1);
        for message in older.into_iter().rev() {
            if message.seq + 1 == before {
                before = message.seq;
                self.grow(message.size());
                self.messages.push_front(message);
            }
        }
    }

    fn trim(&mut self, limits: Limits) {
        while (self.messages.len() > limits.ring_messages_max || self.bytes > limits.ring_bytes_max)
            && let Some(oldest) = self.messages.pop_front()
        {
            self.shrink(oldest.size());
        }
    }

    /// Number of the oldest message here.
    pub(crate) fn first(&self) -> Option<u64> {
        self.messages.front().map(|message| message.seq)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// What a member gets that asks to go on from `resume` in a room whose newest message is `top`.
    pub(crate) fn recover(&self, resume: &Resume, epoch: &str, top: u64, limits: Limits) -> Recovery {
        let other_life = !resume.epoch.is_empty() && resume.epoch != epoch;
        if other_life || resume.offset > top || top - resume.offset > limits.reply_messages_max as u64 {
            return Recovery::Lost;
        }
        if resume.offset == top {
            return Recovery::Missed(Vec::new());
        }
        if self.first().is_none_or(|first| first > resume.offset + 1) {
            return Recovery::Older;
        }
        let missed: Vec<_> = self.between(resume.offset, top + 1).cloned().collect();
        let bytes: usize = missed.iter().map(|message| message.size() / 2).sum();
        if bytes > limits.reply_bytes_max { Recovery::Lost } else { Recovery::Missed(missed) }
    }

    /// Messages with `after < seq < before`, oldest first.
    pub(crate) fn between(&self, after: u64, before: u64) -> impl DoubleEndedIterator<Item = &Arc<Encoded>> {
        let first = self.first().unwrap_or(0);
        let from = (after.saturating_add(1)).saturating_sub(first) as usize;
        let to = before.saturating_sub(first) as usize;
        self.messages.range(from.min(self.messages.len())..to.clamp(from.min(self.messages.len()), self.messages.len()))
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        self.shrink(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::realtime::encode::tests::message;

    const LIMITS: Limits =
        Limits { ring_messages_max: 5, ring_bytes_max: 1 << 20, reply_messages_max: 8, reply_bytes_max: 1 << 20 };

    fn encoded(seq: u64) -> Arc<Encoded> {
        Arc::new(Encoded::new("room:1", &message(seq, "hi")))
    }

    fn ring_to(top: u64) -> Ring {
        let mut ring = Ring::default();
        (1..=top).for_each(|seq| ring.push(encoded(seq), LIMITS));
        ring
    }

    #[test]
    fn all_that_rings_hold_is_counted_and_gone_with_them() {
        let held = Arc::new(Held::default());
        let mut rings: Vec<Ring> = (0..3).map(|_| Ring::new(Arc::clone(&held))).collect();
        for seq in 1..=9 {
            rings.iter_mut().for_each(|ring| ring.push(encoded(seq), LIMITS));
        }
        assert!(rings.is_sorted_by_key(Ring::grown_at));
        let all = held.bytes();
        assert_eq!(all, rings.iter().map(Ring::bytes).sum::<usize>());
        rings[0].clear();
        assert_eq!((rings[0].bytes(), held.bytes()), (0, all / 3 * 2));
        rings[0].prepend((7..=9).map(encoded).collect(), 9);
        assert_eq!(held.bytes(), rings.iter().map(Ring::bytes).sum::<usize>());
        rings.clear();
        assert_eq!((held.bytes(), held.gauge.get()), (0, 0));
    }

    fn resume(epoch: &str, offset: u64) -> Resume {
        Resume { epoch: epoch.into(), offset, or_error: false }
    }

    fn told(recovery: &Recovery) -> String {
        match recovery {
            Recovery::Missed(missed) => format!("{:?}", missed.iter().map(|m| m.seq).collect::<Vec<_>>()),
            Recovery::Older => "older".into(),
            Recovery::Lost => "lost".into(),
        }
    }

    #[test]
    fn a_member_gets_exactly_what_it_missed_or_is_told() {
        let ring = ring_to(20);
        let ask = |epoch: &str, offset: u64| told(&ring.recover(&resume(epoch, offset), "abc", 20, LIMITS));
        assert_eq!(ask("abc", 20), "[]");
        assert_eq!(ask("abc", 18), "[19, 20]");
        assert_eq!(ask("", 18), "[19, 20]", "an empty epoch matches any");
        assert_eq!(ask("abc", 15), "[16, 17, 18, 19, 20]");
        assert_eq!(ask("abc", 14), "older");
        assert_eq!(ask("abc", 12), "older");
        assert_eq!(ask("abc", 11), "lost", "more than one reply may hold");
        assert_eq!(ask("abc", 21), "lost", "the future");
        assert_eq!(ask("xyz", 19), "lost", "another life of the room");
        assert_eq!(ask("_", 0), "lost");
    }

    #[test]
    fn what_the_log_had_goes_in_front_until_the_next_message() {
        let mut ring = ring_to(20);
        ring.prepend((10..=15).map(encoded).collect(), 20);
        assert_eq!(told(&ring.recover(&resume("a", 13), "a", 20, LIMITS)), "[14, 15, 16, 17, 18, 19, 20]");
        ring.push(encoded(21), LIMITS);
        assert_eq!(ring.first(), Some(17));
        let mut empty = Ring::default();
        empty.prepend((3..=4).map(encoded).collect(), 4);
        assert_eq!(told(&empty.recover(&resume("a", 2), "a", 4, LIMITS)), "[3, 4]");
        let mut gap = ring_to(20);
        gap.prepend((10..=14).map(encoded).collect(), 20);
        assert_eq!(gap.first(), Some(16), "a run that does not reach is of no use");
    }

    #[test]
    fn bytes_are_bounded_and_counted() {
        let small = Limits { ring_bytes_max: encoded(1).size() * 3, ..LIMITS };
        let mut ring = Ring::default();
        for seq in 1..=9 {
            ring.push(encoded(seq), small);
        }
        assert_eq!(ring.first(), Some(7));
        assert_eq!(ring.bytes(), encoded(7).size() * 3);
        let tight = Limits { reply_bytes_max: encoded(1).size(), ..LIMITS };
        assert_eq!(told(&ring.recover(&resume("a", 6), "a", 9, tight)), "lost");
    }

    proptest! {
        #[test]
        fn recovery_is_whole_or_nothing(top in 0_u64..30, offset in 0_u64..35, kept in 1_usize..10) {
            let limits = Limits { ring_messages_max: kept, ..LIMITS };
            let mut ring = Ring::default();
            (1..=top).for_each(|seq| ring.push(encoded(seq), limits));
            match ring.recover(&resume("a", offset), "a", top, limits) {
                Recovery::Missed(missed) => {
                    let seqs: Vec<u64> = missed.iter().map(|message| message.seq).collect();
                    prop_assert_eq!(seqs, (offset + 1..=top).collect::<Vec<_>>());
                }
                Recovery::Older => prop_assert!(top - offset > kept as u64 && top - offset <= 8),
                Recovery::Lost => prop_assert!(offset > top || top - offset > 8),
            }
        }
    }
}
