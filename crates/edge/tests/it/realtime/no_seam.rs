//! `no-silent-gap`: clients come, go and resume at random while messages flow, with so little in memory that most
//! resumes need the log. Each client sees every number once and in order, or is told that it missed some.

use std::sync::atomic::{AtomicU64, Ordering};

use roomhook_centrifuge::{Format, PushBody, ReplyBody, Request, SubscribeResult, UnsubscribeRequest};
use roomhook_edge::realtime;
use serde_json::json;

use super::client::Client;
use crate::world::{Options, World};

const CLIENTS: u64 = 8;
const MESSAGES: u64 = 400;
/// Told about a gap more often than this, a client is not served well.
const TOLD_MAX: u64 = 4;

/// What one client knows of the room.
#[derive(Debug, Default)]
struct Position {
    epoch: String,
    offset: u64,
    /// How often it was told that it missed something.
    told: u64,
}

impl Position {
    fn hears(&mut self, offset: u64, from: &str) {
        assert_eq!(offset, self.offset + 1, "no-silent-gap: {from}");
        self.offset = offset;
    }

    fn joins(&mut self, joined: &SubscribeResult) {
        if joined.was_recovering && !joined.recovered {
            self.told += 1;
            self.offset = joined.offset;
        } else if joined.was_recovering {
            assert_eq!(joined.offset, self.offset);
            for publication in &joined.publications {
                self.hears(publication.offset, "recovered");
            }
        } else {
            self.offset = joined.offset;
        }
        self.epoch.clone_from(&joined.epoch);
    }
}

async fn wanders(world: &World, seed: u64, said: &AtomicU64) -> Position {
    let mut dice = fastrand::Rng::with_seed(seed);
    let mut position = Position::default();
    let mut client: Option<Client> = None;
    while position.offset < MESSAGES {
        let mut present = match client.take() {
            Some(present) => present,
            None => {
                let format = if dice.bool() { Format::Json } else { Format::Protobuf };
                Client::connect_in(world, &format!("user{seed}"), format).await.0
            }
        };
        let joined = if position.epoch.is_empty() {
            present.join("lobby").await
        } else {
            present.rejoin("lobby", &position.epoch, position.offset).await
        };
        position.joins(&joined);
        let stay = dice.u64(1..60);
        for _ in 0..stay {
            if position.offset == MESSAGES {
                break;
            }
            let Some(ReplyBody::Push(push)) = present.next().await.body else { panic!("not a push") };
            let Some(PushBody::Pub(publication)) = push.body else { panic!("{push:?}") };
            position.hears(publication.offset, "live");
        }
        if dice.bool() {
            // Leaves the room, and hears what came before the server knew.
            let leave = present.send(Request::Unsubscribe(UnsubscribeRequest { channel: "room:lobby".into() })).await;
            loop {
                let reply = present.next().await;
                if reply.id == leave {
                    break;
                }
                let Some(ReplyBody::Push(push)) = reply.body else { panic!("{:?}", reply.body) };
                let Some(PushBody::Pub(publication)) = push.body else { panic!("{push:?}") };
                position.hears(publication.offset, "leaving");
            }
            // A lane may still have been writing when the leave was answered: a new socket forgets that.
        }
        // Stays away while some messages pass, often more than are in memory.
        let until = (position.offset + dice.u64(0..20)).min(MESSAGES);
        while said.load(Ordering::Relaxed) < until {
            tokio::task::yield_now().await;
        }
    }
    position
}

async fn story(seed: u64) {
    let mut options = Options::default();
    options.realtime = realtime::Config {
        ring_messages_max: 5,
        reply_messages_max: 100,
        commands_per_s: 0,
        connections_per_user_max: 1_000,
        ..options.realtime
    };
    let world = World::with(options).await;
    world.furnish().await;
    let mut ann = Client::connect(&world, "ann").await;
    ann.join("lobby").await;
    let said = AtomicU64::new(0);
    let clients = async {
        let wanderers = (0..CLIENTS).map(|client| wanders(&world, seed * 100 + client, &said));
        futures_util::future::join_all(wanderers).await
    };
    let sender = async {
        let mut dice = fastrand::Rng::with_seed(seed);
        for number in 1..=MESSAGES {
            let sent = ann.rpc("room.send", json!({ "RoomId": "lobby", "Text": "m" })).await.unwrap();
            assert_eq!(sent["MsgSeq"], number);
            said.store(number, Ordering::Relaxed);
            for _ in 0..dice.u32(0..30) {
                tokio::task::yield_now().await;
            }
        }
    };
    let (positions, ()) = tokio::join!(clients, sender);
    for position in &positions {
        assert!(position.told <= TOLD_MAX, "seed {seed}: {positions:?}");
    }
    assert!(world.metrics().contains("recoveries_total{outcome=\"log\"}"), "the ring was too large for this test");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_member_sees_every_message_once_and_in_order_or_is_told() {
    for seed in 1..=4 {
        tokio::time::timeout(std::time::Duration::from_secs(60), story(seed))
            .await
            .unwrap_or_else(|_| panic!("seed {seed}: a client waits for a message that never comes"));
    }
}
