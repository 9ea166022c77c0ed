//! All replays: those that run, and for a while those that ended.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use roomhook_log::{LogId, Row};
use tokio::{task::JoinSet, time::Instant};

use super::{
    Replay, ReplayState, ReplayStatus, What,
    job::{Job, Plan, Progress, Wish},
    rows::{self, ReplayRow},
    run,
};
use crate::{
    attempt_row::AttemptRow,
    endpoint::Endpoints,
    handle::{Handle, HandleError},
    own_rows::OwnRows,
    settings::Destination,
    supervisor::EndpointName,
};

/// Replays at the same time.
pub const RUNNING_MAX: usize = 8;
/// Ended replays that are remembered.
pub const KEPT_MAX: usize = 64;
/// For how long they are, in milliseconds: a week.
const KEPT_FOR_MS: u64 = 7 * 24 * 3_600 * 1_000;
/// Rows read per call.
const SCAN_ROWS: usize = 1_000;
/// How long whoever stops a replay waits for its last word to be written.
const STOP_WAIT: Duration = Duration::from_secs(5);

/// The replays of a server.
#[derive(Debug)]
pub(crate) struct Replays {
    endpoints: Endpoints,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// Those of earlier processes are known. Before that, no number is free for sure.
    restored: bool,
    stopping: bool,
    last: u64,
    jobs: BTreeMap<u64, Arc<Job>>,
    tasks: JoinSet<()>,
}

impl Kept {
    fn running(&self) -> usize {
        self.jobs.values().filter(|job| job.is_running()).count()
    }

    /// Takes out the ended ones that are too many or too old.
    fn outdated(&mut self, now: u64) -> Vec<u64> {
        let mut ended: Vec<(u64, u64)> = self
            .jobs
            .values()
            .filter(|job| !job.is_running())
            .map(|job| (job.progress().ended_at.unwrap_or(0), job.number))
            .collect();
        ended.sort_unstable_by(|a, b| b.cmp(a));
        let is_old = |(at, (ended_at, _)): &(usize, (u64, u64))| *at >= KEPT_MAX || *ended_at + KEPT_FOR_MS < now;
        let old: Vec<u64> = ended.into_iter().enumerate().filter(is_old).map(|(_, (_, number))| number).collect();
        old.iter().for_each(|number| drop(self.jobs.remove(number)));
        old
    }
}

impl Replays {
    pub(crate) fn new(endpoints: Endpoints) -> Arc<Self> {
        Arc::new(Self { endpoints, kept: Mutex::default() })
    }

    /// How many run, for metrics.
    pub(crate) fn running(&self) -> usize {
        self.kept.lock().running()
    }

    /// Reads the replays of earlier processes and goes on with those that were running. Nothing to do the second time.
    ///
    /// # Errors
    /// When the rows cannot be read; trying again may help.
    pub(crate) async fn restore(&self, handle: &Handle) -> Result<(), HandleError> {
        if self.kept.lock().restored {
            return Ok(());
        }
        let (mut jobs, mut after, mut last) = (Vec::new(), None, 0);
        loop {
            let page = handle.world.rows.scan(rows::LOG, rows::JOBS, after.as_deref(), SCAN_ROWS).await?;
            for (key, value) in &page {
                let Some(number) = rows::number_of(key) else { continue };
                last = last.max(number);
                match read_job(handle, number, value).await {
                    Ok(job) => jobs.push(job),
                    // Of a newer release, or damaged: it rests where it is, the others go on.
                    Err(HandleError::Row(error)) => {
                        tracing::error!(replay = number, %error, "the row of a replay cannot be read");
                    }
                    Err(error) => return Err(error),
                }
            }
            match page.last() {
                Some((key, _)) if page.len() == SCAN_ROWS => after = Some(key.clone()),
                _ => break,
            }
        }
        let mut kept = self.kept.lock();
        kept.last = last;
        for job in jobs {
            if job.is_running() {
                tracing::info!(replay = job.number, app = job.plan.endpoint.app.0, "a replay goes on");
                kept.tasks.spawn(run::drive(handle.clone(), self.endpoints.clone(), job.clone()));
            }
            kept.jobs.insert(job.number, job);
        }
        kept.restored = true;
        Ok(())
    }

    /// Lets them write where they are, and ends.
    pub(crate) async fn shutdown(&self, deadline: Instant) {
        self.kept.lock().stopping = true;
        self.rest(deadline).await;
    }

    /// Forgets them: they belong to whoever has their log now, and are read again when that is this process.
    pub(crate) async fn forget(&self, deadline: Instant) {
        self.kept.lock().restored = false;
        self.rest(deadline).await;
        self.kept.lock().jobs.clear();
    }

    async fn rest(&self, deadline: Instant) {
        let mut tasks = {
            let mut kept = self.kept.lock();
            for job in kept.jobs.values() {
                job.wish.send_replace(Wish::Rest);
            }
            std::mem::take(&mut kept.tasks)
        };
        // Whoever is cut off repeats what it did since it last wrote.
        let _ = tokio::time::timeout_at(deadline, async { while tasks.join_next().await.is_some() {} }).await;
    }

    fn find(&self, number: u64) -> Result<Arc<Job>, HandleError> {
        self.kept.lock().jobs.get(&number).cloned().ok_or(HandleError::NoReplay)
    }

