//! A room that is sent more than its endpoint takes in order is slow alone.

use roomhook_hooks::engine::{DeliveryId, EventPos, Limits, Listed, Policy, Verdict};
use roomhook_log::Lsn;
use roomhook_room::Order;

use crate::engine_rig::{Rig, failed, policy, told};

const ACK: Verdict = Verdict::Acknowledged;

/// 16 deliveries per shard in memory; rooms whose names begin with `a`, `c` or `e` share a shard.
fn tight() -> Policy {
    let limits = Limits { open_max: 32, span_max: 256, ..Limits::default() };
    Policy { limits, ..policy() }
}

/// A rig in which room `a` has been sent a hundred messages of which the first is on its way.
fn hot(policy: Policy) -> (Rig, roomhook_hooks::engine::Job) {
    let mut rig = Rig::new(policy);
    (0..100).for_each(|_| rig.append("a"));
    rig.read();
    let first = rig.send();
    assert_eq!(told(&first), "a1");
    rig.read();
    (rig, first)
}

/// Answers what goes to room `a` one round trip after it was sent, and all else at once, a message of `a` and one of each of
/// the quiet rooms a round; tells what was sent.
fn rounds(rig: &mut Rig, mut slow: Option<roomhook_hooks::engine::Job>, count: usize) -> Vec<String> {
    let mut sent = Vec::new();
    for _ in 0..count {
        if let Some(job) = slow.take() {
            rig.settle(&job, ACK);
        }
        ["a", "a", "c", "e"].into_iter().for_each(|room| rig.say(room));
        while let Some(job) = rig.next() {
            sent.push(told(&job));
            match told(&job).starts_with('a') {
                true => slow = Some(job),
                false => rig.settle(&job, ACK),
            }
        }
        let summary = rig.summary();
        assert!(
            summary.open <= rig.policy.limits.open_max && summary.span <= rig.policy.limits.span_max,
            "{summary:?}"
        );
        assert_eq!(summary.totals.acknowledged, rig.appended());
        rig.wait(100);
    }
    if let Some(job) = slow {
        rig.settle(&job, ACK);
    }
    sent
}

fn of(room: char, sent: &[String]) -> Vec<String> {
    sent.iter().filter(|told| told.starts_with(room)).cloned().collect()
}

fn numbered(room: char, numbers: std::ops::RangeInclusive<usize>) -> Vec<String> {
    numbers.map(|number| format!("{room}{number}")).collect()
}

#[test]
fn a_room_faster_than_its_endpoint_answers_slows_no_other_room_of_its_shard() {
    let (mut rig, first) = hot(tight());
    let sent = rounds(&mut rig, Some(first), 50);
    assert_eq!(of('c', &sent), numbered('c', 1..=50), "each in the round it was said");
    assert_eq!(of('e', &sent), numbered('e', 1..=50));
    assert_eq!(of('a', &sent), numbered('a', 2..=51), "one a round, in order, without a gap");
    assert_eq!(rig.summary().detached_rooms, 1);
    assert_eq!(rig.summary().totals.pending(), 200 - 51);
}

#[test]
fn in_the_end_all_is_paid_in_order_and_the_room_goes_back_to_the_others() {
    let (mut rig, first) = hot(tight());
    let mut sent = vec!["a1".to_owned()];
    sent.extend(rounds(&mut rig, Some(first), 10));
    sent.extend(rig.drain(|_| ACK));
    assert_eq!(of('a', &sent), numbered('a', 1..=120));
    let summary = rig.summary();
    assert_eq!((summary.totals.pending(), summary.detached_rooms), (0, 0));
    rig.checkpoint();
    rig.crash();
    assert!(rig.next().is_none(), "nothing is repeated");
    rig.say("a");
    assert_eq!(rig.drain(|_| ACK), ["a121"]);
}

#[test]
fn a_crash_repeats_no_more_than_what_was_settled_since_the_last_checkpoint() {
    let (mut rig, first) = hot(tight());
    rounds(&mut rig, Some(first), 20);
    rig.checkpoint();
    let before = rig.summary().totals;
    rig.crash();
    assert_eq!((rig.summary().totals, rig.summary().detached_rooms), (before, 1), "numbers and lanes are as they were");
    // The message that was answered last of all had not been followed by another one.
    let sent = rounds(&mut rig, None, 5);
    assert_eq!(of('a', &sent), numbered('a', 22..=26));
    assert_eq!(of('c', &sent), numbered('c', 21..=25));
    rig.crash();
    assert_eq!(rig.summary().totals.pending(), before.pending() + 20, "all that was said since was counted again");
    let sent = rig.drain(|_| ACK);
    assert_eq!(of('a', &sent), numbered('a', 22..=150), "once more from the checkpoint on, without a gap");
    assert_eq!(of('e', &sent), numbered('e', 21..=25));
    assert_eq!(rig.summary().totals.delivered, rig.appended());
}

