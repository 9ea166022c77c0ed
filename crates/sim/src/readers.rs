//! Readers of what is released: of whole logs, and of one room as a client sees it. Both go away and come back.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use roomhook_log::{LogId, Lsn, ReadError, Record};
use roomhook_room::{Event, Incarnation, MsgSeq, RoomKey, decode_record};
use tokio::time::{sleep, timeout};

use crate::{people::Doors, world::World};

/// How long a reader waits for something new before it goes away.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a reader stays away at most.
const AWAY_MS: u64 = 5_000;
/// How many records of its room a client that comes back asks for at most.
const MISSED_MAX: usize = 1_000;

/// Where readers are. They outlive the server.
#[derive(Debug, Default)]
pub(crate) struct Places {
    logs: BTreeMap<LogId, Lsn>,
    rooms: BTreeMap<RoomKey, Seen>,
}

/// What a client has of a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    incarnation: Incarnation,
    newest: MsgSeq,
}

// === a whole log ===

/// A reader of the tail that goes away now and then and goes on where it was.
pub(crate) async fn follow(world: Arc<World>, doors: Doors, log: LogId) {
    let mut next = world.auditor.lock().places.logs.get(&log).copied().unwrap_or(Lsn::FIRST);
    loop {
        sleep(world.act_dice.millis(0..=AWAY_MS)).await;
        let Ok(mut stream) = doors.router.tail().read(log, next) else { return };
        world.count("tail: a reader goes on where it was");
        for _ in 0..world.act_dice.from(1..=20) {
            match timeout(PATIENCE, stream.next_batch()).await {
                Ok(Ok(batch)) => next = read(&world, log, next, &batch),
                Ok(Err(ReadError::Trimmed { first, .. })) => {
                    world.count("tail: a reader is told that records are gone");
                    world
                        .check("no-silent-gap", first > next, || format!("log {log}: {next} is gone, {first} is next"));
                    next = first;
                    break;
                }
                Ok(Err(_)) => sleep(Duration::from_millis(100)).await,
                Err(_) => break,
            }
            world.auditor.lock().places.logs.insert(log, next);
        }
    }
}

/// `no-silent-gap`, `seen-in-log`: what a reader gets is the log, without a hole.
fn read(world: &World, log: LogId, expected: Lsn, records: &[Record]) -> Lsn {
    let ledger = world.ledger.lock();
    let mut next = expected;
    for record in records {
        world.check("no-silent-gap", record.lsn == next, || format!("log {log}: {} comes after {next}", record.lsn));
        let known = usize::try_from(record.lsn.0 - 1).ok().and_then(|place| ledger.at(log, place));
        let same = known.is_some_and(|entry| entry.record == *record);
        world.check("seen-in-log", same, || format!("log {log}: a reader saw {}, which is not there", record.lsn));
        next = record.lsn.next();
    }
    next
}

// === a room ===

/// A client of one room: it asks how the room is, catches up on what it missed, and listens for a while.
pub(crate) async fn visit(world: Arc<World>, doors: Doors, room: RoomKey) {
    loop {
        sleep(world.act_dice.millis(1..=2_000)).await;
        let Ok(Some(view)) = doors.router.view(room.clone()).await else { continue };
        if doors.rival.is_called() {
            // An owner that was deposed does not know it before it writes: what it says may be old.
            return;
        }
        let had = world.auditor.lock().places.rooms.get(&room).copied();
        let mut seen = Seen { incarnation: view.incarnation, newest: view.top };
        match had {
            Some(had) if had.incarnation == view.incarnation => {
                let missed = doors.router.tail().last(&room, view.at.next(), MISSED_MAX).await;
                let Ok(missed) = missed else { continue };
                seen.newest = catch_up(&world, &room, had, view.top, &missed);
            }
            Some(_) => world.count("room: a client sees the room made anew"),
            None => {}
        }
        listen(&world, &doors, &room, seen, view.at.next()).await;
    }
}

/// What the log still has of what was missed; the rest the client is told of.
fn catch_up(world: &World, room: &RoomKey, had: Seen, top: MsgSeq, missed: &[Record]) -> MsgSeq {
    let events: Vec<Event> = missed.iter().filter_map(|record| decode_record(&record.payload).ok()).flatten().collect();
    // Messages of this life of the room alone.
    let from = events.iter().rposition(|event| matches!(event, Event::RoomCreated { .. })).unwrap_or(0);
    let newer = events.iter().skip(from).filter_map(|event| match event {
        Event::MessageSent(message) if message.seq > had.newest => Some(message.seq),
        _ => None,
    });
    let newer: Vec<MsgSeq> = newer.collect();
    world.check("no-silent-gap", top >= had.newest, || format!("{room}: {top} is older than {}", had.newest));
    let contiguous = newer.windows(2).all(|pair| pair[1].0 == pair[0].0 + 1);
    world.check("no-silent-gap", contiguous && newer.last().is_none_or(|last| *last == top), || {
        format!("{room}: a client at {} catches up to {top} with {newer:?}", had.newest)
    });
    let complete = newer.first().map_or(top == had.newest, |first| first.0 == had.newest.0 + 1);
    if !complete {
        let gone = world.ledger.lock().is_trimmed_in(room);
        world.check("no-silent-gap", gone, || {
            format!("{room}: a client at {} of {top} gets {newer:?}, and nothing was dropped", had.newest)
        });
        world.count("room: a client is told that it missed some");
    } else if !newer.is_empty() {
        world.count("room: a client comes back and catches up");
    }
    top
}

/// Live: every message of the room comes once and in order, from the moment of the view on.
async fn listen(world: &World, doors: &Doors, room: &RoomKey, mut seen: Seen, mut next: Lsn) {
    let log = doors.router.tail().shard_of(room);
    let Ok(mut stream) = doors.router.tail().read(log, next) else { return };
    for _ in 0..world.act_dice.from(1..=10) {
        let Ok(Ok(batch)) = timeout(PATIENCE, stream.next_batch()).await else { return };
        next = read(world, log, next, &batch);
        for record in batch.iter().filter(|record| record.key.0 == room.to_bytes()) {
            for event in decode_record(&record.payload).unwrap_or_default() {
                match event {
                    Event::MessageSent(message) => {
                        let follows = message.seq.0 == seen.newest.0 + 1;
                        world.check("no-silent-gap", follows, || {
                            format!("{room}: a client that has {} gets {}", seen.newest, message.seq)
                        });
                        seen.newest = message.seq;
                    }
                    Event::RoomCreated { incarnation, .. } => seen = Seen { incarnation, newest: MsgSeq(0) },
                    Event::RoomDestroyed { .. } => {}
                }
            }
        }
        world.auditor.lock().places.rooms.insert(room.clone(), seen);
    }
}