    /// Takes a place among the running ones.
    fn admit(&self, plan: Plan, rows: OwnRows) -> Result<Arc<Job>, HandleError> {
        let mut kept = self.kept.lock();
        if !kept.restored || kept.stopping {
            return Err(HandleError::NotNow);
        }
        if kept.running() >= RUNNING_MAX {
            return Err(HandleError::TooManyReplays { max: RUNNING_MAX });
        }
        while kept.tasks.try_join_next().is_some() {}
        kept.last += 1;
        let job = Job::new(kept.last, plan, rows, Progress::new(ReplayStatus::Running));
        kept.jobs.insert(job.number, job.clone());
        Ok(job)
    }

    fn withdraw(&self, number: u64) {
        self.kept.lock().jobs.remove(&number);
    }

    fn spawn(&self, handle: &Handle, job: Arc<Job>) {
        let mut kept = self.kept.lock();
        // Started while the process stops, or while it loses the log: its row is written, the next process goes on with it.
        if !kept.stopping && kept.restored {
            kept.tasks.spawn(run::drive(handle.clone(), self.endpoints.clone(), job));
        }
    }
}

/// A replay of an earlier process.
async fn read_job(handle: &Handle, number: u64, row: &[u8]) -> Result<Arc<Job>, HandleError> {
    let (plan, mut progress) = ReplayRow::from_bytes(row)?.parts()?;
    progress.done.failures = failures(handle, number).await?;
    progress.failures_written = progress.done.failures.len();
    progress.resumed += u32::from(progress.status == ReplayStatus::Running);
    Ok(Job::new(number, plan, handle.world.rows.as_of_now(), progress))
}

async fn failures(handle: &Handle, number: u64) -> Result<Vec<crate::trail::Attempt>, HandleError> {
    let rows = handle.world.rows.scan(rows::LOG, &rows::failures(number), None, super::FAILURES_KEPT).await?;
    let read = |(_, value): &(bytes::Bytes, bytes::Bytes)| Ok(AttemptRow::from_bytes(value)?.into());
    rows.iter().map(read).collect()
}

impl Handle {
    /// Starts a replay, which goes on when this returns, beside live delivery, and in the next process if this one ends. After
    /// a crash at most the last [`super::REPEATS_MAX`] events are sent once more, with the ids they had.
    ///
    /// # Errors
    /// When the endpoint, the URL or the event is not there, too many replays are running, or it cannot be written down. Not
    /// cancel safe: a start that was dropped may still happen.
    pub async fn start_replay(&self, name: &EndpointName, replay: Replay) -> Result<ReplayState, HandleError> {
        let settings = self.shared(name)?.settings.load_full();
        match &replay.to {
            Some(url) => drop(Destination::new(url, &settings.endpoint, &self.world.roots).map_err(HandleError::Url)?),
            None => drop(settings.destination.as_ref().map_err(|reason| HandleError::Url(reason.clone()))?),
        }
        match &replay.what {
            What::One(id) => drop(self.find_delivery(&settings, *id).await?),
            What::Room { room, .. } if room.app != name.app => return Err(HandleError::NoEvent),
            What::Room { .. } | What::Time { .. } | What::Parked => {}
        }
        let mut ends = Vec::with_capacity(usize::from(self.world.shards));
        for shard in 0..self.world.shards {
            ends.push(self.world.log.end(LogId(shard)).await?);
        }
        let (endpoint, generation) = (name.clone(), settings.endpoint.generation);
        let plan = Plan { endpoint, generation, replay, started_at: self.world.wall(), ends };
        let job = self.replays.admit(plan, self.world.rows.as_of_now())?;
        if let Err(error) = job.save().await {
            self.replays.withdraw(job.number);
            return Err(HandleError::Unwritten(error.to_string()));
        }
        self.replays.spawn(self, job.clone());
        self.forget_old_replays().await;
        Ok(job.show())
    }

    /// Replays of this process and of earlier ones, newest first: all that run, and the last that ended.
    pub fn replays(&self) -> Vec<ReplayState> {
        self.replays.kept.lock().jobs.values().rev().map(|job| job.show()).collect()
    }

    /// One of them.
    ///
    /// # Errors
    /// When there is none of this number, or not any more.
    pub fn replay(&self, number: u64) -> Result<ReplayState, HandleError> {
        Ok(self.replays.find(number)?.show())
    }

    /// Stops a replay for good; one that has ended stays as it is.
    ///
    /// # Errors
    /// When there is none of this number, or its end could not be written in time: it stands still, but may go on after a
    /// restart. Cancel safe: it stops all the same.
    pub async fn stop_replay(&self, number: u64) -> Result<ReplayState, HandleError> {
        let job = self.replays.find(number)?;
        job.wish.send_if_modified(|wish| {
            let stops = *wish == Wish::GoOn;
            *wish = if stops { Wish::Stop } else { *wish };
            stops
        });
        match job.wait_for_end(STOP_WAIT).await {
            true => Ok(job.show()),
            false => Err(HandleError::Unwritten("the replay stands still, but may go on after a restart".to_owned())),
        }
    }

    async fn forget_old_replays(&self) {
        let old = self.replays.kept.lock().outdated(self.world.wall());
        for number in old {
            let failures = (0..super::FAILURES_KEPT).map(|which| rows::failure_key(number, which));
            let gone = failures.chain([rows::job_key(number)]).map(|key| Row { key, value: None });
            if let Err(error) = self.world.rows.put(rows::LOG, gone.collect()).await {
                // The next process reads it and forgets it again.
                tracing::warn!(replay = number, %error, "cannot remove the row of an old replay");
            }
        }
    }
}
