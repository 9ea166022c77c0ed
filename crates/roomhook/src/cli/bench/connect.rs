//! `bench connect`: a storm of clients that connect and join a room.

use std::{
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::json;

use super::{
    process::{Memory, Probe, peak_rss_mb},
    readers::{Heard, Readers},
    seats::{FormatName, Seated, Seating, seat, server_settings},
    sending::{new_rooms, room_id, sender},
    stats::{Report, cpu_s_per_10k, rounded},
    subject::{Elsewhere, Own, Subject},
};
use crate::cli::{client::Client, rest::Caller};

/// Let many clients connect at once and measure how fast they are let in
///
/// Each opens a WebSocket, connects with a UserSig and joins a room, as an SDK does: three exchanges. Latency is from
/// the opened socket (with --rate: from when it was due) until the room was joined. When all are in, each room gets one
/// message, and every client must hear it.
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
    /// Bytes of text in the message that all must hear
    #[arg(long, default_value_t = 300, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1..=12_000))]
    size: u32,
    /// Let in no more clients after this time, though not all are in
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
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
        within: Some(Duration::from_secs(args.seconds.into())),
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
    let Seated { clients, latencies, mut errors, first_error, took } = seated;
    let mut first_error = first_error.map(|error| format!("not let in: {error}"));
    let count = clients.len();
    let heard = match errors {
        0 if count == args.connections as usize => Some(hear(&args, &subject, &seating, clients).await?),
        _ => None,
    };
    if let Some(deaf) = heard.as_ref().and_then(|heard| heard.as_ref().err()) {
        errors += 1;
        first_error.get_or_insert_with(|| deaf.clone());
    }
    let mut report = Report::new("connect");
    report.field("connections", args.connections);
    report.field("rooms", args.rooms);
    report.field("size", args.size);
    report.field("rate", args.rate);
    report.field("seconds", args.seconds);
    report.field("in_flight", args.in_flight);
    report.field("format", args.format.name());
    report.field("joined", count);
    report.field("per_s", rounded(count as f64 / took.as_secs_f64()));
    report.field("cpu_s_per_10k", cpu_s_per_10k(cpu, count as f64).map(rounded));
    let memory = start_mb.zip(peak_mb).map(|(start_mb, peak_mb)| Memory { start_mb, peak_mb });
    report.common(errors, &latencies, memory);
    report.remark(format!("slowest client: {} ms", latencies.max_ms()));
    if let Some(Ok(heard)) = heard {
        report.remark(format!("all heard a message of their room {} ms after it was sent", heard.as_millis()));
    }
    subject.stop().await?;
    report.print(args.json);
    match first_error {
        None => Ok(ExitCode::SUCCESS),
        Some(error) => anyhow::bail!("{errors} went wrong; the first: {error}"),
    }
}

/// One message to each room; how long it took until all of its clients had it, or who did not.
async fn hear(
    args: &Args,
    subject: &Subject,
    seating: &Seating,
    clients: Vec<(usize, Client)>,
) -> anyhow::Result<Result<Duration, String>> {
    let rooms = args.rooms as usize;
    let heard = Arc::new(Heard::new(clients.len(), rooms)?);
    let sockets = clients.into_iter().map(|(number, client)| {
        let (stream, bytes) = client.into_parts();
        (number, stream, bytes)
    });
    let _reading = Readers::start(&heard, sockets, seating.format);
    let mut caller = Caller::connect(subject.target.clone(), subject.admin.clone()).await?;
    let began = Instant::now();
    let text = "x".repeat(args.size as usize);
    for room in 0..args.rooms {
        let id = room_id(&seating.room_prefix, room);
        let message = json!({ "RoomId": id, "Sender_Account": sender(0), "TextContent": text });
        caller.must("live_engine_http_srv/send_text_msg", &message).await?;
    }
    for room in 0..rooms {
        if !heard.all_have(room, 1).await {
            return Ok(Err(format!("not all clients of room {room} heard its message")));
        }
    }
    Ok(Ok(began.elapsed()))
}
