//! The task that owns a shard.

use futures_util::{StreamExt as _, stream};
use roomhook_log::{AppendError, Claim, Epoch, Lsn, ReadError};
use roomhook_room::{RoomKey, UnixMillis};
use tokio::{
    sync::{OwnedMutexGuard, mpsc},
    time::{Duration, Instant, sleep},
};

use crate::{
    batch::Batch,
    cache::{Cache, Limits, Plan, Slot},
    config::Config,
    error::{ExecuteError, StartError},
    inbox::Refuse as _,
    life::{Deps, Exit, deposed},
    replay::Opened,
    request::{Question, Request, RoomView},
    rows,
    supervisor::stopped,
};

/// Rows read at the same time for one batch.
const LOADS_MAX: usize = 64;
/// Records of one append, in bytes, as far as the last one may exceed it: snapshots need room beside them.
const RECORD_BYTES_MAX: usize = roomhook_log::limits::APPEND_BYTES_MAX / 3;
/// Between two tries to write after one that found no room.
const PROBE_PAUSE: Duration = Duration::from_secs(1);
/// Tries to claim and replay again after an append of unknown outcome, and the pause after the first of them.
const RECOVERY_TRIES: u32 = 6;
const RECOVERY_PAUSE: Duration = Duration::from_millis(50);

/// Whether the shard accepts writes.
#[derive(Debug)]
enum Mode {
    Writing,
    /// Nothing is written any more; what is durable can still be read.
    ReadOnly(String),
}

/// The state of a shard, in the hands of one task.
pub(crate) struct Owner {
    deps: Deps,
    inbox: OwnedMutexGuard<mpsc::Receiver<Request>>,
    /// Taken from the inbox, not yet decided.
    waiting: Vec<Request>,
    claim: Claim,
    cache: Cache,
    last_at: UnixMillis,
    /// What the log was last told that a restart no longer needs.
    trimmed: Lsn,
    mode: Mode,
}

impl Owner {
    pub(crate) fn new(deps: Deps, inbox: OwnedMutexGuard<mpsc::Receiver<Request>>, opened: Opened) -> Self {
        let Opened { claim, cache, last_at, replay_from, .. } = opened;
        Self { deps, inbox, waiting: Vec::new(), claim, cache, last_at, trimmed: replay_from, mode: Mode::Writing }
    }

    /// Decides, appends, answers, until the inbox is closed and empty.
    pub(crate) async fn run(mut self) -> Exit {
        loop {
            if let Err(exit) = self.step().await {
                return exit;
            }
            self.cache.tidy(self.limits());
            self.deps.metrics.rooms_cached.set(self.cache.len() as i64);
        }
    }

    async fn step(&mut self) -> Result<(), Exit> {
        self.wait().await?;
        let batch = self.decide().await;
        self.settle(batch).await
    }

    /// Waits for requests and takes all that are there, up to a batch. An end when there will be no more.
    async fn wait(&mut self) -> Result<(), Exit> {
        let batch_max = self.deps.config.batch_records_max;
        while self.waiting.is_empty() {
            tokio::select! {
                biased;
                // Both arms are cancel safe: nothing is taken from the inbox unless this arm is the one that ends.
                taken = self.inbox.recv_many(&mut self.waiting, batch_max) => {
                    if taken == 0 {
                        return Err(Exit::Stopped);
                    }
                }
                () = stopped(&mut self.deps.stop), if !self.inbox.is_closed() => self.inbox.close(),
                () = sleep(PROBE_PAUSE), if self.is_refusing() => self.probe().await?,
            }
        }
        while self.waiting.len() < batch_max
            && let Ok(request) = self.inbox.try_recv()
        {
            self.waiting.push(request);
        }
        Ok(())
    }

    /// Whether the last append found no room.
    fn is_refusing(&self) -> bool {
        matches!(self.mode, Mode::Writing) && !self.deps.health.is_ready()
    }

