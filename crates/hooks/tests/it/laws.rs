//! Laws that hold for every story: random traffic, failures, crashes and checkpoints, then a heal.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use roomhook_hooks::engine::{Job, Limits, Policy, Verdict};
use roomhook_room::Order;

use crate::engine_rig::{Rig, failed, policy, refused};

#[derive(Clone, Debug)]
enum Step {
    Say(&'static str),
    Send,
    Settle { which: usize, how: u8 },
    Wait(u64),
    Checkpoint,
    Crash,
    Pause(bool),
    Reorder(bool),
    Resume,
    RetryAside,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => prop::sample::select(vec!["a", "b", "c", "d", "e"]).prop_map(Step::Say),
        6 => Just(Step::Send),
        6 => (any::<usize>(), 0_u8..10).prop_map(|(which, how)| Step::Settle { which, how }),
        2 => (1_u64..40_000).prop_map(Step::Wait),
        2 => Just(Step::Checkpoint),
        1 => Just(Step::Crash),
        1 => any::<bool>().prop_map(Step::Pause),
        1 => any::<bool>().prop_map(Step::Reorder),
        1 => Just(Step::Resume),
        1 => Just(Step::RetryAside),
    ]
}

/// Watches all that is sent, and complains.
#[derive(Default)]
struct Auditor {
    in_flight: Vec<Job>,
    delivered: BTreeSet<(Vec<u8>, u64)>,
    /// Since the last crash: the highest first attempt of each room.
    newest: BTreeMap<Vec<u8>, u64>,
    /// Handed out and not tried: they come once more with the number they had.
    untried: BTreeSet<(Vec<u8>, u64)>,
}

impl Auditor {
    fn sent(&mut self, job: Job, rig: &Rig) {
        let room = job.room.to_vec();
        let is_again = self.untried.remove(&(room.clone(), job.seq));
        if rig.policy.order == Order::Room && job.attempt == 1 && !is_again {
            let behind = self.in_flight.iter().any(|other| other.room == job.room && other.content.is_some());
            assert!(!behind, "in-order: two of a room in flight");
            let newest = self.newest.entry(room).or_default();
            assert!(job.seq > *newest, "in-order: {} after {newest}", job.seq);
            *newest = job.seq;
        }
        assert!(self.in_flight.len() < rig.policy.concurrency, "bounded: concurrency");
        self.in_flight.push(job);
    }

    fn crashed(&mut self) {
        self.in_flight.clear();
        self.newest.clear();
        self.untried.clear();
    }
}

fn numbers_add_up(rig: &Rig) {
    let summary = rig.summary();
    let totals = summary.totals;
    let settled = totals.delivered + totals.parked + totals.expired;
    assert_eq!(totals.acknowledged, settled + totals.pending(), "owed-paid");
    assert_eq!(totals.acknowledged, rig.appended(), "all that was appended is acknowledged");
    assert!(summary.open <= rig.policy.limits.open_max, "bounded: window");
    assert!(summary.span <= rig.policy.limits.span_max, "bounded: span");
}

fn verdict(how: u8) -> Verdict {
    match how {
        0..6 => Verdict::Acknowledged,
        6..8 => failed(),
        8 => refused(),
        _ => Verdict::Untried,
    }
}

fn run(rig: &mut Rig, steps: Vec<Step>) -> Auditor {
    let mut auditor = Auditor::default();
    for step in steps {
        match step {
            Step::Say(room) => rig.say(room),
            Step::Send => {
                if let Some(job) = rig.next() {
                    auditor.sent(job, rig);
                }
            }
            Step::Settle { which, how } if !auditor.in_flight.is_empty() => {
                let job = auditor.in_flight.swap_remove(which % auditor.in_flight.len());
                let verdict = verdict(how);
                let name = (job.room.to_vec(), job.seq);
                match verdict {
                    Verdict::Acknowledged => drop(auditor.delivered.insert(name)),
                    Verdict::Untried => drop(auditor.untried.insert(name)),
                    _ => {}
                }
                rig.settle(&job, verdict);
            }
            Step::Settle { .. } => {}
            Step::Wait(ms) => rig.wait(ms),
            Step::Checkpoint => rig.checkpoint(),
            Step::Crash => {
                rig.crash();
                auditor.crashed();
            }
            Step::Pause(paused) => rig.configure(Policy { paused, ..rig.policy.clone() }),
            Step::Reorder(ordered) if rig.policy.order == Order::Room && !ordered => {
                rig.configure(Policy { order: Order::None, ..rig.policy.clone() });
            }
            Step::Reorder(_) => {}
            Step::Resume => {
                rig.engine.resume(rig.now);
            }
            Step::RetryAside => {
                if let Some(aside) = rig.engine.asides(1).pop() {
                    rig.engine.retry_now(aside.id, rig.now);
                }
            }
        }
        numbers_add_up(rig);
    }
    auditor
}

/// Everything works again: all that is owed must get paid.
fn heal(rig: &mut Rig, auditor: &mut Auditor) {
    // Order by room again, whatever it was: what is in flight or failing in several places of a room must sort itself out.
    rig.configure(Policy { paused: false, order: Order::Room, ..rig.policy.clone() });
    for job in std::mem::take(&mut auditor.in_flight) {
        auditor.delivered.insert((job.room.to_vec(), job.seq));
        rig.settle(&job, Verdict::Acknowledged);
    }
    for _ in 0..2_000 {
        while let Some(job) = rig.next() {
            auditor.delivered.insert((job.room.to_vec(), job.seq));
            rig.settle(&job, Verdict::Acknowledged);
        }
        if rig.summary().totals.pending() == 0 {
            break;
        }
        rig.wait(10_000);
    }
    let totals = rig.summary().totals;
    assert_eq!((totals.pending(), totals.delivered), (0, rig.appended()), "owed-paid");
    assert_eq!(auditor.delivered.len() as u64, rig.appended(), "each one arrived");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn order_numbers_and_bounds_hold_through_crashes_and_all_is_paid_after_a_heal(
        steps in prop::collection::vec(step(), 1..300),
        concurrency in 1_usize..6,
        tight in any::<bool>(),
        ordered in any::<bool>(),
    ) {
        let limits = if tight { Limits { open_max: 8, span_max: 16, aside_max: 1_000, ..Limits::default() } } else { Limits::default() };
        let order = if ordered { Order::Room } else { Order::None };
        let mut rig = Rig::new(Policy { concurrency, limits, order, ..policy() });
        let mut auditor = run(&mut rig, steps);
        heal(&mut rig, &mut auditor);
        rig.checkpoint();
        rig.crash();
        prop_assert!(rig.next().is_none(), "a restart after all is paid repeats nothing");
        numbers_add_up(&rig);
    }
}
