//! Operators: they make, change and delete endpoints, and look after what is parked.

use std::sync::Arc;

use roomhook_hooks::EndpointName;
use roomhook_room::{AppId, Endpoint, GateFailure, Order, RetryProfile, Start};
use tokio::task::JoinSet;

use super::{Doors, People, STEADY};
use crate::{
    auditor::{self, CALM_APP, ROUGH_APP, url},
    dice::Dice,
    gates::{BEFORE_SEND, GATED_APP, NOT_SENT},
};

const AFTER_SEND: &str = "Group.CallbackAfterSendMsg";
const AFTER_CREATE: &str = "Live.CallbackAfterCreateRoom";
const AFTER_DESTROY: &str = "Live.CallbackAfterDestroyRoom";

fn order(dice: &Dice) -> Option<Order> {
    dice.pick(&[None, None, Some(Order::Room), Some(Order::None)])
}

fn retry(dice: &Dice) -> Option<RetryProfile> {
    let profiles = [RetryProfile::Durable, RetryProfile::DurableSkip, RetryProfile::Tencent].map(Some);
    dice.pick(&[None, None, profiles[0], profiles[1], profiles[2]])
}

fn is_calm(name: &EndpointName) -> bool {
    name.app == CALM_APP || name.id.0 == STEADY
}

impl People {
    fn host(&mut self, app: AppId, calm: bool) -> String {
        self.hosts += 1;
        let host = format!("h{}.test", self.hosts);
        self.world.net.lock().add(&host, calm);
        self.world.note(|| format!("{host} is for {app}, calm: {calm}"));
        host
    }

    pub(crate) fn make_missing_endpoints(&mut self, doors: &Doors, tasks: &mut JoinSet<()>) {
        for name in self.endpoints.clone() {
            if doors.directory.endpoint(name.app, &name.id).is_none() {
                let endpoint = self.new_endpoint(&name);
                self.put(doors, endpoint, "endpoint: is made", tasks);
            }
        }
    }

    fn new_endpoint(&mut self, name: &EndpointName) -> Endpoint {
        let host = self.host(name.app, is_calm(name));
        let dice = &self.world.act_dice;
        let mut commands = vec![AFTER_SEND.to_owned()];
        if dice.chance(500) {
            commands.extend([AFTER_CREATE.to_owned(), AFTER_DESTROY.to_owned()]);
        }
        let endpoint = Endpoint { url: url(&host), commands, ..Endpoint::new(name.app, name.id.clone()) };
        if is_calm(name) {
            return Endpoint { concurrency: Some(64), ..endpoint };
        }
        if name.app == GATED_APP {
            let mut commands = endpoint.commands;
            commands.push(BEFORE_SEND.to_owned());
            if dice.chance(500) {
                commands.push(NOT_SENT.to_owned());
            }
            return Endpoint { commands, ..endpoint };
        }
        Endpoint {
            order: order(dice),
            retry: retry(dice),
            concurrency: dice.pick(&[None, None, Some(1), Some(3)]),
            start: dice.pick(&[Start::Tail, Start::Tail, Start::Oldest]),
            ..endpoint
        }
    }

    fn put(&self, doors: &Doors, endpoint: Endpoint, what: &'static str, tasks: &mut JoinSet<()>) {
        let (directory, world) = (doors.directory.clone(), Arc::clone(&self.world));
        tasks.spawn(async move {
            let line = format!(
                "{what}: {} {}: url {}, {:?}, prefix {:?}, paused {}, {:?} {:?} {:?}, shadow {:?}",
                endpoint.app,
                endpoint.id.0,
                endpoint.url,
                endpoint.commands,
                endpoint.room_prefix,
                endpoint.paused,
                endpoint.order,
                endpoint.retry,
                endpoint.start,
                endpoint.gate_shadow,
            );
            world.auditor.lock().changes_under_way += 1;
            let answer = directory.put_endpoint(endpoint).await;
            auditor::changed(&world, answer.is_ok());
            if answer.is_ok() {
                world.count(what);
            }
            world.note(|| format!("{line}: {answer:?}"));
        });
    }