    /// Tries to write something harmless, so that a server which nobody sends to (because it said it was not ready)
    /// notices that there is room again.
    async fn probe(&mut self) -> Result<(), Exit> {
        let replay_from = self.cache.oldest_dirty().unwrap_or(self.claim.next);
        let row = rows::position_row(rows::REPLAY_FROM, replay_from);
        match self.deps.reader.store.append(&mut self.claim, Vec::new(), vec![row]).await {
            Ok(_) => self.deps.health.set_ready(),
            Err(AppendError::Fenced { current, .. }) => return Err(Exit::Deposed { by: current }),
            Err(error) => tracing::debug!(%error, "still nothing can be written"),
        }
        Ok(())
    }

    // === decide ===

    async fn decide(&mut self) -> Batch {
        let (requests, bytes) = self.take();
        self.load(&requests).await;
        self.last_at = self.last_at.max((self.deps.clock)());
        let mut batch = Batch::new(self.claim.next, requests.len(), bytes);
        let mut requests = requests.into_iter();
        while batch.bytes < RECORD_BYTES_MAX
            && let Some(request) = requests.next()
        {
            match request {
                Request::Ask { room, question } => batch.questions.push((room, question)),
                Request::Execute { room, command, reply } => match &self.mode {
                    Mode::Writing => {
                        let facts = &self.deps.config.facts;
                        let reject = batch.decide(&mut self.cache, room, command, facts, self.last_at, reply);
                        if let Some(reject) = reject {
                            self.deps.metrics.reject(&reject);
                        }
                    }
                    Mode::ReadOnly(reason) => {
                        reply.send(Err(ExecuteError::Unavailable(reason.clone())));
                    }
                },
            }
        }
        // A small command can have a large record; what does not fit any more is first in the next batch.
        self.waiting.splice(..0, requests);
        batch
    }

    /// The requests of the next batch, and about how many bytes they bring.
    fn take(&mut self) -> (Vec<Request>, usize) {
        let mut bytes = 0;
        let fits = |request: &&Request| {
            let before = bytes;
            bytes += request.bytes();
            before == 0 || bytes <= self.deps.config.batch_bytes_max
        };
        let count = self.waiting.iter().take_while(fits).count();
        (self.waiting.drain(..count).collect(), bytes)
    }

    /// Brings the rooms of these requests into memory.
    async fn load(&mut self, requests: &[Request]) {
        let absent = |room: &&RoomKey| !self.cache.contains(room);
        let missing: Vec<RoomKey> = requests.iter().map(Request::room).filter(absent).cloned().collect();
        if !missing.is_empty() {
            self.load_rooms(missing).await;
        }
    }

    /// A room that cannot be read stays out of memory, and its requests are told so.
    async fn load_rooms(&mut self, mut rooms: Vec<RoomKey>) {
        rooms.sort_unstable();
        rooms.dedup();
        rooms.retain(|room| !self.cache.contains(room));
        let reader = &self.deps.reader;
        let loads = rooms.into_iter().map(|room| async move {
            let key = roomhook_log::Key(room.to_bytes());
            let loaded = reader.room(&key.0).await;
            (room, key, loaded)
        });
        let mut loads = stream::iter(loads).buffer_unordered(LOADS_MAX);
        while let Some((room, key, loaded)) = loads.next().await {
            match loaded {
                Ok((covers, state)) => self.cache.insert(room, Slot::clean(key, state, covers)),
                Err(error) => tracing::error!(%room, error = error.told(), "a room's snapshot cannot be read"),
            }
        }
    }

    // === append, then answer ===

