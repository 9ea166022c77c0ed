//! A room as this process's members need it.

use std::{sync::Arc, time::Duration};

use ahash::AHashMap;
use bytes::Bytes;
use roomhook_centrifuge::{
    Error, PushBody, Reply, SubscribeResult, UnsubscribePush,
    codes::{self, UnsubscribeCode},
};
use roomhook_room::{Event, Incarnation, MsgSeq, RoomKey, UserId};
use roomhook_shard::{Charge, Lsn, RoomView};
use tokio::time::Instant;

use super::{
    Deps, Waiter,
    about::{room_json, subscribe_data},
    ring::{Held, Limits, Recovery, Ring},
};
use crate::realtime::{
    conn::{Conn, ConnId},
    encode::{Encoded, Frames, opcode},
    lane::{Job, RoomNo},
    session::{Join, JoinNo, room_channel},
    telemetry::{RealtimeMetrics, signed},
    ws,
};

/// "The room was closed": the subscription is over.
pub(crate) const ROOM_CLOSED: UnsubscribeCode = UnsubscribeCode { code: 2101, reason: "room closed" };

/// Events that may come while the room's view is awaited, if there is also room for their weight.
const EARLY_EVENTS_MAX: usize = 16_384;

#[derive(Debug)]
pub(super) struct Room {
    no: RoomNo,
    key: RoomKey,
    channel: String,
    phase: Phase,
    pub(super) members: AHashMap<ConnId, Member>,
    /// How often each user is there.
    pub(super) users: AHashMap<UserId, u32>,
    /// Members that want to see others come and go.
    pub(super) watchers: usize,
    per_lane: Vec<u32>,
    empty_since: Option<Instant>,
    /// Messages that the lanes do not have yet.
    unsent: Vec<Arc<Encoded>>,
}

#[derive(Debug)]
pub(super) struct Member {
    pub(super) conn: Arc<Conn>,
    join: JoinNo,
    join_leave: bool,
}

#[derive(Debug)]
enum Phase {
    /// Its view was asked for; meanwhile joins and events wait.
    Loading {
        waiters: Vec<Waiter>,
        early: Vec<(Lsn, Event)>,
        /// Of the early events.
        charge: Charge,
    },
    Live(Live),
}

#[derive(Debug)]
pub(super) struct Live {
    /// Everything up to here is in this state.
    at: Lsn,
    pub(super) top: MsgSeq,
    pub(super) incarnation: Incarnation,
    owner: UserId,
    /// The `Room` member of the subscribe reply's data.
    info: Bytes,
    pub(super) ring: Ring,
    /// Members that need more than the ring has: one read of the log serves them all.
    waiters: Vec<Waiter>,
}

/// What an event means for the feed.
#[derive(Debug, PartialEq)]
pub(super) enum Effect {
    None,
    /// There are messages for the lanes.
    Unsent,
    /// The room ends for its members.
    Ended(UnsubscribeCode),
}

/// What to do about a join.
pub(super) enum Admission {
    /// Pass this on; the member is in.
    In(Job, Waiter),
    /// The log has to be read first: the waiter is kept.
    ReadLog {
        before: MsgSeq,
    },
    /// The waiter is kept until something arrives.
    Waits,
    Refused(Waiter, Error),
}

impl Room {
    pub(super) fn loading(no: RoomNo, key: RoomKey, lanes: usize, charge: Charge) -> Self {
        Self {
            no,
            channel: room_channel(&key.room),
            key,
            phase: Phase::Loading { waiters: Vec::new(), early: Vec::new(), charge },
            members: AHashMap::new(),
            users: AHashMap::new(),
            watchers: 0,
            per_lane: vec![0; lanes],
            empty_since: None,
            unsent: Vec::new(),
        }
    }

    pub(super) fn no(&self) -> RoomNo {
        self.no
    }

    pub(super) fn key(&self) -> &RoomKey {
        &self.key
    }

    pub(super) fn channel(&self) -> &str {
        &self.channel
    }

