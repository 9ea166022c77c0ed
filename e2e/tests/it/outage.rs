//! The receiver goes away, or the server does: what is owed is told later, in order, room by room.

use std::collections::BTreeMap;

use anyhow::Result;
use roomhook_e2e::receiver::{Options, Receiver, Seen};
use roomhook_e2e::server::{Server, Setup};

const ROOMS: [&str; 3] = ["lobby", "attic", "cellar"];

/// Retries at the pace of a test.
fn impatient(url: String) -> Setup {
    Setup { of_webhooks: "retry_first = \"50ms\"\nretry_max = \"500ms\"".to_owned(), ..Setup::webhook(url) }
}

async fn make_rooms(server: &Server) -> Result<()> {
    let mut client = server.client().await?;
    client.import("ana_k").await?;
    for room in ROOMS {
        client.create_room(room).await?;
    }
    Ok(())
}

/// One message into each room, `count` times.
async fn talk(server: &Server, count: usize) -> Result<()> {
    let mut client = server.client().await?;
    for _ in 0..count {
        for room in ROOMS {
            client.text(room, "ana_k", "hi").await?;
        }
    }
    Ok(())
}

fn by_room(seen: &[Seen]) -> BTreeMap<&str, Vec<u64>> {
    let mut rooms: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for one in seen {
        rooms.entry(one.room()).or_default().push(one.seq());
    }
    rooms
}

fn each_room(seqs: std::ops::RangeInclusive<u64>) -> BTreeMap<&'static str, Vec<u64>> {
    ROOMS.iter().map(|room| (*room, seqs.clone().collect())).collect()
}

#[tokio::test]
async fn a_receiver_that_was_away_gets_everything_in_order() -> Result<()> {
    let receiver = Receiver::start().await?;
    let port = receiver.port();
    let server = impatient(receiver.url()).start().await?;
    make_rooms(&server).await?;
    receiver.stop().await?;

    talk(&server, 20).await?;
    let mut receiver = Receiver::start_with(Options { port, ..Options::default() }).await?;
    let seen = receiver.take(ROOMS.len() * 20).await?;
    assert_eq!(by_room(&seen), each_room(1..=20));
    Ok(())
}

#[tokio::test]
async fn a_receiver_that_answers_500_gets_everything_in_order_once_it_is_well() -> Result<()> {
    let sick = Receiver::start_with(Options { status: 500, ..Options::default() }).await?;
    let port = sick.port();
    let server = impatient(sick.url()).start().await?;
    make_rooms(&server).await?;
    talk(&server, 5).await?;
    let refused = sick.stop().await?;
    assert!(!refused.is_empty(), "it was asked");
    assert!(
        refused.iter().all(|seen| seen.seq() == 1),
        "nothing overtakes a message that was not taken: {:?}",
        by_room(&refused)
    );

    let mut well = Receiver::start_with(Options { port, ..Options::default() }).await?;
    assert_eq!(by_room(&well.take(ROOMS.len() * 5).await?), each_room(1..=5));
    Ok(())
}

#[tokio::test]
async fn a_restart_goes_on_where_it_stopped() -> Result<()> {
    let mut receiver = Receiver::start().await?;
    let mut server = impatient(receiver.url()).start().await?;
    make_rooms(&server).await?;
    talk(&server, 5).await?;
    assert_eq!(by_room(&receiver.take(ROOMS.len() * 5).await?), each_room(1..=5));

    assert!(server.terminate().await?.success());
    server.start_again().await?;
    talk(&server, 5).await?;
    assert_eq!(by_room(&receiver.take(ROOMS.len() * 5).await?), each_room(6..=10), "nothing twice, nothing left out");
    Ok(())
}

#[tokio::test]
async fn what_is_owed_outlives_a_restart_while_the_receiver_is_away() -> Result<()> {
    let receiver = Receiver::start().await?;
    let port = receiver.port();
    let mut server = impatient(receiver.url()).start().await?;
    make_rooms(&server).await?;
    receiver.stop().await?;
    talk(&server, 4).await?;
    assert!(server.terminate().await?.success(), "a receiver that is away does not keep the server from ending");
    server.start_again().await?;
    talk(&server, 4).await?;
    server.kill_9().await?;
    server.start_again().await?;

    let mut receiver = Receiver::start_with(Options { port, ..Options::default() }).await?;
    assert_eq!(by_room(&receiver.take(ROOMS.len() * 8).await?), each_room(1..=8));
    Ok(())
}
