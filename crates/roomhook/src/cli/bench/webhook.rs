//! `bench webhook`: from a message sent by REST to its webhook at a receiver.

use std::{
    collections::HashMap,
    net::SocketAddr,
    process::ExitCode,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context as _;
use serde_json::json;

use super::{
    apart, backlog,
    bad_receiver::Manner,
    bare_client,
    hook_receiver::{Answers, HookReceiver},
    load::Volume,
    process::Memory,
    sending::{Acks, HeldBack, Measured, Plan, measured},
    stats::{self, Latencies, Report, rounded},
    subject::{Elsewhere, Own, Subject},
};
use crate::cli::rest::Caller;

/// Send room messages and measure how their webhooks arrive
///
/// The receiver is a process of its own. First as fast as webhooks arrive (sending waits when more than --ahead are
/// under way), then at half of that rate (latency, from the acknowledgement of a message until its webhook arrived), then
/// a backlog that piled up while the receiver was away, then, for comparison, requests of the same size from a bare
/// HTTP client with as many connections to the same receiver. With --rate it is that rate only. With --url the app's
/// webhook is set to the receiver, and removed at the end; the app must have none.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(super) volume: Volume,
    /// Messages per second, sent whether or not webhooks keep up; 0: find the maximum, then half of it
    #[arg(long, default_value_t = 0)]
    pub(super) rate: u32,
    /// How long to measure, each time
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) seconds: u32,
    /// How long the receiver takes to answer, e.g. 20ms
    #[arg(long, default_value = "0ms", value_parser = humantime::parse_duration)]
    pub(super) endpoint_latency: Duration,
    /// A receiver as people write them first: head and body of each answer in two writes, Nagle's algorithm left on
    #[arg(long)]
    pub(super) two_writes: bool,
    /// Where the receiver listens, so that the server of --url reaches it
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:0")]
    pub(super) receiver_addr: SocketAddr,
    /// The server's webhooks.concurrency, and the bare client's connections
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(super) concurrency: u32,
    /// Messages sent and not arrived at a time when the maximum is measured
    #[arg(long, default_value_t = 2_000)]
    ahead: u64,
    /// Messages that pile up before catching up is measured; 0: leave it out
    #[arg(long, default_value_t = 50_000)]
    pub(super) backlog: u64,
    /// Measure only what a backlog costs: the server's memory with 50,000 undelivered messages and with all of --backlog,
    /// and catching up
    #[arg(long)]
    backlog_only: bool,
    /// For comparison: the same messages, stored but owed to nobody
    #[arg(long, requires = "backlog_only", conflicts_with = "url")]
    pub(super) no_webhook: bool,
    /// Measure only what a dead endpoint of another app costs: the same load for both apps at --rate each (0: 5,000), in
    /// slices of --seconds with that endpoint and without, turn by turn
    #[arg(long, value_name = "MANNER", conflicts_with_all = ["backlog_only", "url"])]
    bad_neighbour: Option<Manner>,
    /// Pairs of slices
    #[arg(long, default_value_t = 4, requires = "bad_neighbour", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(super) rounds: u32,
    /// Leave the bare client out
    #[arg(long)]
    no_client: bool,
    /// Threads of the server; 0: one per processor
    #[arg(long, default_value_t = 2, conflicts_with = "url")]
    pub(super) server_threads: u16,
    /// "fsync" or "os": the server's storage.durability
    #[arg(long, default_value = "fsync", conflicts_with = "url")]
    pub(super) durability: String,
    /// Print one line of JSON
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    elsewhere: Elsewhere,
}

