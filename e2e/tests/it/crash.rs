//! kill -9 while messages are sent, again and again: what was acknowledged is there, under its number, and reaches the receiver.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use roomhook_e2e::receiver::{Receiver, Seen};
use roomhook_e2e::rest::Client;
use roomhook_e2e::server::Setup;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

const ROOMS: usize = 8;
/// Several at once, so that a batch of the group commit holds messages of one room.
const SENDERS_PER_ROOM: usize = 4;
/// The longest time between two kills.
const ROUND_MILLIS_MAX: u64 = 800;

/// What the senders were told, or what the receiver was: text of each message by room and number.
type Book = BTreeMap<(String, u64), String>;

fn setting(name: &str) -> Result<Option<u64>> {
    match std::env::var(name) {
        Ok(text) => text.parse().map(Some).with_context(|| format!("{name} is no number")),
        Err(_) => Ok(None),
    }
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stderr, reason = "a failed round is repeated with its seed")]
async fn every_acknowledged_message_survives_kills_at_random_moments() -> Result<()> {
    let rounds = setting("ROOMHOOK_E2E_KILL_ROUNDS")?.unwrap_or(5);
    let seed = setting("ROOMHOOK_E2E_SEED")?.unwrap_or_else(|| fastrand::u64(..));
    eprintln!("ROOMHOOK_E2E_SEED={seed} ROOMHOOK_E2E_KILL_ROUNDS={rounds}");
    let mut random = fastrand::Rng::with_seed(seed);

    let mut receiver = Receiver::start().await?;
    let mut server = Setup::webhook(receiver.url()).start().await?;
    let mut client = server.client().await?;
    client.import("ana_k").await?;
    for room in 0..ROOMS {
        client.create_room(&format!("room-{room}")).await?;
    }

    let mut acknowledged = Book::new();
    for round in 0..rounds {
        let mut senders = JoinSet::new();
        for sender in 0..ROOMS * SENDERS_PER_ROOM {
            let label = format!("round {round} sender {sender}");
            senders.spawn(send_until_it_breaks(server.client().await?, format!("room-{}", sender % ROOMS), label));
        }
        let pause = Duration::from_millis(random.u64(1..=ROUND_MILLIS_MAX));
        sleep(pause).await; // the load runs meanwhile; the moment of the kill is the point of this test
        server.kill_9().await?;
        let mut told = 0;
        while let Some(book) = senders.join_next().await {
            let book = book?;
            told += book.len();
            for (place, text) in book {
                let twice = acknowledged.insert(place.clone(), text);
                ensure!(twice.is_none(), "{place:?} was acknowledged twice, in round {round} again");
            }
        }
        eprintln!("round {round}: killed after {pause:?}, {told} messages acknowledged");
        server.start_again().await?;
    }
    assert!(!acknowledged.is_empty(), "nothing was acknowledged, so nothing was tested");

    // One more message per room: in an ordered room everything older has been told when this one is.
    let mut client = server.client().await?;
    for room in 0..ROOMS {
        let room = format!("room-{room}");
        let seq = client.text(&room, "ana_k", "the last one").await?.seq;
        acknowledged.insert((room, seq), "the last one".to_owned());
    }
    let told = listen(&mut receiver, &acknowledged, Duration::from_secs(60 + 10 * rounds)).await?;
    check(&acknowledged, &told)
}

/// Sends one message after the other, and notes what was acknowledged, until the server is gone.
async fn send_until_it_breaks(mut client: Client, room: String, label: String) -> Book {
    let mut book = Book::new();
    for number in 0_u64.. {
        let text = format!("{label} message {number}");
        let Ok(receipt) = client.text(&room, "ana_k", &text).await else { break };
        book.insert((room.clone(), receipt.seq), text);
    }
    book
}

/// Reads webhooks until the last message of each room has come.
async fn listen(receiver: &mut Receiver, acknowledged: &Book, patience: Duration) -> Result<Book> {
    let mut told = Book::new();
    let mut clash = None;
    let mut waiting: Vec<_> =
        acknowledged.iter().filter(|(_, text)| *text == "the last one").map(|(place, _)| place.clone()).collect();
    let note = |seen: Seen| {
        let place = (seen.room().to_owned(), seen.seq());
        let text = seen.body["MsgBody"][0]["MsgContent"]["Text"].as_str().unwrap_or_default().to_owned();
        waiting.retain(|last| *last != place);
        if let Some(before) = told.insert(place.clone(), text.clone())
            && before != text
        {
            clash = Some(format!("{place:?} was told as {before:?} and as {text:?}"));
        }
        waiting.is_empty()
    };
    receiver.until(Instant::now() + patience, note).await?;
    match clash {
        Some(clash) => anyhow::bail!(clash),
        None => Ok(told),
    }
}

fn check(acknowledged: &Book, told: &Book) -> Result<()> {
    for (place, text) in acknowledged {
        let found = told.get(place);
        ensure!(found == Some(text), "{place:?} was acknowledged as {text:?} but told as {found:?}");
    }
    for room in 0..ROOMS {
        let room = format!("room-{room}");
        let seqs: Vec<u64> = told.keys().filter(|(of, _)| *of == room).map(|(_, seq)| *seq).collect();
        ensure!(seqs.iter().copied().eq(1..=seqs.len() as u64), "the numbers of {room} are not dense: {seqs:?}");
    }
    Ok(())
}
