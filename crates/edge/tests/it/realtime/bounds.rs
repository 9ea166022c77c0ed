//! What is on its way to clients is bounded by its weight, whatever is slow.

use std::time::Duration;

use roomhook_centrifuge::{Format, SubscribeRequest};
use roomhook_edge::realtime;
use roomhook_log::LogId;
use serde_json::json;
use tokio::time::timeout;

use super::client::Client;
use crate::world::{Options, World};

const TEXT: &str = "live_engine_http_srv/send_text_msg";
const PATIENCE: Duration = Duration::from_secs(60);

async fn world(change: impl FnOnce(&mut realtime::Config)) -> World {
    let mut options = Options::default();
    change(&mut options.realtime);
    let world = World::with(options).await;
    world.furnish().await;
    world
}

/// A message of nearly 12 kB by the admin.
fn long(number: usize) -> String {
    let text = format!("m{number} {}", "x".repeat(11_000));
    json!({ "RoomId": "lobby", "Sender_Account": "ann", "TextContent": text }).to_string()
}

fn queued_bytes(world: &World) -> f64 {
    let metrics = world.metrics();
    let line = metrics.lines().find_map(|line| line.strip_prefix("roomhook_realtime_queued_bytes ")).expect("a gauge");
    line.parse().expect("a number")
}

/// Hears messages `from..=to`, one after the other.
async fn hears_all(client: &mut Client, from: usize, to: usize) {
    for number in from..=to {
        let heard = timeout(PATIENCE, client.hears()).await.expect("a message");
        assert!(heard.starts_with(&format!("{number}:m{number} ")), "{number}, and not {}", &heard[..20]);
    }
}

/// Before, a lane took in 1,024 batches whatever they weighed.
#[tokio::test]
async fn messages_for_a_slow_lane_wait_in_the_log_when_they_weigh_too_much() {
    const LIMIT: usize = 1 << 20;
    let world = world(|config| {
        (config.lanes, config.queued_bytes_max, config.outbox_bytes_max) = (2, LIMIT, 64 << 20);
        config.write_delay = Duration::from_millis(300);
    })
    .await;
    let mut clients = Vec::new();
    for format in [Format::Json, Format::Protobuf, Format::Json, Format::Protobuf] {
        let (mut client, _) = Client::connect_in(&world, "bob", format).await;
        client.join("lobby").await;
        clients.push(client);
    }
    let (mut most, mut sender) = (0.0_f64, world.client().await);
    for number in 1..=200 {
        assert_eq!(sender.call(TEXT, long(number)).await["ErrorCode"], 0, "senders do not wait for readers");
        most = most.max(queued_bytes(&world));
    }
    assert!(most <= LIMIT as f64, "{most} bytes on the way");
    assert!(most > LIMIT as f64 / 2.0, "{most} bytes: the lanes were too quick for this test");
    for client in &mut clients {
        hears_all(client, 1, 200).await;
    }
    until_nothing_is_queued(&world).await;
    world.stop().await;
}

