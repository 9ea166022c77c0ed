//! The workload: what senders, owners of rooms and operators do, step by step.

mod operators;
mod senders;

use std::sync::Arc;

use roomhook_edge::publish::Publisher;
use roomhook_hooks::{EndpointName, Handle};
use roomhook_room::{AppId, Command, CreateRoom, Draft, EndpointId, Incarnation, RoomId, RoomInfo, RoomKey, UserId};
use roomhook_shard::{Directory, ImportAccount, Ownership, Router};
use tokio::task::JoinSet;

use crate::{
    archive,
    auditor::{CALM_APP, ROUGH_APP},
    gates::GATED_APP,
    rival::Rival,
    store::Store,
    world::World,
};

/// The endpoint of the app in trouble that is itself never in any.
pub(crate) const STEADY: &str = "steady";

/// The doors of the server, as long as it lives, and the store behind them.
#[derive(Clone)]
pub(crate) struct Doors {
    pub(crate) router: Router,
    pub(crate) ownership: Ownership,
    pub(crate) directory: Directory,
    pub(crate) handle: Handle,
    pub(crate) publisher: Publisher,
    pub(crate) store: Store,
    pub(crate) rival: Rival,
}

/// Everybody outside the server. Survives its crashes.
#[derive(Debug)]
pub(crate) struct People {
    world: Arc<World>,
    pub(crate) rooms: Vec<RoomKey>,
    endpoints: Vec<EndpointName>,
    sent: Vec<(RoomKey, Draft)>,
    messages: u32,
    hosts: u32,
}

impl People {
    #[must_use]
    pub(crate) fn new(world: &Arc<World>) -> Self {
        let dice = &world.act_dice;
        let mut apps = vec![ROUGH_APP, CALM_APP];
        let name = |app, id: &str| EndpointName { app, id: EndpointId(id.to_owned()) };
        let mut endpoints = vec![name(CALM_APP, EndpointId::DEFAULT), name(ROUGH_APP, EndpointId::DEFAULT)];
        for (id, chance) in [("second", 500), ("third", 250), (STEADY, 500)] {
            if dice.chance(chance) {
                endpoints.push(name(ROUGH_APP, id));
            }
        }
        if world.scenario.gated > 0 {
            apps.push(GATED_APP);
            endpoints.push(name(GATED_APP, EndpointId::DEFAULT));
        }
        let room =
            |app: AppId, number: usize| RoomId::new(&format!("r{number}")).ok().map(|room| RoomKey { app, room });
        let numbers = 1..=world.scenario.rooms_per_app;
        let rooms = numbers.flat_map(|number| apps.iter().filter_map(move |app| room(*app, number))).collect();
        world.net.lock().add(archive::ARCHIVE, false);
        Self { world: Arc::clone(world), rooms, endpoints, sent: Vec::new(), messages: 0, hosts: 0 }
    }

    /// Whoever is missing is created.
    pub(crate) fn set_up(&mut self, doors: &Doors, tasks: &mut JoinSet<()>) {
        self.make_missing_endpoints(doors, tasks);
        for room in self.rooms.clone() {
            self.create(doors, room, tasks);
        }
        if self.world.scenario.gated > 0 {
            let directory = doors.directory.clone();
            let account = |name: &str| ImportAccount { user: user(name), nick: None, face_url: None };
            let accounts = senders::NAMES.map(account).to_vec();
            tasks.spawn(async move {
                // Those who are no accounts are told so, and try again in the next life.
                let _ = directory.import(GATED_APP, accounts).await;
            });
        }
    }

    /// One thing that somebody does.
    pub(crate) fn act(&mut self, doors: &Doors, tasks: &mut JoinSet<()>) {
        let (world, scenario) = (Arc::clone(&self.world), self.world.scenario.clone());
        let dice = &world.act_dice;
        if dice.chance(scenario.clock_steps) {
            let by = dice.from(0..=2 * scenario.clock_step_ms as u64) as i64 - scenario.clock_step_ms;
            world.note(|| format!("the clock steps by {by} ms"));
            world.count(if by < 0 { "clock: steps back" } else { "clock: steps forth" });
            world.time.step_clock(by);
        }
        if dice.chance(scenario.mood_swings) {
            world.net.lock().swing(&world);
        }
        if dice.chance(scenario.trims) {
            doors.store.drop_old_records();
        }
        if dice.chance(scenario.rivals) && !doors.rival.is_called() {
            tasks.spawn(doors.rival.clone().call(Arc::clone(&world), doors.store.clone(), self.rooms.clone()));
        }
        if dice.chance(scenario.endpoint_changes) {
            self.change_endpoint(doors, tasks);
        }
        if dice.chance(scenario.room_changes) {
            let room = self.rooms[dice.index(self.rooms.len())].clone();
            match dice.chance(500) {
                true => self.create(doors, room, tasks),
                false => self.destroy(doors, room, tasks),
            }
        }
        if dice.chance(scenario.replays) {
            let calm: Vec<&RoomKey> = self.rooms.iter().filter(|room| room.app == CALM_APP).collect();
            archive::ask(&world, doors, calm[dice.index(calm.len())].clone(), tasks);
        }
        if dice.chance(scenario.operators) {
            self.operate(doors, tasks);
        }
        if scenario.gated > 0 && dice.chance(scenario.floods) {
            world.count("sender: says many things at once");
            self.flood(doors, tasks);
        }
        if scenario.has_hot_room {
            self.heat(doors, tasks);
        }
        self.send(doors, tasks);
    }

    // === owners of rooms ===

    fn create(&self, doors: &Doors, room: RoomKey, tasks: &mut JoinSet<()>) {
        let create = CreateRoom {
            operator: user("admin"),
            info: room_info(),
            incarnation: Incarnation::from_random(self.world.act_dice.number()),
        };
        let (router, world) = (doors.router.clone(), Arc::clone(&self.world));
        tasks.spawn(async move {
            let answer = router.execute(room.clone(), Command::Create(create)).await;
            world.note(|| format!("{room} create: {answer:?}"));
        });
    }

    fn destroy(&self, doors: &Doors, room: RoomKey, tasks: &mut JoinSet<()>) {
        let (router, world) = (doors.router.clone(), Arc::clone(&self.world));
        tasks.spawn(async move {
            let answer = router.execute(room.clone(), Command::Destroy { operator: user("admin") }).await;
            world.note(|| format!("{room} destroy: {answer:?}"));
        });
    }
}

pub(crate) fn user(name: &str) -> UserId {
    UserId::new(name).unwrap_or_else(|error| unreachable!("{name} is a user: {error}"))
}

fn room_info() -> RoomInfo {
    RoomInfo { name: "a room".to_owned(), is_public_visible: true, ..RoomInfo::bare("Live", user("ann")) }
}
