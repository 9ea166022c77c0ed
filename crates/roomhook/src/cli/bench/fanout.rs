//! `bench fanout`: messages to rooms full of sockets.

mod phase;

use std::{
    process::ExitCode,
    sync::{Arc, PoisonError, atomic::Ordering},
    time::Duration,
};

use self::phase::{Load, Phase};
use super::{
    process::{Memory, Probe, peak_rss_mb},
    raw::{self, Comparison, RawLimit},
    readers::{Heard, Readers, STAMP_DIGITS},
    seats::{FormatName, Seating, seat, server_settings},
    sending::new_rooms,
    stats::{Report, rounded},
    subject::{Elsewhere, Own, Subject},
};

/// Send messages to rooms full of sockets and measure how they arrive
///
/// First as fast as can be with --in-flight messages per room under way (the maximum, and CPU), then at half of that
/// rate (latency, from when a message was due to be sent until a socket has it), then, for comparison, the same bytes
/// from a process that only writes to plain sockets (the raw limit). With --rate it is that rate only.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Sockets
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=400_000))]
    connections: u32,
    /// Rooms they are spread over
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    rooms: u32,
    /// Bytes of text in each message
    #[arg(long, default_value_t = 400, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(16..=12_000))]
    size: u32,
    /// Messages per second over all rooms, sent whether or not they arrive; 0: find the maximum, then half of it
    #[arg(long, default_value_t = 0)]
    rate: u32,
    /// How long to measure, each time
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Messages of a room under way at a time when the maximum is measured. From 8 on they share writes
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=256))]
    in_flight: u32,
    /// What the sockets speak
    #[arg(long, value_enum, default_value = "json")]
    format: FormatName,
    /// The server's realtime.write_delay
    #[arg(long, default_value = "0ms", conflicts_with = "url")]
    write_delay: String,
    /// Threads of the server (0: one per processor), and of the raw writer
    #[arg(long, default_value_t = 2, conflicts_with = "url")]
    server_threads: u16,
    /// Sockets that never read, dribble half a frame, or send nonsense, beside a last phase at the rate of the one before:
    /// how much later do the others hear? 0: none
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=1_000))]
    bad_neighbours: u32,
    /// Leave the raw limit out
    #[arg(long)]
    no_raw: bool,
    /// "fsync" or "os": the server's storage.durability
    #[arg(long, default_value = "fsync", conflicts_with = "url")]
    durability: String,
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    elsewhere: Elsewhere,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let mut subject = Subject::prepare(&args.elsewhere, args.own()).await?;
    let room_prefix = new_rooms(&subject, args.rooms).await?;
    let rss = || subject.probe.and_then(Probe::rss_mb);
    let start_mb = rss();
    let heard = Arc::new(Heard::new(args.connections as usize, args.rooms as usize)?);
    let readers = fill(&args, &subject, &room_prefix, &heard).await?;
    let mut beside_bad = None;
    // Let what the joining left behind be dealt with before memory is read.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let idle_mb = rss();
    let load = Arc::new(Load {
        target: subject.target.clone(),
        admin: subject.admin.clone(),
        heard: Arc::clone(&heard),
        rooms: args.rooms as usize,
        room_prefix: room_prefix.clone(),
        padding: "x".repeat((args.size as usize).saturating_sub(STAMP_DIGITS)),
    });
    let mut phases = Vec::new();
    let measuring = async {
        phases.push(load.phase(&args, args.rate, subject.probe).await);
        if let Some(Ok(maximum)) = phases.first().filter(|_| args.rate == 0) {
            let half = (maximum.messages as f64 / maximum.took.as_secs_f64() / 2.0).max(1.0) as u32;
            phases.push(load.phase(&args, half, subject.probe).await);
        }
        if args.bad_neighbours > 0 {
            let rate = phases.last().and_then(|phase| phase.as_ref().ok()).map_or(0, Phase::messages_per_s);
            beside_bad = Some(load.beside_bad(&args, &subject, rate.max(1)).await);
        }
    };
    let peak_mb = match subject.probe {
        Some(probe) => Some(peak_rss_mb(probe, measuring).await),
        None => {
            measuring.await;
            None
        }
    };
    let phases = phases.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    let beside_bad = beside_bad.transpose()?;
    let frame_bytes = heard.frame_bytes.load(Ordering::Relaxed) as usize;
    let lost = heard.sockets_lost.load(Ordering::Relaxed);
    drop(readers);
    subject.stop().await?;
    let raw = if args.no_raw { None } else { Some(raw::limit(args.comparison(frame_bytes)).await?) };
    let memory = RunMemory { start_mb, idle_mb, peak_mb };
    let (Some(maximum), Some(latency)) = (phases.first(), phases.last()) else { anyhow::bail!("nothing was measured") };
    let mut report = report(&args, maximum, latency, &memory, raw, lost);
    if let Some(beside_bad) = &beside_bad {
        report.field("bad_neighbours", args.bad_neighbours);
        report.field("p50_ms_beside_bad", beside_bad.latencies.ms(0.5));
        report.field("p99_ms_beside_bad", beside_bad.latencies.ms(0.99));
        report.field("errors_beside_bad", beside_bad.errors);
    }
    report.print(args.json);
    let loss = heard.first_loss.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(error) = loss.or(phases.into_iter().find_map(|phase| phase.first_error)) {
        anyhow::bail!("not all went well; the first: {error}");
    }
    Ok(ExitCode::SUCCESS)
}

