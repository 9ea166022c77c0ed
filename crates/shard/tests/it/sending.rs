//! Commands and their receipts while nothing breaks.

use roomhook_log::LogId;
use roomhook_room::{Command, Draft, Event, Receipt, Reject, invariants};
use roomhook_shard::{CONTENT_BYTES_MAX, Config, ExecuteError};
use tokio::task::JoinSet;

use crate::world::{FIRST_FREE, World, create, draft, room, user};

#[tokio::test(start_paused = true)]
async fn a_receipt_points_at_a_record_of_the_log() {
    let world = World::new().await;
    world.create("lobby").await;
    let sent = world.say("lobby", 7).await;
    let events = world.events("lobby").await;
    let [Event::RoomCreated { .. }, Event::MessageSent(message)] = &events[..] else { panic!("{events:?}") };
    assert_eq!((message.seq, message.at, message.draft.msg_id), (sent.seq, sent.at, sent.msg_id));
    assert_eq!(&message.draft.body[..], b"[\"7\"]");

    let view = world.view("lobby").await.unwrap();
    assert_eq!((view.top.0, view.info.owner, view.at), (1, user("ann"), FIRST_FREE.next()));
    assert_eq!(world.send("lobby", 7).await, Ok(Receipt::Repeated(sent)));
    assert_eq!(world.send("nowhere", 7).await, Err(ExecuteError::Rejected(Reject::RoomMissing)));
    assert_eq!(world.view("nowhere").await, None);
}

#[tokio::test(start_paused = true)]
async fn a_destroyed_room_starts_again_from_one() {
    let world = World::new().await;
    let lobby = world.create("lobby").await;
    world.say("lobby", 7).await;
    let destroy = Command::Destroy { operator: user("ann") };
    let destroyed = world.router.execute(lobby.clone(), destroy).await;
    assert!(matches!(destroyed, Ok(Receipt::Destroyed(statistic)) if statistic.total_messages == 1));
    assert_eq!(world.view("lobby").await, None);
    world.create("lobby").await;
    assert_eq!(world.say("lobby", 7).await.seq.0, 1);
}

#[tokio::test(start_paused = true)]
async fn concurrent_senders_get_dense_numbers_in_every_room() {
    let world = World::with(4, Config::default()).await;
    let rooms: Vec<String> = (0..16).map(|n| format!("room{n}")).collect();
    for name in &rooms {
        world.create(name).await;
    }
    let mut senders = JoinSet::new();
    for sender in 0..20 {
        for name in rooms.clone() {
            let router = world.router.clone();
            senders.spawn(async move {
                for random in 0..5 {
                    let command = Command::Send(draft(&format!("user{sender}"), random));
                    assert!(matches!(router.execute(room(&name), command).await, Ok(Receipt::Sent(_))));
                }
            });
        }
    }
    while let Some(done) = senders.join_next().await {
        done.unwrap();
    }
    for name in &rooms {
        let events = world.events(name).await;
        assert_eq!(events.len(), 101);
        assert!(invariants::all_dense(&events));
        assert_eq!(world.top(name).await, 100);
    }
}

