//! What was handled already, and which numbers are missing. Pure: no clock, no I/O, memory bounded by [`Limits`].
//!
//! Two rules shape it:
//!
//! * **Never call a message a repeat unless this very message is remembered.** A number alone does not name a message: a room that was
//!   dissolved and made again counts from 1 again. A `MsgId` alone does not either: it is made of sender, second and random number, so
//!   the same one can stand in two rooms. Repeats are therefore recognised by room *and* `MsgId`, and a known number under an unknown
//!   `MsgId` shows that the room started anew.
//! * **When in doubt, it is new.** Handling a message twice is harmless for an idempotent handler; dropping one is not.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::gaps::Gaps;

/// How much the receiver remembers. Beyond a limit the oldest is forgotten, which can only let a repeat through, never drop a message.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Rooms remembered; beyond it the room that was quiet for longest is forgotten. Default 4,096.
    pub rooms_max: usize,
    /// Messages remembered per room, newest last. Default 256, about 10 kB per busy room.
    pub messages_per_room_max: usize,
    /// Open gaps (runs of missing numbers) remembered per room. Default 64.
    pub gaps_per_room_max: usize,
    /// Ids of events without a message number (`Live.*` and such) remembered over all rooms. Default 4,096.
    pub event_ids_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { rooms_max: 4096, messages_per_room_max: 256, gaps_per_room_max: 64, event_ids_max: 4096 }
    }
}

/// The parts of a room message that say which one it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MessageKey<'a> {
    /// `GroupId`.
    pub room: &'a str,
    /// `MsgSeq`: per room, from 1, larger is later.
    pub seq: u64,
    /// `MsgId`: names the message within its room.
    pub id: &'a str,
    /// `MsgTime`: Unix seconds; does not decrease with growing `MsgSeq` as long as the room lives.
    pub time_secs: u64,
}

/// Where an event stands among those handled before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// The event carries no message number, and it is not a repeat.
    Unnumbered,
    /// The first message of this room that the receiver knows of. What came before it is unknown, so no gap is reported.
    First,
    /// Directly follows the highest number of its room.
    Next,
    /// Jumps ahead: these numbers have not been handled yet. They may still come.
    Ahead {
        /// The numbers left out.
        missing: RangeInclusive<u64>,
    },
    /// Fills a gap, or comes before the first number known of its room.
    Late,
    /// The number was used before by another message: the room was dissolved and made again, and counts from 1 anew.
    Restarted {
        /// The highest number of the room's former life.
        former_top: u64,
    },
    /// New as far as anybody can tell, but without a place in the room's numbers: it belongs to a former life of the room, or it is so
    /// old that the receiver has forgotten whether it was handled. Handle it; an idempotent handler does the rest.
    Unplaced,
    /// This very message was handled already: acknowledge it and do nothing.
    Repeat,
}

/// What a commit taught about the numbers of a room. For logs, metrics, or asking for what is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// Numbers were skipped. In ordered delivery they were refused or set aside by the sender and may follow later.
    GapOpened {
        /// The room's id.
        room: Arc<str>,
        /// The numbers skipped.
        seqs: RangeInclusive<u64>,
    },
    /// A missing number arrived.
    GapFilled {
        /// The room's id.
        room: Arc<str>,
        /// The number that arrived.
        seq: u64,
        /// How many numbers of this room are missing still.
        still_missing: u64,
    },
    /// The room was dissolved and made again: its numbers start at 1 anew.
    RoomRestarted {
        /// The room's id.
        room: Arc<str>,
        /// The highest number of its former life.
        former_top: u64,
    },
    /// A gap will not be watched any longer; if it is ever filled, the message arrives as [`Standing::Unplaced`].
    GapForgotten {
        /// The room's id.
        room: Arc<str>,
        /// The numbers that never came.
        seqs: RangeInclusive<u64>,
        /// Why it is not watched any longer.
        why: Forgotten,
    },
}

