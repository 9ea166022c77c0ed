//! Replays: what was sent is sent again, beside live delivery and across restarts.

use std::{collections::BTreeMap, num::NonZeroU32, time::Duration};

use roomhook_hooks::{
    HandleError, REPEATS_MAX, Replay, ReplayState, ReplayStatus, What,
    engine::{DeliveryId, EventPos},
};
use roomhook_log::{LogId, Lsn};
use roomhook_room::{Event, Incarnation, MsgSeq, RoomId, RoomKey};

use crate::{
    misbehaving::{default, wait_for_status},
    receiver::{Got, Receiver, Reply},
    world::{APP, World, config, endpoint, now, room_info, user},
};

const FAST: NonZeroU32 = NonZeroU32::new(100_000).expect("a rate");

fn room(id: &str) -> RoomKey {
    RoomKey { app: APP, room: RoomId::new(id).expect("room") }
}

fn range(from: u64, to: u64) -> What {
    What::Room { room: room("r"), from: MsgSeq(from), to: MsgSeq(to) }
}

async fn start(world: &World, what: What, to: Option<String>) -> u64 {
    world.hooks().start_replay(&default(), Replay { what, to, per_s: FAST }).await.expect("a replay").number
}

/// Waits until a replay says what is waited for.
async fn state_of(world: &World, number: u64, is_it: impl Fn(&ReplayState) -> bool) -> ReplayState {
    let waiting = async {
        loop {
            if let Some(state) = world.hooks().replay(number).ok().filter(&is_it) {
                return state;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    match tokio::time::timeout(Duration::from_secs(30), waiting).await {
        Ok(state) => state,
        Err(_) => panic!("waited in vain; it is {:?}", world.hooks().replay(number)),
    }
}

async fn end_of(world: &World, number: u64) -> ReplayState {
    state_of(world, number, |state| state.status != ReplayStatus::Running).await
}

async fn replay(world: &World, what: What, to: Option<String>) -> ReplayState {
    let number = start(world, what, to).await;
    end_of(world, number).await
}

fn seqs(receiver: &Receiver) -> Vec<u64> {
    receiver.got().iter().map(Got::seq).collect()
}

/// A world that delivered so many messages of room `r`, home and nowhere else.
async fn delivered(count: usize) -> (World, Receiver) {
    let home = Receiver::start().await;
    let mut world = World::new(vec![endpoint(&home.url("/"))]).await;
    for _ in 0..count {
        world.say("r", "x").await;
    }
    wait_for_status(world.hooks(), |status| status.summary.totals.delivered == count as u64).await;
    (world, home)
}

#[tokio::test]
async fn a_range_is_replayed_elsewhere_while_live_delivery_goes_on() {
    let (mut world, home) = delivered(10).await;
    let elsewhere = Receiver::start().await;
    let done = replay(&world, range(3, 6), Some(elsewhere.url("/again"))).await;
    assert_eq!((done.status, done.done.acknowledged, done.done.failed), (ReplayStatus::Done, 4, 0));
    assert_eq!(seqs(&elsewhere), [3, 4, 5, 6]);
    let ids = |receiver: &Receiver| {
        let got = receiver.got();
        let third = got.iter().filter(|got| got.seq() == 3);
        third.map(|got| got.header("webhook-id").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(ids(&home), ids(&elsewhere), "the same event has the same id");
    let time = replay(&world, What::Time { from: 0, to: u64::MAX }, Some(elsewhere.url("/again"))).await;
    assert_eq!(time.done.acknowledged, 10);
    world.say("r", "live").await;
    home.wait_for(11).await;
    world.stop().await;
}

#[tokio::test]
async fn a_long_range_comes_in_order_though_only_a_page_of_it_is_ever_held() {
    let (mut world, _home) = delivered(1_000).await;
    let elsewhere = Receiver::start().await;
    let done = replay(&world, range(100, 900), Some(elsewhere.url("/"))).await;
    assert_eq!(done.done.acknowledged, 801);
    assert_eq!(seqs(&elsewhere), (100..=900).collect::<Vec<_>>());
    world.stop().await;
}

#[tokio::test]
async fn a_replay_goes_on_after_a_crash_and_repeats_what_it_said_it_would_at_most() {
    for what in [range(1, 600), What::Time { from: 0, to: u64::MAX }] {
        let (mut world, _home) = delivered(600).await;
        let elsewhere = Receiver::start().await;
        let number = start(&world, what, Some(elsewhere.url("/"))).await;
        elsewhere.wait_for(300).await;
        world.crash().await;
        let state = end_of(&world, number).await;
        assert_eq!((state.status, state.resumed), (ReplayStatus::Done, 1), "{state:?}");
        assert_eq!((state.done.acknowledged, state.done.failed), (600, 0));
        let mut times: BTreeMap<u64, usize> = BTreeMap::new();
        seqs(&elsewhere).into_iter().for_each(|seq| *times.entry(seq).or_default() += 1);
        assert_eq!(times.len(), 600, "nothing is left out");
        let repeated = times.values().filter(|times| **times > 1).count();
        // One more was in flight.
        assert!(repeated <= REPEATS_MAX + 1, "{repeated} were sent twice");
        assert_eq!(world.hooks().replays().len(), 1);
        world.stop().await;
    }
}

#[tokio::test]
async fn after_an_orderly_restart_nothing_that_was_answered_is_sent_again() {
    let (mut world, _home) = delivered(400).await;
    let elsewhere = Receiver::start().await;
    let number = start(&world, range(1, 400), Some(elsewhere.url("/"))).await;
    elsewhere.wait_for(100).await;
    world.stop().await;
    let before = elsewhere.got().len();
    assert!(before < 400, "it was stopped in the middle");
    world.start();
    let state = end_of(&world, number).await;
    assert_eq!((state.status, state.done.acknowledged), (ReplayStatus::Done, 400));
    // The one that was in flight may have been answered too late.
    assert!(elsewhere.got().len() <= 401, "{}", elsewhere.got().len());
    world.stop().await;
}

#[tokio::test]
async fn what_ended_is_remembered_with_its_failures_and_what_was_stopped_stays_so() {
    let (mut world, _home) = delivered(5).await;
    let elsewhere = Receiver::start().await;
    elsewhere.rule(|got| if got.seq() == 2 { Reply::status(422) } else { Reply::ok() });
    let failed = start(&world, range(1, 3), Some(elsewhere.url("/"))).await;
    let slow = Replay { what: range(1, 5), to: Some(elsewhere.url("/slow")), per_s: NonZeroU32::MIN };
    let slow = world.hooks().start_replay(&default(), slow).await.expect("a replay").number;
    elsewhere.wait_until(|got| got.iter().any(|got| got.target.starts_with("/slow"))).await;
    let stopped = world.hooks().stop_replay(slow).await.expect("it stops");
    assert_eq!(stopped.status, ReplayStatus::Stopped);
    let told = end_of(&world, failed).await;
    world.crash().await;

    let state = end_of(&world, failed).await;
    assert_eq!((state.done.acknowledged, state.done.failed, state.resumed), (2, 1, 0));
    let failure = &state.done.failures[0];
    assert_eq!((failure.status, failure.seq, failure.number), (Some(422), 2, 3));
    assert_eq!(format!("{:?}", told.replay), format!("{:?}", state.replay));
    assert_eq!(end_of(&world, slow).await.status, ReplayStatus::Stopped);
    assert_eq!(world.hooks().stop_replay(failed).await.expect("no matter").status, ReplayStatus::Done);
    assert!(matches!(world.hooks().replay(99), Err(HandleError::NoReplay)));
    assert!(start(&world, range(1, 1), None).await > slow, "no number is used twice");
    world.stop().await;
}

#[tokio::test]
async fn only_so_many_run_at_a_time_and_only_so_many_are_remembered() {
    let (mut world, _home) = delivered(2).await;
    let elsewhere = Receiver::start().await;
    for _ in 0..roomhook_hooks::KEPT_MAX + 5 {
        replay(&world, range(1, 1), Some(elsewhere.url("/"))).await;
    }
    let slow = || Replay { what: range(1, 2), to: Some(elsewhere.url("/")), per_s: NonZeroU32::MIN };
    elsewhere.rule(|_| Reply { after: Duration::from_secs(60), ..Reply::ok() });
    for _ in 0..roomhook_hooks::RUNNING_MAX {
        world.hooks().start_replay(&default(), slow()).await.expect("a place");
    }
    let refused = world.hooks().start_replay(&default(), slow()).await;
    assert!(matches!(refused, Err(HandleError::TooManyReplays { .. })), "{refused:?}");
    let kept = roomhook_hooks::KEPT_MAX + roomhook_hooks::RUNNING_MAX;
    assert_eq!(world.hooks().replays().len(), kept);
    world.crash().await;
    end_of(&world, roomhook_hooks::KEPT_MAX as u64 + 4).await;
    assert_eq!(world.hooks().replays().len(), kept, "and their rows are gone, too");
    world.stop().await;
}

#[tokio::test]
async fn a_replay_of_what_is_not_there_says_so_instead_of_waiting_for_it() {
    let (mut world, _home) = delivered(0).await;
    for (shard, lsn) in [(0, 1_000_000), (0, u64::MAX), (60_000, 1), (u16::MAX, 1)] {
        let what = What::One(DeliveryId { shard, pos: EventPos { lsn: Lsn(lsn), index: 0 } });
        let replay = Replay { what, to: None, per_s: FAST };
        let started = async { world.hooks().start_replay(&default(), replay).await };
        let started = tokio::time::timeout(Duration::from_secs(10), started).await;
        assert!(matches!(started, Ok(Err(HandleError::NoEvent))), "{shard}-{lsn}");
    }
    world.stop().await;
}

#[tokio::test]
async fn what_the_endpoint_is_not_to_get_is_counted_instead_of_sent() {
    let (mut world, _home) = delivered(2).await;
    let elsewhere = Receiver::start().await;
    world.say_with("r", "hush", |draft| draft.forbid_after_hook = true).await;
    world.say("r", "x").await;
    let done = replay(&world, range(1, 4), Some(elsewhere.url("/"))).await.done;
    assert_eq!((done.acknowledged, done.not_owed), (3, 1));
    assert_eq!(seqs(&elsewhere), [1, 2, 4]);
    let forbidden = world.hooks().trail(&room("r"), MsgSeq(3)).await.expect("trail");
    let what = What::One(DeliveryId { shard: forbidden.shard, pos: forbidden.pos });
    let refused = world.hooks().start_replay(&default(), Replay { what, to: None, per_s: FAST }).await;
    assert!(matches!(refused, Err(HandleError::Forbidden)), "{refused:?}");
    world.stop().await;
}

#[tokio::test]
async fn what_retention_dropped_is_counted_as_gone() {
    let (mut world, _home) = delivered(20).await;
    let elsewhere = Receiver::start().await;
    for shard in 0..world.shards {
        // The first record of each log is its claim.
        world.log.trim_history(LogId(shard), Lsn(2 + 7));
    }
    let done = replay(&world, range(3, 12), Some(elsewhere.url("/"))).await.done;
    assert_eq!(seqs(&elsewhere), (8..=12).collect::<Vec<_>>());
    assert_eq!((done.acknowledged, done.gone), (5, 5));
    let done = replay(&world, range(1, 2), Some(elsewhere.url("/"))).await.done;
    assert_eq!((done.acknowledged, done.gone), (0, 2));
    world.stop().await;
}

#[tokio::test]
async fn numbers_mean_the_newest_room_of_a_name() {
    let (mut world, _home) = delivered(3).await;
    let elsewhere = Receiver::start().await;
    let created = Event::RoomCreated {
        at: now(),
        operator: user("administrator"),
        incarnation: Incarnation::from_random(2),
        info: room_info(),
    };
    world.append("r", &[created]).await.expect("append");
    world.begin_again("r");
    for text in ["new one", "new two"] {
        world.say("r", text).await;
    }
    let done = replay(&world, range(1, 9), Some(elsewhere.url("/"))).await.done;
    assert_eq!((done.acknowledged, done.gone), (2, 0));
    let texts: Vec<_> =
        elsewhere.got().iter().map(|got| got.body["MsgBody"][0]["MsgContent"]["Text"].to_string()).collect();
    assert_eq!(texts, ["\"new one\"", "\"new two\""]);
    world.stop().await;
}

#[tokio::test]
async fn a_replay_home_waits_while_the_endpoint_is_paused_and_says_so() {
    let (mut world, home) = delivered(3).await;
    let running = endpoint(&home.url("/"));
    let mut paused = running.clone();
    paused.paused = true;
    world.configure(vec![paused]);
    wait_for_status(world.hooks(), |status| status.summary.mode == roomhook_hooks::engine::Mode::PausedByHand).await;
    let number = start(&world, range(1, 3), None).await;
    let waits = |state: &ReplayState| state.reason.as_deref() == Some("the endpoint is paused by hand");
    let waiting = state_of(&world, number, waits).await;
    assert_eq!((waiting.status, home.got().len()), (ReplayStatus::Running, 3));
    world.configure(vec![running]);
    let done = end_of(&world, number).await;
    assert_eq!((done.status, done.reason, done.done.acknowledged), (ReplayStatus::Done, None, 3));
    world.stop().await;
}

#[tokio::test]
async fn a_replay_ends_with_its_endpoint() {
    let (mut world, home) = delivered(3).await;
    home.rule(|_| Reply { after: Duration::from_secs(60), ..Reply::ok() });
    let number = start(&world, range(1, 3), None).await;
    home.wait_for(4).await;
    let mut namesake = endpoint(&home.url("/"));
    namesake.generation = 2;
    world.configure(vec![namesake]);
    let broken = end_of(&world, number).await;
    assert_eq!((broken.status, broken.reason.as_deref()), (ReplayStatus::Broken, Some("the endpoint was deleted")));
    world.stop().await;
}

/// A world in which so many messages are parked, each in a room of its own.
async fn parked(count: u64, aside_max: usize) -> (World, Receiver) {
    let receiver = Receiver::start().await;
    receiver.rule(|got| if got.room() == "well" { Reply::ok() } else { Reply::status(422) });
    let mut config = config();
    config.hold = Duration::from_millis(20);
    config.retry.for_at_most = Duration::from_millis(60);
    config.limits.aside_max = aside_max;
    let mut world = World::with(config, vec![endpoint(&receiver.url("/"))]).await;
    for number in 0..count {
        world.say(&format!("r{number}"), "x").await;
        // Others are answered well, so that this is about the messages and not about the endpoint.
        world.say("well", "x").await;
        wait_for_status(world.hooks(), |status| status.summary.totals.parked == number + 1).await;
    }
    while world.hooks().parked(&default(), None, 100).await.expect("parked").len()
        < usize::try_from(count).expect("few")
    {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    (world, receiver)
}

#[tokio::test]
async fn parked_deliveries_are_listed_and_replayed_and_the_numbers_add_up() {
    let (mut world, receiver) = parked(1, 100).await;
    let totals = world.hooks().status()[0].summary.totals;
    assert_eq!((totals.acknowledged, totals.delivered, totals.pending()), (2, 1, 0));
    let listed = world.hooks().parked(&default(), None, 10).await.expect("parked");
    assert_eq!((listed[0].row.seq, listed[0].row.status), (1, 422));
    world.stop().await;
    world.start();
    wait_for_status(world.hooks(), |status| status.summary.totals.parked == 1).await;
    receiver.rule(|_| Reply::ok());
    assert_eq!(replay(&world, What::Parked, None).await.done.requeued, 1);
    wait_for_status(world.hooks(), |status| status.summary.totals.delivered == 2).await;
    assert_eq!(world.hooks().status()[0].summary.totals.parked, 0);
    world.stop().await;
}

#[tokio::test]
async fn replaying_parked_deliveries_reads_no_more_than_their_own_records() {
    let receiver = Receiver::start().await;
    receiver.rule(|_| Reply::status(422));
    let mut config = config();
    config.retry.once = true;
    let mut world = World::with(config, vec![endpoint(&receiver.url("/"))]).await;
    world.say_at_once("r", 40).await;
    wait_for_status(world.hooks(), |status| status.summary.totals.parked == 40).await;
    while world.hooks().parked(&default(), None, 100).await.expect("parked").len() < 40 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let elsewhere = Receiver::start().await;
    let before = world.reads.records();
    let copied = replay(&world, What::Parked, Some(elsewhere.url("/"))).await;
    assert_eq!(copied.done.acknowledged, 40);
    assert_eq!(world.reads.records() - before, 40, "one record for each");
    world.stop().await;
}

#[tokio::test]
async fn sending_one_event_again_reads_its_record_alone() {
    let (mut world, _home) = delivered(40).await;
    let first = world.hooks().trail(&room("r"), MsgSeq(1)).await.expect("trail");
    let id = DeliveryId { shard: first.shard, pos: first.pos };
    let before = world.reads.records();
    assert_eq!(replay(&world, What::One(id), None).await.done.acknowledged, 1);
    assert_eq!(world.reads.records() - before, 2, "once when it is asked for, once when it is sent");
    world.stop().await;
}

#[tokio::test]
async fn more_parked_ones_than_may_be_set_aside_all_get_their_second_life() {
    let (mut world, receiver) = parked(6, 2).await;
    let elsewhere = Receiver::start().await;
    let copied = replay(&world, What::Parked, Some(elsewhere.url("/"))).await;
    assert_eq!((copied.done.acknowledged, elsewhere.got().len()), (6, 6), "elsewhere, they stay parked here");
    receiver.rule(|_| Reply { after: Duration::from_millis(30), ..Reply::ok() });
    let done = replay(&world, What::Parked, None).await;
    assert_eq!((done.status, done.done.requeued), (ReplayStatus::Done, 6));
    wait_for_status(world.hooks(), |status| status.summary.totals.delivered == 12).await;
    assert_eq!(world.hooks().status()[0].summary.totals.parked, 0);
    world.stop().await;
}
