//! The workload: what senders, owners of rooms and operators do, step by step.

use std::{net::Ipv4Addr, sync::Arc};

use roomhook_hooks::{EndpointName, Handle};
use roomhook_room::{
    AppId, Command, CreateRoom, Draft, Endpoint, EndpointId, Incarnation, MsgId, Order, Origin, Platform, Priority,
    RetryProfile, RoomId, RoomInfo, RoomKey, Start, UserId,
};
use roomhook_shard::{Directory, Router};
use tokio::task::JoinSet;

use crate::{
    auditor::{self, CALM_APP, ROUGH_APP, url},
    dice::Dice,
    endpoints::POISON,
    world::World,
};

const AFTER_SEND: &str = "Group.CallbackAfterSendMsg";
const AFTER_CREATE: &str = "Live.CallbackAfterCreateRoom";
const AFTER_DESTROY: &str = "Live.CallbackAfterDestroyRoom";
const SENDERS: [&str; 3] = ["ann", "bob", "cleo"];
/// The newest messages, of which some are sent again.
const REPEATABLE: usize = 20;
/// The farthest a clock is set off at once.
const CLOCK_STEP_MS: i64 = 600_000;

/// The doors of the server, as long as it lives.
#[derive(Clone)]
pub(crate) struct Doors {
    pub(crate) router: Router,
    pub(crate) directory: Directory,
    pub(crate) handle: Handle,
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
        let room =
            |app: AppId, number: usize| RoomId::new(&format!("r{number}")).ok().map(|room| RoomKey { app, room });
        let numbers = 1..=world.scenario.rooms_per_app;
        let rooms =
            numbers.flat_map(|number| [ROUGH_APP, CALM_APP].into_iter().filter_map(move |app| room(app, number)));
        let name = |app, id: &str| EndpointName { app, id: EndpointId(id.to_owned()) };
        let mut endpoints = vec![name(CALM_APP, "default"), name(ROUGH_APP, "default")];
        if world.act_dice.chance(500) {
            endpoints.push(name(ROUGH_APP, "second"));
        }
        Self { world: Arc::clone(world), rooms: rooms.collect(), endpoints, sent: Vec::new(), messages: 0, hosts: 0 }
    }

    /// Whoever is missing is created.
    pub(crate) fn set_up(&mut self, doors: &Doors, tasks: &mut JoinSet<()>) {
        for name in self.endpoints.clone() {
            if doors.directory.endpoint(name.app, &name.id).is_none() {
                let endpoint = self.new_endpoint(&name);
                self.put(doors, endpoint, tasks);
            }
        }
        for room in self.rooms.clone() {
            self.create(doors, room, tasks);
        }
    }

    /// One thing that somebody does.
    pub(crate) fn act(&mut self, doors: &Doors, tasks: &mut JoinSet<()>) {
        let (world, scenario) = (Arc::clone(&self.world), self.world.scenario.clone());
        let dice = &world.act_dice;
        if dice.chance(scenario.clock_steps) {
            let by = dice.from(0..=2 * CLOCK_STEP_MS as u64) as i64 - CLOCK_STEP_MS;
            world.note(|| format!("the clock steps by {by} ms"));
            world.time.step_clock(by);
        }
        if dice.chance(scenario.mood_swings) {
            world.net.lock().swing(&world);
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
        if dice.chance(20) {
            self.operate(doors, tasks);
        }
        self.send(doors, tasks);
    }

    // === senders ===

    fn send(&mut self, doors: &Doors, tasks: &mut JoinSet<()>) {
        let (world, dice) = (Arc::clone(&self.world), &self.world.act_dice);
        self.messages += 1;
        let number = self.messages;
        let repeated = dice.chance(world.scenario.repeats).then(|| {
            let newest = self.sent.len().min(REPEATABLE);
            (newest > 0)
                .then(|| self.sent[self.sent.len() - newest + dice.index(newest)].clone())
                .filter(|(_, draft)| draft.dedup)
        });
        let (room, mut draft) = match repeated.flatten() {
            Some(again) => again,
            None => (self.rooms[dice.index(self.rooms.len())].clone(), draft(dice, number, world.scenario.poison)),
        };
        draft.msg_id = MsgId { account: 7, secs: world.time.unix().secs(), random: number };
        self.sent.push((room.clone(), draft.clone()));
        let router = doors.router.clone();
        tasks.spawn(async move {
            let asked = world.time.now_ms();
            let answer = router.execute(room.clone(), Command::Send(draft.clone())).await;
            auditor::answered(&world, &room, &draft, asked, &answer);
        });
    }

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

    // === operators ===

    fn host(&mut self, app: AppId) -> String {
        self.hosts += 1;
        let host = format!("h{}.test", self.hosts);
        self.world.net.lock().add(&host, app == CALM_APP);
        host
    }

    fn new_endpoint(&mut self, name: &EndpointName) -> Endpoint {
        let host = self.host(name.app);
        let dice = &self.world.act_dice;
        let mut commands = vec![AFTER_SEND.to_owned()];
        if dice.chance(500) {
            commands.extend([AFTER_CREATE.to_owned(), AFTER_DESTROY.to_owned()]);
        }
        let endpoint = Endpoint { url: url(&host), commands, ..Endpoint::new(name.app, name.id.clone()) };
        if name.app == CALM_APP {
            return Endpoint { concurrency: Some(64), ..endpoint };
        }
        Endpoint {
            order: dice.pick(&[None, None, Some(Order::Room), Some(Order::None)]),
            retry: dice.pick(&[
                None,
                None,
                Some(RetryProfile::Durable),
                Some(RetryProfile::DurableSkip),
                Some(RetryProfile::Tencent),
            ]),
            concurrency: dice.pick(&[None, None, Some(1), Some(3)]),
            start: dice.pick(&[Start::Tail, Start::Tail, Start::Oldest]),
            ..endpoint
        }
    }

    fn put(&self, doors: &Doors, endpoint: Endpoint, tasks: &mut JoinSet<()>) {
        let (directory, world) = (doors.directory.clone(), Arc::clone(&self.world));
        tasks.spawn(async move {
            let line = format!(
                "endpoint {} {}: url {}, {} commands, prefix {:?}, paused {}, {:?} {:?} {:?}",
                endpoint.app,
                endpoint.id.0,
                endpoint.url,
                endpoint.commands.len(),
                endpoint.room_prefix,
                endpoint.paused,
                endpoint.order,
                endpoint.retry,
                endpoint.start
            );
            let answer = directory.put_endpoint(endpoint).await;
            if answer.is_ok() {
                world.ledger.lock().told();
            }
            world.note(|| format!("{line}: {answer:?}"));
        });
    }

    fn change_endpoint(&mut self, doors: &Doors, tasks: &mut JoinSet<()>) {
        let world = Arc::clone(&self.world);
        let dice = &world.act_dice;
        let rough: Vec<&EndpointName> = self.endpoints.iter().filter(|name| name.app == ROUGH_APP).collect();
        let name = rough[dice.index(rough.len())].clone();
        let Some(present) = doors.directory.endpoint(name.app, &name.id) else {
            let endpoint = self.new_endpoint(&name);
            return self.put(doors, endpoint, tasks);
        };
        let mut changed = Endpoint::clone(&present);
        match dice.index(12) {
            0..=3 => changed.url = url(&self.host(name.app)),
            4..=5 if changed.commands.is_empty() => {
                changed.commands = vec![AFTER_SEND.to_owned(), AFTER_CREATE.to_owned()]
            }
            4..=5 => changed.commands = Vec::new(),
            6..=8 => changed.paused = !changed.paused,
            9 => changed.room_prefix = dice.pick(&["", "r1", "r"]).to_owned(),
            10 if dice.chance(300) => changed.url = String::new(),
            _ => return self.delete(doors, name, tasks),
        }
        self.put(doors, changed, tasks);
    }

    fn delete(&self, doors: &Doors, name: EndpointName, tasks: &mut JoinSet<()>) {
        let (directory, world) = (doors.directory.clone(), Arc::clone(&self.world));
        tasks.spawn(async move {
            let answer = directory.delete_endpoint(name.app, name.id.clone()).await;
            if answer.is_ok() {
                world.ledger.lock().told();
            }
            world.note(|| format!("endpoint {} {} deleted: {answer:?}", name.app, name.id.0));
        });
    }

    /// Somebody looks at what is parked, and resumes what is paused.
    fn operate(&self, doors: &Doors, tasks: &mut JoinSet<()>) {
        let (handle, world) = (doors.handle.clone(), Arc::clone(&self.world));
        let name = self.endpoints[world.act_dice.index(self.endpoints.len())].clone();
        let what = world.act_dice.index(4);
        tasks.spawn(async move {
            if what == 0 {
                let answer = handle.resume(&name);
                return world.note(|| format!("resume {}: {answer:?}", name.id.0));
            }
            let Ok(parked) = handle.parked(&name, None, 3).await else { return };
            for one in parked {
                let answer = match what {
                    1 => {
                        if let Some(endpoint) = auditor::current(&world, &name) {
                            world.auditor.lock().skipped.insert((endpoint, one.id));
                        }
                        handle.skip(&name, one.id).await
                    }
                    _ => handle.retry(&name, one.id).await,
                };
                world.note(|| format!("{what} of parked {:?}: {answer:?}", one.id));
            }
        });
    }

    /// After the healing: everything is switched on again that only stands still.
    pub(crate) fn make_well(&self, doors: &Doors, tasks: &mut JoinSet<()>) {
        for name in self.endpoints.clone() {
            if let Some(paused) = doors.directory.endpoint(name.app, &name.id).filter(|endpoint| endpoint.paused) {
                self.put(doors, Endpoint { paused: false, ..Endpoint::clone(&paused) }, tasks);
            }
        }
    }
}

