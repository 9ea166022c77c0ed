//! Endpoints change while messages flow: each change takes effect at once.

use roomhook_log::{AppendError, Fault, LogId};
use roomhook_room::{EndpointId, Event, MsgSeq, RoomId, RoomKey, Start, Statistic, Token, UnixMillis};

use crate::{
    misbehaving::wait_for_status,
    receiver::{Receiver, Reply},
    world::{APP, World, config, endpoint, now, room_info, user},
};

#[tokio::test]
async fn a_changed_url_gets_what_is_still_pending_and_all_that_comes() {
    let (old, new) = (Receiver::start().await, Receiver::start().await);
    old.rule(|_| Reply::status(503));
    let mut world = World::new(vec![endpoint(&old.url("/old"))]).await;
    world.say("r", "one").await;
    old.wait_for(1).await;
    world.configure(vec![endpoint(&new.url("/new"))]);
    world.say("r", "two").await;
    let got = new.wait_for(2).await;
    assert_eq!(got.iter().map(crate::receiver::Got::seq).collect::<Vec<_>>(), [1, 2]);
    assert!(got[0].target.starts_with("/new?SdkAppid="));
    world.stop().await;
}

/// A server that calls itself ready shows the numbers of each endpoint: one that was restarted said for a moment that it had none.
#[tokio::test]
async fn webhooks_that_say_they_run_show_each_endpoint() {
    let receiver = Receiver::start().await;
    let mut world = World::stopped(config(), vec![endpoint(&receiver.url("/"))]).await;
    for _ in 0..10 {
        world.start();
        world.started().await;
        assert_eq!(world.hooks().status().len(), 1);
        world.stop().await;
    }
}

#[tokio::test]
async fn what_is_said_while_switched_off_is_never_owed() {
    let receiver = Receiver::start().await;
    let on = endpoint(&receiver.url("/"));
    let mut off = on.clone();
    off.commands.clear();
    let mut world = World::new(vec![on.clone()]).await;
    world.say("r", "on").await;
    receiver.wait_for(1).await;
    world.configure(vec![off]);
    world.say("r", "off").await;
    wait_for_status(world.hooks(), |status| status.summary.totals.pending() == 0).await;
    tokio::task::yield_now().await;
    world.configure(vec![on]);
    world.say("r", "on again").await;
    let got = receiver.wait_for(2).await;
    assert_eq!(got[1].seq(), 3);
    world.stop().await;
}

#[tokio::test]
async fn what_was_owed_while_switched_on_stays_owed_though_it_is_read_after_switching_off() {
    let down = Receiver::start().await;
    let addr = down.stop();
    let on = endpoint(&format!("http://{addr}/"));
    let mut off = on.clone();
    off.commands.clear();
    let mut config = config();
    // One delivery per shard in memory: the rest is in the log while the switches change.
    config.limits.open_max = 2;
    let mut world = World::with(config, vec![on]).await;
    for _ in 0..10 {
        world.say("r", "owed").await;
    }
    wait_for_status(world.hooks(), |status| status.summary.totals.acknowledged == 10).await;
    world.configure(vec![off]);
    world.say("r", "not owed").await;
    world.stop().await;
    let receiver = Receiver::start_on(addr).await;
    world.start();
    receiver.wait_for(10).await;
    wait_for_status(world.hooks(), |status| status.summary.totals.pending() == 0).await;
    let totals = world.hooks().status()[0].summary.totals;
    assert_eq!((totals.acknowledged, totals.delivered, totals.expired), (10, 10, 0));
    world.stop().await;
    assert_eq!(receiver.got().len(), 10);
}

#[tokio::test]
async fn an_endpoint_created_later_owes_only_what_came_after_its_creation() {
    let receiver = Receiver::start().await;
    let mut world = World::new(Vec::new()).await;
    world.say("r", "before").await;
    let mut created = endpoint(&receiver.url("/"));
    (created.start, created.begins) = (Start::Tail, world.ends());
    // Said before the webhooks hear of the endpoint, but after its creation: owed.
    // The clock may have stepped back meanwhile.
    world.say_at("r", UnixMillis(1), "").await;
    world.configure(vec![created]);
    world.say("r", "later").await;
    let got = receiver.wait_for(2).await;
    assert_eq!(got.iter().map(crate::receiver::Got::seq).collect::<Vec<_>>(), [2, 3]);
    world.stop().await;
}

#[tokio::test]
async fn a_deleted_endpoint_leaves_nothing_and_its_namesake_begins_anew() {
    let receiver = Receiver::start().await;
    receiver.rule(|_| Reply::status(500));
    let first = endpoint(&receiver.url("/"));
    let mut world = World::new(vec![first.clone()]).await;
    world.say("r", "never delivered").await;
    receiver.wait_for(1).await;
    world.configure(Vec::new());
    while !world.hooks().status().is_empty() {
        tokio::task::yield_now().await;
    }
    receiver.rule(|_| Reply::ok());
    let mut second = first;
    (second.generation, second.start, second.begins) = (2, Start::Tail, world.ends());
    world.configure(vec![second]);
    world.say("r", "delivered").await;
    let got = receiver.wait_until(|got| got.iter().any(|got| got.seq() == 2)).await;
    assert_eq!(got.iter().filter(|got| got.header("roomhook-attempt") == "1" && got.seq() == 1).count(), 1);
    wait_for_status(world.hooks(), |status| status.summary.totals.delivered == 1).await;
    assert_eq!(world.hooks().status()[0].summary.totals.acknowledged, 1);
    world.stop().await;
    assert_eq!(world.rows_of_generation(1).await, 0);
}

