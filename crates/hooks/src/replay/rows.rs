//! What a replay leaves behind: a row of its own, and one per failure that is reported. They lie beside shard 0's log,
//! apart from the rows of endpoints.

use std::num::NonZeroU32;

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use roomhook_log::{LogId, Lsn};
use roomhook_room::{AppId, EndpointId, MsgSeq, RoomKey};

use super::{
    Place, Replay, ReplayStatus, What,
    job::{Plan, Progress},
};
use crate::{
    engine::{DeliveryId, EventPos},
    rows::{RowError, versioned},
    supervisor::EndpointName,
};

/// Where they lie.
pub(crate) const LOG: LogId = LogId(0);
/// What the keys of all replays begin with.
pub(super) const JOBS: &[u8] = b"r";

/// `r | number (8)`, big-endian: in order of their start.
pub(super) fn job_key(number: u64) -> Bytes {
    key(b'r', number, None)
}

pub(super) fn number_of(key: &[u8]) -> Option<u64> {
    let number = key.strip_prefix(JOBS)?.try_into().ok()?;
    Some(u64::from_be_bytes(number))
}

/// What the keys of all failures of a replay begin with.
pub(super) fn failures(number: u64) -> Bytes {
    key(b'f', number, None)
}

/// `f | number (8) | which (4)`, big-endian.
pub(super) fn failure_key(number: u64, which: usize) -> Bytes {
    key(b'f', number, Some(u32::try_from(which).unwrap_or(u32::MAX)))
}

fn key(kind: u8, number: u64, which: Option<u32>) -> Bytes {
    let mut key = BytesMut::with_capacity(13);
    key.put_u8(kind);
    key.put_u64(number);
    if let Some(which) = which {
        key.put_u32(which);
    }
    key.freeze()
}

/// A replay and how far it is.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ReplayRow {
    #[prost(uint32, tag = "1")]
    app: u32,
    #[prost(string, tag = "2")]
    endpoint: String,
    #[prost(uint64, tag = "3")]
    generation: u64,
    #[prost(uint64, tag = "4")]
    started_at: u64,
    /// 1 one, 2 room, 3 time, 4 parked.
    #[prost(uint32, tag = "5")]
    what: u32,
    /// The one, or what a range begins and ends with.
    #[prost(uint64, tag = "6")]
    from: u64,
    #[prost(uint64, tag = "7")]
    to: u64,
    #[prost(uint32, tag = "8")]
    shard: u32,
    #[prost(bytes = "bytes", tag = "9")]
    room: Bytes,
    /// Empty: the endpoint's own.
    #[prost(string, tag = "10")]
    url: String,
    #[prost(uint32, tag = "11")]
    per_s: u32,
    /// The end of each log when it was started.
    #[prost(uint64, repeated, tag = "12")]
    ends: Vec<u64>,
    /// 1 running, 2 done, 3 broken, 4 stopped.
    #[prost(uint32, tag = "13")]
    status: u32,
    #[prost(string, tag = "14")]
    reason: String,
    /// 0: not ended.
    #[prost(uint64, tag = "15")]
    ended_at: u64,
    #[prost(uint32, tag = "16")]
    resumed: u32,
    #[prost(message, optional, tag = "17")]
    place: Option<PlaceRow>,
    #[prost(uint64, tag = "18")]
    acknowledged: u64,
    #[prost(uint64, tag = "19")]
    failed: u64,
    #[prost(uint64, tag = "20")]
    gone: u64,
    #[prost(uint64, tag = "21")]
    not_owed: u64,
    #[prost(uint64, tag = "22")]
    requeued: u64,
}
versioned!(pub(super) ReplayRow);

#[derive(Clone, Copy, PartialEq, Message)]
struct PlaceRow {
    #[prost(uint32, tag = "1")]
    shard: u32,
    #[prost(uint64, tag = "2")]
    lsn: u64,
    #[prost(uint32, tag = "3")]
    index: u32,
    #[prost(uint64, tag = "4")]
    seq: u64,
}

impl ReplayRow {
    pub(super) fn of(plan: &Plan, progress: &Progress) -> Self {
        let (what, from, to, shard, room) = match &plan.replay.what {
            What::One(id) => (1, id.pos.lsn.0, u64::from(id.pos.index), id.shard, Bytes::new()),
            What::Room { room, from, to } => (2, from.0, to.0, 0, room.to_bytes()),
            What::Time { from, to } => (3, *from, *to, 0, Bytes::new()),
            What::Parked => (4, 0, 0, 0, Bytes::new()),
        };
        let Place { shard: place_shard, lsn, index, seq } = progress.place;
        Self {
            app: plan.endpoint.app.0,
            endpoint: plan.endpoint.id.0.clone(),
            generation: plan.generation,
            started_at: plan.started_at,
            what,
            from,
            to,
            shard: shard.into(),
            room,
            url: plan.replay.to.clone().unwrap_or_default(),
            per_s: plan.replay.per_s.get(),
            ends: plan.ends.iter().map(|end| end.0).collect(),
            status: match progress.status {
                ReplayStatus::Running => 1,
                ReplayStatus::Done => 2,
                ReplayStatus::Broken => 3,
                ReplayStatus::Stopped => 4,
            },
            reason: progress.reason.clone().unwrap_or_default(),
            ended_at: progress.ended_at.unwrap_or(0),
            resumed: progress.resumed,
            place: Some(PlaceRow { shard: place_shard.into(), lsn: lsn.0, index, seq }),
            acknowledged: progress.done.acknowledged,
            failed: progress.done.failed,
            gone: progress.done.gone,
            not_owed: progress.done.not_owed,
            requeued: progress.done.requeued,
        }
    }

