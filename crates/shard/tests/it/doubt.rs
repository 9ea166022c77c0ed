//! An append of unknown outcome, and a log that does not answer when asked.

use std::{sync::atomic::Ordering, time::Duration};

use roomhook_log::{Fault, Hold, LogId};
use roomhook_room::{Command, Receipt};
use roomhook_shard::{Config, ExecuteError};

use crate::{
    sulking::sulking_world,
    world::{World, draft, room},
};
use tokio::{task::JoinHandle, time::timeout};

const SHARD: LogId = LogId(0);

/// A world with one room, one message in it, and a log that will be in doubt and then refuse so many claims.
async fn in_doubt(refusals: u32) -> World {
    in_doubt_of(refusals, false).await
}

async fn in_doubt_of(refusals: u32, poisoned: bool) -> World {
    let (world, sulking) = sulking_world(poisoned, Config::default()).await;
    world.log.fail_next_append(SHARD, Fault::Ambiguous { durable: 1 });
    sulking.refusals.store(refusals, Ordering::Relaxed);
    world
}

/// Messages with the randoms 2 to 5, one after the other into the inbox. The first is being appended, the second is next, when
/// it returns.
async fn four_in_a_row(world: &World) -> (Hold, [JoinHandle<Answer>; 4]) {
    let hold = world.log.hold_appends(SHARD);
    let mut sent = Vec::new();
    for random in 2..=5 {
        let router = world.router.clone();
        let send = async move { router.execute(room("lobby"), Command::Send(draft("bob", random))).await };
        sent.push(tokio::spawn(send));
        hold.reached().await;
    }
    // Everybody has had a turn once time moves on.
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(world.metric("shard_inbox_commands"), 4.0);
    (hold, sent.try_into().expect("four"))
}

type Answer = Result<Receipt, ExecuteError>;

/// What all of them are told before a minute is over.
async fn told(sent: [JoinHandle<Answer>; 4]) -> [Answer; 4] {
    let mut answers = Vec::new();
    for answer in sent {
        answers.push(timeout(Duration::from_secs(60), answer).await.expect("an answer").expect("no panic"));
    }
    answers.try_into().expect("four")
}

fn one_by_one() -> Config {
    Config { batch_records_max: 1, ..Config::default() }
}

#[tokio::test(start_paused = true)]
async fn a_log_that_answers_after_a_while_still_decides_what_is_told() {
    let world = in_doubt(3).await;
    assert!(matches!(world.send("lobby", 2).await, Ok(Receipt::Sent(sent)) if sent.seq.0 == 2));
    assert!(world.router.is_ready());
}

/// What a commit that fails looks like: the append's outcome is unknown, and the log takes no more. Found with a real process:
/// the shard threw its rooms away to read them again, could not claim, and refused to be read until a restart.
#[tokio::test(start_paused = true)]
async fn a_log_that_failed_for_good_is_still_read() {
    let world = in_doubt_of(u32::MAX, true).await;
    let answer = world.send("lobby", 2).await;
    assert!(matches!(answer, Err(ExecuteError::Unknown(_))), "{answer:?}");
    assert!(!world.router.is_ready());
    assert_eq!(world.top("lobby").await, 1, "what was durable before is read, and no more");
    assert_eq!(world.view("nowhere").await, None);
    let later = world.send("lobby", 3).await;
    assert!(matches!(later, Err(ExecuteError::Unavailable(_))), "{later:?}");
}

#[tokio::test(start_paused = true)]
async fn a_log_that_does_not_answer_makes_the_outcome_unknown_and_is_asked_again_later() {
    let world = in_doubt(10).await;
    let answer = world.send("lobby", 2).await;
    assert!(matches!(answer, Err(ExecuteError::Unknown(_))), "{answer:?}");
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert!(!world.router.is_ready());
    let meanwhile = world.send("lobby", 3).await;
    assert!(matches!(meanwhile, Err(ExecuteError::Unavailable(_))), "told at once: {meanwhile:?}");

    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(world.router.is_ready());
    let repeated = world.send("lobby", 2).await;
    assert!(matches!(repeated, Ok(Receipt::Repeated(sent)) if sent.seq.0 == 2), "it was durable: {repeated:?}");
}

