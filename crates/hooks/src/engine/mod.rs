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
mod attempts;
mod checkpoint;
mod count;
mod detach;
mod health;
mod intake;
mod lane;
mod order;
mod rooms;
mod share;
mod single;
mod switches;
mod types;
mod window;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
};

use bytes::Bytes;

pub use checkpoint::{Checkpoint, ShardStart};
pub use detach::LaneWork;
pub use single::{AsideView, Listed};
pub use types::{Content, DeliveryId, EventPos, Failed, Job, Limits, Owed, Policy, Settlement, Totals, Verdict, Wakes};

use self::{asides::Asides, health::Health, rooms::Rooms, types::Ticket, window::Window};

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
    /// The same, of rooms with lanes.
    ready_apart: BinaryHeap<Reverse<(u64, Ticket)>>,
    /// Whose turn it was, when both had something.
    lanes_first: bool,
    timers: BinaryHeap<Reverse<(u64, Ticket)>>,
    /// Failed deliveries that hold their room: began to fail (active time), shard, ordinal.
    held: BTreeSet<(u64, u16, u64)>,
    in_flight: usize,
    /// Milliseconds spent paused, and since when the present pause lasts.
    paused_ms: u64,
    paused_since: Option<u64>,
    /// When the endpoint last acknowledged anything (active time).
    answered_at: u64,
    /// Rows to write with the next checkpoint, by shard; the newest value of each key.
    rows: Vec<BTreeMap<Bytes, Option<Bytes>>>,
    /// Rows of the checkpoint that may still be on its way to the store.
    writing: Vec<BTreeMap<Bytes, Option<Bytes>>>,
    /// Whether the store may hold a row about lanes, by shard.
    lanes_written: Vec<bool>,
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
    /// Rooms off the main path, because they are sent more than the endpoint takes in order.
    pub detached_rooms: usize,
    pub open: usize,
    pub bytes: usize,
    pub span: usize,
    /// When the oldest pending event happened.
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

impl Engine {
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
            detached_rooms: self.windows.iter().map(|window| window.lanes.len()).sum(),
            open: self.windows.iter().map(Window::open).sum(),
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
        Wakes { ready: self.startable(), space: None, keeper: true }
    }
}
