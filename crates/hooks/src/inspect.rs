//! Questions about single events: why did it not fire?

use roomhook_log::{LogId, Lsn, Record};
use roomhook_room::{AppId, MsgSeq, RoomKey, decode_record};

use crate::{
    attempt_row::TrailRow,
    engine::{DeliveryId, EventPos, Listed},
    handle::{Handle, HandleError},
    plan::{Command, WhyNot},
    rows::ExceptionRow,
    shared::Shared,
    supervisor::EndpointName,
    trail::Attempt,
    walk::RoomWalk,
};

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
            let (owed, listed, mut attempts) = {
                let core = shared.core();
                let owed = core
                    .engine
                    .switches(shard)
                    .at(record.lsn)
                    .map(|switches| switches.owes(room.room.as_str(), &event));
                (owed.unwrap_or(Err(WhyNot::NoUrl)), core.engine.listed(id, &record.key.0), core.trail.of(id))
            };
            let owed = if listed == Some(Listed::BeforeStart) { Err(WhyNot::BeforeStart) } else { owed };
            let state = match listed.filter(|_| owed.is_ok()) {
                Some(Listed::BehindCursor) => {
                    let key = self.names(&name, &shared).exception(pos);
                    let row = self.world.rows.get(LogId(shard), &key).await?;
                    let row = row.map(|row| ExceptionRow::from_bytes(&row)).transpose()?;
                    if row.is_some() {
                        attempts = self.with_kept(&name, &shared, id, attempts).await?;
                    }
                    Some(row.map_or(TrailState::Listed(Listed::BehindCursor), TrailState::Parked))
                }
                listed => listed.map(TrailState::Listed),
            };
            endpoints.push(EndpointTrail { name, owed, state, attempts });
        }
        Ok(MessageTrail { shard, pos, appended_at: record.at_ms, endpoints })
    }

    /// The attempts that are remembered, and before them those that were written down when the delivery was parked.
    async fn with_kept(
        &self,
        name: &EndpointName,
        shared: &Shared,
        id: DeliveryId,
        remembered: Vec<Attempt>,
    ) -> Result<Vec<Attempt>, HandleError> {
        let key = self.names(name, shared).trail(id.pos);
        let Some(row) = self.world.rows.get(LogId(id.shard), &key).await? else { return Ok(remembered) };
        let is_new = |made: &Attempt| !remembered.iter().any(|known| known.ended_at == made.ended_at);
        let kept = TrailRow::from_bytes(&row)?.attempts.into_iter().map(Attempt::from);
        let mut attempts: Vec<Attempt> = kept.filter(is_new).collect();
        attempts.extend(remembered);
        attempts.sort_by_key(|made| made.ended_at);
        Ok(attempts)
    }

    /// The record of a message, and its place in it.
    async fn find_message(&self, room: &RoomKey, seq: MsgSeq) -> Result<(u16, Record, u32), HandleError> {
        let shard = self.world.shard_of(room);
        let mut walk = RoomWalk::new(self.world.log.as_ref(), LogId(shard), room, Lsn(u64::MAX));
        while let Some(page) = walk.back().await? {
            for found in page.messages {
                if found.seq == seq.0 {
                    return Ok((shard, found.record, found.index));
                }
                if found.seq < seq.0 {
                    return Err(HandleError::NoEvent);
                }
            }
            if walk.records() > WALK_MAX {
                return Err(HandleError::TooFar { max: WALK_MAX });
            }
        }
        Err(HandleError::NoEvent)
    }

    /// The apps that have endpoints running.
    pub fn apps(&self) -> Vec<AppId> {
        let mut apps: Vec<AppId> = self.all().into_iter().map(|(name, _)| name.app).collect();
        apps.dedup();
        apps
    }
}
