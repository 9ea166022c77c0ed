//! Laws that hold for every past of a room.

use std::collections::HashMap;

use proptest::prelude::*;
use roomhook_room::{
    Command, DEDUP_ENTRIES_MAX, DEDUP_WINDOW_MS, Draft, Event, Priority, Receipt, Room, UnixMillis, fold, invariants,
};

use crate::world::{World, create, draft, user};

#[derive(Clone, Debug)]
enum Step {
    Create { owner: u8 },
    Destroy,
    Send { from: u8, random: u32, text: u8, dedup: bool, priority: Priority },
    Wait { ms: i64 },
}

fn step() -> impl Strategy<Value = Step> {
    let priority = prop_oneof![Just(Priority::Low), Just(Priority::Normal), Just(Priority::High)];
    prop_oneof![
        2 => (0..2_u8).prop_map(|owner| Step::Create { owner }),
        1 => Just(Step::Destroy),
        20 => (0..4_u8, 0..8_u32, 0..3_u8, prop::bool::weighted(0.8), priority)
            .prop_map(|(from, random, text, dedup, priority)| Step::Send { from, random, text, dedup, priority }),
        6 => (-5_000..200_000_i64).prop_map(|ms| Step::Wait { ms }),
    ]
}

fn play(world: &mut World, steps: &[Step]) {
    for (number, step) in steps.iter().enumerate() {
        let command = match step {
            Step::Create { owner } => create(&format!("owner{owner}"), number as u64),
            Step::Destroy => Command::Destroy { operator: user("administrator") },
            Step::Send { from, random, text, dedup, priority } => {
                let mut draft = said(*from, *random, *text);
                (draft.content, draft.priority) = (draft.content.filter(|_| *dedup), *priority);
                (draft.msg_id.secs, draft.msg_id.account) = (world.now.secs() + 2, 1 << 57 | u64::from(*from));
                draft.msg_id.random ^= u32::from(*from);
                Command::Send(draft)
            }
            Step::Wait { ms } => {
                world.wait(*ms);
                continue;
            }
        };
        // A refusal is an answer like any other here.
        let _ = world.run(command);
    }
}

fn said(from: u8, random: u32, text: u8) -> Draft {
    draft(&format!("user{from}"), random, &format!("[{text}]"))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_snapshot_and_the_rest_give_what_everything_gives(
        steps in prop::collection::vec(step(), 0..120), cut in 0.0..=1.0_f64, limit in 0..6_u32,
    ) {
        let mut world = World::new();
        world.facts.room_messages_per_s = limit;
        play(&mut world, &steps);
        let cut = (world.past.len() as f64 * cut) as usize;
        let (before, after) = world.past.split_at(cut);
        prop_assert!(invariants::same_fold(before, after));
        prop_assert!(invariants::all_dense(&world.past));
    }

    #[test]
    fn a_snapshot_of_a_snapshot_is_the_same_bytes(steps in prop::collection::vec(step(), 0..120)) {
        let mut world = World::new();
        play(&mut world, &steps);
        let snapshot = world.room.to_snapshot();
        prop_assert_eq!(Room::from_snapshot(&snapshot).unwrap().to_snapshot(), snapshot);
    }

    #[test]
    fn any_part_of_the_past_that_ends_with_a_destruction_leaves_nothing(
        steps in prop::collection::vec(step(), 0..120), from in 0.0..=1.0_f64,
    ) {
        let mut world = World::new();
        play(&mut world, &steps);
        let _ = world.run(Command::Destroy { operator: user("administrator") });
        let from = (world.past.len() as f64 * from) as usize;
        let mut room = Room::absent();
        world.past[from..].iter().for_each(|event| fold(&mut room, event));
        prop_assert_eq!(room, Room::absent());
    }

    /// Against a plain model: a map from (sender, random, text) to the first receipt.
    #[test]
    fn a_repeat_inside_the_window_gets_the_first_receipt(steps in prop::collection::vec(step(), 0..200)) {
        let mut world = World::new();
        let mut model = HashMap::new();
        let mut last_at = UnixMillis(0);
        for step in &steps {
            match step {
                Step::Send { from, random, text, dedup: true, .. } => {
                    let key = (*from, *random, *text);
                    let Ok(outcome) = world.run(Command::Send(said(*from, *random, *text))) else {
                        continue;
                    };
                    let now = world.now.max(last_at);
                    match (outcome.receipt, model.get(&key)) {
                        (Receipt::Repeated(sent), first) => {
                            prop_assert_eq!(Some(&sent), first);
                            prop_assert!(now.0 - sent.at.0 < DEDUP_WINDOW_MS);
                        }
                        (Receipt::Sent(sent), first) => {
                            prop_assert!(first.is_none_or(|first| now.0 - first.at.0 >= DEDUP_WINDOW_MS));
                            last_at = sent.at;
                            model.insert(key, sent);
                        }
                        (other, _) => prop_assert!(false, "{:?}", other),
                    }
                }
                Step::Destroy | Step::Create { .. } => {
                    play(&mut world, std::slice::from_ref(step));
                    if !world.room.exists() {
                        model.clear();
                        last_at = UnixMillis(0);
                    } else if world.room.top().0 == 0 {
                        last_at = world.room.created_at().unwrap();
                    }
                    // Surviving a restart at any point changes no answer.
                    world.room = Room::from_snapshot(&world.room.to_snapshot()).unwrap();
                }
                Step::Send { .. } => {}
                Step::Wait { ms } => world.wait(*ms),
            }
        }
    }
}

#[test]
fn the_window_is_bounded_and_forgets_the_oldest() {
    let mut world = World::new();
    world.run(create("ann", 1)).unwrap();
    for random in 0..=DEDUP_ENTRIES_MAX as u32 {
        world.run(Command::Send(draft(&format!("user{}", random % 700), random, "[]"))).unwrap();
    }
    assert_eq!(world.room.remembered(), DEDUP_ENTRIES_MAX);
    let answer = |random: u32, world: &mut World| {
        world.run(Command::Send(draft(&format!("user{}", random % 700), random, "[]"))).unwrap().receipt
    };
    assert!(matches!(answer(1, &mut world), Receipt::Repeated(sent) if sent.seq.0 == 2));
    assert!(matches!(answer(0, &mut world), Receipt::Sent(_)));
    let snapshot = world.room.to_snapshot();
    assert_eq!(Room::from_snapshot(&snapshot).unwrap(), world.room);
    assert!(snapshot.len() < 24 * DEDUP_ENTRIES_MAX, "a full window is packed: {} bytes", snapshot.len());
}

#[test]
fn a_room_never_goes_back_in_time() {
    let mut world = World::new();
    world.run(create("ann", 1)).unwrap();
    world.run(Command::Send(draft("bob", 1, "[]"))).unwrap();
    world.wait(-60_000);
    world.run(Command::Send(draft("bob", 2, "[]"))).unwrap();
    let times: Vec<_> = world.past.iter().map(Event::at).collect();
    assert!(times.is_sorted(), "{times:?}");
}
