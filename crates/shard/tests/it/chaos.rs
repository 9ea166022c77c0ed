//! Random commands, faults and crashes against a plain model: whatever happens, what was acknowledged is there once.

use std::collections::HashMap;

use proptest::prelude::*;
use roomhook_log::{Expect, Fault, LogAppend as _, LogId, NodeId};
use roomhook_room::{Event, Receipt, Sent, invariants};
use roomhook_shard::{Config, ExecuteError};

use crate::world::World;

#[derive(Clone, Debug)]
enum Step {
    /// Several at once, so that they share a batch.
    Send(Vec<(u8, u8)>),
    Fault(Fault),
    Crash,
    /// With rows as they were so many appends ago.
    CrashWithOlderRows(usize),
    Panic,
    /// Somebody else claims the log, and does nothing with it.
    Rival,
    /// Somebody says that it is to be taken again.
    Take,
}

fn step() -> impl Strategy<Value = Step> {
    let fault = prop_oneof![
        Just(Fault::Full),
        Just(Fault::Refused),
        (0..6_usize).prop_map(|durable| Fault::Ambiguous { durable }),
    ];
    prop_oneof![
        12 => prop::collection::vec((0..3_u8, any::<u8>()), 1..8).prop_map(Step::Send),
        3 => fault.prop_map(Step::Fault),
        1 => Just(Step::Crash),
        1 => (1..9_usize).prop_map(Step::CrashWithOlderRows),
        1 => Just(Step::Rival),
        1 => Just(Step::Take),
        1 => Just(Step::Panic),
    ]
}

/// What was acknowledged: room and random to the receipt.
type Acknowledged = HashMap<(u8, u32), Sent>;

async fn play(steps: Vec<Step>, replay_records_max: u64, rooms_cached_max: usize) {
    let config = Config { replay_records_max, rooms_cached_max, ..Config::default() };
    let mut world = World::with(1, config).await;
    for name in 0..3 {
        world.create(&format!("room{name}")).await;
    }
    let mut acknowledged = Acknowledged::new();
    for step in steps {
        match step {
            Step::Send(messages) => {
                let sends = messages.iter().map(|(name, random)| {
                    let (world, name, random) = (&world, *name, u32::from(*random));
                    async move { (name, random, world.send(&format!("room{name}"), random).await) }
                });
                for (name, random, answer) in futures_util::future::join_all(sends).await {
                    match answer {
                        Ok(Receipt::Sent(sent)) => {
                            let repeat = acknowledged.insert((name, random), sent);
                            assert_eq!(repeat, None, "once: {random} in room{name} was sent twice");
                        }
                        Ok(Receipt::Repeated(sent)) => {
                            let first = *acknowledged.entry((name, random)).or_insert(sent);
                            assert_eq!(sent, first, "once");
                        }
                        Err(ExecuteError::Unavailable(_) | ExecuteError::Unknown(_)) => {}
                        other => panic!("{other:?}"),
                    }
                }
            }
            Step::Fault(fault) => world.log.fail_next_append(LogId(0), fault),
            Step::Crash => world = world.crash().await,
            Step::CrashWithOlderRows(appends) => world = world.crash_with_older_rows(appends).await,
            Step::Rival => drop(world.log.claim(LogId(0), NodeId(9), Expect::Anyone).await.unwrap()),
            Step::Take => drop(world.ownership.take(LogId(0), Expect::Anyone).await),
            Step::Panic => world.clock.panic_once(),
        }
    }
    world.clock.repair();
    check(&world.crash().await, &acknowledged).await;
}

/// `dense`, `acked-in-log` and `once`, seen from the log.
async fn check(world: &World, acknowledged: &Acknowledged) {
    for name in 0..3_u8 {
        let events = world.events(&format!("room{name}")).await;
        assert!(invariants::all_dense(&events));
        let mut sent = HashMap::new();
        for event in &events {
            if let Event::MessageSent(message) = event {
                let twice = sent.insert(message.draft.random, (message.seq, message.at));
                assert_eq!(twice, None, "once");
            }
        }
        for ((_, random), receipt) in acknowledged.iter().filter(|((of, _), _)| *of == name) {
            assert_eq!(sent.get(random), Some(&(receipt.seq, receipt.at)), "acked-in-log");
        }
        assert_eq!(world.top(&format!("room{name}")).await, sent.len() as u64);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn what_was_acknowledged_is_there_once(
        steps in prop::collection::vec(step(), 1..40), replay in 3..60_u64, cached in 1..4_usize,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(play(steps, replay, cached));
    }
}
