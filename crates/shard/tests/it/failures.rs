//! What callers are told, and what is true afterwards, when an append does not succeed.

use std::time::Duration;

use roomhook_log::{Expect, Fault, LogAppend as _, LogId, LogRead as _};
use roomhook_room::{Command, Receipt, Reject, invariants};
use roomhook_shard::{ExecuteError, NodeId};

use crate::world::{World, create, draft, room, user};

const SHARD: LogId = LogId(0);

/// Three commands in one batch: bob's 1, bob's 2, and bob's 1 again, which repeats the first.
async fn three_at_once(world: &World) -> [Result<Receipt, ExecuteError>; 3] {
    let send = |random| world.router.execute(room("lobby"), Command::Send(draft("bob", random)));
    let (a, b, c) = tokio::join!(send(1), send(2), send(1));
    [a, b, c]
}

fn unavailable(answer: &Result<Receipt, ExecuteError>) -> bool {
    matches!(answer, Err(ExecuteError::Unavailable(_)))
}

#[tokio::test(start_paused = true)]
async fn a_failed_append_leaves_no_trace() {
    for fault in [Fault::Full, Fault::Refused] {
        let world = World::new().await;
        world.create("lobby").await;
        world.say("lobby", 100).await;
        world.log.fail_next_append(SHARD, fault);
        let answers = three_at_once(&world).await;
        assert!(answers.iter().all(unavailable), "{answers:?}");
        assert!(!world.router.is_ready());
        assert_eq!(world.events("lobby").await.len(), 2, "no event is visible");
        assert_eq!(world.top("lobby").await, 1);

        let sent = world.say("lobby", 1).await;
        assert_eq!(sent.seq.0, 2, "the number was not used up, and the repeat is no repeat");
        assert!(world.router.is_ready());
        assert!(invariants::all_dense(&world.events("lobby").await));
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_creation_is_no_room() {
    let world = World::new().await;
    world.log.fail_next_append(SHARD, Fault::Full);
    assert!(unavailable(&world.router.execute(room("lobby"), create("ann")).await));
    assert_eq!(world.view("lobby").await, None);
    assert_eq!(world.send("lobby", 1).await, Err(ExecuteError::Rejected(Reject::RoomMissing)));
    world.create("lobby").await;
}

#[tokio::test(start_paused = true)]
async fn a_failed_destruction_keeps_the_room() {
    let world = World::new().await;
    let lobby = world.create("lobby").await;
    let sent = world.say("lobby", 1).await;
    world.log.fail_next_append(SHARD, Fault::Full);
    let destroy = Command::Destroy { operator: user("ann") };
    assert!(unavailable(&world.router.execute(lobby, destroy).await));
    assert_eq!(world.send("lobby", 1).await, Ok(Receipt::Repeated(sent)));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_nobody_asks_notices_that_there_is_room_again() {
    let world = World::new().await;
    world.create("lobby").await;
    world.log.fail_next_append(SHARD, Fault::Full);
    world.log.fail_next_append(SHARD, Fault::Full);
    assert!(unavailable(&world.send("lobby", 1).await));
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert!(!world.router.is_ready(), "one try later it is still full");
    assert_eq!(world.router.troubles(), ["shard 0: no room to write: injected: disk full"]);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(world.router.is_ready());
    assert_eq!(world.say("lobby", 1).await.seq.0, 1);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_outcome_is_answered_by_what_the_log_has() {
    for durable in 0..=2 {
        let world = World::new().await;
        world.create("lobby").await;
        world.say("lobby", 100).await;
        world.log.fail_next_append(SHARD, Fault::Ambiguous { durable });
        let [first, second, repeat] = three_at_once(&world).await;
        assert_eq!(matches!(first, Ok(Receipt::Sent(_))), durable >= 1, "{first:?}");
        assert_eq!(matches!(second, Ok(Receipt::Sent(_))), durable >= 2, "{second:?}");
        assert_eq!(matches!(repeat, Ok(Receipt::Repeated(_))), durable >= 2, "{repeat:?}");
        assert_eq!(world.top("lobby").await, 1 + durable as u64);
        assert!(world.router.is_ready());

        // Whoever was told "not written" tries again: nothing is there twice.
        let again = three_at_once(&world).await;
        assert!(again.iter().all(Result::is_ok));
        let events = world.events("lobby").await;
        assert_eq!(events.len(), 4, "creation and the messages 100, 1 and 2: {events:?}");
        assert!(invariants::all_dense(&events));
    }
}

#[tokio::test(start_paused = true)]
async fn a_view_after_an_unknown_outcome_shows_what_is_durable() {
    let world = World::new().await;
    world.create("lobby").await;
    world.log.fail_next_append(SHARD, Fault::Ambiguous { durable: 1 });
    let (sent, view) = tokio::join!(world.send("lobby", 1), world.router.view(room("lobby")));
    assert!(matches!(sent, Ok(Receipt::Sent(_))));
    assert_eq!(view.unwrap().unwrap().top.0, 1);
}

#[tokio::test(start_paused = true)]
async fn a_poisoned_log_ends_writing_but_not_reading() {
    let world = World::new().await;
    world.create("lobby").await;
    world.say("lobby", 100).await;
    world.log.fail_next_append(SHARD, Fault::Poisoned);
    let answer = world.send("lobby", 1).await;
    assert!(matches!(answer, Err(ExecuteError::Unknown(_))), "nobody knows what the disk has: {answer:?}");
    assert!(unavailable(&world.send("lobby", 2).await));
    assert!(!world.router.is_ready());
    assert_eq!(world.top("lobby").await, 1);
    assert_eq!(world.view("nowhere").await, None);

    let world = world.crash().await;
    assert!(world.router.is_ready());
    assert_eq!(world.say("lobby", 1).await.seq.0, 2);
}

#[tokio::test(start_paused = true)]
async fn a_deposed_owner_answers_nothing_as_if_it_knew() {
    let world = World::new().await;
    world.create("lobby").await;
    let other = world.log.claim(SHARD, NodeId(9), Expect::Anyone).await.unwrap();
    assert!(unavailable(&world.send("lobby", 1).await));
    assert!(unavailable(&world.send("lobby", 2).await));
    assert!(world.router.view(room("lobby")).await.is_err());
    assert!(!world.router.is_ready());
    assert_eq!(world.log.bounds(SHARD).await.unwrap().next, other.next, "it wrote nothing and claimed nothing back");
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_panics_is_replaced_and_others_do_not_notice() {
    let world = World::with(2, roomhook_shard::Config::default()).await;
    let rooms: Vec<String> = (0..8).map(|n| format!("room{n}")).collect();
    for name in &rooms {
        world.create(name).await;
        world.say(name, 1).await;
    }
    world.clock.panic_once();
    let answer = world.send("room0", 2).await;
    assert!(unavailable(&answer), "nothing was appended yet: {answer:?}");
    for name in &rooms {
        let answer = world.send(name, 2).await;
        assert!(matches!(answer, Ok(Receipt::Sent(sent)) if sent.seq.0 == 2), "{answer:?}");
    }
    assert!(world.router.is_ready());
}