    pub(super) fn live(&self) -> Option<&Live> {
        match &self.phase {
            Phase::Live(live) => Some(live),
            Phase::Loading { .. } => None,
        }
    }

    // === the tail ===

    /// One event of the shard's tail.
    pub(super) fn take(&mut self, at: Lsn, event: Event, deps: &Deps) -> Effect {
        let live = match &mut self.phase {
            Phase::Live(live) => live,
            Phase::Loading { early, charge, .. } => {
                if early.len() >= EARLY_EVENTS_MAX || !charge.try_grow(weight_of(&event)) {
                    // The view is late, and too much waits for it: let everybody try again.
                    return Effect::Ended(codes::unsubscribe::INSUFFICIENT_STATE);
                }
                early.push((at, event));
                return Effect::None;
            }
        };
        if at <= live.at {
            return Effect::None; // the view showed it already
        }
        match event {
            Event::MessageSent(message) if message.seq == live.top.next() => {
                let encoded = Arc::new(Encoded::new(&self.channel, &message));
                live.top = message.seq;
                live.ring.push(Arc::clone(&encoded), live.ring_limits(deps.settings.ring));
                deps.metrics.encoded.inc();
                self.unsent.push(encoded);
                if self.unsent.len() == 1 { Effect::Unsent } else { Effect::None }
            }
            Event::RoomDestroyed { .. } => Effect::Ended(ROOM_CLOSED),
            // A hole, or a room made twice: whatever happened, members must not be left with it.
            Event::MessageSent(_) | Event::RoomCreated { .. } => {
                tracing::error!(room = %self.key, lsn = %at, "the tail does not fit the room; members are asked to resume");
                Effect::Ended(codes::unsubscribe::INSUFFICIENT_STATE)
            }
        }
    }

    pub(super) fn take_unsent(&mut self) -> Vec<Arc<Encoded>> {
        std::mem::take(&mut self.unsent)
    }

    /// The view is here. Returns the joins that waited, and what the events that came meanwhile mean.
    pub(super) fn loaded(&mut self, view: RoomView, held: &Arc<Held>, deps: &Deps) -> (Vec<Waiter>, Effect) {
        let info = room_json(&self.key, &view);
        let live = Live {
            at: view.at,
            top: view.top,
            incarnation: view.incarnation,
            owner: view.info.owner,
            info,
            ring: Ring::new(Arc::clone(held)),
            waiters: Vec::new(),
        };
        // The early events keep their part of the budget until they are taken.
        let Phase::Loading { waiters, early, charge: _charge } = std::mem::replace(&mut self.phase, Phase::Live(live))
        else {
            return (Vec::new(), Effect::None);
        };
        let mut effect = Effect::None;
        for (at, event) in early {
            match self.take(at, event, deps) {
                Effect::None => {}
                Effect::Unsent => effect = Effect::Unsent,
                ended @ Effect::Ended(_) => return (waiters, ended),
            }
        }
        (waiters, effect)
    }

    /// There is no such room, or it cannot be seen: those who waited.
    pub(super) fn abandon(&mut self) -> Vec<Waiter> {
        match &mut self.phase {
            Phase::Loading { waiters, .. } => std::mem::take(waiters),
            Phase::Live(live) => std::mem::take(&mut live.waiters),
        }
    }

    /// What the log had. Returns those who waited for it.
    pub(super) fn older(&mut self, messages: Vec<Arc<Encoded>>) -> Vec<Waiter> {
        let Phase::Live(live) = &mut self.phase else { return Vec::new() };
        live.ring.prepend(messages, live.top.0);
        std::mem::take(&mut live.waiters)
    }

    /// Its ring, if it may be emptied: not while the log is read for somebody, or the two would not meet.
    pub(super) fn spare_ring(&mut self) -> Option<&mut Ring> {
        match &mut self.phase {
            Phase::Live(live) if live.waiters.is_empty() && live.ring.bytes() > 0 => Some(&mut live.ring),
            Phase::Live(_) | Phase::Loading { .. } => None,
        }
    }

    // === members ===

