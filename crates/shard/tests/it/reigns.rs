//! Several processes and one log: who may write, who is told what, and how an owner comes back.

use std::{collections::BTreeMap, sync::atomic::Ordering, time::Duration};

use proptest::prelude::*;
use roomhook_log::{Epoch, Expect, Fault, LogAppend as _, LogId, LogRead as _, Reign, Reigns};
use roomhook_room::{Receipt, invariants};
use roomhook_shard::{Config, ExecuteError, ImportAccount, NodeId, StartError};

use crate::{
    sulking::sulking_world,
    world::{APP, World, create, room, user},
};

const SHARD: LogId = LogId(0);

async fn end(world: &World) -> u64 {
    world.log.bounds(SHARD).await.unwrap().next.0
}

fn reign(world: &World, log: LogId) -> Option<Epoch> {
    world.ownership.watch().borrow().get(&log).map(|reign| reign.epoch)
}

fn unavailable<T>(answer: &Result<T, ExecuteError>) -> bool {
    matches!(answer, Err(ExecuteError::Unavailable(_)))
}

/// It answers nothing, and neither time nor requests make it write anything.
async fn stays_deposed(world: &World) {
    let before = end(world).await;
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(unavailable(&world.send("lobby", 77).await));
        assert!(unavailable(&world.router.view(room("lobby")).await));
        assert!(!world.router.is_ready());
        assert_eq!((end(world).await, reign(world, SHARD)), (before, None));
    }
}

#[tokio::test(start_paused = true)]
async fn who_owns_what_can_be_watched() {
    let world = World::with(2, Config::default()).await;
    let first = Reign { epoch: Epoch(1), since: Epoch(1) };
    let all = [SHARD, LogId(1), LogId::DIRECTORY];
    assert_eq!(*world.ownership.watch().borrow(), Reigns::from(all.map(|log| (log, first))));
    world.log.fail_next_append(LogId::DIRECTORY, Fault::Ambiguous { durable: 0 });
    let _ = world.directory.import(APP, vec![account("ann")]).await;
    let directory = world.ownership.watch().borrow().get(&LogId::DIRECTORY).copied();
    let second = Reign { epoch: Epoch(2), since: Epoch(1) };
    assert_eq!(
        directory,
        Some(second),
        "an owner that had to ask its log has a new epoch, and was the owner all the time"
    );
    for shard in [SHARD, LogId(1)] {
        world.log.fail_next_append(shard, Fault::Fenced);
    }
    let created = (0..).map(|n| format!("room{n}")).find(|name| world.router.tail().shard_of(&room(name)) == SHARD);
    let answer = world.router.execute(room(&created.expect("a room")), create("ann")).await;
    assert!(unavailable(&answer), "{answer:?}");
    assert_eq!(reign(&world, SHARD), None, "one that was deposed is not there");
    assert_eq!(reign(&world, LogId(1)), Some(Epoch(1)), "before it notices");
}

fn account(name: &str) -> ImportAccount {
    ImportAccount { user: user(name), nick: None, face_url: None }
}

