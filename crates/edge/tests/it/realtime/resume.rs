//! Clients go away and come back.

use roomhook_centrifuge::{Format, HistoryRequest, PushBody, StreamPosition, SubscribeRequest};
use roomhook_edge::realtime;

use super::client::{Client, text_of};
use crate::world::{Options, World};

/// Room for three messages, so that most resumes need the log.
fn small_ring() -> Options {
    let mut options = Options::default();
    options.realtime = realtime::Config { ring_messages_max: 3, reply_messages_max: 10, ..options.realtime };
    options
}

/// A metric without labels, now.
fn gauge(world: &World, name: &str) -> f64 {
    let metrics = world.metrics();
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)).expect("a metric");
    line.trim().parse().expect("a number")
}

async fn say_many(client: &mut Client, from: u64, to: u64) {
    for number in from..=to {
        client.say("lobby", &format!("m{number}")).await;
    }
}

fn expected(from: u64, to: u64) -> Vec<String> {
    (from..=to).map(|number| format!("{number}:m{number}")).collect()
}

#[tokio::test]
async fn a_member_that_comes_back_gets_exactly_what_it_missed() {
    let world = World::with_lobby().await;
    let mut ann = Client::connect(&world, "ann").await;
    let epoch = ann.join("lobby").await.epoch;
    for format in [Format::Json, Format::Protobuf] {
        let (mut bob, _) = Client::connect_in(&world, "bob", format).await;
        let top = bob.join("lobby").await.offset;
        drop(bob);
        say_many(&mut ann, top + 1, top + 5).await;
        let (mut bob, _) = Client::connect_in(&world, "bob", format).await;
        let back = bob.rejoin("lobby", &epoch, top).await;
        assert!(back.recovered && back.was_recovering);
        assert_eq!(back.offset, top, "each publication moves the position on");
        assert_eq!(back.publications.iter().map(text_of).collect::<Vec<_>>(), expected(top + 1, top + 5));
        say_many(&mut ann, top + 6, top + 6).await;
        assert_eq!(bob.hears().await, format!("{0}:m{0}", top + 6));
    }
    world.stop().await;
}

#[tokio::test]
async fn what_is_not_in_memory_comes_from_the_log_and_too_much_is_said_to_be_lost() {
    let world = World::with(small_ring()).await;
    world.furnish().await;
    let mut ann = Client::connect(&world, "ann").await;
    let epoch = ann.join("lobby").await.epoch;
    say_many(&mut ann, 1, 20).await;

    let mut bob = Client::connect(&world, "bob").await;
    let back = bob.rejoin("lobby", &epoch, 10).await;
    assert!(back.recovered);
    assert_eq!(back.publications.iter().map(text_of).collect::<Vec<_>>(), expected(11, 20));

    let lost = Client::connect(&world, "bob").await.rejoin("lobby", &epoch, 9).await;
    assert!(!lost.recovered && lost.was_recovering && lost.publications.is_empty());
    assert_eq!((lost.offset, &lost.epoch), (20, &epoch));
    let other_life = Client::connect(&world, "bob").await.rejoin("lobby", "zzzzzzzz", 19).await;
    assert!(!other_life.recovered);

    let flag = SubscribeRequest::FLAG_UNRECOVERABLE_IS_ERROR;
    let request = SubscribeRequest {
        channel: "room:lobby".into(),
        recover: true,
        epoch: "_".into(),
        flag,
        ..SubscribeRequest::default()
    };
    assert_eq!(Client::connect(&world, "bob").await.subscribe(request).await.unwrap_err().code, 112);
    world.stop().await;
}

