//! The main job: what was appended arrives, exactly as documented, in order, and again after a restart.

use std::collections::HashMap;

use crate::{
    receiver::{Got, Receiver, Reply},
    world::{World, endpoint, user},
};

fn names(got: &Got) -> Vec<&str> {
    got.body.as_object().expect("object").keys().map(String::as_str).collect()
}

#[tokio::test]
async fn a_message_arrives_with_exactly_the_documented_query_and_fields() {
    let receiver = Receiver::start().await;
    let mut world = World::new(vec![endpoint(&receiver.url("/tencent"))]).await;
    world.say("room-7", "does it ship today?").await;
    let got = receiver.wait_for(1).await.remove(0);
    assert_eq!(
        got.target,
        "/tencent?SdkAppid=1400000001&CallbackCommand=Group.CallbackAfterSendMsg&contenttype=json\
         &ClientIP=203.0.113.24&OptPlatform=Web"
    );
    let mut expected = vec![
        "CallbackCommand",
        "GroupId",
        "Type",
        "From_Account",
        "Operator_Account",
        "Random",
        "MsgId",
        "MsgSeq",
        "MsgTime",
        "MsgBody",
        "CloudCustomData",
        "EventTime",
    ];
    expected.sort_unstable();
    assert_eq!(names(&got), expected);
    assert_eq!(got.header("content-type"), "application/json");
    assert_eq!(got.header("host"), receiver.addr.to_string());
    assert_eq!(got.header("roomhook-attempt"), "1");
    assert_eq!(got.header("webhook-signature"), "");
    let millis = got.body["EventTime"].as_u64().expect("EventTime is a number");
    assert_eq!(got.body["MsgTime"].as_u64(), Some(millis / 1000));
    world.stop().await;
}

#[tokio::test]
async fn rooms_arrive_in_order_each_and_all_of_them() {
    let receiver = Receiver::start().await;
    let mut world = World::new(vec![endpoint(&receiver.url("/"))]).await;
    for round in 0..50 {
        for room in ["a", "b", "c", "d"] {
            world.say(room, &format!("{round}")).await;
        }
    }
    let got = receiver.wait_for(200).await;
    let mut last: HashMap<String, u64> = HashMap::new();
    for got in &got {
        let before = last.insert(got.room().to_owned(), got.seq()).unwrap_or(0);
        assert_eq!(got.seq(), before + 1, "room {}", got.room());
    }
    world.stop().await;
}

#[tokio::test]
async fn a_failing_delivery_is_tried_again_before_the_next_of_its_room_and_keeps_its_id() {
    let receiver = Receiver::start().await;
    let attempts = std::sync::atomic::AtomicU32::new(0);
    receiver.rule(move |got| match got.seq() {
        1 if attempts.fetch_add(1, std::sync::atomic::Ordering::SeqCst) < 2 => Reply::status(500),
        _ => Reply::ok(),
    });
    let mut world = World::new(vec![endpoint(&receiver.url("/"))]).await;
    world.say("r", "one").await;
    world.say("r", "two").await;
    let got = receiver.wait_for(4).await;
    let tries: Vec<(u64, &str)> = got.iter().map(|got| (got.seq(), got.header("roomhook-attempt"))).collect();
    assert_eq!(tries, [(1, "1"), (1, "2"), (1, "3"), (2, "1")]);
    let ids: Vec<&str> = got.iter().map(|got| got.header("webhook-id")).collect();
    assert_eq!(ids[0], ids[2]);
    assert_ne!(ids[0], ids[3]);
    assert_eq!(got[0].raw, got[2].raw, "the body is the same bytes each time");
    world.stop().await;
}

#[tokio::test]
async fn a_restart_goes_on_at_the_cursor() {
    let receiver = Receiver::start().await;
    let mut world = World::new(vec![endpoint(&receiver.url("/"))]).await;
    for _ in 0..10 {
        world.say("r", "before").await;
    }
    receiver.wait_for(10).await;
    world.stop().await;
    for _ in 0..5 {
        world.say("r", "while away").await;
    }
    world.start();
    let got = receiver.wait_until(|got| got.last().is_some_and(|got| got.seq() == 15)).await;
    let seqs: Vec<u64> = got.iter().map(Got::seq).collect();
    assert_eq!(seqs, (1..=15).collect::<Vec<_>>(), "nothing twice, nothing missing");
    world.stop().await;
}

#[tokio::test]
async fn nothing_is_owed_when_forbidden_filtered_switched_off_or_of_another_app() {
    let receiver = Receiver::start().await;
    let mut picky = endpoint(&receiver.url("/"));
    picky.room_prefix = "live-".into();
    let mut world = World::new(vec![picky]).await;
    world.say("other-1", "filtered").await;
    world.say_with("live-1", "forbidden", |draft| draft.forbid_after_hook = true).await;
    world.say_with("live-1", "by admin", |draft| draft.operator = user("administrator")).await;
    let got = receiver.wait_for(1).await;
    assert_eq!(got[0].seq(), 2);
    assert_eq!(got[0].body["Operator_Account"], "administrator");
    world.stop().await;
    assert_eq!(receiver.got().len(), 1);
}