/// Why a gap is not watched any longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forgotten {
    /// The room was dissolved, or counts anew.
    RoomEnded,
    /// More rooms than [`Limits::rooms_max`] were active.
    TooManyRooms,
    /// More gaps than [`Limits::gaps_per_room_max`] were open in the room.
    TooManyGaps,
}

/// A run of numbers that were skipped and have not come yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenGap {
    /// The room's id.
    pub room: Arc<str>,
    /// The missing numbers.
    pub seqs: RangeInclusive<u64>,
    /// When the gap was noticed, in Unix milliseconds as given to the commit.
    pub since_millis: u64,
}

/// Remembers what was handled. See the module's two rules.
#[derive(Debug)]
pub(crate) struct Tracker {
    limits: Limits,
    rooms: HashMap<Arc<str>, RoomSeen>,
    /// Rooms by the time of their last commit, oldest first. The clock is a counter, so keys are unique.
    by_use: BTreeMap<u64, Arc<str>>,
    uses: u64,
    event_ids: RecentSet,
}

/// One life of one room.
#[derive(Debug)]
struct RoomSeen {
    /// Lowest and highest number handled. All between them were handled, but for `gaps`.
    floor: u64,
    top: u64,
    /// `MsgTime` of the message with the highest number.
    top_time_secs: u64,
    /// Messages from before this second belong to a former life; 0 as long as none is known of.
    began_secs: u64,
    gaps: Gaps,
    recent: VecDeque<(u64, Fingerprint)>,
    last_use: u64,
}

/// 128 bits of a message's identity instead of its text: enough that two never meet by accident, and a fixed size.
type Fingerprint = u128;

impl Tracker {
    pub(crate) fn new(limits: Limits) -> Self {
        let event_ids = RecentSet::new(limits.event_ids_max);
        Self { limits, rooms: HashMap::new(), by_use: BTreeMap::new(), uses: 0, event_ids }
    }

    /// Where a message stands. Changes nothing: only a commit does.
    pub(crate) fn standing(&self, message: MessageKey<'_>) -> Standing {
        match self.rooms.get(message.room) {
            None => Standing::First,
            Some(room) => room.standing(message),
        }
    }

    /// Where an event without a number stands, by the id the sender gave the delivery (`webhook-id`, stable over retries).
    pub(crate) fn event_standing(&self, webhook_id: Option<&str>) -> Standing {
        match webhook_id {
            Some(id) if self.event_ids.contains(fingerprint(id)) => Standing::Repeat,
            _ => Standing::Unnumbered,
        }
    }

    /// Remembers a message as handled.
    pub(crate) fn commit(&mut self, message: MessageKey<'_>, now_millis: u64) -> Vec<Notice> {
        let standing = self.standing(message);
        let mut notices = Vec::new();
        let name = self.touch(message.room, &mut notices);
        let room = self.rooms.entry(Arc::clone(&name)).or_insert_with(|| RoomSeen::starting_at(message));
        room.last_use = self.uses;
        room.settle(message, standing, &self.limits, &mut Findings { room: name, now_millis, notices: &mut notices });
        notices
    }

    /// Remembers an event without a number as handled.
    pub(crate) fn commit_event(&mut self, webhook_id: Option<&str>) {
        if let Some(id) = webhook_id {
            self.event_ids.insert(fingerprint(id));
        }
    }

    /// Takes it as known that every message of `room` up to `seq` was handled.
    pub(crate) fn resume(&mut self, room: &str, seq: u64, time_secs: u64) -> Vec<Notice> {
        let mut notices = self.end(room);
        let name = self.touch(room, &mut notices);
        let seen = RoomSeen {
            floor: 1,
            top: seq,
            top_time_secs: time_secs,
            began_secs: 0,
            gaps: Gaps::default(),
            recent: VecDeque::new(),
            last_use: self.uses,
        };
        self.rooms.insert(name, seen);
        notices
    }

