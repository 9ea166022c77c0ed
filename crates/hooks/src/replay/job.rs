//! One replay: what it is to do, how far it is, and whether it should end.

use std::{fmt, sync::Arc, time::Duration};

use parking_lot::{Mutex, MutexGuard};
use roomhook_log::{Lsn, Row};
use tokio::sync::watch;

use super::{
    Place, Replay, ReplayState, ReplayStatus, Replayed,
    rows::{self, ReplayRow},
};
use crate::{
    attempt_row::AttemptRow,
    own_rows::{OwnRows, Unwritten},
    supervisor::EndpointName,
};

/// What does not change while it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) endpoint: EndpointName,
    /// Of the endpoint: a namesake made later is not meant.
    pub(super) generation: u64,
    pub(super) replay: Replay,
    pub(super) started_at: u64,
    /// The end of each log when it was started: what came later is none of its business.
    pub(super) ends: Vec<Lsn>,
}

/// How far it is.
#[derive(Clone, Debug)]
pub(super) struct Progress {
    pub(super) status: ReplayStatus,
    /// Why it could not go on.
    pub(super) reason: Option<String>,
    /// Why it sends nothing at the moment. Never written.
    pub(super) waiting: Option<String>,
    pub(super) ended_at: Option<u64>,
    pub(super) resumed: u32,
    pub(super) place: Place,
    pub(super) done: Replayed,
    /// Failures that have a row.
    pub(super) failures_written: usize,
}

/// What others want of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    GoOn,
    /// A person wants no more of it.
    Stop,
    /// The process stops; the next one goes on.
    Rest,
}

pub(super) struct Job {
    pub(super) number: u64,
    pub(super) plan: Plan,
    /// Of whoever has the log since this was started or read.
    rows: OwnRows,
    progress: Mutex<Progress>,
    pub(super) wish: watch::Sender<Wish>,
    /// True when its task has written its last word.
    pub(super) ended: watch::Sender<bool>,
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").field("number", &self.number).finish_non_exhaustive()
    }
}

impl Progress {
    pub(super) fn new(status: ReplayStatus) -> Self {
        Self {
            status,
            reason: None,
            waiting: None,
            ended_at: None,
            resumed: 0,
            place: Place::default(),
            done: Replayed::default(),
            failures_written: 0,
        }
    }
}

impl Job {
    pub(super) fn new(number: u64, plan: Plan, rows: OwnRows, progress: Progress) -> Arc<Self> {
        let is_over = progress.status != ReplayStatus::Running;
        Arc::new(Self {
            number,
            plan,
            rows,
            progress: Mutex::new(progress),
            wish: watch::channel(Wish::GoOn).0,
            ended: watch::channel(is_over).0,
        })
    }

    pub(super) fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock()
    }

    pub(super) fn is_running(&self) -> bool {
        self.progress().status == ReplayStatus::Running
    }

    pub(super) fn show(&self) -> ReplayState {
        let progress = self.progress();
        ReplayState {
            number: self.number,
            endpoint: self.plan.endpoint.clone(),
            replay: self.plan.replay.clone(),
            status: progress.status,
            reason: progress.reason.clone().or_else(|| progress.waiting.clone()),
            started_at: self.plan.started_at,
            ended_at: progress.ended_at,
            resumed: progress.resumed,
            done: progress.done.clone(),
        }
    }

    /// Writes where it is, and the failures that have no row yet, all at once.
    ///
    /// # Errors
    /// As the store's. Cancel safe: what was half-way is written again next time.
    pub(super) async fn save(&self) -> Result<(), Unwritten> {
        let (rows, failures) = {
            let progress = self.progress();
            let row = ReplayRow::of(&self.plan, &progress).to_bytes();
            let unwritten = progress.done.failures.iter().enumerate().skip(progress.failures_written);
            let failure = |(which, made)| Row {
                key: rows::failure_key(self.number, which),
                value: Some(AttemptRow::from(made).to_bytes()),
            };
            let rows = [Row { key: rows::job_key(self.number), value: Some(row) }];
            (rows.into_iter().chain(unwritten.map(failure)).collect(), progress.done.failures.len())
        };
        self.rows.put(rows::LOG, rows).await?;
        self.progress().failures_written = failures;
        Ok(())
    }

    /// Waits until its task has ended; false when that takes too long.
    pub(super) async fn wait_for_end(&self, within: Duration) -> bool {
        let mut ended = self.ended.subscribe();
        matches!(tokio::time::timeout(within, ended.wait_for(|ended| *ended)).await, Ok(Ok(_)))
    }
}