/// What is kept for those who come back is bounded over all rooms: the rooms that were quiet for longest give theirs up,
/// and whoever comes back to them is served from the log.
#[tokio::test]
async fn rooms_together_keep_no_more_than_the_limit_and_members_miss_nothing_by_it() {
    const LIMIT: usize = 256 << 10;
    let mut options = Options::default();
    options.realtime = realtime::Config { rings_bytes_max: LIMIT, commands_per_s: 0, ..options.realtime };
    let world = World::with(options).await;
    world.furnish().await;
    let (mut ann, text) = (Client::connect(&world, "ann").await, "x".repeat(5_000));
    let mut epochs = Vec::new();
    for number in 0..30 {
        let room = format!("r{number}");
        let info = format!(r#"{{"RoomInfo":{{"RoomId":"{room}","RoomType":"Live","Owner_Account":"ann"}}}}"#);
        world.ok("live_engine_http_srv/create_room", &info).await;
        epochs.push(ann.join(&room).await.epoch);
        for said in 1..=5 {
            ann.say(&room, &text).await;
            assert_eq!(ann.message().await.offset, said);
            // The newest message is counted before the limit is looked at.
            assert!(gauge(&world, "roomhook_realtime_ring_bytes") < LIMIT as f64 + 20_000.0);
        }
    }
    assert!(gauge(&world, "roomhook_realtime_rings_emptied_total") > 10.0, "1.5 MB in two formats went by");
    let mut bob = Client::connect(&world, "bob").await;
    for (number, epoch) in epochs.iter().enumerate() {
        let back = bob.rejoin(&format!("r{number}"), epoch, 2).await;
        assert!(back.recovered, "room {number}");
        assert_eq!(back.publications.iter().map(|one| one.offset).collect::<Vec<_>>(), [3, 4, 5], "room {number}");
        assert!(
            gauge(&world, "roomhook_realtime_ring_bytes") < LIMIT as f64 + 100_000.0,
            "what was read is kept again"
        );
    }
    let metrics = world.metrics();
    for outcome in ["log", "memory"] {
        assert!(metrics.contains(&format!("recoveries_total{{outcome=\"{outcome}\"}}")), "{metrics}");
    }
    world.stop().await;
}

#[tokio::test]
async fn history_goes_both_ways_and_as_deep_as_the_log() {
    let world = World::with(small_ring()).await;
    world.furnish().await;
    let mut ann = Client::connect(&world, "ann").await;
    let epoch = ann.join("lobby").await.epoch;
    say_many(&mut ann, 1, 20).await;
    let mut ask = async |limit: i32, since: Option<u64>, reverse: bool| {
        let since = since.map(|offset| StreamPosition { offset, epoch: epoch.clone() });
        let request = HistoryRequest { channel: "room:lobby".into(), limit, since, reverse };
        let result = ann.history(request).await.unwrap();
        assert_eq!((result.offset, &result.epoch), (20, &epoch));
        result.publications.iter().map(|publication| publication.offset).collect::<Vec<_>>()
    };
    assert_eq!(ask(0, None, false).await, [0; 0]);
    assert_eq!(ask(3, None, true).await, [20, 19, 18]);
    assert_eq!(ask(3, Some(5), true).await, [4, 3, 2]);
    assert_eq!(ask(3, Some(5), false).await, [6, 7, 8]);
    assert_eq!(ask(-1, None, false).await, (11..=20).collect::<Vec<_>>(), "the cap of one reply");
    let wrong = StreamPosition { offset: 5, epoch: "zzzzzzzz".into() };
    let request = HistoryRequest { channel: "room:lobby".into(), limit: 3, since: Some(wrong), reverse: false };
    assert_eq!(ann.history(request).await.unwrap_err().code, 112);
    world.stop().await;
}

#[tokio::test]
async fn a_room_that_is_destroyed_ends_for_its_members_and_a_new_one_is_another_life() {
    let world = World::with_lobby().await;
    let mut ann = Client::connect(&world, "ann").await;
    let first = ann.join("lobby").await;
    ann.say("lobby", "m1").await;
    assert_eq!(ann.hears().await, "1:m1");
    world.ok("live_engine_http_srv/destroy_room", r#"{"RoomId":"lobby"}"#).await;
    let Some(PushBody::Unsubscribe(over)) = ann.push().await.body else { panic!("not told") };
    assert_eq!((over.code, over.reason.as_str()), (2101, "room closed"));
    assert_eq!(ann.publish("lobby", r#"{"Text":"x"}"#).await.unwrap_err().code, 103);

    let room = r#"{"RoomInfo":{"RoomId":"lobby","RoomType":"Live","Owner_Account":"ann"}}"#;
    world.ok("live_engine_http_srv/create_room", room).await;
    let second = ann.rejoin("lobby", &first.epoch, 1).await;
    assert!(!second.recovered && second.epoch != first.epoch && second.offset == 0);
    world.stop().await;
}

#[tokio::test]
async fn a_shutdown_asks_clients_to_come_back() {
    let world = World::with_lobby().await;
    let mut ann = Client::connect(&world, "ann").await;
    let closed = tokio::spawn(async move { ann.closed().await });
    world.stop().await;
    let closed = closed.await.unwrap();
    assert_eq!((closed.code, closed.reason.as_str()), (3001, "shutdown"));
}
