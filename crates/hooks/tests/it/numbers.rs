//! The numbers when something is in the way of counting or of telling: retention, a restart, a lone poison message.

use roomhook_hooks::engine::{Job, Policy, Verdict};

use crate::engine_rig::{Rig, policy, refused, told};

const ACK: Verdict = Verdict::Acknowledged;

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