    /// A join. `log_was_read`: what the ring does not have now is lost.
    pub(super) fn admit(&mut self, waiter: Waiter, deps: &Deps, log_was_read: bool) -> Admission {
        let live = match &mut self.phase {
            Phase::Live(live) => live,
            Phase::Loading { waiters, .. } => {
                waiters.push(waiter);
                return Admission::Waits;
            }
        };
        let epoch = live.incarnation.as_str();
        let mut result = SubscribeResult {
            recoverable: true,
            positioned: true,
            epoch: epoch.to_owned(),
            offset: live.top.0,
            was_recovering: waiter.join.resume.is_some(),
            ..SubscribeResult::default()
        };
        let mut missed = Vec::new();
        if let Some(resume) = &waiter.join.resume {
            match live.ring.recover(resume, epoch, live.top.0, deps.settings.ring) {
                Recovery::Missed(messages) => {
                    deps.metrics.recovery(if log_was_read { "log" } else { "memory" });
                    (result.recovered, result.offset, missed) = (true, resume.offset, messages);
                }
                Recovery::Older if !log_was_read => {
                    let before = MsgSeq(live.ring.first().unwrap_or(live.top.0 + 1));
                    let reading = !live.waiters.is_empty();
                    live.waiters.push(waiter);
                    return if reading { Admission::Waits } else { Admission::ReadLog { before } };
                }
                Recovery::Older | Recovery::Lost => {
                    deps.metrics.recovery("lost");
                    if resume.or_error {
                        return Admission::Refused(waiter, codes::error::UNRECOVERABLE_POSITION.into());
                    }
                }
            }
        }
        let online = self.members.len() + 1;
        result.data = subscribe_data(&live.info, online, &live.owner, waiter.conn.user());
        let format = waiter.conn.format();
        let (reply, _) = ws::frame_of(opcode(format), |out| {
            let elements = missed.iter().map(|message| message.element(format));
            format.write_subscribe_reply(out, waiter.join.id, &result, elements);
        });
        let conn = Arc::clone(&waiter.conn);
        self.count_in(&conn, &waiter.join, &deps.metrics);
        Admission::In(Job::Join { room: self.no, conn, reply, join_leave: waiter.join.join_leave }, waiter)
    }

    fn count_in(&mut self, conn: &Arc<Conn>, join: &Join, metrics: &RealtimeMetrics) {
        self.empty_since = None;
        let Join { no, join_leave, .. } = *join;
        // A feed that panics is not started again, so these counts must not go wrong, nor below zero, whoever joins twice.
        let before = self.members.insert(conn.id(), Member { conn: Arc::clone(conn), join: no, join_leave });
        if let Some(before) = before {
            self.watchers = self.watchers.saturating_sub(usize::from(before.join_leave)) + usize::from(join_leave);
        } else {
            metrics.subscriptions.inc();
            if let Some(user) = conn.user() {
                *self.users.entry(user.clone()).or_default() += 1;
            }
            if let Some(count) = self.per_lane.get_mut(conn.lane()) {
                *count += 1;
            }
            self.watchers += usize::from(join_leave);
        }
    }

