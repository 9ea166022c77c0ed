//! What the engine decides, one rule a story.

use roomhook_hooks::{
    engine::{Failed, Limits, Mode, Policy, Verdict},
    retry::{GiveUp, RetryPolicy},
};
use roomhook_room::{Order, RetryProfile};

use crate::engine_rig::{Rig, failed, policy, refused, told};

const ACK: Verdict = Verdict::Acknowledged;

#[test]
fn a_room_has_one_delivery_in_flight_and_rooms_go_side_by_side() {
    let mut rig = Rig::new(policy());
    ["a", "a", "b", "b"].into_iter().for_each(|room| rig.say(room));
    let (a1, b1) = (rig.send(), rig.send());
    assert_eq!((told(&a1), told(&b1)), ("a1".into(), "b1".into()));
    assert!(rig.next().is_none(), "both rooms are busy");
    rig.settle(&b1, ACK);
    assert_eq!(told(&rig.send()), "b2");
}

#[test]
fn without_order_a_room_may_have_many_in_flight() {
    let mut rig = Rig::new(Policy { order: Order::None, ..policy() });
    ["a", "a", "a"].into_iter().for_each(|room| rig.say(room));
    let sent: Vec<String> = (0..3).map(|_| told(&rig.send())).collect();
    assert_eq!(sent, ["a1", "a2", "a3"]);
}

#[test]
fn never_more_in_flight_than_the_limit() {
    let mut rig = Rig::new(Policy { concurrency: 2, ..policy() });
    ["a", "b", "c"].into_iter().for_each(|room| rig.say(room));
    let first = rig.send();
    rig.send();
    assert!(rig.next().is_none());
    rig.settle(&first, ACK);
    assert!(rig.next().is_some());
}

#[test]
fn a_failure_holds_its_room_and_no_other_and_comes_back_after_a_second() {
    let mut rig = Rig::new(policy());
    ["a", "a", "b"].into_iter().for_each(|room| rig.say(room));
    let poison = |job: &_| if told(job).starts_with("a1") { failed() } else { ACK };
    assert_eq!(rig.drain(poison), ["a1", "b1"]);
    rig.wait(999);
    assert!(rig.next().is_none(), "a2 waits for a1");
    rig.wait(300);
    assert_eq!(rig.drain(|_| ACK), ["a1#2", "a2"]);
}

#[test]
fn after_holding_for_thirty_seconds_it_is_set_aside_and_its_room_goes_on() {
    let mut rig = Rig::new(policy());
    rig.say("a");
    rig.say("a");
    let poison = |job: &_| if told(job).starts_with("a1") { failed() } else { ACK };
    let mut sent = Vec::new();
    for _ in 0..30 {
        rig.say("b");
        sent.extend(rig.drain(poison));
        rig.wait(1_000);
    }
    assert!(!sent.contains(&"a2".to_owned()), "{sent:?}");
    rig.wait(1);
    assert_eq!(rig.drain(poison), ["a2"]);
    let summary = rig.summary();
    assert_eq!((summary.set_aside, summary.totals.pending(), summary.totals.delivered), (1, 1, 31));
    rig.wait(600_000);
    assert_eq!(rig.drain(|_| ACK).len(), 1, "it keeps being retried on its own");
    assert_eq!(rig.summary().totals.pending(), 0);
}

#[test]
fn retry_after_is_honoured() {
    let mut rig = Rig::new(policy());
    rig.say("a");
    let busy = Verdict::Failed(Failed { status: 503, retry_after_ms: Some(7_000), connecting: false });
    let job = rig.send();
    rig.settle(&job, busy);
    rig.wait(6_999);
    assert!(rig.next().is_none());
    rig.wait(300);
    assert!(rig.next().is_some());
}

#[test]
fn what_was_set_aside_is_parked_after_a_day_and_survives_restarts() {
    let mut rig = Rig::new(policy());
    rig.say("a");
    // A restart forgets the time since the last failure, so a day with restarts is a little longer.
    for _ in 0..(30 * 60 * 2) {
        rig.say("b");
        rig.drain(|job| if told(job).starts_with('a') { failed() } else { ACK });
        rig.wait(30_000);
        if rig.now.is_multiple_of(3_600_000) {
            rig.checkpoint();
            rig.crash();
        }
    }
    rig.checkpoint();
    let summary = rig.summary();
    assert_eq!(rig.parked(), ["a1"]);
    assert_eq!((summary.totals.parked, summary.totals.pending(), summary.set_aside), (1, 0, 0));
}

