//! What a restart finds.

use std::sync::Arc;

use prometheus_client::registry::Registry;
use roomhook_log::{Expect, Key, LogAppend as _, LogId, LogRead as _, Lsn, NewRecord};
use roomhook_room::{Command, DEDUP_WINDOW_MS, Event, Message, MsgSeq, Receipt, UnixMillis, encode_record};
use roomhook_shard::{Config, ExecuteError, StartError, start};

use crate::world::{World, draft, room, user};

#[tokio::test(start_paused = true)]
async fn a_restart_finds_the_same_rooms() {
    let world = World::new().await;
    world.create("lobby").await;
    world.create("gone").await;
    for random in 0..20 {
        world.say("lobby", random).await;
        world.say("gone", random).await;
        world.clock.wait(300);
    }
    world.router.execute(room("gone"), Command::Destroy { operator: user("ann") }).await.unwrap();
    let before = world.view("lobby").await.unwrap();
    let world = world.crash().await;
    let after = world.view("lobby").await.unwrap();
    assert_eq!(after.at, before.at.next(), "the claim took one position");
    assert_eq!(roomhook_shard::RoomView { at: before.at, ..after }, before);
    assert_eq!(world.view("gone").await, None);
    assert_eq!(world.say("lobby", 99).await.seq.0, 21);
}

/// Numbers are used again: whoever saw the old messages must not take the new ones for them.
#[tokio::test(start_paused = true)]
async fn a_room_whose_newest_messages_were_lost_is_another_one_to_clients() {
    let world = World::new().await;
    world.create("lobby").await;
    for random in 0..5 {
        world.say("lobby", random).await;
    }
    let before = world.view("lobby").await.unwrap();
    let world = world.lose_newest(2).await;
    let lost = world.view("lobby").await.unwrap();
    assert_eq!(lost.top, MsgSeq(3));
    assert_ne!(lost.incarnation, before.incarnation);
    assert_eq!(world.say("lobby", 9).await.seq, MsgSeq(4));

    let world = world.crash().await;
    assert_eq!(world.view("lobby").await.unwrap().incarnation, lost.incarnation, "until it happens again");
    let again = world.lose_newest(1).await.view("lobby").await.unwrap().incarnation;
    assert!(again != lost.incarnation && again != before.incarnation);
}

#[tokio::test(start_paused = true)]
async fn once_holds_across_restarts_for_the_whole_window() {
    // A tiny replay limit, so that the window comes out of snapshots as well as out of the log.
    let mut world = World::with(1, Config { replay_records_max: 4, ..Config::default() }).await;
    world.create("lobby").await;
    let mut firsts = Vec::new();
    for random in 0..30 {
        firsts.push(world.say("lobby", random).await);
        world.clock.wait(1_000);
        if random % 7 == 0 {
            world = world.crash().await;
        }
    }
    for first in &firsts {
        assert_eq!(world.send("lobby", first.msg_id.random).await, Ok(Receipt::Repeated(*first)));
    }
    world.clock.wait(DEDUP_WINDOW_MS - 30_000);
    let world = world.crash().await;
    assert!(matches!(world.send("lobby", 0).await, Ok(Receipt::Sent(sent)) if sent.seq.0 == 31));
    assert_eq!(world.send("lobby", 1).await, Ok(Receipt::Repeated(firsts[1])));
}

#[tokio::test(start_paused = true)]
async fn a_restart_replays_a_bounded_suffix_however_many_rooms_there_are() {
    let config = Config { replay_records_max: 100, batch_records_max: 10, ..Config::default() };
    let world = World::with(1, config).await;
    for n in 0..150 {
        world.create(&format!("room{n}")).await;
    }
    for round in 0..10 {
        world.say("room0", round).await;
        for n in 1..150 {
            world.say(&format!("room{n}"), round).await;
        }
    }
    let world = world.crash().await;
    let replayed = world.metric("shard_replayed_records");
    assert!((1.0..=111.0).contains(&replayed), "{replayed} records replayed");
    for n in 0..150 {
        assert_eq!(world.top(&format!("room{n}")).await, 10);
    }
}

