//! A feed follows one shard's tail for the clients of this process: it encodes what its rooms' members are to get, keeps
//! the newest messages for those that come back, and counts who is there.
//!
//! One task takes records, joins and leaves in one order, and passes the consequences to the lanes in that order. That is
//! why there is no seam: a member's position is where the feed was when it took the join.

mod about;
mod ask;
mod history;
mod presence;
mod ring;
mod room;

use std::{sync::Arc, time::Duration};

use ahash::AHashMap;
use bytes::Bytes;
use roomhook_centrifuge::{Error, codes};
use roomhook_room::{RoomKey, decode_record};
use roomhook_shard::{Budget, LogId, Lsn, ReadError, Record, RecordStream, RoomView, Router};
use tokio::{
    sync::{Semaphore, mpsc, watch},
    task::JoinSet,
    time::Instant,
};

use super::{
    lane::{Job, Load, Messages, RoomNo},
    telemetry::{Part, RealtimeMetrics},
};
use room::Room;

pub(crate) use ask::{Ask, Feeds, Waiter};
use ring::Held;
pub(crate) use ring::Limits as RingLimits;

/// What may wait for a feed; a connection has at most one question and a few farewells underway.
pub(crate) const ASKS_MAX: usize = 8192;
/// Asks taken before the tail gets its turn again.
const ASKS_PER_TURN: usize = 256;
/// Records taken before lanes get what they amount to.
const RECORDS_PER_TURN: usize = 256;
/// How often idle rooms are looked for.
const TIDY_EVERY: Duration = Duration::from_secs(5);
/// How long to wait after the tail failed.
const TAIL_RETRY: Duration = Duration::from_millis(200);

/// What all feeds share.
#[derive(Debug)]
pub(crate) struct Deps {
    pub(crate) router: Router,
    pub(crate) lanes: Vec<mpsc::Sender<Load>>,
    /// What is on its way to lanes. Feeds wait for it.
    pub(crate) queued: Budget,
    /// Events that wait for rooms to be loaded. Another budget: a feed that waits for the one above cannot give back what it
    /// holds of this one.
    pub(crate) early: Budget,
    pub(crate) settings: Settings,
    /// Reads of the log underway.
    pub(crate) reads: Arc<Semaphore>,
    pub(crate) metrics: RealtimeMetrics,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) ring: RingLimits,
    /// Bytes that the rings of one feed hold together.
    pub(crate) rings_bytes_max: usize,
    /// How long a room without members stays warm, for those that come back.
    pub(crate) linger: Duration,
    /// Rooms with more members answer `presence` with 108.
    pub(crate) presence_members_max: usize,
    /// Rooms with more members do not tell who comes and goes.
    pub(crate) join_leave_members_max: usize,
}

/// What a read that the feed started came to.
enum Loaded {
    View {
        key: Bytes,
        no: RoomNo,
        view: Box<Result<Option<RoomView>, Error>>,
    },
    Older {
        key: Bytes,
        no: RoomNo,
        messages: Vec<Arc<super::encode::Encoded>>,
    },
    /// A history reply, already sent to who asked.
    Answered,
}

pub(crate) struct Feed {
    shard: LogId,
    deps: Arc<Deps>,
    asks: mpsc::Receiver<Ask>,
    /// Rooms in memory by their log key.
    rooms: AHashMap<Bytes, Room>,
    loads: JoinSet<Loaded>,
    /// Everything before this was taken.
    position: Lsn,
    /// Rooms with messages that the lanes do not have yet.
    touched: Vec<Bytes>,
    rooms_made: u64,
    held: Arc<Held>,
    backlog: Part,
}

