//! Clients join, send and receive.

use roomhook_centrifuge::{
    ConnectRequest, Format, HistoryRequest, Publication, Request, SubscribeRequest, UnsubscribeRequest,
};
use roomhook_room::Platform;
use serde_json::{Value, json};

use super::client::Client;
use crate::world::{KEY, Options, World, usersig};

#[tokio::test]
async fn two_clients_of_different_formats_hear_each_other_in_order() {
    let world = World::with_lobby().await;
    let (mut ann, connected) = Client::connect_in(&world, "ann", Format::Json).await;
    let (mut bob, _) = Client::connect_in(&world, "bob", Format::Protobuf).await;
    assert_eq!((connected.ping, connected.pong), (25, true));
    assert!(connected.expires && connected.ttl > 80_000, "the token's end is announced: {connected:?}");
    assert_eq!(connected.subs[0].channel, "user:ann");

    let joined = ann.join("lobby").await;
    assert!(joined.recoverable && joined.positioned && !joined.was_recovering);
    assert_eq!((joined.offset, joined.epoch.len()), (0, 8));
    let data: Value = serde_json::from_slice(&joined.data).unwrap();
    assert_eq!(data["Room"]["RoomId"], "lobby");
    assert_eq!((&data["Online"], &data["Me"]["Role"]), (&json!(1), &json!("Owner")));
    bob.join("lobby").await;

    ann.say("lobby", "hello").await;
    bob.say("lobby", "hi ann").await;
    assert_eq!([ann.hears().await, ann.hears().await], ["1:hello", "2:hi ann"]);
    assert_eq!([bob.hears().await, bob.hears().await], ["1:hello", "2:hi ann"]);
    world.stop().await;
}

#[tokio::test]
async fn a_clients_message_is_like_one_by_rest() {
    let world = World::with_lobby().await;
    let mut ann = Client::open(&world, Format::Json).await;
    let data = json!({ "OptPlatform": "iOS" }).to_string().into();
    let connect = ConnectRequest { token: usersig("ann", KEY), data, ..ConnectRequest::default() };
    ann.call(Request::Connect(connect)).await.unwrap();
    ann.join("lobby").await;
    let message = json!({
        "MsgBody": [{ "MsgType": "TIMCustomElem", "MsgContent": { "Data": "x" } }],
        "CloudCustomData": "note", "Random": 77, "MsgPriority": "High",
    });
    ann.publish("lobby", &message.to_string()).await.unwrap();
    let heard: Value = serde_json::from_slice(&ann.message().await.data).unwrap();

    let sent = &world.messages("lobby").await[0];
    assert_eq!(sent.draft.operator.as_str(), "ann");
    assert_eq!(sent.draft.origin.platform, Platform::Ios);
    assert_eq!(sent.draft.origin.client_ip.to_string(), "127.0.0.1");
    assert_eq!(
        heard,
        json!({
            "Event": "Message", "MsgId": sent.draft.msg_id.to_string(), "MsgSeq": 1, "MsgTime": sent.at.secs(),
            "From_Account": "ann", "Random": 77, "MsgBody": message["MsgBody"], "CloudCustomData": "note",
        })
    );
    world
        .ok(
            "live_engine_http_srv/send_text_msg",
            r#"{"RoomId":"lobby","Sender_Account":"bob","TextContent":"by rest"}"#,
        )
        .await;
    assert_eq!(ann.hears().await, "2:by rest");
    world.stop().await;
}

#[tokio::test]
async fn live_recovered_and_old_messages_say_whose_they_are() {
    let mut options = Options::default();
    // So little is kept in memory that all but the newest message comes from the log.
    options.realtime.ring_messages_max = 1;
    let world = World::with(options).await;
    world.furnish().await;
    let (mut ann, connected) = Client::connect_in(&world, "ann", Format::Json).await;
    let (mut bob, _) = Client::connect_in(&world, "bob", Format::Protobuf).await;
    let epoch = ann.join("lobby").await.epoch;
    bob.join("lobby").await;
    let text = r#"{"RoomId":"lobby","Sender_Account":"bob","TextContent":"by rest"}"#;
    world.ok("live_engine_http_srv/send_text_msg", text).await;
    ann.say("lobby", "by me").await;
    ann.rpc("room.send", json!({ "RoomId": "lobby", "Text": "by me again" })).await.unwrap();

    let whose = |publication: Publication| publication.info.map(|info| (info.user, info.client)).unwrap();
    let own = || ("ann".to_owned(), connected.client.clone());
    let expected = [("bob".to_owned(), String::new()), own(), own()];
    for member in [&mut ann, &mut bob] {
        for sender in &expected {
            assert_eq!(&whose(member.message().await), sender, "live");
        }
        let channel = "room:lobby".to_owned();
        let old = member.history(HistoryRequest { channel, limit: -1, ..HistoryRequest::default() }).await.unwrap();
        assert_eq!(old.publications.into_iter().map(whose).collect::<Vec<_>>(), expected, "asked for");
    }
    for format in [Format::Json, Format::Protobuf] {
        let (mut back, _) = Client::connect_in(&world, "ann", format).await;
        let missed = back.rejoin("lobby", &epoch, 0).await.publications;
        assert_eq!(missed.into_iter().map(whose).collect::<Vec<_>>(), expected, "recovered");
    }
    world.stop().await;
}

