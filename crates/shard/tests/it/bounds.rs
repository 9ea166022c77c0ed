//! What waits for an owner is bounded by its weight too, and all of it comes back.

use std::time::Duration;

use bytes::Bytes;
use roomhook_log::LogId;
use roomhook_room::{AppId, Command, Receipt, invariants};
use roomhook_shard::{Config, ExecuteError, ImportAccount};
use tokio::task::JoinSet;

use crate::world::{APP, World, draft, room, user};

const SHARD: LogId = LogId(0);
const BODY_BYTES: usize = 12 << 10;
const BUDGET: usize = 4 << 20;

type Answers = JoinSet<Result<Receipt, ExecuteError>>;

async fn world(inbox_bytes_max: usize) -> World {
    let world = World::with(1, Config { inbox_bytes_max, ..Config::default() }).await;
    world.create("lobby").await;
    world
}

/// Sends messages of 12 kB, each with another `Random`, and returns once all wait or were refused.
async fn flood(world: &World, randoms: std::ops::Range<u32>) -> Answers {
    let mut answers = JoinSet::new();
    for random in randoms {
        let body = Bytes::from(format!("[\"{}\"]", "x".repeat(BODY_BYTES)));
        let (router, draft) = (world.router.clone(), roomhook_room::Draft { body, ..draft("bob", random) });
        answers.spawn(async move { router.execute(room("lobby"), Command::Send(draft)).await });
    }
    // Time stands still as long as anybody has something to do.
    tokio::time::sleep(Duration::from_millis(1)).await;
    answers
}

/// What was answered already.
fn at_once(answers: &mut Answers) -> Vec<Result<Receipt, ExecuteError>> {
    std::iter::from_fn(|| answers.try_join_next()).map(|answer| answer.expect("no panic")).collect()
}

fn nothing_is_held(world: &World) {
    assert_eq!((world.metric("shard_inbox_commands"), world.metric("shard_inbox_bytes")), (0.0, 0.0));
}

