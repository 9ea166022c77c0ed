//! What the way from a door to a receipt costs apart from the disk: shards on the memory log.
//!
//! `cargo bench -p roomhook-shard` prints acknowledged messages per second and latencies, for some numbers in flight.

#![expect(clippy::print_stdout, reason = "printing is what a bench does")]

use std::{net::Ipv4Addr, sync::Arc, time::Instant};

use bytes::Bytes;
use prometheus_client::registry::Registry;
use roomhook_log::MemoryLog;
use roomhook_room::{
    AppId, Command, ContentHash, CreateRoom, Draft, Incarnation, MsgId, Origin, Platform, Priority, RoomId, RoomInfo,
    RoomKey, UnixMillis, UserId,
};
use roomhook_shard::{Config, Router, start};

const MESSAGES: u32 = 400_000;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    for in_flight in [1, 64, 256, 1024] {
        runtime.block_on(run(in_flight));
    }
}

async fn run(in_flight: u32) {
    let began = Instant::now();
    let clock = Arc::new(move || UnixMillis(1_700_000_000_000 + began.elapsed().as_millis() as u64));
    let log = Arc::new(MemoryLog::new(4));
    let shards = start(log, 4, Config::default(), clock, &mut Registry::default()).await.unwrap();
    for n in 0..64 {
        shards.router.execute(room(n), create()).await.unwrap();
    }
    let messages = if in_flight == 1 { MESSAGES / 10 } else { MESSAGES };
    let started = Instant::now();
    let senders: Vec<_> =
        (0..in_flight).map(|sender| tokio::spawn(send(shards.router.clone(), sender, messages / in_flight))).collect();
    let mut latencies = Vec::new();
    for sender in senders {
        latencies.extend(sender.await.unwrap());
    }
    let per_s = latencies.len() as f64 / started.elapsed().as_secs_f64();
    latencies.sort_unstable();
    let at = |part: f64| latencies[(latencies.len() as f64 * part) as usize];
    println!("{in_flight:>5} in flight: {per_s:>9.0} messages/s, p50 {} us, p99 {} us", at(0.5), at(0.99));
    shards.shutdown().await;
}

async fn send(router: Router, sender: u32, count: u32) -> Vec<u32> {
    let body = Bytes::from("x".repeat(300));
    let from = UserId::new(&format!("user{sender}")).unwrap();
    let mut latencies = Vec::with_capacity(count as usize);
    for random in 0..count {
        let draft = Draft {
            from: from.clone(),
            operator: from.clone(),
            origin: Origin { platform: Platform::RestApi, client_ip: Ipv4Addr::LOCALHOST.into(), client: None },
            random,
            content: Some(ContentHash::of(&body, &random.to_le_bytes())),
            msg_id: MsgId { account: (1 << 57) + 1, secs: 1_700_000_000, random },
            priority: Priority::Normal,
            body: body.clone(),
            custom_data: Bytes::from_static(b"\"\""),
            forbid_after_hook: false,
        };
        let started = Instant::now();
        router.execute(room((sender + random) % 64), Command::Send(draft)).await.unwrap();
        latencies.push(started.elapsed().as_micros() as u32);
    }
    latencies
}

fn room(n: u32) -> RoomKey {
    RoomKey { app: AppId(1_400_000_001), room: RoomId::new(&format!("room-{n}")).unwrap() }
}

fn create() -> Command {
    let owner = UserId::new("ann").unwrap();
    let info = RoomInfo { is_public_visible: true, ..RoomInfo::bare("Live", owner.clone()) };
    Command::Create(CreateRoom { operator: owner, info, incarnation: Incarnation::from_random(7) })
}
