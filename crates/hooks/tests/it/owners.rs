//! Logs that other processes claim: webhooks write for their own, under the epoch of now, and leave the others alone.

use std::{num::NonZeroU32, time::Duration};

use roomhook_hooks::{
    HandleError, Replay, ReplayStatus, What,
    engine::{DeliveryId, EventPos},
    rows::{CursorRow, Names},
};
use roomhook_log::{Claim, Key, LogAppend as _, LogId, LogRead as _, Lsn, NewRecord, Row, Rows as _};
use roomhook_room::{EndpointId, Event, Message, MsgSeq, RoomId, RoomKey, encode_record};

use crate::{
    misbehaving::{default, wait_for_status},
    receiver::{Got, Receiver, Reply},
    world::{APP, World, draft, endpoint, now},
};

fn key(room: &str) -> RoomKey {
    RoomKey { app: APP, room: RoomId::new(room).expect("room") }
}

fn shard_of(world: &World, room: &str) -> u16 {
    u16::try_from(key(room).stable_hash() % u64::from(world.shards)).expect("shard")
}

/// A room of the shard that `other` is not in.
fn room_beside(world: &World, other: &str) -> String {
    let found = (0..).map(|n| format!("beside{n}")).find(|room| shard_of(world, room) != shard_of(world, other));
    found.expect("there are two shards")
}

fn cursor_key() -> bytes::Bytes {
    Names::new(APP, &EndpointId(EndpointId::DEFAULT.into()), 1).cursor()
}

/// How far the endpoint is in a shard, as the store has it.
async fn cursor(world: &World, shard: u16) -> CursorRow {
    let row = world.log.get(LogId(shard), &cursor_key()).await.expect("get").expect("a cursor");
    CursorRow::from_bytes(&row).expect("a cursor")
}

async fn wait_for_cursor(world: &World, shard: u16, next: Lsn) {
    let waiting = async {
        while cursor(world, shard).await.next != next.0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), waiting).await.expect("the cursor gets there");
}

async fn end(world: &World, shard: u16) -> Lsn {
    world.log.bounds(LogId(shard)).await.expect("bounds").next
}

async fn wait_for_delivered(world: &World, count: u64) {
    wait_for_status(world.hooks(), |status| status.summary.totals.delivered == count).await;
}

fn seqs_of(receiver: &Receiver, room: &str) -> Vec<u64> {
    receiver.got().iter().filter(|got| got.room() == room).map(Got::seq).collect()
}

async fn world() -> (World, Receiver) {
    let receiver = Receiver::start().await;
    let world = World::new(vec![endpoint(&receiver.url("/"))]).await;
    world.started().await;
    (world, receiver)
}

/// Answers take their time, so that something is in flight.
fn slowly(receiver: &Receiver, ms: u64) {
    receiver.rule(move |_| Reply { after: Duration::from_millis(ms), ..Reply::ok() });
}

/// As an owner does that had to ask its log what became of an append.
#[tokio::test]
async fn when_its_owner_claims_a_log_anew_no_cursor_is_lost() {
    let (mut world, receiver) = world().await;
    let shard = shard_of(&world, "r");
    slowly(&receiver, 50);
    let mut said = 0;
    for round in 0..3 {
        for _ in 0..5 {
            said = world.say("r", "x").await;
        }
        wait_for_status(world.hooks(), |status| status.summary.totals.acknowledged == said).await;
        world.claim_anew(shard).await;
        world.say("r", "under the new epoch").await;
        wait_for_delivered(&world, said).await;
        if round == 1 {
            // Longer than a write waits to hear of a new epoch.
            tokio::time::sleep(Duration::from_millis(400)).await;
            let next = cursor(&world, shard).await.next;
            assert!(next + 1 < end(&world, shard).await.0, "it is fenced, whatever it tries: {next}");
            assert_eq!(receiver.got().len() as u64, said, "whose the newest one is, is not known yet");
        }
        world.tell_of_claims();
        said += 1;
        wait_for_delivered(&world, said).await;
        wait_for_cursor(&world, shard, end(&world, shard).await).await;
    }
    world.crash().await;
    let last = world.say("r", "after").await;
    receiver.wait_until(|got| got.iter().any(|got| got.seq() == last)).await;
    assert_eq!(seqs_of(&receiver, "r"), (1..=last).collect::<Vec<_>>(), "nothing is told twice");
    world.stop().await;
}

#[tokio::test]
async fn a_server_that_stops_waits_for_the_epoch_to_write_its_last_cursors_under() {
    let (mut world, receiver) = world().await;
    let shard = shard_of(&world, "r");
    slowly(&receiver, 200);
    world.say("r", "x").await;
    receiver.wait_for(1).await;
    world.claim_anew(shard).await;
    let late = world.telling_of_claims(Duration::from_millis(900));
    world.stop().await;
    late.await.expect("told");
    world.start();
    world.say("r", "after").await;
    receiver.wait_for(2).await;
    assert_eq!(seqs_of(&receiver, "r"), [1, 2], "nothing is told twice");
    world.stop().await;
}

/// A message, written by whoever has the log now.
async fn say_as(world: &World, rival: &mut Claim, room: &str, seq: u64) {
    let message = Message { seq: MsgSeq(seq), at: now(), room_type: String::new(), draft: draft("x") };
    let payload = encode_record(&[Event::MessageSent(message)]);
    let record = NewRecord { key: Key(key(room).to_bytes()), at_ms: now().0, payload };
    world.log.append(rival, vec![record], Vec::new()).await.expect("append");
}

