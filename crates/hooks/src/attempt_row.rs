//! Attempts that outlive the process: those of replays that failed, and the last ones of parked deliveries.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use prost::Message;
use roomhook_log::Lsn;

use crate::{
    engine::{DeliveryId, EventPos},
    http::Phases,
    rows::{RowError, versioned},
    trail::Attempt,
};

/// One attempt.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct AttemptRow {
    #[prost(uint32, tag = "1")]
    shard: u32,
    #[prost(uint64, tag = "2")]
    lsn: u64,
    #[prost(uint32, tag = "3")]
    index: u32,
    #[prost(bytes = "bytes", tag = "4")]
    room: Bytes,
    #[prost(uint64, tag = "5")]
    seq: u64,
    #[prost(uint64, tag = "6")]
    event_at: u64,
    #[prost(uint64, tag = "7")]
    ended_at: u64,
    #[prost(uint32, tag = "8")]
    number: u32,
    /// 0: none.
    #[prost(uint32, tag = "9")]
    status: u32,
    /// Empty: none.
    #[prost(string, tag = "10")]
    problem: String,
    /// Name, connection, TLS, first byte, all of it; in microseconds.
    #[prost(uint64, repeated, tag = "11")]
    phases: Vec<u64>,
    #[prost(bytes = "bytes", tag = "12")]
    answer: Bytes,
    #[prost(bool, tag = "13")]
    probe: bool,
}
versioned!(pub(crate) AttemptRow);

/// The last attempts of one delivery, oldest first.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct TrailRow {
    #[prost(message, repeated, tag = "1")]
    pub(crate) attempts: Vec<AttemptRow>,
}
versioned!(pub(crate) TrailRow);

impl From<&Attempt> for AttemptRow {
    fn from(made: &Attempt) -> Self {
        let micros = |took: Duration| u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let Phases { dns, connect, tls, first_byte, total } = made.phases;
        Self {
            shard: made.id.shard.into(),
            lsn: made.id.pos.lsn.0,
            index: made.id.pos.index,
            room: made.room.clone(),
            seq: made.seq,
            event_at: made.event_at,
            ended_at: made.ended_at,
            number: made.number,
            status: made.status.map_or(0, u32::from),
            problem: made.problem.as_deref().map(str::to_owned).unwrap_or_default(),
            phases: [dns, connect, tls, first_byte, total].map(micros).to_vec(),
            answer: made.answer.clone(),
            probe: made.probe,
        }
    }
}

impl From<AttemptRow> for Attempt {
    fn from(row: AttemptRow) -> Self {
        let phase = |at: usize| row.phases.get(at).copied().map(Duration::from_micros).unwrap_or_default();
        let phases = Phases { dns: phase(0), connect: phase(1), tls: phase(2), first_byte: phase(3), total: phase(4) };
        let pos = EventPos { lsn: Lsn(row.lsn), index: row.index };
        Self {
            id: DeliveryId { shard: u16::try_from(row.shard).unwrap_or(u16::MAX), pos },
            room: row.room,
            seq: row.seq,
            event_at: row.event_at,
            ended_at: row.ended_at,
            number: row.number,
            status: u16::try_from(row.status).ok().filter(|status| *status > 0),
            problem: Some(row.problem).filter(|problem| !problem.is_empty()).map(Arc::from),
            phases,
            answer: row.answer,
            probe: row.probe,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_reads_back_as_it_was() {
        let made = Attempt {
            id: DeliveryId { shard: 3, pos: EventPos { lsn: Lsn(9), index: 1 } },
            room: Bytes::from_static(b"\0\0\0\x07lobby"),
            seq: 4,
            event_at: 5,
            ended_at: 6,
            number: 2,
            status: Some(503),
            problem: Some("the endpoint answered 503".into()),
            phases: Phases { tls: Duration::from_micros(70), total: Duration::from_micros(90), ..Phases::default() },
            answer: Bytes::from_static(b"busy"),
            probe: true,
        };
        let bytes = AttemptRow::from(&made).to_bytes();
        let back: Attempt = AttemptRow::from_bytes(&bytes).expect("its own bytes").into();
        assert_eq!(format!("{back:?}"), format!("{made:?}"));
        assert_eq!(AttemptRow::from_bytes(&[7]), Err(RowError::Version(7)));
    }
}
