//! Looks at every receipt a sender gets and at every request an endpoint gets, and compares them with the ledger.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use roomhook_hooks::{
    EndpointName, Handle,
    engine::{DeliveryId, EventPos, Mode, Totals},
    http::{Report, Request},
};
use roomhook_log::{LogId, Lsn};
use roomhook_room::{AppId, Draft, Event, Order, Receipt, RetryProfile, RoomKey};
use roomhook_shard::ExecuteError;
use serde_json::Value;

use crate::{endpoints::HOT, ledger::Version, readers::Places, world::World};

/// Without an excuse, nothing that does not depend on a troubled endpoint takes longer.
pub(crate) const APART_MS: u64 = 1_000;

/// What is known of requests.
#[derive(Debug, Default)]
pub(crate) struct Auditor {
    /// By index of the endpoint in the ledger.
    pub(crate) deliveries: BTreeMap<(usize, DeliveryId), Delivery>,
    /// Requests in flight.
    in_flight: BTreeMap<(usize, DeliveryId), RoomKey>,
    /// Deliveries seen off the path of their rooms.
    pub(crate) aside: BTreeSet<(usize, DeliveryId)>,
    /// Deliveries that somebody gave up on.
    pub(crate) skipped: BTreeSet<(usize, DeliveryId)>,
    pub(crate) places: Places,
    /// Webhooks of this life.
    pub(crate) handle: Option<Handle>,
    /// Changes of endpoints that were asked for and not answered in this life, and when the newest one was answered.
    pub(crate) changes_under_way: usize,
    pub(crate) changed_at_ms: Option<u64>,
    /// Modes in which endpoints were seen last, for counting.
    pub(crate) modes: BTreeMap<EndpointName, (Mode, Totals)>,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Delivery {
    pub(crate) attempts: u32,
    /// Of them, those that reached the endpoint.
    pub(crate) arrivals: u32,
    /// The server knows that the endpoint took it.
    pub(crate) acknowledged: bool,
    pub(crate) failed: bool,
}

// === receipts ===

/// A sender has its answer.
pub(crate) fn answered(
    world: &World,
    room: &RoomKey,
    draft: &Draft,
    asked_ms: u64,
    within_ms: u64,
    answer: &Result<Receipt, ExecuteError>,
) {
    let number = attempt_of(draft);
    world.note(|| format!("{room} {number}: {}", told(answer)));
    world.count(kind(answer));
    let waited = world.time.now_ms().saturating_sub(asked_ms.max(world.disturbed_until()));
    world.check("apart", waited <= within_ms, || format!("{room}: the answer to {number} took {waited} ms"));
    let mut ledger = world.ledger.lock();
    match answer {
        Ok(Receipt::Sent(sent)) => {
            let is_ours = ledger.message(room, sent).is_some_and(|message| attempt_of(&message.draft) == number);
            world.check("acked-in-log", is_ours, || format!("{room}: {} is not in the log", sent.seq));
        }
        Ok(Receipt::Repeated(sent)) => {
            let said = ledger.said(number);
            let same = |first: &Draft| {
                first.from == draft.from && first.random == draft.random && ledger.said(attempt_of(first)) == said
            };
            let first = ledger.message(room, sent).is_some_and(|first| same(&first.draft));
            world.check("once", first, || format!("{room}: {} is no repeat of {}", draft.random, sent.seq));
        }
        Ok(Receipt::Dropped { .. })
        | Err(ExecuteError::Rejected(_) | ExecuteError::Busy | ExecuteError::Unavailable(_)) => {
            let absent = ledger.refused(number);
            world.check("acked-in-log", absent, || format!("{room}: {number} was refused and is in the log"));
        }
        Err(ExecuteError::Unknown(_)) => {}
        Ok(Receipt::Created | Receipt::Destroyed(_)) => {
            world.violate("acked-in-log", format!("{room}: a message has another command's receipt"));
        }
    }
}

/// Which attempt to send a message this is: each comes from an address of its own ([`from_address`]). What the message says is
/// the same in all of them, as of a caller who tries again.
pub(crate) fn attempt_of(draft: &Draft) -> u32 {
    match draft.origin.client_ip {
        IpAddr::V4(ip) => ip.to_bits(),
        IpAddr::V6(_) => 0,
    }
}

/// The address that an attempt comes from.
pub(crate) fn from_address(attempt: u32) -> IpAddr {
    Ipv4Addr::from_bits(attempt).into()
}

fn kind(answer: &Result<Receipt, ExecuteError>) -> &'static str {
    match answer {
        Ok(Receipt::Sent(_)) => "answer: sent",
        Ok(Receipt::Repeated(_)) => "answer: repeats",
        Ok(Receipt::Dropped { .. }) => "answer: dropped by rate",
        Ok(Receipt::Created | Receipt::Destroyed(_)) => "answer: of another command",
        Err(ExecuteError::Rejected(_)) => "answer: rejected",
        Err(ExecuteError::Busy) => "answer: busy",
        Err(ExecuteError::Unavailable(reason)) if reason.contains("another process has claimed the log") => {
            "rival: the old owner is fenced"
        }
        Err(ExecuteError::Unavailable(_)) => "answer: unavailable",
        Err(ExecuteError::Unknown(_)) => "answer: unknown",
    }
}

