//! What a server says: answers, pushes and pings.

use serde::Deserialize;

use crate::{
    frame::FrameError,
    json::{self, Object, WriteJson},
    raw,
    types::{
        ConnectPush, ConnectResult, DisconnectPush, Error, HistoryResult, Join, Leave, MessagePush, PingResult,
        PresenceResult, PresenceStatsResult, Publication, PublishResult, RefreshPush, RefreshResult, RpcResult,
        SubRefreshResult, SubscribePush, SubscribeResult, UnsubscribePush, UnsubscribeResult,
    },
};

/// One message from a server. Without a body and without an id it is a ping.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Reply {
    /// The id of the command answered; 0 for pushes and pings.
    #[prost(uint32, tag = "1")]
    pub id: u32,
    #[prost(oneof = "ReplyBody", tags = "2, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15")]
    pub body: Option<ReplyBody>,
}

/// What a reply holds. A success always holds its result, even an empty one: SDKs break without it.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum ReplyBody {
    #[prost(message, tag = "2")]
    Error(Error),
    #[prost(message, tag = "4")]
    Push(Push),
    #[prost(message, tag = "5")]
    Connect(ConnectResult),
    #[prost(message, tag = "6")]
    Subscribe(SubscribeResult),
    #[prost(message, tag = "7")]
    Unsubscribe(UnsubscribeResult),
    #[prost(message, tag = "8")]
    Publish(PublishResult),
    #[prost(message, tag = "9")]
    Presence(PresenceResult),
    #[prost(message, tag = "10")]
    PresenceStats(PresenceStatsResult),
    #[prost(message, tag = "11")]
    History(HistoryResult),
    #[prost(message, tag = "12")]
    Ping(PingResult),
    #[prost(message, tag = "13")]
    Rpc(RpcResult),
    #[prost(message, tag = "14")]
    Refresh(RefreshResult),
    #[prost(message, tag = "15")]
    SubRefresh(SubRefreshResult),
}

/// Something the server says unasked.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Push {
    /// Numeric channel id (compaction); 0 = by name.
    #[prost(int64, tag = "1")]
    pub id: i64,
    /// Empty for pushes about the connection.
    #[prost(string, tag = "2")]
    pub channel: String,
    #[prost(oneof = "PushBody", tags = "4, 5, 6, 7, 8, 9, 10, 11, 12")]
    pub body: Option<PushBody>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub enum PushBody {
    #[prost(message, tag = "4")]
    Pub(Publication),
    #[prost(message, tag = "5")]
    Join(Join),
    #[prost(message, tag = "6")]
    Leave(Leave),
    #[prost(message, tag = "7")]
    Unsubscribe(UnsubscribePush),
    #[prost(message, tag = "8")]
    Message(MessagePush),
    #[prost(message, tag = "9")]
    Subscribe(SubscribePush),
    #[prost(message, tag = "10")]
    Connect(ConnectPush),
    #[prost(message, tag = "11")]
    Disconnect(DisconnectPush),
    #[prost(message, tag = "12")]
    Refresh(RefreshPush),
}

impl Reply {
    /// The server's ping.
    pub const PING: Self = Self { id: 0, body: None };

    /// Answers the command with this id.
    #[must_use]
    pub fn to(id: u32, body: ReplyBody) -> Self {
        Self { id, body: Some(body) }
    }

    /// A push about a channel, or about the connection when `channel` is empty.
    #[must_use]
    pub fn push(channel: impl Into<String>, body: PushBody) -> Self {
        Self { id: 0, body: Some(ReplyBody::Push(Push { id: 0, channel: channel.into(), body: Some(body) })) }
    }

    /// Whether this is the server's ping.
    #[must_use]
    pub fn is_ping(&self) -> bool {
        self.id == 0 && self.body.is_none()
    }

    pub(crate) fn from_json(text: &str) -> Result<Self, FrameError> {
        let wire: ReplyJson = serde_json::from_str(text).map_err(FrameError::json)?;
        let body = wire
            .error
            .map(ReplyBody::Error)
            .or_else(|| wire.push.map(|push| ReplyBody::Push(push.into())))
            .or_else(|| wire.connect.map(ReplyBody::Connect))
            .or_else(|| wire.subscribe.map(ReplyBody::Subscribe))
            .or_else(|| wire.unsubscribe.map(ReplyBody::Unsubscribe))
            .or_else(|| wire.publish.map(ReplyBody::Publish))
            .or_else(|| wire.presence.map(ReplyBody::Presence))
            .or_else(|| wire.presence_stats.map(ReplyBody::PresenceStats))
            .or_else(|| wire.history.map(ReplyBody::History))
            .or_else(|| wire.ping.map(ReplyBody::Ping))
            .or_else(|| wire.rpc.map(ReplyBody::Rpc))
            .or_else(|| wire.refresh.map(ReplyBody::Refresh))
            .or_else(|| wire.sub_refresh.map(ReplyBody::SubRefresh));
        Ok(Self { id: wire.id, body })
    }
}