/// Before, 4,096 messages waited whatever they weighed: 50 MB per shard with these.
#[tokio::test(start_paused = true)]
async fn what_waits_while_a_sync_stalls_weighs_no_more_than_the_budget() {
    let world = world(BUDGET).await;
    let hold = world.log.hold_appends(SHARD);
    let mut answers = flood(&world, 0..4_000).await;
    let refused = at_once(&mut answers);
    assert!(refused.iter().all(|answer| *answer == Err(ExecuteError::Busy)), "{refused:?}");
    let (bytes, commands) = (world.metric("shard_inbox_bytes"), world.metric("shard_inbox_commands"));
    assert!(bytes <= BUDGET as f64 && bytes > 0.9 * BUDGET as f64, "{bytes}");
    assert!(commands * BODY_BYTES as f64 <= bytes, "{commands} messages weigh more than {bytes} bytes");
    assert_eq!(answers.len(), commands as usize);
    assert!(answers.len() > 200, "{} were let in", answers.len());

    hold.release();
    let accepted = answers.len();
    let answers = answers.join_all().await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    nothing_is_held(&world);
    assert_eq!(world.top("lobby").await, accepted as u64);
    assert!(invariants::all_dense(&world.events("lobby").await));

    // All goes on, and the next flood finds as much room as the first.
    let hold = world.log.hold_appends(SHARD);
    let mut answers = flood(&world, 10_000..14_000).await;
    at_once(&mut answers);
    assert_eq!(answers.len(), accepted);
    hold.release();
    assert!(answers.join_all().await.iter().all(Result::is_ok));
    nothing_is_held(&world);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_weighs_more_than_everything_is_let_in_alone() {
    let world = world(1).await;
    for random in 0..3 {
        assert_eq!(world.say("lobby", random).await.seq.0, u64::from(random) + 1);
    }
    let hold = world.log.hold_appends(SHARD);
    let mut answers = flood(&world, 10..20).await;
    assert_eq!(at_once(&mut answers), vec![Err(ExecuteError::Busy); 9]);
    assert_eq!(world.router.view(room("lobby")).await, Err(ExecuteError::Busy), "a question waits in the same inbox");
    hold.release();
    assert!(answers.join_all().await.iter().all(Result::is_ok));
    nothing_is_held(&world);
}

#[tokio::test(start_paused = true)]
async fn callers_that_go_away_and_owners_that_die_keep_nothing() {
    let world = world(BUDGET).await;
    for round in 0..20 {
        let hold = world.log.hold_appends(SHARD);
        let answers = flood(&world, round * 1_000..round * 1_000 + 500).await;
        if round % 2 == 0 {
            world.clock.panic_once();
        }
        // They hang up.
        drop(answers);
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert!(world.metric("shard_inbox_bytes") > 0.9 * BUDGET as f64, "it waits on without them");
        hold.release();
        tokio::time::sleep(Duration::from_secs(5)).await;
        world.clock.repair();
        nothing_is_held(&world);
    }
    assert_eq!(world.metric("shard_owner_panics_total"), 10.0);
    world.say("lobby", 1_000_000).await;
}

#[tokio::test(start_paused = true)]
async fn a_log_that_fails_gives_back_what_waited() {
    for fault in [roomhook_log::Fault::Full, roomhook_log::Fault::Poisoned, roomhook_log::Fault::Fenced] {
        let world = world(BUDGET).await;
        world.log.fail_next_append(SHARD, fault);
        let hold = world.log.hold_appends(SHARD);
        let answers = flood(&world, 0..500).await;
        hold.release();
        answers.join_all().await;
        nothing_is_held(&world);
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_stops_answers_what_waits() {
    let world = world(BUDGET).await;
    let hold = world.log.hold_appends(SHARD);
    let mut answers = flood(&world, 0..500).await;
    let refused = at_once(&mut answers).len();
    let stopping = tokio::spawn(world.shutdown());
    tokio::time::sleep(Duration::from_millis(1)).await;
    hold.release();
    assert!(answers.join_all().await.iter().all(Result::is_ok), "what was let in is done first");
    assert!((1..500).contains(&refused));
    stopping.await.expect("no panic");
}

/// An import is some hundred accounts: 4,096 of them were bounded by nothing that an operator knew of.
#[tokio::test(start_paused = true)]
async fn what_waits_for_the_directory_is_weighed_too() {
    let world = world(BUDGET).await;
    let hold = world.log.hold_appends(LogId::DIRECTORY);
    let mut answers = JoinSet::new();
    for import in 0..2_000 {
        let account = |n: u32| ImportAccount {
            user: user(&format!("user{import}-{n}")),
            nick: Some("n".repeat(100)),
            face_url: Some("u".repeat(500)),
        };
        let (directory, accounts) = (world.directory.clone(), (0..10).map(account).collect());
        answers.spawn(async move { directory.import(AppId(APP.0), accounts).await });
    }
    tokio::time::sleep(Duration::from_millis(1)).await;
    let refused: Vec<_> =
        std::iter::from_fn(|| answers.try_join_next()).map(|answer| answer.expect("no panic")).collect();
    assert!(refused.iter().all(|answer| *answer == Err(ExecuteError::Busy)), "{refused:?}");
    let bytes = world.metric_of("directory", "shard_inbox_bytes");
    assert!(bytes <= BUDGET as f64 && bytes > 0.9 * BUDGET as f64, "{bytes}");
    assert!(answers.len() * 6_000 < BUDGET && answers.len() > 100, "{}", answers.len());
    hold.release();
    assert!(answers.join_all().await.iter().all(Result::is_ok));
    assert_eq!(world.metric_of("directory", "shard_inbox_bytes"), 0.0);
    assert_eq!(world.metric_of("directory", "shard_inbox_commands"), 0.0);
}
