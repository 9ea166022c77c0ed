//! A lane owns the fan-out to a slice of the connections: which of them is in which room, and every write of a room's
//! messages to their sockets.
//!
//! Jobs come in order from the feeds, so that a member's subscribe reply is sent before the first message after it and no
//! message is missed or repeated. Whatever waits is taken at once: messages of one room become one write per socket, so
//! a lane that falls behind gets more done per write.

use std::{collections::hash_map::Entry, sync::Arc, time::Duration};

use ahash::AHashMap;
use bytes::Bytes;
use roomhook_shard::Charge;
use tokio::sync::mpsc;

use super::{
    conn::{Conn, ConnId},
    encode::{Encoded, Frames},
    outbox::{Fate, Kind},
    telemetry::{Part, RealtimeMetrics},
};

/// A room as feeds and lanes call it while it is in memory: never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RoomNo(pub(crate) u64);

/// What a feed asks of a lane.
#[derive(Debug)]
pub(crate) enum Job {
    /// Send the reply, then count the connection in.
    Join { room: RoomNo, conn: Arc<Conn>, reply: Bytes, join_leave: bool },
    /// Count the connection out; the frames go to it if it was a member.
    Leave { room: RoomNo, conn: ConnId, farewell: Option<Frames> },
    /// New messages, rooms in any order, each room's in its own.
    Messages(Vec<Messages>),
    /// To all members or, if so, to those only that want to see others come and go.
    Whisper { room: RoomNo, frames: Frames, watchers_only: bool },
    /// The room ends for everybody: say so, and forget it.
    End { room: RoomNo, frames: Frames },
}

impl Job {
    /// What it keeps in memory until the lane is done with it, in bytes. Messages are shared by lanes, and weighed by the
    /// feed.
    pub(crate) fn weight(&self) -> usize {
        let bytes = match self {
            Self::Join { reply, .. } => reply.len(),
            Self::Leave { farewell, .. } => farewell.as_ref().map_or(0, Frames::size),
            Self::Whisper { frames, .. } | Self::End { frames, .. } => frames.size(),
            Self::Messages(_) => 0,
        };
        size_of::<Load>() + bytes
    }
}

/// A job on its way to a lane, with its part of what may be on such ways. Jobs that share their bytes share that part.
#[derive(Debug)]
pub(crate) struct Load {
    pub(crate) job: Job,
    pub(crate) charge: Arc<Charge>,
}

/// New messages of one room, in order.
#[derive(Clone, Debug)]
pub(crate) struct Messages {
    pub(crate) room: RoomNo,
    pub(crate) messages: Arc<[Arc<Encoded>]>,
}

/// Jobs that may wait for a lane. A feed waits when there are more, or when all that is on its way to lanes weighs too much
/// ([`Config::queued_bytes_max`](super::Config::queued_bytes_max)), and falls behind in its log, which is the buffer.
pub(crate) const JOBS_MAX: usize = 1024;

/// Jobs taken before what they amount to is sent.
const JOBS_PER_TURN: usize = 256;

/// Sockets written to before others get their turn on this thread; each costs about 8 µs.
const WRITES_PER_TURN: usize = 64;

#[derive(Debug)]
pub(crate) struct Lane {
    jobs: mpsc::Receiver<Load>,
    /// Of the jobs that were taken and whose messages are not sent yet.
    charges: Vec<Arc<Charge>>,
    rooms: AHashMap<RoomNo, Room>,
    /// Rooms with unsent messages.
    unsent: Vec<RoomNo>,
    /// How long to wait for more after the first job, to save writes.
    delay: Duration,
    backlog: Part,
    metrics: RealtimeMetrics,
}

#[derive(Debug, Default)]
struct Room {
    members: Vec<Member>,
    /// Where each member is in `members`.
    places: AHashMap<ConnId, usize>,
    unsent: Vec<Arc<Encoded>>,
}

#[derive(Debug)]
struct Member {
    conn: Arc<Conn>,
    join_leave: bool,
}

impl Lane {
    pub(crate) fn new(delay: Duration, metrics: RealtimeMetrics) -> (Self, mpsc::Sender<Load>) {
        let (sender, jobs) = mpsc::channel(JOBS_MAX);
        let backlog = Part::of(&metrics.lane_backlog);
        let (rooms, unsent, charges) = (AHashMap::new(), Vec::new(), Vec::new());
        (Self { jobs, charges, rooms, unsent, delay, backlog, metrics }, sender)
    }

    /// Works until all feeds are gone.
    pub(crate) async fn run(mut self) {
        while let Some(load) = self.jobs.recv().await {
            if !self.delay.is_zero() {
                tokio::time::sleep(self.delay).await;
            }
            self.backlog.set(self.jobs.len());
            self.take(load).await;
            for _ in 1..JOBS_PER_TURN {
                let Ok(load) = self.jobs.try_recv() else { break };
                self.take(load).await;
            }
            self.backlog.set(self.jobs.len());
            for room in std::mem::take(&mut self.unsent) {
                self.send_unsent(room).await;
            }
            self.charges.clear();
        }
    }

