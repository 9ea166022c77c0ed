//! Snapshots of rooms.

use bytes::Bytes;

use super::{CodecError, compact, convert, encode_versioned, versioned, wire};
use crate::{
    ids::{MsgSeq, UnixMillis},
    invariants::MSG_SEQ_LIMIT,
    rate::Rate,
    room::{Life, Room},
};

impl Room {
    /// The whole room as bytes: a restart folds only what came after.
    #[must_use]
    pub fn to_snapshot(&self) -> Bytes {
        encode_versioned(&wire::Room { life: self.life.as_deref().map(wire::Life::from) })
    }

    /// Reads [`Room::to_snapshot`] back.
    ///
    /// # Errors
    /// [`CodecError`]; never panics, whatever the bytes are.
    pub fn from_snapshot(snapshot: &[u8]) -> Result<Self, CodecError> {
        let room: wire::Room = versioned(Bytes::copy_from_slice(snapshot))?;
        let life = room.life.map(Life::try_from).transpose()?;
        Ok(Self { life: life.map(Box::new) })
    }
}

impl From<&Life> for wire::Life {
    fn from(life: &Life) -> Self {
        let Life { incarnation, created_at, info, top, statistic, last_at, rate, window } = life;
        let (window_senders, window) = compact::pack(window);
        Self {
            incarnation: incarnation.as_str().into(),
            created_at_ms: created_at.0,
            info: Some(info.into()),
            top: top.0,
            statistic: Some((*statistic).into()),
            last_at_ms: last_at.0,
            rate_second: rate.second,
            rate_count: rate.count,
            window_senders,
            window,
        }
    }
}

impl TryFrom<wire::Life> for Life {
    type Error = CodecError;

    fn try_from(life: wire::Life) -> Result<Self, CodecError> {
        Ok(Self {
            incarnation: convert::incarnation(&life.incarnation)?,
            created_at: UnixMillis(life.created_at_ms),
            info: life.info.ok_or(CodecError::Field("info"))?.try_into()?,
            top: Some(MsgSeq(life.top)).filter(|top| top.0 < MSG_SEQ_LIMIT).ok_or(CodecError::Field("top"))?,
            statistic: life.statistic.unwrap_or_default().into(),
            last_at: UnixMillis(life.last_at_ms),
            rate: Rate { second: life.rate_second, count: life.rate_count },
            window: compact::unpack(&life.window_senders, life.window)?,
        })
    }
}
