//! Over real sockets: one room is sent far more than its endpoint takes in order; the rooms beside it do not notice.

use std::{collections::BTreeSet, time::Duration};

use roomhook_hooks::Status;
use roomhook_room::{RoomId, RoomKey};

use crate::{
    receiver::{Got, Receiver, Reply},
    world::{APP, World, config, endpoint},
};

const HOT: &str = "hot";
/// Deliveries in memory, over two shards.
const OPEN_MAX: usize = 32;

/// Names of rooms in the shard of the hot one.
fn quiet(count: usize, shards: u16) -> Vec<String> {
    let shard =
        |name: &str| RoomKey { app: APP, room: RoomId::new(name).expect("room id") }.stable_hash() % u64::from(shards);
    let names = (0..).map(|number| format!("quiet{number}")).filter(|name| shard(name) == shard(HOT));
    names.take(count).collect()
}

fn status(world: &World) -> Status {
    world.hooks().status().remove(0)
}

fn seqs(got: &[Got], room: &str) -> Vec<u64> {
    got.iter().filter(|got| got.room() == room).map(Got::seq).collect()
}

/// In order of their first arrival.
fn firsts(got: &[Got], room: &str) -> Vec<u64> {
    let mut seen = BTreeSet::new();
    seqs(got, room).into_iter().filter(|seq| seen.insert(*seq)).collect()
}

#[tokio::test]
async fn a_room_faster_than_its_endpoint_answers_delays_no_other_room_and_is_paid_in_order() {
    let receiver = Receiver::start().await;
    // It takes a tenth of a second for each message of the hot room.
    let slow = |got: &Got| Reply {
        after: if got.room() == HOT { Duration::from_millis(100) } else { Duration::ZERO },
        ..Reply::ok()
    };
    receiver.rule(slow);
    let mut config = config();
    (config.limits.open_max, config.limits.span_max) = (OPEN_MAX, 4 * OPEN_MAX);
    config.timeout = Duration::from_secs(10);
    let mut world = World::with(config, vec![endpoint(&receiver.url("/"))]).await;
    let rooms = quiet(3, world.shards);
    for _ in 0..200 {
        world.say(HOT, "more and more").await;
    }
    for round in 1..=10 {
        for room in &rooms {
            world.say(room, "hello?").await;
        }
        for _ in 0..5 {
            world.say(HOT, "and more").await;
        }
        receiver.wait_until(|got| rooms.iter().all(|room| seqs(got, room).contains(&round))).await;
    }
    // The last word of each quiet room arrived while a hundred wait that were said before it. The receiver would have needed
    // 12 seconds for half of them.
    let hot = seqs(&receiver.got(), HOT);
    assert!(hot.len() < 125, "{} of 250", hot.len());
    let summary = status(&world).summary;
    assert_eq!(summary.detached_rooms, 1);
    assert!(summary.open <= OPEN_MAX && summary.totals.pending() > 100, "{summary:?}");
    assert!(world.metrics().contains("webhook_detached_rooms{app=\"1400000001\",endpoint=\"default\"} 1"));

    // A restart in the middle, and then the receiver is quick.
    world.stop().await;
    receiver.rule(|_| Reply::ok());
    world.start();
    let got = receiver.wait_until(|got| seqs(got, HOT).contains(&250)).await;
    assert_eq!(firsts(&got, HOT), (1..=250).collect::<Vec<_>>(), "in order, without a gap");
    for room in &rooms {
        assert_eq!(firsts(&got, room), (1..=10).collect::<Vec<_>>());
    }
    assert!(got.len() <= 280 + OPEN_MAX, "{}: a restart repeats no more than the windows", got.len());
    while status(&world).summary.totals.pending() > 0 || status(&world).summary.detached_rooms > 0 {
        tokio::task::yield_now().await;
    }
    let totals = status(&world).summary.totals;
    assert_eq!((totals.acknowledged, totals.delivered), (280, 280));
    // It is one of many again.
    world.say(HOT, "peace").await;
    receiver.wait_until(|got| seqs(got, HOT).contains(&251)).await;
    world.stop().await;
}