    /// Forgets a room that was dissolved.
    pub(crate) fn end(&mut self, room: &str) -> Vec<Notice> {
        let Some((name, seen)) = self.rooms.remove_entry(room) else { return Vec::new() };
        self.by_use.remove(&seen.last_use);
        forget_gaps(&name, seen.gaps, Forgotten::RoomEnded).collect()
    }

    pub(crate) fn open_gaps(&self) -> impl Iterator<Item = OpenGap> + '_ {
        self.rooms.iter().flat_map(|(name, seen)| {
            seen.gaps.iter().map(|(seqs, since_millis)| OpenGap { room: Arc::clone(name), seqs, since_millis })
        })
    }

    pub(crate) fn rooms(&self) -> usize {
        self.rooms.len()
    }

    /// Marks the room as just used, making place for it if it is unknown, and gives its shared name.
    fn touch(&mut self, room: &str, notices: &mut Vec<Notice>) -> Arc<str> {
        let known = self.rooms.get(room).map(|seen| seen.last_use).and_then(|used| self.by_use.remove(&used));
        let name = known.unwrap_or_else(|| {
            if self.rooms.len() >= self.limits.rooms_max.max(1) {
                self.evict(notices);
            }
            Arc::from(room)
        });
        self.uses += 1;
        self.by_use.insert(self.uses, Arc::clone(&name));
        name
    }

    fn evict(&mut self, notices: &mut Vec<Notice>) {
        let Some((_, name)) = self.by_use.pop_first() else { return };
        if let Some(seen) = self.rooms.remove(&name) {
            notices.extend(forget_gaps(&name, seen.gaps, Forgotten::TooManyRooms));
        }
    }
}

impl RoomSeen {
    fn starting_at(message: MessageKey<'_>) -> Self {
        Self {
            floor: message.seq,
            top: message.seq,
            top_time_secs: message.time_secs,
            began_secs: 0,
            gaps: Gaps::default(),
            recent: VecDeque::new(),
            last_use: 0,
        }
    }

    fn standing(&self, message: MessageKey<'_>) -> Standing {
        let id = fingerprint(message.id);
        if self.recent.iter().any(|&(_, known)| known == id) {
            return Standing::Repeat;
        }
        self.place(message)
    }

    /// Where the number belongs, given that the message is not a remembered one.
    fn place(&self, message: MessageKey<'_>) -> Standing {
        if message.time_secs < self.began_secs {
            return Standing::Unplaced;
        }
        if message.seq > self.top {
            let next = self.top + 1;
            return if message.seq == next {
                Standing::Next
            } else {
                Standing::Ahead { missing: next..=message.seq - 1 }
            };
        }
        let restarted = Standing::Restarted { former_top: self.top };
        if message.seq < self.floor || self.gaps.contains(message.seq) {
            // Nobody had this number yet. Time runs with the numbers, so a message newer than the highest one cannot lie below it.
            return if message.time_secs > self.top_time_secs { restarted } else { Standing::Late };
        }
        if self.recent.iter().any(|&(seq, _)| seq == message.seq) {
            return restarted;
        }
        // The number was handled, but under which id is forgotten.
        if message.time_secs >= self.top_time_secs { restarted } else { Standing::Unplaced }
    }

    fn settle(&mut self, message: MessageKey<'_>, standing: Standing, limits: &Limits, findings: &mut Findings<'_>) {
        let id = fingerprint(message.id);
        if standing == Standing::Repeat {
            // A client that sends one message twice, long after the server's dedup window, gets two numbers for one `MsgId`. The
            // second copy is dropped, yet its number is not missing.
            if !self.recent.contains(&(message.seq, id)) {
                let place = self.place(message);
                self.account(message, place, findings);
            }
        } else {
            self.account(message, standing, findings);
            self.recent.push_back((message.seq, id));
        }
        while self.gaps.len() > limits.gaps_per_room_max {
            let Some(seqs) = self.gaps.pop_lowest() else { break };
            findings.gap_forgotten(seqs, Forgotten::TooManyGaps);
        }
        while self.recent.len() > limits.messages_per_room_max {
            self.recent.pop_front();
        }
    }