/// One phase: what the senders saw, and what arrived while it was measured.
struct Phase {
    sent: Measured,
    deliveries_per_s: f64,
    cpu_s_per_10k: Option<f64>,
    /// From acknowledgement to arrival.
    latencies: Latencies,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    if let Some(manner) = args.bad_neighbour {
        return apart::run(&args, manner).await;
    }
    let mut receiver = HookReceiver::start(args.receiver_addr, args.answers()).await?;
    let mut subject = Subject::prepare(&args.elsewhere, args.own(&receiver)).await?;
    if subject.is_own() {
        return bench(&args, &mut subject, &mut receiver).await;
    }
    let mut caller = Caller::connect(subject.target.clone(), subject.admin.clone()).await?;
    let callback = json!({ "Url": receiver.url(), "CallbackCommandList": ["Group.CallbackAfterSendMsg"] });
    caller.must("live_config/set_callback", &callback).await.context("the app must not have a webhook already")?;
    let outcome = bench(&args, &mut subject, &mut receiver).await;
    // The connection may have been idle for too long; what the bench found counts for more than what this says.
    let mut caller = Caller::connect(subject.target.clone(), subject.admin.clone()).await?;
    let removed = caller.must("live_config/delete_callback", &json!({})).await;
    outcome.and_then(|code| removed.map(|_| code))
}

async fn bench(args: &Args, subject: &mut Subject, receiver: &mut HookReceiver) -> anyhow::Result<ExitCode> {
    if args.backlog_only {
        return backlog::run(args, subject, receiver).await;
    }
    let first = phase(args, args.rate, subject, receiver).await?;
    let half = match args.rate {
        0 => {
            let half = (first.deliveries_per_s / 2.0).max(1.0) as u32;
            Some(phase(args, half, subject, receiver).await?)
        }
        _ => None,
    };
    let catch_up = match args.backlog {
        0 => None,
        _ => Some(backlog::outage(args, subject, receiver).await?.pace),
    };
    subject.stop().await?;
    let client = match args.no_client {
        true => None,
        false => {
            let Args { concurrency: connections, volume: Volume { size, .. }, seconds, .. } = *args;
            Some(bare_client::rate(bare_client::Load { addr: receiver.addr, connections, size, seconds }).await?)
        }
    };

    let latency = half.as_ref().unwrap_or(&first);
    let mut report = Report::new("webhook");
    report.fields(args.volume.told());
    report.fields([("rate", args.rate), ("seconds", args.seconds), ("concurrency", args.concurrency)]);
    report.field("endpoint_latency_ms", args.endpoint_latency.as_secs_f64() * 1e3);
    report.field("two_writes", args.two_writes);
    report.field("backlog", args.backlog);
    report.field("deliveries_per_s", rounded(first.deliveries_per_s));
    report.field("cpu_s_per_10k", first.cpu_s_per_10k.map(rounded));
    report.field("catch_up_per_s", catch_up.map(|pace| rounded(pace.per_s)));
    report.field("catch_up_cpu_s_per_10k", catch_up.and_then(|pace| pace.cpu_s_per_10k).map(rounded));
    report.field("client_only_per_s", client.map(|pace| rounded(pace.per_s)));
    report.field("client_only_cpu_s_per_10k", client.and_then(|pace| pace.cpu_s_per_10k).map(rounded));
    let ratio = |per_s: f64| client.map(|client| rounded(per_s / client.per_s.max(1.0)));
    report.field("ratio_to_client", ratio(first.deliveries_per_s));
    report.field("catch_up_ratio_to_client", catch_up.and_then(|pace| ratio(pace.per_s)));
    report.field("latency_at_per_s", rounded(latency.deliveries_per_s));
    let memory = first.sent.start_mb.zip(first.sent.peak_mb);
    let memory = memory.map(|(start_mb, peak_mb)| Memory { start_mb, peak_mb });
    let errors = first.sent.tally.errors + half.as_ref().map_or(0, |half| half.sent.tally.errors);
    report.common(errors, &latency.latencies, memory);
    report.remark(format!("longest way: {} ms", latency.latencies.max_ms()));
    report.remark(format!("acknowledged at the maximum: p50 {} ms", first.sent.tally.latencies.ms(0.5)));
    report.print(args.json);
    let first_error = first.sent.tally.first_error.or(half.and_then(|half| half.sent.tally.first_error));
    first_error.map_or(Ok(ExitCode::SUCCESS), |error| anyhow::bail!("{errors} requests failed; the first: {error}"))
}

impl Args {
    /// How the receiver answers.
    pub(super) fn answers(&self) -> Answers {
        Answers { latency: self.endpoint_latency, two_writes: self.two_writes }
    }

