//! Messages that were sent earlier, and the tail.

use roomhook_log::LogId;
use roomhook_room::{Command, MsgSeq, decode_record};
use roomhook_shard::{Config, History, Range};

use crate::world::{World, room, user};

fn numbers(history: &History) -> Vec<u64> {
    history.messages.iter().map(|message| message.seq.0).collect()
}

#[tokio::test(start_paused = true)]
async fn history_is_dense_in_both_directions_and_ends_with_the_room() {
    let world = World::new().await;
    world.create("lobby").await;
    for random in 0..5 {
        world.say("lobby", random).await;
    }
    world.router.execute(room("lobby"), Command::Destroy { operator: user("ann") }).await.unwrap();
    world.create("lobby").await;
    for random in 0..600 {
        world.say("lobby", random).await;
    }
    let ask = async |range, limit| world.router.history(&room("lobby"), range, limit).await.unwrap().unwrap();

    let newest = ask(Range::Before(MsgSeq(u64::MAX)), 3).await;
    assert_eq!((numbers(&newest), newest.complete), (vec![598, 599, 600], true));
    assert_eq!(newest.room.top, MsgSeq(600));
    assert_eq!(numbers(&ask(Range::Before(MsgSeq(4)), 10).await), [1, 2, 3], "not of the room's earlier life");
    assert_eq!(numbers(&ask(Range::After(MsgSeq(0)), 2).await), [1, 2]);
    assert_eq!(numbers(&ask(Range::After(MsgSeq(598)), 50).await), [599, 600]);
    assert_eq!(numbers(&ask(Range::After(MsgSeq(600)), 50).await), [0; 0]);
    assert_eq!(numbers(&ask(Range::Before(MsgSeq(1)), 50).await), [0; 0]);
    let all = ask(Range::After(MsgSeq(0)), 1_000).await;
    assert_eq!(numbers(&all), (1..=600).collect::<Vec<_>>());
    assert!(world.router.history(&room("nowhere"), Range::After(MsgSeq(0)), 1).await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn history_that_retention_dropped_is_said_to_be_incomplete() {
    let world = World::new().await;
    world.create("lobby").await;
    for random in 0..10 {
        world.say("lobby", random).await;
    }
    let view = world.view("lobby").await.unwrap();
    world.log.trim_history(LogId(0), view.at);
    let history = world.router.history(&room("lobby"), Range::After(MsgSeq(5)), 10).await.unwrap().unwrap();
    assert_eq!((numbers(&history), history.complete), (vec![10], false));
}

#[tokio::test(start_paused = true)]
async fn a_view_and_the_tail_after_it_have_no_seam() {
    let world = World::with(4, Config::default()).await;
    world.create("lobby").await;
    world.say("lobby", 1).await;
    let view = world.view("lobby").await.unwrap();
    world.say("lobby", 2).await;
    let tail = world.router.tail();
    let mut stream = tail.read(tail.shard_of(&room("lobby")), view.at.next()).unwrap();
    let records = stream.next_batch().await.unwrap();
    let [roomhook_room::Event::MessageSent(message)] = &decode_record(&records[0].payload).unwrap()[..] else {
        panic!("one message")
    };
    assert_eq!(message.seq, view.top.next());
}
