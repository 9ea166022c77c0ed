//! A receiver that asks for what it missed.

use roomhook_hooks::{EventCursor, EventPage, HandleError, PULL_RECORDS_MAX, Pulled};
use roomhook_log::{LogId, Lsn};
use roomhook_room::{RoomId, RoomKey};

use crate::{
    misbehaving::{default, wait_for_status},
    world::{APP, World, endpoint},
};

/// A world whose endpoint nobody listens at: what is owed is there to be asked for.
async fn world() -> World {
    let world = World::new(vec![endpoint("http://127.0.0.1:1/")]).await;
    wait_for_status(world.hooks(), |_| true).await;
    world
}

async fn ask(world: &World, cursor: Option<&EventCursor>, limit: usize) -> EventPage {
    world.hooks().events(&default(), cursor, limit).await.expect("events")
}

/// All there is after a cursor, page by page, with the cursor written down and read back between them as receivers do.
async fn catch_up(world: &World, mut cursor: Option<EventCursor>, limit: usize) -> (Vec<Pulled>, EventCursor) {
    let mut seen = Vec::new();
    loop {
        let page = ask(world, cursor.as_ref(), limit).await;
        seen.extend(page.events);
        let next = page.next.to_string().parse().expect("cursor");
        if page.at_end {
            return (seen, next);
        }
        cursor = Some(next);
    }
}

fn of_room(seen: &[Pulled], room: &str) -> Vec<u64> {
    seen.iter().filter(|event| event.room.ends_with(room.as_bytes())).map(|event| event.seq).collect()
}

fn shard_of(world: &World, room: &str) -> u64 {
    let key = RoomKey { app: APP, room: RoomId::new(room).expect("room") };
    key.stable_hash() % u64::from(world.shards)
}

#[tokio::test]
async fn it_gets_everything_once_and_in_order_across_restarts_of_the_server() {
    let mut world = world().await;
    let mut seen = Vec::new();
    let mut cursor = None;
    for round in 0..3 {
        for _ in 0..10 {
            world.say("a", "x").await;
            world.say("b", "x").await;
        }
        // The receiver stops anywhere, the server dies; neither loses its place.
        let page = ask(&world, cursor.as_ref(), 3 + round).await;
        seen.extend(page.events);
        cursor = Some(page.next);
        world.crash().await;
        wait_for_status(world.hooks(), |_| true).await;
    }
    let (rest, end) = catch_up(&world, cursor, 7).await;
    seen.extend(rest);
    assert_eq!(of_room(&seen, "a"), (1..=30).collect::<Vec<_>>());
    assert_eq!(of_room(&seen, "b"), (1..=30).collect::<Vec<_>>());
    let nothing = ask(&world, Some(&end), 10).await;
    assert!(nothing.events.is_empty() && nothing.at_end && nothing.next == end);
    let now_on = ask(&world, Some(&world.hooks().end().await.expect("end")), 10).await;
    assert!(now_on.events.is_empty() && now_on.at_end);
    world.stop().await;
}

#[tokio::test]
async fn one_answer_looks_at_so_much_and_no_more_though_nothing_is_found() {
    let mut quiet = endpoint("http://127.0.0.1:1/");
    quiet.room_prefix = "vip-".into();
    let mut world = World::new(vec![quiet]).await;
    for _ in 0..PULL_RECORDS_MAX + 5_000 {
        world.say("plain", "x").await;
    }
    let beside = |name: &String| shard_of(&world, name) == shard_of(&world, "plain");
    let vip = (0..).map(|number| format!("vip-{number}")).find(beside).expect("a room of the same shard");
    world.say(&vip, "x").await;
    wait_for_status(world.hooks(), |_| true).await;
    let first = ask(&world, None, 10).await;
    assert!(first.events.is_empty() && !first.at_end, "there is one more, further on than one answer looks");
    let (rest, _) = catch_up(&world, Some(first.next), 10).await;
    assert_eq!(rest.len(), 1);
    world.stop().await;
}

#[tokio::test]
async fn a_busy_shard_does_not_keep_the_others_from_being_read() {
    let mut world = world().await;
    let rooms: Vec<String> = (0..6).map(|number| format!("room-{number}")).collect();
    let (mut seen, mut cursor) = (Vec::new(), None);
    // Each time as much comes into each room as one answer holds.
    for _ in 0..4 {
        for room in &rooms {
            for _ in 0..5 {
                world.say(room, "x").await;
            }
        }
        let page = ask(&world, cursor.as_ref(), 5).await;
        seen.extend(page.events);
        cursor = Some(page.next);
    }
    let shards: std::collections::BTreeSet<u16> = seen.iter().map(|event| event.id.shard).collect();
    assert_eq!(shards.len(), usize::from(world.shards), "{shards:?}");
    world.stop().await;
}

