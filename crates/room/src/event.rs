//! What happened. Events carry outcomes, not reasons, so that folding old data never changes its meaning.

use crate::{
    command::{RoomInfo, Statistic},
    ids::{Incarnation, UnixMillis, UserId},
    message::Message,
};

/// One fact about one room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    RoomCreated { at: UnixMillis, operator: UserId, incarnation: Incarnation, info: RoomInfo },
    RoomDestroyed { at: UnixMillis, operator: UserId, info: RoomInfo, statistic: Statistic },
    MessageSent(Message),
}

impl Event {
    /// When it happened, by the clock of the shard's owner.
    pub fn at(&self) -> UnixMillis {
        match self {
            Self::RoomCreated { at, .. } | Self::RoomDestroyed { at, .. } => *at,
            Self::MessageSent(message) => message.at,
        }
    }
}
