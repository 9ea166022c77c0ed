//! What a client says.

use serde::Deserialize;

use crate::{
    frame::FrameError,
    json::{self, Object, WriteJson},
    raw,
    types::{
        ConnectRequest, HistoryRequest, PingRequest, PresenceRequest, PresenceStatsRequest, PublishRequest,
        RefreshRequest, RpcRequest, SendRequest, SubRefreshRequest, SubscribeRequest, UnsubscribeRequest,
    },
};

/// One message from a client. Without a request and without an id it is a pong.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Command {
    /// Chosen by the client, rising; 0 only for [`Request::Send`] and the pong.
    #[prost(uint32, tag = "1")]
    pub id: u32,
    #[prost(oneof = "Request", tags = "4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15")]
    pub request: Option<Request>,
}

/// What a command asks for. A command carries one; of several, one is taken.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Request {
    #[prost(message, tag = "4")]
    Connect(ConnectRequest),
    #[prost(message, tag = "5")]
    Subscribe(SubscribeRequest),
    #[prost(message, tag = "6")]
    Unsubscribe(UnsubscribeRequest),
    #[prost(message, tag = "7")]
    Publish(PublishRequest),
    #[prost(message, tag = "8")]
    Presence(PresenceRequest),
    #[prost(message, tag = "9")]
    PresenceStats(PresenceStatsRequest),
    #[prost(message, tag = "10")]
    History(HistoryRequest),
    #[prost(message, tag = "11")]
    Ping(PingRequest),
    #[prost(message, tag = "12")]
    Send(SendRequest),
    #[prost(message, tag = "13")]
    Rpc(RpcRequest),
    #[prost(message, tag = "14")]
    Refresh(RefreshRequest),
    #[prost(message, tag = "15")]
    SubRefresh(SubRefreshRequest),
}

impl Command {
    /// The answer to a server's ping.
    pub const PONG: Self = Self { id: 0, request: None };

    #[must_use]
    pub fn new(id: u32, request: Request) -> Self {
        Self { id, request: Some(request) }
    }

    /// Whether this is the answer to a ping.
    #[must_use]
    pub fn is_pong(&self) -> bool {
        self.id == 0 && self.request.is_none()
    }

    pub(crate) fn from_json(text: &str) -> Result<Self, FrameError> {
        let wire: CommandJson = serde_json::from_str(text).map_err(FrameError::json)?;
        let request = wire
            .connect
            .map(Request::Connect)
            .or_else(|| wire.subscribe.map(Request::Subscribe))
            .or_else(|| wire.unsubscribe.map(Request::Unsubscribe))
            .or_else(|| wire.publish.map(Request::Publish))
            .or_else(|| wire.presence.map(Request::Presence))
            .or_else(|| wire.presence_stats.map(Request::PresenceStats))
            .or_else(|| wire.history.map(Request::History))
            .or_else(|| wire.ping.map(Request::Ping))
            .or_else(|| wire.send.map(Request::Send))
            .or_else(|| wire.rpc.map(Request::Rpc))
            .or_else(|| wire.refresh.map(Request::Refresh))
            .or_else(|| wire.sub_refresh.map(Request::SubRefresh));
        Ok(Self { id: wire.id, request })
    }
}

impl Request {
    /// The channel the request is about, if it is about one.
    #[must_use]
    pub fn channel(&self) -> Option<&str> {
        match self {
            Self::Subscribe(r) => Some(&r.channel),
            Self::Unsubscribe(r) => Some(&r.channel),
            Self::Publish(r) => Some(&r.channel),
            Self::Presence(r) => Some(&r.channel),
            Self::PresenceStats(r) => Some(&r.channel),
            Self::History(r) => Some(&r.channel),
            Self::SubRefresh(r) => Some(&r.channel),
            Self::Connect(_) | Self::Ping(_) | Self::Send(_) | Self::Rpc(_) | Self::Refresh(_) => None,
        }
    }

    /// The request's name in JSON.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Connect(_) => "connect",
            Self::Subscribe(_) => "subscribe",
            Self::Unsubscribe(_) => "unsubscribe",
            Self::Publish(_) => "publish",
            Self::Presence(_) => "presence",
            Self::PresenceStats(_) => "presence_stats",
            Self::History(_) => "history",
            Self::Ping(_) => "ping",
            Self::Send(_) => "send",
            Self::Rpc(_) => "rpc",
            Self::Refresh(_) => "refresh",
            Self::SubRefresh(_) => "sub_refresh",
        }
    }
}

impl WriteJson for Command {
    fn write(&self, o: &mut Object<'_>) {
        o.uint("id", self.id);
        let Some(request) = &self.request else { return };
        let out = o.field(request.name());
        match request {
            Request::Connect(r) => json::message(out, r),
            Request::Subscribe(r) => json::message(out, r),
            Request::Unsubscribe(r) => json::message(out, r),
            Request::Publish(r) => json::message(out, r),
            Request::Presence(r) => json::message(out, r),
            Request::PresenceStats(r) => json::message(out, r),
            Request::History(r) => json::message(out, r),
            Request::Ping(r) => json::message(out, r),
            Request::Send(r) => json::message(out, r),
            Request::Rpc(r) => json::message(out, r),
            Request::Refresh(r) => json::message(out, r),
            Request::SubRefresh(r) => json::message(out, r),
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct CommandJson {
    #[serde(deserialize_with = "raw::nullable")]
    id: u32,
    connect: Option<ConnectRequest>,
    subscribe: Option<SubscribeRequest>,
    unsubscribe: Option<UnsubscribeRequest>,
    publish: Option<PublishRequest>,
    presence: Option<PresenceRequest>,
    presence_stats: Option<PresenceStatsRequest>,
    history: Option<HistoryRequest>,
    ping: Option<PingRequest>,
    send: Option<SendRequest>,
    rpc: Option<RpcRequest>,
    refresh: Option<RefreshRequest>,
    sub_refresh: Option<SubRefreshRequest>,
}