#[tokio::test]
async fn of_a_log_that_another_process_has_nothing_is_delivered_and_nothing_written() {
    let (mut world, receiver) = world().await;
    let (shard, beside) = (shard_of(&world, "r"), room_beside(&world, "r"));
    world.say("r", "x").await;
    world.say(&beside, "x").await;
    wait_for_delivered(&world, 2).await;
    wait_for_cursor(&world, shard, end(&world, shard).await).await;
    let before = cursor(&world, shard).await;

    let mut rival = world.depose(shard).await;
    for seq in 2..=4 {
        say_as(&world, &mut rival, "r", seq).await;
    }
    for _ in 0..5 {
        world.say(&beside, "x").await;
    }
    receiver.wait_until(|got| got.iter().filter(|got| got.room() == beside).count() == 6).await;
    assert_eq!(seqs_of(&receiver, "r"), [1], "that is for the rival to tell");
    assert_eq!(cursor(&world, shard).await, before);
    let other_shard = shard_of(&world, &beside);
    wait_for_cursor(&world, other_shard, end(&world, other_shard).await).await;
    let id = DeliveryId { shard, pos: EventPos { lsn: Lsn(2), index: 0 } };
    assert!(matches!(world.hooks().retry(&default(), id).await, Err(HandleError::NotNow)));
    assert!(matches!(world.hooks().skip(&default(), id).await, Err(HandleError::NotNow)));

    // The rival tells two of the three, and its process ends.
    let next = rival.next.0 - 1;
    let told = CursorRow { next, counted: next, acknowledged: 3, delivered: 3, ..before };
    let row = Row { key: cursor_key(), value: Some(told.to_bytes()) };
    world.log.put(rival.log, rival.epoch, vec![row]).await.expect("put");
    world.take_again(shard).await;
    world.go_on_at("r", 4);
    world.say("r", "x").await;
    receiver.wait_until(|got| got.iter().any(|got| got.room() == "r" && got.seq() == 5)).await;
    assert_eq!(seqs_of(&receiver, "r"), [1, 4, 5], "from where the rival was");
    assert_eq!(seqs_of(&receiver, &beside), [1, 2, 3, 4, 5, 6], "and the other shard's rooms once");
    wait_for_delivered(&world, 5 + 6).await;
    world.stop().await;
}

/// Deposed and back before anybody looked: what is in memory is not true any more all the same.
#[tokio::test]
async fn a_log_that_was_away_for_a_moment_is_read_again() {
    let (mut world, receiver) = world().await;
    let shard = shard_of(&world, "r");
    world.say("r", "x").await;
    wait_for_delivered(&world, 1).await;
    wait_for_cursor(&world, shard, end(&world, shard).await).await;
    let before = cursor(&world, shard).await;
    let mut rival = world.depose(shard).await;
    say_as(&world, &mut rival, "r", 2).await;
    let told = CursorRow { next: rival.next.0, counted: rival.next.0, acknowledged: 2, delivered: 2, ..before };
    let row = Row { key: cursor_key(), value: Some(told.to_bytes()) };
    world.log.put(rival.log, rival.epoch, vec![row]).await.expect("put");
    world.take_again(shard).await;
    world.go_on_at("r", 2);
    world.say("r", "x").await;
    wait_for_delivered(&world, 3).await;
    assert_eq!(seqs_of(&receiver, "r"), [1, 3]);
    wait_for_cursor(&world, shard, end(&world, shard).await).await;
    assert_eq!(cursor(&world, shard).await.delivered, 3, "counted on from where the rival was");
    world.stop().await;
}

/// It has written nothing since, so nobody has told it.
#[tokio::test]
async fn what_a_rival_writes_is_the_rivals_to_tell_also_before_the_owner_knows() {
    let (mut world, receiver) = world().await;
    let (shard, beside) = (shard_of(&world, "r"), room_beside(&world, "r"));
    world.say("r", "x").await;
    wait_for_delivered(&world, 1).await;
    let mut rival = world.rob(shard).await;
    say_as(&world, &mut rival, "r", 2).await;
    for _ in 0..20 {
        world.say(&beside, "x").await;
    }
    receiver.wait_until(|got| got.len() >= 21).await;
    assert_eq!(seqs_of(&receiver, "r"), [1]);
    world.stop().await;
}

#[tokio::test]
async fn replays_rest_while_another_process_has_their_log() {
    let (mut world, home) = world().await;
    let elsewhere = Receiver::start().await;
    for _ in 0..12 {
        world.say("r", "x").await;
    }
    wait_for_delivered(&world, 12).await;
    let what = What::Room { room: key("r"), from: MsgSeq(1), to: MsgSeq(12) };
    let replay = Replay { what, to: Some(elsewhere.url("/")), per_s: NonZeroU32::new(10).expect("a rate") };
    let number = world.hooks().start_replay(&default(), replay.clone()).await.expect("a replay").number;
    elsewhere.wait_for(2).await;
    world.depose(0).await;
    let rests = async {
        while !world.hooks().replays().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), rests).await.expect("it rests");
    wait_for_status(world.hooks(), |_| true).await;
    let refused = world.hooks().start_replay(&default(), replay).await;
    assert!(matches!(refused, Err(HandleError::NotNow)), "{refused:?}");

    world.take_again(0).await;
    let ends = async {
        while world.hooks().replay(number).is_err()
            || world.hooks().replay(number).expect("it").status == ReplayStatus::Running
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), ends).await.expect("it goes on, and ends");
    let ended = world.hooks().replay(number).expect("it");
    assert_eq!((ended.status, ended.resumed), (ReplayStatus::Done, 1), "{ended:?}");
    let got: std::collections::BTreeSet<u64> = elsewhere.got().iter().map(Got::seq).collect();
    assert_eq!(got, (1..=12).collect());
    assert_eq!(home.got().len(), 12, "nobody else was told again");
    world.stop().await;
}
