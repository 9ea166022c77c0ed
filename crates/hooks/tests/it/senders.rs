//! Senders: as many as there is something to send for, and attempts that are counted when they were made.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use roomhook_hooks::{
    engine::Mode,
    http::{Channel, Guard, HttpTransport, SystemResolver, Transport},
};
use roomhook_room::Endpoint;

use crate::{
    misbehaving::wait_for_status,
    receiver::{Receiver, Reply},
    world::{World, config, endpoint},
};

/// Counts the channels that are made: one for each sender.
#[derive(Debug)]
struct Counting {
    transport: HttpTransport,
    made: Arc<AtomicUsize>,
}

impl Transport for Counting {
    fn channel(&self) -> Box<dyn Channel> {
        self.made.fetch_add(1, Ordering::AcqRel);
        self.transport.channel()
    }
}

async fn counted(endpoint: Endpoint) -> (World, Arc<AtomicUsize>) {
    let made = Arc::<AtomicUsize>::default();
    let mut world = World::stopped(config(), vec![endpoint]).await;
    let transport = HttpTransport::new(Arc::new(SystemResolver::default()), Guard::new(world.config.allow.clone()));
    world.start_over(Arc::new(Counting { transport, made: made.clone() }));
    (world, made)
}

async fn say_in_rooms(world: &mut World, rooms: usize) {
    for room in 0..rooms {
        world.say(&format!("r{room}"), "hello").await;
    }
}

#[tokio::test]
async fn an_endpoint_that_is_only_probed_needs_no_more_senders_than_probes() {
    let gone = Receiver::start().await.stop();
    let (mut world, made) = counted(endpoint(&format!("http://{gone}/"))).await;
    world.say("first", "hello").await;
    wait_for_status(world.hooks(), |status| matches!(status.summary.mode, Mode::Paused { .. })).await;
    say_in_rooms(&mut world, 200).await;
    let probe = |status: &roomhook_hooks::Status| status.summary.next_probe_at;
    wait_for_status(world.hooks(), |status| status.summary.open == 201).await;
    let before = world.hooks().status().first().and_then(probe);
    wait_for_status(world.hooks(), |status| probe(status).is_some() && probe(status) != before).await;
    let senders = made.load(Ordering::Acquire);
    assert!(senders <= 4, "{senders} senders for a probe at a time");
    world.stop().await;
}

#[tokio::test]
async fn an_endpoint_that_is_paused_by_hand_needs_none() {
    let receiver = Receiver::start().await;
    let paused = Endpoint { paused: true, ..endpoint(&receiver.url("/")) };
    let (mut world, made) = counted(paused.clone()).await;
    say_in_rooms(&mut world, 200).await;
    wait_for_status(world.hooks(), |status| status.summary.open == 200).await;
    assert_eq!(made.load(Ordering::Acquire), 0);
    world.configure(vec![Endpoint { paused: false, ..paused }]);
    receiver.wait_for(200).await;
    assert!(made.load(Ordering::Acquire) > 1, "now they are needed");
    world.stop().await;
}

#[tokio::test]
async fn an_attempt_for_which_the_log_could_not_be_read_leaves_no_hole_in_their_numbers() {
    let receiver = Receiver::start().await;
    receiver.rule(|got| if got.header("roomhook-attempt") == "1" { Reply::status(500) } else { Reply::ok() });
    let mut config = config();
    // It is set aside at its first failure, and then read from the log again.
    config.hold = Duration::ZERO;
    let mut world = World::with(config, vec![endpoint(&receiver.url("/"))]).await;
    world.reads.fail(3);
    world.say("r", "hello").await;
    wait_for_status(world.hooks(), |status| status.summary.totals.delivered == 1).await;
    assert_eq!(world.reads.left_to_fail(), 0, "it could not be read three times");
    let attempts: Vec<String> = receiver.got().iter().map(|got| got.header("roomhook-attempt").to_owned()).collect();
    assert_eq!(attempts, ["1", "2"]);
    world.stop().await;
}
