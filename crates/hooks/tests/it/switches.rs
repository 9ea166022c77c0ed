//! What was switched on when a message was sent decides what is owed, however late anybody looks.

use std::sync::atomic::Ordering;

use roomhook_room::{Endpoint, Start, UnixMillis};

use crate::{
    receiver::{Receiver, Reply},
    world::{World, config, endpoint, now},
};

/// As the directory does it: the next settings remember what held until `at`.
fn changed(from: &Endpoint, at: u64, change: impl FnOnce(&mut Endpoint)) -> Endpoint {
    let mut next = from.clone();
    change(&mut next);
    next.past = from.past_until(&next, UnixMillis(at));
    next
}

/// 10 before the off-switch, 10 while it was off, 10 after it was on again; the webhooks hear of it all at the end.
async fn say_around_two_changes(world: &mut World) -> (u64, u64) {
    let began = now().0 - 1_000_000;
    for second in 0..30 {
        world.say_at(["a", "b"][second % 2], UnixMillis(began + second as u64 * 1_000), "").await;
    }
    (began + 10_000, began + 20_000)
}

#[tokio::test]
async fn two_changes_heard_of_at_once_are_told_apart_by_the_time_of_each_message() {
    let receiver = Receiver::start().await;
    let on = endpoint(&receiver.url("/"));
    let mut world = World::stopped(config(), vec![on.clone()]).await;
    let (off_at, on_at) = say_around_two_changes(&mut world).await;
    let off = changed(&on, off_at, |endpoint| endpoint.commands.clear());
    let on_again = changed(&off, on_at, |endpoint| endpoint.commands = on.commands.clone());
    world.configure(vec![on_again]);
    world.start();
    receiver.wait_for(20).await;
    world.say("a", "the end").await;
    let got = receiver.wait_for(21).await;
    let mut of_a: Vec<u64> = got.iter().filter(|got| got.room() == "a").map(crate::receiver::Got::seq).collect();
    of_a.dedup();
    assert_eq!(of_a, [1, 2, 3, 4, 5, 11, 12, 13, 14, 15, 16]);
    assert_eq!(world.hooks().status()[0].summary.totals.acknowledged, 21);
    world.stop().await;
}

#[tokio::test]
async fn nothing_said_before_an_off_switch_is_lost_though_it_is_delivered_after_it() {
    let receiver = Receiver::start().await;
    receiver.rule(|_| Reply::status(503));
    let mut on = endpoint(&receiver.url("/"));
    on.start = Start::Oldest;
    let mut config = config();
    (config.limits.open_max, config.limits.span_max) = (2, 2);
    let mut world = World::with(config, vec![on.clone()]).await;
    let (off_at, _) = say_around_two_changes(&mut world).await;
    // Nothing was delivered and little was read, when the change comes.
    world.configure(vec![changed(&on, off_at, |endpoint| endpoint.commands.clear())]);
    world.stop().await;
    receiver.rule(|_| Reply::ok());
    world.start();
    receiver.wait_until(|got| got.iter().filter(|got| got.header("roomhook-attempt") == "1").count() >= 10).await;
    let settled = |world: &World| world.hooks().status().first().map(|status| status.summary.totals);
    while settled(&world).is_none_or(|totals| totals.pending() > 0) {
        tokio::task::yield_now().await;
    }
    // What was judged before the change came was sent after it, so it may count or not; nothing before it may be missing.
    let mut seqs: Vec<(String, u64)> = receiver.got().iter().map(|got| (got.room().to_owned(), got.seq())).collect();
    seqs.sort();
    seqs.dedup();
    for seq in 1..=5 {
        assert!(seqs.contains(&("a".into(), seq)) && seqs.contains(&("b".into(), seq)), "{seq} of {seqs:?}");
    }
    world.stop().await;
}

#[tokio::test]
async fn a_time_of_day_that_is_set_back_delays_no_retry() {
    let receiver = Receiver::start().await;
    receiver.rule(|got| if got.header("roomhook-attempt") == "1" { Reply::status(500) } else { Reply::ok() });
    let mut world = World::new(vec![endpoint(&receiver.url("/"))]).await;
    world.say("a", "x").await;
    receiver.wait_for(1).await;
    world.clock_off.store(-3_600_000, Ordering::Release);
    let got = receiver.wait_for(2).await;
    assert_eq!(got[1].header("roomhook-attempt"), "2", "within the receiver's patience, not in an hour");
    let sent_at: u64 = got[1].header("webhook-timestamp").parse().expect("time");
    assert!(sent_at + 3_000 < now().secs(), "endpoints are told the time of day");
    world.stop().await;
}

#[tokio::test]
async fn the_type_of_a_room_is_told() {
    let receiver = Receiver::start().await;
    let mut world = World::new(vec![endpoint(&receiver.url("/"))]).await;
    world.say_at("live", now(), "").await;
    world.say_at("chat", now(), "AVChatRoom").await;
    let got = receiver.wait_for(2).await;
    for got in &got {
        let expected = if got.room() == "chat" { "AVChatRoom" } else { "Live" };
        assert_eq!(got.body["Type"], expected);
    }
    world.stop().await;
}