fn told(answer: &Result<Receipt, ExecuteError>) -> String {
    match answer {
        Ok(Receipt::Sent(sent)) => format!("sent as {}", sent.seq),
        Ok(Receipt::Repeated(sent)) => format!("repeats {}", sent.seq),
        other => format!("{other:?}"),
    }
}

// === deliveries ===

/// A request on its way back.
pub(crate) struct Flight {
    world: Arc<World>,
    key: (usize, DeliveryId),
}

impl Flight {
    pub(crate) fn answered(&self, report: &Report) {
        let mut auditor = self.world.auditor.lock();
        if let Some(delivery) = auditor.deliveries.get_mut(&self.key) {
            // Our own reading of the rule, not the server's.
            let acknowledged = matches!(report.result, Ok(200..=299));
            delivery.acknowledged |= acknowledged;
            delivery.failed |= !acknowledged;
        }
        let (endpoint, id) = self.key;
        self.world.note(|| format!("endpoint {endpoint} {}/{}: {:?}", id.shard, id.pos.lsn, report.result));
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.world.auditor.lock().in_flight.remove(&self.key);
    }
}

/// A request was sent, and may have `reached` its receiver.
pub(crate) fn sent(world: &Arc<World>, request: &Request, reached: bool) -> Option<Flight> {
    let host = request.target.host.as_str();
    let Some(endpoint) = world.ledger.lock().endpoint_of(&url(host)) else {
        world.violate("seen-in-log", format!("{host} belongs to no endpoint in the log"));
        return None;
    };
    let Some(id) = parse_id(&request.webhook_id) else {
        world.violate("seen-in-log", format!("webhook-id {} names nothing", request.webhook_id));
        return None;
    };
    world.note(|| {
        format!("endpoint {endpoint} {}/{}: attempt {}, arrives: {reached}", id.shard, id.pos.lsn, request.attempt)
    });
    let room = check_in_log(world, id, request)?;
    note_aside(world);
    let key = (endpoint, id);
    let first = {
        let mut auditor = world.auditor.lock();
        let delivery = auditor.deliveries.entry(key).or_default();
        delivery.attempts += 1;
        delivery.arrivals += u32::from(reached);
        let (first, again) = (delivery.attempts == 1, reached && delivery.arrivals > 1);
        let aside = auditor.aside.contains(&key);
        drop(auditor);
        world.count_many("request: arrives", u64::from(reached));
        world.count_many("request: arrives again", u64::from(again));
        world.count_many("request: is about one set aside", u64::from(aside));
        first
    };
    check_owed(world, endpoint, id);
    check_flights(world, key, &room);
    if first {
        check_order(world, key, &room);
        check_apart(world, host, key, &room);
    }
    world.auditor.lock().in_flight.insert(key, room);
    Some(Flight { world: Arc::clone(world), key })
}

pub(crate) fn url(host: &str) -> String {
    format!("http://{host}/hook")
}

/// What a request is about, if it says what the log says.
pub(crate) fn delivery_of(world: &World, request: &Request) -> Option<DeliveryId> {
    let id = parse_id(&request.webhook_id)?;
    check_in_log(world, id, request).map(|_| id)
}

pub(crate) fn delivery_id(log: LogId, lsn: Lsn, index: u32) -> DeliveryId {
    DeliveryId { shard: log.0, pos: EventPos { lsn, index } }
}

