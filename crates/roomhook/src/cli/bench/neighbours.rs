//! Sockets that behave badly, beside those that are measured.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use roomhook_centrifuge::Format;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    task::JoinSet,
};

use super::{
    load::Target,
    sending::{room_id, sender},
    subject::Subject,
};
use crate::cli::client::{Client, ClientError, client_frame};

/// Between two bytes of a socket that dribbles, and before a socket that was thrown out comes again.
const PAUSE: Duration = Duration::from_millis(50);
/// How long a socket that joined reads nothing before another takes its place.
const DEAF: Duration = Duration::from_secs(4);

/// What a bad neighbour does, over and over.
#[derive(Clone, Copy, Debug)]
enum Habit {
    /// Joins the room and never reads.
    Deaf,
    /// Sends a frame byte by byte and never ends it.
    Dribbles,
    /// Sends what is no command, and comes back when it is thrown out.
    Babbles,
}

/// They go on until this is dropped.
#[derive(Debug)]
pub(super) struct BadNeighbours(JoinSet<()>);

impl BadNeighbours {
    /// `count` sockets, a third of each kind; the deaf ones are in the rooms that are measured.
    pub(super) async fn move_in(subject: &Subject, room_prefix: &str, rooms: u32, count: u32) -> anyhow::Result<Self> {
        let token: Arc<str> = subject.usersig(&sender(0)).into();
        let mut tasks = JoinSet::new();
        for number in 0..count {
            let habit = match number % 3 {
                0 => Habit::Deaf,
                1 => Habit::Dribbles,
                _ => Habit::Babbles,
            };
            let room = room_id(room_prefix, number / 3 % rooms.max(1));
            // The first time is waited for, so that a server that lets none of them in is noticed.
            let (target, token) = (subject.target.clone(), Arc::clone(&token));
            let client = come_in(&target, number as usize, &token).await.context("a bad neighbour was not let in")?;
            tasks.spawn(async move {
                let mut client = Some(client);
                loop {
                    let came = match client.take() {
                        Some(client) => Ok(client),
                        None => come_in(&target, number as usize, &token).await,
                    };
                    // Whatever ends it, a refusal or being thrown out: it comes again.
                    let _ended = match came {
                        Ok(client) => live(client, habit, &room).await,
                        Err(error) => Err(error),
                    };
                    tokio::time::sleep(PAUSE).await;
                }
            });
        }
        Ok(Self(tasks))
    }

    pub(super) async fn move_out(mut self) {
        self.0.shutdown().await;
    }
}

async fn come_in(target: &Target, number: usize, token: &str) -> Result<Client, ClientError> {
    let mut client = Client::open(target, Format::Json, number).await?;
    client.connect(token, "").await?;
    Ok(client)
}

async fn live(mut client: Client, habit: Habit, room: &str) -> Result<(), ClientError> {
    if matches!(habit, Habit::Deaf) {
        client.join(room).await?;
        tokio::time::sleep(DEAF).await;
        return Ok(());
    }
    let (mut stream, _) = client.into_parts();
    if matches!(habit, Habit::Dribbles) {
        for byte in client_frame(Format::Json, &[b' '; 120]).into_iter().take(100) {
            stream.write_all(&[byte]).await?;
            tokio::time::sleep(PAUSE).await;
        }
        return Ok(());
    }
    stream.write_all(&client_frame(Format::Json, br#"{"id":2,"nonsense":[[[{{"#)).await?;
    let mut rest = Vec::new();
    stream.take(4_096).read_to_end(&mut rest).await?;
    Ok(())
}
