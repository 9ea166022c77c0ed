//! The JSON that tells of running webhooks: states, attempts, replays, trails, pulled events.

use super::{
    schema::{matches, object, range, words},
    settings::ROOM,
};

words! {
    /// How an endpoint is doing.
    pub enum Mode {
        Running = "running",
        /// sends what waited while it was away
        CatchingUp = "catching_up",
        /// it failed as a whole; single probes go on
        Paused = "paused",
        /// nothing is sent until a person resumes it
        PausedByHand = "paused_by_hand",
        /// configured without URL; nothing is owed
        NoUrl = "no_url",
    }
}

object! { answer
    /// How an endpoint is doing. `acknowledged = delivered + pending + parked + expired`, at any moment.
    pub struct EndpointState {
        pub mode: Mode,
        /// Since when it is paused for failing, Unix milliseconds.
        pub paused_since: Option<u64>,
        /// Why it is not running as it should.
        pub reason: Option<String>,
        /// Events owed when they were appended.
        pub acknowledged: u64,
        pub delivered: u64,
        /// Owed and not settled: the lag in events.
        pub pending: u64,
        /// Used up their retries and wait for a person.
        pub parked: u64,
        /// Given up: cut off by retention, or skipped.
        pub expired: u64,
        /// Of the expired: skipped by policy or by a person.
        pub skipped: u64,
        /// Beside these: records of all apps that retention dropped before anybody looked what was owed of them.
        pub lost_records: u64,
        /// Of the pending: failing on their own, off the path of their room.
        pub set_aside: u64,
        pub in_flight: u64,
        /// Age of the oldest pending event.
        pub lag_seconds: f64,
        /// When the next probe is due, Unix milliseconds.
        pub next_probe_at: Option<u64>,
        pub last_failure: Option<Attempt>,
    }
}

object! { answer
    /// One HTTP request of a delivery.
    pub struct Attempt {
        /// Names the delivery.
        pub delivery: String,
        pub room: String,
        /// `MsgSeq` of a message, 0 for other events.
        pub msg_seq: u64,
        /// When the event happened, Unix milliseconds.
        pub event_at: u64,
        /// When the attempt ended, Unix milliseconds.
        pub ended_at: u64,
        /// From 1.
        pub attempt: u32,
        /// HTTP status; null when there was no full answer.
        pub status: Option<u16>,
        pub problem: Option<String>,
        pub timings: Timings,
        /// The first bytes of the answer.
        pub answer: String,
        /// A single try at a paused endpoint.
        pub probe: bool,
    }
}

object! { answer
    /// How long each part took, in milliseconds. Zero for what a kept connection spared.
    pub struct Timings {
        pub dns_ms: f64,
        pub connect_ms: f64,
        pub tls_ms: f64,
        pub first_byte_ms: f64,
        pub total_ms: f64,
    }
}

object! { answer
    /// A delivery that is parked or set aside.
    pub struct Held {
        /// Names the delivery.
        pub delivery: String,
        pub room: String,
        /// `MsgSeq` of a message, 0 for other events.
        pub msg_seq: u64,
        /// When the event happened, Unix milliseconds.
        pub event_at: u64,
        pub attempts: u32,
        /// HTTP status of the last attempt; 0 when there was none.
        pub last_status: u16,
        /// When it is tried again, Unix milliseconds; null: not by itself.
        pub next_try_at: Option<u64>,
    }
}

object! { both
    /// A room's messages, by `MsgSeq`, both ends included.
    pub struct RoomRange {
        pub room: String where matches(ROOM),
        pub from: u64 where range(1, u64::MAX),
        pub to: u64,
    }
}

object! { both
    /// A range of time, Unix milliseconds, both ends included.
    pub struct TimeRange {
        pub from_ms: u64,
        pub to_ms: u64,
    }
}

object! { answer
    /// What a replay sends; the others are null.
    pub struct Replayable {
        pub delivery: Option<String>,
        pub messages: Option<RoomRange>,
        pub time: Option<TimeRange>,
        pub parked: Option<bool>,
    }
}

words! {
    pub enum ReplayStatus {
        /// also when it waits: `reason` says for what
        Running = "running",
        /// all was sent, or failed one by one
        Done = "done",
        /// it could not go on
        Broken = "broken",
        /// by a person
        Stopped = "stopped",
    }
}

