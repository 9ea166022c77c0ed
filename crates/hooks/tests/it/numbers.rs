//! The numbers when something is in the way of counting or of telling: retention, a restart, a lone poison message.

use roomhook_hooks::engine::{Job, Limits, Policy, Verdict};
use roomhook_log::{LogId, Lsn};
use roomhook_room::UnixMillis;

use crate::{
    engine_rig::{Rig, policy, refused, told},
    misbehaving::wait_for_status,
    receiver::{Receiver, Reply},
    world::{World, config, endpoint, now},
};

const ACK: Verdict = Verdict::Acknowledged;

#[test]
fn records_that_retention_dropped_unseen_are_a_number_of_their_own_and_survive_a_crash() {
    let mut rig = Rig::new(policy());
    (0..100).for_each(|_| rig.append("a"));
    // Nobody looked at the first fifty.
    rig.trim(0, 51);
    rig.read();
    for _ in 0..2 {
        let totals = rig.summary().totals;
        assert_eq!((totals.lost_records, totals.acknowledged, totals.expired), (50, 50, 0));
        rig.checkpoint();
        rig.crash();
    }
    assert_eq!(rig.drain(|_| ACK).len(), 50);
    // What was counted in time is known, so it is expired and not lost.
    let mut rig = Rig::new(Policy { limits: Limits { open_max: 20, ..Limits::default() }, ..policy() });
    (0..100).for_each(|_| rig.append("a"));
    rig.read();
    rig.trim(0, 91);
    rig.drain(|_| ACK);
    let totals = rig.summary().totals;
    assert_eq!((totals.lost_records, totals.acknowledged, totals.pending()), (0, 100, 0));
    assert_eq!(totals.delivered + totals.expired, 100);
}

#[test]
fn the_oldest_pending_event_is_known_although_nothing_of_it_is_loaded() {
    let mut rig = Rig::new(Policy { limits: Limits { open_max: 2, ..Limits::default() }, ..policy() });
    for _ in 0..200 {
        rig.now += 1_000;
        rig.append("a");
    }
    rig.read();
    assert_eq!(rig.summary().oldest_pending_at, Some(1_000));
    rig.checkpoint();
    rig.restart();
    let summary = rig.summary();
    assert_eq!((summary.totals.pending(), summary.open), (200, 0), "counted before the restart, not loaded after it");
    assert_eq!(summary.oldest_pending_at, Some(1_000));
    rig.read();
    assert_eq!(rig.drain(|_| ACK).len(), 200);
    assert_eq!(rig.summary().oldest_pending_at, None);
}

#[test]
fn the_oldest_pending_event_is_known_although_it_is_in_a_lane_and_not_loaded() {
    let limits = Limits { open_max: 32, span_max: 256, ..Limits::default() };
    let mut rig = Rig::new(Policy { limits, ..policy() });
    for _ in 0..100 {
        rig.now += 1_000;
        rig.append("a");
    }
    rig.read();
    let first = rig.send();
    rig.read();
    rig.settle(&first, ACK);
    // Its messages hold nobody up, and are all that is owed.
    let slow = rig.send();
    rig.say("c");
    while let Some(job) = rig.next() {
        rig.settle(&job, ACK);
    }
    let pending = rig.summary();
    assert_eq!((pending.detached_rooms, pending.totals.pending(), pending.oldest_pending_at), (1, 99, Some(2_000)));
    rig.checkpoint();
    rig.restart();
    let summary = rig.summary();
    assert_eq!((summary.detached_rooms, summary.totals.pending(), summary.open), (1, 99, 0), "{slow:?} is not loaded");
    assert_eq!(summary.oldest_pending_at, Some(2_000));
    rig.read();
    assert_eq!(rig.drain(|_| ACK).len(), 99);
    assert_eq!(rig.summary().oldest_pending_at, None);
}

fn is_poison(job: &Job) -> Verdict {
    if told(job).starts_with("a1") { refused() } else { ACK }
}

/// An endpoint that is paused by one message alone, long enough for the waits between probes to be a minute.
fn paused_by_poison() -> Rig {
    let mut rig = Rig::new(Policy { hold_ms: 0, ..policy() });
    rig.say("a");
    for _ in 0..100 {
        rig.drain(is_poison);
        rig.wait(10_000);
    }
    let summary = rig.summary();
    assert_eq!((rig.engine.is_paused(), summary.set_aside), (true, 1), "{summary:?}");
    // Just after a probe, so that the next one is far.
    while rig.summary().next_probe_at.is_none_or(|at| at < rig.now + 50_000) {
        rig.drain(is_poison);
        rig.wait(1_000);
    }
    rig
}

