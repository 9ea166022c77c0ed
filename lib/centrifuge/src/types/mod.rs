//! The messages, each defined once: its Protobuf tags, its JSON names and its JSON omissions (protocol: realtime §4).

mod channel;
mod connect;
mod publication;
mod push;
mod subscribe;

pub use channel::{
    HistoryRequest, HistoryResult, PresenceRequest, PresenceResult, PresenceStatsRequest, PresenceStatsResult,
    PublishRequest, PublishResult, RpcRequest, RpcResult, SendRequest, StreamPosition,
};
pub use connect::{
    ConnectRequest, ConnectResult, Error, PingRequest, PingResult, RefreshRequest, RefreshResult, ServerSubscription,
};
pub use publication::{ClientInfo, Join, Leave, Publication};
pub use push::{ConnectPush, DisconnectPush, MessagePush, RefreshPush, SubscribePush, UnsubscribePush};
pub use subscribe::{
    FilterNode, SubRefreshRequest, SubRefreshResult, SubscribeRequest, SubscribeResult, UnsubscribeRequest,
    UnsubscribeResult,
};

/// How a token prints: whether there is one, never what it is.
pub(crate) fn redacted(token: &str) -> &'static str {
    if token.is_empty() { "" } else { "[redacted]" }
}