    /// A server that delivers to the receiver.
    fn own(&self, receiver: &HookReceiver) -> Own {
        let webhook = match self.no_webhook {
            true => String::new(),
            false => format!("[app.webhook]\nurl = {:?}\n", receiver.url()),
        };
        let more = format!(
            "{webhook}[webhooks]\nallow = [\"127.0.0.0/8\"]\nconcurrency = {}\ncatch_up_per_s = 0\n",
            self.concurrency,
        );
        Own { durability: self.durability.clone(), threads: self.server_threads, more, ..Own::default() }
    }
}

/// Sends for a while, then waits until all has arrived. `rate` 0: as fast as webhooks arrive.
async fn phase(args: &Args, rate: u32, subject: &Subject, receiver: &mut HookReceiver) -> anyhow::Result<Phase> {
    let arrived_before = receiver.count().await?;
    let times = Arc::new(Mutex::new(HashMap::new()));
    let held_back = Arc::new(match rate {
        0 => HeldBack::at_most(args.ahead),
        _ => HeldBack::unlimited(),
    });
    let plan = Plan {
        volume: args.volume,
        rate,
        seconds: args.seconds,
        warmup: 1,
        acks: Some(Acks::Times(Arc::clone(&times))),
        held_back: Some(Arc::clone(&held_back)),
        ..Plan::default()
    };
    let mut counts = Vec::new();
    let sending_ended = AtomicBool::new(false);
    let sending = async {
        let sent = measured(subject, plan).await;
        sending_ended.store(true, Ordering::Relaxed);
        sent
    };
    let (sent, watched) =
        tokio::join!(sending, watch(receiver, arrived_before, &held_back, &sending_ended, &mut counts));
    let sent = sent?;
    watched?;
    let total = held_back.sent();
    all_arrived(receiver, arrived_before + total).await?;
    let at = |when: Instant| counts.iter().take_while(|(instant, _)| *instant <= when).last();
    let deliveries_per_s = match (at(sent.from), at(sent.end)) {
        (Some((from, before)), Some((end, after))) if end > from => {
            (after - before) as f64 / (*end - *from).as_secs_f64()
        }
        _ => 0.0,
    };
    let deliveries = deliveries_per_s * f64::from(args.seconds);
    let cpu_s_per_10k = stats::cpu_s_per_10k(sent.cpu, deliveries);
    let acknowledged = std::mem::take(&mut *times.lock().unwrap_or_else(PoisonError::into_inner));
    let arrivals = receiver.take_arrivals().await?;
    let mut latencies = Latencies::new()?;
    for (random, acknowledged) in acknowledged.into_iter().filter(|(_, at)| *at >= sent.from_unix_micros) {
        if let Some(arrived) = arrivals.get(&random) {
            // A webhook may well be faster than the answer to the sender.
            latencies.record(Duration::from_micros(arrived.saturating_sub(acknowledged)));
        }
    }
    Ok(Phase { sent, deliveries_per_s, cpu_s_per_10k, latencies })
}

/// Notes how many have arrived, again and again until sending ended.
async fn watch(
    receiver: &mut HookReceiver,
    arrived_before: u64,
    held_back: &HeldBack,
    sending_ended: &AtomicBool,
    counts: &mut Vec<(Instant, u64)>,
) -> anyhow::Result<()> {
    while !sending_ended.load(Ordering::Relaxed) {
        let arrived = receiver.count().await?.saturating_sub(arrived_before);
        held_back.arrived(arrived);
        counts.push((Instant::now(), arrived));
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}

/// How long webhooks may go without progress before the bench gives up; a paused endpoint is probed each minute.
pub(super) const STALL: Duration = Duration::from_secs(90);

pub(super) async fn all_arrived(receiver: &mut HookReceiver, due: u64) -> anyhow::Result<()> {
    let (mut last, mut since) = (0, Instant::now());
    loop {
        let now = receiver.count().await?;
        if now >= due {
            return Ok(());
        }
        if now != last {
            (last, since) = (now, Instant::now());
        }
        anyhow::ensure!(since.elapsed() < STALL, "only {now} of {due} webhooks arrived");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
