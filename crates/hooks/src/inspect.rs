//! Questions about single events: why did it not fire, and what came after this one.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use roomhook_log::{LogId, Lsn, ReadError, Record};
use roomhook_room::{AppId, Event, MsgSeq, RoomKey, decode_record};

use crate::{
    engine::{DeliveryId, EventPos, Listed},
    handle::{Handle, HandleError},
    plan::{self, Command, WhyNot},
    rows::ExceptionRow,
    supervisor::EndpointName,
    trail::Attempt,
};

/// Records looked at per step backwards through a room.
const PAGE: usize = 256;
/// The longest walk backwards through a room for one question.
const WALK_MAX: usize = 100_000;

/// All that is known about one message on its way to endpoints.
#[derive(Clone, Debug)]
pub struct MessageTrail {
    pub shard: u16,
    pub pos: EventPos,
    /// When it was appended, Unix milliseconds.
    pub appended_at: u64,
    pub endpoints: Vec<EndpointTrail>,
}

/// One endpoint's part in it.
#[derive(Clone, Debug)]
pub struct EndpointTrail {
    pub name: EndpointName,
    /// Whether the event is owed, by the switches of its time as far as they are still known.
    pub owed: Result<Command, WhyNot>,
    pub state: Option<TrailState>,
    /// Those still remembered, oldest first.
    pub attempts: Vec<Attempt>,
}

/// Where a delivery stands.
#[derive(Clone, Debug)]
pub enum TrailState {
    Listed(Listed),
    Parked(ExceptionRow),
}

/// A place in the logs of all shards, as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventCursor(Vec<Lsn>);

impl fmt::Display for EventCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (shard, lsn) in self.0.iter().enumerate() {
            if shard > 0 {
                f.write_str(".")?;
            }
            write!(f, "{lsn}")?;
        }
        Ok(())
    }
}

impl FromStr for EventCursor {
    type Err = HandleError;

    fn from_str(text: &str) -> Result<Self, HandleError> {
        let parts = text.split('.').map(|part| part.parse().map(Lsn).map_err(|_| HandleError::Cursor));
        parts.collect::<Result<Vec<_>, _>>().map(Self)
    }
}

/// An event as its webhook would carry it.
#[derive(Clone, Debug)]
pub struct Pulled {
    pub id: DeliveryId,
    pub command: Command,
    pub room: Bytes,
    pub seq: u64,
    pub at: u64,
    /// The POST body.
    pub body: Bytes,
}

impl Handle {
    /// Why a message did or did not reach each endpoint of its app.
    ///
    /// # Errors
    /// When the message is not in the log (any more), or the log or rows cannot be read. Cancel safe.
    pub async fn trail(&self, room: &RoomKey, seq: MsgSeq) -> Result<MessageTrail, HandleError> {
        let (shard, record, index) = self.find_message(room, seq).await?;
        let event = decode_record(&record.payload)?.into_iter().nth(index as usize).ok_or(HandleError::NoEvent)?;
        let pos = EventPos { lsn: record.lsn, index };
        let id = DeliveryId { shard, pos };
        let mut endpoints = Vec::new();
        for (name, shared) in self.all().into_iter().filter(|(name, _)| name.app == room.app) {
            let (owed, listed, attempts) = {
                let core = shared.core();
                let owed = core
                    .engine
                    .switches_so_far(shard)
                    .at(record.lsn)
                    .map(|switches| switches.owes(room.room.as_str(), &event));
                (owed.unwrap_or(Err(WhyNot::NoUrl)), core.engine.listed(id), core.trail.of(id))
            };
            let owed = if listed == Some(Listed::BeforeStart) { Err(WhyNot::BeforeStart) } else { owed };
            let state = match listed.filter(|_| owed.is_ok()) {
                Some(Listed::BehindCursor) => {
                    let key = self.names(&name, &shared).exception(pos);
                    let row = self.world.rows.get(LogId(shard), &key).await?;
                    let row = row.map(|row| ExceptionRow::from_bytes(&row)).transpose()?;
                    Some(row.map_or(TrailState::Listed(Listed::BehindCursor), TrailState::Parked))
                }
                listed => listed.map(TrailState::Listed),
            };
            endpoints.push(EndpointTrail { name, owed, state, attempts });
        }
        Ok(MessageTrail { shard, pos, appended_at: record.at_ms, endpoints })
    }

