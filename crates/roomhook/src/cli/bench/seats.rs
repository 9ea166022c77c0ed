//! Sockets that join rooms, many at a time.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use roomhook_centrifuge::Format;
use tokio::{sync::Semaphore, task::JoinSet};

use super::{
    load::{Pace, Target},
    sending::{SENDERS, room_id, sender},
    stats::Latencies,
    subject::Subject,
};
use crate::cli::client::{Client, ClientError};

/// JSON or Protobuf, as an option.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(super) enum FormatName {
    Json,
    Protobuf,
}

impl FormatName {
    pub(super) fn format(self) -> Format {
        match self {
            Self::Json => Format::Json,
            Self::Protobuf => Format::Protobuf,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Protobuf => "protobuf",
        }
    }
}

/// What the sockets of a run have in common.
pub(super) struct Seating {
    pub(super) sockets: usize,
    pub(super) rooms: u32,
    pub(super) room_prefix: String,
    pub(super) format: Format,
    /// Sockets that are on their way at a time.
    pub(super) in_flight: usize,
    /// Sockets per second; 0 = as fast as the server lets them in.
    pub(super) rate: u32,
    /// No more are opened after this time.
    pub(super) within: Option<Duration>,
}

/// What came of it.
pub(super) struct Seated {
    /// In order of their numbers: socket `n` is in room `n % rooms`.
    pub(super) clients: Vec<(usize, Client)>,
    /// From the opened socket (or when it was due) until the room was joined.
    pub(super) latencies: Latencies,
    pub(super) errors: u64,
    pub(super) first_error: Option<ClientError>,
    pub(super) took: Duration,
}

/// For a server of our own: settings without which it would refuse a load as large as this one.
pub(super) fn server_settings(sockets: u32, write_delay: &str) -> String {
    let connections_max = sockets.saturating_add(1_000);
    format!(
        "[limits]\nconnections_max = {connections_max}\n\
         [realtime]\nconnections_per_user_max = {sockets}\nwrite_delay = {write_delay:?}\n"
    )
}

/// Opens, connects and joins all sockets. The users are those that send, over and over.
pub(super) async fn seat(subject: &Subject, seating: &Seating) -> anyhow::Result<Seated> {
    let tokens: Arc<Vec<String>> = Arc::new((0..SENDERS).map(|user| subject.usersig(&sender(user))).collect());
    let places = Arc::new(Semaphore::new(seating.in_flight));
    let began = Instant::now();
    let pace = Pace::new(began, seating.rate);
    let mut tasks = JoinSet::new();
    for number in 0..seating.sockets {
        let due = pace.turn().await;
        if seating.within.is_some_and(|within| began.elapsed() >= within) {
            break;
        }
        let place = Arc::clone(&places).acquire_owned().await.context("never closed")?;
        let due = if seating.rate == 0 { Instant::now() } else { due };
        let (target, tokens) = (subject.target.clone(), Arc::clone(&tokens));
        let room = room_id(&seating.room_prefix, (number % seating.rooms.max(1) as usize) as u32);
        let format = seating.format;
        tasks.spawn(async move {
            let _place = place;
            let token = tokens.get(number % SENDERS as usize).map_or("", String::as_str);
            let client = one(&target, format, number, token, &room).await;
            (number, client, due.elapsed())
        });
    }
    let mut seated = Seated {
        clients: Vec::with_capacity(seating.sockets),
        latencies: Latencies::new()?,
        errors: 0,
        first_error: None,
        took: Duration::ZERO,
    };
    while let Some(ended) = tasks.join_next().await {
        match ended.context("a socket's task failed")? {
            (number, Ok(client), latency) => {
                seated.latencies.record(latency);
                seated.clients.push((number, client));
            }
            (_, Err(error), _) => {
                seated.errors += 1;
                seated.first_error.get_or_insert(error);
            }
        }
    }
    seated.took = began.elapsed();
    seated.clients.sort_unstable_by_key(|(number, _)| *number);
    Ok(seated)
}

async fn one(target: &Target, format: Format, number: usize, token: &str, room: &str) -> Result<Client, ClientError> {
    let mut client = Client::open(target, format, number).await?;
    client.connect(token, "").await?;
    client.join(room).await?;
    Ok(client)
}
