//! Sending again what was sent, or parked, before: to its endpoint or to another URL, at a limited rate, beside live
//! delivery.

use std::{num::NonZeroU32, time::Duration};

use bytes::Bytes;
use roomhook_log::{LogId, Lsn, ReadError};
use roomhook_room::{MsgSeq, RoomKey};
use tokio::time::Instant;

use crate::{
    engine::{Content, DeliveryId, Job},
    handle::{Handle, HandleError},
    http::Channel,
    plan::{self, Command},
    sender,
    settings::{Destination, Settings},
    shared::{Outcome, Shared},
    start::first_at,
    supervisor::EndpointName,
    trail::Attempt,
};

/// Tries per event of a replay, a second apart.
const TRIES: u32 = 3;
const TRY_WAIT: Duration = Duration::from_secs(1);
/// Failures reported by name.
const FAILURES_KEPT: usize = 100;

/// What to send again.
#[derive(Clone, Debug)]
pub enum What {
    One(DeliveryId),
    /// Messages `from..=to` of a room.
    Room {
        room: RoomKey,
        from: MsgSeq,
        to: MsgSeq,
    },
    /// Everything owed from one time to another (Unix milliseconds, inclusive).
    Time {
        from: u64,
        to: u64,
    },
    /// All parked ones. To their own endpoint they get a second life with all their retries.
    Parked,
}

/// A replay.
#[derive(Clone, Debug)]
pub struct Replay {
    pub what: What,
    /// Another URL than the endpoint's own, with the same secrets and certificates.
    pub to: Option<String>,
    pub per_s: NonZeroU32,
}

/// What came of it so far, or in the end.
#[derive(Clone, Debug, Default)]
pub struct Replayed {
    pub acknowledged: u64,
    pub failed: u64,
    /// Not in the log any more.
    pub gone: u64,
    /// Parked ones that were handed back to live delivery.
    pub requeued: u64,
    /// The last attempts of what failed, the first hundred.
    pub failures: Vec<Attempt>,
}

struct Run<'a> {
    handle: &'a Handle,
    shared: &'a Shared,
    settings: &'a Settings,
    elsewhere: Option<Destination>,
    channel: Box<dyn Channel>,
    pace: Pace,
    done: Replayed,
    progress: &'a mut (dyn FnMut(&Replayed) + Send),
}

impl Handle {
    /// Runs a replay to its end, telling how it goes. Live delivery goes on meanwhile.
    ///
    /// # Errors
    /// When the endpoint, the URL or the range is not there, or the log cannot be read. Cancel safe: dropping it stops it.
    pub async fn replay(
        &self,
        name: &EndpointName,
        replay: &Replay,
        progress: &mut (dyn FnMut(&Replayed) + Send),
    ) -> Result<Replayed, HandleError> {
        let shared = self.shared(name)?;
        let settings = shared.settings.load_full();
        let elsewhere = replay.to.as_deref().map(|url| Destination::new(url, &settings.endpoint, &self.world.roots));
        let elsewhere = elsewhere.transpose().map_err(HandleError::Url)?;
        let mut run = Run {
            handle: self,
            shared: &shared,
            settings: &settings,
            elsewhere,
            channel: self.world.transport.channel(),
            pace: Pace::new(replay.per_s),
            done: Replayed::default(),
            progress,
        };
        match &replay.what {
            What::One(id) => run.one(*id).await?,
            What::Room { room, from, to } => run.room(room, *from, *to).await?,
            What::Time { from, to } => run.time(name, *from, *to).await?,
            What::Parked => run.parked(name).await?,
        }
        Ok(run.done)
    }

    /// Sends one event that never happened (`Roomhook.CallbackTest`), to see whether the endpoint is there and agrees about secrets.
    ///
    /// # Errors
    /// When there is no such endpoint. Cancel safe.
    pub async fn test(&self, name: &EndpointName) -> Result<Attempt, HandleError> {
        let settings = self.shared(name)?.settings.load_full();
        let now = self.world.wall();
        let body = format!(r#"{{"CallbackCommand":"{}","EventTime":{now}}}"#, Command::Test.word());
        let content = Content { command: Command::Test, origin: None, body: Bytes::from(body) };
        let id = DeliveryId { shard: 0, pos: crate::engine::EventPos { lsn: Lsn(0), index: 0 } };
        let job = Job { content: Some(content), ..Job::outside(id, Bytes::new(), 0, now, 1) };
        let mut channel = self.world.transport.channel();
        match sender::attempt(&self.world, &settings, channel.as_mut(), &job, None).await {
            Outcome::Answered(report) => Ok(Attempt::of(&job, &report, self.world.wall())),
            Outcome::Gone | Outcome::Untried => Err(HandleError::NoEvent),
        }
    }
}

impl Run<'_> {
    async fn one(&mut self, id: DeliveryId) -> Result<(), HandleError> {
        let (world, log) = (&self.handle.world, LogId(id.shard));
        // Reading what is still to come would wait for it, and logs beside the shards' hold no events.
        if id.shard >= world.shards || id.pos.lsn >= world.log.bounds(log).await?.next {
            return Err(HandleError::NoEvent);
        }
        let batch = match world.log.read(log, id.pos.lsn)?.next_batch().await {
            Err(ReadError::Trimmed { .. }) => return Err(HandleError::NoEvent),
            batch => batch?,
        };
        let record = batch.first().filter(|record| record.lsn == id.pos.lsn).ok_or(HandleError::NoEvent)?;
        let own_app = record.key.0.starts_with(&self.settings.endpoint.app.0.to_be_bytes());
        if !own_app || plan::content_at(record, id.pos.index, self.settings.style)?.is_none() {
            return Err(HandleError::NoEvent);
        }
        self.send(id, record.key.0.clone(), 0, record.at_ms).await;
        Ok(())
    }

