//! What an endpoint owes is in the log, however much it is: what is kept of it in memory stays within its limits.

use std::time::Duration;

use prometheus_client::registry::Registry;
use roomhook_hooks::{
    Config,
    engine::{Limits, Mode},
};

use crate::{
    misbehaving::{default, wait_for_status},
    receiver::{Receiver, Reply},
    world::{World, config, endpoint},
};

const LIMITS: Limits = Limits { open_max: 64, bytes_max: 1 << 20, span_max: 128, aside_max: 16 };
/// A hundred times what the window holds.
const BACKLOG: u64 = 6_400;
const ROOMS: u64 = 40;

/// The gauges of one endpoint, as operators see them.
#[derive(Debug)]
struct Gauges {
    open: usize,
    body_bytes: usize,
    span: usize,
    set_aside: usize,
    in_flight: usize,
}

impl Gauges {
    fn of(registry: &Registry) -> Self {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, registry).expect("metrics");
        let read = |name: &str| {
            let line = text.lines().find(|line| line.starts_with(&format!("{name}{{"))).expect(name);
            line.rsplit(' ').next().and_then(|value| value.parse().ok()).expect("a number")
        };
        Self {
            open: read("webhook_window_deliveries"),
            body_bytes: read("webhook_window_body_bytes"),
            span: read("webhook_window_span"),
            set_aside: read("webhook_set_aside"),
            in_flight: read("webhook_in_flight"),
        }
    }

    fn are_within_limits(&self, concurrency: usize) {
        let within = self.open <= LIMITS.open_max
            && self.body_bytes <= LIMITS.bytes_max
            && self.span <= LIMITS.span_max
            && self.set_aside <= LIMITS.aside_max
            && self.in_flight <= concurrency;
        assert!(within, "{self:?} with {LIMITS:?} and concurrency {concurrency}");
    }
}

fn small_window() -> Config {
    Config { limits: LIMITS, ..config() }
}

fn status(world: &World) -> roomhook_hooks::Status {
    world.hooks().status().into_iter().next().expect("an endpoint")
}

/// Many rooms talk; the endpoint's reader has heard of all of it.
async fn pile_up(world: &mut World) {
    wait_for_status(world.hooks(), |_| true).await;
    for n in 0..BACKLOG {
        world.say(&format!("room-{}", n % ROOMS), "hello").await;
        if n % 100 == 0 {
            Gauges::of(&world.registry).are_within_limits(world.config.concurrency.get());
        }
    }
    wait_for_status(world.hooks(), |seen| seen.summary.totals.acknowledged == BACKLOG).await;
}

/// Looks at the gauges again and again until all is settled.
async fn watch_until_paid(world: &World) {
    while status(world).summary.totals.pending() > 0 {
        Gauges::of(&world.registry).are_within_limits(world.config.concurrency.get());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backlog_a_hundred_times_the_window_stays_in_the_log_and_is_paid_from_there() {
    let receiver = Receiver::start().await;
    receiver.rule(|_| Reply::status(503));
    let mut world = World::with(small_window(), vec![endpoint(&receiver.url("/"))]).await;
    pile_up(&mut world).await;
    // On a busy machine all may have been said before the first attempts were answered, and before the window was read full.
    let waits = |seen: &roomhook_hooks::Status| matches!(seen.summary.mode, Mode::Paused { .. });
    wait_for_status(world.hooks(), |seen| waits(seen) && seen.summary.open >= LIMITS.open_max / 2).await;
    assert_eq!(status(&world).summary.totals.pending(), BACKLOG);
    Gauges::of(&world.registry).are_within_limits(world.config.concurrency.get());

    receiver.rule(|_| Reply::ok());
    world.hooks().resume(&default()).expect("resume");
    watch_until_paid(&world).await;
    let summary = status(&world).summary;
    assert_eq!((summary.totals.delivered, summary.open, summary.bytes), (BACKLOG, 0, 0));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rooms_that_always_fail_fill_no_more_than_the_places_for_them() {
    let receiver = Receiver::start().await;
    receiver.rule(|got| if got.room().ends_with('7') { Reply::status(400) } else { Reply::ok() });
    let config =
        Config { hold: Duration::from_millis(1), concurrency: 16.try_into().expect("not zero"), ..small_window() };
    let mut world = World::with(config, vec![endpoint(&receiver.url("/"))]).await;
    pile_up(&mut world).await;
    let failing = BACKLOG / ROOMS * 4;
    let paid = |status: &roomhook_hooks::Status| status.summary.totals.delivered == BACKLOG - failing;
    while !paid(&status(&world)) {
        Gauges::of(&world.registry).are_within_limits(16);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let summary = status(&world).summary;
    assert_eq!(summary.totals.parked + summary.totals.pending(), failing, "parked or still retried, none lost");
    world.stop().await;
}
