//! What can be asked of a room, and what can come of it.

use crate::{
    event::Event,
    ids::{Incarnation, MsgSeq, UnixMillis, UserId},
    message::{Draft, MsgId},
};

/// Something asked of one room. Everything in it was checked by the door for form; [`crate::decide`] checks it for right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    Create(CreateRoom),
    /// Dissolves the room: its id becomes free, its sequence ends.
    Destroy {
        operator: UserId,
    },
    Send(Draft),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateRoom {
    pub operator: UserId,
    pub info: RoomInfo,
    /// Drawn by the caller; becomes the room's Centrifuge epoch.
    pub incarnation: Incarnation,
}

/// What people see of a room (`RoomInfo` of protocol: rest §4). Strings are checked for length by the door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomInfo {
    /// `Live` for live rooms, a Chat group type (`AVChatRoom` …) for groups made by the Chat API.
    pub room_type: String,
    pub name: String,
    pub owner: UserId,
    pub cover_url: String,
    pub background_url: String,
    pub custom_info: String,
    pub notice: String,
    pub seat_template: String,
    pub take_seat_mode: String,
    pub is_message_disabled: bool,
    pub is_seat_enabled: bool,
    pub is_public_visible: bool,
    pub is_unlimited_room_enabled: bool,
    pub keep_owner_on_seat: bool,
    pub max_seat_count: u32,
    pub max_member_count: u32,
    pub activity_status: i64,
    pub category: Vec<i64>,
}

impl RoomInfo {
    /// A room of this type and owner of which nothing else is said: no texts, no seats, no limits, nothing switched on.
    #[must_use]
    pub fn bare(room_type: &str, owner: UserId) -> Self {
        Self {
            room_type: room_type.to_owned(),
            name: String::new(),
            owner,
            cover_url: String::new(),
            background_url: String::new(),
            custom_info: String::new(),
            notice: String::new(),
            seat_template: String::new(),
            take_seat_mode: String::new(),
            is_message_disabled: false,
            is_seat_enabled: false,
            is_public_visible: false,
            is_unlimited_room_enabled: false,
            keep_owner_on_seat: false,
            max_seat_count: 0,
            max_member_count: 0,
            activity_status: 0,
            category: Vec::new(),
        }
    }
}

/// App-wide truths and settings that the caller looked up for one command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Messages of one room per second before rate control drops (`MsgFreqCtrl`); 0 = no limit.
    pub room_messages_per_s: u32,
}

/// What should happen: events to append (none for a repeat or a drop) and the answer to release once they are durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub events: Vec<Event>,
    pub receipt: Receipt,
}

/// The answer to a command that was not refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Receipt {
    Created,
    Destroyed(Statistic),
    Sent(Sent),
    /// The same (room, sender, `Random`, content) was sent inside the window: the first message's receipt.
    Repeated(Sent),
    /// Rate control dropped it: success for the sender, nothing sent (`MsgDropReason` = `MsgFreqCtrl`).
    Dropped {
        at: UnixMillis,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    pub seq: MsgSeq,
    pub at: UnixMillis,
    pub msg_id: MsgId,
}

/// Counters of a room's life (`Statistic` of protocol: rest §4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistic {
    pub total_viewers: u64,
    pub total_gifts_sent: u64,
    pub total_gift_coins: u64,
    pub total_unique_gift_senders: u64,
    pub total_likes_received: u64,
    pub total_messages: u64,
}

/// Why a room says no. The doors turn each into the documented code of their protocol.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reject {
    #[error("room does not exist")]
    RoomMissing,
    #[error("room id is taken")]
    RoomExists,
    #[error("room id is taken, and the operator owns it")]
    RoomExistsOwned,
    /// The room's messages are disabled for all but owner and admins.
    #[error("messages are disabled in this room")]
    MessagesDisabled,
    /// What would be stored of it is larger than a record can be. Decided where records are made, for this command alone.
    #[error("the message takes {bytes} bytes in the store, at most {max} are possible")]
    TooLong { bytes: usize, max: usize },
}