    async fn room(&mut self, room: &RoomKey, from: MsgSeq, to: MsgSeq) -> Result<(), HandleError> {
        if room.app != self.settings.endpoint.app {
            return Err(HandleError::NoEvent);
        }
        for (shard, record, index, seq) in self.handle.room_messages(room, from, to).await? {
            let pos = crate::engine::EventPos { lsn: record.lsn, index };
            self.send(DeliveryId { shard, pos }, record.key.0.clone(), seq, record.at_ms).await;
        }
        Ok(())
    }

    async fn time(&mut self, name: &EndpointName, from: u64, to: u64) -> Result<(), HandleError> {
        let world = &self.handle.world;
        for shard in 0..world.shards {
            let log = LogId(shard);
            let mut next = first_at(world.log.as_ref(), log, from).await?;
            // What is appended from now on is none of this replay's business.
            let end = world.log.bounds(log).await?.next;
            while next < end {
                let batch = match world.log.read(log, next)?.next_batch().await {
                    Err(ReadError::Trimmed { first, .. }) => {
                        next = first;
                        continue;
                    }
                    batch => batch?,
                };
                for record in batch.iter().take_while(|record| record.lsn < end) {
                    next = record.lsn.next();
                    if record.at_ms > to {
                        next = end;
                        break;
                    }
                    for owed in
                        plan::owed(record, name.app.0, &self.settings.switches, self.settings.style, plan::afresh)?
                    {
                        self.send(DeliveryId { shard, pos: owed.pos }, owed.room, owed.seq, owed.at).await;
                    }
                }
            }
        }
        Ok(())
    }

    async fn parked(&mut self, name: &EndpointName) -> Result<(), HandleError> {
        let mut after = None;
        loop {
            let page = self.handle.parked(name, after, 256).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.id);
            for parked in page {
                if self.elsewhere.is_some() {
                    self.send(parked.id, parked.row.room, parked.row.seq, parked.row.at).await;
                    continue;
                }
                self.pace.wait().await;
                // One that somebody else skipped or retried meanwhile is no error.
                if self.handle.retry(name, parked.id).await.is_ok() {
                    self.done.requeued += 1;
                }
                (self.progress)(&self.done);
            }
        }
    }

    async fn send(&mut self, id: DeliveryId, room: Bytes, seq: u64, at: u64) {
        for attempt in 1..=TRIES {
            self.pace.wait().await;
            let job = Job::outside(id, room.clone(), seq, at, attempt);
            let elsewhere = self.elsewhere.as_ref();
            let outcome =
                sender::attempt(&self.handle.world, self.settings, self.channel.as_mut(), &job, elsewhere).await;
            let Outcome::Answered(report) = outcome else {
                self.done.gone += 1;
                break;
            };
            let now = self.handle.world.wall();
            let attempted = Attempt::of(&job, &report, now);
            self.shared.core().trail.record(attempted.clone(), !report.is_acknowledged());
            if report.is_acknowledged() {
                self.done.acknowledged += 1;
                break;
            }
            if attempt == TRIES {
                self.done.failed += 1;
                if self.done.failures.len() < FAILURES_KEPT {
                    self.done.failures.push(attempted);
                }
            } else {
                tokio::time::sleep(TRY_WAIT).await;
            }
        }
        (self.progress)(&self.done);
    }
}

/// Spaces events evenly.
struct Pace {
    every: Duration,
    next: Instant,
}

impl Pace {
    fn new(per_s: NonZeroU32) -> Self {
        Self { every: Duration::from_secs(1) / per_s.get(), next: Instant::now() }
    }

    async fn wait(&mut self) {
        // Timers have a resolution of a millisecond, so a fast pace goes in small bursts.
        if self.next > Instant::now() + Duration::from_millis(1) {
            tokio::time::sleep_until(self.next).await;
        }
        self.next = self.next.max(Instant::now() - Duration::from_millis(20)) + self.every;
    }
}
