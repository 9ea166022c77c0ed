//! `bench gate`: what the before-send gate costs those who use it, and those who do not.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    process::ExitCode,
    time::Duration,
};

use super::{
    hook_receiver::{Answers, HookReceiver},
    load::Volume,
    process::Memory,
    sending::{Measured, Plan, measured, new_rooms},
    stats::{Latencies, Report, cpu_s_per_10k, rounded},
    subject::{Own, Subject},
};

/// Send room messages of apps with and without a moderator and measure what its questions cost
///
/// A server of its own serves three apps: one without a moderator, one with a prompt one, one with a slow one; each
/// moderator is a process of its own and allows everything. First the first app as fast as can be, then the second: the
/// difference is the gate. Then the first app again at --rate, in turns alone and beside the third, which is sent to as
/// fast as its slow moderator lets it: what do those notice who are not moderated?
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    volume: Volume,
    /// Messages per second of the app without moderator, alone and beside the slow one
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
    /// How long to measure, each time
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// How long the slow moderator takes for an answer
    #[arg(long, default_value = "1s", value_parser = humantime::parse_duration)]
    moderator_latency: Duration,
    /// The server's gate.concurrency: questions in flight per app
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    concurrency: u32,
    /// Threads of the server; 0: one per processor
    #[arg(long, default_value_t = 2)]
    server_threads: u16,
    /// "fsync" or "os": the server's storage.durability
    #[arg(long, default_value = "fsync")]
    durability: String,
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
}

/// How often alone and beside take turns, so that what else the machine does falls on both.
const TURNS: u32 = 2;
/// Moderators listen at any free port.
const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
const KEY: &str = "a key for a bench, not a secret";
const PROMPT_APP: u32 = 1_400_000_002;
const SLOW_APP: u32 = 1_400_000_003;

/// Several runs of the same kind.
struct Together {
    latencies: Latencies,
    errors: u64,
    first_error: Option<String>,
}

impl Together {
    fn new() -> anyhow::Result<Self> {
        Ok(Self { latencies: Latencies::new()?, errors: 0, first_error: None })
    }

    fn add(&mut self, run: Measured) -> anyhow::Result<()> {
        self.latencies.merge(&run.tally.latencies)?;
        self.errors += run.tally.errors;
        self.first_error = self.first_error.take().or(run.tally.first_error);
        Ok(())
    }
}

pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let prompt_moderator = HookReceiver::start(LOOPBACK, Answers::default()).await?;
    let slow = Answers { latency: args.moderator_latency, ..Answers::default() };
    let slow_moderator = HookReceiver::start(LOOPBACK, slow).await?;
    let mut plain = Subject::start("administrator", args.own(&prompt_moderator, &slow_moderator)).await?;
    let (prompt, slow) = (plain.of_another_app(PROMPT_APP, KEY), plain.of_another_app(SLOW_APP, KEY));

    let without = measured(&plain, args.plan(&plain, 0).await?).await?;
    let with = measured(&prompt, args.plan(&prompt, 0).await?).await?;
    let (mut alone, mut beside, mut slowed) = (Together::new()?, Together::new()?, Together::new()?);
    for _ in 0..TURNS {
        alone.add(measured(&plain, args.plan(&plain, args.rate).await?).await?)?;
        let (measured_beside, of_slow) = args.beside(&plain, &slow).await?;
        beside.add(measured_beside)?;
        slowed.add(of_slow)?;
    }
    plain.stop().await?;

    let memory = with.start_mb.zip(with.peak_mb).map(|(start_mb, peak_mb)| Memory { start_mb, peak_mb });
    let mut report = args.report(&without, &with);
    let [p99_alone, p99_beside] = [&alone, &beside].map(|runs| runs.latencies.ms(0.99));
    report.fields([
        ("p50_ms_alone", alone.latencies.ms(0.5)),
        ("p50_ms_beside_slow", beside.latencies.ms(0.5)),
        ("p99_ms_alone", p99_alone),
        ("p99_ms_beside_slow", p99_beside),
        ("ratio_p99", rounded(p99_beside / p99_alone.max(0.001))),
        ("slow_per_s", rounded(slowed.latencies.count() as f64 / f64::from((args.seconds + 1) * TURNS))),
        ("p50_ms_slow", slowed.latencies.ms(0.5)),
    ]);
    report.field("slow_refused", slowed.errors);
    let mut all = Together::new()?;
    let latencies = with.tally.latencies.clone();
    for run in [without, with] {
        all.add(run)?;
    }
    // Who floods a slow moderator is refused with 60018, as documented; that is no error of this bench.
    let errors = all.errors + alone.errors + beside.errors;
    report.common(errors, &latencies, memory);
    report.print(args.json);
    let first_error = all.first_error.or(alone.first_error).or(beside.first_error);
    first_error.map_or(Ok(ExitCode::SUCCESS), |error| anyhow::bail!("{errors} requests failed; the first: {error}"))
}