#[test]
fn by_policy_it_is_skipped_instead_and_counts_as_expired() {
    let retry = RetryPolicy {
        give_up: GiveUp::Skip,
        for_at_most: std::time::Duration::from_secs(60),
        ..RetryPolicy::default()
    };
    let mut rig = Rig::new(Policy { retry, ..policy() });
    rig.say("a");
    for _ in 0..40 {
        rig.say("b");
        rig.drain(|job| if told(job).starts_with('a') { failed() } else { ACK });
        rig.wait(10_000);
    }
    let totals = rig.summary().totals;
    assert_eq!((totals.delivered, totals.expired, totals.skipped, totals.pending()), (40, 1, 1, 0));
}

#[test]
fn the_vendors_profile_tries_once_never_pauses_and_goes_on() {
    let retry = RetryPolicy::default().with_profile(Some(RetryProfile::Tencent));
    let mut rig = Rig::new(Policy { retry, ..policy() });
    (0..20).for_each(|_| rig.say("a"));
    assert_eq!(rig.drain(|_| refused()).len(), 20);
    let summary = rig.summary();
    assert_eq!((summary.mode, summary.totals.skipped, summary.totals.pending()), (Mode::Running, 20, 0));
}

#[test]
fn an_endpoint_that_refuses_connections_is_paused_and_probed_one_at_a_time() {
    let mut rig = Rig::new(policy());
    ["a", "b", "c", "d", "e"].into_iter().for_each(|room| rig.say(room));
    assert_eq!(rig.drain(|_| refused()).len(), 3, "the third failure to connect pauses it");
    assert!(matches!(rig.summary().mode, Mode::Paused { .. }));
    rig.wait(1_000);
    let probe = rig.send();
    assert!(probe.probe);
    assert!(rig.next().is_none(), "one probe at a time");
    rig.settle(&probe, refused());
    rig.wait(1_000);
    assert!(rig.next().is_none(), "probes back off");
    rig.wait(1_000);
    let probe = rig.send();
    rig.settle(&probe, ACK);
    assert_eq!(rig.summary().mode, Mode::CatchingUp);
    rig.drain(|_| ACK);
    rig.wait(1);
    rig.say("a");
    rig.drain(|_| ACK);
    let summary = rig.summary();
    assert_eq!((summary.mode, summary.totals.delivered), (Mode::Running, 6));
}

#[test]
fn five_different_deliveries_failing_with_no_success_between_pause_it_too() {
    let mut rig = Rig::new(policy());
    ["a", "b", "c", "d", "e", "f"].into_iter().for_each(|room| rig.say(room));
    assert_eq!(rig.drain(|_| failed()).len(), 5);
    assert!(matches!(rig.summary().mode, Mode::Paused { .. }));
}

#[test]
fn one_poison_message_alone_does_not_pause_its_endpoint() {
    let mut rig = Rig::new(policy());
    rig.say("a");
    for _ in 0..20 {
        rig.drain(|_| failed());
        rig.wait(60_000);
    }
    assert_eq!(rig.summary().mode, Mode::Running);
}

#[test]
fn probes_go_round_so_that_a_poison_message_cannot_keep_the_endpoint_paused() {
    let mut rig = Rig::new(policy());
    ["a", "b", "c"].into_iter().for_each(|room| rig.say(room));
    rig.drain(|_| refused());
    let mut probed = Vec::new();
    for _ in 0..3 {
        rig.wait(60_000);
        let probe = rig.send();
        probed.push(told(&probe));
        rig.settle(&probe, failed());
    }
    probed.sort();
    assert_eq!(probed, ["a1#2?", "b1#2?", "c1#2?"]);
}

/// Message `a1` is poison and set aside; then the endpoint is down for a while and everything that is tried fails.
fn poison_set_aside_and_an_outage() -> Rig {
    let mut rig = Rig::new(policy());
    rig.say("a");
    for _ in 0..31 {
        rig.say("b");
        rig.drain(|job| if told(job).starts_with('a') { failed() } else { ACK });
        rig.wait(1_000);
    }
    assert_eq!(rig.summary().set_aside, 1);
    ["c", "d", "e", "f"].into_iter().for_each(|room| rig.say(room));
    rig.drain(|_| refused());
    assert!(rig.engine.is_paused());
    rig
}