struct RunMemory {
    start_mb: Option<f64>,
    idle_mb: Option<f64>,
    peak_mb: Option<f64>,
}

fn report(
    args: &Args,
    maximum: &Phase,
    latency: &Phase,
    memory: &RunMemory,
    raw: Option<RawLimit>,
    lost: u64,
) -> Report {
    let mut report = Report::new("fanout");
    report.fields([
        ("connections", args.connections),
        ("rooms", args.rooms),
        ("size", args.size),
        ("rate", args.rate),
        ("seconds", args.seconds),
        ("in_flight", args.in_flight),
    ]);
    report.field("format", args.format.name());
    let kb_each = |mb: Option<f64>| {
        let grown = mb.zip(memory.start_mb).map(|(mb, start)| (mb - start).max(0.0) * 1e3);
        grown.map(|kb| rounded(kb / f64::from(args.connections)))
    };
    report.field("deliveries_per_s", rounded(maximum.per_s()));
    report.field("cpu_s_per_million", maximum.cpu_s_per_million().map(rounded));
    report.field("kb_per_idle_connection", kb_each(memory.idle_mb));
    report.field("kb_per_busy_connection", kb_each(memory.peak_mb));
    report.field("raw_deliveries_per_s", raw.map(|raw| rounded(raw.deliveries_per_s)));
    report.field("raw_cpu_s_per_million", raw.and_then(|raw| raw.cpu_s_per_million).map(rounded));
    report.field("ratio_to_raw", raw.map(|raw| rounded(maximum.per_s() / raw.deliveries_per_s.max(1.0))));
    report.field("latency_at_per_s", rounded(latency.per_s()));
    report.field("latency_cpu_s_per_million", latency.cpu_s_per_million().map(rounded));
    let both = memory.start_mb.zip(memory.peak_mb).map(|(start_mb, peak_mb)| Memory { start_mb, peak_mb });
    let errors = if args.rate == 0 { maximum.errors + latency.errors } else { maximum.errors };
    report.common(errors + lost, &latency.latencies, both);
    report.remark(format!("at the maximum: p50 {} ms, {}", maximum.latencies.ms(0.5), maximum.busy()));
    report.remark(format!("when latency was measured: longest {} ms, {}", latency.latencies.max_ms(), latency.busy()));
    report
}

impl Args {
    fn own(&self) -> Own {
        let more = server_settings(self.connections + self.bad_neighbours, &self.write_delay);
        Own { durability: self.durability.clone(), threads: self.server_threads, more, ..Own::default() }
    }

    fn comparison(&self, frame_bytes: usize) -> Comparison {
        Comparison {
            sockets: self.connections as usize,
            rooms: self.rooms as usize,
            frame_bytes,
            lanes: usize::from(self.server_threads.max(1)),
            in_flight: self.in_flight.into(),
            seconds: self.seconds,
        }
    }
}

/// Opens all sockets and begins to read them.
async fn fill(args: &Args, subject: &Subject, room_prefix: &str, heard: &Arc<Heard>) -> anyhow::Result<Readers> {
    let seating = Seating {
        sockets: args.connections as usize,
        rooms: args.rooms,
        room_prefix: room_prefix.to_owned(),
        format: args.format.format(),
        in_flight: 256,
        rate: 0,
        within: None,
    };
    let seated = seat(subject, &seating).await?;
    if let Some(error) = seated.first_error {
        anyhow::bail!("{} sockets were not let in; the first: {error}", seated.errors);
    }
    let sockets = seated.clients.into_iter().map(|(number, client)| {
        let (stream, bytes) = client.into_parts();
        (number, stream, bytes)
    });
    Ok(Readers::start(heard, sockets, args.format.format()))
}