    pub(super) fn change_endpoint(&mut self, doors: &Doors, tasks: &mut JoinSet<()>) {
        let world = Arc::clone(&self.world);
        let dice = &world.act_dice;
        let changing: Vec<&EndpointName> = self.endpoints.iter().filter(|name| !is_calm(name)).collect();
        let name = changing[dice.index(changing.len())].clone();
        let Some(present) = doors.directory.endpoint(name.app, &name.id) else {
            let endpoint = self.new_endpoint(&name);
            return self.put(doors, endpoint, "endpoint: is made anew", tasks);
        };
        let mut changed = Endpoint::clone(&present);
        let what = match dice.index(16) {
            0..=2 => {
                changed.url = url(&self.host(name.app, false));
                if present.url.is_empty() { "endpoint: gets a URL again" } else { "endpoint: moves" }
            }
            3..=5 => {
                changed.commands = other_commands(dice, &present);
                "endpoint: commands change"
            }
            6..=8 => {
                changed.paused = !changed.paused;
                if changed.paused { "endpoint: paused by hand" } else { "endpoint: goes on by hand" }
            }
            9 => {
                changed.room_prefix = dice.pick(&["", "r1", "r"]).to_owned();
                "endpoint: filter changes"
            }
            10 => {
                changed.url = String::new();
                "endpoint: loses its URL"
            }
            11 if name.app == ROUGH_APP => {
                changed.order = order(dice);
                "endpoint: order changes"
            }
            12 if name.app == ROUGH_APP => {
                changed.retry = retry(dice);
                "endpoint: retries change"
            }
            13 => {
                changed.concurrency = dice.pick(&[None, Some(1), Some(2), Some(5)]);
                "endpoint: concurrency changes"
            }
            11 | 12 => {
                changed.gate_shadow = dice.pick(&[None, Some(true), Some(false)]);
                changed.gate_failure = dice.pick(&[None, Some(GateFailure::Pass), Some(GateFailure::Drop)]);
                "endpoint: gate changes"
            }
            _ => return self.delete(doors, name, tasks),
        };
        self.put(doors, changed, what, tasks);
    }

    fn delete(&self, doors: &Doors, name: EndpointName, tasks: &mut JoinSet<()>) {
        let (directory, world) = (doors.directory.clone(), Arc::clone(&self.world));
        tasks.spawn(async move {
            world.auditor.lock().changes_under_way += 1;
            let answer = directory.delete_endpoint(name.app, name.id.clone()).await;
            auditor::changed(&world, answer.is_ok());
            if matches!(answer, Ok(true)) {
                world.count("endpoint: is deleted");
            }
            world.note(|| format!("endpoint {} {} deleted: {answer:?}", name.app, name.id.0));
        });
    }

    /// Somebody looks at what is parked, and resumes what is paused.
    pub(super) fn operate(&self, doors: &Doors, tasks: &mut JoinSet<()>) {
        let (handle, world) = (doors.handle.clone(), Arc::clone(&self.world));
        let name = self.endpoints[world.act_dice.index(self.endpoints.len())].clone();
        let what = world.act_dice.index(4);
        tasks.spawn(async move {
            if what == 0 {
                let answer = handle.resume(&name);
                world.count("by hand: a paused endpoint is resumed");
                return world.note(|| format!("resume {}: {answer:?}", name.id.0));
            }
            let Ok(parked) = handle.parked(&name, None, 3).await else { return };
            for one in parked {
                let (what, answer) = match what {
                    1 => {
                        if let Some(endpoint) = auditor::current(&world, &name) {
                            world.auditor.lock().skipped.insert((endpoint, one.id));
                        }
                        ("by hand: one is skipped", handle.skip(&name, one.id).await)
                    }
                    _ => ("by hand: a parked one is retried", handle.retry(&name, one.id).await),
                };
                if answer.is_ok() {
                    world.count(what);
                }
                world.note(|| format!("{what} {:?}: {answer:?}", one.id));
            }
        });
    }

    /// After the healing: everything is switched on again that only stands still, and what was deleted is made anew.
    pub(crate) fn make_well(&mut self, doors: &Doors, tasks: &mut JoinSet<()>) {
        self.make_missing_endpoints(doors, tasks);
        for name in self.endpoints.clone() {
            if let Some(paused) = doors.directory.endpoint(name.app, &name.id).filter(|endpoint| endpoint.paused) {
                let endpoint = Endpoint { paused: false, ..Endpoint::clone(&paused) };
                self.put(doors, endpoint, "endpoint: goes on by hand", tasks);
            }
        }
    }
}

fn other_commands(dice: &Dice, present: &Endpoint) -> Vec<String> {
    let mut commands = match present.commands.iter().any(|word| word == AFTER_SEND) {
        true => Vec::new(),
        false => vec![AFTER_SEND.to_owned(), AFTER_CREATE.to_owned()],
    };
    if present.app == GATED_APP {
        commands.extend(dice.chance(700).then(|| BEFORE_SEND.to_owned()));
        commands.extend(dice.chance(500).then(|| NOT_SENT.to_owned()));
    }
    commands
}