#[tokio::test]
async fn long_events_make_short_pages() {
    let mut world = world().await;
    let long = "x".repeat(1_000_000);
    for _ in 0..12 {
        world.say("a", &long).await;
    }
    let page = ask(&world, None, 1_000).await;
    assert!((1..=5).contains(&page.events.len()), "{} events of a megabyte in one answer", page.events.len());
    let (rest, _) = catch_up(&world, Some(page.next), 1_000).await;
    assert_eq!(page.events.len() + rest.len(), 12);
    world.stop().await;
}

#[tokio::test]
async fn what_retention_dropped_is_told_and_the_rest_is_got_once() {
    let mut world = world().await;
    for _ in 0..10 {
        world.say("a", "x").await;
        world.say("b", "x").await;
    }
    let page = ask(&world, None, 4).await;
    let mut seen = page.events;
    for shard in 0..world.shards {
        world.log.trim_history(LogId(shard), Lsn(9));
    }
    let asked = world.hooks().events(&default(), Some(&page.next), 100).await;
    let Err(HandleError::CursorExpired { next }) = asked else { panic!("{asked:?}") };
    let (rest, _) = catch_up(&world, Some(next), 100).await;
    seen.extend(rest);
    for room in ["a", "b"] {
        let seqs = of_room(&seen, room);
        assert!(seqs.is_sorted_by(|a, b| a < b), "{room} (shard {}): {seqs:?}", shard_of(&world, room));
        assert_eq!(seqs.last(), Some(&10), "{room}");
    }
    let from_the_oldest = catch_up(&world, None, 100).await.0;
    assert!(!from_the_oldest.is_empty(), "without a cursor it begins with what there is");
    world.stop().await;
}

/// The places after the loss are used again: a receiver that went on as if nothing had happened would miss what is there now.
#[tokio::test]
async fn what_was_lost_with_its_machine_is_told_and_nothing_in_its_place_is_missed() {
    let mut world = world().await;
    for _ in 0..10 {
        world.say("a", "x").await;
    }
    let (seen, cursor) = catch_up(&world, None, 100).await;
    assert_eq!(of_room(&seen, "a").len(), 10);
    let early = ask(&world, None, 2).await.next;
    world.lose_newest(u16::try_from(shard_of(&world, "a")).expect("a shard"), 4).await;
    for _ in 0..6 {
        world.say("a", "y").await;
    }
    wait_for_status(world.hooks(), |_| true).await;

    let asked = world.hooks().events(&default(), Some(&cursor), 100).await;
    let Err(HandleError::CursorLost { next }) = asked else { panic!("{asked:?}") };
    let (rest, _) = catch_up(&world, Some(next), 100).await;
    assert_eq!(rest.len(), 6, "all that took the place of what was lost, and nothing else");
    let asked = world.hooks().events(&default(), Some(&early), 100).await;
    let Err(HandleError::CursorLost { next }) = asked else { panic!("{asked:?}") };
    let (all, end) = catch_up(&world, Some(next), 100).await;
    assert_eq!(all.len(), 10, "from before the loss: what it had not got yet");
    assert!(ask(&world, Some(&end), 100).await.events.is_empty(), "the new cursor is good");
    world.stop().await;
}

/// Another machine gave it out, which had read further.
#[tokio::test]
async fn a_cursor_that_is_ahead_of_what_can_be_read_here_is_waited_for() {
    let mut world = world().await;
    for _ in 0..6 {
        world.say("a", "x").await;
        world.say("b", "x").await;
    }
    let (_, cursor) = catch_up(&world, None, 100).await;
    world.reads.lag(3);
    assert_eq!(world.hooks().end().await.expect("end"), cursor, "the end is the log's, not the reader's");
    let page = ask(&world, Some(&cursor), 100).await;
    assert!(page.events.is_empty() && page.at_end);
    world.reads.lag(3);
    world.say("a", "x").await;
    assert_eq!(of_room(&catch_up(&world, Some(cursor), 100).await.0, "a"), [7]);
    world.stop().await;
}

#[tokio::test]
async fn a_cursor_of_another_store_is_refused() {
    let mut world = world().await;
    world.say("a", "x").await;
    for text in ["1", "1.1.1", "9999999.1", "1.1~7"] {
        let cursor: EventCursor = text.parse().expect("a cursor");
        let asked = world.hooks().events(&default(), Some(&cursor), 10).await;
        assert!(matches!(asked, Err(HandleError::Cursor)), "{text}: {asked:?}");
    }
    world.stop().await;
}