    fn account(&mut self, message: MessageKey<'_>, standing: Standing, findings: &mut Findings<'_>) {
        match standing {
            Standing::Next => self.rise(message),
            Standing::Ahead { missing } => {
                self.rise(message);
                self.open_gap(missing, findings);
            }
            Standing::Late => self.fill(message.seq, findings),
            Standing::Restarted { former_top } => self.restart(message, former_top, findings),
            Standing::First | Standing::Unplaced | Standing::Unnumbered | Standing::Repeat => {}
        }
    }

    fn rise(&mut self, message: MessageKey<'_>) {
        self.top = message.seq;
        self.top_time_secs = message.time_secs;
    }

    fn open_gap(&mut self, seqs: RangeInclusive<u64>, findings: &mut Findings<'_>) {
        self.gaps.open(seqs.clone(), findings.now_millis);
        findings.notices.push(Notice::GapOpened { room: Arc::clone(&findings.room), seqs });
    }

    fn fill(&mut self, seq: u64, findings: &mut Findings<'_>) {
        if self.gaps.fill(seq) {
            let still_missing = self.gaps.missing();
            findings.notices.push(Notice::GapFilled { room: Arc::clone(&findings.room), seq, still_missing });
        } else if seq < self.floor {
            let between = seq + 1..=self.floor - 1;
            self.floor = seq;
            if !between.is_empty() {
                self.open_gap(between, findings);
            }
        }
    }

    /// A new life: numbers start at 1, so those below the first one seen are missing. The former life's messages stay in `recent`, so
    /// that a late repeat of one of them is still recognised.
    fn restart(&mut self, message: MessageKey<'_>, former_top: u64, findings: &mut Findings<'_>) {
        for seqs in std::mem::take(&mut self.gaps).into_ranges() {
            findings.gap_forgotten(seqs, Forgotten::RoomEnded);
        }
        findings.notices.push(Notice::RoomRestarted { room: Arc::clone(&findings.room), former_top });
        self.floor = message.seq.min(1);
        self.began_secs = message.time_secs.min(self.top_time_secs.saturating_add(1));
        self.rise(message);
        if message.seq > 1 {
            self.open_gap(1..=message.seq - 1, findings);
        }
    }
}

/// Where a commit writes what it finds out about its room.
struct Findings<'a> {
    room: Arc<str>,
    now_millis: u64,
    notices: &'a mut Vec<Notice>,
}

impl Findings<'_> {
    fn gap_forgotten(&mut self, seqs: RangeInclusive<u64>, why: Forgotten) {
        self.notices.push(Notice::GapForgotten { room: Arc::clone(&self.room), seqs, why });
    }
}

/// The newest `max` fingerprints.
#[derive(Debug)]
struct RecentSet {
    max: usize,
    order: VecDeque<Fingerprint>,
    known: HashSet<Fingerprint>,
}

impl RecentSet {
    fn new(max: usize) -> Self {
        Self { max, order: VecDeque::new(), known: HashSet::new() }
    }

    fn contains(&self, id: Fingerprint) -> bool {
        self.known.contains(&id)
    }

    fn insert(&mut self, id: Fingerprint) {
        if self.known.insert(id) {
            self.order.push_back(id);
        }
        while self.order.len() > self.max {
            if let Some(oldest) = self.order.pop_front() {
                self.known.remove(&oldest);
            }
        }
    }
}

fn forget_gaps(name: &Arc<str>, gaps: Gaps, why: Forgotten) -> impl Iterator<Item = Notice> {
    let room = Arc::clone(name);
    gaps.into_ranges().map(move |seqs| Notice::GapForgotten { room: Arc::clone(&room), seqs, why })
}

fn fingerprint(id: &str) -> Fingerprint {
    let half = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        (salt, id).hash(&mut hasher);
        u128::from(hasher.finish())
    };
    half(0) << 64 | half(1)
}

#[cfg(test)]
mod tests;