fn parse_id(webhook_id: &str) -> Option<DeliveryId> {
    let mut parts = webhook_id.strip_prefix("evt_")?.split('_').skip(1);
    let shard = parts.next()?.parse().ok()?;
    let lsn = Lsn(parts.next()?.parse().ok()?);
    Some(DeliveryId { shard, pos: EventPos { lsn, index: parts.next()?.parse().ok()? } })
}

/// `seen-in-log`: what it says is what the log says.
fn check_in_log(world: &World, id: DeliveryId, request: &Request) -> Option<RoomKey> {
    let ledger = world.ledger.lock();
    let Some((entry, event)) = ledger.entry(id) else {
        world.violate("seen-in-log", format!("{} is not in the log", request.webhook_id));
        return None;
    };
    let room = RoomKey::from_bytes(&entry.record.key.0)?;
    let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default();
    let same = match event {
        Event::MessageSent(message) => {
            text("CallbackCommand") == "Group.CallbackAfterSendMsg"
                && text("GroupId") == room.room.as_str()
                && text("From_Account") == message.draft.from.as_str()
                && text("MsgId") == message.draft.msg_id.to_string()
                && body.get("MsgSeq").and_then(Value::as_u64) == Some(message.seq.0)
                && body.get("MsgTime").and_then(Value::as_u64) == Some(message.at.secs())
        }
        Event::RoomCreated { .. } => text("CallbackCommand") == "Live.CallbackAfterCreateRoom",
        Event::RoomDestroyed { .. } => {
            text("CallbackCommand") == "Live.CallbackAfterDestroyRoom" && text("RoomId") == room.room.as_str()
        }
    };
    world.check("seen-in-log", same, || format!("{} does not say what the log says", request.webhook_id));
    Some(room)
}

fn check_owed(world: &World, endpoint: usize, id: DeliveryId) {
    let ledger = world.ledger.lock();
    let (Some(known), Some((entry, event))) = (ledger.endpoints.get(endpoint), ledger.entry(id)) else { return };
    let owes = ledger.owes(known, LogId(id.shard), entry, event);
    let excused = ledger.is_ambiguous(known);
    world.check("owed-paid", owes.may || excused, || {
        format!("endpoint {endpoint} got {}/{} unasked", id.shard, id.pos.lsn)
    });
}

/// `in-order` and `bounded`: one request per room, and no more requests than allowed.
fn check_flights(world: &World, key: (usize, DeliveryId), room: &RoomKey) {
    let ledger = world.ledger.lock();
    let Some(known) = ledger.endpoints.get(key.0) else { return };
    if ledger.is_ambiguous(known) {
        return;
    }
    let configured = world.scenario.hooks.concurrency.get();
    let auditor = world.auditor.lock();
    let others = || auditor.in_flight.iter().filter(|(other, _)| other.0 == key.0);
    let of = |version: &Version| version.endpoint.concurrency.map_or(configured, |limit| limit as usize);
    let limit = known.versions.iter().map(of).max().unwrap_or(configured);
    world.check("bounded", others().count() < limit, || format!("endpoint {}: more than {limit} at once", key.0));
    let unordered = known.versions.iter().any(|version| version.endpoint.order == Some(Order::None));
    if unordered || auditor.aside.contains(&key) {
        return;
    }
    let same_room = others().find(|(other, in_room)| *in_room == room && !auditor.aside.contains(other));
    world.check("in-order", same_room.is_none(), || {
        format!("endpoint {} room {room}: {:?} while {:?} is in flight", key.0, key.1.pos, same_room)
    });
}

/// `in-order`: a first attempt comes only after everything before it in its room is settled or set aside.
fn check_order(world: &World, key: (usize, DeliveryId), room: &RoomKey) {
    let (endpoint, id) = key;
    let ledger = world.ledger.lock();
    // One that was deleted is on its way out.
    let Some(known) = ledger.endpoints.get(endpoint).filter(|known| !known.deleted) else { return };
    if ledger.is_ambiguous(known) {
        return;
    }
    let settings = || known.versions.iter().map(|version| &version.endpoint);
    if settings().any(|endpoint| endpoint.order == Some(Order::None) || endpoint.url.is_empty()) {
        return;
    }
    // One try, or no space for those set aside: a failed attempt settles.
    let gives_up = world.scenario.hooks.limits.aside_max < 100
        || settings().any(|endpoint| matches!(endpoint.retry, Some(RetryProfile::Tencent)));
    let Some(truth) = ledger.rooms.get(room) else { return };
    let auditor = world.auditor.lock();
    for (log, place) in &truth.places {
        let Some(entry) = ledger.at(*log, *place).filter(|entry| entry.record.lsn < id.pos.lsn) else { continue };
        if entry.trimmed {
            continue;
        }
        for (index, event) in (0..).zip(&entry.events) {
            let before = (endpoint, DeliveryId { shard: log.0, pos: EventPos { lsn: entry.record.lsn, index } });
            let seen = auditor.deliveries.get(&before).copied().unwrap_or_default();
            let settled = seen.acknowledged || auditor.aside.contains(&before) || (gives_up && seen.failed);
            if !settled && ledger.owes(known, *log, entry, event).must {
                let (now, earlier) = (id.pos.lsn, entry.record.lsn);
                let what =
                    format!("endpoint {endpoint} room {room}: {now} arrives, {earlier} is not settled ({seen:?})");
                return world.violate("in-order", what);
            }
        }
    }
}