async fn until_nothing_is_queued(world: &World) {
    let deadline = std::time::Instant::now() + PATIENCE;
    while queued_bytes(world) != 0.0 {
        assert!(std::time::Instant::now() < deadline, "{} bytes are never given back", queued_bytes(world));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Each message weighs more than all that may be on the way: it goes alone, and several lanes share it.
#[tokio::test]
async fn with_no_room_at_all_messages_go_one_by_one_and_none_is_lost() {
    let world = world(|config| (config.lanes, config.queued_bytes_max) = (3, 1)).await;
    let mut clients = Vec::new();
    for format in [Format::Json, Format::Protobuf, Format::Json, Format::Protobuf, Format::Json] {
        let (mut client, _) = Client::connect_in(&world, "bob", format).await;
        client.join("lobby").await;
        clients.push(client);
    }
    let mut sender = world.client().await;
    for number in 1..=30 {
        assert_eq!(sender.call(TEXT, long(number)).await["ErrorCode"], 0);
    }
    for client in &mut clients {
        hears_all(client, 1, 30).await;
    }
    // Those that hang up, and a room that ends, give back what was meant for them.
    clients.truncate(2);
    assert_eq!(sender.call(TEXT, long(31)).await["ErrorCode"], 0);
    hears_all(&mut clients[0], 31, 31).await;
    world.ok("live_engine_http_srv/destroy_room", r#"{"RoomId":"lobby"}"#).await;
    clients[0].push().await;
    until_nothing_is_queued(&world).await;
    world.stop().await;
}

/// A room whose state is late collects what happens meanwhile. Before, up to 16,384 messages whatever they weighed.
#[tokio::test]
async fn a_room_that_is_late_asks_its_members_to_come_again_when_too_much_waits_for_it() {
    let world = world(|config| config.queued_bytes_max = 1 << 20).await;
    let holds: Vec<_> = (0..2).map(|log| world.log.hold_appends(LogId(log))).collect();
    let mut bob = Client::connect(&world, "bob").await;
    let mut sending = tokio::task::JoinSet::new();
    for number in 1..=70 {
        let mut sender = world.client().await;
        sending.spawn(async move { sender.call(TEXT, long(number)).await["ErrorCode"].as_i64() });
    }
    let deadline = std::time::Instant::now() + PATIENCE;
    while waiting_commands(&world) < 70 {
        assert!(std::time::Instant::now() < deadline, "not all messages wait for their shard");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // The question for the room waits behind 69 messages, all of which are told before it is answered.
    let lobby = SubscribeRequest { channel: "room:lobby".into(), ..SubscribeRequest::default() };
    let join = bob.send(roomhook_centrifuge::Request::Subscribe(lobby)).await;
    while waiting_commands(&world) < 71 {
        assert!(std::time::Instant::now() < deadline, "the question does not wait for its shard");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(holds);
    let refused = bob.answer(join).await.expect_err("too much came meanwhile");
    assert_eq!((refused.code, refused.temporary), (111, true));
    assert!(sending.join_all().await.iter().all(|code| *code == Some(0)));
    assert_eq!(bob.join("lobby").await.offset, 70, "the next time it is let in");
    until_nothing_is_queued(&world).await;
    world.stop().await;
}

/// Over both shards.
fn waiting_commands(world: &World) -> u64 {
    let metrics = world.metrics();
    let of_shards = metrics.lines().filter(|line| line.starts_with("shard_inbox_commands{shard=\""));
    of_shards.map(|line| line.rsplit(' ').next().expect("a value").parse::<u64>().expect("a number")).sum()
}

/// The same answer as for too many: nothing happened, come again. Over both doors.
#[tokio::test]
async fn an_inbox_that_weighs_too_much_says_that_nothing_happened() {
    const LONG: usize = 11_000;
    let shard = roomhook_shard::Config { inbox_bytes_max: 50_000, ..roomhook_shard::Config::default() };
    let world = World::with(Options { shard, ..Options::default() }).await;
    world.furnish().await;
    let mut bob = Client::connect(&world, "bob").await;
    bob.join("lobby").await;
    let holds: Vec<_> = (0..2).map(|log| world.log.hold_appends(LogId(log))).collect();
    let text = "x".repeat(LONG);
    let message = json!({"RoomId": "lobby", "Sender_Account": "ann", "TextContent": text}).to_string();
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let (mut client, message) = (world.client().await, message.clone());
        waiting.spawn(async move { client.call(TEXT, message).await["ErrorCode"].as_i64().unwrap() });
    }
    let mut codes = Vec::new();
    while codes.len() < 16 {
        codes.push(waiting.join_next().await.unwrap().unwrap());
    }
    assert_eq!(codes, [60_018; 16], "there is room for four of them");
    let refused = bob.rpc("room.send", json!({ "RoomId": "lobby", "Text": text })).await.unwrap_err();
    assert_eq!((refused.code, refused.temporary), (111, true));
    drop(holds);
    assert_eq!(waiting.join_all().await, [0; 4]);
    assert_eq!(world.messages("lobby").await.len(), 4);
    bob.say("lobby", &text).await;
    world.stop().await;
}