#[tokio::test]
async fn room_send_answers_the_receipt_and_the_same_random_is_sent_once() {
    let world = World::with_lobby().await;
    let mut ann = Client::connect(&world, "ann").await;
    ann.join("lobby").await;
    let message = json!({ "RoomId": "lobby", "Text": "once", "Random": 5 });
    let first = ann.rpc("room.send", message.clone()).await.unwrap();
    let again = ann.rpc("room.send", message.clone()).await.unwrap();
    assert_eq!(first, again);
    assert_eq!(first["MsgSeq"], 1);
    assert_eq!(first["MsgId"], world.messages("lobby").await[0].draft.msg_id.to_string());
    assert_eq!(world.messages("lobby").await.len(), 1);
    let another = ann.rpc("room.send", json!({ "RoomId": "lobby", "Text": "another", "Random": 5 })).await.unwrap();
    assert_eq!(another["MsgSeq"], 2, "another text under the same Random");
    assert_eq!(ann.rpc("room.send", message).await.unwrap(), first);
    let nulls = json!({ "RoomId": "lobby", "Text": "drawn", "Random": null, "MsgPriority": null, "CloudCustomData": null, "MsgBody": null });
    for seq in [3, 4] {
        assert_eq!(
            ann.rpc("room.send", nulls.clone()).await.unwrap()["MsgSeq"],
            seq,
            "without Random nothing is a repeat"
        );
    }
    assert_eq!(ann.rpc("room.sing", json!({})).await.unwrap_err().code, 104);
    world.stop().await;
}

#[tokio::test]
async fn connect_and_subscribe_may_come_in_one_frame_as_javascript_sends_them() {
    let world = World::with_lobby().await;
    let mut ann = Client::open(&world, Format::Json).await;
    let frame = format!(
        "{{\"connect\":{{\"token\":\"{}\",\"name\":\"js\"}},\"id\":1}}\n{{\"subscribe\":{{\"channel\":\"room:lobby\",\"flag\":1}},\"id\":2}}\n",
        usersig("ann", KEY)
    );
    ann.send_raw(frame).await;
    let connected = ann.next().await;
    let subscribed = ann.next().await;
    assert_eq!((connected.id, subscribed.id), (1, 2));
    world.stop().await;
}

#[tokio::test]
async fn leaving_is_always_a_success_and_silences_the_room() {
    let world = World::with_lobby().await;
    let mut ann = Client::connect(&world, "ann").await;
    let mut bob = Client::connect(&world, "bob").await;
    ann.join("lobby").await;
    bob.join("lobby").await;
    let leave = || Request::Unsubscribe(UnsubscribeRequest { channel: "room:lobby".into() });
    bob.call(leave()).await.unwrap();
    bob.call(leave()).await.unwrap();
    let longer_than_any = format!("room:{}", "x".repeat(300));
    for impossible in ["", "room:", "elsewhere", "user:bob", "room:\u{e9}", &longer_than_any] {
        let leave = Request::Unsubscribe(UnsubscribeRequest { channel: impossible.into() });
        assert!(bob.call(leave).await.is_ok(), "{impossible:?}");
    }
    assert_eq!(bob.publish("lobby", r#"{"Text":"x"}"#).await.unwrap_err().code, 103);
    ann.say("lobby", "are you there?").await;
    assert_eq!(ann.hears().await, "1:are you there?");
    assert_eq!(bob.join("lobby").await.offset, 1);
    ann.say("lobby", "now?").await;
    assert_eq!(bob.hears().await, "2:now?");
    world.stop().await;
}

#[tokio::test]
async fn requests_that_cannot_be_are_answered_as_documented() {
    let world = World::with_lobby().await;
    let mut ann = Client::connect(&world, "ann").await;
    let mut join = async |channel: &str| {
        let request = SubscribeRequest { channel: channel.into(), ..SubscribeRequest::default() };
        ann.subscribe(request).await.map(|_| ()).map_err(|error| error.code)
    };
    assert_eq!(join("room:nowhere").await, Err(102));
    assert_eq!(join("elsewhere").await, Err(102));
    assert_eq!(join("user:ann").await, Err(103));
    assert_eq!(join("room:lobby").await, Ok(()));
    assert_eq!(join("room:lobby").await, Err(105));
    let mut publish = async |data: &str| ann.publish("lobby", data).await.map_err(|error| error.code);
    assert_eq!(publish("[]").await, Err(107));
    assert_eq!(publish(r#"{"Text":"x","MsgBody":[]}"#).await, Err(107));
    assert_eq!(publish(r#"{"MsgBody":[{}]}"#).await, Err(107));
    assert_eq!(publish(&json!({ "Text": "x".repeat(13_000) }).to_string()).await, Err(1413));
    assert_eq!(publish(r#"{"Text":"fine"}"#).await, Ok(()));
    world.stop().await;
}