object! { answer
    /// A replay. It goes on after a restart of the server; after a crash it sends its last 256 events once more, at most.
    pub struct ReplayState {
        pub replay: String,
        pub app: u32,
        pub endpoint: String,
        pub what: Replayable,
        /// Another URL than the endpoint's own.
        pub to: Option<String>,
        pub per_s: u32,
        pub status: ReplayStatus,
        /// Why it could not go on; while it runs, why it sends nothing at the moment.
        pub reason: Option<String>,
        /// Unix milliseconds.
        pub started_at: u64,
        /// Unix milliseconds.
        pub ended_at: Option<u64>,
        /// Restarts of the server that it outlived.
        pub resumed: u32,
        pub progress: Replayed,
    }
}

object! { answer
    /// What came of a replay so far.
    pub struct Replayed {
        pub acknowledged: u64,
        /// Three tries, a second apart, and no 2xx.
        pub failed: u64,
        /// Not in the log any more.
        pub gone: u64,
        /// In the range, but nothing that the endpoint is to get: switched off, filtered, or forbidden by its sender.
        pub not_owed: u64,
        /// Parked ones handed back to live delivery.
        pub requeued: u64,
        /// The last attempts of what failed, the first hundred. Empty in lists.
        pub failures: Vec<Attempt>,
    }
}

words! {
    /// Where a delivery stands.
    pub enum DeliveryState {
        /// this endpoint is not owed the event
        NotOwed = "not_owed",
        /// waits in the log until its turn comes
        Backlog = "backlog",
        /// loaded, waits for its turn or its next try
        Pending = "pending",
        InFlight = "in_flight",
        /// fails on its own, off the path of its room
        SetAside = "set_aside",
        Delivered = "delivered",
        Parked = "parked",
        Expired = "expired",
        Skipped = "skipped",
        /// before the cursor: delivered, or given up, too long ago to know which
        Settled = "settled",
    }
}

object! { answer
    /// All that is known about one message on its way to endpoints.
    pub struct MessageTrail {
        /// Names the message's delivery to any endpoint.
        pub delivery: String,
        /// Unix milliseconds.
        pub appended_at: u64,
        pub endpoints: Vec<EndpointTrail>,
    }
}

object! { answer
    /// One endpoint's part in it.
    pub struct EndpointTrail {
        pub endpoint: String,
        pub state: DeliveryState,
        /// Why it is not owed.
        pub why_not: Option<String>,
        pub attempts_made: u32,
        /// Unix milliseconds; null: none is planned.
        pub next_try_at: Option<u64>,
        /// Those still remembered, oldest first.
        pub attempts: Vec<Attempt>,
    }
}

object! { answer
    /// Events in the order of each room, and where to go on. Whoever passes each page's `next` to the next call gets every event once.
    pub struct EventPage {
        pub events: Vec<PulledEvent>,
        /// Pass it as `after` to get what follows.
        pub next: String,
        /// True: that was all when it was read; ask again later. False: there may be more, ask again now, even if `events` is
        /// empty: one answer looks at 20,000 records at most.
        pub at_end: bool,
    }
}

object! { answer
    /// An event as its webhook carries it.
    pub struct PulledEvent {
        /// Names the delivery.
        pub delivery: String,
        /// `CallbackCommand`.
        pub command: String,
        pub room: String,
        /// `MsgSeq` of a message, 0 for other events.
        pub msg_seq: u64,
        /// Unix milliseconds.
        pub event_at: u64,
        /// The body of the POST, as a string: byte for byte what would be signed.
        pub body: String,
    }
}

object! { answer
    /// A question of the before-send gate.
    pub struct Question {
        pub room: String,
        pub msg_id: String,
        /// Unix milliseconds.
        pub asked_at: u64,
        pub took_ms: f64,
        /// `allow`, `replace`, `discard`, `refuse`, `undocumented` or `failed`.
        pub verdict: String,
        /// The code for the sender; 0: none.
        pub code: i32,
        pub problem: Option<String>,
        /// Asked in shadow mode: the message went on as it was.
        pub shadow: bool,
    }
}
