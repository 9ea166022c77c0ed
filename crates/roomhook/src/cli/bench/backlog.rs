//! What an outage of the receiver costs: memory while undelivered messages pile up, and how fast they are caught up with.

use std::{
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;

use super::{
    hook_receiver::HookReceiver,
    metrics::Metrics,
    pace::{Began, Pace},
    process::{Memory, Probe, peak_rss_mb},
    sending::{HeldBack, Measured, Plan, measured, new_rooms},
    stats::{Latencies, Report, rounded},
    subject::Subject,
    webhook::{Args, STALL, all_arrived},
};

/// Undelivered messages with which memory is looked at first: more than the window of an endpoint holds.
const SMALL: u64 = 50_000;
/// Piling up ends by the number of messages, not by the time.
const PILE_SECONDS_MAX: u32 = 24 * 3600;
/// Left alone for so long, the server has done what it puts off, and gave back what its allocator gives back.
const REST: Duration = Duration::from_secs(3);

/// The server with so many messages undelivered.
struct Mark {
    memory: Resting,
    sent: Measured,
    took: Duration,
}

/// Resident megabytes: at rest, and the most there was on the way there.
#[derive(Clone, Copy)]
struct Resting {
    mb: Option<f64>,
    peak_mb: Option<f64>,
}

/// `--backlog-only`: memory with 50,000 undelivered and with all of them, then catching up.
pub(super) async fn run(args: &Args, subject: &mut Subject, receiver: &mut HookReceiver) -> anyhow::Result<ExitCode> {
    let started_mb = subject.probe.and_then(Probe::rss_mb);
    let rooms = new_rooms(subject, args.volume.rooms).await?;
    receiver.ask::<()>("away").await?;
    let few = SMALL.min(args.backlog);
    let small = pile(args, subject, &rooms, few, few).await?;
    let whole = pile(args, subject, &rooms, args.backlog - few, args.backlog).await?;
    let store_mb = subject.store_mb()?;
    let caught_up = match args.no_webhook {
        true => None,
        false => Some(catch_up(args, subject, receiver, args.backlog).await?),
    };
    subject.stop().await?;

    let mut report = Report::new("webhook");
    report.fields(args.volume.told());
    report.field("webhook", !args.no_webhook);
    report.field("backlog", args.backlog);
    report.field("backlog_small", few);
    let sent = small.sent.tally.latencies.count() + whole.sent.tally.latencies.count();
    report.field("per_s", rounded(sent as f64 / (small.took + whole.took).as_secs_f64()));
    report.field("store_mb", store_mb.map(rounded));
    report.field("rss_mb_backlog_small", small.memory.mb.map(rounded));
    report.field("rss_mb_backlog", whole.memory.mb.map(rounded));
    report.field("rss_mb_peak_backlog_small", small.memory.peak_mb.map(rounded));
    report.field("rss_mb_peak_backlog", whole.memory.peak_mb.map(rounded));
    report.field("rss_mb_peak_catch_up", caught_up.as_ref().and_then(|caught_up| caught_up.peak_mb.map(rounded)));
    let pace = caught_up.as_ref().map(|caught_up| caught_up.pace);
    report.field("catch_up_per_s", pace.map(|pace| rounded(pace.per_s)));
    report.field("catch_up_cpu_s_per_10k", pace.and_then(|pace| pace.cpu_s_per_10k).map(rounded));
    let catch_up_mb = caught_up.as_ref().and_then(|caught_up| caught_up.peak_mb);
    let peaks = [small.memory.peak_mb, whole.memory.peak_mb, catch_up_mb];
    let peak_mb = peaks.into_iter().flatten().fold(0.0, f64::max);
    let memory = started_mb.map(|start_mb| Memory { start_mb, peak_mb });
    let mut latencies = Latencies::new()?;
    let (mut errors, mut first_error) = (0, None);
    for mark in [small, whole] {
        latencies.merge(&mark.sent.tally.latencies)?;
        errors += mark.sent.tally.errors;
        first_error = first_error.or(mark.sent.tally.first_error);
    }
    report.common(errors, &latencies, memory);
    report.print(args.json);
    first_error.map_or(Ok(ExitCode::SUCCESS), |error| anyhow::bail!("{errors} requests failed; the first: {error}"))
}

/// Sends so many more messages to a receiver that refuses, until the server counts `undelivered` of them; then lets it
/// rest and looks at its memory.
async fn pile(args: &Args, subject: &Subject, rooms: &str, more: u64, undelivered: u64) -> anyhow::Result<Mark> {
    let began = Instant::now();
    let plan = Plan {
        volume: args.volume,
        rate: args.rate,
        seconds: PILE_SECONDS_MAX,
        messages: Some(more),
        room_prefix: Some(rooms.to_owned()),
        ..Plan::default()
    };
    let sent = measured(subject, plan).await?;
    let took = began.elapsed();
    let settle = async {
        if !args.no_webhook {
            owed(subject, undelivered).await?;
        }
        tokio::time::sleep(REST).await;
        Ok(())
    };
    let peak_settling = watched(subject, settle).await?;
    let peak_mb = sent.peak_mb.into_iter().chain(peak_settling).reduce(f64::max);
    Ok(Mark { memory: Resting { mb: subject.probe.and_then(Probe::rss_mb), peak_mb }, sent, took })
}

/// Waits until the server's own numbers say that so many are owed and not delivered: it has read all that was sent.
async fn owed(subject: &Subject, undelivered: u64) -> anyhow::Result<()> {
    let Some(target) = &subject.metrics else { return Ok(()) };
    let began = Instant::now();
    loop {
        let pending = Metrics::of(target).await?.sum("roomhook_webhook_pending");
        if pending == undelivered as f64 {
            return Ok(());
        }
        anyhow::ensure!(began.elapsed() < STALL, "the server counts {pending} pending webhooks, {undelivered} are");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Runs something; the peak of the server's memory meanwhile.
async fn watched(subject: &Subject, work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<Option<f64>> {
    let mut outcome = Ok(());
    let work = async { outcome = work.await };
    let peak = match subject.probe {
        Some(probe) => Some(peak_rss_mb(probe, work).await),
        None => {
            work.await;
            None
        }
    };
    outcome.map(|()| peak)
}

/// How catching up went.
pub(super) struct CaughtUp {
    pub(super) pace: Pace,
    peak_mb: Option<f64>,
}

/// The receiver is back: webhooks per second from the first to the last of `due`.
async fn catch_up(args: &Args, subject: &Subject, receiver: &mut HookReceiver, due: u64) -> anyhow::Result<CaughtUp> {
    let before = receiver.count().await?;
    receiver.ask::<()>("back").await?;
    let mut pace = None;
    let arriving = async {
        let waited = Instant::now();
        let first = loop {
            let count = receiver.count().await?;
            if count > before {
                break count;
            }
            anyhow::ensure!(waited.elapsed() < STALL, "no webhook came after the receiver was back");
            tokio::time::sleep(Duration::from_millis(1)).await;
        };
        let began = Began::now(subject.probe);
        all_arrived(receiver, before + due).await?;
        pace = Some(began.done(before + due - first));
        Ok(())
    };
    let peak_mb = watched(subject, arriving).await.with_context(|| format!("catch up with {}", args.backlog))?;
    Ok(CaughtUp { pace: pace.context("catching up was not measured")?, peak_mb })
}

/// Lets a backlog pile up while the receiver refuses everything, and catches up with it.
pub(super) async fn outage(args: &Args, subject: &Subject, receiver: &mut HookReceiver) -> anyhow::Result<CaughtUp> {
    receiver.ask::<()>("away").await?;
    let held_back = Arc::new(HeldBack::unlimited());
    let plan = Plan {
        volume: args.volume,
        seconds: PILE_SECONDS_MAX,
        messages: Some(args.backlog),
        held_back: Some(Arc::clone(&held_back)),
        ..Plan::default()
    };
    measured(subject, plan).await?;
    catch_up(args, subject, receiver, held_back.sent()).await
}
