//! What was switched on when a message was sent decides what is owed, however late anybody looks.

use std::sync::atomic::Ordering;

use roomhook_room::{Endpoint, Positions, UnixMillis};

use crate::{
    misbehaving::wait_for_status,
    receiver::{Got, Receiver, Reply},
    world::{World, config, endpoint, now},
};

/// As the directory does it: the next settings remember what held until here.
fn changed(from: &Endpoint, ends: &Positions, change: impl FnOnce(&mut Endpoint)) -> Endpoint {
    let mut next = from.clone();
    change(&mut next);
    next.past = from.past_until(&next, ends);
    next
}

/// Five in each of two rooms, all in the same millisecond, or each before the one before it: a clock may do that.
async fn say_ten(world: &mut World, clock: impl Fn(u64) -> u64) -> Positions {
    for number in 0..10 {
        world.say_at(["a", "b"][number as usize % 2], UnixMillis(clock(number)), "").await;
    }
    world.ends()
}

fn seqs_of(receiver: &Receiver, room: &str) -> Vec<u64> {
    let mut seqs: Vec<u64> = receiver.got().iter().filter(|got| got.room() == room).map(Got::seq).collect();
    seqs.sort_unstable();
    seqs.dedup();
    seqs
}

/// 10 before the off-switch, 10 while it was off, 10 after it was on again; the webhooks hear of it all at the end, after
/// `has_begun` says whether they had begun before.
async fn two_changes_while_nobody_looks(clock: impl Fn(u64) -> u64 + Copy, has_begun: bool) {
    let receiver = Receiver::start().await;
    let on = endpoint(&receiver.url("/"));
    let mut world = World::stopped(config(), vec![on.clone()]).await;
    if has_begun {
        world.start();
        wait_for_status(world.hooks(), |_| true).await;
        world.stop().await;
    }
    let off = changed(&on, &say_ten(&mut world, clock).await, |endpoint| endpoint.commands.clear());
    let again = changed(&off, &say_ten(&mut world, clock).await, |endpoint| endpoint.commands = on.commands.clone());
    say_ten(&mut world, clock).await;
    world.configure(vec![again]);
    world.start();
    receiver.wait_for(20).await;
    world.say("a", "the end").await;
    receiver.wait_for(21).await;
    assert_eq!(seqs_of(&receiver, "a"), [1, 2, 3, 4, 5, 11, 12, 13, 14, 15, 16]);
    assert_eq!(world.hooks().status()[0].summary.totals.acknowledged, 21);
    world.stop().await;
}

#[tokio::test]
async fn two_changes_heard_of_at_once_are_told_apart_by_the_place_of_each_message() {
    two_changes_while_nobody_looks(|_| 1_700_000_000_000, false).await;
    two_changes_while_nobody_looks(|number| 1_700_000_000_000 - number * 60_000, false).await;
}

#[tokio::test]
async fn a_switch_and_a_crash_before_the_cursor_was_written_owe_what_was_sent_before_the_switch() {
    two_changes_while_nobody_looks(|_| 1_700_000_000_000, true).await;
    two_changes_while_nobody_looks(|number| 1_700_000_000_000 - number * 60_000, true).await;
}

#[tokio::test]
async fn many_changes_while_nobody_looks_are_all_known() {
    let receiver = Receiver::start().await;
    let on = endpoint(&receiver.url("/"));
    let mut world = World::stopped(config(), vec![on.clone()]).await;
    let mut now = on.clone();
    for turn in 0..40 {
        world.say("a", "x").await;
        let commands = if turn % 2 == 0 { Vec::new() } else { on.commands.clone() };
        now = changed(&now, &world.ends(), |endpoint| endpoint.commands = commands);
    }
    world.configure(vec![now]);
    world.start();
    receiver.wait_for(20).await;
    let odd: Vec<u64> = (1..=40).filter(|seq| seq % 2 == 1).collect();
    assert_eq!(seqs_of(&receiver, "a"), odd);
    wait_for_status(world.hooks(), |status| status.summary.totals.delivered == 20).await;
    assert_eq!(world.hooks().status()[0].summary.totals.acknowledged, 20);
    world.stop().await;
}

#[tokio::test]
async fn nothing_said_before_an_off_switch_is_lost_though_it_is_delivered_after_it() {
    let receiver = Receiver::start().await;
    receiver.rule(|_| Reply::status(503));
    let on = endpoint(&receiver.url("/"));
    let mut config = config();
    (config.limits.open_max, config.limits.span_max) = (2, 2);
    let mut world = World::with(config, vec![on.clone()]).await;
    let off_at = say_ten(&mut world, |_| 1_700_000_000_000).await;
    // Nothing was delivered and little was read, when the change comes.
    world.configure(vec![changed(&on, &off_at, |endpoint| endpoint.commands.clear())]);
    say_ten(&mut world, |_| 1_600_000_000_000).await;
    world.stop().await;
    receiver.rule(|_| Reply::ok());
    world.start();
    let paid = |status: &roomhook_hooks::Status| status.summary.totals.delivered == 10;
    wait_for_status(world.hooks(), paid).await;
    for room in ["a", "b"] {
        assert_eq!(seqs_of(&receiver, room), [1, 2, 3, 4, 5]);
    }
    let totals = world.hooks().status()[0].summary.totals;
    assert_eq!((totals.acknowledged, totals.pending(), totals.expired), (10, 0, 0));
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