impl WriteJson for Reply {
    fn write(&self, o: &mut Object<'_>) {
        o.uint("id", self.id);
        match &self.body {
            None => {}
            Some(ReplyBody::Error(r)) => o.always_message("error", r),
            Some(ReplyBody::Push(r)) => o.always_message("push", r),
            Some(ReplyBody::Connect(r)) => o.always_message("connect", r),
            Some(ReplyBody::Subscribe(r)) => o.always_message("subscribe", r),
            Some(ReplyBody::Unsubscribe(r)) => o.always_message("unsubscribe", r),
            Some(ReplyBody::Publish(r)) => o.always_message("publish", r),
            Some(ReplyBody::Presence(r)) => o.always_message("presence", r),
            Some(ReplyBody::PresenceStats(r)) => o.always_message("presence_stats", r),
            Some(ReplyBody::History(r)) => o.always_message("history", r),
            Some(ReplyBody::Ping(r)) => o.always_message("ping", r),
            Some(ReplyBody::Rpc(r)) => o.always_message("rpc", r),
            Some(ReplyBody::Refresh(r)) => o.always_message("refresh", r),
            Some(ReplyBody::SubRefresh(r)) => o.always_message("sub_refresh", r),
        }
    }
}

impl WriteJson for Push {
    fn write(&self, o: &mut Object<'_>) {
        o.int("id", self.id);
        o.str("channel", &self.channel);
        let Some(body) = &self.body else { return };
        let out = o.field(body.name());
        match body {
            PushBody::Pub(p) => json::message(out, p),
            PushBody::Join(p) => json::message(out, p),
            PushBody::Leave(p) => json::message(out, p),
            PushBody::Unsubscribe(p) => json::message(out, p),
            PushBody::Message(p) => json::message(out, p),
            PushBody::Subscribe(p) => json::message(out, p),
            PushBody::Connect(p) => json::message(out, p),
            PushBody::Disconnect(p) => json::message(out, p),
            PushBody::Refresh(p) => json::message(out, p),
        }
    }
}

impl PushBody {
    /// The push's name in JSON.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Pub(_) => "pub",
            Self::Join(_) => "join",
            Self::Leave(_) => "leave",
            Self::Unsubscribe(_) => "unsubscribe",
            Self::Message(_) => "message",
            Self::Subscribe(_) => "subscribe",
            Self::Connect(_) => "connect",
            Self::Disconnect(_) => "disconnect",
            Self::Refresh(_) => "refresh",
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ReplyJson {
    #[serde(deserialize_with = "raw::nullable")]
    id: u32,
    error: Option<Error>,
    push: Option<PushJson>,
    connect: Option<ConnectResult>,
    subscribe: Option<SubscribeResult>,
    unsubscribe: Option<UnsubscribeResult>,
    publish: Option<PublishResult>,
    presence: Option<PresenceResult>,
    presence_stats: Option<PresenceStatsResult>,
    history: Option<HistoryResult>,
    ping: Option<PingResult>,
    rpc: Option<RpcResult>,
    refresh: Option<RefreshResult>,
    sub_refresh: Option<SubRefreshResult>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PushJson {
    #[serde(deserialize_with = "raw::nullable")]
    id: i64,
    #[serde(deserialize_with = "raw::nullable")]
    channel: String,
    r#pub: Option<Publication>,
    join: Option<Join>,
    leave: Option<Leave>,
    unsubscribe: Option<UnsubscribePush>,
    message: Option<MessagePush>,
    subscribe: Option<SubscribePush>,
    connect: Option<ConnectPush>,
    disconnect: Option<DisconnectPush>,
    refresh: Option<RefreshPush>,
}

impl From<PushJson> for Push {
    fn from(wire: PushJson) -> Self {
        let body = wire
            .r#pub
            .map(PushBody::Pub)
            .or_else(|| wire.join.map(PushBody::Join))
            .or_else(|| wire.leave.map(PushBody::Leave))
            .or_else(|| wire.unsubscribe.map(PushBody::Unsubscribe))
            .or_else(|| wire.message.map(PushBody::Message))
            .or_else(|| wire.subscribe.map(PushBody::Subscribe))
            .or_else(|| wire.connect.map(PushBody::Connect))
            .or_else(|| wire.disconnect.map(PushBody::Disconnect))
            .or_else(|| wire.refresh.map(PushBody::Refresh));
        Self { id: wire.id, channel: wire.channel, body }
    }
}