#[test]
fn a_poison_message_that_was_set_aside_does_not_keep_a_recovered_endpoint_paused() {
    let mut rig = poison_set_aside_and_an_outage();
    let mut sent = Vec::new();
    for _ in 0..5 {
        rig.wait(60_000);
        sent.extend(rig.drain(|job| if told(job).starts_with('a') { failed() } else { ACK }));
    }
    assert!(!rig.engine.is_paused(), "{sent:?}");
    assert_eq!(rig.summary().totals.pending(), 1, "{sent:?}");
}

#[test]
fn a_probe_whose_event_retention_has_dropped_leaves_the_way_free_for_the_next() {
    let mut rig = poison_set_aside_and_an_outage();
    rig.wait(600_000);
    let gone = rig.send();
    assert!(gone.probe);
    rig.settle(&gone, Verdict::Gone);
    rig.drain(|_| ACK);
    assert!(!rig.engine.is_paused());
    assert_eq!(rig.summary().totals.pending(), 0);
}

#[test]
fn a_paused_endpoint_that_is_given_the_vendors_profile_is_paused_no_more() {
    let mut rig = Rig::new(policy());
    ["a", "b", "c"].into_iter().for_each(|room| rig.say(room));
    rig.drain(|_| refused());
    rig.wait(60_000);
    let probe = rig.send();
    let vendors = RetryPolicy::default().with_profile(Some(RetryProfile::Tencent));
    rig.configure(Policy { retry: vendors, ..policy() });
    rig.settle(&probe, refused());
    rig.drain(|_| ACK);
    assert!(!rig.engine.is_paused());
    assert_eq!(rig.summary().totals.pending(), 0);
}

#[test]
fn a_paused_endpoint_with_nothing_to_send_wakes_nobody() {
    let mut rig = Rig::new(policy());
    ["a", "b", "c"].into_iter().for_each(|room| rig.say(room));
    rig.drain(|_| refused());
    rig.configure(Policy { sendable: false, ..policy() });
    rig.configure(policy());
    assert!(rig.engine.is_paused());
    assert_eq!(rig.engine.ready_len(), 0);
    rig.wait(60_000);
    assert_eq!(rig.engine.wake_at(rig.now).filter(|at| *at <= rig.now), None);
}

#[test]
fn an_outage_of_a_week_uses_up_nobodys_retries() {
    let mut rig = Rig::new(policy());
    ["a", "b", "c"].into_iter().for_each(|room| rig.say(room));
    for _ in 0..(7 * 24 * 60) {
        rig.drain(|_| refused());
        rig.wait(60_000);
    }
    let summary = rig.summary();
    assert_eq!((summary.totals.pending(), summary.totals.parked, summary.set_aside), (3, 0, 0));
    rig.drain(|_| ACK);
    assert_eq!(rig.summary().totals.delivered, 3);
}

#[test]
fn catching_up_starts_gently_and_keeps_to_its_rate() {
    let mut rig = Rig::new(Policy { catch_up_per_s: 100, concurrency: 64, order: Order::None, ..policy() });
    (0..500).for_each(|_| rig.say("a"));
    rig.drain(|_| refused());
    rig.wait(1_000);
    let probe = rig.send();
    rig.settle(&probe, ACK);
    let mut in_flight = Vec::new();
    rig.wait(1_000);
    while let Some(job) = rig.next() {
        in_flight.push(job);
    }
    assert!(in_flight.len() <= 5, "{} at once", in_flight.len());
    in_flight.iter().for_each(|job| rig.settle(job, ACK));
    let before = rig.summary().totals.delivered;
    for _ in 0..100 {
        rig.wait(10);
        rig.drain(|_| ACK);
    }
    let in_a_second = rig.summary().totals.delivered - before;
    assert!((90..=115).contains(&in_a_second), "{in_a_second}");
    rig.wait(4_000);
    for _ in 0..1_000 {
        rig.wait(10);
        rig.drain(|_| ACK);
    }
    assert_eq!(rig.summary().totals.pending(), 0);
}

#[test]
fn paused_by_a_person_nothing_is_sent_until_resumed() {
    let mut rig = Rig::new(Policy { paused: true, ..policy() });
    rig.say("a");
    rig.wait(3_600_000);
    assert!(rig.next().is_none());
    assert_eq!((rig.summary().mode, rig.summary().totals.pending()), (Mode::PausedByHand, 1));
    rig.configure(policy());
    assert_eq!(rig.drain(|_| ACK), ["a1"]);
}

