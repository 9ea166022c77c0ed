//! `bench webhook --bad-neighbour`: what a dead endpoint of one app costs the webhooks and the receipts of another.
//!
//! Two apps of one server get the same load all the time. In every other slice of time the neighbour has a webhook whose
//! endpoint is dead; in the slices between it has none. So the slices differ in nothing but what the server does about a dead
//! endpoint, from its first failure on, and what else happens on the machine falls on both kinds alike.

use std::{
    collections::HashMap,
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use serde_json::json;

use super::{
    bad_receiver::{BadReceiver, Manner},
    hook_receiver::HookReceiver,
    metrics::Metrics,
    process::Memory,
    sending::{Acks, HeldBack, Plan, measured, new_rooms},
    stats::{Latencies, Report, rounded},
    subject::{Own, Subject},
    webhook::Args,
};
use crate::cli::rest::Caller;

/// Messages per second of each app, if not said.
const RATE: u32 = 5_000;
const NEIGHBOUR: u32 = 1_400_000_002;
const NEIGHBOURS_KEY: &str = "a key for a neighbour, not a secret";
/// How long webhooks of the healthy app may take to arrive after the load has ended.
const PATIENCE: Duration = Duration::from_secs(30);

/// What was measured in slices of one kind.
#[derive(Debug)]
struct Kind {
    /// From when a message was due until it was acknowledged.
    receipts: Vec<Latencies>,
    /// From its acknowledgement until its webhook arrived.
    deliveries: Vec<Latencies>,
    errors: u64,
    first_error: Option<String>,
}

struct Bench<'a> {
    args: &'a Args,
    rate: u32,
    subject: Subject,
    receiver: HookReceiver,
    rooms: String,
    neighbour: Neighbour,
    /// From before the first slice to the most there was.
    memory: Option<Memory>,
}

struct Neighbour {
    subject: Subject,
    caller: Caller,
    endpoint: BadReceiver,
    rooms: String,
    /// Owed and not delivered at the end of the last slice.
    pending: u64,
}

pub(super) async fn run(args: &Args, manner: Manner) -> anyhow::Result<ExitCode> {
    let mut bench = Bench::start(args, manner).await?;
    let (mut without, mut with) = (Kind::new(), Kind::new());
    for round in 0..args.rounds {
        // There and back, so that whatever grows with time falls on both.
        for is_bad in [round % 2 == 1, round % 2 == 0] {
            bench.slice(is_bad, if is_bad { &mut with } else { &mut without }).await?;
        }
    }
    bench.subject.stop().await?;
    report(args, manner, &bench, &without, &with)?.print(args.json);
    match without.first_error.or(with.first_error) {
        Some(error) => anyhow::bail!("requests failed; the first: {error}"),
        None => Ok(ExitCode::SUCCESS),
    }
}

fn report(args: &Args, manner: Manner, bench: &Bench<'_>, without: &Kind, with: &Kind) -> anyhow::Result<Report> {
    let mut report = Report::new("webhook");
    report.field("bad_neighbour", format!("{manner:?}").to_lowercase());
    report.fields(args.volume.told());
    report.fields([("rate", bench.rate), ("seconds", args.seconds), ("rounds", args.rounds)]);
    let (receipts, deliveries) = (
        [median_p99(&without.receipts), median_p99(&with.receipts)],
        [median_p99(&without.deliveries), median_p99(&with.deliveries)],
    );
    for (names, [before, beside]) in [
        (["deliveries_p99_ms_alone", "deliveries_p99_ms_beside_bad", "deliveries_p99_ratio"], deliveries),
        (["receipts_p99_ms_alone", "receipts_p99_ms_beside_bad", "receipts_p99_ratio"], receipts),
    ] {
        for (name, value) in names.into_iter().zip([before, beside, rounded(beside / before.max(0.001))]) {
            report.field(name, value);
        }
    }
    report.field("neighbour_pending", bench.neighbour.pending);
    let mut all = Latencies::new()?;
    for slice in &with.deliveries {
        all.merge(slice)?;
    }
    report.common(without.errors + with.errors, &all, bench.memory);
    report.remark(format!("p99 of deliveries in each slice alone: {:?} ms", each_p99(&without.deliveries)));
    report.remark(format!("p99 of deliveries beside the bad one:  {:?} ms", each_p99(&with.deliveries)));
    report.remark(format!("p99 of receipts in each slice alone:   {:?} ms", each_p99(&without.receipts)));
    report.remark(format!("p99 of receipts beside the bad one:    {:?} ms", each_p99(&with.receipts)));
    Ok(report)
}