#[test]
fn a_message_that_fails_in_a_slow_room_is_set_aside_and_the_room_goes_on() {
    let (mut rig, first) = hot(Policy { hold_ms: 0, ..tight() });
    let poison = |job: &_| if ["a5", "a70"].contains(&told(job).as_str()) { failed() } else { ACK };
    rig.settle(&first, ACK);
    let sent = rig.drain(poison);
    assert_eq!(of('a', &sent), numbered('a', 2..=100));
    assert_eq!((rig.summary().set_aside, rig.summary().totals.pending()), (2, 2));
    rig.checkpoint();
    rig.crash();
    assert_eq!((rig.summary().set_aside, rig.summary().totals.pending()), (2, 2));
    rig.wait(600_000);
    assert_eq!(rig.drain(|_| ACK).len(), 2);
    assert_eq!(rig.summary().totals.pending(), 0);
}

#[test]
fn what_retention_takes_of_a_slow_room_is_expired_and_nothing_else() {
    let (mut rig, first) = hot(tight());
    rounds(&mut rig, Some(first), 5);
    let (pending, open) = (rig.summary().totals.pending(), rig.summary().open as u64);
    assert_eq!(rig.summary().detached_rooms, 1);
    rig.trim(0, 81);
    let sent = of('a', &rig.drain(|_| ACK));
    assert_eq!(sent.last().map(String::as_str), Some("a110"));
    let totals = rig.summary().totals;
    assert_eq!((totals.pending(), totals.expired + sent.len() as u64), (0, pending));
    assert!(
        sent.len() as u64 >= 30 && sent.len() as u64 <= 30 + open,
        "{}: the rest, and what was in memory",
        sent.len()
    );
}

#[test]
fn several_slow_rooms_wait_for_none_of_each_other() {
    let mut rig = Rig::new(Policy { limits: Limits { open_max: 128, ..Limits::default() }, ..policy() });
    for _ in 0..100 {
        ["a", "c", "e"].into_iter().for_each(|room| rig.append(room));
    }
    rig.read();
    // Room `a` is not answered at all.
    let stuck = rig.send();
    let mut sent = rig.drain(|_| ACK);
    sent.retain(|told| !told.starts_with('a'));
    assert_eq!((of('c', &sent).len(), of('e', &sent).len()), (100, 100));
    rig.settle(&stuck, ACK);
    assert_eq!(rig.drain(|_| ACK).len(), 99);
}

#[test]
fn an_outage_detaches_nobody_and_is_caught_up_with_in_order() {
    let mut rig = Rig::new(tight());
    ["a", "c", "e"].into_iter().for_each(|room| rig.say(room));
    rig.drain(|_| crate::engine_rig::refused());
    (0..197).for_each(|round| rig.append(if round % 4 == 0 { "c" } else { "a" }));
    rig.read();
    for _ in 0..20 {
        rig.wait(60_000);
        rig.drain(|_| crate::engine_rig::refused());
        assert_eq!(rig.summary().detached_rooms, 0);
    }
    rig.configure(Policy { paused: true, ..tight() });
    rig.configure(tight());
    let sent = rig.drain(|_| ACK);
    let first: Vec<String> = sent.iter().map(|told| told.split(['#', '?']).next().unwrap_or(told).to_owned()).collect();
    assert_eq!((of('a', &first), of('c', &first)), (numbered('a', 1..=148), numbered('c', 1..=51)));
}

#[test]
fn without_a_url_a_slow_room_is_given_up_too() {
    let (mut rig, first) = hot(tight());
    rig.configure(Policy { sendable: false, ..tight() });
    rig.settle(&first, failed());
    let summary = rig.summary();
    assert_eq!((summary.totals.pending(), summary.totals.skipped, summary.detached_rooms), (0, 100, 0));
}

#[test]
fn an_endpoint_without_order_detaches_nobody_and_one_that_gives_it_up_pays_all() {
    let (mut rig, first) = hot(Policy { order: Order::None, ..tight() });
    assert_eq!(rig.summary().detached_rooms, 0);
    rig.configure(tight());
    rig.settle(&first, ACK);
    let (mut ordered, first) = hot(tight());
    assert_eq!(ordered.summary().detached_rooms, 1);
    ordered.configure(Policy { order: Order::None, ..tight() });
    ordered.settle(&first, ACK);
    for mut rig in [rig, ordered] {
        rig.drain(|_| ACK);
        let summary = rig.summary();
        assert_eq!((summary.totals.pending(), summary.totals.delivered, summary.detached_rooms), (0, 100, 0));
    }
}

/// Names of rooms that nobody used before, of the shard of room `a`.
fn fresh_rooms(count: usize) -> Vec<&'static str> {
    (0..count).map(|number| &*Box::leak(format!("a/{number}").into_boxed_str())).collect()
}

