//! The shadow model: every record that ever became durable, folded again from nothing, and what it says about who is owed
//! what. It learns from the store alone, never from the server.

use std::{
    collections::{BTreeMap, BTreeSet},
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use roomhook_hooks::{EndpointName, engine::DeliveryId};
use roomhook_log::{LogId, LogRead as _, Lsn, MemoryLog, Record};
use roomhook_room::{
    AppId, DEDUP_WINDOW_MS, Endpoint, Event, Message, Room, RoomKey, Sent, Start, UserId, decode_directory_record,
    decode_record, directory, fold, invariants,
};

use crate::{
    auditor::attempt_of,
    gates::{self, GATED_APP},
    world::World,
};

#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) record: Record,
    pub(crate) events: Vec<Event>,
    /// Orders all that happened, over all logs.
    pub(crate) stamp: u64,
    /// Virtual time.
    pub(crate) at_ms: u64,
    /// Retention has dropped it.
    pub(crate) trimmed: bool,
}

/// One room as the log has it.
#[derive(Debug, Default)]
pub(crate) struct RoomTruth {
    pub(crate) room: Room,
    /// Where its records are.
    pub(crate) places: Vec<(LogId, usize)>,
    /// Messages, with the number of the room's life they belong to.
    pub(crate) sent: Vec<(u32, Message)>,
    pub(crate) life: u32,
    /// The newest message of each sender, `Random` and text in this life, and when it became durable, in virtual time.
    keys: BTreeMap<(UserId, u32, Bytes), (Message, u64)>,
}

/// An endpoint between its creation and its deletion, with all that it ever was.
#[derive(Debug)]
pub(crate) struct EndpointTruth {
    pub(crate) name: EndpointName,
    pub(crate) versions: Vec<Version>,
    pub(crate) deleted: bool,
}

#[derive(Debug)]
pub(crate) struct Version {
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) at_ms: u64,
    /// When somebody was told: what comes after is judged by it.
    told: Option<u64>,
}

impl Version {
    /// The first record of a log that its switches can hold for.
    fn holds_from(&self, log: u16) -> Lsn {
        let from = self.endpoint.past.last().map_or(&self.endpoint.begins, |past| &past.until);
        Lsn(from.of(log).unwrap_or(0))
    }
}

/// Whether an event is owed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owes {
    /// In any case.
    pub(crate) must: bool,
    /// Possibly: the endpoint was being changed.
    pub(crate) may: bool,
}

#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) logs: BTreeMap<LogId, Vec<Entry>>,
    pub(crate) rooms: BTreeMap<RoomKey, RoomTruth>,
    pub(crate) endpoints: Vec<EndpointTruth>,
    /// Messages whose senders were told that nothing was written.
    refused: BTreeSet<u32>,
    /// What each attempt said, as its sender said it: the gate may have put something else in its place.
    said: BTreeMap<u32, Bytes>,
    stamp: u64,
    /// Lives of the server so far.
    lives: usize,
    /// Times of different logs cannot be compared.
    clock_steps: bool,
}

impl Ledger {
    #[must_use]
    pub(crate) fn new(shards: u16, clock_steps: bool) -> Self {
        let ids = (0..shards).map(LogId).chain([LogId::DIRECTORY]);
        Self {
            logs: ids.map(|log| (log, Vec::new())).collect(),
            rooms: BTreeMap::new(),
            endpoints: Vec::new(),
            refused: BTreeSet::new(),
            said: BTreeMap::new(),
            stamp: 0,
            lives: 0,
            clock_steps,
        }
    }

    // === learning ===

    /// Takes over what became durable since the last look.
    pub(crate) fn capture(&mut self, store: &MemoryLog, log: LogId, world: &World) {
        let Some(bounds) = at_once(store.bounds(log)).and_then(Result::ok) else { return };
        loop {
            let next = Lsn(self.logs.get(&log).map_or(1, |entries| entries.len() as u64 + 1));
            if next >= bounds.next {
                return;
            }
            let batch = store.read(log, next).ok().and_then(|mut stream| at_once(stream.next_batch()));
            let Some(Ok(batch)) = batch else {
                return world.violate("acked-in-log", format!("log {log}: record {next} cannot be read"));
            };
            batch.iter().for_each(|record| self.learn(log, record, world));
        }
    }

