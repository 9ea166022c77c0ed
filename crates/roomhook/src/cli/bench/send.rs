//! `bench send`: messages over REST, each acknowledged when it is durable.

use std::{path::PathBuf, process::ExitCode};

use super::{
    load::Volume,
    process::Memory,
    sending::{Acks, Plan, measured},
    stats::{Report, cpu_s_per_10k, rounded},
    subject::{Elsewhere, Own, Subject},
};

/// Send room messages and measure how fast they are acknowledged
///
/// Every answer is checked: ErrorCode 0 and a MsgSeq. Latency is from the moment a request is due (with --rate) or
/// sent (without) until its answer is read. CPU and memory are those of the server process alone.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    volume: Volume,
    /// Messages per second, sent whether or not the server keeps up; 0: as fast as it answers
    #[arg(long, default_value_t = 0)]
    rate: u32,
    /// How long to measure
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Seconds of load before measuring begins
    #[arg(long, default_value_t = 2)]
    warmup: u32,
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
    /// Write each acknowledged message to this file: a line with room id and MsgSeq (complete when the run has ended)
    #[arg(long, value_name = "FILE")]
    acks: Option<PathBuf>,
    /// Keep the store of the server in this folder (it may hold one already)
    #[arg(long, value_name = "DIR", conflicts_with = "url")]
    data: Option<PathBuf>,
    /// "fsync" or "os": the server's storage.durability
    #[arg(long, default_value = "fsync", conflicts_with = "url")]
    durability: String,
    #[command(flatten)]
    elsewhere: Elsewhere,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let mut subject = Subject::prepare(&args.elsewhere, args.own()).await?;
    let plan = Plan {
        volume: args.volume,
        rate: args.rate,
        seconds: args.seconds,
        warmup: args.warmup,
        acks: args.acks.as_deref().map(Acks::to_file).transpose()?,
        ..Plan::default()
    };
    let run = measured(&subject, plan).await?;
    let took_s = f64::from(args.seconds);
    let (tally, cpu, sent) = (&run.tally, run.cpu, run.tally.latencies.count());
    let mut report = Report::new("send");
    report.fields(args.volume.told());
    report.fields([("rate", args.rate), ("seconds", args.seconds)]);
    report.field("per_s", rounded(sent as f64 / took_s));
    report.field("cpu_s_per_10k", cpu_s_per_10k(cpu, sent as f64).map(rounded));
    let memory = run.start_mb.zip(run.peak_mb).map(|(start_mb, peak_mb)| Memory { start_mb, peak_mb });
    report.common(tally.errors, &tally.latencies, memory);
    report.remark(format!("longest answer: {} ms", tally.latencies.max_ms()));
    if let Some(cpu) = cpu {
        let load = run.load_cpu.unwrap_or_default().as_secs_f64() / took_s;
        report.remark(format!("processors busy: server {:.2}, load {load:.2}", cpu.as_secs_f64() / took_s));
    }
    if let Some(fdatasync) = subject.fdatasync {
        report.remark(format!("one fdatasync, here and now: {} ms (median)", rounded(fdatasync.as_secs_f64() * 1e3)));
    }
    if let Some(started_in) = subject.stop().await? {
        report.remark(format!("server was ready {} ms after its start", started_in.as_millis()));
    }
    report.print(args.json);
    match &tally.first_error {
        None => Ok(ExitCode::SUCCESS),
        Some(error) => anyhow::bail!("{} of {} requests failed; the first: {error}", tally.errors, tally.errors + sent),
    }
}

impl Args {
    fn own(&self) -> Own {
        Own { data: self.data.clone(), durability: self.durability.clone(), ..Own::default() }
    }
}