    /// The connection leaves, or gives up waiting. Returns it if it was a member.
    pub(super) fn remove(&mut self, conn: ConnId, now: Instant, metrics: &RealtimeMetrics) -> Option<Arc<Conn>> {
        match &mut self.phase {
            Phase::Loading { waiters, .. } => waiters.retain(|waiter| waiter.conn.id() != conn),
            // An empty list means that no read is underway, so the last one stays; its answer goes nowhere.
            Phase::Live(live) if live.waiters.len() > 1 => live.waiters.retain(|waiter| waiter.conn.id() != conn),
            Phase::Live(_) => {}
        }
        let Member { conn: member, join_leave, .. } = self.members.remove(&conn)?;
        metrics.subscriptions.dec();
        self.watchers = self.watchers.saturating_sub(usize::from(join_leave));
        if let Some(user) = member.user()
            && let Some(count) = self.users.get_mut(user)
        {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.users.remove(user);
            }
        }
        if let Some(count) = self.per_lane.get_mut(member.lane()) {
            *count = count.saturating_sub(1);
        }
        if self.members.is_empty() {
            self.empty_since = Some(now);
        }
        Some(member)
    }

    pub(super) fn has_members_on(&self, lane: usize) -> bool {
        self.per_lane.get(lane).is_some_and(|&count| count > 0)
    }

    // === the end ===

    pub(super) fn farewell(&self, code: UnsubscribeCode) -> Frames {
        let push = UnsubscribePush { code: code.code, reason: code.reason.to_owned() };
        Frames::of(&Reply::push(self.channel.clone(), PushBody::Unsubscribe(push)))
    }

    /// Tells members' connections that they are out, and those who wait to try again.
    pub(super) fn dismiss(&mut self, metrics: &RealtimeMetrics) {
        for waiter in self.abandon() {
            waiter.refuse(codes::error::TOO_MANY_REQUESTS);
        }
        for member in self.members.values() {
            member.conn.remove(member.join);
        }
        metrics.subscriptions.dec_by(signed(self.members.len()));
        self.forgotten(metrics);
    }

    /// It leaves memory: its gauge does, too.
    pub(super) fn forgotten(&self, metrics: &RealtimeMetrics) {
        metrics.rooms.dec();
    }

    pub(super) fn is_needed(&mut self, now: Instant, linger: Duration) -> bool {
        let waits = match &self.phase {
            Phase::Loading { .. } => true,
            Phase::Live(live) => !live.waiters.is_empty(),
        };
        // A room that was loaded and whose joins were all refused counts from now on.
        let empty_since = *self.empty_since.get_or_insert(now);
        if !self.members.is_empty() {
            self.empty_since = None;
        }
        waits || !self.members.is_empty() || now.duration_since(empty_since) < linger
    }
}

/// What an event keeps in memory while it waits, in bytes. Only messages are of a size that matters.
fn weight_of(event: &Event) -> usize {
    let bytes = match event {
        Event::MessageSent(message) => message.draft.body.len() + message.draft.custom_data.len(),
        Event::RoomCreated { .. } | Event::RoomDestroyed { .. } => 0,
    };
    size_of::<(Lsn, Event)>() + bytes
}

impl Live {
    /// While the log is read nothing may fall out of the ring, or the two would not meet.
    fn ring_limits(&self, limits: Limits) -> Limits {
        if self.waiters.is_empty() {
            return limits;
        }
        let ring_messages_max = limits.ring_messages_max.max(limits.reply_messages_max) * 2;
        Limits { ring_messages_max, ring_bytes_max: limits.ring_bytes_max.max(limits.reply_bytes_max) * 2, ..limits }
    }
}

#[cfg(test)]
mod tests {
    use roomhook_centrifuge::Format;
    use roomhook_room::{AppId, ClientId, RoomId};

    use super::*;
    use crate::realtime::{
        encode::Form,
        outbox::{self, Outbox},
    };

    #[test]
    fn a_room_that_ends_says_which_membership_it_ended() {
        let metrics = RealtimeMetrics::default();
        let limits = outbox::Limits { queue_bytes_max: 1000 };
        let outbox = Outbox::new(None, limits, metrics.outbox.clone());
        let form = Form { format: Format::Json, deflate_bytes_min: None };
        let conn = Arc::new(Conn::new(ConnId(1), ClientId(0xc1), form, 0, outbox, metrics.clone()));
        let lobby = RoomId::new("lobby").unwrap();
        let charge = roomhook_shard::Budget::new(1, Default::default()).nothing();
        let mut room = Room::loading(RoomNo(1), RoomKey { app: AppId(1), room: lobby.clone() }, 1, charge);
        for no in [1, 2] {
            let join = Join { id: 7, no: JoinNo(no), room: lobby.clone(), resume: None, join_leave: false };
            room.count_in(&conn, &join, &metrics);
            if no == 1 {
                room.remove(conn.id(), Instant::now(), &metrics);
            }
        }
        room.dismiss(&metrics);
        assert_eq!(conn.take_removals(), [JoinNo(2)]);
    }
}