    fn learn(&mut self, log: LogId, record: &Record, world: &World) {
        self.stamp += 1;
        let (stamp, at_ms, lsn) = (self.stamp, world.time.now_ms(), record.lsn);
        let entries = self.logs.entry(log).or_default();
        let fenced = entries.last().is_some_and(|last| last.record.epoch > record.epoch);
        world.check("one-writer", !fenced, || format!("log {log}: record {lsn} of epoch {} is late", record.epoch));
        let place = entries.len();
        let mut events = Vec::new();
        if !record.key.0.is_empty() {
            if log == LogId::DIRECTORY {
                match decode_directory_record(&record.payload) {
                    Ok(changes) => changes.iter().for_each(|change| self.learn_endpoint(change, at_ms)),
                    Err(error) => world.violate("acked-in-log", format!("directory {lsn}: {error}")),
                }
            } else {
                match decode_record(&record.payload) {
                    Ok(decoded) => events = decoded,
                    Err(error) => world.violate("acked-in-log", format!("log {log} {lsn}: {error}")),
                }
                self.learn_room(log, place, record, &events, world);
            }
        }
        world.note(|| format!("log {log} {lsn}: durable {}", short(record, &events)));
        self.logs.entry(log).or_default().push(Entry { record: record.clone(), events, stamp, at_ms, trimmed: false });
    }

    fn learn_room(&mut self, log: LogId, place: usize, record: &Record, events: &[Event], world: &World) {
        let Some(key) = RoomKey::from_bytes(&record.key.0) else { return };
        let moderated = (key.app == GATED_APP).then(|| self.newest_endpoint(GATED_APP));
        let truth = self.rooms.entry(key.clone()).or_default();
        truth.places.push((log, place));
        for event in events {
            match event {
                Event::MessageSent(message) => {
                    let (top, seq) = (truth.room.top(), message.seq);
                    world.check("dense", truth.room.exists(), || format!("{key}: message {seq} of no room"));
                    if !invariants::dense(top, seq) {
                        return world.violate("dense", format!("{key}: {seq} after {top}"));
                    }
                    if let Some(newest) = &moderated {
                        gates::durable(world, &key, message, newest.as_ref());
                    }
                    world.check("acked-in-log", !self.refused.contains(&attempt_of(&message.draft)), || {
                        format!("{key}: {seq} is in the log although its sender was told that it is not")
                    });
                    if message.draft.content.is_some() {
                        let said = self.said.get(&attempt_of(&message.draft)).cloned().unwrap_or_default();
                        let dedup = (message.draft.from.clone(), message.draft.random, said);
                        if let Some((first, _)) = truth.keys.insert(dedup, (message.clone(), world.time.now_ms())) {
                            let apart = message.at.0.saturating_sub(first.at.0);
                            world.check("once", apart >= DEDUP_WINDOW_MS, || {
                                format!("{key}: {seq} repeats {} after {apart} ms", first.seq)
                            });
                        }
                    }
                    truth.sent.push((truth.life, message.clone()));
                }
                Event::RoomCreated { .. } => {
                    truth.life += 1;
                    truth.keys.clear();
                }
                Event::RoomDestroyed { .. } => {}
            }
            fold(&mut truth.room, event);
        }
    }

    fn learn_endpoint(&mut self, change: &directory::Event, at_ms: u64) {
        match change {
            directory::Event::EndpointSaved(endpoint) => {
                let version = Version { endpoint: Arc::clone(endpoint), at_ms, told: None };
                let name = EndpointName { app: endpoint.app, id: endpoint.id.clone() };
                match self.endpoints.iter_mut().find(|known| !known.deleted && known.name == name) {
                    Some(known) => known.versions.push(version),
                    None => self.endpoints.push(EndpointTruth { name, versions: vec![version], deleted: false }),
                }
            }
            directory::Event::EndpointDeleted { app, id, .. } => {
                let of_this = |known: &&mut EndpointTruth| known.name.app == *app && known.name.id == *id;
                self.endpoints.iter_mut().filter(of_this).for_each(|known| known.deleted = true);
            }
            directory::Event::AccountSaved { .. } | directory::Event::FirstValueTaken { .. } => {}
        }
    }