    /// Makes the batch durable and tells everybody who waits for it.
    async fn settle(&mut self, mut batch: Batch) -> Result<(), Exit> {
        if batch.records.is_empty() {
            batch.release();
            self.answer_questions(&mut batch);
            return Ok(());
        }
        let mut plan = self.cache.plan(batch.first, batch.end(), self.limits());
        let (records, rows) = (std::mem::take(&mut batch.records), std::mem::take(&mut plan.rows));
        let (count, snapshots) = (records.len(), rows.len());
        let epoch = self.claim.epoch;
        let started = Instant::now();
        batch.append_begins();
        let appended = self.deps.reader.store.append(&mut self.claim, records, rows).await;
        self.deps.metrics.append(started.elapsed(), count, batch.bytes, snapshots, appended.is_ok());
        match appended {
            Ok(_) => {
                self.cache.commit(&batch.touched, &plan);
                batch.release_prefix(count, "");
                self.answer_questions(&mut batch);
                self.deps.health.set_ready();
                self.trim(&plan).await;
                Ok(())
            }
            Err(AppendError::Ambiguous { expected, reason }) => {
                tracing::warn!(%expected, reason, "outcome of an append is unknown, asking the log");
                self.recover(batch, plan, epoch, expected, &reason).await
            }
            Err(error) => self.undo(batch, plan, error).await,
        }
    }

    fn answer_questions(&mut self, batch: &mut Batch) {
        for (room, question) in std::mem::take(&mut batch.questions) {
            let unread = || ExecuteError::Unavailable("the room could not be read".into());
            let slot = self.cache.get_mut(&room).ok_or_else(unread);
            match (slot, question) {
                (Ok(slot), Question::View(reply)) => reply.send(Ok(slot.view(&self.claim))),
                (Ok(slot), Question::Foresee { from, key, reply }) => {
                    let foreseen = roomhook_room::foresee(&slot.room, &from, key, self.last_at);
                    reply.send(foreseen.map_err(ExecuteError::Rejected));
                }
                (Err(error), question) => question.refuse(error),
            }
        }
    }

    /// Lets retention drop what a restart no longer needs. It may keep all of it: that is the log's to choose.
    async fn trim(&mut self, plan: &Plan) {
        let Some(replay_from) = plan.replay_from else { return };
        if replay_from.0 < self.trimmed.0 + self.deps.config.trim_step {
            return;
        }
        match self.deps.reader.store.trim(&self.claim, replay_from).await {
            Ok(()) => self.trimmed = replay_from,
            Err(error) => tracing::warn!(%error, "the log cannot be trimmed"),
        }
    }

    // === when the append failed ===

    /// Nothing of the batch is in the log (or, if the log is poisoned, nobody knows): puts the rooms back.
    async fn undo(&mut self, mut batch: Batch, plan: Plan, error: AppendError) -> Result<(), Exit> {
        let reason = error.to_string();
        self.cache.roll_back(plan);
        match error {
            AppendError::Poisoned { .. } => {
                tracing::error!(reason, "the shard is read-only until a restart");
                batch.release_unknown(&reason);
                self.mode = Mode::ReadOnly(reason.clone());
                self.deps.health.set_refusing(&reason);
            }
            AppendError::Fenced { current, .. } => return Err(self.depose(batch, 0, current)),
            AppendError::Closed => {
                batch.release_prefix(0, &reason);
                self.mode = Mode::ReadOnly(reason.clone());
                self.deps.health.set_refusing(&reason);
            }
            _ => {
                // Once per trouble, not once per batch; and the store has told operators of a full disk, once for all shards.
                if self.deps.health.is_ready() && !matches!(error, AppendError::Full(_)) {
                    tracing::error!(reason, "nothing can be written");
                }
                batch.release_prefix(0, &reason);
                self.deps.health.set_refusing(&reason);
            }
        }
        let touched = std::mem::take(&mut batch.touched);
        for room in touched {
            let Some(slot) = self.cache.get_mut(&room) else { continue };
            let (key, records) = (slot.key.clone(), slot.records_since);
            match self.deps.reader.dirty_room(&key, batch.first, records).await {
                Ok(state) => self.cache.reloaded(&room, state),
                Err(error) => {
                    batch.refuse_questions(&reason);
                    return Err(Exit::Reopen(error.told()));
                }
            }
        }
        self.answer_questions(&mut batch);
        Ok(())
    }