#[tokio::test]
async fn each_endpoint_of_an_app_has_its_own_rooms_and_cursor() {
    let (all, some) = (Receiver::start().await, Receiver::start().await);
    let mut second = endpoint(&some.url("/"));
    (second.id, second.room_prefix) = (EndpointId("vip".into()), "vip-".into());
    let mut world = World::new(vec![endpoint(&all.url("/")), second]).await;
    world.say("vip-1", "x").await;
    world.say("plain", "x").await;
    all.wait_for(2).await;
    assert_eq!(some.wait_for(1).await[0].room(), "vip-1");
    world.stop().await;
    assert_eq!(some.got().len(), 1);
}

#[tokio::test]
async fn tokens_and_secrets_sign_each_attempt() {
    let receiver = Receiver::start().await;
    let mut signed = endpoint(&receiver.url("/hook?own=1"));
    signed.token = Some(Token { value: "xxxyyy".into(), enabled: true });
    signed.signing_secrets =
        vec!["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".into(), "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX".into()];
    let mut world = World::new(vec![signed]).await;
    world.say("r", "hello").await;
    let got = receiver.wait_for(1).await.remove(0);
    assert!(got.target.starts_with("/hook?own=1&SdkAppid=1400000001&"), "{}", got.target);
    let (_, query) = got.target.split_once("&Sign=").expect("Sign");
    let (sign, time) = query.split_once("&RequestTime=").expect("RequestTime");
    assert!(roomhook_protocol::sign::verify("xxxyyy", time, sign));
    let signatures: Vec<&str> = got.header("webhook-signature").split(' ').collect();
    assert_eq!(signatures.len(), 2);
    let secret =
        roomhook_protocol::standard_webhooks::Secret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("secret");
    let timestamp = got.header("webhook-timestamp").parse().expect("timestamp");
    assert_eq!(signatures[0], secret.sign(got.header("webhook-id"), timestamp, &got.raw));
    world.stop().await;
}

#[tokio::test]
async fn rooms_that_come_and_go_fire_their_own_commands() {
    let receiver = Receiver::start().await;
    let mut live = endpoint(&receiver.url("/"));
    live.commands = vec!["Live.CallbackAfterCreateRoom".into(), "Live.CallbackAfterDestroyRoom".into()];
    let mut world = World::new(vec![live]).await;
    let info = room_info();
    let created = Event::RoomCreated {
        at: now(),
        operator: user("administrator"),
        incarnation: roomhook_room::Incarnation::from_random(1),
        info: info.clone(),
    };
    let destroyed =
        Event::RoomDestroyed { at: now(), operator: user("host_lin"), info, statistic: Statistic::default() };
    world.append("r", &[created]).await.expect("append");
    world.append("r", &[destroyed]).await.expect("append");
    let got = receiver.wait_for(2).await;
    assert_eq!(got[0].body["CallbackCommand"], "Live.CallbackAfterCreateRoom");
    assert_eq!(got[0].body["RoomInfo"]["Owner_Account"], "host_lin");
    assert_eq!(got[0].body["RoomInfo"]["Category"], serde_json::json!([3, 11]));
    assert!(!got[0].target.contains("ClientIP"), "nobody's client is known");
    assert_eq!(got[1].body["EventType"], "DestroyByUser");
    assert_eq!(got[1].room(), "r");
    world.stop().await;
}

#[tokio::test]
async fn a_failed_append_never_fires() {
    let receiver = Receiver::start().await;
    let mut world = World::new(vec![endpoint(&receiver.url("/"))]).await;
    let key = RoomKey { app: APP, room: RoomId::new("r").expect("room") };
    let shard = u16::try_from(key.stable_hash() % u64::from(world.shards)).expect("shard");
    world.log.fail_next_append(LogId(shard), Fault::Full);
    let draft = crate::world::draft("lost");
    let message = roomhook_room::Message { seq: MsgSeq(1), at: now(), room_type: String::new(), draft };
    let refused = world.append("r", &[Event::MessageSent(message)]).await;
    assert!(matches!(refused, Err(AppendError::Full(_))));
    world.say("r", "kept").await;
    let got = receiver.wait_for(1).await;
    assert_eq!(got[0].body["MsgBody"][0]["MsgContent"]["Text"], "kept");
    world.stop().await;
    assert_eq!(receiver.got().len(), 1);
}

#[tokio::test]
async fn metrics_name_endpoints_and_add_up() {
    let receiver = Receiver::start().await;
    let mut world = World::new(vec![endpoint(&receiver.url("/"))]).await;
    world.say("r", "x").await;
    wait_for_status(world.hooks(), |status| status.summary.totals.delivered == 1).await;
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &world.registry).expect("metrics");
    for line in [
        r#"webhook_acknowledged_total{app="1400000001",endpoint="default"} 1"#,
        r#"webhook_delivered_total{app="1400000001",endpoint="default"} 1"#,
        r#"webhook_pending{app="1400000001",endpoint="default"} 0"#,
        r#"webhook_attempts_total{app="1400000001",endpoint="default",outcome="acknowledged"} 1"#,
        r#"webhook_delivery_latency_seconds_count{app="1400000001",endpoint="default"} 1"#,
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    assert!(!text.contains(r#""r""#), "rooms are no labels");
    world.stop().await;
}
