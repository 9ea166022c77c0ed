//! The work of a replay: reads a chunk, sends it at its pace, notes how far it is.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use roomhook_log::{LogId, ReadError, Record};
use roomhook_room::{MsgSeq, RoomKey};
use tokio::time::{Instant, sleep};

use super::{
    FAILURES_KEPT, Place, ReplayStatus, What,
    job::{Job as ReplayJob, Wish},
    pace::Pace,
    whom::{Halt, LOOK_AGAIN, Whom},
};
use crate::{
    endpoint::Endpoints,
    engine::{Content, DeliveryId, Job},
    handle::{Handle, HandleError},
    http::Channel,
    plan, sender,
    settings::{Destination, Settings},
    shared::Outcome,
    start::first_at,
    trail::Attempt,
    walk::RoomWalk,
};

/// Events that a replay sends once more after a crash, at most: it writes where it is before it goes further.
pub const REPEATS_MAX: usize = 256;
/// It writes where it is so often even when it is slow.
const SAVE_EVERY: Duration = Duration::from_secs(1);
/// Tries per event, a second apart.
const TRIES: u32 = 3;
const TRY_WAIT: Duration = Duration::from_secs(1);
/// Between two tries of what our own storage refused.
const STORAGE_WAIT: Duration = Duration::from_secs(1);
/// Records are in order of time but for clock steps; those up to so long are seen through.
const CLOCK_STEP_MS: u64 = 60_000;
/// Parked deliveries read at once.
const PARKED_PAGE: usize = 256;

/// Runs a replay until it ended, or the process does.
pub(super) async fn drive(handle: Handle, endpoints: Endpoints, job: Arc<ReplayJob>) {
    let mut wish = job.wish.subscribe();
    let mut run = Run {
        channel: handle.world.transport.channel(),
        pace: Pace::new(job.plan.replay.per_s),
        whom: Whom { handle: &handle, endpoints: &endpoints, job: &job },
        elsewhere: None,
        unsaved: 0,
        saved: Instant::now(),
    };
    let ended = tokio::select! {
        biased;
        _ = wish.wait_for(|wish| *wish != Wish::GoOn) => None,
        ended = run.finish() => Some(ended),
    };
    let stopped = *job.wish.borrow() == Wish::Stop;
    let (status, reason) = match ended {
        Some(Ok(())) => (ReplayStatus::Done, None),
        Some(Err(halt)) if halt.is_closed() => return,
        Some(Err(halt)) => (ReplayStatus::Broken, Some(halt.to_string())),
        None if stopped => (ReplayStatus::Stopped, None),
        None => (ReplayStatus::Running, None),
    };
    {
        let mut progress = job.progress();
        (progress.status, progress.reason, progress.waiting) = (status, reason, None);
        progress.ended_at = (status != ReplayStatus::Running).then(|| handle.world.wall());
    }
    while let Err(error) = job.save().await {
        tracing::error!(replay = job.number, %error, "cannot write how a replay ended");
        if *job.wish.borrow() == Wish::Rest {
            return;
        }
        sleep(STORAGE_WAIT).await;
    }
    job.ended.send_replace(true);
    tracing::info!(replay = job.number, ?status, "a replay ended, or rests");
}

struct Run<'a> {
    whom: Whom<'a>,
    /// The other URL, and the settings it was made with.
    elsewhere: Option<(Arc<Settings>, Destination)>,
    channel: Box<dyn Channel>,
    pace: Pace,
    /// Events sent since the place was last written, and when that was.
    unsaved: usize,
    saved: Instant,
}

/// Whether an event was sent, and with which outcome, is not for its caller to know; this is one.
struct Again {
    id: DeliveryId,
    room: Bytes,
    seq: u64,
    at: u64,
    /// `None`: to be read from the log.
    content: Option<Content>,
}

