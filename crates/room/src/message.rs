//! A message, from the sender's request to the numbered fact in the log.

use std::{fmt, net::IpAddr};

use bytes::Bytes;

use crate::ids::{MsgSeq, UnixMillis, UserId};

/// Which client made a request; becomes `OptPlatform` (protocol: webhooks §1.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Platform {
    RestApi,
    Web,
    Android,
    Ios,
    Windows,
    Mac,
    Ipad,
    #[default]
    Unknown,
}

/// Where a request came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    pub platform: Platform,
    /// Address of the client, or of the REST caller; becomes `ClientIP`.
    pub client_ip: IpAddr,
    /// The realtime connection that it came over; `None` for REST.
    pub client: Option<ClientId>,
}

/// A realtime connection, as clients call it (`client` in Centrifuge): how a sender knows its own message. It is kept with
/// the message, so that live, recovered and old messages read the same, after a restart, too. 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientId(pub u128);

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// `MsgPriority`: decides who is dropped first by rate control.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Priority {
    Low,
    #[default]
    Normal,
    High,
}

/// `<account number>-<unix seconds>-<random>`; see protocol: messages §4. Opaque to whoever reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MsgId {
    pub account: u64,
    pub secs: u64,
    pub random: u32,
}

impl fmt::Display for MsgId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.account, self.secs, self.random)
    }
}

/// What a sender asks to have said. Already parsed, validated and charged by the door it came through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// `From_Account`.
    pub from: UserId,
    /// `Operator_Account`: the sender for clients, the calling admin for REST.
    pub operator: UserId,
    pub origin: Origin,
    /// The message's `Random`: the sender's, or drawn by the server where the API has none.
    pub random: u32,
    /// Whether `random` identifies a repeat (true where the sender chose it).
    pub dedup: bool,
    pub msg_id: MsgId,
    pub priority: Priority,
    /// `MsgBody` as minified JSON text of an array, validated on the way in. Never parsed again.
    pub body: Bytes,
    /// `CloudCustomData` as a JSON string literal, quotes included (`""` when unset).
    pub custom_data: Bytes,
    /// `ForbidAfterSendMsgCallback`: this message owes no after-send webhook.
    pub forbid_after_hook: bool,
}

/// A message that was sent: a draft with its number and time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub seq: MsgSeq,
    /// Server time of the decision; `MsgTime` is its whole seconds, `EventTime` its milliseconds.
    pub at: UnixMillis,
    /// The room's type, for webhooks, which see messages and not rooms. Empty for [`Message::LIVE`], which nearly all
    /// rooms are, so that it costs their records nothing.
    pub room_type: String,
    pub draft: Draft,
}

impl Message {
    /// The type of live rooms.
    pub const LIVE: &'static str = "Live";

    /// The type of the room it was sent in, as webhooks tell it (`Type`, protocol: webhooks §1.2).
    #[must_use]
    pub fn room_type(&self) -> &str {
        if self.room_type.is_empty() { Self::LIVE } else { &self.room_type }
    }
}