impl Feed {
    /// Ready to follow the shard's tail from where it ends now.
    pub(crate) async fn new(shard: LogId, deps: Arc<Deps>, asks: mpsc::Receiver<Ask>) -> Result<Self, ReadError> {
        let position = deps.router.tail().bounds(shard).await?.next;
        let held = Arc::new(Held::new(deps.metrics.ring_bytes.clone()));
        let backlog = Part::of(&deps.metrics.feed_backlog);
        Ok(Self {
            shard,
            deps,
            asks,
            rooms: AHashMap::new(),
            loads: JoinSet::new(),
            position,
            touched: Vec::new(),
            rooms_made: 0,
            held,
            backlog,
        })
    }

    /// Works until told to stop.
    pub(crate) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        while !*stop.borrow() {
            let Err(error) = self.follow(&mut stop).await else { return };
            tracing::error!(shard = %self.shard, %error, "the tail failed; members are asked to resume");
            self.lose_track().await;
            tokio::time::sleep(TAIL_RETRY).await;
            match self.deps.router.tail().bounds(self.shard).await {
                Ok(bounds) => self.position = bounds.next,
                Err(error) => tracing::error!(shard = %self.shard, %error, "the tail cannot be found again yet"),
            }
        }
    }

    async fn follow(&mut self, stop: &mut watch::Receiver<bool>) -> Result<(), ReadError> {
        let mut tail: Box<dyn RecordStream> = self.deps.router.tail().read(self.shard, self.position)?;
        let mut tidy = tokio::time::interval(TIDY_EVERY);
        loop {
            // All of these are cancel safe: whatever was not taken is still there in the next turn.
            tokio::select! {
                _ = stop.changed() => return Ok(()),
                batch = tail.next_batch() => {
                    let batch = batch?;
                    for records in batch.chunks(RECORDS_PER_TURN) {
                        self.take_records(records).await;
                    }
                }
                Some(ask) = self.asks.recv() => {
                    self.backlog.set(self.asks.len());
                    self.take_ask(ask).await;
                    for _ in 1..ASKS_PER_TURN {
                        let Ok(ask) = self.asks.try_recv() else { break };
                        self.take_ask(ask).await;
                    }
                    self.backlog.set(self.asks.len());
                }
                Some(loaded) = self.loads.join_next(), if !self.loads.is_empty() => match loaded {
                    Ok(loaded) => self.take_loaded(loaded).await,
                    Err(error) => tracing::error!(%error, "a read for a room's members panicked"),
                },
                _ = tidy.tick() => self.tidy(Instant::now()),
            }
            self.relieve();
        }
    }

    // === the tail ===

    async fn take_records(&mut self, records: &[Record]) {
        for record in records {
            self.position = record.lsn.next();
            // Most rooms have no members in this process: their records are not even decoded.
            let Some(room) = self.rooms.get_mut(&record.key.0) else { continue };
            let events = match decode_record(&record.payload) {
                Ok(events) => events,
                Err(error) => {
                    tracing::error!(shard = %self.shard, lsn = %record.lsn, %error, "a record cannot be understood");
                    continue;
                }
            };
            for event in events {
                match room.take(record.lsn, event, &self.deps) {
                    room::Effect::None => {}
                    room::Effect::Unsent => self.touched.push(record.key.0.clone()),
                    room::Effect::Ended(code) => {
                        self.flush().await;
                        self.end(&record.key.0, code).await;
                        break;
                    }
                }
            }
        }
        self.flush().await;
    }

    /// Hands new messages to the lanes that have members of their rooms.
    async fn flush(&mut self) {
        let mut per_lane: Vec<Vec<Messages>> = self.deps.lanes.iter().map(|_| Vec::new()).collect();
        // Counted once, however many lanes share it.
        let mut weight = 0;
        for key in self.touched.drain(..) {
            let Some(room) = self.rooms.get_mut(&key) else { continue };
            let (room_no, messages) = (room.no(), Arc::<[_]>::from(room.take_unsent()));
            if !room.members.is_empty() {
                weight += messages.iter().map(|message| message.size()).sum::<usize>();
            }
            for (lane, jobs) in per_lane.iter_mut().enumerate() {
                if room.has_members_on(lane) {
                    jobs.push(Messages { room: room_no, messages: Arc::clone(&messages) });
                }
            }
        }
        if weight == 0 {
            return;
        }
        // One part for all of it: a second one could wait for the first, which no lane has yet.
        let charge = Arc::new(self.deps.queued.charge(weight).await);
        for (lane, jobs) in per_lane.into_iter().enumerate() {
            if !jobs.is_empty() {
                self.hand_over(lane, Load { job: Job::Messages(jobs), charge: Arc::clone(&charge) }).await;
            }
        }
    }

    async fn to_lane(&self, lane: usize, job: Job) {
        let charge = Arc::new(self.deps.queued.charge(job.weight()).await);
        self.hand_over(lane, Load { job, charge }).await;
    }

    async fn hand_over(&self, lane: usize, load: Load) {
        // A lane is gone only when the server stops.
        if let Some(lane) = self.deps.lanes.get(lane) {
            let _ = lane.send(load).await;
        }
    }

    /// A room ends for its members.
    async fn end(&mut self, key: &Bytes, code: codes::UnsubscribeCode) {
        let Some(mut room) = self.rooms.remove(key) else { return };
        let frames = room.farewell(code);
        // First the connections, then the clients: one that comes back at once must not be told that it is in already.
        room.dismiss(&self.deps.metrics);
        for lane in 0..self.deps.lanes.len() {
            if room.has_members_on(lane) {
                self.to_lane(lane, Job::End { room: room.no(), frames: frames.clone() }).await;
            }
        }
    }

    /// Records were missed: nothing in memory can be trusted. Members resume, and are served from the log.
    async fn lose_track(&mut self) {
        let keys: Vec<Bytes> = self.rooms.keys().cloned().collect();
        for key in keys {
            self.end(&key, codes::unsubscribe::INSUFFICIENT_STATE).await;
        }
    }

    /// Rooms that nobody came back to leave memory.
    fn tidy(&mut self, now: Instant) {
        let (linger, metrics) = (self.deps.settings.linger, &self.deps.metrics);
        self.rooms.retain(|_, room| {
            let stays = room.is_needed(now, linger);
            if !stays {
                room.forgotten(metrics);
            }
            stays
        });
    }

    /// When the rings hold too much together, those that nobody spoke in for longest are emptied, an eighth of the limit at
    /// once: looking through all rooms must not come with each message.
    fn relieve(&mut self) {
        let max = self.deps.settings.rings_bytes_max;
        if self.held.bytes() <= max {
            return;
        }
        let mut rings: Vec<_> = self.rooms.values_mut().filter_map(Room::spare_ring).collect();
        rings.sort_unstable_by_key(|ring| ring.grown_at());
        for ring in rings {
            if self.held.bytes() <= max - max / 8 {
                return;
            }
            ring.clear();
            self.deps.metrics.rings_emptied.inc();
        }
    }

    /// The room, made and being loaded if it was not in memory.
    fn room_mut(&mut self, key: &RoomKey) -> &mut Room {
        let log_key = key.to_bytes();
        let (deps, shard) = (&self.deps, self.shard);
        let (made, loads) = (&mut self.rooms_made, &mut self.loads);
        self.rooms.entry(log_key.clone()).or_insert_with(|| {
            *made += 1;
            let no = RoomNo(*made << 16 | u64::from(shard.0));
            let (router, room) = (deps.router.clone(), key.clone());
            // Asked after the room is in `rooms`: whatever the view does not show yet will come by the tail.
            loads.spawn(async move {
                let view = router.view(room).await.map_err(|error| history::unavailable(&error));
                Loaded::View { key: log_key, no, view: Box::new(view) }
            });
            deps.metrics.rooms.inc();
            Room::loading(no, key.clone(), deps.lanes.len(), deps.early.nothing())
        })
    }
}