#[test]
fn a_new_message_is_tried_soon_where_only_a_poison_message_speaks_against_the_endpoint() {
    let mut rig = paused_by_poison();
    rig.wait(1_000);
    rig.say("b");
    assert_eq!(rig.engine.wake_at(rig.now), Some(rig.now));
    assert_eq!(rig.drain(is_poison)[0], "b1?", "at once, and not in a minute");
    assert!(!rig.engine.is_paused());
}

#[test]
fn an_endpoint_that_is_really_away_is_not_hurried_by_new_messages() {
    let mut rig = paused_by_poison();
    rig.wait(1_000);
    rig.say("b");
    assert_eq!(rig.drain(|_| refused()), ["b1?"], "one try");
    for _ in 0..20 {
        rig.say("c");
        rig.wait(1_000);
        assert!(rig.next().is_none(), "then the waits hold again");
    }
}

/// What `/metrics` says of the endpoint.
fn metric(world: &World, name: &str) -> f64 {
    let line = format!("{name}{{app=\"1400000001\",endpoint=\"default\"}} ");
    let text = world.metrics();
    let value = text.lines().find_map(|shown| shown.strip_prefix(&line));
    value.unwrap_or_else(|| panic!("{name} is not in {text}")).parse().expect("a number")
}

#[tokio::test]
async fn what_retention_dropped_while_webhooks_were_away_is_told_by_all_doors_and_kept_over_restarts() {
    let receiver = Receiver::start().await;
    let mut world = World::with(config(), vec![endpoint(&receiver.url("/"))]).await;
    world.say("r", "seen").await;
    wait_for_status(world.hooks(), |status| status.summary.totals.delivered == 1).await;
    world.stop().await;
    for _ in 0..30 {
        world.say("r", "while away").await;
    }
    // The last ten are left.
    let ends = world.ends();
    for shard in 0..world.shards {
        world.log.trim_history(LogId(shard), Lsn(ends.of(shard).expect("shard").saturating_sub(10)));
    }
    for _ in 0..2 {
        world.crash().await;
        wait_for_status(world.hooks(), |status| status.summary.totals.delivered == 11).await;
        let totals = world.hooks().status()[0].summary.totals;
        assert_eq!((totals.lost_records, totals.acknowledged, totals.expired), (20, 11, 0));
        assert_eq!(metric(&world, "webhook_lost_records_total"), 20.0);
        // Otherwise a crash repeats deliveries.
        world.stop().await;
    }
}

#[tokio::test]
async fn the_lag_is_that_of_the_oldest_message_loaded_or_not_in_all_numbers() {
    let receiver = Receiver::start().await;
    receiver.rule(|_| Reply::status(503));
    let mut config = config();
    (config.limits.open_max, config.limits.span_max) = (4, 4);
    let mut world = World::with(config, vec![endpoint(&receiver.url("/"))]).await;
    let hour_ago = UnixMillis(now().0 - 3_600_000);
    for number in 0..40 {
        world.say_at(["a", "b", "c", "d"][number % 4], if number < 20 { hour_ago } else { now() }, "").await;
    }
    for _ in 0..2 {
        wait_for_status(world.hooks(), |status| status.summary.totals.pending() == 40).await;
        let status = world.hooks().status()[0].clone();
        assert!(status.summary.open <= 4, "the rest is only counted: {status:?}");
        assert!((3_600_000..3_660_000).contains(&status.lag_ms), "{status:?}");
        let shown = metric(&world, "webhook_lag_seconds") - status.lag_ms as f64 / 1_000.0;
        assert!((0.0..60.0).contains(&shown), "{shown}");
        let totals = status.summary.totals;
        for (name, value) in [
            ("webhook_acknowledged_total", totals.acknowledged),
            ("webhook_delivered_total", totals.delivered),
            ("webhook_pending", totals.pending()),
            ("webhook_parked", totals.parked),
            ("webhook_expired_total", totals.expired),
            ("webhook_skipped_total", totals.skipped),
            ("webhook_lost_records_total", totals.lost_records),
        ] {
            assert_eq!(metric(&world, name), value as f64, "{name}");
        }
        world.crash().await;
    }
    receiver.rule(|_| Reply::ok());
    wait_for_status(world.hooks(), |_| true).await;
    world.hooks().resume(&crate::misbehaving::default()).expect("running");
    wait_for_status(world.hooks(), |status| status.summary.totals.delivered == 40).await;
    wait_for_status(world.hooks(), |status| status.lag_ms == 0).await;
}