    async fn take(&mut self, Load { job, charge }: Load) {
        self.charges.push(charge);
        match job {
            Job::Messages(rooms) => {
                for Messages { room: no, messages } in rooms {
                    let Some(room) = self.rooms.get_mut(&no) else { continue };
                    if room.unsent.is_empty() {
                        self.unsent.push(no);
                    }
                    room.unsent.extend(messages.iter().cloned());
                }
            }
            Job::Join { room, conn, reply, join_leave } => {
                // A newcomer's position is after these.
                self.send_unsent(room).await;
                if conn.outbox().send(&reply, Kind::Owed) == Fate::Slow {
                    conn.note_slow();
                }
                self.rooms.entry(room).or_default().add(conn, join_leave);
            }
            Job::Leave { room: no, conn, farewell } => {
                self.send_unsent(no).await;
                let Some(room) = self.rooms.get_mut(&no) else { return };
                if let (Some(member), Some(frames)) = (room.remove(conn), farewell) {
                    member.outbox().send(frames.get(member.form()), Kind::Owed);
                }
                if room.members.is_empty() {
                    self.rooms.remove(&no);
                }
            }
            Job::Whisper { room, frames, watchers_only } => {
                self.send_unsent(room).await;
                let Some(room) = self.rooms.get(&room) else { return };
                let dropped =
                    sweep(&room.members, &frames, Kind::Whisper, |member| !watchers_only || member.join_leave).await;
                self.metrics.whispers_dropped.inc_by(dropped);
            }
            Job::End { room, frames } => {
                self.send_unsent(room).await;
                let Some(room) = self.rooms.remove(&room) else { return };
                sweep(&room.members, &frames, Kind::Owed, |_| true).await;
            }
        }
    }

    async fn send_unsent(&mut self, no: RoomNo) {
        let Some(room) = self.rooms.get_mut(&no) else { return };
        if room.unsent.is_empty() {
            return;
        }
        let messages = std::mem::take(&mut room.unsent);
        let frames = Frames::joined(&messages);
        sweep(&room.members, &frames, Kind::Owed, |_| true).await;
        let deliveries = room.members.len() as u64 * messages.len() as u64;
        self.metrics.deliveries.inc_by(deliveries);
        let bytes: usize = room.members.iter().map(|member| frames.get(member.conn.form()).len()).sum();
        self.metrics.delivered_bytes.inc_by(bytes as u64);
    }
}

/// One write to each member. Returns how many whispers were dropped.
async fn sweep(members: &[Member], frames: &Frames, kind: Kind, wanted: impl Fn(&Member) -> bool) -> u64 {
    let mut dropped = 0;
    for turn in members.chunks(WRITES_PER_TURN) {
        for member in turn.iter().filter(|member| wanted(member)) {
            match member.conn.outbox().send(frames.get(member.conn.form()), kind) {
                Fate::Written | Fate::Queued | Fate::Closed => {}
                Fate::Dropped => dropped += 1,
                Fate::Slow => member.conn.note_slow(),
            }
        }
        if members.len() > WRITES_PER_TURN {
            tokio::task::yield_now().await;
        }
    }
    dropped
}

impl Room {
    fn add(&mut self, conn: Arc<Conn>, join_leave: bool) {
        let place = self.members.len();
        if let Entry::Vacant(vacant) = self.places.entry(conn.id()) {
            vacant.insert(place);
            self.members.push(Member { conn, join_leave });
        }
    }

    fn remove(&mut self, conn: ConnId) -> Option<Arc<Conn>> {
        let place = self.places.remove(&conn).filter(|&place| place < self.members.len())?;
        let member = self.members.swap_remove(place);
        if let Some(moved) = self.members.get(place) {
            self.places.insert(moved.conn.id(), place);
        }
        Some(member.conn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lanes_that_have_done_everything_show_no_backlog() {
        let metrics = RealtimeMetrics::default();
        let mut senders = Vec::new();
        for jobs in [10, 20] {
            let (lane, sender) = Lane::new(Duration::ZERO, metrics.clone());
            for conn in 0..jobs {
                let job = Job::Leave { room: RoomNo(1), conn: ConnId(conn), farewell: None };
                let charge = Arc::new(roomhook_shard::Budget::new(1, Default::default()).nothing());
                sender.send(Load { job, charge }).await.unwrap();
            }
            tokio::spawn(lane.run());
            senders.push(sender);
        }
        // Here all tasks share one thread: whoever runs again has let the lanes run until they had nothing to do.
        while senders.iter().any(|sender| sender.capacity() < JOBS_MAX) {
            tokio::task::yield_now().await;
        }
        assert_eq!(metrics.lane_backlog.get(), 0);
    }
}
