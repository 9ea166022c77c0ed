//! One life of the server: from its start to its crash.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use prometheus_client::registry::Registry;
use roomhook_edge::{Entropy, publish::Publisher};
use roomhook_hooks::{Hooks, engine::Mode, gate::Gate};
use roomhook_log::{Expect, Log, LogId, LogRead, MemoryLog, Reigns, Rows};
use roomhook_protocol::message::Limits;
use roomhook_shard::Shards;
use tokio::{sync::watch, task::JoinSet, time::sleep};

use crate::{
    archive, door,
    endpoints::SimTransport,
    gates, oracle,
    people::{Doors, People},
    readers,
    rival::Rival,
    store::Store,
    ticks::{self, TICK_MS},
    world::World,
};

/// Delays have an excuse for so long after a start.
const START_MS: u64 = 3_000;
/// An operator restarts a server that has not been ready for this long.
const NOT_READY_MS: u64 = 5_000;
/// Within this much virtual time after the healing all must be paid: the longest `Retry-After` is an hour, and that is what
/// a restart waits for at most if the clock was set back.
const PAID_WITHIN_MS: u64 = 7_200_000;
/// And within this much if no clock was set back while the server was down: no wait is longer than a probe's minute.
const PAID_SOON_MS: u64 = 300_000;
/// How long a door waits for a shard.
const BACKEND_TIMEOUT: Duration = Duration::from_secs(3);
/// Rooms with a client in them.
const VISITED_ROOMS: usize = 4;
/// How long deliveries may stand still when logs change hands: attempts in flight end, and everybody reads its rows.
const HAND_OVER_MS: u64 = 4_000;
/// Looks per thousand at which somebody acts on a log without an owner.
const TAKEN_AGAIN: u64 = 100;
/// Every so many looks is a thorough one.
const DEEP_EVERY: u64 = 20;

/// What a life is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Break things; end at this step (0: not by a crash).
    Safety { crash_at: u64 },
    /// Everything is well: all that is owed must be paid.
    Liveness,
}

/// Lives one life on what the last one left, and hands over what this one leaves.
pub(crate) fn live(world: &Arc<World>, people: &mut People, log: MemoryLog, phase: Phase) -> anyhow::Result<MemoryLog> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
    world.fuse.set(match phase {
        Phase::Safety { crash_at } => crash_at,
        Phase::Liveness => 0,
    });
    let left = log.clone();
    runtime.block_on(async {
        world.time.begin_life(world.act_dice.millis(1..=5_000));
        world.starts(START_MS);
        gates::clear_for_new_life(world);
        world.auditor.lock().changes_under_way = 0;
        world.note(|| format!("a life begins: {phase:?}"));
        tokio::select! {
            biased;
            () = world.fuse.blown() => world.note(|| "crash".to_owned()),
            () = inside(world, people, log, phase) => {}
        }
        world.time.now_ms();
    });
    // All that still runs ends where it waits.
    drop(runtime);
    world.auditor.lock().handle = None;
    let power_loss = world.act_dice.chance(world.scenario.power_loss);
    if power_loss {
        world.count("end: power loss");
        world.count_many("rows: lost with the power", u64::from(world.retention.lock().power_fails()));
    }
    world.note(|| format!("a life ends, power loss: {power_loss}"));
    if power_loss {
        return Ok(left.power_loss());
    }
    // What a process writes behind its answers may not have been written.
    let older = if world.act_dice.chance(500) { world.act_dice.from(1..=8) as usize } else { 0 };
    world.count_many("rows: come back older", u64::from(older > 0));
    world.note(|| format!("rows of {older} appends are lost"));
    Ok(left.crash(older))
}

