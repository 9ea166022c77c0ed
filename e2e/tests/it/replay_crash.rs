//! A replay to another receiver while messages go on: server and receiver lose power in the middle of it. It goes on by itself, sends
//! everything at least once, and disturbs nothing that is live.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use hyper::{Method, StatusCode};
use roomhook_e2e::receiver::{Receiver, Seen};
use roomhook_e2e::server::{Server, Setup};
use roomhook_e2e::{SDKAPPID, rest::Client};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::owed::{Acknowledged, check, settle};

const ROOMS: usize = 4;
const MESSAGES_PER_ROOM: usize = 50;
const PATIENCE: Duration = Duration::from_secs(60);

async fn talk(client: &mut Client, count: usize, told: &mut Acknowledged) -> Result<()> {
    for _ in 0..count {
        for room in 0..ROOMS {
            let room = format!("room-{room}");
            let receipt = client.text(&room, "ana_k", "once upon a time").await?;
            told.insert((room, receipt.seq));
        }
    }
    Ok(())
}

async fn admin(server: &Server, method: Method, path: &str, body: &Value) -> Result<Value> {
    let mut client = Client::connect(server.admin_address()).await?.naming("localhost");
    let (status, answer) = client.send(method, &format!("/admin/api{path}"), body.to_string().into()).await?;
    ensure!(status.is_success(), "{path}: {status} {}", String::from_utf8_lossy(&answer));
    serde_json::from_slice(&answer).with_context(|| format!("{path} answers no JSON"))
}

/// Reads until so many more have come.
async fn some(receiver: &mut Receiver, count: usize, seen: &mut Vec<Seen>) -> Result<()> {
    seen.extend(receiver.take(count).await?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_outlives_crashes_and_leaves_live_webhooks_alone() -> Result<()> {
    let mut live = Receiver::start().await?;
    let mut archive = Receiver::start().await?;
    let quick = "retry_first = \"50ms\"\nretry_max = \"500ms\"".to_owned();
    let mut server = Setup { of_webhooks: quick, ..Setup::webhook(live.url()) }.start().await?;
    let mut client = server.client().await?;
    client.import("ana_k").await?;
    for room in 0..ROOMS {
        client.create_room(&format!("room-{room}")).await?;
    }
    let mut past = Acknowledged::new();
    talk(&mut client, MESSAGES_PER_ROOM, &mut past).await?;
    settle(&server, PATIENCE).await?;

    let what = json!({"time": {"from_ms": 0, "to_ms": 9_999_999_999_999_u64}, "to": archive.url(), "per_s": 25});
    let started = admin(&server, Method::POST, &format!("/apps/{SDKAPPID}/endpoints/default/replays"), &what).await?;
    let replay = started["replay"].as_str().context("no name of the replay")?.to_owned();
    let (mut all, mut archived) = (past.clone(), Vec::new());

    some(&mut archive, 20, &mut archived).await?;
    server.kill_9().await?;
    server.start_again().await?;
    talk(&mut server.client().await?, 2, &mut all).await?;

    some(&mut archive, 40, &mut archived).await?;
    let (before, away) = archive.go_away().await?;
    archived.extend(before);
    server.kill_9().await?;
    archive = away.come_back().await?;
    server.start_again().await?;
    talk(&mut server.client().await?, 2, &mut all).await?;

    let deadline = Instant::now() + PATIENCE;
    let ended = loop {
        let state = admin(&server, Method::GET, &format!("/replays/{replay}"), &Value::Null).await?;
        if state["status"] != "running" {
            break state;
        }
        ensure!(Instant::now() < deadline, "it does not end: {state}");
        sleep(Duration::from_millis(50)).await; // polling is what `webhooks replay` does too
    };
    ensure!(ended["status"] == "done" && ended["resumed"].as_u64() >= Some(1), "{ended}");
    settle(&server, PATIENCE).await?;
    archived.extend(archive.stop().await?);
    ensure!(ended["progress"]["failed"] == 0, "{ended}");
    check(&past, &archived, 2).context("the archive")?;
    let seen = live.drain().into_iter().chain(live.stop().await?).collect::<Vec<_>>();
    check(&all, &seen, 2).context("the live receiver")?;
    let (status, _) = server.admin_get("/readyz").await?;
    ensure!(status == StatusCode::OK, "ready");
    Ok(())
}