#[test]
fn without_a_url_what_is_pending_is_given_up() {
    let mut rig = Rig::new(policy());
    rig.say("a");
    rig.say("a");
    rig.configure(Policy { sendable: false, ..policy() });
    let totals = rig.summary().totals;
    assert_eq!((totals.acknowledged, totals.skipped, totals.pending()), (2, 2, 0));
}

#[test]
fn a_poison_message_does_not_hold_the_cursor_and_is_found_again_after_a_crash() {
    let mut rig = Rig::new(policy());
    ["a", "a", "c"].into_iter().for_each(|room| rig.say(room));
    let poison = |job: &_| if told(job).starts_with("a1") { failed() } else { ACK };
    for _ in 0..40 {
        rig.drain(poison);
        rig.wait(1_000);
        rig.say("c");
    }
    rig.drain(poison);
    rig.checkpoint();
    assert_eq!(rig.exceptions().len(), 1);
    rig.crash();
    let summary = rig.summary();
    assert_eq!((summary.set_aside, summary.totals.pending(), summary.totals.acknowledged), (1, 1, 43));
    assert!(rig.next().is_none(), "nothing is repeated");
    rig.wait(600_000);
    assert_eq!(rig.drain(|_| ACK).len(), 1);
    rig.checkpoint();
    assert_eq!(rig.exceptions().len(), 0);
}

#[test]
fn a_crash_repeats_what_the_cursor_does_not_know_and_the_numbers_stay_right() {
    let mut rig = Rig::new(policy());
    ["a", "a", "b"].into_iter().for_each(|room| rig.say(room));
    rig.drain(|_| ACK);
    rig.crash();
    assert_eq!(rig.summary().totals.acknowledged, 3);
    assert_eq!(rig.drain(|_| ACK), ["a1", "a2", "b1"]);
    assert_eq!(rig.summary().totals.delivered, 3);
}

#[test]
fn a_window_full_of_one_failing_room_does_not_stop_the_others() {
    let limits = Limits { open_max: 20, ..Limits::default() };
    let mut rig = Rig::new(Policy { limits, ..policy() });
    (0..30).for_each(|_| rig.append("a"));
    (0..5).for_each(|_| rig.append("c"));
    rig.read();
    let poison = |job: &_| if told(job).starts_with('c') { ACK } else { failed() };
    let mut sent = Vec::new();
    for _ in 0..10 {
        sent.extend(rig.drain(poison));
        rig.wait(1_000);
        rig.say("b");
        sent.extend(rig.drain(|job| if told(job).starts_with('b') { ACK } else { poison(job) }));
    }
    let healthy = sent.iter().filter(|told| told.starts_with('c')).count();
    assert_eq!(healthy, 5, "{sent:?}");
}

#[test]
fn what_retention_cut_off_is_expired_and_the_numbers_add_up() {
    let limits = Limits { open_max: 20, ..Limits::default() };
    let mut rig = Rig::new(Policy { limits, ..policy() });
    (0..1_000).for_each(|_| rig.append("a"));
    rig.read();
    assert_eq!(rig.summary().totals.acknowledged, 1_000, "counted ahead of the window");
    rig.trim(0, 501);
    let sent = rig.drain(|_| ACK).len() as u64;
    let totals = rig.summary().totals;
    assert_eq!((totals.pending(), totals.delivered), (0, sent));
    assert_eq!(totals.expired, 1_000 - sent);
    assert!(sent >= 500, "{sent}");
}

#[test]
fn a_retry_written_by_a_clock_far_ahead_is_not_waited_for() {
    let mut rig = Rig::new(policy());
    (rig.now, rig.policy.hold_ms) = (1_000_000_000, 0);
    rig.configure(rig.policy.clone());
    rig.say("a");
    rig.say("b");
    let poison = |job: &_| if told(job).starts_with("a1") { failed() } else { ACK };
    rig.drain(poison);
    rig.checkpoint();
    assert_eq!(rig.summary().set_aside, 1);
    rig.now = 5_000;
    rig.crash();
    rig.wait(2 * 3_600_000);
    assert_eq!(rig.drain(|_| ACK), ["a1#2"]);
}