/// Before, an owner that did not know what had become of its append claimed its log back, whoever had it by then.
#[tokio::test(start_paused = true)]
async fn an_owner_in_doubt_never_takes_its_log_from_a_successor_and_tells_what_is_true() {
    for durable in [0, 1] {
        let (world, sulking) = sulking_world(false, Config::default()).await;
        world.log.fail_next_append(SHARD, Fault::Ambiguous { durable });
        sulking.robbed.store(true, Ordering::Relaxed);
        let before = end(&world).await;
        let answer = world.send("lobby", 2).await;
        match durable {
            0 => assert!(unavailable(&answer), "it is not in the log, and never will be: {answer:?}"),
            _ => assert!(matches!(answer, Ok(Receipt::Sent(sent)) if sent.seq.0 == 2), "it is in the log: {answer:?}"),
        }
        assert_eq!(end(&world).await, before + durable as u64 + 1, "the successor's claim is the last record");
        stays_deposed(&world).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_claim_of_its_own_that_nobody_told_it_of_is_no_successor() {
    for forgotten in 1..4 {
        let (world, sulking) = sulking_world(false, Config::default()).await;
        world.log.fail_next_append(SHARD, Fault::Ambiguous { durable: 1 });
        sulking.forgets.store(forgotten, Ordering::Relaxed);
        let answer = world.send("lobby", 2).await;
        assert!(matches!(answer, Ok(Receipt::Sent(sent)) if sent.seq.0 == 2), "{answer:?}");
        assert!(world.router.is_ready());
        assert_eq!(world.say("lobby", 3).await.seq.0, 3);
    }
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_panics_does_not_come_back_over_a_successor() {
    let world = World::new().await;
    world.create("lobby").await;
    world.say("lobby", 1).await;
    world.log.claim(SHARD, NodeId(9), Expect::Anyone).await.unwrap();
    world.clock.panic_once();
    assert!(world.send("lobby", 2).await.is_err());
    stays_deposed(&world).await;
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_waits_for_room_notices_that_it_was_deposed() {
    let world = World::new().await;
    world.create("lobby").await;
    world.log.fail_next_append(SHARD, Fault::Full);
    assert!(unavailable(&world.send("lobby", 1).await));
    world.log.claim(SHARD, NodeId(9), Expect::Anyone).await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(reign(&world, SHARD), None);
    stays_deposed(&world).await;
}

/// One machine is taken for dead and is not, and later gets its shard back. No message is there twice, none is lost.
#[tokio::test(start_paused = true)]
async fn a_deposed_owner_takes_its_shard_again_when_it_is_told() {
    let world = World::new().await;
    world.create("lobby").await;
    let first = world.say("lobby", 1).await;
    let rival = world.rival().await;
    assert_eq!(rival.say("lobby", 2).await.seq.0, 2);
    assert!(unavailable(&world.send("lobby", 3).await));
    stays_deposed(&world).await;
    assert_eq!(rival.say("lobby", 4).await.seq.0, 3);

    let epoch = world.ownership.take(SHARD, Expect::Anyone).await.expect("it is taken");
    let taken = world.ownership.watch().borrow().get(&SHARD).copied();
    assert_eq!(taken, Some(Reign { epoch, since: epoch }), "what was read before is not true any more");
    assert!(world.router.is_ready());
    assert_eq!(world.top("lobby").await, 3, "what the rival wrote is known");
    assert_eq!(world.send("lobby", 1).await, Ok(Receipt::Repeated(first)));
    assert!(
        matches!(world.send("lobby", 2).await, Ok(Receipt::Repeated(sent)) if sent.seq.0 == 2),
        "and so is its window"
    );
    assert_eq!(world.say("lobby", 3).await.seq.0, 4);
    assert!(unavailable(&rival.send("lobby", 5).await), "now the rival is the one that was deposed");
    stays_deposed(&rival).await;
    assert!(invariants::all_dense(&world.events("lobby").await));
}

#[tokio::test(start_paused = true)]
async fn a_log_that_is_owned_or_not_as_expected_is_not_taken() {
    let world = World::new().await;
    world.create("lobby").await;
    let before = end(&world).await;
    assert_eq!(world.ownership.take(SHARD, Expect::Anyone).await.expect("owned"), Epoch(1));
    assert_eq!(end(&world).await, before, "nothing was claimed");

    let second = world.log.claim(SHARD, NodeId(8), Expect::Anyone).await.unwrap();
    assert!(unavailable(&world.send("lobby", 1).await));
    let third = world.log.claim(SHARD, NodeId(9), Expect::Anyone).await.unwrap();
    let refused = world.ownership.take(SHARD, Expect::Epoch(second.epoch)).await;
    let Err(StartError::Claim { source, .. }) = &refused else { panic!("{refused:?}") };
    assert!(source.to_string().contains("is claimed by epoch 3"), "{source}");
    stays_deposed(&world).await;
    let epoch = world.ownership.take(SHARD, Expect::Epoch(third.epoch)).await.expect("as expected");
    assert_eq!(epoch, Epoch(4));
    assert_eq!(world.say("lobby", 1).await.seq.0, 1);
    assert!(matches!(world.ownership.take(LogId(7), Expect::Anyone).await, Err(StartError::Stopping { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_take_that_fails_may_be_tried_again() {
    let (world, sulking) = sulking_world(false, Config::default()).await;
    let second = world.log.claim(SHARD, NodeId(8), Expect::Anyone).await.unwrap();
    assert!(unavailable(&world.send("lobby", 2).await));
    sulking.refusals.store(1, Ordering::Relaxed);
    assert!(world.ownership.take(SHARD, Expect::Epoch(second.epoch)).await.is_err());
    sulking.forgets.store(1, Ordering::Relaxed);
    assert!(world.ownership.take(SHARD, Expect::Epoch(second.epoch)).await.is_err(), "it holds, but nobody knows");
    assert!(unavailable(&world.send("lobby", 2).await));
    // Both at once, as two that do not know of each other: it is taken once.
    let take = || world.ownership.take(SHARD, Expect::Epoch(second.epoch));
    let (one, other) = tokio::join!(take(), take());
    assert_eq!(one.expect("taken"), other.expect("taken"));
    assert_eq!(world.say("lobby", 2).await.seq.0, 2);
}

#[tokio::test(start_paused = true)]
async fn a_deposed_directory_changes_nothing_and_can_be_taken_again() {
    for durable in [None, Some(0), Some(1)] {
        let (world, sulking) = sulking_world(false, Config::default()).await;
        world.directory.import(APP, vec![account("ann")]).await.unwrap();
        match durable {
            None => drop(world.log.claim(LogId::DIRECTORY, NodeId(9), Expect::Anyone).await.unwrap()),
            Some(durable) => {
                world.log.fail_next_append(LogId::DIRECTORY, Fault::Ambiguous { durable });
                sulking.robbed.store(true, Ordering::Relaxed);
            }
        }
        let answer = world.directory.import(APP, vec![account("bob")]).await;
        assert_eq!(answer.is_ok(), durable == Some(1), "{answer:?}");
        let before = world.log.bounds(LogId::DIRECTORY).await.unwrap();
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(unavailable(&world.directory.import(APP, vec![account("cat")]).await));
        assert!(world.directory.account(APP, "ann").is_some(), "what was known is still known");
        assert_eq!(
            (world.log.bounds(LogId::DIRECTORY).await.unwrap(), reign(&world, LogId::DIRECTORY)),
            (before, None)
        );
        assert!(!world.router.is_ready());

        world.ownership.take(LogId::DIRECTORY, Expect::Anyone).await.expect("it is taken");
        assert!(world.router.is_ready());
        assert_eq!(world.directory.account(APP, "bob").is_some(), durable == Some(1));
        world.directory.import(APP, vec![account("cat")]).await.expect("it goes on");
    }
}

#[tokio::test(start_paused = true)]
async fn a_deposed_owner_lets_the_server_stop() {
    let world = World::new().await;
    world.create("lobby").await;
    let _rival = world.rival().await;
    assert!(unavailable(&world.send("lobby", 1).await));
    assert!(unavailable(&world.directory.import(APP, vec![account("ann")]).await));
    let ownership = world.ownership.clone();
    tokio::time::timeout(Duration::from_secs(60), world.shutdown()).await.expect("it stops");
    assert!(matches!(ownership.take(SHARD, Expect::Anyone).await, Err(StartError::Stopping { .. })));
}

// === two servers, whatever happens ===

#[derive(Clone, Debug)]
enum Step {
    /// So many to one of the servers, at once.
    Send(usize, u32),
    /// What comes of the next append of the log, whoever makes it.
    Fault(Fault),
    Take(usize),
    Panic,
}

fn step() -> impl Strategy<Value = Step> {
    let fault = prop_oneof![Just(Fault::Full), (0..4_usize).prop_map(|durable| Fault::Ambiguous { durable })];
    prop_oneof![
        8 => (0..2_usize, 1..5_u32).prop_map(|(server, count)| Step::Send(server, count)),
        3 => (0..2_usize).prop_map(Step::Take),
        2 => fault.prop_map(Step::Fault),
        1 => Just(Step::Panic),
    ]
}

async fn play(steps: Vec<Step>) {
    let world = World::with(1, Config { replay_records_max: 8, ..Config::default() }).await;
    world.create("lobby").await;
    let servers = [&world, &world.rival().await];
    let (mut random, mut acked) = (0, BTreeMap::new());
    for step in steps {
        match step {
            Step::Send(server, count) => {
                let sends = (random..random + count).map(|random| servers[server].send("lobby", random));
                random += count;
                for answer in futures_util::future::join_all(sends).await {
                    match answer {
                        Ok(Receipt::Sent(sent)) => {
                            let before = acked.insert(sent.seq, sent.msg_id.random);
                            assert_eq!(before, None, "two messages were told that they are number {}", sent.seq);
                        }
                        Err(ExecuteError::Unavailable(_) | ExecuteError::Unknown(_)) => {}
                        other => panic!("{other:?}"),
                    }
                }
            }
            Step::Fault(fault) => world.log.fail_next_append(SHARD, fault),
            // Somebody who does not look whether it is needed.
            Step::Take(server) => drop(servers[server].ownership.take(SHARD, Expect::Anyone).await),
            Step::Panic => world.clock.panic_once(),
        }
    }
    world.clock.repair();
    let events = world.events("lobby").await;
    assert!(invariants::all_dense(&events));
    let stored: BTreeMap<_, _> = events
        .iter()
        .filter_map(|event| match event {
            roomhook_room::Event::MessageSent(message) => Some((message.seq, message.draft.random)),
            _ => None,
        })
        .collect();
    for (seq, random) in acked {
        assert_eq!(stored.get(&seq), Some(&random), "acked-in-log");
    }
    let epochs: Vec<_> = world.records().await.iter().map(|record| record.epoch).collect();
    assert!(epochs.is_sorted(), "one-writer: {epochs:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn no_two_messages_are_told_that_they_have_one_place(steps in prop::collection::vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(play(steps));
    }
}