    /// The server runs, or somebody was answered by the directory: everything durable there is known now.
    pub(crate) fn told(&mut self) {
        self.stamp += 1;
        for version in self.endpoints.iter_mut().flat_map(|known| &mut known.versions) {
            version.told.get_or_insert(self.stamp);
        }
    }

    pub(crate) fn life_begins(&mut self) {
        self.told();
        self.lives += 1;
    }

    /// Lives of the server so far.
    pub(crate) fn lives(&self) -> usize {
        self.lives
    }

    /// A sender is about to say this.
    pub(crate) fn says(&mut self, attempt: u32, body: &Bytes) {
        self.said.insert(attempt, body.clone());
    }

    /// What a sender said in this attempt.
    pub(crate) fn said(&self, attempt: u32) -> Option<&Bytes> {
        self.said.get(&attempt)
    }

    /// A sender was told that this attempt was not written. False if it was.
    pub(crate) fn refused(&mut self, attempt: u32) -> bool {
        self.refused.insert(attempt);
        !self.is_attempt_written(attempt)
    }

    pub(crate) fn is_attempt_written(&self, attempt: u32) -> bool {
        let sent = self.rooms.values().flat_map(|room| &room.sent);
        sent.into_iter().any(|(_, message)| attempt_of(&message.draft) == attempt)
    }

    /// Retention dropped everything before `up_to`: the positions that went.
    pub(crate) fn trim(&mut self, log: LogId, up_to: Lsn) -> BTreeSet<Lsn> {
        let entries = self.logs.get_mut(&log).into_iter().flatten();
        let going = entries.filter(|entry| entry.record.lsn < up_to && !entry.trimmed);
        going
            .map(|entry| {
                entry.trimmed = true;
                entry.record.lsn
            })
            .collect()
    }

    // === answering ===

    #[must_use]
    pub(crate) fn entry(&self, id: DeliveryId) -> Option<(&Entry, &Event)> {
        let entry = self.logs.get(&LogId(id.shard))?.get(usize::try_from(id.pos.lsn.0.checked_sub(1)?).ok()?)?;
        Some((entry, entry.events.get(id.pos.index as usize)?))
    }

    #[must_use]
    pub(crate) fn at(&self, log: LogId, place: usize) -> Option<&Entry> {
        self.logs.get(&log)?.get(place)
    }

    /// Whether any record of this room is gone.
    pub(crate) fn is_trimmed_in(&self, room: &RoomKey) -> bool {
        let places = self.rooms.get(room).map(|truth| truth.places.as_slice()).unwrap_or_default();
        places.iter().any(|(log, place)| self.at(*log, *place).is_some_and(|entry| entry.trimmed))
    }

    /// The newest version of an app's only endpoint, unless it is deleted.
    pub(crate) fn newest_endpoint(&self, app: AppId) -> Option<Arc<Endpoint>> {
        let known = self.endpoints.iter().find(|known| known.name.app == app && !known.deleted)?;
        known.versions.last().map(|version| Arc::clone(&version.endpoint))
    }

    /// When the message that this attempt repeats became durable, in virtual time.
    pub(crate) fn repeated_since(&self, room: &RoomKey, from: &UserId, random: u32, attempt: u32) -> Option<u64> {
        let truth = self.rooms.get(room).filter(|truth| truth.room.exists() && !self.clock_steps)?;
        let said = self.said(attempt)?.clone();
        truth.keys.get(&(from.clone(), random, said)).map(|(_, at_ms)| *at_ms)
    }

    /// The message that a receipt speaks of.
    #[must_use]
    pub(crate) fn message(&self, room: &RoomKey, sent: &Sent) -> Option<&Message> {
        let is_it = |message: &&Message| {
            message.seq == sent.seq && message.at == sent.at && message.draft.msg_id == sent.msg_id
        };
        self.rooms.get(room)?.sent.iter().map(|(_, message)| message).find(is_it)
    }

    /// The endpoint that ever had this URL, the newest one if somebody created it anew under an old URL.
    #[must_use]
    pub(crate) fn endpoint_of(&self, url: &str) -> Option<usize> {
        self.endpoints.iter().rposition(|known| known.versions.iter().any(|version| version.endpoint.url == url))
    }

