//! Server and receiver lose power at random moments under load, and the endpoint moves to another address meanwhile. After
//! healing, all that was acknowledged has arrived, in order, and the numbers add up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use roomhook_e2e::receiver::Receiver;
use roomhook_e2e::server::{Server, Setup};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::owed::{Acknowledged, check, setting, settle};

const ROOMS: usize = 6;
/// What happens in a round.
#[derive(Debug, Clone, Copy, PartialEq)]
enum What {
    Server,
    Receiver,
    Both,
    /// The receiver comes back elsewhere, and the endpoint is told.
    ReceiverMoves,
    /// The server is stopped in order while the receiver is away.
    OutageAndStop,
}

const WHAT: [What; 5] = [What::Server, What::Receiver, What::Both, What::ReceiverMoves, What::OutageAndStop];

async fn restart(server: &mut Server, in_order: bool) -> Result<()> {
    if in_order {
        let ended = server.terminate().await?;
        ensure!(ended.success(), "a server that is told to stop while its receiver is away ends with {ended}");
    } else {
        server.kill_9().await?;
    }
    server.start_again().await
}

fn setup(receiver: &Receiver) -> Setup {
    let quick = "retry_first = \"50ms\"\nretry_max = \"500ms\"";
    Setup { of_webhooks: quick.to_owned(), ..Setup::webhook(receiver.url()) }
}

async fn make_rooms(server: &Server) -> Result<()> {
    let mut client = server.client().await?;
    client.import("ana_k").await?;
    for room in 0..ROOMS {
        client.create_room(&format!("room-{room}")).await?;
    }
    Ok(())
}

/// Sends into all rooms until told to stop or the server is gone; tells what was acknowledged.
async fn load(server: &Server, stop: &Arc<AtomicBool>) -> Result<JoinSet<Acknowledged>> {
    let mut senders = JoinSet::new();
    for sender in 0..ROOMS * 2 {
        let (mut client, stop) = (server.client().await?, Arc::clone(stop));
        senders.spawn(async move {
            let (room, mut told) = (format!("room-{}", sender % ROOMS), Acknowledged::new());
            while !stop.load(Ordering::Acquire) {
                let Ok(receipt) = client.text(&room, "ana_k", "under load").await else { break };
                told.insert((room.clone(), receipt.seq));
            }
            told
        });
    }
    Ok(senders)
}

async fn end(mut senders: JoinSet<Acknowledged>, acknowledged: &mut Acknowledged) -> Result<()> {
    while let Some(told) = senders.join_next().await {
        acknowledged.extend(told?);
    }
    Ok(())
}

async fn move_to(server: &Server, url: &str) -> Result<()> {
    let body = json!({"Url": url, "CallbackCommandList": ["Group.CallbackAfterSendMsg"]});
    server.client().await?.ok("live_config/update_callback", &body).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stderr, reason = "a failed round is repeated with its seed")]
async fn server_and_receiver_crash_at_random_and_all_that_is_owed_is_paid() -> Result<()> {
    let rounds = setting("ROOMHOOK_E2E_WEBHOOK_ROUNDS", 6)?;
    let away_ms = setting("ROOMHOOK_E2E_AWAY_MS", 1_500)?;
    let seed = setting("ROOMHOOK_E2E_SEED", fastrand::u64(..))?;
    eprintln!("ROOMHOOK_E2E_SEED={seed} ROOMHOOK_E2E_WEBHOOK_ROUNDS={rounds} ROOMHOOK_E2E_AWAY_MS={away_ms}");
    let mut random = fastrand::Rng::with_seed(seed);

    let mut receiver = Receiver::start().await?;
    let mut server = setup(&receiver).start().await?;
    make_rooms(&server).await?;
    let (mut acknowledged, mut seen) = (Acknowledged::new(), Vec::new());
    for round in 0..rounds {
        let stop = Arc::new(AtomicBool::new(false));
        let senders = load(&server, &stop).await?;
        sleep(Duration::from_millis(random.u64(50..=500))).await; // the moment of the crash is the point of this test
        let what = WHAT[random.usize(0..WHAT.len())];
        eprintln!("round {round}: {what:?}");
        if what != What::Server {
            let (before, away) = receiver.go_away().await?;
            seen.extend(before);
            sleep(Duration::from_millis(random.u64(0..=away_ms))).await;
            match what {
                What::Both => restart(&mut server, false).await?,
                What::OutageAndStop => restart(&mut server, true).await?,
                _ => {}
            }
            if what == What::ReceiverMoves {
                receiver = Receiver::start().await?;
                move_to(&server, &receiver.url()).await?;
            } else {
                receiver = away.come_back().await?;
            }
        } else {
            restart(&mut server, false).await?;
        }
        stop.store(true, Ordering::Release);
        end(senders, &mut acknowledged).await?;
        seen.extend(receiver.drain());
    }
    // An endpoint that was away for long is probed once a minute.
    let [owed, delivered, ..] = settle(&server, Duration::from_secs(120)).await?;
    seen.extend(receiver.stop().await?);
    eprintln!("{} acknowledged, {owed} owed, {delivered} delivered, {} received", acknowledged.len(), seen.len());
    ensure!(owed >= acknowledged.len() as u64 && delivered == owed, "nothing was parked, nothing expired");
    // A receiver that dies had deliveries in flight that it had taken: a crash as well.
    check(&acknowledged, &seen, usize::try_from(rounds)? * 2)
}

/// What is said after the answer of a switch is owed by it; what was acknowledged before the call is owed by what held
/// then. Twenty times over, with no pause between the two.
#[tokio::test]
async fn a_switch_holds_from_its_answer_on() -> Result<()> {
    let receiver = Receiver::start().await?;
    let server = setup(&receiver).start().await?;
    make_rooms(&server).await?;
    let mut client = server.client().await?;
    let mut owed = Acknowledged::new();
    for round in 0..20 {
        let on = round % 2 == 1;
        let commands = if on { vec!["Group.CallbackAfterSendMsg"] } else { vec!["Live.CallbackAfterDestroyRoom"] };
        client
            .ok("live_config/update_callback", &json!({"Url": receiver.url(), "CallbackCommandList": commands}))
            .await?;
        for room in 0..ROOMS {
            let room = format!("room-{room}");
            let receipt = client.text(&room, "ana_k", "right after").await?;
            if on {
                owed.insert((room, receipt.seq));
            }
        }
    }
    let [acknowledged, ..] = settle(&server, Duration::from_secs(30)).await?;
    let seen = receiver.stop().await?;
    let got: Acknowledged = seen.iter().map(|seen| (seen.room().to_owned(), seen.seq())).collect();
    assert_eq!(got, owed);
    assert_eq!(acknowledged, owed.len() as u64);
    Ok(())
}
