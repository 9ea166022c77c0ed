//! The Protobuf messages, field by field. Numbers are for ever: a field that goes leaves its number unused.
//!
//! What a reader may skip is added as a field; what it must understand is added as a new event kind, which an older
//! release refuses by name ([`super::CodecError::UnknownEvent`]).

use bytes::Bytes;
use prost::{Message, Oneof};

#[derive(Clone, PartialEq, Message)]
pub(super) struct Record {
    #[prost(message, repeated, tag = "1")]
    pub(super) events: Vec<Event>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Event {
    #[prost(oneof = "EventKind", tags = "1, 2, 3")]
    pub(super) kind: Option<EventKind>,
}

#[derive(Clone, PartialEq, Oneof)]
#[expect(clippy::large_enum_variant, reason = "nearly all events are messages; a box would cost each an allocation")]
pub(super) enum EventKind {
    #[prost(message, tag = "1")]
    RoomCreated(Box<RoomCreated>),
    #[prost(message, tag = "2")]
    RoomDestroyed(Box<RoomDestroyed>),
    #[prost(message, tag = "3")]
    MessageSent(MessageSent),
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct RoomCreated {
    #[prost(uint64, tag = "1")]
    pub(super) at_ms: u64,
    #[prost(string, tag = "2")]
    pub(super) operator: String,
    #[prost(string, tag = "3")]
    pub(super) incarnation: String,
    #[prost(message, optional, tag = "4")]
    pub(super) info: Option<RoomInfo>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct RoomDestroyed {
    #[prost(uint64, tag = "1")]
    pub(super) at_ms: u64,
    #[prost(string, tag = "2")]
    pub(super) operator: String,
    #[prost(message, optional, tag = "3")]
    pub(super) info: Option<RoomInfo>,
    #[prost(message, optional, tag = "4")]
    pub(super) statistic: Option<Statistic>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct MessageSent {
    #[prost(uint64, tag = "1")]
    pub(super) seq: u64,
    #[prost(uint64, tag = "2")]
    pub(super) at_ms: u64,
    #[prost(bytes = "bytes", tag = "3")]
    pub(super) from: Bytes,
    /// Empty when it is `from`.
    #[prost(bytes = "bytes", tag = "4")]
    pub(super) operator: Bytes,
    #[prost(uint32, tag = "5")]
    pub(super) platform: u32,
    /// An IPv4 address; an IPv6 one is in `client_ip6_high` and `client_ip6_low`.
    #[prost(fixed32, optional, tag = "6")]
    pub(super) client_ip4: Option<u32>,
    #[prost(fixed32, tag = "7")]
    pub(super) random: u32,
    /// What the sender said, hashed; absent where the sender chose no `random`.
    #[prost(fixed64, optional, tag = "8")]
    pub(super) content: Option<u64>,
    #[prost(fixed64, tag = "9")]
    pub(super) msg_id_account: u64,
    #[prost(uint64, tag = "10")]
    pub(super) msg_id_secs: u64,
    #[prost(fixed32, tag = "11")]
    pub(super) msg_id_random: u32,
    /// 0 low, 1 normal, 2 high.
    #[prost(uint32, tag = "12")]
    pub(super) priority: u32,
    #[prost(bytes = "bytes", tag = "13")]
    pub(super) body: Bytes,
    #[prost(bytes = "bytes", tag = "14")]
    pub(super) custom_data: Bytes,
    #[prost(bool, tag = "15")]
    pub(super) forbid_after_hook: bool,
    #[prost(fixed64, tag = "16")]
    pub(super) client_ip6_high: u64,
    #[prost(fixed64, tag = "17")]
    pub(super) client_ip6_low: u64,
    /// Empty for `Live`.
    #[prost(string, tag = "18")]
    pub(super) room_type: String,
    /// The upper half of the client's connection id; absent when it came over none.
    #[prost(fixed64, optional, tag = "19")]
    pub(super) client_high: Option<u64>,
    #[prost(fixed64, tag = "20")]
    pub(super) client_low: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct RoomInfo {
    #[prost(string, tag = "1")]
    pub(super) room_type: String,
    #[prost(string, tag = "2")]
    pub(super) name: String,
    #[prost(string, tag = "3")]
    pub(super) owner: String,
    #[prost(string, tag = "4")]
    pub(super) cover_url: String,
    #[prost(string, tag = "5")]
    pub(super) background_url: String,
    #[prost(string, tag = "6")]
    pub(super) custom_info: String,
    #[prost(string, tag = "7")]
    pub(super) notice: String,
    #[prost(string, tag = "8")]
    pub(super) seat_template: String,
    #[prost(string, tag = "9")]
    pub(super) take_seat_mode: String,
    #[prost(bool, tag = "10")]
    pub(super) is_message_disabled: bool,
    #[prost(bool, tag = "11")]
    pub(super) is_seat_enabled: bool,
    #[prost(bool, tag = "12")]
    pub(super) is_public_visible: bool,
    #[prost(bool, tag = "13")]
    pub(super) is_unlimited_room_enabled: bool,
    #[prost(bool, tag = "14")]
    pub(super) keep_owner_on_seat: bool,
    #[prost(uint32, tag = "15")]
    pub(super) max_seat_count: u32,
    #[prost(uint32, tag = "16")]
    pub(super) max_member_count: u32,
    #[prost(int64, tag = "17")]
    pub(super) activity_status: i64,
    #[prost(int64, repeated, tag = "18")]
    pub(super) category: Vec<i64>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Statistic {
    #[prost(uint64, tag = "1")]
    pub(super) total_viewers: u64,
    #[prost(uint64, tag = "2")]
    pub(super) total_gifts_sent: u64,
    #[prost(uint64, tag = "3")]
    pub(super) total_gift_coins: u64,
    #[prost(uint64, tag = "4")]
    pub(super) total_unique_gift_senders: u64,
    #[prost(uint64, tag = "5")]
    pub(super) total_likes_received: u64,
    #[prost(uint64, tag = "6")]
    pub(super) total_messages: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Room {
    /// Absent for a room that is.
    #[prost(message, optional, tag = "1")]
    pub(super) life: Option<Life>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Life {
    #[prost(string, tag = "1")]
    pub(super) incarnation: String,
    #[prost(uint64, tag = "2")]
    pub(super) created_at_ms: u64,
    #[prost(message, optional, tag = "3")]
    pub(super) info: Option<RoomInfo>,
    #[prost(uint64, tag = "4")]
    pub(super) top: u64,
    #[prost(message, optional, tag = "5")]
    pub(super) statistic: Option<Statistic>,
    #[prost(uint64, tag = "6")]
    pub(super) last_at_ms: u64,
    #[prost(uint64, tag = "7")]
    pub(super) rate_second: u64,
    #[prost(uint32, tag = "8")]
    pub(super) rate_count: u32,
    /// Senders of the dedup window, by number in `window`.
    #[prost(string, repeated, tag = "9")]
    pub(super) window_senders: Vec<String>,
    /// The dedup window, packed as `compact.rs` says.
    #[prost(bytes = "bytes", tag = "10")]
    pub(super) window: Bytes,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Endpoint {
    #[prost(uint32, tag = "1")]
    pub(super) app: u32,
    #[prost(string, tag = "2")]
    pub(super) id: String,
    #[prost(string, tag = "3")]
    pub(super) url: String,
    #[prost(string, repeated, tag = "4")]
    pub(super) commands: Vec<String>,
    #[prost(message, optional, tag = "5")]
    pub(super) token: Option<Token>,
    #[prost(string, repeated, tag = "6")]
    pub(super) signing_secrets: Vec<String>,
    #[prost(string, tag = "7")]
    pub(super) room_prefix: String,
    #[prost(bool, tag = "8")]
    pub(super) event_time_as_string: bool,
    #[prost(bool, tag = "9")]
    pub(super) extra_fields: bool,
    /// 0 by room, 1 none.
    #[prost(uint32, optional, tag = "10")]
    pub(super) order: Option<u32>,
    /// 0 durable, 1 durable then skip, 2 tencent.
    #[prost(uint32, optional, tag = "11")]
    pub(super) retry: Option<u32>,
    #[prost(uint32, optional, tag = "12")]
    pub(super) timeout_ms: Option<u32>,
    #[prost(uint32, optional, tag = "13")]
    pub(super) concurrency: Option<u32>,
    #[prost(string, tag = "14")]
    pub(super) extra_roots_pem: String,
    #[prost(string, tag = "15")]
    pub(super) client_cert_pem: String,
    #[prost(string, tag = "16")]
    pub(super) client_key_pem: String,
    #[prost(bool, tag = "17")]
    pub(super) paused: bool,
    /// 0 tail, 1 time, 2 oldest.
    #[prost(uint32, tag = "18")]
    pub(super) start: u32,
    #[prost(uint64, tag = "19")]
    pub(super) start_ms: u64,
    #[prost(uint64, tag = "20")]
    pub(super) generation: u64,
    #[prost(uint64, tag = "21")]
    pub(super) created_at_ms: u64,
    /// 0 pass, 1 drop.
    #[prost(uint32, optional, tag = "22")]
    pub(super) gate_failure: Option<u32>,
    #[prost(bool, optional, tag = "23")]
    pub(super) gate_shadow: Option<bool>,
    #[prost(message, repeated, tag = "24")]
    pub(super) past: Vec<PastSwitches>,
    /// By shard.
    #[prost(uint64, repeated, tag = "25")]
    pub(super) begins: Vec<u64>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct PastSwitches {
    // Tag 1 was a time.
    #[prost(bool, tag = "2")]
    pub(super) has_url: bool,
    #[prost(string, repeated, tag = "3")]
    pub(super) commands: Vec<String>,
    #[prost(string, tag = "4")]
    pub(super) room_prefix: String,
    /// By shard.
    #[prost(uint64, repeated, tag = "5")]
    pub(super) until: Vec<u64>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Token {
    #[prost(string, tag = "1")]
    pub(super) value: String,
    #[prost(bool, tag = "2")]
    pub(super) enabled: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct DirectoryRecord {
    #[prost(message, repeated, tag = "1")]
    pub(super) events: Vec<DirectoryEvent>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct DirectoryEvent {
    #[prost(oneof = "DirectoryEventKind", tags = "1, 2, 3, 4")]
    pub(super) kind: Option<DirectoryEventKind>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(super) enum DirectoryEventKind {
    #[prost(message, tag = "1")]
    AccountSaved(AccountSaved),
    #[prost(message, tag = "2")]
    EndpointSaved(Box<Endpoint>),
    #[prost(message, tag = "3")]
    EndpointDeleted(EndpointDeleted),
    #[prost(message, tag = "4")]
    FirstValueTaken(FirstValueTaken),
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct AccountSaved {
    #[prost(uint32, tag = "1")]
    pub(super) app: u32,
    #[prost(string, tag = "2")]
    pub(super) user: String,
    #[prost(fixed64, tag = "3")]
    pub(super) number: u64,
    #[prost(string, tag = "4")]
    pub(super) nick: String,
    #[prost(string, tag = "5")]
    pub(super) face_url: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct FirstValueTaken {
    #[prost(uint32, tag = "1")]
    pub(super) app: u32,
    /// 32 bytes, or none.
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) digest: Bytes,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct EndpointDeleted {
    #[prost(uint32, tag = "1")]
    pub(super) app: u32,
    #[prost(string, tag = "2")]
    pub(super) id: String,
    #[prost(uint64, tag = "3")]
    pub(super) generation: u64,
}