impl Run<'_> {
    async fn finish(&mut self) -> Result<(), Halt> {
        loop {
            let ended = match self.whom.job.plan.replay.what.clone() {
                What::One(id) => self.one(id).await,
                What::Room { room, from, to } => self.room(&room, from, to).await,
                What::Time { from, to } => self.time(from, to).await,
                What::Parked => self.parked().await,
            };
            match ended {
                Err(halt) if halt.may_pass() => self.whom.wait(halt.to_string(), STORAGE_WAIT).await,
                ended => return ended,
            }
        }
    }

    async fn one(&mut self, id: DeliveryId) -> Result<(), Halt> {
        let settings = self.whom.endpoint().await?.settings.load_full();
        let (record, content) = match self.whom.handle.find_delivery(&settings, id).await {
            Ok(found) => found,
            Err(HandleError::NoEvent) => {
                self.whom.job.progress().done.gone += 1;
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        let (room, at) = (record.key.0.clone(), record.at_ms);
        self.send(Again { id, room, seq: 0, at, content: Some(content) }).await
    }

    /// Pages of the range are found backwards, keeping only where each begins; then they are sent forwards.
    async fn room(&mut self, room: &RoomKey, from: MsgSeq, to: MsgSeq) -> Result<(), Halt> {
        let world = self.whom.handle.world.clone();
        let from = from.0.max(self.whom.job.progress().place.seq);
        let shard = world.shard_of(room);
        let end = self.whom.end_of(shard).await?;
        world.log.reached(LogId(shard), end).await?;
        let mut walk = RoomWalk::new(world.log.as_ref(), LogId(shard), room, end);
        let (mut pages, mut oldest) = (Vec::new(), None);
        loop {
            let before = walk.before();
            let Some(page) = walk.back().await? else { break };
            let seqs = || page.messages.iter().map(|message| message.seq);
            if seqs().any(|seq| (from..=to.0).contains(&seq)) {
                pages.push(before);
            }
            oldest = seqs().min().or(oldest);
            if seqs().any(|seq| seq <= from) {
                break;
            }
        }
        if self.whom.job.progress().place.seq == 0 {
            // Numbers have no hole: what lies before the oldest that is left was dropped.
            let gone = oldest.map_or(0, |oldest| oldest.min(to.0.saturating_add(1)).saturating_sub(from));
            let mut progress = self.whom.job.progress();
            progress.done.gone += if walk.met_beginning() { 0 } else { gone };
            progress.place = Place { seq: from, ..Place::in_shard(shard) };
        }
        for before in pages.into_iter().rev() {
            let Some(page) = RoomWalk::new(world.log.as_ref(), LogId(shard), room, before).back().await? else {
                continue;
            };
            for message in page.messages.into_iter().rev().filter(|message| (from..=to.0).contains(&message.seq)) {
                self.message(shard, room, &message.record, message.index, message.seq).await?;
            }
        }
        Ok(())
    }

    /// Sends one message of a room's range, if it is anything that the endpoint is to get.
    async fn message(&mut self, shard: u16, room: &RoomKey, record: &Record, index: u32, seq: u64) -> Result<(), Halt> {
        let settings = self.whom.endpoint().await?.settings.load_full();
        let owed = plan::owed(record, room.app.0, &settings.switches, settings.style, plan::afresh)?;
        let next = Place { seq: seq.saturating_add(1), ..Place::in_shard(shard) };
        match owed.into_iter().find(|owed| owed.pos.index == index) {
            Some(owed) => {
                let id = DeliveryId { shard, pos: owed.pos };
                let content = Some(owed.content);
                self.send(Again { id, room: owed.room, seq, at: owed.at, content }).await?;
            }
            None => self.whom.job.progress().done.not_owed += 1,
        }
        self.reached(next).await;
        Ok(())
    }

    async fn time(&mut self, from: u64, to: u64) -> Result<(), Halt> {
        let world = self.whom.handle.world.clone();
        let begun = self.whom.job.progress().place;
        for shard in begun.shard..world.shards {
            let log = LogId(shard);
            let mut place = match begun {
                begun if begun.shard == shard && begun.lsn.0 > 0 => begun,
                _ => Place::at(shard, first_at(world.log.as_ref(), log, from.saturating_sub(CLOCK_STEP_MS)).await?),
            };
            let end = self.whom.end_of(shard).await?;
            while place.lsn < end {
                let batch = match world.log.read(log, place.lsn)?.next_batch().await {
                    Err(ReadError::Trimmed { first, .. }) => {
                        place = Place::at(shard, first);
                        continue;
                    }
                    batch => batch?,
                };
                for record in batch.iter().take_while(|record| record.lsn < end) {
                    if record.at_ms > to.saturating_add(CLOCK_STEP_MS) {
                        place.lsn = end;
                        break;
                    }
                    if (from..=to).contains(&record.at_ms) {
                        self.record(shard, record, place).await?;
                    }
                    place = Place::at(shard, record.lsn.next());
                }
                self.passed(place).await;
                // Where nothing is owed nothing is waited for; others get their turn all the same.
                tokio::task::yield_now().await;
            }
            self.passed(Place::in_shard(shard.saturating_add(1))).await;
        }
        Ok(())
    }

    /// Sends what a record owes, from `place` on.
    async fn record(&mut self, shard: u16, record: &Record, place: Place) -> Result<(), Halt> {
        let settings = self.whom.endpoint().await?.settings.load_full();
        let app = self.whom.job.plan.endpoint.app.0;
        for owed in plan::owed(record, app, &settings.switches, settings.style, plan::afresh)? {
            let id = DeliveryId { shard, pos: owed.pos };
            let is_done = place.lsn == record.lsn && owed.pos.index < place.index;
            if !is_done {
                let content = Some(owed.content);
                self.send(Again { id, room: owed.room, seq: owed.seq, at: owed.at, content }).await?;
                self.reached(Place::after(id)).await;
            }
        }
        Ok(())
    }

    async fn parked(&mut self) -> Result<(), Halt> {
        let name = &self.whom.job.plan.endpoint;
        let sends = self.whom.job.plan.replay.to.is_some();
        // What was handed back may not have been written by the engine when the process ended: those still parked get
        // their second life then.
        let mut after = self.whom.job.progress().place.last_done().filter(|_| sends);
        loop {
            self.whom.endpoint().await?;
            let page = self.whom.handle.parked(name, after, PARKED_PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.id);
            for parked in page {
                let (id, row) = (parked.id, parked.row);
                if sends {
                    self.send(Again { id, room: row.room, seq: row.seq, at: row.at, content: None }).await?;
                } else {
                    self.requeue(id).await?;
                }
                self.reached(Place::after(id)).await;
            }
        }
    }

    async fn requeue(&mut self, id: DeliveryId) -> Result<(), Halt> {
        self.pace.wait().await;
        loop {
            self.whom.endpoint().await?;
            match self.whom.handle.retry(&self.whom.job.plan.endpoint, id).await {
                Ok(()) => {
                    self.whom.job.progress().done.requeued += 1;
                    return Ok(());
                }
                // There is room again when some of those set aside are settled.
                Err(HandleError::TooMuch { .. }) => {
                    self.whom.wait("as many deliveries are set aside as may be", LOOK_AGAIN).await;
                }
                // One that somebody else skipped or retried meanwhile is no error.
                Err(HandleError::NoDelivery) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn send(&mut self, again: Again) -> Result<(), Halt> {
        let Again { id, room, seq, at, content } = again;
        for attempt in 1..=TRIES {
            let shared = self.whom.ready().await?;
            self.pace.wait().await;
            let job = Job { content: content.clone(), ..Job::outside(id, room.clone(), seq, at, attempt) };
            let settings = shared.settings.load_full();
            let elsewhere = self.destination(&settings)?;
            let world = &self.whom.handle.world;
            let outcome = sender::attempt(world, &settings, self.channel.as_mut(), &job, elsewhere.as_ref()).await;
            let report = match outcome {
                Outcome::Answered(report) => report,
                Outcome::Gone => {
                    self.whom.job.progress().done.gone += 1;
                    return Ok(());
                }
                Outcome::Untried => return Err(storage_failed(id)),
            };
            let made = Attempt::of(&job, &report, world.wall());
            shared.core().trail.record(made.clone(), !report.is_acknowledged());
            let mut progress = self.whom.job.progress();
            if report.is_acknowledged() {
                progress.done.acknowledged += 1;
                return Ok(());
            }
            if attempt == TRIES {
                progress.done.failed += 1;
                if progress.done.failures.len() < FAILURES_KEPT {
                    progress.done.failures.push(made);
                }
                return Ok(());
            }
            drop(progress);
            sleep(TRY_WAIT).await;
        }
        Ok(())
    }

    /// The other URL, if there is one, with the endpoint's present certificates.
    fn destination(&mut self, settings: &Arc<Settings>) -> Result<Option<Destination>, Halt> {
        let Some(url) = &self.whom.job.plan.replay.to else { return Ok(None) };
        let fits = self.elsewhere.as_ref().filter(|(made_with, _)| Arc::ptr_eq(made_with, settings));
        if let Some((_, destination)) = fits {
            return Ok(Some(destination.clone()));
        }
        let roots = &self.whom.handle.world.roots;
        let destination = Destination::new(url, &settings.endpoint, roots).map_err(Halt::Broken)?;
        self.elsewhere = Some((settings.clone(), destination.clone()));
        Ok(Some(destination))
    }

    /// An event is done.
    async fn reached(&mut self, place: Place) {
        self.unsaved += 1;
        self.passed(place).await;
    }

    /// Nothing before this place is left to do. Does not return before enough of it is written.
    async fn passed(&mut self, place: Place) {
        self.whom.job.progress().place = place;
        if self.unsaved < REPEATS_MAX && self.saved.elapsed() < SAVE_EVERY {
            return;
        }
        while let Err(error) = self.whom.job.save().await {
            self.whom.wait(format!("its place cannot be written: {error}"), STORAGE_WAIT).await;
        }
        (self.unsaved, self.saved) = (0, Instant::now());
        self.whom.job.progress().waiting = None;
    }
}

fn storage_failed(id: DeliveryId) -> Halt {
    let (log, reason) = (LogId(id.shard), format!("the event at {} could not be read", id.pos.lsn));
    Halt::Log(ReadError::Io { log, reason })
}