#[test]
fn a_room_takes_nothing_of_others_along_however_many_rooms_come_and_go() {
    let mut rig = Rig::new(Policy { limits: Limits { open_max: 32, ..Limits::default() }, ..policy() });
    // The cursor stays before this one, so that all that follow remain in the window.
    rig.say("a");
    let stuck = rig.send();
    // More than are remembered once they are idle.
    for room in fresh_rooms(8_200) {
        rig.say(room);
        rig.drain(|_| ACK);
    }
    (0..100).for_each(|_| rig.append("c"));
    rig.read();
    let first = rig.send();
    rig.read();
    assert_eq!((told(&first).as_str(), rig.summary().detached_rooms), ("c1", 1));
    rig.checkpoint();
    rig.crash();
    rig.drain(|_| ACK);
    let totals = rig.summary().totals;
    assert_eq!((totals.acknowledged, totals.delivered, totals.pending()), (8_301, 8_301, 0), "{stuck:?}");
}

#[test]
fn slow_rooms_leave_half_of_the_attempts_to_the_others_however_long_theirs_take() {
    let mut rig = Rig::new(Policy { limits: Limits { open_max: 256, ..Limits::default() }, ..policy() });
    let mut slow = Vec::new();
    for rooms in [["a", "c", "e"], ["g", "i", "k"], ["m", "o", "q"]] {
        (0..100).for_each(|_| rooms.into_iter().for_each(|room| rig.append(room)));
        rig.read();
        loop {
            slow.extend(std::iter::from_fn(|| rig.next()));
            rig.read();
            if rig.engine.space_again().is_none() {
                break;
            }
        }
    }
    assert_eq!((slow.len(), rig.summary().detached_rooms), (8, 9), "they use all there is while nobody else needs it");
    for room in fresh_rooms(20) {
        rig.say(room);
    }
    let answered = slow.pop().expect("one under way");
    rig.settle(&answered, ACK);
    let sent = rig.drain_some(20, |job| {
        assert!(told(job).contains('/'), "{job:?}: a slow room takes the place that the others need");
        ACK
    });
    assert_eq!(sent.len(), 20);
}

#[test]
fn a_release_that_knows_no_lanes_leaves_an_endpoint_that_has_some_alone() {
    let (mut rig, first) = hot(tight());
    rig.checkpoint();
    assert_eq!(rig.cursor_version(0), 2, "it would take the cursor for all there is to know");
    rig.crash();
    assert_eq!((rig.summary().detached_rooms, rig.summary().totals.pending()), (1, 100), "{first:?}");
    rig.drain(|_| ACK);
    rig.checkpoint();
    assert_eq!((rig.cursor_version(0), rig.summary().totals.pending()), (1, 0));
}

#[test]
fn what_a_slow_room_settled_ahead_of_the_cursor_is_told_as_settled_after_a_restart() {
    let mut rig = Rig::new(tight());
    rig.say("c");
    let stuck = rig.send();
    (0..60).for_each(|_| rig.append("a"));
    rig.read();
    for _ in 0..30 {
        let job = rig.send();
        rig.settle(&job, ACK);
    }
    assert_eq!(rig.summary().detached_rooms, 1, "{stuck:?}");
    rig.checkpoint();
    rig.restart();
    let listed = |rig: &Rig, lsn| {
        let pos = EventPos { lsn: Lsn(lsn), index: 0 };
        rig.engine.listed(DeliveryId { shard: 0, pos }, b"a")
    };
    assert_eq!(listed(&rig, 25), Some(Listed::BehindCursor), "before anything is read");
    assert_eq!(listed(&rig, 50), Some(Listed::Backlog));
    rig.read();
    assert_eq!(listed(&rig, 25), Some(Listed::BehindCursor));
}

#[test]
fn in_whatever_order_rooms_leave_and_answers_come_the_window_keeps_its_limits() {
    let mut detached = 0;
    for seed in 0..300 {
        let mut dice = fastrand::Rng::with_seed(seed);
        let limits = Limits { open_max: dice.usize(8..48), span_max: dice.usize(8..32), ..Limits::default() };
        let mut rig = Rig::new(Policy { limits, concurrency: dice.usize(1..12), ..policy() });
        let (mut under_way, ill) = (Vec::new(), dice.u8(..8));
        for _ in 0..600 {
            match dice.u8(..8) {
                0..=2 => rig.append(
                    dice.choice(["a", "a", "a", "b", "b", "c", "d", "e", "f", "g", "h", "i", "j"]).expect("some"),
                ),
                3 => rig.read(),
                4 | 5 => under_way.extend(rig.next()),
                6 => rig.wait(200),
                _ if under_way.is_empty() => {}
                _ => {
                    let job = under_way.swap_remove(dice.usize(..under_way.len()));
                    rig.settle(&job, if dice.u8(..8) < ill { failed() } else { ACK });
                }
            }
            let summary = rig.summary();
            detached = detached.max(summary.detached_rooms);
            assert!(summary.open <= limits.open_max, "{seed}, {limits:?}: {summary:?}");
            assert!(summary.span <= limits.span_max, "{seed}, {limits:?}: {summary:?}");
        }
    }
    assert!(detached > 1, "rooms leave");
}