    /// # Errors
    /// When a release that knows more wrote it.
    pub(super) fn parts(self) -> Result<(Plan, Progress), RowError> {
        let damaged = |what: &str| RowError::Damaged(what.to_owned());
        let shard = u16::try_from(self.shard).map_err(|_| damaged("shard"))?;
        let what = match self.what {
            1 => {
                let index = u32::try_from(self.to).map_err(|_| damaged("index"))?;
                What::One(DeliveryId { shard, pos: EventPos { lsn: Lsn(self.from), index } })
            }
            2 => What::Room {
                room: RoomKey::from_bytes(&self.room).ok_or_else(|| damaged("room"))?,
                from: MsgSeq(self.from),
                to: MsgSeq(self.to),
            },
            3 => What::Time { from: self.from, to: self.to },
            4 => What::Parked,
            _ => return Err(damaged("kind of replay")),
        };
        let status = match self.status {
            1 => ReplayStatus::Running,
            2 => ReplayStatus::Done,
            3 => ReplayStatus::Broken,
            4 => ReplayStatus::Stopped,
            _ => return Err(damaged("status")),
        };
        let place = self.place.unwrap_or_default();
        let replay = Replay {
            what,
            to: Some(self.url).filter(|url| !url.is_empty()),
            per_s: NonZeroU32::new(self.per_s).ok_or_else(|| damaged("rate"))?,
        };
        let plan = Plan {
            endpoint: EndpointName { app: AppId(self.app), id: EndpointId(self.endpoint) },
            generation: self.generation,
            replay,
            started_at: self.started_at,
            ends: self.ends.into_iter().map(Lsn).collect(),
        };
        let mut progress = Progress::new(status);
        progress.place = Place {
            shard: u16::try_from(place.shard).map_err(|_| damaged("place"))?,
            lsn: Lsn(place.lsn),
            index: place.index,
            seq: place.seq,
        };
        progress.reason = Some(self.reason).filter(|reason| !reason.is_empty());
        progress.ended_at = Some(self.ended_at).filter(|at| *at > 0);
        progress.resumed = self.resumed;
        progress.done.acknowledged = self.acknowledged;
        progress.done.failed = self.failed;
        progress.done.gone = self.gone;
        progress.done.not_owed = self.not_owed;
        progress.done.requeued = self.requeued;
        Ok((plan, progress))
    }
}

#[cfg(test)]
mod tests {
    use roomhook_room::RoomId;

    use super::*;

    #[test]
    fn a_replay_reads_back_as_it_was() {
        let room = RoomKey { app: AppId(7), room: RoomId::new("lobby").expect("a room") };
        let pos = EventPos { lsn: Lsn(12), index: 3 };
        for what in [
            What::One(DeliveryId { shard: 5, pos }),
            What::Room { room, from: MsgSeq(2), to: MsgSeq(u64::MAX) },
            What::Time { from: 1, to: 2 },
            What::Parked,
        ] {
            let plan = Plan {
                endpoint: EndpointName { app: AppId(7), id: EndpointId("x".to_owned()) },
                generation: 3,
                replay: Replay { what, to: Some("http://x/".to_owned()), per_s: NonZeroU32::MIN },
                started_at: 9,
                ends: vec![Lsn(4), Lsn(5)],
            };
            let mut progress = Progress::new(ReplayStatus::Broken);
            progress.place = Place { shard: 1, lsn: Lsn(2), index: 3, seq: 4 };
            (progress.reason, progress.ended_at, progress.resumed) = (Some("why".to_owned()), Some(8), 2);
            (progress.done.acknowledged, progress.done.requeued) = (5, 6);
            let bytes = ReplayRow::of(&plan, &progress).to_bytes();
            let (plan_back, progress_back) = ReplayRow::from_bytes(&bytes).expect("a row").parts().expect("parts");
            assert_eq!(plan_back, plan);
            assert_eq!(format!("{progress_back:?}"), format!("{progress:?}"));
        }
        assert_eq!(number_of(&job_key(77)), Some(77));
        assert!(failure_key(77, 3).starts_with(&failures(77)));
    }
}