fn user(name: &str) -> UserId {
    UserId::new(name).unwrap_or_else(|error| unreachable!("{name} is a user: {error}"))
}

fn draft(dice: &Dice, number: u32, poison: u64) -> Draft {
    let from = user(dice.pick(&SENDERS));
    let word = if dice.chance(poison) { POISON } else { "hello" };
    let body = format!(r#"[{{"MsgType":"TIMTextElem","MsgContent":{{"Text":"{word} {number}"}}}}]"#);
    Draft {
        operator: from.clone(),
        from,
        origin: Origin { platform: Platform::Web, client_ip: Ipv4Addr::LOCALHOST.into() },
        random: number,
        dedup: dice.chance(900),
        msg_id: MsgId { account: 0, secs: 0, random: 0 },
        priority: dice.pick(&[Priority::Low, Priority::Normal, Priority::High]),
        body: body.into(),
        custom_data: r#""""#.into(),
        forbid_after_hook: dice.chance(50),
    }
}

fn room_info() -> RoomInfo {
    RoomInfo {
        room_type: "Live".to_owned(),
        name: "a room".to_owned(),
        owner: user("ann"),
        cover_url: String::new(),
        background_url: String::new(),
        custom_info: String::new(),
        notice: String::new(),
        seat_template: String::new(),
        take_seat_mode: String::new(),
        is_message_disabled: false,
        is_seat_enabled: false,
        is_public_visible: true,
        is_unlimited_room_enabled: false,
        keep_owner_on_seat: false,
        max_seat_count: 0,
        max_member_count: 0,
        activity_status: 0,
        category: Vec::new(),
    }
}
