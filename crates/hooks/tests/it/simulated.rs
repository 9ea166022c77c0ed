//! What the simulator (`crates/sim`) found wrong, told again step by step.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use roomhook_hooks::{
    engine::{DeliveryId, Limits, Policy, Verdict},
    http::{Guard, HttpTransport, SystemResolver},
    retry::RetryPolicy,
    rows::ExceptionRow,
};

use roomhook_log::{AppendError, Epoch, LogId, Lsn, MemoryLog, ReadError, Row, Rows};
use roomhook_room::{Endpoint, EndpointId};
use tokio::sync::watch;

use crate::{
    engine_rig::{Rig, failed, policy, refused, told},
    receiver::Receiver,
    world::{World, config, endpoint},
};

const ACK: Verdict = Verdict::Acknowledged;

/// Sets a delivery aside at its first failure and parks it at the second.
fn impatient() -> Policy {
    let retry = RetryPolicy { for_at_most: std::time::Duration::ZERO, ..RetryPolicy::default() };
    Policy { hold_ms: 0, retry, ..policy() }
}

/// Parks one delivery in each of the rooms, all of the first shard, and gives their rows.
fn parked(rig: &mut Rig, rooms: &[&'static str]) -> Vec<(DeliveryId, ExceptionRow)> {
    for &room in rooms {
        rig.say(room);
        // Another room of the same shard is well, so that the endpoint is not taken for dead.
        rig.say("axxx");
        rig.drain(|job| if told(job).starts_with(room) { failed() } else { ACK });
        rig.wait(10_000);
        rig.drain(|_| failed());
        rig.checkpoint();
    }
    let rows: Vec<_> = rig.exceptions().into_iter().filter(|(_, row)| row.parked).collect();
    rows.into_iter().map(|(pos, row)| (DeliveryId { shard: 0, pos }, row)).collect()
}

/// Seed 546: the row in the store was older than what the engine knew, and the numbers lied from then on.
#[test]
fn a_parked_delivery_is_retried_once_even_if_its_old_row_is_still_in_the_store() {
    let mut rig = Rig::new(impatient());
    let rows = parked(&mut rig, &["aone", "atwo"]);
    assert_eq!(rig.summary().totals.parked, 2);
    let (id, row) = &rows[0];
    assert!(rig.engine.unpark(*id, row, rig.now));
    rig.drain(|_| ACK);
    assert!(!rig.engine.unpark(*id, row, rig.now), "it is delivered, whatever the store still says");
    assert!(!rig.engine.skip(*id, Some(row)));
    let on_its_way = rig.engine.checkpoint(id.shard, true);
    assert!(!rig.engine.unpark(*id, row, rig.now), "nor while the row is being written");
    drop(on_its_way);
    let totals = rig.summary().totals;
    assert_eq!((totals.parked, totals.delivered, totals.pending(), totals.skipped), (1, 3, 0, 0));
}

/// Seed 2: all parked ones were retried at once.
#[test]
fn no_more_are_set_aside_than_allowed_even_by_hand() {
    let limits = Limits { aside_max: 1, ..Limits::default() };
    let mut rig = Rig::new(Policy { limits, ..impatient() });
    let rows = parked(&mut rig, &["aone", "atwo"]);
    let taken = rows.iter().filter(|(id, row)| rig.engine.unpark(*id, row, rig.now)).count();
    assert_eq!((taken, rig.summary().set_aside, rig.summary().totals.parked), (1, 1, 1));
    rig.drain(|_| ACK);
    assert!(rig.engine.unpark(rows[1].0, &rows[1].1, rig.now), "there is space again");
}

/// Seed 48: they stayed pending for ever, with nobody to send them to.
#[test]
fn without_a_url_what_was_set_aside_is_given_up_too() {
    for restarted in [false, true] {
        let mut rig = Rig::new(Policy { hold_ms: 0, ..policy() });
        rig.say("a");
        rig.drain(|_| failed());
        rig.checkpoint();
        assert_eq!(rig.summary().set_aside, 1);
        if restarted {
            rig.policy.sendable = false;
            rig.crash();
        } else {
            rig.configure(Policy { sendable: false, ..policy() });
        }
        let summary = rig.summary();
        assert_eq!((summary.set_aside, summary.totals.pending(), summary.totals.skipped), (0, 0, 1));
    }
}

/// Seed 2038: what did not fit into the window was never read again, because no answer came that could make space.
#[test]
fn without_a_url_a_backlog_larger_than_the_window_is_given_up_too() {
    let limits = Limits { span_max: 4, ..Limits::default() };
    let mut rig = Rig::new(Policy { limits, ..policy() });
    for _ in 0..20 {
        rig.say("a");
    }
    rig.configure(Policy { limits, sendable: false, ..policy() });
    let totals = rig.summary().totals;
    assert_eq!((totals.acknowledged, totals.skipped, totals.pending()), (20, 20, 0));
}

/// Seed 655: retried by hand, it left the parked ones and had nowhere to go.
#[test]
fn without_a_url_what_is_parked_stays_parked() {
    let mut rig = Rig::new(impatient());
    let rows = parked(&mut rig, &["aone"]);
    rig.configure(Policy { sendable: false, ..impatient() });
    assert!(!rig.engine.unpark(rows[0].0, &rows[0].1, rig.now));
    assert_eq!((rig.summary().totals.parked, rig.summary().totals.pending()), (1, 0));
}

/// Seed 556: the time of its next try, as written, lay as far ahead as the clock had been set back.
#[test]
fn after_a_restart_a_clock_that_was_set_back_makes_nothing_wait_for_longer() {
    let mut rig = Rig::new(Policy { hold_ms: 0, ..policy() });
    rig.now = 100_000_000;
    rig.say("a");
    rig.drain(|_| failed());
    rig.checkpoint();
    rig.now -= 90_000_000;
    rig.crash();
    rig.wait(4_500_000);
    assert_eq!(rig.drain(|_| ACK).len(), 1, "the longest wait is the hour that an answer may ask for, and a quarter");
}

/// Seeds 102103 and 104538: the last delivery of a full window was given up to make space, and nobody told the reader.
#[test]
fn space_that_time_makes_in_a_window_is_told_to_its_reader() {
    let limits = Limits { open_max: 2, span_max: 2, aside_max: 0, ..Limits::default() };
    let mut rig = Rig::new(Policy { limits, ..policy() });
    // A failing room takes the only lane there is.
    rig.say("axxx");
    let job = rig.send();
    rig.settle(&job, failed());
    rig.say("a");
    rig.say("a");
    assert_eq!((rig.summary().detached_rooms, rig.summary().open), (1, 2), "the third one stays in the log");
    assert_eq!(rig.engine.space_again(), None);
    // The next one holds its window, so it is set aside before its time; there is no space for those, so it is parked.
    let job = rig.send();
    rig.engine.settle(&job, failed(), rig.now);
    assert!(rig.next().is_none());
    rig.wait(1);
    // The endpoint answers another room, so it is this delivery that is ill.
    rig.append("b");
    let (from, ..) = rig.engine.reading(1).expect("shard");
    rig.engine.load(1, vec![rig.owed(1, from.0)], Lsn(from.0 + 1));
    let job = rig.send();
    assert_eq!(told(&job), "b1");
    rig.engine.settle(&job, ACK, rig.now);
    assert_eq!((rig.next().map(|job| told(&job)), rig.summary().totals.parked), (None, 0), "a first failure is borne");
    while rig.summary().totals.parked == 0 {
        rig.wait(100);
        assert!(rig.now < 10_000, "it is not held for the whole time");
        if let Some(job) = rig.next() {
            rig.engine.settle(&job, failed(), rig.now);
        }
    }
    assert_eq!(rig.engine.space_again(), Some(0));
    assert_eq!(rig.engine.space_again(), None, "once");
    rig.read();
    assert_eq!(rig.drain(|_| ACK), ["a2"]);
}

/// Seen with a real receiver that was killed and stayed away for minutes: the requests in flight were cut off, and before a
/// connection was refused often enough to pause, the full windows lost the first messages of their rooms to the side. They
/// were told after newer ones.
#[test]
fn an_endpoint_that_goes_down_sets_nothing_aside_before_it_is_known_to_be_down() {
    let limits = Limits { open_max: 8, span_max: 8, ..Limits::default() };
    let mut rig = Rig::new(Policy { limits, ..policy() });
    for _ in 0..6 {
        ["a", "c"].into_iter().for_each(|room| rig.append(room));
    }
    rig.read();
    assert_eq!(rig.drain_some(2, |_| ACK), ["a1", "c1"]);
    assert_eq!(rig.drain_some(2, |_| failed()), ["a2", "c2"], "cut off");
    while !rig.engine.is_paused() {
        rig.drain_some(1, |_| refused());
        assert_eq!(rig.summary().set_aside, 0);
        rig.wait(10);
    }
    rig.wait(60_000);
    let mut told = Vec::new();
    while rig.summary().totals.pending() > 0 {
        told.extend(rig.drain(|_| ACK));
        rig.wait(100);
    }
    for room in ["a", "c"] {
        let of_room: Vec<_> = told.iter().filter(|line| line.starts_with(room)).map(|line| &line[1..2]).collect();
        assert_eq!(of_room, ["2", "3", "4", "5", "6"], "{told:?}");
    }
}

/// Seed 106023: one that had been given up came back, because its shard lost newer rows than the others.
#[test]
fn after_a_power_loss_no_more_are_set_aside_than_allowed() {
    let limits = Limits { aside_max: 2, ..Limits::default() };
    let mut rig = Rig::new(Policy { limits, hold_ms: 0, ..policy() });
    rig.say("a");
    rig.say("b");
    rig.drain(|_| failed());
    rig.checkpoint();
    rig.policy.limits.aside_max = 1;
    rig.crash();
    let summary = rig.summary();
    assert_eq!((summary.set_aside, summary.totals.parked, summary.totals.pending()), (1, 1, 1));
    rig.checkpoint();
    assert_eq!(rig.parked(), ["b1"]);
    rig.crash();
    assert_eq!((rig.summary().set_aside, rig.summary().totals.parked), (1, 1));
}

/// Rows that take their time to be written.
#[derive(Debug)]
struct SlowRows {
    inner: Arc<MemoryLog>,
    held: watch::Sender<bool>,
    /// Somebody waits.
    waiting: watch::Sender<bool>,
}

#[async_trait]
impl Rows for SlowRows {
    async fn get(&self, log: LogId, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        self.inner.get(log, key).await
    }

    async fn scan(
        &self,
        log: LogId,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, ReadError> {
        self.inner.scan(log, prefix, after, limit).await
    }

    async fn put(&self, log: LogId, epoch: Epoch, rows: Vec<Row>) -> Result<(), AppendError> {
        self.waiting.send_replace(*self.held.borrow());
        self.held.subscribe().wait_for(|held| !held).await.expect("held");
        self.inner.put(log, epoch, rows).await
    }
}

/// Seeds 1011448 and 1020065: whoever ends the tasks of deleted endpoints waited for a slow store to start another one.
#[tokio::test]
async fn a_deleted_endpoint_gets_nothing_more_however_slow_the_store_is() {
    let (deleted, other) = (Receiver::start().await, Receiver::start().await);
    let first = endpoint(&deleted.url("/"));
    let second = Endpoint { id: EndpointId("other".into()), ..endpoint(&other.url("/")) };
    let mut world = World::stopped(config(), vec![first.clone()]).await;
    let rows = Arc::new(SlowRows {
        inner: world.log.clone(),
        held: watch::Sender::new(false),
        waiting: watch::Sender::new(false),
    });
    let guard = Guard::new(vec!["127.0.0.0/8".parse().expect("net")]);
    world.start_beside(Arc::new(HttpTransport::new(Arc::new(SystemResolver::default()), guard)), rows.clone());
    world.say("r", "before").await;
    deleted.wait_for(1).await;
    rows.held.send_replace(true);
    world.configure(vec![first, second.clone()]);
    rows.waiting.subscribe().wait_for(|waiting| *waiting).await.expect("waiting");
    world.configure(vec![second]);
    world.say("r", "after").await;
    // Others of the first endpoint's tasks have had time: its reader runs before the second endpoint's is even started.
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    rows.held.send_replace(false);
    other.wait_for(2).await;
    assert_eq!(deleted.got().len(), 1);
    world.stop().await;
}