    /// Another process owns the shard now, and `durable` records of the batch are in the log. What is still in the inbox did not
    /// happen.
    fn depose(&mut self, mut batch: Batch, durable: usize, by: Epoch) -> Exit {
        let reason = deposed(by);
        batch.release_prefix(durable, &reason);
        batch.refuse_questions(&reason);
        self.waiting.drain(..).for_each(|request| request.refuse(ExecuteError::Unavailable(reason.clone())));
        Exit::Deposed { by }
    }

    /// Claims and replays again, unless somebody else came, then answers by what the log has.
    async fn recover(
        &mut self,
        mut batch: Batch,
        plan: Plan,
        epoch: Epoch,
        expected: Lsn,
        reason: &str,
    ) -> Result<(), Exit> {
        let mut pause = RECOVERY_PAUSE;
        for _ in 0..RECOVERY_TRIES {
            match self.reopen(epoch, expected).await {
                Ok((opened, written)) => {
                    tracing::info!(written, "the log has been asked, the shard goes on");
                    let Opened { claim, cache, last_at, .. } = opened;
                    (self.claim, self.cache, self.last_at) = (claim, cache, self.last_at.max(last_at));
                    batch.release_prefix(written, reason);
                    let viewed = batch.questions.iter().map(|(room, _)| room.clone()).collect::<Vec<_>>();
                    self.load_rooms(viewed).await;
                    self.answer_questions(&mut batch);
                    return Ok(());
                }
                // Nobody will know before a restart. What was durable before is still there to be read.
                Err(StartError::Claim { source: poisoned @ AppendError::Poisoned { .. }, .. }) => {
                    return self.undo(batch, plan, poisoned).await;
                }
                // The successor's claim ended the epoch: what was written under it stands in the log, and no more ever will.
                Err(error) if let Some(by) = error.deposed_by() => match self.written(epoch, expected).await {
                    Ok(written) => return Err(self.depose(batch, written, by)),
                    Err(error) => tracing::warn!(%error, "the log cannot be read yet"),
                },
                Err(error) => tracing::warn!(error = error.told(), "the log cannot be asked yet"),
            }
            sleep(pause).await;
            pause *= 2;
        }
        batch.release_unknown(reason);
        batch.refuse_questions(reason);
        Err(Exit::Reopen(reason.to_owned()))
    }

    async fn reopen(&self, epoch: Epoch, expected: Lsn) -> Result<(Opened, usize), StartError> {
        let opened = self.deps.open(self.deps.own()).await?;
        let written = self.deps.reader.written(epoch, expected, opened.claim.next).await;
        Ok((opened, written.map_err(|source| StartError::Read { log: self.deps.reader.log, source })?))
    }

    /// How much of an append of an epoch that is over is in the log.
    async fn written(&self, epoch: Epoch, expected: Lsn) -> Result<usize, ReadError> {
        let reader = &self.deps.reader;
        let end = reader.store.end(reader.log).await?;
        reader.written(epoch, expected, end).await
    }

    fn limits(&self) -> Limits {
        let Config { replay_records_max, snapshot_bytes_max, rooms_cached_max, .. } = *self.deps.config;
        Limits { replay_records_max, snapshot_bytes_max, rooms_cached_max }
    }
}

impl Slot {
    /// As of the end of a claimed log, which has at least the record of the claim.
    fn view(&self, claim: &Claim) -> Option<RoomView> {
        Some(RoomView {
            info: self.room.info()?.clone(),
            incarnation: self.room.incarnation()?.after(claim.epoch.losses()),
            created_at: self.room.created_at()?,
            top: self.room.top(),
            statistic: self.room.statistic(),
            at: Lsn(claim.next.0 - 1),
        })
    }
}