impl Bench<'_> {
    async fn start(args: &Args, manner: Manner) -> anyhow::Result<Bench<'_>> {
        let receiver = HookReceiver::start(args.receiver_addr, args.answers()).await?;
        let endpoint = BadReceiver::start(manner)?;
        let more = format!(
            "[app.webhook]\nurl = \"http://{}/hook\"\n\
             [[app]]\nsdkappid = {NEIGHBOUR}\nkey = {NEIGHBOURS_KEY:?}\nadmins = [\"administrator\"]\n\
             [webhooks]\nallow = [\"127.0.0.0/8\"]\nconcurrency = {}\n",
            receiver.addr, args.concurrency,
        );
        let own = Own { durability: args.durability.clone(), threads: args.server_threads, more, ..Own::default() };
        let subject = Subject::start("administrator", own).await?;
        let theirs = subject.of_another_app(NEIGHBOUR, NEIGHBOURS_KEY);
        let caller = Caller::connect(theirs.target.clone(), theirs.admin.clone()).await?;
        let rooms = new_rooms(&theirs, args.volume.rooms).await?;
        let neighbour = Neighbour { subject: theirs, caller, endpoint, rooms, pending: 0 };
        let rate = if args.rate == 0 { RATE } else { args.rate };
        let rooms = new_rooms(&subject, args.volume.rooms).await?;
        Ok(Bench { args, rate, subject, receiver, rooms, neighbour, memory: None })
    }

    async fn slice(&mut self, is_bad: bool, kind: &mut Kind) -> anyhow::Result<()> {
        if is_bad {
            self.neighbour.switch_on().await?;
        }
        let times = Arc::new(Mutex::new(HashMap::new()));
        let sent = Arc::new(HeldBack::unlimited());
        let (own, theirs) = tokio::join!(
            measured(&self.subject, self.plan(&self.rooms, Some(Acks::Times(Arc::clone(&times))), None)),
            measured(&self.neighbour.subject, self.plan(&self.neighbour.rooms, None, Some(Arc::clone(&sent)))),
        );
        let (own, theirs) = (own?, theirs?);
        let acknowledged = std::mem::take(&mut *times.lock().unwrap_or_else(PoisonError::into_inner));
        let arrivals = all_arrivals(&mut self.receiver, &acknowledged).await?;
        if is_bad {
            self.neighbour.settle_up(sent.sent()).await?;
        }
        let mut deliveries = Latencies::new()?;
        for (random, at) in acknowledged.into_iter().filter(|(_, at)| *at >= own.from_unix_micros) {
            let arrived = arrivals.get(&random).copied().unwrap_or(u64::MAX);
            // A webhook may well be faster than the answer to the sender.
            deliveries.record(Duration::from_micros(arrived.saturating_sub(at)));
        }
        if let Some((start_mb, peak_mb)) = own.start_mb.zip(own.peak_mb) {
            let memory = self.memory.get_or_insert(Memory { start_mb, peak_mb });
            memory.peak_mb = memory.peak_mb.max(peak_mb);
        }
        kind.errors += own.tally.errors + theirs.tally.errors;
        kind.first_error = kind.first_error.take().or(own.tally.first_error).or(theirs.tally.first_error);
        kind.receipts.push(own.tally.latencies);
        kind.deliveries.push(deliveries);
        Ok(())
    }

    fn plan(&self, rooms: &str, acks: Option<Acks>, held_back: Option<Arc<HeldBack>>) -> Plan {
        Plan {
            volume: self.args.volume,
            rate: self.rate,
            seconds: self.args.seconds,
            warmup: 1,
            acks,
            held_back,
            room_prefix: Some(rooms.to_owned()),
            ..Plan::default()
        }
    }
}

impl Neighbour {
    async fn switch_on(&mut self) -> anyhow::Result<()> {
        let url = format!("http://{}/hook", self.endpoint.addr);
        let body = json!({"Url": url, "CallbackCommandList": ["Group.CallbackAfterSendMsg"]});
        self.caller.must("live_config/set_callback", &body).await.map(drop)
    }

    /// All that was sent must be waiting, and be counted; then the webhook goes, and its debt with it.
    async fn settle_up(&mut self, sent: u64) -> anyhow::Result<()> {
        let target = self.subject.metrics.as_ref().context("the server is ours")?;
        let metrics = Metrics::of(target).await?;
        let app = format!("app=\"{NEIGHBOUR}\"");
        self.pending = metrics.sum_with("roomhook_webhook_pending", &app) as u64;
        anyhow::ensure!(self.pending == sent, "{sent} messages to a dead endpoint, of which {} wait", self.pending);
        self.caller.must("live_config/delete_callback", &json!({})).await.map(drop)
    }
}

/// Waits until all these have arrived; when each did.
async fn all_arrivals(receiver: &mut HookReceiver, due: &HashMap<u64, u64>) -> anyhow::Result<HashMap<u64, u64>> {
    let (mut arrivals, began) = (HashMap::new(), Instant::now());
    loop {
        arrivals.extend(receiver.take_arrivals().await?);
        let missing = due.keys().filter(|random| !arrivals.contains_key(random)).count();
        if missing == 0 {
            return Ok(arrivals);
        }
        anyhow::ensure!(began.elapsed() < PATIENCE, "{missing} of {} webhooks did not arrive", due.len());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

impl Kind {
    fn new() -> Self {
        Self { receipts: Vec::new(), deliveries: Vec::new(), errors: 0, first_error: None }
    }
}

fn each_p99(slices: &[Latencies]) -> Vec<f64> {
    slices.iter().map(|slice| slice.ms(0.99)).collect()
}

/// Of the slices' p99s: a slice in which the machine was busy elsewhere must not decide.
fn median_p99(slices: &[Latencies]) -> f64 {
    let mut each = each_p99(slices);
    each.sort_by(f64::total_cmp);
    let middle = each.len() / 2;
    match (each.len() % 2, middle.checked_sub(1).and_then(|before| each.get(before)), each.get(middle)) {
        (0, Some(below), Some(above)) => rounded(f64::midpoint(*below, *above)),
        (_, _, Some(middle)) => *middle,
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between_the_two_in_the_middle() {
        let slice = |ms: u64| {
            let mut latencies = Latencies::new().expect("a histogram");
            latencies.record(Duration::from_millis(ms));
            latencies
        };
        let median = |each: &[u64]| median_p99(&each.iter().copied().map(slice).collect::<Vec<_>>()).round();
        assert_eq!((median(&[]), median(&[7]), median(&[9, 1, 5]), median(&[1, 100, 3, 5])), (0.0, 7.0, 5.0, 4.0));
    }
}
