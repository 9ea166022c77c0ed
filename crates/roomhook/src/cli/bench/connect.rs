//! `bench connect`: a storm of clients that connect and join a room.

use std::process::ExitCode;

use super::{
    process::{Memory, Probe, peak_rss_mb},
    seats::{FormatName, Seating, seat, server_settings},
    sending::new_rooms,
    stats::{Report, rounded},
    subject::{Elsewhere, Own, Subject},
};

/// Let many clients connect at once and measure how fast they are let in
///
/// Each opens a WebSocket, connects with a UserSig and joins a room, as an SDK does: three exchanges. Latency is from
/// the opened socket (with --rate: from when it was due) until the room was joined.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Clients, all of them open at the end
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..=400_000))]
    connections: u32,
    /// Rooms they are spread over
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=99_999))]
    rooms: u32,
    /// Clients per second; 0: as fast as they are let in
    #[arg(long, default_value_t = 0)]
    rate: u32,
    /// Clients on their way at a time
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    in_flight: u32,
    /// What they speak
    #[arg(long, value_enum, default_value = "json")]
    format: FormatName,
    /// Threads of the server; 0: one per processor
    #[arg(long, default_value_t = 2, conflicts_with = "url")]
    server_threads: u16,
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    elsewhere: Elsewhere,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let own = Own {
        durability: "fsync".to_owned(),
        threads: args.server_threads,
        more: server_settings(args.connections, "0ms"),
        ..Own::default()
    };
    let mut subject = Subject::prepare(&args.elsewhere, own).await?;
    let room_prefix = new_rooms(&subject, args.rooms).await?;
    let seating = Seating {
        sockets: args.connections as usize,
        rooms: args.rooms,
        room_prefix,
        format: args.format.format(),
        in_flight: args.in_flight as usize,
        rate: args.rate,
    };
    let (start_mb, cpu) = (subject.probe.and_then(Probe::rss_mb), subject.probe.and_then(Probe::cpu));
    let mut seated = None;
    let storm = async { seated = Some(seat(&subject, &seating).await) };
    let peak_mb = match subject.probe {
        Some(probe) => Some(peak_rss_mb(probe, storm).await),
        None => {
            storm.await;
            None
        }
    };
    let Some(seated) = seated.transpose()? else { anyhow::bail!("the storm did not end") };
    let cpu = subject.probe.and_then(Probe::cpu).zip(cpu).map(|(after, before)| after.saturating_sub(before));
    let count = seated.clients.len() as f64;
    let mut report = Report::new("connect");
    report.field("connections", args.connections);
    report.field("rooms", args.rooms);
    report.field("rate", args.rate);
    report.field("in_flight", args.in_flight);
    report.field("format", args.format.name());
    report.field("per_s", rounded(count / seated.took.as_secs_f64()));
    report.field("cpu_s_per_10k", cpu.map(|cpu| rounded(cpu.as_secs_f64() * 1e4 / count.max(1.0))));
    let memory = start_mb.zip(peak_mb).map(|(start_mb, peak_mb)| Memory { start_mb, peak_mb });
    report.common(seated.errors, &seated.latencies, memory);
    report.remark(format!("slowest client: {} ms", seated.latencies.max_ms()));
    let first_error = seated.first_error;
    drop(seated.clients);
    subject.stop().await?;
    report.print(args.json);
    match first_error {
        None => Ok(ExitCode::SUCCESS),
        Some(error) => anyhow::bail!("{} clients were not let in; the first: {error}", seated.errors),
    }
}
