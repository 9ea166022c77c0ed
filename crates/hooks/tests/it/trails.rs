//! Why did it not fire: what is known about single messages, also after a restart.

use std::time::Duration;

use roomhook_hooks::{TrailState, engine::Listed, plan::WhyNot};
use roomhook_room::{EndpointId, MsgSeq, RoomId, RoomKey, Start};

use crate::{
    misbehaving::{default, wait_for_status},
    receiver::{Receiver, Reply},
    world::{APP, World, config, endpoint, now},
};

fn room(id: &str) -> RoomKey {
    RoomKey { app: APP, room: RoomId::new(id).expect("room") }
}

#[tokio::test]
async fn a_trail_says_why_a_message_fired_or_not() {
    let receiver = Receiver::start().await;
    receiver.rule(|got| if got.seq() == 1 { Reply::status(500) } else { Reply::ok() });
    let other = |id: &str| {
        let mut other = endpoint(&receiver.url("/"));
        other.id = EndpointId(id.into());
        other
    };
    let (mut silent, mut vip, mut late) = (other("silent"), other("vip"), other("late"));
    silent.commands.clear();
    vip.room_prefix = "vip-".into();
    (late.start, late.created_at) = (Start::Time(now().0 + 3_600_000), now());
    let mut world = World::new(vec![endpoint(&receiver.url("/")), late, silent, vip]).await;
    world.say("r", "x").await;
    receiver.wait_for(2).await;
    let trail = world.hooks().trail(&room("r"), MsgSeq(1)).await.expect("trail");
    assert!(trail.appended_at.abs_diff(now().0) < 60_000);
    let [owed, late, silent, vip] = &trail.endpoints[..] else { panic!("four endpoints") };
    assert!(owed.owed.is_ok());
    assert!(matches!(owed.state, Some(TrailState::Listed(Listed::Pending { .. }))), "{:?}", owed.state);
    let made = &owed.attempts[0];
    assert_eq!((made.status, &made.answer[..]), (Some(500), crate::receiver::OK.as_bytes()));
    assert!(made.phases.total >= made.phases.first_byte && made.phases.first_byte > Duration::ZERO);
    assert!(made.phases.connect > Duration::ZERO && made.phases.tls == Duration::ZERO);
    assert_eq!(silent.owed, Err(WhyNot::SwitchedOff));
    assert_eq!(vip.owed, Err(WhyNot::Filtered));
    assert_eq!(late.owed, Err(WhyNot::BeforeStart));
    assert!(world.hooks().trail(&room("r"), MsgSeq(2)).await.is_err());

    world.say_with("r", "hush", |draft| draft.forbid_after_hook = true).await;
    let trail = world.hooks().trail(&room("r"), MsgSeq(2)).await.expect("trail");
    assert_eq!(trail.endpoints[0].owed, Err(WhyNot::Forbidden));
    world.stop().await;
}

#[tokio::test]
async fn a_message_far_back_in_its_room_is_found() {
    let mut world = World::new(vec![endpoint("http://127.0.0.1:1/")]).await;
    for _ in 0..1_000 {
        world.say("long", "x").await;
        world.say("beside", "x").await;
    }
    wait_for_status(world.hooks(), |_| true).await;
    for seq in [1, 500, 744, 745, 1_000] {
        let trail = world.hooks().trail(&room("long"), MsgSeq(seq)).await.expect("trail");
        assert!(trail.endpoints[0].owed.is_ok(), "{seq}");
    }
    assert!(world.hooks().trail(&room("long"), MsgSeq(1_001)).await.is_err());
    world.stop().await;
}

#[tokio::test]
async fn after_a_restart_a_parked_delivery_still_says_what_went_wrong() {
    let receiver = Receiver::start().await;
    receiver.rule(|got| match got.seq() {
        2 => Reply { body: "no such column: colour".into(), ..Reply::status(422) },
        _ => Reply::ok(),
    });
    let mut config = config();
    config.hold = Duration::from_millis(50);
    config.retry.for_at_most = Duration::from_millis(200);
    let mut world = World::with(config, vec![endpoint(&receiver.url("/"))]).await;
    for _ in 0..3 {
        world.say("r", "x").await;
    }
    wait_for_status(world.hooks(), |status| status.summary.totals.parked == 1).await;
    world.stop().await;
    world.start();
    wait_for_status(world.hooks(), |status| status.summary.totals.parked == 1).await;
    let trail = world.hooks().trail(&room("r"), MsgSeq(2)).await.expect("trail");
    let endpoint = &trail.endpoints[0];
    assert!(matches!(&endpoint.state, Some(TrailState::Parked(row)) if row.parked), "{:?}", endpoint.state);
    let last = endpoint.attempts.last().expect("an attempt from before the restart");
    assert_eq!((last.status, &last.answer[..]), (Some(422), &b"no such column: colour"[..]));
    assert!(last.phases.total > Duration::ZERO);

    receiver.rule(|_| Reply::ok());
    let parked = world.hooks().parked(&default(), None, 10).await.expect("parked");
    world.hooks().retry(&default(), parked[0].id).await.expect("a second life");
    wait_for_status(world.hooks(), |status| status.summary.totals.delivered == 3).await;
    world.stop().await;
    let cursors = usize::from(world.shards);
    assert_eq!(world.rows_of_generation(1).await, cursors, "no trail without its delivery");
}