impl Args {
    /// A server with the three apps; the first is that of every bench.
    fn own(&self, prompt: &HookReceiver, slow: &HookReceiver) -> Own {
        let moderated = |sdkappid: u32, moderator: &HookReceiver| {
            format!(
                "[[app]]\nsdkappid = {sdkappid}\nkey = {KEY:?}\nadmins = [\"administrator\"]\n\
                 [app.webhook]\nurl = {:?}\ncommands = [\"Group.CallbackBeforeSendMsg\"]\n",
                moderator.url(),
            )
        };
        let more = format!(
            "{}{}[webhooks]\nallow = [\"127.0.0.0/8\"]\n[gate]\nconcurrency = {}\n",
            moderated(PROMPT_APP, prompt),
            moderated(SLOW_APP, slow),
            self.concurrency,
        );
        Own { durability: self.durability.clone(), threads: self.server_threads, more, ..Own::default() }
    }

    async fn plan(&self, subject: &Subject, rate: u32) -> anyhow::Result<Plan> {
        Ok(Plan {
            volume: self.volume,
            rate,
            seconds: self.seconds,
            warmup: 1,
            room_prefix: Some(new_rooms(subject, self.volume.rooms).await?),
            ..Plan::default()
        })
    }

    /// The app without a moderator at its rate, while the one with a slow moderator is sent to as fast as it takes.
    async fn beside(&self, plain: &Subject, slow: &Subject) -> anyhow::Result<(Measured, Measured)> {
        let (plan, mut slow_plan) = (self.plan(plain, self.rate).await?, self.plan(slow, 0).await?);
        // It goes on a little longer than what is measured, so that it is there all the time.
        slow_plan.seconds += 1;
        let (run, of_slow) = tokio::join!(measured(plain, plan), measured(slow, slow_plan));
        Ok((run?, of_slow?))
    }

    fn report(&self, without: &Measured, with: &Measured) -> Report {
        let mut report = Report::new("gate");
        report.fields(self.volume.told());
        report.fields([("rate", self.rate), ("seconds", self.seconds), ("concurrency", self.concurrency)]);
        report.field("moderator_latency_ms", self.moderator_latency.as_secs_f64() * 1e3);
        let per_s = |run: &Measured| rounded(run.tally.latencies.count() as f64 / f64::from(self.seconds));
        let [cpu_with, cpu_without] =
            [with, without].map(|run| cpu_s_per_10k(run.cpu, run.tally.latencies.count() as f64));
        report.field("per_s", per_s(with));
        report.field("per_s_unmoderated", per_s(without));
        report.field("cpu_s_per_10k", cpu_with.map(rounded));
        report.field("cpu_s_per_10k_unmoderated", cpu_without.map(rounded));
        let gate = cpu_with.zip(cpu_without).map(|(with, without)| rounded(with - without));
        report.field("gate_cpu_s_per_10k", gate);
        report.field("p50_ms_unmoderated", without.tally.latencies.ms(0.5));
        report.field("p99_ms_unmoderated", without.tally.latencies.ms(0.99));
        report
    }
}