/// Before, those in the inbox waited for an owner that never came, and the doors told them that nobody knows.
#[tokio::test(start_paused = true)]
async fn while_a_log_cannot_be_opened_those_behind_are_told_that_nothing_happened() {
    let (world, sulking) = sulking_world(false, one_by_one()).await;
    world.log.fail_next_append(SHARD, Fault::Ambiguous { durable: 1 });
    let (hold, sent) = four_in_a_row(&world).await;
    sulking.refusals.store(u32::MAX, Ordering::Relaxed);
    hold.release();
    let [under_way, behind @ ..] = told(sent).await;
    assert!(matches!(under_way, Err(ExecuteError::Unknown(_))), "{under_way:?}");
    assert!(behind.iter().all(|answer| matches!(answer, Err(ExecuteError::Unavailable(_)))), "{behind:?}");
    assert_eq!((world.metric("shard_inbox_commands"), world.metric("shard_inbox_bytes")), (0.0, 0.0));

    sulking.refusals.store(0, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(world.router.is_ready());
    let answers = tokio::join!(world.send("lobby", 2), world.send("lobby", 3));
    assert!(matches!(answers.0, Ok(Receipt::Repeated(sent)) if sent.seq.0 == 2), "it was durable: {answers:?}");
    assert!(matches!(answers.1, Ok(Receipt::Sent(sent)) if sent.seq.0 == 3), "nothing had happened: {answers:?}");
}

/// Before, a panic of the owner told all whose requests it had taken that nobody knows.
#[tokio::test(start_paused = true)]
async fn a_panic_leaves_only_the_append_that_was_under_way_in_doubt() {
    let (world, sulking) = sulking_world(false, Config { batch_bytes_max: 1, ..Config::default() }).await;
    let (hold, sent) = four_in_a_row(&world).await;
    // The first is done, the others are in the owner's hands then, and it dies with the second.
    sulking.dies.store(2, Ordering::Relaxed);
    hold.release();
    let answers = told(sent).await;
    assert!(answers[0].is_ok(), "{answers:?}");
    let unsure = answers.iter().filter(|answer| matches!(answer, Err(ExecuteError::Unknown(_)))).count();
    assert_eq!(unsure, 1, "{answers:?}");
    let again = |random| world.send("lobby", random);
    for (random, answer) in (2..=5).zip(answers) {
        match answer {
            Ok(Receipt::Sent(sent)) => assert_eq!(again(random).await, Ok(Receipt::Repeated(sent))),
            Err(ExecuteError::Unknown(_)) => assert!(matches!(again(random).await, Ok(Receipt::Repeated(_)))),
            Err(ExecuteError::Unavailable(_)) => assert!(matches!(again(random).await, Ok(Receipt::Sent(_)))),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(world.top("lobby").await, 5, "each of them once");
    assert_eq!((world.metric("shard_inbox_commands"), world.metric("shard_inbox_bytes")), (0.0, 0.0));
}

/// Opening may hang as appending may: whoever waits for the next owner does not wait for ever.
#[tokio::test(start_paused = true)]
async fn a_log_that_hangs_when_it_is_opened_keeps_nobody_waiting() {
    let (world, sulking) = sulking_world(false, one_by_one()).await;
    let (hold, sent) = four_in_a_row(&world).await;
    sulking.hangs.store(true, Ordering::Relaxed);
    sulking.dies.store(1, Ordering::Relaxed);
    hold.release();
    let [under_way, behind @ ..] = told(sent).await;
    assert!(matches!(under_way, Err(ExecuteError::Unknown(_))), "{under_way:?}");
    assert!(behind.iter().all(|answer| matches!(answer, Err(ExecuteError::Unavailable(_)))), "{behind:?}");
    let later = world.send("lobby", 6).await;
    assert!(matches!(later, Err(ExecuteError::Unavailable(_))), "told at once: {later:?}");
}