async fn start(world: &Arc<World>, store: Arc<Store>) -> Option<(Shards, Hooks, Publisher)> {
    let (mut metrics, scenario, clock) = (Registry::default(), &world.scenario, world.clock());
    let as_log: Arc<dyn Log> = store.clone();
    let shards =
        roomhook_shard::start(as_log, scenario.shards, scenario.shard.clone(), clock.clone(), &mut metrics).await;
    let shards = match shards {
        Ok(shards) => shards,
        Err(error) => {
            world.note(|| format!("the server cannot start: {error:?}"));
            world.count("end: could not start");
            world.check("start", world.is_rough(), || format!("{error:?}"));
            return None;
        }
    };
    let (as_reader, as_rows): (Arc<dyn LogRead>, Arc<dyn Rows>) = (store.clone(), store);
    let hooks = roomhook_hooks::start_with(
        Arc::new(SimTransport(Arc::clone(world))),
        as_reader,
        as_rows,
        shards.ownership.watch(),
        scenario.shards,
        shards.directory.endpoints(),
        scenario.hooks.clone(),
        clock.clone(),
        &mut metrics,
    );
    let transport = Arc::new(SimTransport(Arc::clone(world)));
    let endpoints = shards.directory.endpoints();
    let gate = Gate::over(transport, endpoints, scenario.hooks.clone(), scenario.gate.clone(), clock, &mut metrics);
    let publisher = Publisher::new(
        shards.router.clone(),
        shards.directory.clone(),
        Some(Arc::new(door::Gate(gate))),
        Limits::default(),
        Entropy::new({
            let world = Arc::clone(world);
            move || world.act_dice.number()
        }),
        BACKEND_TIMEOUT,
    );
    Some((shards, hooks, publisher))
}

async fn inside(world: &Arc<World>, people: &mut People, log: MemoryLog, phase: Phase) {
    let store = Store::new(log, Arc::clone(world));
    let Some((shards, hooks, publisher)) = start(world, Arc::new(store.clone())).await else { return };
    world.starting.store(false, Relaxed);
    world.ledger.lock().life_begins();
    world.auditor.lock().handle = Some(hooks.handle.clone());
    let doors = Doors {
        router: shards.router.clone(),
        ownership: shards.ownership.clone(),
        directory: shards.directory.clone(),
        handle: hooks.handle.clone(),
        publisher,
        store,
        rival: Rival::default(),
    };
    oracle::same_endpoints(world, &doors.directory);
    oracle::same_fold(world, &doors.router, &people.rooms).await;
    let mut tasks = JoinSet::new();
    for shard in 0..world.scenario.shards {
        tasks.spawn(readers::follow(Arc::clone(world), doors.clone(), LogId(shard)));
    }
    for room in people.rooms.iter().take(VISITED_ROOMS) {
        tasks.spawn(readers::visit(Arc::clone(world), doors.clone(), room.clone()));
    }
    tasks.spawn(tick(Arc::clone(world), doors.clone()));
    tasks.spawn(excuse_hand_overs(Arc::clone(world), doors.ownership.watch()));
    people.set_up(&doors, &mut tasks);
    match phase {
        Phase::Safety { .. } => {
            break_things(world, people, &doors, &mut tasks).await;
            // What a restart would cure must heal without one too.
            let can_heal = doors.router.is_ready() && !doors.rival.is_called();
            if world.act_dice.chance(500) && can_heal && world.violation().is_none() {
                world.heal();
                world.count("end: healed without a restart");
                people.set_up(&doors, &mut tasks);
                // Rows tell times by the clock that an earlier life had.
                let is_first = world.ledger.lock().lives() == 1;
                let stepped = world.scenario.clock_steps > 0 && !is_first;
                let within = if stepped { PAID_WITHIN_MS } else { PAID_SOON_MS };
                settle(world, people, &doors, &mut tasks, within).await;
                world.rough.store(true, Relaxed);
            }
        }
        Phase::Liveness => {
            let within = if world.scenario.clock_steps > 0 { PAID_WITHIN_MS } else { PAID_SOON_MS };
            settle(world, people, &doors, &mut tasks, within).await;
        }
    }
    if world.act_dice.chance(500) {
        world.note(|| "shutdown".to_owned());
        world.count("end: shutdown");
        hooks.shutdown(Duration::from_secs(5)).await;
        shards.shutdown().await;
    }
}

