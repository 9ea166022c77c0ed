//! What goes into the engine and what comes out.

use bytes::Bytes;
use roomhook_log::Lsn;
use roomhook_room::{Order, Origin};

use crate::{plan::Command, retry::RetryPolicy};

/// Where an event lies in its shard's log: its record, and its place in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventPos {
    pub lsn: Lsn,
    pub index: u32,
}

/// Names a delivery of an endpoint: the event it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeliveryId {
    pub shard: u16,
    pub pos: EventPos,
}

/// An event that an endpoint is owed, ready to be sent.
#[derive(Clone, Debug)]
pub struct Owed {
    pub pos: EventPos,
    /// The log key of the room.
    pub room: Bytes,
    /// `MsgSeq` of a message, 0 for other events.
    pub seq: u64,
    /// When it happened, Unix milliseconds.
    pub at: u64,
    pub content: Content,
}

/// What is posted, apart from what depends on the moment of sending.
#[derive(Clone, Debug)]
pub struct Content {
    pub command: Command,
    /// Becomes `ClientIP` and `OptPlatform`; events that no client caused have none.
    pub origin: Option<Origin>,
    /// The POST body, built once and shared by all attempts.
    pub body: Bytes,
}

impl Content {
    /// Not made: of an event whose room is off the main path, so that nothing of it is sent from here. Should it be sent
    /// after all, because its room came back meanwhile, it is read from the log again.
    pub fn absent() -> Self {
        Self { command: Command::Test, origin: None, body: Bytes::new() }
    }
}

/// One attempt that the shell should make now.
#[derive(Clone, Debug)]
pub struct Job {
    pub id: DeliveryId,
    pub(crate) ticket: Ticket,
    /// From 1; counts over the life of the delivery.
    pub attempt: u32,
    pub room: Bytes,
    pub seq: u64,
    pub at: u64,
    /// `None`: the engine let go of the content to save memory; the shell reads it from the log again.
    pub content: Option<Content>,
    /// A single try at a paused endpoint.
    pub probe: bool,
}

impl Job {
    /// An attempt that the engine knows nothing of, for replays: it is never settled.
    pub(crate) fn outside(id: DeliveryId, room: Bytes, seq: u64, at: u64, attempt: u32) -> Self {
        Self { id, ticket: Ticket::Aside(id), attempt, room, seq, at, content: None, probe: false }
    }
}

/// Where the engine keeps what a [`Job`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Ticket {
    /// In the window of a shard, by ordinal.
    Window { shard: u16, ordinal: u64 },
    /// Among the exceptions.
    Aside(DeliveryId),
}

/// What came of an attempt, as far as order and retry depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Any 2xx.
    Acknowledged,
    Failed(Failed),
    /// The event is not in the log any more, so there is nothing left to send.
    Gone,
    /// Nothing was tried (our own storage failed, the shell is stopping): as if the job had never been handed out.
    Untried,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Failed {
    /// No connection came about (address, refused, TLS): this says something about the endpoint, not about the message.
    pub connecting: bool,
    pub retry_after_ms: Option<u64>,
    /// HTTP status, 0 when there was none.
    pub status: u16,
}

/// How the engine behaves for one endpoint. Can change at any time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Whether there is a URL to send to. Without one, what is pending is given up.
    pub sendable: bool,
    pub order: Order,
    /// Attempts in flight at most.
    pub concurrency: usize,
    pub retry: RetryPolicy,
    /// How long a delivery that fails alone holds its room.
    pub hold_ms: u64,
    /// Paused by a person: nothing is sent, not even probes.
    pub paused: bool,
    /// Deliveries per second after an outage; 0 = as fast as the endpoint answers.
    pub catch_up_per_s: u32,
    pub limits: Limits,
}

/// What the engine may keep in memory for one endpoint; everything beyond stays in the log or in rows.
///
/// Each shard has an even part, of which a quarter is for rooms with lanes as soon as there is one. The limits are kept
/// exactly, but that one record always fits: a shard's main path, and each lane, may hold one that is larger than its part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Unsettled deliveries loaded, over all shards. At least two per shard.
    pub open_max: usize,
    /// Bytes of their bodies.
    pub bytes_max: usize,
    /// Deliveries between the cursor and the newest one loaded, over all shards: what a crash can repeat.
    pub span_max: usize,
    /// Deliveries set aside; what comes on top is parked (or skipped) at once.
    pub aside_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { open_max: 16_384, bytes_max: 16 << 20, span_max: 65_536, aside_max: 10_000 }
    }
}

/// The numbers of design §5 `owed-paid`, for one endpoint (or one shard of it):
/// `acknowledged = delivered + pending + parked + expired`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Events that were owed when they were appended.
    pub acknowledged: u64,
    pub delivered: u64,
    pub parked: u64,
    /// Given up unpaid: cut off by retention, or skipped.
    pub expired: u64,
    /// Of the expired: skipped by policy or by a person.
    pub skipped: u64,
    /// Beside the other numbers: records that retention dropped before anybody looked at them for this endpoint. Nobody
    /// can tell how many events it was owed in them.
    pub lost_records: u64,
}

impl Totals {
    /// What is owed and not settled.
    #[must_use]
    pub fn pending(&self) -> u64 {
        self.acknowledged.saturating_sub(self.delivered + self.parked + self.expired)
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.acknowledged += other.acknowledged;
        self.delivered += other.delivered;
        self.parked += other.parked;
        self.expired += other.expired;
        self.skipped += other.skipped;
        self.lost_records += other.lost_records;
    }

    pub(crate) fn settle(&mut self, settlement: Settlement) {
        match settlement {
            Settlement::Aside => {}
            Settlement::Delivered => self.delivered += 1,
            Settlement::Parked => self.parked += 1,
            Settlement::Expired => self.expired += 1,
            Settlement::Skipped => {
                self.expired += 1;
                self.skipped += 1;
            }
        }
    }
}

/// How a delivery stopped standing in the way of its room and of the cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settlement {
    Delivered,
    /// Lives on among the exceptions, still pending.
    Aside,
    Parked,
    Expired,
    Skipped,
}

/// What the shell should do after it told the engine something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wakes {
    /// Attempts that could start now: wake as many senders.
    pub ready: usize,
    /// This shard has room for more deliveries again, or its lanes have something to read: wake its readers.
    pub space: Option<u16>,
    /// The time of the next tick may have come nearer, or a checkpoint is due.
    pub keeper: bool,
}
