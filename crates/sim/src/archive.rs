//! Replays of a room to another URL, beside live delivery and over restarts: what they promise must have arrived.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU32,
    sync::Arc,
};

use roomhook_hooks::{EndpointName, Replay, ReplayStatus, What, engine::DeliveryId, http::Request};
use roomhook_room::{EndpointId, Event, Incarnation, MsgSeq, RoomKey};
use tokio::task::JoinSet;

use crate::{
    auditor::{self, CALM_APP},
    people::Doors,
    world::World,
};

/// Where replays go: a receiver of no endpoint, with moods like others.
pub(crate) const ARCHIVE: &str = "archive.test";

/// What was asked for, and what came.
#[derive(Debug, Default)]
pub(crate) struct Archive {
    /// By number of the replay. A number whose beginning nobody was told of is not in here.
    asked: BTreeMap<u64, Asked>,
    came: BTreeSet<DeliveryId>,
}

#[derive(Clone, Debug)]
struct Asked {
    room: RoomKey,
    incarnation: Incarnation,
    to: MsgSeq,
}

/// Somebody wants all messages of a room again.
pub(crate) fn ask(world: &Arc<World>, doors: &Doors, room: RoomKey, tasks: &mut JoinSet<()>) {
    let (world, doors) = (Arc::clone(world), doors.clone());
    let per_s = world.act_dice.pick(&[5, 100, 10_000]);
    tasks.spawn(async move {
        let Ok(Some(view)) = doors.router.view(room.clone()).await else { return };
        let what = What::Room { room: room.clone(), from: MsgSeq(1), to: view.top };
        let per_s = NonZeroU32::new(per_s).unwrap_or(NonZeroU32::MIN);
        let replay = Replay { what, to: Some(auditor::url(ARCHIVE)), per_s };
        let name = EndpointName { app: CALM_APP, id: EndpointId(EndpointId::DEFAULT.to_owned()) };
        let started = doors.handle.start_replay(&name, replay).await;
        world.note(|| format!("replay of {room} up to {}: {:?}", view.top, started.as_ref().map(|state| state.number)));
        if let Ok(state) = started {
            world.count("replay: begins");
            let asked = Asked { room, incarnation: view.incarnation, to: view.top };
            world.archive.lock().asked.insert(state.number, asked);
        }
    });
}

/// A request of a replay; `seen-in-log` holds for it as for any other.
pub(crate) fn sent(world: &World, request: &Request, reached: bool) {
    let Some(id) = auditor::delivery_of(world, request) else { return };
    if reached {
        world.count("replay: an event arrives");
        world.archive.lock().came.insert(id);
    }
}

/// Whether no replay runs any more. Those that came to a good end have delivered all that they were asked for.
pub(crate) fn is_done(world: &World, doors: &Doors) -> bool {
    let mut done = true;
    for state in doors.handle.replays() {
        if state.status == ReplayStatus::Running {
            done = false;
            continue;
        }
        let asked = world.archive.lock().asked.remove(&state.number);
        let Some(asked) = asked else { continue };
        world.count("replay: ends");
        world.count_many("replay: outlives a restart", u64::from(state.resumed > 0));
        let complete = state.status == ReplayStatus::Done && state.done.failed == 0 && state.done.gone == 0;
        if complete {
            check(world, state.number, &asked);
        }
    }
    done
}

/// `owed-paid`: every message of the room that is still in the log came, unless its sender forbade it.
fn check(world: &World, number: u64, asked: &Asked) {
    let ledger = world.ledger.lock();
    let Some(truth) = ledger.rooms.get(&asked.room) else { return };
    // A replay is of the newest room of the name when it starts, which may be a newer one than the one that was looked at.
    if truth.room.incarnation() != Some(asked.incarnation) {
        return;
    }
    let archive = world.archive.lock();
    let entries = truth.places.iter().filter_map(|(log, place)| Some((*log, ledger.at(*log, *place)?)));
    let mut inside = false;
    for (log, entry) in entries {
        for (index, event) in (0..).zip(&entry.events) {
            match event {
                Event::RoomCreated { incarnation, .. } => inside = *incarnation == asked.incarnation,
                Event::MessageSent(message)
                    if inside && message.seq <= asked.to && !message.draft.forbid_after_hook =>
                {
                    let id = auditor::delivery_id(log, entry.record.lsn, index);
                    world.check("owed-paid", entry.trimmed || archive.came.contains(&id), || {
                        format!("replay {number} of {} is done, and {} never came", asked.room, message.seq)
                    });
                }
                Event::MessageSent(_) | Event::RoomDestroyed { .. } => {}
            }
        }
    }
}
