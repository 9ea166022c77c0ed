//! One phase of `bench fanout`: its senders, and what it measured.

use std::{
    sync::{
        Arc, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context as _;
use serde_json::json;
use tokio::task::JoinSet;

use super::Args;
use crate::cli::{
    bench::{
        load::{Pace, Target},
        neighbours::BadNeighbours,
        process::Probe,
        readers::{Heard, STAMP_DIGITS},
        sending::{room_id, sender},
        stats::Latencies,
        subject::Subject,
    },
    rest::{Admin, Caller},
};

/// What one phase measured.
pub(super) struct Phase {
    pub(super) deliveries: u64,
    pub(super) messages: u64,
    pub(super) took: Duration,
    pub(super) cpu: Option<Duration>,
    pub(super) load_cpu: Option<Duration>,
    pub(super) latencies: Latencies,
    pub(super) errors: u64,
    pub(super) first_error: Option<String>,
}

impl Phase {
    pub(super) fn per_s(&self) -> f64 {
        self.deliveries as f64 / self.took.as_secs_f64()
    }

    pub(super) fn messages_per_s(&self) -> u32 {
        (self.messages as f64 / self.took.as_secs_f64()) as u32
    }

    pub(super) fn cpu_s_per_million(&self) -> Option<f64> {
        self.cpu.filter(|_| self.deliveries > 0).map(|cpu| cpu.as_secs_f64() * 1e6 / self.deliveries as f64)
    }

    pub(super) fn busy(&self) -> String {
        let share = |cpu: Option<Duration>| cpu.map_or(0.0, |cpu| cpu.as_secs_f64() / self.took.as_secs_f64());
        format!("processors busy: server {:.2}, load {:.2}", share(self.cpu), share(self.load_cpu))
    }
}

/// What the senders share.
pub(super) struct Load {
    pub(super) target: Target,
    pub(super) admin: Admin,
    pub(super) heard: Arc<Heard>,
    pub(super) rooms: usize,
    pub(super) room_prefix: String,
    pub(super) padding: String,
}

/// One phase's senders share this.
struct Turns {
    pace: Pace,
    rate: u32,
    end: Instant,
    next_room: AtomicU64,
    sent: AtomicU64,
    errors: AtomicU64,
    first_error: std::sync::Mutex<Option<String>>,
}

/// Callers of the open loop, and at most so many in the closed one.
const SENDERS_MAX: usize = 256;

impl Load {
    /// One second to warm up, then `--seconds` to measure. `rate` 0: closed loop.
    pub(super) async fn phase(self: &Arc<Self>, args: &Args, rate: u32, probe: Option<Probe>) -> anyhow::Result<Phase> {
        let begin = Instant::now();
        let from = begin + Duration::from_secs(1);
        let end = from + Duration::from_secs(args.seconds.into());
        let turns = Arc::new(Turns {
            pace: Pace::new(begin, rate),
            rate,
            end,
            next_room: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            first_error: std::sync::Mutex::new(None),
        });
        let senders = if rate == 0 { (self.rooms * args.in_flight as usize).min(SENDERS_MAX) } else { 64 };
        let mut tasks = JoinSet::new();
        for number in 0..senders {
            let caller = Caller::connect(self.target.clone(), self.admin.clone()).await?;
            tasks.spawn(Arc::clone(self).sender(Arc::clone(&turns), caller, number));
        }
        let own = Probe { pid: std::process::id() };
        let cpu = || (probe.and_then(Probe::cpu), own.cpu());
        tokio::time::sleep_until(from.into()).await;
        self.heard.measuring.store(true, Ordering::Relaxed);
        let (deliveries, messages) = (self.heard.deliveries(), turns.sent.load(Ordering::Relaxed));
        let (before, began) = (cpu(), Instant::now());
        tokio::time::sleep_until(end.into()).await;
        let (deliveries, messages) =
            (self.heard.deliveries() - deliveries, turns.sent.load(Ordering::Relaxed) - messages);
        let (after, took) = (cpu(), began.elapsed());
        while let Some(ended) = tasks.join_next().await {
            ended.context("a sender failed")?;
        }
        self.settle().await;
        self.heard.measuring.store(false, Ordering::Relaxed);
        let between = |before: Option<Duration>, after: Option<Duration>| Some(after?.saturating_sub(before?));
        let first_error = turns.first_error.lock().unwrap_or_else(PoisonError::into_inner).take();
        Ok(Phase {
            deliveries,
            messages,
            took,
            cpu: between(before.0, after.0),
            load_cpu: between(before.1, after.1),
            latencies: self.heard.take_latencies()?,
            errors: turns.errors.load(Ordering::Relaxed),
            first_error,
        })
    }

    /// A phase with bad neighbours.
    pub(super) async fn beside_bad(
        self: &Arc<Self>,
        args: &Args,
        subject: &Subject,
        rate: u32,
    ) -> anyhow::Result<Phase> {
        let neighbours = BadNeighbours::move_in(subject, &self.room_prefix, args.rooms, args.bad_neighbours).await?;
        let phase = self.phase(args, rate, subject.probe).await;
        neighbours.move_out().await;
        phase
    }

    /// Waits until nothing more arrives.
    async fn settle(&self) {
        let mut before = self.heard.deliveries();
        for _ in 0..100 {
            tokio::time::sleep(Duration::from_millis(200)).await;
            let now = self.heard.deliveries();
            if now == before {
                return;
            }
            before = now;
        }
    }

    async fn sender(self: Arc<Self>, turns: Arc<Turns>, mut caller: Caller, number: usize) {
        let from = sender(u32::try_from(number).unwrap_or(0));
        loop {
            let due = turns.pace.turn().await;
            if due >= turns.end || Instant::now() >= turns.end {
                return;
            }
            let room = match turns.rate {
                0 => number % self.rooms,
                _ => turns.next_room.fetch_add(1, Ordering::Relaxed) as usize % self.rooms,
            };
            if let Err(error) = self.send(&turns, &mut caller, room, &from, due).await {
                turns.errors.fetch_add(1, Ordering::Relaxed);
                turns.first_error.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error.to_string());
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }

    /// One message; in the closed loop also waits until all have it.
    async fn send(
        &self,
        turns: &Turns,
        caller: &mut Caller,
        room: usize,
        from: &str,
        due: Instant,
    ) -> anyhow::Result<()> {
        let stamp = due.saturating_duration_since(self.heard.base).as_micros();
        let text = format!("{stamp:0width$}{}", self.padding, width = STAMP_DIGITS);
        let message = json!({
            "GroupId": room_id(&self.room_prefix, u32::try_from(room)?), "Random": fastrand::u32(..),
            "From_Account": from, "MsgBody": [{ "MsgType": "TIMTextElem", "MsgContent": { "Text": text } }],
        });
        let answer = caller.must("group_open_http_svc/send_group_msg", &message).await?;
        turns.sent.fetch_add(1, Ordering::Relaxed);
        let seq = answer["MsgSeq"].as_u64().context("an answer without MsgSeq")?;
        if turns.rate == 0 {
            let arrived = self.heard.all_have(room, seq).await;
            anyhow::ensure!(
                arrived,
                "message {seq} of a room did not reach all of its {} members",
                self.heard.members(room)
            );
        }
        Ok(())
    }
}