    /// The record of a message, and its place in it.
    async fn find_message(&self, room: &RoomKey, seq: MsgSeq) -> Result<(u16, Record, u32), HandleError> {
        let found = self.room_messages(room, seq, seq).await?;
        let (shard, record, index, _) = found.into_iter().next().ok_or(HandleError::NoEvent)?;
        Ok((shard, record, index))
    }

    /// Messages `from..=to` of a room's newest incarnation, oldest first.
    pub(crate) async fn room_messages(
        &self,
        room: &RoomKey,
        from: MsgSeq,
        to: MsgSeq,
    ) -> Result<Vec<(u16, Record, u32, u64)>, HandleError> {
        let shard = u16::try_from(room.stable_hash() % u64::from(self.world.shards.max(1))).unwrap_or(0);
        let key = roomhook_log::Key(room.to_bytes());
        let (mut before, mut found, mut walked) = (Lsn(u64::MAX), Vec::new(), 0);
        loop {
            let page = self.world.log.last(LogId(shard), &key, before, PAGE).await?;
            let Some(first) = page.first() else { break };
            before = first.lsn;
            walked += page.len();
            if walked > WALK_MAX {
                return Err(HandleError::TooMuch { max: WALK_MAX });
            }
            let mut reached = false;
            for record in page.into_iter().rev() {
                let events = decode_record(&record.payload)?;
                for (index, event) in events.iter().enumerate().rev() {
                    let index = u32::try_from(index).unwrap_or(u32::MAX);
                    match event {
                        Event::MessageSent(message) => {
                            reached |= message.seq <= from;
                            if (from..=to).contains(&message.seq) {
                                found.push((shard, record.clone(), index, message.seq.0));
                            }
                        }
                        // Numbers begin again with each room of this name.
                        Event::RoomCreated { .. } => reached = true,
                        Event::RoomDestroyed { .. } => {}
                    }
                }
                if reached {
                    break;
                }
            }
            if reached {
                break;
            }
        }
        found.reverse();
        Ok(found)
    }

    /// The end of all logs as of now, for a receiver that wants what comes after.
    ///
    /// # Errors
    /// When a log cannot be read. Cancel safe.
    pub async fn end(&self) -> Result<EventCursor, HandleError> {
        let mut ends = Vec::new();
        for shard in 0..self.world.shards {
            ends.push(self.world.log.bounds(LogId(shard)).await?.next);
        }
        Ok(EventCursor(ends))
    }

    /// What an endpoint is owed after a cursor (`None`: from the oldest record there is), at most about `limit` events,
    /// with the cursor to go on with. In order within each room. Empty when there is nothing more yet. What retention
    /// dropped is passed over.
    ///
    /// # Errors
    /// When there is no such endpoint, or a log cannot be read. Cancel safe.
    pub async fn events(
        &self,
        name: &EndpointName,
        after: Option<&EventCursor>,
        limit: usize,
    ) -> Result<(Vec<Pulled>, EventCursor), HandleError> {
        let settings = self.shared(name)?.settings.load_full();
        let (mut events, mut cursor) = (Vec::new(), Vec::new());
        for shard in 0..self.world.shards {
            let bounds = self.world.log.bounds(LogId(shard)).await?;
            let asked = match after {
                Some(after) => *after.0.get(usize::from(shard)).ok_or(HandleError::Cursor)?,
                None => bounds.first,
            };
            let mut next = asked.max(bounds.first);
            while next < bounds.next && events.len() < limit {
                let batch = match self.world.log.read(LogId(shard), next)?.next_batch().await {
                    Err(ReadError::Trimmed { first, .. }) => {
                        next = first;
                        continue;
                    }
                    batch => batch?,
                };
                for record in batch.iter() {
                    if events.len() >= limit {
                        break;
                    }
                    let owed = plan::owed(record, name.app.0, &settings.switches, settings.style, plan::afresh)?;
                    events.extend(owed.into_iter().map(|owed| Pulled {
                        id: DeliveryId { shard, pos: owed.pos },
                        command: owed.content.command,
                        room: owed.room,
                        seq: owed.seq,
                        at: owed.at,
                        body: owed.content.body,
                    }));
                    next = record.lsn.next();
                }
            }
            cursor.push(next);
        }
        Ok((events, EventCursor(cursor)))
    }

    /// The apps that have endpoints running.
    pub fn apps(&self) -> Vec<AppId> {
        let mut apps: Vec<AppId> = self.all().into_iter().map(|(name, _)| name.app).collect();
        apps.dedup();
        apps
    }
}