#[tokio::test(start_paused = true)]
async fn idle_rooms_leave_memory_and_come_back_as_they_were() {
    let config = Config { rooms_cached_max: 8, replay_records_max: 16, ..Config::default() };
    let world = World::with(1, config).await;
    for n in 0..200 {
        world.create(&format!("room{n}")).await;
        world.say(&format!("room{n}"), n).await;
    }
    let cached = world.metric("shard_rooms_cached");
    assert!(cached <= 8.0 + 16.0 + 4.0, "{cached} rooms are cached");
    for n in 0..200 {
        let answer = world.send(&format!("room{n}"), n).await;
        assert!(matches!(answer, Ok(Receipt::Repeated(sent)) if sent.seq.0 == 1), "room{n}: {answer:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_room_destroyed_and_made_again_is_right_however_it_was_snapshotted() {
    for replay_records_max in [1, 2, 3, 5, 8, 13] {
        let config = Config { replay_records_max, ..Config::default() };
        let mut world = World::with(1, config).await;
        for life in 0..6 {
            world.create("lobby").await;
            for random in 0..4 {
                world.say("lobby", random).await;
                world.create(&format!("other{life}{random}")).await;
            }
            world = world.crash().await;
            assert_eq!(world.top("lobby").await, 4);
            world.router.execute(room("lobby"), Command::Destroy { operator: user("ann") }).await.unwrap();
            world = world.crash().await;
            assert_eq!(world.view("lobby").await, None);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn retention_may_drop_what_no_restart_needs() {
    let world = World::with(1, Config { replay_records_max: 100, ..Config::default() }).await;
    for name in ["busy", "idle"] {
        world.create(name).await;
        world.say(name, 0).await;
    }
    for round in 0..60 {
        let sends = (1..=100).map(|n| world.send("busy", round * 100 + n));
        assert!(futures_util::future::join_all(sends).await.iter().all(Result::is_ok));
    }
    let first = world.log.bounds(LogId(0)).await.unwrap().first;
    assert!(first > Lsn(4_000), "the memory log drops all that it may, and now starts at {first}");
    let world = world.crash().await;
    assert_eq!((world.top("busy").await, world.top("idle").await), (6_001, 1));
}

/// A snapshot is written beside the log, not in it: it may be lost although its records, and all that came later, are there.
#[tokio::test(start_paused = true)]
async fn rows_that_are_older_than_the_log_are_brought_up_to_date() {
    let config = Config { replay_records_max: 3, snapshot_bytes_max: 1, ..Config::default() };
    let mut world = World::with(1, config).await;
    let (mut tops, mut random) = ([0; 3], 0);
    for appends in 0..9 {
        for (n, top) in tops.iter_mut().enumerate() {
            let name = format!("room{n}");
            if *top == 0 {
                world.create(&name).await;
            }
            for _ in 0..4 {
                random += 1;
                *top += 1;
                assert_eq!(world.say(&name, random).await.seq.0, *top);
            }
        }
        world = world.crash_with_older_rows(appends).await;
        for (n, top) in tops.iter().enumerate() {
            assert_eq!(world.top(&format!("room{n}")).await, *top, "{appends} appends lost their rows");
        }
        let again = world.send("room2", random).await;
        assert!(matches!(again, Ok(Receipt::Repeated(sent)) if sent.seq.0 == tops[2]), "once: {again:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn rows_are_not_written_for_a_trickle() {
    let world = World::new().await;
    world.create("lobby").await;
    for random in 0..50 {
        world.say("lobby", random).await;
    }
    assert_eq!(world.log.state_scan(LogId(0), b"", None, 10).await.unwrap(), []);
}

#[tokio::test(start_paused = true)]
async fn time_does_not_go_back_over_a_restart() {
    let world = World::new().await;
    world.create("lobby").await;
    world.clock.wait(10_000);
    let first = world.say("lobby", 1).await;
    world.clock.wait(0_u64.wrapping_sub(9_000));
    let world = world.crash().await;
    assert_eq!(world.say("lobby", 2).await.at, first.at);
    world.create("elsewhere").await;
    let at: Vec<u64> = world.records().await.iter().map(|record| record.at_ms).collect();
    assert!(at.is_sorted(), "{at:?}");
    let elsewhere = world.router.execute(room("elsewhere"), Command::Send(draft("cat", 1))).await.unwrap();
    assert!(matches!(elsewhere, Receipt::Sent(sent) if sent.at >= first.at));
}

/// Writes a message of the lobby with this number past its owner, as no owner would, and in its name.
async fn write_past_the_owner(world: &World, seq: u64) {
    let mut claim = world.log.claim(LogId(0), Config::default().node, Expect::Anyone).await.unwrap();
    let message = Message { seq: MsgSeq(seq), at: UnixMillis(1), room_type: String::new(), draft: draft("eve", 1) };
    let payload = encode_record(&[Event::MessageSent(message)]);
    let record = NewRecord { key: Key(room("lobby").to_bytes()), at_ms: 1, payload };
    world.log.append(&mut claim, vec![record], Vec::new()).await.unwrap();
}

/// Before, release builds went on with numbers that were given already, and others died of it.
#[tokio::test(start_paused = true)]
async fn a_log_with_a_hole_in_a_room_stops_the_start_and_says_where() {
    for seq in [1, 3, u64::MAX] {
        let world = World::new().await;
        world.create("lobby").await;
        world.say("lobby", 1).await;
        write_past_the_owner(&world, seq).await;
        let end = world.log.bounds(LogId(0)).await.unwrap().next;
        let log = Arc::new(world.log.restart());
        let clock = Arc::new(|| UnixMillis(1));
        let refused = start(log, 1, Config::default(), clock, &mut Registry::default()).await.unwrap_err();
        assert!(matches!(refused, StartError::Hole { lsn, .. } if lsn.next() == end), "{refused:?}");
    }
}

/// The same while the server runs: the shard says why it is not there, and stays so. Nobody starts what opens a log again.
#[tokio::test(start_paused = true)]
async fn a_shard_that_finds_a_hole_when_it_starts_again_says_so_until_a_person_looks() {
    let world = World::new().await;
    world.create("lobby").await;
    write_past_the_owner(&world, 7).await;
    world.clock.panic_once();
    assert!(matches!(world.send("lobby", 1).await, Err(ExecuteError::Unavailable(_))));
    for _ in 0..2 {
        tokio::time::sleep(std::time::Duration::from_secs(60)).await;
        let later = world.send("lobby", 1).await;
        let Err(ExecuteError::Unavailable(why)) = later else { panic!("{later:?}") };
        assert!(why.contains("does not follow the one before it in its room"), "{why}");
    }
    world.shutdown().await;
}
