//! What was tried of late: recent attempts, and failures for longer. Bounded rings, in memory.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;

use crate::{
    engine::{DeliveryId, Job},
    http::{Phases, Report},
};

/// Attempts kept per endpoint, of either kind.
const RECENT_MAX: usize = 512;
const FAILURES_MAX: usize = 512;

/// One attempt, as people see it.
#[derive(Clone, Debug)]
pub struct Attempt {
    pub id: DeliveryId,
    /// The log key of the room.
    pub room: Bytes,
    pub seq: u64,
    /// When the event happened, and when this attempt ended (Unix milliseconds).
    pub event_at: u64,
    pub ended_at: u64,
    pub number: u32,
    pub status: Option<u16>,
    /// Why there was no full answer, or what is wrong with it.
    pub problem: Option<Arc<str>>,
    pub phases: Phases,
    /// The first bytes of the answer.
    pub answer: Bytes,
    /// A single try at a paused endpoint.
    pub probe: bool,
}

impl Attempt {
    pub(crate) fn of(job: &Job, report: &Report, now: u64) -> Self {
        let problem = match &report.result {
            Err(error) => Some(error.to_string()),
            Ok(300..400) => Some("the endpoint answered with a redirect, which is not followed".to_owned()),
            Ok(status) if !report.is_acknowledged() => Some(format!("the endpoint answered {status}")),
            Ok(_) if report.malformed => {
                Some("the answer is not the documented JSON (counted, not a failure)".to_owned())
            }
            Ok(_) => None,
        };
        Self {
            id: job.id,
            room: job.room.clone(),
            seq: job.seq,
            event_at: job.at,
            ended_at: now,
            number: job.attempt,
            status: report.result.as_ref().ok().copied(),
            problem: problem.map(Arc::from),
            phases: report.phases,
            answer: report.head.clone(),
            probe: job.probe,
        }
    }
}

/// The rings of one endpoint.
#[derive(Debug, Default)]
pub struct Trail {
    recent: VecDeque<Attempt>,
    failures: VecDeque<Attempt>,
}

impl Trail {
    pub(crate) fn record(&mut self, attempt: Attempt, failed: bool) {
        if failed {
            push_bounded(&mut self.failures, attempt.clone(), FAILURES_MAX);
        }
        push_bounded(&mut self.recent, attempt, RECENT_MAX);
    }

    /// Newest first.
    pub fn recent(&self) -> impl Iterator<Item = &Attempt> {
        self.recent.iter().rev()
    }

    /// Newest first.
    pub fn failures(&self) -> impl Iterator<Item = &Attempt> {
        self.failures.iter().rev()
    }

    /// All kept attempts of one delivery, oldest first.
    pub fn of(&self, id: DeliveryId) -> Vec<Attempt> {
        let mut attempts: Vec<Attempt> =
            self.failures.iter().chain(&self.recent).filter(|attempt| attempt.id == id).cloned().collect();
        attempts.sort_by_key(|attempt| (attempt.number, attempt.ended_at));
        attempts.dedup_by_key(|attempt| (attempt.number, attempt.ended_at));
        attempts
    }
}

fn push_bounded(ring: &mut VecDeque<Attempt>, attempt: Attempt, max: usize) {
    if ring.len() >= max {
        ring.pop_front();
    }
    ring.push_back(attempt);
}