#[tokio::test(start_paused = true)]
async fn what_arrives_during_an_append_forms_the_next_batch() {
    let world = World::new().await;
    world.create("lobby").await;
    let hold = world.log.hold_appends(LogId(0));
    let mut senders = JoinSet::new();
    for random in 0..10 {
        let router = world.router.clone();
        senders.spawn(async move { router.execute(room("lobby"), Command::Send(draft("bob", random))).await });
        if random == 0 {
            hold.reached().await;
        }
    }
    tokio::task::yield_now().await;
    hold.release();
    while let Some(sent) = senders.join_next().await {
        assert!(matches!(sent.unwrap(), Ok(Receipt::Sent(_))));
    }
    assert_eq!(world.metric("shard_batch_records_count"), 3.0, "creation, the first message, the nine others");
    assert_eq!(world.metric("shard_appended_records_total"), 11.0);
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_cut_by_bytes_and_nothing_is_left_behind() {
    let world = World::with(1, Config { batch_bytes_max: 600, ..Config::default() }).await;
    world.create("lobby").await;
    let hold = world.log.hold_appends(LogId(0));
    let mut senders = JoinSet::new();
    for random in 0..10 {
        let router = world.router.clone();
        senders.spawn(async move { router.execute(room("lobby"), Command::Send(draft("bob", random))).await });
        if random == 0 {
            hold.reached().await;
        }
    }
    tokio::task::yield_now().await;
    hold.release();
    while let Some(sent) = senders.join_next().await {
        assert!(matches!(sent.unwrap(), Ok(Receipt::Sent(_))));
    }
    assert_eq!(world.metric("shard_batch_records_count"), 5.0, "one, one, then four, four, one");
    assert!(invariants::all_dense(&world.events("lobby").await));
}

#[tokio::test(start_paused = true)]
async fn a_full_inbox_says_busy_and_nothing_happens() {
    let world = World::with(1, Config { inbox_max: 2, ..Config::default() }).await;
    world.create("lobby").await;
    let hold = world.log.hold_appends(LogId(0));
    let mut senders = JoinSet::new();
    for random in 0..3 {
        let router = world.router.clone();
        senders.spawn(async move { router.execute(room("lobby"), Command::Send(draft("bob", random))).await });
        if random == 0 {
            hold.reached().await;
        }
    }
    tokio::task::yield_now().await;
    assert_eq!(world.send("lobby", 9).await, Err(ExecuteError::Busy));
    hold.release();
    while let Some(sent) = senders.join_next().await {
        assert!(matches!(sent.unwrap(), Ok(Receipt::Sent(_))));
    }
    assert_eq!(world.top("lobby").await, 3);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_told_before_the_append_is_durable() {
    let world = World::new().await;
    world.create("lobby").await;
    let hold = world.log.hold_appends(LogId(0));
    let router = world.router.clone();
    let sending = tokio::spawn(async move { router.execute(room("lobby"), Command::Send(draft("bob", 1))).await });
    hold.reached().await;
    // A refusal and a view that were asked for meanwhile wait with it: they might be its consequences.
    let (one, other) = (world.router.clone(), world.router.clone());
    let refusal = tokio::spawn(async move { one.execute(room("lobby"), create("ann")).await });
    let view = tokio::spawn(async move { other.view(room("lobby")).await });
    tokio::task::yield_now().await;
    assert!(!sending.is_finished() && !refusal.is_finished() && !view.is_finished());
    assert_eq!(world.events("lobby").await.len(), 1);
    hold.release();
    assert!(sending.await.unwrap().is_ok());
    assert_eq!(refusal.await.unwrap(), Err(ExecuteError::Rejected(Reject::RoomExistsOwned)));
    assert_eq!(view.await.unwrap().unwrap().unwrap().top.0, 1);
}

#[tokio::test(start_paused = true)]
async fn shutdown_answers_what_waits_and_refuses_what_comes() {
    let world = World::new().await;
    world.create("lobby").await;
    let hold = world.log.hold_appends(LogId(0));
    let mut senders = JoinSet::new();
    for random in 0..5 {
        let router = world.router.clone();
        senders.spawn(async move { router.execute(room("lobby"), Command::Send(draft("bob", random))).await });
        if random == 0 {
            hold.reached().await;
        }
    }
    tokio::task::yield_now().await;
    let router = world.router.clone();
    let stopping = tokio::spawn(world.shutdown());
    tokio::task::yield_now().await;
    hold.release();
    stopping.await.unwrap();
    while let Some(sent) = senders.join_next().await {
        assert!(matches!(sent.unwrap(), Ok(Receipt::Sent(_))));
    }
    let late = router.execute(room("lobby"), Command::Send(draft("bob", 9))).await;
    assert!(matches!(late, Err(ExecuteError::Unavailable(_))), "{late:?}");
}

/// The log refuses an append of which one record is too long, and with it all the others.
#[tokio::test(start_paused = true)]
async fn a_message_that_no_record_can_hold_is_refused_alone_and_nobody_else_with_it() {
    // Batches that hold all of it: as they come, a message this long is nearly alone in its own.
    let world = World::with(1, Config { batch_bytes_max: 8 << 20, ..Config::default() }).await;
    let lobby = world.create("lobby").await;
    let long = |bytes: usize| Draft { body: "x".repeat(bytes).into(), ..draft("ann", 7) };
    // All of them wait while the first append is held up, so they are one batch.
    let hold = world.log.hold_appends(LogId(0));
    let first = tokio::spawn({
        let (router, lobby) = (world.router.clone(), lobby.clone());
        async move { router.execute(lobby, Command::Send(draft("bob", 1))).await }
    });
    hold.reached().await;
    let mut senders = JoinSet::new();
    for said in [draft("bob", 2), long((1 << 20) + 1), draft("cat", 3), long(CONTENT_BYTES_MAX)] {
        let (router, lobby) = (world.router.clone(), lobby.clone());
        senders.spawn(async move { (said.random, router.execute(lobby, Command::Send(said)).await) });
    }
    tokio::task::yield_now().await;
    hold.release();
    assert!(matches!(first.await.unwrap(), Ok(Receipt::Sent(_))));
    let mut answers = senders.join_all().await;
    answers.sort_by_key(|(random, answer)| (*random, answer.is_err()));
    let told: Vec<String> = answers
        .into_iter()
        .map(|(_, answer)| match answer {
            Ok(Receipt::Sent(sent)) => format!("sent as {}", sent.seq),
            Err(ExecuteError::Rejected(Reject::TooLong { max, .. })) => format!("too long for {max}"),
            other => format!("{other:?}"),
        })
        .collect();
    assert_eq!(told, ["sent as 2", "sent as 3", "sent as 4", "too long for 1048576"]);
    assert!(world.router.is_ready());
    assert_eq!(world.top("lobby").await, 4, "what is refused uses no number");
}

#[tokio::test(start_paused = true)]
async fn what_a_message_would_meet_can_be_asked_without_sending_it() {
    let world = World::new().await;
    let lobby = world.create("lobby").await;
    let foresee = async |random: Option<u32>| {
        let key = random.and_then(|random| draft("bob", random).dedup_key());
        let foreseen = world.router.foresee(lobby.clone(), user("bob"), key).await?;
        assert_eq!(foreseen.room_type, "Live");
        Ok::<_, ExecuteError>(foreseen.repeats)
    };
    assert_eq!(foresee(Some(7)).await, Ok(None));
    let command = Command::Send(draft("bob", 7));
    let Ok(Receipt::Sent(sent)) = world.router.execute(lobby.clone(), command).await else { panic!("not sent") };
    assert_eq!(foresee(Some(7)).await, Ok(Some(sent)), "a repeat");
    assert_eq!(foresee(Some(8)).await, Ok(None));
    assert_eq!(foresee(None).await, Ok(None));
    assert_eq!(world.top("lobby").await, 1, "nothing was sent");
    let nowhere = world.router.foresee(room("nowhere"), user("bob"), None).await;
    assert_eq!(nowhere, Err(ExecuteError::Rejected(Reject::RoomMissing)));
    world.clock.wait(roomhook_room::DEDUP_WINDOW_MS);
    assert_eq!(foresee(Some(7)).await, Ok(None), "past the window");
}