/// A change of an endpoint was answered.
pub(crate) fn changed(world: &World, done: bool) {
    if done {
        world.ledger.lock().told();
    }
    let mut auditor = world.auditor.lock();
    auditor.changes_under_way = auditor.changes_under_way.saturating_sub(1);
    auditor.changed_at_ms = Some(world.time.now_ms());
}

/// Retention dropped records. Whatever is owed of them and not delivered may expire.
pub(crate) fn trimmed(world: &World, log: LogId, up_to: Lsn) {
    let mut ledger = world.ledger.lock();
    let gone = ledger.trim(log, up_to);
    let auditor = world.auditor.lock();
    let is_open = |endpoint: usize, id: DeliveryId| {
        !auditor.deliveries.get(&(endpoint, id)).is_some_and(|delivery| delivery.acknowledged)
    };
    let alive = ledger.endpoints.iter().enumerate().filter(|(_, known)| !known.deleted);
    let lost: usize = alive
        .map(|(endpoint, known)| {
            let owed = ledger.owed_to(known).filter(|(id, _, owes)| {
                owes.must && id.shard == log.0 && gone.contains(&id.pos.lsn) && is_open(endpoint, *id)
            });
            owed.count()
        })
        .sum();
    world.count_many("retention: drops what is owed and not delivered", lost as u64);
}

/// Remembers which deliveries are set aside now.
pub(crate) fn note_aside(world: &World) {
    let Some(handle) = world.auditor.lock().handle.clone() else { return };
    for status in handle.status() {
        let Some(endpoint) = current(world, &status.name) else { continue };
        if status.summary.set_aside == 0 {
            continue;
        }
        for aside in handle.set_aside(&status.name, usize::MAX).unwrap_or_default() {
            let mut auditor = world.auditor.lock();
            let new = auditor.aside.insert((endpoint, aside.id));
            drop(auditor);
            world.count_many("hooks: a delivery is set aside", u64::from(new));
        }
    }
}

/// The endpoint of this name that is not deleted.
pub(crate) fn current(world: &World, name: &EndpointName) -> Option<usize> {
    world.ledger.lock().endpoints.iter().position(|known| known.name == *name && !known.deleted)
}

/// `apart`: an endpoint that is always well gets everything at once.
fn check_apart(world: &World, host: &str, key: (usize, DeliveryId), room: &RoomKey) {
    if !world.net.lock().hosts.get(host).is_some_and(|host| host.calm) {
        return;
    }
    let is_hot = world.scenario.has_hot_room && room.room.as_str() == HOT;
    if is_hot {
        // It falls behind, alone.
        return;
    }
    if world.scenario.has_hot_room && room.app == CALM_APP {
        world.count("apart: a quiet room beside a hot one");
    }
    let (now, ledger) = (world.time.now_ms(), world.ledger.lock());
    let Some((entry, _)) = ledger.entry(key.1) else { return };
    let created = ledger.endpoints.get(key.0).and_then(|known| known.versions.first()).map_or(0, |first| first.at_ms);
    let late = now.saturating_sub(entry.at_ms.max(created).max(world.disturbed_until()));
    world.check("apart", late <= APART_MS, || {
        format!("the calm endpoint got {}/{} after {late} ms", key.1.shard, key.1.pos.lsn)
    });
}

/// The app whose endpoint is never in trouble.
pub(crate) const CALM_APP: AppId = AppId(1_400_000_002);
pub(crate) const ROUGH_APP: AppId = AppId(1_400_000_001);
