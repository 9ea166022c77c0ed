//! A message, from the sender's request to the numbered fact in the log.

use std::{fmt, net::IpAddr};

use bytes::Bytes;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

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

/// A number for what a message says: a repeat has the same, as a caller who tries again sends the same once more. Another text
/// under a `Random` that was used before (there are callers with one `Random` for all they send) has another.
///
/// It is stored, so it is of a hash that never changes (XXH3, 64 bits). Two texts of the same sender and `Random` that happen to
/// share it (once in 2^64) are taken for the same message: the later one is answered with the receipt of the first. Whoever
/// makes such texts on purpose loses nothing but a message of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContentHash(pub u64);

impl ContentHash {
    /// Of a message as its sender sent it, in the forms that [`Draft`] carries.
    #[must_use]
    pub fn of(body: &[u8], custom_data: &[u8]) -> Self {
        Self(xxh3_64_with_seed(custom_data, xxh3_64(body)))
    }
}

/// What tells a message from the others that its sender sent to a room: the same key again, within the window, is a repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DedupKey {
    pub random: u32,
    pub content: ContentHash,
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
    /// Of what the sender sent, before the gate could replace it. `None` where the sender chose no `random`: then nothing is a
    /// repeat.
    pub content: Option<ContentHash>,
    pub msg_id: MsgId,
    pub priority: Priority,
    /// `MsgBody` as minified JSON text of an array, validated on the way in. Never parsed again.
    pub body: Bytes,
    /// `CloudCustomData` as a JSON string literal, quotes included (`""` when unset).
    pub custom_data: Bytes,
    /// `ForbidAfterSendMsgCallback`: this message owes no after-send webhook.
    pub forbid_after_hook: bool,
}

impl Draft {
    /// By what a repeat is recognised; `None`: this message repeats nothing.
    #[must_use]
    pub fn dedup_key(&self) -> Option<DedupKey> {
        self.content.map(|content| DedupKey { random: self.random, content })
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_of_a_content_never_changes() {
        // The numbers are those of another implementation, xxhash of Python.
        let said = br#"[{"MsgType":"TIMTextElem","MsgContent":{"Text":"hi"}}]"#;
        assert_eq!(ContentHash::of(said, br#""""#), ContentHash(7_085_123_422_394_129_218));
        let (long, custom) = (format!("[{}1]", "1,".repeat(5000)), format!("\"{}\"", "x".repeat(300)));
        assert_eq!(ContentHash::of(long.as_bytes(), custom.as_bytes()), ContentHash(14_003_016_749_510_160_599));
        assert_ne!(ContentHash::of(b"[1]", b"\"\""), ContentHash::of(b"[1", b"]\"\""));
    }
}