    /// Whether a request to this endpoint may be one to a deleted namesake: a change that crossed the deletion made it anew
    /// under the old URL.
    pub(crate) fn is_ambiguous(&self, known: &EndpointTruth) -> bool {
        let urls =
            |of: &EndpointTruth| of.versions.iter().map(|version| version.endpoint.url.clone()).collect::<Vec<_>>();
        let own = urls(known);
        let same = |other: &&EndpointTruth| urls(other).iter().any(|url| own.contains(url));
        self.endpoints.iter().filter(same).count() > 1
    }

    /// Whether `event` of `entry` is owed to an endpoint.
    #[must_use]
    pub(crate) fn owes(&self, known: &EndpointTruth, log: LogId, entry: &Entry, event: &Event) -> Owes {
        const NOT: Owes = Owes { must: false, may: false };
        let (Some(room), Some(first)) = (RoomKey::from_bytes(&entry.record.key.0), known.versions.first()) else {
            return NOT;
        };
        if room.app != known.name.app {
            return NOT;
        }
        let newest = |is: &dyn Fn(&Version) -> bool| known.versions.iter().rposition(is).unwrap_or(0);
        // What is appended after somebody was told of a change is judged by it; what was appended while it was being made
        // may be judged by it if it lies behind where it holds from, and nothing else is.
        let (log, lsn) = (log.0, entry.record.lsn);
        let oldest = newest(&|version| version.told.is_some_and(|told| told <= entry.stamp));
        let last = newest(&|version| version.holds_from(log) <= lsn);
        let from_start = match first.endpoint.start {
            Start::Oldest => Owes { must: true, may: true },
            Start::Tail => {
                let begun = first.endpoint.begins.of(log).is_some_and(|begins| Lsn(begins) <= lsn);
                Owes { must: begun, may: begun }
            }
            Start::Time(at) => Owes { must: false, may: event.at().0 >= at || known.versions.len() > 1 },
        };
        let judges = known.versions.get(oldest..=last.max(oldest)).unwrap_or_default();
        let must = judges.iter().all(|version| owed(&version.endpoint, &room, event));
        let may = judges.iter().any(|version| owed(&version.endpoint, &room, event));
        Owes { must: from_start.must && must, may: from_start.may && may }
    }

    /// Everything that `known` is owed (or may be), in order of the logs.
    pub(crate) fn owed_to<'a>(
        &'a self,
        known: &'a EndpointTruth,
    ) -> impl Iterator<Item = (DeliveryId, &'a Entry, Owes)> {
        let shards = self.logs.iter().filter(|(log, _)| **log != LogId::DIRECTORY);
        shards.flat_map(|(log, entries)| entries.iter().map(move |entry| (log, entry))).flat_map(move |(log, entry)| {
            (0..).zip(&entry.events).filter_map(move |(index, event)| {
                let owes = self.owes(known, *log, entry, event);
                let pos = roomhook_hooks::engine::EventPos { lsn: entry.record.lsn, index };
                owes.may.then_some((DeliveryId { shard: log.0, pos }, entry, owes))
            })
        })
    }
}

/// The rule of protocol: webhooks §1, in its own words.
fn owed(endpoint: &Endpoint, room: &RoomKey, event: &Event) -> bool {
    let word = match event {
        Event::MessageSent(message) if message.draft.forbid_after_hook => return false,
        Event::MessageSent(_) => "Group.CallbackAfterSendMsg",
        Event::RoomCreated { .. } => "Live.CallbackAfterCreateRoom",
        Event::RoomDestroyed { .. } => "Live.CallbackAfterDestroyRoom",
    };
    !endpoint.url.is_empty()
        && room.room.as_str().starts_with(&endpoint.room_prefix)
        && endpoint.commands.iter().any(|command| command == word)
}

fn short(record: &Record, events: &[Event]) -> String {
    let Some(key) = RoomKey::from_bytes(&record.key.0) else { return "claim or directory".to_owned() };
    let events = events.iter().map(|event| match event {
        Event::RoomCreated { .. } => "created".to_owned(),
        Event::RoomDestroyed { .. } => "destroyed".to_owned(),
        Event::MessageSent(message) => format!("message {} ({})", message.seq, message.draft.msg_id.random),
    });
    format!("{key} {}", events.collect::<Vec<_>>().join(", "))
}

/// What a future that never waits comes to.
pub(crate) fn at_once<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}