/// The safety phase of one life.
async fn break_things(world: &World, people: &mut People, doors: &Doors, tasks: &mut JoinSet<()>) {
    let mut not_ready_since = None;
    for _ in 0..world.scenario.acts_per_life {
        people.act(doors, tasks);
        let pause = world.act_dice.millis(0..=world.scenario.pause_ms_max);
        if !pause.is_zero() {
            sleep(pause).await;
        }
        while tasks.try_join_next().is_some() {}
        take_again(world, doors, tasks);
        let now = world.time.now_ms();
        let since = *not_ready_since.get_or_insert(now);
        if doors.router.is_ready() {
            not_ready_since = None;
        } else if now - since > NOT_READY_MS {
            world.count("end: restarted because it was not ready");
            return world.note(|| format!("restart: {:?}", doors.router.troubles()));
        }
        if world.violation().is_some() {
            return;
        }
    }
    sleep(world.act_dice.millis(0..=8_000)).await;
}

/// When logs go to other owners or come from them, webhooks begin again from their rows: that takes its time.
async fn excuse_hand_overs(world: Arc<World>, mut reigns: watch::Receiver<Reigns>) {
    let owned = |reigns: &Reigns| reigns.iter().map(|(log, reign)| (*log, reign.since)).collect::<BTreeMap<_, _>>();
    let mut before = owned(&reigns.borrow_and_update());
    while reigns.changed().await.is_ok() {
        let now = owned(&reigns.borrow_and_update());
        if now != before {
            world.count("owner: loses its log, or takes it again");
            world.disturb(HAND_OVER_MS);
            before = now;
        }
    }
}

/// Somebody who sees that a log has no owner here has it taken again, now and then.
fn take_again(world: &World, doors: &Doors, tasks: &mut JoinSet<()>) {
    let logs = (0..world.scenario.shards).map(LogId).chain([LogId::DIRECTORY]);
    let owned = doors.ownership.watch();
    let deposed: Vec<LogId> = logs.filter(|log| !owned.borrow().contains_key(log)).collect();
    if deposed.is_empty() || !world.act_dice.chance(TAKEN_AGAIN) {
        return;
    }
    let log = deposed[world.act_dice.index(deposed.len())];
    world.count("owner: is told to take its log again");
    let ownership = doors.ownership.clone();
    tasks.spawn(async move {
        // It may fail, as every claim may. Then somebody tells it again.
        drop(ownership.take(log, Expect::Anyone).await);
    });
}

/// The liveness phase: waits until all is paid, and lets somebody retry what is parked.
async fn settle(world: &World, people: &mut People, doors: &Doors, tasks: &mut JoinSet<()>, within_ms: u64) {
    world.net.lock().heal();
    let begun = world.time.now_ms();
    loop {
        // Again and again: a change that was on its way may have come after.
        people.make_well(doors, tasks);
        sleep(Duration::from_millis(500)).await;
        while tasks.try_join_next().is_some() {}
        let statuses = doors.handle.status();
        for status in statuses.iter().filter(|status| status.summary.totals.parked > 0) {
            for parked in doors.handle.parked(&status.name, None, usize::MAX).await.unwrap_or_default() {
                // It may have been retried by somebody else meanwhile.
                let _ = doors.handle.retry(&status.name, parked.id).await;
            }
        }
        let is_paid = |status| oracle::is_paid(world, status);
        let running = world.ledger.lock().endpoints.iter().filter(|known| !known.deleted).count();
        let quiet = statuses
            .iter()
            .all(|status| (status.summary.totals.parked == 0 || status.summary.mode == Mode::NoUrl) && is_paid(status));
        let quiet = archive::is_done(world, doors) && quiet;
        if quiet && statuses.len() == running && running >= 2 {
            break;
        }
        if world.violation().is_some() {
            return;
        }
        if world.time.now_ms() - begun > within_ms {
            let told: Vec<String> =
                statuses.iter().map(|status| format!("{}: {:?}", status.name.id.0, status.summary)).collect();
            return world.violate("liveness", format!("not all is paid: {}", told.join("; ")));
        }
    }
    world.note(|| "all is paid".to_owned());
    ticks::check(world, doors, true);
    doors.handle.status().iter().for_each(|status| oracle::owed_paid(world, status));
    oracle::same_fold(world, &doors.router, &people.rooms).await;
}

/// Looks at everything again and again.
async fn tick(world: Arc<World>, doors: Doors) {
    for round in 0_u64.. {
        ticks::check(&world, &doors, round.is_multiple_of(DEEP_EVERY));
        sleep(Duration::from_millis(TICK_MS)).await;
    }
}
